"""Requests to place orders, checked in Bybit's order and refused with Bybit's codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from simulation.exchange.desk import Desk, band
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money, parse
from simulation.exchange.orders import SIDES, Order, Refusal, Stops
from simulation.exchange.requests import (
    TRIGGERS,
    check_stops,
    flag,
    need_category,
    need_idx,
    need_listing,
    one_of,
    price_by,
    ticks,
    whole,
)
from simulation.exchange.routes import Params
from simulation.exchange.smp import SMP_TYPES
from simulation.exchange.stops import MOST_PARTIAL

_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_TIFS = ("GTC", "IOC", "FOK", "PostOnly", "RPI")
_MOST_ACTIVE, _MOST_CONDITIONAL = 500, 10
_KINDS, MODES = ("Limit", "Market"), ("Full", "Partial")
_BBO = ("Queue", "Counterparty")


def new_orders(params: Params, desk: Desk, listings: Mapping[str, Listing]) -> list[Order]:
    """The order that ``POST /v5/order/create`` asks for; several where a reduce-only one is larger than orders may be.

    Raises
    ------
    Refusal
        With the code that Bybit documents for what is wrong.
    """
    need_category(params)
    listing = need_listing(params, listings)
    if params.get("side") not in SIDES:
        raise Refusal(10001, "params error: side invalid")
    side, kind = SIDES.index(params["side"]), params.get("orderType")
    if kind not in _KINDS:
        raise Refusal(10001, "params error: orderType invalid")
    holding = desk.positions[listing.symbol]
    idx = need_idx(params, holding)
    tif = "IOC" if kind == "Market" else one_of(params, "timeInForce", _TIFS, "GTC")
    if tif == "RPI":
        raise Refusal(110119, "Order failed. RPI orders are restricted to approved market makers only")
    fields: dict[str, Any] = {"idx": idx, "tif": tif, "link_id": _link_id(params, desk)}
    # A hedge's long can only be sold and its short only be bought to reduce them, whatever is asked for.
    closing = bool(idx) and side == (idx == 1)
    fields["reduce_only"] = flag(params, "reduceOnly") or closing
    fields["close_on_trigger"] = flag(params, "closeOnTrigger")
    fields["smp_type"] = one_of(params, "smpType", SMP_TYPES, "None")
    trigger = ticks(listing, params.get("triggerPrice"), "triggerPrice")
    fields |= _trigger(params, listing, trigger)
    sizes = _sizes(params, desk, listing, side, kind, fields)
    price = 0 if kind == "Market" else _price(params, listing, side, trigger)
    if price and params.get("bboSideType"):
        fields["create_type"] = "CreateByBboOrder"
    if kind == "Market":
        fields |= _slippage(params, trigger)
    fields["stops"] = _stops(params, listing, side, price or trigger or listing.last_ticks)
    if fields["stops"]:
        if fields["reduce_only"]:
            raise Refusal(10001, "params error: reduceOnly order cannot carry takeProfit or stopLoss")
        if fields["stops"].mode == "Partial" and desk.stops.partials(holding.at(idx)) >= MOST_PARTIAL:
            raise Refusal(110061, "Not allowed to have more than 20 TP/SLs under Partial tpSlMode")
    _room(desk, listing, conditional=bool(trigger))
    orders = [desk.new_order(listing, side, kind, size, price=price, **fields) for size in sizes]
    for order in orders[1:]:
        order.link_id = ""
    if not trigger:
        _afford(desk, orders[0])
    return orders


def _link_id(params: Params, desk: Desk) -> str:
    link_id = params.get("orderLinkId") or ""
    if link_id and (not isinstance(link_id, str) or not _LINK_ID.fullmatch(link_id)):
        raise Refusal(10001, "params error: orderLinkId is longer than 36 or has a character that is not allowed")
    if link_id in desk.link_ids:
        raise Refusal(110072, "OrderLinkedID is duplicate")
    return str(link_id)


def _trigger(params: Params, listing: Listing, trigger: int) -> dict[str, Any]:
    if not trigger:
        return {}
    by = one_of(params, "triggerBy", TRIGGERS, "LastPrice")
    direction = whole(params, "triggerDirection", 0)
    check_direction(listing, trigger, by, direction)
    return {
        "trigger": trigger,
        "trigger_by": by,
        "trigger_up": direction == 1,
        "stop_kind": "Stop",
        "create_type": "CreateByStopOrder",
    }


def check_direction(listing: Listing, trigger: int, by: str, direction: int) -> None:
    """A trigger must lie where the price has yet to go: above it for direction 1, below it for 2.

    Raises
    ------
    Refusal
        110092, 110093; 10001 for any other direction.
    """
    current, price = price_by(listing, by), listing.numbers.price
    match direction:
        case 1:
            if trigger <= current:
                raise Refusal(
                    110092, f"expect Rising, but trigger_price[{price(trigger)}] <= current[{price(current)}]??laste"
                )
        case 2:
            if trigger >= current:
                raise Refusal(
                    110093, f"expect Falling, but trigger_price[{price(trigger)}] >= current[{price(current)}]??last"
                )
        case _:
            raise Refusal(10001, "params error: triggerDirection invalid")


def steps_of(listing: Listing, value: object) -> int:
    """A size; Bybit truncates to the step before it looks at it."""
    number = parse(value)
    if number is None or number < 0:
        raise Refusal(10001, "params error: qty invalid")
    return int((number / listing.instrument.qty_step).to_integral_value(ROUND_FLOOR))


def _sizes(params: Params, desk: Desk, listing: Listing, side: int, kind: str, fields: Mapping[str, Any]) -> list[int]:
    """Steps of the order, or of each of the orders into which a reduce-only one is split."""
    rules, reduce_only, conditional = listing.instrument, fields["reduce_only"], "trigger" in fields
    steps = steps_of(listing, params.get("qty"))
    largest = rules.max_market_steps if kind == "Market" else rules.max_steps
    held = desk.positions[listing.symbol].at(fields["idx"]).steps
    if reduce_only and not conditional and held * (1 - 2 * side) >= 0:
        raise Refusal(110017, "current position is zero, cannot fix reduce-only order qty")
    if parse(params.get("qty")) == 0 and reduce_only and fields["close_on_trigger"]:
        return [min(abs(held), largest) or largest]
    if steps == 0:
        raise Refusal(110017, "orderQty will be truncated to zero.")
    if steps < rules.min_steps:
        raise Refusal(10001, "The number of contracts exceeds minimum limit allowed")
    if reduce_only and not conditional:
        steps = min(steps, abs(held))
        return [min(largest, steps - done) for done in range(0, steps, largest)]
    if steps > largest:
        raise Refusal(10001, "The number of contracts exceeds maximum limit allowed: too large")
    return [steps]


def _price(params: Params, listing: Listing, side: int, trigger: int) -> int:
    price = _bbo(params, listing, side) or ticks(listing, params.get("price"), "price")
    if price == 0:
        raise Refusal(10001, "params error: price invalid")
    check_price(listing, side, price, trigger)
    return price


def check_price(listing: Listing, side: int, price: int, trigger: int = 0) -> None:
    """A limit price must not be too far on the aggressive side of the mark price, or of its own trigger.

    Raises
    ------
    Refusal
        110003.
    """
    mark = trigger or listing.mark_ticks
    limit = band(mark, side)
    if (price > limit if side == 0 else price < limit) or abs(price - listing.mark_ticks) > listing.market.reach // 2:
        raise Refusal(110003, "Order price exceeds the allowable range.")


def _bbo(params: Params, listing: Listing, side: int) -> int:
    """The price of a level of the book, if that is what is asked for; 0 if not."""
    if not params.get("bboSideType"):
        return 0
    own = one_of(params, "bboSideType", _BBO, "") == "Queue"
    level = whole(params, "bboLevel")
    if not 1 <= level <= 5:
        raise Refusal(10001, "params error: bboLevel invalid")
    prices, _ = listing.market.top(side if own else 1 - side, level)
    if len(prices) < level:
        raise Refusal(110118, "Unable to retrieve a price of the market order due to low liquidity")
    return int(prices[level - 1])


def _slippage(params: Params, trigger: int) -> dict[str, Any]:
    if not params.get("slippageToleranceType"):
        return {}
    kind = one_of(params, "slippageToleranceType", ("TickSize", "Percent"), "")
    number = parse(params.get("slippageTolerance"))
    if trigger or params.get("takeProfit") or params.get("stopLoss") or number is None:
        raise Refusal(10001, "params error: slippageTolerance invalid")
    if kind == "TickSize" and not (1 <= number <= 10_000 and number == int(number)):
        raise Refusal(110108, "Allowable range: 1 to 10000 tick size")
    hundredth = Decimal("0.01")
    if kind == "Percent" and not (hundredth <= number <= 10 and number == number.quantize(hundredth)):
        raise Refusal(110109, "Allowable range: 0.01% to 10%")
    return {"slippage_type": kind, "slippage": str(params["slippageTolerance"])}


def _stops(params: Params, listing: Listing, side: int, base: int) -> Stops:
    stops = parse_stops(params, listing)
    check_stops(listing, side, base, stops.profit, stops.loss)
    return stops


def parse_stops(params: Params, listing: Listing) -> Stops:
    """Take profit and stop loss of a request, not yet compared with any price.

    Raises
    ------
    Refusal
        10001: a word is unknown, or a limit target is asked for where none can be.
    """
    mode = one_of(params, "tpslMode", MODES, "Full")
    limits = []
    for name in ("tp", "sl"):
        kind = one_of(params, f"{name}OrderType", _KINDS, "Market")
        limit = ticks(listing, params.get(f"{name}LimitPrice"), f"{name}LimitPrice")
        if kind == "Limit" and (mode == "Full" or not limit):
            raise Refusal(10001, f"params error: {name}OrderType Limit needs tpslMode Partial and {name}LimitPrice")
        limits.append(limit if kind == "Limit" else 0)
    return Stops(
        profit=ticks(listing, params.get("takeProfit"), "takeProfit"),
        loss=ticks(listing, params.get("stopLoss"), "stopLoss"),
        profit_by=one_of(params, "tpTriggerBy", TRIGGERS, "LastPrice"),
        loss_by=one_of(params, "slTriggerBy", TRIGGERS, "LastPrice"),
        mode=mode,
        profit_limit=limits[0],
        loss_limit=limits[1],
    )


def _room(desk: Desk, listing: Listing, *, conditional: bool) -> None:
    orders = desk.open_orders(listing)
    if not conditional and sum(not order.conditional for order in orders) >= _MOST_ACTIVE:
        raise Refusal(110020, "Not allowed to have more than 500 active orders.")
    if conditional and sum(order.stop_kind == "Stop" and order.conditional for order in orders) >= _MOST_CONDITIONAL:
        raise Refusal(110009, "The number of stop orders exceeds the maximum allowable limit")


def _afford(desk: Desk, order: Order) -> None:
    if order.reduces:
        return
    listing = order.listing
    worst = order.price or listing.mark_ticks
    if listing.numbers.usdt(worst * order.qty) < listing.instrument.min_notional:
        raise Refusal(110094, "Order does not meet minimum order value")
    check_tier(desk, order)
    if not desk.risk.covers(order):
        raise Refusal(110007, "ab not enough for new order")


def check_tier(desk: Desk, order: Order) -> None:
    """A position must stay within the highest risk tier, and its leverage within the tier's that it comes to.

    Raises
    ------
    Refusal
        110089, 110090.
    """
    position = desk.position_of(order)
    value = desk.risk.expected_value(order)
    tier = position.tier_of(value)
    if value > tier.limit:
        raise Refusal(110089, "Exceeds the maximum risk limit level")
    if position.leverage > tier.leverage:
        text = "Order placement failed as your position may exceed the max limit. Please adjust your leverage to "
        raise Refusal(110090, f"{text}{money(tier.leverage)} or below to increase the max. position limit")
