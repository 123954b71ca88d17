"""Users' orders, and how Bybit shows them."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money

#: Statuses in which an order can still trade or be triggered.
OPEN = ("New", "PartiallyFilled", "Untriggered")
SIDES = ("Buy", "Sell")
#: Kinds of stops that belong to a position: of all of it, of a part of it.
FULL_STOPS = ("TakeProfit", "StopLoss")
PARTIAL_STOPS = ("PartialTakeProfit", "PartialStopLoss")
POSITION_STOPS = (*FULL_STOPS, *PARTIAL_STOPS, "TrailingStop")


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    code
        Bybit's ``retCode``.
    message
        Bybit's ``retMsg``.
    result
        The answer's ``result``; nearly always empty.
    """

    def __init__(self, code: int, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.result = dict(result or {})


@dataclass(frozen=True, slots=True)
class Stops:
    """Take profit and stop loss that an order attaches to what it fills; prices in ticks, 0 for none.

    Attributes
    ----------
    profit, loss
        Trigger prices.
    profit_by, loss_by
        The price that triggers: ``LastPrice``, ``MarkPrice`` or ``IndexPrice``.
    mode
        ``Full``: they become the whole position's; ``Partial``: they cover what the order has filled.
    profit_limit, loss_limit
        Limit prices of partial ones; 0 for market orders.
    """

    profit: int = 0
    loss: int = 0
    profit_by: str = "LastPrice"
    loss_by: str = "LastPrice"
    mode: str = "Full"
    profit_limit: int = 0
    loss_limit: int = 0

    def __bool__(self) -> bool:
        return bool(self.profit or self.loss)


@dataclass(slots=True)
class Closing:
    """What an order has closed of a position.

    Attributes
    ----------
    steps, fills
        Closed size, and in how many fills.
    entry, exit
        Value at the average entry price and at the prices of the fills, USDT.
    open_fee, close_fee
        Fees of the closed part, USDT.
    leverage
        Of the position.
    time_ms
        Of the first fill that closed something.
    """

    steps: int = 0
    fills: int = 0
    entry: Decimal = Decimal(0)
    exit: Decimal = Decimal(0)
    gained: Decimal = Decimal(0)
    open_fee: Decimal = Decimal(0)
    close_fee: Decimal = Decimal(0)
    leverage: Decimal = Decimal(1)
    time_ms: int = 0

    @property
    def pnl(self) -> Decimal:
        """Profit after both fees, USDT."""
        return self.gained - self.open_fee - self.close_fee


@dataclass(slots=True)
class Order:
    """One order of a user; prices in ticks, sizes in steps, 0 for prices that are not there."""

    number: int
    listing: Listing
    side: int
    kind: str
    qty: int
    idx: int = 0
    price: int = 0
    tif: str = "GTC"
    link_id: str = ""
    reduce_only: bool = False
    close_on_trigger: bool = False
    stops: Stops = Stops()
    trigger: int = 0
    trigger_up: bool = False
    trigger_by: str = "LastPrice"
    stop_kind: str = ""
    create_type: str = "CreateByUser"
    parent_link_id: str = ""
    smp_type: str = "None"
    slippage_type: str = "UNKNOWN"
    slippage: str = ""
    #: Number of the order that goes when this one is triggered or cancelled.
    pair: int = 0
    #: Numbers of the partial stops that this order's fills have made.
    children: tuple[int, int] = (0, 0)
    #: A trailing stop's distance, and the best price since it is active (0: not active).
    trail: int = 0
    extreme: int = 0
    exec_type: str = "Trade"
    status: str = "New"
    cancel_type: str = "UNKNOWN"
    reject_reason: str = "EC_NoError"
    smp_order_id: str = ""
    filled: int = 0
    value: int = 0
    fee: Decimal = Decimal(0)
    closing: Closing = field(default_factory=Closing)
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

    @property
    def reduces(self) -> bool:
        """Whether it may only make a position smaller."""
        return self.reduce_only or self.close_on_trigger

    @property
    def sign(self) -> int:
        """+1 buys, -1 sells."""
        return 1 - 2 * self.side

    def _price(self, ticks: int) -> str:
        return self.listing.numbers.price(ticks) if ticks else ""

    def row(self) -> dict[str, Any]:
        """The fields that REST and stream share."""
        numbers = self.listing.numbers
        active = self.left if self.open else 0
        average = numbers.usdt(self.value) / numbers.instrument.quantity(self.filled) if self.filled else None
        return {
            "symbol": self.listing.symbol,
            "orderId": self.order_id,
            "orderLinkId": self.link_id,
            "parentOrderLinkId": self.parent_link_id,
            "blockTradeId": "",
            "side": SIDES[self.side],
            "positionIdx": self.idx,
            "orderStatus": self.status,
            "cancelType": self.cancel_type,
            "rejectReason": self.reject_reason,
            "createType": self.create_type,
            "timeInForce": self.tif,
            "isLeverage": "",
            "orderType": self.kind,
            "price": numbers.price(self.price) if self.price else "0",
            "qty": numbers.size(self.qty),
            "avgPrice": "" if average is None else money(average),
            "leavesQty": numbers.size(active),
            "leavesValue": numbers.value(active * self.price),
            "cumExecQty": numbers.size(self.filled),
            "cumExecValue": numbers.value(self.value),
            "cumExecFee": money(self.fee),
            "orderIv": "",
            "marketUnit": "",
            "ocoTriggerBy": "",
            "smpType": self.smp_type,
            "smpGroup": 0,
            "smpOrderId": self.smp_order_id,
            "placeType": "",
            "lastPriceOnCreated": self._price(self.last_on_created),
            "reduceOnly": self.reduce_only,
            "closeOnTrigger": self.close_on_trigger,
            "cumFeeDetail": {"USDT": money(self.fee)} if self.filled else {},
            "createdTime": str(self.created_ms),
            "updatedTime": str(self.updated_ms),
        } | self._stop_fields()

    def _stop_fields(self) -> dict[str, Any]:
        stops = self.stops
        mode = stops.mode if stops else ""
        if self.stop_kind in POSITION_STOPS:
            mode = "Partial" if self.stop_kind in PARTIAL_STOPS else "Full"
        return {
            "stopOrderType": self.stop_kind,
            "triggerPrice": self._price(self.trigger),
            "triggerDirection": (1 if self.trigger_up else 2) if self.trigger else 0,
            "triggerBy": self.trigger_by if self.stop_kind else "",
            "takeProfit": self._price(stops.profit),
            "stopLoss": self._price(stops.loss),
            "tpTriggerBy": stops.profit_by if stops.profit else "",
            "slTriggerBy": stops.loss_by if stops.loss else "",
            "tpLimitPrice": self._price(stops.profit_limit),
            "slLimitPrice": self._price(stops.loss_limit),
            "tpslMode": mode,
        }

    def stream_row(self) -> dict[str, Any]:
        """An element of the private topic ``order``."""
        return self.row() | {
            "category": "linear",
            "closedPnl": money(self.closing.pnl),
            "feeCurrency": "USDT" if self.filled else "",
            "brokerOrderPrice": "",
            "slippageToleranceType": self.slippage_type,
            "slippageTolerance": self.slippage,
            "rpiTakerAccess": False,
            "rpiMatchedQty": "0",
        }

    def history_row(self) -> dict[str, Any]:
        """An element of ``GET /v5/order/history``."""
        return self.row() | {
            "slippageToleranceType": self.slippage_type,
            "slippageTolerance": self.slippage,
            "extraFees": "",
            "rpiTakerAccess": False,
            "rpiMatchedQty": "0",
        }

    def closed_row(self) -> dict[str, Any]:
        """An element of ``GET /v5/position/closed-pnl``."""
        closing, numbers = self.closing, self.listing.numbers
        quantity = numbers.instrument.quantity(closing.steps)
        return {
            "symbol": self.listing.symbol,
            "orderId": self.order_id,
            "side": SIDES[self.side],
            "qty": numbers.size(self.qty),
            "orderPrice": numbers.price(self.price) if self.price else "0",
            "orderType": self.kind,
            "execType": self.exec_type,
            "closedSize": numbers.size(closing.steps),
            "cumEntryValue": money(closing.entry),
            "avgEntryPrice": money(closing.entry / quantity),
            "cumExitValue": money(closing.exit),
            "avgExitPrice": money(closing.exit / quantity),
            "closedPnl": money(closing.pnl),
            "fillCount": str(closing.fills),
            "leverage": money(closing.leverage),
            "openFee": money(closing.open_fee),
            "closeFee": money(closing.close_fee),
            "createdTime": str(closing.time_ms),
            "updatedTime": str(self.updated_ms),
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
        "execType": order.exec_type,
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
