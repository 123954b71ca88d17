"""WebSocket connections: raw text frames out, Bybit's requests in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

from simulation.exchange._misbehaving_line import Line, text_frame
from simulation.exchange.listing import TRADES, Flush, Listing
from simulation.exchange.misbehaviour import Misbehaviour

__all__ = ["HIGH_WATER", "Connection", "PublicConnection", "answer", "arguments", "refuse", "text_frame"]

#: Bytes that may wait for a slow reader before market time slips.
HIGH_WATER = 4 << 20
#: Seconds without a word after which Bybit cuts a private connection, and how often it looks.
_ALIVE, SCAN = 600.0, 30.0
#: Bybit's limit on the length of a public connection's `args`.
_MOST_ARGS_CHARACTERS = 21_000


class Connection:
    """One client's socket.

    Frames are written to the transport whole, in the order of the calls; nothing is dropped unless a fault says so.
    Whoever produces asks :attr:`waiting` and pauses.
    """

    #: Whether answers have a ``req_id`` even if the request had none.
    always_echoes = False
    #: Whether the connection is cut when nothing has been said for long; see :func:`active_time`.
    expires = True

    def __init__(self, request: web.Request, faults: Misbehaviour) -> None:
        self.id = str(uuid.uuid4())
        # Pings are answered here and not by aiohttp: a half-open connection must not answer them.
        self.socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20, autoping=False)
        self.line = Line(faults, self._put, self.drop)
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._heard, self._alive = 0.0, active_time(request.query.get("max_active_time", ""))
        self.frames = 0

    async def open(self) -> None:
        """Shake hands."""
        await self.socket.prepare(self._request)
        transport = self._request.transport
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.expires:
            self._look()

    def _look(self) -> None:
        """Cut the connection when it has been quiet for too long, or look again later."""
        loop = asyncio.get_running_loop()
        self._heard = self._heard or loop.time()
        if loop.time() - self._heard >= self._alive:
            self.drop()
        elif not self.socket.closed:
            loop.call_later(SCAN, self._look)

    @property
    def waiting(self) -> int:
        """Bytes that the reader has not taken yet."""
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    def _put(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self.socket.closed:
            self._transport.write(frames)

    def write(self, frames: bytes) -> None:
        """Send finished frames."""
        self.line.write(frames)

    def send(self, message: dict[str, Any]) -> None:
        """Send a JSON message."""
        self.frames += 1
        self._heard = asyncio.get_running_loop().time()
        frame = text_frame(msgspec.json.encode(message))
        topic = message.get("topic")
        if self.line.straight:
            self.write(frame)
        elif topic is None:
            self.line.reply(str(message.get("op", "")), frame)
        else:
            self.line.pass_on(topic, topic.rpartition(".")[2], frame)

    def drop(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def requests(self) -> AsyncIterator[dict[str, Any] | None]:
        """The client's requests as dictionaries; ``None`` for what is none."""
        async for message in self.socket:
            if self.line.silent:
                continue
            if message.type is WSMsgType.PING:
                await self.socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                yield _decoded(message.data)
            elif message.type is not WSMsgType.PONG:
                yield None


def active_time(text: str) -> float:
    """Seconds of ``max_active_time``: 30s to 600s or 1m to 10m; Bybit's default for anything else."""
    unit = {"s": 1, "m": 60}.get(text[-1:])
    if unit is None or not text[:-1].isdigit() or not 30 <= int(text[:-1]) * unit <= _ALIVE:
        return _ALIVE
    return float(int(text[:-1]) * unit)


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return body if isinstance(body, dict) else None


class PublicConnection(Connection):
    """A client of ``/v5/public/linear``."""

    always_echoes = True
    expires = False

    def __init__(self, request: web.Request, listings: dict[str, Listing], faults: Misbehaviour) -> None:
        super().__init__(request, faults)
        self._listings = listings
        self._wanted: dict[str, NDArray[np.bool_]] = {symbol: np.zeros(TRADES + 1, np.bool_) for symbol in listings}
        self.tickers: set[str] = set()
        self.topics: set[str] = set()

    def deliver(self, listing: Listing, flush: Flush) -> None:
        """Send those frames of a batch that this client subscribes to."""
        wanted = self._wanted[listing.symbol]
        if not wanted.any():
            return
        self.frames += len(flush.feeds)
        if self.line.straight:
            self.write(flush.pick(wanted))
            return
        topics = {feed: topic for topic, feed in listing.feed_of.items()}
        start = 0
        for feed, end in zip(flush.feeds.tolist(), flush.ends.tolist()):
            if wanted[feed]:
                self.line.pass_on(topics[feed], listing.symbol, flush.data[start:end].tobytes())
            start = end

    def find(self, topic: object) -> tuple[Listing, int | None] | None:
        """What a topic names: a contract, and the feed of its book or trades, or no feed for its ticker."""
        if not isinstance(topic, str):
            return None
        listing = self._listings.get(topic.rpartition(".")[2])
        if listing is None:
            return None
        if topic == f"tickers.{listing.symbol}":
            return listing, None
        if topic in listing.feed_of:
            return listing, listing.feed_of[topic]
        return None

    def want(self, listing: Listing, feed: int | None, on: bool) -> None:
        """Note a subscription or its end."""
        if feed is not None:
            self._wanted[listing.symbol][feed] = on
        elif on:
            self.tickers.add(listing.symbol)
        else:
            self.tickers.discard(listing.symbol)


def refuse(connection: Connection, body: dict[str, Any], why: str) -> None:
    """Answer a request that cannot be met."""
    answer(connection, body, why, success=False)


def answer(connection: Connection, body: dict[str, Any], message: str = "", *, success: bool = True) -> None:
    """Answer a request; without an id of its own, only the public stream gives an empty one back."""
    reply = {"success": success, "ret_msg": message, "conn_id": connection.id}
    if connection.always_echoes or "req_id" in body:
        reply["req_id"] = str(body.get("req_id", ""))
    connection.send(reply | {"op": str(body.get("op", ""))})


def arguments(body: dict[str, Any]) -> list[Any] | None:
    """The `args` of a request; ``None`` where they are none or too long."""
    args = body.get("args")
    if not isinstance(args, list) or not args or sum(len(str(arg)) for arg in args) > _MOST_ARGS_CHARACTERS:
        return None
    return args
