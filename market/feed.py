"""Bybit's public stream as raw frames: one connection that comes back for ever.

pybit's own stream client is not used: it merges deltas itself, misses jumps of ``u`` and gives up for good after a few
failures. Here nothing is interpreted but the answers to subscriptions; see :class:`market.assembler.SessionAssembler`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from aiohttp import WSMessage
from aiohttp.http_websocket import WSMessageTextBytes

from market._received import Disconnected, Frame, Frames
from market.errors import FrameError, VenueError
from market.frames import TOPIC_PREFIX, ControlFrame, decode

__all__ = ["Disconnected", "Frame", "Frames", "PublicFeed", "connections_for", "liquidation_topics", "topics_for"]

#: Topics of one subscription request: Bybit's limit.
TOPICS_A_REQUEST = 10
#: Characters of all topics of one connection: Bybit's limit.
TOPIC_CHARACTERS = 21_000
#: How often silence is looked for within ``idle_seconds``.
_LOOKS = 5
#: After a stop, how long frames that have arrived are still read, and the silence that ends it (s).
_DRAIN_SECONDS, _DRAIN_PAUSE = 0.25, 0.005
_TEXT = aiohttp.WSMsgType.TEXT
_CLOSING = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
_BENIGN = ("already subscribed", "not subscribed")


class PublicFeed:
    """An endless stream of :class:`Frame` and :class:`Disconnected`.

    Parameters
    ----------
    url
        For example ``wss://stream.bybit.com/v5/public/linear``.
    topics
        For example ``["orderbook.200.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"]``.
    idle_seconds
        Without any data frame for this long the connection counts as dead.
    ping_seconds
        Pause between application pings; Bybit closes a connection that sends none.
    backoff_seconds
        First and longest pause before connecting again; doubled at each failure, with jitter.
    optional
        Topics that are asked for one by one after the others; those that the venue refuses are left out and noted in
        :attr:`refused`.

    Examples
    --------
    ::

        async with PublicFeed(url, topics) as feed:
            async for item in feed:
                ...

    Raises
    ------
    VenueError
        While iterating: Bybit refuses a subscription.
    """

    def __init__(
        self,
        url: str,
        topics: Sequence[str],
        *,
        idle_seconds: float = 10.0,
        ping_seconds: float = 20.0,
        backoff_seconds: tuple[float, float] = (0.25, 30.0),
        optional: Sequence[str] = (),
    ) -> None:
        self.url = url
        self.topics = tuple(topics)
        self.optional = tuple(optional)
        self.refused: set[str] = set()
        self.connections = 0
        self._idle_seconds = idle_seconds
        self._ping_seconds = ping_seconds
        self._backoff = backoff_seconds
        self._jitter = random.Random()
        self._failures = 0
        self._frames = 0
        self._cause = ""
        self._waits = False
        self._drain_until: float | None = None
        self._over = False
        self._stopped = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self._keeper: asyncio.Task[None] | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the stream; whoever iterates gets its end."""
        self.stop()
        await self._drop()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def stop(self) -> None:
        """Ask the stream to end, from a signal handler or another task."""
        self._over = True
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether the stream has been asked to end."""
        return self._stopped.is_set()

    async def stopped_within(self, seconds: float) -> bool:
        """Wait until the stream is asked to end, at most `seconds`; whether it was."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
        return self.stopped

    async def resync(self, topic: str) -> None:
        """Ask for a fresh snapshot of a book topic: unsubscribe and subscribe.

        Does nothing while the connection is down: connecting subscribes anyway.
        """
        if self._socket is not None and not self._socket.closed:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await self._send(self._socket, "unsubscribe", [topic])
                await self._send(self._socket, "subscribe", [topic])

    # -- stream -------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame | Disconnected:
        while not self._stopped.is_set() or self._may_drain():
            if self._socket is None:
                failure = await self._connect()
                if failure is not None:
                    return failure
                continue
            try:
                self._waits = True
                # Once asked to stop, only what has arrived already is still of interest.
                message = await self._socket.receive(_DRAIN_PAUSE if self._stopped.is_set() else None)
            except TimeoutError:
                break
            finally:
                self._waits = False
            recv_ns = time.time_ns()
            if message.type is _TEXT:
                self._frames += 1
                data: bytes = message.data
                if data.startswith(TOPIC_PREFIX) or not self._is_control(data):
                    self._failures = 0
                    return Frame(data, recv_ns)
            elif message.type in _CLOSING and self._stopped.is_set():
                break
            elif message.type in _CLOSING:
                return await self._lose(message, self._socket, recv_ns)
        await self._drop()
        raise StopAsyncIteration

    async def collect(self, frames: Frames, most: int, notice: Callable[[], None]) -> Disconnected | None:
        """Receive until the connection is lost, or until the stream ends: ``None``.

        What iterating gives, for whoever takes many frames together, without an object and a coroutine for each.

        Parameters
        ----------
        frames
            Added to; whoever takes them empties it.
        most, notice
            `notice` is called when `frames` has got its first frame, and when it has so many.

        Raises
        ------
        VenueError
            Bybit refuses a subscription.
        """
        datas, add, add_time, now = frames.datas, frames.datas.append, frames.recv_ns.append, time.time_ns
        while True:
            socket = self._socket
            if socket is None or self._over:
                item = await anext(self, None)  # it connects, and ends
                if not isinstance(item, Frame):
                    return item
                add(item.data)
                add_time(item.recv_ns)
                notice()
                continue
            receive = socket.receive
            self._waits = True
            try:
                while not self._over:
                    message = await receive()
                    recv_ns = now()
                    if message.type is not _TEXT:
                        break
                    self._frames += 1
                    data: bytes = message.data
                    if not data.startswith(TOPIC_PREFIX) and self._is_control(data):
                        continue
                    self._failures = 0
                    add(data)
                    add_time(recv_ns)
                    count = len(datas)
                    if count == 1 or count >= most:
                        notice()
                else:
                    continue
            finally:
                self._waits = False
            if message.type in _CLOSING and not self._over:
                return await self._lose(message, socket, recv_ns)
            if message.type in _CLOSING:
                await self._drop()
                return None

    async def _lose(
        self, message: WSMessage | WSMessageTextBytes, socket: aiohttp.ClientWebSocketResponse[bool], recv_ns: int
    ) -> Disconnected:
        cause = self._cause or _why(message, socket)
        self._failures += 1
        await self._drop()
        return Disconnected(recv_ns, cause)

    def _may_drain(self) -> bool:
        """Whether frames that arrived before the stop may still wait."""
        if self._drain_until is None:
            self._drain_until = time.monotonic() + _DRAIN_SECONDS
        return self._socket is not None and time.monotonic() < self._drain_until

    def _is_control(self, data: bytes) -> bool:
        """Whether the frame is an answer; a refusal is raised, anything unreadable is left to the consumer."""
        try:
            frame = decode(data)
        except FrameError:
            return False
        if not isinstance(frame, ControlFrame):
            return False
        self._frames -= 1  # answers do not prove that data flows
        if frame.success is False and frame.req_id in self.optional:
            self.refused.add(frame.req_id)
        elif frame.success is False and not any(text in frame.ret_msg for text in _BENIGN):
            raise VenueError(
                f"{self.url} refuses {frame.op or 'a request'}: {frame.ret_msg}",
                advice="Check the symbols and the number of book levels",
            )
        return True

    # -- connection ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> Disconnected | None:
        await self._pause()
        if self._stopped.is_set():
            return None
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(self._idle_seconds):
                socket = await self._session.ws_connect(
                    self.url,
                    decode_text=False,
                    max_msg_size=1 << 26,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
            self._socket = socket
            for start in range(0, len(self.topics), TOPICS_A_REQUEST):
                await self._send(socket, "subscribe", self.topics[start : start + TOPICS_A_REQUEST])
            for topic in self.optional:
                await self._send(socket, "subscribe", [topic], topic)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._failures += 1
            await self._drop()
            return Disconnected(time.time_ns(), f"cannot connect: {error or type(error).__name__}")
        self._cause = ""
        self.connections += 1
        self._keeper = asyncio.create_task(self._keep(socket))
        return None

    async def _pause(self) -> None:
        """Wait before another attempt, unless asked to stop."""
        if self._failures == 0:
            return
        first, longest = self._backoff
        seconds = min(longest, first * 2 ** min(self._failures - 1, 16)) * self._jitter.uniform(0.5, 1.0)
        await self.stopped_within(seconds)

    async def _keep(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        """Ping, notice silence, and end the wait of the reader when asked to stop.

        Silence is counted in looks rather than by the clock, so that a loop that was busy elsewhere does not take its
        own absence for the exchange's.
        """
        pause = min(self._idle_seconds / _LOOKS, self._ping_seconds)
        patience = math.ceil(self._idle_seconds / pause)
        silent, seen, ping_at = 0, self._frames, time.monotonic() + self._ping_seconds
        while not await self.stopped_within(pause):
            silent, seen = (silent + 1 if seen == self._frames else 0), self._frames
            if silent >= patience:
                self._cause = f"no data for {self._idle_seconds:g} s"
                break
            if time.monotonic() >= ping_at:
                ping_at = time.monotonic() + self._ping_seconds
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    await self._send(socket, "ping", None)
        if not self.stopped or self._waits:
            await socket.close()  # else frames still wait: the reader takes them, then it closes

    async def _send(
        self, socket: aiohttp.ClientWebSocketResponse[bool], op: str, args: Sequence[str] | None, req_id: str = ""
    ) -> None:
        request: dict[str, object] = {"op": op} if args is None else {"op": op, "args": list(args)}
        if req_id:
            request["req_id"] = req_id
        await socket.send_str(msgspec.json.encode(request).decode())

    async def _drop(self) -> None:
        keeper, self._keeper = self._keeper, None
        socket, self._socket = self._socket, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if socket is not None and not socket.closed:
            await socket.close()


def _why(message: WSMessage | WSMessageTextBytes, socket: aiohttp.ClientWebSocketResponse[bool]) -> str:
    if isinstance(message.data, BaseException):
        return f"connection lost: {message.data}"
    reason = f", {message.extra}" if message.extra else ""
    return f"connection closed (code {socket.close_code}{reason})"


def connections_for(symbols: Sequence[str], levels: int) -> list[tuple[str, ...]]:
    """Symbols by connection: as few as Bybit's limit on the length of a connection's topics allows."""
    groups: list[list[str]] = []
    room = 0
    for symbol in symbols:
        length = sum(len(topic) + 3 for topic in (*topics_for([symbol], levels), *liquidation_topics([symbol])))
        if length > room:
            groups.append([])
            room = TOPIC_CHARACTERS
        groups[-1].append(symbol)
        room -= length
    return [tuple(group) for group in groups]


def liquidation_topics(symbols: Sequence[str]) -> list[str]:
    """The topics of liquidations, which not every venue has."""
    return [f"allLiquidation.{symbol}" for symbol in symbols]


def topics_for(symbols: Sequence[str], levels: int) -> list[str]:
    """The topics that every venue has of each symbol: book, trades, tickers."""
    return [
        topic
        for symbol in symbols
        for topic in (f"orderbook.{levels}.{symbol}", f"publicTrade.{symbol}", f"tickers.{symbol}")
    ]
