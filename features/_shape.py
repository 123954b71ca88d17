"""Looks at the book as it stands: one walk down each side, and samples of what was seen."""

from __future__ import annotations

import numpy as np

from features import _levels, _metrics
from features._layout import (
    BEST,
    BLOCK,
    DEPTH_DISTANCE,
    DIRTY,
    DISTANCE_5,
    DISTANCE_10,
    DISTANCE_ALL,
    DOUBLE_MID,
    FIRST,
    FRESH,
    HAD_TOP,
    LAST,
    LEVEL_FLOW,
    LOOKED,
    LOOKS,
    NO_WRAP,
    NOWHERE,
    SAMPLE_LOOK,
    SAMPLE_WEIGHT,
    SAMPLED,
    SIDE,
    SIZE_1,
    SIZE_5,
    SIZE_10,
    SIZE_50,
    SIZE_ALL,
    SQUARED,
    TOP,
    TOP_KEYS,
    TOP_SIZES,
    USED,
    WITHIN_5,
    WITHIN_10,
    WITHIN_25,
    WITHIN_50,
    helper,
    inlined,
)


@inlined
def _note(reach, side, used, origin, looks, at):  # type: ignore[no-untyped-def]
    """Note what is seen on one side in the column of looks that begins at `at`."""
    size_distance, depth_distance, squared, within_5, within_10, within_25, within_50 = _levels.sums(
        reach, side, used, origin
    )
    row = _levels.ROWS * side
    keys, totals, distances = reach[row + _levels.KEYS], reach[row + _levels.TOTALS], reach[row + _levels.DISTANCES]
    looks[SIZE_1 + at], looks[SIZE_5 + at], looks[SIZE_10 + at] = totals[0], totals[4], totals[9]
    looks[SIZE_50 + at], looks[SIZE_ALL + at] = totals[min(used, 50) - 1], totals[used - 1]
    looks[DISTANCE_5 + at], looks[DISTANCE_10 + at] = distances[4], distances[9]
    looks[DISTANCE_ALL + at], looks[DEPTH_DISTANCE + at], looks[SQUARED + at] = size_distance, depth_distance, squared
    looks[WITHIN_5 + at], looks[WITHIN_10 + at] = within_5, within_10
    looks[WITHIN_25 + at], looks[WITHIN_50 + at] = within_25, within_50
    looks[LAST + at], looks[USED + at] = 2 * keys[used - 1] + origin, used


@inlined
def _level_flow(ints, reach):  # type: ignore[no-untyped-def]
    """Order flow of each of the best levels since the book that was looked at before, which this one replaces.

    Where a side has no such level its size is 0.
    """
    bid_keys, bid_sizes = reach[_levels.KEYS], reach[_levels.SIZES]
    ask_keys, ask_sizes = reach[_levels.ROWS + _levels.KEYS], reach[_levels.ROWS + _levels.SIZES]
    counts = ints[HAD_TOP]
    for m in range(TOP):
        key, before = bid_keys[m], ints[TOP_KEYS + m]
        size, held = bid_sizes[m], ints[TOP_SIZES + m]
        bids = (size if key <= before else 0) - (held if key >= before else 0)
        ints[TOP_KEYS + m], ints[TOP_SIZES + m] = key, size
        key, before = ask_keys[m], ints[TOP_KEYS + TOP + m]
        size, held = ask_sizes[m], ints[TOP_SIZES + TOP + m]
        flow = bids - (size if key <= before else 0) + (held if key >= before else 0)
        ints[TOP_KEYS + TOP + m], ints[TOP_SIZES + TOP + m] = key, size
        ints[LEVEL_FLOW + m] += flow if counts == 1 else 0
    ints[HAD_TOP] = 1


@helper
def look(ints, floats, book, far, looks, reach, metrics, levels):  # type: ignore[no-untyped-def]
    """Look at the book as it stands."""
    ints[DIRTY] = 0
    bid, ask = -book[BEST], book[BLOCK + BEST]
    if bid == -NOWHERE or ask == NOWHERE:
        ints[FRESH] = ints[HAD_TOP] = 0
        return
    ints[FRESH] = 1
    if ints[LOOKED] == LOOKS:
        _metrics.settle(ints, floats, looks, metrics)
    column = ints[LOOKED] & NO_WRAP
    ints[LOOKED] = column + 1
    double_mid = bid + ask
    looks[DOUBLE_MID + column], looks[FIRST + column] = double_mid, ask - bid
    # Not literals, for which Numba would compile the walk twice.
    bids, asks = np.int64(0), np.int64(1)
    used_b = _levels.gather(book, far, bids, levels, double_mid, reach)
    used_a = _levels.gather(book, far, asks, levels, -double_mid, reach)
    _note(reach, bids, used_b, double_mid, looks, column)
    _note(reach, asks, used_a, -double_mid, looks, SIDE + column)
    _level_flow(ints, reach)


@inlined
def sample(ints, floats, looks, metrics, weight):  # type: ignore[no-untyped-def]
    """What was seen last counts for as many samples, if it was a book with two sides."""
    if ints[FRESH] == 1:
        if ints[SAMPLED] == LOOKS:
            _metrics.settle(ints, floats, looks, metrics)
        count = ints[SAMPLED] & NO_WRAP
        ints[SAMPLED] = count + 1
        looks[SAMPLE_LOOK + count], looks[SAMPLE_WEIGHT + count] = ints[LOOKED], weight
