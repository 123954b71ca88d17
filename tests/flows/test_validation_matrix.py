"""The feature matrix and drift: what is due, what has drifted, and how often a clean day raises an alarm."""

from __future__ import annotations

import numpy as np
import pytest

from features import build, feature_names
from features.bars import Bars
from features.drift import FALSE_ALARMS, drift
from features.quality import feature_quality
from flows._datadocs import _quiet
from simulation.synthetic import synthetic_events
from tests.flows.planted import DAY_MS, clean_bars

NAMES = feature_names(50)
STEP_MS = 300_000
DAY = 86_400_000


def series(days: int, seed: int, *, memory: float = 0.8, shift: float = 0.0) -> Bars:
    """Bars whose features remember: an autoregression each; the last day is shifted."""
    rng = np.random.default_rng(seed)
    count = days * DAY // STEP_MS
    values = np.empty((count, len(NAMES)))
    state = rng.normal(size=len(NAMES))
    for row in range(count):
        state = memory * state + np.sqrt(1 - memory**2) * rng.normal(size=len(NAMES))
        values[row] = state
    values[-DAY // STEP_MS :, 5] += shift
    open_ms = DAY_MS + np.arange(count) * STEP_MS
    whole = np.full(count, 1, np.int64)
    return Bars(
        open_ms=open_ms,
        close_ms=open_ms + STEP_MS,
        **dict.fromkeys(("open", "high", "low", "close", "volume", "trades", "bid", "ask"), whole),
        atr=np.ones(count),
        valid=np.ones(count, bool),
        values=values,
    )


def _days(bars: Bars) -> list[int]:
    return list(range(DAY_MS, int(bars.close_ms[-1]), DAY))


def test_a_drifted_feature_is_named() -> None:
    bars = series(8, 3, shift=2.5)
    *before, last = _days(bars)
    found = drift(bars, NAMES, STEP_MS, last, before)
    assert [NAMES[i] for i in np.flatnonzero(found.alarmed)] == [NAMES[5]]
    assert found.p_value[5] <= FALSE_ALARMS
    assert np.isnan(found.index[NAMES.index("vwap_distance_24h")])  # it remembers longer than a block
    assert "remembers" in found.reason[NAMES.index("vwap_distance_24h")]


def test_a_few_days_are_enough_for_a_large_shift() -> None:
    """The judged day is no part of what it is compared with: a large shift does not hide itself."""
    bars = series(5, 3, shift=2.5)
    *before, last = _days(bars)
    assert [NAMES[i] for i in np.flatnonzero(drift(bars, NAMES, STEP_MS, last, before).alarmed)] == [NAMES[5]]


def test_two_weeks_are_enough_for_a_shift_of_one_deviation() -> None:
    bars = series(15, 3, memory=0.5, shift=1.0)
    *before, last = _days(bars)
    assert [NAMES[i] for i in np.flatnonzero(drift(bars, NAMES, STEP_MS, last, before).alarmed)] == [NAMES[5]]


def test_too_few_days_are_unknown_not_clean() -> None:
    bars = series(1, 3)
    found = drift(bars, NAMES, STEP_MS, DAY_MS, [])
    assert np.isnan(found.index).all()
    assert "are needed" in found.reason[0]
    assert not found.alarmed.any()


def test_false_alarms_stay_within_the_declared_rate() -> None:
    """Autocorrelated features without drift: 12 days, each against the other three of its run."""
    alarms = judged = 0
    for seed in range(3):
        bars = series(4, seed, memory=0.9)
        for day in _days(bars):
            alarms += drift(bars, NAMES, STEP_MS, day, [one for one in _days(bars) if one != day]).alarmed.any()
            judged += 1
    print(f"{alarms} of {judged} clean days raised an alarm; declared: {FALSE_ALARMS:.0%}")
    assert alarms <= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_false_alarms_of_clean_synthetic_days() -> None:
    alarms = judged = 0
    for seed in range(100, 110):
        bars = build(synthetic_events(seed, 0.0, DAY_MS, 6 * DAY, levels=50), STEP_MS, 50)
        for day in _days(bars):
            alarms += drift(bars, NAMES, STEP_MS, day, [one for one in _days(bars) if one != day]).alarmed.any()
            judged += 1
    print(f"{alarms} of {judged} clean synthetic days raised an alarm; declared: {FALSE_ALARMS:.0%}")
    assert alarms <= 3  # P(more than 3 of 60) is 0.3 % at the declared rate


def test_what_is_missing_before_warm_up_or_in_a_hole_is_none() -> None:
    bars = clean_bars()
    column = NAMES.index("volume_z")  # 48 bars
    bars.values[:47, column] = np.nan
    quality = feature_quality(bars, NAMES, 60_000, DAY_MS, DAY_MS + DAY)
    assert (quality.due[column], quality.missing[column]) == (53, 0)
    bars.valid[60] = False
    bars.values[60] = np.nan
    bars.values[61:, column] = np.nan
    quality = feature_quality(bars, NAMES, 60_000, DAY_MS, DAY_MS + DAY)
    assert (quality.due[column], quality.missing[column]) == (13, 0)
    assert quality.filled.sum() == 0
    with pytest.raises(ValueError, match="not declared"):
        feature_quality(bars, ("x",) * len(NAMES), 60_000, DAY_MS, DAY_MS + DAY)


def test_our_own_expectations_compute_what_they_say() -> None:
    with _quiet():  # Great Expectations uses what is deprecated
        from flows._expectations import grid, lag_minutes, share
    price = 100 + np.cumsum(np.random.default_rng(1).normal(size=400))
    assert lag_minutes(price, price) == 0
    assert lag_minutes(np.r_[np.full(60, np.nan), price[:-60]], price) == 60
    assert lag_minutes(price[5:], price[:-5]) == -5
    assert np.isnan(lag_minutes(price[:10], price[:10]))
    assert grid(np.array([0, 10, 25])) == 5
    assert np.isnan(grid(np.zeros(3)))
    assert share(np.array([1.0, 2.0]), np.array([4.0, 8.0])) == 0.25
    assert np.isnan(share(np.array([1.0]), np.array([0.0])))
