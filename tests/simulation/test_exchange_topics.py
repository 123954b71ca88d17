"""The public market side field by field: REST answers and topics have the documented names, types and pace."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import pytest

from market.errors import ConfigError
from simulation.exchange import DEFAULT_START_MS, LocalExchange
from simulation.exchange.candles import INTERVALS, end_of, filled, joined, start_of
from simulation.exchange.interest import Funding
from simulation.flow_params import Break, MarketParams
from tests.simulation.exchange_floor import SYMBOL, Floor, floor
from tests.simulation.replay_lake import Recorder, record

START = DEFAULT_START_MS

# The documented shape of every answer: names and JSON types. A list stands for an array of what it holds, a tuple for
# an array of exactly that; `...` for anything.
_LEVELS = [(str, str)]
_CANDLE = (str,) * 7
_SAMPLE = (str,) * 5
_INSTRUMENT = {
    "symbol": str, "symbolId": int, "contractType": str, "status": str, "baseCoin": str, "quoteCoin": str,
    "symbolType": str, "launchTime": str, "deliveryTime": str, "deliveryFeeRate": str, "priceScale": str,
    "leverageFilter": {"minLeverage": str, "maxLeverage": str, "leverageStep": str},
    "priceFilter": {"minPrice": str, "maxPrice": str, "tickSize": str},
    "lotSizeFilter": {
        "minNotionalValue": str, "maxOrderQty": str, "maxMktOrderQty": str, "minOrderQty": str, "qtyStep": str,
        "postOnlyMaxOrderQty": str,
    },
    "unifiedMarginTrade": bool, "fundingInterval": int, "settleCoin": str, "copyTrading": str,
    "upperFundingRate": str, "lowerFundingRate": str, "displayName": str, "forbidUplWithdrawal": bool,
    "riskParameters": {"priceLimitRatioX": str, "priceLimitRatioY": str}, "isPreListing": bool,
    "preListingInfo": type(None),
}  # fmt: skip
_TICKER_NAMES = [
    "symbol",
    "lastPrice",
    "indexPrice",
    "markPrice",
    "prevPrice24h",
    "price24hPcnt",
    "highPrice24h",
    "lowPrice24h",
    "prevPrice1h",
    "openInterest",
    "openInterestValue",
    "singleOpenInterest",
    "singleOpenInterestValue",
    "turnover24h",
    "volume24h",
    "fundingRate",
    "nextFundingTime",
    "predictedDeliveryPrice",
    "basisRate",
    "basis",
    "deliveryFeeRate",
    "deliveryTime",
    "ask1Size",
    "bid1Price",
    "ask1Price",
    "bid1Size",
    "preOpenPrice",
    "preQty",
    "curPreListingPhase",
    "fundingIntervalHour",
    "fundingCap",
    "basisRateYear",
]
_TICKER = dict.fromkeys(_TICKER_NAMES, str)
_TRADE = {
    "execId": str, "symbol": str, "price": str, "size": str, "side": str, "time": str, "isBlockTrade": bool,
    "isRPITrade": bool, "seq": str,
}  # fmt: skip
_INTEREST = {"openInterest": str, "singleOpenInterest": str, "timestamp": str}
_RISK = {
    "id": int, "symbol": str, "riskLimitValue": str, "maintenanceMargin": str, "initialMargin": str,
    "isLowestRisk": int, "maxLeverage": str, "mmDeduction": str,
}  # fmt: skip
_PAGED = {"category": str, "nextPageCursor": str}
REST: dict[str, tuple[dict[str, Any], Any]] = {
    "time": ({}, {"timeSecond": str, "timeNano": str}),
    "instruments-info": ({}, _PAGED | {"list": [_INSTRUMENT]}),
    "orderbook": ({"symbol": SYMBOL, "limit": 1000},
                  {"s": str, "b": _LEVELS, "a": _LEVELS, "ts": int, "u": int, "seq": int, "cts": int}),
    "kline": ({"symbol": SYMBOL, "interval": "60"}, {"symbol": str, "category": str, "list": [_CANDLE]}),
    "mark-price-kline": ({"symbol": SYMBOL, "interval": "1"}, {"symbol": str, "category": str, "list": [_SAMPLE]}),
    "index-price-kline": ({"symbol": SYMBOL, "interval": "D"}, {"symbol": str, "category": str, "list": [_SAMPLE]}),
    "premium-index-price-kline": ({"symbol": SYMBOL, "interval": "M"},
                                  {"symbol": str, "category": str, "list": [_SAMPLE]}),
    "recent-trade": ({"symbol": SYMBOL}, {"category": str, "list": [_TRADE]}),
    "tickers": ({}, {"category": str, "list": [_TICKER]}),
    "funding/history": ({"symbol": SYMBOL},
                        {"category": str,
                         "list": [{"symbol": str, "fundingRate": str, "fundingRateTimestamp": str}]}),
    "open-interest": ({"symbol": SYMBOL, "intervalTime": "5min"}, _PAGED | {"symbol": str, "list": [_INTEREST]}),
    "risk-limit": ({"symbol": SYMBOL}, _PAGED | {"list": [_RISK]}),
    "price-limit": ({"symbol": SYMBOL}, {"symbol": str, "buyLmt": str, "sellLmt": str, "ts": str}),
}  # fmt: skip
_LINEAR = [
    "symbol",
    "tickDirection",
    "price24hPcnt",
    "lastPrice",
    "prevPrice24h",
    "highPrice24h",
    "lowPrice24h",
    "prevPrice1h",
    "markPrice",
    "indexPrice",
    "openInterest",
    "openInterestValue",
    "turnover24h",
    "volume24h",
    "fundingIntervalHour",
    "fundingCap",
    "singleOpenInterest",
    "singleOpenInterestValue",
    "nextFundingTime",
    "fundingRate",
    "bid1Price",
    "bid1Size",
    "ask1Price",
    "ask1Size",
    "preOpenPrice",
    "preQty",
    "curPreListingPhase",
]
_BOOK = {
    "topic": str, "type": str, "ts": int, "data": {"s": str, "b": _LEVELS, "a": _LEVELS, "u": int, "seq": int},
    "cts": int,
}  # fmt: skip
STREAMS: dict[str, Any] = {
    **{f"orderbook.{depth}.{SYMBOL}": _BOOK for depth in (1, 50, 200, 1000)},
    f"publicTrade.{SYMBOL}": {
        "topic": str, "type": str, "ts": int,
        "data": [{"T": int, "s": str, "S": str, "v": str, "p": str, "L": str, "i": str, "BT": bool, "RPI": bool,
                  "seq": int}],
    },
    f"tickers.{SYMBOL}": {
        "topic": str, "type": str, "cs": int, "ts": int, "data": dict.fromkeys(_LINEAR, str),
    },
    f"kline.5.{SYMBOL}": {
        "topic": str, "type": str, "ts": int,
        "data": [{"start": int, "end": int, "interval": str, "open": str, "close": str, "high": str, "low": str,
                  "volume": str, "turnover": str, "confirm": bool, "timestamp": int}],
    },
    f"allLiquidation.{SYMBOL}": {
        "topic": str, "type": str, "ts": int, "data": [{"T": int, "s": str, "S": str, "v": str, "p": str}],
    },
    f"priceLimit.{SYMBOL}": {"topic": str, "ts": int, "data": {"symbol": str, "buyLmt": str, "sellLmt": str}},
}  # fmt: skip


def fits(value: Any, shape: Any, where: str = "") -> None:
    """Whether names and types are those of a shape; says where they are not."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert set(value) == set(shape), (where, set(value) ^ set(shape))
        for name, inside in shape.items():
            fits(value[name], inside, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        assert value, f"{where} is empty"
        for one in value:
            fits(one, shape[0], f"{where}[]")
    elif isinstance(shape, tuple):
        assert isinstance(value, list), where
        assert len(value) == len(shape), where
        for one, inside in zip(value, shape):
            fits(one, inside, f"{where}[]")
    else:
        assert type(value) is shape, (where, value)


async def ask(place: Floor | SimpleNamespace, name: str, **params: Any) -> dict[str, Any]:
    query = {"category": "linear"} | params
    async with place.session.get(f"{place.exchange.rest_url}/v5/market/{name}", params=query) as answer:
        body: dict[str, Any] = await answer.json()
    return body


async def test_rest_has_the_documented_names_and_types() -> None:
    async with floor(seed=5, start_ms=START + 7 * 3_600_000 + 1_800_000) as place:
        place.run(1_860)
        for name, (params, shape) in REST.items():
            body = await ask(place, name, **params)
            assert (body["retCode"], body["retMsg"]) == (0, "OK"), name
            fits(body["result"], shape, name)
        (funding,) = (await ask(place, "funding/history", symbol=SYMBOL))["result"]["list"]
        assert funding["fundingRateTimestamp"] == str(START + 8 * 3_600_000)
        assert abs(Decimal(funding["fundingRate"])) <= Decimal("0.005")
        await _pages(place)
        await _candles(place)


async def _pages(place: Floor) -> None:
    """Open interest moves, and its pages are one list."""
    found: list[dict[str, str]] = []
    cursor = ""
    while True:
        result = (await ask(place, "open-interest", symbol=SYMBOL, intervalTime="5min", limit=40, cursor=cursor))[
            "result"
        ]
        found += result["list"]
        cursor = result["nextPageCursor"]
        if not cursor:
            break
    times = [int(row["timestamp"]) for row in found]
    assert times == sorted(times, reverse=True)
    assert len(times) == len(set(times)) == 6
    assert all(time % 300_000 == 0 for time in times)
    sizes = [Decimal(row["singleOpenInterest"]) for row in found]
    assert len(set(sizes)) == 6
    assert [Decimal(row["openInterest"]) for row in found] == [2 * size for size in sizes]
    hourly = (await ask(place, "open-interest", symbol=SYMBOL, intervalTime="1h"))["result"]["list"]
    assert hourly == [row for row in found if int(row["timestamp"]) % 3_600_000 == 0]


async def _candles(place: Floor) -> None:
    minutes = (await ask(place, "kline", symbol=SYMBOL, interval="1", limit=1000))["result"]["list"]
    starts = [int(row[0]) for row in minutes]
    assert starts == list(range(starts[0], starts[-1] - 1, -60_000))
    hours = (await ask(place, "kline", symbol=SYMBOL, interval="60"))["result"]["list"]
    inside = [row for row in minutes if int(row[0]) // 3_600_000 == int(hours[1][0]) // 3_600_000]
    assert len(inside) == 30
    assert hours[1][1] == inside[-1][1]
    assert hours[1][4] == inside[0][4]
    assert Decimal(hours[1][2]) == max(Decimal(row[2]) for row in inside)
    assert sum(Decimal(row[5]) for row in inside) == Decimal(hours[1][5])
    mark = (await ask(place, "mark-price-kline", symbol=SYMBOL, interval="60", limit=2))["result"]["list"]
    assert len(mark) == 2
    assert abs(float(mark[1][4]) / float(hours[1][4]) - 1) < 0.001
    window = await ask(place, "kline", symbol=SYMBOL, interval="1", start=starts[9], end=starts[4])
    assert [int(row[0]) for row in window["result"]["list"]] == starts[4:10]


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("kline", {"interval": "7"}, "interval"),
        ("kline", {"interval": "1", "start": 5, "end": 4}, "start"),
        ("open-interest", {"intervalTime": "2min"}, "intervalTime"),
        ("open-interest", {"intervalTime": "5min", "limit": 201}, "limit"),
        ("funding/history", {"startTime": 5}, "endTime"),
        ("funding/history", {"limit": 0}, "limit"),
        ("orderbook", {"limit": 1001}, "limit"),
        ("risk-limit", {"cursor": "x"}, "cursor"),
    ],
)
async def test_wrong_parameters_are_refused(name: str, params: dict[str, Any], why: str) -> None:
    async with floor() as place:
        body = await ask(place, name, symbol=SYMBOL, **params)
        assert body["retCode"] == 10001
        assert why in body["retMsg"]


async def test_instruments_and_risk_limits_come_in_pages() -> None:
    names = tuple(f"SYN{number}USDT" for number in range(17))
    async with LocalExchange(symbols=names, speed=0.0) as exchange, aiohttp.ClientSession() as session:
        place = SimpleNamespace(exchange=exchange, session=session)
        first = (await ask(place, "instruments-info", limit=10))["result"]
        second = (await ask(place, "instruments-info", limit=10, cursor=first["nextPageCursor"]))["result"]
        assert [row["symbol"] for row in first["list"] + second["list"]] == list(names)
        assert second["nextPageCursor"] == ""
        assert len({row["symbolId"] for row in first["list"] + second["list"]}) == 17
        assert [row["symbol"] for row in (await ask(place, "instruments-info", baseCoin="SYN3"))["result"]["list"]] == [
            "SYN3USDT"
        ]
        assert (await ask(place, "instruments-info", status="PreLaunch"))["result"]["list"] == []
        risk = (await ask(place, "risk-limit"))["result"]
        assert len({row["symbol"] for row in risk["list"]}) == 15
        rest = (await ask(place, "risk-limit", cursor=risk["nextPageCursor"]))["result"]
        assert len({row["symbol"] for row in rest["list"]}) == 2
        tiers = [row for row in rest["list"] if row["symbol"] == "SYN16USDT"]
        for low, high in pairwise(tiers):
            # The maintenance margin is the same on both sides of a limit.
            limit = Decimal(low["riskLimitValue"])
            margins = [limit * Decimal(t["maintenanceMargin"]) - Decimal(t["mmDeduction"] or 0) for t in (low, high)]
            assert margins[0] == margins[1]


# -- topics


def listener(*topics: str, seed: int = 5, **options: Any) -> Recorder:
    return Recorder(LocalExchange(seed=seed, speed=0.0, **options), topics)


@pytest.mark.parametrize("topic", STREAMS)
def test_topics_have_the_documented_names_and_types(topic: str) -> None:
    one = listener(topic)
    one.run(START + 360_000 if topic.startswith("allLiq") else START + 30_000)
    assert len(one.messages) > 3 or topic.startswith(("priceLimit", "allLiq"))
    for message in one.messages:
        assert message["topic"] == topic
        shape = STREAMS[topic]
        if topic.startswith("tickers") and message["type"] == "delta":
            data = dict.fromkeys(message["data"], str)
            assert set(data) <= set(_LINEAR)
            shape = shape | {"data": data}
        if topic.startswith("orderbook") and message["type"] == "delta":
            for side in "ba":
                fits(message["data"][side] or [["", ""]], _LEVELS)
            shape = shape | {"data": shape["data"] | {"b": list, "a": list}}
        fits(message, shape, topic)


@pytest.mark.parametrize(("depth", "push_ms"), [(1, 10), (50, 20), (200, 100), (1000, 200)])
def test_books_are_pushed_at_their_intervals(depth: int, push_ms: int) -> None:
    one = listener(f"orderbook.{depth}.{SYMBOL}")
    one.run(START + 60_000)
    times = np.array([message["ts"] for message in one.messages])
    assert (times % push_ms == 0).all()
    assert np.diff(times).min() == push_ms
    kinds = [message["type"] for message in one.messages]
    assert kinds == (["snapshot"] * len(kinds) if depth == 1 else ["snapshot"] + ["delta"] * (len(kinds) - 1))
    levels = [len(one.messages[0]["data"][side]) for side in "ba"]
    assert max(levels) <= depth
    names = list(one.messages[0])
    assert names.index("ts") < names.index("type") if depth == 1 else names.index("type") < names.index("ts")


def test_tickers_are_pushed_every_100_ms_and_deltas_add_up() -> None:
    one = listener(f"tickers.{SYMBOL}")
    one.run(START + 120_000)
    first, *deltas = one.messages
    assert (first["type"], {message["type"] for message in deltas}) == ("snapshot", {"delta"})
    gaps = np.diff([message["ts"] for message in deltas])
    assert gaps.min() == 100
    assert (gaps % 100 == 0).all()
    state = dict(first["data"])
    for message in deltas:
        assert len(message["data"]) > 1
        assert all(
            state[name] != value or name[:4] in ("bid1", "ask1", "symb") for name, value in message["data"].items()
        )
        state |= message["data"]
    rest = one.board.ticker.rest()
    assert {name: state[name] for name in rest if name in state} == {n: v for n, v in rest.items() if n in state}


def test_in_a_hurry_tickers_come_once_a_second() -> None:
    one = listener(f"tickers.{SYMBOL}")
    one.venue.speed = 600.0
    one.run(START + 20_000)
    assert 10 < len(one.messages) <= 21
    assert all(message["ts"] % 1_000 == 0 for message in one.messages)


def test_a_candle_is_confirmed_once_when_it_closes() -> None:
    one = listener(f"kline.1.{SYMBOL}", f"publicTrade.{SYMBOL}")
    one.run(START + 185_000)
    bars = [message["data"][0] | {"ts": message["ts"]} for message in one.messages if message["topic"].startswith("k")]
    closed = [bar for bar in bars if bar["confirm"]]
    assert [bar["start"] for bar in closed] == [START, START + 60_000, START + 120_000]
    assert all(bar["end"] - bar["start"] == 59_999 and bar["ts"] == bar["end"] + 1 for bar in closed)
    assert all(np.diff([bar["ts"] for bar in bars]) >= 1_000)
    trades = [row for message in one.messages if message["topic"].startswith("p") for row in message["data"]]
    inside = [row for row in trades if START + 60_000 <= row["T"] < START + 120_000]
    assert Decimal(closed[1]["volume"]) == sum(Decimal(row["v"]) for row in inside)
    assert Decimal(closed[1]["close"]) == Decimal(inside[-1]["p"])
    assert Decimal(closed[1]["open"]) == Decimal(inside[0]["p"])
    assert Decimal(closed[1]["high"]) == max(Decimal(row["p"]) for row in inside)


def test_liquidations_are_told_in_batches() -> None:
    one = listener(f"allLiquidation.{SYMBOL}", params=MarketParams(liquidation_distance=0.003))
    one.run(START + 1_800_000)
    assert len(one.messages) > 10
    assert all(message["ts"] % 500 == 0 for message in one.messages)
    for message in one.messages:
        assert all(message["ts"] - 500 <= row["T"] <= message["ts"] for row in message["data"])
    assert one.board.interest.history[-1][1] != one.board.interest.history[0][1]


def test_who_listens_changes_nothing_of_the_market() -> None:
    quiet, watched = listener(f"publicTrade.{SYMBOL}"), listener(f"publicTrade.{SYMBOL}", f"tickers.{SYMBOL}")
    for one in (quiet, watched):
        one.run(START + 120_000)
    trades = [[m for m in one.messages if m["topic"].startswith("publicTrade")] for one in (quiet, watched)]
    assert [m["data"] for m in trades[0]] == [m["data"] for m in trades[1]]
    assert quiet.board.interest.steps == watched.board.interest.steps
    assert quiet.board.premium.minutes().tolist() == watched.board.premium.minutes().tolist()


# -- funding, candles


class _Premium:
    """A listing whose book stands at a distance from its index."""

    def __init__(self, ticks: int) -> None:
        exchange = LocalExchange(speed=0.0)
        self._real = exchange.venue.listings[SYMBOL]
        self.ticks = ticks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def impact_ticks(self, side: int, notional: Decimal) -> Decimal:
        return Decimal(self._real.index_ticks + self.ticks)


@pytest.mark.parametrize(
    ("ticks", "rate"),
    [(0, "0.0001"), (30, "0.0001"), (60, "0.0005"), (-60, "-0.0005"), (3_000, "0.005"), (-3_000, "-0.005")],
)
def test_the_funding_rate_is_the_premium_with_clamped_interest_within_the_cap(ticks: int, rate: str) -> None:
    funding = Funding(_Premium(ticks))  # type: ignore[arg-type]
    for _ in range(10):
        funding.sample()
    assert float(funding.rate) == pytest.approx(float(rate), abs=6e-6)


def test_newer_premiums_weigh_more() -> None:
    listing = _Premium(0)
    funding = Funding(listing)  # type: ignore[arg-type]
    for ticks in (0, 0, 600):
        listing.ticks = ticks
        funding.sample()
    index = listing.index_ticks
    expected = 3 / 6 * 600 / index
    assert float(funding.rate) == pytest.approx(expected - 0.0005, rel=1e-3)


@pytest.mark.parametrize("interval", INTERVALS)
def test_intervals_tile_time(interval: str) -> None:
    start = start_of(interval, START + 12_345_678)
    assert start <= START + 12_345_678 < end_of(interval, start)
    assert start_of(interval, end_of(interval, start)) == end_of(interval, start)
    assert start_of(interval, end_of(interval, start) - 1) == start


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert start_of("W", START) == START - 3 * 86_400_000  # 2026-01-01 was a Thursday
    assert end_of("M", start_of("M", START)) == START + 31 * 86_400_000


def test_quiet_minutes_stand_at_the_last_price() -> None:
    minutes = np.array([[10, 5, 7, 4, 6, 100, 600], [13, 8, 9, 8, 9, 50, 440]])
    rows = filled(minutes, 15 * 60_000)
    assert rows[:, 0].tolist() == [10, 11, 12, 13, 14, 15]
    assert rows[1].tolist() == [11, 6, 6, 6, 6, 0, 0]
    assert joined(rows, "5").tolist() == [[600_000, 5, 9, 4, 9, 150, 1040], [900_000, 9, 9, 9, 9, 0, 0]]


# -- control


async def test_control_breaks_a_regime_and_seeks(tmp_path: Path) -> None:
    async with floor() as place:
        url = place.exchange.rest_url + "/control"
        at = START + 60_000
        async with place.session.post(url, json={"regime": {"at_ms": at, "volatility": 3.0}}) as answer:
            assert answer.status == 200
        for wrong in (
            {"regime": {"at_ms": 5}},
            {"regime": {"volatility": 0}},
            {"regime": {"symbol": "NOPE"}},
            {"seek": at},
        ):
            async with place.session.post(url, json=wrong) as answer:
                assert answer.status == 400, wrong
        place.run(120)
        plain = LocalExchange(speed=0.0, signal=0.0)
        plain.venue.break_regime(Break(at, volatility=3.0))
        while plain.now_ms < START + 120_000:
            plain.venue.step(START + 120_000)
        assert plain.venue.listings[SYMBOL].book(50) == place.listing.book(50)
    lake = record(tmp_path / "lake", 0.5)
    async with LocalExchange(replay=lake.root, speed=0.0, limits={}) as exchange, aiohttp.ClientSession() as session:
        async with session.post(exchange.rest_url + "/control", json={"seek": START + 20_000}) as answer:
            assert (await answer.json())["market_ms"] == START + 20_000
        async with session.post(exchange.rest_url + "/control", json={"seek": 5}) as answer:
            assert answer.status == 400
        async with session.get(exchange.rest_url + "/control/schema") as answer:
            assert "seek" in str(await answer.json())
        async with session.get(exchange.rest_url + "/") as answer:
            assert answer.status == 200
        book = await session.get(exchange.rest_url + f"/v5/market/orderbook?category=linear&symbol={SYMBOL}")
        assert len((await book.json())["result"]["b"]) == 25


async def test_a_replay_is_served_at_speed(tmp_path: Path) -> None:
    lake = record(tmp_path / "lake", 0.5)
    async with (
        LocalExchange(replay=lake.root, speed=200.0) as exchange,
        aiohttp.ClientSession() as session,
        session.ws_connect(exchange.public_url) as socket,
    ):
        await socket.send_json({"op": "subscribe", "args": [f"orderbook.50.{SYMBOL}", f"kline.1.{SYMBOL}"]})
        seen = [await socket.receive_json(timeout=20) for _ in range(20)]
    assert {"orderbook.50.SYNUSDT", "kline.1.SYNUSDT"} <= {message.get("topic") for message in seen}


def test_regimes_belong_to_synthetic_markets(tmp_path: Path) -> None:
    lake = record(tmp_path / "lake", 0.1)
    exchange = LocalExchange(replay=lake.root, speed=0.0)
    with pytest.raises(ConfigError, match="cannot break"):
        exchange.venue.break_regime(Break(exchange.now_ms + 1))
