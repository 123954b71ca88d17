"""The fault matrix: a part of it here, all of it among the slow tests."""

from __future__ import annotations

import pytest

from simulation.exchange.misbehaviour import KINDS
from tests.executor.fault_matrix import (
    PAGE,
    STATES,
    STEPS,
    TROUBLES,
    Trouble,
    cells,
    deaths,
    page,
    published,
    run_cell,
    run_death,
)

#: One state of each row, another one in each row: every state and every misbehaviour is met.
_SOME = [(trouble, list(STATES)[(3 * row) % len(STATES)]) for row, trouble in enumerate(TROUBLES)]


@pytest.mark.parametrize(("trouble", "state"), _SOME[::2], ids=[f"{t.name}/{s}" for t, s in _SOME[::2]])
def test_some_of_the_matrix(trouble: Trouble, state: str) -> None:
    assert run_cell(trouble, state, 1) == []


@pytest.mark.parametrize("step", range(3, STEPS, 9))
def test_some_of_the_deaths(step: int) -> None:
    assert run_death(step, 1) == []


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES, ids=[trouble.name for trouble in TROUBLES])
def test_all_of_the_matrix(trouble: Trouble) -> None:
    runs = [(state, seed) for one, state, seed in cells() if one is trouble]
    assert {run: problems for run in runs if (problems := run_cell(trouble, *run))} == {}


@pytest.mark.slow
def test_all_of_the_deaths() -> None:
    assert {run: problems for run in deaths() if (problems := run_death(*run))} == {}


def test_the_page_is_current_and_says_that_all_held() -> None:
    failed, died, there = published()
    assert PAGE.read_text(encoding="utf-8") == page(failed, died, there)
    assert (failed, died) == ({}, 0)
    assert sum(trouble.name in there for trouble, _, _ in cells()) + len(list(deaths())) >= 1_000


def test_every_kind_of_misbehaviour_has_a_row() -> None:
    assert {trouble.kind for trouble in TROUBLES} - {"nothing"} == set(KINDS)
    assert len({trouble.name for trouble in TROUBLES}) == len(TROUBLES)


def test_there_are_enough_runs() -> None:
    assert len(list(cells())) + len(list(deaths())) >= 1_000
