"""The local exchange: orders through its matching engine beside others, messages that one core serves over loopback."""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
import multiprocessing
import os
import random
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import deque
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from aiohttp import web
from numba import njit
from numpy.typing import NDArray

from simulation import _lob
from simulation.exchange import DEFAULT_START_MS, LocalExchange
from simulation.exchange.clock import MAX_SPEED
from simulation.flow_params import MarketParams
from simulation.synthetic import SyntheticMarket
from tests.bench._harness import benchmark, best_of

#: Interpreter of an environment with the dependency group ``peers``.
PEERS = "PURPLESKY_PEERS_PYTHON"
MESSAGES, MIDDLE = 200_000, 30_000
LIMIT, CANCEL = 0, 1
_SYMBOL = "SYNUSDT"
_TEXT = json.dumps({"topic": f"orderbook.50.{_SYMBOL}", "data": "x" * 300})


@cache
def order_stream(count: int = MESSAGES, seed: int = 7) -> NDArray[np.int64]:
    """Limit orders and cancellations, about 2,000 orders resting.

    Returns
    -------
    (count, 5)
        Operation, order number, side (0 buy), price (ticks), size (steps). Every cancellation names a resting order.
    """
    chance, book = random.Random(seed), _Reference()
    rows: list[tuple[int, ...]] = []
    while len(rows) < count:
        if len(book.resting) > 2_000 * chance.random() + 1_000:
            number = book.any(chance)
            book.cancel(number)
            rows.append((CANCEL, number, 0, 0, 0))
            continue
        side = chance.randrange(2)
        away = int(chance.expovariate(1 / 15)) - 2  # about one order in eight crosses
        price = MIDDLE + (away if side else -away)
        number, size = len(rows) + 1, chance.randint(1, 500)
        book.limit(number, side, price, size)
        rows.append((LIMIT, number, side, price, size))
    return np.array(rows, np.int64)


class _Reference:
    """A plain book that knows which orders rest."""

    def __init__(self) -> None:
        self.resting: dict[int, list[int]] = {}
        self._numbers: list[int] = []
        self._levels: tuple[dict[int, deque[int]], dict[int, deque[int]]] = ({}, {})
        self._best: tuple[list[int], list[int]] = ([], [])

    def any(self, chance: random.Random) -> int:
        while True:
            at = chance.randrange(len(self._numbers))
            self._numbers[at], self._numbers[-1] = self._numbers[-1], self._numbers[at]
            number = self._numbers.pop()
            if number in self.resting:
                return number

    def cancel(self, number: int) -> None:
        side, price, _ = self.resting.pop(number)
        self._levels[side][price].remove(number)

    def limit(self, number: int, side: int, price: int, size: int) -> None:
        other, sign = 1 - side, 1 if side else -1
        while size and self._best[other]:
            best = abs(self._best[other][0])
            queue = self._levels[other].get(best)
            if not queue:
                heapq.heappop(self._best[other])
                self._levels[other].pop(best, None)
                continue
            if (best - price) * sign < 0:
                break
            maker = self.resting[queue[0]]
            amount = min(size, maker[2])
            size, maker[2] = size - amount, maker[2] - amount
            if not maker[2]:
                del self.resting[queue.popleft()]
        if size:
            if price not in self._levels[side]:
                self._levels[side][price] = deque()
                heapq.heappush(self._best[side], price * sign)
            self._levels[side][price].append(number)
            self.resting[number] = [side, price, size]
            self._numbers.append(number)


@njit(cache=True)
def drive(b, stream, slots):  # type: ignore[no-untyped-def]
    """Every message through the engine's own calls, as the synthetic order flow makes them; the fills are read away."""
    traded = np.int64(0)
    for k in range(len(stream)):
        op, number, side, price, size = stream[k, 0], stream[k, 1], stream[k, 2], stream[k, 3], stream[k, 4]
        if op == 1:
            _lob.remove(b, slots[number])
            continue
        left = _lob.take(b, side, price, size, number)
        traded += size - left
        if left > 0:
            slots[number] = _lob.add(b, side, price, left, number)
        if b.i[_lob.N_FILLS] > 2_000:
            b.i[_lob.N_FILLS] = 0
        if b.i[_lob.N_ROWS] > 60_000:
            b.i[_lob.N_ROWS] = 0
    return traded


@cache
def _peer() -> tuple[float | None, str, list[int]]:
    """Messages a second of the fastest engine that is installed, its name, and the best prices that it ends with."""
    python = os.environ.get(PEERS)
    if python is None:
        return None, f"limit_order_book, lightmatchingengine, pyorderbook: not installed (set {PEERS})", []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "stream.npy"
        np.save(path, order_stream())
        script = Path(__file__).with_name("_matching_peers.py")
        said = subprocess.run([python, script, path], capture_output=True, text=True, check=False)
    if said.returncode or not (results := json.loads(said.stdout)):
        return None, f"no matching engine runs there ({said.stderr.strip().splitlines()[-1:]})", []
    rates = {name: row["messages"] / row["seconds"] for name, row in results.items()}
    fastest = max(rates, key=lambda name: rates[name])
    others = ", ".join(f"{name} {rate:,.0f}" for name, rate in sorted(rates.items()) if name != fastest)
    return rates[fastest], f"{fastest}; {others}", results[fastest]["best"]


def _matched(seconds: float, best: list[int], how: str) -> dict[str, object]:
    rate, peer, theirs = _peer()
    if theirs and theirs != best:
        raise AssertionError(f"the engines disagree: {best} here, {theirs} there")
    return {
        "value": MESSAGES / seconds,
        "unit": "orders/s",
        "peer": peer,
        "peer_value": rate,
        "input": f"{MESSAGES:,} limit orders and cancellations, {how}",
    }


@benchmark("simulation.matcher")
def matcher() -> dict[str, object]:
    """Orders a second through the matching engine, driven as the order flow drives it: from compiled code."""
    stream = order_stream()
    books = [_lob.new_lob(1) for _ in range(4)]
    slots = np.full(MESSAGES + 1, -1, np.int64)
    drive(books[0], stream[:100], slots)
    times = []
    for book in books[1:]:
        started = time.perf_counter()
        drive(book, stream, slots)
        times.append(time.perf_counter() - started)
    return _matched(min(times), books[1].i[[_lob.BEST_BID, _lob.BEST_ASK]].tolist(), "one compiled loop")


@benchmark("simulation.matcher_calls")
def matcher_calls() -> dict[str, object]:
    """The same stream, each order a call from Python, as users' orders come."""
    stream, market = order_stream().tolist(), SyntheticMarket(7, DEFAULT_START_MS, MarketParams())

    def work() -> None:
        market.lob = _lob.new_lob(1)
        slots: dict[int, int] = {}
        for op, number, side, price, size in stream:
            if op:
                market.remove(slots[number])
                continue
            left = market.take(side, price, size, number)
            if left:
                slots[number] = market.rest(side, price, left, number)
            if market.lob.i[_lob.N_FILLS] > 2_000:
                market.lob.i[[_lob.N_FILLS, _lob.N_ROWS]] = 0

    seconds = best_of(work, 2)
    return _matched(seconds, market.lob.i[[_lob.BEST_BID, _lob.BEST_ASK]].tolist(), "a Python call each")


# -- served ------------------------------------------------------------------------------------------------------------


def _exchange(pipe: Connection) -> None:
    """A process of its own: one core."""

    async def serve() -> None:
        async with LocalExchange(speed=MAX_SPEED) as exchange:
            pipe.send(exchange.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


def _plain(pipe: Connection) -> None:
    """aiohttp sending one prepared message after the other."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        await ws.receive()
        while not ws.closed:
            await ws.send_str(_TEXT)
        return ws

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/v5/public/linear", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


def _reader(port: int) -> socket.socket:
    """A raw socket after the handshake, subscribed to everything: reading must cost less than sending."""
    link = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(b"0123456789abcdef").decode()
    link.sendall(
        f"GET /v5/public/linear HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    topics = [f"orderbook.{depth}.{_SYMBOL}" for depth in (1, 50, 200)] + [f"publicTrade.{_SYMBOL}"]
    payload = json.dumps({"op": "subscribe", "args": topics}).encode()
    head = b"\x81\xfe" + len(payload).to_bytes(2, "big") if len(payload) > 125 else bytes((0x81, 0x80 | len(payload)))
    link.sendall(head + b"\0\0\0\0" + payload)
    return link


def _drain(link: socket.socket, seconds: float) -> int:
    """Read for so long; how many bytes came."""
    buffer, came, until = bytearray(1 << 20), 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        came += link.recv_into(buffer)
    return came


class _Process:
    """A server in a process of its own, and one that reads everything it sends.

    Rates are for each second of the server's processor time: what one core does, however busy the machine is.
    """

    def __init__(self, target: Any) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs,), daemon=True)
        self._process.start()
        self.port: int = ours.recv()
        self.link = _reader(self.port)
        _drain(self.link, 1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.link.close()
        self._process.terminate()
        self._process.join(10)

    def worked(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def frames(self) -> float:
        """Frames that the exchange has sent so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/control", timeout=20) as answer:
            return float(json.load(answer)["frames"])


@benchmark("simulation.served")
def served() -> dict[str, object]:
    """Frames that one core generates, matches, encodes and sends to one client at the highest speed."""
    with _Process(_exchange) as exchange:
        before, worked = exchange.frames(), exchange.worked()
        came = _drain(exchange.link, 5.0)
        frames, worked = exchange.frames() - before, exchange.worked() - worked
    with _Process(_plain) as plain:
        busy = plain.worked()
        sent = _drain(plain.link, 3.0) / (len(_TEXT) + 4)
        busy = plain.worked() - busy
    return {
        "value": frames / worked,
        "unit": "messages/cpu s",
        "peer": "aiohttp sending the same prepared text again and again",
        "peer_value": sent / busy,
        "input": f"one symbol, books of 1, 50 and 200 levels and trades, {came / frames:,.0f} bytes a message",
    }
