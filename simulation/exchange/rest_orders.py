"""REST: orders and executions."""

from __future__ import annotations

from typing import Any

from simulation.exchange.orders import Order, Refusal
from simulation.exchange.requests import need_category, need_limit, need_listing, need_time, new_order, page
from simulation.exchange.routes import Params, reads, writes
from simulation.exchange.venue import Venue

_FAR_FUTURE_MS = 1 << 52


class OrderRoutes:
    """Endpoints of ``/v5/order`` and ``/v5/execution``.

    Parameters
    ----------
    venue
        What is traded.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue, self._desk = venue, venue.desk
        self.routes = {
            "/v5/order/create": writes(self.create),
            "/v5/order/cancel": writes(self.cancel),
            "/v5/order/cancel-all": writes(self.cancel_all),
            "/v5/order/realtime": reads(self.realtime),
            "/v5/execution/list": reads(self.executions),
        }

    def create(self, params: Params) -> Any:
        order = new_order(params, self._desk, self._venue.listings)
        self._desk.place(order)
        return {"orderId": order.order_id, "orderLinkId": order.link_id}

    def _find(self, params: Params) -> Order:
        order_id, link_id = params.get("orderId"), params.get("orderLinkId")
        if not order_id and not link_id:
            raise Refusal(10001, "params error: orderId and orderLinkId can not both be empty")
        for order in self._desk.orders.values():
            if (order.order_id == order_id) if order_id else (order.link_id == link_id):
                return order
        raise Refusal(110001, "order not exists or too late to cancel")

    def cancel(self, params: Params) -> Any:
        need_category(params)
        need_listing(params, self._venue.listings)
        order = self._find(params)
        if order.stop_kind in ("TakeProfit", "StopLoss") and order.conditional:
            position = self._desk.positions[order.listing.symbol]
            kept = {"TakeProfit": position.take_profit, "StopLoss": position.stop_loss} | {order.stop_kind: 0}
            self._desk.set_stops(position, kept["TakeProfit"], kept["StopLoss"])
        else:
            self._desk.cancel(order)
        return {"orderId": order.order_id, "orderLinkId": order.link_id}

    def cancel_all(self, params: Params) -> Any:
        need_category(params)
        if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
            raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
        listing = need_listing(params, self._venue.listings) if params.get("symbol") else None
        kinds = {"Order": (False,), "StopOrder": (True,)}.get(str(params.get("orderFilter", "")), (False, True))
        orders = [order for order in self._desk.open_orders(listing) if order.conditional in kinds]
        for order in orders:
            if order.open and order.stop_kind not in ("TakeProfit", "StopLoss"):
                self._desk.cancel(order)
        done = [order for order in orders if not order.open]
        rows = [{"orderId": order.order_id, "orderLinkId": order.link_id} for order in done]
        return {"list": rows, "success": "1"}

    def realtime(self, params: Params) -> Any:
        need_category(params)
        order_id, link_id = params.get("orderId"), params.get("orderLinkId")
        if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId")):
            raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
        everything = [*self._desk.closed, *self._desk.orders.values()]
        if order_id or link_id:
            orders = [o for o in everything if (o.order_id == order_id if order_id else o.link_id == link_id)]
        else:
            listing = need_listing(params, self._venue.listings) if params.get("symbol") else None
            closed = str(params.get("openOnly", "0")) == "1"
            orders = [o for o in everything if o.open != closed and listing in (None, o.listing)]
        if params.get("orderFilter") in ("Order", "StopOrder"):
            wanted = params["orderFilter"] == "StopOrder"
            orders = [order for order in orders if bool(order.stop_kind) == wanted]
        rows, cursor = page([order.row() for order in reversed(orders)], params, need_limit(params, 50, 20))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def executions(self, params: Params) -> Any:
        need_category(params)
        start, end = need_time(params, "startTime", 0), need_time(params, "endTime", _FAR_FUTURE_MS)
        names = ("orderId", "orderLinkId", "symbol")
        given = next(((name, params[name]) for name in names if params.get(name)), None)
        kind = params.get("execType")
        rows = [
            row
            for row in reversed(self._desk.executions)
            if (given is None or row[given[0]] == given[1])
            and (not kind or row["execType"] == kind)
            and start <= int(row["execTime"]) <= end
        ]
        rows, cursor = page(rows, params, need_limit(params, 100, 50))
        hidden = ("category", "execPnl", "isLeverage", "marketUnit")
        rows = [{name: value for name, value in row.items() if name not in hidden} for row in rows]
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}
