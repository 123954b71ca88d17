"""Where orders go.

The core never talks to a venue; the daemon hands its actions to a :class:`Gateway` and takes events back from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from council.plan import PASSIVE
from executor.actions import (
    CancelEntry,
    ClosePosition,
    PlaceEntry,
    PlaceTarget,
    QueryOrder,
    ReadEquity,
    ReadPosition,
    SetProtection,
    TracePosition,
)
from executor.events import (
    EquityRead,
    Event,
    Filled,
    Funding,
    OpenOrder,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrdersRead,
    OrderState,
    OrderUnknown,
    PositionOrigin,
    PositionRead,
    Protected,
)
from executor.guard import POST_ONLY_REASON
from executor.pool import Pool
from market import errors
from market.events import EventBatch
from market.instruments import Instrument
from simulation import paper
from simulation.accounts import Account
from simulation.fills import ExitReason, FillModel, PlanStatus

#: What a gateway can be asked to do.
OrderAction = (
    PlaceEntry
    | PlaceTarget
    | CancelEntry
    | ClosePosition
    | QueryOrder
    | SetProtection
    | ReadEquity
    | ReadPosition
    | TracePosition
)

_DUPLICATE, _NOT_FOUND, _NOTHING_TO_CLOSE = 110072, 110001, 110017
#: Ended plans that a restart still knows by their link id.
_REMEMBERED = 100
_STATUS = {PlanStatus.UNFILLED: "cancelled", PlanStatus.REJECTED: "rejected"}


class Gateway(ABC):
    """A venue, as the executor sees it.

    - :meth:`send` never blocks and never raises for what the venue says: answers, refusals and silence come back as
      events from :meth:`take`, in the order in which the venue told them.
    - A submission without an answer is an :class:`~executor.events.OrderUnknown`. A gateway never sends an order twice.
    - A failed read is an event with ``None``. It is never 0, never empty, never the last value.
    - An entry carries its stop and target to the venue; :class:`~executor.events.Protected` is sent when the venue has
      confirmed the stop, with the price and size that it confirmed.
    - Every execution is told once it is known, as often as the venue tells it; the core counts each id once. Executions
      of the attached stop and target have an empty link id.
    - The answer to a query by link id comes after the executions of that order.
    - A stop is replaced in one step of the venue: the old one goes when the new one is there.
    - A venue that may have missed something says so by a :class:`~executor.events.VenueState`, and again when it has
      caught up; one that cannot miss anything never does.
    - Only the daemon's loop calls a gateway: one writer.
    """

    async def run(self) -> None:  # noqa: B027 - a choice, not a duty
        """Keep connections up until cancelled; a venue without any returns at once."""

    def close(self) -> None:  # noqa: B027 - a choice, not a duty
        """Let go of threads and connections; what rests at the venue rests on."""

    def hold(self, on: bool) -> None:  # noqa: B027 - a choice, not a duty
        """Hear that an order may be about to come, or that it has: reads that can wait a moment do."""

    @abstractmethod
    def send(self, action: OrderAction, now_ms: int) -> None:
        """Carry out an action that was due at `now_ms` of the venue's clock."""

    @abstractmethod
    def on_market(self, events: EventBatch) -> None:
        """See market events; only a simulated venue needs them."""

    @abstractmethod
    def on_mark(self, bid: int, ask: int, last: int) -> None:
        """See the best prices and the last trade, ticks, -1 unknown; only a simulated venue needs them."""

    @abstractmethod
    def on_funding(self, rate: Decimal, time_ms: int) -> None:
        """See that funding will be due at `time_ms`, at `rate` as it stands now; only a simulated venue needs it.

        Told with every ticker; what is charged is the last rate that was told before the time comes.
        """

    @abstractmethod
    def take(self) -> list[Event]:
        """What the venue told since the last call."""

    @abstractmethod
    def dump(self) -> bytes:
        """JSON of what a restart needs; ``null`` where the venue itself remembers everything."""


class _Dump(msgspec.Struct, frozen=True):
    """The dry-run venue at rest: account, paper broker, number of executions, close orders and stops by their entry.

    `others` is the result of the purse's other contracts when it was last looked at; `moved` what became of it while
    this one was not traded, which is neither profit nor loss here. `tick` and `step` are those of the sums in it.
    """

    account: dict[str, Any]
    broker: dict[str, Any]
    serial: int
    closes: dict[str, str]
    stops: dict[str, int]
    others: Decimal = Decimal(0)
    moved: Decimal = Decimal(0)
    tick: Decimal | None = None
    step: Decimal | None = None


class DryRunGateway(Gateway):
    """A venue of our own: the fill model, fed with the live market.

    Parameters
    ----------
    instrument
        Contract rules.
    model
        Costs and latency, as in training.
    start_equity
        USDT.
    saved
        :meth:`dump` of an earlier session.
    pool
        The purse that it shares with other contracts; ``None`` for one of its own.

    Raises
    ------
    DataError
        `saved` cannot be read.
    """

    def __init__(
        self,
        instrument: Instrument,
        model: FillModel,
        start_equity: Decimal,
        saved: bytes | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._account = Account(start_equity, instrument)
        self._broker = paper.PaperBroker(model)
        self._mark = -1
        self._serial = 0
        self._closes: dict[str, str] = {}
        self._stops: dict[str, int] = {}
        self._events: list[Event] = []
        self._others = self._moved = Decimal(0)
        self._looked = False
        if saved is not None:
            self._restore(saved, model)
        self._pool = pool or Pool()
        self._pool.join(instrument.symbol, self.result)

    def _restore(self, saved: bytes, model: FillModel) -> None:
        try:
            dump = msgspec.json.decode(saved, type=_Dump)
        except msgspec.DecodeError as error:
            raise errors.DataError(
                f"the dry-run account cannot be read ({error})", advice="Start a new dry-run in another folder"
            ) from error
        rules = self._account.instrument
        units = (dump.tick or rules.tick_size, dump.step or rules.qty_step)
        self._account = Account.from_json(dump.account, replace(rules, tick_size=units[0], qty_step=units[1]))
        if units != (rules.tick_size, rules.qty_step):
            # Flat, or `carry_over` would have refused: what is left of the old units is money.
            self._account = Account(self._account.equity(0), rules)
        self._serial, self._closes, self._stops = dump.serial, dump.closes, dump.stops
        self._broker = paper.PaperBroker.restore(dump.broker, model)
        self._others, self._moved = dump.others, dump.moved

    def dump(self) -> bytes:
        broker = self._broker.snapshot()
        ended = broker["ended"]
        broker["ended"] = dict(list(ended.items())[-_REMEMBERED:])
        rules = self._account.instrument
        dump = _Dump(
            account=self._account.to_json(),
            broker=broker,
            serial=self._serial,
            closes=self._closes,
            stops=self._stops,
            others=self._others,
            moved=self._moved,
            tick=rules.tick_size,
            step=rules.qty_step,
        )
        return msgspec.json.encode(dump)

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # --- the market --------------------------------------------------------------------------------------------------

    def on_market(self, events: EventBatch) -> None:
        for report in self._broker.on_events(events):
            self._tell(report)

    def on_mark(self, bid: int, ask: int, last: int) -> None:
        self._mark = (bid + ask) // 2 if bid > 0 and ask > 0 else last if last > 0 else self._mark

    def on_funding(self, rate: Decimal, time_ms: int) -> None:
        self._broker.fund(float(rate), time_ms)

    def _tell(self, report: paper.Report) -> None:
        now, plan_id = report.time_ms, report.plan_id
        match report:
            case paper.Accepted():
                self._events.append(OrderAccepted(now, plan_id))
            case paper.Rejected():
                self._stops.pop(plan_id, None)
                self._events.append(OrderAccepted(now, plan_id))
                self._events.append(OrderCancelled(now, plan_id, 0, POST_ONLY_REASON))
            case paper.Cancelled():
                if not report.filled:
                    self._stops.pop(plan_id, None)
                self._events.append(OrderCancelled(now, plan_id, report.filled, "cancelled"))
            case paper.Filled():
                self._fill(report)
            case paper.Funded():
                paid = self._account.pay_funding(report.rate, report.mark)
                self._events.append(Funding(now, f"funding-{plan_id}-{now}", paid))
            case _:
                self._stops.pop(plan_id, None)
                self._closes.pop(plan_id, None)

    def _fill(self, report: paper.Filled) -> None:
        self._account.take(report)
        self._serial += 1
        by_us = report.role in ("time", "flatten")
        link = report.plan_id if report.role == "entry" else self._closes.get(report.plan_id, "") if by_us else ""
        role: Any = "exit" if by_us else report.role
        self._events.append(
            Filled(
                now_ms=report.time_ms,
                link_id=link,
                execution_id=f"{report.plan_id}-{self._serial}",
                role=role,
                time_ms=report.time_ms,
                side=report.side,
                price=report.price,
                size=report.size,
                fee=self._account.usdt(report.fee),
                maker=report.maker,
            )
        )
        if report.role == "entry":
            # The attached stop covers what is held from the very fill on.
            self._events.append(Protected(report.time_ms, self._stops[report.plan_id], abs(self._account.position)))

    # --- orders ------------------------------------------------------------------------------------------------------

    def send(self, action: OrderAction, now_ms: int) -> None:
        match action:
            case PlaceEntry():
                self._place(action, now_ms)
            case CancelEntry(link_id=link):
                if not self._known(link) or not self._broker.cancel(link, now_ms):
                    self._answer(link, now_ms)
            case ClosePosition():
                self._close(action, now_ms)
            case QueryOrder(link_id=link):
                self._answer(link, now_ms)
            case SetProtection():
                self._events.append(Protected(now_ms, action.stop, abs(self._account.position)))
            case PlaceTarget():
                # The broker rests the target by itself, in the same cycle as the fill.
                self._events.append(OrderAccepted(now_ms, action.link_id))
            case ReadEquity():
                equity = self._equity()
                self._events.append(EquityRead(now_ms, now_ms, equity, self._moved))
            case ReadPosition():
                resting = tuple(OpenOrder(plan.plan_id) for plan in self._broker.open_plans() if plan.resting)
                self._events.append(OrdersRead(now_ms, resting))
                self._events.append(PositionRead(now_ms, self._account.position))
            case TracePosition():
                # Broker and core are kept together: a position without a plan is a contradiction, not a crash.
                self._events.append(PositionOrigin(now_ms, self._account.position))

    def _place(self, order: PlaceEntry, now_ms: int) -> None:
        link = order.link_id
        try:
            self._broker.submit(
                link, order.side, order.limit, order.stop, order.target, order.size, now_ms,
                taking=order.entry != PASSIVE, target_maker=order.target_maker,
            )  # fmt: skip
        except errors.OrderRejected as refusal:
            if refusal.code == _DUPLICATE:
                self._events.append(OrderUnknown(now_ms, link))
            else:
                self._events.append(OrderRejected(now_ms, link, refusal.code, refusal.message))
            return
        self._stops[link] = order.stop

    def _close(self, order: ClosePosition, now_ms: int) -> None:
        reason = ExitReason.TIME if order.reason == "time" else ExitReason.FLATTEN
        if self._known(order.entry_link) and self._broker.close(order.entry_link, now_ms, reason):
            self._closes[order.entry_link] = order.link_id
            self._events.append(OrderAccepted(now_ms, order.link_id))
            return
        text = "nothing to close, or it is being closed"
        self._events.append(OrderRejected(now_ms, order.link_id, _NOTHING_TO_CLOSE, text))

    def _known(self, link: str) -> bool:
        try:
            self._broker.plan(link)
        except errors.OrderRejected:
            return False
        return True

    def _answer(self, link: str, now_ms: int) -> None:
        """What the venue knows of an order; absent if it never had it."""
        status: Any = "absent"
        if link in self._closes.values():
            status = "resting"
        elif self._known(link):
            plan = self._broker.plan(link)
            if isinstance(plan, paper.PaperPlan):
                status = "resting" if plan.resting else "filled"
            else:
                status = _STATUS.get(plan, "filled")
        self._events.append(OrderState(now_ms, link, status))

    def result(self) -> Decimal | None:
        """Profit so far, with open profit and loss; unknown while a position has no known price."""
        if self._account.position and self._mark <= 0:
            return None
        return self._account.equity(self._mark) - self._account.start_equity

    def _equity(self) -> Decimal | None:
        """Of the purse: start, own result, and those of the other contracts; unknown if one of them is.

        What the others made while this one was not traded is a transfer: neither its drawdown nor its profit.
        """
        own, others = self.result(), self._pool.others(self._account.instrument.symbol)
        if own is None or others is None:
            return None
        if not self._looked:
            self._looked = True
            self._moved += others - self._others
        self._others = others
        return self._account.start_equity + own + others
