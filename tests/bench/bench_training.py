"""Training: outcome tables, and what a study costs beside the LightGBM fits it contains."""

from __future__ import annotations

import math
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import settings as configuration
from council.plan import StrategyParams
from features import Bars, FeatureEngine, FeatureStore, feature_names, spec_hash
from market import Lake
from market.archives import import_archives
from market.days import lake_days
from market.events import EventBatch
from settings import Settings, timeframe_ms
from simulation import FillModel
from simulation.exchange import DEFAULT_START_MS
from simulation.synthetic import SYNTHETIC, synthetic_events
from tests.bench._harness import benchmark, best_of
from training.folds import Layout, Rows
from training.models import Binned, BoosterParams, fit
from training.outcomes import Costs, Simulator, Tape, tradable
from training.pipeline import train
from training.space import search_space
from training.splits import CombinatorialPurgedSplit
from training.study import Search, run_study

_BAR_MS = 60_000
SX = "SXBTCUSDT"


def _market(hours: int) -> tuple[list[EventBatch], Bars]:
    events = list(synthetic_events(7, 1.0, DEFAULT_START_MS, hours * 3_600_000))
    engine = FeatureEngine(_BAR_MS, 200)
    return events, Bars.concat([engine.push(batch) for batch in events])


def _simulator(events: list[EventBatch], bars: Bars) -> Simulator:
    tape = Tape(lambda: iter(events))
    costs = Costs(FillModel(50, 0.0002, 0.00055), 1_000.0)
    return Simulator(bars[tradable(bars)], lambda: tape, SYNTHETIC, _BAR_MS, costs)


@benchmark("training.study_overhead")
def study_overhead() -> dict[str, object]:
    """Share of a study's time in which no booster is being trained or asked.

    A scaled variant of 50 trials on 30 days: ``PURPLESKY_BENCH_DAYS`` and ``PURPLESKY_BENCH_TRIALS`` set its size; 50
    trials on ten days take some minutes. The share falls with the number of bars, so the small one is the harder one.
    """
    days, trials = (int(os.environ.get(f"PURPLESKY_BENCH_{name}", few)) for name, few in (("DAYS", 1), ("TRIALS", 10)))
    events, bars = _market(24 * days)
    simulator = _simulator(events, bars)
    layout = _layout(simulator)
    with tempfile.TemporaryDirectory() as folder:
        search = Search(search_space(), trials, seed=7)
        study = run_study(layout, simulator, search, folder=Path(folder) / "study")
    return {
        "value": 1.0 - study.fit_seconds / study.seconds,
        "unit": "of a study",
        "input": f"{study.trials} trials ({study.pruned} stopped early) x 15 splits, {len(layout.rows):,} bars"
        f", one worker; in trials alone {1.0 - study.fit_seconds / study.trial_seconds:.1%}",
        "less_is_better": True,
    }


@benchmark("training.dataset_reuse")
def dataset_reuse() -> dict[str, object]:
    """The boosters of a trial, features binned once a split for all trials; the peer bins them for every booster."""
    events, bars = _market(24)
    simulator = _simulator(events, bars)
    layout = _layout(simulator)
    strategy = StrategyParams(0.1, 2.0, 3.0, 2, 8)
    booster = BoosterParams(5, 0.05, 40, 0.1, 0.3, 0.7, 5.0)
    table = simulator.table(strategy)
    sets = list(layout.splitter.split(layout.rows.decide_ms, table.end_ms.max(axis=1)))
    lessons = [layout.rows.lesson(table, side).labels(train) for train, _ in sets for side in (0, 1)]

    def afresh() -> None:
        for learnt in lessons:
            assert learnt is not None
            fit(Binned(layout.rows.values, learnt[0], layout.rows.names), learnt, booster, 1)

    def reused() -> None:
        for number, learnt in enumerate(lessons):
            assert learnt is not None
            fit(layout.binned(number // 2, sets[number // 2][0]), learnt, booster, 1)

    reused()
    seconds, peer = best_of(reused), best_of(afresh)
    return {
        "value": len(lessons) / seconds,
        "unit": "fits/s",
        "peer": "a Dataset for every fit",
        "peer_value": len(lessons) / peer,
        "input": f"{len(lessons)} fits of 40 trees on {len(layout.rows):,} bars, {len(layout.rows.names)} features",
    }


@benchmark("training.sx")
def sx() -> dict[str, object]:
    """Fifty trials on recorded days, 5 minutes a bar, from bars to report; peak memory of this process and a worker."""
    recorded = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[3] / "shared" / "data"))
    if not recorded.is_dir():
        return {"value": math.nan, "unit": "s", "input": "no recorded days at ../shared/data (or $PURPLESKY_RECORDED)"}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        own = configuration.override(
            Settings(), paths={"data": root}, training={"timeframe": "5m", "trials": 50}, market={"ob_levels": 50}
        )
        lake = Lake(own.paths.lake)
        import_archives(recorded, SX, lake)
        bar_ms = timeframe_ms("5m")
        bars = FeatureStore(own.paths.features).by_day(lake_days(lake, SX), SX, bar_ms, 50, own.market.stall_ms)
        started = time.perf_counter()
        result = train(
            bars,
            lambda: lake.events(SX),
            symbol=SX,
            instrument=lake.instrument(SX),
            levels=50,
            spec_hash=spec_hash(bar_ms, 50, own.market.stall_ms),
            feature_names=feature_names(50),
            data_fingerprint=lake.fingerprint(SX),
            settings=own,
            folder=root / "out",
        )
        seconds = time.perf_counter() - started
    peak = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "value": seconds,
        "unit": "s",
        "input": f"{result.trials} trials x {result.splits} splits, {len(bars)} bars, gate "
        f"{'passed' if result.gate.passed else 'failed'}; peak {peak[0]:.0f} MB and {peak[1]:.0f} MB a worker",
        "less_is_better": True,
    }


def _layout(simulator: Simulator) -> Layout:
    values = simulator.bars.values
    kept = np.flatnonzero(np.isnan(values).mean(axis=0) < 0.2)
    names = tuple(f"f{column}" for column in kept)
    rows = Rows(np.ascontiguousarray(values[:, kept]), names, simulator.bars.close_ms)
    return Layout(rows, CombinatorialPurgedSplit(6, 2, 12 * _BAR_MS))
