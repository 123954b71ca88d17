"""Training from end to end: bars and events in; council, verdict and report out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from council import Council, StrategyParams, TrainingProfile, save_bundle
from features import Bars
from market.errors import NotEnoughDataError
from market.events import EventBatch
from market.instruments import Instrument
from settings import Settings, timeframe_ms
from simulation.fills import FillModel
from training.baselines import random_entries
from training.evaluation import council_paths, council_sides
from training.folds import Rows
from training.gate import GateVerdict, judge
from training.holdout import HoldOut
from training.models import MIN_LABELS
from training.outcomes import Costs, Simulator, Tape
from training.report import Findings, describe, write_report
from training.sample import draw_sample
from training.selection import seat, select
from training.splits import CombinatorialPurgedSplit
from training.study import Configuration, StudyResult, run_study

#: Called with the name of a stage, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

#: Plans of this shape show whether the market fills orders at all, before anything is written.
_PROBE = StrategyParams(offset_atr=0.1, stop_atr=2.0, target_atr=2.0, tif_bars=2, hold_bars=8)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What training left behind.

    Attributes
    ----------
    bundle
        Folder of the council, for the registry.
    report
        HTML page.
    gate
        The verdict.
    metrics
        Finite figures, for MLflow.
    tags
        Plain strings, for MLflow.
    description
        Markdown for the registered version.
    trials, splits, members
        Trials that ran, cross-validation splits of each, seats of the council.
    """

    bundle: Path
    report: Path
    gate: GateVerdict
    metrics: dict[str, float]
    tags: dict[str, str]
    description: str
    trials: int
    splits: int
    members: int


def train(
    bars: Bars,
    events: Callable[[], Iterable[EventBatch]],
    *,
    symbol: str,
    instrument: Instrument,
    levels: int,
    spec_hash: str,
    feature_names: Sequence[str],
    data_fingerprint: str,
    settings: Settings,
    folder: Path,
    progress: Progress | None = None,
) -> TrainingResult:
    """Tune, choose a council, judge it, and write its bundle and report.

    Parameters
    ----------
    bars
        All bars of the data, oldest first.
    events
        Gives the events that the bars were built from, from the beginning, each time it is called.
    symbol, instrument
        The contract.
    levels, spec_hash, feature_names, data_fingerprint
        What the features are, and which data they were built from.
    settings
        The effective settings; `training`, `gate`, `costs`, `market` and `paths` are read.
    folder
        Receives ``bundle/`` and ``report.html``; created.
    progress
        Told how far the work is.

    Raises
    ------
    NotEnoughDataError
        Too few usable bars, or too few filled plans; nothing was written.
    TrainingError
        No trial could be ranked, or a member could not be trained.
    """
    started = time.perf_counter()
    tell = progress or (lambda stage, done, total: None)
    rules = settings.training
    bar_ms = timeframe_ms(rules.timeframe)
    sample = draw_sample(
        bars, feature_names, holdout_share=rules.holdout_share, min_bars=rules.min_bars, groups=rules.groups
    )
    splitter = CombinatorialPurgedSplit(rules.groups, rules.test_groups, rules.embargo_bars * bar_ms)
    desk = _Desk(settings, instrument, bar_ms, Tape(events))
    rows = Rows(
        np.ascontiguousarray(sample.development.values[:, sample.kept]),
        tuple(feature_names[column] for column in sample.kept.tolist()),
        sample.development.close_ms,
    )
    tell("reading events", 0, 1)
    simulator = desk.simulator(sample.development, sample.cut_ms)
    _probe(simulator)
    tell("reading events", 1, 1)

    study = run_study(
        rows,
        simulator,
        splitter,
        trials=rules.trials,
        seed=rules.seed,
        workers=rules.workers or os.cpu_count() or 1,
        journal=_journal(settings.paths.studies, symbol, rules.timeframe, data_fingerprint),
        name=f"{symbol}-{rules.timeframe}",
        time_budget_s=rules.time_budget_s,
        progress=lambda done, total, best: tell(_trial_stage(best), done, total),
    )
    tell("choosing the council", 0, 3)
    chosen = select(study.configurations, rules.members, rules.max_correlation)
    council = seat(
        chosen, rows, simulator, splitter, engine_features=feature_names, quorum=rules.quorum, seed=rules.seed
    )
    tell("judging the council", 1, 3)
    paths = council_paths(council, chosen, rows, simulator)
    random = _random_paths(council, chosen, rows, simulator, rules.seed)
    holdout = HoldOut(desk.simulator(sample.holdout, None), desk.costs.model.taker_fee).judge(council, seed=rules.seed)
    verdict = judge(
        settings.gate,
        paths=paths,
        sharpes=study.sharpes(),
        returns=study.returns(),
        random=random,
        holdout=holdout,
    )
    tell("writing the bundle and the report", 2, 3)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = _metrics(verdict, study, time.perf_counter() - started)
    save_bundle(
        folder / "bundle",
        council,
        symbol=symbol,
        timeframe=rules.timeframe,
        levels=levels,
        stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash,
        window_ms=(int(bars.open_ms[0]), int(bars.close_ms[-1])),
        data_fingerprint=data_fingerprint,
        gate=verdict.to_json(),
        statistics={
            "trials": study.trials,
            "splits": splitter.splits,
            "holdout_from_ms": sample.cut_ms,
            "left_out": sample.left_out,
            **metrics,
        },
        profile=TrainingProfile.of(sample.development.values, tuple(feature_names)),
    )
    findings = Findings(
        symbol=symbol,
        settings=settings,
        bars=bars,
        sample=sample,
        splits=splitter.splits,
        study=study,
        chosen=chosen,
        council=council,
        paths=paths,
        random=random,
        holdout=holdout,
        verdict=verdict,
        fingerprint=data_fingerprint,
        seconds=time.perf_counter() - started,
    )
    report = write_report(folder / "report.html", findings)
    tell("writing the bundle and the report", 3, 3)
    return TrainingResult(
        bundle=folder / "bundle",
        report=report,
        gate=verdict,
        metrics=metrics,
        tags={"data_fingerprint": data_fingerprint, "seed": str(rules.seed), "trials": str(study.trials)},
        description=describe(findings),
        trials=study.trials,
        splits=splitter.splits,
        members=len(council.members),
    )


class _Desk:
    """Makes simulators that look at the same tape."""

    def __init__(self, settings: Settings, instrument: Instrument, bar_ms: int, tape: Tape) -> None:
        fees = settings.costs
        model = FillModel(fees.order_latency_ms, float(fees.maker_fee), float(fees.taker_fee))
        self.costs = Costs(model, float(settings.training.plan_notional))
        self._instrument, self._bar_ms, self._tape = instrument, bar_ms, tape

    def simulator(self, bars: Bars, until_ms: int | None) -> Simulator:
        """Of the plans of `bars`; it sees no event at or after `until_ms`."""
        events = (lambda: self._tape) if until_ms is None else (lambda: self._tape.until(until_ms))
        return Simulator(bars, events, self._instrument, self._bar_ms, self.costs)


def _probe(simulator: Simulator) -> None:
    """Refuse a market that fills no orders before a study is begun on it."""
    closed = simulator.table(_PROBE).closed.sum(axis=0)
    if closed.min() < 2 * MIN_LABELS:
        raise NotEnoughDataError(
            f"of {len(simulator.bars)} order plans a side, {closed[0]} long and {closed[1]} short ones were filled and "
            f"closed in a test run; {2 * MIN_LABELS} of each are needed",
            advice="Capture or import more data, or take a shorter timeframe",
        )


def _random_paths(
    council: Council, chosen: Sequence[Configuration], rows: Rows, simulator: Simulator, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    typical = StrategyParams.median_of([member.params for member in council.members])
    like = council_sides(council, chosen)[0]
    return random_entries(simulator.table(typical), rows.decide_ms, like, seed=seed)


def _journal(folder: Path, symbol: str, timeframe: str, fingerprint: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return folder / f"{symbol}-{timeframe}-{fingerprint[:12]}-{stamp}.journal"


def _trial_stage(best: float) -> str:
    return f"trials (best score {best:.2f})" if math.isfinite(best) else "trials"


def _metrics(verdict: GateVerdict, study: StudyResult, seconds: float) -> dict[str, float]:
    figures = {
        **verdict.figures,
        "gate_passed": float(verdict.passed),
        "seconds": seconds,
        "study_seconds": study.seconds,
        "study_fit_seconds": study.fit_seconds,
        "trials": float(study.trials),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}
