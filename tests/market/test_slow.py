"""A recorder that is slow, or is held up: nothing is lost, nothing is unflagged."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from market import EventBatch, Lake, Recorder
from market.events import BOOK, FIRST
from tests.market.test_daemon import PROGRAM, ROOT
from tests.market.venue import NOON_MS, RULES, Connection, Venue, book, snapshot

FRAMES = 4_000


def flood(pause: float) -> Venue:
    """A venue that sends many frames, some at a time."""

    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))
        for first in range(2, FRAMES + 1, 100):
            await connection.send(*(book(u, cts=NOON_MS + u) for u in range(first, min(first + 100, FRAMES + 1))))
            await asyncio.sleep(pause)
        await asyncio.sleep(60)

    return Venue(script)


def check(folder: Path) -> None:
    """Every frame is there, in order, and the session's start is the only gap."""
    lake = Lake(folder)
    events = EventBatch.concat(lake.events("BTCUSDT"))
    firsts = (events.kind == BOOK) & (events.flags & FIRST > 0)
    assert np.array_equal(events.time_ms[firsts][1:], NOON_MS + np.arange(2, FRAMES + 1))
    assert lake.counts("BTCUSDT")["suspect_windows"] == 0
    assert sum(len(part.gaps) for part in lake.sealed("BTCUSDT")) == 1


async def test_a_slow_disk_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, slow = os.fdatasync, []

    def sync(file: int) -> None:
        time.sleep(0.4)
        slow.append(file)
        original(file)

    monkeypatch.setattr("market.journal.os.fdatasync", sync)
    async with flood(0.02) as venue, asyncio.timeout(60):
        one = Recorder(Lake(tmp_path), venue.url, RULES, ["BTCUSDT"], 50, part_seconds=0.5)
        started = time.monotonic()
        await one.run(until=lambda counts: counts.frames >= FRAMES)
    assert slow
    assert time.monotonic() - started < 0.4 * len(slow) + 30
    check(tmp_path)


async def test_a_reader_that_stands_still_loses_nothing(tmp_path: Path) -> None:
    """The process is stopped while the venue goes on sending; what waits in the sockets is read afterwards."""
    async with flood(0.02) as venue, asyncio.timeout(90):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(tmp_path), venue.url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        try:
            while not venue.connections or "orderbook" not in str(venue.connections[0].requests):
                await asyncio.sleep(0.01)
            for _ in range(3):
                await asyncio.sleep(0.15)
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            while f"{FRAMES:,} frames".encode() not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    check(tmp_path)
