"""The local exchange and its markets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands._shared import settings_of

if TYPE_CHECKING:
    from simulation.stats import Facts


@click.command()
@click.option("--synthetic", is_flag=True, help="A seeded synthetic market. [the default]")
@click.option("--replay", type=click.Path(path_type=Path), help="Run the recordings of this lake again instead.")
@click.option("--symbols", help="Comma-separated contracts. [default: SYNUSDT, or all of the lake]")
@click.option("--start", help="Market time to begin at, e.g. 2026-01-05T12:00 (UTC).")
@click.option("--seek", help="The same for a replay: where in the recording to begin.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--signal",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Strength of the planted signal; 0: nothing to find.",
)
@click.option("--realistic", is_flag=True, help="With an intraday pattern, heavier tails and liquidation cascades.")
@click.option(
    "--speed", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Market seconds a second."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8899, show_default=True, help="0 takes a free one.")
def exchange(
    synthetic: bool,
    replay: Path | None,
    symbols: str | None,
    start: str | None,
    seek: str | None,
    seed: int,
    signal: float,
    realistic: bool,
    speed: float,
    port: int,
) -> None:
    """Serve a local exchange that speaks Bybit's v5 API, on loopback."""
    from market.history import parse_time
    from simulation.exchange import run_exchange
    from simulation.flow_params import MarketParams

    if synthetic and replay is not None:
        raise click.UsageError("--synthetic and --replay exclude each other")
    if seek is not None and (replay is None or start is not None):
        raise click.UsageError("--seek belongs to --replay, and takes the place of --start")
    begin = seek if start is None else start
    run_exchange(
        seed=seed,
        signal=signal,
        speed=speed,
        port=port,
        replay=replay,
        symbols=tuple(symbols.split(",")) if symbols else None,
        start_ms=None if begin is None else parse_time(begin),
        params=MarketParams.realistic() if realistic else None,
    )


@click.command()
@click.option("--stats", is_flag=True, required=True, help="Stylised facts of the synthetic market and of the lake's.")
@click.option("--symbol", "symbols", multiple=True, help="A recorded contract; may be given several times. [all]")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--signal", type=click.FloatRange(min=0), default=1.0, show_default=True)
@click.option(
    "--hours",
    type=click.FloatRange(min=0.1),
    default=24.0,
    show_default=True,
    help="Of each market; the last recorded.",
)
@click.pass_context
def market(
    context: click.Context, stats: bool, symbols: tuple[str, ...], seed: int, signal: float, hours: float
) -> None:
    """Show what the synthetic markets look like beside recorded ones."""
    from simulation.stats_report import facts_page, facts_text

    settings = settings_of(context)
    facts = [*_synthetic_facts(seed, signal, hours), *_recorded_facts(settings.paths.lake, symbols, hours)]
    click.echo(facts_text(facts), nl=False)
    folder = settings.paths.reports / "market"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"stats_{datetime.now(UTC):%Y%m%d_%H%M%S}.html"
    path.write_text(facts_page(facts), encoding="utf-8")
    click.echo(f"page: {path}")


def _synthetic_facts(seed: int, signal: float, hours: float) -> list[Facts]:
    from simulation.exchange import DEFAULT_START_MS
    from simulation.flow_params import MarketParams
    from simulation.stats import market_facts
    from simulation.synthetic import SYNTHETIC, synthetic_events

    out = []
    for name, params in (("synthetic", MarketParams()), ("realistic", MarketParams.realistic())):
        length_ms = int(hours * 3_600_000)
        events = synthetic_events(seed, signal, DEFAULT_START_MS, length_ms, params=params)
        out.append(market_facts(name, events, SYNTHETIC))
    return out


def _recorded_facts(root: Path, symbols: tuple[str, ...], hours: float) -> list[Facts]:
    from market.lake import Lake
    from simulation.stats import market_facts

    lake, out = Lake(root), []
    for symbol in symbols or lake.symbols():
        _, last_ms = lake.span_ms(symbol)
        start_ms = max(last_ms - int(hours * 3_600_000), 0)
        events = lake.events(symbol, start_ms, from_snapshot=True)
        out.append(market_facts(symbol, events, lake.instrument(symbol)))
    return out


COMMANDS = (exchange, market)
