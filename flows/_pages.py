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
from flows._findings import DayReport, Finding, duration, stored, window_text, write_text
from flows._html import WORDS, Cell, badge, page, table
from flows._quality_checks import DAY_MS, TABLES, VERSIONS, second_text
from market.instruments import Instrument
from market.quality import MINUTE_MS, QualityTable

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
_DAY_TITLES = ("Day (UTC)", "Status", "00:00 to 24:00", "Level changes", "Trades", "Suspect windows")
_DOCS_TITLES = ("Day", "Status", "Results by table", "Evaluated", "Passed", "Failed", "Unknown")


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
        f"<h1>{report.symbol} on {report.date} {badge(report.status)}</h1>",
        f'<p class="verdict">{escape(report.verdict)}</p>',
        _figures(report),
        "<h2>The day, minute by minute (UTC)</h2>",
        f'<div class="card">{_svg.ribbon(report.minutes, _MINUTE_TITLES, label=_coverage(report))}'
        f"{_legend(report.minutes)}</div>",
        f"<h2>Findings</h2>{_findings(report)}",
        *(f'<p class="soft">Note: {escape(note)}.</p>' for note in report.notes),
        f'<h2>Plots</h2><div class="card">{_plots(table, instrument)}</div>',
        *([f'<h2>Drift</h2><div class="card">{_drift(drift)}</div>'] if drift is not None else []),
        f'<h2>Every check</h2><div class="card">{_checks(report.checks)}</div>',
    ]
    path = folder / f"{report.date}.html"
    write_text(path, page(f"{report.symbol} {report.date}: {WORDS[report.status]}", "\n".join(body)))
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
    # The worst first, whichever suite it is of.
    return "".join(
        _finding(finding) for finding in sorted(report.findings, key=lambda one: list(_ACTIONS).index(one.action))
    )


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
    rows = [
        [
            Cell(f"<code>{escape(drift.names[i])}</code>"),
            Cell(f"{drift.index[i]:.3f}", "n"),
            Cell(f"{drift.limit[i]:.3f}", "n"),
            Cell("drifted", "bad") if drift.alarmed[i] else Cell("as before", "good"),
        ]
        for i in first
    ]
    return (
        f'<p class="soft">{len(known)} of {len(drift.names)} features compared with the {drift.days} days before, in '
        f"{drift.blocks} blocks of {BLOCK_HOURS} h; a day like those raises an alarm in at most {FALSE_ALARMS:.0%} of "
        "cases. The nearest to their limit:</p>" + table(("Feature", "Stability index", "Limit", ""), rows)
    )


def _checks(checks: Sequence[Finding]) -> str:
    marks = {"passed": ("good", "✓ passed"), "failed": ("bad", "✕ failed"), "unknown": ("warn", "? unknown")}
    rows = [
        [
            Cell(marks[c.state][1], f"{marks[c.state][0]} short"),
            Cell(escape(c.title), hint=c.why),
            Cell(escape(c.limits)),
            Cell(escape(c.detail)),
            Cell(_ACTIONS[c.action], "short"),
        ]
        for c in checks
    ]
    return table(("Outcome", "Check", "Expected", "Seen", "If it fails"), rows)


def write_docs_index(folder: Path, symbol: str) -> None:
    """Replace the front page of Data Docs, which is a script, by a list of every day's results and the suites."""
    docs = folder / "docs"
    rows = []
    suites: set[str] = set()
    for report in stored(folder):
        found = {
            name: sorted((docs / "validations" / suite_name(symbol, name) / report.date).rglob("*.html"))
            for name in TABLES
        }
        links = " · ".join(
            f'<a href="{quote(pages[-1].relative_to(docs).as_posix())}">{name}</a>'
            for name, pages in found.items()
            if pages
        )
        if not links:
            continue
        suites |= {name for name, pages in found.items() if pages}
        failed, unknown = len(report.findings), sum(check.state == "unknown" for check in report.checks)
        passed = len(report.checks) - failed - unknown
        counts = (len(report.checks), passed, failed, unknown)
        rows.append(
            [Cell(report.date), Cell(badge(report.status)), Cell(links), *(Cell(str(count), "n") for count in counts)]
        )
    pages = " · ".join(
        f'<a href="expectations/{quote(suite_name(symbol, name))}.html">{name}</a> (suite {TABLES[name]} '
        f"{VERSIONS[TABLES[name]]})"
        for name in TABLES
        if name in suites
    )
    body = (
        f'<p class="crumbs"><a href="../index.html">all days of {symbol}</a></p>'
        f"<h1>{symbol}: Data Docs</h1>"
        f'<p class="soft">Validation results as Great Expectations wrote them. What is expected of each table: {pages}.'
        f'</p><div class="card">{table(_DOCS_TITLES, rows)}</div>'
    )
    write_text(docs / "index.html", page(f"{symbol}: Data Docs", body))


def write_indexes(reports: Path, symbol: str) -> None:
    """Write the list of a symbol's days, and the list of symbols."""
    days = stored(reports / symbol)
    rows = [_day_row(day) for day in reversed(days)]
    docs = '<a href="docs/index.html">Data Docs</a>' if (reports / symbol / "docs" / "index.html").exists() else ""
    body = (
        f'<p class="crumbs"><a href="../index.html">all symbols</a>{" · " + docs if docs else ""}</p>'
        f"<h1>{symbol} {badge(_worst(days))}</h1>"
        f'<p class="verdict">{_over_all(days)}</p><h2>Days</h2>'
        f'<div class="card">{table(_DAY_TITLES, rows)}'
        f"{_legend([state for day in days for state in day.minutes])}</div>"
        f"<h2>Findings</h2>{_finding_list(days)}"
    )
    write_text(reports / symbol / "index.html", page(f"{symbol}: data validation", body))
    _write_symbols(reports)


def _finding_list(days: Sequence[DayReport]) -> str:
    rows = [
        [
            Cell(f'<a href="{f.date}.html#{quote(f.check)}">{f.date}</a>'),
            Cell(_ACTIONS[f.action], "bad short" if f.action == "block" else "warn short"),
            Cell(f'{escape(f.failure)}<br><span class="soft">{escape(f.detail)}</span>'),
        ]
        for day in reversed(days)
        for f in day.findings
    ]
    return f'<div class="card">{table(("Day (UTC)", "What it does", "Found"), rows) if rows else "None."}</div>'


def _day_row(day: DayReport) -> list[Cell]:
    f = day.figures
    counts = (f["level_changes"], f["trades"], f["suspect_windows"])
    return [
        Cell(f'<a href="{day.date}.html">{day.date}</a>'),
        Cell(badge(day.status)),
        Cell(_svg.ribbon(day.minutes, _MINUTE_TITLES, label=_coverage(day), axis=False), "ribbon-cell"),
        *(Cell(f"{count or 0:,.0f}", "n") for count in counts),
    ]


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
        if days := stored(folder):
            link = f'<a href="{quote(folder.name)}/index.html">{escape(folder.name)}</a>'
            span = f"{days[0].date} to {days[-1].date}"
            rows.append([Cell(link), Cell(badge(_worst(days))), Cell(span), Cell(str(len(days)), "n")])
    body = (
        "<h1>Data validation</h1>"
        '<p class="soft">What was recorded, and whether anything stands against learning from it.</p>'
        f'<h2>Symbols</h2><div class="card">{table(("Symbol", "Status", "Days (UTC)", "Number"), rows)}</div>'
    )
    write_text(reports / "index.html", page("Data validation", body))
