"""The dry-run venue keeps the gateway's contract."""

from __future__ import annotations

from decimal import Decimal

import pytest

from executor.actions import CancelEntry, ClosePosition, PlaceEntry, QueryOrder, ReadEquity, ReadPosition
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
    PositionRead,
    Protected,
)
from executor.gateway import DryRunGateway
from executor.guard import POST_ONLY_REASON
from market.errors import DataError
from market.events import ASK, BID, BOOK, FIRST, LAST, SNAPSHOT, TRADE, EventBatch
from simulation import SYNTHETIC, FillModel

MODEL = FillModel(50, 0.0002, 0.00055)
START = Decimal(10_000)
BUY = PlaceEntry("E-L0", 1, 60_000, 59_990, 60_010, 5)
UNIT = Decimal("0.0005")


def book(time_ms: int, ordinal: int, *levels: tuple[int, int, int], snapshot: bool = False) -> EventBatch:
    rows = [(BOOK, SNAPSHOT * snapshot, side, time_ms, price, size, ordinal, 0) for side, price, size in levels]
    rows[0] = (BOOK, rows[0][1] | FIRST, *rows[0][2:])
    rows[-1] = (BOOK, rows[-1][1] | LAST, *rows[-1][2:])
    return EventBatch.from_rows(rows)


def trade(time_ms: int, ordinal: int, side: int, price: int, size: int) -> EventBatch:
    return EventBatch.from_rows([(TRADE, 0, side, time_ms, price, size, ordinal, 0)])


OPENING = book(1_000, 1, (BID, 60_000, 10), (BID, 59_995, 50), (ASK, 60_001, 10), snapshot=True)
ARRIVAL = book(1_100, 2, (ASK, 60_002, 7))
FILL = trade(1_200, 3, ASK, 60_000, 15)
TRIGGER = trade(1_300, 4, ASK, 59_989, 1)
THIN = book(1_310, 5, (BID, 60_000, 0), (BID, 59_995, 0), (BID, 59_988, 2))
EXIT = book(1_400, 6, (ASK, 60_003, 1))
DEEP = book(9_500, 7, (BID, 59_987, 10), (BID, 59_988, 0))


@pytest.fixture
def gateway() -> DryRunGateway:
    made = DryRunGateway(SYNTHETIC, MODEL, START)
    made.on_market(OPENING)
    made.on_mark(60_000, 60_001, -1)
    return made


def after(gateway: DryRunGateway, *batches: EventBatch) -> list[Event]:
    for batch in batches:
        gateway.on_market(batch)
    return gateway.take()


def filled(gateway: DryRunGateway) -> list[Event]:
    gateway.send(BUY, 1_000)
    return after(gateway, ARRIVAL, FILL)


@pytest.mark.failure(7)
def test_an_entry_fills_under_its_stop(gateway: DryRunGateway) -> None:
    assert filled(gateway) == [
        OrderAccepted(1_100, "E-L0"),
        Filled(1_200, "E-L0", "E-L0-1", "entry", 1_200, 1, 60_000, 5, 5 * 60_000 * UNIT * Decimal("0.0002"), True),
        Protected(1_200, 59_990, 5),
    ]


@pytest.mark.failure(7)
def test_protection_is_told_even_if_the_position_is_gone_by_the_end_of_the_batch(gateway: DryRunGateway) -> None:
    gateway.send(BUY, 1_000)
    events = after(gateway, EventBatch.concat([ARRIVAL, FILL, TRIGGER, THIN, EXIT, DEEP]))
    assert [type(event).__name__ for event in events[:3]] == ["OrderAccepted", "Filled", "Protected"]
    assert events[2] == Protected(1_200, 59_990, 5)
    exits = [event for event in events[3:] if isinstance(event, Filled)]
    assert {(event.role, event.link_id) for event in exits} == {("stop", "")}
    assert sum(event.size for event in exits) == 5
    assert exits[-1].time_ms == 9_500
    gateway.send(ReadPosition(), 9_500)
    assert gateway.take()[-1] == PositionRead(9_500, 0)


@pytest.mark.failure(39)
@pytest.mark.failure(21)
def test_a_link_id_that_was_used_is_an_unknown_outcome_and_no_second_order(gateway: DryRunGateway) -> None:
    gateway.send(BUY, 1_000)
    gateway.send(BUY, 1_000)
    assert gateway.take() == [OrderUnknown(1_000, "E-L0")]
    gateway.send(QueryOrder("E-L0"), 1_000)
    assert gateway.take() == [OrderState(1_000, "E-L0", "resting")]
    assert len([event for event in after(gateway, ARRIVAL, FILL) if isinstance(event, Filled)]) == 1


def test_an_impossible_order_is_refused(gateway: DryRunGateway) -> None:
    gateway.send(PlaceEntry("E-L0", 1, 60_000, 60_001, 60_010, 5), 1_000)
    [refusal] = gateway.take()
    assert isinstance(refusal, OrderRejected)
    assert refusal.code == 10001


@pytest.mark.failure(22)
def test_a_post_only_order_that_would_take_is_accepted_and_then_cancelled(gateway: DryRunGateway) -> None:
    gateway.send(PlaceEntry("E-L0", 1, 60_002, 59_990, 60_010, 5), 1_000)
    events = after(gateway, book(1_100, 2, (BID, 59_990, 7)))
    assert events == [OrderAccepted(1_100, "E-L0"), OrderCancelled(1_100, "E-L0", 0, POST_ONLY_REASON)]


def test_what_the_venue_says_of_orders(gateway: DryRunGateway) -> None:
    def ask(link: str) -> str | None:
        gateway.send(QueryOrder(link), 1_000)
        [answer] = gateway.take()
        assert isinstance(answer, OrderState)
        return answer.status

    assert ask("E-L0") == "absent"
    filled(gateway)
    assert ask("E-L0") == "filled"
    gateway.send(ClosePosition("E-X0", "E-L0", -1, 5, "time"), 1_300)
    assert gateway.take() == [OrderAccepted(1_300, "E-X0")]
    assert ask("E-X0") == "resting"
    events = after(gateway, EXIT)
    assert [(event.role, event.link_id) for event in events if isinstance(event, Filled)] == [("exit", "E-X0")]
    assert ask("E-L0") == "filled"
    assert ask("E-X0") == "absent"


@pytest.mark.failure(15)
def test_a_cancel_is_confirmed_when_it_takes_effect(gateway: DryRunGateway) -> None:
    gateway.send(BUY, 1_000)
    after(gateway, ARRIVAL)
    gateway.send(CancelEntry("E-L0"), 1_110)
    assert gateway.take() == []
    assert after(gateway, EXIT) == [OrderCancelled(1_400, "E-L0", 0, "cancelled")]
    gateway.send(CancelEntry("E-L0"), 1_410)
    assert gateway.take() == [OrderState(1_410, "E-L0", "cancelled")]
    gateway.send(CancelEntry("never"), 1_410)
    assert gateway.take() == [OrderState(1_410, "never", "absent")]


@pytest.mark.failure(24)
def test_a_close_while_the_stop_is_closing_is_refused(gateway: DryRunGateway) -> None:
    filled(gateway)
    after(gateway, TRIGGER)
    gateway.send(ClosePosition("E-X0", "E-L0", -1, 5, "time"), 1_305)
    [refusal] = gateway.take()
    assert isinstance(refusal, OrderRejected)
    assert refusal.code == 110017
    roles = [event.role for event in after(gateway, THIN, EXIT, DEEP) if isinstance(event, Filled)]
    assert set(roles) == {"stop"}


def test_money_is_exact(gateway: DryRunGateway) -> None:
    filled(gateway)
    gateway.send(ReadEquity(), 1_200)
    fee = 5 * 60_000 * UNIT * Decimal("0.0002")
    assert gateway.take() == [EquityRead(1_200, 1_200, START - fee)]
    gateway.on_funding(Decimal("0.5"), 1_250)
    gateway.on_funding(Decimal("0.0001"), 1_250)
    told = after(gateway, THIN)
    (payment,) = [event for event in told if isinstance(event, Funding)]
    paid = payment.amount
    # On the mid price before the message that passed the time, as the backtest pays it.
    assert paid == 5 * Decimal("60000.5") * UNIT * Decimal("0.0001")
    gateway.on_funding(Decimal("0.9"), 1_250)
    assert [event for event in after(gateway, DEEP) if isinstance(event, Funding)] == []
    gateway.on_mark(60_100, 60_101, -1)
    gateway.send(ReadEquity(), 1_260)
    assert gateway.take() == [EquityRead(1_260, 1_260, START - fee - paid + 5 * 100 * UNIT)]


@pytest.mark.failure(1)
def test_equity_of_a_position_without_a_price_is_unknown(gateway: DryRunGateway) -> None:
    filled(gateway)
    again = DryRunGateway(SYNTHETIC, MODEL, START, gateway.dump())
    again.send(ReadEquity(), 1_300)
    assert again.take() == [EquityRead(1_300, 1_300, None)]
    again.on_mark(-1, -1, 60_000)
    again.send(ReadEquity(), 1_300)
    assert again.take() != [EquityRead(1_300, 1_300, None)]


@pytest.mark.failure(11)
@pytest.mark.failure(12)
def test_a_restart_knows_its_orders_and_its_position(gateway: DryRunGateway) -> None:
    gateway.send(BUY, 1_000)
    after(gateway, ARRIVAL)
    resting = DryRunGateway(SYNTHETIC, MODEL, START, gateway.dump())
    resting.send(ReadPosition(), 1_100)
    assert resting.take() == [OrdersRead(1_100, (OpenOrder("E-L0"),)), PositionRead(1_100, 0)]
    after(gateway, FILL)
    holding = DryRunGateway(SYNTHETIC, MODEL, START, gateway.dump())
    holding.send(ReadPosition(), 1_200)
    assert holding.take() == [OrdersRead(1_200, ()), PositionRead(1_200, 5)]
    snapshot = book(1_350, 5, (BID, 59_988, 20), (ASK, 60_001, 10), snapshot=True)
    roles = [event.role for event in after(holding, TRIGGER, snapshot, EXIT) if isinstance(event, Filled)]
    assert roles == ["stop"]


@pytest.mark.failure(46)
@pytest.mark.parametrize("saved", [b"{}", b"half", b'{"account":{},"broker":{},"serial":0,"closes":{},"stops":{}}'])
def test_a_damaged_account_is_refused(saved: bytes) -> None:
    with pytest.raises(DataError):
        DryRunGateway(SYNTHETIC, MODEL, START, saved)
