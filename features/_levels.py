"""The levels of a side that are in reach, gathered once, best first, and sums over them.

`reach` is working space: for each side a row of keys, one of sizes, and sums of size and of size * distance down to
each level (the latter for the TOP best), in :func:`columns` columns. No loop over its rows branches on what cannot be
foreseen.
"""

from __future__ import annotations

from numba.core import types
from numba.core.typing import signature
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

from features._layout import (
    BEST,
    BITS,
    BLOCK,
    FAR,
    FAR_MS,
    NO_WRAP,
    SUMMARY,
    TOP,
    TOPS,
    WINDOW,
    WORDS,
    inlined,
)

#: Rows of a side in `reach`.
KEYS, SIZES, TOTALS, DISTANCES = 0, 1, 2, 3
ROWS = 4
#: Keys are written so many at a time, whether there are or not.
_STRIDE = 4


def columns(levels: int) -> int:
    """Columns of `reach`: the word taken last may go beyond what is wanted."""
    return max(levels, TOP) + 64 + _STRIDE


@intrinsic
def _bits_set(typing_context, word):  # type: ignore[no-untyped-def]
    """How many bits of a word are set."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return signature(types.int64, types.int64), generate


@inlined
def _note(keys, count, base, left):  # type: ignore[no-untyped-def]
    """Append the keys of a word's bits; returns how many keys there are.

    How many bits a word has cannot be foreseen: some are written anyway, and those that are too many are overwritten.
    """
    count &= NO_WRAP
    stop = count + _bits_set(left)
    while True:
        for step in range(_STRIDE):
            keys[count + step] = base + trailing_zeros(left)
            left &= left - 1
        count += _STRIDE
        if count >= stop:
            return stop


@inlined
def _gather_keys(book, block, levels, keys):  # type: ignore[no-untyped-def]
    """Keys of the ladder's best levels, and a few more than are wanted; returns how many."""
    best = book[block + BEST]
    first = (best >> 6) & (WORDS - 1)
    start = best & ~63
    count = _note(keys, 0, start, book[block + BITS + first])
    # The words after the first one, by the bits of the summary, round the ring.
    at = first >> 6
    words = book[block + TOPS + at] & (-2 << (first & 63))
    for turn in range(SUMMARY + 1):
        while words != 0 and count < levels:
            word = (at << 6) + trailing_zeros(words)
            words &= words - 1
            count = _note(keys, count, start + (((word - first) & (WORDS - 1)) << 6), book[block + BITS + word])
        at = (at + 1) & (SUMMARY - 1)
        words = book[block + TOPS + at]
        if turn == SUMMARY - 1:
            words &= (1 << (first & 63)) - 1
    return count


@inlined
def gather(book, far, side, levels, origin, reach):  # type: ignore[no-untyped-def]
    """Fill a side's rows; returns the number of levels, at least 1.

    Below the TOP best levels, where there are none, stand levels without size, infinitely far away.
    """
    block, row = side * BLOCK, ROWS * side
    keys, sizes, totals, distances = reach[row + KEYS], reach[row + SIZES], reach[row + TOTALS], reach[row + DISTANCES]
    near = min(_gather_keys(book, block, levels, keys), levels)
    count = min(near + book[block + FAR], levels)
    total = size_distance = 0
    for i in range(near):
        size = book[block + (keys[i] & (WINDOW - 1))]
        total += size
        sizes[i], totals[i] = size, total
    for i in range(near, count):
        waiting = book[block + FAR] - 1 - (i - near)
        size = far[1, side, waiting]
        total += size
        keys[i], sizes[i], totals[i] = far[0, side, waiting], size, total
    for i in range(count, TOP):
        keys[i], sizes[i], totals[i] = FAR_MS, 0, total
    for i in range(TOP):
        size_distance += sizes[i] * (2 * keys[i] + origin)
        distances[i] = size_distance
    return count


@inlined
def sums(reach, side, count, origin):  # type: ignore[no-untyped-def]
    """Sums over a side's rows, in a loop that only reads and so takes several levels at once.

    Distances are from the mid, in half ticks. Best called when the rows were not written just now: a processor cannot
    read several numbers at once that it is still about to write one by one.

    Returns
    -------
    size_distance, depth_distance, squared
        Sums of size * distance, of cumulative size * distance and of squared distance.
    within_5, within_10, within_25, within_50
        Size within that many bps of the mid.
    """
    keys, sizes, totals = reach[ROWS * side + KEYS], reach[ROWS * side + SIZES], reach[ROWS * side + TOTALS]
    bp = abs(origin)  # of the mid, in 1/10,000 half ticks
    limit_5, limit_10, limit_25, limit_50 = 5 * bp // 10_000, 10 * bp // 10_000, 25 * bp // 10_000, 50 * bp // 10_000
    size_distance = depth_distance = squared = within_5 = within_10 = within_25 = within_50 = 0
    for i in range(count):
        distance, size = 2 * keys[i] + origin, sizes[i]
        size_distance += size * distance
        depth_distance += totals[i] * distance
        squared += distance * distance
        within_5 += size if distance <= limit_5 else 0
        within_10 += size if distance <= limit_10 else 0
        within_25 += size if distance <= limit_25 else 0
        within_50 += size if distance <= limit_50 else 0
    return size_distance, depth_distance, squared, within_5, within_10, within_25, within_50
