"""Outcome tables beside hftbacktest: the same orders over the same recorded market, speed and agreement of fills."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.events import BOOK, TRADE, EventBatch
from simulation import FillModel, Plans, PlanStatus, simulate
from simulation._index_lookups import displayed, reach, turn
from simulation._layout import HIDDEN
from simulation.index import FillIndex
from tests.bench._harness import benchmark, best_of
from tests.bench.bench_features import PEERS, data

_MODEL = FillModel(50, 0.0002, 0.00055)
_MINUTE = 60_000


@benchmark("training.outcomes")
def outcomes() -> dict[str, object]:
    """Order plans a second: a long and a short one every minute, from the decision to the end of the position."""
    name = "SXBTCUSDT" if data("SXBTCUSDT") is not None else "synthetic"
    events = data(name)
    assert events is not None
    plans = every_minute(events)
    started = time.perf_counter()
    index = FillIndex(lambda: events.chunks(1 << 19))
    built = time.perf_counter() - started
    found = index.simulate(plans, _MODEL)
    seconds = best_of(lambda: index.simulate(plans, _MODEL), 5)
    simulate([events[:1000]], plans, _MODEL)
    read = best_of(lambda: simulate([events], plans, _MODEL), 2)
    arrive_ms, cancel_ms, seen = _arrivals(index, plans)
    peer_seconds, entries, peer = _hftbacktest(events, plans, arrive_ms, cancel_ms)
    agreed = ""
    if entries is not None:
        # Where a price lies deeper than the book shows, hftbacktest takes the queue for empty and we for unknown.
        known = found.status != PlanStatus.UNKNOWN
        same = (found.entry_ms == entries) & known
        agreed = (
            f"; entry fills (or none) equal to the millisecond: {int((same & seen).sum()):,} of "
            f"{int((known & seen).sum()):,}, and {int((same & ~seen).sum()):,} of {int((known & ~seen).sum()):,} "
            "whose price lay deeper than the book shows"
        )
    return {
        "value": len(plans) / seconds,
        "unit": "order plans/s",
        "peer": peer,
        "peer_value": None if peer_seconds is None else len(plans) / peer_seconds,
        "input": f"{len(plans):,} plans over {len(events):,} rows of {name} in {seconds * 1e3:.1f} ms "
        f"(index built once in {built:.1f} s; reading every event {read * 1e3:.0f} ms a table; "
        f"{index.deferred:,} lives left to the kernel){agreed}",
    }


def every_minute(events: EventBatch) -> Plans:
    """A long and a short plan a minute, a little behind the last trade, of one step so that none fills in part."""
    trades = events.kind == TRADE
    clock = np.maximum.accumulate(events.time_ms)
    times, prices = clock[trades], events.price[trades]
    tick = int(np.gcd.reduce(events.price[(events.kind == BOOK) & (events.price > 0)]))
    first = (int(times[0]) // _MINUTE + 10) * _MINUTE
    decide = np.arange(first, int(times[-1]) - 60 * _MINUTE, _MINUTE)
    last = prices[np.searchsorted(times, decide) - 1] // tick * tick
    count = len(decide)
    decide, last, side = np.repeat(decide, 2), np.repeat(last, 2), np.tile(np.array([1, -1], np.int64), count)
    away = tick * np.tile(np.array([1, 2, 4, 8], np.int64), count)[: 2 * count]
    limit = last - side * away
    reach = np.maximum(last // 500, 4 * tick)
    return Plans(
        decide_ms=decide,
        side=side.astype(np.int8),
        limit=limit,
        stop=limit - side * reach,
        target=limit + side * reach,
        size=np.ones(2 * count, np.int64),
        tif_ms=np.full(2 * count, 3 * _MINUTE),
        hold_ms=np.full(2 * count, 12 * _MINUTE),
    )


def _arrivals(index: FillIndex, plans: Plans) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Times before whose events entries and cancels arrive, and whether the entry's level was in sight.

    In our model nobody acts before a frame has been read, so these are later than what was asked for.
    """
    market = index._market
    assert market is not None
    clock = np.append(market.clock, market.clock[-1] + 86_400_000)
    arrive, cancel = np.empty(len(plans), np.int64), np.empty(len(plans), np.int64)
    seen = np.ones(len(plans), np.bool_)
    for row, (decide, tif) in enumerate(zip(plans.decide_ms.tolist(), plans.tif_ms.tolist())):
        entered = reach(market.clock, decide + _MODEL.latency_ms, turn(market, decide, 0))
        left = reach(market.clock, decide + tif + _MODEL.latency_ms, max(turn(market, decide + tif, 0), entered))
        side, key = (1 - int(plans.side[row])) // 2, int(plans.side[row] * plans.limit[row])
        seen[row] = displayed(market, side, key, entered - 1) != HIDDEN
        arrive[row], cancel[row] = clock[min(entered, len(clock) - 1)], clock[min(left, len(clock) - 1)]
    return arrive, cancel, seen


def _hftbacktest(
    events: EventBatch, plans: Plans, arrive_ms: NDArray[np.int64], cancel_ms: NDArray[np.int64]
) -> tuple[float | None, NDArray[np.int64] | None, str]:
    """Seconds, the time of each plan's entry fill (-1 without), and what it was."""
    python = os.environ.get(PEERS)
    if python is None:
        return None, None, f"hftbacktest: not installed (set {PEERS})"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        columns: dict[str, Any] = {column: getattr(events, column) for column in EventBatch.__slots__}
        np.savez(folder / "events.npz", **columns)
        asked: dict[str, Any] = {name: getattr(plans, name) for name in ("side", "limit", "size")}
        asked |= {"send_ms": arrive_ms - _MODEL.latency_ms, "cancel_ms": cancel_ms - _MODEL.latency_ms}
        np.savez(folder / "plans.npz", latency_ms=np.array(_MODEL.latency_ms), **asked)
        script = Path(__file__).with_name("_hftbacktest_orders_peer.py")
        command: list[str | Path] = [python, script, folder / "events.npz", folder / "plans.npz", folder / "out.npz"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            return None, None, f"hftbacktest: failed ({said.stderr.strip().splitlines()[-1]})"
        with np.load(folder / "out.npz") as out:
            return float(said.stdout), out["filled_ms"], "hftbacktest, entry orders alone"
