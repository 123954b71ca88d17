"""Combinatorial purged cross-validation, and walk-forward as an alternative.

Rows are decisions in time order. Each has an interval: from the decision to the moment at which its outcome is known.
A training row whose interval touches a test block would carry the block's answers into the model, so it is purged; an
embargo after the block drops the rows whose inputs still remember it.

References
----------
M. López de Prado, "Advances in Financial Machine Learning", Wiley 2018, chapters 7 (purging, embargo) and 12
(combinatorial purged cross-validation, paths).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CombinatorialPurgedSplit:
    """Every choice of `test_groups` out of `groups` blocks of rows as a test set.

    Attributes
    ----------
    groups
        Number of contiguous blocks with equally many rows, N.
    test_groups
        Blocks that one split tests on, k.
    embargo_ms
        Time after the *last label end* of a test block in which no training row may begin, on top of the purge.

    Raises
    ------
    ValueError
        Not ``1 <= test_groups < groups``, or a negative embargo.
    """

    groups: int
    test_groups: int
    embargo_ms: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.test_groups < self.groups or self.embargo_ms < 0:
            raise ValueError(f"impossible splits: {self}")

    @property
    def combinations(self) -> list[tuple[int, ...]]:
        """The test blocks of every split, in the order of :meth:`split`."""
        return list(combinations(range(self.groups), self.test_groups))

    @property
    def splits(self) -> int:
        """Number of splits, N choose k."""
        return math.comb(self.groups, self.test_groups)

    def bounds(self, rows: int) -> Indices:
        """First row of every block, and the number of rows: int64[N + 1]."""
        return np.array([0, *np.cumsum([len(block) for block in np.array_split(np.arange(rows), self.groups)])])

    def split(self, start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> Iterator[tuple[Indices, Indices]]:
        """Row numbers of every split.

        Parameters
        ----------
        start_ms : int64[n]
            Decision times, never decreasing.
        end_ms : int64[n]
            When each outcome is fully known; at or after `start_ms`.

        Yields
        ------
        train, test : int64[...]
            Sorted row numbers.

        Raises
        ------
        ValueError
            Times are out of order, an end lies before its start, or there are fewer rows than blocks.
        """
        _check(start_ms, end_ms, self.groups)
        bounds = self.bounds(len(start_ms))
        # Each block purges its own span: neighbours that train between two test blocks stay.
        bans = []
        for begin, after in pairwise(bounds.tolist()):
            first, last = start_ms[begin], end_ms[begin:after].max()
            banned = (end_ms >= first) & (start_ms <= last + self.embargo_ms)
            banned[begin:after] = True
            bans.append(banned)
        for choice in self.combinations:
            free = ~np.logical_or.reduce([bans[group] for group in choice])
            blocks = [np.arange(bounds[group], bounds[group + 1]) for group in choice]
            yield np.flatnonzero(free), np.concatenate(blocks)

    def over(self, start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> TimedSplit:
        """The same splits for scikit-learn, which knows rows but not when their outcomes end."""
        return TimedSplit(self, start_ms, end_ms)

    def recombine(self, predictions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Backtest paths from the predictions of every split.

        Parameters
        ----------
        predictions : float64[splits, n, ...]
            What the model of each split said of its test rows; anything elsewhere.

        Returns
        -------
        float64[paths, n, ...]
            Each path is out of sample from the first row to the last.
        """
        bounds = self.bounds(predictions.shape[1])
        paths = self.paths()
        whole = np.empty((len(paths), *predictions.shape[1:]), predictions.dtype)
        for path, testers in enumerate(paths):
            for group, split in enumerate(testers):
                rows = slice(bounds[group], bounds[group + 1])
                whole[path, rows] = predictions[split, rows]
        return whole

    def paths(self) -> Indices:
        """Which split predicts which block on which path: int64[paths, N].

        Every split tests k blocks, so every block is tested by ``k / N × (N choose k)`` splits: that many backtest
        paths through all blocks can be put together, and no prediction is used twice.
        """
        testers = [
            [number for number, choice in enumerate(self.combinations) if group in choice]
            for group in range(self.groups)
        ]
        return np.array(testers, np.int64).T


@dataclass(frozen=True, slots=True)
class WalkForwardSplit:
    """Train on what came before, test on the next block, step on: what a person who retrains would have seen.

    Fewer and shorter tests than :class:`CombinatorialPurgedSplit`, one path only, and the first blocks are never
    tested; in return no model knows anything of the future.

    Attributes
    ----------
    groups
        Number of contiguous blocks with equally many rows.
    first
        Blocks that the first split trains on.
    window
        Train on at most this many blocks before the tested one; 0 takes all.
    embargo_ms
        Time between the last label end of a training row and the first decision of the test, beyond the purge.

    Raises
    ------
    ValueError
        Not ``1 <= first < groups``, or a negative window or embargo.
    """

    groups: int
    first: int = 1
    window: int = 0
    embargo_ms: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.first < self.groups or self.embargo_ms < 0 or self.window < 0:
            raise ValueError(f"impossible splits: {self}")

    @property
    def combinations(self) -> list[tuple[int, ...]]:
        """The test block of every split, in the order of :meth:`split`."""
        return [(group,) for group in range(self.first, self.groups)]

    @property
    def splits(self) -> int:
        """Number of splits."""
        return self.groups - self.first

    def bounds(self, rows: int) -> Indices:
        """First row of every block, and the number of rows: int64[groups + 1]."""
        return CombinatorialPurgedSplit(self.groups, 1).bounds(rows)

    def split(self, start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> Iterator[tuple[Indices, Indices]]:
        """Row numbers of every split; see :meth:`CombinatorialPurgedSplit.split`."""
        _check(start_ms, end_ms, self.groups)
        bounds = self.bounds(len(start_ms))
        for group in range(self.first, self.groups):
            oldest = bounds[max(group - self.window, 0)] if self.window else 0
            before = np.arange(oldest, bounds[group])
            train = before[end_ms[before] < start_ms[bounds[group]] - self.embargo_ms]
            yield train, np.arange(bounds[group], bounds[group + 1])

    def over(self, start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> TimedSplit:
        """The same splits for scikit-learn."""
        return TimedSplit(self, start_ms, end_ms)


class TimedSplit:
    """A splitter with the times of its rows: scikit-learn's ``cv=`` takes it as it is.

    Parameters
    ----------
    splitter
        How to split.
    start_ms, end_ms : int64[n]
        Decision and outcome times of the rows that will be handed in.
    """

    def __init__(
        self,
        splitter: CombinatorialPurgedSplit | WalkForwardSplit,
        start_ms: NDArray[np.int64],
        end_ms: NDArray[np.int64],
    ) -> None:
        self.splitter, self.start_ms, self.end_ms = splitter, start_ms, end_ms

    def split(self, X: Sized, y: object = None, groups: object = None) -> Iterator[tuple[Indices, Indices]]:
        """Row numbers of every split.

        Raises
        ------
        ValueError
            `X` has another number of rows than there are times.
        """
        if len(X) != len(self.start_ms):
            raise ValueError(f"{len(X)} rows, but times of {len(self.start_ms)}")
        yield from self.splitter.split(self.start_ms, self.end_ms)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Number of splits."""
        return self.splitter.splits


def without_suspect(
    start_ms: NDArray[np.int64], end_ms: NDArray[np.int64], windows: Iterable[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Rows whose interval touches no suspect window: bool[n]. The others are cut out before anything is split.

    Parameters
    ----------
    start_ms, end_ms : int64[n]
        Decision and outcome times.
    windows
        Begin and end of each, both included.
    """
    clean = np.ones(len(start_ms), np.bool_)
    for first, last in windows:
        clean &= (end_ms < first) | (start_ms > last)
    return clean


def _check(start_ms: NDArray[np.int64], end_ms: NDArray[np.int64], groups: int) -> None:
    if len(start_ms) != len(end_ms) or len(start_ms) < groups:
        raise ValueError(f"{len(start_ms)} starts and {len(end_ms)} ends for {groups} blocks")
    if (np.diff(start_ms) < 0).any():
        raise ValueError("decision times are out of order")
    if (end_ms < start_ms).any():
        raise ValueError("an outcome is known before its decision")
