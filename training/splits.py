"""Combinatorial purged cross-validation.

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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

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
        self._check(start_ms, end_ms)
        bounds = self.bounds(len(start_ms))
        for choice in self.combinations:
            test = np.zeros(len(start_ms), np.bool_)
            banned = np.zeros(len(start_ms), np.bool_)
            # Each block purges its own span: neighbours that train between two test blocks stay.
            for group in choice:
                rows = slice(bounds[group], bounds[group + 1])
                test[rows] = True
                first, last = start_ms[bounds[group]], end_ms[rows].max()
                banned |= (end_ms >= first) & (start_ms <= last + self.embargo_ms)
            yield np.flatnonzero(~banned & ~test), np.flatnonzero(test)

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

    def _check(self, start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> None:
        if len(start_ms) != len(end_ms) or len(start_ms) < self.groups:
            raise ValueError(f"{len(start_ms)} starts and {len(end_ms)} ends for {self.groups} blocks")
        if (np.diff(start_ms) < 0).any():
            raise ValueError("decision times are out of order")
        if (end_ms < start_ms).any():
            raise ValueError("an outcome is known before its decision")
