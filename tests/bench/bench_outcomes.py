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

from market.events import BOOK, GAP, LAST, TRADE, EventBatch
from simulation import FillModel, Plans, PlanStatus, simulate
from simulation._index_lookups import reach, turn
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
    entered, left = _arrivals(index, plans)
    times = _step_clock(index)
    times = np.append(times, times[-1] + 86_400_000_000_000)
    peer_seconds, entries, peer = _hftbacktest(events, _row_clock(index, events), plans, times[entered], times[left])
    agreed = ""
    if entries is not None:
        known = found.status != PlanStatus.UNKNOWN
        seen = _in_sight(index, plans, entered, left, found.entry_ms, entries)
        same = (found.entry_ms == entries) & known
        agreed = (
            f"; entry fills (or none) equal to the millisecond: {int((same & seen).sum()):,} of "
            f"{int((known & seen).sum()):,}, and {int((same & ~seen).sum()):,} of {int((known & ~seen).sum()):,} "
            "whose price lay deeper than the book showed, then or while they waited"
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


def _step_clock(index: FillIndex) -> NDArray[np.int64]:
    """A time for each step of the index (a message or a trade), ns.

    Recorded times are whole milliseconds, and orders can arrive between two trades of one. So that both see them in the
    same order, the steps of a millisecond follow each other by 10 ns.
    """
    market = index._market
    assert market is not None
    clock, places = market.clock, np.arange(len(market.clock))
    first = np.maximum.accumulate(np.where(np.diff(clock, prepend=-1) > 0, places, 0))
    times: NDArray[np.int64] = clock * 1_000_000 + 10 * (places - first)
    return times


def _row_clock(index: FillIndex, events: EventBatch) -> NDArray[np.int64]:
    """The time of each row's step, ns; of rows that are no step (tickers), anything."""
    last = (events.kind == BOOK) & (events.flags & LAST != 0)
    ends = last | (events.kind == TRADE) | (events.kind == GAP)
    times = _step_clock(index)
    found: NDArray[np.int64] = times[np.minimum(np.cumsum(ends) - ends, len(times) - 1)]
    return found


def _arrivals(index: FillIndex, plans: Plans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The steps before which entries and cancels arrive: nobody in our model acts before a frame has been read."""
    market = index._market
    assert market is not None
    entered, left = np.empty(len(plans), np.int64), np.empty(len(plans), np.int64)
    for row, (decide, tif) in enumerate(zip(plans.decide_ms.tolist(), plans.tif_ms.tolist())):
        entered[row] = reach(market.clock, decide + _MODEL.latency_ms, turn(market, decide, 0))
        begun = max(turn(market, decide + tif, 0), entered[row])
        left[row] = reach(market.clock, decide + tif + _MODEL.latency_ms, begun)
    return entered, left


def _in_sight(
    index: FillIndex, plans: Plans, entered: NDArray[np.int64], left: NDArray[np.int64], *fills: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each entry's level was among those that the book shows, from its arrival to the first fill or the cancel.

    Where it is deeper, hftbacktest takes the queue for empty, and we for unknown or unchanged.
    """
    market = index._market
    assert market is not None
    seen = np.ones(len(plans), np.bool_)
    for row in range(len(plans)):
        side, key = (1 - int(plans.side[row])) // 2, int(plans.side[row] * plans.limit[row])
        over = [reach(market.clock, int(fill[row]), 0) for fill in fills if fill[row] >= 0]
        until = max(entered[row], min([*over, left[row]]))
        seen[row] = (market.worst[side, entered[row] - 1 : until] <= key).all()
    return seen


def _hftbacktest(
    events: EventBatch,
    clock_ns: NDArray[np.int64],
    plans: Plans,
    arrive_ns: NDArray[np.int64],
    cancel_ns: NDArray[np.int64],
) -> tuple[float | None, NDArray[np.int64] | None, str]:
    """Seconds, the time of each plan's entry fill (-1 without), and what it was."""
    python = os.environ.get(PEERS)
    if python is None:
        return None, None, f"hftbacktest: not installed (set {PEERS})"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        columns: dict[str, Any] = {column: getattr(events, column) for column in EventBatch.__slots__}
        np.savez(folder / "events.npz", clock_ns=clock_ns, **columns)
        asked: dict[str, Any] = {name: getattr(plans, name) for name in ("side", "limit", "size")}
        latency_ns = _MODEL.latency_ms * 1_000_000
        asked |= {"send_ns": arrive_ns - latency_ns, "cancel_ns": cancel_ns - latency_ns}
        np.savez(folder / "plans.npz", latency_ms=np.array(_MODEL.latency_ms), **asked)
        script = Path(__file__).with_name("_hftbacktest_orders_peer.py")
        command: list[str | Path] = [python, script, folder / "events.npz", folder / "plans.npz", folder / "out.npz"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            return None, None, f"hftbacktest: failed ({said.stderr.strip().splitlines()[-1]})"
        with np.load(folder / "out.npz") as out:
            return float(said.stdout), out["filled_ms"], "hftbacktest, entry orders alone"
