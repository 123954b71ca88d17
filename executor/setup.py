"""From settings to units: account checks, feeds, locks, and a session for each contract that can have one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from executor.account import AccountLink, account_lock, require_account, settle_leverage
from executor.build import Common, FeedChoice, Parts, build, choose_feed, gate_guard, lookout_of
from executor.front import Front
from executor.lock import Lock
from executor.notify import Herald
from executor.session import Echo, admit_all
from executor.status import folder_of
from executor.unit import Unit
from executor.voices import herald_of
from market.errors import PurpleSkyError, UnknownSymbolError
from settings import Settings


def safe_echo(echo: Echo) -> Echo:
    """An echo whose console may be narrow: a character that it cannot show becomes a question mark."""

    def safe(line: str) -> None:
        try:
            echo(line)
        except UnicodeEncodeError:
            echo(line.encode("ascii", "replace").decode("ascii"))

    return safe


class Setup:
    """Makes the units of a process.

    Parameters
    ----------
    settings, live, feed, accepted
        See :func:`executor.daemon.run_executors`.
    symbols
        Contracts.
    say
        Takes lines for people.
    stack
        Holds the locks.

    Attributes
    ----------
    common
        What the contracts share.
    herald
        Sends all notifications, where there are several contracts.
    """

    def __init__(
        self,
        settings: Settings,
        symbols: Sequence[str],
        say: Echo,
        *,
        live: bool,
        feed: str,
        accepted: int | None,
        stack: contextlib.ExitStack,
    ) -> None:
        self._settings, self._symbols, self._say = settings, list(symbols), say
        self._live, self._feed, self._stack = live, feed, stack
        self._several = len(self._symbols) > 1
        self._admit = gate_guard(accepted) if live else admit_all
        self._locked: set[str] = set()
        link = AccountLink(settings) if live else None
        if link is not None:
            stack.callback(link.close)
        self.common = Common(link=link, lookout=lookout_of(settings))
        mode = "live" if live else "dry-run"
        self.herald: Herald | None = herald_of(settings, f"PurpleSky ({mode})") if self._several else None

    def units(self) -> list[Unit]:
        """A unit for each contract; with several, those that could not begin say why.

        Raises
        ------
        PurpleSkyError
            There is one contract, and it cannot be traded; or none of several can.
        """
        units = [self._unit(symbol) for symbol in self._symbols]
        try:
            self._begin(units)
        except BaseException:
            for unit in units:
                unit.discard()
            if self.herald is not None:
                self.herald.close()
            raise
        return units

    def _begin(self, units: Sequence[Unit]) -> None:
        for unit in units:
            try:
                unit.make()
            except PurpleSkyError as error:
                if not self._several:
                    raise
                unit.fail(error)
                if self.herald is not None:
                    self.herald.hear("critical", "stop", f"{unit.symbol} is not looked after: {error.message}")
                if self._live and not isinstance(error, UnknownSymbolError):
                    self.common.portfolio.unknown[unit.symbol] = error.message
        self._one_market(units)
        running = [unit for unit in units if unit.runs]
        if not running:
            first = next(unit.error for unit in units if unit.error is not None)
            raise first
        problems = [unit.parts.problem for unit in running if unit.parts is not None and unit.parts.problem is not None]
        if len(problems) == len(running) and not any(unit.session.core.state.trade for unit in running):
            # Nothing to decide with and nothing to look after: the same answer as to a single contract.
            raise problems[0]

    def _one_market(self, units: Sequence[Unit]) -> None:
        """The lake is another time than the venue's: contracts of both do not go together."""
        modes = {unit.parts.mode for unit in units if unit.parts is not None}
        if len(modes) < 2:
            return
        for unit in units:
            if unit.parts is not None and unit.parts.mode == "lake":
                unit.fail(UnknownSymbolError(f"the venue does not list {unit.symbol}", advice="Trade it alone"))

    def _unit(self, symbol: str) -> Unit:
        mode = "live" if self._live else "dry-run"
        return Unit(symbol, mode, lambda: self._make(symbol, needs_council=not self._several), self._say)

    def _make(self, symbol: str, *, needs_council: bool) -> tuple[Parts, Front]:
        """Look at the account, take the locks, and build."""
        settings = self._settings
        say: Echo = (lambda line: self._say(f"{symbol}: {line}")) if self._several else self._say
        if self.common.link is not None:
            for check in require_account(self.common.link.venue, symbol):
                say(f"{check.name}: {check.text}")
        choice = choose_feed(settings, symbol, self._feed, say, live=self._live)
        folder = folder_of(settings, symbol, choice.mode)
        self._lock(symbol, folder)
        parts = build(
            settings,
            choice,
            folder,
            say,
            self._admit,
            common=self.common,
            leverage=self._leverage(choice, say),
            needs_council=needs_council,
        )
        try:
            return parts, Front(settings, parts, folder, say, self.herald)
        except BaseException:
            parts.journal.close()
            raise

    def _leverage(self, choice: FeedChoice, say: Callable[[str], None]) -> Decimal | None:
        link, rules = self.common.link, choice.instrument
        if link is None:
            return None
        leverage, check = settle_leverage(
            link.venue, rules.symbol, min(self._settings.risk.max_leverage, rules.max_leverage)
        )
        say(f"{check.name}: {check.text}" if check.ok else f"warning: {check.name}: {check.text}")
        return leverage

    def _lock(self, symbol: str, folder: Path) -> None:
        """One executor a contract, and a contract of this account; kept until the process ends."""
        if symbol in self._locked:
            return
        with contextlib.ExitStack() as taken:
            if self._live:
                taken.enter_context(Lock(account_lock(self._settings, symbol)))
            taken.enter_context(Lock(folder / "lock"))
            self._stack.push(taken.pop_all())
        self._locked.add(symbol)
