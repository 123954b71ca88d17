"""Misbehaviour of frames: what a subscriber sees, frame by frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulation.exchange.misbehaviour import Fault

from .exchange_floor import SYMBOL, Floor, eventually, floor
from .replay_lake import record
from .sockets import JSON, Client, auth

TOPIC = f"orderbook.50.{SYMBOL}"


@asynccontextmanager
async def reader(**options: Any) -> AsyncIterator[tuple[Floor, Client]]:
    """A client that has got the book's snapshot."""
    async with floor(**options) as place, Client(place.exchange.public_url) as client:
        await client.ask({"op": "subscribe", "args": [TOPIC]})
        assert (await client.get())["type"] == "snapshot"
        yield place, client


async def frames(place: Floor, client: Client, seconds: float = 2.0) -> list[JSON]:
    """What the client gets of so much market time."""
    place.run(seconds)
    await client.socket.send_json({"op": "ping"})
    got = []
    while (message := await client.get()).get("op") != "ping":
        got.append(message)
    return got


def ids(messages: list[JSON]) -> list[int]:
    return [message["data"]["u"] for message in messages]


async def test_lost_doubled_and_swapped_frames() -> None:
    async with reader() as (place, client):
        clean = ids(await frames(place, client))
        assert clean == list(range(2, len(clean) + 2))
        start = clean[-1] + 1
        async with place.exchange.misbehave(drop={"after": 3, "count": 2}):
            got = ids(await frames(place, client))
        assert got == [u for u in range(start, got[-1] + 1) if u not in (start + 3, start + 4)]
        start = got[-1] + 1
        async with place.exchange.misbehave(duplicate={"after": 1, "count": 1}):
            got = ids(await frames(place, client))
        assert got[:4] == [start, start + 1, start + 1, start + 2]
        start = got[-1] + 1
        async with place.exchange.misbehave(reorder={"after": 1, "count": 1, "on": TOPIC}):
            got = ids(await frames(place, client))
        assert got[:4] == [start, start + 2, start + 1, start + 3]
        assert ids(await frames(place, client))[0] == got[-1] + 1


async def test_chances_are_those_of_the_seed() -> None:
    async def run() -> list[int]:
        async with reader() as (place, client), place.exchange.misbehave(drop={"probability": 0.3}):
            return ids(await frames(place, client, 5))

    first = await run()
    assert first == await run()
    assert 0.5 < len(first) / (first[-1] - first[0]) < 0.9


async def test_the_book_begins_anew_or_repeats_itself() -> None:
    async with reader() as (place, client):
        async with place.exchange.misbehave(snapshot={"after": 4, "count": 1}) as (fault,):
            got = await frames(place, client)
        assert fault.hits == 1
        kinds = [message["type"] for message in got]
        assert kinds.count("snapshot") == 1
        assert ids(got) == list(range(2, len(got) + 2))
        async with place.exchange.misbehave(restart={"after": 4, "count": 1}):
            got = await frames(place, client)
        at = next(k for k, message in enumerate(got) if message["type"] == "snapshot")
        assert ids(got)[at:] == list(range(1, len(got) - at + 1))
        assert len(got[at]["data"]["b"]) == 50


async def test_damaged_and_strange_frames() -> None:
    async with reader() as (place, client):
        async with place.exchange.misbehave(unknown_field=1):
            got = await frames(place, client)
        assert ["undocumented" in message for message in got[:2]] == [True, False]
        async with place.exchange.misbehave(malform=1):
            place.run(1)
            message = await client.socket.receive(timeout=20)
        assert message.data.startswith('{"topic"')
        assert not message.data.endswith("}")
        clean = await frames(place, client)
        # The same market with and without a wrong level: one size differs, and no number that could tell.
    seen = []
    for wrong in (False, True):
        async with reader() as (place, client), place.exchange.misbehave(**({"wrong": 1} if wrong else {})):
            seen.append(await frames(place, client, 0.5))
    assert clean
    assert ids(seen[0]) == ids(seen[1])
    different = [k for k, (a, b) in enumerate(zip(*seen)) if a["data"] != b["data"]]
    assert different == [0]
    assert seen[0][0]["data"]["seq"] == seen[1][0]["data"]["seq"]


async def test_stalled_frames_come_late_and_in_order() -> None:
    async with reader() as (place, client):
        async with place.exchange.misbehave(stall={"ms": 250.0, "count": 1, "after": 2}):
            started = time.monotonic()
            got = ids(await frames(place, client))
            assert time.monotonic() - started > 0.24
        assert got == list(range(2, len(got) + 2))
        async with place.exchange.misbehave(latency={"ms": 20.0, "sigma": 1.0, "on": "orderbook.*"}):
            more = ids(await frames(place, client))
        assert more == list(range(got[-1] + 1, got[-1] + 1 + len(more)))


async def test_half_open_connection_is_silent_for_good() -> None:
    async with reader() as (place, client):
        async with place.exchange.misbehave(half_open={"count": 1}):
            place.run(1)
            await client.socket.send_json({"op": "ping"})
            await client.socket.ping()
            assert await client.quiet(0.3)
        place.run(1)
        assert await client.quiet(0.1)
        async with Client(place.exchange.public_url) as other:
            assert (await other.ask({"op": "ping"}))["ret_msg"] == "pong"


async def test_connections_are_cut_by_a_frame_or_at_once() -> None:
    async with reader() as (place, client):
        async with place.exchange.misbehave(cut={"count": 1}):
            place.run(1)
            assert await client.ended()
        hello = auth(place.exchange)
        async with (
            Client(place.exchange.private_url, hello) as private,
            Client(place.exchange.trade_url, hello) as trade,
        ):
            place.exchange.faults.add(Fault("kill", on="private"))
            assert await private.ended()
            assert (await trade.ask({"op": "ping"}))["op"] == "pong"
            place.exchange.faults.add(Fault("freeze", on="trade"))
            await trade.socket.send_json({"op": "ping"})
            assert await trade.quiet()
        state = place.exchange.state
        await eventually(lambda: state()["private_connections"] == state()["public_connections"] == 0)


@pytest.mark.failure(18)
async def test_private_frames_have_faults_of_their_own() -> None:
    async with floor() as place, Client(place.exchange.private_url, auth(place.exchange)) as client:
        await client.ask({"op": "subscribe", "args": ["order", "execution", "position"]})
        async with place.exchange.misbehave(drop={"on": "execution"}, duplicate={"on": "order", "count": 1}):
            await place.order("Buy", "0.05")
        await client.socket.send_json({"op": "ping"})
        topics = []
        while (message := await client.get()).get("op") != "pong":
            topics.append(message["topic"])
        assert topics == ["order", "order", "position"]


async def test_faults_on_books_leave_trades_alone() -> None:
    async with floor() as place, Client(place.exchange.public_url) as client:
        await client.ask({"op": "subscribe", "args": [TOPIC, f"publicTrade.{SYMBOL}"]})
        async with place.exchange.misbehave(drop={"on": "orderbook.*"}):
            got = await frames(place, client, 30)
        assert {message["topic"] for message in got[1:]} == {f"publicTrade.{SYMBOL}"}


async def test_an_exchange_that_hangs_up_on_frozen_clients_still_ends() -> None:
    async with floor() as place:
        session = aiohttp.ClientSession()
        await session.ws_connect(place.exchange.public_url)
        await eventually(lambda: place.exchange.state()["public_connections"] == 1)
        place.exchange.faults.add(Fault("freeze"))
        started = time.monotonic()
    assert time.monotonic() - started < 8
    await asyncio.wait_for(session.close(), 5)


async def test_a_replay_misbehaves_as_well(tmp_path: Path) -> None:
    lake = record(tmp_path / "lake", 3)
    async with floor(replay=lake.root) as place, Client(place.exchange.public_url) as client:
        place.run(20)  # nothing is known before the recording begins
        await client.ask({"op": "subscribe", "args": [TOPIC]})
        async with place.exchange.misbehave(restart={"count": 1, "after": 2}):
            got = await frames(place, client, 20)
        starts = [k for k, message in enumerate(got) if message["type"] == "snapshot"]
        assert ids(got)[starts[-1] :] == list(range(1, len(got) - starts[-1] + 1))
        order_id = await place.order("Buy", "0.4", place.price(0, 30))
        async with place.exchange.misbehave(fill_on_cancel={"share": 0.5}):
            await place.call("cancel_order", symbol=SYMBOL, orderId=order_id)
        row = await place.show(order_id)
        assert (row["orderStatus"], row["cumExecQty"]) == ("Cancelled", "0.200")
        place.exchange.faults.add(Fault("adl"))
        assert (await place.position())["size"] == "0.100"
