"""What validation found on a day: from outcomes of checks to words, windows and a verdict; as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flows._datadocs import Outcome
from flows._quality_checks import DAY_MS, TABLES, VERSIONS, Action, minute_text, second_text
from market.errors import DataError
from market.quality import MINUTE_MS, QualityTable, Window

Status = Literal["ok", "warn", "blocked"]
#: Version of the JSON files.
SCHEMA = 2
_LISTED = 20
#: States of a minute, from the one that yields to the one that prevails.
STATES = ("none", "good", "silent", "masked", "suspect")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one day, and what came of it.

    Attributes
    ----------
    date
        UTC day.
    check, title, failure, why, limits
        See :class:`flows._quality_checks.Check`.
    action
        What a failure does: ``block``, ``mask`` or ``warn``.
    state
        ``passed``, ``failed`` or ``unknown`` (there was nothing to judge; not the same as passed).
    detail
        What was seen, in words.
    table
        The table that was judged: see :data:`flows._checks.TABLES`.
    windows
        The stretches of time that a failure names; of a warning at most the twenty longest.
    names
        The features that a failure names.
    """

    date: str
    check: str
    title: str
    failure: str
    action: Action
    state: str
    detail: str
    why: str
    limits: str
    table: str = "minutes"
    windows: tuple[Window, ...] = ()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.date} {self.action}: {self.failure}: {self.detail}"


@dataclass(frozen=True, slots=True)
class DayReport:
    """The judgement of one day.

    Attributes
    ----------
    symbol, date
        Which day of which contract.
    status
        ``ok``, ``warn`` or ``blocked``.
    checks
        Every check, in the order of the suite.
    figures
        What the day holds.
    minutes
        State of each of the day's 1440 minutes: one of ``none``, ``good``, ``silent``, ``masked``, ``suspect``.
    fingerprint
        Of the data that was judged.
    suites
        Versions of the suites that judged.
    notes
        What a person should know beside the findings.
    """

    symbol: str
    date: str
    status: Status
    checks: tuple[Finding, ...]
    figures: dict[str, float | None]
    minutes: tuple[str, ...]
    fingerprint: str
    suites: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def mask(self) -> tuple[Window, ...]:
        """What must leave training, beside the day itself where it is blocked."""
        return tuple(window for finding in self.findings if finding.action == "mask" for window in finding.windows)

    @property
    def verdict(self) -> str:
        """The day in one sentence."""
        if self.status == "blocked":
            reasons = "; ".join(f"{f.failure} ({f.detail})" for f in self.findings if f.action == "block")
            return f"Nothing may be learned from this day: {reasons}."
        lost = sum(state in ("masked", "suspect") for state in self.minutes)
        kept = sum(state in ("good", "silent") for state in self.minutes)
        remarks = sum(finding.action == "warn" for finding in self.findings)
        if not self.findings:
            return f"Nothing stands against learning from this day: all {kept:,} recorded minutes are usable."
        parts = [f"{lost:,} of {lost + kept:,} minutes leave training" if lost else f"all {kept:,} minutes are usable"]
        if remarks:
            parts.append(f"{remarks} remark{'s' if remarks > 1 else ''}")
        return f"Usable, with care: {', '.join(parts)}."

    def write(self, path: Path) -> None:
        """Keep the report as JSON."""
        write_text(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> DayReport:
        """The inverse of :meth:`write`.

        Raises
        ------
        DataError
            The file is not such a report.
        """
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            if row.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            row["checks"] = tuple(_finding(check) for check in row["checks"])
            return cls(**{**row, "minutes": tuple(row["minutes"]), "notes": tuple(row["notes"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is not a validation report ({type(error).__name__}: {error})",
                advice="Delete it and validate again",
            ) from error


def _finding(row: dict[str, Any]) -> Finding:
    windows = tuple(Window(*window) for window in row["windows"])
    return Finding(**{**row, "windows": windows, "names": tuple(row["names"])})


def stored(folder: Path) -> list[DayReport]:
    """The reports of a symbol that this version can read, by day; others count as days not judged yet."""
    found = []
    for path in sorted(folder.glob("????-??-??.json")):
        try:
            found.append(DayReport.read(path))
        except DataError:
            continue
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)


def judge(
    symbol: str,
    date: str,
    table: QualityTable,
    outcomes: Sequence[Outcome],
    fingerprint: str,
    *,
    tables: Mapping[str, Mapping[str, Any]],
    figures: dict[str, float | None],
    notes: Sequence[str] = (),
) -> DayReport:
    """Turn the outcomes of a day's checks into a report.

    Parameters
    ----------
    tables
        What was judged, by name: rows of bars and features are named from them.
    figures
        What the day holds.
    """
    checks = tuple(_describe(date, table, tables, outcome) for outcome in outcomes)
    failed = {check.action for check in checks if check.state == "failed"}
    status: Status = "blocked" if "block" in failed else "warn" if failed else "ok"
    masked = [w for c in checks if c.state == "failed" and c.action == "mask" for w in c.windows]
    return DayReport(
        symbol=symbol,
        date=date,
        status=status,
        checks=checks,
        figures=figures,
        minutes=_minutes(table, masked),
        fingerprint=fingerprint,
        suites={level: VERSIONS[level] for level in dict.fromkeys(TABLES[name] for name in tables)},
        notes=tuple(notes),
    )


def _describe(date: str, table: QualityTable, tables: Mapping[str, Mapping[str, Any]], outcome: Outcome) -> Finding:
    check = outcome.check
    windows: tuple[Window, ...] = ()
    names: tuple[str, ...] = ()
    if outcome.state == "unknown":
        detail = "not known: the data says nothing about it"
    elif outcome.state == "passed":
        detail = "yes" if outcome.observed is None else f"{_plain(outcome.observed)} {check.unit}".strip()
    elif check.rule not in ("values", "increasing"):
        windows = _whole(table, check.failure)
        name = check.column.removesuffix("_of_many")
        detail = f"{name} is {_plain(outcome.observed or 0.0)} {check.unit}".strip() + f", expected {check.limits}"
    elif check.name == "suspect":
        windows = table.windows
        detail = f"{_count(len(windows), 'window')}, {_span(windows)} in all; {_longest(windows)} ({_causes(windows)})"
    elif check.name == "silences":
        windows = tuple(sorted(table.silences, key=lambda w: w.start_ms - w.end_ms)[:_LISTED])
        share = sum(w.seconds for w in table.silences) / max(1e-9, float(table.covered_ms.sum()) / 1e3)
        # How they are counted is said with the count: other definitions give other numbers.
        counted = f"{_count(len(table.silences), 'silence')} of {(check.high or 0) / 1e3:g} s or longer"
        detail = f"{counted} between two messages of the book, {share:.0%} of the time; {_longest(table.silences)}"
    elif check.table in ("features", "drift"):
        names = tuple(str(tables[check.table]["feature"][row]) for row in outcome.rows)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        detail = f"{_count(len(names), 'feature')}: {', '.join(names[:5])}{more} (expected {check.limits})"
    elif check.table == "bars":
        windows = _bars(tables["bars"], outcome.rows, check.failure)
        detail = f"{_count(len(outcome.rows), 'bar')} (expected {check.limits}); {_longest(windows)}"
    else:
        windows = _stretches(table, outcome.rows, check.failure)
        detail = f"{_count(len(outcome.rows), 'minute')} ({check.column}, expected {check.limits}); {_longest(windows)}"
        if check.action == "warn":
            windows = tuple(sorted(windows, key=lambda w: w.start_ms - w.end_ms)[:_LISTED])
    return Finding(
        date=date,
        check=check.name,
        title=check.title,
        failure=check.failure,
        action=check.action,
        state=outcome.state,
        detail=detail,
        why=check.why,
        limits=check.limits,
        table=check.table,
        windows=windows,
        names=names,
    )


def _whole(table: QualityTable, cause: str) -> tuple[Window, ...]:
    """All that was recorded: what is true of the day has no narrower window."""
    if not len(table):
        return ()
    return (Window(int(table.minute_ms[0]), int(table.minute_ms[-1]) + MINUTE_MS, cause),)


def _bars(columns: Mapping[str, Any], rows: Sequence[int], cause: str) -> tuple[Window, ...]:
    if not rows:
        return ()
    at = np.asarray(rows)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return tuple(Window(int(columns["open_ms"][run[0]]), int(columns["close_ms"][run[-1]]), cause) for run in runs)


def _stretches(table: QualityTable, rows: Sequence[int], cause: str) -> tuple[Window, ...]:
    """Runs of neighbouring minutes."""
    if not rows:
        return ()
    at = np.asarray(rows)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return tuple(Window(int(table.minute_ms[run[0]]), int(table.minute_ms[run[-1]]) + MINUTE_MS, cause) for run in runs)


def _longest(windows: Sequence[Window]) -> str:
    if not windows:
        return "none named"
    longest = max(windows, key=lambda window: window.end_ms - window.start_ms)
    return f"the longest {_span([longest])} from {second_text(longest.start_ms)} UTC"


def _causes(windows: Sequence[Window]) -> str:
    """What the windows are about, each cause once."""
    causes = list(dict.fromkeys(window.cause for window in windows))
    return "; ".join(causes[:3]) + (f"; {len(causes) - 3} more" if len(causes) > 3 else "")


def _span(windows: Sequence[Window]) -> str:
    return duration(sum(window.seconds for window in windows))


def duration(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 180:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 10_800 else f"{seconds / 3600:.1f} h"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _minutes(table: QualityTable, masked: Sequence[Window]) -> tuple[str, ...]:
    states = ["none"] * (DAY_MS // MINUTE_MS)
    starts = table.minute_ms
    lost = np.zeros(len(table), bool)
    for window in masked:
        lost |= (starts < window.end_ms) & (starts + MINUTE_MS > window.start_ms)
    for i, at in enumerate(starts % DAY_MS // MINUTE_MS):
        if table.suspect_ms[i]:
            states[at] = "suspect"
        elif lost[i]:
            states[at] = "masked"
        else:
            states[at] = "silent" if table.max_silence_ms[i] >= 5_000 else "good"
    return tuple(states)


def window_text(window: Window) -> str:
    """A window in words."""
    precise = window.start_ms % MINUTE_MS or window.end_ms % MINUTE_MS
    text = second_text if precise else minute_text
    end = "24:00" if window.end_ms % DAY_MS == 0 else text(window.end_ms)
    return f"{text(window.start_ms)} to {end} ({duration(window.seconds)})"
