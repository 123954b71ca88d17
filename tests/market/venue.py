"""A small Bybit-like public stream on loopback that does what a test tells it to, and builders of frames for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, Self

from aiohttp import web

from market import Instrument

BTC = Instrument(
    symbol="BTCUSDT",
    tick_size=Decimal("0.10"),
    qty_step=Decimal("0.001"),
    min_steps=1,
    max_steps=10**6,
    max_market_steps=10**5,
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
)
ETH = Instrument(
    symbol="ETHUSDT",
    tick_size=Decimal("0.01"),
    qty_step=Decimal("0.01"),
    min_steps=1,
    max_steps=10**6,
    max_market_steps=10**5,
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
)
RULES = {"BTCUSDT": BTC, "ETHUSDT": ETH}
#: 2026-01-05 12:00 UTC.
NOON_MS = 1_767_614_400_000

Script = Callable[["Connection"], Awaitable[None]]


def book(
    u: int,
    bids: Sequence[tuple[str, str]] = (("100.0", "1.000"),),
    asks: Sequence[tuple[str, str]] = (("100.1", "2.000"),),
    *,
    kind: str = "delta",
    symbol: str = "BTCUSDT",
    cts: int | None = None,
    **extra: Any,
) -> bytes:
    """An order-book frame; its time grows with `u` unless given."""
    cts = NOON_MS + 100 * u if cts is None else cts
    data = {
        "s": symbol,
        "b": [list(level) for level in bids],
        "a": [list(level) for level in asks],
        "u": u,
        "seq": 7 * u,
    }
    frame = {"topic": f"orderbook.50.{symbol}", "type": kind, "ts": cts + 1, "data": data, "cts": cts, **extra}
    return json.dumps(frame, separators=(",", ":")).encode()


def snapshot(u: int, **changes: Any) -> bytes:
    """An order-book snapshot."""
    return book(u, kind="snapshot", **changes)


def trade(*trades: tuple[int, str, str, str], symbol: str = "BTCUSDT") -> bytes:
    """A trade frame from ``(time_ms, side, size, price)``."""
    data = [
        {
            "T": time_ms,
            "s": symbol,
            "S": side,
            "v": size,
            "p": price,
            "L": "PlusTick",
            "i": f"id-{time_ms}-{n}",
            "seq": 10 * time_ms + n,
        }
        for n, (time_ms, side, size, price) in enumerate(trades)
    ]
    frame = {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": trades[-1][0] + 1, "data": data}
    return json.dumps(frame, separators=(",", ":")).encode()


def ticker(ts: int, *, kind: str = "delta", symbol: str = "BTCUSDT", **values: str) -> bytes:
    """A ticker frame."""
    frame = {"topic": f"tickers.{symbol}", "type": kind, "ts": ts, "cs": 1, "data": {"symbol": symbol, **values}}
    return json.dumps(frame, separators=(",", ":")).encode()


def liquidation(*rows: tuple[int, str, str, str], symbol: str = "BTCUSDT") -> bytes:
    """A liquidation frame from ``(time_ms, side, size, price)``."""
    data = [{"T": time_ms, "s": symbol, "S": side, "v": size, "p": price} for time_ms, side, size, price in rows]
    frame = {"topic": f"allLiquidation.{symbol}", "type": "snapshot", "ts": rows[-1][0] + 1, "data": data}
    return json.dumps(frame, separators=(",", ":")).encode()


class Connection:
    """One client's socket, as a script sees it."""

    def __init__(self, socket: web.WebSocketResponse, number: int) -> None:
        self.socket = socket
        self.number = number
        self.requests: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()

    async def send(self, *frames: bytes) -> None:
        """Send frames as text."""
        for frame in frames:
            await self.socket.send_frame(frame, 1)

    async def until(self, op: str, topic: str) -> None:
        """Wait for a request of `topic`, and forget it."""
        while True:
            for request in self.requests:
                if request["op"] == op and topic in request.get("args", []):
                    self.requests.remove(request)
                    return
            self._arrived.clear()
            await self._arrived.wait()

    async def cut(self) -> None:
        """Drop the connection without a word."""
        assert self.socket._req is not None
        transport = self.socket._req.transport
        if transport is not None:
            transport.abort()

    def take(self, request: dict[str, Any]) -> None:
        """Note a request."""
        self.requests.append(request)
        self._arrived.set()


class Venue:
    """Serves ``/v5/public/linear``; each connection runs the script once its first subscription has come."""

    def __init__(self, script: Script, *, refuse: str = "") -> None:
        self._script = script
        self._refuse = refuse
        self.connections: list[Connection] = []
        self.url = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v5/public/linear", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/v5/public/linear"
        return self

    async def __aexit__(self, *exc: object) -> None:
        for connection in self.connections:
            await connection.cut()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(socket, len(self.connections))
        self.connections.append(connection)
        running: asyncio.Task[None] | None = None
        try:
            async for message in socket:
                asked = json.loads(message.data)
                connection.take(asked)
                await socket.send_json(self._answer(asked))
                if running is None and asked["op"] == "subscribe":
                    running = asyncio.ensure_future(self._script(connection))
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return socket

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["op"] == "ping":
            return {"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "", "op": "ping"}
        return {"success": not self._refuse, "ret_msg": self._refuse, "conn_id": "c", "req_id": "", "op": asked["op"]}
