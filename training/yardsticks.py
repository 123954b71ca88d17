"""What the executor's health monitor compares with: distributions of features, predictions and trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from council.manifest import PROBABILITIES, TrainingProfile
from training.backtest import Track

#: Fewer trades say too little about their distribution.
_FEWEST = 30


def training_profile(
    values: NDArray[np.float64], names: Sequence[str], probability: NDArray[np.float64], ranks: Sequence[int]
) -> TrainingProfile:
    """Features of the development bars, and the finished members' predictions on the hold-out.

    On the development bars the members have seen the answers, so their predictions there are bolder than they will
    ever be again.

    Parameters
    ----------
    values : float64[n, F]
        Of the development bars.
    names
        Of the features.
    probability : float64[m, members, 2]
        On the hold-out: long, short.
    ranks
        Of the members.
    """
    features = TrainingProfile.of(values, names)
    if not probability.shape[0]:
        return features
    said = [f"prediction.{rank}.{side}" for rank in ranks for side in ("long", "short")]
    predictions = TrainingProfile.of(probability.reshape(len(probability), -1), said)
    return TrainingProfile(
        features.probabilities,
        {**features.quantiles, **predictions.quantiles},
        {**features.missing, **predictions.missing},
        features.longest,
    )


def trade_quantiles(paths: Sequence[Track]) -> dict[str, Any]:
    """Quantiles of the net returns of all out-of-fold trades; empty where there are too few."""
    returns = np.concatenate([track.returns[track.filled] for track in paths]) if paths else np.empty(0)
    if returns.size < _FEWEST:
        return {}
    quantiles = np.quantile(returns, PROBABILITIES).tolist()
    return {"trade_quantiles": {"probabilities": list(PROBABILITIES), "quantiles": quantiles}}
