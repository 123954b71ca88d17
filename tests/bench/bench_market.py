"""How fast the market room records, imports and reads, and how small it keeps what it has."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from market import EventBatch, Instrument, Lake, PublicFeed, Recorder, SessionAssembler, import_archives
from market.events import BOOK
from market.instruments import read_instruments
from tests.bench._harness import benchmark, best_of

_RECORDED = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[3] / "shared" / "data"))
_SYMBOL = "BTCUSDT"
_BTC = Instrument(_SYMBOL, Decimal("0.1"), Decimal("0.001"), 1, 10**6, 10**5, Decimal(5), Decimal(100))
_MESSAGES = 20_000


def made_frames(messages: int = _MESSAGES, levels: int = 8) -> list[bytes]:
    """A snapshot of 200 levels a side and deltas of some levels near the touch, as Bybit writes them."""
    rng = np.random.default_rng(7)
    out = [
        _frame("snapshot", 1, [(600_000 - n, 1_000) for n in range(200)], [(600_001 + n, 1_000) for n in range(200)])
    ]
    prices, sizes = rng.integers(0, 200, (messages, levels)), rng.integers(1, 9_000, (messages, levels))
    half = levels // 2
    for n in range(messages - 1):
        bids = [(600_000 - int(p), int(s)) for p, s in zip(prices[n, :half], sizes[n, :half])]
        asks = [(600_001 + int(p), int(s)) for p, s in zip(prices[n, half:], sizes[n, half:])]
        out.append(_frame("delta", n + 2, bids, asks))
    return out


def _frame(kind: str, u: int, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> bytes:
    sides = [",".join(f'["{p // 10}.{p % 10}0","{s / 1000:.3f}"]' for p, s in side) for side in (bids, asks)]
    ms = 1_767_614_400_000 + 20 * u
    return (
        f'{{"topic":"orderbook.200.{_SYMBOL}","type":"{kind}","ts":{ms + 2},"data":{{"s":"{_SYMBOL}","b":[{sides[0]}],'
        f'"a":[{sides[1]}],"u":{u},"seq":{u * 9}}},"cts":{ms}}}'
    ).encode()


async def serve(frames: Sequence[bytes], work: Callable[[str], Any]) -> Any:
    """Send all frames to each client that subscribes, from a process of its own so that only the client is measured."""
    code = "import asyncio, sys\nfrom tests.bench.bench_market import flood\nasyncio.run(flood())\n"
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"\n".join(frames) + b"\n\n")
        await process.stdin.drain()
        port = int(await process.stdout.readline())
        return await work(f"http://127.0.0.1:{port}/")
    finally:
        process.kill()
        await process.wait()


async def flood() -> None:
    """The server's process: frames from standard input, then the port on standard output."""
    import sys

    frames = await asyncio.to_thread(sys.stdin.buffer.read1, 1 << 30)
    while not frames.endswith(b"\n\n"):
        frames += await asyncio.to_thread(sys.stdin.buffer.read1, 1 << 30)
    lines = frames.rstrip(b"\n").split(b"\n")

    async def handle(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        await client.receive()
        for line in lines:
            await client.send_frame(line, 1)
        await client.receive()
        return client

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def bare(url: str, count: int) -> float:
    """Processor seconds of receiving alone, with the same client."""
    async with PublicFeed(url, [f"orderbook.200.{_SYMBOL}"]) as feed:
        await anext(feed)
        started = time.process_time()
        for _ in range(count - 1):
            await anext(feed)
        return time.process_time() - started


async def recorded(url: str, count: int) -> float:
    """Processor seconds of receiving, journalling and sealing into the lake."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Lake(Path(folder)), url, {_SYMBOL: _BTC}, [_SYMBOL], part_seconds=3600)
        started = time.process_time()
        await recorder.run(until=lambda counts: counts.frames >= count)
        return time.process_time() - started


def _recording() -> tuple[float, float, list[bytes]]:
    """Messages a processor second, recording and receiving alone, in one run on the same input."""
    frames = made_frames()
    asyncio.run(serve(frames[:200], lambda url: recorded(url, 200)))  # compile

    def fastest(work: Callable[[str, int], Any]) -> float:
        return min(asyncio.run(serve(frames, lambda url: work(url, len(frames)))) for _ in range(3))

    return len(frames) / fastest(recorded), len(frames) / fastest(bare), frames


@benchmark("market.record_of_bare")
def record_of_bare() -> dict[str, object]:
    ours, limit, frames = _recording()
    return {
        "value": ours,
        "unit": "messages/cpu s",
        "peer": "bare receive loop of the same client",
        "peer_value": limit,
        "input": f"{len(frames):,} messages of 8 level changes over loopback, journalled and sealed",
    }


@benchmark("market.record")
def record() -> dict[str, object]:
    """pybit's merge alone, without its socket: it can only be slower with it."""
    from pybit._websocket_stream import _V5WebSocketManager

    ours, _, frames = _recording()

    def merge() -> None:
        manager = _V5WebSocketManager.__new__(_V5WebSocketManager)
        manager.data = {}
        topic = f"orderbook.200.{_SYMBOL}"
        manager.data[topic] = []
        for frame in frames:
            message = orjson.loads(frame)
            manager._process_delta_orderbook(message, topic)

    return {
        "value": ours * 8,
        "unit": "level changes/cpu s",
        "peer": "pybit's merge of the same messages, its socket left out",
        "peer_value": len(frames) * 8 / best_of(merge, 1),
        "input": f"{len(frames):,} messages of 8 level changes",
    }


@benchmark("market.decode")
def decode() -> dict[str, object]:
    frames = made_frames()
    assembler = SessionAssembler({_SYMBOL: _BTC})
    for frame in frames[:100]:
        assembler.on_frame(frame, 1)

    def ours() -> None:
        one = SessionAssembler({_SYMBOL: _BTC})
        for frame in frames:
            one.on_frame(frame, 1)

    def columns() -> None:
        price: list[int] = []
        size: list[int] = []
        for frame in frames:
            data = orjson.loads(frame)["data"]
            for level in data["b"] + data["a"]:
                price.append(round(float(level[0]) * 10))
                size.append(round(float(level[1]) * 1000))
        np.array(price), np.array(size)

    rows = len(frames) * 8
    return {
        "value": rows / best_of(ours),
        "unit": "level changes/s",
        "peer": "orjson into columns",
        "peer_value": rows / best_of(columns),
        "input": f"{len(frames):,} messages of 8 level changes, frame by frame",
    }


def _archive_day() -> Path | None:
    found = sorted((_RECORDED / "orderbook" / "SXBTCUSDT").glob("*2026-01-06*.zip"))
    return found[0] if found else None


@benchmark("market.bytes_per_row")
def bytes_per_row() -> dict[str, object]:
    """The live frames as the recorder seals them, ids, both clocks and checkpoints included."""
    live = sorted((_RECORDED / "live").glob("*.ndjson.gz"))
    if not live:
        return {"value": float("nan"), "unit": "bytes/level change", "peer": "no recorded markets here", "input": "-"}
    frames = [line.split(b" ", 1)[1] for line in gzip.decompress(live[0].read_bytes()).splitlines()]
    frames = [frame for frame in frames if frame.startswith(b'{"topic":"orderbook') and b"BTCUSDT" in frame[:60]]
    rules = read_instruments(next((_RECORDED / "live").glob("*instruments-info.json")))
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        with lake.writer("BTCUSDT", rules["BTCUSDT"]) as writer:
            assembler = SessionAssembler(rules, lake.next_ordinal("BTCUSDT"))
            for n, frame in enumerate(frames):
                writer.append(assembler.on_frame(frame, 1_786_000_000_000_000_000 + n * 20_000_000))
        part = lake.manifests("BTCUSDT")[0]
        events = EventBatch.concat(lake.events("BTCUSDT"))
    rows = part.level_changes
    book = events.kind == BOOK
    buffer = io.BytesIO()
    kinds = [("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8")]
    table = np.zeros(int(book.sum()), [*kinds, ("ival", "i8"), ("fval", "f8")])
    table["exch_ts"], table["local_ts"] = events.time_ms[book] * 1_000_000, events.recv_ns[book]
    table["px"], table["qty"] = events.price[book] / 10, events.size[book] / 1000
    np.savez_compressed(buffer, data=table)
    print(f"  npz in hftbacktest's layout: {len(buffer.getvalue()) / rows:.2f} bytes/level change")
    return {
        "value": part.files["book"].bytes / rows,
        "unit": "bytes/level change",
        "peer": "the same frames gzipped",
        "peer_value": len(gzip.compress(b"\n".join(frames), 6)) / rows,
        "less_is_better": True,
        "input": f"{rows:,} level changes of live BTCUSDT",
    }


@benchmark("market.import")
def import_day() -> dict[str, object]:
    archive = _archive_day()
    if archive is None:
        return {"value": float("nan"), "unit": "level changes/s", "peer": "no recorded markets here", "input": "-"}
    changes = 0

    def ours() -> None:
        nonlocal changes
        with tempfile.TemporaryDirectory() as folder:
            changes = import_archives(_RECORDED, "SXBTCUSDT", Lake(Path(folder))).level_changes

    def decompress() -> None:
        for path in sorted((_RECORDED / "orderbook" / "SXBTCUSDT").glob("*.zip")):
            with zipfile.ZipFile(path) as file, file.open(file.namelist()[0]) as lines:
                while lines.read(1 << 24):
                    pass

    ours()
    seconds = best_of(ours, 2)
    return {
        "value": changes / seconds,
        "unit": "level changes/s",
        "peer": "bare decompression",
        "peer_value": changes / best_of(decompress, 2),
        "input": f"SX archives of three days with trades, {changes:,} level changes",
    }


@benchmark("market.read_day")
def read_day() -> dict[str, object]:
    if _archive_day() is None:
        return {"value": float("nan"), "unit": "rows/s", "peer": "no recorded markets here", "input": "-"}
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        import_archives(_RECORDED, "SXBTCUSDT", lake)
        rows = sum(len(batch) for batch in lake.events("SXBTCUSDT"))
        seconds = best_of(lambda: [len(batch) for batch in lake.events("SXBTCUSDT")])
    return {"value": rows / seconds, "unit": "rows/s", "input": f"{rows:,} rows into NumPy, hashes checked"}


@benchmark("market.memory")
def memory() -> dict[str, object]:
    """Growth of the process's largest size while an hour's worth of messages is recorded after a first tenth."""
    frames = made_frames(60_000)
    peaks: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        with lake.writer(_SYMBOL, _BTC) as writer:
            assembler = SessionAssembler({_SYMBOL: _BTC}, lake.next_ordinal(_SYMBOL))
            for n, frame in enumerate(frames):
                writer.append(assembler.on_frame(frame, n), frame)
                if n % 250 == 0:
                    writer.sync_now()
                if n % 5_000 == 4_999:
                    writer.seal()
                    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return {
        "value": (peaks[-1] - peaks[1]) / 1024,
        "unit": "MB of growth",
        "input": f"{len(frames):,} messages (an hour of a 60 ms stream), sealed every 5 minutes of it",
    }
