"""Labels and weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.labels import uniqueness, wins


def test_a_win_earns_more_than_it_costs() -> None:
    assert wins(np.array([0.001, 0.0, -0.002])).tolist() == [1.0, 0.0, 0.0]


def test_an_unknown_outcome_is_no_label() -> None:
    with pytest.raises(ValueError, match="unknown"):
        wins(np.array([0.001, math.nan]))


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
