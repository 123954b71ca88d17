"""One plan at a time, and the baselines that follow the same rule."""

from __future__ import annotations

import numpy as np
import pytest

from features import Bars
from training import baselines
from training.backtest import follow
from training.outcomes import Outcomes


def _table(rows: int, length: int, net: float = 0.01) -> tuple[np.ndarray, Outcomes]:
    decide = np.arange(rows, dtype=np.int64) * 10
    return decide, Outcomes(
        closed=np.ones((rows, 2), np.bool_),
        known=np.ones((rows, 2), np.bool_),
        end_ms=np.repeat(decide[:, None] + length, 2, axis=1),
        net_return=np.tile([net, -net], (rows, 1)),
    )


def test_a_signal_while_a_plan_is_alive_is_not_followed() -> None:
    decide, table = _table(6, length=20)
    track = baselines.track(table, decide, np.ones(6, np.int8))
    # A plan that is over exactly at a decision leaves room for the next.
    assert track.taken.tolist() == [True, False, True, False, True, False]
    assert track.total == pytest.approx(0.03)
    assert (track.orders, track.trades, track.win_rate) == (3, 3, 1.0)


def test_sides_read_their_own_outcome() -> None:
    decide, table = _table(3, length=5)
    track = baselines.track(table, decide, np.array([1, 0, -1], np.int8))
    assert track.returns.tolist() == [0.01, 0.0, -0.01]


def test_unfilled_and_unknown_plans_keep_their_place_but_earn_nothing() -> None:
    decide, table = _table(4, length=20)
    table.closed[0] = table.closed[2] = False
    table.known[2] = False
    table.net_return[2] = np.nan
    track = baselines.track(table, decide, np.ones(4, np.int8))
    assert track.taken.tolist() == [True, False, True, False]
    assert (track.orders, track.trades, track.unknown, track.total) == (2, 0, 1, 0.0)
    assert np.isnan(track.win_rate)
    assert np.isnan(track.sharpe)


def test_no_rows_no_record() -> None:
    empty = np.empty((0, 2))
    track = follow(
        np.empty(0, np.int8),
        np.empty(0, np.int64),
        empty.astype(np.bool_),
        empty.astype(np.bool_),
        empty.astype(np.int64),
        empty,
    )
    assert (track.orders, track.total) == (0, 0.0)


def test_random_entries_imitate_how_often_and_which_side() -> None:
    decide, table = _table(400, length=5)
    like = np.zeros(400, np.int8)
    like[:30], like[30:40] = 1, -1
    totals = baselines.random_entries(table, decide, like, runs=20, seed=1)
    np.testing.assert_allclose(totals, 0.01 * (30 - 10))
    assert totals.tolist() == baselines.random_entries(table, decide, like, runs=20, seed=1).tolist()


def test_buy_and_hold_pays_both_ways() -> None:
    bars = Bars.empty(1)
    assert np.isnan(baselines.buy_and_hold(bars, 0.001))
    closes = np.array([-1, 100, 110], np.int64)
    held = Bars(**{name: getattr(bars, name) for name in Bars.__slots__} | {"close": closes})
    assert baselines.buy_and_hold(held, 0.001) == pytest.approx(0.1 - 0.001 - 0.0011)
