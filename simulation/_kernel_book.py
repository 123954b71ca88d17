"""The compiled order book of the fill model: two sorted arrays in the middle of wider ones.

Both sides of the book share code through *keys*: a bid's key is its price, an ask's is minus its price. So the better
price has the larger key on either side, and `key * (1 - 2 * side)` gives the price back. A plan of side 0 buys and
rests among the bids, one of side 1 sells and rests among the asks; each is closed against the side that it rested on.
A feed of limited depth changes either end of a side, so both ends can grow; `simulation.fills.reserve` makes the room.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from simulation import _layout as lay


@njit(cache=True, inline="always", _nrt=False)
def find(keys, sides, side, key):  # type: ignore[no-untyped-def]
    """Place of the first level whose key is at least `key`."""
    low, high = sides[side, lay.BEGIN], sides[side, lay.END]
    if high - low > 8 and keys[side, high - 8] < key:  # most changes are near the best price
        low = high - 7
    while low < high:
        middle = (low + high) >> 1
        if keys[side, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, _nrt=False)
def _raise(levels, side, low, high):  # type: ignore[no-untyped-def]
    """Move the places from `low` on up by one, into `high`. Unsigned counters let the compiler make it one memmove."""
    row, i, one = np.uint64(side), np.uint64(high), np.uint64(1)
    while i > np.uint64(low):
        levels[row, i] = levels[row, i - one]
        i -= one


@njit(cache=True, _nrt=False)
def _lower(levels, side, low, high):  # type: ignore[no-untyped-def]
    """Move the places up to `high` down by one, into `low`."""
    row, i, one = np.uint64(side), np.uint64(low), np.uint64(1)
    while i < np.uint64(high):
        levels[row, i] = levels[row, i + one]
        i += one


@njit(cache=True, inline="always", _nrt=False)
def set_level(keys, sizes, sides, side, key, size):  # type: ignore[no-untyped-def]
    """Set one level of a side.

    Keys ascend from `BEGIN` to `END`. A deleted level between them stays as one of size 0, for prices come back; the
    first and the last level have a size. A new level makes its room at the nearer end.
    """
    place = find(keys, sides, side, key)
    begin, end = sides[side, lay.BEGIN], sides[side, lay.END]
    if place < end and keys[side, place] == key:
        sizes[side, place] = size
        while end > begin and sizes[side, end - 1] == 0:
            end -= 1
        while begin < end and sizes[side, begin] == 0:
            begin += 1
    elif size > 0:
        if place - begin < end - place:
            begin -= 1
            place -= 1
            _lower(keys, side, begin, place)
            _lower(sizes, side, begin, place)
        else:
            _raise(keys, side, place, end)
            _raise(sizes, side, place, end)
            end += 1
        keys[side, place], sizes[side, place] = key, size
    sides[side, lay.BEGIN], sides[side, lay.END] = begin, end


@njit(cache=True, _nrt=False)
def displayed(world, side, key):  # type: ignore[no-untyped-def]
    """Displayed size at a level; `HIDDEN` where the level lies deeper than the book shows."""
    keys, sides = world.keys, world.sides
    begin, end = sides[side, lay.BEGIN], sides[side, lay.END]
    if begin == end or key < keys[side, begin]:
        return lay.HIDDEN
    place = find(keys, sides, side, key)
    return world.sizes[side, place] if place < end and keys[side, place] == key else 0


@njit(cache=True, inline="always", _nrt=False)
def crossed(keys, sides, side, key):  # type: ignore[no-untyped-def]
    """Whether the best opposite price reaches or crosses `key` of `side`."""
    end = sides[1 - side, lay.END]
    return end > sides[1 - side, lay.BEGIN] and -keys[1 - side, end - 1] <= key
