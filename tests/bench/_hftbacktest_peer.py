"""Run by an interpreter that has hftbacktest: events in, seconds of a run without orders out.

``python _hftbacktest_peer.py EVENTS.npz``: columns of market.events; prints the CPU seconds of each of its two books,
each piece of the run (about 100,000 events) at its fastest: a line of seconds and name, the faster book first.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from hftbacktest import (
    BUY_EVENT,
    DEPTH_CLEAR_EVENT,
    DEPTH_EVENT,
    DEPTH_SNAPSHOT_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.types import event_dtype
from numba import njit

PIECE = 100_000
REPEATS = 6


def _clock_ns(time_ms: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(time_ms) * 1_000_000


def convert(columns: dict[str, np.ndarray]) -> np.ndarray:
    kept = columns["kind"] < 2
    kind, flags, side = (columns[name][kept] for name in ("kind", "flags", "side"))
    clock = columns["clock_ns"][kept] if "clock_ns" in columns else _clock_ns(columns["time_ms"][kept])
    snapshot = (kind == 0) & (flags & 1 != 0)
    what = np.where(kind == 1, TRADE_EVENT, np.where(snapshot, DEPTH_SNAPSHOT_EVENT, DEPTH_EVENT))
    both = EXCH_EVENT | LOCAL_EVENT
    events = np.zeros(len(kind), event_dtype)
    events["ev"] = what | both | np.where(side == 0, BUY_EVENT, SELL_EVENT)
    events["exch_ts"] = events["local_ts"] = clock
    events["px"], events["qty"] = columns["price"][kept], columns["size"][kept]
    # A snapshot replaces the book: it is cleared first.
    starts = np.flatnonzero(snapshot & (flags & 2 != 0))
    clear = np.zeros(len(starts), event_dtype)
    clear["ev"] = DEPTH_CLEAR_EVENT | both
    clear["exch_ts"] = clear["local_ts"] = clock[starts]
    return np.insert(events, starts, clear)


@njit
def run(backtest, span_ns):
    return backtest.elapse(span_ns)


def main(path: str) -> None:
    events = convert(dict(np.load(path)))
    prices = events["px"][events["px"] > 0]
    span_ns = int(events["exch_ts"][-1] - events["exch_ts"][0]) // max(1, len(events) // PIECE) + 1
    spent: list[tuple[float, str]] = []
    for name, make in (("hash map", HashMapMarketDepthBacktest), ("vector", ROIVectorMarketDepthBacktest)):
        fastest: list[int] = []
        for repeat in range(REPEATS):
            asset = BacktestAsset().data([events]).linear_asset(1.0).constant_order_latency(0, 0)
            asset = asset.risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
            asset = asset.tick_size(1.0).lot_size(1.0).last_trades_capacity(0)
            if name == "vector":
                asset = asset.roi_lb(float(prices.min())).roi_ub(float(prices.max()))
            backtest = make([asset])
            pieces, ended = [], False
            if repeat == 0:
                run(backtest, 1)  # compiles
            while not ended:
                started = time.thread_time_ns()
                ended = run(backtest, span_ns) != 0
                pieces.append(time.thread_time_ns() - started)
            backtest.close()
            fastest = [min(pair) for pair in zip(fastest, pieces)] if fastest else pieces
        spent.append((sum(fastest) / 1e9, name))
    for seconds, name in sorted(spent):
        print(seconds, name)


if __name__ == "__main__":
    main(sys.argv[1])
