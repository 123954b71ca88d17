"""The venue itself: orders by signed REST, news by the private stream, and REST again for what the stream may miss.

The stream says *that* something happened, quickly; REST says *what is*. After every connection, REST is asked for
executions, orders and position before a row of the stream counts, and entries wait until it has answered. While the
stream is down, REST is asked every second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

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
from executor.clerk import Clerk
from executor.events import (
    Event,
    Funding,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderState,
    OrderUnknown,
    PositionOrigin,
    ProtectionRejected,
    VenueState,
)
from executor.gateway import Gateway, OrderAction
from executor.guard import POST_ONLY_REASON
from executor.lanes import Lanes
from executor.memory import OVERLAP_MS, remember
from executor.pace import Pace
from executor.private import Down, PrivateStream, Rows, StreamPort, Up
from executor.purse import Purse
from executor.requests import close_request, entry_request, stop_request, target_request
from executor.survey import OrderAnswer, Survey, Surveyor
from executor.venue import DUPLICATE, VenueClient
from executor.wire import Execution, OrderRow, Reader, fills
from executor.witness import Witness
from market.events import EventBatch
from market.instruments import Instrument

#: Surveys in a row that failed before the venue counts as not answering.
_FAILURES = 3
#: Rows of the stream that wait for the first survey.
_MOST_WAITING = 10_000


class LiveGateway(Gateway):
    """Trades one contract of a Bybit account, or of the local exchange.

    Parameters
    ----------
    venue
        Signed REST.
    stream
        Private stream; ``None`` for an account that is only polled.
    instrument
        Contract rules.
    lanes
        Where calls run.
    clock
        The venue's time as last seen, UTC ms; -1 unknown.
    saved
        :meth:`dump` of an earlier session.
    pace
        How often to ask; ``None`` as :class:`~executor.pace.Pace` has it.
    monotonic
        Wall clock, seconds.

    Raises
    ------
    DataError
        `saved` cannot be read.
    """

    def __init__(
        self,
        venue: VenueClient,
        stream: PrivateStream | StreamPort | None,
        instrument: Instrument,
        *,
        lanes: Lanes,
        clock: Callable[[], int],
        saved: bytes | None = None,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._rules, self._lanes = stream, instrument, lanes
        self._clock, self._pace, self._monotonic = clock, pace or Pace(), monotonic
        self._reader = Reader(instrument)
        self._surveyor = Surveyor(venue, self._reader, instrument.symbol)
        self._clerk = Clerk(venue, self._surveyor, instrument.symbol)
        self.memory = remember(saved)
        self._events: list[Event] = []
        self._waiting: list[Rows] = []
        self._witness = Witness()
        self._up = False
        self._ready = False
        self._started = False
        self._surveying = False
        self._epoch = 0
        self._next_s = 0.0
        self._purse = Purse(self._surveyor, lanes, self.memory, self._tell, self._pace.log, monotonic)
        self._asked = self._confirm = False
        self._failures = 0
        self._told_s = -1e9
        self._fills: dict[str, int] = {}

    async def run(self) -> None:
        if self._stream is not None:
            await self._stream.run()

    def close(self) -> None:
        self._lanes.close()
        if self._stream is not None:
            self._stream.close()

    def hold(self, on: bool) -> None:
        self._lanes.hold(on)

    def dump(self) -> bytes:
        return msgspec.json.encode(self.memory)

    # --- a market is none of our business -----------------------------------------------------------------------------

    def on_market(self, events: EventBatch) -> None:
        """Nothing: the venue has the market."""

    def on_mark(self, bid: int, ask: int, last: int) -> None:
        """Nothing: the venue has the market."""

    def on_funding(self, rate: Decimal, time_ms: int) -> None:
        """Nothing: the venue tells what was paid."""

    # --- what comes back ----------------------------------------------------------------------------------------------

    def take(self) -> list[Event]:
        if not self._started:
            self._started = True
            self._tell(VenueState(self._now(), ready=False, cause="the venue has not been asked yet"))
        for done in self._lanes.finished():
            done()
        if self._stream is not None:
            while self._stream.incoming:
                self._hear(self._stream.incoming.popleft())
        self._look()
        events, self._events = self._events, []
        return events

    def _tell(self, event: Event) -> None:
        self._events.append(event)

    def _now(self) -> int:
        return max(self._clock(), 0)

    def _hear(self, item: Up | Down | Rows) -> None:
        match item:
            case Up():
                self._up, self._epoch = True, self._epoch + 1
                self._soon(0.0)
            case Down(cause=cause):
                self._up, self._epoch = False, self._epoch + 1
                self._waiting.clear()
                self._not_ready(cause)
                self._soon(0.0)
            case Rows():
                if self._ready:
                    self._rows(item)
                elif self._up and len(self._waiting) < _MOST_WAITING:
                    self._waiting.append(item)

    def _not_ready(self, cause: str) -> None:
        if self._ready:
            self._ready = False
            self._tell(VenueState(self._now(), ready=False, cause=cause))

    def _rows(self, item: Rows) -> None:
        try:
            for row in item.rows:
                if item.topic == "wallet" or not self._reader.mine(row):
                    continue
                if item.topic == "execution":
                    self._execution(self._reader.execution(row))
                elif item.topic == "order":
                    self._order(self._reader.order(row))
                else:
                    self._soon(self._pace.confirm)
        except ValueError:
            # The stream is a hint; what it meant to say is read from REST.
            self._soon(0.0)

    def _order(self, order: OrderRow) -> None:
        now, link = self._now(), order.link_id
        if not self._reader.ours(link):
            # Somebody else's order, or a stop of the position that came or went.
            self._soon(0.0)
            return
        match order.status:
            case "resting":
                self._tell(OrderAccepted(now, link))
            case "filled":
                if self._fills.get(link, 0) < order.filled:
                    self._soon(self._pace.confirm)
            case "rejected" if order.reason != POST_ONLY_REASON:
                self._tell(OrderRejected(now, link, -1, order.reason))
            case _:
                self._tell(OrderCancelled(now, link, order.filled, order.reason))

    def _execution(self, execution: Execution) -> None:
        memory, now = self.memory, self._now()
        if execution.id in memory.seen or execution.kind == "other":
            return
        memory.seen[execution.id] = execution.time_ms
        if execution.kind == "funding":
            self._tell(Funding(now, execution.id, execution.fee))
            return
        if execution.link_id:
            self._fills[execution.link_id] = self._fills.get(execution.link_id, 0) + execution.size
        if execution.role == "entry":
            self._confirm = True
            self._soon(0.0)
        for event in fills(execution, now):
            self._tell(event)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _soon(self, seconds: float) -> None:
        self._next_s = min(self._next_s, self._monotonic() + seconds)

    def _look(self) -> None:
        """Survey the venue when it is time; one survey at a time."""
        now = self._monotonic()
        if self._surveying or now < self._next_s:
            return
        memory = self.memory
        at_ms = self._clock()
        if at_ms < 0:
            return  # without a clock nobody can say since when to ask
        self._surveying = True
        self._next_s = now + self._pause()
        asked, confirm, epoch = self._asked, self._confirm, self._epoch
        self._asked = self._confirm = False
        since_ms = (memory.since_ms if memory.since_ms >= 0 else at_ms) - OVERLAP_MS
        if memory.since_ms < 0:
            memory.since_ms = at_ms
            since_ms = at_ms

        def done(survey: Survey) -> None:
            self._surveying = False
            self._surveyed(survey, at_ms, epoch, asked=asked, confirm=confirm)

        self._lanes.submit("survey", lambda: self._surveyor.survey(since_ms, at_ms), done)

    def _pause(self) -> float:
        if self._confirm:
            return self._pace.confirm
        return self._pace.check if self._ready or self._stream is None else self._pace.poll

    def _surveyed(self, survey: Survey, at_ms: int, epoch: int, *, asked: bool, confirm: bool) -> None:
        for execution in survey.executions or ():
            self._execution(execution)
        if survey.executions is not None:
            self._forget(at_ms)
        complete = None not in (survey.positions, survey.orders, survey.executions)
        self._events += self._witness.compare(survey, self._now(), self.memory.index, asked=asked, confirm=confirm)
        if asked:
            self._told_s = self._monotonic()
        if not complete:
            self._confirm = self._confirm or confirm
            self._failures += 1
            self._soon(self._pause())
            if self._failures >= _FAILURES:
                self._not_ready(survey.failure)
            return
        self._failures = 0
        if epoch == self._epoch and (self._up or self._stream is None) and not self._ready:
            self._ready = True
            waiting, self._waiting = self._waiting, []
            for item in waiting:
                self._rows(item)
            self._tell(VenueState(self._now(), ready=True))

    def _forget(self, at_ms: int) -> None:
        memory = self.memory
        memory.since_ms = max(memory.since_ms, at_ms)
        oldest = memory.since_ms - 2 * OVERLAP_MS
        memory.seen = {id_: time_ms for id_, time_ms in memory.seen.items() if time_ms >= oldest}
        if len(self._fills) > 100:
            self._fills = dict(list(self._fills.items())[-50:])

    # --- what is asked for --------------------------------------------------------------------------------------------

    def send(self, action: OrderAction, now_ms: int) -> None:
        match action:
            case PlaceEntry():
                self.memory.index = self._index(action.side)
                self._order_out("entry", action.link_id, entry_request(action, self._rules))
            case PlaceTarget():
                request = target_request(action, self._rules)
                self._order_out("exit", action.link_id, request, index=self._index(-action.side))
            case ClosePosition():
                request = close_request(action, self._rules)
                self._order_out("exit", action.link_id, request, index=self._index(-action.side))
            case CancelEntry(link_id=link):
                self._lanes.submit(
                    "entry", lambda: self._clerk.cancel(link), lambda answer: self._answered(link, answer)
                )
            case QueryOrder(link_id=link):
                self._lanes.submit(
                    "query", lambda: self._surveyor.order(link), lambda answer: self._answered(link, answer)
                )
            case SetProtection():
                request = stop_request(action, self._rules, self._index(action.side))
                self._lanes.submit("exit", lambda: self._clerk.set_stop(request), self._stop_set)
            case ReadEquity():
                self._purse.read(now_ms)
            case ReadPosition():
                self._asked = True
                self._soon(max(0.0, self._told_s + self._pace.poll - self._monotonic()))
            case TracePosition():
                self._lanes.submit("query", lambda: self._surveyor.origin(now_ms), self._traced)

    def _index(self, side: int) -> int:
        """Position index of the position of a side."""
        return 0 if not self._witness.hedge else 1 if side > 0 else 2

    def _order_out(self, lane: str, link: str, request: dict[str, Any] | None, *, index: int | None = None) -> None:
        if request is None:
            self._tell(OrderRejected(self._now(), link, -1, "a price or size that is no order"))
            return
        request["positionIdx"] = self.memory.index if index is None else index
        self._lanes.submit(lane, lambda: self._clerk.place(request), lambda outcome: self._sent(link, outcome))

    def _sent(self, link: str, outcome: tuple[int, str] | None) -> None:
        now = self._now()
        if outcome is None or outcome[0] == DUPLICATE:
            self._tell(OrderUnknown(now, link))
        elif outcome[0]:
            self._tell(OrderRejected(now, link, *outcome))
            self._soon(self._pace.confirm)
        else:
            self._tell(OrderAccepted(now, link))

    def _answered(self, link: str, answer: OrderAnswer | None) -> None:
        if answer is None:
            return
        now = self._now()
        for execution in answer.executions:
            self._execution(execution)
        if answer.reason == POST_ONLY_REASON:
            self._tell(OrderCancelled(now, link, answer.filled, answer.reason))
        self._tell(OrderState(now, link, answer.status, answer.filled))

    def _traced(self, found: tuple[int, PositionOrigin]) -> None:
        index, origin = found
        if origin.link_id:
            self.memory.index = index
        self._tell(msgspec.structs.replace(origin, now_ms=self._now()))

    def _stop_set(self, outcome: tuple[int, str]) -> None:
        if outcome[0]:
            self._tell(ProtectionRejected(self._now(), *outcome))
        self._confirm = True
        self._soon(0.0)
