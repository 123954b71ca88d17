"""Data validation: judge what the lake holds of a symbol, day by day, and write pages that a person can read.

A day becomes a quality table (:mod:`market.quality`), Great Expectations judges it, and three things come of it: a page
and a JSON file of our own a day, Great Expectations' Data Docs beside them, and a verdict. ``block`` findings stop
training on the day, ``mask`` findings name the windows that leave it, ``warn`` findings are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from flows import _pages
from flows._datadocs import run_suite
from flows._findings import DayReport, Finding, Status, judge
from flows._quality_checks import DAY_MS, checks, frame_columns
from market import Lake
from market.errors import ConfigError, EmptyLakeError
from market.quality import QualityBuilder, QualityTable, Window

__all__ = ["DayReport", "Finding", "ValidationReport", "mask_windows", "validate"]

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
        Folder of the pages: ``<symbol>/<day>.html``, ``<symbol>/<day>.json``, ``<symbol>/docs/``, ``index.html``.
    stall_ms
        Silence of the book that makes a suspect window.
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
    table = _table(lake, symbol, days, stall_ms)
    folder = reports / symbol
    judged = []
    for day in days:
        if progress is not None:
            progress(f"{symbol} {day}")
        judged.append(_judge_day(lake, symbol, day, known, table, folder, stall_ms=stall_ms, docs=docs))
    if docs:
        _pages.write_docs_index(folder, symbol)
    _pages.write_indexes(reports, symbol)
    page = folder / ("index.html" if date is None else f"{days[0]}.html")
    status = max((day.status for day in judged), key=_SEVERITY.index)
    return ValidationReport(symbol, status, page, tuple(judged))


def _judge_day(
    lake: Lake,
    symbol: str,
    day: str,
    known: Sequence[str],
    table: QualityTable,
    folder: Path,
    *,
    stall_ms: int,
    docs: bool,
) -> DayReport:
    start_ms, end_ms = day_span(day)
    part = _with_causes(table.between(start_ms, end_ms), lake, symbol, stall_ms)
    outcomes = run_suite(
        frame_columns(part),
        checks(stall_ms, inner_day=known[0] < day < known[-1]),
        name=symbol,
        run=day,
        site=folder / _DOCS if docs else None,
    )
    report = judge(symbol, day, part, outcomes, lake.fingerprint(symbol, start_ms, end_ms))
    report.write(folder / f"{day}.json")
    _pages.write_day(folder, report, part, lake.instrument(symbol), docs=docs)
    return report


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


def _table(lake: Lake, symbol: str, days: Sequence[str], stall_ms: int) -> QualityTable:
    """One table over all days, so that what crosses midnight is seen."""
    start_ms, end_ms = day_span(days[0])[0], day_span(days[-1])[1]
    builder = QualityBuilder(lake.instrument(symbol), stall_ms=stall_ms)
    for batch in lake.events(symbol, start_ms, end_ms, from_snapshot=True):
        builder.push(batch)
    return builder.table(_duplicates(lake, symbol, start_ms, end_ms))


def _duplicates(lake: Lake, symbol: str, start_ms: int, end_ms: int) -> NDArray[np.int64] | None:
    """Exchange times of trades whose id had been seen before; ``None`` where trades have no ids."""
    parts = lake.parts(symbol, "trades", start_ms, end_ms)
    if not parts:
        return None
    table = pa.concat_tables(pq.read_table(path, columns=["id", "time_ms"], partitioning=None) for path in parts)
    ids = table.column("id").combine_chunks()
    times = table.column("time_ms").to_numpy()
    if ids.null_count or pa.compute.any(pa.compute.equal(ids, "")).as_py():
        return None
    codes = ids.dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    again = np.ones(len(codes), bool)
    again[first] = False
    found: NDArray[np.int64] = times[again & (times >= start_ms) & (times < end_ms)]
    return found


def _with_causes(table: QualityTable, lake: Lake, symbol: str, stall_ms: int) -> QualityTable:
    """Say of each gap what the recorder said of it: the events themselves only show that there is one."""
    if not table.windows:
        return table
    told = lake.suspect_windows(symbol, table.windows[0].start_ms, table.windows[-1].end_ms, stall_ms)
    named = []
    for window in table.windows:
        causes = [w.cause for w in told if w.start_ms <= window.end_ms and w.end_ms >= window.start_ms]
        named.append(Window(window.start_ms, window.end_ms, causes[0] if causes else window.cause))
    return replace(table, windows=tuple(named))


def mask_windows(reports: Path, lake: Lake, symbol: str) -> tuple[list[Window], list[str]]:
    """What validation takes out of training: masked windows, and blocked days as a whole.

    Returns
    -------
    windows : list of Window
        By time.
    unjudged : list of str
        Days of which there is no report, or one of other data than the lake holds now.
    """
    windows: list[Window] = []
    unjudged: list[str] = []
    for day in lake.days(symbol):
        start_ms, end_ms = day_span(day)
        path = reports / symbol / f"{day}.json"
        report = DayReport.read(path) if path.exists() else None
        if report is None or report.fingerprint != lake.fingerprint(symbol, start_ms, end_ms):
            unjudged.append(day)
        elif report.status == "blocked":
            windows.append(Window(start_ms, end_ms, "blocked by validation"))
        else:
            windows += report.mask
    return sorted(windows), unjudged
