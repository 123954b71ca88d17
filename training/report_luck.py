"""Sections of the report about luck: what was tried, how it overfits, and what chance alone would earn."""

from __future__ import annotations

import math

import numpy as np

from training import statistics
from training.charts import chart, layer
from training.findings import Findings
from training.report_words import section, share


def luck(findings: Findings) -> str:
    """The section."""
    return section(
        "How much of it is luck",
        tried_chart(findings) + deflated_chart(findings) + overfitting_chart(findings) + random_chart(findings),
    )


def tried_chart(findings: Findings) -> str:
    """Sharpe ratio of everything that was tried."""
    figures = findings.verdict.figures
    sharpes = findings.study.sharpes()
    numbers = np.array([one.trial + 1 for one in findings.study.configurations], np.float64)
    stopped = np.array([not one.predictions.size for one in findings.study.configurations])
    layers = [
        layer("dots", numbers[~stopped], sharpes[~stopped], "path", "everything that was tried"),
        layer("dots", numbers[stopped], sharpes[stopped], "soft", "stopped early" if stopped.any() else ""),
        layer("across", [], [figures["dsr_hurdle"]], "bad", "what luck alone would reach"),
        layer("across", [], [figures["sharpe"]], "main", "council"),
    ]
    inherited = findings.study.heritage
    seeded = f" {inherited.tried} of them by the earlier study that seeded this one." if inherited.tried else ""
    return chart(
        [one for one in layers if one.kind != "across" or math.isfinite(one.y[0])],
        title="Sharpe ratio a bar, trial by trial",
        x_labels=[(one, f"{one:.0f}") for one in np.unique(np.linspace(1, numbers[-1], 5).round()).tolist()],
        note=f"{figures['tried']:.0f} configurations were tried, worth about {figures['tried_independent']:.0f} "
        f"independent ones.{seeded} The best of that many without any skill would be expected at the red rule; the "
        "deflated Sharpe ratio asks how surely the council is above it.",
    )


def deflated_chart(findings: Findings) -> str:
    """The deflated Sharpe ratio as a function of how much was tried."""
    figures = findings.verdict.figures
    counts = np.unique(np.geomspace(1, max(10.0 * figures["tried"], 1_000.0), 60).round())
    values = [
        statistics.deflated_sharpe(
            figures["sharpe"],
            int(figures["bars"]),
            figures["skew"],
            figures["kurtosis"],
            trials=float(count),
            variance=figures["sharpe_variance"],
        )
        for count in counts
    ]
    at = np.log10(counts)
    marks = [
        layer("line", at, values, "main", "deflated Sharpe ratio"),
        layer("across", [], [findings.settings.gate.min_dsr], "bad", "wanted"),
        layer("upright", [math.log10(figures["tried"])], [], "path", "tried"),
    ]
    return chart(
        marks,
        title="Deflated Sharpe ratio, by how much is tried",
        x_labels=[(float(power), f"{10**power:,}") for power in range(int(at[-1]) + 1)],
        note=f"The same result would be worth less, the more configurations had been tried to find it. With "
        f"{figures['tried']:.0f} it is {share(figures['dsr'])}; counting only the "
        f"{figures['tried_independent']:.0f} or so that are independent of each other, it would be "
        f"{share(figures['dsr_independent'])}.",
        percent=True,
    )


def overfitting_chart(findings: Findings) -> str:
    """Logits of the relative ranks, whose share at or below 0 is the PBO."""
    figures = findings.verdict.figures
    ranks = statistics.overfitting_ranks(findings.study.returns())
    if not len(ranks):
        return "<p>Too few bars or configurations for the probability of backtest overfitting.</p>"
    logits = np.log(ranks / (1.0 - ranks))
    heights, edges = np.histogram(logits, bins=24)
    return chart(
        [
            layer("bars", edges, heights / len(logits), "path", "ways to halve the data"),
            layer("upright", [0.0], [], "bad", "the middle"),
        ],
        title="Probability of backtest overfitting",
        note="For every way to halve the data: where what was best on one half ranks on the other, as the logit of its "
        f"relative rank. Left of the red rule it fell to the lower half: {share(figures['pbo'])} of the ways (the "
        f"PBO). In {share(figures['loss_probability'])} it lost money there.",
        percent=True,
    )


def random_chart(findings: Findings) -> str:
    """The council against random entries."""
    figures = findings.verdict.figures
    heights, edges = np.histogram(findings.random, bins=min(24, max(6, len(findings.random) // 10)))
    return chart(
        [
            layer("bars", edges, heights, "path", "random entries"),
            layer("upright", [figures["path_return_mean"]], [], "main", "council"),
        ],
        title="Against random entries",
        note="Net return, before the hold-out, of entering at random moments with the same plans, as often and as "
        "often long as the council. What is left of the rule would have done worse.",
        x_percent=True,
    )
