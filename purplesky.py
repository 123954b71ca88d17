"""The front door: the ``purplesky`` command.

Every subcommand imports what it needs when it runs, so that the executor starts without the pipeline's packages. Exit
codes: 0 done, 1 validation blocked the data, 2 an error with advice or a wrong command line, 3 a bug, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market.errors import ConfigError, EmptyLakeError, PurpleSkyError

if TYPE_CHECKING:
    from settings import Settings

#: Nothing phones home: every part that could is told not to before it is imported.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}

_symbol = click.option("--symbol", required=True, help="Contract, for example BTCUSDT.")
_timeframe = click.option("--timeframe", help="Length of a bar: 1m, 5m, 15m, 1h, 4h. [default: the config's]")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", type=click.Path(path_type=Path), help="TOML file. [default: purplesky.toml, if there is one]")
@click.version_option(package_name="purplesky")
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Record a market, learn from it under purged cross-validation, and let a council trade it."""
    context.obj = config


def _settings(context: click.Context, **sections: dict[str, Any]) -> Settings:
    import settings

    return settings.override(settings.load(context.obj), **sections)


def _pipeline(module: str) -> Any:
    """Import a room that needs the extra ``[pipeline]``."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"market", "features", "council", "simulation", "training", "flows"}:
            raise
        raise ConfigError(
            f"this command needs the package {error.name}",
            advice="Install the pipeline: pip install 'purplesky[pipeline]'",
        ) from error


@cli.command()
@click.pass_context
def config(context: click.Context) -> None:
    """Print the effective settings; secrets are masked."""
    import settings

    click.echo(settings.to_toml(_settings(context)))


@cli.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@_symbol
@click.pass_context
def import_(context: click.Context, folder: Path, symbol: str) -> None:
    """Import Bybit's history archives below FOLDER into the lake. Importing twice adds nothing."""
    _pipeline("flows").run_import(_settings(context), folder, symbol)


@cli.command()
@click.option("--symbols", help="Comma-separated contracts. [default: the config's]")
@click.option(
    "--seconds", type=click.FloatRange(min=1), help="A bounded session, as a Prefect flow. [default: for ever]"
)
@click.option("--ob-levels", type=int, help="Levels of the order-book topic.")
@click.option("--metrics-port", type=click.IntRange(1, 65_535), help="Prometheus metrics of the daemon, on loopback.")
@click.option(
    "--take-over",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Wait this long (s) for another recorder to hand over.",
)
@click.pass_context
def capture(
    context: click.Context,
    symbols: str | None,
    seconds: float | None,
    ob_levels: int | None,
    metrics_port: int | None,
    take_over: float,
) -> None:
    """Record order book, trades and tickers into the lake."""
    names = tuple(symbols.split(",")) if symbols else None
    settings = _settings(context, market={"symbols": names, "ob_levels": ob_levels})
    if seconds is None:
        _record(settings, metrics_port, take_over)
    else:
        _pipeline("flows").run_capture(settings, settings.market.symbols, seconds)


def _record(settings: Settings, metrics_port: int | None, take_over: float) -> None:
    """The recorder as a plain daemon: SIGTERM drains and seals."""
    from market import Lake, Recorder, fetch_instruments, run_daemon

    market, venue = settings.market, settings.venue
    rules = fetch_instruments(venue.rest_url, market.symbols)
    run_daemon(
        lambda tell: Recorder(
            Lake(settings.paths.lake),
            venue.public_url,
            rules,
            market.symbols,
            market.ob_levels,
            part_seconds=market.part_seconds,
            idle_seconds=market.idle_seconds,
            rest_url=venue.rest_url,
            take_over=take_over,
            progress=tell,
        ),
        tell=click.echo,
        metrics_port=metrics_port,
    )


@cli.command()
@_symbol
@click.option("--date", help="One UTC day, YYYY-MM-DD. [default: all days]")
@click.pass_context
def validate(context: click.Context, symbol: str, date: str | None) -> None:
    """Judge what the lake holds; exit 0 ok, 1 blocked, 2 error."""
    report = _pipeline("flows").run_validate(_settings(context), symbol, date)
    if report.status == "blocked":
        raise SystemExit(1)


@cli.command()
@_symbol
@click.option("--trials", type=int, help="Trials of the study. [default: the config's]")
@_timeframe
@click.option("--ob-levels", type=int, help="Levels of the book that features look at.")
@click.option("--seed", type=int, help="Seed of the study.")
@click.pass_context
def train(
    context: click.Context,
    symbol: str,
    trials: int | None,
    timeframe: str | None,
    ob_levels: int | None,
    seed: int | None,
) -> None:
    """Tune, select a council, judge it at the gate, and register it; a failed verdict is registered too."""
    settings = _settings(
        context,
        training={"trials": trials, "timeframe": timeframe, "seed": seed},
        market={"ob_levels": ob_levels},
    )
    _pipeline("flows").run_train(settings, symbol)


@cli.command()
@click.option("--symbol", help="Contract. [default: that of the newest version of all]")
@_timeframe
@click.option("--version", type=int, help="Version number. [default: the newest]")
@click.pass_context
def promote(context: click.Context, symbol: str | None, timeframe: str | None, version: int | None) -> None:
    """Put a council into Production: the executor takes it over at its next bar."""
    from council.registry import Registry

    settings = _settings(context, training={"timeframe": timeframe})
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    if symbol:
        name = settings.model_name(symbol, settings.training.timeframe)
    else:
        name = registry.newest_name(f"{settings.mlflow.model_prefix}-")
    info = registry.promote(name, version)
    click.echo(f"{info.name} version {info.version} is in Production")
    if not info.gate_passed:
        click.echo("its gate verdict is FAILED: the executor trades it in dry-run only")


@cli.command()
@_symbol
@_timeframe
@click.option("--live", is_flag=True, help="Trade with real money. [default: dry-run]")
@click.option(
    "--feed",
    type=click.Choice(["auto", "venue", "lake"]),
    default="auto",
    show_default=True,
    help="Where the market comes from; auto replays the lake (dry-run only) if the venue does not know the symbol.",
)
@click.option("--max-bars", type=click.IntRange(min=1), help="Stop after this many decisions.")
@click.option(
    "--min-closed", type=click.IntRange(min=0), default=0, help="With --max-bars: go on until this many trades closed."
)
@click.option("--max-seconds", type=click.FloatRange(min=1), help="Stop after this long in any case.")
@click.option("--summary", type=click.Path(path_type=Path), help="Write the session's summary there, as JSON.")
@click.pass_context
def execute(context: click.Context, /, symbol: str, timeframe: str | None, **options: Any) -> None:
    """Trade the Production council: dry-run by default, through the fill model on the live feed."""
    from executor import run_executor

    settings = _settings(context, executor={"timeframe": timeframe})
    run_executor(settings, symbol, echo=click.echo, **options)


@cli.command()
@_symbol
@click.option("--from", "folder", type=click.Path(path_type=Path), help="Import these archives first.")
@click.option("--capture", "seconds", type=click.FloatRange(min=1), help="Capture for this many seconds first.")
@click.option("--trials", type=int, help="Trials of the study.")
@_timeframe
@click.option("--ob-levels", type=int, help="Levels of the book.")
@click.pass_context
def run(
    context: click.Context,
    symbol: str,
    folder: Path | None,
    seconds: float | None,
    trials: int | None,
    timeframe: str | None,
    ob_levels: int | None,
) -> None:
    """Import or capture, validate, train and register, in one go."""
    settings = _settings(context, training={"trials": trials, "timeframe": timeframe}, market={"ob_levels": ob_levels})
    _pipeline("flows").run_pipeline(settings, symbol, folder=folder, capture_seconds=seconds)


@cli.command()
@click.option("--synthetic", is_flag=True, default=True, help="A seeded synthetic market (SYNUSDT).")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--signal",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Strength of the planted signal; 0: nothing to find.",
)
@click.option(
    "--speed", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Market seconds a second."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8899, show_default=True, help="0 takes a free one.")
def exchange(synthetic: bool, seed: int, signal: float, speed: float, port: int) -> None:
    """Serve a local exchange that speaks Bybit's v5 API, on loopback."""
    from simulation.exchange import run_exchange

    run_exchange(seed=seed, signal=signal, speed=speed, port=port)


@cli.command()
@click.pass_context
def lake(context: click.Context) -> None:
    """List what the lake holds: days, rows and holes."""
    from market import Lake, coverage_text

    settings = _settings(context)
    store = Lake(settings.paths.lake)
    if not (symbols := store.symbols()):
        raise EmptyLakeError(f"the lake {store.root} is empty", advice="Run `purplesky capture` or `purplesky import`")
    click.echo(coverage_text(store, symbols, settings.market.stall_ms))


@cli.command()
@_symbol
@click.option("--at", required=True, help="UTC, like 2026-01-05T12:00:00.")
@click.option("--levels", type=click.IntRange(min=1), default=10, show_default=True)
@click.pass_context
def book(context: click.Context, symbol: str, at: str, levels: int) -> None:
    """Print the order book at an instant."""
    from market import Lake, book_at, book_text, parse_time

    store = Lake(_settings(context).paths.lake)
    click.echo(book_text(book_at(store, symbol, parse_time(at)), store.instrument(symbol), levels))


@cli.command()
@click.option("--symbol", help="Write a page for every feature of this contract's data instead.")
@_timeframe
@click.pass_context
def features(context: click.Context, symbol: str | None, timeframe: str | None) -> None:
    """Print the feature catalogue, or write a page for every feature."""
    if symbol is None:
        from features import catalogue_markdown

        click.echo(catalogue_markdown(), nl=False)
        return
    settings = _settings(context, training={"timeframe": timeframe})
    click.echo(_pipeline("training.feature_pages").pages_of_lake(settings, symbol))


@cli.command("check-lookahead")
@click.option("--symbol", help="Contract in the lake. [default: eight hours of the synthetic market]")
@_timeframe
@click.option("--cuts", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.pass_context
def check_lookahead(context: click.Context, symbol: str | None, timeframe: str | None, cuts: int, seed: int) -> None:
    """Recompute features and labels on truncated data; exit 1 if anything looks ahead."""
    settings = _settings(context, training={"timeframe": timeframe})
    checked = _pipeline("training.lookahead").check(settings, symbol, cuts=cuts, seed=seed)
    click.echo(checked.text())
    raise SystemExit(0 if checked.passed else 1)


@cli.command()
@_symbol
@click.pass_context
def status(context: click.Context, symbol: str) -> None:
    """Show what the executor last said of itself."""
    from executor import status_text

    click.echo(status_text(_settings(context), symbol))


def _command(name: str, text: str) -> None:
    @cli.command(name, help=text)
    @_symbol
    @click.pass_context
    def command(context: click.Context, symbol: str) -> None:
        from executor import send_command

        click.echo(send_command(_settings(context), symbol, name))


_command("halt", "Stop entries; positions keep their protection.")
_command("resume", "Allow entries again, also after the kill switch.")
_command("flatten", "Cancel entries and close the position at market.")


@cli.command()
@click.argument("session")
@_symbol
@click.pass_context
def replay(context: click.Context, session: str, symbol: str) -> None:
    """Recompute a session's decisions from its journal and compare them to the byte."""
    from executor import replay_session

    click.echo(replay_session(_settings(context), symbol, session))


@cli.command()
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the synthetic market and the study.")
@click.pass_context
def demo(context: click.Context, seed: int) -> None:
    """The whole job offline, in minutes: market, capture, validation, training, gate, dry-run."""
    _pipeline("flows.demo").run_demo(_settings(context).paths.data / "demo", seed=seed)


@cli.command()
@click.pass_context
def ui(context: click.Context) -> None:
    """Serve the MLflow UI, the Prefect UI and the reports, on loopback, until Ctrl-C."""
    import settings

    own = settings.load(context.obj)
    left_by_demo = own.paths.data / "demo" / "purplesky.toml"
    if context.obj is None and not Path("purplesky.toml").exists() and left_by_demo.exists():
        own = settings.load(left_by_demo)
    _pipeline("flows.ui").serve(own)


def main() -> None:
    """Run the command line; every error meant for a person is one line on stderr."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):
        # A character that the console cannot show must never end a trading daemon (FAIL-42).
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        raise SystemExit(130) from None
    except PurpleSkyError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except Exception:  # noqa: BLE001 - the last line of defence: say that it is a bug, with its traceback
        traceback.print_exc()
        click.echo("error: this is a bug in PurpleSky; please report it with the lines above", err=True)
        raise SystemExit(3) from None


if __name__ == "__main__":
    main()
