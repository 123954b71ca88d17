"""One run of the executor: market in, core, journal, gateway out. Single-threaded; the daemon feeds it.

The order of things within a turn is fixed: the core takes an event, the journal keeps what came of it, and only then is
it carried out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import numpy as np

from executor.actions import (
    Action,
    Alert,
    CancelEntry,
    ClosePosition,
    Decided,
    PlaceEntry,
    PlaceTarget,
    QueryOrder,
    ReadEquity,
    ReadPosition,
    SetProtection,
    SwapCouncil,
    TracePosition,
    TradeClosed,
)
from executor.clock import VenueClock
from executor.core import Core
from executor.events import (
    BarClosed,
    Clock,
    CouncilChanged,
    Event,
    Flatten,
    Halt,
    HealthChanged,
    OrderRejected,
    Resume,
    RulesChanged,
    Stopping,
)
from executor.gateway import Gateway
from executor.journal import Journal, Turn
from executor.monitor import HealthMonitor, Verdict
from executor.portfolio import Portfolio
from executor.scribe import Scribe
from executor.state import CouncilRef
from executor.view import MarketView, closed_bar, cut
from executor.wording import describe, remark
from features import Bars, Quote
from market.assembler import TickerRow
from market.errors import ExecutorError
from market.events import EventBatch

#: Says a line to a person.
Echo = Callable[[str], None]
#: Hears level, code and text of whatever is said.
Hear = Callable[[str, str, str], None]
#: Says why a council may not trade; empty if it may.
Admission = Callable[[CouncilRef], str]


def hear_nothing(level: str, code: str, text: str) -> None:
    """Nobody listens."""


def admit_all(_: CouncilRef) -> str:
    """Every council may trade: dry-run."""
    return ""


_FAR_MS = 1 << 62
#: Wall time between two readings of the account while a position is open.
_EQUITY_S = 1.0
#: The venue's clock may be this far behind the journal's, at a restart.
_BACKWARDS_MS = 60_000
#: Decisions that are kept for whoever looks.
_DECISIONS = 40
_COMMANDS: dict[str, Callable[[int], Event]] = {"halt": Halt, "resume": Resume, "flatten": Flatten}


class Session:
    """Brings the parts together.

    Parameters
    ----------
    core, journal, gateway, view, clock
        The parts; the journal's session has begun.
    echo
        Where lines for people go.
    drift
        Watches features, predictions and outcomes, as far as the council's bundle tells what they should look like.
    admit
        Whether a council may take over.

    Attributes
    ----------
    hear
        Hears everything that is said, beside `echo`.
    decisions
        The last ones.
    portfolio
        What other contracts of the account are traded with it; ``None`` if it is alone.
    """

    def __init__(
        self,
        *,
        core: Core,
        journal: Journal,
        gateway: Gateway,
        view: MarketView,
        clock: VenueClock,
        echo: Echo,
        drift: Callable[[str], HealthMonitor | None] = lambda _: None,
        admit: Admission = admit_all,
    ) -> None:
        self.core, self.journal, self.gateway, self.view, self.clock = core, journal, gateway, view, clock
        self.hear: Hear = hear_nothing
        self.portfolio: Portfolio | None = None
        self.decisions: deque[Decided] = deque(maxlen=_DECISIONS)
        self.last_alert: Alert | None = None
        self._scribe = Scribe(journal, lambda: (core.state.dump(), gateway.dump()), self.tell)
        self._echo = echo
        self._make_drift, self._admit = drift, admit
        self._refused: CouncilRef | None = None
        self._health = drift(core.state.council.content_hash) if core.state.council else None
        self._found: list[Event] = []
        self._clocked_ms = -1
        self._read_equity = self._read_position = True
        self._equity_s = 0.0
        self._next_funding_ms = -1
        self._funding_rate: Decimal | None = None
        self._started = False

    # --- what comes in -----------------------------------------------------------------------------------------------

    def market(self, events: EventBatch, tickers: Iterable[TickerRow] = (), *, lag_ms: int = 0) -> None:
        """Take in market events, in capture order.

        They are cut where a bar closes or something is due, so that what is decided does not depend on how many frames
        came at once.

        Raises
        ------
        ExecutorError
            The venue's clock is behind the journal's.
        """
        for ticker in tickers:
            self._on_ticker(ticker)
        while len(events):
            if not self._started:
                self._start(events)
            due = min(self.view.next_close_ms(events), self.core.deadline_ms() or _FAR_MS)
            rows = cut(events, self.clock.event_ms, due)
            self._piece(events[:rows], lag_ms)
            events = events[rows:]

    def watch(self, events: EventBatch) -> None:
        """See market events of a time before the session: features and venue know them, nothing is decided."""
        self.gateway.on_market(events)
        self.view.push(events)

    def tick(self, monotonic_s: float) -> None:
        """Look at what does not come with the market: commands, answers, time passing in silence."""
        events: list[Event] = list(self.gateway.take())
        now = self.clock.now_ms(monotonic_s)
        at = max(now, self.core.state.now_ms)
        commands = self._scribe.commands()
        events += [_COMMANDS[name](at) for _, name in commands]
        self.drive(events)
        if commands:
            self._scribe.carried_out(commands[-1][0])
        self._remind(now)
        if now > self.clock.event_ms:
            self._ask(now)

    def council(self, ref: CouncilRef) -> None:
        """Hand a council to the core, if it is another one than it has."""
        state = self.core.state
        known = state.pending or state.council
        why = self._admit(ref) if known != ref else ""
        if why and self._refused != ref:
            self.tell("critical", "gate", why)
        self._refused = ref if why else None
        if known != ref and not why:
            self.drive([CouncilChanged(max(state.now_ms, 0), ref.content_hash, ref.version, ref.gate_passed)])

    def stop(self) -> None:
        """The process ends: no entry stays behind."""
        if not self.core.state.stopping:
            self.drive([Stopping(self.core.state.now_ms)])

    @property
    def may_end(self) -> bool:
        """Whether no entry is alive any more."""
        trade = self.core.state.trade
        return trade is None or not trade.entry_live

    # --- the market --------------------------------------------------------------------------------------------------

    def _start(self, events: EventBatch) -> None:
        first_ms, known_ms = int(events.time_ms.max()), self.core.state.now_ms
        if first_ms < known_ms - _BACKWARDS_MS:
            raise ExecutorError(
                f"the venue's clock ({first_ms} ms) is behind the journal's ({known_ms} ms)",
                advice="This is another market than last time: give it another paths.data, or move its journal away",
            )
        if first_ms < self.view.quote().clock_ms - _BACKWARDS_MS:
            self.tell("warning", "warm-up", "the lake is ahead of the venue's clock: features start cold")
            self.view.reset()
        self._started = True
        self.resume_orders()

    def _piece(self, events: EventBatch, lag_ms: int) -> None:
        """Events after which at most one moment needs the core."""
        self.gateway.on_market(events)
        bars = self.view.push(events)
        quote = self.view.quote()
        self.gateway.on_mark(quote.bid, quote.ask, self.view.last_price)
        self.clock.saw(quote.clock_ms, time.monotonic())
        if not len(bars):
            self.pulse()
            return
        self.gateway.hold(True)
        try:
            self._bars(bars, quote, lag_ms)
        finally:
            self.gateway.hold(False)

    def _bars(self, bars: Bars, quote: Quote, lag_ms: int) -> None:
        now = self.clock.event_ms
        self.pulse(at_once=True)
        book_age = now - quote.book_ms if quote.book_ms >= 0 else -1
        self.drive([closed_bar(bars, row, now, book_age, lag_ms) for row in range(len(bars))])
        self._watch_health(bars)

    def resume_orders(self) -> None:
        """Ask what became of the orders of a plan from before the restart."""
        trade = self.core.state.trade
        if trade is not None:
            for link in filter(None, (trade.link_id if trade.entry_live else None, trade.close_link, *trade.targets)):
                self.gateway.send(QueryOrder(link), self.core.state.now_ms)
            self.drive(self.gateway.take())

    def pulse(self, *, at_once: bool = False) -> None:
        """Hear what the venue told, do what is due, and read what is to be read; equity in any case if `at_once`."""
        now = self.clock.event_ms
        self.drive(self.gateway.take())
        self._remind(now)
        self._ask(now, at_once=at_once)

    def _remind(self, now: int) -> None:
        """Tell the core the time when something is due."""
        due = self.core.deadline_ms()
        if due is not None and now >= due and now > self._clocked_ms:
            self._clocked_ms = now
            self.drive([Clock(now)])

    def _ask(self, now: int, *, at_once: bool = False) -> None:
        """Readings that the core asked for, or that are due: never twice at the same time of the venue."""
        trade, wall = self.core.state.trade, time.monotonic()
        due = trade is not None and trade.open > 0 and wall >= self._equity_s + _EQUITY_S
        if (self._read_equity or at_once or due) and now > self.core.state.risk.equity_ms:
            self._read_equity, self._equity_s = False, wall
            self.gateway.send(ReadEquity(), now)
        if self._read_position:
            self._read_position = False
            self.gateway.send(ReadPosition(), now)
        self.drive(self.gateway.take())

    def _on_ticker(self, ticker: TickerRow) -> None:
        if ticker.next_funding_ms is not None and ticker.next_funding_ms > self._next_funding_ms:
            self._next_funding_ms = ticker.next_funding_ms
        self._funding_rate = self._funding_rate if ticker.funding_rate is None else ticker.funding_rate
        told = ticker.funding_rate is not None or ticker.next_funding_ms is not None
        # A ticker tells what has changed: the next payment is often at the rate of the one before.
        if told and self._funding_rate is not None and self._next_funding_ms > 0:
            self.gateway.on_funding(self._funding_rate, self._next_funding_ms)

    def _watch_health(self, bars: Bars) -> None:
        votes = {decided.open_ms: decided.vote for decided in self.decisions}
        for row in np.flatnonzero(bars.valid):
            if self._health is not None:
                self._note(self._health.bar(bars.values[row], votes.get(int(bars.open_ms[row]))))
        found, self._found = self._found, []
        self.drive(found)

    def _judge_trade(self, closed: TradeClosed) -> None:
        if self._health is not None and closed.filled:
            notional = self.core.rules.notional(closed.entry_value, 1)
            self._note(self._health.trade(float(closed.net_pnl / notional)))

    def _note(self, verdict: Verdict | None) -> None:
        if verdict is not None:
            self._found.append(HealthChanged(max(self.core.state.now_ms, 0), verdict.scale, verdict.text))

    # --- turns -------------------------------------------------------------------------------------------------------

    def drive(self, events: Sequence[Event]) -> None:
        """Give events to the core, write down what follows, then do it; and so on with what that gives."""
        while events:
            turns, moments = [], []
            for event in self._with_others(events):
                due, before_ms = self.core.deadline_ms(), self.core.state.now_ms
                turns.append(Turn(event, self.core.on(event)))
                moments.append(_moment(event, due, before_ms, self.core.state.now_ms))
            written = self._scribe.write(turns)
            refused: list[Event] = []
            for action, moment_ms in ((action, at) for turn, at in zip(turns, moments) for action in turn.actions):
                if isinstance(action, PlaceEntry) and not written:
                    now = self.core.state.now_ms
                    refused.append(OrderRejected(now, action.link_id, -1, "the journal is not in order"))
                else:
                    self._act(action, moment_ms)
            self._scribe.copy()
            found, self._found = self._found, []
            events = [*refused, *self.gateway.take(), *found]
        if self.portfolio is not None:
            self.portfolio.after(self)

    def _with_others(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events; before a bar, what the account's other contracts use at this very moment."""
        if self.portfolio is None or not any(isinstance(event, BarClosed) for event in events):
            return events
        return [*self.portfolio.before_bar(self), *events]

    def flush(self) -> bool:
        """Try once more to write what could not be written; whether the journal is whole, and so is its copy."""
        return self._scribe.flush()

    @property
    def problems(self) -> int:
        """How often in a row the journal could not be written or read; 0 while all is well."""
        return self._scribe.problems

    def _act(self, action: Action, moment_ms: int) -> None:
        match action:
            case PlaceEntry() | PlaceTarget() | CancelEntry() | ClosePosition() | QueryOrder() | SetProtection():
                self.gateway.send(action, moment_ms)
            case TracePosition():
                self.gateway.send(action, self.core.state.now_ms)
            case ReadEquity():
                self._read_equity = True
            case ReadPosition():
                self._read_position = True
            case SwapCouncil():
                self._health = self._make_drift(action.content_hash)
            case Decided():
                self.decisions.append(action)
            case Alert():
                self.last_alert = action
            case TradeClosed():
                self._judge_trade(action)
        line = describe(action, self.core)
        if line:
            self._echo(line)
            self.hear(*remark(action, line))

    def rules_changed(self, text: str) -> None:
        """Say that the market does not fit the contract rules in force, or, by an empty text, that it does."""
        if text != self.core.state.rules:
            self.drive([RulesChanged(max(self.core.state.now_ms, 0), text)])

    def tell(self, level: str, code: str, text: str) -> None:
        """Say something that did not come from the core."""
        self._echo(f"{level}: {text}" if level != "info" else f"{code}: {text}")
        self.hear(level, code, text)

    @property
    def last_decision(self) -> Decided | None:
        """The decision of the last bar."""
        return self.decisions[-1] if self.decisions else None


def _moment(event: Event, due_ms: int | None, before_ms: int, now_ms: int) -> int:
    """When what follows from an event was due: at a bar's close, at a deadline since the last event, or just now.

    A frame that moves the clock past such a moment comes a little after it. A backtest sends its orders at the moment
    itself, and so must a venue of our own; what is in force when the order arrives is the same for both.
    """
    if isinstance(event, BarClosed):
        return event.close_ms
    return due_ms if due_ms is not None and before_ms < due_ms <= now_ms else now_ms
