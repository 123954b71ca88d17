"""Bybit's rows of orders, executions and positions as what the executor knows: steps, ticks, and whose they are.

Field names: https://bybit-exchange.github.io/docs/v5/order/open-order, ``…/order/execution``, ``…/position``. A row
that cannot be read raises `ValueError`: it is never taken for an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from executor.events import Filled, FillRole, OrderStatus
from executor.ids import kind_of
from market.errors import DataError
from market.instruments import Instrument

Row = Mapping[str, Any]

#: What a field of the wrong kind, or with a value that is none, raises while it is read.
_UNREADABLE = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, DataError)
_SIDES = {"Buy": 1, "Sell": -1}
_STATUS: dict[str, OrderStatus] = {
    "Created": "resting",
    "New": "resting",
    "PartiallyFilled": "resting",
    "Untriggered": "resting",
    "Triggered": "resting",
    "Active": "resting",
    "Filled": "filled",
    "Cancelled": "cancelled",
    "PartiallyFilledCanceled": "cancelled",
    "Deactivated": "cancelled",
    "Rejected": "rejected",
}
#: Execution types that move the position; ``Funding`` does not.
_TRADES = frozenset({"Trade", "AdlTrade", "BustTrade", "Settle", "Delivery", "BlockTrade", "MovePosition"})
_LIQUIDATIONS = ("CreateByLiq", "CreateByTakeOver_PassThrough")
_STOPS = ("StopLoss", "PartialStopLoss", "TrailingStop")
_TARGETS = ("TakeProfit", "PartialTakeProfit")


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution.

    Attributes
    ----------
    kind
        ``trade``, ``funding``, or ``other`` for what moves neither position nor money of ours.
    role
        Whose it is and what for; ``None`` for somebody else's that opens a position.
    closed
        Steps of it that closed a position; -1 where the venue does not say.
    """

    id: str
    kind: str
    link_id: str
    order_id: str
    role: FillRole | None
    time_ms: int
    side: int
    price: int
    size: int
    closed: int
    fee: Decimal
    maker: bool


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order; `protective` ones are conditional, reduce-only or attached to a position."""

    link_id: str
    order_id: str
    status: OrderStatus
    filled: int
    reason: str
    protective: bool
    stop_kind: str
    trigger: int
    index: int
    size: int


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A position: signed steps; `stop` and `target` in ticks, 0 none, -1 no multiple of the tick."""

    index: int
    steps: int
    stop: int
    target: int


class Reader:
    """Reads the rows of one contract.

    Parameters
    ----------
    instrument
        Contract rules.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._rules = instrument
        self._stem = f"{instrument.symbol}-"

    def ours(self, link_id: str) -> bool:
        """Whether an order has one of our link ids."""
        return link_id.startswith(self._stem) and bool(kind_of(link_id))

    def mine(self, row: Row) -> bool:
        """Whether a row is of this contract."""
        return row.get("symbol") == self._rules.symbol

    def execution(self, row: Row) -> Execution:
        """An element of ``execution``.

        Raises
        ------
        ValueError
            A field is missing or makes no sense.
        """
        try:
            kind = row["execType"]
            trade = kind in _TRADES
            link = row.get("orderLinkId") or ""
            return Execution(
                id=str(row["execId"]),
                kind="trade" if trade else "funding" if kind == "Funding" else "other",
                link_id=link,
                order_id=row.get("orderId") or "",
                role=self._role(row, link) if trade else None,
                time_ms=int(row["execTime"]),
                side=_SIDES[row["side"]] if trade else 0,
                price=self._near(row["execPrice"]) if trade else 0,
                size=self._rules.to_steps(row["execQty"]) if trade else 0,
                closed=self._rules.to_steps(row["closedSize"]) if trade and row.get("closedSize") else -1,
                fee=_money(row.get("execFee") or "0"),
                maker=bool(row.get("isMaker")),
            )
        except _UNREADABLE as error:
            raise ValueError(f"an execution that cannot be read ({error})") from error

    def _role(self, row: Row, link: str) -> FillRole | None:
        if self.ours(link):
            return kind_of(link)
        stop_kind, created = row.get("stopOrderType") or "", row.get("createType") or ""
        if row["execType"] == "AdlTrade" or created.startswith("CreateByAdl"):
            return "adl"
        if row["execType"] == "BustTrade" or created in _LIQUIDATIONS:
            return "liquidation"
        if not link and stop_kind in _STOPS:
            return "stop"
        if not link and stop_kind in _TARGETS:
            return "target"
        closed = row.get("closedSize")
        return "external" if closed and Decimal(closed) > 0 else None

    def order(self, row: Row) -> OrderRow:
        """An element of ``order``.

        Raises
        ------
        ValueError
            A field is missing or makes no sense.
        """
        try:
            stop_kind = row.get("stopOrderType") or ""
            stop_kind = "" if stop_kind == "UNKNOWN" else stop_kind
            trigger = self._ticks(row.get("triggerPrice"))
            reject, cancel = row.get("rejectReason") or "", row.get("cancelType") or ""
            filled, size = (
                self._rules.to_steps(row.get("cumExecQty") or "0"),
                self._rules.to_steps(row.get("qty") or "0"),
            )
            if min(filled, size) < 0:
                raise ValueError(f"{filled} of {size} steps")
            return OrderRow(
                link_id=row.get("orderLinkId") or "",
                order_id=str(row["orderId"]),
                status=_STATUS[row["orderStatus"]],
                filled=filled,
                reason=reject if reject not in ("", "EC_NoError") else cancel,
                protective=bool(row.get("reduceOnly") or row.get("closeOnTrigger") or stop_kind or trigger),
                stop_kind=stop_kind,
                trigger=trigger,
                index=int(row.get("positionIdx") or 0),
                size=size,
            )
        except _UNREADABLE as error:
            raise ValueError(f"an order that cannot be read ({error})") from error

    def position(self, row: Row) -> PositionRow:
        """An element of ``position``.

        Raises
        ------
        ValueError
            A field is missing or makes no sense.
        """
        try:
            steps = self._rules.to_steps(row["size"])
            if steps < 0:
                raise ValueError(f"size {row['size']}")
            sign = _SIDES[row["side"]] if steps else 0
            return PositionRow(
                int(row["positionIdx"]),
                sign * steps,
                self._ticks(row.get("stopLoss")),
                self._ticks(row.get("takeProfit")),
            )
        except _UNREADABLE as error:
            raise ValueError(f"a position that cannot be read ({error})") from error

    def _ticks(self, text: object) -> int:
        """A price in ticks: 0 where there is none, -1 where it is no multiple of the tick."""
        value = Decimal(str(text or "0"))
        ticks = value / self._rules.tick_size
        return int(ticks) if ticks == int(ticks) else -1

    def _near(self, text: str) -> int:
        """The price of an execution in ticks; liquidations and ADL print prices between two ticks."""
        return int((Decimal(text) / self._rules.tick_size).to_integral_value())


def fills(execution: Execution, now: int) -> list[Filled]:
    """An execution as the core counts it; what of somebody else's closes our position is cut out of the rest."""

    def part(size: int, link: str, role: Any, suffix: str = "") -> Filled:
        return Filled(
            now_ms=now,
            link_id=link,
            execution_id=execution.id + suffix,
            role=role,
            time_ms=execution.time_ms,
            side=execution.side,
            price=execution.price,
            size=size,
            fee=execution.fee * size / execution.size if size != execution.size else execution.fee,
            maker=execution.maker,
        )

    size, role = execution.size, execution.role
    foreign = execution.link_id or f"order {execution.order_id}"
    if role is None:
        return [part(size, foreign, "entry")]
    if role in ("entry", "exit", "target") and execution.link_id:
        return [part(size, execution.link_id, role)]
    if role != "external" or execution.closed in (-1, size):
        return [part(size, "", role)]
    return [part(execution.closed, "", role), part(size - execution.closed, foreign, "entry", "+")]


def equity_of(result: Row) -> tuple[Decimal, Decimal]:
    """Equity and wallet balance in USDT of an answer to ``wallet-balance``.

    Raises
    ------
    ValueError
        It says neither.
    """
    try:
        [account] = result["list"]
        [coin] = [coin for coin in account["coin"] if coin["coin"] == "USDT"]
        return _money(coin["equity"]), _money(coin["walletBalance"])
    except _UNREADABLE as error:
        raise ValueError(f"a wallet that cannot be read ({error})") from error


def _money(text: object) -> Decimal:
    value = Decimal(str(text))
    if not value.is_finite():
        raise ValueError(f"{text} is no amount")
    return value
