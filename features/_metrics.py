"""The metrics of the shape of the book, computed for many looks at a time; see features.catalogue for the formulas."""

from __future__ import annotations

import numpy as np

from features._layout import (
    BEST_DEPTH,
    DEPTH_DISTANCE,
    DEPTH_LOG_RATIO,
    DEPTH_SKEW,
    DISTANCE_5,
    DISTANCE_10,
    DISTANCE_ALL,
    DOUBLE_MID,
    ELASTICITY,
    ELASTICITY_SKEW,
    FIRST,
    IMBALANCE,
    INTEGRITY,
    INTEGRITY_SKEW,
    LAST,
    LOG_DEPTH,
    LOOKED,
    LOOKS,
    MEAN,
    METRICS,
    MICROPRICE,
    NOW,
    PRESSURE,
    SAMPLE_LOOK,
    SAMPLE_WEIGHT,
    SAMPLED,
    SIDE,
    SIZE_1,
    SIZE_5,
    SIZE_10,
    SIZE_50,
    SIZE_ALL,
    SLOPE,
    SLOPE_SKEW,
    SPREAD,
    SPREADS,
    SQUARED,
    SQUARES,
    TOP_DEPTH,
    TURNED,
    USED,
    WEIGHT,
    WEIGHTED_MID,
    WITHIN_5,
    helper,
    inlined,
)


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
def _imbalance(bids, asks):  # type: ignore[no-untyped-def]
    return (bids - asks) / (bids + asks)


@inlined
def _weighted_mid(size_b, distance_b, size_a, distance_a):  # type: ignore[no-untyped-def]
    """Distance from the mid of the sides' mean prices, each weighted by the other side's size."""
    return (distance_a / size_a * size_b - distance_b / size_b * size_a) / (size_b + size_a)


@inlined
def _balances(looks, out):  # type: ignore[no-untyped-def]
    """Imbalances, pressures and weighted mids of all columns."""
    for j in range(LOOKS):
        bps = 1e4 / looks[DOUBLE_MID + j]  # half ticks to bps of the mid
        b1, b5, b10 = looks[SIZE_1 + j], looks[SIZE_5 + j], looks[SIZE_10 + j]
        a1, a5, a10 = looks[SIDE + SIZE_1 + j], looks[SIDE + SIZE_5 + j], looks[SIDE + SIZE_10 + j]
        imbalance = _imbalance(b1, a1)
        out[SPREAD * LOOKS + j] = 2.0 * looks[FIRST + j] * bps
        out[MICROPRICE * LOOKS + j] = looks[FIRST + j] * bps * imbalance
        out[IMBALANCE * LOOKS + j] = imbalance
        out[(IMBALANCE + 1) * LOOKS + j] = _imbalance(b5, a5)
        out[(IMBALANCE + 2) * LOOKS + j] = _imbalance(b10, a10)
        out[(IMBALANCE + 3) * LOOKS + j] = _imbalance(looks[SIZE_50 + j], looks[SIDE + SIZE_50 + j])
        out[BEST_DEPTH * LOOKS + j] = b1 + a1
        out[TOP_DEPTH * LOOKS + j] = b10 + a10
        out[WEIGHTED_MID * LOOKS + j] = bps * _weighted_mid(b5, looks[DISTANCE_5 + j], a5, looks[SIDE + DISTANCE_5 + j])
        out[(WEIGHTED_MID + 1) * LOOKS + j] = bps * _weighted_mid(
            b10, looks[DISTANCE_10 + j], a10, looks[SIDE + DISTANCE_10 + j]
        )
    for j in range(4 * LOOKS):
        out[PRESSURE * LOOKS + j] = _imbalance(looks[WITHIN_5 + j], looks[SIDE + WITHIN_5 + j])


@inlined
def _side(looks, side, j):  # type: ignore[no-untyped-def]
    """Size, relative size of the best level, mean distance, slope (but for its unit) and elasticity of a side."""
    size, best, last = looks[side + SIZE_ALL + j], looks[side + SIZE_1 + j], looks[side + LAST + j]
    first = looks[FIRST + j]
    # Where sizes or distances are so absurd that the sums do not fit, they are unknown.
    reach = float(max(abs(first), abs(last)))
    fits = float(looks[side + USED + j]) * reach * max(float(size), reach) < 9e18
    squared = float(looks[side + SQUARED + j])
    bps = 1e4 / looks[DOUBLE_MID + j]
    slope = looks[side + DEPTH_DISTANCE + j] / (size * squared * bps)
    # Half a tick is the nearest that a level can stand to the mid; in a crossed book it may stand on the wrong side.
    near = max(first, 1)
    elasticity = log(size / best) / log(max(last, near) / near)
    return (
        looks[side + DISTANCE_ALL + j] / size if fits else np.nan,
        slope if fits and squared > 0.0 else np.nan,
        elasticity if last > near else np.nan,
    )


@inlined
def _shapes(looks, out):  # type: ignore[no-untyped-def]
    """What all levels in reach say, of all columns."""
    for j in range(LOOKS):
        b, a = looks[SIZE_ALL + j], looks[SIDE + SIZE_ALL + j]
        b1, a1 = looks[SIZE_1 + j], looks[SIDE + SIZE_1 + j]
        both = float(b + a)
        out[(IMBALANCE + 4) * LOOKS + j] = (b - a) / both
        out[DEPTH_LOG_RATIO * LOOKS + j] = log(float(b)) - log(float(a))
        out[LOG_DEPTH * LOOKS + j] = log(both)
        out[INTEGRITY * LOOKS + j] = (b1 + a1) / both
        out[INTEGRITY_SKEW * LOOKS + j] = b1 / b - a1 / a
    for j in range(LOOKS):
        far_b, slope_b, elasticity_b = _side(looks, 0, j)
        far_a, slope_a, elasticity_a = _side(looks, SIDE, j)
        out[SLOPE * LOOKS + j] = 0.5 * (slope_b + slope_a)
        out[SLOPE_SKEW * LOOKS + j] = (slope_b - slope_a) / (abs(slope_b) + abs(slope_a))
        out[ELASTICITY * LOOKS + j] = 0.5 * (elasticity_b + elasticity_a)
        out[ELASTICITY_SKEW * LOOKS + j] = elasticity_b - elasticity_a
        out[DEPTH_SKEW * LOOKS + j] = (far_a - far_b) / (abs(far_a) + abs(far_b))


@inlined
def _integrate(floats, metrics, at, weight):  # type: ignore[no-untyped-def]
    """Let a look's metrics count for as many samples (West 1979)."""
    floats[WEIGHT] += weight
    share = weight / floats[WEIGHT]
    for j in range(SPREADS):
        away = metrics[at + j] - floats[MEAN + j]
        floats[MEAN + j] += away * share
        floats[SQUARES + j] += weight * away * (metrics[at + j] - floats[MEAN + j])
    for j in range(SPREADS, METRICS):
        floats[MEAN + j] += (metrics[at + j] - floats[MEAN + j]) * share


@helper
def settle(ints, floats, looks, metrics):  # type: ignore[no-untyped-def]
    """Compute the metrics of the looks that wait for it, and let the samples count in the means.

    All columns are computed, whatever is in them, because a loop over a constant number runs for several at once.
    """
    count = ints[LOOKED]
    for j in range(METRICS):
        metrics[TURNED + j] = floats[NOW + j]
    if count > 0:
        _balances(looks, metrics)
        _shapes(looks, metrics)
        for column in range(count):
            for j in range(METRICS):
                metrics[TURNED + METRICS * (column + 1) + j] = metrics[j * LOOKS + column]
    for sample in range(ints[SAMPLED]):
        at = TURNED + METRICS * looks[SAMPLE_LOOK + sample]
        _integrate(floats, metrics, at, float(looks[SAMPLE_WEIGHT + sample]))
    for j in range(METRICS):
        floats[NOW + j] = metrics[TURNED + METRICS * count + j]
    ints[LOOKED] = ints[SAMPLED] = 0
