"""The end of a session whose journal takes no more: said, closed, and no reason to leave the others open."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.journal import Journal
from executor.status import read_status
from executor.unit import Unit
from tests.executor.stage import market
from tests.executor.test_page import Scene


@pytest.mark.failure(43)
def test_a_full_disk_at_the_end_is_a_failure_that_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    stage, lines = scene.stage, list[str]()
    parts = scene.front._parts
    unit = Unit("SYNUSDT", "dry-run", None, lines.append)
    unit.parts, unit.front = parts, scene.front
    stage.run(market()[scene.rows :][:20_000])
    last = stage.journal.saved
    stage.journal._db.execute("PRAGMA query_only=1")
    unit.finish(None)
    assert unit.failure
    assert "the end of SYNUSDT cannot be written" in lines[-1]
    assert unit.summary().failure == unit.failure
    status = read_status(scene.settings, "SYNUSDT")
    assert (status["running"], status["failure"]) == (False, unit.failure)
    again = Journal(stage.folder)
    assert again.saved == last
    assert again.recovered == ""
    again.close()
