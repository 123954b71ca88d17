"""Closed bars: what the engine gives and every other room reads; and how they are cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from market.errors import DataError

#: Measures by which bars are cut, in the order of the engine's numbers for them.
KINDS = ("time", "volume", "dollar", "imbalance")


@dataclass(frozen=True, slots=True)
class BarRule:
    """How bars are cut: by time, or by activity (López de Prado 2018, chapter 2, with fixed thresholds).

    Attributes
    ----------
    kind
        ``time``; or ``volume`` (traded size), ``dollar`` (price times size) or ``imbalance`` (|bought - sold|): such a
        bar is full with the trade that makes its measure reach the threshold, ends with that trade's millisecond, and
        closes with the first event after it.
    threshold
        Quantity steps; ticks times steps for ``dollar``; 0 for ``time``.

    Raises
    ------
    DataError
        The kind is not one of these, or the threshold is impossible.
    """

    kind: str = "time"
    threshold: int = 0

    @classmethod
    def parse(cls, text: str) -> BarRule:
        """The rule that a setting names: ``volume:100``, ``dollar:5000000`` or ``imbalance:40``.

        Raises
        ------
        DataError
            It is not a kind and a whole number, or the threshold is impossible.
        """
        kind, _, threshold = text.partition(":")
        if kind not in KINDS[1:] or not threshold.isascii() or not threshold.isdigit():
            raise DataError(f"{text!r} cuts no bars", advice="Write a kind and a whole number, for example volume:100")
        return cls(kind, int(threshold))

    def __str__(self) -> str:
        return self.kind if self.kind == "time" else f"{self.kind}:{self.threshold}"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"no bars are cut by {self.kind!r}", advice=f"Take one of {', '.join(KINDS)}")
        if (self.kind == "time") != (self.threshold == 0) or self.threshold < 0:
            raise DataError(
                f"a threshold of {self.threshold} for bars by {self.kind}",
                advice="Bars by activity need a threshold of 1 or more, bars by time none",
            )


#: Bars by time.
BY_TIME = BarRule()


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """A run of closed bars of one symbol and timeframe, oldest first, as a structure of arrays.

    Each bar opens where the one before closed. Of bars by time every multiple of the timeframe between the first and
    the last has its row, holes included: a row count is a time. What is not known is -1 (integers) or NaN (floats).

    Attributes
    ----------
    open_ms, close_ms : int64[n]
        The bar is [open_ms, close_ms), exchange time, UTC.
    open, high, low, close : int64[n]
        Of trades, ticks. A bar without trades repeats the last traded price; -1 before any trade.
    volume : int64[n]
        Traded, quantity steps.
    trades : int64[n]
        Number of trades.
    bid, ask : int64[n]
        Best prices at the close, ticks; -1 where the book is unknown, too old or empty on that side.
    atr : float64[n]
        ATR(14) at the close, ticks; NaN until warm.
    valid : bool[n]
        The bar is complete and no suspect window that was known at its close touches it. Only such bars are for
        training and trading.
    values : float64[n, F]
        Features, in the order of :func:`features.feature_names`; NaN where unknown, and in all of an invalid bar.
    """

    open_ms: NDArray[np.int64]
    close_ms: NDArray[np.int64]
    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    volume: NDArray[np.int64]
    trades: NDArray[np.int64]
    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    atr: NDArray[np.float64]
    valid: NDArray[np.bool_]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.open_ms)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer]) -> Bars:
        return Bars(**{name: getattr(self, name)[rows] for name in COLUMNS})

    @classmethod
    def empty(cls, features: int) -> Bars:
        """No bars, of `features` features."""
        return cls(
            **{name: np.empty(0, dtype) for name, dtype in COLUMNS.items() if name != "values"},
            values=np.empty((0, features)),
        )

    @classmethod
    def concat(cls, parts: Iterable[Bars]) -> Bars:
        """Join runs end to end.

        Raises
        ------
        ValueError
            There are no parts, so the number of features is unknown; or the parts' numbers of features differ.
        """
        runs = list(parts)
        if not runs:
            raise ValueError("nothing to join: use Bars.empty")
        filled = [run for run in runs if len(run)] or runs[:1]
        if len(filled) == 1:
            return filled[0]
        return cls(**{name: np.concatenate([getattr(run, name) for run in filled]) for name in COLUMNS})

    def equals(self, other: Bars) -> bool:
        """Whether every column is equal to the bit; NaN equals NaN."""
        return all(
            (mine := getattr(self, name)).shape == (theirs := getattr(other, name)).shape
            and mine.tobytes() == theirs.tobytes()
            for name in COLUMNS
        )


#: Columns of :class:`Bars` and their types.
COLUMNS: dict[str, np.dtype[np.generic]] = {
    **{
        name: np.dtype(np.int64)
        for name in ("open_ms", "close_ms", "open", "high", "low", "close", "volume", "trades", "bid", "ask")
    },
    "atr": np.dtype(np.float64),
    "valid": np.dtype(np.bool_),
    "values": np.dtype(np.float64),
}

assert tuple(field.name for field in fields(Bars)) == tuple(COLUMNS)
