"""Sections of the report about the models: probabilities, thresholds, what they look at, what knows too much."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray

from training.charts import chart, layer, ranking
from training.findings import Findings
from training.folds import realized_shares
from training.leaks import AROUND, suspects
from training.report_words import number, section, share, table

#: Rows, at most, on which SHAP values are computed; features, at most, that are shown.
_SHAP_ROWS, _SHOWN = 2_000, 15
#: Finished trials below which the importance of parameters says nothing.
_MIN_TRIALS = 8


def models(findings: Findings) -> str:
    """The sections."""
    return section("Can its probabilities be believed?", reliability_chart(findings) + thresholds(findings)) + section(
        "What the models look at", importances(findings) + foresight(findings) + parameters(findings)
    )


def reliability_chart(findings: Findings) -> str:
    """Predicted against real shares of wins."""
    found = findings.reliability
    if not found.count:
        return "<p>No plan was closed, so nothing can be said about the probabilities.</p>"
    ends = [float(min(found.said.min(), found.happened.min())), float(max(found.said.max(), found.happened.max()))]
    return chart(
        [
            layer("line", ends, ends, "path", "perfect"),
            layer("line", found.said, found.happened, "main", "members"),
            layer("dots", found.said, found.happened, "main"),
        ],
        title="Reliability",
        note=f"Across: the chance of a net gain that the members gave, in tenths of {found.count:,} out-of-fold "
        "predictions of closed plans. Up: the share that gained. Expected calibration error "
        f"{share(found.error)}; Brier skill against always saying the average {number(found.skill, 3)} (above 0 is "
        "better than the average).",
        percent=True,
        x_percent=True,
        from_zero=False,
    )


def thresholds(findings: Findings) -> str:
    """How many bars thresholds let through: wanted, out of fold, and on the hold-out."""
    head = ("member", "wanted", "out of fold, long", "out of fold, short", "hold-out, long", "hold-out, short")
    rows = []
    for index, (member, one) in enumerate(zip(findings.seats.council.members, findings.chosen)):
        real = realized_shares(findings.layout, one.predictions, one.share)
        rows.append(
            (
                str(member.rank),
                share(one.share),
                *(_spread(real[:, side]) for side in (0, 1)),
                *(share(float(findings.holdout.realized[index, side])) for side in (0, 1)),
            )
        )
    return (
        "<p>A threshold is the level that a share of out-of-fold predictions reaches. It always meets a booster that "
        "it was not set on, in the study as in production, so what it really lets through differs; here is by how much "
        "(mean, and least to most over the blocks).</p>" + table(head, rows)
    )


def _spread(values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    return (
        f"{share(float(known.mean()))} ({share(float(known.min()))} to {share(float(known.max()))})"
        if len(known)
        else "unknown"
    )


def importances(findings: Findings) -> str:
    """Mean absolute SHAP values of the deployed boosters."""
    mean = shap(findings)
    order = np.argsort(-mean, kind="stable")[:_SHOWN]
    names = findings.layout.rows.names
    whole = float(mean.sum()) or 1.0
    return ranking(
        [(names[index], float(mean[index]) / whole) for index in order.tolist() if mean[index] > 0],
        title="Features (SHAP)",
        note="Share of all that moves the deployed boosters' predictions: mean absolute SHAP values (LightGBM's exact "
        f"TreeSHAP) over the members and sides. {len(names)} features are used, the first {_SHOWN} are shown.",
    )


def shap(findings: Findings) -> NDArray[np.float64]:
    """Mean absolute SHAP value of each feature, over members and sides: float64[F]."""
    values = findings.layout.rows.values
    rows = np.unique(np.linspace(0, len(values) - 1, min(_SHAP_ROWS, len(values))).astype(np.int64))
    total = np.zeros(values.shape[1])
    boosters = [booster for pair in findings.seats.boosters for booster in pair]
    for booster in boosters:
        # The last column is the booster's base value.
        total += np.abs(np.asarray(booster.predict(values[rows], pred_contrib=True))[:, :-1]).mean(axis=0)
    return total / len(boosters)


def foresight(findings: Findings) -> str:
    """Features that foretell the most, and whether that is too much."""
    rules = findings.settings.gate
    named = suspects(findings.foresight, rules.max_foresight, rules.max_hindsight)
    names = {one.name for one in named}
    rows = [
        (
            one.name,
            # Second, where a phone still shows it.
            "a leak" if one.name in names else "look at it" if max(one.low, one.hindsight) > 0.3 else "fine",
            number(one.ic, 2),
            number(one.low, 2),
            one.what,
            share(one.hindsight),
        )
        for one in [*findings.foresight[:6], *(one for one in named if one not in findings.foresight[:6])]
    ]
    return (
        "<p>What single features foretell, strongest first. Honest features of a traded market reach a few hundredths "
        f"up to a few tenths; beyond {rules.max_foresight:g} (with two standard errors taken off) the gate fails. It "
        f"also fails where the next {AROUND} bars explain more than {share(rules.max_hindsight)} of what is new in a "
        "feature: that is made of the future.</p>"
        + table(("feature", "verdict", "rank correlation", "at least", "with", "explained by the next bars"), rows)
    )


def parameters(findings: Findings) -> str:
    """Which tuned parameters decided about the score."""
    found = parameter_importance(findings.study.finished)
    if not found:
        return f"<p>Importance of parameters: too few finished trials ({findings.study.trials}) to say.</p>"
    return ranking(
        found,
        title="Tuned parameters",
        note="How much of what tells good trials from the others each parameter explains (PED-ANOVA, Watanabe et al. "
        "2023, by Optuna), over all finished trials.",
    )


def parameter_importance(finished: Sequence[optuna.trial.FrozenTrial]) -> list[tuple[str, float]]:
    """Parameters and their shares of the explained score, largest first; empty with too few trials."""
    done = [one for one in finished if one.state == optuna.trial.TrialState.COMPLETE]
    if len(done) < _MIN_TRIALS or len({one.value for one in done}) < 2:
        return []
    study = optuna.create_study(direction="maximize")
    study.add_trials(done)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return [(name, value) for name, value in found.items() if value > 0]
