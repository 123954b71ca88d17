"""Users' orders, and how Bybit shows them."""

from __future__ import annotations

import uuid
import zlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money

#: Statuses in which an order can still trade or be triggered.
OPEN = ("New", "PartiallyFilled", "Untriggered")
SIDES = ("Buy", "Sell")


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    code
        Bybit's ``retCode``.
    message
        Bybit's ``retMsg``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Order:
    """One order of a user; prices in ticks, sizes in steps, 0 for prices that are not there."""

    number: int
    listing: Listing
    side: int
    kind: str
    qty: int
    price: int = 0
    tif: str = "GTC"
    link_id: str = ""
    reduce_only: bool = False
    close_on_trigger: bool = False
    take_profit: int = 0
    stop_loss: int = 0
    trigger: int = 0
    trigger_up: bool = False
    stop_kind: str = ""
    create_type: str = "CreateByUser"
    parent_link_id: str = ""
    status: str = "New"
    cancel_type: str = "UNKNOWN"
    reject_reason: str = "EC_NoError"
    filled: int = 0
    value: int = 0
    fee: Decimal = Decimal(0)
    closed_pnl: Decimal = Decimal(0)
    slot: int = -1
    created_ms: int = 0
    updated_ms: int = 0
    last_on_created: int = 0
    order_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.order_id = str(uuid.UUID(int=zlib.crc32(self.listing.symbol.encode()) << 96 | self.number, version=5))

    @property
    def left(self) -> int:
        """Steps that have not traded."""
        return self.qty - self.filled

    @property
    def open(self) -> bool:
        """Whether it can still trade or be triggered."""
        return self.status in OPEN

    @property
    def conditional(self) -> bool:
        """Whether it waits for a trigger."""
        return self.status == "Untriggered"

    def row(self) -> dict[str, Any]:
        """The fields that REST and stream share."""
        numbers = self.listing.numbers
        price = numbers.price
        active = self.left if self.open else 0
        average = numbers.usdt(self.value) / numbers.instrument.quantity(self.filled) if self.filled else None
        attached = self.take_profit or self.stop_loss
        return {
            "symbol": self.listing.symbol,
            "orderId": self.order_id,
            "orderLinkId": self.link_id,
            "parentOrderLinkId": self.parent_link_id,
            "blockTradeId": "",
            "side": SIDES[self.side],
            "positionIdx": 0,
            "orderStatus": self.status,
            "cancelType": self.cancel_type,
            "rejectReason": self.reject_reason,
            "createType": self.create_type,
            "timeInForce": self.tif,
            "isLeverage": "",
            "orderType": self.kind,
            "price": price(self.price) if self.price else "0",
            "qty": numbers.size(self.qty),
            "avgPrice": "" if average is None else money(average),
            "leavesQty": numbers.size(active),
            "leavesValue": numbers.value(active * self.price),
            "cumExecQty": numbers.size(self.filled),
            "cumExecValue": numbers.value(self.value),
            "cumExecFee": money(self.fee),
            "orderIv": "",
            "stopOrderType": self.stop_kind,
            "triggerPrice": price(self.trigger) if self.trigger else "",
            "triggerDirection": (1 if self.trigger_up else 2) if self.trigger else 0,
            "triggerBy": "LastPrice" if self.trigger else "",
            "takeProfit": price(self.take_profit) if self.take_profit else "",
            "stopLoss": price(self.stop_loss) if self.stop_loss else "",
            "tpTriggerBy": "LastPrice" if self.take_profit else "",
            "slTriggerBy": "LastPrice" if self.stop_loss else "",
            "tpLimitPrice": "",
            "slLimitPrice": "",
            "tpslMode": "Full" if attached or self.stop_kind in ("TakeProfit", "StopLoss") else "",
            "lastPriceOnCreated": price(self.last_on_created) if self.last_on_created else "",
            "reduceOnly": self.reduce_only,
            "closeOnTrigger": self.close_on_trigger,
            "placeType": "",
            "smpType": "None",
            "smpGroup": 0,
            "smpOrderId": "",
            "cumFeeDetail": {"USDT": money(self.fee)} if self.filled else {},
            "createdTime": str(self.created_ms),
            "updatedTime": str(self.updated_ms),
        }

    def stream_row(self) -> dict[str, Any]:
        """An element of the private topic ``order``."""
        return self.row() | {
            "category": "linear",
            "closedPnl": money(self.closed_pnl),
            "feeCurrency": "USDT" if self.filled else "",
            "rpiTakerAccess": False,
            "rpiMatchedQty": "0",
        }


def execution_row(order: Order, price: int, size: int, fee: Decimal, rate: Decimal, time_ms: int) -> dict[str, Any]:
    """An element of the private topic ``execution``, but for what only the desk knows of the fill."""
    numbers = order.listing.numbers
    return {
        "category": "linear",
        "symbol": order.listing.symbol,
        "execFee": money(fee),
        "execPrice": numbers.price(price),
        "execQty": numbers.size(size),
        "execType": "Trade",
        "execValue": numbers.value(price * size),
        "feeRate": money(rate),
        "tradeIv": "",
        "markIv": "",
        "blockTradeId": "",
        "markPrice": numbers.price(order.listing.mark_ticks),
        "indexPrice": "",
        "underlyingPrice": "",
        "leavesQty": numbers.size(order.left),
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "orderPrice": numbers.price(order.price) if order.price else "0",
        "orderQty": numbers.size(order.qty),
        "orderType": order.kind,
        "stopOrderType": order.stop_kind or "UNKNOWN",
        "side": SIDES[order.side],
        "execTime": str(time_ms),
        "isLeverage": "0",
        "seq": order.listing.seq,
        "marketUnit": "",
        "createType": order.create_type,
        "extraFees": "",
        "feeCurrency": "USDT",
    }
