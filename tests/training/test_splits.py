"""Purging, embargo and paths: each pitfall seen elsewhere is a test."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.splits import CombinatorialPurgedSplit, WalkForwardSplit, without_suspect


def _times(rows: int, label: int, step: int = 10) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    start = np.arange(rows, dtype=np.int64) * step
    return start, start + label


def test_every_choice_of_blocks_is_tested_once() -> None:
    start, end = _times(60, 0)
    splitter = CombinatorialPurgedSplit(6, 2)
    tested = [tuple(np.unique(test // 10)) for _, test in splitter.split(start, end)]
    assert tested == splitter.combinations
    assert len(tested) == splitter.splits == math.comb(6, 2)


def test_a_training_label_that_reaches_into_the_test_block_is_purged() -> None:
    start, end = _times(30, label=25)
    # Block 1 (rows 10 to 19) is tested; it begins at 100. Rows 8 and 9 end at 105 and 115.
    train, test = list(CombinatorialPurgedSplit(3, 1).split(start, end))[1]
    assert test.tolist() == list(range(10, 20))
    assert train.max() == 29
    assert 7 in train
    assert not {8, 9} & set(train.tolist())


def test_a_test_label_that_reaches_past_its_block_purges_what_follows() -> None:
    start, end = _times(30, label=25)
    # The last label of block 1 ends at 215: rows 20 and 21 begin before that.
    train, _ = list(CombinatorialPurgedSplit(3, 1).split(start, end))[1]
    assert {20, 21} & set(train.tolist()) == set()
    assert 22 in train


def test_the_longest_label_counts_not_the_last() -> None:
    start, end = _times(30, label=0)
    end[12] = 270
    train, _ = list(CombinatorialPurgedSplit(3, 1).split(start, end))[1]
    assert train.tolist() == [*range(10), 28, 29]


def test_the_embargo_counts_from_the_label_end_and_adds_to_the_purge() -> None:
    start, end = _times(30, label=25)
    train, _ = list(CombinatorialPurgedSplit(3, 1, embargo_ms=30).split(start, end))[1]
    # Label end 215, embargo until 245: rows 20 to 24 go, and so do the purged ones before the block.
    assert train.tolist() == [*range(8), *range(25, 30)]


def test_the_embargo_stands_after_the_block_only() -> None:
    start, end = _times(30, label=0)
    train, _ = list(CombinatorialPurgedSplit(3, 1, embargo_ms=50).split(start, end))[1]
    assert train.tolist() == [*range(10), *range(25, 30)]


def test_distant_test_blocks_leave_what_lies_between_to_training() -> None:
    start, end = _times(60, label=15)
    splitter = CombinatorialPurgedSplit(6, 2, embargo_ms=10)
    train, test = list(splitter.split(start, end))[splitter.combinations.index((0, 5))]
    assert test.tolist() == [*range(10), *range(50, 60)]
    # Only the edges of the span between blocks 0 and 5 are lost.
    assert train.tolist() == list(range(12, 49))


def test_bursty_events_are_purged_by_time_not_by_rows() -> None:
    start = np.array([0, 1, 2, 3, 4, 1000, 1001, 1002, 1003, 1004, 2000, 3000], np.int64)
    end = start + 500
    train, test = list(CombinatorialPurgedSplit(3, 1).split(start, end))[1]
    assert test.tolist() == [4, 5, 6, 7]
    # Row 4 belongs to the first burst, so that whole burst overlaps it; of the second burst nothing is left either.
    assert train.tolist() == [10, 11]


def test_paths_use_every_prediction_once() -> None:
    splitter = CombinatorialPurgedSplit(6, 2)
    paths = splitter.paths()
    assert paths.shape == (5, 6)
    used = [(split, group) for path in paths for group, split in enumerate(path)]
    assert len(set(used)) == len(used) == 30
    assert all(group in splitter.combinations[split] for split, group in used)


@pytest.mark.parametrize(("groups", "test_groups", "embargo"), [(3, 3, 0), (3, 0, 0), (3, 1, -1)])
def test_impossible_splits_are_refused(groups: int, test_groups: int, embargo: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        CombinatorialPurgedSplit(groups, test_groups, embargo)


def test_impossible_times_are_refused() -> None:
    start, end = _times(9, 5)
    splitter = CombinatorialPurgedSplit(3, 1)
    for bad_start, bad_end, what in (
        (start[::-1], end, "order"),
        (start, start - 1, "before its decision"),
        (start, end[:-1], "starts"),
        (start[:2], end[:2], "blocks"),
    ):
        with pytest.raises(ValueError, match=what):
            list(splitter.split(bad_start, bad_end))


@given(
    gaps=st.lists(st.integers(0, 50), min_size=8, max_size=60),
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(4, 1), (4, 2), (6, 2), (5, 3)]),
    embargo=st.integers(0, 60),
)
def test_no_label_ever_meets_a_test_block(gaps: list[int], seed: int, shape: tuple[int, int], embargo: int) -> None:
    start = np.cumsum(np.array(gaps, np.int64))
    end = start + np.random.default_rng(seed).integers(0, 120, len(start))
    splitter = CombinatorialPurgedSplit(*shape, embargo)
    bounds = splitter.bounds(len(start))
    for choice, (train, test) in zip(splitter.combinations, splitter.split(start, end)):
        assert not np.intersect1d(train, test).size
        for group in choice:
            first, last = start[bounds[group]], end[bounds[group] : bounds[group + 1]].max()
            for row in train:
                assert end[row] < first or start[row] > last + embargo
        # Nothing is lost without a reason.
        for row in np.setdiff1d(np.arange(len(start)), np.concatenate([train, test])):
            spans = [(start[a], end[a:b].max()) for group, (a, b) in enumerate(pairwise(bounds)) if group in choice]
            assert any(end[row] >= first and start[row] <= last + embargo for first, last in spans)


def test_recombined_paths_hold_what_each_split_said_of_its_test_rows() -> None:
    splitter = CombinatorialPurgedSplit(5, 2)
    start, end = _times(53, 15)
    said = np.full((splitter.splits, 53), np.nan)
    for number, (_, test) in enumerate(splitter.split(start, end)):
        said[number, test] = number
    whole = splitter.recombine(said)
    assert whole.shape == (4, 53)
    assert not np.isnan(whole).any()
    for column in whole.T:  # every path asks another split about a row
        assert len(set(column)) == 4


def test_scikit_learn_takes_the_splitters_as_they_are() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    start, end = _times(120, 25)
    rng = np.random.default_rng(0)
    values, label = rng.normal(size=(120, 3)), rng.integers(0, 2, 120)
    for splitter in (CombinatorialPurgedSplit(6, 2, 10), WalkForwardSplit(6, embargo_ms=10)):
        timed = splitter.over(start, end)
        assert timed.get_n_splits(values, label) == splitter.splits
        assert len(cross_val_score(LogisticRegression(), values, label, cv=timed)) == splitter.splits
        search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=timed).fit(values, label)
        assert search.n_splits_ == splitter.splits
        for mine, theirs in zip(splitter.split(start, end), timed.split(values)):
            np.testing.assert_array_equal(mine[0], theirs[0])
        with pytest.raises(ValueError, match="119 rows, but times of 120"):
            next(timed.split(values[1:]))


def test_walk_forward_trains_on_the_past_alone() -> None:
    start, end = _times(50, label=25)
    found = list(WalkForwardSplit(5, first=2, embargo_ms=30).split(start, end))
    assert [(test[0], test[-1]) for _, test in found] == [(20, 29), (30, 39), (40, 49)]
    # The block of row 20 begins at 200: labels must have ended before 170.
    assert found[0][0].tolist() == list(range(15))
    assert [train[-1] for train, _ in found] == [14, 24, 34]
    short = list(WalkForwardSplit(5, first=2, window=1).split(start, end))
    assert [train[0] for train, _ in short] == [10, 20, 30]


@given(seed=st.integers(0, 1000), embargo=st.integers(0, 80), window=st.integers(0, 3))
def test_walk_forward_never_knows_the_future(seed: int, embargo: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.integers(0, 30, 60)).astype(np.int64)
    end = start + rng.integers(0, 200, 60)
    for train, test in WalkForwardSplit(6, 1, window, embargo).split(start, end):
        assert not len(train) or end[train].max() < start[test[0]] - embargo
        assert not np.intersect1d(train, test).size


@pytest.mark.parametrize(
    ("groups", "first", "window", "embargo"), [(3, 0, 0, 0), (3, 3, 0, 0), (3, 1, -1, 0), (3, 1, 0, -1)]
)
def test_impossible_walks_are_refused(groups: int, first: int, window: int, embargo: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        WalkForwardSplit(groups, first, window, embargo)


@pytest.mark.failure(35)
def test_suspect_windows_cut_rows_by_their_whole_interval() -> None:
    start, end = _times(10, label=25)
    clean = without_suspect(start, end, [(48, 52), (90, 1000)])
    assert np.flatnonzero(~clean).tolist() == [3, 4, 5, 7, 8, 9]


def test_purging_against_another_library() -> None:
    """purgedcv is no dependency: the test runs where somebody has installed it."""
    purgedcv = pytest.importorskip("purgedcv", reason="purgedcv is not installed")
    import pandas as pd

    rng = np.random.default_rng(3)
    start = np.cumsum(rng.integers(1, 30, 120)).astype(np.int64)
    end = start + rng.integers(0, 150, 120)
    decided, known = (pd.Series(pd.to_datetime(moments, unit="ms")) for moments in (start, end))
    other = purgedcv.CombinatorialPurgedCV(6, 2, prediction_times=decided, evaluation_times=known)
    both = zip(CombinatorialPurgedSplit(6, 2).split(start, end), other.split(np.zeros((120, 1))), strict=True)
    for (train, test), (their_train, their_test) in both:
        np.testing.assert_array_equal(test, np.sort(their_test))
        # Ours may purge a row more where a long label in the middle of a block reaches past its end, never one less.
        assert set(train.tolist()) <= set(np.asarray(their_train).tolist())
