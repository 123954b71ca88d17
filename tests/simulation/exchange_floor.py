"""Helpers of the exchange's tests: a client that is unmodified pybit, and a market that moves when told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from pybit.unified_trading import HTTP

from simulation.exchange import LocalExchange

SYMBOL = "SYNUSDT"


class Floor:
    """An exchange that stands still, and pybit's client of it."""

    def __init__(self, exchange: LocalExchange, client: HTTP, session: aiohttp.ClientSession) -> None:
        self.exchange, self.client, self.session = exchange, client, session
        self.listing = exchange.venue.listings[SYMBOL]
        self.desk = exchange.venue.desk

    async def call(self, method: str, **params: Any) -> Any:
        """A pybit call in a thread; its `result`."""
        answer = await asyncio.to_thread(getattr(self.client, method), category="linear", **params)
        return answer["result"]

    async def order(self, side: str, qty: str, price: str | None = None, **params: Any) -> str:
        """Place an order; its id."""
        kind = {"orderType": "Limit", "price": price} if price else {"orderType": "Market"}
        result = await self.call("place_order", symbol=SYMBOL, side=side, qty=qty, **kind, **params)
        return str(result["orderId"])

    async def show(self, order_id: str) -> dict[str, Any]:
        """An order as REST shows it."""
        (row,) = (await self.call("get_open_orders", symbol=SYMBOL, orderId=order_id))["list"]
        return row  # type: ignore[no-any-return]

    async def position(self) -> dict[str, Any]:
        """The position as REST shows it."""
        (row,) = (await self.call("get_positions", symbol=SYMBOL))["list"]
        return row  # type: ignore[no-any-return]

    def price(self, side: int, away: int = 0) -> str:
        """The best price of a side, so many ticks away from the market."""
        best = self.listing.best_bid if side == 0 else self.listing.best_ask
        assert best is not None
        return self.listing.numbers.price(best - away if side == 0 else best + away)

    def run(self, seconds: float = 3600.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let market time pass, at most so long."""
        venue = self.exchange.venue
        end = venue.now_ms + int(seconds * 1000)
        while venue.now_ms < end and not until():
            venue.step(end)


@asynccontextmanager
async def floor(**options: Any) -> AsyncIterator[Floor]:
    options = {"speed": 0.0, "limits": {}, "signal": 0.0} | options
    async with LocalExchange(**options) as exchange, aiohttp.ClientSession() as session:
        client = HTTP(testnet=False, api_key=exchange.api_key, api_secret=exchange.api_secret, retry_codes={-1})
        client.endpoint = exchange.rest_url
        try:
            yield Floor(exchange, client, session)
        finally:
            client.client.close()


async def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another task brings about."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)
