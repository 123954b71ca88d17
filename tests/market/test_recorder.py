"""The recorder, from a real WebSocket to sealed parts."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from market import EventBatch, Lake, Recorder, RecorderCounts, SessionAssembler, read_instruments
from market.errors import AlreadyRunningError, LakeError, UnknownSymbolError, VenueError
from market.events import BOOK, GAP
from tests.market.venue import NOON_MS, RULES, Connection, Venue, book, snapshot, ticker, trade


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def recorder(lake: Lake, venue: Venue, **options: object) -> Recorder:
    settings: dict[str, object] = {"levels": 50, "idle_seconds": 5.0}
    return Recorder(lake, venue.url, RULES, ["BTCUSDT"], **(settings | options))  # type: ignore[arg-type]


async def run_until(recorder: Recorder, frames: int) -> RecorderCounts:
    async with asyncio.timeout(30):
        return await recorder.run(until=lambda counts: counts.frames >= frames)


async def test_what_comes_is_sealed(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(
            snapshot(1), book(2), trade((NOON_MS, "Buy", "1", "100.0")), ticker(NOON_MS, markPrice="1")
        )

    async with Venue(script) as venue:
        counts = await run_until(recorder(lake, venue), 4)
    assert (counts.level_changes, counts.trades, counts.gaps, counts.problems) == (4, 1, 1, 0)
    assert counts.clock_ms == NOON_MS + 200
    assert lake.counts("BTCUSDT") == {"level_changes": 4, "trades": 1, "suspect_windows": 0}
    assert len(lake.parts("BTCUSDT", "tickers")) == 1


@pytest.mark.failure(33)
@pytest.mark.failure(37)
async def test_a_bad_day(lake: Lake) -> None:
    """Drop, jump of u, reordering, restart, damage, silence: every hole is known and the recording goes on."""

    async def script(connection: Connection) -> None:
        if connection.number == 0:
            await connection.until("subscribe", "orderbook.50.BTCUSDT")
            await connection.send(snapshot(1), book(2), book(4))
            await connection.until("subscribe", "orderbook.50.BTCUSDT")  # asked for by the recorder
            await connection.send(snapshot(5), book(7), book(6))
            await connection.until("subscribe", "orderbook.50.BTCUSDT")
            await connection.send(snapshot(8), snapshot(1, cts=NOON_MS + 900), book(2, cts=NOON_MS + 1000))
            await connection.send(b'{"topic":"orderbook.50.BTC')
            await connection.until("subscribe", "orderbook.50.BTCUSDT")
            await connection.send(snapshot(11))
            await asyncio.sleep(0.05)
            await connection.cut()
        elif connection.number == 1:
            await connection.send(snapshot(12))  # and then silence
        else:
            await connection.send(snapshot(13), book(14))

    async with Venue(script) as venue:
        counts = await run_until(recorder(lake, venue, idle_seconds=1.0), 14)
    causes = [window.cause for window in lake.suspect_windows("BTCUSDT")]
    assert causes[:4] == [
        "sequence break (u 2 to 4)",
        "sequence break (u 5 to 7)",
        "book restarted (u 8 to 1)",
        "damaged frame",
    ]
    assert causes[4].startswith("connection")
    assert causes[5:] == ["no data for 1 s"]
    assert (counts.problems, counts.disconnects, counts.gaps) == (1, 2, 7)
    events = EventBatch.concat(lake.events("BTCUSDT"))
    assert (events.kind == GAP).sum() == 7
    assert (events.kind == BOOK).sum() == counts.level_changes == 26


async def test_parts_are_sealed_while_it_goes_on(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))
        for u in range(2, 3_000):
            await connection.send(book(u))
            await asyncio.sleep(0.02)

    told: list[RecorderCounts] = []
    async with Venue(script) as venue:
        one = recorder(lake, venue, part_seconds=0.3, progress=told.append)
        async with asyncio.timeout(60):
            await one.run(until=lambda counts: counts.parts >= 3)
    assert len(lake.manifests("BTCUSDT")) >= 3
    assert lake.counts("BTCUSDT")["suspect_windows"] == 0
    assert EventBatch.concat(lake.events("BTCUSDT")).kind.tolist().count(GAP) == 1
    assert told[-1].frames > 0


async def test_a_second_session_goes_on_after_the_first(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        first = 1 + 100 * len(venue.connections)
        await connection.send(snapshot(first), book(first + 1))

    async with Venue(script) as venue:
        await run_until(recorder(lake, venue), 2)
        await run_until(recorder(lake, venue), 2)
    ordinals = EventBatch.concat(lake.events("BTCUSDT")).ordinal.tolist()
    assert ordinals == sorted(ordinals)
    assert [window.cause for window in lake.suspect_windows("BTCUSDT")] == ["session start"]


@pytest.mark.parametrize("arrives", [True, False])
async def test_who_hands_over_goes_on_for_what_the_newcomer_has_got_sooner(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """Two connections are never equally far; when what lies between does not come, the hole is said to be one."""
    behind = asyncio.Event()
    if not arrives:
        monkeypatch.setattr("market.handover._PATIENCE_SECONDS", 0.5)

    async def script(connection: Connection) -> None:
        if len(venue.connections) == 1:
            await connection.send(snapshot(1), *map(book, range(2, 6)))
            await behind.wait()
            await connection.send(*map(book, range(6, 13)))
        else:
            await connection.send(snapshot(9), *map(book, range(10, 15)))
            await asyncio.sleep(0.6)
            if arrives:
                behind.set()

    async with Venue(script) as venue, asyncio.timeout(60):
        first = recorder(lake, venue)
        running = asyncio.create_task(first.run())
        while first.counts.frames < 5:
            await asyncio.sleep(0.01)
        second = recorder(Lake(lake.root), venue, take_over=20.0)
        await second.run(until=lambda counts: counts.frames > 0)
        await running
    u = np.concatenate([pq.ParquetFile(path).read(["u"])["u"].to_numpy() for path in lake.parts("BTCUSDT", "messages")])
    causes = [window.cause for window in lake.suspect_windows("BTCUSDT")]
    if arrives:
        assert u.tolist() == list(range(1, 15))
        assert causes == []
    else:
        assert u.tolist() == [*range(1, 6), *range(9, 15)]
        assert causes == ["book restarted (u 5 to 9)"]


@pytest.mark.failure(44)
async def test_a_second_recorder_is_refused(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1), book(2))

    stop = asyncio.Event()
    async with Venue(script) as venue:
        first = recorder(lake, venue)
        running = asyncio.create_task(first.run(stop))
        while first.counts.frames < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(AlreadyRunningError, match="BTCUSDT"):
            await recorder(lake, venue).run(seconds=1)
        stop.set()
        assert (await running).level_changes == 4
    assert lake.counts("BTCUSDT")["level_changes"] == 4


async def test_compiling_does_not_count_as_recording(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of seconds on a machine with nothing compiled once ended before its first frame."""

    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))
        for u in range(2, 1_000):
            await connection.send(book(u))
            await asyncio.sleep(0.02)

    monkeypatch.setattr("market.recorder.warm_up", lambda _: time.sleep(2.0))
    async with Venue(script) as venue:
        counts = await recorder(lake, venue).run(seconds=1.5)
    assert counts.level_changes > 3
    assert lake.counts("BTCUSDT")["level_changes"] == counts.level_changes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_seals(lake: Lake, number: signal.Signals) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1), book(2))

    async with Venue(script) as venue:
        one = recorder(lake, venue)
        running = asyncio.create_task(one.run(handle_signals=True))
        while one.counts.frames < 2:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await running
    assert lake.counts("BTCUSDT")["level_changes"] == 4


async def test_prices_off_the_tick_are_a_gap_and_end_nothing(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1), book(2), book(3, bids=[("100.05", "1")]), snapshot(4), book(5))

    async with Venue(script) as venue:
        counts = await run_until(recorder(lake, venue), 5)
    assert (counts.problems, counts.gaps) == (1, 2)
    assert lake.counts("BTCUSDT")["level_changes"] == 8
    (oddity,) = lake.manifests("BTCUSDT")[0].oddities or []
    assert (oddity.kind, oddity.count) == ("off the tick", 1)


async def test_a_new_tick_size_begins_a_new_part(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows count in the units of their own part, and the table of rules says from where on the new ones hold."""
    finer = replace(RULES["BTCUSDT"], tick_size=Decimal("0.05"))
    monkeypatch.setattr("market.rules.fetch_instruments", lambda url, symbols: {"BTCUSDT": finer})

    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1), book(2), book(3, bids=[("100.05", "1")]))
        await connection.until("subscribe", "orderbook.50.BTCUSDT")  # asked for once the rules are known
        await connection.send(snapshot(4, bids=[("100.05", "1")]), book(5))

    async with Venue(script) as venue:
        one = recorder(lake, venue, rest_url="http://127.0.0.1:9", check_seconds=1e6)
        async with asyncio.timeout(30):
            counts = await one.run(until=lambda counts: counts.level_changes >= 8)
    assert counts.problems >= 1  # until the venue has said what the rules are
    before, after = lake.manifests("BTCUSDT")[:2]
    assert (before.tick_size, after.tick_size) == ("0.10", "0.05")
    assert after.follows is None
    assert lake.instrument("BTCUSDT") == finer


@pytest.mark.failure(43)
async def test_a_full_disk_ends_it(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(connection: Connection) -> None:
        for u in range(1, 1000):
            await connection.send(snapshot(u))
            await asyncio.sleep(0.01)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async with Venue(script) as venue:
        one = recorder(lake, venue, part_seconds=0.2)
        running = asyncio.create_task(one.run(seconds=20))
        while one.counts.frames < 1:
            await asyncio.sleep(0.01)
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(LakeError, match="No space left"):
            await running
    monkeypatch.undo()
    assert lake.symbols() == []


async def test_refusals(lake: Lake) -> None:
    async def script(connection: Connection) -> None:
        return

    with pytest.raises(UnknownSymbolError, match="NOPEUSDT"):
        Recorder(lake, "http://127.0.0.1:9", RULES, ["NOPEUSDT"])
    async with Venue(script, refuse="error:handler not found") as venue:
        with pytest.raises(VenueError, match="handler not found"):
            await recorder(lake, venue).run(seconds=10)


async def test_recorded_frames_give_the_same_rows_as_direct_conversion(lake: Lake, recorded: Path) -> None:
    archive = next((recorded / "live").glob("*.ndjson.gz"))
    rules = read_instruments(next((recorded / "live").glob("*.instruments-info.json")))
    frames = [line.split(b" ", 1)[1] for line in gzip.decompress(archive.read_bytes()).splitlines()]
    symbols = ["BTCUSDT", "ETHUSDT"]

    async def script(connection: Connection) -> None:
        await connection.send(*frames)

    async with Venue(script) as venue:
        one = Recorder(lake, venue.url, rules, symbols, 200, idle_seconds=20)
        counts = await run_until(one, len(frames))
    assert (counts.frames, counts.gaps, counts.problems) == (len(frames), 2, 0)

    assembler = SessionAssembler(rules, min(m.ordinals[0] for symbol in symbols for m in lake.manifests(symbol)))
    direct: dict[str, list[EventBatch]] = {symbol: [] for symbol in symbols}
    for frame in frames:
        for symbol, batch in assembler.on_frame(frame, 0).batches:
            direct[symbol].append(batch)
    for symbol in symbols:
        expected, kept = EventBatch.concat(direct[symbol]), EventBatch.concat(lake.events(symbol))
        assert (kept.recv_ns > 0).all()
        shift = int(kept.ordinal[0] - expected.ordinal[0])  # the first frame of all may be of the other symbol
        for name in ("kind", "flags", "side", "time_ms", "price", "size"):
            assert (getattr(kept, name) == getattr(expected, name)).all(), name
        assert (kept.ordinal - shift == expected.ordinal).all()
