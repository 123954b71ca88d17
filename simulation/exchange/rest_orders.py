"""REST: orders and executions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from simulation.exchange.amend_requests import amendment, find_order
from simulation.exchange.listing import Listing
from simulation.exchange.order_requests import new_orders
from simulation.exchange.orders import FULL_STOPS, Order, Refusal, Stops
from simulation.exchange.requests import DAY_MS, need_category, need_limit, need_listing, need_window, page_back
from simulation.exchange.routes import Params, Reply, reads, writes
from simulation.exchange.venue import Venue

#: Most orders of a batch of linear contracts.
MOST_BATCHED = 20
#: Days that ``/v5/order/history`` and ``/v5/execution/list`` show unless told otherwise.
_DAYS = 7
_FILTERS = ("Order", "StopOrder", "OpenOrder")
#: Columns of the stream that REST has not, and the one that only REST has.
_HIDDEN = ("category", "execPnl", "isLeverage", "marketUnit")
_REST_ONLY = {"execFeeV2": ""}


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
            "/v5/order/amend": writes(self.amend),
            "/v5/order/cancel": writes(self.cancel),
            "/v5/order/cancel-all": writes(self.cancel_all),
            "/v5/order/create-batch": writes(self.create_batch),
            "/v5/order/amend-batch": writes(self.amend_batch),
            "/v5/order/cancel-batch": writes(self.cancel_batch),
            "/v5/order/realtime": reads(self.realtime),
            "/v5/order/history": reads(self.history),
            "/v5/execution/list": reads(self.executions),
        }

    # -- one order ----------------------------------------------------------------------------------------------------

    def create(self, params: Params) -> dict[str, str]:
        """Place an order."""
        return _ids(self._create(params))

    def amend(self, params: Params) -> dict[str, str]:
        """Change an order."""
        return _ids(self._amend(params))

    def cancel(self, params: Params) -> dict[str, str]:
        """Cancel an order."""
        return _ids(self._cancel(params))

    def _create(self, params: Params) -> Order:
        self._may_trade()
        orders = new_orders(params, self._desk, self._venue.listings)
        for order in orders:
            self._desk.place(order)
        return orders[0]

    def _amend(self, params: Params) -> Order:
        self._may_trade()
        desk = self._desk
        order = find_order(params, desk, self._venue.listings, late="replace")
        changes = amendment(params, desk, order)
        if order.stop_kind in FULL_STOPS and order.conditional:
            position = desk.position_of(order)
            trigger, by = (changes.get(name, getattr(order, name)) for name in ("trigger", "trigger_by"))
            profit, loss = (position.take_profit, position.profit_by), (position.stop_loss, position.loss_by)
            if order.stop_kind == "TakeProfit":
                profit = (trigger, by)
            else:
                loss = (trigger, by)
            desk.stops.set_full(position, Stops(profit[0], loss[0], profit[1], loss[1]))
            desk.flush()
        else:
            desk.amend(order, **changes)
        return order

    def _cancel(self, params: Params) -> Order:
        self._may_trade()
        order = find_order(params, self._desk, self._venue.listings, late="cancel")
        self._desk.cancel(order)
        return order

    def _may_trade(self) -> None:
        self._desk.key_info.need("ContractTrade", "Order")

    # -- many orders --------------------------------------------------------------------------------------------------

    def cancel_all(self, params: Params) -> dict[str, Any]:
        """Cancel all orders of a contract, or of all contracts."""
        self._may_trade()
        need_category(params)
        chosen = self._chosen(params)
        if chosen is None:
            raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
        wanted = params.get("orderFilter") or ""
        if wanted and wanted not in _FILTERS:
            raise Refusal(10001, "params error: orderFilter invalid")
        orders = [order for order in self._desk.open_orders() if order.listing in chosen and _passes(order, wanted)]
        if params.get("stopOrderType") == "Stop" and wanted == "StopOrder":
            orders = [order for order in orders if order.stop_kind == "Stop"]
        for order in orders:
            if order.open:
                self._desk.cancel(order)
        return {"list": [_ids(order) for order in orders], "success": "1"}

    def create_batch(self, params: Params) -> Reply:
        """Place up to 20 orders; each is accepted or refused on its own."""
        return self._batch(params, self._create, {"createAt": ""}, lambda order: {"createAt": str(order.created_ms)})

    def amend_batch(self, params: Params) -> Reply:
        """Change up to 20 orders; each is accepted or refused on its own."""
        return self._batch(params, self._amend_active, {}, lambda order: {})

    def _amend_active(self, params: Params) -> Order:
        """A batch changes no order that waits for its trigger."""
        if find_order(params, self._desk, self._venue.listings, late="replace").conditional:
            raise Refusal(10001, "params error: conditional orders cannot be amended in a batch")
        return self._amend(params)

    def cancel_batch(self, params: Params) -> Reply:
        """Cancel up to 20 orders; each is accepted or refused on its own."""
        return self._batch(params, self._cancel, {}, lambda order: {})

    def _batch(
        self, params: Params, handle: Callable[[Params], Order], nothing: dict[str, str],
        more: Callable[[Order], dict[str, str]],
    ) -> Reply:  # fmt: skip
        need_category(params)
        entries = params.get("request")
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise Refusal(10001, "params error: request invalid")
        if len(entries) > MOST_BATCHED:
            raise Refusal(10001, f"params error: request has more than {MOST_BATCHED} orders")
        rows, notes = [], []
        for entry in entries:
            row = {"category": "linear", "symbol": str(entry.get("symbol", ""))}
            try:
                order = handle({**entry, "category": "linear"})
                row |= _ids(order) | more(order)
                notes.append({"code": 0, "msg": "OK"})
            except Refusal as refusal:
                given = {name: str(entry.get(name) or "") for name in ("orderId", "orderLinkId")}
                row |= given | nothing
                notes.append({"code": refusal.code, "msg": refusal.message})
            rows.append(row)
        return Reply({"list": rows}, {"list": notes})

    # -- reading ------------------------------------------------------------------------------------------------------

    def _chosen(self, params: Params) -> list[Listing] | None:
        """The contracts that a request names by symbol, base or settle coin; ``None`` where it names none."""
        listings = self._venue.listings
        if params.get("symbol"):
            return [need_listing(params, listings)]
        if params.get("baseCoin"):
            return [one for one in listings.values() if one.symbol == f"{params['baseCoin']}USDT"]
        if params.get("settleCoin"):
            return list(listings.values()) if params["settleCoin"] == "USDT" else []
        return None

    def realtime(self, params: Params) -> dict[str, Any]:
        """Open orders, or the last 500 finished ones, newest first."""
        need_category(params)
        desk, limit = self._desk, need_limit(params, 50, 20)
        if params.get("orderId") or params.get("orderLinkId"):
            orders = _named(params, [*desk.closed, *desk.orders.values()])
        else:
            chosen = self._chosen(params)
            if chosen is None:
                raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
            pool = desk.closed if str(params.get("openOnly", "0")) == "1" else desk.orders.values()
            orders = [order for order in pool if order.listing in chosen]
        return self._page(params, limit, orders, Order.row)

    def history(self, params: Params) -> dict[str, Any]:
        """Finished orders, newest first; those that never traded for a day only."""
        need_category(params)
        desk, limit = self._desk, need_limit(params, 50, 20)
        now = self._venue.now_ms
        start, end = need_window(params, now, _DAYS)
        orders: Iterable[Order] = _named(params, desk.history)
        chosen, status = self._chosen(params), params.get("orderStatus")
        orders = [
            order
            for order in orders
            if start <= order.created_ms <= end
            and (order.filled or order.updated_ms > now - DAY_MS)
            and (chosen is None or order.listing in chosen)
            and (not status or order.status == status)
        ]
        return self._page(params, limit, orders, Order.history_row)

    def _page(
        self, params: Params, limit: int, orders: Iterable[Order], show: Callable[[Order], dict[str, Any]]
    ) -> dict[str, Any]:
        wanted = str(params.get("orderFilter") or "")
        found = sorted((order for order in orders if _passes(order, wanted)), key=lambda order: -order.number)
        page, cursor = page_back(((order.number, order) for order in found), params, limit)
        return {"category": "linear", "list": [show(order) for order in page], "nextPageCursor": cursor}

    def executions(self, params: Params) -> dict[str, Any]:
        """Executions, newest first; an order's id outranks all other filters."""
        need_category(params)
        limit = need_limit(params, 100, 50)
        start, end = need_window(params, self._venue.now_ms, _DAYS)
        named = next(((name, params[name]) for name in ("orderId", "orderLinkId") if params.get(name)), None)
        chosen = self._chosen(params) if named is None else None
        symbols = None if chosen is None else [listing.symbol for listing in chosen]
        kind = params.get("execType") if named is None else None
        rows = (
            (number, row)
            for number, row in reversed(self._desk.ledger.executions)
            if (row[named[0]] == named[1] if named else start <= int(row["execTime"]) <= end)
            and (symbols is None or row["symbol"] in symbols)
            and (not kind or row["execType"] == kind)
        )
        found, cursor = page_back(rows, params, limit)
        shown = [{key: value for key, value in row.items() if key not in _HIDDEN} | _REST_ONLY for row in found]
        return {"category": "linear", "list": shown, "nextPageCursor": cursor}


def _ids(order: Order) -> dict[str, str]:
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def _passes(order: Order, wanted: str) -> bool:
    """Whether an order is of the kind that ``orderFilter`` names: active, or conditional."""
    if wanted in ("Order", "OpenOrder"):
        return not order.stop_kind or (wanted == "OpenOrder" and not order.conditional)
    return wanted != "StopOrder" or bool(order.stop_kind)


def _named(params: Params, orders: Iterable[Order]) -> Iterable[Order]:
    """The orders that a request names by id or else by link id; all of them where it names none."""
    if params.get("orderId"):
        return [order for order in orders if order.order_id == params["orderId"]]
    if params.get("orderLinkId"):
        return [order for order in orders if order.link_id == params["orderLinkId"]]
    return orders
