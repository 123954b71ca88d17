"""Orders, positions and money through unmodified pybit, in a market that moves when told to."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from typing import Any

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP

from simulation import _lob
from simulation.exchange import DEFAULT_START_MS
from simulation.exchange.auth import LIMITS
from simulation.exchange.listing import PRICE_BAND
from simulation.synthetic import MarketParams

from .exchange_floor import SYMBOL, Floor, floor

MAKER, TAKER = Decimal("0.0002"), Decimal("0.00055")


async def refused(place: Floor, method: str, **params: Any) -> int:
    with pytest.raises(InvalidRequestError) as caught:
        await place.call(method, **params)
    return int(caught.value.status_code)


async def refused_order(place: Floor, **params: Any) -> int:
    order = {"symbol": SYMBOL, "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": place.price(0, 10)} | params
    return await refused(place, "place_order", **order)


async def balance(place: Floor) -> dict[str, Any]:
    result = await asyncio.to_thread(place.client.get_wallet_balance, accountType="UNIFIED")
    (account,) = result["result"]["list"]
    return account  # type: ignore[no-any-return]


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_wrong_keys_signatures_and_times_are_refused() -> None:
    async with floor() as place:

        async def code(**headers: str) -> int:
            url = f"{place.exchange.rest_url}/v5/account/info"
            async with place.session.get(url, headers=headers) as answer:
                return (await answer.json())["retCode"] if answer.status == 200 else answer.status

        now = str(time.time_ns() // 1_000_000)
        good = {"X-BAPI-API-KEY": "local", "X-BAPI-TIMESTAMP": now, "X-BAPI-SIGN": "0" * 64}
        assert await code() == 401
        assert await code(**good) == 10004
        assert await code(**good | {"X-BAPI-API-KEY": "stranger"}) == 10003
        assert await code(**good | {"X-BAPI-TIMESTAMP": str(int(now) - 60_000)}) == 10002
        assert await code(**good | {"X-BAPI-TIMESTAMP": str(int(now) + 60_000)}) == 10002
        assert await code(**good | {"X-BAPI-TIMESTAMP": "noon"}) == 10001
        stranger = HTTP(testnet=False, api_key="local", api_secret="wrong", retry_codes={-1})
        stranger.endpoint = place.exchange.rest_url
        with pytest.raises(InvalidRequestError, match="error sign"):
            await asyncio.to_thread(stranger.get_account_info)
        stranger.client.close()


async def test_limits_are_told_and_kept() -> None:
    async with floor(limits=LIMITS) as place:
        place.client.return_response_headers = True
        codes = []
        for _ in range(25):
            try:
                _, _, headers = await asyncio.to_thread(place.client.get_account_info)
                assert headers["X-Bapi-Limit"] == "50"
                await place.call("cancel_all_orders", symbol=SYMBOL)
            except InvalidRequestError as error:
                codes.append(error.status_code)
            except TypeError:
                continue  # `call` cannot unpack an answer that comes with headers
        assert set(codes) == {10006}


async def test_account_facts() -> None:
    async with floor() as place:
        info = (await asyncio.to_thread(place.client.get_account_info))["result"]
        assert info["marginMode"] == "REGULAR_MARGIN"
        key = (await asyncio.to_thread(place.client.get_api_key_information))["result"]
        assert key["permissions"]["Wallet"] == []
        assert key["readOnly"] == 0
        (fees,) = (await place.call("get_fee_rates", symbol=SYMBOL))["list"]
        assert fees == {"symbol": SYMBOL, "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}
        account = await balance(place)
        assert account["totalEquity"] == account["totalAvailableBalance"] == "10000"
        assert await place.position() | {"markPrice": ""} == await place.position() | {"markPrice": "", "size": "0.000"}
        async with place.session.get(f"{place.exchange.rest_url}/v5/nothing/of-this-kind") as answer:
            assert (answer.status, (await answer.json())["retCode"]) == (404, 10017)


# -- life of an order --------------------------------------------------------------------------------------------------


async def test_limit_order_stands_in_the_queue_and_is_cancelled() -> None:
    async with floor() as place:
        price = place.price(0)
        shown = Decimal((await place.call("get_orderbook", symbol=SYMBOL))["b"][0][1])
        order_id = await place.order("Buy", "0.25", price, orderLinkId="a-1", timeInForce="PostOnly")
        book = await place.call("get_orderbook", symbol=SYMBOL)
        assert book["b"][0] == [price, str(shown + Decimal("0.250"))]
        row = await place.show(order_id)
        assert (row["orderStatus"], row["leavesQty"], row["cumExecQty"], row["avgPrice"]) == (
            "New",
            "0.250",
            "0.000",
            "",
        )
        assert (row["orderLinkId"], row["price"], row["timeInForce"]) == ("a-1", price, "PostOnly")
        value = Decimal(price) * Decimal("0.25")
        margin = value / 10 + value * Decimal("0.9") * TAKER  # with the fee to close at the price of bankruptcy
        assert Decimal((await balance(place))["totalInitialMargin"]) == pytest.approx(margin, abs=Decimal("1e-8"))
        assert await refused_order(place, orderLinkId="a-1") == 110072
        assert (await place.call("cancel_order", symbol=SYMBOL, orderLinkId="a-1"))["orderId"] == order_id
        row = await place.show(order_id)
        assert (row["orderStatus"], row["cancelType"], row["leavesQty"]) == ("Cancelled", "CancelByUser", "0.000")
        assert (await place.call("get_orderbook", symbol=SYMBOL))["b"][0] == [price, str(shown)]
        assert await refused(place, "cancel_order", symbol=SYMBOL, orderId=order_id) == 110001
        assert await refused_order(place, orderLinkId="a-1") == 110072


async def test_maker_is_filled_after_those_who_were_there_before() -> None:
    async with floor() as place:
        lob, price = place.listing.market.lob, place.listing.best_ask
        assert price is not None
        order_id = await place.order("Sell", "0.2", place.price(1))
        ahead = int(lob.ladder[_lob.DEPTH, price % _lob.RING]) - 200
        _lob.take(lob, 0, price, ahead + 50, 0)
        place.desk.settle(place.listing)
        row = await place.show(order_id)
        assert (row["orderStatus"], row["cumExecQty"]) == ("PartiallyFilled", "0.050")
        _lob.take(lob, 0, price, 150, 0)
        place.desk.settle(place.listing)
        row = await place.show(order_id)
        assert (row["orderStatus"], row["avgPrice"]) == ("Filled", str(Decimal(row["price"]).normalize()))
        one, two = (await place.call("get_executions", symbol=SYMBOL))["list"]
        assert [one["execQty"], two["execQty"]] == ["0.150", "0.050"]
        assert one["isMaker"] is two["isMaker"] is True
        assert Decimal(one["execFee"]) == Decimal(one["execValue"]) * MAKER
        position = await place.position()
        assert (position["side"], position["size"], position["avgPrice"]) == ("Sell", "0.200", row["avgPrice"])


async def test_market_order_walks_the_book_and_money_adds_up() -> None:
    async with floor() as place:
        asks = (await place.call("get_orderbook", symbol=SYMBOL, limit=50))["a"]
        order_id = await place.order("Buy", "3")
        left, value = Decimal(3), Decimal(0)
        for price, size in asks:
            amount = min(left, Decimal(size))
            value += amount * Decimal(price)
            left -= amount
        row = await place.show(order_id)
        assert (row["orderStatus"], row["timeInForce"], row["price"]) == ("Filled", "IOC", "0")
        assert Decimal(row["cumExecValue"]) == value
        assert Decimal(row["cumExecFee"]) == value * TAKER
        position = await place.position()
        assert (position["side"], position["size"]) == ("Buy", "3.000")
        assert Decimal(position["avgPrice"]) == pytest.approx(value / 3)
        account = await balance(place)
        mark = Decimal(position["markPrice"])
        assert Decimal(account["totalWalletBalance"]) == 10_000 - value * TAKER
        assert Decimal(account["totalEquity"]) == pytest.approx(10_000 - value * TAKER + 3 * mark - value)
        await place.order("Sell", "3", reduceOnly=True)
        executions = (await place.call("get_executions", symbol=SYMBOL, limit=100))["list"]
        cash = sum(
            (
                Decimal(row["execValue"]) * (1 if row["side"] == "Sell" else -1) - Decimal(row["execFee"])
                for row in executions
            ),
            Decimal(10_000),
        )
        account = await balance(place)
        assert Decimal(account["totalEquity"]) == Decimal(account["totalWalletBalance"])
        assert Decimal(account["totalEquity"]) == pytest.approx(cash, abs=Decimal("0.0000001"))
        assert sum(Decimal(row["closedSize"]) for row in executions) == 3
        assert (await place.position())["side"] == ""


@pytest.mark.failure(22)
async def test_post_only_that_would_take_is_accepted_and_then_cancelled() -> None:
    async with floor() as place:
        row = await place.show(await place.order("Buy", "0.1", place.price(1), timeInForce="PostOnly"))
        assert (row["orderStatus"], row["rejectReason"]) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity")
        assert (await place.position())["size"] == "0.000"


async def test_immediate_or_cancel_and_fill_or_kill() -> None:
    async with floor() as place:
        price, size = (await place.call("get_orderbook", symbol=SYMBOL, limit=1))["a"][0]
        more = str(Decimal(size) + 1)
        row = await place.show(await place.order("Buy", more, price, timeInForce="FOK"))
        assert (row["orderStatus"], row["cumExecQty"], row["rejectReason"]) == (
            "Cancelled",
            "0.000",
            "EC_NoEnoughQtyToFill",
        )
        row = await place.show(await place.order("Buy", more, price, timeInForce="IOC"))
        assert (row["orderStatus"], row["cumExecQty"]) == ("Cancelled", size)
        row = await place.show(await place.order("Buy", "0.01", place.price(1), timeInForce="FOK"))
        assert row["orderStatus"] == "Filled"


@pytest.mark.failure(39)
async def test_errors_have_the_documented_codes() -> None:
    async with floor() as place:
        mark = Decimal(place.listing.numbers.price(place.listing.mark_ticks))
        far = str((mark * (1 + PRICE_BAND + Decimal("0.01"))).quantize(Decimal(1)))
        assert await refused_order(place, price=far) == 110003
        assert await refused_order(place, qty="0.0004") == 110017
        assert await refused_order(place, reduceOnly=True) == 110017
        assert await refused_order(place, qty="50") == 110007
        assert await refused_order(place, qty="1000000") == 10001
        assert await refused_order(place, qty="nan") == 10001
        assert await refused_order(place, qty="-1") == 10001
        assert await refused_order(place, price="nan") == 10001
        assert await refused_order(place, price="-5") == 10001
        assert await refused_order(place, price=place.price(0, 10) + "1") == 10001
        assert await refused_order(place, side="Hold") == 10001
        assert await refused_order(place, orderType="Magic") == 10001
        assert await refused_order(place, positionIdx=1) == 10001
        assert await refused_order(place, orderLinkId="x" * 37) == 10001
        assert await refused_order(place, symbol="NOPEUSDT") == 10001
        assert await refused_order(place, stopLoss=place.price(1, 50)) == 10001
        assert await refused_order(place, takeProfit=place.price(0, 50)) == 10001
        assert await refused_order(place, tpslMode="Half") == 10001
        assert await refused(place, "set_leverage", symbol=SYMBOL, buyLeverage="10", sellLeverage="10") == 110043
        assert await refused(place, "set_leverage", symbol=SYMBOL, buyLeverage="500", sellLeverage="500") == 110013
        assert await refused(place, "set_leverage", symbol=SYMBOL, buyLeverage="5", sellLeverage="6") == 10001
        assert await refused(place, "switch_position_mode", symbol=SYMBOL, mode=0) == 110025
        assert await refused(place, "switch_position_mode", symbol=SYMBOL, mode=1) == 10001
        assert (
            await refused(place, "set_trading_stop", symbol=SYMBOL, stopLoss="1", tpslMode="Full", positionIdx=0)
            == 10001
        )
        await place.call("set_leverage", symbol=SYMBOL, buyLeverage="25", sellLeverage="25")
        assert (await place.position())["leverage"] == "25"


async def test_smallest_order_value_is_kept() -> None:
    async with floor(params=MarketParams(start_ticks=4_000)) as place:
        price = place.price(0, 10)
        assert await refused_order(place, qty="0.002", price=price) == 110094
        await place.order("Buy", "0.003", price)


@pytest.mark.failure(13)
async def test_more_than_one_page_of_open_orders() -> None:
    async with floor() as place:
        ids = [await place.order("Buy", "0.001", place.price(0, 20 + k)) for k in range(25)]
        seen, cursor = [], None
        while cursor != "":
            page = await place.call(
                "get_open_orders", symbol=SYMBOL, limit=10, **({"cursor": cursor} if cursor else {})
            )
            seen += [row["orderId"] for row in page["list"]]
            cursor = page["nextPageCursor"]
        assert seen == ids[::-1]
        gone = (await place.call("cancel_all_orders", symbol=SYMBOL))["list"]
        assert {row["orderId"] for row in gone} == set(ids)
        assert (await place.call("get_open_orders", symbol=SYMBOL))["list"] == []
        closed = (await place.call("get_open_orders", symbol=SYMBOL, openOnly=1, limit=50))["list"]
        assert len(closed) == 25


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_attached_stops_come_with_the_fill_and_one_ends_the_position() -> None:
    async with floor() as place:
        stop, target = place.price(0, 12), place.price(1, 12)
        order_id = await place.order("Buy", "0.5", stopLoss=stop, takeProfit=target, orderLinkId="entry")
        position = await place.position()
        assert (position["stopLoss"], position["takeProfit"]) == (stop, target)
        orders = (await place.call("get_open_orders", symbol=SYMBOL, orderFilter="StopOrder"))["list"]
        assert {row["stopOrderType"] for row in orders} == {"StopLoss", "TakeProfit"}
        for row in orders:
            assert (row["orderStatus"], row["side"], row["qty"], row["reduceOnly"]) == (
                "Untriggered",
                "Sell",
                "0.500",
                True,
            )
            assert (row["parentOrderLinkId"], row["triggerBy"]) == ("entry", "LastPrice")
        place.run(until=lambda: place.desk.positions[SYMBOL].steps == 0)
        position = await place.position()
        assert (position["side"], position["stopLoss"], position["takeProfit"]) == ("", "", "")
        assert (await place.call("get_open_orders", symbol=SYMBOL))["list"] == []
        exits = [
            row for row in (await place.call("get_executions", symbol=SYMBOL))["list"] if row["orderId"] != order_id
        ]
        (kind,) = {row["stopOrderType"] for row in exits}
        assert {row["createType"] for row in exits} == {f"CreateBy{kind}"}
        # The last trade has reached the trigger, and nobody got a better stop than the market gave.
        worst = min(Decimal(row["execPrice"]) for row in exits)
        assert worst <= Decimal(stop) if kind == "StopLoss" else worst >= Decimal(target) - 5
        ended = (await place.call("get_open_orders", symbol=SYMBOL, openOnly=1))["list"]
        assert {row["orderStatus"] for row in ended} == {"Filled", "Deactivated"}
        assert any(row["cancelType"].startswith("CancelByOCO") for row in ended)


async def test_stops_follow_the_position_and_the_trading_stop_call() -> None:
    async with floor() as place:
        await place.order("Sell", "0.3")
        stop, target = place.price(1, 40), place.price(0, 40)
        move = {"symbol": SYMBOL, "tpslMode": "Full", "positionIdx": 0}
        await place.call("set_trading_stop", stopLoss=stop, takeProfit=target, **move)
        assert await refused(place, "set_trading_stop", stopLoss=stop, **move) == 34040
        await place.order("Sell", "0.2")
        orders = (await place.call("get_open_orders", symbol=SYMBOL))["list"]
        assert [(row["side"], row["qty"]) for row in orders] == [("Buy", "0.500")] * 2
        await place.call("set_trading_stop", takeProfit="0", **move)
        (row,) = (await place.call("get_open_orders", symbol=SYMBOL))["list"]
        assert (row["stopOrderType"], row["triggerPrice"], row["triggerDirection"]) == ("StopLoss", stop, 1)
        assert await refused(place, "set_trading_stop", stopLoss=place.price(0, 40), **move) == 10001
        await place.call("cancel_all_orders", symbol=SYMBOL, orderFilter="Order")
        assert (await place.position())["stopLoss"] == stop
        await place.order("Buy", "0.5", reduceOnly=True)
        assert (await place.call("get_open_orders", symbol=SYMBOL))["list"] == []
        assert (await place.position())["stopLoss"] == ""


async def test_stop_protects_a_resting_entry_that_fills_later() -> None:
    async with floor() as place:
        entry, stop = place.price(0, 3), place.price(0, 30)
        order_id = await place.order("Buy", "0.1", entry, stopLoss=stop, timeInForce="PostOnly")
        assert (await place.position())["stopLoss"] == ""
        place.run(until=lambda: place.desk.positions[SYMBOL].steps > 0)
        assert (await place.show(order_id))["orderStatus"] in ("Filled", "PartiallyFilled")
        assert (await place.position())["stopLoss"] == stop
        place.run(4 * 3600, until=lambda: place.desk.positions[SYMBOL].steps == 0)
        assert (await place.position())["side"] == ""


async def test_reduce_only_orders_never_open_anything() -> None:
    async with floor() as place:
        await place.order("Buy", "0.2")
        first = await place.order("Sell", "0.15", place.price(1, 30), reduceOnly=True)
        second = await place.order("Sell", "0.2", place.price(1, 31), reduceOnly=True)
        assert [(await place.show(one))["qty"] for one in (first, second)] == ["0.150", "0.050"]
        await place.order("Sell", "0.1", reduceOnly=True)
        rows = [await place.show(one) for one in (first, second)]
        assert [(row["orderStatus"], row["cancelType"]) for row in rows] == [
            ("New", "UNKNOWN"),
            ("Cancelled", "CancelByReduceOnly"),
        ]
        assert rows[0]["qty"] == "0.100"
        await place.order("Sell", "9", reduceOnly=True)
        assert (await place.position())["size"] == "0.000"
        assert (await place.show(first))["cancelType"] == "CancelByReduceOnly"


async def test_flipping_a_position_drops_its_stops() -> None:
    async with floor() as place:
        await place.order("Buy", "0.1", stopLoss=place.price(0, 50))
        await place.order("Sell", "0.3")
        position = await place.position()
        assert (position["side"], position["size"], position["stopLoss"]) == ("Sell", "0.200", "")


async def test_conditional_order_waits_for_its_price() -> None:
    async with floor() as place:
        last = place.listing.last_ticks
        wrong = place.listing.numbers.price(last - 5)
        params = {"symbol": SYMBOL, "side": "Buy", "orderType": "Market", "qty": "0.1"}
        assert await refused(place, "place_order", triggerPrice=wrong, triggerDirection=1, **params) == 110092
        trigger = place.listing.numbers.price(last + 8)
        assert await refused(place, "place_order", triggerPrice=trigger, triggerDirection=2, **params) == 110093
        order_id = await place.order("Buy", "0.1", triggerPrice=trigger, triggerDirection=1)
        assert (await place.show(order_id))["orderStatus"] == "Untriggered"
        place.run(6 * 3600, until=lambda: place.desk.positions[SYMBOL].steps != 0)
        row = await place.show(order_id)
        assert (row["orderStatus"], row["stopOrderType"], row["createType"]) == ("Filled", "Stop", "CreateByStopOrder")
        assert place.listing.last_ticks >= last + 8 or Decimal(row["avgPrice"]) >= Decimal(trigger) - 5
        order_id = await place.order("Buy", "0.1", triggerPrice=place.price(1, 900), triggerDirection=1)
        await place.call("cancel_order", symbol=SYMBOL, orderId=order_id)
        assert (await place.show(order_id))["orderStatus"] == "Deactivated"


# -- funding, liquidation ----------------------------------------------------------------------------------------------


async def test_funding_is_paid_and_told_as_an_execution_that_is_no_fill() -> None:
    async with floor(start_ms=DEFAULT_START_MS - 60_000) as place:
        await place.order("Buy", "1")
        before = place.desk.wallet.balance
        place.run(61)
        (row,) = (await place.call("get_executions", symbol=SYMBOL, execType="Funding"))["list"]
        assert int(row["execTime"]) % (8 * 3_600_000) == 0
        assert Decimal(row["execFee"]) == Decimal(row["execValue"]) * Decimal(row["feeRate"])
        assert (row["orderId"], row["orderLinkId"], row["feeRate"]) == ("", "", "0.0001")
        assert place.desk.wallet.balance == before - Decimal(row["execFee"])


async def test_position_that_is_not_covered_is_liquidated() -> None:
    async with floor(equity=Decimal(400), params=MarketParams(volatility=0.005)) as place:
        await place.call("set_leverage", symbol=SYMBOL, buyLeverage="100", sellLeverage="100")
        await place.order("Buy", "0.8")
        resting = await place.order("Buy", "0.001", place.price(0, 3_000))
        place.run(60 * 3600, until=lambda: place.desk.positions[SYMBOL].steps == 0)
        assert (await place.position())["side"] == ""
        executions = (await place.call("get_executions", symbol=SYMBOL))["list"]
        assert executions[0]["createType"] == "CreateByLiq"
        assert (await place.show(resting))["cancelType"] == "CancelAllBeforeLiq"


# -- private stream ----------------------------------------------------------------------------------------------------


def auth(place: Floor, secret: str | None = None, expires: int | None = None) -> dict[str, Any]:
    import hashlib
    import hmac

    when = expires or time.time_ns() // 1_000_000 + 10_000
    key = (secret or place.exchange.api_secret).encode()
    sign = hmac.new(key, f"GET/realtime{when}".encode(), hashlib.sha256).hexdigest()
    return {"op": "auth", "args": [place.exchange.api_key, when, sign]}


async def test_private_stream_tells_everything_in_order() -> None:
    async with floor() as place:
        socket = await place.session.ws_connect(place.exchange.private_url)
        await socket.send_json(auth(place))
        assert (await socket.receive_json())["success"]
        await socket.send_json({"op": "subscribe", "args": ["order", "execution", "position", "wallet"], "req_id": "s"})
        assert (await socket.receive_json())["req_id"] == "s"
        order_id = await place.order("Buy", "0.05", stopLoss=place.price(0, 60), orderLinkId="mine")
        await socket.send_json({"op": "ping", "req_id": "p"})
        messages = []
        while (message := await socket.receive_json(timeout=20)).get("op") != "pong":
            messages.append(message)
        await socket.close()
        assert [set(message) for message in messages] == [{"id", "topic", "creationTime", "data"}] * len(messages)
        topics = [message["topic"] for message in messages]
        assert topics[0] == "execution"
        assert topics[-1] == "wallet"
        by_topic = {topic: [row for m in messages if m["topic"] == topic for row in m["data"]] for topic in set(topics)}
        assert by_topic["execution"][0]["orderLinkId"] == "mine"
        mine = [row for row in by_topic["order"] if row["orderId"] == order_id]
        assert mine[-1]["orderStatus"] == "Filled"
        assert {row["category"] for row in by_topic["order"]} == {"linear"}
        stops = [row for row in by_topic["order"] if row["stopOrderType"] == "StopLoss"]
        assert stops[-1]["orderStatus"] == "Untriggered"
        assert by_topic["position"][-1]["size"] == "0.050"
        assert by_topic["position"][-1]["entryPrice"] == (await place.position())["avgPrice"]
        assert by_topic["wallet"][-1]["totalEquity"] == (await balance(place))["totalEquity"]
        json.dumps(messages)


async def test_private_stream_wants_a_signature() -> None:
    async with floor() as place:
        socket = await place.session.ws_connect(place.exchange.private_url)

        async def ask(message: dict[str, Any]) -> dict[str, Any]:
            await socket.send_json(message)
            return await socket.receive_json()  # type: ignore[no-any-return]

        assert not (await ask({"op": "subscribe", "args": ["order"]}))["success"]
        assert not (await ask(auth(place, secret="wrong")))["success"]
        assert not (await ask(auth(place, expires=1)))["success"]
        assert not (await ask({"op": "auth", "args": []}))["success"]
        assert (await ask(auth(place)))["success"]
        assert not (await ask({"op": "subscribe", "args": ["gossip"]}))["success"]
        assert (await ask({"op": "subscribe", "args": ["order.linear"]}))["success"]
        assert (await ask({"op": "unsubscribe", "args": ["order.linear"]}))["success"]
        await socket.close()


async def test_same_seed_and_orders_give_the_same_result() -> None:
    async def run() -> list[Any]:
        async with floor(seed=5) as place:
            await place.order(
                "Buy", "0.5", place.price(0, 2), stopLoss=place.price(0, 40), takeProfit=place.price(1, 40)
            )
            place.run(3600)
            rows = (await place.call("get_executions", symbol=SYMBOL, limit=100))["list"]
            return [(row["execTime"], row["execPrice"], row["execQty"], row["execFee"], row["orderId"]) for row in rows]

    first = await run()
    assert first
    assert first == await run()
