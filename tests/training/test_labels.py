"""Labels and weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.labels import directions, fills, uniqueness, wins


def test_a_win_earns_more_than_it_costs() -> None:
    assert wins(np.array([0.001, 0.0, -0.002])).tolist() == [1.0, 0.0, 0.0]


def test_an_unknown_outcome_is_no_label() -> None:
    with pytest.raises(ValueError, match="unknown"):
        wins(np.array([0.001, math.nan]))


def test_unfilled_is_not_lost_and_unknown_is_neither() -> None:
    label = fills(np.array([True, False, False]), np.array([True, True, False]))
    np.testing.assert_array_equal(label, [1.0, 0.0, math.nan])


def test_directions_bridge_nothing() -> None:
    close = np.array([10, 12, 11, 11, 9, 8, 13], np.int64)
    close_ms = np.arange(1, 8) * 60_000
    valid = np.ones(7, np.bool_)
    np.testing.assert_array_equal(
        directions(close, close_ms, valid, 1, 60_000), [1.0, 0.0, math.nan, 0.0, 0.0, 1.0, math.nan]
    )
    np.testing.assert_array_equal(directions(close, close_ms, valid, 2, 60_000)[-3:], [1.0, math.nan, math.nan])
    valid[2] = False  # a suspect window
    assert np.isnan(directions(close, close_ms, valid, 2, 60_000)[:3]).all()
    missing = np.delete(np.arange(7), 3)
    label = directions(close[missing], close_ms[missing], np.ones(6, np.bool_), 2, 60_000)
    np.testing.assert_array_equal(label, [1.0, math.nan, math.nan, 1.0, math.nan, math.nan])
    assert directions(close[:0], close_ms[:0], valid[:0], 2, 60_000).size == 0


def test_labels_that_do_not_overlap_weigh_the_same() -> None:
    start = np.array([0, 10, 20], np.int64)
    assert uniqueness(start, start + 9).tolist() == [1.0, 1.0, 1.0]
    assert uniqueness(start[:0], start[:0]).size == 0


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 200)), min_size=1, max_size=40),
)
def test_uniqueness_against_a_slow_reference(steps: list[tuple[int, int]]) -> None:
    start = np.cumsum([gap for gap, _ in steps]).astype(np.int64)
    end = start + np.array([length for _, length in steps])
    times = sorted(set(start.tolist()))
    raw = []
    for own_start, own_end in zip(start, end):
        lived = [time for time in times if own_start <= time <= own_end]
        raw.append(np.mean([1 / sum(a <= time <= b for a, b in zip(start, end)) for time in lived]))
    np.testing.assert_allclose(uniqueness(start, end), np.array(raw) / np.mean(raw))
