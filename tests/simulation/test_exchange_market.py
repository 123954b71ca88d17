"""The exchange's market side: REST for everybody, and the public stream, over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import numpy as np
import pytest
from pybit.exceptions import FailedRequestError, InvalidRequestError

from market.assembler import SessionAssembler
from market.errors import ConfigError
from market.events import EventBatch
from market.instruments import Instrument
from market.rest import fetch_instruments
from simulation.exchange import DEFAULT_START_MS, LocalExchange
from simulation.synthetic import SYNTHETIC, synthetic_events

from .exchange_floor import SYMBOL, Floor, eventually, floor

BOOK, TRADES, TICKER = f"orderbook.200.{SYMBOL}", f"publicTrade.{SYMBOL}", f"tickers.{SYMBOL}"


async def subscribe(place: Floor, *topics: str) -> aiohttp.ClientWebSocketResponse:
    socket = await place.session.ws_connect(place.exchange.public_url, max_msg_size=0)
    await socket.send_json({"op": "subscribe", "req_id": "7", "args": list(topics)})
    answer = await socket.receive_json(timeout=20)
    assert answer.pop("conn_id")
    assert answer == {"success": True, "ret_msg": "", "req_id": "7", "op": "subscribe"}
    return socket


async def drain(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All messages until the answer to a ping."""
    await socket.send_json({"op": "ping"})
    messages = []
    while (message := await socket.receive_json(timeout=20)).get("op") != "ping":
        messages.append(message)
    return messages


def apply(book: tuple[dict[str, str], dict[str, str]], message: dict[str, Any]) -> None:
    if message["type"] == "snapshot":
        book[0].clear()
        book[1].clear()
    for levels, name in zip(book, "ba"):
        for price, size in message["data"][name]:
            if size == "0":
                del levels[price]
            else:
                levels[price] = size


async def test_market_data_through_pybit() -> None:
    async with floor() as place:
        place.run(150)
        (row,) = (await place.call("get_instruments_info", symbol=SYMBOL))["list"]
        assert Instrument.from_bybit(row) == SYNTHETIC
        assert await asyncio.to_thread(fetch_instruments, place.exchange.rest_url) == {SYMBOL: SYNTHETIC}
        book = await place.call("get_orderbook", symbol=SYMBOL, limit=200)
        bids, asks = [[float(price) for price, _ in book[side]] for side in "ba"]
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        assert len(bids) >= 50
        assert {type(book[name]) for name in ("ts", "u", "seq", "cts")} == {int}
        trades = (await place.call("get_public_trade_history", symbol=SYMBOL, limit=1000))["list"]
        assert len(trades) > 50
        assert len({trade["execId"] for trade in trades}) == len(trades)
        (ticker,) = (await place.call("get_tickers", symbol=SYMBOL))["list"]
        assert ticker["lastPrice"] == trades[0]["price"]
        assert (ticker["bid1Price"], ticker["ask1Price"]) == (book["b"][0][0], book["a"][0][0])
        klines = (await place.call("get_kline", symbol=SYMBOL, interval=1))["list"]
        assert [int(row[0]) for row in klines] == [DEFAULT_START_MS + minute * 60_000 for minute in (2, 1, 0)]
        assert sum(float(row[5]) for row in klines) == pytest.approx(sum(float(trade["size"]) for trade in trades))
        assert float(klines[0][4]) == float(trades[0]["price"])
        (merged,) = (await place.call("get_kline", symbol=SYMBOL, interval="5"))["list"]
        assert merged[1] == klines[-1][1]
        assert float(merged[2]) == max(float(row[2]) for row in klines)
        now = await asyncio.to_thread(place.client.get_server_time)
        assert int(now["result"]["timeNano"]) // 1_000_000 == pytest.approx(now["time"], abs=1_000)


async def test_refusals_of_market_data() -> None:
    async with floor() as place:
        with pytest.raises(InvalidRequestError, match="symbol invalid NOPEUSDT"):
            await place.call("get_orderbook", symbol="NOPEUSDT")
        with pytest.raises(InvalidRequestError, match="limit"):
            await place.call("get_orderbook", symbol=SYMBOL, limit=0)
        with pytest.raises(InvalidRequestError, match="interval"):
            await place.call("get_kline", symbol=SYMBOL, interval=7)
        with pytest.raises(InvalidRequestError, match="category"):
            await asyncio.to_thread(place.client.get_tickers, category="stock")
        with pytest.raises(InvalidRequestError, match="intervalTime"):
            await place.call("get_open_interest", symbol=SYMBOL, intervalTime="7min")
        with pytest.raises(InvalidRequestError, match="endTime"):
            await place.call("get_funding_rate_history", symbol=SYMBOL, startTime=1)
        with pytest.raises(FailedRequestError):
            await place.call("get_insurance")


async def test_stream_keeps_a_book_that_equals_the_exchange_s() -> None:
    async with floor() as place:
        socket = await subscribe(place, BOOK, TRADES)
        place.run(120)
        messages = await drain(socket)
        books = [message for message in messages if message["topic"] == BOOK]
        assert [message["type"] for message in books] == ["snapshot"] + ["delta"] * (len(books) - 1)
        assert [message["data"]["u"] for message in books] == list(range(1, len(books) + 1))
        assert (np.diff([message["data"]["seq"] for message in books]) > 0).all()
        assert all(message["ts"] % 100 == 0 and message["cts"] <= message["ts"] for message in books)
        mirror: tuple[dict[str, str], dict[str, str]] = ({}, {})
        for message in books:
            apply(mirror, message)
        # The last push may lie before the market's present: ask for what it has published.
        expected = json.loads(place.listing.join(place.listing.feed_of[BOOK]) or b"")
        assert mirror == tuple(dict(expected["data"][name]) for name in "ba")
        trades = [trade for message in messages if message["topic"] == TRADES for trade in message["data"]]
        assert [trade["i"] for trade in trades] == [row["execId"] for row in place.listing.recent(1_000)][::-1]
        first = trades[0] | {"T": 0, "seq": 0, "v": "", "p": "", "i": "", "S": "", "L": ""}
        assert first == {
            "T": 0,
            "s": SYMBOL,
            "S": "",
            "v": "",
            "p": "",
            "L": "",
            "i": "",
            "BT": False,
            "RPI": False,
            "seq": 0,
        }
        assert {trade["L"] for trade in trades} == {"PlusTick", "MinusTick", "ZeroPlusTick", "ZeroMinusTick"}
        await socket.close()


async def test_recorder_s_view_equals_synthetic_events() -> None:
    async with floor(seed=3, signal=1.0) as place:
        socket = await subscribe(place, BOOK, TRADES)
        place.run(90)
        await socket.send_json({"op": "ping"})
        assembler, pieces = SessionAssembler({SYMBOL: SYNTHETIC}), []
        while b'"topic"' in (frame := (await socket.receive(timeout=20)).data.encode()):
            pieces += [batch for _, batch in assembler.on_frame(frame, 0).batches]
        await socket.close()
    seen = EventBatch.concat(pieces)
    told = EventBatch.concat(synthetic_events(3, 1.0, DEFAULT_START_MS, 90_000))
    assert len(seen) > 1_000
    for name in ("kind", "flags", "side", "time_ms", "price", "size"):
        assert np.array_equal(getattr(seen, name), getattr(told, name)), name


async def test_late_subscriber_gets_a_snapshot_that_the_next_delta_continues() -> None:
    async with floor() as place:
        early = await subscribe(place, BOOK)
        place.run(30)
        late = await subscribe(place, BOOK)
        place.run(30)
        first, second = [await drain(socket) for socket in (early, late)]
        assert second[0]["type"] == "snapshot"
        assert second[1]["data"]["u"] == second[0]["data"]["u"] + 1
        assert second[1:] == first[-len(second) + 1 :]
        mirrors: list[tuple[dict[str, str], dict[str, str]]] = [({}, {}), ({}, {})]
        for mirror, messages in zip(mirrors, (first, second)):
            for message in messages:
                apply(mirror, message)
        assert mirrors[0] == mirrors[1]
        await early.send_json({"op": "unsubscribe", "args": [BOOK]})
        assert (await early.receive_json())["success"]
        place.run(5)
        assert await drain(early) == []
        assert await drain(late) != []
        await early.send_json({"op": "subscribe", "args": [BOOK]})
        await early.receive_json()
        again = await early.receive_json()
        assert again["type"] == "snapshot"
        await early.close()
        await late.close()
        await eventually(lambda: not place.listing.watched)


async def test_tickers_send_a_snapshot_and_then_what_changes() -> None:
    async with floor() as place:
        socket = await subscribe(place, TICKER)
        snapshot = await socket.receive_json()
        assert snapshot["type"] == "snapshot"
        assert snapshot["data"]["fundingRate"] == "0.0001"
        place.run(60)
        state = dict(snapshot["data"])
        for message in await drain(socket):
            assert message["type"] == "delta"
            assert message["data"]["symbol"] == SYMBOL
            state |= message["data"]
        (rest,) = (await place.call("get_tickers", symbol=SYMBOL))["list"]
        # Statistics over 24 hours are refreshed once a minute.
        assert {
            name: state[name] for name in ("lastPrice", "markPrice", "indexPrice", "ask1Size", "nextFundingTime")
        } == {name: rest[name] for name in ("lastPrice", "markPrice", "indexPrice", "ask1Size", "nextFundingTime")}
        await socket.close()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ('{"op":"subscribe","args":["orderbook.3.SYNUSDT"]}', "handler not found,topic:orderbook.3.SYNUSDT"),
        ('{"op":"subscribe","args":["orderbook.200.NOPEUSDT"]}', "handler not found"),
        ('{"op":"subscribe","args":[7]}', "handler not found"),
        ('{"op":"subscribe","args":[]}', "args"),
        ('{"op":"subscribe","args":"orderbook.200.SYNUSDT"}', "args"),
        ('{"op":"dance"}', "unknown op"),
        ("[1]", "invalid json"),
        ("{", "invalid json"),
    ],
)
async def test_bad_requests_are_refused_and_the_connection_lives(sent: str, why: str) -> None:
    async with floor() as place:
        socket = await place.session.ws_connect(place.exchange.public_url)
        await socket.send_str(sent)
        answer = await socket.receive_json()
        assert answer["success"] is False
        assert why in answer["ret_msg"]
        assert await drain(socket) == []
        await socket.close()


async def test_subscribing_twice_is_refused() -> None:
    async with floor() as place:
        socket = await subscribe(place, TRADES)
        await socket.send_json({"op": "subscribe", "args": [TRADES]})
        assert "already subscribed" in (await socket.receive_json())["ret_msg"]
        await socket.close()


async def test_clock_runs_at_its_speed_and_changes_it() -> None:
    async with floor(speed=50.0) as place:
        control = place.exchange.rest_url + "/control"
        start = place.exchange.now_ms
        await asyncio.sleep(0.5)
        assert 5_000 < place.exchange.now_ms - start < 60_000
        async with place.session.post(control, json={"speed": 0}) as answer:
            state = await answer.json()
        assert state["speed"] == 0
        await asyncio.sleep(0.05)
        assert place.exchange.now_ms - state["market_ms"] <= 1_000
        for wrong in ({"speed": -1}, {"speed": "fast"}, {"pace": 1}, [1]):
            async with place.session.post(control, json=wrong) as answer:
                assert answer.status == 400
        async with place.session.get(place.exchange.rest_url + "/") as answer:
            page = await answer.text()
        assert SYMBOL in page
        assert "2026-01-01" in page


async def test_overload_slips_and_drops_nothing() -> None:
    async with floor(speed=100_000.0) as place:
        socket = await subscribe(place, BOOK)
        messages = [await socket.receive_json(timeout=20) for _ in range(3_000)]
        assert [message["data"]["u"] for message in messages] == list(range(1, 3_001))
        assert place.exchange.state()["slipped_ms"] > 0
        await socket.close()


async def test_several_symbols_have_markets_of_their_own() -> None:
    async with floor(symbols=("SYNUSDT", "SYNTWOUSDT")) as place:
        rows = (await place.call("get_instruments_info"))["list"]
        assert [row["symbol"] for row in rows] == ["SYNUSDT", "SYNTWOUSDT"]
        socket = await subscribe(place, "publicTrade.SYNTWOUSDT")
        place.run(20)
        messages = await drain(socket)
        assert messages
        assert {message["topic"] for message in messages} == {"publicTrade.SYNTWOUSDT"}
        one, two = [
            [row["price"] for row in place.exchange.venue.listings[name].recent(9)]
            for name in ("SYNUSDT", "SYNTWOUSDT")
        ]
        assert one != two
        await socket.close()


async def test_impossible_exchanges_are_refused() -> None:
    with pytest.raises(ConfigError, match="speed"):
        LocalExchange(speed=float("nan"))
    with pytest.raises(ConfigError, match="symbol"):
        LocalExchange(symbols=())
    async with floor() as place:
        with pytest.raises(ConfigError, match="port"):
            async with LocalExchange(port=place.exchange.port):
                pass
