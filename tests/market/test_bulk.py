"""Frames taken in bulk come to what they come to one by one."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import Lake, SessionAssembler
from market._follow_kernel import lay_out, scan_run
from market.bulk import BulkAssembler, warm_up
from market.feed import Frame
from market.journal import read_journal
from market.records import BookRows, BookRun, Record
from tests.market.venue import NOON_MS, RULES, book, snapshot, ticker, trade

SYMBOLS = tuple(RULES)
_TICKS = {"BTCUSDT": "100.%d", "ETHUSDT": "20.0%d"}
MIDNIGHT_MS = NOON_MS + 43_200_000


def stream(seed: int, frames: int) -> list[bytes]:
    """What a connection may bring: mostly books that follow on, and everything that may come between."""
    rng = random.Random(seed)
    u = dict.fromkeys(SYMBOLS, 10)
    clock, out = NOON_MS + rng.choice([0, 43_190_000]), []
    for number in range(frames):
        symbol, clock = rng.choice(SYMBOLS), clock + rng.randint(0, 60)
        chance = rng.random()
        if chance < 0.72:
            u[symbol] += 1
            sides = [[(_TICKS[symbol] % rng.randint(1, 9), f"{rng.randint(0, 5)}") for _ in range(rng.randint(0, 3))]
                     for _ in "ba"]  # fmt: skip
            out.append(book(u[symbol], *sides, symbol=symbol, cts=clock))
        elif chance < 0.84:
            price = _TICKS[symbol] % rng.randint(1, 9)
            out.append(trade((clock + rng.randint(-5, 5), "Buy", "1", price), symbol=symbol))
        elif chance < 0.9:
            out.append(
                ticker(clock, symbol=symbol, lastPrice="100.1")
                if rng.random() < 0.7
                else rng.choice(out or [b'{"op":"pong"}'])
            )
        else:
            out.append(_odd(rng, symbol, u, clock, number))
    return out


def _odd(rng: random.Random, symbol: str, u: dict[str, int], clock: int, number: int) -> bytes:
    """What ends a run: snapshots, lost messages, damage, another form, a jump of the clock."""
    u[symbol] += 1
    level = (_TICKS[symbol] % 5, "1")
    if rng.random() < 0.6:
        return snapshot(u[symbol], bids=[level], asks=[], symbol=symbol, cts=clock)
    return [
        lambda: snapshot(u[symbol], bids=[level], asks=[], symbol=symbol, cts=clock),
        lambda: book(u[symbol] + 1, [level], [], symbol=symbol, cts=clock),
        lambda: book(u[symbol], [level], [], symbol=symbol, cts=clock)[:-9],
        lambda: book(u[symbol], [level], [], symbol=symbol, cts=clock).replace(b",", b", "),
        lambda: book(u[symbol], [level], [], symbol=symbol, cts=clock + 10 * 86_400_000),
        lambda: b"\xff" * (number % 7),
        lambda: b'{"topic":"kline.1.%s"}' % symbol.encode(),
        lambda: book(u[symbol], [level], [], symbol="XRPUSDT", cts=clock),
        lambda: b'{"topic":"publicTrade.%s","data":7}' % symbol.encode(),
        lambda: book(u[symbol], [(level[0] + "05", "1")], [], symbol=symbol, cts=clock),
    ][rng.randrange(10)]()


def cuts(frames: list[bytes], sizes: Callable[[], int]) -> Iterator[list[Frame]]:
    """The frames in batches."""
    position = 0
    while position < len(frames):
        size = sizes()
        batch = [Frame(data, 1_000 + k) for k, data in enumerate(frames[position : position + size], position)]
        yield batch
        position += size


def columns(records: list[Record]) -> dict[tuple[str, str], list[object]]:
    """Everything that records hold, by symbol and kind, with book messages taken apart into rows."""
    out: dict[tuple[str, str], list[object]] = {}
    for record in records:
        kept = out.setdefault((record.symbol, type(record).__name__), [])
        if not isinstance(record, BookRows):
            kept.append(repr(record))
            continue
        one = record.events
        extra = [np.broadcast_to(value, len(one)).tolist() for value in (record.ts_ms, record.u, record.seq)]
        names = ("kind", "flags", "side", "time_ms", "price", "size", "ordinal", "recv_ns")
        kept += zip(*(getattr(one, name).tolist() for name in names), *extra)
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 40))
def test_rows_are_those_of_one_frame_at_a_time(seed: int, most: int) -> None:
    rng, frames = random.Random(seed), stream(seed, 120)
    single, several = SessionAssembler(RULES, 5), SessionAssembler(RULES, 5)
    bulk = BulkAssembler(several, lambda symbol: 1 << 60)
    expected: list[Record] = []
    found: list[Record] = []
    resync: list[tuple[int, str]] = []
    wanted: list[tuple[int, str]] = []
    position = 0
    for batch in cuts(frames, lambda: rng.randint(1, most)):
        for k, frame in enumerate(batch):
            out = single.on_frame(frame.data, frame.recv_ns)
            expected += out.records
            wanted += [(position + k, topic) for topic in out.resync]
        for one in bulk.on_frames(batch):
            if isinstance(one, BookRun):
                found.append(one.rows())
                assert one.frames == b"".join(frames[n - 1_000] for n in one.recv_ns.tolist())
            else:
                found += one[1].records
                resync += [(position + one[0], topic) for topic in one[1].resync]
        position += len(batch)
    assert columns(found) == columns(expected)
    assert resync == wanted
    assert several.next_ordinal == single.next_ordinal
    for symbol in SYMBOLS:
        one, other = several._states[symbol], single._states[symbol]
        assert (one.clock_ms, one.sequence.last_u, one.sequence.trust, one.idle) == (
            other.clock_ms, other.sequence.last_u, other.sequence.trust, other.idle
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_the_lake_is_that_of_one_frame_at_a_time(tmp_path: Path, seed: int) -> None:
    """Parts end where they would: at midnight, whichever stream brings it."""
    rng, frames = random.Random(seed), stream(seed, 400)
    lakes = [Lake(tmp_path / name) for name in ("single", "several")]
    with lakes[0].writer("BTCUSDT", RULES["BTCUSDT"]) as writer:
        assembler = SessionAssembler({"BTCUSDT": RULES["BTCUSDT"]}, lakes[0].next_ordinal("BTCUSDT"))
        for k, data in enumerate(frames):
            writer.append(assembler.on_frame(data, 1_000 + k), data)
    with lakes[1].writer("BTCUSDT", RULES["BTCUSDT"]) as writer:
        assembler = SessionAssembler({"BTCUSDT": RULES["BTCUSDT"]}, lakes[1].next_ordinal("BTCUSDT"))
        bulk, fast = BulkAssembler(assembler, lambda symbol: writer.room_ms), 0
        for batch in cuts(frames, lambda: rng.randint(1, 60)):
            for one in bulk.on_frames(batch):
                if isinstance(one, BookRun):
                    fast += len(one.frames)
                    writer.append_run(one)
                else:
                    writer.append(one[1], batch[one[0]].data)
    assert fast > 20
    assert [part.part for part in lakes[0].manifests("BTCUSDT")] == [
        part.part for part in lakes[1].manifests("BTCUSDT")
    ]
    assert lakes[0].fingerprint("BTCUSDT") == lakes[1].fingerprint("BTCUSDT")


def test_a_journal_of_runs_gives_the_rows_back(tmp_path: Path) -> None:
    frames = [snapshot(1), *(book(u, cts=NOON_MS + u) for u in range(2, 40))]
    lake = Lake(tmp_path)
    with lake.writer("BTCUSDT", RULES["BTCUSDT"]) as writer:
        bulk = BulkAssembler(SessionAssembler(RULES, lake.next_ordinal("BTCUSDT")), lambda symbol: writer.room_ms)
        runs = []
        for batch in (frames[:1], frames[1:30], frames[30:]):
            for one in bulk.on_frames([Frame(data, 7) for data in batch]):
                if isinstance(one, BookRun):
                    runs.append(one)
                    writer.append_run(one)
                else:
                    writer.append(one[1], batch[one[0]])
        writer.sync_now()
        (path,) = (tmp_path / ".journal" / "BTCUSDT").glob("*.wal")
        journalled, data = read_journal(path), path.read_bytes()
    crc, length = struct.unpack_from("<II", data)
    assert zlib.crc32(data[4 : 33 + length]) == crc  # the usual CRC-32: any version reads it
    assert [len(run.lengths) for run in runs] == [29, 9]
    books = [record for record in journalled.records if isinstance(record, BookRows)]
    assert len(books) == 39
    assert columns(books[1:]) == columns([run.rows() for run in runs])


def test_warming_up_leaves_nothing_to_compile() -> None:
    """A recorder compiles before it connects: not while frames wait."""
    warm_up(RULES["BTCUSDT"])
    known = (len(scan_run.signatures), len(lay_out.signatures))
    bulk = BulkAssembler(SessionAssembler(RULES), lambda symbol: 1 << 60)
    frames = [snapshot(1), book(2), snapshot(9, symbol="ETHUSDT"), book(10, symbol="ETHUSDT"), book(3)]
    runs = [one for batch in frames for one in bulk.on_frames([Frame(batch, 1)]) if isinstance(one, BookRun)]
    assert len(runs) == 3
    assert (len(scan_run.signatures), len(lay_out.signatures)) == known
