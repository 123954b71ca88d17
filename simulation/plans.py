"""Order plans and what became of them, as the fill model takes and gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from simulation import _layout as lay

_LEFT_OUT: NDArray[np.int8] = np.empty(0, np.int8)
_FLAGS = ("side", "taking", "target_maker")


class PlanStatus(IntEnum):
    """How a plan ended."""

    UNFILLED = lay.UNFILLED
    CLOSED = lay.CLOSED
    UNKNOWN = lay.UNKNOWN
    REJECTED = lay.REJECTED


class ExitReason(IntEnum):
    """Why a position was closed."""

    NONE = lay.NONE
    STOP = lay.STOP
    TARGET = lay.TARGET
    TIME = lay.TIME
    FLATTEN = lay.FLATTEN


@dataclass(frozen=True, slots=True)
class FillModel:
    """What trading costs, and how late orders arrive.

    Attributes
    ----------
    latency_ms
        From a decision or trigger to its effect at the exchange, ms of exchange time; at least 0.
    maker_fee, taker_fee
        Fractions of traded value; a negative maker fee is a rebate.
    """

    latency_ms: int
    maker_fee: float
    taker_fee: float

    def __post_init__(self) -> None:
        if self.latency_ms < 0 or not all(
            math.isfinite(fee) and abs(fee) < 1 for fee in (self.maker_fee, self.taker_fee)
        ):
            raise ValueError(f"impossible fill model: {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """Order plans, as a structure of arrays; any sequences of integers are accepted.

    Attributes
    ----------
    decide_ms : int64[n]
        When the plan is decided, usually the close of a bar, ms UTC.
    side : int8[n]
        +1 buys first, -1 sells first.
    limit, stop, target : int64[n]
        Ticks; the stop lies on the losing side of the limit, the target on the winning side.
    size : int64[n]
        Quantity steps.
    tif_ms : int64[n]
        The entry is cancelled this long after the decision.
    hold_ms : int64[n]
        The position is closed this long after its first fill.
    taking : int8[n]
        1 where the entry takes up to its limit on arrival, 0 where it rests; all 0 where left out.
    target_maker : int8[n]
        1 where the target rests in the book, 0 where it is a market order on trigger; all 0 where left out.

    Raises
    ------
    ValueError
        Lengths differ, or a plan is impossible; the message names its row.
    """

    decide_ms: NDArray[np.int64]
    side: NDArray[np.int8]
    limit: NDArray[np.int64]
    stop: NDArray[np.int64]
    target: NDArray[np.int64]
    size: NDArray[np.int64]
    tif_ms: NDArray[np.int64]
    hold_ms: NDArray[np.int64]
    taking: NDArray[np.int8] = field(default_factory=lambda: _LEFT_OUT)
    target_maker: NDArray[np.int8] = field(default_factory=lambda: _LEFT_OUT)

    def __post_init__(self) -> None:
        for one in fields(self):
            given = getattr(self, one.name)
            column = np.atleast_1d(np.asarray(np.zeros_like(self.side) if given is _LEFT_OUT else given))
            if column.size and not np.issubdtype(column.dtype, np.integer):
                raise ValueError(f"plans: {one.name} holds {column.dtype}, not integers")
            object.__setattr__(self, one.name, column.astype(np.int8 if one.name in _FLAGS else np.int64))
        if len({getattr(self, field.name).shape for field in fields(self)}) != 1 or self.side.ndim != 1:
            raise ValueError("plans: the columns differ in length")
        possible = (
            (np.abs(self.side) == 1)
            & (self.decide_ms >= 0)
            & (np.minimum(np.minimum(self.limit, self.stop), self.target) > 0)
            & (self.side * (self.limit - self.stop) > 0)
            & (self.side * (self.target - self.limit) > 0)
            & (self.size > 0)
            & (self.tif_ms > 0)
            & (self.hold_ms > 0)
            & ((self.taking | 1) == 1)
            & ((self.target_maker | 1) == 1)
        )
        if not possible.all():
            row = int(np.argmin(possible))
            values = ", ".join(f"{field.name} {getattr(self, field.name)[row]}" for field in fields(self))
            raise ValueError(f"plans: row {row} is impossible ({values})")

    def __len__(self) -> int:
        return len(self.side)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Plans:
        columns: list[Any] = [getattr(self, field.name)[rows] for field in fields(self)]
        return Plans(*columns)

    @classmethod
    def concat(cls, parts: Iterable[Plans]) -> Plans:
        """Join plans end to end: one pass over the events serves them all."""
        held = list(parts)
        none: list[Any] = [np.empty(0, np.int64)]
        columns = [np.concatenate([getattr(part, field.name) for part in held] or none) for field in fields(cls)]
        return cls(*columns)


@dataclass(frozen=True, slots=True, eq=False)
class PlanOutcomes:
    """What became of plans, in the plans' order. Values are sums of ticks * steps.

    Attributes
    ----------
    status : int8[n]
        :class:`PlanStatus`.
    exit_reason : int8[n]
        :class:`ExitReason`.
    entry_ms, exit_ms : int64[n]
        First fill of the entry and last fill of the exit; -1 where there is none.
    end_ms : int64[n]
        When the outcome is fully known: the end of the label. -1 for unknown ones.
    filled : int64[n]
        Steps; -1 unknown.
    entry_value, exit_value : int64[n]
        -1 unknown.
    fees, funding : float64[n]
        Paid (negative: received); NaN unknown.
    net_return : float64[n]
        Profit after fees and funding, as a fraction of the entry value; 0.0 for unfilled and rejected plans, NaN for
        unknown ones.
    """

    status: NDArray[np.int8]
    exit_reason: NDArray[np.int8]
    entry_ms: NDArray[np.int64]
    exit_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    filled: NDArray[np.int64]
    entry_value: NDArray[np.int64]
    exit_value: NDArray[np.int64]
    fees: NDArray[np.float64]
    funding: NDArray[np.float64]
    net_return: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __setitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64], other: PlanOutcomes) -> None:
        for one in fields(self):
            getattr(self, one.name)[rows] = getattr(other, one.name)

    @classmethod
    def unsent(cls, decide_ms: NDArray[np.int64]) -> Self:
        """Of plans that were never sent: unfilled, and over when they were decided."""
        count = len(decide_ms)
        return cls(
            status=np.full(count, PlanStatus.UNFILLED, np.int8),
            exit_reason=np.zeros(count, np.int8),
            entry_ms=np.full(count, -1, np.int64),
            exit_ms=np.full(count, -1, np.int64),
            end_ms=decide_ms.astype(np.int64),
            filled=np.zeros(count, np.int64),
            entry_value=np.zeros(count, np.int64),
            exit_value=np.zeros(count, np.int64),
            fees=np.zeros(count),
            funding=np.zeros(count),
            net_return=np.zeros(count),
        )

    @property
    def entry_price(self) -> NDArray[np.float64]:
        """Average price of the entry, ticks; NaN without a fill, and where unknown."""
        return self._average(self.entry_value)

    @property
    def exit_price(self) -> NDArray[np.float64]:
        """Average price of the exit, ticks; NaN without one, and where unknown."""
        return self._average(self.exit_value)

    def _average(self, value: NDArray[np.int64]) -> NDArray[np.float64]:
        unknown = np.full(len(self), np.nan)
        price: NDArray[np.float64] = np.divide(value, self.filled, out=unknown, where=self.status == PlanStatus.CLOSED)
        return price
