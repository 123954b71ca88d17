"""The venue: all listings in step, tickers, funding, and what the pump hands out."""

from __future__ import annotations

from typing import Any, Protocol

from simulation._lob_flow import FULL, REACHED
from simulation.exchange.desk import Desk
from simulation.exchange.listing import Flush, Listing
from simulation.exchange.ticker import TICKER_MS, Ticker


class Audience(Protocol):
    """Who hears of public frames."""

    def publish(self, listing: Listing, flush: Flush) -> None:
        """Take a batch of frames."""

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        """Take a ticker's delta."""

    def wants_ticker(self, symbol: str) -> bool:
        """Whether anybody listens to a ticker."""


class Venue:
    """Listings that share one clock.

    Parameters
    ----------
    listings
        By symbol.
    desk
        Where users' orders, positions and money are kept.
    """

    def __init__(self, listings: dict[str, Listing], desk: Desk) -> None:
        self.listings = listings
        self.desk = desk
        self.tickers = {symbol: Ticker(listing) for symbol, listing in listings.items()}
        self.audience: Audience | None = None

    @property
    def now_ms(self) -> int:
        """Market time."""
        return min(listing.market.now_ms for listing in self.listings.values())

    def step(self, target_ms: int) -> None:
        """Advance by at most a second of market time, to the next full second or the target."""
        now = self.now_ms
        until = min(target_ms, now - now % TICKER_MS + TICKER_MS)
        for listing in self.listings.values():
            self._run(listing, until)
            if until % TICKER_MS == 0:
                self._second(listing)
            self.flush(listing)

    def _run(self, listing: Listing, until_ms: int) -> None:
        while (reason := listing.market.advance(until_ms)) != REACHED:
            if reason == FULL:
                self.flush(listing)
            self.desk.settle(listing)

    def _second(self, listing: Listing) -> None:
        ticker = self.tickers[listing.symbol]
        ticker.sample()
        ticker.open_interest = self.desk.open_interest(listing)
        if listing.market.now_ms % ticker.interval_ms == 0:
            self.desk.fund(listing, ticker.settle())
        self.desk.patrol(listing)
        if self.audience is not None and self.audience.wants_ticker(listing.symbol):
            self.flush(listing)
            message = ticker.delta()
            if message is not None:
                self.audience.publish_ticker(listing.symbol, message)

    def flush(self, listing: Listing) -> None:
        """Hand out what the market has produced so far."""
        flush = listing.collect()
        if flush is not None and self.audience is not None:
            self.audience.publish(listing, flush)
