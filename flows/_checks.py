"""What a check is: one expectation, with what happens when it fails and why it is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

#: What a failed check does: it stops training on the day, it takes the minutes it names out of training, or it is told.
Action = Literal["block", "mask", "warn"]
#: Great Expectations' words for them, which its pages show.
SEVERITY: Mapping[Action, str] = {"block": "critical", "mask": "warning", "warn": "info"}
#: Tables that are judged, and the suite that each belongs to.
TABLES = {"minutes": "raw", "day": "raw", "features": "features", "bars": "features", "drift": "drift"}

Rule = Literal["values", "sum", "mean", "median", "rows", "increasing", "share", "figure", "clock", "grid"]


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation.

    Attributes
    ----------
    name
        Stable identifier.
    title
        What holds when it passes, in a few words.
    failure
        What is found when it fails, in a few words.
    action
        What a failure does.
    column
        Column of the table that is judged.
    rule
        ``values`` (every row), ``sum``, ``mean``, ``median`` (over the rows), ``rows`` (number of rows),
        ``increasing``; and of our own expectations ``share`` (sum of `column` over sum of `whole`), ``figure`` (the one
        value of a table of one row), ``clock`` (minutes by which `column` runs behind `whole`), ``grid`` (greatest
        common divisor of `column`).
    why
        What goes wrong otherwise.
    low, high
        Limits, inclusive; ``None`` is open.
    mostly
        Share of the rows that must comply, for the rule ``values``.
    unit
        Of the observed value.
    whole
        Second column, where the rule takes two.
    table
        One of :data:`TABLES`.
    """

    name: str
    title: str
    failure: str
    action: Action
    column: str
    rule: Rule
    why: str
    low: float | None = None
    high: float | None = None
    mostly: float = 1.0
    unit: str = ""
    whole: str = ""
    table: str = "minutes"

    @property
    def limits(self) -> str:
        """The limits in words."""
        unit = f" {self.unit}" if self.unit else ""
        if self.rule == "increasing":
            return "each later than the one before"
        if self.low is None:
            text = f"at most {self.high:g}{unit}"
        elif self.high is None:
            text = f"at least {self.low:g}{unit}"
        elif self.low == self.high == 0:
            text = "none"
        elif self.low == self.high:
            text = f"{self.low:g}{unit}"
        else:
            text = f"{self.low:g} to {self.high:g}{unit}"
        rows = {"minutes": "minutes", "bars": "bars"}.get(self.table, "features")
        return text + (f" in {self.mostly:.0%} of the {rows}" if self.mostly < 1 else "")


def digest(suite: Sequence[Check]) -> str:
    """SHA-256 over what the checks demand: who changes a limit must raise the suite's version."""
    return hashlib.sha256(json.dumps([asdict(check) for check in suite], sort_keys=True).encode()).hexdigest()
