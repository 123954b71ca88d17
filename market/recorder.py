"""The recorder: public stream to lake, for as long as it is let."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from market.assembler import Assembled, BookRows, GapMark, SessionAssembler, TradeRows
from market.events import EMPTY
from market.feed import Disconnected, PublicFeed, topics_for
from market.instruments import Instrument, pick
from market.lake import Lake
from market.writer import LakeWriter

#: How often the recorder looks at its limits, and at parts that are due (s).
_TICK_SECONDS = 0.2
_PROGRESS_SECONDS = 1.0


@dataclass(slots=True)
class RecorderCounts:
    """What a recording has come to so far.

    Attributes
    ----------
    frames, level_changes, trades
        Received.
    gaps
        GAP rows, one at each symbol's start included.
    disconnects
        Lost connections and failed attempts.
    problems, last_problem
        Frames that were left out, and why the last one was.
    clock_ms
        Greatest exchange time; -1 before the first event.
    """

    frames: int = 0
    level_changes: int = 0
    trades: int = 0
    gaps: int = 0
    disconnects: int = 0
    problems: int = 0
    last_problem: str = ""
    clock_ms: int = -1

    def add(self, assembled: Assembled) -> None:
        """Count what one frame came to."""
        for record in assembled.records:
            if isinstance(record, BookRows):
                if not record.events.flags[0] & EMPTY:
                    self.level_changes += len(record.events)
                self.clock_ms = max(self.clock_ms, int(record.events.time_ms[0]))
            elif isinstance(record, TradeRows):
                self.trades += len(record.events)
                self.clock_ms = max(self.clock_ms, int(record.events.time_ms[-1]))
            elif isinstance(record, GapMark):
                self.gaps += 1
        if assembled.problem is not None:
            self.problems += 1
            self.last_problem = assembled.problem


class Recorder:
    """Records symbols of one venue into the lake.

    Parameters
    ----------
    lake
        Where to.
    feed_url
        Bybit's public linear stream, or the local exchange's.
    instruments
        Contract rules, at least of `symbols`.
    symbols
        What to record.
    levels
        Depth of the order-book topic.
    part_seconds
        A part is sealed at least this often.
    idle_seconds
        Without data for this long the connection counts as dead.
    progress
        Called about once a second.

    Raises
    ------
    UnknownSymbolError
        `instruments` lacks a symbol.
    """

    def __init__(
        self,
        lake: Lake,
        feed_url: str,
        instruments: Mapping[str, Instrument],
        symbols: Sequence[str],
        levels: int = 200,
        *,
        part_seconds: float = 300.0,
        idle_seconds: float = 10.0,
        progress: Callable[[RecorderCounts], None] | None = None,
    ) -> None:
        self._lake = lake
        self._url = feed_url
        self._instruments = {symbol: pick(instruments, symbol) for symbol in symbols}
        self._levels = levels
        self._part_seconds = part_seconds
        self._idle_seconds = idle_seconds
        self._progress = progress
        self.counts = RecorderCounts()

    async def run(
        self,
        stop: asyncio.Event | None = None,
        seconds: float | None = None,
        *,
        until: Callable[[RecorderCounts], bool] | None = None,
        handle_signals: bool = False,
    ) -> RecorderCounts:
        """Record until told to stop, then seal.

        Parameters
        ----------
        stop
            Ends the recording when set.
        seconds
            Ends it after so much wall time.
        until
            Ends it when true; asked several times a second.
        handle_signals
            SIGTERM and SIGINT end it in order; only in the main thread.

        Raises
        ------
        AlreadyRunningError
            A symbol is being recorded already.
        LakeError
            The disk refuses, or the lake holds later data.
        DataError
            The contract rules do not fit what is received.
        VenueError
            The venue refuses a subscription.
        """
        with contextlib.ExitStack() as stack:
            writers = {
                symbol: stack.enter_context(self._lake.writer(symbol, instrument))
                for symbol, instrument in self._instruments.items()
            }
            first = max(map(self._lake.next_ordinal, writers))
            assembler = SessionAssembler(self._instruments, first)
            topics = topics_for(list(writers), self._levels)
            async with PublicFeed(self._url, topics, idle_seconds=self._idle_seconds) as feed:
                with _signals(feed.stop) if handle_signals else contextlib.nullcontext():
                    deadline = None if seconds is None else time.monotonic() + seconds
                    watch = asyncio.create_task(self._watch(feed, writers, stop, deadline, until))
                    try:
                        await self._pump(feed, assembler, writers)
                    finally:
                        feed.stop()
                        await watch
        return self.counts

    async def _pump(self, feed: PublicFeed, assembler: SessionAssembler, writers: Mapping[str, LakeWriter]) -> None:
        async for item in feed:
            if isinstance(item, Disconnected):
                self.counts.disconnects += 1
                assembled = assembler.on_disconnect(item.recv_ns, item.cause)
            else:
                self.counts.frames += 1
                assembled = assembler.on_frame(item.data, item.recv_ns)
            self.counts.add(assembled)
            for symbol in dict.fromkeys(record.symbol for record in assembled.records):
                writers[symbol].append(assembled)
            for topic in assembled.resync:
                await feed.resync(topic)

    async def _watch(
        self,
        feed: PublicFeed,
        writers: Mapping[str, LakeWriter],
        stop: asyncio.Event | None,
        deadline: float | None,
        until: Callable[[RecorderCounts], bool] | None,
    ) -> None:
        """Look at limits and due parts until the feed ends; parts are written in a thread so that frames go on."""
        seal_at = time.monotonic() + self._part_seconds
        tell_at = 0.0
        try:
            while not feed.stopped:
                now = time.monotonic()
                if now >= tell_at and self._progress is not None:
                    self._progress(replace(self.counts))
                    tell_at = now + _PROGRESS_SECONDS
                if _is_over(stop, deadline, now) or (until is not None and until(self.counts)):
                    return
                if now >= seal_at:
                    seal_at = now + self._part_seconds
                    for writer in writers.values():
                        job = writer.take()
                        if job is not None:
                            await asyncio.to_thread(job)
                await feed.stopped_within(_TICK_SECONDS)
        finally:
            feed.stop()


def _is_over(stop: asyncio.Event | None, deadline: float | None, now: float) -> bool:
    return (stop is not None and stop.is_set()) or (deadline is not None and now >= deadline)


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
