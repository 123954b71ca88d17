"""A day is read once for both its quality table and its features, and nothing is judged differently for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.validation import FeatureInput, validate
from market import Lake
from market.days import lake_days
from market.events import EventBatch
from market.quality_day import LakeQuality, QualityPass, lake_quality
from tests.flows.archives import SYMBOL
from tests.market.test_history import three_days

DAY = 86_400_000
SECOND = "2026-03-02"


def _same(a: LakeQuality, b: LakeQuality) -> None:
    for name, column in a.table.columns().items():
        assert np.array_equal(column, b.table.columns()[name], equal_nan=column.dtype.kind == "f"), name
    assert (a.table.windows, a.table.silences) == (b.table.windows, b.table.silences)
    assert (a.oddities, a.units) == (b.oddities, b.units)


def _days(lake: Lake, symbol: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare both ways of reading for every day; the number of days."""
    days = lake_days(lake, symbol)
    for day in days:
        start_ms = int(np.datetime64(day.date, "ms").astype(np.int64))
        alone = lake_quality(lake, symbol, start_ms, start_ms + DAY)
        watched = QualityPass(lake, symbol, start_ms, start_ms + DAY)
        passed = EventBatch.concat(list(watched.watched(day)))
        assert passed.equals(EventBatch.concat(list(day.events())))
        with monkeypatch.context() as patch:
            patch.setattr(Lake, "events", None)  # nothing is read a second time
            _same(watched.result(), alone)
    return len(days)


def test_what_is_seen_on_the_way_is_what_is_read(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _days(lake, SYMBOL, monkeypatch) == 2
    # A session of three days on one snapshot: later days begin with a checkpoint of the book.
    long = Lake(tmp_path / "lake")
    three_days(long)
    assert _days(long, "BTCUSDT", monkeypatch) == 3


def test_a_day_that_is_not_read_to_its_end_does_not_count(lake: Lake) -> None:
    day = lake_days(lake, SYMBOL)[0]
    start_ms = int(np.datetime64(day.date, "ms").astype(np.int64))
    stopped = QualityPass(lake, SYMBOL, start_ms, start_ms + DAY)
    for _ in stopped.watched(day):
        break
    _same(stopped.result(), lake_quality(lake, SYMBOL, start_ms, start_ms + DAY))


def test_verdicts_are_those_of_days_read_apart(lake: Lake, tmp_path: Path) -> None:
    source = FeatureInput(tmp_path / "store", 60_000, 50)
    once = validate(lake, SYMBOL, SECOND, reports=tmp_path / "once", features=source, docs=False)
    # Features are kept now: the events are read for the quality table alone.
    apart = validate(lake, SYMBOL, SECOND, reports=tmp_path / "apart", features=source, docs=False)
    assert [(day.checks, day.minutes, day.figures) for day in once.days] == [
        (day.checks, day.minutes, day.figures) for day in apart.days
    ]
