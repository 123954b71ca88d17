"""What training obeys: ``<reports>/<symbol>/verdict.json``, all days' judgements in one file.

The file is a contract: ``schema`` is raised when a field changes its meaning. Each exclusion names a stretch of
exchange time, the check that asked for it and why, so that a training report can say what was left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from flows._findings import Status, stored, write_text
from market import Lake
from market.days import old_rules
from market.errors import DataError
from market.quality import Window

#: Version of the file.
SCHEMA = 1
NAME = "verdict.json"
#: States of days that leave training as a whole.
_WHOLLY_OUT = ("blocked", "outdated")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A stretch of exchange time that leaves training.

    Attributes
    ----------
    start_ms, end_ms
        From and until, UTC.
    action
        ``block`` (the whole day) or ``mask``.
    check
        Name of the check that asked for it.
    reason
        In words.
    """

    start_ms: int
    end_ms: int
    action: str
    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class DayVerdict:
    """One day.

    Attributes
    ----------
    date
        UTC day.
    status
        ``ok``, ``warn``, ``blocked``; ``outdated``: the contract's rules have changed since; or ``unjudged``: there is
        no report of the data that the lake holds now.
    fingerprint
        Of the data that was judged; empty where none was.
    exclusions
        What leaves training.
    remarks
        Warnings, in words.
    """

    date: str
    status: str
    fingerprint: str
    exclusions: tuple[Exclusion, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """All days of a symbol.

    Attributes
    ----------
    symbol
        Contract.
    status
        The worst of the days', ``unjudged`` and ``outdated`` left aside.
    suites
        Versions of the suites that judged the latest day.
    days
        Oldest first.
    """

    symbol: str
    status: Status
    suites: dict[str, str]
    days: tuple[DayVerdict, ...]

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Of all days, by time."""
        return tuple(sorted((e for day in self.days for e in day.exclusions), key=lambda e: (e.start_ms, e.end_ms)))

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Days of which nothing is known."""
        return tuple(day.date for day in self.days if day.status == "unjudged")

    @property
    def blocked(self) -> tuple[str, ...]:
        """Days that may not be learned from."""
        return tuple(day.date for day in self.days if day.status in _WHOLLY_OUT)

    def text(self) -> tuple[str, ...]:
        """What is left out and why, a line each, for a report."""
        lines = [
            f"{day.date}: the whole day ({'; '.join(dict.fromkeys(e.reason for e in day.exclusions))})"
            for day in self.days
            if day.status in _WHOLLY_OUT
        ]
        for day in self.days:
            if day.status in _WHOLLY_OUT:
                continue
            for check in dict.fromkeys(e.check for e in day.exclusions):
                mine = [e for e in day.exclusions if e.check == check]
                minutes = sum(e.end_ms - e.start_ms for e in mine) / 60_000
                lines.append(f"{day.date}: {len(mine)} windows, {minutes:.1f} min ({mine[0].reason})")
        lines += [f"{day}: not judged, used as it is" for day in self.unjudged]
        return tuple(lines)

    def tags(self, page: str) -> dict[str, str]:
        """For the MLflow run: the page of the reports, what they say, and under which suites."""
        return {
            "validation_report": page,
            "validation_status": "unjudged" if len(self.unjudged) == len(self.days) else self.status,
            "validation_excluded": f"{len(self.blocked)} days and {self.masked_minutes:.1f} min of other days",
            "validation_suites": ", ".join(f"{name} {version}" for name, version in self.suites.items()) or "none",
        }

    @property
    def masked_minutes(self) -> float:
        """Minutes of days that are not blocked that leave training, overlaps counted once."""
        total, reached = 0, 0
        for one in self.exclusions:
            if one.action == "mask":
                total += max(0, one.end_ms - max(one.start_ms, reached))
                reached = max(reached, one.end_ms)
        return total / 60_000

    def markdown(self) -> str:
        """What is left out and why, for the description of a registered version."""
        lines = self.text() or ("nothing",)
        return "\n\n**Left out by data validation:**\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def windows_of(verdict: Verdict) -> list[Window]:
    """What leaves training, by time: masked windows, and blocked days as a whole."""
    found = {
        Window(e.start_ms, e.end_ms, "blocked by validation" if e.action == "block" else e.reason)
        for e in verdict.exclusions
    }
    return sorted(found)


def add_section(page: Path, verdict: Verdict) -> None:
    """Say in a training report what validation left out, and why."""
    text = page.read_text(encoding="utf-8")
    lines = "".join(f"<li>{escape(line)}</li>" for line in verdict.text()) or "<li>nothing</li>"
    section = f'<section id="validation"><h2>Left out by data validation</h2><ul>{lines}</ul></section>'
    head, mark, tail = text.rpartition("</main>")
    if not mark:
        raise DataError(f"{page} is not a training report", advice="Report it: it has no main part")
    write_text(page, head + section + mark + tail)


def current_verdict(folder: Path, lake: Lake, symbol: str) -> Verdict:
    """What the reports of a symbol say of the data that the lake holds now.

    Parameters
    ----------
    folder
        Of the symbol's reports.
    """
    reports = {report.date: report for report in stored(folder)}
    days = []
    worst: Status = "ok"
    order: Sequence[Status] = ("ok", "warn", "blocked")
    old = old_rules(lake, symbol)
    for day in lake.days(symbol):
        start_ms = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000
        end_ms = start_ms + 86_400_000
        report = reports.get(day)
        if old is not None and day in old.days:
            reason = f"prices and sizes in other units: tick / step was {old.before}, is {old.after} now"
            left_out = Exclusion(start_ms, end_ms, "block", "one_rule", reason)
            days.append(DayVerdict(day, "outdated", "" if report is None else report.fingerprint, (left_out,), ()))
            continue
        if report is None or report.fingerprint != lake.fingerprint(symbol, start_ms, end_ms):
            days.append(DayVerdict(day, "unjudged", "", (), ()))
            continue
        worst = max(worst, report.status, key=order.index)
        blocks = [f for f in report.findings if f.action == "block"]
        whole = [Exclusion(start_ms, end_ms, "block", f.check, f.failure) for f in blocks]
        if report.status == "blocked" and not whole:
            # A report that blocks is obeyed, even one that does not say why.
            whole = [Exclusion(start_ms, end_ms, "block", "status", "the report blocks the day")]
        exclusions = whole or [
            Exclusion(window.start_ms, window.end_ms, "mask", f.check, f"{f.failure}: {window.cause}")
            if window.cause != f.failure
            else Exclusion(window.start_ms, window.end_ms, "mask", f.check, f.failure)
            for f in report.findings
            if f.action == "mask"
            for window in f.windows
        ]
        remarks = tuple(f"{f.failure}: {f.detail}" for f in report.findings if f.action == "warn")
        days.append(DayVerdict(day, report.status, report.fingerprint, tuple(exclusions), remarks))
    latest = reports[max(reports)].suites if reports else {}
    return Verdict(symbol, worst, latest, tuple(days))


def write_verdict(folder: Path, lake: Lake, symbol: str) -> Verdict:
    """Bring ``verdict.json`` up to date."""
    verdict = current_verdict(folder, lake, symbol)
    write_text(folder / NAME, json.dumps({"schema": SCHEMA, **asdict(verdict)}, indent=1) + "\n")
    return verdict


def read_verdict(folder: Path) -> Verdict:
    """Read ``verdict.json``.

    Raises
    ------
    DataError
        It is missing or not such a file.
    """
    path = folder / NAME
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        days = tuple(
            DayVerdict(
                **{
                    **day,
                    "exclusions": tuple(Exclusion(**one) for one in day["exclusions"]),
                    "remarks": tuple(day["remarks"]),
                }
            )
            for day in row["days"]
        )
        return Verdict(**{**row, "days": days})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a verdict ({type(error).__name__}: {error})", advice="Run `purplesky validate` again"
        ) from error


def mask_windows(reports: Path, lake: Lake, symbol: str) -> tuple[list[Window], list[str]]:
    """What validation takes out of training: masked windows, and blocked days as a whole.

    Returns
    -------
    windows : list of Window
        By time.
    unjudged : list of str
        Days of which there is no report, or one of other data than the lake holds now.
    """
    verdict = current_verdict(reports / symbol, lake, symbol)
    return windows_of(verdict), list(verdict.unjudged)
