"""The order book rebuilt from its rows: at the end of what was recorded, at checkpoints, and at any instant.

A few arrays and one small compiled kernel. What the book *means* is for ``features``; here it is only
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

#: Ticks that a book's window covers at first, and at most.
_ROOM, _MOST_ROOM = 1 << 13, 1 << 18


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

    Sizes lie by price, in a window of ticks around the levels that were seen; what lies farther off is kept apart.

    Attributes
    ----------
    known
        Whether a snapshot and everything after it have been applied.
    """

    def __init__(self) -> None:
        self.known = False
        self._base = 0
        self._sizes = np.zeros((2, _ROOM), np.int64)
        self._far: dict[tuple[int, int], int] = {}

    def lose(self) -> None:
        """Forget the book until the next snapshot: updates were lost."""
        self.known = False

    def apply(
        self, flags: NDArray[np.uint8], side: NDArray[np.int8], price: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Apply book rows in order; deltas of an unknown book are ignored."""
        row = 0
        while row < len(flags):
            if flags[row] & SNAPSHOT and flags[row] & FIRST:
                self._clear(int(price[row]))
            row, stopped = _apply(flags, side, price, size, row, self.known, self._base, self._sizes)
            if stopped:
                self._put_beyond(int(side[row]), int(price[row]), int(size[row]))
                row += 1

    def _clear(self, near: int) -> None:
        """A snapshot begins."""
        self._sizes[:] = 0
        self._far.clear()
        self._base = near - self._sizes.shape[1] // 2
        self.known = True

    def _put_beyond(self, side: int, ticks: int, size: int) -> None:
        """Take in a level outside the window, which grows, at least to twice its width, where that costs little."""
        width = self._sizes.shape[1]
        low, high = min(ticks, self._base), max(ticks, self._base + width)
        room = 1 << (high - low + 1).bit_length()
        if room <= _MOST_ROOM:
            sizes, base = np.zeros((2, room), np.int64), (low + high - room) // 2
            sizes[:, self._base - base : self._base - base + width] = self._sizes
            self._sizes, self._base = sizes, base
            for place in [place for place in self._far if 0 <= place[1] - base < room]:
                sizes[place[0], place[1] - base] = self._far.pop(place)
            sizes[side, ticks - base] = size
        elif size:
            self._far[side, ticks] = size
        else:
            self._far.pop((side, ticks), None)

    def load(self, ladder: Ladder) -> None:
        """Take over a whole book."""
        levels = np.concatenate([ladder.bids, ladder.asks])
        side = np.repeat(np.array([BID, ASK], np.int8), [len(ladder.bids), len(ladder.asks)])
        self._clear(int(levels[0, 0]) if len(levels) else 0)
        self.apply(np.zeros(len(levels), np.uint8), side, levels[:, 0].copy(), levels[:, 1].copy())

    def ladder(self) -> Ladder:
        """A copy of both sides."""
        sides = []
        for side in (BID, ASK):
            ticks = np.flatnonzero(self._sizes[side])
            far = [(place[1], size) for place, size in self._far.items() if place[0] == side]
            levels = np.stack([self._base + ticks, self._sizes[side, ticks]], axis=1)
            levels = np.concatenate([levels, np.array(far, np.int64).reshape(-1, 2)])
            order = np.argsort(levels[:, 0])
            sides.append(levels[order[::-1] if side == BID else order])
        return Ladder(*sides)


@njit(cache=True)
def _apply(flags, side, price, size, row, known, base, sizes):  # type: ignore[no-untyped-def]
    """Rows up to the next snapshot or to a level outside the window, which makes the second result true."""
    first, room = row, sizes.shape[1]
    while row < len(flags):
        flag = flags[row]
        if flag & SNAPSHOT and flag & FIRST and row > first:
            break
        if known and not flag & EMPTY:
            place = price[row] - base
            if place < 0 or place >= room:
                return row, True
            sizes[side[row], place] = size[row]
        row += 1
    return row, False


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
