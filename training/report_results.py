"""Sections of the report about results and data: equity, drawdowns, trades, coverage and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features import Bars
from training.backtest import Track
from training.charts import chart, layer
from training.findings import Findings
from training.outcomes import tradable
from training.report_words import bars as bars_text
from training.report_words import percent, section, share, table, times, when

_DAY_MS = 86_400_000
#: Stretches of unusable bars that are listed.
_HOLES = 8

Floats = NDArray[np.float64]


def earnings(findings: Findings) -> str:
    """What the council would have earned."""
    return section(
        "What it would have earned",
        paths_chart(findings) + holdout_chart(findings) + drawdown_chart(findings) + trades_chart(findings),
    )


def paths_chart(findings: Findings) -> str:
    """Equity of every backtest path."""
    at = findings.sample.development.close_ms
    layers = [
        layer("line", at, np.cumsum(path.returns), "path", "" if number else "backtest paths")
        for number, path in enumerate(findings.paths)
    ]
    layers.append(layer("line", at, _mean_equity(findings.paths), "main", "their mean"))
    return chart(
        layers,
        title="Council, out of fold",
        note="Sum of net returns of a constant stake, one plan at a time, after fees and with our place in the queue. "
        "Every decision is by models that were not trained on its block. Paths that stay close together mean that the "
        "result does not hang on one lucky split.",
        x_labels=times(at),
        percent=True,
    )


def holdout_chart(findings: Findings) -> str:
    """Equity on the hold-out, beside the price."""
    holdout = findings.holdout
    at, track = holdout.close_ms, holdout.track
    closes = findings.sample.holdout.close
    layers = [
        layer("line", at, closes / closes[0] - 1.0, "path", "price"),
        layer("line", at, np.cumsum(track.returns), "main", "council"),
        layer("dots", at[track.filled], np.cumsum(track.returns)[track.filled], "main"),
    ]
    figures = findings.verdict.figures
    unknown = f" Plans with an unknown end, not counted: {track.unknown}." if track.unknown else ""
    return chart(
        layers,
        title="Council, hold-out",
        note="The last part of the data, read once, after the council was chosen. Dots are trades. Buying and holding "
        f"returned {percent(figures['holdout_buy_and_hold'])}, random entries with the same plans "
        f"{percent(figures['holdout_random_return'])} on average. Of its orders {share(figures['holdout_fill_rate'])} "
        f"were filled; it held a position for {share(figures['holdout_exposure'])} of the time and turned its stake "
        f"over {_count(figures['holdout_turnover'])} times a day.{unknown}",
        x_labels=times(at),
        percent=True,
    )


def _count(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "0"


def drawdown_chart(findings: Findings) -> str:
    """How far below its last high the equity was, on every path and on the hold-out."""
    at = np.concatenate([findings.sample.development.close_ms, findings.holdout.close_ms])
    count = len(findings.sample.development)
    layers = [
        layer("line", at[:count], _drawdown(path.returns), "path", "" if number else "backtest paths")
        for number, path in enumerate(findings.paths)
    ]
    layers.append(layer("line", at[count:], _drawdown(findings.holdout.track.returns), "main", "hold-out"))
    return chart(
        layers,
        title="Drawdown",
        note="Distance of the equity above from its last high, of a constant stake.",
        x_labels=times(at),
        percent=True,
    )


def trades_chart(findings: Findings) -> str:
    """Net returns of single trades, before the hold-out and on it."""
    path, track = findings.paths[0], findings.holdout.track
    before, after = path.returns[path.filled], track.returns[track.filled]
    both = np.concatenate([before, after])
    if not len(both):
        return "<p>There was not one trade.</p>"
    edges = np.histogram_bin_edges(both, bins=12)
    layers = [layer("bars", edges, np.histogram(before, edges)[0] / max(1, len(before)), "path", "first path")]
    if len(after):
        heights = np.histogram(after, edges)[0] / len(after)
        layers.append(layer("line", (edges[1:] + edges[:-1]) / 2, heights, "main", "hold-out"))
    layers.append(layer("upright", [0.0], [], "bad", "0"))
    return chart(
        layers,
        title="Trades",
        note=f"Share of trades by net return: {len(before)} trades of the first path, {len(after)} of the hold-out. "
        f"{_holding(findings, path)}",
        percent=True,
        x_percent=True,
    )


def _holding(findings: Findings, path: Track) -> str:
    days = max(1e-9, (findings.sample.cut_ms - int(findings.bars.open_ms[0])) / _DAY_MS)
    filled = 100 * path.trades / path.orders if path.orders else float("nan")
    return f"{path.orders / days:.1f} orders a day, {filled:.0f} % of them filled."


def _mean_equity(paths: Sequence[Track]) -> Floats:
    mean: Floats = np.mean([np.cumsum(path.returns) for path in paths], axis=0)
    return mean


def _drawdown(returns: Floats) -> Floats:
    equity = np.cumsum(returns)
    fall: Floats = equity - np.maximum(np.maximum.accumulate(equity), 0.0)
    return fall


def data(findings: Findings) -> str:
    """What the council was trained on, and what was left out and why."""
    return section(
        "What it was trained on", coverage_chart(findings) + table((), _facts(findings)) + _holes(findings.bars)
    )


def coverage_chart(findings: Findings) -> str:
    """Share of usable bars along the data."""
    bars = findings.bars
    pieces = np.array_split(np.arange(len(bars)), min(60, len(bars)))
    usable = tradable(bars)
    edges = np.array([*(bars.open_ms[piece[0]] for piece in pieces), bars.close_ms[-1]], np.float64)
    return chart(
        [
            layer("bars", edges, [usable[piece].mean() for piece in pieces], "path", "usable bars"),
            layer("upright", [findings.sample.cut_ms], [], "main", "hold-out begins"),
        ],
        title="Coverage",
        note="Share of bars that can be learnt from and traded on. The others touch a suspect window or were taken out "
        "by validation, or lie in the warm-up of the ATR; the longest such stretches are listed below.",
        x_labels=times(bars.close_ms),
        percent=True,
    )


def _facts(findings: Findings) -> list[tuple[str, str]]:
    settings, sample, search = findings.settings, findings.sample, findings.search
    rules, costs, bars = settings.training, settings.costs, findings.bars
    left_out = ", ".join(f"{name} ({why})" for name, why in sample.left_out.items()) if sample.left_out else "none"
    usable, unknown_atr = tradable(bars), bars.valid & ~tradable(bars)
    trials = f"{findings.study.trials}, of which {findings.study.pruned} were stopped early; seed {rules.seed}"
    if findings.study.heritage.tried:
        trials += f"; seeded by {findings.study.heritage.source}, whose {findings.study.heritage.tried} tries count too"
    how = (
        f"walk forward over {rules.groups} blocks"
        if rules.splits == "walk-forward"
        else f"{rules.test_groups} of {rules.groups} blocks tested"
    )
    return [
        (
            "Bars",
            f"{len(bars):,}, of which {len(sample.development):,} usable before the hold-out and "
            f"{len(sample.holdout):,} in it",
        ),
        (
            "Bars left out",
            f"{int((~bars.valid).sum()):,} touch a suspect or masked window, {int(unknown_atr.sum()):,} have no close "
            f"or ATR yet; {int(usable.sum()):,} are usable",
        ),
        ("Hold-out from", f"{when(sample.cut_ms)} UTC; tuning saw no event after that"),
        (
            "Splits",
            f"{findings.layout.splitter.splits}: {how}, purged by the end of each label, embargo of "
            f"{rules.embargo_bars} bars on top",
        ),
        ("Trials", trials),
        ("Search space", "; ".join(f"{one.name}: {one.text()}" for one in search.space.dimensions)),
        ("Features", f"{len(sample.kept)} used; left out: {left_out}"),
        (
            "Costs",
            f"maker {100 * float(costs.maker_fee):g} %, taker {100 * float(costs.taker_fee):g} %, order latency "
            f"{costs.order_latency_ms} ms, {rules.plan_notional:,} USDT a plan; funding where the lake knows its rate",
        ),
        ("Not included", "the effect of our own orders on the market"),
        ("Data fingerprint", findings.fingerprint[:16]),
        (
            "Time",
            f"{findings.seconds:.0f} s; of {findings.study.trial_seconds:.0f} s in trials (over all processes) "
            f"{findings.study.fit_seconds:.0f} s were LightGBM's",
        ),
    ]


def _holes(bars: Bars) -> str:
    """The longest stretches of bars that could not be used."""
    bad = np.flatnonzero(~bars.valid)
    if not len(bad):
        return "<p>No bar touches a suspect or masked window.</p>"
    runs = np.split(bad, np.flatnonzero(np.diff(bad) > 1) + 1)
    longest = sorted(runs, key=lambda run: (-len(run), int(run[0])))[:_HOLES]
    rows = [
        (when(int(bars.open_ms[run[0]])), when(int(bars.close_ms[run[-1]])), bars_text(len(run)))
        for run in sorted(longest, key=lambda run: int(run[0]))
    ]
    return f"<p>Longest of {len(runs)} stretches left out:</p>" + table(("from (UTC)", "to", "length"), rows)
