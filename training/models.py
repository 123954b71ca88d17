"""LightGBM: one booster a side for P(net gain | filled), and the thresholds that go with it.

Features are binned once for every set of rows that trials train on, and not again for each trial: a :class:`Binned` is
kept, and a fit takes the rows that its labels exist for, with labels and weights of its own. The rows that are binned
hold no test row, so test rows have no say in where a tree can split.
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

#: What the bins depend on, the same for every fit. At most 63 of them: coarse enough for a few hundred noisy labels,
#: and half the time of 255. A binned set serves leaves of any size, so features are not filtered by it.
_BINNING = {"max_bin": 63, "feature_pre_filter": False, "force_row_wise": True, "num_threads": 1, "verbosity": -1}

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

    def check(self) -> None:
        """Refuse what LightGBM would refuse, before a study is begun on it.

        Raises
        ------
        ValueError
            A value is out of LightGBM's range.
        """
        whole = isinstance(self.num_leaves, int) and isinstance(self.rounds, int)
        shares = (self.min_child_share, self.feature_fraction, self.bagging_fraction)
        if not whole or self.num_leaves < 2 or self.rounds < 1 or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"impossible booster parameters: {self}")
        if self.learning_rate <= 0 or self.lambda_l2 < 0:
            raise ValueError(f"impossible booster parameters: {self}")

    def to_lightgbm(self, labels: int, seed: int) -> dict[str, Any]:
        """Parameters of a deterministic fit to `labels` labels on one thread."""
        values = asdict(self)
        del values["rounds"]
        smallest_leaf = max(5, round(values.pop("min_child_share") * labels))
        return {
            **_BINNING,
            **values,
            "min_child_samples": smallest_leaf,
            "objective": "binary",
            "bagging_freq": 1 if self.bagging_fraction < 1 else 0,
            "seed": seed,
            "deterministic": True,
        }


class Binned:
    """Rows whose features are binned once, for any number of fits on parts of them.

    Parameters
    ----------
    values : float64[n, F]
        Features of all rows, NaN where unknown (LightGBM's own missing value).
    rows : int64[m]
        Sorted; the rows that may be trained on, and the only ones that the bins see.
    names
        Of the F features.
    """

    def __init__(self, values: Floats, rows: Ints, names: tuple[str, ...]) -> None:
        self._rows = rows
        self._data = lgb.Dataset(values[rows], feature_name=list(names), params=dict(_BINNING), free_raw_data=True)
        # A subset copies the label of the whole, so there must be one; every fit brings its own.
        self._data.set_label(np.zeros(len(rows), np.float32))
        self._data.construct()

    def part(self, rows: Ints, labels: Floats, weights: Floats) -> lgb.Dataset:
        """The binned features of sorted `rows`, which must be among those that were binned, with labels and weights."""
        places = np.searchsorted(self._rows, rows)
        part = lgb.Dataset(None, reference=self._data, params=dict(_BINNING))
        part.used_indices = places.astype(np.int32)
        part.construct()
        part.set_label(labels)
        part.set_weight(weights)
        return part


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What the models of one side learn from.

    Attributes
    ----------
    decide_ms : int64[n]
        Decision times.
    outcomes
        Of the side, ``[n]``.
    """

    decide_ms: Ints
    outcomes: Outcomes

    def labels(self, train: Ints) -> tuple[Ints, Floats, Floats] | None:
        """Rows of closed plans among `train`, their labels and weights; None where there is too little to learn from.

        Labels are weighted by their uniqueness among the rows of this fit.
        """
        rows = train[self.outcomes.closed[train]]
        labels = wins(self.outcomes.net_return[rows])
        if len(rows) < MIN_LABELS or min(labels.sum(), len(labels) - labels.sum()) < MIN_CLASS:
            return None
        return rows, labels, uniqueness(self.decide_ms[rows], self.outcomes.end_ms[rows])


def fit(binned: Binned, learnt: tuple[Ints, Floats, Floats], params: BoosterParams, seed: int) -> lgb.Booster:
    """Train on the rows, labels and weights of a :meth:`Lesson.labels`."""
    settings = params.to_lightgbm(len(learnt[0]), seed)
    booster = lgb.Booster(settings, binned.part(*learnt))
    for _ in range(params.rounds):
        booster.update()
    return booster


def predict(booster: lgb.Booster | None, values: Floats) -> Floats:
    """P(net gain | filled) of every row; minus infinity of all where there is no booster, so that none is voted for."""
    if booster is None:
        return np.full(len(values), -np.inf)
    return np.asarray(booster.predict(values, num_threads=1), np.float64)


def threshold(predictions: NDArray[np.floating[Any]], share: float) -> float:
    """The lowest prediction that at most `share` of the predictions reach; :data:`NEVER` where ties leave none.

    Parameters
    ----------
    predictions : float[n]
        By boosters, on rows that they were not trained on; those that are not finite (no booster) are left out.
    share
        In (0, 1).
    """
    return level(ranked(predictions), share)


def ranked(predictions: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The finite ones, ascending: what several shares can ask for their :func:`level`."""
    return np.sort(predictions[np.isfinite(predictions)])


def level(known: NDArray[np.floating[Any]], share: float) -> float:
    """:func:`threshold` of predictions that are :func:`ranked` already."""
    if not len(known):
        return NEVER
    # The first place from which on at most `share` are left, moved up past the ties that straddle it.
    first = len(known) - int(share * len(known) + 1e-9)
    if first >= len(known):
        return NEVER
    if first and known[first] == known[first - 1]:
        first = int(np.searchsorted(known, known[first], side="right"))
    return float(known[first]) if first < len(known) else NEVER
