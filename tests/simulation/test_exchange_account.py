"""Fees, the transaction log, closed positions and the key."""

from __future__ import annotations

from decimal import Decimal

import pytest

from simulation.exchange.key_info import TRADING, WITHDRAWAL

from .counter import MAKER, SYMBOL, TAKER, Counter

HOUR_MS = 3_600_000


def test_each_side_pays_its_fee() -> None:
    counter = Counter()
    counter.order("Buy", "0.1")
    maker = counter.order("Sell", "0.1", counter.price(1))
    order = counter.find(maker)
    counter.desk.impose(order, order.price, 100, maker=True)
    sold, bought = counter.ask("execution/list")["list"]
    assert [(row["isMaker"], row["feeRate"]) for row in (sold, bought)] == [(True, str(MAKER)), (False, str(TAKER))]
    for row in (sold, bought):
        fee = Decimal(row["execValue"]) * Decimal(row["feeRate"])
        assert Decimal(row["execFee"]) == pytest.approx(fee, abs=Decimal("1e-8"))
    assert [row["closedSize"] for row in (sold, bought)] == ["0.100", "0.000"]


def test_transactions_tell_of_every_change_of_the_balance() -> None:
    counter = Counter()
    counter.order("Buy", "0.2", orderLinkId="in")
    counter.order("Sell", "0.3", orderLinkId="out")
    counter.desk.fund(counter.listing, Decimal("0.0001"))
    rows = counter.ask("account/transaction-log", currency="USDT", category="linear")["list"]
    assert (rows[0]["type"], rows[0]["size"]) == ("SETTLEMENT", "-0.100")
    assert Decimal(rows[0]["funding"]) > 0 == Decimal(rows[0]["fee"])
    balance = Decimal(10_000)
    for row in rows[::-1]:
        funding = Decimal(row["funding"] or 0)
        assert Decimal(row["change"]) == Decimal(row["cashFlow"]) + funding - Decimal(row["fee"])
        balance += Decimal(row["change"])
        assert Decimal(row["cashBalance"]) == pytest.approx(balance, abs=Decimal("1e-7"))
    executions = {row["execId"]: row for row in counter.topics("execution")}
    for row in rows:
        assert executions[row["tradeId"]]["execPnl"] == row["cashFlow"]
    assert {row["orderLinkId"] for row in rows} == {"in", "out", ""}
    assert counter.ask("account/transaction-log", type="TRANSFER_IN")["list"] == []
    assert counter.ask("account/transaction-log", baseCoin="BTC")["list"] == []
    assert counter.refused("account/transaction-log", accountType="FUND") == 10001
    assert counter.refused("account/transaction-log", limit=51) == 10001
    first = counter.ask("account/transaction-log", limit=1)
    second = counter.ask("account/transaction-log", limit=1, cursor=first["nextPageCursor"])
    assert [first["list"][0], second["list"][0]] == rows[:2]


def test_closed_positions_count_both_fees() -> None:
    counter = Counter()
    counter.order("Buy", "0.4")
    order_id = counter.order("Sell", "0.3")
    (row,) = counter.ask("position/closed-pnl", symbol=SYMBOL)["list"]
    assert (row["orderId"], row["closedSize"], row["side"], row["leverage"]) == (order_id, "0.300", "Sell", "10")
    entry, exit_value = Decimal(row["cumEntryValue"]), Decimal(row["cumExitValue"])
    assert Decimal(row["openFee"]) == pytest.approx(entry * TAKER, abs=Decimal("1e-7"))
    assert Decimal(row["closeFee"]) == pytest.approx(exit_value * TAKER, abs=Decimal("1e-7"))
    fees = Decimal(row["openFee"]) + Decimal(row["closeFee"])
    assert Decimal(row["closedPnl"]) == pytest.approx(exit_value - entry - fees, abs=Decimal("1e-7"))
    assert Decimal(row["avgExitPrice"]) == pytest.approx(exit_value / Decimal("0.3"), abs=Decimal("1e-7"))
    mine = [one for one in counter.topics("order") if one["orderId"] == order_id]
    assert mine[-1]["closedPnl"] == row["closedPnl"]
    fills = counter.ask("execution/list", orderId=order_id)["list"]
    assert row["fillCount"] == str(len(fills))
    assert counter.ask("position/closed-pnl", endTime=1)["list"] == []


def test_turning_round_closes_only_what_was_held() -> None:
    counter = Counter()
    counter.order("Buy", "0.1")
    counter.order("Sell", "0.4")
    counter.order("Buy", "0.3")
    second, first = counter.ask("position/closed-pnl")["list"]
    assert [(row["side"], row["qty"], row["closedSize"]) for row in (first, second)] == [
        ("Sell", "0.400", "0.100"),
        ("Buy", "0.300", "0.300"),
    ]
    total = sum(Decimal(row["closedPnl"]) for row in (first, second))
    assert total == pytest.approx(counter.desk.wallet.balance - 10_000, abs=Decimal("1e-6"))


def test_a_key_that_may_only_read() -> None:
    counter = Counter()
    counter.desk.key_info.read_only = True
    assert counter.ask("user/query-api")["readOnly"] == 1
    wish = counter.wish("Buy", "0.1")
    assert counter.refused("order/create", **wish) == 10005
    assert counter.refused("position/set-leverage", symbol=SYMBOL, buyLeverage="5", sellLeverage="5") == 10005
    assert counter.refused("account/set-margin-mode", setMarginMode="ISOLATED_MARGIN") == 10005
    _, extra = counter.reply("order/create-batch", request=[wish])
    assert extra["list"][0]["code"] == 10005
    assert counter.position()["side"] == ""


def test_a_key_that_may_withdraw_and_one_that_may_not_trade() -> None:
    counter = Counter()
    counter.desk.key_info.permissions = TRADING | WITHDRAWAL
    assert "Withdraw" in counter.ask("user/query-api")["permissions"]["Wallet"]
    counter.desk.key_info.permissions = {}
    assert counter.ask("user/query-api")["permissions"]["ContractTrade"] == []
    assert counter.refused("order/cancel-all", symbol=SYMBOL) == 10005


def test_wallet_of_one_coin() -> None:
    counter = Counter()
    (row,) = counter.ask("account/wallet-balance", accountType="UNIFIED", coin="BTC,ETH")["list"]
    assert row["coin"] == []
    (row,) = counter.ask("account/wallet-balance", accountType="UNIFIED", coin="BTC,USDT")["list"]
    assert [coin["coin"] for coin in row["coin"]] == ["USDT"]
    assert counter.refused("account/wallet-balance", accountType="SPOT") == 10001


def test_times_that_are_asked_for() -> None:
    counter = Counter()
    counter.order("Buy", "0.1")
    now = counter.venue.now_ms
    log = "account/transaction-log"
    assert counter.ask(log, startTime=now)["list"] != []
    assert counter.ask(log, startTime=now - 25 * HOUR_MS)["list"] == []
    assert counter.ask(log, endTime=now - 1)["list"] == []
    assert counter.ask(log, startTime=now - 6 * 24 * HOUR_MS, endTime=now)["list"] != []
    assert counter.refused(log, startTime=now, endTime=now - 1) == 10001
    assert counter.refused(log, startTime="noon") == 10001
