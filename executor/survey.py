"""What is read from the venue in one go: position, all open orders, executions since the last look; and money.

These run in a lane, away from the loop, and never raise for what the venue does: a part that could not be read, or
made no sense, is ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from executor.events import OrderStatus, PositionOrigin
from executor.venue import VenueClient
from executor.wire import Execution, OrderRow, PositionRow, Reader, equity_of
from market.errors import VenueUnavailable

#: Types of the transaction log that move money in or out.
_TRANSFERS = frozenset({"TRANSFER_IN", "TRANSFER_OUT", "DEPOSIT", "WITHDRAW", "AIRDROP", "BONUS", "BONUS_RECOLLECT"})
#: Bybit answers at most seven days of executions and of the log at a time, and one day of the log without an end.
_WINDOW_MS = 7 * 86_400_000
_ATTEMPTS = 3
#: Windows of executions that are searched for the beginning of a position.
_LOOK_BACK = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """What the venue says; ``None`` for what could not be read, with the first reason in `failure`."""

    positions: tuple[PositionRow, ...] | None
    orders: tuple[OrderRow, ...] | None
    executions: tuple[Execution, ...] | None
    failure: str


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """What became of an order; `status` is ``None`` when the question was not answered."""

    status: OrderStatus | None
    filled: int
    reason: str
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class Money:
    """A reading of the account.

    Attributes
    ----------
    transfers
        Of the log, by id: time and amount.
    as_of_ms
        The venue's time of the answer.
    balance
        Wallet balance of the answer, and `logged` the one after the last entry of the log; ``None`` where it has none.
    """

    equity: Decimal
    as_of_ms: int
    transfers: Mapping[str, tuple[int, Decimal]]
    balance: Decimal
    logged: Decimal | None


class Surveyor:
    """Reads one contract of the account.

    Parameters
    ----------
    venue
        Where to ask.
    reader
        Understands the rows.
    symbol
        Contract.
    """

    def __init__(self, venue: VenueClient, reader: Reader, symbol: str) -> None:
        self._venue, self._reader, self._symbol = venue, reader, symbol

    def survey(self, since_ms: int, now_ms: int) -> Survey:
        """Read everything; the executions last, so that none that the position shows is missing."""
        failures: list[str] = []
        positions = orders = executions = None
        try:
            positions = self._positions()
        except (VenueUnavailable, ValueError) as error:
            failures.append(_text(error))
        try:
            orders = self._orders()
        except (VenueUnavailable, ValueError) as error:
            failures.append(_text(error))
        try:
            executions = self._executions(since_ms, now_ms)
        except (VenueUnavailable, ValueError) as error:
            failures.append(_text(error))
        return Survey(positions, orders, executions, failures[0] if failures else "")

    def order(self, link_id: str) -> OrderAnswer:
        """What became of an order: first among the open and the recent ones, then in the history."""
        try:
            rows = self._find(link_id)
            executions = tuple(self._executed(orderLinkId=link_id)) if rows else ()
        except (VenueUnavailable, ValueError):
            return OrderAnswer(None, -1, "", ())
        if not rows:
            return OrderAnswer("absent", 0, "", executions)
        return OrderAnswer(rows[0].status, rows[0].filled, rows[0].reason, executions)

    def money(self, since_ms: int, now_ms: int) -> Money | None:
        """The account between two looks at the log that agree; ``None`` if it cannot be read so."""
        try:
            for _ in range(_ATTEMPTS):
                before = self._log(since_ms, now_ms)
                answer = self._venue.read("get_wallet_balance", accountType="UNIFIED", coin="USDT")
                equity, balance = equity_of(answer.result)
                transfers, logged = self._log(since_ms, now_ms)
                if transfers == before[0]:
                    return Money(equity, answer.time_ms, transfers, balance, logged)
        except (VenueUnavailable, ValueError):
            return None
        return None

    def origin(self, now_ms: int) -> tuple[int, PositionOrigin]:
        """Position index, and which executions made the position, back to when the contract was flat.

        Of a hedged pair, the position that our entries made is meant; one that stays unexplained within
        :data:`_LOOK_BACK` windows is not ours.
        """
        try:
            held = [row for row in self._positions() if row.steps]
            history: list[Execution] = []
            for back in range(_LOOK_BACK):
                end = now_ms + _WINDOW_MS // 7 - back * _WINDOW_MS
                found = self._executed(startTime=max(end - _WINDOW_MS, 0), endTime=end)
                history = [one for one in found if one.kind == "trade"] + history
                origins = [_traced(row, history, self._reader, now_ms) for row in held]
                if all(origins) or end <= _WINDOW_MS:
                    break
        except (VenueUnavailable, ValueError):
            return 0, PositionOrigin(now_ms, None)
        ours = [(row.index, origin) for row, origin in zip(held, origins) if origin is not None and origin.link_id]
        return ours[0] if ours else (0, PositionOrigin(now_ms, sum(row.steps for row in held)))

    # --- parts -------------------------------------------------------------------------------------------------------

    def _positions(self) -> tuple[PositionRow, ...]:
        rows = self._venue.pages("get_positions", category="linear", symbol=self._symbol)
        if not rows:
            raise ValueError("an answer without a position")
        return tuple(self._reader.position(row) for row in rows)

    def _orders(self) -> tuple[OrderRow, ...]:
        rows = self._venue.pages("get_open_orders", category="linear", symbol=self._symbol, openOnly=0, limit=50)
        return tuple(self._reader.order(row) for row in rows)

    def _find(self, link_id: str) -> list[OrderRow]:
        for method in ("get_open_orders", "get_order_history"):
            rows = self._venue.pages(method, category="linear", symbol=self._symbol, orderLinkId=link_id)
            found = [self._reader.order(row) for row in rows if row.get("orderLinkId") == link_id]
            if found:
                return found
        return []

    def _executions(self, since_ms: int, now_ms: int) -> tuple[Execution, ...]:
        found: list[Execution] = []
        start = max(since_ms, 0)
        while True:
            found += self._executed(startTime=start, endTime=start + _WINDOW_MS)
            start += _WINDOW_MS
            if start > now_ms:
                return tuple(sorted(found, key=lambda execution: execution.time_ms))

    def _executed(self, **params: Any) -> list[Execution]:
        """Executions, oldest first."""
        rows = self._venue.pages("get_executions", category="linear", symbol=self._symbol, limit=100, **params)
        found = [self._reader.execution(row) for row in rows if self._reader.mine(row)]
        found.reverse()  # Bybit's newest first: executions of one millisecond keep their order
        return sorted(found, key=lambda execution: execution.time_ms)

    def _log(self, since_ms: int, now_ms: int) -> tuple[dict[str, tuple[int, Decimal]], Decimal | None]:
        transfers: dict[str, tuple[int, Decimal]] = {}
        newest: tuple[int, Decimal] | None = None
        start = max(since_ms, 0)
        while True:
            window = {"startTime": start, "endTime": start + _WINDOW_MS}
            rows = self._venue.pages("get_transaction_log", accountType="UNIFIED", currency="USDT", limit=50, **window)
            for row in rows:
                time_ms, change, balance = _entry(row)
                if row.get("type") in _TRANSFERS:
                    transfers[str(row.get("id") or f"{time_ms}:{change}:{balance}")] = (time_ms, change)
                if newest is None or time_ms > newest[0]:
                    newest = time_ms, balance
            start += _WINDOW_MS
            if start > now_ms:
                return transfers, newest[1] if newest else None


def _entry(row: Mapping[str, Any]) -> tuple[int, Decimal, Decimal]:
    try:
        time_ms, change, balance = int(row["transactionTime"]), Decimal(row["change"]), Decimal(row["cashBalance"])
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"an entry of the transaction log that cannot be read ({error})") from error
    if not (change.is_finite() and balance.is_finite()):
        raise ValueError("an entry of the transaction log without an amount")
    return time_ms, change, balance


def _traced(row: PositionRow, history: Sequence[Execution], reader: Reader, now_ms: int) -> PositionOrigin | None:
    """Walk back through executions, oldest first, to where the position began; ``None`` if it is not among them."""
    side = 1 if row.steps > 0 else -1
    left, made = row.steps, list[Execution]()
    for one in reversed(history):
        if row.index and (one.closed > 0) != (one.side != side):
            continue  # of the other position of a hedged pair
        left -= one.side * one.size
        made.append(one)
        if left * side <= 0:
            break
    else:
        return None
    entries = [one for one in made if one.side == side]
    ours = left == 0 and all(reader.ours(one.link_id) and one.role == "entry" for one in entries)
    if not ours:
        return PositionOrigin(now_ms, row.steps)
    total = sum(one.size for one in entries)
    return PositionOrigin(
        now_ms=now_ms,
        position=row.steps,
        link_id=entries[0].link_id,
        entry_value=sum(one.price * one.size for one in entries) * abs(row.steps) // total,
        fees=sum((one.fee for one in entries), Decimal(0)) * abs(row.steps) / total,
        first_fill_ms=entries[-1].time_ms,
        stop=max(row.stop, 0),
        target=max(row.target, 0),
        executions=tuple(one.id for one in reversed(made)),
    )


def _text(error: Exception) -> str:
    return error.message if isinstance(error, VenueUnavailable) else str(error)
