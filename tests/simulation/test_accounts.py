"""The paper account: no money is made or lost by counting it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import DataError
from market.instruments import Instrument
from simulation import Account, FillModel, PaperBroker
from simulation.paper import Closed, Filled
from tests.simulation.fill_markets import frames, random_tape

INSTRUMENT = Instrument(
    symbol="TESTUSDT",
    tick_size=Decimal("0.10"),
    qty_step=Decimal("0.001"),
    min_steps=1,
    max_steps=10**6,
    max_market_steps=10**6,
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
)
UNIT = INSTRUMENT.tick_size * INSTRUMENT.qty_step
FILLS = st.lists(st.tuples(st.sampled_from([1, -1]), st.integers(1, 10**6), st.integers(1, 10**4)), max_size=30)


def account(start: str = "1000") -> Account:
    return Account(Decimal(start), INSTRUMENT)


def test_a_round_trip_with_a_partial_close() -> None:
    """Numbers worked out by hand: 3 coins at 100.00 and 1 at 104.00 average 101.00."""
    book = account()
    book.fill(1, 1000, 3000, Decimal("0.06"))
    book.fill(1, 1040, 1000, Decimal("0.02"))
    assert book.average_price == Decimal(101)
    assert book.open_pnl(1020) == Decimal(4)
    book.fill(-1, 1030, 1000, Decimal("0.05"))
    assert (book.realised, book.position, book.average_price) == (Decimal(2), 3000, Decimal(101))
    assert book.cash == Decimal("1001.87")
    assert book.equity(1000) == Decimal("998.87")
    book.fill(-1, 1000, 3000, Decimal("0.15"))
    assert (book.position, book.average_price, book.realised) == (0, None, Decimal(-1))
    assert book.equity(1) == book.equity(10**6) == book.cash == Decimal("998.72")


def test_a_fill_through_zero_turns_the_position() -> None:
    book = account()
    book.fill(1, 1000, 1000, Decimal(0))
    book.fill(-1, 1010, 3000, Decimal(0))
    assert (book.position, book.average_price, book.realised) == (-2000, Decimal(101), Decimal(1))
    assert book.open_pnl(1000) == Decimal(2)


def test_funding_and_transfers() -> None:
    book = account()
    book.fill(-1, 1000, 2000, Decimal(0))
    assert book.pay_funding(Decimal("0.0001"), 1000) == Decimal("-0.02")
    assert book.cash == Decimal("1000.02")
    book.transfer(Decimal(-500))
    assert book.equity(1000) == Decimal("500.02")


@settings(deadline=None, derandomize=True)
@given(fills=FILLS, mark=st.integers(1, 10**6))
def test_money_is_conserved(fills: list[tuple[int, int, int]], mark: int) -> None:
    """Equity is the start plus everything received, less everything paid, whatever the order of fills."""
    book, flow, position, fees = account(), 0, 0, Decimal(0)
    for side, price, size in fills:
        fee = UNIT * price * size * Decimal("0.00055")
        book.fill(side, price, size, fee)
        flow, position, fees = flow - side * price * size, position + side * size, fees + fee
    assert book.position == position
    assert book.equity(mark) == Decimal(1000) + UNIT * (flow + position * mark) - fees
    assert abs(book.cash + book.open_pnl(mark) - book.equity(mark)) < Decimal("1e-12")
    if position == 0:
        assert book.cash == book.equity(mark)


@settings(deadline=None, derandomize=True)
@given(fills=FILLS, price=st.integers(1, 10**6))
def test_flat_is_flat(fills: list[tuple[int, int, int]], price: int) -> None:
    """Once everything is closed, what was realised is a whole number of ticks * steps."""
    book = account()
    for side, level, size in fills:
        book.fill(side, level, size, Decimal(0))
    if book.position:
        book.fill(-1 if book.position > 0 else 1, price, abs(book.position), Decimal(0))
    assert book.average_price is None
    assert (book.realised / UNIT) % 1 == 0
    assert book.open_pnl(price) == 0


@settings(deadline=None, derandomize=True)
@given(fills=FILLS, cut=st.integers(0, 30))
def test_restart_changes_nothing(fills: list[tuple[int, int, int]], cut: int) -> None:
    book, whole = account("1000.123456789"), account("1000.123456789")
    for number, (side, price, size) in enumerate(fills):
        if number == cut:
            book = Account.from_json(json.loads(json.dumps(book.to_json())), INSTRUMENT)
        for each in (book, whole):
            each.fill(side, price, size, Decimal("0.001"))
            each.pay_funding(Decimal("0.0001"), price)
    assert book.to_json() == whole.to_json()


@pytest.mark.failure(26)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_the_broker_says_is_what_the_account_holds(seed: int) -> None:
    """Profits of closed plans add up to the account's, to the last decimal."""
    broker, book = PaperBroker(FillModel(10, 0.0002, 0.00055)), account()
    profits, clock = Decimal(0), 0
    for number, frame in enumerate(frames(random_tape(seed, 300).batch)):
        for report in broker.on_events(frame):
            if isinstance(report, Filled):
                book.take(report)
            if isinstance(report, Closed):
                profits += report.profit
        clock = broker.clock_ms
        side = 1 if number % 2 else -1
        broker.submit(str(number), side, 100 - 2 * side, 100 - 5 * side, 100 + 2 * side, 3, clock)
        broker.cancel(str(number), clock + 300)
    assert book.position == sum(view.position for view in broker.open_plans())
    held = sum(view.position * 100 - view.side * view.entry_value for view in broker.open_plans())
    open_fees = sum((Decimal("0.0002") * view.entry_value for view in broker.open_plans()), Decimal(0))
    if all(view.closing is None for view in broker.open_plans()):
        assert book.equity(100) == Decimal(1000) + UNIT * (profits + held - open_fees)


@pytest.mark.failure(30)
@pytest.mark.parametrize(
    ("side", "price", "size", "fee"),
    [(0, 1, 1, "0"), (1, 0, 1, "0"), (1, -5, 1, "0"), (1, 1, 0, "0"), (1, 1.5, 1, "0"), (1, 1, 1, "NaN")],
)
def test_impossible_fills_change_nothing(side: int, price: int, size: int, fee: str) -> None:
    book = account()
    before = book.to_json()
    with pytest.raises(ValueError, match="impossible fill"):
        book.fill(side, price, size, Decimal(fee))
    assert book.to_json() == before


def test_other_impossible_values() -> None:
    for start in ("NaN", "Infinity"):
        with pytest.raises(ValueError, match="start equity"):
            account(start)
    with pytest.raises(ValueError, match="funding"):
        account().pay_funding(Decimal("NaN"), 1)
    with pytest.raises(ValueError, match="transfer"):
        account().transfer(Decimal("Infinity"))


@pytest.mark.failure(46)
@pytest.mark.parametrize(
    "change", [{"schema": 9}, {"symbol": "OTHERUSDT"}, {"flow": None}, {"fees": "many"}, {"cost": "1/0"}]
)
def test_a_damaged_state_is_reported(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match="account's state"):
        Account.from_json(account().to_json() | change, INSTRUMENT)
