"""Out-of-fold predictions: what boosters say about blocks that they were not trained on, put together to paths.

How a threshold is set, here and for the deployed booster alike: as the level that a given share of the out-of-fold
predictions of *other* rows reaches. For a block of a backtest path those are the predictions of all other blocks by
boosters that learnt from neither block; for the deployed booster, all out-of-fold predictions of its parameters. So a
threshold always comes from sister boosters and meets a booster that it was not set on, in the study as in production.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.models import Binned, BoosterParams, Lesson, fit, level, predict, ranked, threshold
from training.outcomes import Outcomes
from training.splits import CombinatorialPurgedSplit, WalkForwardSplit

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Out-of-fold predictions are kept in single precision: a study of a month holds hundreds of millions of them.
Singles = NDArray[np.float32]


class Splitter(Protocol):
    """What the study needs of a way to split rows into training and test rows."""

    @property
    def groups(self) -> int: ...

    @property
    def splits(self) -> int: ...

    @property
    def combinations(self) -> list[tuple[int, ...]]: ...

    @property
    def embargo_ms(self) -> int: ...

    def bounds(self, rows: int) -> Ints: ...

    def split(self, start_ms: Ints, end_ms: Ints) -> Iterator[tuple[Ints, Ints]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows that may be learnt from.

    Attributes
    ----------
    values : float64[n, F]
        Features of the models.
    names
        Of the F features.
    decide_ms : int64[n]
        Decision times, strictly increasing.
    """

    values: Floats
    names: tuple[str, ...]
    decide_ms: Ints

    def __len__(self) -> int:
        return len(self.decide_ms)

    def lesson(self, outcomes: Outcomes, side: int) -> Lesson:
        """What the models of a side (0 long, 1 short) learn from, given a table of outcomes ``[n, 2]``."""
        return Lesson(self.decide_ms, side_of(outcomes, side))


def side_of(outcomes: Outcomes, side: int) -> Outcomes:
    """One column of a table of outcomes ``[n, 2]``: 0 long, 1 short."""
    return outcomes[(slice(None), side)]  # type: ignore[index]


@dataclass(slots=True, eq=False)
class Layout:
    """Where predictions of a study go: rows, splits and paths, and the binned features that all its trials share.

    Attributes
    ----------
    rows, splitter
        What is learnt from, and how it is split.
    blocks
        Rows of each block.
    testers : int64[paths, blocks]
        The split whose booster speaks on a block of a path; -1 where none does.
    """

    rows: Rows
    splitter: Splitter
    blocks: list[slice] = field(init=False)
    testers: Ints = field(init=False)
    _binned: dict[int, Binned] = field(init=False, default_factory=dict)
    _witnesses: list[list[tuple[int, int]]] = field(init=False)

    def __post_init__(self) -> None:
        bounds = self.splitter.bounds(len(self.rows)).tolist()
        self.blocks = [slice(first, after) for first, after in pairwise(bounds)]
        self.testers = _testers(self.splitter)
        self._witnesses = [self._others(block) for block in range(len(self.blocks))]

    @property
    def paths(self) -> int:
        """Number of backtest paths."""
        return len(self.testers)

    def binned(self, split: int, train: Ints) -> Binned:
        """The binned features of a split: of every row that any trial may train on there."""
        if split not in self._binned:
            allowed = np.ones(len(self.rows), np.bool_)
            for block in self.splitter.combinations[split]:
                allowed[self.blocks[block]] = False
            rows = np.flatnonzero(allowed)
            # A walk forward trains on nothing later than its test block.
            if len(train) and split_is_causal(self.splitter):
                rows = rows[rows < self.blocks[min(self.splitter.combinations[split])].start]
            self._binned[split] = Binned(self.rows.values, rows, self.rows.names)
        return self._binned[split]

    def order(self) -> list[list[int]]:
        """Splits by the first path that needs them, so that paths can be finished one after the other."""
        seen: set[int] = set()
        batches = []
        for path in self.testers:
            fresh = [split for split in dict.fromkeys(path.tolist()) if split >= 0 and split not in seen]
            seen.update(fresh)
            batches.append(fresh)
        return batches

    def unseen(self, predictions: Singles, block: int, side: int) -> Singles:
        """Predictions on other blocks that say where a block's threshold lies.

        They are by boosters that learnt from neither that block nor `block`. Where every split tests one block there
        are none, and those of the other blocks (on a walk forward: the earlier ones) are taken as they are.
        """
        found = [predictions[path, self.blocks[other], side] for other, path in self._witnesses[block]]
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _others(self, block: int) -> list[tuple[int, int]]:
        """Blocks and paths whose predictions :meth:`unseen` takes for a block."""
        own = set(self.testers[:, block].tolist())
        causal = split_is_causal(self.splitter)
        alone = [len(tested) == 1 for tested in self.splitter.combinations]
        return [
            (other, path)
            for other in range(len(self.blocks))
            for path, split in enumerate(self.testers[:, other].tolist())
            if other != block and not (causal and other > block) and split >= 0 and (split in own or alone[split])
        ]


def split_is_causal(splitter: Splitter) -> bool:
    """Whether the splitter never trains on what comes after its test block."""
    return isinstance(splitter, WalkForwardSplit)


def _testers(splitter: Splitter) -> Ints:
    """The split that speaks on each block of each path: int64[paths, blocks], -1 where none does."""
    if isinstance(splitter, CombinatorialPurgedSplit):
        return splitter.paths()
    path = np.full((1, splitter.groups), -1, np.int64)
    for split, blocks in enumerate(splitter.combinations):
        path[0, list(blocks)] = split
    return path


@dataclass(slots=True, eq=False)
class Folds:
    """Out-of-fold predictions of one trial, growing path by path.

    Attributes
    ----------
    predictions : float32[paths, n, 2]
        P(net gain | filled) of long and short; NaN where not predicted yet, minus infinity where there is no booster.
    done
        Paths that are complete.
    fit_seconds
        Spent in LightGBM.
    """

    predictions: Singles
    done: int = 0
    fit_seconds: float = 0.0


#: Ranked predictions that thresholds are levels of, by block and side.
Ranking = list[tuple[Singles, Singles]]


def ranking(layout: Layout, predictions: Singles) -> Ranking:
    """What the thresholds of any share are read from: see :meth:`Layout.unseen`."""
    blocks = range(len(layout.blocks))
    return [(ranked(layout.unseen(predictions, one, 0)), ranked(layout.unseen(predictions, one, 1))) for one in blocks]


def margins(
    layout: Layout, predictions: Singles, share: float, paths: int | None = None, known: Ranking | None = None
) -> Floats:
    """Prediction minus threshold; at or above 0 is a vote.

    Parameters
    ----------
    layout
        Of the study.
    predictions
        See :class:`Folds`.
    share
        Share of rows, a side, that the threshold lets through.
    paths
        How many; by default all.
    known
        The :func:`ranking` of the predictions, where several shares are asked for.

    Returns
    -------
    float64[paths, n, 2]
    """
    count = layout.paths if paths is None else paths
    found = np.full((count, *predictions.shape[1:]), -np.inf)
    for rows, sides in zip(layout.blocks, known or ranking(layout, predictions)):
        for side in (0, 1):
            found[:, rows, side] = predictions[:count, rows, side] - level(sides[side], share)
    found[np.isnan(found)] = -np.inf
    return found


def deployed_threshold(predictions: Singles, side: int, share: float) -> float:
    """Threshold of the booster that is trained on all rows: the same rule over all out-of-fold predictions."""
    return threshold(predictions[:, :, side].ravel(), share)


def realized_shares(layout: Layout, predictions: Singles, share: float) -> Floats:
    """Share of rows that a threshold really let through, by block and side: how well thresholds transfer.

    Returns
    -------
    float64[blocks, 2]
        Mean over the paths; NaN for a block without predictions.
    """
    through = margins(layout, predictions, share) >= 0
    spoken = np.isfinite(predictions)
    found = np.full((len(layout.blocks), 2), np.nan)
    for block, rows in enumerate(layout.blocks):
        for side in (0, 1):
            if spoken[:, rows, side].any():
                found[block, side] = through[:, rows, side][spoken[:, rows, side]].mean()
    return found


def out_of_fold(
    layout: Layout,
    outcomes: Outcomes,
    params: BoosterParams,
    *,
    seed: int,
    go_on: Callable[[Folds], bool] | None = None,
) -> Folds:
    """Train on every split and collect the predictions of the test blocks, path by path.

    Parameters
    ----------
    layout
        Rows, splits, paths.
    outcomes
        Of the plans of the n rows, ``[n, 2]``.
    params, seed
        Of the boosters.
    go_on
        Asked whenever a path is complete but for the last; no further booster is trained once it says no.
    """
    rows = layout.rows
    # A row is tested or trained on as a whole, so its interval lasts until both its plans are known.
    sets = list(layout.splitter.split(rows.decide_ms, outcomes.end_ms.max(axis=1)))
    lessons = [rows.lesson(outcomes, side) for side in (0, 1)]
    folds = Folds(np.full((layout.paths, len(rows), 2), np.nan, np.float32))
    for batch in layout.order():
        for split in batch:
            train, test = sets[split]
            asked = rows.values[test]
            for side, lesson in enumerate(lessons):
                said = _taught(layout, split, train, lesson, params, seed + split, asked, folds)
                for path, block in zip(*np.nonzero(layout.testers == split)):
                    own = layout.blocks[block]
                    place = int(np.searchsorted(test, own.start))
                    folds.predictions[path, own, side] = said[place : place + own.stop - own.start]
        folds.done += 1
        if go_on is not None and folds.done < layout.paths and not go_on(folds):
            break
    return folds


def _taught(
    layout: Layout,
    split: int,
    train: Ints,
    lesson: Lesson,
    params: BoosterParams,
    seed: int,
    asked: Floats,
    folds: Folds,
) -> Singles:
    """What a booster that learnt from the training rows of a split says of the rows that it is asked about."""
    learnt = lesson.labels(train)
    started = time.perf_counter()
    booster = None if learnt is None else fit(layout.binned(split, train), learnt, params, seed)
    said = predict(booster, asked).astype(np.float32)
    folds.fit_seconds += time.perf_counter() - started
    return said
