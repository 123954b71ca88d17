"""Prices of a plan: never better than asked for, never impossible."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council import LONG, SHORT, StrategyParams, make_plan, plan_prices
from council.plan import DIRECTIONAL, PASSIVE

PARAMS = StrategyParams(offset_atr=0.5, stop_atr=1.0, target_atr=1.5, tif_bars=2, hold_bars=6)


def test_a_plan_of_each_side() -> None:
    plan = make_plan(PARAMS, LONG, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (994, 983, 1_010)
    assert (plan.tif_ms, plan.hold_ms) == (120_000, 360_000)
    plan = make_plan(PARAMS, SHORT, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (1_006, 1_017, 990)


def test_a_directional_plan_measures_from_the_close_and_caps_what_it_pays() -> None:
    taking = replace(PARAMS, entry=DIRECTIONAL, target_maker=True)
    plan = make_plan(taking, LONG, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (1_005, 989, 1_016)
    assert (plan.entry, plan.target_maker) == (DIRECTIONAL, True)
    plan = make_plan(taking, SHORT, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (995, 1_011, 984)


@given(
    side=st.sampled_from([LONG, SHORT]),
    close=st.integers(1_000, 10**7),
    atr=st.floats(1e-3, 300),
    offset=st.floats(0, 3),
    stop=st.floats(0.01, 5),
    target=st.floats(0.01, 5),
)
def test_directional_prices_are_on_the_safe_side(
    side: int, close: int, atr: float, offset: float, stop: float, target: float
) -> None:
    limit, stop_price, target_price = plan_prices(side, close, atr, offset, stop, target, True)
    assert -1e-6 <= side * (limit - close) + 1 <= offset * atr + 1 + 1e-6
    assert side * (close - stop_price) >= stop * atr - 1e-6
    assert side * (target_price - close) >= target * atr - 1e-6
    assert side * stop_price < side * limit < side * target_price


def test_a_council_trades_what_most_of_its_approving_members_are_made_for() -> None:
    passive, taking = PARAMS, replace(PARAMS, offset_atr=2.0, entry=DIRECTIONAL, target_maker=True)
    many = StrategyParams.median_of([taking, passive, taking])
    assert (many.entry, many.target_maker, many.offset_atr) == (DIRECTIONAL, True, 2.0)
    few = StrategyParams.median_of([taking, passive, passive])
    assert (few.entry, few.target_maker, few.offset_atr) == (PASSIVE, False, 0.5)
    assert StrategyParams.median_of([taking, passive]) == passive


@given(
    side=st.sampled_from([LONG, SHORT]),
    close=st.integers(1_000, 10**7),
    atr=st.floats(1e-3, 300),
    offset=st.floats(0, 3),
    stop=st.floats(0.01, 5),
    target=st.floats(0.01, 5),
)
def test_prices_are_on_the_safe_side(
    side: int, close: int, atr: float, offset: float, stop: float, target: float
) -> None:
    limit, stop_price, target_price = plan_prices(side, close, atr, offset, stop, target)
    assert side * (close - limit) >= offset * atr - 1e-6
    assert side * (limit - stop_price) >= max(1, stop * atr - 1e-6)
    assert side * (target_price - limit) >= max(1, target * atr - 1e-6)


@pytest.mark.parametrize(("close", "atr"), [(1_000, math.nan), (1_000, 0.0), (1_000, math.inf), (-1, 1.0), (10, 8.0)])
def test_no_plan_without_prices(close: int, atr: float) -> None:
    assert make_plan(PARAMS, LONG, close, atr, 60_000) is None


@pytest.mark.parametrize(
    "change",
    [
        {"offset_atr": -0.1},
        {"stop_atr": 0.0},
        {"target_atr": math.nan},
        {"tif_bars": 0},
        {"entry": "x"},
        {"target_maker": 1},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        StrategyParams(**{**PARAMS.to_json(), **change})
