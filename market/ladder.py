"""The order book rebuilt from its rows: at the end of what was recorded, at checkpoints, and at any instant.

Two sorted arrays a side and one small compiled kernel. What the book *means* is for ``features``; here it is only
compared, kept and shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from market._parts import CHECKPOINT_DTYPES
from market.events import ASK, BID, EMPTY, FIRST, SNAPSHOT

_ROOM = 2_048


@dataclass(frozen=True, slots=True)
class Ladder:
    """Both sides of a book, best level first.

    Attributes
    ----------
    bids, asks : int64[n, 2]
        Price in ticks and size in quantity steps.
    """

    bids: NDArray[np.int64]
    asks: NDArray[np.int64]

    def digest(self, levels: int | None = None) -> str:
        """SHA-256 over the best `levels` of each side, or over all."""
        hasher = hashlib.sha256()
        for side in (self.bids[:levels], self.asks[:levels]):
            hasher.update(np.ascontiguousarray(side, np.int64).tobytes() + b"|")
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole book just before the rows of `ordinal`; `time_ms` and `u` are of its last message."""

    ordinal: int
    time_ms: int
    u: int
    ladder: Ladder


class LiveBook:
    """A book that follows its rows.

    Attributes
    ----------
    known
        Whether a snapshot and everything after it have been applied.
    """

    def __init__(self) -> None:
        self.known = False
        self._prices = np.empty((2, _ROOM), np.int64)
        self._sizes = np.empty((2, _ROOM), np.int64)
        self._counts = np.zeros(2, np.int64)

    def lose(self) -> None:
        """Forget the book until the next snapshot: updates were lost."""
        self.known = False

    def apply(
        self, flags: NDArray[np.uint8], side: NDArray[np.int8], price: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Apply book rows in order; deltas of an unknown book are ignored."""
        row, known = 0, self.known
        while row < len(flags):
            row, known = _apply(flags, side, price, size, row, known, self._prices, self._sizes, self._counts)
            if row < len(flags):
                self._grow()
        self.known = bool(known)

    def _grow(self) -> None:
        for name in ("_prices", "_sizes"):
            old: NDArray[np.int64] = getattr(self, name)
            larger = np.empty((2, 2 * old.shape[1]), np.int64)
            larger[:, : old.shape[1]] = old
            setattr(self, name, larger)

    def load(self, ladder: Ladder) -> None:
        """Take over a whole book."""
        while max(len(ladder.bids), len(ladder.asks)) > self._prices.shape[1]:
            self._grow()
        for side, levels in ((BID, ladder.bids), (ASK, ladder.asks)):
            n = len(levels)
            self._prices[side, :n], self._sizes[side, :n] = levels[:, 0], levels[:, 1]
            self._counts[side] = n
        self.known = True

    def ladder(self) -> Ladder:
        """A copy of both sides."""
        sides = [
            np.stack([self._prices[side, : self._counts[side]], self._sizes[side, : self._counts[side]]], axis=1)
            for side in (BID, ASK)
        ]
        return Ladder(*sides)


@njit(cache=True)
def _apply(flags, side, price, size, row, known, prices, sizes, counts):  # type: ignore[no-untyped-def]
    """Rows until the end or until a side is full; bids lie in falling, asks in rising order."""
    while row < len(flags):
        flag = flags[row]
        if flag & SNAPSHOT and flag & FIRST:
            counts[:] = 0
            known = True
        if not known or flag & EMPTY:
            row += 1
            continue
        s, ticks = side[row], price[row]
        n = counts[s]
        low, high = 0, n
        while low < high:
            middle = (low + high) // 2
            if (prices[s, middle] > ticks) if s == BID else (prices[s, middle] < ticks):
                low = middle + 1
            else:
                high = middle
        found = low < n and prices[s, low] == ticks
        if size[row] > 0:
            if not found:
                if n == prices.shape[1]:
                    return row, known
                for i in range(n, low, -1):
                    prices[s, i], sizes[s, i] = prices[s, i - 1], sizes[s, i - 1]
                counts[s] = n + 1
                prices[s, low] = ticks
            sizes[s, low] = size[row]
        elif found:
            for i in range(low, n - 1):
                prices[s, i], sizes[s, i] = prices[s, i + 1], sizes[s, i + 1]
            counts[s] = n - 1
        row += 1
    return row, known


def checkpoint_table(checkpoint: Checkpoint | None) -> pa.Table:
    """The rows of a checkpoint; none for ``None``."""
    empty = np.empty((0, 2), np.int64)
    ladder = Ladder(empty, empty) if checkpoint is None else checkpoint.ladder
    rows = len(ladder.bids) + len(ladder.asks)
    levels = np.concatenate([ladder.bids, ladder.asks])
    values: dict[str, Any] = {
        "time_ms": np.full(rows, -1 if checkpoint is None else checkpoint.time_ms),
        "ordinal": np.full(rows, -1 if checkpoint is None else checkpoint.ordinal),
        "u": np.full(rows, -1 if checkpoint is None else checkpoint.u),
        "side": np.repeat([BID, ASK], [len(ladder.bids), len(ladder.asks)]),
        "price": levels[:, 0],
        "size": levels[:, 1],
    }
    return pa.table({name: values[name].astype(dtype) for name, dtype in CHECKPOINT_DTYPES.items()})


def checkpoints(table: pa.Table) -> list[Checkpoint]:
    """The checkpoints of a file, in order."""
    columns = {name: table.column(name).to_numpy() for name in CHECKPOINT_DTYPES}
    out: list[Checkpoint] = []
    ordinals = columns["ordinal"]
    starts = np.flatnonzero(np.diff(ordinals, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(ordinals)]):
        levels = np.stack([columns["price"][start:end], columns["size"][start:end]], axis=1)
        bid = columns["side"][start:end] == BID
        time_ms, u = int(columns["time_ms"][start]), int(columns["u"][start])
        out.append(Checkpoint(int(ordinals[start]), time_ms, u, Ladder(levels[bid], levels[~bid])))
    return out
