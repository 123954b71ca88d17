"""The venue changes its messages: validation tells of it, does not stumble over it, and no number changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows._findings import DayReport
from flows.validation import validate
from market import Lake, SessionAssembler
from market.quality_day import LakeQuality, lake_quality
from tests.market.test_history import DAY_MS, walk
from tests.market.venue import BTC, NOON_MS, RULES

#: A frame of the second minute.
MIDDLE = 900


def _lake(folder: Path, change: Callable[[int, bytes], bytes]) -> Lake:
    """A session of 100 s, each frame as `change` leaves it."""
    lake = Lake(folder / "lake")
    with lake.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, 0)
        for n, frame in enumerate(walk(3, 1_000)):
            writer.append(assembler.on_frame(change(n, frame), NOON_MS * 1_000_000 + n), frame)
    return lake


def _new_field(_: int, frame: bytes) -> bytes:
    value = json.loads(frame)
    value["data"] = [{**one, "zz": 1} for one in value["data"]] if isinstance(value["data"], list) else value["data"]
    return json.dumps(value | {"brandNew": 1}, separators=(",", ":")).encode()


def _changed_type(n: int, frame: bytes) -> bytes:
    value = json.loads(frame)
    if MIDDLE <= n < MIDDLE + 10 and "u" in value["data"]:
        value["data"]["u"] = str(value["data"]["u"])
    return json.dumps(value, separators=(",", ":")).encode()


def _renamed(n: int, frame: bytes) -> bytes:
    return frame.replace(b"BTCUSDT", b"BTC2USDT") if n >= MIDDLE else frame


def _finer(n: int, frame: bytes) -> bytes:
    """From the middle on, prices of a finer tick: 100.1 becomes 100.13."""
    return frame.replace(b'.1"', b'.13"') if n >= MIDDLE else frame


def _judged(lake: Lake, folder: Path) -> tuple[DayReport, LakeQuality]:
    (day,) = validate(lake, "BTCUSDT", reports=folder / "reports", docs=False).days
    start_ms = NOON_MS // DAY_MS * DAY_MS
    return day, lake_quality(lake, "BTCUSDT", start_ms, start_ms + DAY_MS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LakeQuality:
    lake = _lake(tmp_path_factory.mktemp("plain"), lambda _, frame: frame)
    start_ms = NOON_MS // DAY_MS * DAY_MS
    return lake_quality(lake, "BTCUSDT", start_ms, start_ms + DAY_MS)


def test_a_new_field_changes_no_number(plain: LakeQuality, tmp_path: Path) -> None:
    day, found = _judged(_lake(tmp_path, _new_field), tmp_path)
    assert "known_form" in {one.check for one in day.findings if one.action == "warn"}
    assert any("new field" in note and "brandNew" in note for note in day.notes)
    for name, column in plain.table.columns().items():
        if name != "oddities":
            assert np.array_equal(column, found.table.columns()[name], equal_nan=column.dtype.kind == "f"), name


@pytest.mark.parametrize(
    ("change", "kind"), [(_changed_type, "changed form"), (_renamed, "other symbol"), (_finer, "off the tick")]
)
def test_what_cannot_be_read_is_told_and_left_out(
    change: Callable[[int, bytes], bytes], kind: str, plain: LakeQuality, tmp_path: Path
) -> None:
    day, found = _judged(_lake(tmp_path, change), tmp_path)
    assert "known_form" in {one.check for one in day.findings if one.action == "warn"}
    assert any(note.startswith(kind) for note in day.notes), day.notes
    # Until then all is as it would be; what follows is missing, and known to be.
    table = found.table
    for name, column in plain.table.columns().items():
        assert name == "oddities" or np.array_equal(column[:1], table.columns()[name][:1], equal_nan=True), name
    assert table.level_changes.sum() < plain.table.level_changes.sum()
    if change is not _renamed:  # of a symbol that is gone there is nothing, and no gap to end
        assert "suspect" in {one.check for one in day.findings if one.action == "mask"}
