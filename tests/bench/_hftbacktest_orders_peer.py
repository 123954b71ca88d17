"""Run by an interpreter that has hftbacktest: events and order plans in, what became of the entries out.

``python _hftbacktest_orders_peer.py EVENTS.npz PLANS.npz OUT.npz``: each plan is one post-only limit order, cancelled
when its time is over; prints the seconds of the run. Orders arrive just before the message or trade before which they
arrive in our fill model. Queue: risk-averse, without partial fills: an order fills when its whole size is reached.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from _hftbacktest_peer import convert
from hftbacktest import GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from numba import njit

_NS = 1_000_000
_FILLED = 3


@njit
def run(backtest, when, what, side, limit, size, filled_ns):
    backtest.elapse(1)  # before this the clock does not stand anywhere
    for i in range(len(when)):
        wait = when[i] - backtest.current_timestamp
        if wait > 0 and backtest.elapse(wait) != 0:
            break
        plan = what[i] >> 1
        if what[i] & 1:
            if plan in backtest.orders(0) and backtest.orders(0).get(plan).cancellable:
                backtest.cancel(0, plan, False)
        elif side[plan] > 0:
            backtest.submit_buy_order(0, plan, limit[plan], size[plan], GTX, LIMIT, False)
        else:
            backtest.submit_sell_order(0, plan, limit[plan], size[plan], GTX, LIMIT, False)
    backtest.elapse(3_600_000_000_000)
    for plan in range(len(side)):
        if plan in backtest.orders(0):
            order = backtest.orders(0).get(plan)
            if order.status == _FILLED:
                filled_ns[plan] = order.exch_timestamp


def once(events: np.ndarray, plans: dict[str, np.ndarray], latency_ms: int) -> tuple[float, np.ndarray]:
    prices = events["px"][events["px"] > 0]
    asset = BacktestAsset().data([events]).linear_asset(1.0).constant_order_latency(latency_ms * _NS - 1, 0)
    asset = asset.risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
    asset = asset.tick_size(1.0).lot_size(1.0).last_trades_capacity(0)
    asset = asset.roi_lb(float(prices.min())).roi_ub(float(prices.max()))
    backtest = ROIVectorMarketDepthBacktest([asset])
    count = len(plans["side"])
    when = np.concatenate([plans["send_ns"], plans["cancel_ns"]])
    what = np.concatenate([2 * np.arange(count), 2 * np.arange(count) + 1])
    order = np.argsort(when, kind="stable")
    filled = np.full(count, -1, np.int64)
    started = time.perf_counter()
    columns = (plans["side"], plans["limit"].astype(float), plans["size"].astype(float))
    run(backtest, when[order], what[order], *columns, filled)
    seconds = time.perf_counter() - started
    backtest.close()
    return seconds, filled


def main(events_path: str, plans_path: str, out_path: str) -> None:
    events = convert(dict(np.load(events_path)))
    plans = dict(np.load(plans_path))
    latency_ms = int(plans.pop("latency_ms"))
    once(events[:100_000], plans, latency_ms)  # compiles
    seconds, filled = min((once(events, plans, latency_ms) for _ in range(2)), key=lambda found: found[0])
    np.savez(out_path, filled_ms=np.where(filled < 0, -1, filled // _NS))
    print(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
