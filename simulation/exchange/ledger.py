"""What has happened to the account's money: executions, transactions and closed positions."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

from simulation.exchange.numbers import money
from simulation.exchange.orders import SIDES, Order
from simulation.exchange.positions import Position

#: Rows that are kept of each kind.
KEPT = 20_000
#: The one user's number, as in transaction ids.
USER_ID = 1
#: Type of a transaction, by the type of its execution.
_TYPES = {"Trade": "TRADE", "BustTrade": "LIQUIDATION", "AdlTrade": "ADL"}


class Ledger:
    """Numbered rows, oldest first.

    Attributes
    ----------
    executions, transactions
        Rows of ``GET /v5/execution/list`` and ``GET /v5/account/transaction-log`` with the numbers that pages turn by.
    closings
        Orders that have closed something, in the order in which they began to.
    """

    def __init__(self) -> None:
        self.executions: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self.transactions: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self.closings: deque[tuple[int, Order]] = deque(maxlen=KEPT)
        self._number = 0

    def _next(self) -> int:
        self._number += 1
        return self._number

    def executed(self, row: dict[str, Any]) -> None:
        """Keep an execution."""
        self.executions.append((self._next(), row))

    def closed(self, order: Order) -> None:
        """Keep an order that has begun to close something."""
        self.closings.append((self._next(), order))

    def traded(self, order: Order, row: dict[str, Any], position: Position, gained: Decimal, balance: Decimal) -> None:
        """Keep the transaction of a fill: `gained` was realised by it, `balance` is left after it."""
        fee = Decimal(row["execFee"])
        self._transact(
            position,
            row,
            side=SIDES[order.side],
            type=_TYPES[order.exec_type],
            qty=row["execQty"],
            orderId=order.order_id,
            orderLinkId=order.link_id,
            funding="",
            fee=money(fee),
            cashFlow=money(gained),
            change=money(gained - fee),
            cashBalance=money(balance),
            feeRate=row["feeRate"],
        )

    def funded(self, position: Position, row: dict[str, Any], paid: Decimal, rate: Decimal, balance: Decimal) -> None:
        """Keep the transaction of a funding payment; what is received is positive there, and the rate has the side."""
        self._transact(
            position,
            row,
            side=SIDES[0 if position.steps > 0 else 1],
            type="SETTLEMENT",
            qty=row["execQty"],
            orderId=f"{int(row['execTime']) // 1000}-8-{USER_ID}-{position.idx}-0",
            orderLinkId="",
            funding=money(-paid),
            fee="0",
            cashFlow="0",
            change=money(-paid),
            cashBalance=money(balance),
            feeRate=money(rate * position.sign),
        )

    def _transact(self, position: Position, row: dict[str, Any], **fields: str) -> None:
        number, numbers = self._next(), position.listing.numbers
        size = numbers.size(abs(position.steps))
        shared = {
            "id": f"{USER_ID}_{row['symbol']}_{number}",
            "symbol": row["symbol"],
            "category": "linear",
            "transactionTime": row["execTime"],
            "transSubType": "",
            "size": f"-{size}" if position.steps < 0 else size,
            "currency": "USDT",
            "tradePrice": row["execPrice"],
            "bonusChange": "",
            "tradeId": row["execId"],
            "extraFees": "",
        }
        self.transactions.append((number, shared | fields))
