"""REST: positions."""

from __future__ import annotations

from typing import Any

from simulation.exchange.orders import Refusal
from simulation.exchange.requests import check_stops, leverage, need_category, need_limit, need_listing, page, ticks
from simulation.exchange.routes import Params, reads, writes
from simulation.exchange.venue import Venue


class PositionRoutes:
    """Endpoints of ``/v5/position``.

    Parameters
    ----------
    venue
        What is traded.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue, self._desk = venue, venue.desk
        self.routes = {
            "/v5/position/list": reads(self._position_list),
            "/v5/position/set-leverage": writes(self._set_leverage),
            "/v5/position/trading-stop": writes(self._trading_stop),
            "/v5/position/switch-mode": writes(self._switch_mode),
        }

    def _position_list(self, params: Params) -> Any:
        need_category(params)
        if params.get("symbol"):
            chosen = [self._desk.positions[need_listing(params, self._venue.listings).symbol]]
        elif params.get("settleCoin") == "USDT":
            chosen = [position for position in self._desk.positions.values() if position.steps]
        elif params.get("settleCoin"):
            chosen = []
        else:
            raise Refusal(10001, "params error: symbol and settleCoin can not both be empty")
        balance = self._desk.wallet.balance
        rows, cursor = page([one.rest_row(balance) for one in chosen], params, need_limit(params, 200, 20))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _set_leverage(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        wanted, position = leverage(params, listing), self._desk.positions[listing.symbol]
        if wanted == position.leverage:
            raise Refusal(110043, "Set leverage not modified")
        position.leverage = wanted
        return {}

    def _trading_stop(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        position = self._desk.positions[listing.symbol]
        if params.get("positionIdx", 0) != 0:
            raise Refusal(10001, "position idx not match position mode")
        if params.get("tpslMode", "Full") != "Full":
            raise Refusal(10001, "params error: only tpslMode Full is served here")
        if position.steps == 0:
            raise Refusal(10001, "can not set tp/sl/ts for zero position")
        profit, stop = position.take_profit, position.stop_loss
        if params.get("takeProfit") not in (None, ""):
            profit = ticks(listing, params["takeProfit"], "takeProfit")
        if params.get("stopLoss") not in (None, ""):
            stop = ticks(listing, params["stopLoss"], "stopLoss")
        if (profit, stop) == (position.take_profit, position.stop_loss):
            raise Refusal(34040, "not modified")
        check_stops(listing, 0 if position.steps > 0 else 1, listing.last_ticks, profit, stop)
        self._desk.set_stops(position, profit, stop)
        return {}

    def _switch_mode(self, params: Params) -> Any:
        need_category(params)
        if str(params.get("mode")) == "0":
            raise Refusal(110025, "Position mode is not modified")
        raise Refusal(110029, "Hedge mode is not supported for this symbol.")
