"""First compiled stage: events in, raw aggregates of closed bars out.

Everything that the stage remembers lies in four arrays (`ints`, `floats`, `keys`, `sizes`), so that a state can be
saved after any row and the next row cannot tell. All compiled code of the stage is in this one file, because Numba's
cache watches only the file of the function that it caches.

The book is two sorted arrays, best level last, because most changes happen near the best price: a change there moves a
few entries, a walk is contiguous, and no price can fall outside. Asks are stored with negated prices, so that both
sides are ascending.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

#: Silence of a trusted book beyond which nothing is carried on, ms (FAIL-35).
HOLE_MS = 3_600_000

# --- ints: the state -------------------------------------------------------------------------------------------------
CLOCK = 0  # running maximum of exchange time; -1 before the first event
OPEN_MS = 1  # open of the current bar
KNOWN = 2  # the book is known
LAST_BOOK = 3  # clock at the last trusted book message; -1 before any
LEVELS = 4  # levels held: bids here, asks in the next slot
DIRTY = 6  # the book changed since the metrics were computed
FRESH = 7  # the metrics describe a two-sided book
SUSPECT = 8  # a suspect window touches the current bar
RESET = 9  # a hole was met since the last closed bar
LAST_PRICE = 10  # of a trade; -1 unknown
BAR_OPEN = 11
BAR_HIGH = 12
BAR_LOW = 13
VOLUME = 14
BUY_VOLUME = 15
TURNOVER = 16  # sum of price * size
TRADES = 17
HAD_BEST = 18  # the four below are the best levels after the last message
OLD_BID = 19
OLD_BID_SIZE = 20
OLD_ASK = 21
OLD_ASK_SIZE = 22
FRAMES = 23  # messages with an order flow, in the current bar
BAR_CLOSE = 24
INTS = 25

# --- metrics of the book, in the order of features.catalogue -----------------------------------------------------------
SPREAD = 0
IMBALANCE = 1  # five of them: 1, 5, 10, 50 and all levels
DEPTH_LOG_RATIO = 6
MICROPRICE = 7
SLOPE = 8
SLOPE_SKEW = 9
ELASTICITY = 10
ELASTICITY_SKEW = 11
INTEGRITY = 12
INTEGRITY_SKEW = 13
DEPTH_SKEW = 14
LOG_DEPTH = 15
BEST_DEPTH = 16
METRICS = 17

# --- floats: the state -------------------------------------------------------------------------------------------------
NOW = 0  # METRICS values of the book as it stands
MEAN = METRICS  # their time-weighted means in the current bar
SQUARES = 2 * METRICS  # and weighted sums of squared deviations
WEIGHT = 3 * METRICS  # known time in the current bar, ms
FLOW_MEAN = WEIGHT + 1
FLOW_SQUARES = WEIGHT + 2
FLOW_LAST = WEIGHT + 3
FLOW_SUM = WEIGHT + 4
FLOATS = WEIGHT + 5

# --- raw bars: integer columns -----------------------------------------------------------------------------------------
RAW_OPEN_MS = 0
RAW_OPEN = 1
RAW_HIGH = 2
RAW_LOW = 3
RAW_CLOSE = 4
RAW_VOLUME = 5
RAW_BUY_VOLUME = 6
RAW_TURNOVER = 7
RAW_TRADES = 8
RAW_BID = 9
RAW_ASK = 10
RAW_SUSPECT = 11
RAW_RESET = 12
RAW_INTS = 13

# --- raw bars: float columns: METRICS means, standard deviations and last values, then the order flow ---------------------
RAW_FLOW_MEAN = 3 * METRICS
RAW_FLOW_STD = RAW_FLOW_MEAN + 1
RAW_FLOW_LAST = RAW_FLOW_MEAN + 2
RAW_FLOW_SUM = RAW_FLOW_MEAN + 3
RAW_FLOATS = RAW_FLOW_MEAN + 4

# Flags and kinds of market.events, spelled out: Numba freezes them as constants.
_BOOK, _TRADE, _SNAPSHOT, _FIRST, _LAST, _EMPTY = 0, 1, 1, 2, 4, 8


@njit(cache=True)
def _apply(keys, sizes, count, key, size):  # type: ignore[no-untyped-def]
    """Set or delete one level; returns the new number of levels, or -1 when there is no room."""
    at = count
    scan = max(0, count - 12)
    while at > scan and keys[at - 1] > key:
        at -= 1
    if at == scan:
        low = 0
        while low < at:
            middle = (low + at) >> 1
            if keys[middle] > key:
                at = middle
            else:
                low = middle + 1
    if at > 0 and keys[at - 1] == key:
        if size > 0:
            sizes[at - 1] = size
            return count
        for i in range(at, count):
            keys[i - 1] = keys[i]
            sizes[i - 1] = sizes[i]
        return count - 1
    if size <= 0:
        return count  # a delete of a level that the book does not hold
    if count == len(keys):
        return -1
    for i in range(count, at, -1):
        keys[i] = keys[i - 1]
        sizes[i] = sizes[i - 1]
    keys[at] = key
    sizes[at] = size
    return count + 1


@njit(cache=True, error_model="numpy")
def _walk(keys, sizes, count, levels, origin):  # type: ignore[no-untyped-def]
    """Walk one side from the best level down; distances are from the mid, in half ticks.

    Returns
    -------
    size_1, size_5, size_10, size_50, size : int
        Size within that many levels, and within all.
    size_distance, depth_distance, squared, first, last : float
        Sums of size * distance, of cumulative size * distance, and of squared distance; distance of the best and of
        the last level.
    """
    bottom = max(0, count - levels)
    total = size_1 = size_5 = size_10 = size_50 = 0
    first = last = size_distance = depth_distance = squared = 0.0
    for i in range(count - 1, bottom - 1, -1):
        total += sizes[i]
        last = float(origin - 2 * keys[i])
        size_distance += sizes[i] * last
        depth_distance += total * last
        squared += last * last
        step = count - i
        if step == 1:
            first = last
            size_1 = total
        if step <= 5:
            size_5 = total
        if step <= 10:
            size_10 = total
        if step <= 50:
            size_50 = total
    return size_1, size_5, size_10, size_50, total, size_distance, depth_distance, squared, first, last


@njit(cache=True, error_model="numpy")
def _elasticity(best, depth, first, last):  # type: ignore[no-untyped-def]
    # Half a tick is the nearest that a level can stand to the mid; in a crossed book it may stand on the wrong side.
    near = max(first, 1.0)
    if last <= near:
        return np.nan
    return math.log(depth / best) / math.log(last / near)


@njit(cache=True, error_model="numpy")
def _refresh(ints, floats, keys, sizes, levels):  # type: ignore[no-untyped-def]
    """Compute the metrics of the book as it stands; see features.catalogue for the formulas."""
    ints[DIRTY] = 0
    bids, asks = ints[LEVELS], ints[LEVELS + 1]
    ints[FRESH] = bids > 0 and asks > 0
    if ints[FRESH] == 0:
        return
    bid, ask = keys[0, bids - 1], -keys[1, asks - 1]
    double_mid = bid + ask
    b1, b5, b10, b50, b, size_b, depth_b, squared_b, first_b, last_b = _walk(
        keys[0], sizes[0], bids, levels, double_mid
    )
    a1, a5, a10, a50, a, size_a, depth_a, squared_a, first_a, last_a = _walk(
        keys[1], sizes[1], asks, levels, -double_mid
    )
    bps = 1e4 / double_mid  # half ticks to bps of the mid

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


@njit(cache=True)
def _integrate(ints, floats, until):  # type: ignore[no-untyped-def]
    """Let the metrics count for the time up to `until` (West 1979, weights are milliseconds)."""
    if ints[FRESH] == 1:
        span = float(until - ints[CLOCK])
        if span > 0.0:
            floats[WEIGHT] += span
            share = span / floats[WEIGHT]
            for j in range(METRICS):
                away = floats[NOW + j] - floats[MEAN + j]
                floats[MEAN + j] += away * share
                floats[SQUARES + j] += span * away * (floats[NOW + j] - floats[MEAN + j])
    ints[CLOCK] = until


@njit(cache=True)
def _start_bar(ints, floats, open_ms, suspect):  # type: ignore[no-untyped-def]
    ints[OPEN_MS] = open_ms
    ints[SUSPECT] = suspect
    ints[RESET] = 0
    ints[VOLUME : TRADES + 1] = 0
    ints[FRAMES] = 0
    floats[MEAN : FLOW_SUM + 1] = 0.0
    floats[FLOW_LAST] = np.nan


@njit(cache=True)
def _forget(ints):  # type: ignore[no-untyped-def]
    """A hole was met: the next stage starts cold, and the last price is no longer one."""
    ints[RESET] = 1
    ints[LAST_PRICE] = -1


@njit(cache=True)
def _close_bar(ints, floats, keys, silent, raw_ints, raw_floats):  # type: ignore[no-untyped-def]
    """Write the current bar to a row of raw bars."""
    traded = ints[TRADES] > 0
    raw_ints[RAW_OPEN_MS] = ints[OPEN_MS]
    raw_ints[RAW_OPEN] = ints[BAR_OPEN] if traded else ints[LAST_PRICE]
    raw_ints[RAW_HIGH] = ints[BAR_HIGH] if traded else ints[LAST_PRICE]
    raw_ints[RAW_LOW] = ints[BAR_LOW] if traded else ints[LAST_PRICE]
    raw_ints[RAW_CLOSE] = ints[BAR_CLOSE] if traded else ints[LAST_PRICE]
    raw_ints[RAW_VOLUME : RAW_TRADES + 1] = ints[VOLUME : TRADES + 1]
    trusted = ints[KNOWN] == 1 and not silent
    bids, asks = ints[LEVELS], ints[LEVELS + 1]
    raw_ints[RAW_BID] = keys[0, bids - 1] if trusted and bids > 0 else -1
    raw_ints[RAW_ASK] = -keys[1, asks - 1] if trusted and asks > 0 else -1
    raw_ints[RAW_SUSPECT] = ints[SUSPECT]
    raw_ints[RAW_RESET] = ints[RESET]

    weight = floats[WEIGHT]
    for j in range(METRICS):
        raw_floats[j] = floats[MEAN + j] if weight > 0.0 else np.nan
        raw_floats[METRICS + j] = math.sqrt(floats[SQUARES + j] / weight) if weight > 0.0 else np.nan
        raw_floats[2 * METRICS + j] = floats[NOW + j] if ints[FRESH] == 1 else np.nan
    frames = ints[FRAMES]
    raw_floats[RAW_FLOW_MEAN] = floats[FLOW_MEAN] if frames > 0 else np.nan
    raw_floats[RAW_FLOW_STD] = math.sqrt(floats[FLOW_SQUARES] / frames) if frames > 0 else np.nan
    raw_floats[RAW_FLOW_LAST] = floats[FLOW_LAST]
    raw_floats[RAW_FLOW_SUM] = floats[FLOW_SUM] / floats[MEAN + BEST_DEPTH] if weight > 0.0 else np.nan


@njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    ints, floats, keys, sizes, time_ms, timeframe_ms, levels, stall_ms, raw_ints, raw_floats, done
):
    """Move the clock to `time_ms`, closing the bars that end on the way; returns the number of closed bars."""
    if ints[DIRTY] == 1:
        _refresh(ints, floats, keys, sizes, levels)
    silent = ints[KNOWN] == 1 and time_ms - ints[LAST_BOOK] > stall_ms
    if silent:
        ints[SUSPECT] = 1
    while time_ms >= ints[OPEN_MS] + timeframe_ms:
        close_ms = ints[OPEN_MS] + timeframe_ms
        _integrate(ints, floats, close_ms)
        if ints[LAST_BOOK] >= 0 and close_ms - ints[LAST_BOOK] > HOLE_MS:
            _forget(ints)
        _close_bar(ints, floats, keys, silent, raw_ints[done], raw_floats[done])
        done += 1
        _start_bar(ints, floats, close_ms, 1 if silent or ints[KNOWN] == 0 else 0)
    _integrate(ints, floats, time_ms)
    return done


@njit(cache=True)
def _order_flow(ints, floats, keys, sizes):  # type: ignore[no-untyped-def]
    """Order-flow imbalance of the message that just ended (Cont, Kukanov and Stoikov 2014, equation 2)."""
    bids, asks = ints[LEVELS], ints[LEVELS + 1]
    if bids == 0 or asks == 0:
        ints[HAD_BEST] = 0
        return
    bid, bid_size = keys[0, bids - 1], sizes[0, bids - 1]
    ask, ask_size = -keys[1, asks - 1], sizes[1, asks - 1]
    if ints[HAD_BEST] == 1:
        flow = 0
        if bid >= ints[OLD_BID]:
            flow += bid_size
        if bid <= ints[OLD_BID]:
            flow -= ints[OLD_BID_SIZE]
        if ask <= ints[OLD_ASK]:
            flow -= ask_size
        if ask >= ints[OLD_ASK]:
            flow += ints[OLD_ASK_SIZE]
        share = flow / (bid_size + ints[OLD_BID_SIZE] + ask_size + ints[OLD_ASK_SIZE])
        ints[FRAMES] += 1
        away = share - floats[FLOW_MEAN]
        floats[FLOW_MEAN] += away / ints[FRAMES]
        floats[FLOW_SQUARES] += away * (share - floats[FLOW_MEAN])
        floats[FLOW_LAST] = share
        floats[FLOW_SUM] += flow
    ints[HAD_BEST] = 1
    ints[OLD_BID], ints[OLD_BID_SIZE], ints[OLD_ASK], ints[OLD_ASK_SIZE] = bid, bid_size, ask, ask_size


@njit(cache=True)
def _trade(ints, side, price, size):  # type: ignore[no-untyped-def]
    if ints[TRADES] == 0:
        ints[BAR_OPEN] = ints[BAR_HIGH] = ints[BAR_LOW] = price
    ints[BAR_HIGH] = max(ints[BAR_HIGH], price)
    ints[BAR_LOW] = min(ints[BAR_LOW], price)
    ints[BAR_CLOSE] = ints[LAST_PRICE] = price
    ints[VOLUME] += size
    if side == 0:
        ints[BUY_VOLUME] += size
    ints[TURNOVER] += price * size
    ints[TRADES] += 1


@njit(cache=True)
def run(  # type: ignore[no-untyped-def]
    kind, flags, side, time_ms, price, size, row, ints, floats, keys, sizes,
    timeframe_ms, levels, stall_ms, raw_ints, raw_floats, done,
):  # fmt: skip
    """Consume events from `row` on.

    Returns
    -------
    row, done : int
        The next row and the number of closed bars. A row short of the end means that the book has no room for it.
    """
    for i in range(row, len(kind)):
        now = time_ms[i]
        if now > ints[CLOCK] and now > 0:
            if ints[CLOCK] < 0:
                ints[CLOCK] = now
                # What came before the first event is unknown, so the first bar is never complete.
                _start_bar(ints, floats, now // timeframe_ms * timeframe_ms, 1)
            done = _advance(ints, floats, keys, sizes, now, timeframe_ms, levels, stall_ms, raw_ints, raw_floats, done)
        what = kind[i]
        if what == _TRADE:
            _trade(ints, side[i], price[i], size[i])
            continue
        if what != _BOOK:
            ints[KNOWN] = ints[DIRTY] = ints[FRESH] = ints[HAD_BEST] = 0
            ints[SUSPECT] = 1
            continue
        mark = flags[i]
        if mark & _FIRST and mark & _SNAPSHOT:
            ints[KNOWN] = 1
            ints[LEVELS] = ints[LEVELS + 1] = 0
        if ints[KNOWN] == 0:
            continue
        if not mark & _EMPTY:
            which = 1 if side[i] else 0
            key = -price[i] if which else price[i]
            count = _apply(keys[which], sizes[which], ints[LEVELS + which], key, size[i])
            if count < 0:
                return i, done
            ints[LEVELS + which] = count
        if ints[LAST_BOOK] >= 0 and ints[CLOCK] - ints[LAST_BOOK] > HOLE_MS:
            _forget(ints)
        ints[LAST_BOOK] = ints[CLOCK]
        if mark & _LAST:
            ints[DIRTY] = 1
            _order_flow(ints, floats, keys, sizes)
    return len(kind), done
