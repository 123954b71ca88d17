"""The order book, compiled: a ladder of prices with an occupancy bitmap.

A side is a ring of :data:`WINDOW` ticks around its best price, indexed by the price itself, so a change costs the same
at every depth, and a walk from the best level down jumps from set bit to set bit. Levels beyond the window wait in a
sorted array (`far_keys`, `far_sizes`), and the window moves when the best price nears its edge. Locked, crossed and
absurd prices are only prices.

Inside, a level's *key* is its price for asks and its negated price for bids: on both sides lower is better.
"""

from __future__ import annotations

import math

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from features._layout import (
    BEST,
    BEST_DEPTH,
    DEPTH_LOG_RATIO,
    DEPTH_SKEW,
    DIRTY,
    ELASTICITY,
    ELASTICITY_SKEW,
    FAR,
    FAR_MS,
    FRESH,
    HAD_TOP,
    IMBALANCE,
    INTEGRITY,
    INTEGRITY_SKEW,
    LEVEL_FLOW,
    LOG_DEPTH,
    LOW,
    MICROPRICE,
    NEAR,
    NEW_TOP,
    PRESSURE,
    SLOPE,
    SLOPE_SKEW,
    SPREAD,
    TOP,
    TOP_DEPTH,
    TOP_KEYS,
    TOP_SIZES,
    WEIGHTED_MID,
    WINDOW,
    WORDS,
    helper,
    inlined,
)


@helper
def clear(ints, bits):  # type: ignore[no-untyped-def]
    """Forget every level."""
    bits[:] = 0
    ints[NEAR : NEAR + 2] = 0
    ints[FAR : FAR + 2] = 0


@inlined
def _next_key(bits, side, key):  # type: ignore[no-untyped-def]
    """The first key of the ladder that is not better than `key`; there must be one."""
    base = key & ~63
    word = (key >> 6) & (WORDS - 1)
    left = bits[side, word] & (-1 << (key & 63))
    while left == 0:
        base += 64
        word = (word + 1) & (WORDS - 1)
        left = bits[side, word]
    return base + trailing_zeros(left)


@inlined
def _put(ints, ladder, bits, side, key, size):  # type: ignore[no-untyped-def]
    """Set or delete a level inside the window; returns by how much its size changed."""
    word, bit = (key >> 6) & (WORDS - 1), 1 << (key & 63)
    held = bits[side, word] & bit
    before = ladder[side, key & (WINDOW - 1)] if held != 0 else 0
    if size > 0:
        ladder[side, key & (WINDOW - 1)] = size
        if held == 0:
            bits[side, word] |= bit
            if ints[NEAR + side] == 0 or key < ints[BEST + side]:
                ints[BEST + side] = key
            ints[NEAR + side] += 1
    elif held != 0:
        bits[side, word] ^= bit
        ints[NEAR + side] -= 1
        if key == ints[BEST + side] and ints[NEAR + side] > 0:
            ints[BEST + side] = _next_key(bits, side, key)
    return size - before


@helper
def _put_far(ints, far_keys, far_sizes, side, key, size):  # type: ignore[no-untyped-def]
    """Set or delete a level beyond the window, in an array that has room; worst level first.

    Returns by how much its size changed.
    """
    count = ints[FAR + side]
    at, stop = 0, count
    while at < stop:
        middle = (at + stop) >> 1
        if far_keys[side, middle] > key:
            at = middle + 1
        else:
            stop = middle
    held = at < count and far_keys[side, at] == key
    before = far_sizes[side, at] if held else 0
    if size > 0:
        if not held:
            for i in range(count, at, -1):
                far_keys[side, i] = far_keys[side, i - 1]
                far_sizes[side, i] = far_sizes[side, i - 1]
            far_keys[side, at] = key
            ints[FAR + side] = count + 1
        far_sizes[side, at] = size
    elif held:
        for i in range(at, count - 1):
            far_keys[side, i] = far_keys[side, i + 1]
            far_sizes[side, i] = far_sizes[side, i + 1]
        ints[FAR + side] = count - 1
    return size - before


@helper
def _move(ints, ladder, bits, far_keys, far_sizes, side, best):  # type: ignore[no-untyped-def]
    """Move the window so that the key `best`, than which none is better, ends its first quarter.

    A level's place in the ring is its key's, so only levels that enter or leave the window are touched.
    """
    low = (best - WINDOW // 4) & ~63
    end = ints[LOW + side] + WINDOW
    key = max(ints[BEST + side], low + WINDOW)
    while ints[NEAR + side] > 0 and key < end:
        word = (key >> 6) & (WORDS - 1)
        left = bits[side, word] & (-1 << (key & 63))
        if left == 0:
            key = (key & ~63) + 64
            continue
        key = (key & ~63) + trailing_zeros(left)
        _put_far(ints, far_keys, far_sizes, side, key, ladder[side, key & (WINDOW - 1)])
        bits[side, word] ^= 1 << (key & 63)
        ints[NEAR + side] -= 1
        key += 1
    ints[LOW + side] = low
    while ints[FAR + side] > 0 and far_keys[side, ints[FAR + side] - 1] < low + WINDOW:
        last = ints[FAR + side] - 1
        ints[FAR + side] = last
        _put(ints, ladder, bits, side, far_keys[side, last], far_sizes[side, last])


@inlined
def change(ints, ladder, bits, far_keys, far_sizes, side, price, size):  # type: ignore[no-untyped-def]
    """Set or delete one level (size 0).

    Returns
    -------
    bool
        Whether it was done; if not, nothing was changed and the far arrays need more room.
    int
        By how much the size at this price changed.
    """
    key = price if side else -price
    if ints[NEAR + side] == 0 and ints[FAR + side] == 0:
        ints[LOW + side] = (key - WINDOW // 4) & ~63
    low = ints[LOW + side]
    if low <= key < low + WINDOW:
        moved = _put(ints, ladder, bits, side, key, size)
        if ints[NEAR + side] == 0:
            if ints[FAR + side] > 0:
                best = far_keys[side, ints[FAR + side] - 1]
                _move(ints, ladder, bits, far_keys, far_sizes, side, best)
        elif ints[BEST + side] >= low + WINDOW // 2 and ints[FAR + side] > 0:
            _move(ints, ladder, bits, far_keys, far_sizes, side, ints[BEST + side])
        return True, moved
    if ints[NEAR + side] + ints[FAR + side] >= far_keys.shape[1]:
        return False, 0
    if key >= low:
        return True, _put_far(ints, far_keys, far_sizes, side, key, size)
    if size > 0:
        _move(ints, ladder, bits, far_keys, far_sizes, side, key)
        _put(ints, ladder, bits, side, key, size)
    return True, size


@inlined
def best_size(ints, ladder, side):  # type: ignore[no-untyped-def]
    """Size of the best level."""
    return ladder[side, ints[BEST + side] & (WINDOW - 1)]


@inlined
def _walk(  # type: ignore[no-untyped-def]
    ints, ladder, bits, far_keys, far_sizes, side, levels, origin
):
    """Walk one side from the best level down; distances are from the mid, in half ticks.

    Keys and sizes of the best levels go to `ints`.

    Returns
    -------
    size_1, size_5, size_10, size_50, size : int
        Size within that many levels, and within all.
    size_distance, depth_distance, squared, first, last : float
        Sums of size * distance, of cumulative size * distance, and of squared distance; distance of the best and of
        the last level.
    size_distance_5, size_distance_10 : float
        Sums of size * distance of that many levels.
    within_5, within_10, within_25, within_50 : int
        Size within that many bps of the mid.
    """
    near, far = ints[NEAR + side], ints[FAR + side]
    used = min(near + far, levels)
    base = ints[BEST + side] & ~63
    word = (base >> 6) & (WORDS - 1)
    left = bits[side, word]
    total = size_1 = size_5 = size_10 = size_50 = 0
    first = last = size_distance = depth_distance = squared = size_distance_5 = size_distance_10 = 0.0
    passed = within_5 = within_10 = within_25 = within_50 = 0
    bp = abs(origin)  # of the mid, in 1/10,000 half ticks
    limit = float(5 * bp // 10_000)
    top = NEW_TOP + TOP * side
    for step in range(used):
        if step < near:
            while left == 0:
                base += 64
                word = (word + 1) & (WORDS - 1)
                left = bits[side, word]
            key = base + trailing_zeros(left)
            left &= left - 1
            size = ladder[side, key & (WINDOW - 1)]
        else:
            at = far - 1 - (step - near)
            key, size = far_keys[side, at], far_sizes[side, at]
        last = float(2 * key + origin)
        while last > limit:
            if passed == 0:
                within_5, limit = total, float(10 * bp // 10_000)
            elif passed == 1:
                within_10, limit = total, float(25 * bp // 10_000)
            elif passed == 2:
                within_25, limit = total, float(50 * bp // 10_000)
            else:
                within_50, limit = total, np.inf
            passed += 1
        total += size
        size_distance += size * last
        depth_distance += total * last
        squared += last * last
        if step < 50:
            size_50 = total
            if step < 10:
                ints[top + step], ints[top + 2 * TOP + step] = key, size
                size_10, size_distance_10 = total, size_distance
                if step < 5:
                    size_5, size_distance_5 = total, size_distance
                    if step == 0:
                        size_1, first = total, last
    for step in range(used, TOP):
        ints[top + step], ints[top + 2 * TOP + step] = FAR_MS, 0
    if passed < 1:
        within_5 = total
    if passed < 2:
        within_10 = total
    if passed < 3:
        within_25 = total
    if passed < 4:
        within_50 = total
    return (
        size_1, size_5, size_10, size_50, total, size_distance, depth_distance, squared, first, last,
        size_distance_5, size_distance_10, within_5, within_10, within_25, within_50,
    )  # fmt: skip


@inlined
def _weighted_mid(size_b, distance_b, size_a, distance_a):  # type: ignore[no-untyped-def]
    """Distance from the mid of the sides' mean prices, each weighted by the other side's size."""
    return (distance_a / size_a * size_b - distance_b / size_b * size_a) / (size_b + size_a)


@inlined
def level_flow(ints):  # type: ignore[no-untyped-def]
    """Order flow of each of the best levels since the book that was looked at before, which this one replaces.

    Where a side has no such level its size is 0.
    """
    if ints[HAD_TOP] == 1:
        for m in range(TOP):
            key, before = ints[NEW_TOP + m], ints[TOP_KEYS + m]
            size, held = ints[NEW_TOP + 2 * TOP + m], ints[TOP_SIZES + m]
            bids = (size if key <= before else 0) - (held if key >= before else 0)
            key, before = ints[NEW_TOP + TOP + m], ints[TOP_KEYS + TOP + m]
            size, held = ints[NEW_TOP + 3 * TOP + m], ints[TOP_SIZES + TOP + m]
            ints[LEVEL_FLOW + m] += bids - (size if key <= before else 0) + (held if key >= before else 0)
    ints[HAD_TOP] = 1
    for m in range(4 * TOP):
        ints[TOP_KEYS + m] = ints[NEW_TOP + m]


@helper
def _elasticity(best, depth, first, last):  # type: ignore[no-untyped-def]
    # Half a tick is the nearest that a level can stand to the mid; in a crossed book it may stand on the wrong side.
    near = max(first, 1.0)
    if last <= near:
        return np.nan
    return math.log(depth / best) / math.log(last / near)


@inlined
def refresh(ints, floats, ladder, bits, far_keys, far_sizes, levels):  # type: ignore[no-untyped-def]
    """Compute the metrics of the book as it stands; see features.catalogue for the formulas."""
    ints[DIRTY] = 0
    ints[FRESH] = 1 if ints[NEAR] > 0 and ints[NEAR + 1] > 0 else 0
    if ints[FRESH] == 0:
        ints[HAD_TOP] = 0
        return
    bid, ask = -ints[BEST], ints[BEST + 1]
    double_mid = bid + ask
    bps = 1e4 / double_mid  # half ticks to bps of the mid
    # Not literals, for which Numba would compile the walk twice.
    bids, asks = np.int64(0), np.int64(1)
    (
        b1, b5, b10, b50, b, size_b, depth_b, squared_b, first_b, last_b,
        far_b5, far_b10, b_5bps, b_10bps, b_25bps, b_50bps,
    ) = _walk(ints, ladder, bits, far_keys, far_sizes, bids, levels, double_mid)  # fmt: skip
    (
        a1, a5, a10, a50, a, size_a, depth_a, squared_a, first_a, last_a,
        far_a5, far_a10, a_5bps, a_10bps, a_25bps, a_50bps,
    ) = _walk(ints, ladder, bits, far_keys, far_sizes, asks, levels, -double_mid)  # fmt: skip
    level_flow(ints)

    floats[SPREAD] = 2.0 * (ask - bid) * bps
    floats[IMBALANCE] = (b1 - a1) / (b1 + a1)
    floats[IMBALANCE + 1] = (b5 - a5) / (b5 + a5)
    floats[IMBALANCE + 2] = (b10 - a10) / (b10 + a10)
    floats[IMBALANCE + 3] = (b50 - a50) / (b50 + a50)
    floats[IMBALANCE + 4] = (b - a) / (b + a)
    floats[DEPTH_LOG_RATIO] = math.log(b / a)
    floats[MICROPRICE] = (ask - bid) * bps * floats[IMBALANCE]
    slope_b = depth_b / (b * squared_b * bps) if squared_b > 0.0 else np.nan
    slope_a = depth_a / (a * squared_a * bps) if squared_a > 0.0 else np.nan
    floats[SLOPE] = 0.5 * (slope_b + slope_a)
    floats[SLOPE_SKEW] = (slope_b - slope_a) / (abs(slope_b) + abs(slope_a))
    elasticity_b = _elasticity(b1, b, first_b, last_b)
    elasticity_a = _elasticity(a1, a, first_a, last_a)
    floats[ELASTICITY] = 0.5 * (elasticity_b + elasticity_a)
    floats[ELASTICITY_SKEW] = elasticity_b - elasticity_a
    floats[INTEGRITY] = (b1 + a1) / (b + a)
    floats[INTEGRITY_SKEW] = b1 / b - a1 / a
    far_b, far_a = size_b / b, size_a / a
    floats[DEPTH_SKEW] = (far_a - far_b) / (abs(far_a) + abs(far_b))
    floats[LOG_DEPTH] = math.log(b + a)
    floats[BEST_DEPTH] = b1 + a1
    floats[PRESSURE] = (b_5bps - a_5bps) / (b_5bps + a_5bps)
    floats[PRESSURE + 1] = (b_10bps - a_10bps) / (b_10bps + a_10bps)
    floats[PRESSURE + 2] = (b_25bps - a_25bps) / (b_25bps + a_25bps)
    floats[PRESSURE + 3] = (b_50bps - a_50bps) / (b_50bps + a_50bps)
    floats[WEIGHTED_MID] = bps * _weighted_mid(b5, far_b5, a5, far_a5)
    floats[WEIGHTED_MID + 1] = bps * _weighted_mid(b10, far_b10, a10, far_a10)
    floats[TOP_DEPTH] = b10 + a10
