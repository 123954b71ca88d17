"""What a client asks for, checked: parameters of REST requests into orders and stops, or Bybit's error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from market.errors import DataError
from simulation import _lob
from simulation.exchange.desk import Desk, band
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import parse
from simulation.exchange.orders import SIDES, Order, Refusal
from simulation.exchange.routes import Params

_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_TIFS = ("GTC", "IOC", "FOK", "PostOnly")
_MOST_ACTIVE, _MOST_CONDITIONAL = 500, 10


def need_category(params: Params) -> None:
    """Only linear contracts are listed here."""
    if params.get("category") != "linear":
        raise Refusal(10001, "params error: category only support linear here")


def need_listing(params: Params, listings: Mapping[str, Listing]) -> Listing:
    """The contract that a request names."""
    listing = listings.get(str(params.get("symbol", "")))
    if listing is None:
        raise Refusal(10001, "params error: symbol invalid " + str(params.get("symbol", "")))
    return listing


def need_limit(params: Params, most: int, default: int) -> int:
    """The number of rows that are asked for."""
    value = str(params.get("limit", default))
    if not value.isdigit() or not 1 <= int(value) <= most:
        raise Refusal(10001, f"params error: limit must be 1 to {most}")
    return int(value)


def need_time(params: Params, name: str, default: int) -> int:
    """A time in ms."""
    value = str(params.get(name, default))
    if not value.isdigit():
        raise Refusal(10001, f"params error: {name} is not a time")
    return int(value)


def flag(params: Params, name: str) -> bool:
    """A boolean."""
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise Refusal(10001, f"params error: {name} is not a boolean")
    return value


def page(rows: list[Any], params: Params, limit: int) -> tuple[list[Any], str]:
    """One page of rows, and the cursor of the next."""
    cursor = str(params.get("cursor", "") or "0")
    if not cursor.isdigit():
        raise Refusal(10001, "params error: cursor is not one of ours")
    start = int(cursor)
    after = start + limit
    return rows[start:after], str(after) if after < len(rows) else ""


def ticks(listing: Listing, value: object, name: str) -> int:
    """A price; 0 where none is given."""
    if value in (None, "", "0", 0):
        return 0
    number = parse(value)
    if number is None or number < 0:
        raise Refusal(10001, f"params error: {name} invalid")
    try:
        return listing.instrument.to_ticks(number)
    except DataError as error:
        raise Refusal(10001, f"params error: {name} is not a multiple of the tick size") from error


def new_order(params: Params, desk: Desk, listings: Mapping[str, Listing]) -> Order:
    """The order that ``POST /v5/order/create`` asks for.

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
    if kind not in ("Limit", "Market"):
        raise Refusal(10001, "params error: orderType invalid")
    if params.get("positionIdx", 0) != 0:
        raise Refusal(10001, "position idx not match position mode")
    tif = "IOC" if kind == "Market" else params.get("timeInForce", "GTC")
    if tif not in _TIFS:
        raise Refusal(10001, "params error: timeInForce invalid")
    link_id = _link_id(params, desk)
    reduce_only, close = flag(params, "reduceOnly"), flag(params, "closeOnTrigger")
    trigger = ticks(listing, params.get("triggerPrice"), "triggerPrice")
    qty = _quantity(params, desk, listing, side, kind, reduce_only=reduce_only, conditional=bool(trigger))
    price = 0 if kind == "Market" else _price(params, listing, side)
    profit, stop = (ticks(listing, params.get(name), name) for name in ("takeProfit", "stopLoss"))
    if reduce_only and (profit or stop):
        raise Refusal(10001, "params error: reduceOnly order cannot carry takeProfit or stopLoss")
    if params.get("tpslMode", "Full") not in ("", "Full"):
        raise Refusal(10001, "params error: only tpslMode Full is served here")
    check_stops(listing, side, price or listing.last_ticks, profit, stop)
    rising = _direction(params, listing, trigger) if trigger else False
    _room(desk, listing, conditional=bool(trigger))
    if not reduce_only and not trigger:
        _afford(desk, listing, side, qty, price)
    return desk.new_order(
        listing, side, kind, qty, price=price, tif=tif, link_id=link_id, reduce_only=reduce_only,
        close_on_trigger=close, take_profit=profit, stop_loss=stop, trigger=trigger, trigger_up=rising,
        stop_kind="Stop" if trigger else "", create_type="CreateByStopOrder" if trigger else "CreateByUser",
    )  # fmt: skip


def _link_id(params: Params, desk: Desk) -> str:
    link_id = params.get("orderLinkId") or ""
    if link_id and (not isinstance(link_id, str) or not _LINK_ID.fullmatch(link_id)):
        raise Refusal(10001, "params error: orderLinkId is longer than 36 or has a character that is not allowed")
    if link_id in desk.link_ids:
        raise Refusal(110072, "OrderLinkedID is duplicate")
    return str(link_id)


def _quantity(
    params: Params, desk: Desk, listing: Listing, side: int, kind: str, *, reduce_only: bool, conditional: bool
) -> int:
    rules = listing.instrument
    number = parse(params.get("qty"))
    if number is None or number < 0:
        raise Refusal(10001, "params error: qty invalid")
    held = desk.positions[listing.symbol].steps
    if reduce_only and not conditional and held * (1 - 2 * side) >= 0:
        raise Refusal(110017, "current position is zero, cannot fix reduce-only order qty")
    if number == 0 and reduce_only and flag(params, "closeOnTrigger"):
        return min(abs(held), rules.max_market_steps if kind == "Market" else rules.max_steps)
    # Bybit truncates to the step before it looks at the size.
    steps = int((number / rules.qty_step).to_integral_value(ROUND_FLOOR))
    if steps == 0:
        raise Refusal(110017, "orderQty will be truncated to zero.")
    if steps < rules.min_steps:
        raise Refusal(10001, "The number of contracts exceeds minimum limit allowed")
    if steps > (rules.max_market_steps if kind == "Market" else rules.max_steps):
        raise Refusal(10001, "The number of contracts exceeds maximum limit allowed: too large")
    if reduce_only and not conditional:
        steps = min(steps, abs(held))
    return steps


def _price(params: Params, listing: Listing, side: int) -> int:
    price = ticks(listing, params.get("price"), "price")
    if price == 0:
        raise Refusal(10001, "params error: price invalid")
    mark = listing.mark_ticks
    limit = band(mark, side)
    if (price > limit if side == 0 else price < limit) or abs(price - mark) > _lob.RING // 4:
        raise Refusal(110003, "Order price exceeds the allowable range.")
    return price


def check_stops(listing: Listing, side: int, base: int, profit: int, stop: int) -> None:
    """Take profit and stop loss must lie on their sides of a base price.

    Raises
    ------
    Refusal
        10001, naming what is wrong.
    """
    word, numbers = SIDES[side], listing.numbers
    sign = 1 if side == 0 else -1
    above, below = ("higher", "lower") if side == 0 else ("lower", "higher")
    if profit and (profit - base) * sign <= 0:
        text = f"TakeProfit:{numbers.price(profit)} set for {word} position should be {above} than base_price"
        raise Refusal(10001, f"{text}:{numbers.price(base)}??LastPrice")
    if stop and (stop - base) * sign >= 0:
        text = f"StopLoss:{numbers.price(stop)} set for {word} position should be {below} than base_price"
        raise Refusal(10001, f"{text}:{numbers.price(base)}??LastPrice")


def _direction(params: Params, listing: Listing, trigger: int) -> bool:
    last, price = listing.last_ticks, listing.numbers.price
    match params.get("triggerDirection"):
        case 1 if trigger <= last:
            raise Refusal(
                110092, f"expect Rising, but trigger_price[{price(trigger)}] <= current[{price(last)}]??laste"
            )
        case 2 if trigger >= last:
            raise Refusal(
                110093, f"expect Falling, but trigger_price[{price(trigger)}] >= current[{price(last)}]??last"
            )
        case 1:
            return True
        case 2:
            return False
    raise Refusal(10001, "params error: triggerDirection invalid")


def _room(desk: Desk, listing: Listing, *, conditional: bool) -> None:
    orders = desk.open_orders(listing)
    if not conditional and sum(not order.conditional for order in orders) >= _MOST_ACTIVE:
        raise Refusal(110020, "Not allowed to have more than 500 active orders.")
    if conditional and sum(order.stop_kind == "Stop" and order.conditional for order in orders) >= _MOST_CONDITIONAL:
        raise Refusal(110009, "The number of stop orders exceeds the maximum allowable limit")


def _afford(desk: Desk, listing: Listing, side: int, qty: int, price: int) -> None:
    position = desk.positions[listing.symbol]
    worst = price or listing.mark_ticks
    if listing.numbers.usdt(worst * qty) < listing.instrument.min_notional:
        raise Refusal(110094, "Order does not meet minimum order value")
    opening = max(qty - abs(position.steps), 0) if position.steps * (1 - 2 * side) < 0 else qty
    value = listing.numbers.usdt(worst * opening)
    if value * (1 / position.leverage + desk.taker_fee) > desk.available():
        raise Refusal(110007, "ab not enough for new order")


def leverage(params: Params, listing: Listing) -> Decimal:
    """The leverage that ``POST /v5/position/set-leverage`` asks for; one-way mode has one for both sides."""
    buy, sell = parse(params.get("buyLeverage")), parse(params.get("sellLeverage"))
    if buy is None or buy != sell:
        raise Refusal(10001, "buy leverage invalid")
    if not 1 <= buy <= listing.instrument.max_leverage:
        raise Refusal(110013, "cannot set leverage gt maxLeverage by risk limit")
    return buy.quantize(Decimal("0.01"), rounding=ROUND_CEILING).normalize()
