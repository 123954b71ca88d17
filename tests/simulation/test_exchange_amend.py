"""Amending orders, batches, pages and the history of orders."""

from __future__ import annotations

import pytest

from simulation.exchange import DEFAULT_START_MS
from simulation.synthetic import MarketParams

from .counter import SYMBOL, Counter

DAY_MS = 86_400_000


def ahead_of(counter: Counter, order_id: str) -> int:
    """How much of the level stands before an order: what a taker must take until it trades."""
    order = counter.find(order_id)
    taken = 0
    while order.filled == 0:
        counter.listing.market.take(1 - order.side, order.price, 1, 0)
        counter.desk.settle(counter.listing)
        taken += 1
    return taken - 1


# -- amend -------------------------------------------------------------------------------------------------------------


def test_a_smaller_order_keeps_its_place_and_a_larger_one_goes_to_the_end() -> None:
    places = []
    for qty in ("0.05", "0.15"):
        counter = Counter()
        price = counter.ticks(1)
        first = counter.order("Sell", "0.1", counter.price(1))
        counter.listing.market.rest(1, price, 70, 0)  # somebody comes after it
        counter.ask("order/amend", symbol=SYMBOL, orderId=first, qty=qty)
        row = counter.show(first)
        assert (row["orderStatus"], row["leavesQty"]) == ("New", f"{float(qty):.3f}")
        places.append(ahead_of(counter, first))
    assert places[1] == places[0] + 70


def test_a_new_price_can_take_and_post_only_will_not() -> None:
    counter = Counter()
    taker = counter.order("Buy", "0.05", counter.price(0, 5), orderLinkId="mine")
    counter.ask("order/amend", symbol=SYMBOL, orderLinkId="mine", price=counter.price(1))
    assert counter.show(taker)["orderStatus"] == "Filled"
    maker = counter.order("Buy", "0.05", counter.price(0, 5), timeInForce="PostOnly")
    counter.ask("order/amend", symbol=SYMBOL, orderId=maker, price=counter.price(1))
    row = counter.show(maker)
    assert (row["orderStatus"], row["rejectReason"]) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity")


def test_what_cannot_be_amended() -> None:
    counter = Counter()
    order_id = counter.order("Buy", "0.2", counter.price(0))

    def refused(**changes: object) -> int:
        return counter.refused("order/amend", **{"symbol": SYMBOL, "orderId": order_id} | changes)

    before = counter.show(order_id)
    assert refused() == 10001
    assert refused(qty="0.2", price=counter.price(0)) == 10001
    assert refused(orderId="nobody", qty="0.1") == 110001
    assert refused(price="1") == 110003 or refused(price="1") == 10001
    assert refused(price="nan") == 10001
    assert refused(qty="0.0001") == 110017
    assert refused(qty="-1") == 10001
    assert refused(qty="49") == 110007
    assert refused(triggerPrice=counter.price(1, 5)) == 10001
    assert refused(takeProfit=counter.price(0, 50)) == 10001
    assert refused(tpLimitPrice=counter.price(1, 50)) == 10001
    assert counter.show(order_id) == before
    order = counter.find(order_id)
    counter.desk.impose(order, order.price, 50, maker=True)
    assert counter.show(order_id)["orderStatus"] == "PartiallyFilled"
    assert refused(qty="0.05") == 110064
    assert refused(stopLoss=counter.price(0, 90)) == 110059
    counter.ask("order/amend", symbol=SYMBOL, orderId=order_id, qty="0.1")
    row = counter.show(order_id)
    assert (row["qty"], row["leavesQty"], row["cumExecQty"]) == ("0.100", "0.050", "0.050")


def test_smallest_order_value_holds_for_amendments() -> None:
    counter = Counter(params=MarketParams(start_ticks=4_000))
    order_id = counter.order("Buy", "0.004", counter.price(0, 10))
    assert counter.refused("order/amend", symbol=SYMBOL, orderId=order_id, qty="0.002") == 110094


def test_stops_of_an_order_that_rests() -> None:
    counter = Counter()
    order_id = counter.order("Buy", "0.2", counter.price(0, 3), stopLoss=counter.price(0, 60))
    new, target = counter.price(0, 80), counter.price(1, 80)
    counter.ask(
        "order/amend", symbol=SYMBOL, orderId=order_id, stopLoss=new, takeProfit=target, tpTriggerBy="MarkPrice"
    )
    row = counter.show(order_id)
    assert (row["stopLoss"], row["takeProfit"], row["tpTriggerBy"], row["slTriggerBy"]) == (
        new, target, "MarkPrice", "LastPrice"
    )  # fmt: skip
    counter.ask("order/amend", symbol=SYMBOL, orderId=order_id, stopLoss="0", qty="0.1")
    counter.sweep(1, 3)
    position = counter.position()
    assert (position["size"], position["takeProfit"], position["stopLoss"]) == ("0.100", target, "")


def test_conditional_orders_and_their_triggers() -> None:
    counter = Counter()
    last = counter.listing.last_ticks
    price = counter.numbers.price
    order_id = counter.order("Buy", "0.1", triggerPrice=price(last + 500), triggerDirection=1)
    amend = {"symbol": SYMBOL, "orderId": order_id}
    assert counter.refused("order/amend", triggerPrice=price(last - 5), **amend) == 110092
    counter.ask("order/amend", triggerPrice=price(last + 400), qty="0.2", **amend)
    row = counter.show(order_id)
    assert (row["triggerPrice"], row["qty"], row["orderStatus"]) == (price(last + 400), "0.200", "Untriggered")
    counter.ask("order/amend", triggerBy="MarkPrice", **amend)
    assert counter.show(order_id)["triggerBy"] == "MarkPrice"


@pytest.mark.parametrize("kind", ["StopLoss", "TakeProfit"])
def test_the_position_follows_an_amended_stop(kind: str) -> None:
    counter = Counter()
    counter.order("Sell", "0.2", takeProfit=counter.price(0, 90), stopLoss=counter.price(1, 90))
    (stop,) = [row for row in counter.open() if row["stopOrderType"] == kind]
    moved = counter.price(1, 120) if kind == "StopLoss" else counter.price(0, 120)
    counter.ask("order/amend", symbol=SYMBOL, orderId=stop["orderId"], triggerPrice=moved)
    assert counter.position()[kind[0].lower() + kind[1:]] == moved
    assert counter.show(stop["orderId"])["triggerPrice"] == moved
    assert counter.refused("order/amend", symbol=SYMBOL, orderId=stop["orderId"], qty="0.1") == 110060


def test_every_order_is_followed_by_word_of_its_position() -> None:
    counter = Counter()
    order_id = counter.order("Buy", "0.1", counter.price(0, 9))
    counter.ask("order/amend", symbol=SYMBOL, orderId=order_id, qty="0.2")
    counter.ask("order/cancel", symbol=SYMBOL, orderId=order_id)
    assert [topic for topic, _ in counter.told] == ["order", "position", "wallet"] * 3
    wallets = counter.topics("wallet")
    assert wallets[-1]["totalAvailableBalance"] == "10000" != wallets[0]["totalAvailableBalance"]


# -- batches -----------------------------------------------------------------------------------------------------------


def test_each_order_of_a_batch_stands_for_itself() -> None:
    counter = Counter()
    good = counter.wish("Buy", "0.1", counter.price(0, 20))
    wishes = [good | {"orderLinkId": "a"}, good | {"orderLinkId": "a"}, good | {"qty": "49"}, good]
    result, extra = counter.reply("order/create-batch", request=wishes)
    assert [note["code"] for note in extra["list"]] == [0, 110072, 110007, 0]
    ids = [row["orderId"] for row in result["list"]]
    assert [bool(one) for one in ids] == [True, False, False, True]
    assert result["list"][1]["orderLinkId"] == "a"
    assert result["list"][0]["createAt"] == str(counter.venue.now_ms)
    assert len(counter.open()) == 2
    changes = [{"symbol": SYMBOL, "orderLinkId": "a", "qty": "0.3"}, {"symbol": SYMBOL, "orderId": "x", "qty": "1"}]
    result, extra = counter.reply("order/amend-batch", request=changes)
    assert [note["code"] for note in extra["list"]] == [0, 110001]
    assert (counter.show(ids[0])["qty"], result["list"][1]["orderId"]) == ("0.300", "x")
    result, extra = counter.reply("order/cancel-batch", request=[{"symbol": SYMBOL, "orderId": one} for one in ids])
    assert [note["code"] for note in extra["list"]] == [0, 10001, 10001, 0]
    assert counter.open() == []


def test_batches_have_a_limit() -> None:
    counter = Counter()
    counter.order("Buy", "0.1", triggerPrice=counter.price(1, 500), triggerDirection=1, orderLinkId="waits")
    change = {"symbol": SYMBOL, "orderLinkId": "waits", "qty": "0.2"}
    assert counter.reply("order/amend-batch", request=[change]).extra["list"][0]["code"] == 10001
    counter.ask("order/cancel", symbol=SYMBOL, orderLinkId="waits")
    wish = counter.wish("Buy", "0.001", counter.price(0, 20))
    assert counter.refused("order/create-batch", request=[wish] * 21) == 10001
    assert counter.refused("order/create-batch", request=[]) == 10001
    assert counter.refused("order/create-batch", request="all") == 10001
    assert len(counter.reply("order/create-batch", request=[wish] * 20).result["list"]) == len(counter.open(limit=50))


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.failure(13)
def test_pages_stay_apart_when_orders_come_and_go() -> None:
    counter = Counter()
    ids = [counter.order("Buy", "0.001", counter.price(0, 20)) for _ in range(9)]
    first = counter.ask("order/realtime", symbol=SYMBOL, limit=4)
    counter.order("Buy", "0.001", counter.price(0, 20))
    counter.ask("order/cancel", symbol=SYMBOL, orderId=ids[7])
    second = counter.ask("order/realtime", symbol=SYMBOL, limit=4, cursor=first["nextPageCursor"])
    third = counter.ask("order/realtime", symbol=SYMBOL, limit=4, cursor=second["nextPageCursor"])
    seen = [row["orderId"] for page in (first, second, third) for row in page["list"]]
    assert (seen, third["nextPageCursor"]) == (ids[::-1], "")
    assert counter.refused("order/realtime", symbol=SYMBOL, cursor="elsewhere") == 10001


def test_filters() -> None:
    counter = Counter(symbols=(SYMBOL, "OTHUSDT"))
    active = counter.order("Buy", "0.1", counter.price(0, 20))
    waiting = counter.order("Buy", "0.1", triggerPrice=counter.price(1, 500), triggerDirection=1)
    bid = counter.venue.listings["OTHUSDT"].best_bid
    assert bid is not None
    low = counter.numbers.price(bid - 40)
    other = counter.ask("order/create", **counter.wish("Buy", "0.1", low) | {"symbol": "OTHUSDT"})

    def seen(**params: object) -> list[str]:
        return [row["orderId"] for row in counter.ask("order/realtime", **params)["list"]]

    assert seen(symbol=SYMBOL, orderFilter="Order") == [active]
    assert seen(symbol=SYMBOL, orderFilter="StopOrder") == [waiting]
    assert seen(baseCoin="OTH") == [other["orderId"]]
    assert len(seen(settleCoin="USDT")) == 3
    assert seen(settleCoin="USDC") == []
    assert counter.refused("order/realtime") == 10001
    gone = counter.ask("order/cancel-all", settleCoin="USDT", orderFilter="StopOrder", stopOrderType="Stop")["list"]
    assert [row["orderId"] for row in gone] == [waiting]
    assert counter.refused("order/cancel-all") == 10001
    assert counter.refused("order/cancel-all", symbol=SYMBOL, orderFilter="Everything") == 10001
    assert len(counter.ask("order/cancel-all", baseCoin="SYN")["list"]) == 1
    assert seen(settleCoin="USDT") == [other["orderId"]]


def test_history_forgets_what_never_traded_after_a_day() -> None:
    counter = Counter()
    cancelled = counter.order("Buy", "0.1", counter.price(0, 20))
    counter.ask("order/cancel", symbol=SYMBOL, orderId=cancelled)
    filled = counter.order("Buy", "0.1", orderLinkId="bought")

    def seen(**params: object) -> list[str]:
        return [row["orderId"] for row in counter.ask("order/history", **params)["list"]]

    assert seen() == [filled, cancelled]
    assert seen(orderStatus="Cancelled") == [cancelled]
    assert seen(orderLinkId="bought") == [filled]
    assert seen(startTime=DEFAULT_START_MS + 1) == []
    assert counter.refused("order/history", startTime=1, endTime=1 + 8 * DAY_MS) == 10001
    for order in counter.desk.history:
        order.updated_ms -= DAY_MS
    assert seen() == [filled]


def test_executions_of_an_order() -> None:
    counter = Counter()
    order_id = counter.order("Buy", "3", orderLinkId="bought")
    counter.order("Sell", "0.1")
    rows = counter.ask("execution/list", orderId=order_id, symbol=SYMBOL, execType="Funding")["list"]
    assert {row["orderId"] for row in rows} == {order_id}
    assert sum(float(row["execQty"]) for row in rows) == pytest.approx(3)
    assert counter.ask("execution/list", orderLinkId="bought")["list"] == rows
    assert counter.ask("execution/list", execType="Funding")["list"] == []
    assert counter.ask("execution/list", baseCoin="ABC")["list"] == []
    assert counter.refused("execution/list", startTime=1, endTime=1 + 8 * DAY_MS) == 10001
