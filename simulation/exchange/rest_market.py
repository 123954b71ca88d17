"""REST: market data, for everybody."""

from __future__ import annotations

import time
from typing import Any

from simulation.exchange.listing import Listing
from simulation.exchange.orders import Refusal
from simulation.exchange.requests import need_category, need_limit, need_listing, need_time, page
from simulation.exchange.routes import Params, Route
from simulation.exchange.venue import Venue

_MINUTES = {"1": 1, "3": 3, "5": 5, "15": 15, "30": 30, "60": 60, "120": 120, "240": 240, "360": 360, "720": 720}
_MINUTES["D"] = 1_440
_FAR_FUTURE_MS = 1 << 52


class MarketRoutes:
    """Endpoints of ``/v5/market``.

    Parameters
    ----------
    venue
        What is traded.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        handlers = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/orderbook": self._orderbook,
            "/v5/market/kline": self._kline,
            "/v5/market/recent-trade": self._recent_trade,
            "/v5/market/tickers": self._tickers,
        }
        self.routes = {path: Route("GET", handle, public=True) for path, handle in handlers.items()}

    def _time(self, params: Params) -> Any:
        now = time.time_ns()
        return {"timeSecond": str(now // 1_000_000_000), "timeNano": str(now)}

    def _chosen(self, params: Params) -> list[Listing]:
        need_category(params)
        if "symbol" in params:
            return [need_listing(params, self._venue.listings)]
        return list(self._venue.listings.values())

    def _instruments(self, params: Params) -> Any:
        rows, cursor = page([one.info() for one in self._chosen(params)], params, need_limit(params, 1_000, 500))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _orderbook(self, params: Params) -> Any:
        need_category(params)
        return need_listing(params, self._venue.listings).book(need_limit(params, 1_000, 25))

    def _kline(self, params: Params) -> Any:
        need_category({"category": "linear"} | dict(params))
        listing = need_listing(params, self._venue.listings)
        minutes = _MINUTES.get(str(params.get("interval")))
        if minutes is None:
            raise Refusal(10001, "params error: interval invalid")
        start, end = need_time(params, "start", 0), need_time(params, "end", _FAR_FUTURE_MS)
        rows = listing.klines(minutes, start, end, need_limit(params, 1_000, 200))
        return {"symbol": listing.symbol, "category": "linear", "list": rows}

    def _recent_trade(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        return {"category": "linear", "list": listing.recent(need_limit(params, 1_000, 500))}

    def _tickers(self, params: Params) -> Any:
        rows = [self._venue.tickers[listing.symbol].rest() for listing in self._chosen(params)]
        return {"category": "linear", "list": rows}
