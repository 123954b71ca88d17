"""The recorder: public stream to lake, for as long as it is let."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from market.assembler import Assembled, SessionAssembler
from market.bulk import Batch, BulkAssembler, warm_up
from market.clock import LocalClock
from market.counts import RecorderCounts
from market.crosscheck import Outcome, check_book
from market.errors import AlreadyRunningError, VenueUnavailable
from market.feed import Disconnected, Frame, Frames, PublicFeed, connections_for, liquidation_topics, topics_for
from market.handover import Incumbent, Newcomer, beyond
from market.instruments import Instrument, pick
from market.intake import Intake, until_done
from market.lake import Lake
from market.manifest import Manifest
from market.records import BookRun
from market.rest import fetch_book
from market.rules import RulesWatch
from market.signals import on_signal
from market.writer import LakeWriter

__all__ = ["Recorder", "RecorderCounts"]

#: How often the recorder looks at its limits, and at parts that are due (s).
_TICK_SECONDS = 0.2
_PROGRESS_SECONDS = 1.0
#: Trades so close to the end of a session may come again in the next one (ms of exchange time).
_OVERLAP_MS = 600_000


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
    sync_seconds
        What was received is brought down to the journal this often; a second at most.
    rest_url
        Address of the venue's REST API, for the comparison of the books; ``None`` compares nothing.
    check_seconds
        Pause between two comparisons of each book.
    take_over
        Wait this long (s) for another session on the same symbols to end, and go on where it ends; 0 refuses at once.
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
        sync_seconds: float = 0.25,
        rest_url: str | None = None,
        check_seconds: float = 300.0,
        take_over: float = 0.0,
        progress: Callable[[RecorderCounts], None] | None = None,
    ) -> None:
        self._lake = lake
        self._instruments = {symbol: pick(instruments, symbol) for symbol in symbols}
        self._levels = levels
        self._part_seconds = part_seconds
        self._sync_seconds = min(sync_seconds, 1.0)
        self._rest_url = rest_url
        self._check_seconds = check_seconds
        self._take_over = take_over
        self._progress = progress
        self._groups = connections_for(symbols, levels)
        self._feeds = [
            PublicFeed(feed_url, topics_for(some, levels), idle_seconds=idle_seconds, optional=liquidation_topics(some))
            for some in self._groups
        ]
        self._newcomer = Newcomer(lake.root, self._groups)
        self._writers: dict[str, LakeWriter] = {}
        self._bulk: BulkAssembler | None = None
        self._intakes = [
            Intake(feed, partial(self._take_frames, number), partial(self._take_loss, number), self._stop)
            for number, feed in enumerate(self._feeds)
        ]
        self._assembler: SessionAssembler | None = None
        self._rules = RulesWatch(rest_url, self._instruments)
        self._seen_ms: dict[str, int] = {}  # exchange time up to which a book was last found equal to the venue's
        self.counts = RecorderCounts()

    async def run(
        self,
        stop: asyncio.Event | None = None,
        seconds: float | None = None,
        *,
        until: Callable[[RecorderCounts], bool] | None = None,
        handle_signals: bool = False,
        on_ready: Callable[[], None] | None = None,
    ) -> RecorderCounts:
        """Record until told to stop, then seal.

        Parameters
        ----------
        stop
            Ends the recording when set.
        seconds
            Ends it after so much wall time, not counting the compiling of what frames are read with.
        until
            Ends it when true; asked several times a second.
        handle_signals
            SIGTERM and SIGINT end it in order; only in the main thread.
        on_ready
            Called once the symbols are this session's and what a killed one left has been recovered.

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
        self.counts.started = time.monotonic()

        def is_over() -> bool:
            told = (stop is not None and stop.is_set()) or (until is not None and until(self.counts))
            return told or time.monotonic() >= deadline

        with contextlib.ExitStack() as stack, on_signal(self._stop) if handle_signals else contextlib.nullcontext():
            tasks: list[asyncio.Task[None]] = []
            try:
                # Before anything is received and before the time counts: compiling may take half a minute.
                warm_up(next(iter(self._instruments.values())))
                deadline = math.inf if seconds is None else time.monotonic() + seconds
                if not self._open_or_wait(stack):
                    tasks += self._start_pumps()
                    await until_done([asyncio.create_task(self._wait_for(stack))], tasks)
                    if self._assembler is None:
                        return self.counts  # stopped while waiting
                if on_ready is not None:
                    on_ready()
                pumps = tasks or self._start_pumps()
                helpers = [self._watch(is_over), self._sync(), self._check_books(), self._check_rules()]
                tasks = [*pumps, *map(asyncio.create_task, helpers)]
                await until_done(pumps, tasks)
            finally:
                await self._end(tasks)
        self._count_parts()
        return self.counts

    def _stop(self) -> None:
        for feed in self._feeds:
            feed.stop()

    @property
    def _stopped(self) -> bool:
        return any(feed.stopped for feed in self._feeds)

    def _start_pumps(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(intake.pump()) for intake in self._intakes]

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for all tasks, so that no part is being written any more, and close the connections."""
        self._stop()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for feed in self._feeds:
            await feed.close()
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failed:
            raise failed[0]

    # -- the lake -----------------------------------------------------------------------------------------------------

    def _open_or_wait(self, stack: contextlib.ExitStack) -> bool:
        """Get the symbols; False if another session has them and is to be waited for."""
        try:
            self._open(stack)
        except AlreadyRunningError:
            if self._take_over <= 0:
                raise
            return False
        self._begin()
        return True

    def _open(self, stack: contextlib.ExitStack) -> None:
        """A writer of every symbol, or of none."""
        with contextlib.ExitStack() as attempt:
            writers = {
                symbol: attempt.enter_context(self._lake.writer(symbol, instrument))
                for symbol, instrument in self._instruments.items()
            }
            stack.push(attempt.pop_all())
        self._writers = writers

    def _begin(self) -> None:
        made = [part for parts in self._lake.recovered.values() for part in parts]
        self.counts.recovered += sum(file.rows for part in made for file in part.files.values())
        self._assembler = SessionAssembler(self._instruments, max(map(self._lake.next_ordinal, self._writers)))
        self._bulk = BulkAssembler(self._assembler, lambda symbol: self._writers[symbol].room_ms)

    async def _wait_for(self, stack: contextlib.ExitStack) -> None:
        if await self._newcomer.take_over(lambda: self._open(stack), self._take_over, lambda: self._stopped):
            self._go_on()

    def _go_on(self) -> None:
        """Take up what was received while the other session ended, without a gap where it fits."""
        self._begin()
        assert self._assembler is not None
        endings = {symbol: self._lake.ending(symbol, _OVERLAP_MS) for symbol in self._writers}
        for symbol, ending in endings.items():
            if ending.last_ms is not None:
                self._assembler.resume(symbol, ending.last_ms, ending.last_u, ending.trade_ids)
                self._writers[symbol].resume(ending)
        for number, items in enumerate(self._newcomer.kept):
            for item in beyond(items, endings):
                if isinstance(item, Frame):
                    self._take_frames(number, Frames.of([item]))
                else:
                    self._take_loss(number, item)
            items.clear()
        self.counts.problems, self.counts.last_problem = 0, ""  # trades that both sessions have seen are none

    def _take_frames(self, number: int, frames: Frames) -> list[str]:
        """Take in frames; the topics that need a fresh snapshot."""
        if self._bulk is None:  # another session still records
            self._newcomer.keep(number, list(frames))
            return []
        counts, topics, batch = self.counts, list[str](), Batch(frames)
        counts.frames += len(frames)
        counts.frame_bytes += len(batch.joined)
        for out in self._bulk.on_batch(batch):
            if isinstance(out, BookRun):
                counts.add_run(out)
                self._writers[out.symbol].append_run(out)
            else:
                topics += self._keep(out[1], frames.datas[out[0]])
        return topics

    def _take_loss(self, number: int, loss: Disconnected) -> Sequence[str]:
        """Take in that a connection was lost."""
        if self._assembler is None:
            self._newcomer.keep(number, [loss])
            return ()
        self.counts.disconnects += 1
        return self._keep(self._assembler.on_disconnect(loss.recv_ns, loss.cause, self._groups[number]), b"")

    def _keep(self, assembled: Assembled, data: bytes) -> tuple[str, ...]:
        self.counts.add(assembled)
        records = assembled.records
        if len(records) == 1:
            self._writers[records[0].symbol].append(assembled, data)
        else:
            for symbol in dict.fromkeys(record.symbol for record in records):
                self._writers[symbol].append(assembled, data)
        self._rules.suspect(assembled.other_rules)
        return assembled.resync

    async def _watch(self, is_over: Callable[[], bool]) -> None:
        """Look at limits and due parts until the feeds end; parts are written in a thread so that frames go on."""
        seal_at, tell_at = time.monotonic() + self._part_seconds, 0.0
        assert self._assembler is not None
        clock, incumbent = LocalClock(), Incumbent(self._lake.root, self._assembler.last_u)
        try:
            while not self._stopped:
                now = time.monotonic()
                self._check_clock(clock)
                if now >= tell_at:
                    tell_at = now + _PROGRESS_SECONDS
                    self._tell()
                if is_over() or incumbent.may_end(self._writers):
                    return
                if now >= seal_at:
                    seal_at = now + self._part_seconds
                    await self._seal()
                await self._feeds[0].stopped_within(_TICK_SECONDS)
        finally:
            self._stop()

    def _tell(self) -> None:
        self.counts.free_bytes = shutil.disk_usage(self._lake.root).free
        if self._progress is not None:
            self._count_parts()
            self._progress(replace(self.counts, checks=dict(self.counts.checks)))

    def _count_parts(self) -> None:
        self.counts.parts = sum(writer.parts for writer in self._writers.values())
        self.counts.part_bytes = sum(writer.part_bytes for writer in self._writers.values())

    async def _seal(self) -> None:
        for writer in self._writers.values():
            job = writer.take()
            if job is not None:
                await asyncio.to_thread(job)

    def _check_clock(self, clock: LocalClock) -> None:
        """A clock that was set makes receive times doubtful; nothing else hangs on it."""
        if step := clock.step():
            self.counts.clock_steps += 1
            self._doubt(list(self._writers), f"local clock stepped by {step:+.1f} s")

    def _doubt(self, symbols: Sequence[str], cause: str, *, lost: bool = False) -> tuple[str, ...]:
        assert self._assembler is not None
        resync: tuple[str, ...] = ()
        for symbol in symbols:
            clock_ms = self._assembler.clock_ms(symbol)
            if clock_ms:
                start_ms = self._seen_ms.get(symbol, clock_ms) if lost else clock_ms
                resync += self._keep(self._assembler.doubt(symbol, start_ms, time.time_ns(), cause, lost=lost), b"")
        return resync

    async def _sync(self) -> None:
        """Bring the journals down to the disk, in a thread: a slow disk must not hold up frames."""
        while not self._stopped:
            started = time.monotonic()
            for writer in self._writers.values():
                job = writer.sync()
                if job is not None:
                    await asyncio.to_thread(job)
            self.counts.sync_seconds = time.monotonic() - started
            await self._feeds[0].stopped_within(self._sync_seconds)

    async def _check_books(self) -> None:
        """Compare each book with the venue's now and then."""
        while self._rest_url is not None and not await self._feeds[0].stopped_within(self._check_seconds):
            for number, group in enumerate(self._groups):
                for symbol in group:
                    if self._stopped:
                        return
                    for topic in await self._check_book(self._rest_url, symbol):
                        await self._feeds[number].resync(topic)

    async def _check_book(self, url: str, symbol: str) -> tuple[str, ...]:
        assert self._assembler is not None
        started_ms = self._assembler.clock_ms(symbol)
        try:
            finding = await check_book(
                lambda: fetch_book(url, self._instruments[symbol], self._levels),
                self._writers[symbol],
                lambda: self._stopped,
            )
        except VenueUnavailable:
            self.counts.checks["unverified"] += 1
            return ()
        self.counts.checks[finding.outcome.value] += 1
        if finding.outcome is Outcome.DIFFERENT:
            return self._doubt([symbol], f"book differs from REST: {finding.detail}", lost=True)
        if finding.outcome is Outcome.EQUAL:
            self._seen_ms[symbol] = started_ms
        return ()

    async def _check_rules(self) -> None:
        """Go on under the venue's rules where prices stopped fitting those in force."""
        while not await self._feeds[0].stopped_within(_TICK_SECONDS):
            for instrument in await self._rules.changed():
                job, topics = self._adopt(instrument)
                for number, group in enumerate(self._groups):
                    if instrument.symbol in group:
                        self._intakes[number].resync(topics)
                if job is not None:
                    await asyncio.to_thread(job)

    def _adopt(self, instrument: Instrument) -> tuple[Callable[[], Manifest] | None, tuple[str, ...]]:
        """Rows so far belong to a part under the old rules; what comes next begins one under the new ones."""
        assert self._assembler is not None
        symbol = instrument.symbol
        topics = self._keep(self._assembler.adopt(instrument, time.time_ns()), b"")
        self._instruments[symbol] = instrument
        self._lake.note_rules(instrument, self._assembler.next_ordinal)
        return self._writers[symbol].adopt(instrument), topics
