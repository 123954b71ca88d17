"""The recorder against the local exchange with everything that can go wrong between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from market import EventBatch, Lake, Recorder, RecorderCounts
from market.events import GAP
from market.ladder import LiveBook
from simulation.exchange import LocalExchange
from simulation.synthetic import SYNTHETIC
from tests.market.relay import Relay
from tests.market.rows import book_columns

SYMBOL = SYNTHETIC.symbol


def recorder(lake: Lake, url: str, **options: object) -> Recorder:
    settings: dict[str, object] = {"idle_seconds": 0.6, "part_seconds": 1.0}
    return Recorder(lake, url, {SYMBOL: SYNTHETIC}, [SYMBOL], 200, **(settings | options))  # type: ignore[arg-type]


def rebuilt(lake: Lake) -> Iterator[tuple[int, int, str | None]]:
    """Cross sequence and time of every book message, and the digest of the book after it; ``None`` while unknown."""
    book = LiveBook()
    for manifest in lake.sealed(SYMBOL):
        rows = book_columns(lake, manifest)
        gaps = {gap.ordinal for gap in manifest.gaps}
        trailing = sorted(gaps)
        starts = np.flatnonzero(rows["flags"] & 2)
        for start, end in zip(starts, [*starts[1:], len(rows["flags"])]):
            while trailing and trailing[0] <= rows["ordinal"][start]:
                trailing.pop(0)
                book.lose()
            book.apply(*(rows[name][start:end] for name in ("flags", "side", "price", "size")))
            yield int(rows["seq"][start]), int(rows["time_ms"][start]), book.ladder().digest() if book.known else None
        if trailing:
            book.lose()


FAULTS = {
    20: "drop",
    60: "duplicate",
    100: "reorder",
    140: "malform",
    180: "restart",
    230: "snapshot",
    280: "cut",
    330: "stall",
    380: "half-open",
    430: "drop",
    470: "restart",
}


@pytest.mark.failure(33)
async def test_whatever_happens_the_book_is_the_exchanges_or_said_to_be_unknown(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    async with LocalExchange(seed=3, speed=20.0) as exchange, Relay(exchange, FAULTS) as relay:
        one = recorder(lake, relay.url)
        async with asyncio.timeout(60):
            counts = await one.run(until=lambda _: relay.frames >= 560)
    assert relay.happened == list(FAULTS.values())
    compared, unknown = 0, 0
    for seq, _, digest in rebuilt(lake):
        if seq in relay.truth and digest is not None:
            assert digest == relay.truth[seq], seq
            compared += 1
        unknown += digest is None
    assert compared > 150
    assert unknown < compared
    assert counts.gaps >= 7
    causes = " ".join(window.cause for window in lake.suspect_windows(SYMBOL))
    for cause in ("sequence break", "damaged frame", "book restarted", "connection", "no data for"):
        assert cause in causes


async def test_the_book_is_compared_with_the_venues(tmp_path: Path) -> None:
    """A message with levels that the exchange does not have, ``u`` intact: only the REST book can tell."""
    lake = Lake(tmp_path / "lake")
    equal_at_mismatch: list[int] = []

    def mended(counts: RecorderCounts) -> bool:
        if counts.checks["different"] and not equal_at_mismatch:
            equal_at_mismatch.append(counts.checks["equal"])
        return bool(equal_at_mismatch) and counts.checks["equal"] >= equal_at_mismatch[0] + 3

    async with LocalExchange(seed=3, speed=2.0) as exchange, Relay(exchange, {40: "wrong"}) as relay:
        one = recorder(lake, relay.url, rest_url=exchange.rest_url, check_seconds=0.2)
        async with asyncio.timeout(40):
            counts = await one.run(until=mended)
    assert counts.checks["different"] == 1
    windows = [window for window in lake.suspect_windows(SYMBOL) if "book differs from REST: " in window.cause]
    assert any(window.end_ms > window.start_ms for window in windows)
    compared, after = 0, max(window.end_ms for window in windows)
    for seq, time_ms, digest in rebuilt(lake):
        suspect = any(window.start_ms <= time_ms <= window.end_ms for window in windows)
        if digest is not None and seq in relay.truth and not suspect:
            assert digest == relay.truth[seq]
            compared += time_ms > after
    assert compared >= 3  # a fresh snapshot has mended it


async def test_sessions_hand_over_without_a_hole(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    async with LocalExchange(seed=5, speed=3.0) as exchange, Relay(exchange, {}) as relay:
        first = recorder(lake, relay.url, idle_seconds=10.0)
        running = asyncio.create_task(first.run())
        async with asyncio.timeout(60):
            for _ in range(3):
                while first.counts.trades < 3:
                    await asyncio.sleep(0.02)
                second = recorder(Lake(lake.root), relay.url, take_over=20.0, idle_seconds=10.0)
                taking = asyncio.create_task(second.run())
                await running  # it was asked to end, and has sealed
                first, running = second, taking
            while first.counts.trades < 3:
                await asyncio.sleep(0.02)
            first._stop()
            await running
    events = EventBatch.concat(lake.events(SYMBOL))
    assert (events.kind == GAP).sum() == 1
    assert lake.suspect_windows(SYMBOL) == []
    u = [pq.ParquetFile(path).read(["u"])["u"].to_numpy() for path in lake.parts(SYMBOL, "messages")]
    assert (np.diff(np.concatenate(u)) == 1).all()
    ids = [i for p in lake.parts(SYMBOL, "trades") for i in pq.ParquetFile(p).read(["id"])["id"].to_pylist()]
    numbers = [int(one.rpartition("-")[2], 16) for one in ids]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for seq, _, digest in rebuilt(lake):
        assert digest is not None
        assert relay.truth.get(seq, digest) == digest


async def test_a_step_of_the_local_clock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    real = time.time
    async with LocalExchange(seed=5, speed=3.0) as exchange:
        one = recorder(lake, exchange.public_url)
        running = asyncio.create_task(one.run())
        async with asyncio.timeout(30):
            while one.counts.trades < 3:
                await asyncio.sleep(0.02)
            monkeypatch.setattr("market.recorder.time.time", lambda: real() - 7200)
            while not one.counts.clock_steps:
                await asyncio.sleep(0.02)
            one._stop()
            await running
    assert [window.cause for window in lake.suspect_windows(SYMBOL)] == ["local clock stepped by -7200.0 s"]
