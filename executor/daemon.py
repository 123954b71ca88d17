"""The daemon: puts the parts together, feeds the sessions from the venue or from the lake, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from executor.build import Common
from executor.feeds import Feeds, Item
from executor.front import Hall
from executor.lakes import Lakes
from executor.rules import Rules
from executor.session import Echo
from executor.setup import Setup, safe_echo
from executor.tasks import put_away
from executor.unit import ExecutorSummary, Unit
from market.assembler import Assembled
from market.errors import ExecutorError
from market.feed import Disconnected
from market.signals import on_signal
from settings import Settings

__all__ = ["ExecutorSummary", "Limits", "run_executor", "run_executors", "safe_echo"]

_TICK_S = 0.25
_STATUS_S = 1.0
#: How long the end of a session waits for the cancel of an entry.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When the sessions end by themselves.

    Attributes
    ----------
    max_bars
        After so many decisions of each; ``None`` never.
    min_closed
        But not before each has closed so many positions.
    max_seconds
        After so long in any case; ``None`` never.
    until
        When it says so of each.
    """

    max_bars: int | None = None
    min_closed: int = 0
    max_seconds: float | None = None
    until: Callable[[ExecutorSummary], bool] | None = None

    def reached(self, summaries: Sequence[ExecutorSummary], seconds: float) -> bool:
        """Whether the sessions are to end."""
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return True
        found = [self._enough(summary) for summary in summaries]
        return bool(found) and all(found)

    def _enough(self, summary: ExecutorSummary) -> bool:
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
    """Trade the Production council of one contract; see :func:`run_executors`."""
    [result] = run_executors(
        settings,
        [symbol],
        live=live,
        accept_failed_gate=accept_failed_gate,
        feed=feed,
        max_bars=max_bars,
        min_closed=min_closed,
        max_seconds=max_seconds,
        until=until,
        summary=summary,
        echo=echo,
    )
    return result


def run_executors(
    settings: Settings,
    symbols: Sequence[str],
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
) -> list[ExecutorSummary]:
    """Trade the Production councils of some contracts until told to stop; in dry-run unless `live`.

    SIGTERM and SIGINT end it in order: unfilled entries are cancelled, positions keep their stop and target. Each
    contract has a session, a journal and a lock of its own. What the account has once is shared: equity, the limits of
    the portfolio, a kill, connections. With several contracts, one that cannot be traded, or fails, does not stop the
    others; without a council that may trade, its position is still looked after.

    Parameters
    ----------
    settings
        The effective settings; ``executor.timeframe`` and ``market.ob_levels`` say which councils are wanted.
    symbols
        Contracts, at least one.
    live
        Trade with real money, or at the local exchange where the settings' address says so. Needs keys that may not
        withdraw, and councils that passed their gate.
    accept_failed_gate
        Version that may trade live all the same.
    feed
        ``venue``; ``lake`` replays what was recorded; ``auto`` takes the lake when the venue does not list a symbol
        or cannot be reached, and the lake has it.
    max_bars, min_closed, max_seconds, until
        See :class:`Limits`.
    summary
        Where to write the summary, as JSON: an object for one contract, a list of them for several.
    echo
        Takes lines for people.

    Raises
    ------
    ConfigError, ExecutorError
        Live trading is refused, or the journal cannot be used; or, with several contracts, one was not looked after
        to the end.
    AlreadyRunningError
        Another executor holds the symbol, or the symbol of this account.
    RegistryError, BundleMismatch
        There is no council in Production, or it is not for these settings.
    VenueError, DataError
        The venue or the lake cannot be used.
    """
    limits = Limits(max_bars, min_closed, max_seconds, until)
    say = safe_echo(echo)
    wanted = list(dict.fromkeys(symbols))
    with contextlib.ExitStack() as stack:
        setup = Setup(settings, wanted, say, live=live, feed=feed, accepted=accept_failed_gate, stack=stack)
        units = setup.units()
        daemon = _Daemon(settings, setup.common, units, limits, say)
        error: BaseException | None = None
        try:
            asyncio.run(daemon.run())
        except BaseException as caught:
            error = caught
            raise
        finally:
            for unit in units:
                unit.finish(error)
            if setup.herald is not None:
                setup.herald.close()
    results = [unit.summary() for unit in units if unit.parts is not None]
    if summary is not None:
        told = [asdict(result) for result in results]
        text = json.dumps(told[0] if len(wanted) == 1 else told, indent=2)
        summary.write_text(text + "\n", encoding="utf-8")
    for unit in units:
        if unit.parts is not None:
            unit.say(unit.last_words())
    failed = [unit for unit in units if unit.failure]
    if failed:
        text = "; ".join(f"{unit.symbol}: {unit.failure}" for unit in failed)
        raise ExecutorError(f"not looked after to the end: {text}", advice="Mend what is named, and start again")
    return results


class _Daemon:
    """The loop around the sessions."""

    def __init__(self, settings: Settings, common: Common, units: Sequence[Unit], limits: Limits, say: Echo) -> None:
        self._settings, self._common, self._units, self._limits = settings, common, list(units), limits
        self._hall = Hall(settings.executor.page_port, [unit.values for unit in units], say)
        self._rules = Rules(settings.venue.rest_url)
        self._started = time.monotonic()
        self._ticked = self._written = 0.0
        self._asked_to_stop = False
        self._stop_by: float | None = None
        self._mending: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until a limit is reached, a signal comes, or the lake ends."""
        link = self._common.link
        with on_signal(self._ask_to_stop):
            await self._hall.open()
            for unit in self._running():
                self._begin(unit)
            with self._guarded(None):
                self._common.portfolio.settle()
            venue = asyncio.create_task(link.run()) if link is not None else None
            try:
                await (self._from_lake() if self._replays() else self._from_venue(venue))
            finally:
                if self._common.lookout is not None:
                    self._common.lookout.close()  # nobody need wait for its answer any more
                await put_away(*self._mending.values(), *([venue] if venue is not None else []))
                for unit in self._units:
                    await unit.rest()
                await self._rules.close()
                if link is not None:
                    link.close()
                await self._hall.close()

    def _replays(self) -> bool:
        return any(unit.parts is not None and unit.parts.events is not None for unit in self._units)

    def _running(self) -> list[Unit]:
        return [unit for unit in self._units if unit.runs]

    def _begin(self, unit: Unit) -> None:
        self._common.portfolio.join(unit.session)
        unit.begin(self._settings.executor.registry_poll_s)

    def _ask_to_stop(self) -> None:
        self._asked_to_stop = True

    # --- failures ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self, unit: Unit | None) -> Iterator[None]:
        """What goes wrong with one of several contracts is its own affair; with the only one it is the end."""
        try:
            yield
        except Exception as error:
            if unit is None or len(self._units) == 1:
                raise
            self._fail(unit, error)

    def _fail(self, unit: Unit, error: Exception) -> None:
        unit.fail(error)
        self._common.portfolio.failed(unit.symbol)

    async def _mend(self, unit: Unit) -> None:
        """Make a failed session again, away from the loop."""
        try:
            await asyncio.to_thread(unit.make)
        except Exception as error:  # noqa: BLE001 - said, shown and tried again: the others go on
            unit.parts = unit.front = None
            self._fail(unit, error)
            return
        with self._guarded(unit):
            self._begin(unit)
            unit.say(f"{unit.symbol} is looked after again")

    # --- the venue ---------------------------------------------------------------------------------------------------

    async def _from_venue(self, venue: asyncio.Task[None] | None) -> None:
        feeds = Feeds(self._settings, [unit.symbol for unit in self._running()])
        try:
            while not self._is_over():
                if venue is not None and venue.done():
                    venue.result()
                await self._take_in(await feeds.some(), feeds)
        finally:
            await feeds.close()

    async def _take_in(self, items: list[Item], feeds: Feeds) -> None:
        for unit in self._running():
            with self._guarded(unit):
                if unit.symbol in feeds.refused:
                    raise feeds.refused.pop(unit.symbol)
                if unit.symbol in self._common.portfolio.broken:
                    raise self._common.portfolio.broken.pop(unit.symbol)
                unit.check()
                feeds.need(unit.symbol)
                mine = [item for item in items if unit.symbol in item.symbols]
                if mine:
                    await self._hand_over(unit, mine, feeds)
                self._rules.look(unit.session.core.rules)
                if (text := self._rules.verdict(unit.session.core.rules)) is not None:
                    unit.session.rules_changed(text)

    async def _hand_over(self, unit: Unit, items: list[Item], feeds: Feeds) -> None:
        session, front = unit.session, unit.front
        assert front is not None
        assembled: list[Assembled] = []
        for item in items:
            if isinstance(item.what, Disconnected):
                front.lost()
                session.tell("warning", "feed", f"market data lost: {item.what.cause}")
                assembled.append(session.view.on_disconnect(item.what.recv_ns, item.what.cause))
            else:
                front.frames()
                assembled.append(session.view.on_frame(item.what.data, item.what.recv_ns))
        seen = session.view.gather(assembled)
        if seen.other_rules:
            self._rules.suspect(session.core.rules)
            known = session.core.state.rules
            session.rules_changed(known or "prices or sizes of the market do not fit tick and step in force")
        for problem in seen.problems:
            session.tell("warning", "feed", problem)
        for topic in seen.resync:
            await feeds.resync(unit.symbol, topic)
        lag_ms = max(0, (time.time_ns() - items[-1].what.recv_ns) // 1_000_000)
        session.market(seen.events, seen.tickers, lag_ms=lag_ms)

    # --- the lake ----------------------------------------------------------------------------------------------------

    async def _from_lake(self) -> None:
        lakes = Lakes(
            {unit.symbol: unit.parts.events for unit in self._running() if unit.parts and unit.parts.events},
            {unit.symbol: unit.session.view.timeframe_ms for unit in self._running()},
        )
        units = {unit.symbol: unit for unit in self._units}
        for symbol, piece in lakes:
            unit = units[symbol]
            if unit.runs:
                with self._guarded(unit):
                    unit.check()
                    unit.session.market(unit.session.view.part(piece))
            if self._is_over():
                return
            await asyncio.sleep(0)

    # --- now and then ------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Do what is due by the wall clock; whether the sessions have ended."""
        now = time.monotonic()
        if now >= self._ticked + _TICK_S:
            self._ticked = now
            self._tick(now)
        if now >= self._written + _STATUS_S:
            self._written = now
            self._write()
        running = self._running()
        if self._stop_by is None:
            so_far = [unit.summary() for unit in running]
            if not self._asked_to_stop and not self._limits.reached(so_far, now - self._started):
                return False
            self._stop_by = now + _PATIENCE_S
            for unit in running:
                with self._guarded(unit):
                    unit.session.stop()
        return now >= self._stop_by or all(unit.session.may_end for unit in self._running())

    def _tick(self, now: float) -> None:
        for unit in self._running():
            with self._guarded(unit):
                unit.session.tick(now)
        for unit in self._units:
            if unit.due and unit.symbol not in self._mending and self._stop_by is None and not self._replays():
                self._mending[unit.symbol] = asyncio.get_running_loop().create_task(self._mend(unit))
        for symbol in [symbol for symbol, task in self._mending.items() if task.done()]:
            self._mending.pop(symbol).result()

    def _write(self) -> None:
        decisions = closed = 0
        for unit in self._running():
            assert unit.front is not None
            with self._guarded(unit):
                unit.front.write(running=True)
            counts = unit.session.core.state.counts
            decisions, closed = decisions + counts.decisions, closed + counts.closed
        self._hall.beat(f"{decisions} decisions, {closed} closed")
