"""The way out of a connection, and what frames meet on it while they misbehave."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from simulation import _lob
from simulation.exchange.listing import Flush, Listing
from simulation.exchange.misbehaviour import ActiveFault, Misbehaviour
from simulation.exchange.venue import Audience

_FRAME_KINDS = (
    "drop", "duplicate", "reorder", "stall", "latency", "cut", "half-open", "malform", "unknown-field", "wrong",
)  # fmt: skip
#: Operations of the streams whose answers can be late.
_ANSWERED = ("auth", "subscribe", "unsubscribe", "ping", "pong")


def text_frame(payload: bytes) -> bytes:
    """A whole unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payload_of(frame: bytes) -> bytes:
    """What a frame of :func:`text_frame` carries."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class Line:
    """Keeps order as TCP does: what is held up holds up everything behind it.

    Parameters
    ----------
    faults
        In force.
    send
        Gives bytes to the socket.
    cut
        Kills the connection.
    """

    def __init__(self, faults: Misbehaviour, send: Callable[[bytes], None], cut: Callable[[], None]) -> None:
        self._faults, self._send, self._cut = faults, send, cut
        self._queue: deque[tuple[float, bytes]] = deque()
        self._late: dict[str, bytes] = {}
        #: Whether nothing goes out any more, for good.
        self.silent = False

    @property
    def straight(self) -> bool:
        """Whether frames can go out in bulk."""
        return not (self._late or self._faults.touches_frames)

    def write(self, frames: bytes, delay: float = 0.0) -> None:
        """Send finished frames, behind everything that waits."""
        if self.silent or not frames:
            return
        if not self._queue and delay <= 0:
            self._send(frames)
            return
        loop = asyncio.get_running_loop()
        due = max(loop.time() + delay, self._queue[-1][0] if self._queue else 0.0)
        self._queue.append((due, frames))
        if len(self._queue) == 1:
            loop.call_at(due, self._release)

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._queue[0][0] <= loop.time() + 1e-4:
            frames = self._queue.popleft()[1]
            if not self.silent:
                self._send(frames)
        if self._queue:
            loop.call_at(self._queue[0][0], self._release)

    def reply(self, operation: str, frame: bytes) -> None:
        """Send an answer, late if a latency says so; the trade socket's requests have had theirs already."""
        named = (operation,)
        late = [a for a in self._faults.active if a.fault.kind == "latency" and operation in _ANSWERED]
        self.write(frame, sum(active.delay() for active in late if active.strikes(named)))

    def pass_on(self, topic: str, symbol: str, frame: bytes) -> None:
        """Send a topic's frame through whatever faults it meets."""
        delay, frames = 0.0, [frame]
        for active in self._faults.active:
            kind = active.fault.kind
            if kind not in _FRAME_KINDS or not frames or not active.strikes((topic,), symbol):
                continue
            if kind in ("stall", "latency"):
                delay += active.fault.pause if kind == "stall" else active.delay()
            elif kind == "cut":
                self._cut()
                return
            elif kind == "half-open":
                self.silent = True
                return
            elif kind == "reorder":
                frames = self._hold(topic, frames)
            else:
                frames = _changed(active, frames)
        if frames and topic in self._late:
            frames.append(self._late.pop(topic))
        for each in frames:
            self.write(each, delay)

    def _hold(self, topic: str, frames: list[bytes]) -> list[bytes]:
        """Keep a frame until the next one of its topic has gone; one at a time."""
        if topic in self._late:
            return frames
        self._late[topic] = frames[0]
        return []


def _changed(active: ActiveFault, frames: list[bytes]) -> list[bytes]:
    """Frames with something wrong about them."""
    match active.fault.kind:
        case "drop":
            return []
        case "duplicate":
            return frames * 2
        case "malform":
            payload = payload_of(frames[0])
            return [text_frame(payload[: len(payload) // 2])]
        case "unknown-field":
            return [text_frame(_with_field(payload_of(frame))) for frame in frames]
        case _:
            return [text_frame(_wrong(payload_of(frame))) for frame in frames]


def _with_field(payload: bytes) -> bytes:
    return b'{"undocumented":{"field":[1,"2",null]},' + payload[1:]


def _wrong(payload: bytes) -> bytes:
    """The book with another size at one level; every number that can be checked against it stays right."""
    message: dict[str, Any] = msgspec.json.decode(payload)
    data = message.get("data")
    sides = [data[side] for side in ("b", "a") if data.get(side)] if isinstance(data, dict) else []
    if not sides:
        return payload
    level = sides[0][0]
    size = Decimal(level[1])
    level[1] = f"{size * 2 + Decimal((0, (1,), int(size.as_tuple().exponent)))}"
    return msgspec.json.encode(message)


class Rehearsal:
    """Stands between the venue and its audience, and lets book topics begin anew or repeat themselves.

    Parameters
    ----------
    faults
        In force.
    audience
        Who hears of public frames.
    """

    def __init__(self, faults: Misbehaviour, audience: Audience) -> None:
        self._faults, self._audience = faults, audience

    def publish(self, listing: Listing, flush: Flush) -> None:
        """Take a batch of frames."""
        self._audience.publish(listing, flush)
        if any(active.fault.kind in ("restart", "snapshot") for active in self._faults.active):
            topics = {feed: topic for topic, feed in listing.feed_of.items() if topic.startswith("orderbook.")}
            for feed in flush.feeds.tolist():
                if feed in topics:
                    self._repeat(listing, feed, topics[feed])

    def _repeat(self, listing: Listing, feed: int, topic: str) -> None:
        active = self._faults.strike((topic,), listing.symbol, "restart", "snapshot")
        if active is None:
            return
        if active.fault.kind == "restart":
            listing.market.lob.feed[feed, _lob.F_U] = 0
        listing.market.snapshot(feed)

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        """Take a ticker's delta."""
        self._audience.publish_ticker(symbol, message)

    def wants_ticker(self, symbol: str) -> bool:
        """Whether anybody listens to a ticker."""
        return self._audience.wants_ticker(symbol)
