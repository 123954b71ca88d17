"""The daemon: puts the parts together, feeds the session from the venue or from the lake, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from executor.account import account_lock, require_account, venue_client
from executor.build import Parts, build, choose_feed, gate_guard
from executor.front import Front
from executor.lock import Lock
from executor.session import Echo, Session, admit_all
from executor.status import folder_of
from market.assembler import Assembled
from market.feed import Disconnected, Frame, PublicFeed, liquidation_topics, topics_for
from market.signals import on_signal
from settings import Settings

#: Frames that may wait; beyond, the venue has to.
_QUEUE = 4096
#: Frames that are taken in at once.
_AT_ONCE = 512
_TICK_S = 0.25
_STATUS_S = 1.0
#: How long the end of a session waits for the cancel of an entry.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class ExecutorSummary:
    """What a session came to.

    Attributes
    ----------
    decisions
        Bars on which the council voted.
    orders, fills, closed
        Entries sent, executions, positions closed again.
    net_pnl
        Of the closed positions, USDT after fees and funding.
    bars
        Bars seen, those without a vote included.
    position_steps
        What is still held, signed; it keeps its stop and target, and the next session goes on with it.
    equity
        USDT with open profit and loss; ``None`` unknown.
    killed
        Why the kill switch fired; ``None`` if it did not.
    council_version
        Who decided last.
    """

    symbol: str
    mode: str
    session: int
    decisions: int
    orders: int
    fills: int
    closed: int
    net_pnl: float
    bars: int
    position_steps: int
    equity: float | None
    killed: str | None
    council_version: int | None
    journal: str


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session ends by itself.

    Attributes
    ----------
    max_bars
        After so many decisions; ``None`` never.
    min_closed
        But not before so many positions were closed.
    max_seconds
        After so long in any case; ``None`` never.
    until
        When it says so.
    """

    max_bars: int | None = None
    min_closed: int = 0
    max_seconds: float | None = None
    until: Callable[[ExecutorSummary], bool] | None = None

    def reached(self, summary: ExecutorSummary, seconds: float) -> bool:
        """Whether the session is to end."""
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return True
        if self.until is not None and self.until(summary):
            return True
        enough = self.max_bars is not None and summary.decisions >= self.max_bars
        return enough and summary.closed >= self.min_closed


def run_executor(
    settings: Settings,
    symbol: str,
    *,
    live: bool = False,
    accept_failed_gate: int | None = None,
    feed: str = "auto",
    max_bars: int | None = None,
    min_closed: int = 0,
    max_seconds: float | None = None,
    until: Callable[[ExecutorSummary], bool] | None = None,
    summary: Path | None = None,
    echo: Echo = lambda _: None,
) -> ExecutorSummary:
    """Trade the Production council of a symbol until told to stop; in dry-run unless `live`.

    SIGTERM and SIGINT end it in order: an unfilled entry is cancelled, a position keeps its stop and target.

    Parameters
    ----------
    settings
        The effective settings; ``executor.timeframe`` and ``market.ob_levels`` say which council is wanted.
    symbol
        Contract.
    live
        Trade with real money, or at the local exchange where the settings' address says so. Needs keys that may not
        withdraw, and a council that passed its gate.
    accept_failed_gate
        Version that may trade live all the same.
    feed
        ``venue``; ``lake`` replays what was recorded; ``auto`` takes the lake when the venue does not list the symbol
        or cannot be reached, and the lake has it.
    max_bars, min_closed, max_seconds, until
        See :class:`Limits`.
    summary
        Where to write the summary, as JSON.
    echo
        Takes lines for people.

    Raises
    ------
    ConfigError, ExecutorError
        Live trading is refused, or the journal cannot be used.
    AlreadyRunningError
        Another executor holds the symbol, or the symbol of this account.
    RegistryError, BundleMismatch
        There is no council in Production, or it is not for these settings.
    VenueError, DataError
        The venue or the lake cannot be used.
    """
    limits = Limits(max_bars, min_closed, max_seconds, until)
    say = safe_echo(echo)
    admit = gate_guard(accept_failed_gate) if live else admit_all
    if live:
        _check_account(settings, symbol, say)
    choice = choose_feed(settings, symbol, feed, say, live=live)
    folder = folder_of(settings, symbol, choice.mode)
    with contextlib.ExitStack() as locks:
        if live:
            locks.enter_context(Lock(account_lock(settings, symbol)))
        locks.enter_context(Lock(folder / "lock"))
        parts = build(settings, choice, folder, say, admit)
        try:
            front = Front(settings, parts, folder, say)
        except BaseException:
            parts.journal.close()
            raise
        daemon = _Daemon(settings, parts, limits, front)
        error: BaseException | None = None
        try:
            asyncio.run(daemon.run())
        except BaseException as caught:
            error = caught
            raise
        finally:
            daemon.finish()
            front.end(daemon.last_words(), error)
    result = daemon.summary()
    if summary is not None:
        summary.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    say(daemon.last_words())
    return result


def _check_account(settings: Settings, symbol: str, say: Echo) -> None:
    venue = venue_client(settings)
    try:
        for check in require_account(venue, symbol):
            say(f"{check.name}: {check.text}")
    finally:
        venue.close()


def safe_echo(echo: Echo) -> Echo:
    """An echo whose console may be narrow: a character that it cannot show becomes a question mark."""

    def safe(line: str) -> None:
        try:
            echo(line)
        except UnicodeEncodeError:
            echo(line.encode("ascii", "replace").decode("ascii"))

    return safe


class _Daemon:
    """The loop around a session."""

    def __init__(self, settings: Settings, parts: Parts, limits: Limits, front: Front) -> None:
        self._settings, self._parts, self._limits, self._front = settings, parts, limits, front
        self._session: Session = parts.session
        self._started = time.monotonic()
        self._ticked = self._written = 0.0
        self._asked_to_stop = False
        self._stop_by: float | None = None

    async def run(self) -> None:
        """Until a limit is reached, a signal comes, or the lake ends."""
        with on_signal(self._ask_to_stop):
            await self._front.open()
            watch = asyncio.create_task(
                self._parts.watch.run(
                    self._settings.executor.registry_poll_s, self._session.council, self._session.tell
                )
            )
            venue = asyncio.create_task(self._session.gateway.run())
            venue.add_done_callback(lambda _: self._ask_to_stop() if _failed(venue) else None)
            try:
                await (self._from_venue() if self._parts.events is None else self._from_lake())
            finally:
                for task in (watch, venue):
                    task.cancel()
                await asyncio.gather(watch, venue, return_exceptions=True)
                self._session.gateway.close()
                await self._front.close()
            if _failed(venue):
                venue.result()

    def finish(self) -> None:
        """Close the session in the journal; it goes on from there next time."""
        journal, session = self._parts.journal, self._session
        if session.flush():
            journal.end(session.core.state.dump())
        self._front.write(running=False)
        journal.close()

    def summary(self) -> ExecutorSummary:
        """The session so far."""
        state = self._session.core.state
        counts, trade, equity = state.counts, state.trade, state.risk.equity
        return ExecutorSummary(
            symbol=self._session.view.symbol,
            mode=self._parts.mode,
            session=self._parts.number,
            decisions=counts.decisions,
            orders=counts.orders,
            fills=counts.fills,
            closed=counts.closed,
            net_pnl=float(counts.net_pnl),
            bars=counts.bars,
            position_steps=trade.side * trade.open if trade else 0,
            equity=None if equity is None else float(equity),
            killed=state.risk.killed,
            council_version=state.council.version if state.council else None,
            journal=str(self._parts.journal.path),
        )

    def last_words(self) -> str:
        """The session so far, in a line."""
        so_far = self.summary()
        return (
            f"{so_far.mode} session {so_far.session}: {so_far.decisions} decisions, {so_far.orders} orders, "
            f"{so_far.fills} fills, {so_far.closed} closed, net {so_far.net_pnl:+.4f} USDT"
        )

    def _ask_to_stop(self) -> None:
        self._asked_to_stop = True

    # --- the venue ---------------------------------------------------------------------------------------------------

    async def _from_venue(self) -> None:
        settings, session = self._settings, self._session
        topics = topics_for([session.view.symbol], settings.market.ob_levels)
        queue: asyncio.Queue[Frame | Disconnected] = asyncio.Queue(_QUEUE)
        feed = PublicFeed(
            settings.venue.public_url,
            topics,
            idle_seconds=settings.market.idle_seconds,
            # The lake has them, so the features that a council was trained on do.
            optional=liquidation_topics([session.view.symbol]),
        )
        async with feed:
            reader = asyncio.create_task(_read(feed, queue))
            try:
                while not self._is_over():
                    items = await _some(queue)
                    await self._take_in(items, feed)
                    if reader.done():
                        await reader
                        return
            finally:
                feed.stop()
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _take_in(self, items: list[Frame | Disconnected], feed: PublicFeed) -> None:
        session = self._session
        assembled: list[Assembled] = []
        for item in items:
            if isinstance(item, Disconnected):
                self._front.lost()
                session.tell("warning", "feed", f"market data lost: {item.cause}")
                assembled.append(session.view.on_disconnect(item.recv_ns, item.cause))
            else:
                self._front.frames()
                assembled.append(session.view.on_frame(item.data, item.recv_ns))
        if assembled:
            seen = session.view.gather(assembled)
            for problem in seen.problems:
                session.tell("warning", "feed", problem)
            for topic in seen.resync:
                await feed.resync(topic)
            lag_ms = max(0, (time.time_ns() - items[-1].recv_ns) // 1_000_000)
            session.market(seen.events, seen.tickers, lag_ms=lag_ms)

    # --- the lake ----------------------------------------------------------------------------------------------------

    async def _from_lake(self) -> None:
        assert self._parts.events is not None
        for batch in self._parts.events:
            for piece in batch.chunks(_AT_ONCE * 16):
                self._session.market(self._session.view.part(piece))
                if self._is_over():
                    return
                await asyncio.sleep(0)

    # --- now and then ------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Do what is due by the wall clock; whether the session has ended."""
        now, session = time.monotonic(), self._session
        if now >= self._ticked + _TICK_S:
            self._ticked = now
            session.tick(now)
        if now >= self._written + _STATUS_S:
            self._written = now
            self._front.write(running=True)
        if self._stop_by is None:
            if not self._asked_to_stop and not self._limits.reached(self.summary(), now - self._started):
                return False
            self._stop_by = now + _PATIENCE_S
            session.stop()
        return session.may_end or now >= self._stop_by


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def _read(feed: PublicFeed, queue: asyncio.Queue[Frame | Disconnected]) -> None:
    async for item in feed:
        await queue.put(item)


async def _some(queue: asyncio.Queue[Frame | Disconnected]) -> list[Frame | Disconnected]:
    """What waits, at most so many; an empty list after a quarter of a second of silence."""
    try:
        items = [await asyncio.wait_for(queue.get(), _TICK_S)]
    except TimeoutError:
        return []
    while len(items) < _AT_ONCE and not queue.empty():
        items.append(queue.get_nowait())
    return items
