"""Calibration of probabilities: when a model says 60 %, do 60 % win?

Measured on out-of-fold predictions of closed plans, so on rows that no speaking booster was trained on.

References
----------
A. H. Murphy, "A new vector partition of the probability score", Journal of Applied Meteorology 12, 1973 (the Brier
score and its reliability); G. W. Brier, Monthly Weather Review 78, 1950.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.folds import Singles
from training.outcomes import Outcomes, Simulator
from training.study import Configuration

#: Points of the reliability curve, with equally many predictions each.
BINS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How probabilities and frequencies agree.

    Attributes
    ----------
    said, happened : float64[bins]
        Mean predicted probability and share of wins, by bin of equally many predictions, lowest first.
    count
        Predictions in all.
    error
        Expected calibration error: mean absolute difference of the two, 0 is perfect; NaN without predictions.
    brier, base
        Mean squared error of the probabilities, and that of always saying the overall share of wins.
    """

    said: Floats
    happened: Floats
    count: int
    error: float
    brier: float
    base: float

    @property
    def skill(self) -> float:
        """Brier skill score: 1 - brier / base; above 0 the probabilities say more than the average does."""
        return 1.0 - self.brier / self.base if self.base > 0 else math.nan


def measure(probability: Floats, won: Floats, bins: int = BINS) -> Reliability:
    """Compare probabilities with what happened.

    Parameters
    ----------
    probability : float64[n]
        Predicted chance of a win.
    won : float64[n]
        1.0 or 0.0.
    bins
        Of the curve; fewer where there are fewer predictions.
    """
    count = len(probability)
    if not count:
        none = np.empty(0)
        return Reliability(none, none, 0, math.nan, math.nan, math.nan)
    order = np.argsort(probability, kind="stable")
    pieces = [piece for piece in np.array_split(order, min(bins, count)) if len(piece)]
    said = np.array([probability[piece].mean() for piece in pieces])
    happened = np.array([won[piece].mean() for piece in pieces])
    weights = np.array([len(piece) for piece in pieces]) / count
    return Reliability(
        said=said,
        happened=happened,
        count=count,
        error=float((weights * np.abs(said - happened)).sum()),
        brier=float(np.mean((probability - won) ** 2)),
        base=float(won.mean() * (1.0 - won.mean())),
    )


def of_members(chosen: Sequence[Configuration], simulator: Simulator) -> Reliability:
    """Of all out-of-fold predictions of a council's members, both sides, all paths, on plans that were closed."""
    said, won = [], []
    for one in chosen:
        mine, theirs = closed_pairs(one.predictions, simulator.table(one.strategy))
        said.append(mine)
        won.append(theirs)
    return measure(np.concatenate(said), np.concatenate(won))


def closed_pairs(predictions: Singles, table: Outcomes) -> tuple[Floats, Floats]:
    """Predictions and wins of closed plans: two of float64[m], from ``float32[paths, n, 2]`` and a table ``[n, 2]``."""
    known = np.isfinite(predictions) & table.closed[None]
    won = np.broadcast_to(np.where(table.closed, table.net_return, 0.0) > 0, predictions.shape)
    return predictions[known].astype(np.float64), won[known].astype(np.float64)
