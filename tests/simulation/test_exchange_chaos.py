"""Whatever is asked for in whatever order: nothing breaks, nothing is filled twice, and money adds up."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from market import Lake
from simulation import _lob
from simulation.exchange.orders import POSITION_STOPS, Refusal
from simulation.synthetic import SyntheticMarket

from .counter import SYMBOL, Counter
from .replay_lake import record

#: Codes that a refusal may have here; anything else is not a documented answer to these requests.
KNOWN = {
    10001, 34040, 110001, 110003, 110007, 110009, 110013, 110014, 110015, 110017, 110020, 110024, 110025, 110028,
    110043, 110044, 110058, 110059, 110060, 110061, 110064, 110078, 110092, 110093, 110094, 3400045,
}  # fmt: skip


class Crowd:
    """Somebody who presses every button."""

    def __init__(self, seed: int, naps: tuple[float, ...] = (1, 5, 30), **options: Any) -> None:
        self.dice, self.naps = random.Random(seed), naps
        self.counter = Counter(seed=seed, equity=Decimal(300_000), **options)
        self.refusals: set[int] = set()

    def price(self, reach: int = 60) -> str:
        listing, side = self.counter.listing, self.dice.randrange(2)
        best = listing.best_ask if side else listing.best_bid
        anchor = listing.last_ticks if best is None else best
        return self.counter.numbers.price(anchor + self.dice.randint(-reach, reach))

    def maybe(self, chance: float, **params: Any) -> dict[str, Any]:
        return params if self.dice.random() < chance else {}

    def idx(self) -> dict[str, int]:
        hedged = self.counter.desk.positions[SYMBOL].hedged
        return {"positionIdx": self.dice.choice((1, 2)) if hedged else 0}

    def wish(self) -> dict[str, Any]:
        dice = self.dice
        wish: dict[str, Any] = {"symbol": SYMBOL, "side": dice.choice(("Buy", "Sell"))} | self.idx()
        wish |= {"qty": f"{dice.choice((0.01, 0.2, 1.0, 4.0)) * dice.random():.3f}"}
        wish |= dice.choice(({"orderType": "Market"}, {"orderType": "Limit", "price": self.price()}))
        wish |= {"timeInForce": dice.choice(("GTC", "GTC", "IOC", "FOK", "PostOnly"))}
        wish |= self.maybe(0.2, reduceOnly=True) | self.maybe(0.1, closeOnTrigger=True)
        wish |= self.maybe(0.2, smpType=dice.choice(("CancelMaker", "CancelTaker", "CancelBoth")))
        by = dice.choice(("LastPrice", "MarkPrice", "IndexPrice"))
        wish |= self.maybe(0.2, triggerPrice=self.price(), triggerDirection=dice.choice((1, 2)), triggerBy=by)
        wish |= self.maybe(0.2, stopLoss=self.price()) | self.maybe(0.2, takeProfit=self.price())
        return wish | self.maybe(0.3, tpslMode="Partial")

    def stop(self) -> dict[str, Any]:
        dice = self.dice
        size = f"{dice.random():.3f}"
        stop = {"symbol": SYMBOL, "tpslMode": dice.choice(("Full", "Partial"))} | self.idx()
        stop |= self.maybe(0.6, takeProfit=self.price(), tpSize=size) | self.maybe(
            0.6, stopLoss=self.price(), slSize=size
        )
        return stop | self.maybe(0.2, trailingStop="10", activePrice=self.price())

    def act(self) -> None:
        counter, dice = self.counter, self.dice
        orders = list(counter.desk.orders.values())
        named = {"symbol": SYMBOL, "orderId": dice.choice(orders).order_id if orders else "x"}
        match dice.choices(range(11), (12, 4, 5, 6, 4, 1, 1, 1, 1, 1, 1))[0]:
            case 0:
                counter.ask("order/create", **self.wish())
            case 1:
                counter.ask("order/cancel", **named)
            case 2:
                changes = self.maybe(0.6, price=self.price()) | self.maybe(0.6, qty=f"{dice.random():.3f}")
                changes |= self.maybe(0.3, triggerPrice=self.price()) | self.maybe(0.2, stopLoss=self.price())
                counter.ask("order/amend", **named, **changes)
            case 3:
                counter.ask("position/trading-stop", **self.stop())
            case 4:
                counter.run(dice.choice(self.naps))
            case 5:
                counter.ask("position/switch-mode", symbol=SYMBOL, mode=dice.choice((0, 3)))
            case 6:
                counter.desk.fund(counter.listing, Decimal("0.0001") * dice.choice((1, -1)))
            case 7:
                counter.desk.adl(SYMBOL, self.idx()["positionIdx"], dice.randint(1, 300))
            case 8:
                mode = dice.choice(("ISOLATED_MARGIN", "REGULAR_MARGIN"))
                counter.ask("account/set-margin-mode", setMarginMode=mode)
            case 9:
                lever = str(dice.choice((5, 10, 50)))
                counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage=lever, sellLeverage=lever)
            case 10 if dice.random() < 0.3:
                counter.desk.liquidate(SYMBOL, self.idx()["positionIdx"])
                counter.ask("order/cancel-all", symbol=SYMBOL)

    def press(self) -> None:
        try:
            self.act()
        except Refusal as refusal:
            self.refusals.add(refusal.code)
        self.look()

    def look(self) -> None:
        """What must hold at any time."""
        counter = self.counter
        market, listing = counter.listing.market, counter.listing
        synthetic = isinstance(market, SyntheticMarket)
        assert (
            not synthetic or listing.best_bid is None or listing.best_ask is None or listing.best_bid < listing.best_ask
        )
        holding = counter.desk.positions[SYMBOL]
        for order in counter.desk.orders.values():
            assert order.open
            assert 0 <= order.filled < order.qty
            assert order.conditional or order.slot >= 0
            if order.slot >= 0 and synthetic:
                kept = [int(market.lob.pool[row, order.slot]) for row in (_lob.OWNER, _lob.LEFT, _lob.PRICE)]
                assert kept == [order.number, order.left, order.price]
        for position in holding.places:
            assert position.steps * (0, 1, -1)[position.idx] >= 0
            assert position in holding.active or position.steps == 0
            stops = counter.desk.stops.of(position)
            assert all(order.qty <= abs(position.steps) and order.sign * position.sign < 0 for order in stops)
            kinds = [order.stop_kind for order in stops]
            shown = {
                "TakeProfit": position.take_profit,
                "StopLoss": position.stop_loss,
                "TrailingStop": position.trailing,
            }
            assert {kind: kinds.count(kind) for kind in shown} == {
                kind: int(value > 0) for kind, value in shown.items()
            }
            resting = [one for one in counter.desk.orders.values() if one.slot >= 0 and one.reduces]
            resting = [one for one in resting if one.idx == position.idx]
            assert all(one.sign * position.sign < 0 for one in resting)
            assert sum(one.left for one in resting) <= abs(position.steps)

    def settle(self) -> None:
        """Everything that has happened, from the beginning."""
        cash, orders = Decimal(300_000), dict[str, Decimal]()
        held: dict[int, Decimal] = {0: Decimal(0)}
        for row in self.counter.topics("execution"):
            cash -= Decimal(row["execFee"])
            if row["execType"] == "Funding":
                continue
            sign = 1 if row["side"] == "Buy" else -1
            cash -= sign * Decimal(row["execValue"])
            held[0] += sign * Decimal(row["execQty"])
            orders[row["orderId"]] = orders.get(row["orderId"], Decimal(0)) + Decimal(row["execQty"])
            assert orders[row["orderId"]] + Decimal(row["leavesQty"]) == Decimal(row["orderQty"])
        assert held[0] == self.counter.listing.instrument.quantity(self.counter.desk.positions[SYMBOL].steps)
        worth = held[0] * Decimal(self.counter.numbers.price(self.counter.listing.mark_ticks))
        assert self.counter.desk.wallet.equity == pytest.approx(cash + worth, abs=Decimal("0.0001"))
        finals = {row["orderId"]: row for row in self.counter.topics("order")}
        for order_id, size in orders.items():
            if order_id in finals:
                assert Decimal(finals[order_id]["cumExecQty"]) == size <= Decimal(finals[order_id]["qty"])


def test_reducing_orders_never_rest_across_the_book() -> None:
    """What is left of one that has closed the position must go, even if its own maker has opened it again."""
    counter = Counter()
    counter.run(until=lambda: counter.ticks(1) - counter.ticks(0) > 1)
    counter.order("Buy", "0.1")
    counter.order("Buy", "0.2", counter.price(1, -1))  # the best bid, so that the next order meets it first
    counter.ask("order/create", **counter.wish("Sell", "9", counter.price(0, 3), closeOnTrigger=True))
    assert counter.ticks(0) < counter.ticks(1)
    assert counter.position()["side"] == ""


@pytest.mark.parametrize("seed", [2, 11, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 40))])
def test_every_button_in_any_order(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(400):
        crowd.press()
    crowd.settle()
    assert crowd.refusals <= KNOWN
    assert len(crowd.counter.topics("execution")) > 50
    stops = {row["stopOrderType"] for row in crowd.counter.topics("order") if row["stopOrderType"] in POSITION_STOPS}
    assert len(stops) >= 3


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_every_button_in_a_replay(seed: int, lake: Lake) -> None:
    crowd = Crowd(seed, (0.1, 0.5, 2), replay=lake.root)
    for _ in range(400):
        crowd.press()
    crowd.settle()
    assert crowd.refusals <= KNOWN
    assert len(crowd.counter.topics("execution")) > 20


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two minutes of one symbol."""
    return record(tmp_path_factory.mktemp("replayed") / "lake", 2)
