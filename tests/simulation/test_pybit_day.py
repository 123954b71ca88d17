"""A trading day of unmodified pybit: only the address is set. HTTP, both streams and the trade socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import WebSocket, WebSocketTrading

from simulation.exchange import DEFAULT_START_MS, LocalExchange
from simulation.exchange.misbehaviour import Fault

from .exchange_floor import SYMBOL, Floor, eventually, floor

_PRIVATE = ("order", "execution", "position", "wallet")


def at(exchange: LocalExchange, client: type[Any]) -> type[Any]:
    """pybit's client with the exchange's address in place of Bybit's."""

    class Here(client):  # type: ignore[misc]
        def _connect(self, url: str) -> None:
            path = url.partition("/v5/")[2]
            super()._connect(f"ws://127.0.0.1:{exchange.port}/v5/{path}")

    return Here


class Day:
    """pybit's four clients, and what has come by their streams."""

    def __init__(self, place: Floor) -> None:
        self.place = place
        self.came: dict[str, list[dict[str, Any]]] = {name: [] for name in _PRIVATE}
        self.public: list[dict[str, Any]] = []
        self.sockets: list[Any] = []

    async def open(self) -> None:
        exchange = self.place.exchange
        keys: dict[str, Any] = {
            "api_key": exchange.api_key,
            "api_secret": exchange.api_secret,
            "private_auth_expire": 10,
        }
        options: dict[str, Any] = {"testnet": False, "retries": 0}
        self.stream = await asyncio.to_thread(at(exchange, WebSocket), channel_type="linear", **options)
        self.private = await asyncio.to_thread(at(exchange, WebSocket), channel_type="private", **options, **keys)
        self.desk = await asyncio.to_thread(at(exchange, WebSocketTrading), **options, **keys)
        self.sockets = [self.stream, self.private, self.desk]
        await eventually(lambda: self.private.auth and self.desk.auth, 60)

    async def subscribe(self) -> None:
        for name in _PRIVATE:
            await asyncio.to_thread(getattr(self.private, f"{name}_stream"), self._takes(name))
        everything = self.public.append
        await asyncio.to_thread(self.stream.orderbook_stream, 50, SYMBOL, everything)
        for method in ("trade_stream", "ticker_stream", "all_liquidation_stream"):
            await asyncio.to_thread(getattr(self.stream, method), SYMBOL, everything)
        await asyncio.to_thread(self.stream.kline_stream, 1, SYMBOL, everything)
        hub = self.place.exchange.state
        await eventually(lambda: hub()["public_connections"] == hub()["private_connections"] == 1)
        await eventually(lambda: {m["topic"].split(".")[0] for m in self.public} >= {"orderbook", "tickers"})

    def _takes(self, name: str) -> Callable[[dict[str, Any]], None]:
        return lambda message: self.came[name].extend(message["data"])

    async def told(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Wait for a row of a private topic."""

        def found() -> list[dict[str, Any]]:
            return [row for row in self.came[name] if all(row[key] == value for key, value in wanted.items())]

        await eventually(lambda: bool(found()), 60)
        return found()[-1]

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A request by the trade socket; its answer."""
        answers: list[dict[str, Any]] = []
        await asyncio.to_thread(getattr(self.desk, method), answers.append, answers.append, category="linear", **params)
        await eventually(lambda: bool(answers), 60)
        return answers[0]

    async def close(self) -> None:
        for socket in self.sockets:
            await asyncio.to_thread(socket.exit)


@asynccontextmanager
async def trading_day(**options: Any) -> AsyncIterator[Day]:
    # pybit notes what it has subscribed to after it has asked, and dies of an answer that comes before: on loopback the
    # answer must be as late as it is from Bybit.
    late = {"on": "subscribe", "ms": 60.0}
    async with floor(**options) as place, place.exchange.misbehave(latency=late):
        day = Day(place)
        try:
            await day.open()
            yield day
        finally:
            await day.close()


async def test_connect_place_amend_fill_and_cancel() -> None:
    async with trading_day() as day:
        place = day.place
        await day.subscribe()
        place.run(90)
        topics = {f"orderbook.50.{SYMBOL}", f"publicTrade.{SYMBOL}", f"tickers.{SYMBOL}", f"kline.1.{SYMBOL}"}
        await eventually(lambda: {message["topic"] for message in day.public} >= topics)
        # pybit merges deltas by itself: what it has is what the exchange has.
        best = place.price(0)
        await eventually(lambda: _best_bid(day.public) == best)

        await place.call("set_leverage", symbol=SYMBOL, buyLeverage="20", sellLeverage="20")
        order_id = await place.order("Buy", "0.2", place.price(0, 30), orderLinkId="entry", timeInForce="PostOnly")
        row = await day.told("order", orderId=order_id, orderStatus="New")
        assert (row["orderLinkId"], row["category"], row["leavesQty"]) == ("entry", "linear", "0.200")
        closer = place.price(0, 20)
        await place.call("amend_order", symbol=SYMBOL, orderId=order_id, price=closer, qty="0.3")
        assert (await day.told("order", orderId=order_id, price=closer))["qty"] == "0.300"
        await place.call("amend_order", symbol=SYMBOL, orderLinkId="entry", price=place.price(0), qty="0.1")
        place.run(3600, until=lambda: place.desk.open_interest(place.listing) == 100)
        fill = await day.told("execution", orderId=order_id, isMaker=True)
        assert (fill["execType"], fill["orderLinkId"], fill["leavesQty"]) == ("Trade", "entry", "0.000")
        assert (await day.told("position", size="0.100"))["side"] == "Buy"
        assert (await day.told("order", orderId=order_id, orderStatus="Filled"))["cumExecQty"] == "0.100"
        assert day.came["wallet"][-1]["accountType"] == "UNIFIED"

        other = await place.order("Sell", "0.1", place.price(1, 40), reduceOnly=True)
        await place.call("cancel_order", symbol=SYMBOL, orderId=other)
        assert (await day.told("order", orderId=other, orderStatus="Cancelled"))["cancelType"] == "CancelByUser"
        await place.order("Sell", "0.1", reduceOnly=True)
        await day.told("position", size="0.000", side="")
        (closed,) = (await place.call("get_closed_pnl", symbol=SYMBOL))["list"]
        history = (await place.call("get_order_history", symbol=SYMBOL))["list"]
        assert {row["orderStatus"] for row in history} == {"Filled", "Cancelled"}
        assert closed["closedSize"] == "0.100"


async def test_stops_batches_and_hedge_mode() -> None:
    async with trading_day() as day:
        place = day.place
        await day.subscribe()
        await place.order("Buy", "0.1", takeProfit=place.price(1, 15), stopLoss=place.price(0, 15), orderLinkId="tpsl")
        assert (await day.told("position", size="0.100"))["stopLoss"]
        place.run(12 * 3600, until=lambda: place.desk.open_interest(place.listing) == 0)
        ended = await day.told("order", orderStatus="Filled", parentOrderLinkId="tpsl")
        assert ended["stopOrderType"] in ("TakeProfit", "StopLoss")
        assert (await day.told("order", orderStatus="Deactivated"))["cancelType"].startswith("CancelByOCO")

        prices = [place.price(0, away) for away in (20, 21, 22)]
        entries = [
            {
                "symbol": SYMBOL,
                "side": "Buy",
                "orderType": "Limit",
                "qty": "0.1",
                "price": price,
                "orderLinkId": f"b{k}",
            }
            for k, price in enumerate(prices)
        ]
        made = await asyncio.to_thread(place.client.place_batch_order, category="linear", request=entries)
        assert [row["orderLinkId"] for row in made["result"]["list"]] == ["b0", "b1", "b2"]
        assert [row["code"] for row in made["retExtInfo"]["list"]] == [0, 0, 0]
        changes = [{"symbol": SYMBOL, "orderLinkId": f"b{k}", "qty": "0.2"} for k in (0, 1)]
        await place.call("amend_batch_order", request=[*changes, {"symbol": SYMBOL, "orderLinkId": "none", "qty": "1"}])
        assert (await day.told("order", orderLinkId="b1", qty="0.200"))["orderStatus"] == "New"
        await place.call("cancel_batch_order", request=[{"symbol": SYMBOL, "orderLinkId": "b0"}])
        await day.told("order", orderLinkId="b0", orderStatus="Cancelled")
        assert len((await place.call("cancel_all_orders", symbol=SYMBOL))["list"]) == 2

        await place.call("switch_position_mode", symbol=SYMBOL, mode=3)
        with pytest.raises(InvalidRequestError) as caught:
            await place.order("Buy", "0.1")
        assert caught.value.status_code == 10001
        await place.order("Buy", "0.2", positionIdx=1)
        await place.order("Sell", "0.3", positionIdx=2, stopLoss=place.price(1, 50))
        rows = (await place.call("get_positions", symbol=SYMBOL))["list"]
        assert [(row["positionIdx"], row["side"], row["size"]) for row in rows] == [
            (1, "Buy", "0.200"),
            (2, "Sell", "0.300"),
        ]
        await place.order("Sell", "0.2", positionIdx=1, reduceOnly=True)
        await place.order("Buy", "0.3", positionIdx=2, reduceOnly=True)
        await place.call("switch_position_mode", symbol=SYMBOL, mode=0)
        assert (await place.position())["positionIdx"] == 0


async def test_funding_reaches_stream_wallet_and_log() -> None:
    async with trading_day(start_ms=DEFAULT_START_MS - 30_000) as day:
        place = day.place
        await day.subscribe()
        await place.order("Buy", "1")
        place.run(31)
        row = await day.told("execution", execType="Funding")
        assert (row["orderId"], row["side"]) == ("", "Buy")
        rows = (await place.call("get_transaction_log", accountType="UNIFIED", type="SETTLEMENT"))["list"]
        assert [Decimal(entry["funding"]) for entry in rows] == [-Decimal(row["execFee"])]


async def test_lost_connections_come_back_and_the_absent_are_protected() -> None:
    async with trading_day() as day:
        place, exchange = day.place, day.place.exchange
        await day.subscribe()
        lost = day.private.ws, day.stream.ws
        for channel in ("private", "public"):
            exchange.faults.add(Fault("kill", on=channel))
        hub = exchange.state
        await eventually(lambda: day.private.ws is not lost[0] and day.stream.ws is not lost[1])
        await eventually(lambda: hub()["private_connections"] == hub()["public_connections"] == 1)
        await eventually(lambda: bool(exchange.subscribed("private", "order")))
        order_id = await place.order("Buy", "0.1", place.price(0, 20))
        await day.told("order", orderId=order_id, orderStatus="New")
        seen = len(day.public)
        place.run(2)
        await eventually(lambda: len(day.public) > seen)

        await asyncio.to_thread(place.client.set_dcp, product="DERIVATIVES", timeWindow=3)
        await asyncio.to_thread(day.private.subscribe, "dcp.future", lambda message: None, "")
        await eventually(lambda: bool(exchange.subscribed("private", "dcp.future")))
        left = time.monotonic()
        await asyncio.to_thread(day.private.exit)
        await eventually(lambda: not place.desk.open_orders())
        assert time.monotonic() - left > 2.9
        assert (await place.show(order_id))["cancelType"] == "CancelByDCP"


async def test_trade_socket_places_amends_cancels_and_batches() -> None:
    # pybit notes whose answer it waits for after it has sent: on loopback the answer can come first.
    async with trading_day() as day, day.place.exchange.misbehave(latency={"on": "order.*", "ms": 30.0}):
        place = day.place
        order = {"symbol": SYMBOL, "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": place.price(0, 20)}
        made = await day.ask("place_order", **order, orderLinkId="socket")
        assert (made["retCode"], made["op"], made["data"]["orderLinkId"]) == (0, "order.create", "socket")
        moved = await day.ask("amend_order", symbol=SYMBOL, orderLinkId="socket", qty="0.3")
        assert (moved["retCode"], moved["data"]["orderId"]) == (0, made["data"]["orderId"])
        assert (await place.show(made["data"]["orderId"]))["qty"] == "0.300"
        assert (await day.ask("place_order", **order, orderLinkId="socket"))["retCode"] == 110072
        gone = await day.ask("cancel_order", symbol=SYMBOL, orderLinkId="socket")
        assert gone["data"] == made["data"]
        batch = await day.ask("place_batch_order", request=[order, order | {"symbol": "NONE"}])
        assert [note["code"] for note in batch["retExtInfo"]["list"]] == [0, 10001]
        (resting,) = place.desk.open_orders()
        cancel = await day.ask("cancel_batch_order", request=[{"symbol": SYMBOL, "orderId": resting.order_id}])
        assert cancel["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]
        assert place.desk.open_orders() == []


def _best_bid(messages: list[dict[str, Any]]) -> str:
    books = [message["data"] for message in messages if message["topic"].startswith("orderbook.")]
    return str(max(books[-1]["b"], key=lambda level: Decimal(level[0]))[0])
