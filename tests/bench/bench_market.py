"""How fast the market room records, imports and reads, and how small it keeps what it has."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import itertools
import math
import os
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from market import EventBatch, Instrument, Lake, PublicFeed, Recorder, SessionAssembler, compact, import_archives
from market._archive_files import find_instrument
from market.bulk import BulkAssembler
from market.events import BOOK
from market.feed import Frame, Frames
from market.manifest import Manifest
from market.records import BookRun
from tests.bench._harness import benchmark, best_of

_RECORDED = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[3] / "shared" / "data"))
_SYMBOL = "BTCUSDT"
_BTC = Instrument(_SYMBOL, Decimal("0.1"), Decimal("0.001"), 1, 10**6, 10**5, Decimal(5), Decimal(100))
_MESSAGES = 20_000
#: A recording of seconds, so that connecting, beginning and ending do not count for much.
_SUSTAINED = 200_000
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE = 1 << 16
#: A recording at the pace of some ten symbols: messages come one at a time, this far apart (s).
_PACED, _PAUSE = 10_000, 0.001
_TOGETHER = 1_000
_SIZE_MESSAGES = 120_000


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


async def serve(frames: Sequence[bytes], work: Callable[[str], Any], pause: float | None = None) -> Any:
    """Send all frames to each client that subscribes, from a process of its own so that only the client is measured."""
    code = f"import asyncio, sys\nfrom tests.bench.bench_market import flood\nasyncio.run(flood({pause}))\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"\n".join(frames))
        process.stdin.write_eof()
        port = int(await process.stdout.readline())
        return await work(f"http://127.0.0.1:{port}/")
    finally:
        process.kill()
        await process.wait()


async def flood(pause: float | None = None) -> None:
    """The server's process: frames from standard input, then the port on standard output.

    Everything is WebSocket bytes before a client comes and is written in large pieces, so that it is the client that
    sets the pace; or, with a `pause`, message by message, so that each is read by itself.
    """
    frames = await asyncio.to_thread(sys.stdin.buffer.read)
    messages = [_on_the_wire(line) for line in frames.split(b"\n")]
    stream = b"".join(messages)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            found = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", await reader.readuntil(b"\r\n\r\n"))
            assert found is not None
            accept = base64.b64encode(hashlib.sha1(found[1] + _WEBSOCKET).digest())
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            await reader.readexactly(2)  # a subscription begins
            if pause is not None:
                started = time.monotonic()
                for number, message in enumerate(messages):
                    writer.write(message)
                    await asyncio.sleep(started + number * pause - time.monotonic())
            for start in range(0, len(stream) if pause is None else 0, _PIECE):
                writer.write(stream[start : start + _PIECE])
                await writer.drain()
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def _on_the_wire(frame: bytes) -> bytes:
    """A text message of a WebSocket server (RFC 6455)."""
    size = len(frame)
    if size < 126:
        return bytes([0x81, size]) + frame
    return (b"\x81\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x81\x7f" + size.to_bytes(8)) + frame


async def bare(url: str, count: int) -> float:
    """Processor seconds of receiving alone, with the same client."""
    async with PublicFeed(url, [f"orderbook.200.{_SYMBOL}"]) as feed:
        await anext(feed)
        started = time.process_time()
        for _ in range(count - 1):
            await anext(feed)
        return time.process_time() - started


async def collected(url: str, count: int) -> float:
    """The same with frames taken many together, as the recorder does it."""
    frames, seen, moments = Frames(), 0, list[float]()

    def notice() -> None:
        nonlocal seen
        moments.append(time.process_time())
        if len(frames) >= _TOGETHER:
            seen += len(frames)
            frames.clear()
        if seen >= count:
            feed.stop()

    async with PublicFeed(url, [f"orderbook.200.{_SYMBOL}"]) as feed:
        await feed.collect(frames, _TOGETHER, notice)
    return moments[-1] - moments[0]


async def recorded(url: str, count: int) -> float:
    """Processor seconds of receiving, journalling and sealing into the lake."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Lake(Path(folder)), url, {_SYMBOL: _BTC}, [_SYMBOL], part_seconds=3600)
        started = time.process_time()
        await recorder.run(until=lambda counts: counts.frames >= count)
        return time.process_time() - started


_WAYS: dict[str, Callable[[str, int], Any]] = {"bare": bare, "collected": collected, "recorded": recorded}
_made = cache(made_frames)


async def _run(way: Callable[[str, int], Any], count: int, url: str) -> float:
    return float(await way(url, count))


@cache
def _recording(messages: int = _SUSTAINED, pause: float | None = None, rounds: int = 5) -> dict[str, float]:
    """Messages a processor second: recording and receiving alone, in turns on the same input."""
    frames = _made(messages)
    asyncio.run(serve(frames[:200], lambda url: recorded(url, 200)))  # compile
    fastest = dict.fromkeys(_WAYS, math.inf)
    for _ in range(rounds):
        for name, way in _WAYS.items():
            seconds = asyncio.run(serve(frames, partial(_run, way, messages), pause))
            fastest[name] = min(fastest[name], seconds)
    return {name: messages / seconds for name, seconds in fastest.items()}


@benchmark("market.record_of_bare")
def record_of_bare() -> dict[str, object]:
    return _of_bare(_SUSTAINED, _recording(), "as fast as the client reads, best of 5")


@benchmark("market.record_single")
def record_single() -> dict[str, object]:
    """As at Bybit: what a read of the socket costs is most of it, for both."""
    rates = _recording(_PACED, _PAUSE, 3)
    return _of_bare(_PACED, rates, f"one a read, {_PAUSE * 1000:g} ms apart, best of 3")


def _of_bare(messages: int, rates: dict[str, float], how: str) -> dict[str, object]:
    each = {name: 1e6 / rate for name, rate in rates.items()}
    return {
        "value": rates["recorded"],
        "unit": "messages/cpu s",
        "peer": "bare receive loop of the same client",
        "peer_value": rates["bare"],
        "input": f"{messages:,} messages of 8 level changes over loopback, journalled and sealed, {how}; processor "
        f"time of a message {each['recorded']:.2f} us recorded, {each['bare']:.2f} received one by one, "
        f"{each['collected']:.2f} received together as the recorder does ({each['collected'] / each['recorded']:.2f})",
    }


@benchmark("market.record")
def record() -> dict[str, object]:
    """pybit's merge alone, without its socket: it can only be slower with it."""
    from pybit._websocket_stream import _V5WebSocketManager

    ours, frames = _recording()["recorded"], _made(_SUSTAINED)

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


@benchmark("market.record_cryptofeed")
def record_cryptofeed() -> dict[str, object]:
    """cryptofeed's Bybit feed on the same server; it keeps nothing on disk."""
    ours, frames = _recording()["recorded"], _made(_SUSTAINED)
    python = os.environ.get("PURPLESKY_PEERS_PYTHON")
    row: dict[str, object] = {
        "value": ours,
        "unit": "messages/cpu s",
        "peer": "cryptofeed's Bybit feed, book merged, nothing kept",
        "input": f"{len(frames):,} messages of 8 level changes over loopback",
    }
    if python is None:
        return row | {"peer": "no environment of peers"}

    async def peer(url: str) -> float:
        script = Path(__file__).with_name("_cryptofeed_peer.py")
        process = await asyncio.create_subprocess_exec(
            python, str(script), url.replace("http", "ws"), str(len(frames)), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return float(out)

    return row | {"peer_value": len(frames) / asyncio.run(serve(frames, peer))}


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


@cache
def _sizes() -> tuple[int, float, float, float, float] | None:
    """Level changes of SX frames, and bytes of each: recorded, compacted, gzipped, as hftbacktest's npz."""
    archive = _archive_day()
    if archive is None:
        return None
    with zipfile.ZipFile(archive) as file, file.open(file.namelist()[0]) as lines:
        frames = [line.rstrip() for line in itertools.islice(lines, _SIZE_MESSAGES)]
    rules = find_instrument(_RECORDED, "SXBTCUSDT")
    # Bybit's archives do not tell when a frame was received: some milliseconds later, to the nanosecond.
    lag_ns = (np.random.default_rng(7).lognormal(2.0, 0.5, len(frames)) * 1e6).astype(np.int64).tolist()
    sent = re.compile(rb'"ts":([0-9]+)')
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        with lake.writer(rules.symbol, rules) as writer:
            bulk = BulkAssembler(SessionAssembler({rules.symbol: rules}, 0), lambda _: writer.room_ms)
            received = [int(_match(sent, frame)) * 10**6 + lag for frame, lag in zip(frames, lag_ns)]
            items = [Frame(frame, recv_ns) for frame, recv_ns in zip(frames, received)]
            for start in range(0, len(items), 3_000):  # five minutes and a half
                batch = items[start : start + 3_000]
                for out in bulk.on_frames(batch):
                    if isinstance(out, BookRun):
                        writer.append_run(out)
                    else:
                        writer.append(out[1], batch[out[0]].data)
                writer.seal()
            # A day later another message: only days that are over are compacted.
            later = re.sub(rb'"cts":[0-9]+', b'"cts":%d' % (received[-1] // 10**6 + 86_400_000), frames[-1])
            another = SessionAssembler({rules.symbol: rules}, len(frames) + 1)
            writer.append(another.on_frame(later, received[-1]))
        parts = [part for part in lake.manifests(rules.symbol) if part.level_changes > 1_000]
        rows = sum(part.level_changes for part in parts)
        loose = sum(_book_bytes(part) for part in parts)
        date = parts[0].date
        events = EventBatch.concat(lake.events(rules.symbol))
        compact(lake, rules.symbol)
        dense = sum(_book_bytes(part) for part in lake.manifests(rules.symbol) if part.date == date)
    npz = _npz_bytes(events[: int((events.kind == BOOK).sum())], rules)
    return rows, loose / rows, dense / rows, len(gzip.compress(b"\n".join(frames), 6)) / rows, npz / rows


def _book_bytes(part: Manifest) -> int:
    """Rows of the book, and what their messages have once: all that a frame says, and when it came."""
    return sum(part.files[stream].bytes for stream in ("book", "messages"))


def _match(pattern: re.Pattern[bytes], frame: bytes) -> bytes:
    found = pattern.search(frame)
    assert found is not None
    return found[1]


def _npz_bytes(events: EventBatch, rules: Instrument) -> int:
    """Size of the same rows in hftbacktest's layout."""
    book = events.kind == BOOK
    kinds = [("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8")]
    table = np.zeros(int(book.sum()), [*kinds, ("ival", "i8"), ("fval", "f8")])
    table["ev"], table["exch_ts"] = events.side[book] + 1, events.time_ms[book] * 1_000_000
    table["local_ts"] = events.recv_ns[book]
    table["px"] = events.price[book] * float(rules.tick_size)
    table["qty"] = events.size[book] * float(rules.qty_step)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=table)
    return len(buffer.getvalue())


def _size_row(peer: str, column: int) -> dict[str, object]:
    sizes = _sizes()
    if sizes is None:
        return {"value": float("nan"), "unit": "bytes/level change", "peer": "no recorded markets here", "input": "-"}
    return {
        "value": sizes[2],
        "unit": "bytes/level change",
        "peer": peer,
        "peer_value": sizes[column],
        "less_is_better": True,
        "input": f"{sizes[0]:,} level changes of an SX day, recorded ({sizes[1]:.2f}) and compacted; ids, both clocks",
    }


@benchmark("market.bytes_per_row")
def bytes_per_row() -> dict[str, object]:
    return _size_row("the same frames gzipped", 3)


@benchmark("market.bytes_per_row_npz")
def bytes_per_row_npz() -> dict[str, object]:
    return _size_row("hftbacktest's npz of the same rows", 4)


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
        for path in sorted((_RECORDED / "trades" / "SXBTCUSDT").glob("*.csv.gz")):
            with gzip.open(path) as rows:
                while rows.read(1 << 24):
                    pass

    ours()
    (elapsed, cpu), (bare, bare_cpu) = _fastest(ours), _fastest(decompress)
    return {
        "value": changes / elapsed,
        "unit": "level changes/s",
        "peer": "bare decompression of the same archives",
        "peer_value": changes / bare,
        "input": f"SX archives of three days with trades, {changes:,} level changes; elapsed on two cores; "
        f"processor time {cpu:.2f} s against {bare_cpu:.2f} s: {bare_cpu / cpu:.2f}",
    }


def _fastest(work: Callable[[], None], repeats: int = 4) -> tuple[float, float]:
    """Least elapsed and least processor seconds of all threads."""
    elapsed, cpu = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        elapsed.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(elapsed), min(cpu)


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


_MEMORY = """
import asyncio, sys, tempfile
from pathlib import Path
from market import Lake, Recorder
from tests.bench.bench_market import _BTC, _SYMBOL

sizes = []

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])

async def look(counts):
    while True:
        sizes.append((counts.frames, resident()))
        await asyncio.sleep(0.05)

async def main():
    with tempfile.TemporaryDirectory() as folder:
        one = Recorder(Lake(Path(folder)), sys.argv[1], {_SYMBOL: _BTC}, [_SYMBOL], part_seconds=0.2)
        looks = asyncio.create_task(look(one.counts))
        await one.run(until=lambda counts: counts.frames >= int(sys.argv[2]))
        looks.cancel()

asyncio.run(main())
print(*[f"{frames}:{size}" for frames, size in sizes])
"""


@benchmark("market.memory")
def memory() -> dict[str, object]:
    """Resident size of the recorder: the median of the last third of the messages against that of the second."""
    frames = made_frames(_SUSTAINED)

    async def child(url: str) -> list[tuple[int, int]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _MEMORY, url, str(len(frames)), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        pairs = [pair.split(":") for pair in out.decode().split()]
        return [(int(count), int(size)) for count, size in pairs]

    seen: list[tuple[int, int]] = asyncio.run(serve(frames, child))
    second, last = (
        [size for count, size in seen if low <= count / len(frames) <= high]
        for low, high in ((1 / 3, 2 / 3), (2 / 3, 1))
    )
    return {
        "value": float(np.median(last) - np.median(second)) / 1024,
        "unit": "MB of growth",
        "input": f"{len(frames):,} messages (over an hour of a 20 ms stream) at speed, a part every 0.2 s, looked at "
        f"{len(second) + len(last)} times; {np.median(second) / 1024:.0f} MB in the second third, "
        f"at most {max(size for _, size in seen) / 1024:.0f} MB",
    }
