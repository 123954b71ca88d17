"""The shape of the book as it stands: one walk down each side, and the metrics that it gives."""

from __future__ import annotations

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from features._layout import (
    BEST,
    BEST_DEPTH,
    BITS,
    BLOCK,
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
    LOGS,
    MICROPRICE,
    NEW_DISTANCES,
    NEW_KEYS,
    NEW_SIZES,
    NEW_TOTALS,
    NOWHERE,
    PRESSURE,
    SLOPE,
    SLOPE_SKEW,
    SPREAD,
    SUMMARY,
    TOP,
    TOP_DEPTH,
    TOP_KEYS,
    TOP_SIZES,
    TOPS,
    WEIGHTED_MID,
    WINDOW,
    WORDS,
    helper,
    inlined,
)


@inlined
def _walk(ints, floats, book, far, side, levels, origin):  # type: ignore[no-untyped-def]
    """Walk one side from the best level down; distances are from the mid, in half ticks.

    Keys, sizes and sums of the ten best levels go to the room that `ints` has for them.

    Returns
    -------
    size_50, size : int
        Size of 50 levels and of all.
    size_distance, depth_distance, squared : float
        Sums of size * distance, of cumulative size * distance and of squared distance.
    first, last : int
        Distance of the best and of the last level.
    within_5, within_10, within_25, within_50 : int
        Size within that many bps of the mid.
    """
    block = side * BLOCK
    best = book[block + BEST]
    first_word = (best >> 6) & (WORDS - 1)
    base = best & ~63
    left = book[block + BITS + first_word]
    # The words after the first one, by the bits of the summary.
    at, turns = first_word >> 6, 0
    words = book[block + TOPS + at] & (-2 << (first_word & 63))
    waiting = book[block + FAR]
    rows = side * TOP
    used = total = size_50 = size_distance = depth_distance = squared = last = 0
    passed = within_5 = within_10 = within_25 = within_50 = 0
    bp = abs(origin)  # of the mid, in 1/10,000 half ticks
    limit = 5 * bp // 10_000
    while used < levels:
        while left == 0 and turns <= SUMMARY:
            if words == 0:
                turns += 1
                at = (at + 1) & (SUMMARY - 1)
                words = book[block + TOPS + at]
            else:
                word = (at << 6) + trailing_zeros(words)
                words &= words - 1
                ahead = (word - first_word) & (WORDS - 1)
                if turns == SUMMARY and word >= first_word:
                    turns += 1  # round the ring
                else:
                    base = (best & ~63) + (ahead << 6)
                    left = book[block + BITS + word]
                    if left == 0:
                        book[block + TOPS + at] &= ~(1 << (word & 63))
        if left != 0:
            key = base + trailing_zeros(left)
            left &= left - 1
            size = book[block + (key & (WINDOW - 1))]
        elif waiting > 0:
            waiting -= 1
            key, size = far[0, side, waiting], far[1, side, waiting]
        else:
            break
        last = 2 * key + origin
        while last > limit:
            if passed == 0:
                within_5, limit = total, 10 * bp // 10_000
            elif passed == 1:
                within_10, limit = total, 25 * bp // 10_000
            elif passed == 2:
                within_25, limit = total, 50 * bp // 10_000
            else:
                within_50, limit = total, FAR_MS
            passed += 1
        total += size
        size_distance += size * last
        depth_distance += total * last
        squared += last * last
        if used < TOP:
            ints[NEW_KEYS + rows + used], ints[NEW_SIZES + rows + used] = key, size
            ints[NEW_TOTALS + rows + used], ints[NEW_DISTANCES + rows + used] = total, size_distance
        if used < 50:
            size_50 = total
        used += 1
    for step in range(used, TOP):
        ints[NEW_KEYS + rows + step], ints[NEW_SIZES + rows + step] = FAR_MS, 0
        ints[NEW_TOTALS + rows + step], ints[NEW_DISTANCES + rows + step] = total, size_distance
    if passed < 1:
        within_5 = total
    if passed < 2:
        within_10 = total
    if passed < 3:
        within_25 = total
    if passed < 4:
        within_50 = total
    first = 2 * best + origin
    # Where sizes or distances are so absurd that the sums do not fit, they are unknown.
    reach = float(max(abs(first), abs(last)))
    fits = float(used) * reach * max(float(total), reach) < 9e18
    return (
        size_50, total,
        float(size_distance) if fits else np.nan,
        float(depth_distance) if fits else np.nan,
        float(squared) if fits else np.nan,
        first, last, within_5, within_10, within_25, within_50,
    )  # fmt: skip


@inlined
def _weighted_mid(size_b, distance_b, size_a, distance_a):  # type: ignore[no-untyped-def]
    """Distance from the mid of the sides' mean prices, each weighted by the other side's size."""
    return (distance_a / size_a * size_b - distance_b / size_b * size_a) / (size_b + size_a)


@inlined
def _level_flow(ints):  # type: ignore[no-untyped-def]
    """Order flow of each of the best levels since the book that was looked at before, which this one replaces.

    Where a side has no such level its size is 0.
    """
    if ints[HAD_TOP] == 1:
        for m in range(TOP):
            key, before = ints[NEW_KEYS + m], ints[TOP_KEYS + m]
            size, held = ints[NEW_SIZES + m], ints[TOP_SIZES + m]
            bids = (size if key <= before else 0) - (held if key >= before else 0)
            key, before = ints[NEW_KEYS + TOP + m], ints[TOP_KEYS + TOP + m]
            size, held = ints[NEW_SIZES + TOP + m], ints[TOP_SIZES + TOP + m]
            ints[LEVEL_FLOW + m] += bids - (size if key <= before else 0) + (held if key >= before else 0)
    ints[HAD_TOP] = 1
    for m in range(4 * TOP):
        ints[TOP_KEYS + m] = ints[NEW_KEYS + m]


@inlined
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of a normal number above 0 to the last bit or so.

    By the series of artanh; unlike the C library's it can run for several numbers at once.
    """
    bits = np.float64(x).view(np.int64)
    # The power of 2 that brings x between the square roots of 1/2 and of 2, and what remains.
    power = (bits - 0x3FE6A09E667F3BCD) >> 52
    rest = np.int64(bits - (power << 52)).view(np.float64) - 1.0
    s = rest / (2.0 + rest)
    z = s * s
    series = 1 / 23
    for n in (21, 19, 17, 15, 13, 11, 9, 7, 5, 3):
        series = series * z + 1.0 / n
    return power * 6.93147180369123816490e-01 + (2.0 * s + (2.0 * s * z * series + power * 1.90821492927058770002e-10))


@inlined
def _logs(floats):  # type: ignore[no-untyped-def]
    """Replace the numbers in the room for logarithms by theirs."""
    for j in range(LOGS, LOGS + 8):
        floats[j] = log(floats[j])


@helper
def refresh(ints, floats, book, far, levels):  # type: ignore[no-untyped-def]
    """Compute the metrics of the book as it stands; see features.catalogue for the formulas."""
    ints[DIRTY] = 0
    bid, ask = -book[BEST], book[BLOCK + BEST]
    if bid == -NOWHERE or ask == NOWHERE:
        ints[FRESH] = ints[HAD_TOP] = 0
        return
    ints[FRESH] = 1
    double_mid = bid + ask
    bps = 1e4 / double_mid  # half ticks to bps of the mid
    # Not literals, for which Numba would compile the walk twice.
    bids, asks = np.int64(0), np.int64(1)
    (
        b50, b, size_b, depth_b, squared_b, first_b, last_b, b_5bps, b_10bps, b_25bps, b_50bps,
    ) = _walk(ints, floats, book, far, bids, levels, double_mid)  # fmt: skip
    (
        a50, a, size_a, depth_a, squared_a, first_a, last_a, a_5bps, a_10bps, a_25bps, a_50bps,
    ) = _walk(ints, floats, book, far, asks, levels, -double_mid)  # fmt: skip
    _level_flow(ints)
    b1, b5, b10 = ints[NEW_TOTALS], ints[NEW_TOTALS + 4], ints[NEW_TOTALS + 9]
    a1, a5, a10 = ints[NEW_TOTALS + TOP], ints[NEW_TOTALS + TOP + 4], ints[NEW_TOTALS + TOP + 9]
    both = float(b + a)
    # Half a tick is the nearest that a level can stand to the mid; in a crossed book it may stand on the wrong side.
    near_b, near_a = max(first_b, 1), max(first_a, 1)
    floats[LOGS], floats[LOGS + 1] = float(b), float(a)
    floats[LOGS + 2], floats[LOGS + 3] = b / b1, a / a1
    floats[LOGS + 4], floats[LOGS + 5] = max(last_b, near_b) / near_b, max(last_a, near_a) / near_a
    floats[LOGS + 6], floats[LOGS + 7] = both, 1.0
    _logs(floats)

    floats[SPREAD] = 2.0 * (ask - bid) * bps
    floats[IMBALANCE] = (b1 - a1) / (b1 + a1)
    floats[IMBALANCE + 1] = (b5 - a5) / (b5 + a5)
    floats[IMBALANCE + 2] = (b10 - a10) / (b10 + a10)
    floats[IMBALANCE + 3] = (b50 - a50) / (b50 + a50)
    floats[IMBALANCE + 4] = (b - a) / both
    floats[DEPTH_LOG_RATIO] = floats[LOGS] - floats[LOGS + 1]
    floats[MICROPRICE] = (ask - bid) * bps * floats[IMBALANCE]
    slope_b = depth_b / (b * squared_b * bps) if squared_b > 0.0 else np.nan
    slope_a = depth_a / (a * squared_a * bps) if squared_a > 0.0 else np.nan
    floats[SLOPE] = 0.5 * (slope_b + slope_a)
    floats[SLOPE_SKEW] = (slope_b - slope_a) / (abs(slope_b) + abs(slope_a))
    elasticity_b = floats[LOGS + 2] / floats[LOGS + 4] if last_b > near_b else np.nan
    elasticity_a = floats[LOGS + 3] / floats[LOGS + 5] if last_a > near_a else np.nan
    floats[ELASTICITY] = 0.5 * (elasticity_b + elasticity_a)
    floats[ELASTICITY_SKEW] = elasticity_b - elasticity_a
    floats[INTEGRITY] = (b1 + a1) / both
    floats[INTEGRITY_SKEW] = b1 / b - a1 / a
    far_b, far_a = size_b / b, size_a / a
    floats[DEPTH_SKEW] = (far_a - far_b) / (abs(far_a) + abs(far_b))
    floats[LOG_DEPTH] = floats[LOGS + 6]
    floats[BEST_DEPTH] = b1 + a1
    floats[PRESSURE] = (b_5bps - a_5bps) / (b_5bps + a_5bps)
    floats[PRESSURE + 1] = (b_10bps - a_10bps) / (b_10bps + a_10bps)
    floats[PRESSURE + 2] = (b_25bps - a_25bps) / (b_25bps + a_25bps)
    floats[PRESSURE + 3] = (b_50bps - a_50bps) / (b_50bps + a_50bps)
    for j in range(2):
        at = 4 + 5 * j
        floats[WEIGHTED_MID + j] = bps * _weighted_mid(
            ints[NEW_TOTALS + at], ints[NEW_DISTANCES + at], ints[NEW_TOTALS + TOP + at], ints[NEW_DISTANCES + TOP + at]
        )
    floats[TOP_DEPTH] = b10 + a10
