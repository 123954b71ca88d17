"""WebSocket connections: raw text frames out, Bybit's requests in."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

from simulation.exchange.listing import TRADES, Flush, Listing

#: Bytes that may wait for a slow reader before market time slips.
HIGH_WATER = 4 << 20
#: Bybit's limit on the length of a public connection's `args`.
_MOST_ARGS_CHARACTERS = 21_000


def text_frame(payload: bytes) -> bytes:
    """A whole unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Connection:
    """One client's socket.

    Frames are written to the transport whole, in the order of the calls; nothing is dropped. Whoever produces asks
    :attr:`waiting` and pauses.
    """

    def __init__(self, request: web.Request) -> None:
        self.id = str(uuid.uuid4())
        self.socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        self._request = request
        self._transport: asyncio.Transport | None = None
        self.frames = 0

    async def open(self) -> None:
        """Shake hands."""
        await self.socket.prepare(self._request)
        transport = self._request.transport
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def waiting(self) -> int:
        """Bytes that the reader has not taken yet."""
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    def write(self, frames: bytes) -> None:
        """Send finished frames."""
        if frames and self._transport is not None and not self._transport.is_closing() and not self.socket.closed:
            self._transport.write(frames)

    def send(self, message: Any) -> None:
        """Send a JSON message."""
        self.frames += 1
        self.write(text_frame(msgspec.json.encode(message)))

    def drop(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def requests(self) -> Any:
        """The client's requests as dictionaries; ``None`` for what is none."""
        async for message in self.socket:
            if message.type is not WSMsgType.TEXT:
                yield None
                continue
            try:
                body = msgspec.json.decode(message.data)
            except msgspec.DecodeError:
                body = None
            yield body if isinstance(body, dict) else None


class PublicConnection(Connection):
    """A client of ``/v5/public/linear``."""

    def __init__(self, request: web.Request, listings: dict[str, Listing]) -> None:
        super().__init__(request)
        self._listings = listings
        self._wanted: dict[str, NDArray[np.bool_]] = {symbol: np.zeros(TRADES + 1, np.bool_) for symbol in listings}
        self.tickers: set[str] = set()
        self.topics: set[str] = set()

    def deliver(self, listing: Listing, flush: Flush) -> None:
        """Send those frames of a batch that this client subscribes to."""
        wanted = self._wanted[listing.symbol]
        if wanted.any():
            self.write(flush.pick(wanted))
            self.frames += len(flush.feeds)

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
    """Answer a request."""
    connection.send(
        {
            "success": success,
            "ret_msg": message,
            "conn_id": connection.id,
            "req_id": str(body.get("req_id", "")),
            "op": str(body.get("op", "")),
        }
    )


def arguments(body: dict[str, Any]) -> list[Any] | None:
    """The `args` of a request; ``None`` where they are none or too long."""
    args = body.get("args")
    if not isinstance(args, list) or not args or sum(len(str(arg)) for arg in args) > _MOST_ARGS_CHARACTERS:
        return None
    return args
