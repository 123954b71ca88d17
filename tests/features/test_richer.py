"""Whether a model of all features foretells a recorded market no worse than one of the first catalogue's."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from features import FeatureEngine
from features._declared import FIRST_FEATURES
from market.archives import import_archives
from market.events import EventBatch
from market.lake import Lake

PARAMETERS = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.03,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "verbose": -1,
}
#: Bars on each side of a test block that no training row may come from: the longest window of the features.
EMBARGO = 48


def area(up: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve, by ranks."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    ups = int(up.sum())
    return float((ranks[up].sum() - ups * (ups + 1) / 2) / (ups * (len(up) - ups)))


def purged(values: NDArray[np.float64], returns: NDArray[np.float64], horizon: int, seed: int) -> float:
    """Mean area over five contiguous test blocks."""
    rows = np.flatnonzero(np.isfinite(returns) & (returns != 0))
    up, areas = returns > 0, []
    for block in np.array_split(np.arange(len(returns)), 5):
        test = rows[(rows >= block[0]) & (rows <= block[-1])]
        train = rows[(rows < block[0] - horizon - 1) | (rows > block[-1] + horizon + EMBARGO)]
        data = lightgbm.Dataset(values[train], up[train].astype(int))
        model = lightgbm.train({**PARAMETERS, "seed": seed}, data, 80)
        areas.append(area(up[test], np.asarray(model.predict(values[test]))))
    return float(np.mean(areas))


@pytest.mark.slow
def test_all_features_are_not_worse_than_the_first_ones(recorded: Path, tmp_path: Path) -> None:
    """Over two recorded markets and two horizons together: one alone is too short to tell.

    Clocks are left out, as training leaves them out of so short a recording.
    """
    first = {spec.name for spec in FIRST_FEATURES}
    found: dict[str, list[float]] = {"first": [], "all": []}
    for symbol, timeframe_ms in (("HLBTCUSDT", 5_000), ("SXBTCUSDT", 60_000)):
        lake = Lake(tmp_path / symbol)
        import_archives(recorded, symbol, lake)
        engine = FeatureEngine(timeframe_ms, 50)
        bars = engine.push(EventBatch.concat(lake.events(symbol)))
        known = np.isfinite(bars.values).any(axis=0)
        sets = {
            "first": [n for n, name in enumerate(engine.names) if name in first],
            "all": [n for n, name in enumerate(engine.names) if known[n] and not name.startswith(("day_", "week_"))],
        }
        two_sided = (bars.bid > 0) & (bars.ask > 0) & bars.valid
        mid = np.where(two_sided, (bars.bid + bars.ask) / 2, np.nan)
        for horizon in (5, 15):
            returns = np.full(len(mid), np.nan)
            returns[:-horizon] = np.log(mid[horizon:] / mid[:-horizon])
            for which, columns in sets.items():
                found[which] += [purged(bars.values[:, columns], returns, horizon, seed) for seed in range(2)]
    better = np.array(found["all"]) - np.array(found["first"])
    assert np.mean(found["all"]) > 0.55, found
    assert better.mean() > -0.01, found
