"""Data validation: judge what the lake holds of a symbol, day by day, and write pages that a person can read.

A day becomes tables (:mod:`market.quality_day`, :mod:`flows._matrix`), Great Expectations judges them, and four things
come of it: a page and a JSON file of our own a day, Great Expectations' Data Docs beside them, and the symbol's
``verdict.json``, which training obeys. ``block`` findings stop training on the day, ``mask`` findings name the windows
that leave it, ``warn`` findings are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows import _pages
from flows._datadocs import run_suite
from flows._day import Figures, day_columns, day_figures, own_clock
from flows._findings import DayReport, Finding, Status, judge, stored
from flows._matrix import FeatureInput, Matrix
from flows._quality_checks import DAY_MS, VERSIONS, checks, frame_columns, matrix_checks
from flows._verdict import Verdict, mask_windows, write_verdict
from market import Lake
from market.errors import ConfigError, EmptyLakeError
from market.quality import QualityTable
from market.quality_day import LakeQuality, QualityPass

__all__ = ["DayReport", "FeatureInput", "Finding", "ValidationReport", "Verdict", "mask_windows", "validate"]

_SEVERITY: tuple[Status, ...] = ("ok", "warn", "blocked")
_DOCS = "docs"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The judgement of a symbol.

    Attributes
    ----------
    symbol
        Contract.
    status
        The worst of the days'.
    report
        Page to look at: the day's, or the list of days.
    days
        The days that were judged.
    """

    symbol: str
    status: Status
    report: Path
    days: tuple[DayReport, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every failed check, by day."""
        return tuple(finding for day in self.days for finding in day.findings)


def validate(
    lake: Lake,
    symbol: str,
    date: str | None = None,
    *,
    reports: Path,
    stall_ms: int = 60_000,
    features: FeatureInput | None = None,
    docs: bool = True,
    progress: Callable[[str], None] | None = None,
) -> ValidationReport:
    """Judge one day, or all days, of a symbol.

    Parameters
    ----------
    lake
        Where the data is.
    symbol
        Contract.
    date
        UTC day, ``YYYY-MM-DD``; ``None`` takes every day in the lake.
    reports
        Folder of the pages: ``<symbol>/<day>.html``, ``<symbol>/<day>.json``, ``<symbol>/tables/<day>.parquet``,
        ``<symbol>/docs/``, ``<symbol>/verdict.json``, ``index.html``.
    stall_ms
        Silence of the book that makes a suspect window.
    features
        How features are built, for the suites ``features`` and ``drift``; ``None`` leaves those out.
    docs
        Whether to write Great Expectations' Data Docs too.
    progress
        Is told each day when it begins.

    Raises
    ------
    ConfigError
        `date` is not a day.
    EmptyLakeError, UnknownSymbolError
        There is nothing to judge; nothing is written.
    DataError
        A part is damaged, or a check could not be evaluated.
    """
    known = lake.days(symbol)
    days = known if date is None else [_day(date, symbol, known)]
    folder = reports / symbol
    work = _Work(lake, symbol, known, days, folder, stall_ms, docs, features)
    # Days are compared with each other: all figures come first, the judgement after them.
    for day in days:
        if progress is not None:
            progress(f"{symbol} {day}")
        work.measure(day)
    judged = [work.judge(day) for day in days]
    if docs:
        _pages.write_docs_index(folder, symbol)
    write_verdict(folder, lake, symbol)
    _pages.write_indexes(reports, symbol)
    page = folder / ("index.html" if date is None else f"{days[0]}.html")
    status = max((day.status for day in judged), key=_SEVERITY.index)
    return ValidationReport(symbol, status, page, tuple(judged))


class _Work:
    """The judgement of some days of a symbol."""

    def __init__(
        self,
        lake: Lake,
        symbol: str,
        known: Sequence[str],
        days: Sequence[str],
        folder: Path,
        stall_ms: int,
        docs: bool,
        features: FeatureInput | None,
    ) -> None:
        self._lake, self._symbol, self._known, self._folder = lake, symbol, known, folder
        self._stall_ms, self._docs = stall_ms, docs
        self._passes = {day: QualityPass(lake, symbol, *day_span(day), stall_ms=stall_ms) for day in days}
        self._matrix = None if features is None else Matrix(lake, symbol, features, stall_ms, self._passes)
        self._instrument = lake.instrument(symbol)
        self._measured: dict[str, LakeQuality] = {}
        earlier = [report for report in stored(folder) if report.status != "blocked"]
        self._figures: dict[str, Mapping[str, float | None]] = {report.date: report.figures for report in earlier}

    def measure(self, day: str) -> None:
        """Compute the quality table and the figures of a day."""
        found = self._passes.pop(day).result()
        self._measured[day] = found
        self._figures[day] = day_figures(found.table, self._instrument)

    def judge(self, day: str) -> DayReport:
        """Judge a day that was measured, and write its pages."""
        found = self._measured.pop(day)
        start_ms, end_ms = day_span(day)
        figures: Figures = dict(self._figures[day])
        others = [row for other, row in self._figures.items() if other != day]
        tables: dict[str, dict[str, Any]] = {
            "minutes": frame_columns(found.table, self._instrument),
            "day": day_columns(day, found.table, figures, others, len(found.units) - 1),
        }
        notes = _notes(found)
        drift = None
        if self._matrix is not None:
            before = [day_span(other)[0] for other in self._figures if other < day]
            more, drift = self._matrix.tables(day, start_ms, before)
            tables |= more
            if self._matrix.missing(day):
                notes.append(f"features are not built from this day: {self._matrix.missing(day)}")
        suite = (*checks(self._stall_ms, inner_day=self._known[0] < day < self._known[-1]), *matrix_checks())
        outcomes = run_suite(
            tables,
            suite,
            name=self._symbol,
            run=day,
            site=self._folder / _DOCS if self._docs else None,
            versions=VERSIONS,
        )
        report = judge(
            self._symbol,
            day,
            found.table,
            outcomes,
            self._lake.fingerprint(self._symbol, start_ms, end_ms),
            tables=tables,
            figures=figures,
            notes=notes,
        )
        _keep(self._folder / "tables" / f"{day}.parquet", found.table)
        report.write(self._folder / f"{day}.json")
        _pages.write_day(self._folder, report, found.table, self._instrument, docs=self._docs, drift=drift)
        if report.status == "blocked":
            # What may not be learned from must not tell what is usual either.
            self._figures.pop(day)
        return report


def _notes(found: LakeQuality) -> list[str]:
    """What a person should know of the day, beside the findings."""
    notes = [
        f"{one.kind}: {one.detail}, {one.count:,} times, first at {_pages.clock_text(one.first_ms)}"
        for one in found.oddities
    ]
    if len(found.units) > 1:
        steps = ", then ".join(f"{tick} / {step}" for _, tick, step in found.units)
        notes.append(f"tick size / step: {steps}; only what was recorded under the last is judged here")
    if own_clock(found.table):
        notes.append("exchange time is not the time of day here, so how late messages were is not known")
    locked, books = int(found.table.locked.sum()), int(found.table.books.sum())
    if books:
        notes.append(_locked(locked, books))
    return notes


def _locked(locked: int, books: int) -> str:
    """What a locked book means, where there is one and where there is none."""
    if not locked:
        return (
            f"of {books:,} states of the book none was locked (bid = ask); a source whose locked books were mended "
            "before they were archived shows none either"
        )
    return (
        f"{locked:,} of {books:,} states of the book ({locked / books:.2%}) were locked (bid = ask): late or merged "
        "messages, or a venue whose maker rebates make it worthwhile"
    )


def _keep(path: Path, table: QualityTable) -> None:
    """The quality table as Parquet, for whoever wants to look further."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    pq.write_table(pa.table(table.columns()), staged)
    staged.replace(path)


def _day(date: str, symbol: str, known: Sequence[str]) -> str:
    try:
        day = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise ConfigError(f"{date!r} is not a day", advice="Write it as YYYY-MM-DD, in UTC") from None
    if day not in known:
        raise EmptyLakeError(f"the lake has nothing of {symbol} on {day}", advice=f"It has {_listed(known)}")
    return day


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days) if len(days) <= 5 else f"{len(days)} days from {days[0]} to {days[-1]}"


def day_span(day: str) -> tuple[int, int]:
    """First ms of a UTC day, and of the next."""
    start = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000
    return start, start + DAY_MS
