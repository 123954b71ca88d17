"""How long a decision takes the council, beside LightGBM's own prediction of the same models."""

from __future__ import annotations

import time
from collections.abc import Callable

import lightgbm as lgb
import numpy as np

from council import Council, Member, StrategyParams, TreeModel
from tests.bench._harness import benchmark

_FEATURES, _MEMBERS, _TREES, _ROWS = 60, 5, 150, 1_000


@benchmark("council.vote")
def vote() -> dict[str, object]:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(5_000, _FEATURES))
    values[rng.random(values.shape) < 0.05] = np.nan
    wins = (np.nan_to_num(values[:, 0]) + rng.normal(size=5_000) > 0).astype(np.int8)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 15}
    boosters = [
        lgb.train({**settings, "seed": seed}, lgb.Dataset(values, wins, params=settings), _TREES)
        for seed in range(2 * _MEMBERS)
    ]
    models = [TreeModel.from_booster(booster) for booster in boosters]
    params = StrategyParams(0.2, 1.0, 1.5, 3, 12)
    members = tuple(
        Member(rank + 1, params, 0.5, 0.5, {"long": models[2 * rank], "short": models[2 * rank + 1]})
        for rank in range(_MEMBERS)
    )
    council = Council(members, 0.5, tuple(f"f{index}" for index in range(_FEATURES)))
    council.vote(values[0])
    return {
        "value": _median_us(council.vote, values[:_ROWS]),
        "unit": "us, median",
        "peer": "Booster.predict, one thread",
        "peer_value": _median_us(
            lambda row: [each.predict(row[None], num_threads=1) for each in boosters], values[:200]
        ),
        "less_is_better": True,
        "input": f"{2 * _MEMBERS} models x {_TREES} trees x 15 leaves, {_FEATURES} features",
    }


def _median_us(work: Callable[[np.ndarray], object], rows: np.ndarray) -> float:
    times = []
    for row in rows:
        started = time.perf_counter_ns()
        work(row)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times)) / 1_000
