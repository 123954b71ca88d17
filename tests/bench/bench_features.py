"""The feature engine: events a second beside hftbacktest and a dictionary book, live latency, a month's memory."""

from __future__ import annotations

import gzip
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features import FeatureEngine, _book, _layout
from market.archives import import_archives
from market.assembler import SessionAssembler
from market.events import BID, BOOK, SNAPSHOT, EventBatch
from market.instruments import read_instruments
from market.lake import Lake
from simulation.synthetic import synthetic_events
from tests.bench._harness import benchmark

MINUTE, DAY = 60_000, 86_400_000
START_MS = 1_767_225_600_000
LEVELS = 50
#: Interpreter of an environment with the dependency group ``peers``.
PEERS = "PURPLESKY_PEERS_PYTHON"
#: The dictionary book is slow: it gets this many events of the same data.
DICT_ROWS = 300_000
#: Events a timed piece, and how many at least are timed in all.
PIECE = 100_000
REPEATED = 4_000_000
#: Passes over the live session, the first of which compiles.
PASSES = 8
#: Days of the history; the issue's month is 30.
DAYS = "PURPLESKY_BENCH_DAYS"


def recorded_folder() -> Path | None:
    folder = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[3] / "shared" / "data"))
    return folder if folder.is_dir() else None


@cache
def data(name: str) -> EventBatch | None:
    """A market by name; ``None`` where it is not there."""
    if name == "synthetic":
        return EventBatch.concat(synthetic_events(7, 1.0, START_MS, DAY))
    folder = recorded_folder()
    if folder is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        lake = Lake(Path(scratch))
        import_archives(folder, name, lake)
        return EventBatch.concat(lake.events(name))


def hftbacktest(name: str) -> tuple[float | None, str]:
    """CPU seconds of hftbacktest's run without orders over the same events with its faster book, and what it was."""
    python = os.environ.get(PEERS) or (sys.executable if importlib.util.find_spec("hftbacktest") else None)
    if python is None:
        return None, f"hftbacktest: not installed (set {PEERS})"
    events = data(name)
    assert events is not None
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "events.npz"
        np.savez(path, **{column: getattr(events, column) for column in EventBatch.__slots__})
        script = Path(__file__).with_name("_hftbacktest_peer.py")
        said = subprocess.run([python, script, path], capture_output=True, text=True, check=False)
    if said.returncode:
        return None, f"hftbacktest: failed ({said.stderr.strip().splitlines()[-1]})"
    (fast, _, book), (slow, _, other) = (line.partition(" ") for line in said.stdout.splitlines())
    others = f"{other} book: {len(events) / float(slow) / 1e6:.3g} M events/s"
    return float(fast), f"hftbacktest no-op, {book} book ({others})"


Feed = Callable[[EventBatch], object]


def fastest_pieces(make: Callable[[], Feed], events: EventBatch, repeats: int) -> NDArray[np.int64]:
    """CPU nanoseconds of each piece of a run at its fastest: others who use the machine disturb some, seldom all."""
    fastest = np.empty(0, np.int64)
    for _ in range(repeats):
        feed, pieces = make(), []
        for piece in events.chunks(PIECE):
            started = time.thread_time_ns()
            feed(piece)
            pieces.append(time.thread_time_ns() - started)
        fastest = np.minimum(fastest, pieces) if len(fastest) else np.array(pieces)
    return fastest


@njit(cache=True, _nrt=False)
def _book_alone(kind, flags, side, price, size, book, far):  # type: ignore[no-untyped-def]
    for i in range(len(kind)):
        if kind[i] != 0:
            continue
        mark = flags[i]
        if mark & 1 and mark & 2:
            _book.clear(book)
        if not mark & 8:
            _book.change(book, far, side[i], price[i], size[i])
    return book[_layout.BLOCK + _layout.BEST] - book[_layout.BEST]


def book_alone() -> Feed:
    book, far = FeatureEngine(MINUTE, LEVELS)._state["book"], np.zeros((2, 2, 1 << 14), np.int64)
    return lambda events: _book_alone(events.kind, events.flags, events.side, events.price, events.size, book, far)


def everything() -> Feed:
    return FeatureEngine(MINUTE, LEVELS).push


def everything_each_ms() -> Feed:
    return FeatureEngine(MINUTE, LEVELS, sample_ms=1).push


def dict_book(events: EventBatch) -> tuple[dict[int, int], dict[int, int]]:
    """What anyone would write first: two dictionaries, and their best prices after every message."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    rows = zip(*(getattr(events, name).tolist() for name in ("kind", "flags", "side", "price", "size")))
    for kind, flags, side, price, size in rows:
        if kind != BOOK:
            continue
        if flags & SNAPSHOT and flags & 2:
            bids.clear()
            asks.clear()
        book = bids if side == BID else asks
        if size:
            book[price] = size
        elif not flags & 8:
            book.pop(price, None)
        if flags & 4 and bids and asks:
            max(bids), min(asks)
    return bids, asks


def dict_pieces(events: EventBatch) -> NDArray[np.int64]:
    return fastest_pieces(lambda: dict_book, events, 4)


def _row(name: str, make: Callable[[], Feed], what: str) -> dict[str, object]:
    events = data(name)
    if events is None:
        return {"value": float("nan"), "unit": "events/s", "input": f"{name}: recorded markets are not there"}
    make()(events[:PIECE])
    repeats = max(7, REPEATED // len(events))
    fastest = fastest_pieces(make, events, repeats)
    seconds, peer = hftbacktest(name)
    fastest = np.minimum(fastest, fastest_pieces(make, events, repeats))
    return {
        "value": len(events) / fastest.sum() * 1e9,
        "unit": "events/s",
        "peer": peer,
        "peer_value": None if seconds is None else len(events) / seconds,
        "input": f"{what}, {name}, {len(events):,} events; both: CPU time, pieces at their fastest",
    }


@benchmark("features.full")
def full() -> dict[str, object]:
    return _row("SXBTCUSDT", everything, f"all features, {LEVELS} levels looked at each second")


@benchmark("features.full_hl")
def full_hl() -> dict[str, object]:
    return _row("HLBTCUSDT", everything, f"all features, {LEVELS} levels looked at each second")


@benchmark("features.full_synthetic")
def full_synthetic() -> dict[str, object]:
    return _row("synthetic", everything, f"all features, {LEVELS} levels looked at each second")


@benchmark("features.full_each_ms")
def full_each_ms() -> dict[str, object]:
    return _row("SXBTCUSDT", everything_each_ms, f"all features, {LEVELS} levels walked at each change of the clock")


@benchmark("features.full_each_ms_hl")
def full_each_ms_hl() -> dict[str, object]:
    return _row("HLBTCUSDT", everything_each_ms, f"all features, {LEVELS} levels walked at each change of the clock")


@benchmark("features.book")
def book() -> dict[str, object]:
    return _row("SXBTCUSDT", book_alone, "book alone")


@benchmark("features.book_hl")
def book_hl() -> dict[str, object]:
    return _row("HLBTCUSDT", book_alone, "book alone")


@benchmark("features.book_synthetic")
def book_synthetic() -> dict[str, object]:
    return _row("synthetic", book_alone, "book alone")


@benchmark("features.book_vs_dict")
def book_vs_dict() -> dict[str, object]:
    name = "SXBTCUSDT" if data("SXBTCUSDT") is not None else "synthetic"
    events = data(name)
    assert events is not None
    part = events[:DICT_ROWS]
    book_alone()(part)
    return {
        "value": len(part) / fastest_pieces(book_alone, part, 15).sum() * 1e9,
        "unit": "events/s",
        "peer": "plain dict book",
        "peer_value": len(part) / (dict_pieces(part).sum() / 1e9),
        "input": f"book alone, {name}, {len(part):,} events",
    }


@cache
def live() -> tuple[np.ndarray, np.ndarray] | None:
    """Microseconds of each book frame, decoding to features, and of each bar close, of a recorded Bybit session.

    Each frame at its fastest of several passes: what others do on the machine is not the engine's latency.
    """
    folder = recorded_folder()
    if folder is None:
        return None
    files = folder / "live"
    instruments = read_instruments(files / "2026-08-09_linear_BTC_ETH.instruments-info.json")
    with gzip.open(files / "2026-08-09_linear_BTC_ETH.ndjson.gz") as lines:
        frames = [(frame.strip(), int(at)) for at, _, frame in (line.partition(b" ") for line in lines)]
    frames = [frame for frame in frames if b"BTCUSDT" in frame[0][:60]]
    spent = np.full((PASSES, len(frames)), np.inf)
    closing = np.zeros(len(frames), bool)
    for repeat in range(PASSES):
        session, engine = SessionAssembler({"BTCUSDT": instruments["BTCUSDT"]}), FeatureEngine(1_000, LEVELS)
        for n, (data, recv_ns) in enumerate(frames):
            started = time.perf_counter_ns()
            bars = [engine.push(batch) for _, batch in session.on_frame(data, recv_ns).batches]
            if repeat:  # the first one compiles
                spent[repeat, n] = (time.perf_counter_ns() - started) / 1_000
            closing[n] = any(map(len, bars))
    fastest = spent.min(axis=0)
    return fastest[~closing], fastest[closing]


def _latency(which: int, quantile: float, what: str) -> dict[str, object]:
    measured = live()
    if measured is None:
        return {"value": float("nan"), "unit": "us", "input": "recorded markets are not there"}
    return {
        "value": float(np.quantile(measured[which], quantile)),
        "unit": "us",
        "input": f"{what}, {len(measured[which]):,} of a recorded orderbook.200 session, each at its fastest of "
        f"{PASSES - 1}",
    }


@benchmark("features.message_median")
def message_median() -> dict[str, object]:
    return _latency(0, 0.5, "frame decoded, applied, features updated")


@benchmark("features.message_p99")
def message_p99() -> dict[str, object]:
    return _latency(0, 0.99, "frame decoded, applied, features updated")


@benchmark("features.bar_close_median")
def bar_close_median() -> dict[str, object]:
    return _latency(1, 0.5, "frame that closes a bar")


@benchmark("features.bar_close_p99")
def bar_close_p99() -> dict[str, object]:
    return _latency(1, 0.99, "frame that closes a bar")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


@benchmark("features.month")
def month() -> dict[str, object]:
    """A synthetic day, several times on end at later and later times, 200 levels, bar by bar given away."""
    day = data("synthetic")
    assert day is not None
    days = int(os.environ.get(DAYS, "6"))
    engine, peaks, bars = FeatureEngine(MINUTE, 200), [], 0
    started = time.perf_counter()
    for number in range(days):
        for piece in day.chunks(1 << 19):
            moved = {name: getattr(piece, name) for name in EventBatch.__slots__}
            moved["time_ms"] = piece.time_ms + number * DAY
            bars += len(engine.push(EventBatch(**moved)))
        peaks.append(_peak_mb())
    seen = ", ".join(f"{peaks[n - 1]:.0f} MB after day {n}" for n in (1, 3, 6, 30) if n <= days)
    return {
        "value": time.perf_counter() - started,
        "unit": "s",
        "input": f"{days} days, 200 levels, {days * len(day):,} events, {bars:,} bars; peak memory {seen}",
    }
