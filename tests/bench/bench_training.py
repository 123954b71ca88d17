"""Training: outcome tables, and what a study costs beside the LightGBM fits it contains."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from council.plan import StrategyParams
from features import Bars, FeatureEngine
from market.events import EventBatch
from simulation import FillModel
from simulation.exchange import DEFAULT_START_MS
from simulation.synthetic import SYNTHETIC, synthetic_events
from tests.bench._harness import benchmark, best_of
from training.folds import Rows
from training.outcomes import Costs, Simulator, Tape, tradable
from training.splits import CombinatorialPurgedSplit
from training.study import run_study

_BAR_MS = 60_000


def _market(hours: int) -> tuple[list[EventBatch], Bars]:
    events = list(synthetic_events(7, 1.0, DEFAULT_START_MS, hours * 3_600_000))
    engine = FeatureEngine(_BAR_MS, 200)
    return events, Bars.concat([engine.push(batch) for batch in events])


def _simulator(events: list[EventBatch], bars: Bars) -> Simulator:
    tape = Tape(lambda: iter(events))
    costs = Costs(FillModel(50, 0.0002, 0.00055), 1_000.0)
    return Simulator(bars[tradable(bars)], lambda: tape, SYNTHETIC, _BAR_MS, costs)


@benchmark("training.outcomes")
def outcomes() -> dict[str, object]:
    """Simulated order plans a second: both sides of every bar of a day, for parameters not seen before."""
    events, bars = _market(24)
    simulator = _simulator(events, bars)
    simulator.table(StrategyParams(0.1, 2.0, 3.0, 2, 8))
    offsets = iter(np.linspace(0.11, 0.29, 10).tolist())
    seconds = best_of(lambda: simulator.table(StrategyParams(next(offsets), 2.0, 3.0, 2, 8)))
    plans = 2 * len(simulator.bars)
    return {
        "value": plans / seconds,
        "unit": "order plans/s",
        "input": f"{plans:,} plans over {sum(map(len, events)):,} synthetic rows",
    }


@benchmark("training.study_overhead")
def study_overhead() -> dict[str, object]:
    """Share of a study's time in which no booster is being trained or asked."""
    events, bars = _market(24)
    simulator = _simulator(events, bars)
    values = simulator.bars.values
    kept = np.flatnonzero(np.isnan(values).mean(axis=0) < 0.2)
    rows = Rows(np.ascontiguousarray(values[:, kept]), tuple(f"f{column}" for column in kept), simulator.bars.close_ms)
    with tempfile.TemporaryDirectory() as folder:
        study = run_study(
            rows,
            simulator,
            CombinatorialPurgedSplit(6, 2, 12 * _BAR_MS),
            trials=10,
            seed=7,
            workers=1,
            journal=Path(folder) / "study.journal",
            name="bench",
        )
    return {
        "value": 1.0 - study.fit_seconds / study.seconds,
        "unit": "of a study",
        "input": f"{study.trials} trials x 15 splits x 2 models, {len(rows):,} bars, one worker",
        "less_is_better": True,
    }
