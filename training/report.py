"""The training report: one HTML page that needs nothing else, the verdict first, in plain words."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from council import StrategyParams
from settings import timeframe_ms
from training._style import STYLE
from training.findings import Findings
from training.report_luck import luck
from training.report_models import models
from training.report_results import data, earnings
from training.report_words import bars as bars_text
from training.report_words import percent, section, share, table, when


def write_report(path: Path, findings: Findings) -> Path:
    """Write the page and return its path."""
    title = f"{findings.symbol} {findings.settings.training.timeframe} training report"
    body = "".join(
        (
            _verdict(findings),
            _next_step(findings),
            _figures(findings),
            _champion(findings),
            earnings(findings),
            luck(findings),
            _members(findings),
            models(findings),
            data(findings),
            _glossary(),
        )
    )
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n',
        encoding="utf-8",
    )
    return path


def describe(findings: Findings) -> str:
    """The verdict as Markdown, for the registered version."""
    verdict = findings.verdict
    rows = "\n".join(f"| {'yes' if one.passed else '**no**'} | {one.text} |" for one in verdict.reasons)
    figures = verdict.figures
    return (
        f"**Gate: {'passed' if verdict.passed else 'FAILED'}.** {_headline(findings)}\n\n"
        f"| met | condition |\n|---|---|\n{rows}\n\n"
        "| figure | development (out of fold) | hold-out |\n|---|---|---|\n"
        f"| net return | {percent(figures['path_return_mean'])} | {percent(figures['holdout_return'])} |\n"
        f"| trades | {figures['path_trades']:.0f} | {figures['holdout_trades']:.0f} |\n"
        f"| orders filled | {share(figures['path_fill_rate'])} | {share(figures['holdout_fill_rate'])} |\n"
        f"| win rate | {share(figures['path_win_rate'])} | {share(figures['holdout_win_rate'])} |\n"
        f"| largest drawdown | {share(figures['path_drawdown'])} | {share(figures['holdout_drawdown'])} |\n\n"
        f"{findings.study.trials} trials, {figures['tried']:.0f} configurations, "
        f"{findings.layout.splitter.splits} purged splits, members: {len(findings.seats.council.members)}. "
        f"Data fingerprint `{findings.fingerprint[:16]}`.\n"
        + (f"\n{findings.comparison.text()}\n" if findings.comparison else "")
    )


def _headline(findings: Findings) -> str:
    verdict = findings.verdict
    if verdict.passed:
        return "This council may trade live: every condition is met."
    failed = sum(not one.passed for one in verdict.reasons)
    conditions = "condition is" if failed == 1 else "conditions are"
    return f"This council may not trade live: {failed} of {len(verdict.reasons)} {conditions} not met."


def _verdict(findings: Findings) -> str:
    verdict = findings.verdict
    word, mood = ("passed", "good") if verdict.passed else ("failed", "bad")
    reasons = "".join(
        f'<li class="{"good" if one.passed else "bad"}"><span class="mark">{"✓" if one.passed else "✗"}</span>'
        f"<span>{escape(one.text)}</span></li>"
        for one in verdict.reasons
    )
    return (
        f'<header class="{mood}"><p class="what">{escape(findings.symbol)} · {findings.settings.training.timeframe} '
        f"bars · {when(int(findings.bars.open_ms[0]))} to {when(int(findings.bars.close_ms[-1]))} UTC</p>"
        f"<h1>The gate: {word}</h1><p>{escape(_headline(findings))}</p></header>"
        f'<ul class="reasons">{reasons}</ul>'
    )


def _next_step(findings: Findings) -> str:
    figures = findings.verdict.figures
    if findings.verdict.passed:
        text = (
            "Look at the charts below, then promote this version in the MLflow UI (alias production) or with purplesky "
            "promote. A pass says that this result is unlikely to be luck, not that the market will stay as it was."
        )
    elif not figures["path_return_mean"] > 0:
        text = (
            "Out of fold the council loses after costs: on this data there is nothing that it could trade. More of the "
            "same data will hardly change that; other features, another timeframe or lower costs might."
        )
    elif math.isfinite(figures["min_track_bars"]) and figures["min_track_bars"] > figures["bars"]:
        needed = figures["min_track_bars"]
        days = needed * timeframe_ms(findings.settings.training.timeframe) / 86_400_000
        text = (
            f"The council gains out of fold, but {figures['bars']:,.0f} bars are too few to tell that from luck. If it "
            f"goes on like this, about {needed:,.0f} bars ({days:.1f} days) before the hold-out would settle it: "
            "capture more."
        )
    else:
        text = (
            "The council gains out of fold, but not every condition above is met. More data is the safest way on; do "
            "not train again with other seeds until one passes: that is the overfitting that the gate is there to stop."
        )
    return f'<p class="next"><b>What now.</b> {escape(text)}</p>'


def _figures(findings: Findings) -> str:
    figures, gate = findings.verdict.figures, findings.settings.gate
    interval = f"{percent(figures['holdout_return_low'])} to {percent(figures['holdout_return_high'])} (90 %)"
    tiles = (
        ("Deflated Sharpe", share(figures["dsr"]), f"wanted: {share(gate.min_dsr)} or more"),
        (
            "Overfitting",
            share(figures["loss_probability"]),
            f"lost on the other half; allowed: {share(gate.max_loss_probability)}. PBO {share(figures['pbo'])}",
        ),
        ("Hold-out, net", percent(figures["holdout_return"]), interval),
        ("Hold-out trades", f"{figures['holdout_trades']:.0f}", f"{share(figures['holdout_win_rate'])} won"),
        (
            "Paths, net",
            percent(figures["path_return_mean"]),
            f"worst of {figures['paths']:.0f}: {percent(figures['path_return_min'])}",
        ),
        ("Largest drawdown", share(figures["path_drawdown"]), f"hold-out: {share(figures['holdout_drawdown'])}"),
    )
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(small)}</small></div>"
        for name, value, small in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _members(findings: Findings) -> str:
    council = findings.seats.council
    seats = list(zip(findings.seats.council.members, findings.chosen))
    head = ("member", *(str(member.rank) for member, _ in seats))
    rows = [
        ("trial", *(str(one.trial + 1) for _, one in seats)),
        ("score", *(f"{one.score:.2f}" for _, one in seats)),
        ("trades a path", *(f"{one.trades:.0f}" for _, one in seats)),
        ("votes long from", *(_threshold(member.threshold_long) for member, _ in seats)),
        ("votes short from", *(_threshold(member.threshold_short) for member, _ in seats)),
        ("entry", *(one.strategy.entry for _, one in seats)),
        ("entry offset", *(f"{one.strategy.offset_atr:g} ATR" for _, one in seats)),
        ("stop", *(f"{one.strategy.stop_atr:g} ATR" for _, one in seats)),
        ("target", *(_target(one.strategy) for _, one in seats)),
        ("entry waits", *(bars_text(one.strategy.tif_bars) for _, one in seats)),
        ("position lasts", *(bars_text(one.strategy.hold_bars) for _, one in seats)),
        ("trees × leaves", *(f"{one.booster.rounds} × {one.booster.num_leaves}" for _, one in seats)),
    ]
    return (
        "<section><h2>The council</h2><p>A side trades when at least "
        f"{council.needed} of {len(council.members)} members vote for it; the order takes "
        "the median of the approving members' parameters. A vote is cast when the chance of a net gain, given a "
        f"fill, reaches the member's threshold.</p>{table(head, rows)}</section>"
    )


def _champion(findings: Findings) -> str:
    comparison = findings.comparison
    if comparison is None:
        return ""
    return section("Against the council in Production", f'<p class="next">{escape(comparison.text())}</p>')


def _target(strategy: StrategyParams) -> str:
    return f"{strategy.target_atr:g} ATR{', resting' if strategy.target_maker else ''}"


def _threshold(value: float) -> str:
    return share(value) if value <= 1 else "never"


def _glossary() -> str:
    terms = (
        (
            "Deflated Sharpe ratio",
            "The probability that the council's Sharpe ratio is above zero even though it is the best "
            "of many tries (Bailey and López de Prado, 2014). All tries count, the losing ones too.",
        ),
        (
            "PBO",
            "Probability of backtest overfitting (Bailey, Borwein, López de Prado and Zhu, 2017): how often the best "
            "on one half of the data is no better than the middle on the other. Where all tries are about equally good "
            "it comes out near 50 % as well.",
        ),
        (
            "Backtest path",
            "Each block of the data is predicted several times, by models trained on different other blocks; "
            "a path takes one prediction of each block.",
        ),
        ("Hold-out", "The last part of the data. It is read once, by the finished council."),
    )
    items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in terms)
    return f"<h2>Words</h2><dl>{items}</dl>"
