"""Prices of a plan: never better than asked for, never impossible."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council import LONG, SHORT, StrategyParams, make_plan, plan_prices

PARAMS = StrategyParams(offset_atr=0.5, stop_atr=1.0, target_atr=1.5, tif_bars=2, hold_bars=6)


def test_a_plan_of_each_side() -> None:
    plan = make_plan(PARAMS, LONG, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (994, 983, 1_010)
    assert (plan.tif_ms, plan.hold_ms) == (120_000, 360_000)
    plan = make_plan(PARAMS, SHORT, 1_000, 10.3, 60_000)
    assert plan is not None
    assert (plan.limit, plan.stop, plan.target) == (1_006, 1_017, 990)


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


@pytest.mark.parametrize("change", [{"offset_atr": -0.1}, {"stop_atr": 0.0}, {"target_atr": math.nan}, {"tif_bars": 0}])
def test_impossible_parameters_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        StrategyParams(**{**PARAMS.to_json(), **change})
