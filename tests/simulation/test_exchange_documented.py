"""Every answer about orders, positions and the account has the fields that Bybit documents, with their types.

The tables repeat the names and types of the response tables of the v5 documentation. Left out are fields that its text
gives to other products alone: ``basePrice`` (spot), ``baseCoin`` and ``category`` of fee rates (options, spot), and the
greeks of the position stream (options).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from .counter import SYMBOL, Counter

Table = Mapping[Any, str]

ORDER: Table = {
    str: "orderId orderLinkId parentOrderLinkId blockTradeId symbol price qty side isLeverage orderStatus createType "
    "cancelType rejectReason avgPrice leavesQty leavesValue cumExecQty cumExecValue cumExecFee timeInForce orderType "
    "stopOrderType orderIv marketUnit triggerPrice takeProfit stopLoss tpslMode ocoTriggerBy tpLimitPrice slLimitPrice "
    "tpTriggerBy slTriggerBy triggerBy lastPriceOnCreated placeType smpType smpOrderId createdTime updatedTime",
    int: "positionIdx triggerDirection smpGroup",
    bool: "reduceOnly closeOnTrigger",
    dict: "cumFeeDetail",
}
LATER: Table = {str: "slippageToleranceType slippageTolerance rpiMatchedQty", bool: "rpiTakerAccess"}
EXECUTION: Table = {
    str: "symbol orderId orderLinkId side orderPrice orderQty leavesQty createType orderType stopOrderType execFee "
    "execId execPrice execQty execType execValue execTime feeCurrency feeRate tradeIv markIv markPrice indexPrice "
    "underlyingPrice blockTradeId closedSize extraFees",
    int: "seq",
    bool: "isMaker",
}
POSITION: Table = {
    str: "riskLimitValue symbol side size positionValue positionStatus leverage breakEvenPrice markPrice liqPrice "
    "positionIM positionIMByMp positionMM positionMMByMp takeProfit stopLoss trailingStop sessionAvgPrice "
    "unrealisedPnl curRealisedPnl cumRealisedPnl createdTime updatedTime mmrSysUpdatedTime leverageSysUpdatedTime "
    "tpslMode bustPrice positionBalance",
    int: "positionIdx riskId autoAddMargin adlRankIndicator openTime tradeMode seq",
    bool: "isReduceOnly",
}
ADDED_MARGIN: Table = {
    str: "category symbol riskLimitValue size avgPrice liqPrice bustPrice markPrice positionValue leverage "
    "positionStatus positionIM positionMM takeProfit stopLoss trailingStop unrealisedPnl cumRealisedPnl createdTime "
    "updatedTime",
    int: "positionIdx riskId autoAddMargin",
}
CLOSED: Table = {
    str: "symbol orderId side qty orderPrice orderType execType closedSize cumEntryValue avgEntryPrice cumExitValue "
    "avgExitPrice closedPnl fillCount leverage openFee closeFee createdTime updatedTime"
}
WALLET: Table = {
    str: "accountType accountIMRate accountMMRate totalEquity totalWalletBalance totalMarginBalance "
    "totalAvailableBalance totalPerpUPL totalInitialMargin totalMaintenanceMargin accountIMRateByMp accountMMRateByMp "
    "totalInitialMarginByMp totalMaintenanceMarginByMp accountLTV",
    list: "coin",
}
COIN: Table = {
    str: "coin equity usdValue walletBalance locked spotHedgingQty borrowAmount accruedInterest totalOrderIM "
    "totalPositionIM totalPositionMM unrealisedPnl cumRealisedPnl bonus colRes spotBorrow free availableToWithdraw "
    "availableToBorrow",
    bool: "marginCollateral collateralSwitch",
}
INFO: Table = {
    str: "marginMode spotHedgingStatus updatedTime dcpStatus",
    int: "unifiedMarginStatus timeWindow smpGroup",
    bool: "isMasterTrader",
}
TRANSACTION: Table = {
    str: "id symbol category side transactionTime type transSubType qty size currency tradePrice funding fee cashFlow "
    "change cashBalance feeRate bonusChange tradeId orderId orderLinkId extraFees"
}
KEY: Table = {
    str: "id note apiKey secret vipLevel mktMakerLevel rsaPublicKey parentUid kycLevel kycRegion expiredAt createdAt "
    "userIDInt64 inviterIDInt64 affiliateIDInt64",
    int: "readOnly type deadlineDay uta userID inviterID affiliateID unified",
    bool: "isMaster",
    list: "ips",
    dict: "permissions",
}
PERMISSIONS: Table = {
    list: "ContractTrade Spot Wallet Options Derivatives Exchange Earn FiatP2P FiatBitPay FiatConvertBroker "
    "FiatGlobalPay BitCard ByXPost Affiliate BlockTrade NFT CopyTrading"
}
IDS: Table = {str: "orderId orderLinkId"}


def check(row: dict[str, Any], *tables: Table) -> None:
    """A row has exactly these fields with these types."""
    wanted = {name: kind for table in tables for kind, names in table.items() for name in names.split()}
    assert set(row) == set(wanted)
    assert {name: type(row[name]) for name in wanted} == wanted
    msgspec.json.encode(row)


@pytest.fixture(scope="module")
def day() -> Counter:
    """A day with all there is: resting, conditional and finished orders, stops, a closed trade, an open position."""
    counter = Counter()
    counter.order("Buy", "1", takeProfit=counter.price(1, 400), stopLoss=counter.price(0, 400), orderLinkId="entry")
    counter.order("Sell", "0.4", reduceOnly=True)
    counter.order("Sell", "0.1", counter.price(1, 20))
    counter.order("Buy", "0.1", counter.price(0, 30), triggerPrice=counter.price(0, 20), triggerDirection=2)
    counter.ask("order/cancel", symbol=SYMBOL, orderId=counter.order("Buy", "0.1", counter.price(0, 20)))
    stops = {"takeProfit": counter.price(1, 300), "tpSize": "0.1", "tpOrderType": "Limit"}
    counter.ask(
        "position/trading-stop", symbol=SYMBOL, tpslMode="Partial", positionIdx=0, tpLimitPrice=counter.price(1, 290),
        **stops,
    )  # fmt: skip
    return counter


LISTS: dict[str, tuple[dict[str, str], tuple[Table, ...], set[str]]] = {
    "order/realtime": ({"symbol": SYMBOL}, (ORDER,), {"category", "list", "nextPageCursor"}),
    "order/history": ({}, (ORDER, LATER, {str: "extraFees"}), {"category", "list", "nextPageCursor"}),
    "execution/list": ({}, (EXECUTION, {str: "execFeeV2"}), {"category", "list", "nextPageCursor"}),
    "position/list": (
        {"symbol": SYMBOL}, (POSITION, {str: "avgPrice delta gamma vega theta"}), {"category", "list", "nextPageCursor"}
    ),
    "position/closed-pnl": ({}, (CLOSED,), {"category", "list", "nextPageCursor"}),
    "account/transaction-log": ({}, (TRANSACTION,), {"list", "nextPageCursor"}),
    "account/wallet-balance": ({"accountType": "UNIFIED"}, (WALLET,), {"list"}),
    "account/fee-rate": ({"symbol": SYMBOL}, ({str: "symbol takerFeeRate makerFeeRate"},), {"list"}),
}  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_lists(day: Counter, path: str) -> None:
    params, tables, around = LISTS[path]
    result = day.ask(path, **params)
    assert set(result) == around
    assert {type(value) for name, value in result.items() if name != "list"} <= {str}
    assert result["list"]
    for row in result["list"]:
        check(row, *tables)


def test_empty_positions_have_the_same_fields(day: Counter) -> None:
    (row,) = Counter().ask("position/list", symbol=SYMBOL)["list"]
    check(row, POSITION, {str: "avgPrice delta gamma vega theta"})
    assert row["seq"] == -1


def test_single_answers(day: Counter) -> None:
    check(day.ask("account/info"), INFO)
    key = day.ask("user/query-api")
    check(key, KEY)
    check(key["permissions"], PERMISSIONS)
    assert day.routes["/v5/user/query-api"].message == ""
    for coin in day.wallet()["coin"]:
        check(coin, COIN)
    for path in ("position/set-leverage", "position/switch-mode", "position/trading-stop"):
        assert day.routes[f"/v5/{path}"].method == "POST"
    assert day.ask("position/set-leverage", symbol=SYMBOL, buyLeverage="11", sellLeverage="11") == {}


def test_answers_to_orders() -> None:
    counter = Counter()
    wish = counter.wish("Buy", "0.1", counter.price(0, 20))
    made = counter.ask("order/create", **wish)
    check(made, IDS)
    check(counter.ask("order/amend", symbol=SYMBOL, orderId=made["orderId"], qty="0.2"), IDS)
    check(counter.ask("order/cancel", symbol=SYMBOL, orderId=made["orderId"]), IDS)
    entries = [wish, wish | {"qty": "0"}]
    batch: dict[str, Table] = {"create-batch": {str: "category symbol orderId orderLinkId createAt"}}
    batch |= {verb: {str: "category symbol orderId orderLinkId"} for verb in ("amend-batch", "cancel-batch")}
    for verb, table in batch.items():
        result, extra = counter.reply(f"order/{verb}", request=entries)
        assert (set(result), set(extra)) == ({"list"}, {"list"})
        for row, note in zip(result["list"], extra["list"], strict=True):
            check(row, table)
            check(note, {int: "code", str: "msg"})
        order_id = result["list"][0]["orderId"]
        entries = [{"symbol": SYMBOL, "orderId": order_id, "qty": "0.3"}, {"symbol": SYMBOL, "orderId": "gone"}]
    counter.ask("order/create", **wish)
    result = counter.ask("order/cancel-all", symbol=SYMBOL)
    check(result, {list: "list", str: "success"})
    check(result["list"][0], IDS)


def test_streams(day: Counter) -> None:
    tables: dict[str, tuple[Table, ...]] = {
        "order": (ORDER, LATER, {str: "category closedPnl feeCurrency brokerOrderPrice"}),
        "execution": (EXECUTION, {str: "category isLeverage execPnl marketUnit"}),
        "position": (POSITION, {str: "category entryPrice"}),
        "wallet": (WALLET,),
    }
    for topic, rows in tables.items():
        assert day.topics(topic)
        for row in day.topics(topic):
            check(row, *rows)


def test_isolated_margin_answers() -> None:
    counter = Counter()
    assert counter.ask("account/set-margin-mode", setMarginMode="ISOLATED_MARGIN") == {"reasons": []}
    counter.order("Buy", "0.5")
    check(counter.ask("position/add-margin", symbol=SYMBOL, margin="10"), ADDED_MARGIN)
    assert counter.ask("position/set-auto-add-margin", symbol=SYMBOL, autoAddMargin=1) == {}
    check(counter.wallet(), WALLET)
    assert {counter.wallet()[name] for name in ("accountIMRate", "totalAvailableBalance", "totalInitialMargin")} == {""}
