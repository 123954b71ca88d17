"""REST: market data, for everybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.exchange.board import Board
from simulation.exchange.candles import INTERVALS, Samples, joined
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import Numbers, money
from simulation.exchange.orders import Refusal
from simulation.exchange.requests import need_category, need_limit, need_listing, need_time, page
from simulation.exchange.routes import Params, Route
from simulation.exchange.rules import instrument_row, risk_rows
from simulation.exchange.venue import Venue

_FAR_FUTURE_MS = 1 << 52
_GRIDS = {"5min": 5, "15min": 15, "30min": 30, "1h": 60, "4h": 240, "1d": 1_440}
_RISK_PAGE = 15


class MarketRoutes:
    """Endpoints of ``/v5/market``.

    Parameters
    ----------
    venue
        What is traded.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        handlers: dict[str, Callable[[Params], Any]] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "orderbook": self._orderbook,
            "kline": self._kline,
            "mark-price-kline": lambda params: self._sampled(params, "mark"),
            "index-price-kline": lambda params: self._sampled(params, "index"),
            "premium-index-price-kline": lambda params: self._sampled(params, "premium"),
            "recent-trade": self._recent_trade,
            "tickers": self._tickers,
            "funding/history": self._funding_history,
            "open-interest": self._open_interest,
            "risk-limit": self._risk_limit,
            "price-limit": self._price_limit,
        }
        self.routes = {f"/v5/market/{name}": Route("GET", handle, public=True) for name, handle in handlers.items()}

    def _board(self, params: Params) -> Board:
        return self._venue.boards[need_listing(params, self._venue.listings).symbol]

    def _chosen(self, params: Params) -> list[Listing]:
        need_category(params)
        if params.get("symbol"):
            return [need_listing(params, self._venue.listings)]
        return list(self._venue.listings.values())

    def _time(self, params: Params) -> Any:
        now = time.time_ns()
        return {"timeSecond": str(now // 1_000_000_000), "timeNano": str(now)}

    def _instruments(self, params: Params) -> Any:
        listings = self._chosen(params)
        if params.get("status", "Trading") != "Trading":
            listings = []
        rows = [instrument_row(one.instrument, one.numbers) for one in listings]
        if params.get("baseCoin"):
            rows = [row for row in rows if row["baseCoin"] == params["baseCoin"]]
        if params.get("symbolType"):
            rows = [row for row in rows if row["symbolType"] == params["symbolType"]]
        rows, cursor = page(rows, params, need_limit(params, 1_000, 500))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _orderbook(self, params: Params) -> Any:
        need_category(params)
        return need_listing(params, self._venue.listings).book(need_limit(params, 1_000, 25))

    # -- candles ------------------------------------------------------------------------------------------------------

    def _candles(self, params: Params, minutes: Callable[[Listing, str], NDArray[np.int64]]) -> tuple[Listing, Any]:
        """The contract, and the candles that are asked for, newest first."""
        need_category({"category": "linear"} | dict(params))
        listing = need_listing(params, self._venue.listings)
        interval = str(params.get("interval"))
        if interval not in INTERVALS:
            raise Refusal(10001, "params error: interval invalid")
        start, end = need_time(params, "start", 0), need_time(params, "end", _FAR_FUTURE_MS)
        if start > end:
            raise Refusal(10001, "params error: start must not be later than end")
        limit = need_limit(params, 1_000, 200)
        rows = minutes(listing, interval)
        if len(rows):
            rows = rows[(rows[:, 0] >= start) & (rows[:, 0] <= end)]
        return listing, rows[: -limit - 1 : -1].tolist()

    def _kline(self, params: Params) -> Any:
        listing, rows = self._candles(params, lambda one, interval: one.bars(interval))
        numbers = listing.numbers
        price = numbers.instrument.price
        shown = [
            [
                str(row[0]),
                *(money(price(value)) for value in row[1:5]),
                _quantity(numbers, row[5]),
                numbers.value(row[6]),
            ]
            for row in rows
        ]
        return {"symbol": listing.symbol, "category": "linear", "list": shown}

    def _sampled(self, params: Params, what: str) -> Any:
        def minutes(listing: Listing, interval: str) -> NDArray[np.int64]:
            samples: Samples = getattr(self._venue.boards[listing.symbol], what)
            return joined(samples.minutes(), interval)

        listing, rows = self._candles(params, minutes)
        price = listing.numbers.price if what != "premium" else lambda value: f"{value / 1_000_000:.6f}"
        shown = [[str(row[0]), *(price(value) for value in row[1:5])] for row in rows]
        return {"symbol": listing.symbol, "category": "linear", "list": shown}

    # -- trades and tickers -------------------------------------------------------------------------------------------

    def _recent_trade(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        return {"category": "linear", "list": listing.recent(need_limit(params, 1_000, 500))}

    def _tickers(self, params: Params) -> Any:
        rows = [self._venue.boards[listing.symbol].ticker.rest() for listing in self._chosen(params)]
        return {"category": "linear", "list": rows}

    def _price_limit(self, params: Params) -> Any:
        need_category({"category": "linear"} | dict(params))
        board = self._board(params)
        return board.limits() | {"ts": str(board.listing.market.now_ms)}

    # -- funding, open interest, risk ---------------------------------------------------------------------------------

    def _funding_history(self, params: Params) -> Any:
        need_category(params)
        board = self._board(params)
        if params.get("startTime") and not params.get("endTime"):
            raise Refusal(10001, "params error: endTime is required with startTime")
        start, end = need_time(params, "startTime", 0), need_time(params, "endTime", _FAR_FUTURE_MS)
        limit = need_limit(params, 200, 200)
        rows = [
            {"symbol": board.listing.symbol, "fundingRate": money(rate), "fundingRateTimestamp": str(paid)}
            for paid, rate in reversed(board.funding.history)
            if start <= paid <= end
        ]
        return {"category": "linear", "list": rows[:limit]}

    def _open_interest(self, params: Params) -> Any:
        need_category(params)
        board = self._board(params)
        minutes = _GRIDS.get(str(params.get("intervalTime")))
        if minutes is None:
            raise Refusal(10001, "params error: intervalTime invalid")
        start, end = need_time(params, "startTime", 0), need_time(params, "endTime", _FAR_FUTURE_MS)
        size = board.listing.numbers.size
        rows = [
            {"openInterest": size(2 * steps), "singleOpenInterest": size(steps), "timestamp": str(at)}
            for at, steps in reversed(board.interest.history)
            if at % (minutes * 60_000) == 0 and start <= at <= end
        ]
        rows, cursor = page(rows, params, need_limit(params, 200, 50))
        return {"symbol": board.listing.symbol, "category": "linear", "list": rows, "nextPageCursor": cursor}

    def _risk_limit(self, params: Params) -> Any:
        listings, cursor = page(self._chosen(params), params, _RISK_PAGE)
        rows = [row for listing in listings for row in risk_rows(listing.instrument)]
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}


def _quantity(numbers: Numbers, steps: int) -> str:
    return money(numbers.instrument.quantity(steps))
