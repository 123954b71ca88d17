"""Training from end to end: bars and events in; council, verdict and report out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from council import save_bundle
from features import Bars
from market.events import EventBatch
from market.instruments import Instrument
from settings import Settings
from training.challenger import Champion, Comparison
from training.examination import Progress, examine
from training.findings import Findings
from training.funding import Funding
from training.gate import GateVerdict
from training.report import describe, write_report
from training.yardsticks import trade_quantiles, training_profile


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
    comparison
        With the council in Production, if there is one.
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
    comparison: Comparison | None = None


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
    funding: Funding | None = None,
    champion: Champion | None = None,
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
    funding
        Payments while the events were recorded; ``None`` for a market that has none.
    champion
        What is in Production, to be compared on the same unseen days.
    progress
        Told how far the work is.

    Raises
    ------
    NotEnoughDataError
        Too few usable bars, or too few filled plans; nothing was written.
    TrainingError
        No trial could be ranked, or a member could not be trained.
    """
    tell = progress or (lambda stage, done, total: None)
    findings = examine(
        bars,
        events,
        symbol=symbol,
        instrument=instrument,
        levels=levels,
        spec_hash=spec_hash,
        feature_names=feature_names,
        data_fingerprint=data_fingerprint,
        settings=settings,
        funding=funding,
        champion=champion,
        progress=progress,
    )
    tell("writing the bundle and the report", 2, 3)
    study, sample, council = findings.study, findings.sample, findings.seats.council
    splits = findings.layout.splitter.splits
    folder.mkdir(parents=True, exist_ok=True)
    metrics = _metrics(findings)
    save_bundle(
        folder / "bundle",
        council,
        symbol=symbol,
        timeframe=settings.training.timeframe,
        levels=levels,
        stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash,
        window_ms=(int(bars.open_ms[0]), int(bars.close_ms[-1])),
        data_fingerprint=data_fingerprint,
        gate=findings.verdict.to_json(),
        statistics={
            "trials": study.trials,
            "splits": splits,
            "holdout_from_ms": sample.cut_ms,
            "left_out": sample.left_out,
            **metrics,
            **trade_quantiles(findings.paths),
        },
        profile=training_profile(
            sample.development.values,
            tuple(feature_names),
            findings.holdout.probability,
            [member.rank for member in council.members],
        ),
    )
    report = write_report(folder / "report.html", findings)
    tell("writing the bundle and the report", 3, 3)
    return TrainingResult(
        bundle=folder / "bundle",
        report=report,
        gate=findings.verdict,
        metrics=metrics,
        tags=_tags(findings),
        description=describe(findings),
        trials=study.trials,
        splits=splits,
        members=len(council.members),
        comparison=findings.comparison,
    )


def _metrics(findings: Findings) -> dict[str, float]:
    verdict, study, comparison = findings.verdict, findings.study, findings.comparison
    figures = {
        **verdict.figures,
        **(comparison.figures() if comparison else {}),
        "gate_passed": float(verdict.passed),
        "seconds": findings.seconds,
        "study_seconds": study.seconds,
        "study_fit_seconds": study.fit_seconds,
        "trials": float(study.trials),
        "trials_pruned": float(study.pruned),
        "trials_resumed": float(study.resumed),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _tags(findings: Findings) -> dict[str, str]:
    """The verdict and every figure as plain strings, for the version's page in the registry."""
    verdict, study, comparison = findings.verdict, findings.study, findings.comparison
    seed = findings.settings.training.seed
    tags = {"data_fingerprint": findings.fingerprint, "seed": str(seed), "trials": str(study.trials)}
    tags |= {f"gate.{one.name}": "met" if one.passed else "not met" for one in verdict.reasons}
    tags |= {f"figure.{name}": f"{value:.6g}" for name, value in verdict.figures.items()}
    if study.heritage.source:
        tags["seeded_by"] = study.heritage.source
    if comparison is not None:
        tags |= {"champion": comparison.name, "against_champion": comparison.verdict}
    return tags
