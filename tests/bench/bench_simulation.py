"""The simulation: a synthetic day, and the lives of order plans."""

from __future__ import annotations

import numpy as np

from market.events import EventBatch
from simulation import FillModel, Plans, simulate
from simulation.exchange import DEFAULT_START_MS
from simulation.synthetic import synthetic_events
from tests.bench._harness import benchmark, best_of

_HOUR_MS = 3_600_000


def _day(hours: int = 24) -> list[EventBatch]:
    return list(synthetic_events(7, 1.0, DEFAULT_START_MS, hours * _HOUR_MS))


@benchmark("simulation.synthetic_day")
def synthetic_day() -> dict[str, object]:
    """Generate a day of one symbol: order flow, matching, and the frames a recorder would get."""
    _day(1)
    rows = 0

    def work() -> None:
        nonlocal rows
        rows = sum(map(len, _day()))

    seconds = best_of(work, 1)
    return {"value": seconds, "unit": "s", "input": f"24 h of SYNUSDT, {rows:,} event rows", "less_is_better": True}


@benchmark("simulation.fills")
def fills() -> dict[str, object]:
    """Event rows a second through the fill kernel while some thousand plans live and die."""
    events = _day(6)
    rows = sum(map(len, events))
    plans = _plans(events, every_ms=30_000)
    simulate(events[:2], plans, FillModel(50, 0.0002, 0.00055))
    seconds = best_of(lambda: simulate(events, plans, FillModel(50, 0.0002, 0.00055)))
    return {
        "value": rows / seconds,
        "unit": "events/s",
        "input": f"{rows:,} synthetic rows, {len(plans.side):,} plans",
    }


def _plans(events: list[EventBatch], every_ms: int) -> Plans:
    """A long and a short plan every so often, near the last trade."""
    joined = EventBatch.concat(events)
    trades = joined.kind == 1
    times, prices = joined.time_ms[trades], joined.price[trades]
    decide = np.arange(times[0] + 600_000, times[-1] - 600_000, every_ms)
    last = prices[np.searchsorted(times, decide) - 1]
    side = np.tile(np.array([1, -1], np.int8), len(decide))
    decide, last = np.repeat(decide, 2), np.repeat(last, 2)
    return Plans(
        decide_ms=decide,
        side=side,
        limit=last - side * 4,
        stop=last - side * 124,
        target=last + side * 116,
        size=np.full(len(decide), 30, np.int64),
        tif_ms=np.full(len(decide), 120_000, np.int64),
        hold_ms=np.full(len(decide), 600_000, np.int64),
    )
