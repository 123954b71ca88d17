"""One lake with known defects, and one Prefect server, for the whole session: both cost seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.validation import ValidationReport, validate
from market import Lake, import_archives
from tests.flows.archives import MINUTE, START_MS, SYMBOL, write_archives

#: Where the defects are.
STALL_MS = START_MS + 30 * MINUTE
CROSSED_MS = START_MS + 61 * MINUTE
TORN_MS = START_MS + 90 * MINUTE


def defects(at: int, bid: int, ask: int) -> tuple[int, int] | None:
    """A stall of 100 s, a crossed second, a second with a spread of 2 %."""
    if STALL_MS <= at < STALL_MS + 99_000:
        return None
    if at == CROSSED_MS:
        return ask + 2, bid
    if at == TORN_MS:
        return bid - 6_000, ask + 6_000
    return bid, ask


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of two UTC days, four hours around midnight, with defects in the first."""
    return write_archives(tmp_path_factory.mktemp("archives"), hours=4, defect=defects, twice=2)


@pytest.fixture(scope="session")
def lake(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The archives in a lake."""
    made = Lake(tmp_path_factory.mktemp("installation") / "data" / "lake")
    import_archives(archives, SYMBOL, made)
    return made


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pages."""
    return tmp_path_factory.mktemp("pages") / "reports"


@pytest.fixture(scope="session")
def judged(lake: Lake, reports: Path) -> ValidationReport:
    """The lake, judged."""
    return validate(lake, SYMBOL, reports=reports)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's own test server, on a database of its own."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
