"""Helpers of the replay's tests: record an exchange into a lake, or into memory, without sockets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from market import Instrument, Lake
from market.assembler import SessionAssembler
from market.events import EventBatch
from simulation.exchange import LocalExchange
from simulation.exchange.listing import Flush, Listing

COLUMNS = ("kind", "flags", "side", "time_ms", "price", "size")


class Recorder:
    """Listens to an exchange that stands still, and takes in what it says while it is stepped.

    Parameters
    ----------
    exchange
        Not served: its venue is stepped here.
    topics
        Of one symbol.
    lake
        Where to write; nowhere unless given.
    """

    def __init__(self, exchange: LocalExchange, topics: Sequence[str], lake: Lake | None = None) -> None:
        self.venue = exchange.venue
        self.venue.audience = self
        self.symbol = topics[0].rpartition(".")[2]
        self.listing: Listing = self.venue.listings[self.symbol]
        self.board = self.venue.boards[self.symbol]
        instrument: Instrument = self.listing.instrument
        first = lake.next_ordinal(self.symbol) if lake else 0
        self.assembler = SessionAssembler({self.symbol: instrument}, first)
        self.writer = lake.writer(self.symbol, instrument) if lake else None
        self.pieces: list[EventBatch] = []
        self.messages: list[dict[str, Any]] = []
        self.deaf = False
        self.feeds: dict[str, int] = {}
        for topic in topics:
            self.join(topic)

    def join(self, topic: str) -> None:
        if topic in self.board.topics:
            message = self.board.join(topic)
            if message is not None:
                self._take(msgspec.json.encode(message))
            return
        feed = self.listing.feed_of[topic]
        self.venue.flush(self.listing)
        self.feeds[topic] = feed
        shown = self.listing.join(feed)
        if shown is not None:
            self._take(shown)
        self.venue.flush(self.listing)

    def rejoin(self, topic: str) -> None:
        """As after a reconnect."""
        self._add(self.assembler.on_disconnect(self.venue.now_ms * 1_000_000, "the connection was lost"))
        self.listing.leave(self.feeds[topic])
        self.join(topic)

    def run(self, until_ms: int, step_ms: int = 1 << 40) -> None:
        while self.venue.now_ms < until_ms:
            self.venue.step(min(self.venue.now_ms + step_ms, until_ms))

    def events(self) -> EventBatch:
        return EventBatch.concat(self.pieces)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.seal()
            self.writer.close()

    def publish(self, listing: Listing, flush: Flush) -> None:
        if listing is self.listing and not self.deaf:
            wanted = np.zeros(64, np.bool_)
            wanted[list(self.feeds.values())] = True
            for payload in payloads(flush.pick(wanted)):
                self._take(payload)

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        if symbol == self.symbol and not self.deaf:
            self._take(msgspec.json.encode(message))

    def wants_ticker(self, symbol: str) -> bool:
        return self.venue.boards[symbol].watched

    def _take(self, payload: bytes) -> None:
        self.messages.append(msgspec.json.decode(payload))
        self._add(self.assembler.on_frame(payload, self.venue.now_ms * 1_000_000))

    def _add(self, assembled: Any) -> None:
        self.pieces += [batch for _, batch in assembled.batches]
        if self.writer is not None and assembled.records:
            self.writer.append(assembled)


def payloads(data: bytes) -> Iterator[bytes]:
    """The texts of unmasked frames."""
    at = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size > 125:
            extra = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + extra], "big"), at + extra
        yield data[at : at + size]
        at += size


def same(left: EventBatch, right: EventBatch) -> None:
    """Levels, trades, times and order are those of the other."""
    assert len(left) == len(right)
    for name in COLUMNS:
        assert np.array_equal(getattr(left, name), getattr(right, name)), name


def record(
    folder: Path, minutes: float, *, depth: int = 50, seed: int = 3, symbols: Sequence[str] = ("SYNUSDT",), **gap: int
) -> Lake:
    """A lake of synthetic markets; ``gap_s`` and ``gap_for_s`` make a hole."""
    lake = Lake(folder)
    for symbol in symbols:
        exchange = LocalExchange(seed=seed, speed=0.0, symbols=(symbol,))
        start = exchange.now_ms
        topic = f"orderbook.{depth}.{symbol}"
        extra = [f"{kind}.{symbol}" for kind in ("publicTrade", "tickers", "allLiquidation")]
        recorder = Recorder(exchange, [topic, *extra], lake)
        if gap:
            recorder.run(start + gap["gap_s"] * 1000)
            recorder.deaf = True
            recorder.run(start + (gap["gap_s"] + gap["gap_for_s"]) * 1000)
            recorder.deaf = False
            recorder.rejoin(topic)
        recorder.run(start + int(minutes * 60_000))
        recorder.close()
    return lake
