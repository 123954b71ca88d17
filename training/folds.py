"""Out-of-fold signals: what models say about blocks that they were not trained on, put together to backtest paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.models import BoosterParams, Lesson, fit, predict, threshold
from training.outcomes import Outcomes
from training.splits import CombinatorialPurgedSplit

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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
        own = Outcomes(
            outcomes.closed[:, side], outcomes.known[:, side], outcomes.end_ms[:, side], outcomes.net_return[:, side]
        )
        return Lesson(self.values, self.names, self.decide_ms, own)


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Out-of-fold signals of one trial.

    Attributes
    ----------
    margins : float64[shares, paths, n, 2]
        Probability minus threshold; at or above 0 is a vote. One for each share of rows that the threshold was to let
        through, each backtest path, row and side (long, short).
    fit_seconds
        Spent in LightGBM, summed over the threads.
    """

    margins: Floats
    fit_seconds: float


def out_of_fold(
    rows: Rows,
    outcomes: Outcomes,
    splitter: CombinatorialPurgedSplit,
    params: BoosterParams,
    shares: Sequence[float],
    *,
    seed: int,
    threads: Executor,
) -> Folds:
    """Train on every split and collect the signals of the test blocks.

    The threshold of a block is set on the same booster's predictions of the *other* test blocks of its split, which it
    was not trained on either; the deployed booster gets its threshold in the same way. With one test block a split
    there is no other: the threshold then comes from the predictions of all other blocks, each by the booster that was
    not trained on it.

    Parameters
    ----------
    rows, outcomes
        n rows and the outcomes of their plans, ``[n, 2]``.
    splitter
        Splits and paths.
    params, seed
        Of the boosters.
    shares
        Shares of rows that thresholds are to let through, a side.
    threads
        Where fits run. Each is deterministic and independent of the others, so the result does not depend on how many
        run at a time.
    """
    # A row is tested or trained on as a whole, so its interval lasts until both its plans are known.
    end_ms = outcomes.end_ms.max(axis=1)
    lessons = [rows.lesson(outcomes, side) for side in (0, 1)]
    predictions = np.full((splitter.splits, len(rows), 2), np.nan)
    jobs: list[Callable[[], float]] = []
    for number, (train, test) in enumerate(splitter.split(rows.decide_ms, end_ms)):
        jobs.extend(
            _job(lessons[side], train, test, params, seed + number, predictions[number, :, side]) for side in (0, 1)
        )
    seconds = sum(threads.map(lambda job: job(), jobs))
    return Folds(_margins(predictions, splitter, shares), seconds)


def _job(
    lesson: Lesson, train: Ints, test: Ints, params: BoosterParams, seed: int, into: Floats
) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        into[test] = predict(fit(lesson, train, params, seed), lesson.values[test])
        return time.perf_counter() - started

    return run


def _margins(predictions: Floats, splitter: CombinatorialPurgedSplit, shares: Sequence[float]) -> Floats:
    count = predictions.shape[1]
    bounds = splitter.bounds(count)
    blocks = [slice(bounds[group], bounds[group + 1]) for group in range(splitter.groups)]
    paths = splitter.paths()
    margins = np.full((len(shares), len(paths), count, 2), -np.inf)
    for path, testers in enumerate(paths):
        for group, split in enumerate(testers):
            own = blocks[group]
            for side in (0, 1):
                if splitter.test_groups > 1:
                    others = [blocks[other] for other in splitter.combinations[split] if other != group]
                    unseen = np.concatenate([predictions[split, other, side] for other in others])
                else:
                    unseen = np.concatenate(
                        [predictions[testers[o], blocks[o], side] for o in range(splitter.groups) if o != group]
                    )
                for index, share in enumerate(shares):
                    margins[index, path, own, side] = predictions[split, own, side] - threshold(unseen, share)
    return margins
