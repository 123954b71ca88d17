"""What learns from the lake, and what promotes the result."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands._shared import pipeline, settings_of, symbol_option, timeframe_option

if TYPE_CHECKING:
    from council import ModelVersionInfo, Registry


@click.command()
@symbol_option
@click.option("--trials", type=int, help="Trials of the study. [default: the config's]")
@timeframe_option
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
    settings = settings_of(
        context,
        training={"trials": trials, "timeframe": timeframe, "seed": seed},
        market={"ob_levels": ob_levels},
    )
    pipeline("flows").run_train(settings, symbol)


@click.command()
@click.option("--symbol", help="Contract. [default: that of the newest version of all]")
@timeframe_option
@click.option("--version", type=int, help="Version number. [default: the newest]")
@click.pass_context
def promote(context: click.Context, symbol: str | None, timeframe: str | None, version: int | None) -> None:
    """Put a council into Production: the executor takes it over at its next bar."""
    registry, name = _shelf(context, symbol, timeframe)
    _say_promoted(registry.promote(name, version))


@click.command()
@click.option("--symbol", help="Contract. [default: that of the newest version of all]")
@timeframe_option
@click.pass_context
def rollback(context: click.Context, symbol: str | None, timeframe: str | None) -> None:
    """Put back into Production what was there before, by the ledger; twice goes back two versions."""
    registry, name = _shelf(context, symbol, timeframe)
    _say_promoted(registry.rollback(name))


@click.command()
@click.option("--symbol", help="Contract. [default: that of the newest version of all]")
@timeframe_option
@click.pass_context
def ledger(context: click.Context, symbol: str | None, timeframe: str | None) -> None:
    """Who promoted what, when, and over which version; promotions made in the MLflow UI are written down now."""
    registry, name = _shelf(context, symbol, timeframe)
    registry.notice(name)
    entries = registry.ledger.entries(name)
    if not entries:
        click.echo(f"nothing was ever promoted under the name {name}")
    for entry in entries:
        at = datetime.fromtimestamp(entry.time_ms / 1000, UTC)
        over = f"over version {entry.over}" if entry.over is not None else "the first"
        gate = "gate passed" if entry.gate_passed else "gate FAILED"
        click.echo(
            f"{entry.number:>4}  {at:%Y-%m-%d %H:%M:%S} UTC  {name} version {entry.version} {over}, "
            f"{entry.how} by {entry.by}; {gate}; {entry.content_hash[:12]}"
        )


def _shelf(context: click.Context, symbol: str | None, timeframe: str | None) -> tuple[Registry, str]:
    """The registry, and the registered name that a command is about."""
    from council.registry import Registry

    settings = settings_of(context, training={"timeframe": timeframe})
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    if symbol:
        return registry, settings.model_name(symbol, settings.training.timeframe)
    return registry, registry.newest_name(f"{settings.mlflow.model_prefix}-")


def _say_promoted(info: ModelVersionInfo) -> None:
    click.echo(f"{info.name} version {info.version} is in Production")
    if not info.gate_passed:
        click.echo("its gate verdict is FAILED: the executor trades it in dry-run only")


@click.command()
@symbol_option
@click.option("--from", "folder", type=click.Path(path_type=Path), help="Import these archives first.")
@click.option("--capture", "seconds", type=click.FloatRange(min=1), help="Capture for this many seconds first.")
@click.option("--trials", type=int, help="Trials of the study.")
@timeframe_option
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
    settings = settings_of(
        context, training={"trials": trials, "timeframe": timeframe}, market={"ob_levels": ob_levels}
    )
    pipeline("flows").run_pipeline(settings, symbol, folder=folder, capture_seconds=seconds)


@click.command()
@click.option("--symbol", help="Write a page for every feature of this contract's data instead.")
@timeframe_option
@click.pass_context
def features(context: click.Context, symbol: str | None, timeframe: str | None) -> None:
    """Print the feature catalogue, or write a page for every feature."""
    if symbol is None:
        from features import catalogue_markdown

        click.echo(catalogue_markdown(), nl=False)
        return
    settings = settings_of(context, training={"timeframe": timeframe})
    click.echo(pipeline("training.feature_pages").pages_of_lake(settings, symbol))


@click.command()
@click.option("--nulls", type=click.IntRange(min=1), default=200, show_default=True, help="Markets without a signal.")
@click.option("--planted", type=click.IntRange(min=0), default=10, show_default=True, help="Of each strength.")
@click.option("--minutes", type=click.IntRange(min=600), default=900, show_default=True, help="Of a null market.")
@click.option("--trials", type=click.IntRange(min=2), default=6, show_default=True, help="Of every study.")
@click.option("--symbol", help="Take recorded days of this contract, features turned against time, as null markets.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes; 0: one a core.")
@click.pass_context
def calibrate(
    context: click.Context, nulls: int, planted: int, minutes: int, trials: int, symbol: str | None, workers: int
) -> None:
    """Measure how often the gate passes where there is nothing to find; exit 1 if it is more than 5 %."""
    size = pipeline("training.calibration_markets").Size(
        nulls=nulls, planted=planted, minutes=minutes, planted_minutes=round(1.6 * minutes), trials=trials
    )
    result = pipeline("training.calibrate").calibrate(
        settings_of(context), size, symbol=symbol, workers=workers, told=_say_market
    )
    click.echo(result.text())
    click.echo(f"page: {result.page}")
    raise SystemExit(0 if result.passed else 1)


def _say_market(done: int, total: int, what: str) -> None:
    click.echo(f"{done} of {total}  {what}", err=True)


@click.command("check-lookahead")
@click.option("--symbol", help="Contract in the lake. [default: eight hours of the synthetic market]")
@timeframe_option
@click.option("--cuts", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.pass_context
def check_lookahead(context: click.Context, symbol: str | None, timeframe: str | None, cuts: int, seed: int) -> None:
    """Recompute features and labels on truncated data; exit 1 if anything looks ahead."""
    settings = settings_of(context, training={"timeframe": timeframe})
    checked = pipeline("training.lookahead").check(settings, symbol, cuts=cuts, seed=seed)
    click.echo(checked.text())
    raise SystemExit(0 if checked.passed else 1)


COMMANDS = (train, promote, rollback, ledger, run, features, check_lookahead, calibrate)
