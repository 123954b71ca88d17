"""One contract within the process: its session, and what becomes of it when it fails.

A failure of one contract is no reason to leave the others' positions alone, nor its own: its session is put away as a
crash would leave it, and made again from its journal after a pause that doubles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from executor.build import Parts
from executor.front import Front
from executor.journal import JournalError
from executor.session import Echo, Session
from executor.tasks import put_away
from market.errors import PurpleSkyError

#: First and longest pause before a failed session is made again, seconds.
_FIRST_S, _LONGEST_S = 5.0, 300.0


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
    failure
        Why the session ended before its time; ``None`` if it did not.
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
    failure: str | None = None


class Unit:
    """A contract, with a session while it has one.

    Parameters
    ----------
    symbol
        Contract.
    mode
        How it is traded; what is known of it before there is a session.
    make
        Makes parts and front, once more after a failure; ``None`` where that cannot help.
    say
        Takes lines for people.

    Attributes
    ----------
    parts, front
        Of the session; of the failed one until there is another. ``None`` before the first.
    failure
        Why it has none that runs; empty while it has.
    """

    def __init__(self, symbol: str, mode: str, make: Callable[[], tuple[Parts, Front]] | None, say: Echo) -> None:
        self.symbol, self.mode, self.say = symbol, mode, say
        self.parts: Parts | None = None
        self.front: Front | None = None
        self.failure = ""
        self.error: Exception | None = None
        self._make = make
        self._watch: asyncio.Task[None] | None = None
        self._gateway: asyncio.Task[None] | None = None
        self._again_s = 0.0
        self._pause_s = _FIRST_S

    @property
    def runs(self) -> bool:
        """Whether there is a session that works."""
        return self.parts is not None and not self.failure

    @property
    def session(self) -> Session:
        """The session; there must be one."""
        assert self.parts is not None
        return self.parts.session

    @property
    def due(self) -> bool:
        """Whether a failed session is to be made again."""
        return bool(self.failure) and self._make is not None and time.monotonic() >= self._again_s

    def make(self) -> None:
        """Make parts and front; blocks.

        Raises
        ------
        PurpleSkyError
            That cannot be done.
        """
        assert self._make is not None
        self.parts, self.front = self._make()

    def begin(self, poll_s: float) -> None:
        """Let the session run."""
        assert self.parts is not None
        assert self.front is not None
        self.failure, self.error = "", None
        session = self.session
        self._watch = asyncio.create_task(self.parts.watch.run(poll_s, session.council, session.tell))
        self._gateway = asyncio.create_task(session.gateway.run())
        self.front.begin()

    def check(self) -> None:
        """Raise what ended a task of the session, if something did."""
        for task in (self._watch, self._gateway):
            if task is not None and task.done():
                task.result()

    def fail(self, error: Exception) -> None:
        """Put the session away as a crash would: its journal is what the next one begins with."""
        self.error = error
        self.failure = error.message if isinstance(error, PurpleSkyError) else f"{type(error).__name__}: {error}"
        self._again_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        again = f"; it is tried again in {self._again_s - time.monotonic():.0f} s" if self._make is not None else ""
        self.say(f"critical: {self.symbol} is not looked after: {self.failure}{again}")
        for task in (self._watch, self._gateway):
            if task is not None:
                task.cancel()
        if self.parts is not None:
            self.parts.session.gateway.close()
            self.parts.journal.close()
        if self.front is not None:
            self.front.write(running=False, failure=self.failure)
            self.front.end("", error)

    def discard(self) -> None:
        """Close what :meth:`make` has opened; the session never began."""
        if self.parts is not None:
            self.parts.session.gateway.close()
            self.parts.journal.close()
        if self.front is not None:
            self.front.voices.close()

    async def rest(self) -> None:
        """Stop what runs beside the session."""
        await put_away(*(task for task in (self._watch, self._gateway) if task is not None))

    def finish(self, error: BaseException | None) -> None:
        """Close the session in the journal, which goes on from there next time; not after a failure."""
        if self.parts is None or self.front is None or self.failure:
            if self.parts is not None:
                self.parts.journal.close()
            return
        journal, session = self.parts.journal, self.session
        session.gateway.close()
        try:
            if session.flush():
                journal.end(session.core.state.dump())
        except JournalError as failed:
            # As after a crash: the next session goes on from the last turn. The others are still to be closed.
            self.failure = failed.message
            self.say(f"critical: the end of {self.symbol} cannot be written: {failed.message}")
        self.front.write(running=False, failure=self.failure)
        journal.close()
        self.front.end(self.last_words(), error)

    def values(self) -> dict[str, Any]:
        """What there is to say, as plain JSON values."""
        if self.front is None:
            return {"symbol": self.symbol, "mode": self.mode, "failure": self.failure or "it has not begun"}
        return self.front.values(running=self.runs) | ({"failure": self.failure} if self.failure else {})

    def summary(self) -> ExecutorSummary:
        """The session so far."""
        assert self.parts is not None
        state = self.session.core.state
        counts, trade, equity = state.counts, state.trade, state.risk.equity
        return ExecutorSummary(
            symbol=self.symbol,
            mode=self.parts.mode,
            session=self.parts.number,
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
            journal=str(self.parts.journal.path),
            failure=self.failure or None,
        )

    def last_words(self) -> str:
        """The session so far, in a line."""
        so_far = self.summary()
        return (
            f"{so_far.mode} session {so_far.session}: {so_far.decisions} decisions, {so_far.orders} orders, "
            f"{so_far.fills} fills, {so_far.closed} closed, net {so_far.net_pnl:+.4f} USDT"
        )
