"""What trades, tickers and the passing of seconds say within a bar; inlined into the first compiled stage."""

from __future__ import annotations

import math

import numpy as np

from features import _metrics
from features._layout import (
    ADDED,
    AGREEING,
    BEST,
    BLOCK,
    CLOCK,
    COUNTED,
    EFFECTIVE,
    FRESH,
    FUNDING_RATE,
    HIT_MS,
    INDEX,
    KNOWN,
    LAST_DOUBLE_MID,
    LAST_LOG_MID,
    LAST_MOVE,
    LAST_TRADE,
    MARK,
    MICROPRICE,
    MOVES,
    NEXT_FUNDING,
    NEXT_SECOND,
    NOW,
    NOWHERE,
    OPEN_INTEREST,
    PAIRED_MOVES,
    PAIRS,
    QUOTED,
    RAW_BASIS,
    RAW_BIPOWER,
    RAW_EFFECTIVE,
    RAW_FUNDING,
    RAW_JUMPS,
    RAW_LOG_MICROPRICE,
    RAW_OPEN_INTEREST,
    RAW_REALISED,
    RAW_TO_FUNDING,
    RAW_VOLATILITY,
    REALISED,
    REFILL_MS,
    REFILLED,
    REMOVED,
    SETTLE,
    SETTLE_SECONDS,
    SETTLE_SIZE,
    SETTLE_SLOTS,
    SETTLED,
    SIGN,
    SQUARED_MOVES,
    TICKER_MS,
    UNKNOWN,
    helper,
    inlined,
)

_FUNDING_PERIOD_MS = 8 * 3_600_000


@inlined
def _double_mid(ints, book):  # type: ignore[no-untyped-def]
    """Sum of the best prices as the book stands; 0 when it is unknown or one-sided."""
    bid, ask = book[BEST], book[BLOCK + BEST]
    if ints[KNOWN] == 0 or bid == NOWHERE or ask == NOWHERE:
        return 0
    return ask - bid


@inlined
def changed(ints, side, moved):  # type: ignore[no-untyped-def]
    """A level's size changed by `moved`; up or down, nobody can foresee, so nothing branches on it."""
    more = max(moved, 0)
    ints[ADDED + side] += more
    ints[REMOVED + side] += more - moved


@inlined
def ended(ints):  # type: ignore[no-untyped-def]
    """A book message ended: what it added to a side that a trade took from not long before has refilled it."""
    for side in range(2):
        added = ints[ADDED + side]
        recent = ints[CLOCK] - ints[HIT_MS + side] <= REFILL_MS
        ints[REFILLED] += added - ints[COUNTED + side] if recent else 0
        ints[COUNTED + side] = added


@inlined
def trade(ints, floats, book, side, price, size):  # type: ignore[no-untyped-def]
    """A trade of a taker."""
    sign = 1 - 2 * side
    if ints[SIGN] != 0:
        ints[PAIRS] += 1
        ints[AGREEING] += sign * ints[SIGN]
    ints[SIGN] = sign
    ints[LAST_TRADE] = ints[HIT_MS + 1 - side] = ints[CLOCK]
    slot = ints[CLOCK] // 1_000 & (SETTLE_SLOTS - 1)
    ints[SETTLE + slot] += sign * size
    ints[SETTLE + SETTLE_SLOTS + slot] += sign * size * price
    ints[SETTLE_SIZE + slot] += size
    double_mid = _double_mid(ints, book)
    if double_mid > 0:
        ints[QUOTED] += size
        floats[EFFECTIVE] += 2e4 * sign * size * (2 * price - double_mid) / double_mid


@helper
def seconds(ints, floats, book, until):  # type: ignore[no-untyped-def]
    """The clock reaches whole seconds, the last one not after `until`; the book stood still since it moved last."""
    double_mid = _double_mid(ints, book)
    second = ints[NEXT_SECOND] // 1_000
    count = until // 1_000 - second + 1
    for n in range(min(count, SETTLE_SLOTS)):
        slot = (second + n - SETTLE_SECONDS) & (SETTLE_SLOTS - 1)
        size = ints[SETTLE_SIZE + slot]
        if size > 0 and double_mid > 0:
            paid = 2 * ints[SETTLE + SETTLE_SLOTS + slot] - double_mid * ints[SETTLE + slot]
            floats[REALISED] += 2e4 * paid / double_mid
            ints[SETTLED] += size
        ints[SETTLE + slot] = ints[SETTLE + SETTLE_SLOTS + slot] = ints[SETTLE_SIZE + slot] = 0
    ints[NEXT_SECOND] = (second + count) * 1_000
    if double_mid == 0:
        floats[LAST_LOG_MID] = floats[LAST_MOVE] = np.nan
        ints[LAST_DOUBLE_MID] = 0
        return
    log_mid = floats[LAST_LOG_MID] if double_mid == ints[LAST_DOUBLE_MID] else _metrics.log(float(double_mid))
    ints[LAST_DOUBLE_MID] = double_mid
    move = log_mid - floats[LAST_LOG_MID]
    if not math.isnan(move):
        floats[SQUARED_MOVES] += move * move
        ints[MOVES] += 1
        if not math.isnan(floats[LAST_MOVE]):
            floats[PAIRED_MOVES] += abs(move) * abs(floats[LAST_MOVE])
    # In the seconds after the first nothing moves.
    ints[MOVES] += count - 1
    floats[LAST_MOVE] = move if count == 1 else 0.0
    floats[LAST_LOG_MID] = log_mid


@helper
def gap(ints, floats):  # type: ignore[no-untyped-def]
    """What was measured is unknown from here; an announced funding holds until its time."""
    ints[MARK] = ints[INDEX] = ints[OPEN_INTEREST] = UNKNOWN
    ints[LAST_DOUBLE_MID] = 0
    floats[LAST_LOG_MID] = floats[LAST_MOVE] = np.nan


@helper
def ticker(ints, field, value):  # type: ignore[no-untyped-def]
    """A field of a ticker; see market.events."""
    if 0 <= field <= NEXT_FUNDING - MARK:
        ints[MARK + field] = value
        ints[TICKER_MS] = ints[CLOCK]


@helper
def show(ints, floats, book, close_ms, stall_ms, raw):  # type: ignore[no-untyped-def]
    """Write what this module gathered in a bar."""
    raw[RAW_EFFECTIVE] = floats[EFFECTIVE] / ints[QUOTED] if ints[QUOTED] > 0 else np.nan
    raw[RAW_REALISED] = floats[REALISED] / ints[SETTLED] if ints[SETTLED] > 0 else np.nan
    squared, paired = floats[SQUARED_MOVES], 0.5 * math.pi * floats[PAIRED_MOVES]
    moves = ints[MOVES]
    raw[RAW_VOLATILITY] = 1e4 * math.sqrt(squared / moves) if moves > 0 else np.nan
    raw[RAW_BIPOWER] = 1e4 * math.sqrt(paired / moves) if moves > 0 else np.nan
    raw[RAW_JUMPS] = 1.0 - paired / squared if squared > 0.0 else np.nan
    raw[RAW_LOG_MICROPRICE] = np.nan
    double_mid = _double_mid(ints, book)
    if ints[FRESH] == 1 and double_mid > 0:
        raw[RAW_LOG_MICROPRICE] = math.log(double_mid * (1.0 + 1e-4 * floats[NOW + MICROPRICE]))
    fresh = ints[TICKER_MS] >= 0 and close_ms - ints[TICKER_MS] <= stall_ms
    mark, index, interest = ints[MARK], ints[INDEX], ints[OPEN_INTEREST]
    raw[RAW_BASIS] = 1e4 * (mark - index) / index if fresh and mark > 0 and index > 0 else np.nan
    raw[RAW_OPEN_INTEREST] = math.log(interest) if fresh and interest > 0 else np.nan
    ahead = ints[NEXT_FUNDING] - close_ms
    known = ints[NEXT_FUNDING] > 0 and ahead > 0
    raw[RAW_FUNDING] = 1e-6 * ints[FUNDING_RATE] if known and ints[FUNDING_RATE] != UNKNOWN else np.nan
    raw[RAW_TO_FUNDING] = ahead / _FUNDING_PERIOD_MS if known else np.nan
