"""The public topics that are not a stream of events: tickers, candles, liquidations, price limits, at Bybit's pace."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

from simulation.exchange.candles import (
    CLOSE,
    HIGH,
    INTERVALS,
    LOW,
    OPEN,
    START,
    TURNOVER,
    VOLUME,
    Samples,
    end_of,
    start_of,
)
from simulation.exchange.interest import Funding, OpenInterest
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money
from simulation.exchange.rules import PRICE_BAND
from simulation.exchange.ticker import Ticker
from simulation.listed import Liquidation

#: Milliseconds of market time between pushes, as Bybit documents; candles come every 1 to 60 s.
PUSH_MS = {"tickers": 100, "kline": 1_000, "allLiquidation": 500, "priceLimit": 300}
#: The grid on which all of them lie.
GRID_MS = 100
_PREMIUM_UNITS = 1_000_000


class Board:
    """What is told of one contract at intervals, and what is kept for REST.

    Attributes
    ----------
    topics
        Names of its topics.
    mark, index, premium
        Minutes of sampled prices (ticks), and of the premium index (1e-6).
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.funding, self.interest = Funding(listing), OpenInterest(listing)
        self.ticker = Ticker(listing, self.funding, self.interest)
        self.mark, self.index, self.premium = Samples(), Samples(), Samples()
        symbol = listing.symbol
        self.topics = {f"{kind}.{symbol}" for kind in PUSH_MS if kind != "kline"}
        self.topics |= {f"kline.{interval}.{symbol}" for interval in INTERVALS}
        self._users: dict[str, int] = {}
        self._liquidated: list[Liquidation] = []
        self._liquidated_steps = 0
        self._pushed: dict[str, Any] = {}

    # -- subscriptions ------------------------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether anybody listens."""
        return bool(self._users)

    def join(self, topic: str) -> dict[str, Any] | None:
        """Count a listener in; what to send it at once, if anything."""
        self._users[topic] = self._users.get(topic, 0) + 1
        kind, _, rest = topic.partition(".")
        if kind == "tickers":
            if self._users[topic] == 1:
                self.ticker.forget()
            return self.ticker.snapshot()
        if kind == "kline":
            return self._kline(topic, rest.partition(".")[0], self.listing.market.now_ms)
        return self._limits() if kind == "priceLimit" else None

    def leave(self, topic: str) -> None:
        """Count a listener out."""
        self._users[topic] -= 1
        if self._users[topic] == 0:
            del self._users[topic]
            self._pushed.pop(topic, None)

    # -- time ---------------------------------------------------------------------------------------------------------

    def second(self, users_steps: int) -> None:
        """A full second of market time: samples for funding, open interest and sampled candles."""
        listing = self.listing
        now = listing.market.now_ms
        self.interest.users = users_steps
        self.interest.second(self._liquidated_steps)
        self._liquidated_steps = 0
        index = listing.index_ticks
        mark = listing.mark_ticks
        self.mark.add(now, mark)
        self.index.add(now, index)
        self.premium.add(now, round((mark - index) / index * _PREMIUM_UNITS))
        if now % 60_000 == 0:
            self.funding.sample()

    def hear(self) -> None:
        """Take in what the market tells of liquidations."""
        for one in self.listing.market.drain_liquidations():
            self._liquidated.append(one)
            self._liquidated_steps += one.size

    def tell_liquidation(self, one: Liquidation) -> None:
        """Take in the liquidation of a user's position, which is none of the market's own open interest."""
        self._liquidated.append(one)

    def tick(self) -> list[dict[str, Any]]:
        """A point of the grid: the messages that are due."""
        now = self.listing.market.now_ms
        messages = [message for topic in self._users if (message := self._due(topic, now)) is not None]
        if now % PUSH_MS["allLiquidation"] == 0:
            self._liquidated.clear()
        return messages

    def forget(self, from_ms: int) -> None:
        """Market time goes to another place: drop what lies at or after it."""
        for kept in (self.mark, self.index, self.premium, self.funding, self.interest):
            kept.forget(from_ms)
        self._liquidated.clear()

    def _due(self, topic: str, now: int) -> dict[str, Any] | None:
        kind, _, rest = topic.partition(".")
        if now % PUSH_MS[kind]:
            return None
        if kind == "tickers":
            return self.ticker.delta()
        if kind == "allLiquidation":
            return self._liquidations() if self._liquidated else None
        if kind == "priceLimit":
            limits = self._limits()
            return None if self._pushed.get(topic) == limits["data"] else self._note(topic, limits)
        interval = rest.partition(".")[0]
        # The second that closes a candle tells of that candle, with its last word.
        closes = start_of(interval, now) == now
        message = self._kline(topic, interval, now - 1 if closes else now)
        if message is None or (not closes and self._pushed.get(topic) == message["data"]):
            return None
        return self._note(topic, message)

    def _note(self, topic: str, message: dict[str, Any]) -> dict[str, Any]:
        self._pushed[topic] = message["data"]
        return message

    # -- messages -----------------------------------------------------------------------------------------------------

    def _kline(self, topic: str, interval: str, inside_ms: int) -> dict[str, Any] | None:
        """The candle that a time lies in; ``None`` before the first trade."""
        listing, now = self.listing, self.listing.market.now_ms
        start = start_of(interval, inside_ms)
        rows = [row for row in listing.bars(interval, start).tolist() if row[START] == start]
        if not rows:
            return None
        (row,) = rows
        numbers = listing.numbers
        end = end_of(interval, start)
        last = listing.trades[-1][3] if listing.trades else start
        data = {
            "start": start,
            "end": end - 1,
            "interval": interval,
            "open": money(numbers.instrument.price(row[OPEN])),
            "close": money(numbers.instrument.price(row[CLOSE])),
            "high": money(numbers.instrument.price(row[HIGH])),
            "low": money(numbers.instrument.price(row[LOW])),
            "volume": money(numbers.instrument.quantity(row[VOLUME])),
            "turnover": numbers.value(row[TURNOVER]),
            "confirm": now >= end,
            "timestamp": min(max(last, start), end - 1),
        }
        return {"topic": topic, "data": [data], "ts": now, "type": "snapshot"}

    def _liquidations(self) -> dict[str, Any]:
        listing = self.listing
        rows = [
            {
                "T": one.time_ms,
                "s": listing.symbol,
                "S": "Sell" if one.side else "Buy",
                "v": listing.numbers.size(one.size),
                "p": listing.numbers.price(one.price),
            }
            for one in self._liquidated
        ]
        now = listing.market.now_ms
        return {"topic": f"allLiquidation.{listing.symbol}", "type": "snapshot", "ts": now, "data": rows}

    def limits(self) -> dict[str, str]:
        """Highest price of a buy and lowest of a sell order."""
        listing = self.listing
        mark = listing.mark_ticks
        highest = int((mark * (1 + PRICE_BAND)).to_integral_value(ROUND_FLOOR))
        lowest = int((mark * (1 - PRICE_BAND)).to_integral_value(ROUND_CEILING))
        price = listing.numbers.price
        return {"symbol": listing.symbol, "buyLmt": price(highest), "sellLmt": price(lowest)}

    def _limits(self) -> dict[str, Any]:
        data = self.limits()
        return {"topic": f"priceLimit.{self.listing.symbol}", "data": data, "ts": self.listing.market.now_ms}
