"""What fills the lake, judges it and shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands._shared import pipeline, settings_of, symbol_option
from market.errors import EmptyLakeError

if TYPE_CHECKING:
    from settings import Settings


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@symbol_option
@click.pass_context
def import_(context: click.Context, folder: Path, symbol: str) -> None:
    """Import Bybit's history archives below FOLDER into the lake. Importing twice adds nothing."""
    pipeline("flows").run_import(settings_of(context), folder, symbol)


@click.command()
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
    settings = settings_of(context, market={"symbols": names, "ob_levels": ob_levels})
    if seconds is None:
        _record(settings, metrics_port, take_over)
    else:
        pipeline("flows").run_capture(settings, settings.market.symbols, seconds)


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


@click.command()
@symbol_option
@click.option("--date", help="One UTC day, YYYY-MM-DD. [default: all days]")
@click.pass_context
def validate(context: click.Context, symbol: str, date: str | None) -> None:
    """Judge what the lake holds; exit 0 ok, 1 blocked, 2 error."""
    report = pipeline("flows").run_validate(settings_of(context), symbol, date)
    if report.status == "blocked":
        raise SystemExit(1)


@click.command()
@click.pass_context
def lake(context: click.Context) -> None:
    """List what the lake holds: days, rows and holes."""
    from market import Lake, coverage_text

    settings = settings_of(context)
    store = Lake(settings.paths.lake)
    if not (symbols := store.symbols()):
        raise EmptyLakeError(f"the lake {store.root} is empty", advice="Run `purplesky capture` or `purplesky import`")
    click.echo(coverage_text(store, symbols, settings.market.stall_ms))


@click.command()
@symbol_option
@click.option("--at", required=True, help="UTC, like 2026-01-05T12:00:00.")
@click.option("--levels", type=click.IntRange(min=1), default=10, show_default=True)
@click.pass_context
def book(context: click.Context, symbol: str, at: str, levels: int) -> None:
    """Print the order book at an instant."""
    from market import Lake, book_at, book_text, parse_time

    store = Lake(settings_of(context).paths.lake)
    click.echo(book_text(book_at(store, symbol, parse_time(at)), store.instrument(symbol), levels))


COMMANDS = (import_, capture, validate, lake, book)
