"""The private stream's answers, categorised topics, pings and disconnection protection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pybit.exceptions import InvalidRequestError

from simulation.exchange import sockets
from simulation.exchange.sockets import active_time

from .exchange_floor import SYMBOL, Floor, eventually, floor
from .sockets import Client, auth


@asynccontextmanager
async def signed(**options: Any) -> AsyncIterator[tuple[Floor, Client]]:
    async with floor(**options) as place, Client(place.exchange.private_url, auth(place.exchange)) as client:
        yield place, client


async def test_answers_have_the_documented_keys() -> None:
    async with floor() as place:
        async with Client(place.exchange.private_url) as client:
            assert list(await client.ask(auth(place.exchange))) == ["success", "ret_msg", "conn_id", "op"]
            again = await client.ask(auth(place.exchange))
            assert (again["success"], again["ret_msg"]) == (False, "Repeat auth")
            answer = await client.ask({"op": "subscribe", "args": ["order"], "req_id": "7"})
            assert (answer["success"], answer["req_id"], answer["op"]) == (True, "7", "subscribe")
            pong = await client.ask({"op": "ping", "req_id": "test"})
            assert set(pong) == {"req_id", "op", "args", "conn_id"}
            assert (pong["op"], pong["req_id"]) == ("pong", "test")
            assert pong["args"][0].isdigit()
        async with Client(place.exchange.public_url) as client:
            pong = await client.ask({"op": "ping"})
            assert pong | {"conn_id": ""} == {
                "success": True, "ret_msg": "pong", "conn_id": "", "req_id": "", "op": "ping",
            }  # fmt: skip


@pytest.mark.parametrize("url", ["public_url", "private_url", "trade_url"])
async def test_protocol_pings_are_answered(url: str) -> None:
    async with floor() as place, Client(getattr(place.exchange, url), autoping=False) as client:
        await client.socket.ping(b"are you there")
        pong = await client.socket.receive(timeout=20)
        assert (pong.type.name, bytes(pong.data)) == ("PONG", b"are you there")


async def test_refusals() -> None:
    async with signed() as (_, client):

        async def why(*args: Any, op: str = "subscribe") -> str:
            answer = await client.ask({"op": op, "args": list(args)})
            return "" if answer["success"] else answer["ret_msg"]

        assert await why("gossip") == "error:handler not found,topic:gossip"
        assert await why(7) == "error:handler not found,topic:7"
        assert "args is empty" in await why()
        assert "all-in-one" in await why("order", "order.linear")
        assert await why("order") == ""
        assert await why("order") == "error:already subscribed,topic:order"
        assert await why("order", op="unsubscribe") == ""
        assert await why("order") == ""
        assert "unknown op" in await why(op="invent")
        await client.socket.send_bytes(b"\x00")
        assert (await client.get())["success"] is False


async def test_topics_come_as_they_were_asked_for() -> None:
    async with signed() as (place, client):
        topics = [
            "order.linear",
            "execution.linear",
            "position.linear",
            "wallet",
            "execution.fast",
            "order.spot",
            "greeks",
        ]
        assert (await client.ask({"op": "subscribe", "args": topics}))["success"]
        await place.order("Buy", "0.05")
        await client.socket.send_json({"op": "ping"})
        messages = []
        while (message := await client.get()).get("op") != "pong":
            messages.append(message)
        assert {message["topic"] for message in messages} == set(topics[:5])
        (fast,) = next(message["data"] for message in messages if message["topic"] == "execution.fast")
        assert set(fast) == {
            "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side",
            "execTime", "seq",
        }  # fmt: skip


async def test_orders_of_who_has_gone_are_cancelled_after_the_window() -> None:
    async with floor() as place:
        protection = place.exchange.protection
        order_id = await place.order("Buy", "0.1", place.price(0, 5))
        hello = (auth(place.exchange), {"op": "subscribe", "args": ["dcp.future"]})
        async with Client(place.exchange.private_url, *hello) as one:
            async with Client(place.exchange.private_url, *hello):
                pass
            await eventually(lambda: len(place.exchange._private.connections) == 1)
            assert not protection.counting  # one of two still lives
            await one.ask({"op": "ping"})
        await eventually(lambda: protection.counting)
        protection.window = 0.2  # type: ignore[assignment]  # of the next time; the API takes whole seconds from 3 on
        async with Client(place.exchange.private_url, *hello):
            assert not protection.counting  # it came back in time
            await asyncio.sleep(0.3)
            assert place.desk.open_orders()
        await eventually(lambda: not place.desk.open_orders())
        row = await place.show(order_id)
        assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByDCP")


async def test_nothing_is_cancelled_without_the_topic() -> None:
    async with floor() as place:
        place.exchange.protection.window = 0.05  # type: ignore[assignment]
        await place.order("Buy", "0.1", place.price(0, 5))
        async with Client(place.exchange.private_url, auth(place.exchange), {"op": "subscribe", "args": ["order"]}):
            pass
        await asyncio.sleep(0.3)
        assert place.desk.open_orders()


async def test_the_window_is_set_and_told() -> None:
    async with floor() as place:
        client = place.client
        answer = await asyncio.to_thread(client.set_dcp, product="DERIVATIVES", timeWindow=40)
        assert (answer["retCode"], answer["retMsg"]) == (0, "success")
        told = await asyncio.to_thread(client.query_dcp_info)
        assert told["result"] == {"dcpInfos": [{"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": "40"}]}
        for wrong in ({"timeWindow": 2}, {"timeWindow": 301}, {"timeWindow": "40"}, {"timeWindow": 5, "product": "X"}):
            with pytest.raises(InvalidRequestError):
                await asyncio.to_thread(client.set_dcp, **wrong)


async def test_too_many_requests_of_an_address_shut_it_out() -> None:
    async with floor(ip_limit=5) as place:
        url = f"{place.exchange.rest_url}/v5/market/time"
        states = []
        for _ in range(8):
            async with place.session.get(url) as answer:
                states.append((answer.status, (await answer.text())[:10]))
        assert [status for status, _ in states] == [200] * 5 + [403] * 3
        assert states[-1][1] == "access too"


async def test_the_key_may_only_look_or_be_too_old() -> None:
    async with floor() as place:
        place.desk.key_info.read_only = True
        with pytest.raises(InvalidRequestError) as caught:
            await place.order("Buy", "0.1", place.price(0, 5))
        assert caught.value.status_code == 10005
        await place.position()
        place.exchange.keyring.expired = True
        with pytest.raises(InvalidRequestError) as caught:
            await place.position()
        assert caught.value.status_code == 33004


async def test_connections_that_say_nothing_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [active_time(text) for text in ("", "30s", "5m", "29s", "601s", "x")] == [600, 30, 300, 600, 600, 600]
    monkeypatch.setattr(sockets, "SCAN", 0.05)
    monkeypatch.setattr(sockets, "active_time", lambda text: 0.4)
    async with floor() as place:
        async with Client(place.exchange.private_url, auth(place.exchange)) as client:
            for _ in range(6):
                await asyncio.sleep(0.1)
                assert (await client.ask({"op": "ping"}))["op"] == "pong"
            assert await client.ended(5)
        async with Client(place.exchange.public_url) as client:
            await asyncio.sleep(0.6)
            assert (await client.ask({"op": "ping"}))["ret_msg"] == "pong"


async def test_page_shows_what_is_going_on() -> None:
    async with floor() as place, place.exchange.misbehave(drop={"on": "<orderbook>"}):
        await place.order("Buy", "0.2", stopLoss=place.price(0, 40))
        await place.order("Buy", "0.1", place.price(0, 30), orderLinkId="my-link")
        async with place.session.get(f"{place.exchange.rest_url}/") as answer:
            page = await answer.text()
        for words in (
            SYMBOL,
            "standing still",
            "seed 7",
            "long",
            "0.200",
            "my-link",
            "StopLoss",
            "on &lt;orderbook&gt;",
        ):
            assert words in page
        assert "Nothing goes wrong" not in page
        assert page.count("<script") == 0
