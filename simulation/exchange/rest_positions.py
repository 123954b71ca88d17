"""REST: positions."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

from simulation.exchange.numbers import parse
from simulation.exchange.orders import Refusal
from simulation.exchange.positions import Holding, Position
from simulation.exchange.requests import (
    need_category,
    need_idx,
    need_limit,
    need_listing,
    need_window,
    page,
    page_back,
    whole,
)
from simulation.exchange.routes import Params, reads, writes
from simulation.exchange.stop_requests import set_trading_stop
from simulation.exchange.venue import Venue

_DAYS = 7
#: What ``/v5/position/add-margin`` shows of a position.
_AFTER_MARGIN = (
    "symbol", "positionIdx", "riskId", "riskLimitValue", "size", "avgPrice", "liqPrice", "bustPrice", "markPrice",
    "positionValue", "leverage", "autoAddMargin", "positionStatus", "positionIM", "positionMM", "takeProfit",
    "stopLoss", "trailingStop", "unrealisedPnl", "cumRealisedPnl", "createdTime", "updatedTime",
)  # fmt: skip


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
            "/v5/position/list": reads(self._list),
            "/v5/position/closed-pnl": reads(self._closed_pnl),
            "/v5/position/set-leverage": writes(self._set_leverage),
            "/v5/position/trading-stop": writes(self._trading_stop),
            "/v5/position/switch-mode": writes(self._switch_mode),
            "/v5/position/switch-isolated": writes(self._switch_isolated),
            "/v5/position/add-margin": writes(self._add_margin),
            "/v5/position/set-auto-add-margin": writes(self._auto_add_margin),
        }

    def _holding(self, params: Params) -> Holding:
        self._desk.key_info.need("ContractTrade", "Position")
        need_category(params)
        return self._desk.positions[need_listing(params, self._venue.listings).symbol]

    def _list(self, params: Params) -> Any:
        need_category(params)
        desk = self._desk
        if params.get("symbol"):
            chosen = list(desk.positions[need_listing(params, self._venue.listings).symbol].active)
        elif params.get("settleCoin"):
            chosen = desk.wallet.positions if params["settleCoin"] == "USDT" else []
        else:
            raise Refusal(10001, "params error: symbol and settleCoin can not both be empty")
        rows, cursor = page([desk.wallet.rest_row(one) for one in chosen], params, need_limit(params, 200, 20))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _closed_pnl(self, params: Params) -> Any:
        need_category(params)
        limit = need_limit(params, 100, 50)
        start, end = need_window(params, self._venue.now_ms, _DAYS)
        symbol = need_listing(params, self._venue.listings).symbol if params.get("symbol") else None
        orders = (
            (number, order)
            for number, order in reversed(self._desk.ledger.closings)
            if start <= order.closing.time_ms <= end and symbol in (None, order.listing.symbol)
        )
        found, cursor = page_back(orders, params, limit)
        return {"category": "linear", "list": [order.closed_row() for order in found], "nextPageCursor": cursor}

    # -- leverage -----------------------------------------------------------------------------------------------------

    def _set_leverage(self, params: Params) -> Any:
        holding, desk = self._holding(params), self._desk
        most = holding.at(0).listing.instrument.max_leverage
        buy, sell = (_leverage(params, name, most) for name in ("buyLeverage", "sellLeverage"))
        if buy != sell and not (holding.hedged and desk.wallet.isolated):
            raise Refusal(10001, "buy leverage must be equal to sell leverage")
        wanted = (buy, buy, sell)
        if any(value > place.tier.leverage for value, place in zip(wanted, holding.places)):
            raise Refusal(110013, "cannot set leverage gt maxLeverage by risk limit")
        old = tuple(place.leverage for place in holding.places)
        if old == wanted:
            raise Refusal(110043, "Set leverage not modified")
        for place, value in zip(holding.places, wanted):
            place.leverage = value
        lower = any(new < before for new, before in zip(wanted, old))
        if lower and (holding.gross or desk.order_margin()) and desk.available() < 0:
            for place, value in zip(holding.places, old):
                place.leverage = value
            raise Refusal(110044, "Available margin is insufficient.")
        for place in holding.active:
            desk.changed(place)
        desk.flush()
        return {}

    # -- stops and modes ----------------------------------------------------------------------------------------------

    def _trading_stop(self, params: Params) -> Any:
        self._desk.key_info.need("ContractTrade", "Position")
        set_trading_stop(params, self._desk, self._venue.listings)
        return {}

    def _switch_mode(self, params: Params) -> Any:
        self._desk.key_info.need("ContractTrade", "Position")
        need_category(params)
        mode = whole(params, "mode")
        if mode not in (0, 3):
            raise Refusal(10001, "params error: mode invalid")
        hedged = mode == 3
        if params.get("symbol"):
            self._switch(self._holding(params), hedged=hedged)
        elif params.get("coin"):
            if params["coin"] != "USDT":
                raise Refusal(110050, "Invalid coin")
            for holding in self._desk.positions.values():
                if not holding.gross and not self._desk.open_orders(holding.at(0).listing):
                    holding.hedged = hedged
        else:
            raise Refusal(10001, "params error: symbol and coin can not both be empty")
        return {}

    def _switch(self, holding: Holding, *, hedged: bool) -> None:
        if holding.hedged == hedged:
            raise Refusal(110025, "Position mode is not modified")
        if holding.gross:
            raise Refusal(110024, "You have an existing position, so the position mode cannot be switched.")
        if self._desk.open_orders(holding.at(0).listing):
            raise Refusal(110028, "You have existing open orders, so the position mode cannot be switched.")
        holding.hedged = hedged

    def _switch_isolated(self, params: Params) -> Any:
        """Unified accounts switch as a whole, by ``/v5/account/set-margin-mode``."""
        raise Refusal(100028, "The API cannot be accessed by unified account users.")

    # -- isolated margin ----------------------------------------------------------------------------------------------

    def _isolated(self, params: Params, code: int, message: str) -> Position:
        holding = self._holding(params)
        position = holding.at(need_idx(params, holding))
        if not self._desk.wallet.isolated:
            raise Refusal(code, message)
        return position

    def _add_margin(self, params: Params) -> Any:
        position, desk = self._isolated(params, 110015, "The position is in cross margin mode."), self._desk
        amount = parse(params.get("margin"))
        if amount is None or amount != amount.quantize(Decimal("0.0001")):
            raise Refusal(10001, "params error: margin invalid")
        if not position.steps:
            raise Refusal(110033, "You can't set margin without an open position")
        if amount == 0:
            raise Refusal(110027, "Margin has not been modified.")
        if amount > desk.available():
            raise Refusal(110014, "Insufficient available balance to add additional margin.")
        if position.extra + amount < 0:
            raise Refusal(110078, "Added margin more than max can reduce margin")
        position.extra += amount
        if position.initial_margin(isolated=True) + position.open_pnl() <= position.maintenance_margin():
            position.extra -= amount
            raise Refusal(110011, "Liquidation will be triggered immediately by this adjustment")
        desk.changed(position)
        desk.flush()
        row = desk.wallet.rest_row(position)
        return {"category": "linear"} | {name: row[name] for name in _AFTER_MARGIN}

    def _auto_add_margin(self, params: Params) -> Any:
        position = self._isolated(params, 110076, "Only isolated mode can set auto-add-margin")
        wanted = whole(params, "autoAddMargin")
        if wanted not in (0, 1):
            raise Refusal(10001, "params error: autoAddMargin invalid")
        position.auto_add = wanted == 1
        self._desk.changed(position)
        self._desk.flush()
        return {}


def _leverage(params: Params, name: str, most: Decimal) -> Decimal:
    value = parse(params.get(name))
    if value is None:
        raise Refusal(10001, f"params error: {name} invalid")
    if not 1 <= value <= most:
        raise Refusal(110013, "cannot set leverage gt maxLeverage by risk limit")
    return value.quantize(Decimal("0.01"), rounding=ROUND_CEILING).normalize()
