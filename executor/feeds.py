"""The public market data of several contracts: as few connections as will do, each frame handed to whom it concerns."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from executor.tasks import put_away
from market.errors import PurpleSkyError, VenueError
from market.feed import Disconnected, Frame, PublicFeed, connections_for, liquidation_topics, topics_for
from market.frames import TOPIC_PREFIX
from settings import Settings

#: Frames that may wait; beyond, the venue has to.
_QUEUE = 4096
#: Frames that are taken in at once.
_AT_ONCE = 512
_PATIENCE_S = 0.25


@dataclass(frozen=True, slots=True)
class Item:
    """A frame, or the loss of a connection, and the contracts that it concerns."""

    symbols: tuple[str, ...]
    what: Frame | Disconnected


class _Line:
    """One connection and the task that reads it."""

    def __init__(self, settings: Settings, symbols: tuple[str, ...]) -> None:
        self.symbols = symbols
        self.feed = PublicFeed(
            settings.venue.public_url,
            topics_for(symbols, settings.market.ob_levels),
            idle_seconds=settings.market.idle_seconds,
            # The lake has them, so the features that a council was trained on do.
            optional=liquidation_topics(symbols),
        )
        self.task: asyncio.Task[None] | None = None


class Feeds:
    """All connections of the process for market data; made in a running loop, connected at once.

    Parameters
    ----------
    settings
        The effective settings.
    symbols
        Contracts.

    Attributes
    ----------
    refused
        Contracts whose topics the venue does not give, and what it said.
    """

    def __init__(self, settings: Settings, symbols: Sequence[str]) -> None:
        self._settings = settings
        self._queue: asyncio.Queue[Item] = asyncio.Queue(_QUEUE)
        self._backlog: deque[Item] = deque()
        self._lines: list[_Line] = []
        self._names: dict[bytes, str] = {}
        self.refused: dict[str, PurpleSkyError] = {}
        for group in connections_for(symbols, settings.market.ob_levels):
            self._connect(group)

    def _connect(self, symbols: tuple[str, ...]) -> None:
        line = _Line(self._settings, symbols)
        line.task = asyncio.create_task(self._read(line))
        self._lines.append(line)
        self._names |= {symbol.encode(): symbol for symbol in symbols}

    def need(self, symbol: str) -> None:
        """Connect for a contract that came later, or came back."""
        if not any(symbol in line.symbols for line in self._lines):
            self._connect((symbol,))

    async def close(self) -> None:
        """Disconnect."""
        for line in self._lines:
            line.feed.stop()
        await put_away(*(line.task for line in self._lines if line.task is not None))
        for line in self._lines:
            await line.feed.close()

    async def some(self) -> list[Item]:
        """What waits, at most so many; an empty list after a quarter of a second of silence."""
        await self._mend()
        if self._backlog:
            return [self._backlog.popleft() for _ in range(min(len(self._backlog), _AT_ONCE))]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                items = [await self._queue.get()]
        except TimeoutError:
            return []
        while len(items) < _AT_ONCE and not self._queue.empty():
            items.append(self._queue.get_nowait())
        return items

    async def resync(self, symbol: str, topic: str) -> None:
        """Ask for a fresh snapshot of a contract's book."""
        for line in self._lines:
            if symbol in line.symbols:
                await line.feed.resync(topic)

    async def _read(self, line: _Line) -> None:
        async for item in line.feed:
            await self._queue.put(Item(self._whose(line, item), item))

    def _whose(self, line: _Line, item: Frame | Disconnected) -> tuple[str, ...]:
        """A loss, and a frame that does not say whose it is, concern all contracts of the connection."""
        if isinstance(item, Disconnected) or not item.data.startswith(TOPIC_PREFIX):
            return line.symbols
        topic = item.data[len(TOPIC_PREFIX) : item.data.find(b'"', len(TOPIC_PREFIX))]
        name = self._names.get(topic.rpartition(b".")[2])
        return line.symbols if name is None else (name,)

    async def _mend(self) -> None:
        """A refusal concerns one contract: the others of its connection get connections of their own."""
        for line in [line for line in self._lines if line.task is not None and line.task.done()]:
            assert line.task is not None
            self._lines.remove(line)
            await line.feed.close()
            try:
                line.task.result()
            except VenueError as error:
                if len(line.symbols) == 1:
                    self.refused[line.symbols[0]] = error
                    continue
                # What came before the loss stays before it, and what is missed until the next snapshot is a gap.
                while not self._queue.empty():
                    self._backlog.append(self._queue.get_nowait())
                self._backlog.append(Item(line.symbols, Disconnected(time.time_ns(), error.message)))
                for symbol in line.symbols:
                    self._connect((symbol,))
