"""From tried configurations to a council: the best ones that are not near-copies of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from council import Council, Member, TreeModel
from market.errors import TrainingError
from training.folds import Rows
from training.models import fit, predict, threshold
from training.outcomes import Simulator
from training.splits import CombinatorialPurgedSplit
from training.study import Configuration


def select(configurations: Sequence[Configuration], members: int, max_correlation: float) -> list[Configuration]:
    """Choose members by score.

    The best configuration is always chosen, so that every study gives a council for the gate to judge. Others join,
    best first, while their score is above 0, their trial has no seat yet, and their out-of-fold returns correlate at
    most `max_correlation` with those of each member so far.

    Parameters
    ----------
    configurations
        What was tried.
    members
        Seats.
    max_correlation
        Of the bar returns (mean over the paths); an undefined correlation counts as too high.

    Raises
    ------
    TrainingError
        No configuration has a score.
    """
    ranked = sorted(
        (one for one in configurations if math.isfinite(one.score)), key=lambda one: (-one.score, one.trial, one.share)
    )
    if not ranked:
        raise TrainingError(
            "no trial traded on every backtest path, so nothing can be ranked",
            advice="Capture more data, or raise training.trials",
        )
    chosen = ranked[:1]
    for candidate in ranked[1:]:
        if len(chosen) == members or candidate.score <= 0:
            break
        if all(candidate.trial != one.trial and correlation(candidate, one) <= max_correlation for one in chosen):
            chosen.append(candidate)
    return chosen


def correlation(one: Configuration, other: Configuration) -> float:
    """Correlation of two configurations' out-of-fold bar returns; 1 where it is undefined."""
    mine, theirs = one.returns.mean(axis=0), other.returns.mean(axis=0)
    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return 1.0
    return float(np.corrcoef(mine, theirs)[0, 1])


def seat(
    chosen: Sequence[Configuration],
    rows: Rows,
    simulator: Simulator,
    splitter: CombinatorialPurgedSplit,
    *,
    engine_features: Sequence[str],
    quorum: float,
    seed: int,
) -> Council:
    """Train the deployed boosters and set their thresholds.

    A booster learns from all blocks but the last, purged as in every split, and gets its threshold from its own
    predictions on that last block, exactly as the boosters of the study did: what was tuned is what is deployed.

    Raises
    ------
    TrainingError
        A member's labels before the last block are too few to learn from on both sides.
    """
    members = []
    last = calibration_rows(splitter, len(rows))
    for rank, one in enumerate(chosen, start=1):
        outcomes = simulator.table(one.strategy)
        train = training_rows(rows, outcomes.end_ms.max(axis=1), last, splitter.embargo_ms)
        thresholds: list[float] = []
        models: dict[str, TreeModel] = {}
        for side, name in enumerate(("long", "short")):
            booster = fit(rows.lesson(outcomes, side), train, one.booster, seed + 1000 * one.trial)
            if booster is None:
                raise TrainingError(
                    f"too few filled {name} plans to train member {rank}",
                    advice="Capture more data; if the market was all in one direction, data of other days",
                )
            thresholds.append(threshold(predict(booster, rows.values[last]), one.share))
            models[name] = TreeModel.from_booster(booster)
        members.append(Member(rank, one.strategy, thresholds[0], thresholds[1], models))
    return Council(tuple(members), quorum, tuple(engine_features), rows.names)


def calibration_rows(splitter: CombinatorialPurgedSplit, rows: int) -> NDArray[np.int64]:
    """The last block of rows."""
    bounds = splitter.bounds(rows)
    return np.arange(bounds[-2], bounds[-1])


def training_rows(rows: Rows, end_ms: NDArray[np.int64], last: NDArray[np.int64], embargo_ms: int) -> NDArray[np.int64]:
    """Rows before the last block whose outcomes are known an embargo before it begins.

    Nothing follows the last block, so the embargo stands before it: the thresholds see no input that training shared.
    """
    return np.flatnonzero(end_ms[: last[0]] < rows.decide_ms[last[0]] - embargo_ms)
