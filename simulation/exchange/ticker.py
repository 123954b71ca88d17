"""The tickers topic and its REST twin: prices, 24-hour statistics, funding."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from simulation.exchange.interest import Funding, OpenInterest
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import fixed, money
from simulation.exchange.rules import FUNDING_CAP

_DAY_MIN = 1_440


class Ticker:
    """Ticker of one listing."""

    def __init__(self, listing: Listing, funding: Funding, interest: OpenInterest) -> None:
        self.listing, self.funding, self.interest = listing, funding, interest
        self._day_minute = -1
        self._day: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
        self._sent: dict[str, str] = {}
        self._known: tuple[object, ...] = ()
        self._fields: dict[str, str] = {}
        self._tick = "ZeroPlusTick"
        self._last = listing.last_ticks

    def fields(self) -> dict[str, str]:
        """All fields of a linear perpetual, in Bybit's order; the same object while nothing has changed."""
        listing, market = self.listing, self.listing.market
        last, mark, single = listing.last_ticks, listing.mark_ticks, self.interest.steps
        known = (
            last, mark, single, listing.index_ticks, self._statistics(), self.funding.next_ms, self.funding.rate,
            market.best(0), market.best(1),
        )  # fmt: skip
        if known == self._known and last == self._last and self._tick.startswith("Zero"):
            return self._fields
        self._known, self._fields = known, self._written(*known)
        return self._fields

    def _written(
        self,
        last: int,
        mark: int,
        single: int,
        index: int,
        day: tuple[int, int, int, int, int, int],
        next_ms: int,
        rate: Decimal,
        bid: tuple[int, int] | None,
        ask: tuple[int, int] | None,
    ) -> dict[str, str]:
        listing, numbers = self.listing, self.listing.numbers
        price, size = numbers.price, numbers.size
        day_open, high, low, hour_open, volume, turnover = day
        if last != self._last:
            self._tick = "PlusTick" if last > self._last else "MinusTick"
        elif not self._tick.startswith("Zero"):
            self._tick = "Zero" + self._tick
        self._last = last
        fields = {
            "symbol": listing.symbol,
            "tickDirection": self._tick,
            "price24hPcnt": f"{(last - day_open) / day_open:.6f}",
            "lastPrice": price(last),
            "prevPrice24h": price(day_open),
            "highPrice24h": price(high),
            "lowPrice24h": price(low),
            "prevPrice1h": price(hour_open),
            "markPrice": price(mark),
            "indexPrice": price(index),
            "openInterest": size(2 * single),
            "openInterestValue": numbers.rounded(2 * single * mark, 2),
            "turnover24h": numbers.rounded(turnover, 4),
            "volume24h": fixed(listing.instrument.quantity(volume), 4),
            "fundingIntervalHour": str(listing.instrument.funding_interval_min // 60),
            "fundingCap": str(FUNDING_CAP),
            "singleOpenInterest": size(single),
            "singleOpenInterestValue": numbers.rounded(single * mark, 2),
            "nextFundingTime": str(next_ms),
            "fundingRate": money(rate),
        }
        for quote, name in ((bid, "bid1"), (ask, "ask1")):
            fields[f"{name}Price"] = price(quote[0]) if quote else ""
            fields[f"{name}Size"] = size(quote[1]) if quote else ""
        return fields | {"preOpenPrice": "", "preQty": "", "curPreListingPhase": ""}

    def rest(self) -> dict[str, str]:
        """An element of ``GET /v5/market/tickers``."""
        fields = dict(self.fields())
        del fields["tickDirection"]
        empty = ("predictedDeliveryPrice", "basisRate", "basisRateYear", "deliveryFeeRate", "basis")
        return fields | dict.fromkeys(empty, "") | {"deliveryTime": "0"}

    def forget(self) -> None:
        """Nobody is left: the next subscription starts afresh."""
        self._sent = {}

    def snapshot(self) -> dict[str, Any]:
        """The first message of a subscription: what the topic has published so far, which the next delta continues."""
        if not self._sent:
            self._sent = self.fields()
        return self._message("snapshot", self._sent)

    def delta(self) -> dict[str, Any] | None:
        """What has changed since the last message; ``None`` where nothing has."""
        fields = self.fields()
        if fields is self._sent:
            return None
        changed = {name: value for name, value in fields.items() if self._sent.get(name) != value}
        if not changed:
            return None
        for name in ("bid1", "ask1"):  # Bybit sends price and size of a side together
            if f"{name}Price" in changed or f"{name}Size" in changed:
                changed |= {f"{name}{part}": fields[f"{name}{part}"] for part in ("Price", "Size")}
        self._sent = fields
        return self._message("delta", {"symbol": self.listing.symbol} | changed)

    def _message(self, kind: str, fields: dict[str, str]) -> dict[str, Any]:
        return {
            "topic": f"tickers.{self.listing.symbol}",
            "type": kind,
            "data": fields,
            "cs": self.listing.seq,
            "ts": self.listing.market.now_ms,
        }

    def _statistics(self) -> tuple[int, int, int, int, int, int]:
        """Open of 24 h ago, high, low, open of 1 h ago, volume, turnover; refreshed once a minute."""
        now = self.listing.market.now_ms // 60_000
        if now != self._day_minute:
            rows = self.listing.candles()
            rows = rows[rows[:, 0] > now - _DAY_MIN]
            last = self.listing.last_ticks
            if len(rows) == 0:
                self._day = (last, last, last, last, 0, 0)
            else:
                hour = rows[rows[:, 0] > now - 60]
                self._day = (
                    int(rows[0, 1]), int(rows[:, 2].max()), int(rows[:, 3].min()),
                    int(hour[0, 1]) if len(hour) else last, int(rows[:, 5].sum()), int(rows[:, 6].sum()),
                )  # fmt: skip
            self._day_minute = now
        opened, high, low, hour_open, volume, turnover = self._day
        return opened, max(high, self._last), min(low, self._last), hour_open, volume, turnover
