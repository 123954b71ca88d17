"""The pages of data validation: one a day, one a symbol, one over all; each a single file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from features.drift import BLOCK_HOURS, FALSE_ALARMS, Drift
from flows import _svg
from flows._datadocs import suite_name
from flows._docs_assets import COLOURS
from flows._findings import DayReport, Finding, duration, stored, window_text, write_text
from flows._quality_checks import DAY_MS, TABLES, VERSIONS, second_text
from market.instruments import Instrument
from market.quality import MINUTE_MS, QualityTable

_WORDS = {"ok": "ok", "warn": "usable, with care", "blocked": "blocked"}
_CLASS = {"ok": "good", "warn": "warn", "blocked": "bad"}
_MINUTE_TITLES = {
    "none": "not recorded",
    "good": "good",
    "silent": "the book was silent for 5 s or longer",
    "masked": "leaves training",
    "suspect": "suspect: the book is unknown or stalled; leaves training",
}
_ACTIONS = {"block": "stops training", "mask": "leaves training", "warn": "remark"}
_SHOWN_WINDOWS = 12
_SHOWN_FEATURES = 8

_STYLE = (
    COLOURS
    + """\
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.6rem; margin: 4px 0 2px; line-height: 1.2; } h2 { font-size: 1.1rem; margin: 30px 0 8px; }
p { margin: 4px 0; } .soft { color: var(--soft); } .verdict { font-size: 1.05rem; margin: 10px 0 0; }
.crumbs { color: var(--soft); font-size: 0.92rem; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 12px; font-size: 0.85rem; font-weight: 600;
  white-space: nowrap; vertical-align: middle; }
.badge.good { background: var(--good-bg); color: var(--good); }
.badge.warn { background: var(--warn-bg); color: var(--warn); }
.badge.bad { background: var(--bad-bg); color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 10px; margin: 18px 0 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 8px 14px; }
.figures b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: 0.85rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.card + .card, p + .card { margin-top: 10px; }
.finding { border-left: 4px solid var(--none); } .finding.bad { border-left-color: var(--bad); }
.finding.warn { border-left-color: var(--warn); }
.finding h3 { margin: 0; font-size: 1rem; } .finding .badge { float: right; margin-left: 10px; }
.windows { margin: 6px 0 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 5px; }
.windows li { background: var(--none-bg); border-radius: 6px; padding: 1px 8px; font-size: 0.86rem;
  font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
td:first-child { white-space: nowrap; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.good { color: var(--good); } td.bad { color: var(--bad); } td.warn { color: var(--warn); }
td.ribbon-cell { min-width: 260px; width: 45%; vertical-align: middle; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
svg .label { fill: var(--ink); font-weight: 600; font-size: 13px; } svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; }
svg .cut { fill: var(--bad); }
svg .band { fill: var(--band); opacity: 0.55; } svg .bars { stroke: var(--accent); stroke-width: 1.1; fill: none; }
svg .good { fill: var(--good); } svg .silent { fill: var(--good); opacity: 0.55; } svg .none { fill: var(--none); }
svg .masked { fill: var(--warn); } svg .suspect { fill: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 0.86rem; color: var(--soft); margin: 4px 0 0; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.legend .good { background: var(--good); } .legend .silent { background: var(--good); opacity: 0.55; }
.legend .masked { background: var(--warn); } .legend .suspect { background: var(--bad); }
.legend .none { background: var(--none); }
details summary { cursor: pointer; color: var(--soft); margin: 4px 0; }
.plots svg + svg { margin-top: 14px; }
@media (max-width: 640px) { main { padding: 14px 12px 40px; } h1 { font-size: 1.3rem; } .plots { overflow-x: auto; }
  .plots svg, .card > .ribbon { min-width: 620px; } .card:has(> .ribbon) { overflow-x: auto; } }
"""
)


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n'
        f"</body>\n</html>\n"
    )


def _badge(status: str) -> str:
    return f'<span class="badge {_CLASS[status]}">{_WORDS[status]}</span>'


def clock_text(at_ms: int) -> str:
    """Time of day, UTC."""
    return f"{second_text(at_ms)} UTC"


def write_day(
    folder: Path,
    report: DayReport,
    table: QualityTable,
    instrument: Instrument,
    *,
    docs: bool,
    drift: Drift | None = None,
) -> Path:
    """Write the page of one day."""
    links = ['<a href="index.html">all days</a>']
    if docs:
        links.append('<a href="docs/index.html">Data Docs of Great Expectations</a>')
    body = [
        f'<p class="crumbs">{" · ".join(links)}</p>',
        f"<h1>{report.symbol} on {report.date} {_badge(report.status)}</h1>",
        f'<p class="verdict">{escape(report.verdict)}</p>',
        _figures(report),
        "<h2>The day, minute by minute (UTC)</h2>",
        f'<div class="card">{_svg.ribbon(report.minutes, _MINUTE_TITLES, label=_coverage(report))}'
        f"{_legend(report.minutes)}</div>",
        f"<h2>Findings</h2>{_findings(report)}",
        *(f'<p class="soft">Note: {escape(note)}.</p>' for note in report.notes),
        f'<h2>Plots</h2><div class="card plots">{_plots(table, instrument)}</div>',
        *([f'<h2>Drift</h2><div class="card scroll">{_drift(drift)}</div>'] if drift is not None else []),
        f'<h2>Every check</h2><div class="card scroll">{_checks(report.checks)}</div>',
    ]
    path = folder / f"{report.date}.html"
    write_text(path, _page(f"{report.symbol} {report.date}: {_WORDS[report.status]}", "\n".join(body)))
    return path


def _coverage(report: DayReport) -> str:
    recorded = sum(state != "none" for state in report.minutes)
    lost = sum(state in ("masked", "suspect") for state in report.minutes)
    return f"{recorded} of 1440 minutes were recorded, {lost} of them leave training"


def _legend(states: Sequence[str]) -> str:
    seen = [state for state in _MINUTE_TITLES if state in set(states)]
    items = "".join(f'<span><i class="{s}"></i>{_MINUTE_TITLES[s]} ({states.count(s):,})</span>' for s in seen)
    return f'<div class="legend">{items}</div>'


def _figures(report: DayReport) -> str:
    f = report.figures
    hours = f["covered_hours"] or 0.0
    shown = [
        (duration(hours * 3600), "recorded"),
        (f"{f['level_changes'] or 0:,.0f}", "level changes"),
        (f"{f['trades'] or 0:,.0f}", "trades"),
        (
            f"{f['suspect_windows'] or 0:,.0f}",
            "suspect windows" + (f", {duration(f['suspect_seconds'] or 0)}" if f["suspect_windows"] else ""),
        ),
        (_known(f["spread_bps"], "{:.2f} bps"), "median spread"),
        (_known(f["longest_silence_s"], "{:,.0f} s"), "longest silence of the book"),
        (_known(f["bid_depth"], "{:,.0f} USDT"), "median depth, 5 bids"),
        (_known(f["delay_ms"], "{:,.0f} ms"), "median delay of arrival"),
    ]
    return '<div class="figures">' + "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in shown) + "</div>"


def _known(value: float | None, form: str) -> str:
    if value is None:
        return '<span title="the data does not say">unknown</span>'
    return "another clock" if abs(value) > DAY_MS else form.format(value)


def _findings(report: DayReport) -> str:
    if not report.findings:
        return '<div class="card">None.</div>'
    return "".join(_finding(finding) for finding in report.findings)


def _finding(finding: Finding) -> str:
    css = "bad" if finding.action == "block" else "warn"
    windows = sorted(finding.windows)
    if finding.action == "warn":
        windows = sorted(finding.windows, key=lambda window: window.start_ms - window.end_ms)
    items = [f'<li title="{escape(w.cause, quote=True)}">{window_text(w)}</li>' for w in windows]
    shown = f'<ul class="windows">{"".join(items[:_SHOWN_WINDOWS])}</ul>' if items else ""
    if len(items) > _SHOWN_WINDOWS:
        shown += (
            f"<details><summary>{len(items) - _SHOWN_WINDOWS:,} more</summary>"
            f'<ul class="windows">{"".join(items[_SHOWN_WINDOWS:])}</ul></details>'
        )
    return (
        f'<div class="card finding {css}" id="{escape(finding.check, quote=True)}">'
        f'<span class="badge {css}">{_ACTIONS[finding.action]}</span>'
        f"<h3>{escape(finding.failure[:1].upper() + finding.failure[1:])}</h3><p>{escape(finding.detail)}</p>"
        f'<p class="soft">{escape(finding.why)}</p>{shown}</div>'
    )


def _plots(table: QualityTable, instrument: Instrument) -> str:
    minutes = table.minute_ms % DAY_MS // MINUTE_MS
    price = np.where(table.last_price > 0, table.last_price * float(instrument.tick_size), np.nan)
    return "\n".join(
        [
            _svg.series(minutes, price, label="Last trade price", unit="USDT", zero=False),
            _svg.series(
                minutes,
                table.spread_mean_bps,
                high=table.spread_max_bps,
                label="Spread: mean by time, and its maximum",
                unit="bps",
            ),
            _svg.series(minutes, table.bid_depth, label="Depth of the five best bids", unit="USDT"),
            _svg.series(minutes, table.ask_depth, label="Depth of the five best asks", unit="USDT"),
            _svg.series(minutes, table.trades.astype(float), label="Trades a minute", unit="trades", bars=True),
            _svg.series(
                minutes, table.level_changes.astype(float), label="Level changes a minute", unit="rows", bars=True
            ),
            _svg.series(
                minutes,
                table.max_silence_ms / 1e3,
                label="Longest silence of the book",
                unit="s",
                bars=True,
            ),
            _svg.series(
                minutes,
                table.suspect_ms / 1e3,
                label="Gaps and stalls: seconds of each minute in which the book is not known",
                unit="s",
                bars=True,
            ),
        ]
    )


def _drift(drift: Drift) -> str:
    """The features that differ most from the days before."""
    known = [i for i in range(len(drift.names)) if drift.index[i] == drift.index[i]]
    if not known:
        return f'<p class="soft">Not judged: {escape(next(iter(drift.reason), "no features"))}.</p>'
    first = sorted(known, key=lambda i: -drift.index[i] / drift.limit[i])[:_SHOWN_FEATURES]
    rows = "".join(
        f'<tr><td><code>{escape(drift.names[i])}</code></td><td class="n">{drift.index[i]:.3f}</td>'
        f'<td class="n">{drift.limit[i]:.3f}</td>'
        + ('<td class="bad">drifted</td></tr>' if drift.alarmed[i] else '<td class="good">as before</td></tr>')
        for i in first
    )
    return (
        f'<p class="soft">{len(known)} of {len(drift.names)} features compared with the {drift.days} days before, in '
        f"{drift.blocks} blocks of {BLOCK_HOURS} h; a day like those raises an alarm in at most {FALSE_ALARMS:.0%} of "
        'cases. The nearest to their limit:</p><table><tr><th>Feature</th><th class="n">Stability index</th>'
        f'<th class="n">Limit</th><th></th></tr>{rows}</table>'
    )


def _checks(checks: Sequence[Finding]) -> str:
    marks = {"passed": ("good", "✓ passed"), "failed": ("bad", "✕ failed"), "unknown": ("warn", "? unknown")}
    rows = "".join(
        f'<tr><td class="{marks[c.state][0]}" style="white-space:nowrap">{marks[c.state][1]}</td>'
        f'<td title="{escape(c.why, quote=True)}">{escape(c.title)}</td><td>{escape(c.limits)}</td>'
        f"<td>{escape(c.detail)}</td><td>{_ACTIONS[c.action]}</td></tr>"
        for c in checks
    )
    head = "<tr><th>Outcome</th><th>Check</th><th>Expected</th><th>Seen</th><th>If it fails</th></tr>"
    return f"<table>{head}{rows}</table>"


def write_docs_index(folder: Path, symbol: str) -> None:
    """Replace the front page of Data Docs, which is a script, by a list of every day's results and the suites."""
    docs = folder / "docs"
    rows = []
    suites: set[str] = set()
    for report in stored(folder):
        found = {
            table: sorted((docs / "validations" / suite_name(symbol, table) / report.date).rglob("*.html"))
            for table in TABLES
        }
        links = " · ".join(
            f'<a href="{quote(pages[-1].relative_to(docs).as_posix())}">{table}</a>'
            for table, pages in found.items()
            if pages
        )
        if not links:
            continue
        suites |= {table for table, pages in found.items() if pages}
        failed, unknown = len(report.findings), sum(check.state == "unknown" for check in report.checks)
        rows.append(
            f"<tr><td>{report.date}</td><td>{_badge(report.status)}</td><td>{links}</td>"
            f'<td class="n">{len(report.checks)}</td><td class="n">{len(report.checks) - failed - unknown}</td>'
            f'<td class="n">{failed}</td><td class="n">{unknown}</td></tr>'
        )
    head = (
        '<tr><th>Day</th><th>Status</th><th>Results by table</th><th class="n">Evaluated</th><th class="n">Passed</th>'
        '<th class="n">Failed</th><th class="n">Unknown</th></tr>'
    )
    pages = " · ".join(
        f'<a href="expectations/{quote(suite_name(symbol, table))}.html">{table}</a> (suite {TABLES[table]} '
        f"{VERSIONS[TABLES[table]]})"
        for table in TABLES
        if table in suites
    )
    body = (
        f'<p class="crumbs"><a href="../index.html">all days of {symbol}</a></p>'
        f"<h1>{symbol}: Data Docs</h1>"
        f'<p class="soft">Validation results as Great Expectations wrote them. What is expected of each table: {pages}.'
        f'</p><div class="card scroll"><table>{head}{"".join(rows)}</table></div>'
    )
    write_text(docs / "index.html", _page(f"{symbol}: Data Docs", body))


def write_indexes(reports: Path, symbol: str) -> None:
    """Write the list of a symbol's days, and the list of symbols."""
    days = stored(reports / symbol)
    rows = "".join(_day_row(day) for day in reversed(days))
    docs = '<a href="docs/index.html">Data Docs</a>' if (reports / symbol / "docs" / "index.html").exists() else ""
    body = (
        f'<p class="crumbs"><a href="../index.html">all symbols</a>{" · " + docs if docs else ""}</p>'
        f"<h1>{symbol} {_badge(_worst(days))}</h1>"
        f'<p class="verdict">{_over_all(days)}</p><h2>Days</h2>'
        '<div class="card scroll"><table><tr><th>Day (UTC)</th><th>Status</th><th>00:00 to 24:00</th>'
        f'<th class="n">Level changes</th><th class="n">Trades</th><th class="n">Suspect windows</th></tr>'
        f"{rows}</table>"
        f"{_legend([state for day in days for state in day.minutes])}</div>"
        f"<h2>Findings</h2>{_finding_list(days)}"
    )
    write_text(reports / symbol / "index.html", _page(f"{symbol}: data validation", body))
    _write_symbols(reports)


def _finding_list(days: Sequence[DayReport]) -> str:
    rows = "".join(
        f'<tr><td style="white-space:nowrap"><a href="{f.date}.html">{f.date}</a></td>'
        f'<td class="{"bad" if f.action == "block" else "warn"}" style="white-space:nowrap">{_ACTIONS[f.action]}</td>'
        f"<td>{escape(f.failure)}<br><span class='soft'>{escape(f.detail)}</span></td></tr>"
        for day in reversed(days)
        for f in day.findings
    )
    return f'<div class="card scroll"><table>{rows}</table></div>' if rows else '<div class="card">None.</div>'


def _day_row(day: DayReport) -> str:
    f = day.figures
    return (
        f'<tr><td style="white-space:nowrap"><a href="{day.date}.html">{day.date}</a></td><td>{_badge(day.status)}</td>'
        f'<td class="ribbon-cell">{_svg.ribbon(day.minutes, _MINUTE_TITLES, label=_coverage(day), axis=False)}</td>'
        f'<td class="n">{f["level_changes"] or 0:,.0f}</td><td class="n">{f["trades"] or 0:,.0f}</td>'
        f'<td class="n">{f["suspect_windows"] or 0:,.0f}</td></tr>'
    )


def _over_all(days: Sequence[DayReport]) -> str:
    blocked = sum(day.status == "blocked" for day in days)
    hours = sum(day.figures["covered_hours"] or 0 for day in days)
    text = f"{len(days)} day{'s' if len(days) != 1 else ''} judged, {duration(hours * 3600)} recorded"
    return text + (f"; {blocked} blocked." if blocked else "; none is blocked.")


def _worst(days: Sequence[DayReport]) -> str:
    return max((day.status for day in days), key=("ok", "warn", "blocked").index, default="ok")


def _write_symbols(reports: Path) -> None:
    rows = []
    for folder in sorted(path for path in reports.iterdir() if path.is_dir()):
        days = stored(folder)
        if days:
            rows.append(
                f'<tr><td><a href="{quote(folder.name)}/index.html">{escape(folder.name)}</a></td>'
                f"<td>{_badge(_worst(days))}</td><td>{days[0].date} to {days[-1].date}</td>"
                f'<td class="n">{len(days)}</td></tr>'
            )
    head = '<tr><th>Symbol</th><th>Status</th><th>Days (UTC)</th><th class="n">Number</th></tr>'
    body = (
        "<h1>Data validation</h1>"
        '<p class="soft">What was recorded, and whether anything stands against learning from it.</p>'
        f'<h2>Symbols</h2><div class="card scroll"><table>{head}{"".join(rows)}</table></div>'
    )
    write_text(reports / "index.html", _page("Data validation", body))
