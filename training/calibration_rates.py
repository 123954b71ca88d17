"""How often the gate passed, and how sure that is.

References
----------
C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26, 1934.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.calibration_markets import Size, Task

#: Share of null markets that may pass.
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the gate passed.

    Attributes
    ----------
    name
        Kind of market.
    passed, judged
        Markets.
    low, high
        95 % Clopper-Pearson interval of the share.
    """

    name: str
    passed: int
    judged: int
    low: float
    high: float

    def text(self) -> str:
        """For people."""
        share = 100 * self.passed / self.judged if self.judged else float("nan")
        return (
            f"{self.name}: {self.passed} of {self.judged} passed ({share:.1f} %, 95 % interval {100 * self.low:.1f} to "
            f"{100 * self.high:.1f} %)"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result.

    Attributes
    ----------
    size
        Of markets and studies.
    false_passes
        Over all null markets.
    rates
        By kind and strength.
    outcomes
        Every market: its task, verdict, unmet reasons and figures.
    seconds
        Summed over the markets.
    page
        What was written for people; beside it, ``calibration.json``.
    """

    size: Size
    false_passes: Rate
    rates: tuple[Rate, ...]
    outcomes: tuple[dict[str, Any], ...]
    seconds: float
    page: Path

    @property
    def passed(self) -> bool:
        """Whether false passes are at most :data:`LEVEL`."""
        return self.false_passes.judged > 0 and self.false_passes.passed <= LEVEL * self.false_passes.judged

    def text(self) -> str:
        """For the terminal."""
        word = "calibrated" if self.passed else "NOT calibrated"
        lines = [f"The gate is {word}: at most {100 * LEVEL:g} % of null markets may pass."]
        lines += [one.text() for one in (self.false_passes, *self.rates)]
        return "\n".join(lines)


def sum_up(size: Size, tasks: Sequence[Task], done: dict[str, dict[str, Any]], page: Path) -> Calibration:
    """Rates over markets that were judged."""
    outcomes = tuple(done[task.name] for task in tasks)
    groups: dict[str, list[bool]] = {}
    for task, outcome in zip(tasks, outcomes):
        name = task.kind if task.null else f"signal {task.strength:g}"
        groups.setdefault(name, []).append(outcome["verdict"] == "passed")
    nulls = [outcome["verdict"] == "passed" for task, outcome in zip(tasks, outcomes) if task.null]
    return Calibration(
        size=size,
        false_passes=rate("all null markets", nulls),
        rates=tuple(rate(name, passes) for name, passes in groups.items()),
        outcomes=outcomes,
        seconds=sum(one["seconds"] for one in outcomes),
        page=page,
    )


def rate(name: str, passes: Sequence[bool], confidence: float = 0.95) -> Rate:
    """Share of passes with its Clopper-Pearson interval."""
    low, high = clopper_pearson(sum(passes), len(passes), confidence)
    return Rate(name, sum(passes), len(passes), low, high)


def clopper_pearson(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share."""
    from scipy.stats import beta

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1.0 - tail, hits + 1, of - hits))
    return low, high
