"""What no order flow may break: money, sizes, priority, the book, and that the same again is the same.

Random users' requests go through the REST handlers into a synthetic market in this process; everything is checked
after each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from market.errors import ConfigError
from simulation import _lob
from simulation.exchange._misbehaving_desk import Incidents, MisbehavingDesk
from simulation.exchange.auth import Keyring
from simulation.exchange.listing import trade_id
from simulation.exchange.markets import synthetic_listings
from simulation.exchange.misbehaviour import Fault, Misbehaviour
from simulation.exchange.orders import SIDES, Order
from simulation.exchange.private import DisconnectionProtection
from simulation.exchange.rest import RestApi
from simulation.exchange.venue import Venue
from simulation.flow_params import MarketParams

SYMBOL = "SYNUSDT"
START = Decimal(10_000)
_PENNY = Decimal("0.0001")


class Step(NamedTuple):
    """One thing that a user does, or that befalls them; numbers are taken as the step needs them."""

    what: str
    side: int
    away: int
    size: int
    pick: int


_WHAT = [
    "limit", "limit", "limit", "post", "ioc", "fok", "market", "market", "reduce", "stops", "conditional", "amend",
    "amend", "cancel", "cancel-all", "run", "run", "funding", "adl", "batch", "trading-stop", "hedge", "leverage",
]  # fmt: skip
_STEPS = st.builds(
    Step, st.sampled_from(_WHAT), st.integers(0, 1), st.integers(-25, 25), st.integers(1, 3_000), st.integers(0, 9)
)


class World:
    """A market with one user, whose books are kept a second time, from the stream's executions alone."""

    def __init__(self, seed: int) -> None:
        listings = synthetic_listings(None, seed, None, MarketParams(signal=0.0))
        self.listing = listings[SYMBOL]
        self.desk = MisbehavingDesk(
            Misbehaviour(seed, lambda fault: None), listings=listings, equity=START, maker_fee=Decimal("0.0002"),
            taker_fee=Decimal("0.00055"),
        )  # fmt: skip
        self.venue = Venue(listings, self.desk)
        self.incidents = Incidents(self.venue)
        keyring, protection = Keyring("key", "secret"), DisconnectionProtection(lambda: None)
        self.api = RestApi(self.venue, keyring, Misbehaviour(seed, self.incidents.happen), protection, {})
        self.desk.tell = self._hear
        self.rows: list[dict[str, Any]] = []
        self.filled: dict[str, Decimal] = defaultdict(Decimal)
        self.queued: dict[int, tuple[int, int, int, int]] = {}
        self.turn = 0

    # -- what is heard ------------------------------------------------------------------------------------------------

    def _hear(self, topic: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if topic != "execution":
            return
        for row in rows:
            self.rows.append(dict(row))
            self.filled[row["orderId"]] += Decimal(row["execQty"])
            if row["isMaker"] and row["execType"] == "Trade":
                self._check_priority(row)

    def _check_priority(self, row: Mapping[str, Any]) -> None:
        """A maker's fill: nobody of ours who stood before it has anything left."""
        mine = next(order for order in self._orders() if order.order_id == row["orderId"])
        assert self.listing.instrument.to_ticks(Decimal(row["execPrice"])) == mine.price
        for other in self.desk.orders.values():
            if other is mine or other.slot < 0 or other.side != mine.side or not other.left:
                continue
            better = (other.price - mine.price) * other.sign > 0
            first = other.price == mine.price and self._place(other) < self._place(mine)
            assert not better, f"{row} traded before a better price"
            assert not first, f"{row} traded before an older order"

    def _place(self, order: Order) -> int:
        # Who is not noted yet has come within this very step of the market.
        return self.queued[order.number][0] if order.number in self.queued else self.turn + 1

    def _orders(self) -> list[Order]:
        return [*self.desk.orders.values(), *self.desk.history]

    def _queue(self) -> None:
        """Note who joined the queue when: a new price or a larger size goes to the back."""
        self.turn += 1
        for order in self.desk.orders.values():
            before = self.queued.get(order.number)
            turn = self.turn if before is None or before[1] != order.price or before[2] < order.qty else before[0]
            self.queued[order.number] = (turn, order.price, order.qty, order.slot)

    # -- what is done -------------------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Take a step and check everything."""
        before = len(self.rows)
        book = (self.listing.best_bid, self.listing.best_ask)
        match step.what:
            case "run":
                end = self.venue.now_ms + step.size * 10
                while self.venue.now_ms < end:
                    self.venue.step(end)
                    self._queue()
            case "funding" | "adl":
                self._befall(step)
            case _:
                self._ask(step)
                self._check_no_trade_through(self.rows[before:], book)
        self._queue()
        self.check()

    def _befall(self, step: Step) -> None:
        fault = Fault("funding", rate=str(Decimal(step.away) / 10_000)) if step.what == "funding" else Fault("adl")
        try:
            self.incidents.happen(fault)
        except ConfigError:
            assert step.what == "adl"
            assert self.desk.positions[SYMBOL].at(0).steps == 0

    def _price(self, side: int, away: int) -> str:
        best = self.listing.best_bid if side == 0 else self.listing.best_ask
        base = self.listing.last_ticks if best is None else best
        return self.listing.numbers.price(base + (away if side else -away))

    def _order(self, step: Step, **fields: Any) -> dict[str, Any]:
        hedged = self.desk.positions[SYMBOL].hedged
        return {
            "symbol": SYMBOL, "side": SIDES[step.side], "orderType": "Limit",
            "price": self._price(step.side, step.away), "qty": self.listing.numbers.size(step.size),
            "positionIdx": 1 + (step.pick % 2) if hedged else 0,
        } | fields  # fmt: skip

    def _ask(self, step: Step) -> None:
        stop = self._price(step.side, 30 + step.pick)
        target = self._price(1 - step.side, 30 + step.pick)
        create, position = "/v5/order/create", "/v5/position"
        last = self.listing.numbers.price(self.listing.last_ticks + (step.pick + 1) * (1 - 2 * step.side))
        requests: dict[str, tuple[str, dict[str, Any]]] = {
            "limit": (create, self._order(step)),
            "post": (create, self._order(step, timeInForce="PostOnly")),
            "ioc": (create, self._order(step, timeInForce="IOC")),
            "fok": (create, self._order(step, timeInForce="FOK")),
            "market": (create, self._order(step, orderType="Market")),
            "reduce": (create, self._order(step, reduceOnly=True)),
            "stops": (create, self._order(step, orderType="Market", stopLoss=stop, takeProfit=target)),
            "conditional": (create, self._order(step, triggerPrice=last, triggerDirection=1 + step.side)),
            "batch": ("/v5/order/create-batch", {"request": [self._order(step), self._order(step, side="Up")]}),
            "cancel-all": ("/v5/order/cancel-all", {"symbol": SYMBOL}),
            "trading-stop": (f"{position}/trading-stop", {"symbol": SYMBOL, "positionIdx": 0, "stopLoss": stop}),
            "hedge": (f"{position}/switch-mode", {"symbol": SYMBOL, "mode": 3 if step.side else 0}),
            "leverage": (f"{position}/set-leverage", {"symbol": SYMBOL} | dict.fromkeys(
                ("buyLeverage", "sellLeverage"), str(1 + step.size // 100))),
        }  # fmt: skip
        if step.what in ("amend", "cancel"):
            orders = self.desk.open_orders()
            if not orders:
                return
            order = orders[step.pick % len(orders)]
            params = {"symbol": SYMBOL, "orderId": order.order_id}
            if step.what == "amend":
                params |= {"qty": self.listing.numbers.size(step.size)} if step.pick % 2 else {}
                params |= {"price": self._price(order.side, step.away)} if step.pick % 3 else {}
            requests[step.what] = (f"/v5/order/{step.what}", params)
        path, params = requests[step.what]
        self.api.carry_out(path, {"category": "linear"} | params)

    # -- what holds ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        self._check_book()
        self._check_sizes()
        self._check_money()

    def _check_book(self) -> None:
        bid, ask = self.listing.best_bid, self.listing.best_ask
        assert bid is None or ask is None or bid < ask, "the book is crossed"
        for side in (0, 1):
            prices, sizes = self.listing.market.top(side, 50)
            assert (sizes > 0).all()
            assert list(prices) == sorted(set(prices.tolist()), reverse=side == 0)
            for order in self.desk.orders.values():
                if order.slot >= 0 and order.side == side and order.price in prices:
                    at = prices.tolist().index(order.price)
                    assert int(sizes[at]) >= order.left, "a resting order is not in the book"

    def _check_sizes(self) -> None:
        for order in self._orders():
            shown = self.listing.numbers.instrument.quantity(order.filled)
            assert 0 <= order.filled <= order.qty, f"{order.order_id} filled beyond its size"
            if order.create_type != "CreateBySettle":
                assert self.filled.get(order.order_id, Decimal(0)) == shown
            if order.status == "Filled":
                assert order.left == 0

    def _check_money(self) -> None:
        """What was paid and received, and what the rest is worth, is what the account says."""
        cash, steps = START, Decimal(0)
        for row in self.rows:
            sign = 1 if row["side"] == "Buy" else -1
            if row["execType"] == "Funding":
                cash -= Decimal(row["execFee"])
                continue
            cash -= sign * Decimal(row["execValue"]) + Decimal(row["execFee"])
            steps += sign * Decimal(row["execQty"])
        rules, holding = self.listing.instrument, self.desk.positions[SYMBOL]
        assert rules.quantity(sum(place.steps for place in holding.places)) == steps
        worth = cash + steps * rules.price(self.listing.mark_ticks)
        assert abs(worth - self.desk.wallet.equity) < _PENNY, "money was made or lost on the way"
        gained = sum((Decimal(row.get("execPnl") or 0) for row in self.rows), Decimal(0))
        paid = sum((Decimal(row["execFee"]) for row in self.rows), Decimal(0))
        assert abs(START + gained - paid - self.desk.wallet.balance) < _PENNY

    def _check_no_trade_through(self, rows: list[dict[str, Any]], book: tuple[int | None, int | None]) -> None:
        """A taker's fills begin at the best price, get worse, keep the limit, and leave nothing better behind."""
        takes: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row["execType"] == "Trade" and not row["isMaker"]:
                takes[row["orderId"]].append(self.listing.instrument.to_ticks(Decimal(row["execPrice"])))
        for number, prices in takes.items():
            order = next(order for order in self._orders() if order.order_id == number)
            assert prices == sorted(prices, reverse=bool(order.side)), "a worse price traded first"
            assert order.kind == "Market" or (order.price - prices[-1]) * order.sign >= 0, "traded beyond the limit"
            left = self.listing.best_ask if order.side == 0 else self.listing.best_bid
            assert left is None or (left - prices[-1]) * order.sign >= 0, "traded through a better price"
            if len(takes) == 1:
                assert prices[0] == book[1 - order.side], "did not begin at the best price"

    def check_counterparties(self) -> None:
        """Every execution in the market is on its public tape, at its price, and no larger than what was traded."""
        self.venue.flush(self.listing)
        tape = {trade_id(row[_lob.R_ID])[8:]: row for row in self.listing.trades}
        sizes: dict[tuple[str, bool], int] = defaultdict(int)
        for row in self.rows:
            if row["execType"] != "Trade" or row["execId"][8:] not in tape:
                continue
            trade = tape[row["execId"][8:]]
            assert trade[_lob.R_PRICE] == self.listing.instrument.to_ticks(Decimal(row["execPrice"]))
            aggressor = 1 - SIDES.index(row["side"]) if row["isMaker"] else SIDES.index(row["side"])
            assert trade[_lob.R_SIDE] == aggressor
            sizes[row["execId"][8:], row["isMaker"]] += self.listing.instrument.to_steps(Decimal(row["execQty"]))
        for (number, _), size in sizes.items():
            assert size <= tape[number][_lob.R_SIZE], "more was executed than traded"


@given(st.integers(0, 5), st.lists(_STEPS, min_size=1, max_size=40))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_order_flow_breaks_the_exchange(seed: int, steps: list[Step]) -> None:
    world = World(seed)
    for step in steps:
        world.do(step)
    world.check_counterparties()


@given(st.integers(0, 5), st.lists(_STEPS, min_size=5, max_size=30))
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_same_seed_and_requests_give_the_same_again(seed: int, steps: list[Step]) -> None:
    def live() -> tuple[Any, ...]:
        world = World(seed)
        for step in steps:
            world.do(step)
        sides = [[column.tolist() for column in world.listing.market.top(side, 1_000)] for side in (0, 1)]
        return world.rows, sides, list(world.listing.trades), world.desk.wallet.equity

    assert live() == live()


def test_the_checks_can_fail() -> None:
    world = World(1)
    world.do(Step("market", 0, 0, 500, 0))
    world.rows[-1]["execFee"] = "0"
    with pytest.raises(AssertionError, match="money"):
        world.check()
    world = World(1)
    world.do(Step("limit", 0, 3, 500, 0))
    world.do(Step("limit", 0, 3, 500, 0))
    first, second = world.desk.open_orders()
    world.queued[second.number] = (-1, *world.queued[second.number][1:])
    world.listing.market.take(1, first.price, 10**9, 0)
    with pytest.raises(AssertionError, match="older"):
        world.desk.settle(world.listing)
