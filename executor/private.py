"""Bybit's private stream as raw frames: signed in, subscribed, pinged, and connected again for ever.

What comes is put into :attr:`PrivateStream.incoming`, in order, with the ups and downs of the connection between. It is
a news ticker and no more: after every :class:`Up` whoever listens asks REST what it missed before it trusts a row.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from executor.logs import Masking

#: Spellings that name linear contracts only; the wallet has one.
TOPICS = ("order.linear", "execution.linear", "position.linear", "wallet")
#: How long a signature for the stream is good, ms.
_EXPIRES_MS = 10_000
_CLOSING = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


@dataclass(frozen=True, slots=True)
class Up:
    """Signed in and subscribed to everything."""


@dataclass(frozen=True, slots=True)
class Down:
    """Not, or no longer, connected; it is tried again by itself."""

    cause: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What a topic told; `topic` without its suffix."""

    topic: str
    rows: tuple[dict[str, Any], ...]


class PrivateStream:
    """One connection that comes back for ever; run :meth:`run` as a task.

    Parameters
    ----------
    url
        For example ``wss://stream.bybit.com/v5/private``.
    key, secret
        Of the account.
    wake
        Called when something came.
    ping_s
        Pause between pings. Their answers keep the connection alive: without any frame for three pings it is dead.
    backoff_s
        First and longest pause before connecting again; doubled at each failure, with jitter.
    """

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        wake: Callable[[], None] = lambda: None,
        ping_s: float = 5.0,
        backoff_s: tuple[float, float] = (0.25, 15.0),
    ) -> None:
        self.url = url
        self.wake = wake
        self.incoming: deque[Up | Down | Rows] = deque()
        self.connections = 0
        self._key, self._secret = key, secret.encode()
        self._mask = Masking([key, secret])
        self._ping_s, self._backoff = ping_s, backoff_s
        self._failures = 0
        self._jitter = random.Random()

    def __repr__(self) -> str:
        return f"PrivateStream({self.url!r})"

    async def run(self) -> None:
        """Stay connected until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                self._put(Down(await self._once(session)))
                self._failures += 1
                first, longest = self._backoff
                pause = min(longest, first * 2 ** min(self._failures - 1, 12))
                await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.0))

    def _put(self, item: Up | Down | Rows) -> None:
        self.incoming.append(item)
        self.wake()

    def close(self) -> None:
        """Forget what waits."""
        self.incoming.clear()

    async def _once(self, session: aiohttp.ClientSession) -> str:
        """One connection, from its beginning to its end; why it ended."""
        patience = 3 * self._ping_s
        try:
            async with asyncio.timeout(patience):
                socket = await session.ws_connect(self.url, max_msg_size=1 << 24)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"private stream: cannot connect ({type(error).__name__})"
        pinger = asyncio.create_task(self._ping(socket))
        try:
            await self._sign_in(socket)
            return await self._listen(socket, patience)
        except TimeoutError:
            return f"private stream: nothing for {patience:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"private stream: {type(error).__name__}"
        finally:
            pinger.cancel()
            await asyncio.gather(pinger, return_exceptions=True)
            await socket.close()

    async def _sign_in(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        expires = time.time_ns() // 1_000_000 + _EXPIRES_MS
        signature = hmac.new(self._secret, f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        await _send(socket, {"op": "auth", "args": [self._key, expires, signature]})

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, patience: float) -> str:
        while True:
            # Not `wait_for`: it may swallow a cancel that comes together with a frame.
            async with asyncio.timeout(patience):
                message = await socket.receive()
            if message.type in _CLOSING:
                return f"private stream: closed (code {socket.close_code})"
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                frame = msgspec.json.decode(message.data, type=dict[str, Any])
            except msgspec.DecodeError:
                return "private stream: a frame that is not JSON"
            failure = await self._on_frame(socket, frame)
            if failure:
                return failure

    async def _on_frame(self, socket: aiohttp.ClientWebSocketResponse, frame: dict[str, Any]) -> str:
        """Take a frame; a text ends the connection."""
        topic, rows = frame.get("topic"), frame.get("data")
        if isinstance(topic, str):
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                return f"private stream: a {topic} without rows"
            self._put(Rows(topic.partition(".")[0], tuple(rows)))
            return ""
        op = frame.get("op")
        if op in ("auth", "subscribe") and frame.get("success") is not True:
            return self._mask(f"private stream: {op} refused ({frame.get('ret_msg', '')})")
        if op == "auth":
            await _send(socket, {"op": "subscribe", "args": list(TOPICS)})
        elif op == "subscribe":
            self._failures = 0
            self.connections += 1
            self._put(Up())
        return ""

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await asyncio.sleep(self._ping_s)
            try:
                await _send(socket, {"op": "ping"})
            except (aiohttp.ClientError, OSError):
                return  # the listener sees the end, too


class SharedStream(PrivateStream):
    """One connection for several contracts of an account: each listens at a :class:`StreamPort` of its own."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        super().__init__(url, key, secret)
        self._ports: list[StreamPort] = []
        self._last: Up | Down | None = None

    def port(self) -> StreamPort:
        """A place to listen at, once it runs."""
        return StreamPort(self)

    def enter(self, port: StreamPort) -> None:
        """Somebody listens there from now on; it begins with the state of the connection."""
        if self._last is not None:
            port.incoming.append(self._last)
        self._ports.append(port)

    def leave(self, port: StreamPort) -> None:
        """Nobody listens there any more."""
        if port in self._ports:
            self._ports.remove(port)

    def _put(self, item: Up | Down | Rows) -> None:
        if not isinstance(item, Rows):
            self._last = item
        for port in self._ports:
            port.incoming.append(item)
        self.wake()


class StreamPort:
    """What one contract hears of a :class:`SharedStream`; the connection is somebody else's to keep."""

    def __init__(self, stream: SharedStream) -> None:
        self.incoming: deque[Up | Down | Rows] = deque()
        self._stream = stream

    async def run(self) -> None:
        """Begin to listen: in the loop, for it may have been made in a thread. Nothing is kept up here."""
        self._stream.enter(self)

    def close(self) -> None:
        """Listen no more."""
        self._stream.leave(self)
        self.incoming.clear()


async def _send(socket: aiohttp.ClientWebSocketResponse, request: dict[str, Any]) -> None:
    await socket.send_str(msgspec.json.encode(request).decode())
