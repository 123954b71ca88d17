"""What the contracts of one process have in common: one account, one equity, one limit on all of them together.

Every session has a core, a journal and a state of its own. They meet here, in the one loop that drives them all: before
a bar each hears what the others use, as an event that its journal keeps, so that two entries at the same bar's close
cannot both take the last of the portfolio's room, and a replay needs nobody but the journal. A kill switch that fires
for one fires for all.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from executor.events import AccountKilled, Event, OthersHold
from executor.risk import account_wide, exposure
from executor.state import Others

if TYPE_CHECKING:
    from executor.session import Session


class Portfolio:
    """The sessions of one account in this process, by their contract.

    Attributes
    ----------
    unknown
        Contracts of the account that nobody looks after, and why: what they hold is not known, so nothing is entered.
    broken
        What went wrong in a session that was told of a kill: its own affair, not that of the one that told it.
    """

    def __init__(self) -> None:
        self._members: dict[str, Session] = {}
        self._ended: set[str] = set()
        self.unknown: dict[str, str] = {}
        self.broken: dict[str, Exception] = {}

    def join(self, session: Session) -> None:
        """A session begins, or begins again."""
        symbol = session.core.rules.symbol
        self._members[symbol] = session
        self._ended.discard(symbol)
        self.unknown.pop(symbol, None)
        session.portfolio = self

    def failed(self, symbol: str) -> None:
        """A session ended before its time: what it held last counts on, what it says of the account does not."""
        self._ended.add(symbol)

    def others(self, symbol: str) -> Others:
        """What all but one contract use."""
        notional, at_risk, account = Decimal(0), Decimal(0), ""
        for name, session in self._members.items():
            if name == symbol:
                continue
            core = session.core
            value, loss = exposure(core.config, core.rules, core.state.trade)
            notional, at_risk = notional + value, at_risk + loss
            seen = "" if name in self._ended else account_wide(core.state.risk, core.config)
            account = account or (f"{seen} (seen by {name})" if seen else "")
        for name, why in self.unknown.items():
            account = account or f"what {name} holds is not known ({why})"
        return Others(notional, at_risk, account)

    def before_bar(self, session: Session) -> list[Event]:
        """What a core must hear before it decides on a bar; nothing if it has."""
        state = session.core.state
        now = self.others(session.core.rules.symbol)
        if now == state.others:
            return []
        return [OthersHold(max(state.now_ms, 0), now.notional, now.risk, now.account)]

    def after(self, session: Session) -> None:
        """Carry a kill over to the others, unless a person has resumed them since."""
        risk = session.core.state.risk
        if risk.killed is None:
            return
        for name, other in self._members.items():
            theirs = other.core.state.risk
            if other is session or name in self._ended or theirs.killed is not None:
                continue
            if risk.killed_ms > theirs.resumed_ms:
                now = max(other.core.state.now_ms, 0)
                try:
                    other.drive([AccountKilled(now, risk.killed_ms, risk.killed)])
                except Exception as error:  # noqa: BLE001 - the daemon raises it where it belongs
                    self.broken[name] = error

    def settle(self) -> None:
        """Carry over what fired before the last end of the process."""
        for session in list(self._members.values()):
            self.after(session)
