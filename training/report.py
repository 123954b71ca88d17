"""The training report: one HTML page that needs nothing else, the verdict first, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from settings import timeframe_ms
from training._style import STYLE
from training.charts import chart, layer
from training.findings import Findings


def write_report(path: Path, findings: Findings) -> Path:
    """Write the page and return its path."""
    title = f"{findings.symbol} {findings.settings.training.timeframe} training report"
    body = "".join(
        (
            _verdict(findings),
            _next_step(findings),
            _figures(findings),
            _charts(findings),
            _members(findings),
            _data(findings),
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
        f"| net return | {_percent(figures['path_return_mean'])} | {_percent(figures['holdout_return'])} |\n"
        f"| trades | {figures['path_trades']:.0f} | {figures['holdout_trades']:.0f} |\n"
        f"| win rate | {_share(figures['path_win_rate'])} | {_share(figures['holdout_win_rate'])} |\n"
        f"| largest drawdown | {_share(figures['path_drawdown'])} | {_share(figures['holdout_drawdown'])} |\n\n"
        f"{findings.study.trials} trials, {figures['tried']:.0f} configurations, {findings.layout.splitter.splits} purged splits, "
        f"members: {len(findings.seats.council.members)}. Data fingerprint `{findings.fingerprint[:16]}`.\n"
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
        f"bars · {_when(int(findings.bars.open_ms[0]))} to {_when(int(findings.bars.close_ms[-1]))} UTC</p>"
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
    interval = f"{_percent(figures['holdout_return_low'])} to {_percent(figures['holdout_return_high'])} (90 %)"
    tiles = (
        ("Deflated Sharpe", _share(figures["dsr"]), f"wanted: {_share(gate.min_dsr)} or more"),
        ("Overfitting (PBO)", _share(figures["pbo"]), f"allowed: {_share(gate.max_pbo)}, more if hardly any lost"),
        ("Hold-out, net", _percent(figures["holdout_return"]), interval),
        ("Hold-out trades", f"{figures['holdout_trades']:.0f}", f"{_share(figures['holdout_win_rate'])} won"),
        (
            "Paths, net",
            _percent(figures["path_return_mean"]),
            f"worst of {figures['paths']:.0f}: {_percent(figures['path_return_min'])}",
        ),
        ("Largest drawdown", _share(figures["path_drawdown"]), f"hold-out: {_share(figures['holdout_drawdown'])}"),
    )
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(small)}</small></div>"
        for name, value, small in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _charts(findings: Findings) -> str:
    return f"<h2>What it would have earned</h2>{_paths_chart(findings)}{_holdout_chart(findings)}" + (
        f"<h2>How much of it is luck</h2>{_tried_chart(findings)}{_random_chart(findings)}"
    )


def _paths_chart(findings: Findings) -> str:
    times = findings.sample.development.close_ms
    layers = [
        layer("line", times, np.cumsum(path.returns), "path", "" if number else "backtest paths")
        for number, path in enumerate(findings.paths)
    ]
    mean = np.mean([np.cumsum(path.returns) for path in findings.paths], axis=0)
    layers.append(layer("line", times, mean, "main", "their mean"))
    return chart(
        layers,
        title="Council, out of fold",
        note="Sum of net returns of a constant stake, one plan at a time, after fees and with our place in the queue. "
        "Every decision is by models that were not trained on its block. Paths that stay close together mean that the "
        "result does not hang on one lucky split.",
        x_labels=_times(times),
        percent=True,
    )


def _holdout_chart(findings: Findings) -> str:
    holdout = findings.holdout
    times = holdout.close_ms
    closes = findings.sample.holdout.close
    layers = [
        layer("line", times, closes / closes[0] - 1.0, "path", "price"),
        layer("line", times, np.cumsum(holdout.track.returns), "main", "council"),
        layer("dots", times[holdout.track.filled], np.cumsum(holdout.track.returns)[holdout.track.filled], "main"),
    ]
    figures = findings.verdict.figures
    unknown = f" Plans with an unknown end, not counted: {holdout.track.unknown}." if holdout.track.unknown else ""
    return chart(
        layers,
        title="Council, hold-out",
        note="The last part of the data, read once, after the council was chosen. Dots are trades. Buying and holding "
        f"returned {_percent(figures['holdout_buy_and_hold'])}, random entries with the same plans "
        f"{_percent(figures['holdout_random_return'])} on average.{unknown}",
        x_labels=_times(times),
        percent=True,
    )


def _tried_chart(findings: Findings) -> str:
    figures = findings.verdict.figures
    sharpes = findings.study.sharpes()
    numbers = np.array([one.trial + 1 for one in findings.study.configurations], np.float64)
    layers = [
        layer("dots", numbers, sharpes, "path", "everything that was tried"),
        layer("across", [], [figures["dsr_hurdle"]], "bad", "what luck alone would reach"),
        layer("across", [], [figures["sharpe"]], "main", "council"),
    ]
    return chart(
        [one for one in layers if one.kind != "across" or math.isfinite(one.y[0])],
        title="Sharpe ratio a bar, trial by trial",
        x_labels=[(number, f"{number:.0f}") for number in np.unique(np.linspace(1, numbers[-1], 5).round()).tolist()],
        note=f"{figures['tried']:.0f} configurations were tried, worth about {figures['tried_independent']:.0f} "
        "independent ones. The best of that many without any skill would be expected at the red rule; the deflated "
        "Sharpe ratio asks how surely the council is above it.",
    )


def _random_chart(findings: Findings) -> str:
    figures = findings.verdict.figures
    heights, edges = np.histogram(findings.random, bins=min(24, max(6, len(findings.random) // 10)))
    layers = [
        layer("bars", edges, heights, "path", "random entries"),
        layer("upright", [figures["path_return_mean"]], [], "main", "council"),
    ]
    return chart(
        layers,
        title="Against random entries",
        note="Net return, before the hold-out, of entering at random moments with the same plans, as often and as "
        "often long as the council. What is left of the rule would have done worse.",
        x_percent=True,
    )


def _members(findings: Findings) -> str:
    seats = list(zip(findings.seats.council.members, findings.chosen))
    head = ("member", *(str(member.rank) for member, _ in seats))
    rows = [
        ("trial", *(str(one.trial + 1) for _, one in seats)),
        ("score", *(f"{one.score:.2f}" for _, one in seats)),
        ("trades a path", *(f"{one.trades:.0f}" for _, one in seats)),
        ("votes long from", *(_threshold(member.threshold_long) for member, _ in seats)),
        ("votes short from", *(_threshold(member.threshold_short) for member, _ in seats)),
        ("entry offset", *(f"{one.strategy.offset_atr:g} ATR" for _, one in seats)),
        ("stop", *(f"{one.strategy.stop_atr:g} ATR" for _, one in seats)),
        ("target", *(f"{one.strategy.target_atr:g} ATR" for _, one in seats)),
        ("entry waits", *(_bars(one.strategy.tif_bars) for _, one in seats)),
        ("position lasts", *(_bars(one.strategy.hold_bars) for _, one in seats)),
        ("trees × leaves", *(f"{one.booster.rounds} × {one.booster.num_leaves}" for _, one in seats)),
    ]
    return (
        "<h2>The council</h2><p>A side trades when at least "
        f"{findings.seats.council.needed} of {len(findings.seats.council.members)} members vote for it; the order takes the median "
        "of the approving members' parameters. A vote is cast when the chance of a net gain, given a fill, reaches the "
        f"member's threshold.</p>{_table(head, rows)}"
    )


def _data(findings: Findings) -> str:
    settings, sample = findings.settings, findings.sample
    rules, costs = settings.training, settings.costs
    left_out = ", ".join(f"{name} ({why})" for name, why in sample.left_out.items()) if sample.left_out else "none"
    rows = [
        (
            "Bars",
            f"{len(findings.bars):,}, of which {len(sample.development):,} usable before the hold-out and "
            f"{len(sample.holdout):,} in it",
        ),
        ("Hold-out from", f"{_when(sample.cut_ms)} UTC; tuning saw no event after that"),
        (
            "Splits",
            f"{findings.layout.splitter.splits}: {rules.test_groups} of {rules.groups} blocks tested, purged by the end of each "
            f"label, embargo of {rules.embargo_bars} bars on top",
        ),
        ("Trials", f"{findings.study.trials}, seed {rules.seed}"),
        ("Features", f"{len(sample.kept)} used; left out: {left_out}"),
        (
            "Costs",
            f"maker {100 * float(costs.maker_fee):g} %, taker {100 * float(costs.taker_fee):g} %, order latency "
            f"{costs.order_latency_ms} ms, {rules.plan_notional:,} USDT a plan",
        ),
        ("Not included", "funding payments, and the effect of our own orders on the market"),
        ("Data fingerprint", findings.fingerprint[:16]),
        ("Time", f"{findings.seconds:.0f} s, {findings.study.fit_seconds:.0f} s of it (over all threads) in LightGBM"),
    ]
    return f"<h2>What it was trained on</h2>{_table((), rows)}"


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table{"" if head else " class=pairs"}>{top}<tbody>{body}</tbody></table></div>'


def _times(times: NDArray[np.int64]) -> list[tuple[float, str]]:
    """Four moments along an axis: hours on a short one, days on a long one."""
    shape = "%d %b %H:%M" if times[-1] - times[0] < 5 * 86_400_000 else "%d %b"
    picked = times[np.linspace(0, len(times) - 1, 4).astype(np.int64)]
    return [(float(one), datetime.fromtimestamp(one / 1000, UTC).strftime(shape)) for one in picked.tolist()]


def _when(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _threshold(value: float) -> str:
    return _share(value) if value <= 1 else "never"


def _bars(count: int) -> str:
    return f"{count} bar" if count == 1 else f"{count} bars"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "unknown"


def _percent(value: float) -> str:
    return f"{100 * value:+.2f} %" if math.isfinite(value) else "unknown"
