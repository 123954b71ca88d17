"""What is not in the documented form is reported, ends nothing and changes no number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from market import EventBatch, Lake, SessionAssembler
from market.assembler import Assembled, OddityMark
from market.frames import new_fields
from market.journal import JournalFile, Place, read_journal
from tests.market.venue import BTC, NOON_MS, RULES, book, snapshot, trade


def odd(out: Assembled) -> list[tuple[str, str]]:
    return [(one.kind, one.detail) for one in out.records if isinstance(one, OddityMark)]


def session() -> SessionAssembler:
    made = SessionAssembler(RULES)
    made.on_frame(snapshot(5), 1)
    return made


def with_field(frame: bytes, *path: str) -> bytes:
    value = json.loads(frame)
    inner = value
    for key in path[:-1]:
        inner = inner[key] if not isinstance(inner, list) else inner[0]
    (inner[0] if isinstance(inner, list) else inner)[path[-1]] = 1
    return json.dumps(value, separators=(",", ":")).encode()


def test_a_new_field_is_told_and_changes_nothing() -> None:
    plain, changed = session(), session()
    usual, strange = plain.on_frame(book(6), 2), changed.on_frame(with_field(book(6), "data", "x"), 2)
    assert odd(strange) in ([("new field", "orderbook data.x")], [])
    assert EventBatch.concat(b for _, b in strange.batches).equals(EventBatch.concat(b for _, b in usual.batches))
    found = [odd(changed.on_frame(with_field(book(7 + n), "data", "x"), 3 + n)) for n in range(64)]
    assert [("new field", "orderbook data.x")] in [odd(strange), *found]
    assert sum(map(bool, found)) <= 2  # now and then: reading a frame twice costs


def test_new_fields_are_named() -> None:
    assert new_fields(book(5)) == ()
    assert new_fields(with_field(trade((NOON_MS, "Buy", "1", "100.0")), "data", "zz")) == ("publicTrade data.zz",)
    assert new_fields(with_field(book(5), "extra")) == ("orderbook extra",)
    assert new_fields(b"{") == ()


@pytest.mark.parametrize("change", [b'"u":"6"', b'"u":null', b'"u":6.5'])
def test_a_changed_type_is_a_gap_and_an_oddity(change: bytes) -> None:
    made = session()
    out = made.on_frame(book(6).replace(b'"u":6', change), 2)
    ((kind, detail),) = odd(out)
    assert kind == "changed form"
    assert "$.data.u" in detail
    assert out.problem
    assert out.resync == ("orderbook.50.BTCUSDT",)
    assert made.on_frame(snapshot(7), 3).batches


def test_a_renamed_symbol_is_told() -> None:
    made = session()
    out = made.on_frame(snapshot(9, symbol="BTC2USDT"), 2)
    assert {detail for _, detail in odd(out)} == {"orderbook.50.BTC2USDT"}
    inner = book(6).replace(b'"s":"BTCUSDT"', b'"s":"BTC2USDT"')
    assert odd(made.on_frame(inner, 3)) == [("changed form", "carries another symbol")]


def test_oddities_survive_the_journal_and_reach_the_manifest(tmp_path: Path) -> None:
    mark = OddityMark("BTCUSDT", 3, NOON_MS, 7, "new field", "orderbook data.x")
    place = Place("BTCUSDT", "2026-01-05", "p", BTC.to_json(), None, None)
    journal = JournalFile(tmp_path / "p.wal", place)
    journal.note(mark, b"")
    job = journal.flush()
    assert job is not None
    job()
    assert read_journal(tmp_path / "p.wal").records == [mark]

    lake, made = Lake(tmp_path / "lake"), session()
    with lake.writer("BTCUSDT", BTC) as writer:
        for number in range(4):
            frame = book(6 + number).replace(b'"cts"', b'"cTs"') if number in (1, 2) else snapshot(6 + number)
            writer.append(made.on_frame(frame, 2 + number), frame)
    (manifest,) = lake.manifests("BTCUSDT")
    assert manifest.oddities is not None
    assert [(one.kind, one.count) for one in manifest.oddities] == [("changed form", 2)]
    assert "cts" in manifest.oddities[0].detail


def test_recorded_frames_are_in_the_documented_form(recorded: Path) -> None:
    """42 seconds of Bybit: no field that is not documented here, so an alarm means something."""
    with gzip.open(recorded / "live" / "2026-08-09_linear_BTC_ETH.ndjson.gz", "rb") as file:
        frames = [line.split(b" ", 1)[1].strip() for line in file]
    found = {name for frame in frames for name in new_fields(frame)}
    assert not found


def test_nothing_is_said_before_the_first_event() -> None:
    made = SessionAssembler(RULES)
    out = made.on_frame(book(6).replace(b'"u":6', b'"u":"6"'), 2)
    assert out.records == []
    assert out.problem
