"""From tried configurations to a council: the best ones that are not near-copies of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from council import Council, Member, TreeModel
from market.errors import TrainingError
from training.folds import Layout, deployed_threshold
from training.models import Binned, fit
from training.outcomes import Simulator
from training.study import Configuration

#: The models of a member, in the order in which predictions are kept.
SIDES = ("long", "short")


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
            "no trial traded enough on every backtest path, so nothing can be ranked",
            advice="Capture more data, raise training.trials, or lower training.min_path_trades",
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
    mine, theirs = one.returns, other.returns
    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return 1.0
    return float(np.corrcoef(mine, theirs)[0, 1])


@dataclass(frozen=True, slots=True, eq=False)
class Seats:
    """A council, and the boosters of its members as LightGBM trained them.

    Attributes
    ----------
    council
        Ready for its bundle.
    boosters
        Of every member: long, short.
    """

    council: Council
    boosters: tuple[tuple[lgb.Booster, lgb.Booster], ...]


def seat(
    chosen: Sequence[Configuration],
    layout: Layout,
    simulator: Simulator,
    *,
    engine_features: Sequence[str],
    quorum: float,
    seed: int,
) -> Seats:
    """Train the deployed boosters on all development rows, and set their thresholds.

    What was tuned is what is deployed: the parameters, rounds and seed of the trial. A booster that has seen all rows
    has none left to set a threshold on, so the threshold is the level that the tuned share of the *out-of-fold*
    predictions of the same parameters reaches: the rule by which the study itself set every threshold
    (:mod:`training.folds`), there too on sister boosters. How well it transfers is measured and reported.

    Raises
    ------
    TrainingError
        A member's labels are too few to learn from on both sides.
    """
    rows = layout.rows
    everything = np.arange(len(rows))
    binned = Binned(rows.values, everything, rows.names)
    members, boosters = [], []
    for rank, one in enumerate(chosen, start=1):
        outcomes = simulator.table(one.strategy)
        thresholds: list[float] = []
        own: list[lgb.Booster] = []
        for side, name in enumerate(SIDES):
            learnt = rows.lesson(outcomes, side).labels(everything)
            if learnt is None:
                raise TrainingError(
                    f"too few filled {name} plans to train member {rank}",
                    advice="Capture more data; if the market was all in one direction, data of other days",
                )
            own.append(fit(binned, learnt, one.booster, seed + 1000 * one.trial))
            thresholds.append(deployed_threshold(one.predictions, side, one.share))
        models = {name: TreeModel.from_booster(booster) for name, booster in zip(SIDES, own)}
        members.append(Member(rank, one.strategy, thresholds[0], thresholds[1], models))
        boosters.append((own[0], own[1]))
    return Seats(Council(tuple(members), quorum, tuple(engine_features), rows.names), tuple(boosters))
