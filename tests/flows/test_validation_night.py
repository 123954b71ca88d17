"""The night judges days that are over."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import nightly
from market import Lake
from settings import Settings, override
from tests.market.test_history import three_days


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, list[str]]:
    """An installation of three unjudged days, and the days that were judged."""
    settings = override(Settings(), paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"})
    three_days(Lake(settings.paths.lake))
    judged: list[str] = []
    monkeypatch.setattr(nightly, "validate", lambda symbol, day, config: judged.append(day))
    return settings, judged


def test_the_day_that_has_just_begun_is_left_to_the_next_night(night: tuple[Settings, list[str]]) -> None:
    settings, judged = night
    nightly.validate_new(settings, "BTCUSDT", before="2026-01-07")
    assert judged == ["2026-01-05", "2026-01-06"]


def test_who_asks_for_it_gets_the_unfinished_day_too(night: tuple[Settings, list[str]]) -> None:
    settings, judged = night
    nightly.validate_new(settings, "BTCUSDT")
    assert judged == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert nightly.today() > "2026-01-07"
