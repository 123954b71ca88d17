"""The book at any instant, coverage, compaction and retention."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from market import EventBatch, Lake, SessionAssembler
from market._parts import CHECKPOINT_STREAM
from market.compaction import Retention, compact, retain
from market.errors import DataError, EmptyLakeError, LakeError
from market.history import book_at, book_text, coverage, coverage_text, parse_time
from market.ladder import LiveBook
from tests.market.venue import BTC, NOON_MS, RULES, book, liquidation, snapshot, ticker, trade

DAY_MS = 86_400_000


def walk(seed: int, count: int, *, u: int = 1, start_ms: int = NOON_MS) -> list[bytes]:
    """A session: snapshot, then random changes 100 ms apart, with a restart in the middle."""
    rng = random.Random(seed)
    bids = [(f"{100 - n / 10:.1f}", "1") for n in range(20)]
    asks = [(f"{100.1 + n / 10:.1f}", "1") for n in range(20)]
    out = [snapshot(u, bids=bids, asks=asks, cts=start_ms)]
    for n in range(1, count):
        now = start_ms + 100 * n
        if n == count // 2:
            out.append(snapshot(u + n, bids=bids[: rng.randint(5, 20)], asks=asks, cts=now))
            continue
        size = rng.choice(["0", "1.5", "2.25"])
        level = [(f"{100 - rng.randint(0, 30) / 10:.1f}", size)]
        out.append(book(u + n, bids=level, asks=[(f"{100.1 + rng.randint(0, 30) / 10:.1f}", size)], cts=now))
        if n % 10 == 0:
            out += [trade((now, "Buy", "1", "100.0")), ticker(now, markPrice="1"), liquidation((now, "Buy", "1", "99"))]
    return out


def record(lake: Lake, frames: list[bytes], seal_every: int) -> None:
    with lake.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, lake.next_ordinal("BTCUSDT"))
        for n, frame in enumerate(frames):
            writer.append(assembler.on_frame(frame, n), frame)
            if n % seal_every == seal_every - 1:
                writer.seal()


def slow_book(frames: list[bytes], until_ms: int) -> str:
    """The digest of the book by the assembler's rows and plain dictionaries."""
    assembler, sides = SessionAssembler(RULES), ({}, {})  # type: tuple[dict[int, int], dict[int, int]]
    for frame in frames:
        for _, batch in assembler.on_frame(frame, 0).batches:
            for n in range(len(batch)):
                if batch.kind[n] != 0 or batch.time_ms[n] > until_ms:
                    continue
                if batch.flags[n] & 3 == 3:
                    sides[0].clear(), sides[1].clear()
                side, price, size = sides[batch.side[n]], int(batch.price[n]), int(batch.size[n])
                side.pop(price, None)
                if size:
                    side[price] = size
    replica = LiveBook()
    replica.apply(*_rows(sides))
    return replica.ladder().digest()


def _rows(sides: tuple[dict[int, int], dict[int, int]]):  # type: ignore[no-untyped-def]
    import numpy as np

    rows = [(0, p, s) for p, s in sides[0].items()] + [(1, p, s) for p, s in sides[1].items()]
    flags = np.ones(len(rows), np.uint8)
    flags[0] |= 2
    return (
        flags,
        np.array([row[0] for row in rows], np.int8),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.mark.parametrize("seal_every", [7, 40, 1000])
def test_the_book_at_any_instant(lake: Lake, seal_every: int) -> None:
    frames = walk(1, 300)
    record(lake, frames, seal_every)
    for offset in (0, 50, 100, 1_234, 14_900, 15_000, 22_222, 29_800):
        found = book_at(lake, "BTCUSDT", NOON_MS + offset)
        assert found.ladder.digest() == slow_book(frames, NOON_MS + offset)
        assert found.message_ms == NOON_MS + offset // 100 * 100
    if seal_every == 7:
        assert book_at(lake, "BTCUSDT", NOON_MS + 14_000).replayed <= 2 * 7  # not from the session's start
    warm = EventBatch.concat(lake.events("BTCUSDT", NOON_MS + 14_000, from_snapshot=True))
    replica = LiveBook()
    before = warm[: int((warm.time_ms > NOON_MS + 14_000).argmax())]
    rows = before.kind == 0
    replica.apply(before.flags[rows], before.side[rows], before.price[rows], before.size[rows])
    assert replica.ladder().digest() == slow_book(frames, NOON_MS + 14_000)


def test_the_ladder_is_printed(lake: Lake) -> None:
    record(lake, walk(1, 30), 10)
    text = book_text(book_at(lake, "BTCUSDT", NOON_MS), BTC, 2)
    assert text.splitlines()[0].startswith("BTCUSDT at 2026-01-05 12:00:00.000")
    assert [line.split() for line in text.splitlines()[2:-1]] == [
        ["ask", "100.20", "1.000"],
        ["ask", "100.10", "1.000"],
        ["bid", "100.00", "1.000"],
        ["bid", "99.90", "1.000"],
    ]


def test_a_book_in_a_hole_is_refused_with_its_cause(lake: Lake) -> None:
    record(lake, [snapshot(1), book(2), book(9), book(10), snapshot(15), book(16)], 2)
    assert book_at(lake, "BTCUSDT", NOON_MS + 200).u == 2
    with pytest.raises(DataError, match=r"not known at 2026-01-05 12:00:00.950 \(sequence break"):
        book_at(lake, "BTCUSDT", NOON_MS + 950)
    assert book_at(lake, "BTCUSDT", NOON_MS + 1500).u == 15
    with pytest.raises(EmptyLakeError, match="between"):
        book_at(lake, "BTCUSDT", NOON_MS - 1)


def test_times_are_read_as_people_write_them() -> None:
    for text in ("2026-01-05 12:00", "2026-01-05T12:00:00Z", "2026-01-05T13:00:00+01:00", str(NOON_MS)):
        assert parse_time(text) == NOON_MS
    with pytest.raises(DataError, match="is not a time"):
        parse_time("noon")


def three_days(lake: Lake) -> None:
    for day in range(3):
        for session in range(2):
            start_ms = NOON_MS + day * DAY_MS + session * 60_000
            record(lake, walk(10 * day + session, 60, u=1 + 1000 * session, start_ms=start_ms), 8)


def test_compaction_changes_no_row(lake: Lake) -> None:
    three_days(lake)
    before = EventBatch.concat(lake.events("BTCUSDT"))
    counts, windows = lake.counts("BTCUSDT"), lake.suspect_windows("BTCUSDT")
    prints = [lake.fingerprint("BTCUSDT"), lake.fingerprint("BTCUSDT", NOON_MS + 1000, NOON_MS + DAY_MS + 1000)]
    books = [book_at(lake, "BTCUSDT", NOON_MS + offset).ladder.digest() for offset in (900, 5_050, 62_000)]
    done = compact(lake, "BTCUSDT")
    assert [one.date for one in done] == ["2026-01-05", "2026-01-06"]
    assert all(one.bytes_after < one.bytes_before for one in done)
    parts = [manifest.date for manifest in lake.sealed("BTCUSDT")]
    assert parts.count("2026-01-05") == parts.count("2026-01-06") == 1 < parts.count("2026-01-07")
    assert EventBatch.concat(lake.events("BTCUSDT")).equals(before)
    assert (lake.counts("BTCUSDT"), lake.suspect_windows("BTCUSDT")) == (counts, windows)
    assert [
        lake.fingerprint("BTCUSDT"),
        lake.fingerprint("BTCUSDT", NOON_MS + 1000, NOON_MS + DAY_MS + 1000),
    ] == prints
    assert [book_at(lake, "BTCUSDT", NOON_MS + at).ladder.digest() for at in (900, 5_050, 62_000)] == books
    assert book_at(lake, "BTCUSDT", NOON_MS + 5_050).replayed < 30  # the checkpoints came along
    assert len(list(lake.root.glob("book/*/date=2026-01-05/*"))) == 2
    assert compact(lake, "BTCUSDT") == []
    record(lake, walk(99, 30, u=5000, start_ms=NOON_MS + 3 * DAY_MS), 8)
    assert [one.parts for one in compact(lake, "BTCUSDT")] == [16 + 2]


def test_compaction_that_is_cut_off_is_finished_or_forgotten(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    three_days(lake)
    before = EventBatch.concat(lake.events("BTCUSDT"))
    with monkeypatch.context() as patch:
        patch.setattr("market.compaction.remove_merged", lambda root, symbol: None)
        compact(lake, "BTCUSDT")  # the merged parts are still there, as after a kill
    assert EventBatch.concat(lake.events("BTCUSDT")).equals(before)
    lake.writer("BTCUSDT", BTC).close()
    assert len(list(lake.root.glob("book/*/date=2026-01-05/*"))) == 2
    assert EventBatch.concat(lake.events("BTCUSDT")).equals(before)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    record(lake, walk(99, 30, u=5000, start_ms=NOON_MS + 3 * DAY_MS), 8)
    after = EventBatch.concat(lake.events("BTCUSDT"))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(LakeError, match="No space left"):
            compact(lake, "BTCUSDT")
    assert not list(lake.root.rglob("*.tmp"))
    assert EventBatch.concat(lake.events("BTCUSDT")).equals(after)


def test_retention_is_off_by_default_and_removes_oldest_days(lake: Lake) -> None:
    three_days(lake)
    assert retain(lake, Retention()) == []
    assert retain(lake, Retention(max_age_days=2)) == []
    assert [day[:2] for day in retain(lake, Retention(max_age_days=1))] == [("BTCUSDT", "2026-01-05")]
    assert lake.days("BTCUSDT") == ["2026-01-06", "2026-01-07"]
    assert [day[1] for day in retain(lake, Retention(max_bytes=1))] == ["2026-01-06"]
    assert lake.days("BTCUSDT") == ["2026-01-07"]
    EventBatch.concat(lake.events("BTCUSDT"))


def test_coverage_names_days_holes_and_sizes(lake: Lake) -> None:
    three_days(lake)
    days = coverage(lake, "BTCUSDT")
    assert [day.date for day in days] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert (days[0].holes, days[0].suspect_ms, days[0].covered_ms) == (1, 54_100, 11_800)
    assert sum(day.bytes for day in days) == sum(p.stat().st_size for p in lake.root.glob("*/*/*/*.parquet"))
    text = coverage_text(lake, ["BTCUSDT"])
    assert text.count("\n  suspect ") == len(lake.suspect_windows("BTCUSDT"))
    assert "session start" in text


def test_checkpoints_lie_beside_the_parts(lake: Lake) -> None:
    record(lake, walk(1, 60), 10)
    assert len(lake.parts("BTCUSDT", CHECKPOINT_STREAM)) == len(lake.parts("BTCUSDT", "book")) - 1
