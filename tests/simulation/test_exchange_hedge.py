"""Hedge mode: longs and shorts of one contract apart, and the way from one mode to the other."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from .counter import SYMBOL, Counter

LONG: dict[str, Any] = {"positionIdx": 1}
SHORT: dict[str, Any] = {"positionIdx": 2}


def hedged(**options: object) -> Counter:
    counter = Counter(**options)
    counter.ask("position/switch-mode", symbol=SYMBOL, mode=3)
    return counter


@pytest.mark.failure(29)
def test_longs_and_shorts_live_apart() -> None:
    counter = hedged()
    counter.order("Buy", "0.5", **LONG)
    counter.order("Sell", "0.3", **SHORT)
    long, short = counter.position(1), counter.position(2)
    assert [(row["side"], row["size"]) for row in (long, short)] == [("Buy", "0.500"), ("Sell", "0.300")]
    assert len(counter.ask("position/list", symbol=SYMBOL)["list"]) == 2
    assert len(counter.ask("position/list", settleCoin="USDT")["list"]) == 2
    counter.order("Sell", "0.2", reduceOnly=True, **LONG)
    counter.order("Buy", "0.1", **SHORT)
    assert [counter.position(idx)["size"] for idx in (1, 2)] == ["0.300", "0.200"]
    assert [row["positionIdx"] for row in counter.topics("position")] == [1, 2, 1, 2]
    assert [row["positionIdx"] for row in counter.ask("order/history")["list"]] == [2, 1, 2, 1]
    assert counter.desk.open_interest(counter.listing) == 500


@pytest.mark.failure(29)
def test_positions_must_be_named_as_the_mode_wants_it() -> None:
    counter = hedged()
    for idx in (0, 3, "one"):
        assert counter.refused("order/create", **counter.wish("Buy", "0.1", positionIdx=idx)) == 10001
    assert counter.refused("order/create", **counter.wish("Buy", "0.1")) == 10001
    assert counter.order("Buy", "0.1", positionIdx="1")
    assert counter.refused("order/create", **counter.wish("Sell", "0.1", reduceOnly=True, **SHORT)) == 110017
    assert counter.refused("order/create", **counter.wish("Buy", "0.1", reduceOnly=True, **LONG)) == 110017
    assert counter.refused("order/create", **counter.wish("Buy", "0.1", **SHORT)) == 110017
    stop = {"symbol": SYMBOL, "tpslMode": "Full", "stopLoss": counter.price(0, 90)}
    assert counter.refused("position/trading-stop", **stop, positionIdx=0) == 10001
    assert counter.refused("position/trading-stop", **stop, positionIdx=2) == 10001


@pytest.mark.failure(29)
def test_orders_that_close_a_side_never_open_the_other() -> None:
    counter = hedged()
    counter.order("Buy", "0.2", **LONG)
    resting = counter.order("Sell", "0.2", counter.price(1, 40), **LONG)
    assert counter.show(resting)["reduceOnly"] is True
    opening = counter.order("Sell", "0.2", counter.price(1, 40), **SHORT)
    assert counter.show(opening)["reduceOnly"] is False
    counter.order("Sell", "5", **LONG)
    assert [counter.position(idx)["size"] for idx in (1, 2)] == ["0.000", "0.000"]
    assert counter.show(resting)["cancelType"] == "CancelByReduceOnly"
    assert counter.show(opening)["orderStatus"] == "New"


@pytest.mark.failure(29)
def test_stops_of_one_side_leave_the_other_alone() -> None:
    counter = hedged()
    counter.order("Buy", "0.2", stopLoss=counter.price(0, 4), takeProfit=counter.price(1, 300), **LONG)
    counter.order("Sell", "0.3", stopLoss=counter.price(1, 300), **SHORT)
    rows = counter.open()
    assert {(row["positionIdx"], row["stopOrderType"], row["side"], row["qty"]) for row in rows} == {
        (1, "StopLoss", "Sell", "0.200"),
        (1, "TakeProfit", "Sell", "0.200"),
        (2, "StopLoss", "Buy", "0.300"),
    }
    trigger = counter.ticks(0, 4)
    counter.listing.market.take(1, trigger, 10**9, 0)
    counter.desk.settle(counter.listing)
    assert [counter.position(idx)["size"] for idx in (1, 2)] == ["0.000", "0.300"]
    assert {row["positionIdx"] for row in counter.open()} == {2}
    assert counter.position(2)["stopLoss"] != ""


def test_the_mode_changes_only_with_nothing_in_it() -> None:
    counter = Counter(symbols=(SYMBOL, "OTHUSDT"))
    switch = "position/switch-mode"
    assert counter.refused(switch, symbol=SYMBOL, mode=0) == 110025
    assert counter.refused(switch, symbol=SYMBOL, mode=1) == 10001
    assert counter.refused(switch, mode=3) == 10001
    assert counter.refused(switch, coin="USDC", mode=3) == 110050
    order_id = counter.order("Buy", "0.1", counter.price(0, 20))
    assert counter.refused(switch, symbol=SYMBOL, mode=3) == 110028
    counter.order("Sell", "0.1")
    assert counter.refused(switch, symbol=SYMBOL, mode=3) == 110024
    assert counter.ask(switch, coin="USDT", mode=3) == {}
    assert [holding.hedged for holding in counter.desk.positions.values()] == [False, True]
    counter.order("Buy", "0.1", reduceOnly=True)
    counter.ask("order/cancel", symbol=SYMBOL, orderId=order_id)
    assert counter.ask(switch, symbol=SYMBOL, mode="3") == {}
    assert [row["positionIdx"] for row in counter.ask("position/list", symbol=SYMBOL)["list"]] == [1, 2]


def test_a_balanced_hedge_has_no_liquidation_price() -> None:
    counter = hedged(equity=Decimal(20_000))
    counter.order("Buy", "2", **LONG)
    alone = counter.position(1)["liqPrice"]
    assert 0 < Decimal(alone) < Decimal(counter.price(0))
    counter.order("Sell", "1", **SHORT)
    assert Decimal(counter.position(1)["liqPrice"]) < Decimal(alone)
    long, short = (Decimal(counter.position(idx)["liqPrice"]) for idx in (1, 2))
    assert long - short == Decimal("0.5")  # the same price, rounded towards each side's entry
    counter.order("Sell", "1", **SHORT)
    assert [counter.position(idx)["liqPrice"] for idx in (1, 2)] == ["", ""]


def test_funding_is_exchanged_by_both_sides() -> None:
    counter = hedged()
    counter.order("Buy", "0.5", **LONG)
    counter.order("Sell", "0.2", **SHORT)
    before = counter.desk.wallet.balance
    counter.desk.fund(counter.listing, Decimal("0.0001"))
    rows = counter.ask("execution/list", execType="Funding")["list"]
    assert [(row["side"], row["execQty"]) for row in rows] == [("Sell", "0.200"), ("Buy", "0.500")]
    assert [float(row["execFee"]) > 0 for row in rows] == [False, True]
    assert before - counter.desk.wallet.balance == sum(Decimal(row["execFee"]) for row in rows)
    log = counter.ask("account/transaction-log", type="SETTLEMENT")["list"]
    assert [(row["side"], row["feeRate"], row["size"]) for row in log] == [
        ("Sell", "-0.0001", "-0.200"),
        ("Buy", "0.0001", "0.500"),
    ]


def test_leverage_of_both_sides() -> None:
    counter = hedged()
    lever = "position/set-leverage"
    assert counter.refused(lever, symbol=SYMBOL, buyLeverage="5", sellLeverage="6") == 10001
    counter.ask("account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")
    counter.ask(lever, symbol=SYMBOL, buyLeverage="5", sellLeverage="6")
    assert [counter.position(idx)["leverage"] for idx in (1, 2)] == ["5", "6"]
    assert counter.refused("account/set-margin-mode", setMarginMode="REGULAR_MARGIN") == 3400045


def test_adl_and_liquidation_of_one_side() -> None:
    counter = hedged()
    counter.order("Buy", "0.5", **LONG)
    counter.order("Sell", "0.3", **SHORT)
    counter.desk.adl(SYMBOL, 2, 100)
    counter.desk.liquidate(SYMBOL, 1)
    assert [counter.position(idx)["size"] for idx in (1, 2)] == ["0.000", "0.200"]
    bust, adl = counter.ask("execution/list", limit=2)["list"]
    assert (bust["execType"], bust["createType"]) == ("BustTrade", "CreateByTakeOver_PassThrough")
    assert (adl["execType"], adl["createType"], adl["isMaker"]) == ("AdlTrade", "CreateByAdl_PassThrough", True)
