"""What every gateway must do, whoever is behind it: the promises of :class:`executor.gateway.Gateway`.

A gateway's own test module makes a :class:`Venue` around it and subclasses :class:`Conformance`; pytest runs the suite
there. A venue knows how to make its market trade at a price; the rest is the gateway's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from executor.actions import (
    CancelEntry,
    ClosePosition,
    PlaceEntry,
    QueryOrder,
    ReadEquity,
    ReadPosition,
    SetProtection,
)
from executor.events import (
    EquityRead,
    Event,
    Filled,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrdersRead,
    OrderState,
    OrderUnknown,
    PositionRead,
    Protected,
)
from executor.gateway import Gateway
from executor.guard import POST_ONLY_REASON

_E = TypeVar("_E")
SIZE = 20
FAR = 30


class Venue(ABC):
    """A gateway, and the hands that move its market."""

    gateway: Gateway

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    @abstractmethod
    def now_ms(self) -> int:
        """Venue time."""

    @property
    @abstractmethod
    def quote(self) -> tuple[int, int]:
        """Best bid and ask, ticks."""

    @abstractmethod
    def rest(self) -> None:
        """Let what is on its way arrive, without a trade."""

    @abstractmethod
    def trade_through(self, price: int, side: int) -> None:
        """Let sellers (-1) or buyers (+1) trade through everything up to a price."""

    @abstractmethod
    def restart(self) -> None:
        """Another process takes over, from the gateway's dump."""

    def send(self, *actions: Any) -> list[Event]:
        """Send actions; what the venue told until it has nothing more to say."""
        for action in actions:
            self.gateway.send(action, self.now_ms)
        self.rest()
        return self.take()

    def take(self) -> list[Event]:
        """What the venue told."""
        told = list(self.gateway.take())
        self.events += told
        return told

    def entry(self, side: int = 1, link: str = "SYNUSDT-abc-L0", away: int = 0) -> PlaceEntry:
        """An entry so many ticks behind the best price."""
        bid, ask = self.quote
        limit = bid - away if side > 0 else ask + away
        return PlaceEntry(link, side, limit, limit - side * FAR, limit + side * FAR, SIZE)

    def fill(self, order: PlaceEntry) -> list[Event]:
        """Let the market trade through an entry."""
        self.trade_through(order.limit - order.side, -order.side)
        self.rest()
        return self.take()


def of(events: list[Event], kind: type[_E]) -> list[_E]:
    """Those of a kind."""
    return [event for event in events if isinstance(event, kind)]


class Conformance:
    """The suite; `venue` is the subclass's fixture."""

    def test_an_entry_is_acknowledged_fills_and_is_under_its_stop(self, venue: Venue) -> None:
        order = venue.entry()
        told = [*venue.send(order), *venue.fill(order)]
        assert of(told, OrderAccepted)[0].link_id == order.link_id
        fills = of(told, Filled)
        assert {(fill.link_id, fill.role, fill.side, fill.price) for fill in fills} == {
            (order.link_id, "entry", 1, order.limit)
        }
        assert sum({fill.execution_id: fill.size for fill in fills}.values()) == SIZE
        assert all(fill.fee > 0 and fill.maker for fill in fills)
        assert of(told, Protected)[-1].stop == order.stop
        assert of(told, Protected)[-1].size == SIZE
        assert told.index(of(told, Protected)[-1]) > told.index(fills[0])

    def test_a_short_is_the_mirror_image(self, venue: Venue) -> None:
        order = venue.entry(-1, "SYNUSDT-abc-S0")
        told = [*venue.send(order), *venue.fill(order)]
        assert {(fill.side, fill.price) for fill in of(told, Filled)} == {(-1, order.limit)}
        assert of(told, Protected)[-1].stop == order.limit + FAR
        assert of(venue.send(ReadPosition()), PositionRead)[-1].position == -SIZE

    @pytest.mark.failure(21)
    @pytest.mark.failure(39)
    def test_a_link_id_is_good_for_one_order(self, venue: Venue) -> None:
        order = venue.entry(away=5)
        venue.send(order)
        assert of(venue.send(order), OrderUnknown) != []
        resting = of(venue.send(ReadPosition()), OrdersRead)[-1].orders
        assert resting is not None
        assert [one.link_id for one in resting] == [order.link_id]

    @pytest.mark.failure(30)
    @pytest.mark.parametrize("change", [{"limit": 0}, {"limit": -5}, {"size": 0}, {"size": -1}])
    def test_nonsense_is_refused(self, venue: Venue, change: dict[str, int]) -> None:
        order = venue.entry()
        fields = {name: getattr(order, name) for name in order.__struct_fields__} | change
        told = venue.send(PlaceEntry(**fields))
        assert of(told, OrderRejected) != []
        assert of(venue.send(QueryOrder(order.link_id)), OrderState)[-1].status in ("absent", "rejected")

    def test_a_stop_on_the_wrong_side_is_refused_by_name(self, venue: Venue) -> None:
        order = venue.entry()
        wrong = PlaceEntry(order.link_id, 1, order.limit, order.limit + 5, order.limit + FAR, SIZE)
        [refusal] = of(venue.send(wrong), OrderRejected)
        assert refusal.code == 10001

    @pytest.mark.failure(22)
    def test_a_post_only_entry_that_would_take_is_accepted_then_cancelled(self, venue: Venue) -> None:
        told = venue.send(venue.entry(away=-3))
        [gone] = of(told, OrderCancelled)[:1]
        assert (gone.filled, gone.reason) == (0, POST_ONLY_REASON)
        assert not of(told, Filled)

    @pytest.mark.failure(15)
    def test_a_cancel_is_confirmed_with_what_had_filled(self, venue: Venue) -> None:
        order = venue.entry(away=5)
        venue.send(order)
        told = venue.send(CancelEntry(order.link_id))
        assert of(told, OrderCancelled)[-1].filled == 0
        assert of(venue.send(QueryOrder(order.link_id)), OrderState)[-1].status == "cancelled"

    @pytest.mark.failure(16)
    def test_a_cancel_that_comes_too_late_says_what_is(self, venue: Venue) -> None:
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        assert of(venue.send(CancelEntry(order.link_id)), OrderState)[-1].status == "filled"
        assert of(venue.send(CancelEntry("SYNUSDT-nev-L0")), OrderState)[-1].status == "absent"

    def test_questions_are_answered_after_the_executions(self, venue: Venue) -> None:
        order = venue.entry()
        assert of(venue.send(QueryOrder(order.link_id)), OrderState)[-1].status == "absent"
        venue.send(order)
        assert of(venue.send(QueryOrder(order.link_id)), OrderState)[-1].status == "resting"
        venue.fill(order)
        assert of(venue.send(QueryOrder(order.link_id)), OrderState)[-1].status == "filled"
        kinds = [type(event) for event in venue.events]
        assert kinds.index(Filled) < len(kinds) - 1 - kinds[::-1].index(OrderState)

    def test_a_close_is_reduce_only_and_ours(self, venue: Venue) -> None:
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        told = venue.send(ClosePosition("SYNUSDT-abc-X0", order.link_id, -1, SIZE, "time"))
        venue.rest()
        fills = {fill.execution_id: fill for fill in of([*told, *venue.take()], Filled)}.values()
        assert {(fill.link_id, fill.role, fill.side) for fill in fills} == {("SYNUSDT-abc-X0", "exit", -1)}
        assert sum(fill.size for fill in fills) == SIZE
        assert of(venue.send(ReadPosition()), PositionRead)[-1].position == 0
        again = venue.send(ClosePosition("SYNUSDT-abc-X1", order.link_id, -1, SIZE, "time"))
        assert of(again, OrderRejected)[-1].code == 110017

    @pytest.mark.failure(24)
    @pytest.mark.parametrize(("role", "sign"), [("stop", -1), ("target", 1)])
    def test_stop_and_target_close_without_a_link_id(self, venue: Venue, role: str, sign: int) -> None:
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        venue.trade_through(order.limit + sign * (FAR + 1), sign)
        venue.rest()
        fills = of(venue.take(), Filled)
        assert {(fill.link_id, fill.role, fill.side) for fill in fills} == {("", role, -1)}
        assert sum({fill.execution_id: fill.size for fill in fills}.values()) == SIZE
        assert of(venue.send(ReadPosition()), PositionRead)[-1].position == 0

    @pytest.mark.failure(26)
    def test_equity_is_what_executions_come_to(self, venue: Venue) -> None:
        start = of(venue.send(ReadEquity()), EquityRead)[-1].equity
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        venue.send(ClosePosition("SYNUSDT-abc-X0", order.link_id, -1, SIZE, "time"))
        venue.rest()
        venue.take()
        fills = {fill.execution_id: fill for fill in of(venue.events, Filled)}.values()
        unit = Decimal("0.0005")
        net = sum((-fill.side * fill.price * fill.size * unit - fill.fee for fill in fills), Decimal(0))
        end = of(venue.send(ReadEquity()), EquityRead)[-1].equity
        assert start is not None
        assert end is not None
        assert abs(end - start - net) <= Decimal("1e-7")

    @pytest.mark.failure(13)
    def test_the_position_s_own_stops_are_protective(self, venue: Venue) -> None:
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        orders = of(venue.send(ReadPosition()), OrdersRead)[-1].orders
        assert orders is not None
        assert all(one.protective for one in orders)

    @pytest.mark.failure(8)
    def test_a_stop_that_is_set_again_is_confirmed(self, venue: Venue) -> None:
        order = venue.entry()
        venue.send(order)
        venue.fill(order)
        told = venue.send(SetProtection(order.link_id, 1, order.stop, order.target))
        assert (of(told, Protected)[-1].stop, of(told, Protected)[-1].size) == (order.stop, SIZE)

    @pytest.mark.failure(11)
    @pytest.mark.failure(12)
    def test_a_restart_finds_order_and_position(self, venue: Venue) -> None:
        order = venue.entry()
        venue.send(order)
        venue.restart()
        orders = of(venue.send(ReadPosition()), OrdersRead)[-1].orders
        assert orders is not None
        assert order.link_id in [one.link_id for one in orders]
        venue.fill(order)
        venue.restart()
        assert of(venue.send(ReadPosition()), PositionRead)[-1].position == SIZE
        venue.trade_through(order.stop - 1, -1)
        venue.rest()
        fills = {fill.execution_id: fill for fill in of(venue.take(), Filled) if fill.role == "stop"}.values()
        assert sum(fill.size for fill in fills) == SIZE
