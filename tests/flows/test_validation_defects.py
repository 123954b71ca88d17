"""Every defect of the catalogue is found, at its severity and in its window; nothing is found in clean recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows._findings import DayReport
from market.quality import MINUTE_MS
from tests.flows import planted
from tests.flows.planted import CATALOGUE, NONE, START_MS, Defect, clean_bars, clean_day, judge_day, span, usual

SEED = 4


@pytest.fixture(scope="module")
def others() -> dict[str, float]:
    return usual(SEED)


def _touched(report: DayReport, check: str) -> tuple[set[int], str]:
    """Minutes that a failed check names, and its severity."""
    (finding,) = [one for one in report.findings if one.check == check]
    minutes: set[int] = set()
    for window in finding.windows:
        first, last = (window.start_ms - START_MS) // MINUTE_MS, -(-(window.end_ms - START_MS) // MINUTE_MS)
        minutes |= set(range(first, max(last, first + 1)))
    return minutes, finding.action


#: One in three among the fast tests; `make test-all` tries all of them.
_MARKED = [
    pytest.param(one, id=one.identity, marks=() if number % 3 == 0 else pytest.mark.slow)
    for number, one in enumerate(CATALOGUE)
]


@pytest.mark.parametrize("defect", _MARKED)
def test_defect(defect: Defect, others: dict[str, float]) -> None:
    day = clean_day(SEED)
    defect.plant(day)
    report = judge_day(day, others, only=defect.check)
    assert defect.check in {finding.check for finding in report.findings}, report.findings
    minutes, action = _touched(report, defect.check)
    assert action == defect.action
    assert report.status == {"block": "blocked"}.get(defect.action, report.status)
    assert report.status != "ok"
    if defect.window == NONE:
        (finding,) = [one for one in report.findings if one.check == defect.check]
        assert finding.names or finding.table == "features"
        return
    first, end = span(defect.window)
    assert minutes & set(range(first, end)), minutes
    # The window may begin or end a minute beside the damage: silences and bars reach over the edge.
    assert minutes <= set(range(first - 1, end + 1)), sorted(minutes)


def test_the_catalogue_is_large_and_its_names_are_unique() -> None:
    assert len(CATALOGUE) >= 40
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE)


def _clean(seed: int) -> DayReport:
    day = clean_day(seed)
    day.bars = clean_bars(seed)
    return judge_day(day, usual(seed))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_found_in_a_clean_recording(seed: int) -> None:
    report = _clean(seed)
    assert report.status == "ok", report.findings
    assert not report.findings


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_is_found_over_thirty_seeds() -> None:
    found = {seed: _clean(seed).findings for seed in range(30)}
    print({seed: [str(one) for one in findings] for seed, findings in found.items() if findings})
    assert not any(found.values())


def test_the_page_of_the_catalogue_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "validation-defects.md"
    assert page.read_text(encoding="utf-8") == planted.markdown(), (
        "write it again: python -m tests.flows.test_validation_defects"
    )


def test_planting_leaves_the_source_alone() -> None:
    before = clean_day(SEED)
    CATALOGUE[0].plant(clean_day(SEED))
    assert np.array_equal(clean_day(SEED).rows["side"], before.rows["side"])


if __name__ == "__main__":
    target = Path(__file__).parents[2] / "docs" / "validation-defects.md"
    target.write_text(planted.markdown(), encoding="utf-8")
