"""LightGBM: one booster a side for P(net gain | filled), and the thresholds that go with it.

A threshold belongs to the very booster that it is used with. It is never carried from one booster to another: it is the
level that the booster's own predictions exceed on a given share of rows which that booster was not trained on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.labels import uniqueness, wins
from training.outcomes import Outcomes

#: A threshold that no probability reaches: the booster never votes.
NEVER = 2.0
#: Fewer labels, or fewer of the rarer class, teach nothing: the booster is not trained.
MIN_LABELS, MIN_CLASS = 40, 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BoosterParams:
    """What a trial tunes of LightGBM; names and meanings are LightGBM's but for one.

    Attributes
    ----------
    min_child_share
        LightGBM's ``min_child_samples`` as a share of the labels, so that one search space suits a day and a year.
    rounds
        Number of trees.
    """

    num_leaves: int
    learning_rate: float
    rounds: int
    min_child_share: float
    feature_fraction: float
    bagging_fraction: float
    lambda_l2: float

    def to_lightgbm(self, labels: int, seed: int) -> dict[str, Any]:
        """Parameters of a deterministic fit to `labels` labels on one thread."""
        values = asdict(self)
        del values["rounds"]
        smallest_leaf = max(5, round(values.pop("min_child_share") * labels))
        return {
            **values,
            "min_child_samples": smallest_leaf,
            "objective": "binary",
            "bagging_freq": 1 if self.bagging_fraction < 1 else 0,
            # At most 63 bins: coarse enough for a few hundred noisy labels, and half the time of 255.
            "max_bin": 63,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What the models of one side learn from.

    Attributes
    ----------
    values : float64[n, F]
        Features, NaN where unknown (LightGBM's own missing value).
    names
        Of the F features.
    decide_ms : int64[n]
        Decision times.
    outcomes
        Of the side, ``[n]``.
    """

    values: Floats
    names: tuple[str, ...]
    decide_ms: Ints
    outcomes: Outcomes


def fit(lesson: Lesson, train: Ints, params: BoosterParams, seed: int) -> lgb.Booster | None:
    """Train on the closed plans among the rows `train`, weighted by their uniqueness.

    Features are binned on the training rows alone: test rows have no say in where a tree can split.

    Returns
    -------
    lightgbm.Booster or None
        None where there are too few labels, or too few of one class, to learn from.
    """
    rows = train[lesson.outcomes.closed[train]]
    labels = wins(lesson.outcomes.net_return[rows])
    if len(rows) < MIN_LABELS or min(labels.sum(), len(labels) - labels.sum()) < MIN_CLASS:
        return None
    settings = params.to_lightgbm(len(rows), seed)
    data = lgb.Dataset(
        lesson.values[rows],
        labels,
        weight=uniqueness(lesson.decide_ms[rows], lesson.outcomes.end_ms[rows]),
        feature_name=list(lesson.names),
        params=settings,
    )
    return lgb.train(settings, data, num_boost_round=params.rounds)


def predict(booster: lgb.Booster | None, values: Floats) -> Floats:
    """P(net gain | filled) of every row; minus infinity of all where there is no booster, so that none is voted for."""
    if booster is None:
        return np.full(len(values), -np.inf)
    return np.asarray(booster.predict(values, num_threads=1), np.float64)


def threshold(predictions: Floats, share: float) -> float:
    """The lowest prediction that at most `share` of the predictions reach; :data:`NEVER` where ties leave none.

    Parameters
    ----------
    predictions : float64[n]
        Of one booster, on rows that it was not trained on.
    share
        In (0, 1).
    """
    if not len(predictions) or not np.isfinite(predictions).all():
        return NEVER
    levels, counts = np.unique(predictions, return_counts=True)
    reached = np.cumsum(counts[::-1])[::-1] / len(predictions)
    enough = np.flatnonzero(reached <= share)
    return float(levels[enough[0]]) if len(enough) else NEVER
