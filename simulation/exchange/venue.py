"""The venue: all listings in step, tickers, funding, and what the pump hands out."""

from __future__ import annotations

from typing import Any, Protocol

from market.errors import ConfigError
from simulation._lob_flow import FULL, REACHED
from simulation.exchange.board import GRID_MS, Board
from simulation.exchange.desk import Desk
from simulation.exchange.listing import Flush, Listing
from simulation.flow_params import Break
from simulation.listed import Liquidation
from simulation.replay import ReplayMarket
from simulation.synthetic import SyntheticMarket

#: Milliseconds of market time between the looks at positions, funding and open interest.
SECOND_MS = 1_000
#: Above this speed the boards speak once a second of market time: nobody could read a ticker every 100 ms of it.
HURRY = 20.0


class Audience(Protocol):
    """Who hears of public frames."""

    def publish(self, listing: Listing, flush: Flush) -> None:
        """Take a batch of frames."""

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        """Take a message of one of the board's topics: tickers, candles, liquidations, price limits."""

    def wants_ticker(self, symbol: str) -> bool:
        """Whether anybody listens to one of them."""


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
        self.boards = {symbol: Board(listing) for symbol, listing in listings.items()}
        self.audience: Audience | None = None
        #: Market seconds a second; 0 while somebody steps the venue by hand.
        self.speed = 0.0
        desk.liquidated = self._liquidated

    def _liquidated(self, listing: Listing, side: int, size: int, price: int, now_ms: int) -> None:
        self.boards[listing.symbol].tell_liquidation(Liquidation(side, price, size, now_ms))

    @property
    def now_ms(self) -> int:
        """Market time."""
        return min(listing.market.now_ms for listing in self.listings.values())

    def step(self, target_ms: int) -> None:
        """Advance to the next point of the grid or the target: a second, or less while somebody listens to the boards.

        Whoever listens changes when things are told, never what happens.
        """
        now = self.now_ms
        watched = any(board.watched for board in self.boards.values())
        grid = GRID_MS if watched and self.speed <= HURRY else SECOND_MS
        until = min(target_ms, now - now % grid + grid)
        for listing in self.listings.values():
            self._run(listing, until)
            self.flush(listing)
            board = self.boards[listing.symbol]
            if until % SECOND_MS == 0:
                self._second(listing, board)
            if until % GRID_MS == 0 and self.audience is not None:
                for message in board.tick():
                    self.audience.publish_ticker(listing.symbol, message)
            self.flush(listing)

    def _run(self, listing: Listing, until_ms: int) -> None:
        while (reason := listing.market.advance(until_ms)) != REACHED:
            if reason == FULL:
                self.flush(listing)
            self.desk.settle(listing)

    def _second(self, listing: Listing, board: Board) -> None:
        board.second(self.desk.open_interest(listing))
        if listing.market.now_ms % board.funding.interval_ms == 0:
            self.desk.fund(listing, board.funding.settle())
        self.desk.patrol(listing)

    # -- commands -----------------------------------------------------------------------------------------------------

    def seek(self, market_ms: int) -> None:
        """Go to another time of a replay, before or after the present one; all books begin anew.

        Raises
        ------
        ConfigError
            The markets are synthetic, or a recording does not reach that time; nothing has changed.
        """
        markets = [listing.market for listing in self.listings.values()]
        replays = [market for market in markets if isinstance(market, ReplayMarket)]
        if len(replays) < len(markets):
            raise ConfigError("a synthetic market cannot go back or skip time", advice="Seek in a replay")
        first, last = min(one.first_ms for one in replays) - 1, max(one.last_ms for one in replays)
        if not first <= market_ms <= last:
            raise ConfigError(
                f"the recording does not reach {market_ms}", advice=f"Choose a UTC time from {first} to {last} ms"
            )
        for listing in self.listings.values():
            self.flush(listing)
            self.boards[listing.symbol].forget(market_ms)
        for market in replays:
            market.seek(market_ms)
        for listing in self.listings.values():
            self.flush(listing)

    def break_regime(self, change: Break, symbol: str | None = None) -> None:
        """Change the regime of one synthetic market, or of all, at a time to come.

        Raises
        ------
        ConfigError
            The time has passed, the symbol is not listed, or the market is a replay.
        """
        if symbol is not None and symbol not in self.listings:
            raise ConfigError(f"{symbol} is not listed here", advice=f"Take one of {', '.join(self.listings)}")
        markets = [one.market for name, one in self.listings.items() if symbol in (None, name)]
        synthetic = [market for market in markets if isinstance(market, SyntheticMarket)]
        if len(synthetic) < len(markets) or change.at_ms < self.now_ms:
            raise ConfigError("that regime cannot break", advice="Use a synthetic market and a time to come")
        for market in synthetic:
            market.break_regime(change)

    def flush(self, listing: Listing) -> None:
        """Hand out what the market has produced so far."""
        self.boards[listing.symbol].hear()
        flush = listing.collect()
        if flush is not None and self.audience is not None:
            self.audience.publish(listing, flush)
