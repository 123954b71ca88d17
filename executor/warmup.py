"""Features that a session begins with: from the end of the lake, where it counts as the venue does now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from executor.view import MarketView
from features import FEATURES
from market.days import LakeDay, lake_days
from market.errors import LakeError
from market.lake import Lake
from market.manifest import Manifest


def warm_up(view: MarketView, lake: Lake, echo: Callable[[str], None]) -> None:
    """Let the features see the end of the lake, twice as long as the slowest of them needs."""
    symbol = view.symbol
    if symbol not in lake.symbols():
        echo(f"features start cold: the lake {lake.root} has no {symbol}")
        return
    window_ms = 2 * max(max(spec.warmup_ms, spec.warmup_bars * view.timeframe_ms) for spec in FEATURES)
    try:
        there, here = lake.instrument(symbol), view.rules
        if (there.tick_size, there.qty_step) != (here.tick_size, here.qty_step):
            echo(
                f"features start cold: {symbol} counts in ticks of {here.tick_size} and steps of {here.qty_step} now, "
                f"the lake in {there.tick_size} and {there.qty_step}"
            )
            return
        last_ms = lake.span_ms(symbol)[1]
        bars = 0
        for day in _days_from(lake, symbol, last_ms - window_ms):
            for batch in day.events():
                bars += len(view.push(view.part(batch)))
    except LakeError as error:
        # A damaged lake is no reason not to look after a position.
        view.reset()
        echo(f"warning: {error.message}; features start cold")
        return
    echo(f"features warmed up over {bars} bars of the lake")


def _days_from(lake: Lake, symbol: str, start_ms: int) -> list[LakeDay]:
    """The days from `start_ms` on, tickers included, and those before that the book of the first one needs."""
    opening: dict[str, Manifest] = {}
    for manifest in lake.manifests(symbol):
        opening.setdefault(manifest.date, manifest)
    wanted = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%d")
    known = [date for date in sorted(opening) if date <= wanted and opening[date].snapshots]
    first = known[-1] if known else min(opening)
    return [day for day in lake_days(lake, symbol) if day.date >= first]
