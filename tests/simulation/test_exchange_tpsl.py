"""Stops of positions: whole and partial, market and limit, by last and by mark price, trailing, and in pairs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from .counter import SYMBOL, Counter

PARTIAL = {"symbol": SYMBOL, "tpslMode": "Partial", "positionIdx": 0}
FULL = {"symbol": SYMBOL, "tpslMode": "Full", "positionIdx": 0}


def stops(counter: Counter) -> dict[str, dict[str, Any]]:
    """Waiting stops by kind."""
    return {row["stopOrderType"]: row for row in counter.open(orderFilter="StopOrder")}


def reach(counter: Counter, ticks: int) -> None:
    """Let somebody trade at a price, or as near to it as the book goes, and take the other side of that away."""
    last = counter.listing.last_ticks
    counter.listing.market.take(0 if ticks > last else 1, ticks, 10**9, 0)
    counter.desk.settle(counter.listing)


# -- several partial ones ----------------------------------------------------------------------------------------------


def test_partial_stops_have_their_own_sizes_and_close_their_part() -> None:
    counter = Counter()
    counter.order("Buy", "1")
    near, far = counter.price(1, 5), counter.price(1, 200)
    counter.ask("position/trading-stop", takeProfit=near, tpSize="0.3", **PARTIAL)
    low = counter.price(0, 200)
    counter.ask("position/trading-stop", takeProfit=far, stopLoss=low, tpSize="0.5", slSize="0.5", **PARTIAL)
    rows = counter.open()
    assert [(row["stopOrderType"], row["qty"], row["tpslMode"], row["createType"]) for row in rows] == [
        ("PartialStopLoss", "0.500", "Partial", "CreateByPartialStopLoss"),
        ("PartialTakeProfit", "0.500", "Partial", "CreateByPartialTakeProfit"),
        ("PartialTakeProfit", "0.300", "Partial", "CreateByPartialTakeProfit"),
    ]
    assert counter.position()["takeProfit"] == ""
    reach(counter, counter.ticks(1, 5))
    assert counter.position()["size"] == "0.700"
    assert len(counter.open()) == 2


def test_one_of_a_pair_takes_the_other_with_it() -> None:
    counter = Counter()
    counter.order("Buy", "1")
    high, low = counter.ticks(1, 6), counter.price(0, 300)
    pair = {"takeProfit": counter.numbers.price(high), "stopLoss": low, "tpSize": "0.4", "slSize": "0.4"}
    counter.ask("position/trading-stop", **pair, **PARTIAL)
    loser = stops(counter)["PartialStopLoss"]["orderId"]
    reach(counter, high)
    assert counter.position()["size"] == "0.600"
    row = counter.show(loser)
    assert (row["orderStatus"], row["cancelType"]) == ("Deactivated", "CancelByOCOSlCanceledByTpTriggered")
    counter.ask("position/trading-stop", **pair | {"takeProfit": counter.price(1, 300)}, **PARTIAL)
    counter.ask("order/cancel", symbol=SYMBOL, orderId=stops(counter)["PartialTakeProfit"]["orderId"])
    assert counter.open() == []


def test_limit_target_rests_where_it_was_told_to() -> None:
    counter = Counter()
    counter.order("Sell", "0.5")
    trigger, limit = counter.ticks(0, 4), counter.ticks(0, 60)
    price = counter.numbers.price
    counter.ask(
        "position/trading-stop", takeProfit=price(trigger), tpSize="0.2", tpOrderType="Limit",
        tpLimitPrice=price(limit), **PARTIAL,
    )  # fmt: skip
    row = stops(counter)["PartialTakeProfit"]
    assert (row["orderType"], row["price"], row["triggerPrice"]) == ("Limit", price(limit), price(trigger))
    reach(counter, trigger)
    row = counter.show(row["orderId"])
    assert (row["orderStatus"], row["leavesQty"], row["timeInForce"]) == ("New", "0.200", "GTC")
    assert counter.find(row["orderId"]).slot >= 0
    counter.order("Buy", "0.5", reduceOnly=True)
    assert counter.show(row["orderId"])["cancelType"] == "CancelByReduceOnly"


def test_attached_partial_stops_grow_with_the_fills() -> None:
    counter = Counter()
    order_id = counter.order(
        "Buy", "0.3", counter.price(0), tpslMode="Partial", takeProfit=counter.price(1, 90), tpOrderType="Limit",
        tpLimitPrice=counter.price(1, 80), stopLoss=counter.price(0, 90), orderLinkId="parent",
    )  # fmt: skip
    row = counter.show(order_id)
    assert (row["tpslMode"], row["tpLimitPrice"], row["slLimitPrice"]) == ("Partial", counter.price(1, 80), "")
    order = counter.find(order_id)
    for size in (100, 200):
        counter.desk.impose(order, order.price, size, maker=True)
        held = counter.numbers.size(counter.place_of().steps)
        rows = stops(counter)
        assert {(row["qty"], row["parentOrderLinkId"]) for row in rows.values()} == {(held, "parent")}
        assert set(rows) == {"PartialTakeProfit", "PartialStopLoss"}
    counter.order("Buy", "0.2", tpslMode="Partial", stopLoss=counter.price(0, 70))
    assert len(counter.open()) == 3


def test_stops_are_never_larger_than_the_position() -> None:
    counter = Counter()
    counter.order("Buy", "1")
    counter.ask("position/trading-stop", stopLoss=counter.price(0, 200), slSize="0.8", **PARTIAL)
    named = {"symbol": SYMBOL, "orderId": stops(counter)["PartialStopLoss"]["orderId"]}
    assert counter.refused("order/amend", qty="1.001", **named) == 110058
    counter.order("Sell", "0.5", reduceOnly=True)
    assert stops(counter)["PartialStopLoss"]["qty"] == "0.500"
    counter.order("Sell", "0.5", reduceOnly=True)
    assert counter.open() == []
    (row,) = [row for row in counter.open(openOnly=1) if row["stopOrderType"]]
    assert (row["orderStatus"], row["cancelType"]) == ("Deactivated", "CancelByTpSlTsClear")


def test_what_cannot_be_set() -> None:
    counter = Counter()
    high, low = counter.price(1, 100), counter.price(0, 100)

    def refused(mode: dict[str, Any], **params: Any) -> int:
        return counter.refused("position/trading-stop", **mode | params)

    assert refused(FULL, stopLoss=low) == 10001
    counter.order("Buy", "1")
    assert refused(FULL) == 34040
    assert refused(FULL, takeProfit=low) == 10001
    assert refused(FULL, stopLoss=high) == 10001
    assert refused(FULL, stopLoss="-1") == 10001
    assert refused(FULL, takeProfit=high, tpOrderType="Limit", tpLimitPrice=high) == 10001
    assert refused(FULL | {"tpslMode": "Half"}, takeProfit=high) == 10001
    assert refused(FULL | {"positionIdx": 1}, takeProfit=high) == 10001
    assert refused(FULL, trailingStop="0") == 34040
    assert refused(FULL, trailingStop="5", activePrice=low) == 10001
    assert refused(PARTIAL) == 10001
    assert refused(PARTIAL, takeProfit=high, tpSize="1.001") == 110058
    assert refused(PARTIAL, takeProfit=high, stopLoss=low, tpSize="0.1", slSize="0.2") == 10001
    assert refused(PARTIAL, takeProfit=high, tpSize="0.1", tpOrderType="Limit") == 10001
    assert counter.open() == []
    for _ in range(20):
        counter.ask("position/trading-stop", takeProfit=high, tpSize="0.01", **PARTIAL)
    assert refused(PARTIAL, takeProfit=high, tpSize="0.01") == 110061
    wish = counter.wish("Buy", "0.1", counter.price(0, 9), tpslMode="Partial", takeProfit=high)
    assert counter.refused("order/create", **wish) == 110061


# -- the whole position ------------------------------------------------------------------------------------------------


def test_a_changed_stop_keeps_its_order() -> None:
    counter = Counter()
    counter.order("Buy", "0.2", stopLoss=counter.price(0, 90), orderLinkId="entry")
    before = stops(counter)["StopLoss"]
    counter.ask("position/trading-stop", stopLoss=counter.price(0, 70), **FULL)
    after = stops(counter)["StopLoss"]
    assert (after["orderId"], after["parentOrderLinkId"]) == (before["orderId"], "entry")
    assert after["triggerPrice"] == counter.price(0, 70)
    counter.ask("position/trading-stop", slTriggerBy="MarkPrice", **FULL)
    assert stops(counter)["StopLoss"]["triggerBy"] == "MarkPrice"
    counter.ask("order/cancel", symbol=SYMBOL, orderId=before["orderId"])
    assert (counter.position()["stopLoss"], counter.open()) == ("", [])


def test_stop_by_mark_price_waits_for_the_mark_price() -> None:
    counter = Counter()
    counter.order("Buy", "0.3")
    stop = counter.listing.mark_ticks - 10
    price = counter.numbers.price(stop)
    counter.ask("position/trading-stop", stopLoss=price, slTriggerBy="MarkPrice", **FULL)
    sold = counter.listing.market.take(1, stop - 40, 10**6, 0)  # the last price goes below, the mark price does not
    counter.desk.settle(counter.listing)
    assert sold < 10**6
    assert counter.listing.last_ticks <= stop < counter.listing.mark_ticks
    counter.desk.patrol(counter.listing)
    assert counter.position()["size"] == "0.300"
    counter.run(6 * 3600, until=lambda: counter.place_of().steps == 0)
    (row,) = [row for row in counter.open(openOnly=1) if row["stopOrderType"] == "StopLoss"]
    assert (row["orderStatus"], row["triggerBy"]) == ("Filled", "MarkPrice")


@pytest.mark.parametrize("side", ["Buy", "Sell"])
def test_trailing_stop_follows_the_best_price(side: str) -> None:
    counter = Counter()
    sign = 1 if side == "Buy" else -1
    counter.order(side, "0.2")
    start, price = counter.listing.last_ticks, counter.numbers.price
    counter.ask("position/trading-stop", trailingStop=price(30), activePrice=price(start + 20 * sign), **FULL)
    assert counter.position()["trailingStop"] == price(30)
    row = stops(counter)["TrailingStop"]
    assert (row["triggerPrice"], row["createType"]) == (price(start + 20 * sign), "CreateByTrailingStop")
    order = counter.find(row["orderId"])
    best: list[int] = []

    def over() -> bool:
        if order.extreme:
            best.append(order.extreme * sign)
        return counter.place_of().steps == 0

    counter.run(12 * 3600, until=over)
    assert counter.place_of().steps == 0
    assert best == sorted(best)
    assert best[0] >= (start + 20 * sign) * sign
    ended = counter.show(row["orderId"])
    assert (ended["orderStatus"], ended["stopOrderType"]) == ("Filled", "TrailingStop")
    worst = int(Decimal(ended["avgPrice"]) / counter.listing.instrument.tick_size)
    assert worst * sign <= best[-1] - 30 + 15
    assert counter.position()["trailingStop"] == "0"


def test_trailing_stop_without_activation_starts_at_once() -> None:
    counter = Counter()
    counter.order("Buy", "0.2")
    counter.ask("position/trading-stop", trailingStop="20", **FULL)
    order = counter.find(stops(counter)["TrailingStop"]["orderId"])
    assert (order.extreme, counter.show(order.order_id)["triggerPrice"]) == (counter.listing.last_ticks, "")
    counter.ask("position/trading-stop", trailingStop="0", **FULL)
    assert (counter.open(), counter.position()["trailingStop"]) == ([], "0")


# -- conditional orders ------------------------------------------------------------------------------------------------


def test_condition_by_mark_price() -> None:
    counter = Counter()
    mark = counter.listing.mark_ticks
    wish = counter.wish("Buy", "0.1", triggerDirection=1, triggerBy="MarkPrice")
    assert counter.refused("order/create", **wish, triggerPrice=counter.numbers.price(mark)) == 110092
    order_id = counter.order("Buy", "0.1", triggerPrice=counter.numbers.price(mark + 12), triggerDirection=1,
                             triggerBy="MarkPrice")  # fmt: skip
    counter.run(6 * 3600, until=lambda: counter.listing.mark_ticks >= mark + 12)
    counter.desk.patrol(counter.listing)
    assert counter.show(order_id)["orderStatus"] == "Filled"


def test_condition_without_the_money_for_it_is_cancelled() -> None:
    counter = Counter()
    trigger = counter.ticks(1, 3)
    params: dict[str, Any] = {"triggerPrice": counter.numbers.price(trigger), "triggerDirection": 1}
    order_id = counter.order("Buy", "9", **params)
    counter.order("Sell", "2.5", counter.price(1, 200))
    reach(counter, trigger)
    assert counter.show(order_id)["orderStatus"] == "Cancelled"
    assert counter.position()["size"] == "0.000"


def test_close_on_trigger_only_closes() -> None:
    counter = Counter()
    counter.order("Buy", "0.2")
    trigger = counter.ticks(1, 3)
    params: dict[str, Any] = {"triggerPrice": counter.numbers.price(trigger), "triggerDirection": 1}
    order_id = counter.order("Sell", "0.5", closeOnTrigger=True, **params)
    reach(counter, trigger)
    row = counter.show(order_id)
    assert (row["orderStatus"], row["cumExecQty"]) == ("Filled", "0.200")
    assert counter.position()["side"] == ""


def test_closing_all_of_it_needs_no_size() -> None:
    counter = Counter()
    counter.order("Sell", "0.7")
    assert counter.refused("order/create", **counter.wish("Buy", "0", reduceOnly=True)) == 110017
    row = counter.show(counter.order("Buy", "0", reduceOnly=True, closeOnTrigger=True))
    assert (row["orderStatus"], row["qty"]) == ("Filled", "0.700")
