"""Requests to change and to name orders, checked and refused with Bybit's codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulation.exchange.desk import Desk
from simulation.exchange.listing import Listing
from simulation.exchange.order_requests import MODES, check_direction, check_price, check_tier, steps_of
from simulation.exchange.orders import FULL_STOPS, PARTIAL_STOPS, POSITION_STOPS, Order, Refusal
from simulation.exchange.requests import TRIGGERS, check_stops, need_category, need_listing, one_of, ticks
from simulation.exchange.routes import Params

_UNCHANGED = "The order remains unchanged as the parameters entered match the existing ones."


def find_order(params: Params, desk: Desk, listings: Mapping[str, Listing], *, late: str) -> Order:
    """The open order that a request names by ``orderId`` or else ``orderLinkId``.

    Parameters
    ----------
    late
        What it is too late for, for the message.

    Raises
    ------
    Refusal
        110001: there is none.
    """
    need_category(params)
    listing = need_listing(params, listings)
    order_id, link_id = params.get("orderId"), params.get("orderLinkId")
    if not order_id and not link_id:
        raise Refusal(10001, "params error: orderId and orderLinkId can not both be empty")
    for order in desk.open_orders(listing):
        if (order.order_id == order_id) if order_id else (order.link_id == link_id):
            return order
    raise Refusal(110001, f"order not exists or too late to {late}")


def amendment(params: Params, desk: Desk, order: Order) -> dict[str, Any]:
    """What ``POST /v5/order/amend`` changes of an order.

    Raises
    ------
    Refusal
        With the code that Bybit documents for what is wrong.
    """
    changes = _new_stops(params, order) | _new_trigger(params, order)
    if params.get("price") not in (None, ""):
        changes["price"] = _new_price(params, order)
    if params.get("qty") not in (None, ""):
        changes["qty"] = _new_qty(params, order)
        if order.stop_kind in PARTIAL_STOPS and order.conditional:
            _check_part(desk, order, changes["qty"])
    changes = {name: value for name, value in changes.items() if value != getattr(order, name)}
    if not changes:
        raise Refusal(10001, _UNCHANGED)
    if not order.conditional and not order.reduces and {"price", "qty"} & set(changes):
        _check_larger(desk, order, changes)
    return changes


def _new_price(params: Params, order: Order) -> int:
    if order.kind == "Market":
        raise Refusal(10001, "params error: a market order has no price")
    price = ticks(order.listing, params["price"], "price")
    if price == 0:
        raise Refusal(10001, "params error: price invalid")
    check_price(order.listing, order.side, price, order.trigger if order.conditional else 0)
    return price


def _new_qty(params: Params, order: Order) -> int:
    if order.stop_kind in (*FULL_STOPS, "TrailingStop") and order.conditional:
        raise Refusal(110060, "Under full TP/SL mode, it is not allowed to modify TP/SL")
    rules, steps = order.listing.instrument, steps_of(order.listing, params["qty"])
    if steps == 0:
        raise Refusal(110017, "orderQty will be truncated to zero.")
    if steps < rules.min_steps:
        raise Refusal(10001, "The number of contracts exceeds minimum limit allowed")
    if steps > (rules.max_market_steps if order.kind == "Market" else rules.max_steps):
        raise Refusal(10001, "The number of contracts exceeds maximum limit allowed: too large")
    if steps <= order.filled:
        raise Refusal(110064, "The modified contract quantity cannot be less than or equal to the filled quantity.")
    return steps


def _check_part(desk: Desk, order: Order, qty: int) -> None:
    if qty > abs(desk.position_of(order).steps):
        raise Refusal(
            110058, "You can't set take profit and stop loss due to insufficient size of remaining position size."
        )


def _new_trigger(params: Params, order: Order) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    trigger = ticks(order.listing, params.get("triggerPrice"), "triggerPrice")
    if not trigger and not params.get("triggerBy"):
        return changes
    if not order.conditional or order.stop_kind == "TrailingStop":
        raise Refusal(10001, "params error: triggerPrice of an order that waits for none")
    by = one_of(params, "triggerBy", TRIGGERS, order.trigger_by)
    changes["trigger_by"], changes["trigger"] = by, trigger or order.trigger
    check_direction(order.listing, changes["trigger"], by, 1 if order.trigger_up else 2)
    return changes


def _new_stops(params: Params, order: Order) -> dict[str, Any]:
    names = ("takeProfit", "stopLoss", "tpTriggerBy", "slTriggerBy", "tpslMode", "tpLimitPrice", "slLimitPrice")
    given = {name: params[name] for name in names if params.get(name) not in (None, "")}
    if not given:
        return {}
    if order.stop_kind in POSITION_STOPS or order.reduces:
        raise Refusal(10001, "params error: this order cannot carry takeProfit or stopLoss")
    if order.filled:
        raise Refusal(110059, "Not allowed to modify the TP/SL of a partially filled open order")
    old, listing = order.stops, order.listing
    stops = replace(
        old,
        profit=ticks(listing, given["takeProfit"], "takeProfit") if "takeProfit" in given else old.profit,
        loss=ticks(listing, given["stopLoss"], "stopLoss") if "stopLoss" in given else old.loss,
        profit_by=one_of(given, "tpTriggerBy", TRIGGERS, old.profit_by),
        loss_by=one_of(given, "slTriggerBy", TRIGGERS, old.loss_by),
        mode=one_of(given, "tpslMode", MODES, old.mode),
    )
    stops = replace(
        stops,
        profit_limit=_new_target(given, listing, "tpLimitPrice", old.profit_limit),
        loss_limit=_new_target(given, listing, "slLimitPrice", old.loss_limit),
    )
    if stops.mode == "Full" and (stops.profit_limit or stops.loss_limit):
        raise Refusal(10001, "params error: limit targets need tpslMode Partial")
    check_stops(listing, order.side, order.price or order.trigger or listing.last_ticks, stops.profit, stops.loss)
    return {"stops": stops}


def _new_target(given: Params, listing: Listing, name: str, old: int) -> int:
    if name not in given:
        return old
    if not old:
        raise Refusal(10001, f"params error: {name} of an order without a partial limit target")
    return ticks(listing, given[name], name)


def _check_larger(desk: Desk, order: Order, changes: Mapping[str, Any]) -> None:
    """An order that asks for more must still be worth enough, and covered."""
    old = {name: getattr(order, name) for name in ("price", "qty")}
    new = old | {name: changes[name] for name in old if name in changes}
    rules, numbers = order.listing.instrument, order.listing.numbers
    if numbers.usdt(new["price"] * new["qty"]) < rules.min_notional:
        raise Refusal(110094, "Order does not meet minimum order value")
    if new["price"] * new["qty"] <= old["price"] * old["qty"]:
        return
    try:
        order.price, order.qty = new["price"], new["qty"]
        check_tier(desk, order)
        covered = desk.risk.covers(order)
    finally:
        order.price, order.qty = old["price"], old["qty"]
    if not covered:
        raise Refusal(110007, "ab not enough for new order")
