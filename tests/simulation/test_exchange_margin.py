"""Margin, liquidation and leverage in cross and isolated mode; limits that money and prices set."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from simulation.exchange.listing import Flush, Listing
from simulation.synthetic import MarketParams

from .counter import MAKER, SYMBOL, TAKER, Counter

ISOLATED, CROSS = {"setMarginMode": "ISOLATED_MARGIN"}, {"setMarginMode": "REGULAR_MARGIN"}
CENT = Decimal("0.00000001")


def isolated(**options: object) -> Counter:
    counter = Counter(**options)
    counter.ask("account/set-margin-mode", **ISOLATED)
    return counter


# -- margin ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "sign"), [("Buy", 1), ("Sell", -1)])
def test_margins_of_a_position(side: str, sign: int) -> None:
    counter = Counter()
    counter.order(side, "0.5")
    row = counter.position()
    value = Decimal(row["markPrice"]) * Decimal("0.5")
    to_close = value * TAKER * (1 - sign / Decimal(10))
    assert Decimal(row["positionIM"]) == pytest.approx(value / 10 + to_close, abs=CENT)
    assert Decimal(row["positionMM"]) == pytest.approx(value * Decimal("0.005") + to_close, abs=CENT)
    wallet = counter.wallet()
    assert wallet["totalInitialMargin"] == row["positionIM"] == wallet["coin"][0]["totalPositionIM"]
    available = Decimal(wallet["totalEquity"]) - Decimal(row["positionIM"])
    assert Decimal(wallet["totalAvailableBalance"]) == pytest.approx(available, abs=CENT * 2)


def test_orders_that_reduce_need_no_margin_and_the_dearer_side_counts() -> None:
    counter = Counter()

    def held() -> Decimal:
        return Decimal(counter.wallet()["coin"][0]["totalOrderIM"])

    counter.order("Buy", "0.5")
    counter.order("Sell", "0.5", counter.price(1, 30))
    assert held() == 0
    counter.order("Sell", "0.2", counter.price(1, 30))
    extra = held()
    value = Decimal(counter.price(1, 30)) * Decimal("0.2")
    assert extra == pytest.approx(value / 10 + value * TAKER * Decimal("1.1"), abs=CENT)
    counter.order("Buy", "0.1", counter.price(0, 30))
    assert held() == extra
    counter.order("Buy", "0.2", counter.price(0, 30))
    assert held() > extra


def test_turning_a_position_round_needs_margin_for_what_it_opens() -> None:
    counter = Counter()
    counter.order("Buy", "2.5")
    assert counter.refused("order/create", **counter.wish("Buy", "2")) == 110007
    assert counter.refused("order/create", **counter.wish("Sell", "4")) == 110007
    counter.order("Sell", "3")
    assert (counter.position()["side"], counter.position()["size"]) == ("Sell", "0.500")


def test_leverage_cannot_take_more_than_there_is() -> None:
    counter = Counter()
    counter.order("Buy", "2")
    lever = "position/set-leverage"
    assert counter.refused(lever, symbol=SYMBOL, buyLeverage="2", sellLeverage="2") == 110044
    assert counter.position()["leverage"] == "10"
    for value, code in (("0.5", 110013), ("101", 110013), ("nan", 10001), (None, 10001)):
        assert counter.refused(lever, symbol=SYMBOL, buyLeverage=value, sellLeverage=value) == code
    counter.ask(lever, symbol=SYMBOL, buyLeverage="20", sellLeverage="20")
    assert counter.topics("position")[-1]["leverage"] == "20"
    assert counter.refused("position/switch-isolated", symbol=SYMBOL, tradeMode=1) == 100028


def test_larger_positions_have_other_tiers() -> None:
    counter = Counter(equity=Decimal(50_000_000), params=MarketParams(limit_size=60_000.0))
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="50", sellLeverage="50")
    for _ in range(4):
        counter.order("Buy", "25")
    row = counter.position()
    value = Decimal(row["markPrice"]) * Decimal(row["size"])
    assert (row["riskId"], row["riskLimitValue"]) == (2, "4000000")
    margin = value * (Decimal("0.01") + TAKER * Decimal("0.98")) - 10_000
    assert Decimal(row["positionMM"]) == pytest.approx(margin, abs=CENT)
    lever = {"buyLeverage": "51", "sellLeverage": "51"}
    assert counter.refused("position/set-leverage", symbol=SYMBOL, **lever) == 110013
    resting = counter.order("Buy", "20", counter.price(0, 300))
    assert counter.refused("order/create", **counter.wish("Buy", "20", counter.price(0, 300))) == 110090
    assert counter.refused("order/amend", symbol=SYMBOL, orderId=resting, qty="40") == 110090
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="2", sellLeverage="2")
    for _ in range(2):
        counter.order("Buy", "90", counter.price(0, 300))
    assert counter.refused("order/create", **counter.wish("Buy", "90", counter.price(0, 300))) == 110089
    counter.order("Sell", "90", counter.price(1, 300))


# -- isolated mode -----------------------------------------------------------------------------------------------------


def test_isolated_margin_is_what_was_set_aside() -> None:
    counter = isolated()
    assert counter.ask("account/info")["marginMode"] == "ISOLATED_MARGIN"
    counter.order("Buy", "0.5")
    row = counter.position()
    entry = Decimal(row["positionValue"])
    margin = entry / 10 + entry * TAKER * Decimal("0.9")
    assert Decimal(row["positionIM"]) == pytest.approx(margin, abs=CENT)
    average = Decimal(row["avgPrice"])
    reach = 1 - Decimal("0.1") - TAKER * Decimal("0.9")
    expected = average * reach / (1 - Decimal("0.005") - TAKER * Decimal("0.9"))
    assert Decimal(row["liqPrice"]) == pytest.approx(expected, abs=Decimal("0.5"))
    counter.ask("position/add-margin", symbol=SYMBOL, margin="100")
    further = counter.position()
    assert Decimal(further["positionIM"]) - Decimal(row["positionIM"]) == 100
    assert Decimal(row["liqPrice"]) - Decimal(further["liqPrice"]) == pytest.approx(Decimal(201), abs=Decimal(1))
    counter.order("Sell", "0.25", reduceOnly=True)
    assert Decimal(counter.position()["positionIM"]) == pytest.approx(margin / 2 + 50, abs=CENT)


def test_margin_that_cannot_be_moved() -> None:
    counter = Counter()
    add = {"symbol": SYMBOL, "margin": "10"}
    assert counter.refused("position/add-margin", **add) == 110015
    assert counter.refused("position/set-auto-add-margin", symbol=SYMBOL, autoAddMargin=1) == 110076
    counter.ask("account/set-margin-mode", **ISOLATED)
    assert counter.refused("position/add-margin", **add) == 110033
    counter.order("Buy", "0.5")
    for margin, code in (("0", 110027), ("-1", 110078), ("1e9", 110014), ("0.00001", 10001), ("all", 10001)):
        assert counter.refused("position/add-margin", **add | {"margin": margin}) == code
    assert counter.refused("position/set-auto-add-margin", symbol=SYMBOL, autoAddMargin=2) == 10001
    counter.ask("position/add-margin", **add)
    counter.ask("position/add-margin", **add | {"margin": "-10"})


def test_margin_modes() -> None:
    counter = Counter()
    assert counter.refused("account/set-margin-mode", setMarginMode="PORTFOLIO_MARGIN") == 3400045
    assert counter.refused("account/set-margin-mode", setMarginMode="NONE") == 10001
    assert counter.ask("account/set-margin-mode", **CROSS) == {"reasons": []}
    counter.order("Buy", "0.5")
    counter.ask("account/set-margin-mode", **ISOLATED)
    alone = counter.position()["liqPrice"]
    counter.ask("account/set-margin-mode", **CROSS)
    shared = counter.position()["liqPrice"]
    assert Decimal(alone) > Decimal(shared or 0)


@pytest.mark.parametrize("side", ["Buy", "Sell"])
def test_isolated_liquidation_loses_the_margin_and_no_more(side: str) -> None:
    counter = isolated(params=MarketParams(volatility=0.005))
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="100", sellLeverage="100")
    told: list[tuple[object, ...]] = []
    counter.desk.liquidated = lambda *facts: told.append(facts)
    counter.order(side, "0.8")
    before, margin = counter.desk.wallet.balance, Decimal(counter.position()["positionIM"])
    counter.run(60 * 3600, until=lambda: counter.place_of().steps == 0)
    (row,) = counter.ask("execution/list", execType="BustTrade")["list"]
    assert (row["createType"], row["execQty"], row["isMaker"]) == ("CreateByTakeOver_PassThrough", "0.800", False)
    lost = before - counter.desk.wallet.balance
    tick = Decimal("0.5") * Decimal("0.8")
    assert margin - tick <= lost <= margin
    assert told[0][1:3] == (0 if side == "Buy" else 1, 800)
    assert counter.topics("position")[-1]["positionStatus"] == "Normal"
    log = counter.ask("account/transaction-log", type="LIQUIDATION")["list"]
    assert [row["cashBalance"] for row in log] == [counter.wallet()["totalWalletBalance"]]


def test_wallet_adds_margin_where_the_owner_lets_it() -> None:
    counter = isolated(params=MarketParams(volatility=0.005))
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="100", sellLeverage="100")
    counter.ask("position/set-auto-add-margin", symbol=SYMBOL, autoAddMargin=1)
    counter.order("Buy", "0.5")
    counter.run(60 * 3600, until=lambda: counter.place_of().extra > 0 or counter.place_of().steps == 0)
    assert counter.place_of().extra > 0
    assert counter.position()["autoAddMargin"] == 1
    assert counter.ask("execution/list", execType="BustTrade")["list"] == []


# -- cross mode --------------------------------------------------------------------------------------------------------


def test_cross_liquidation_comes_where_it_was_told_to() -> None:
    counter = Counter(equity=Decimal(400), params=MarketParams(volatility=0.005))
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="100", sellLeverage="100")
    counter.order("Sell", "0.8")
    price = Decimal(counter.position()["liqPrice"]) / counter.listing.instrument.tick_size
    counter.run(60 * 3600, until=lambda: counter.place_of().steps == 0 or counter.listing.mark_ticks >= price + 2)
    assert counter.place_of().steps == 0
    (row, *_) = counter.ask("execution/list")["list"]
    assert row["createType"] == "CreateByLiq"
    assert Decimal(row["markPrice"]) / counter.listing.instrument.tick_size >= price - 1
    assert "Liq" in {row["positionStatus"] for row in counter.topics("position")}


@pytest.mark.parametrize("taking", [True, False])
def test_money_is_conserved(taking: bool) -> None:
    """What the wallet has is what it had, and the values, fees and funding of every execution."""
    counter = Counter(equity=Decimal(200_000))
    for k in range(30):
        side = "Buy" if k % 3 else "Sell"
        counter.order(side, f"0.{k + 1:03d}", None if taking else counter.price(1 if side == "Buy" else 0))
        if k % 5 == 0:
            counter.desk.fund(counter.listing, Decimal("0.0001"))
        counter.run(2)
    counter.desk.adl(SYMBOL, 0, 7)
    counter.desk.liquidate(SYMBOL)
    counter.ask("order/cancel-all", symbol=SYMBOL)
    assert counter.place_of().steps == 0
    cash, cursor = Decimal(200_000), None
    while cursor != "":
        page = counter.ask("execution/list", limit=100, **({"cursor": cursor} if cursor else {}))
        cursor = page["nextPageCursor"]
        for row in page["list"]:
            value = Decimal(row["execValue"]) if row["execType"] != "Funding" else Decimal(0)
            cash += (value if row["side"] == "Sell" else -value) - Decimal(row["execFee"])
    assert counter.desk.wallet.balance == pytest.approx(cash, abs=Decimal("0.000001"))
    log = [row for _, row in counter.desk.ledger.transactions]
    assert sum(Decimal(row["change"]) for row in log) == pytest.approx(cash - 200_000, abs=Decimal("0.000001"))
    assert log[-1]["cashBalance"] == counter.wallet()["totalWalletBalance"]
    closed = counter.ask("position/closed-pnl", limit=100)["list"]
    funding = sum(Decimal(row["funding"]) for row in log if row["type"] == "SETTLEMENT")
    total = sum(Decimal(row["closedPnl"]) for row in closed)
    assert total + funding == pytest.approx(cash - 200_000, abs=Decimal("0.00001"))


# -- deleveraging, orders by hand --------------------------------------------------------------------------------------


def test_adl_takes_at_mark_price_for_the_makers_fee_and_cancels_orders() -> None:
    counter = Counter()
    counter.order("Sell", "0.5", stopLoss=counter.price(1, 90))
    resting = counter.order("Sell", "0.1", counter.price(1, 90))
    counter.desk.adl(SYMBOL, 0, 200)
    (row,) = counter.ask("execution/list", execType="AdlTrade")["list"]
    assert (row["side"], row["execQty"], row["execPrice"]) == ("Buy", "0.200", row["markPrice"])
    assert Decimal(row["execFee"]) == pytest.approx(Decimal(row["execValue"]) * MAKER, abs=CENT)
    assert counter.show(resting)["cancelType"] == "CancelAllBeforeAdl"
    assert counter.position()["size"] == "0.300"
    assert [one["qty"] for one in counter.open()] == ["0.300"]
    counter.desk.adl(SYMBOL, 0, 10**6)
    counter.desk.adl(SYMBOL, 0, 10**6)
    assert counter.position()["side"] == ""
    assert counter.ask("account/transaction-log", type="ADL")["list"][0]["size"] == "0.000"


def test_orders_by_hand_have_no_link_id() -> None:
    counter = Counter()
    order = counter.desk.manual(SYMBOL, 0, 300)
    resting = counter.desk.manual(SYMBOL, 1, 100, counter.ticks(1, 50))
    rows = [counter.show(one.order_id) for one in (order, resting)]
    assert [(row["orderLinkId"], row["createType"], row["orderStatus"]) for row in rows] == [
        ("", "CreateByUser", "Filled"),
        ("", "CreateByUser", "New"),
    ]


# -- what an order may ask for -----------------------------------------------------------------------------------------


def test_large_reduce_only_orders_are_split() -> None:
    counter = Counter(equity=Decimal(50_000_000), params=MarketParams(limit_size=6_000.0))
    for _ in range(3):
        counter.order("Buy", "45")
    held = counter.place_of().steps
    assert held > 100_000
    order_id = counter.order("Sell", "1000", counter.price(1, 90), reduceOnly=True, orderLinkId="out")
    rows = counter.open()
    assert sum(Decimal(row["qty"]) for row in rows) == counter.listing.instrument.quantity(held)
    assert [row["orderLinkId"] for row in rows] == ["", "out"]
    assert rows[-1]["orderId"] == order_id


def test_slippage_tolerance_and_prices_from_the_book() -> None:
    counter = Counter()
    wish = counter.wish("Buy", "20", slippageToleranceType="TickSize")
    for value, code in (("0", 110108), ("10001", 110108), ("1.5", 110108), ("x", 10001)):
        assert counter.refused("order/create", **wish, slippageTolerance=value) == code
    percent = counter.wish("Buy", "20", slippageToleranceType="Percent")
    assert counter.refused("order/create", **percent, slippageTolerance="10.5") == 110109
    counter.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="100", sellLeverage="100")
    limit = counter.ticks(1, 3)
    row = counter.show(counter.ask("order/create", **wish, slippageTolerance="3")["orderId"])
    assert row["orderStatus"] == "Cancelled"
    assert 0 < Decimal(row["cumExecQty"]) < 20
    worst = max(Decimal(one["execPrice"]) for one in counter.ask("execution/list")["list"])
    assert worst <= Decimal(counter.numbers.price(limit))
    (shown,) = counter.ask("order/history", orderId=row["orderId"])["list"]
    assert (shown["slippageToleranceType"], shown["slippageTolerance"]) == ("TickSize", "3")
    level = int(counter.listing.market.top(0, 3)[0][2])
    best = counter.wish("Buy", "0.1", counter.price(0), bboSideType="Queue", bboLevel="3")
    row = counter.show(counter.ask("order/create", **best)["orderId"])
    assert (row["price"], row["createType"]) == (counter.numbers.price(level), "CreateByBboOrder")
    assert counter.refused("order/create", **best | {"bboLevel": "6"}) == 10001


@pytest.mark.parametrize(
    ("kind", "maker_stays", "taker_rests"),
    [("CancelMaker", False, True), ("CancelTaker", True, False), ("CancelBoth", False, False)],
)
def test_own_orders_do_not_meet_where_they_are_told_not_to(kind: str, *, maker_stays: bool, taker_rests: bool) -> None:
    counter = Counter(equity=Decimal(100_000))
    ask = counter.price(1)
    maker = counter.show(counter.order("Sell", "0.2", ask))["orderId"]
    taker = counter.order("Buy", "9", ask, smpType=kind)
    rows = [counter.show(one) for one in (maker, taker)]
    assert rows[0]["cumExecQty"] == "0.000"
    assert [row["orderStatus"] == "Cancelled" for row in rows] == [not maker_stays, not taker_rests]
    for row, other in (rows, rows[::-1]):
        if row["orderStatus"] == "Cancelled":
            assert (row["cancelType"], row["smpOrderId"]) == ("CancelBySmp", other["orderId"])


def test_own_orders_meet_unless_told_not_to() -> None:
    counter = Counter(equity=Decimal(100_000))
    ask = counter.price(1)
    maker = counter.order("Sell", "0.2", ask)
    counter.order("Buy", "9", ask)
    assert counter.show(maker)["orderStatus"] == "Filled"
    fills = [row for row in counter.topics("execution") if row["isMaker"]]
    assert [row["execQty"] for row in fills] == ["0.200"]
    wish = counter.wish("Buy", "1", smpType="Never")
    assert counter.refused("order/create", **wish) == 10001
    # An order that stands far enough behind others is not in the way.
    counter.order("Sell", "0.2", counter.price(1, 20))
    assert counter.show(counter.order("Buy", "0.01", smpType="CancelBoth"))["orderStatus"] == "Filled"


def test_kinds_of_orders_that_are_not_for_everybody() -> None:
    counter = Counter()
    wish = counter.wish("Buy", "0.1", counter.price(0, 9))
    assert counter.refused("order/create", **wish | {"timeInForce": "RPI"}) == 110119
    assert counter.refused("order/create", **wish | {"timeInForce": "Soon"}) == 10001
    assert counter.refused("order/create", **wish | {"category": "spot"}) == 10001
    for _ in range(10):
        counter.order("Buy", "0.001", triggerPrice=counter.price(1, 900), triggerDirection=1)
    wish = counter.wish("Buy", "0.001", triggerPrice=counter.price(1, 900), triggerDirection=1)
    assert counter.refused("order/create", **wish) == 110009
    assert counter.refused("order/create", **wish | {"triggerBy": "Rumour"}) == 10001


def test_prices_that_are_never_traded_liquidate_nobody() -> None:
    counter = Counter(equity=Decimal(1_000_000))
    for side in ("Buy", "Sell"):
        counter.order(side, "0.3")
        assert counter.position()["liqPrice"] == ""
        counter.order("Sell" if side == "Buy" else "Buy", "0.3", reduceOnly=True)


def test_everybody_hears_of_a_liquidation() -> None:
    class Public:
        def __init__(self) -> None:
            self.heard: list[dict[str, Any]] = []

        def publish(self, listing: Listing, flush: Flush) -> None:
            """Nobody listens to the book."""

        def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
            self.heard.append(message)

        def wants_ticker(self, symbol: str) -> bool:
            return True

    counter, public = Counter(), Public()
    counter.venue.audience = public
    counter.venue.boards[SYMBOL].join(f"allLiquidation.{SYMBOL}")
    counter.order("Buy", "0.3")
    counter.desk.liquidate(SYMBOL)
    price = counter.ask("execution/list", execType="BustTrade")["list"][0]["execPrice"]
    counter.run(1)
    (row,) = [row for message in public.heard for row in message["data"] if row["v"] == "0.300"]
    assert (row["S"], row["p"]) == ("Buy", price)
