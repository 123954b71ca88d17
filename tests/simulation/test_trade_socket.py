"""Orders by WebSocket: envelope, codes and limits as Bybit documents them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from simulation.exchange.auth import LIMITS

from .exchange_floor import SYMBOL, Floor, floor
from .sockets import JSON, Client, auth


def request(op: str, *args: Any, **fields: Any) -> JSON:
    stamp = str(time.time_ns() // 1_000_000)
    return {"op": op, "header": {"X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": "8000"}, "args": list(args)} | fields


def buy(place: Floor, **params: Any) -> JSON:
    order = {"category": "linear", "symbol": SYMBOL, "side": "Buy", "orderType": "Limit", "qty": "0.1"}
    return order | {"price": place.price(0, 10)} | params


@asynccontextmanager
async def desk(**options: Any) -> AsyncIterator[tuple[Floor, Client]]:
    async with floor(**options) as place, Client(place.exchange.trade_url, auth(place.exchange)) as client:
        yield place, client


async def test_signing_in_has_its_own_codes() -> None:
    async with floor() as place, Client(place.exchange.trade_url) as client:
        exchange = place.exchange
        assert (await client.ask(request("order.create", buy(place))))["retCode"] == 10007
        assert (await client.ask({"op": "auth", "args": []}))["retCode"] == 10001
        assert (await client.ask(auth(exchange, key="stranger")))["retCode"] == 10003
        assert (await client.ask(auth(exchange, secret="wrong")))["retCode"] == 10004
        assert (await client.ask(auth(exchange, expires=1)))["retCode"] == 10004
        exchange.keyring.expired = True
        assert (await client.ask(auth(exchange)))["retCode"] == 33004
        exchange.keyring.expired = False
        signed = await client.ask(auth(exchange) | {"reqId": "one"})
        assert list(signed) == ["reqId", "retCode", "retMsg", "op", "connId"]
        assert (signed["retCode"], signed["retMsg"], signed["op"]) == (0, "OK", "auth")
        again = await client.ask(auth(exchange))
        assert (again["retCode"], "reqId" in again) == (20001, False)


async def test_ping_has_the_trade_shape() -> None:
    async with desk() as (_, client):
        pong = await client.ask({"op": "ping"})
        assert list(pong) == ["retCode", "retMsg", "op", "data", "connId"]
        assert (pong["retCode"], pong["retMsg"], pong["op"]) == (0, "OK", "pong")
        assert pong["data"][0].isdigit()


async def test_create_and_cancel_answer_as_documented() -> None:
    async with desk(limits=LIMITS) as (place, client):
        answer = await client.ask(request("order.create", buy(place, orderLinkId="mine"), reqId="r-1"))
        assert list(answer) == ["reqId", "retCode", "retMsg", "op", "data", "retExtInfo", "header", "connId"]
        assert (answer["reqId"], answer["retCode"], answer["retMsg"]) == ("r-1", 0, "OK")
        assert answer["data"]["orderLinkId"] == "mine"
        assert answer["retExtInfo"] == {}
        header = answer["header"]
        assert set(header) == {
            "X-Bapi-Limit", "X-Bapi-Limit-Status", "X-Bapi-Limit-Reset-Timestamp", "Traceid", "Timenow",
        }  # fmt: skip
        assert (header["X-Bapi-Limit"], header["X-Bapi-Limit-Status"]) == ("10", "9")
        assert all(isinstance(value, str) for value in header.values())
        (order,) = place.desk.open_orders()
        assert order.order_id == answer["data"]["orderId"]
        gone = await client.ask(
            request("order.cancel", {"category": "linear", "symbol": SYMBOL, "orderLinkId": "mine"})
        )
        assert (gone["retCode"], "reqId" in gone) == (0, False)
        assert place.desk.open_orders() == []
        late = await client.ask(
            request("order.cancel", {"category": "linear", "symbol": SYMBOL, "orderLinkId": "mine"})
        )
        assert (late["retCode"], late["data"]) == (110001, {})


async def test_what_is_wrong_is_told() -> None:
    async with desk() as (place, client):

        async def code(message: JSON) -> int:
            return (await client.ask(message))["retCode"]  # type: ignore[no-any-return]

        assert await code(request("order.invent", buy(place))) == 10404
        assert await code(request("order.create", buy(place, category="spot"))) == 10404
        assert await code(request("order.create", buy(place, symbol="NONE"))) == 10001
        assert await code(request("order.create")) == 10001
        assert await code(request("order.create", buy(place), buy(place))) == 10001
        assert await code(request("order.create", buy(place), header={})) == 10001
        assert await code(request("order.create", buy(place), header=None)) == 10001
        assert await code(request("order.create", buy(place), header={"X-BAPI-TIMESTAMP": "1"})) == 10002
        assert await code(request("order.create", buy(place), reqId="x" * 37)) == 10001
        assert await code(request("order.create", buy(place), reqId="twice")) == 0
        assert await code(request("order.create", buy(place), reqId="twice")) == 20006
        await client.socket.send_str("{no json")
        assert (await client.get())["retCode"] == 10001
        place.desk.key_info.read_only = True
        assert await code(request("order.create", buy(place))) == 10005
        assert len(place.desk.open_orders()) == 1


async def test_rate_limit_is_that_of_rest_and_rolls() -> None:
    async with desk(limits={"/v5/order/create": 3}) as (place, client):
        await place.order("Buy", "0.1", place.price(0, 9))
        codes = [(await client.ask(request("order.create", buy(place))))["retCode"] for _ in range(3)]
        assert codes == [0, 0, 10006]
        answer = await client.ask(request("order.create", buy(place)))
        reset = int(answer["header"]["X-Bapi-Limit-Reset-Timestamp"])
        assert answer["header"]["X-Bapi-Limit-Status"] == "0"
        await asyncio.sleep(max(reset / 1000 - time.time(), 0) + 0.01)
        assert (await client.ask(request("order.create", buy(place))))["retCode"] == 0


async def test_codes_and_lost_answers_on_demand() -> None:
    async with desk() as (place, client):
        async with place.exchange.misbehave(
            ret_code={"code": 10016, "on": "order.create", "accepted": True, "count": 1}
        ):
            assert (await client.ask(request("order.create", buy(place), reqId="a")))["retCode"] == 10016
        assert len(place.desk.open_orders()) == 1
        async with place.exchange.misbehave(timeout_before={"on": "/v5/order/create", "count": 1}):
            await client.socket.send_json(request("order.create", buy(place), reqId="b"))
            assert await client.quiet()
        assert len(place.desk.open_orders()) == 1


async def test_an_answer_that_is_lost_does_not_hold_up_others() -> None:
    lost = {"on": "order.create", "count": 1, "ms": 200.0}
    async with desk() as (place, client), place.exchange.misbehave(timeout_after=lost):
        await client.socket.send_json(request("order.create", buy(place, orderLinkId="lost"), reqId="b"))
        gone = {"category": "linear", "symbol": SYMBOL, "orderLinkId": "lost"}
        await asyncio.sleep(0.05)
        answer = await client.ask(request("order.cancel", gone, reqId="c"))
        assert (answer["reqId"], answer["retCode"]) == ("c", 0)
        assert await client.ended()


async def test_maintenance_has_the_trade_code() -> None:
    async with desk() as (place, client):
        async with place.exchange.misbehave(maintenance=True):
            answer = await client.ask(request("order.create", buy(place)))
        assert (answer["retCode"], answer["retMsg"][:27]) == (10019, "ws trade service is restart")
