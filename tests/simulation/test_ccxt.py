"""A second client that nobody here wrote: ccxt's bybit, with nothing set but keys and address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import ccxt  # type: ignore[import-untyped]
import pytest

from .exchange_floor import SYMBOL, Floor, floor

PAIR = f"{SYMBOL.removesuffix('USDT')}/USDT:USDT"


@pytest.fixture
async def place() -> AsyncIterator[Floor]:
    async with floor() as open_floor:
        yield open_floor


@pytest.fixture
def call(place: Floor) -> Callable[..., Any]:
    """A method of ccxt, in a thread."""
    exchange = place.exchange
    client = ccxt.bybit({"apiKey": exchange.api_key, "secret": exchange.api_secret, "enableRateLimit": False})
    client.urls["api"] = dict.fromkeys(client.urls["api"], exchange.rest_url)

    async def run(method: str, *args: Any, **params: Any) -> Any:
        return await asyncio.to_thread(getattr(client, method), *args, **params)

    return run


async def test_markets_book_ticker_and_candles(place: Floor, call: Callable[..., Any]) -> None:
    markets = await call("load_markets")
    market = markets[PAIR]
    assert (market["id"], market["type"], market["linear"], market["settle"]) == (SYMBOL, "swap", True, "USDT")
    rules = place.listing.instrument
    assert market["precision"] == {"amount": float(rules.qty_step), "price": float(rules.tick_size)}
    assert market["limits"]["amount"]["min"] == float(rules.quantity(rules.min_steps))
    book = await call("fetch_order_book", PAIR, 25)
    assert len(book["bids"]) == len(book["asks"]) == 25
    assert f"{book['bids'][0][0]:.1f}" == place.price(0)
    assert book["bids"] == sorted(book["bids"], reverse=True)
    place.run(180)
    ticker = await call("fetch_ticker", PAIR)
    assert ticker["bid"] == float(place.price(0))
    assert ticker["ask"] == float(place.price(1))
    assert ticker["last"] == float(place.listing.numbers.price(place.listing.last_ticks))
    candles = await call("fetch_ohlcv", PAIR, "1m")
    assert len(candles) >= 3
    assert all(low <= opened <= high and low <= closed <= high for _, opened, high, low, closed, _ in candles)
    trades = await call("fetch_trades", PAIR)
    assert {trade["side"] for trade in trades} == {"buy", "sell"}


async def test_balance_orders_and_positions(place: Floor, call: Callable[..., Any]) -> None:
    balance = await call("fetch_balance")
    assert balance["USDT"]["total"] == 10_000.0
    order = await call("create_order", PAIR, "limit", "buy", 0.1, float(place.price(0, 20)))
    (resting,) = await call("fetch_open_orders", PAIR)
    assert (resting["id"], resting["status"], resting["amount"]) == (order["id"], "open", 0.1)
    assert resting["price"] == float(place.price(0, 20))
    cancelled = await call("cancel_order", order["id"], PAIR)
    assert cancelled["id"] == order["id"]
    assert await call("fetch_open_orders", PAIR) == []
    with pytest.raises(ccxt.OrderNotFound):
        await call("cancel_order", order["id"], PAIR)
    await call("create_order", PAIR, "market", "sell", 0.2)
    (position,) = await call("fetch_positions", [PAIR])
    assert (position["side"], position["contracts"]) == ("short", 0.2)
    (trade, *_) = await call("fetch_my_trades", PAIR)
    assert (trade["side"], trade["takerOrMaker"]) == ("sell", "taker")
    await call("create_order", PAIR, "market", "buy", 0.2, None, {"reduceOnly": True})
    assert [p for p in await call("fetch_positions", [PAIR]) if p["contracts"]] == []
    with pytest.raises(ccxt.InsufficientFunds):
        await call("create_order", PAIR, "limit", "buy", 90, float(place.price(0, 20)))


async def test_errors_are_those_that_ccxt_knows(place: Floor, call: Callable[..., Any]) -> None:
    await call("load_markets")
    async with place.exchange.misbehave(ret_code={"code": 10006}):
        with pytest.raises(ccxt.RateLimitExceeded):
            await call("fetch_balance")
    async with place.exchange.misbehave(clock_skew={"ms": 30_000.0}):
        with pytest.raises(ccxt.InvalidNonce):
            await call("fetch_balance")
    place.desk.key_info.read_only = True
    with pytest.raises(ccxt.PermissionDenied):
        await call("create_order", PAIR, "limit", "buy", 0.1, float(place.price(0, 20)))
