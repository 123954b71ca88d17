"""Actions as the parameters of Bybit's requests; prices and quantities as strings, never floats.

https://bybit-exchange.github.io/docs/v5/order/create-order and ``…/position/trading-stop``
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from council.plan import PASSIVE
from executor.actions import ClosePosition, PlaceEntry, PlaceTarget, SetProtection
from market.instruments import Instrument

_SIDES = {1: "Buy", -1: "Sell"}


def entry_request(action: PlaceEntry, rules: Instrument) -> dict[str, Any] | None:
    """An entry with its protection; ``None`` for one that is no order.

    The stop is a market order on trigger by the last price, as the backtest has it, and covers the whole position
    (``Full``): the venue itself keeps it as large as what has filled.
    """
    if min(action.limit, action.stop, action.target, action.size) <= 0:
        return None
    request = {
        "category": "linear",
        "symbol": rules.symbol,
        "side": _SIDES[action.side],
        "orderType": "Limit",
        "qty": _text(rules.quantity(action.size)),
        "price": _text(rules.price(action.limit)),
        "timeInForce": "PostOnly" if action.entry == PASSIVE else "IOC",
        "orderLinkId": action.link_id,
        "stopLoss": _text(rules.price(action.stop)),
        "slTriggerBy": "LastPrice",
        "tpslMode": "Full",
        "slOrderType": "Market",
    }
    if not action.target_maker:
        request |= {
            "takeProfit": _text(rules.price(action.target)),
            "tpTriggerBy": "LastPrice",
            "tpOrderType": "Market",
        }
    return request


def target_request(action: PlaceTarget, rules: Instrument) -> dict[str, Any] | None:
    """A resting target."""
    if min(action.price, action.size) <= 0:
        return None
    return {
        "category": "linear",
        "symbol": rules.symbol,
        "side": _SIDES[action.side],
        "orderType": "Limit",
        "qty": _text(rules.quantity(action.size)),
        "price": _text(rules.price(action.price)),
        "timeInForce": "PostOnly",
        "reduceOnly": True,
        "orderLinkId": action.link_id,
    }


def close_request(action: ClosePosition, rules: Instrument) -> dict[str, Any] | None:
    """A close: reduce-only, so that it can never open anything."""
    if action.size <= 0:
        return None
    return {
        "category": "linear",
        "symbol": rules.symbol,
        "side": _SIDES[action.side],
        "orderType": "Market",
        "qty": _text(rules.quantity(action.size)),
        "reduceOnly": True,
        "orderLinkId": action.link_id,
    }


def stop_request(action: SetProtection, rules: Instrument, index: int) -> dict[str, Any]:
    """The plan's stop for the whole position. The venue changes the one that is there in a single step."""
    request = {
        "category": "linear",
        "symbol": rules.symbol,
        "tpslMode": "Full",
        "stopLoss": _text(rules.price(action.stop)),
        "slTriggerBy": "LastPrice",
        "positionIdx": index,
    }
    if action.target > 0:
        request |= {"takeProfit": _text(rules.price(action.target)), "tpTriggerBy": "LastPrice"}
    return request


def _text(value: Decimal) -> str:
    return f"{value:f}"
