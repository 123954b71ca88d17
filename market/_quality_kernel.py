"""The compiled pass of :mod:`market.quality`: one walk over the events, minute by minute.

The book is a ring ladder: the level at price ``p`` stands at ``p & MASK`` with its price as a tag (-1: no level), so
the ladder never has to be re-centred. Two prices that meet in one place lie 65,536 ticks apart; the one nearer to the
best stays, and the other could not have mattered to spread, locks or the depth near the touch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE

LADDER = 1 << 16
_MASK = LADDER - 1
#: Levels a side that count as depth near the touch.
DEPTH_LEVELS = 5
#: How far from the best these levels are looked for, in ticks.
_DEPTH_REACH = 4096
MINUTE_MS = 60_000

#: Integer columns.
(
    MESSAGES,
    LEVEL_CHANGES,
    SNAPSHOTS,
    EMPTIES,
    TRADES,
    VOLUME,
    LAST_PRICE,
    GAPS,
    BOOKS,
    LOCKED,
    CROSSED,
    ONE_SIDED,
    BAD_ROWS,
    SILENCE,
    REGRESS,
    KNOWN_MS,
    DELAYS,
    MEASURED,
    SAMPLES,
    TOUCHES,
    MID,
    BOOK_GRID,
    TRADE_GRID,
    BUYS,
    SIDED,
    AGREED,
    LARGEST,
    BID_LEVELS,
    ASK_LEVELS,
) = range(29)
INTS = 29

#: Real columns.
SPREAD_AREA, SPREAD_MIN, SPREAD_MAX, BID_DEPTH, ASK_DEPTH, TRADE_DISTANCE, DELAY_SUM, DELAY_MAX = range(8)
REALS = 8

#: State between batches.
CLOCK, FIRST_MINUTE, FIRST_MS, UNKNOWN_SINCE, UNKNOWN_CAUSE, LAST_BOOK, BEST_BID, BEST_ASK, WINDOWS, SILENCES = range(
    10
)
BIDS, ASKS, SECOND, BID_SIZE, ASK_SIZE, SEEN_BID, SEEN_ASK = 10, 11, 12, 13, 14, 15, 16
STATES = 17

#: Causes of suspect windows.
CAUSE_GAP, CAUSE_STALL, CAUSE_START = 0, 1, 2


@njit(cache=True)
def _best(prices, side, start):  # type: ignore[no-untyped-def]
    """Best price of a side at or behind `start`; -1 where the side is empty."""
    step = -1 if side == BID else 1
    price = start
    for _ in range(LADDER):
        slot = price & _MASK
        if prices[side, slot] == price:
            return price
        price += step
    best = -1
    for slot in range(LADDER):
        price = prices[side, slot]
        if price >= 0 and (best < 0 or (price > best if side == BID else price < best)):
            best = price
    return best


@njit(cache=True, inline="always")
def _common(grid, price):  # type: ignore[no-untyped-def]
    """Greatest common divisor of what all prices so far had in common (0: none yet) and one more."""
    while price:
        grid, price = price, grid % price
    return grid


@njit(cache=True, inline="always")
def _set_level(prices, sizes, state, side, price, size):  # type: ignore[no-untyped-def]
    """Apply one level change."""
    slot = price & _MASK
    held = prices[side, slot] >= 0
    same = prices[side, slot] == price
    best_at, count_at = (BEST_BID, BIDS) if side == BID else (BEST_ASK, ASKS)
    if size > 0:
        if held and not same and (prices[side, slot] > price) == (side == BID):
            return
        if not held:
            state[count_at] += 1
        prices[side, slot] = price
        sizes[side, slot] = size
        best = state[best_at]
        if best < 0 or (price > best if side == BID else price < best):
            state[best_at] = price
    elif same:
        prices[side, slot] = -1
        state[count_at] -= 1
        if state[count_at] == 0:
            state[best_at] = -1
        elif state[best_at] == price:
            state[best_at] = _best(prices, side, price)


@njit(cache=True)
def _depth(prices, sizes, side, best):  # type: ignore[no-untyped-def]
    """Value of the levels next to the touch, in ticks times steps."""
    step = -1 if side == BID else 1
    price = best
    value = 0.0
    found = 0
    for _ in range(_DEPTH_REACH):
        slot = price & _MASK
        if prices[side, slot] == price:
            value += float(price) * float(sizes[side, slot])
            found += 1
            if found == DEPTH_LEVELS:
                break
        price += step
    return value


@njit(cache=True, inline="always")
def _silence(ints, state, start, end):  # type: ignore[no-untyped-def]
    """Charge a silence of the book to every minute that it touches."""
    first = max(start // MINUTE_MS - state[FIRST_MINUTE], 0)
    for minute in range(first, end // MINUTE_MS - state[FIRST_MINUTE] + 1):
        ints[minute, SILENCE] = max(ints[minute, SILENCE], end - start)


@njit(cache=True, inline="always")
def _hold(ints, reals, state, start, end):  # type: ignore[no-untyped-def]
    """Charge the spread that stood from `start` to `end` to the minutes between, by time."""
    bid, ask = state[BEST_BID], state[BEST_ASK]
    two_sided = bid > 0 and ask > 0
    spread = 2e4 * (ask - bid) / (ask + bid) if two_sided else 0.0
    at = start
    while at < end:
        minute = at // MINUTE_MS
        stop = min(end, (minute + 1) * MINUTE_MS)
        if two_sided:
            ints[minute - state[FIRST_MINUTE], KNOWN_MS] += stop - at
            reals[minute - state[FIRST_MINUTE], SPREAD_AREA] += spread * (stop - at)
        at = stop


@njit(cache=True, inline="always")
def _start_message(state, ints, reals, prices, windows, silences, snapshot, now, stall_ms, notice_ms):  # type: ignore[no-untyped-def]
    """What the arrival of a book message says about the time before it."""
    last = state[LAST_BOOK]
    stalled = False
    if last >= 0 and now > last:
        stalled = now - last > stall_ms
        _silence(ints, state, last, now)
        if now - last >= notice_ms:
            silences[state[SILENCES], 0] = last
            silences[state[SILENCES], 1] = now
            state[SILENCES] += 1
        if state[UNKNOWN_SINCE] < 0:
            if stalled:
                windows[state[WINDOWS], 0] = last
                windows[state[WINDOWS], 1] = now
                windows[state[WINDOWS], 2] = CAUSE_STALL
                state[WINDOWS] += 1
            else:
                _hold(ints, reals, state, last, now)
    state[LAST_BOOK] = now
    if snapshot:
        if 0 <= state[UNKNOWN_SINCE] < now:
            windows[state[WINDOWS], 0] = state[UNKNOWN_SINCE]
            windows[state[WINDOWS], 1] = now
            windows[state[WINDOWS], 2] = state[UNKNOWN_CAUSE]
            state[WINDOWS] += 1
        state[UNKNOWN_SINCE] = -1
        prices[:] = -1
        state[BEST_BID] = state[BEST_ASK] = -1
        state[BIDS] = state[ASKS] = 0


@njit(cache=True, inline="always")
def _end_message(state, ints, reals, prices, sizes, row):  # type: ignore[no-untyped-def]
    """Look at the book that a message left."""
    bid, ask = state[BEST_BID], state[BEST_ASK]
    if bid < 0 or ask < 0:
        ints[row, ONE_SIDED] += 1
        return
    ints[row, BOOKS] += 1
    if bid == ask:
        ints[row, LOCKED] += 1
    elif bid > ask:
        ints[row, CROSSED] += 1
    ints[row, MID] = bid + ask
    bid_size, ask_size = sizes[BID, bid & _MASK], sizes[ASK, ask & _MASK]
    if bid != state[SEEN_BID] or ask != state[SEEN_ASK] or bid_size != state[BID_SIZE] or ask_size != state[ASK_SIZE]:
        ints[row, TOUCHES] += 1
        state[SEEN_BID], state[SEEN_ASK], state[BID_SIZE], state[ASK_SIZE] = bid, ask, bid_size, ask_size
    spread = 2e4 * (ask - bid) / (ask + bid)
    reals[row, SPREAD_MIN] = min(reals[row, SPREAD_MIN], spread)
    reals[row, SPREAD_MAX] = max(reals[row, SPREAD_MAX], spread)
    second = state[CLOCK] // 1000
    if second == state[SECOND]:
        return
    # Walking the levels costs more than all the rest: once a second is enough for a mean over the minute.
    state[SECOND] = second
    ints[row, SAMPLES] += 1
    ints[row, BID_LEVELS] += state[BIDS]
    ints[row, ASK_LEVELS] += state[ASKS]
    reals[row, BID_DEPTH] += _depth(prices, sizes, BID, bid)
    reals[row, ASK_DEPTH] += _depth(prices, sizes, ASK, ask)


@njit(cache=True, inline="always")
def _trade(state, ints, reals, row, side, price, size, stall_ms):  # type: ignore[no-untyped-def]
    """Count a trade and measure how far it lies from the book."""
    ints[row, TRADES] += 1
    if price <= 0 or size <= 0:
        ints[row, BAD_ROWS] += 1
        return
    ints[row, VOLUME] += size
    ints[row, LAST_PRICE] = price
    ints[row, LARGEST] = max(ints[row, LARGEST], size)
    ints[row, BUYS] += side == BID
    if ints[row, TRADE_GRID] != 1:
        ints[row, TRADE_GRID] = _common(ints[row, TRADE_GRID], price)
    bid, ask = state[BEST_BID], state[BEST_ASK]
    if state[UNKNOWN_SINCE] < 0 and bid > 0 and ask > 0 and state[CLOCK] - state[LAST_BOOK] <= stall_ms:
        ints[row, MEASURED] += 1
        outside = max(min(bid, ask) - price, price - max(bid, ask), 0)
        reals[row, TRADE_DISTANCE] = max(reals[row, TRADE_DISTANCE], 2e4 * outside / (bid + ask))
        # Who takes at or beyond the ask has bought; between the touches, and in a locked book, nobody can tell.
        if bid < ask and (price >= ask or price <= bid):
            ints[row, SIDED] += 1
            ints[row, AGREED] += (price >= ask) == (side == BID)


@njit(cache=True)
def scan(  # type: ignore[no-untyped-def]
    kind,
    flags,
    side,
    time_ms,
    price,
    size,
    recv_ns,
    begin,
    state,
    prices,
    sizes,
    ints,
    reals,
    windows,
    silences,
    stall_ms,
    notice_ms,
):
    """Take in rows from `begin` on; returns the row to go on with, fewer than all where a list is full."""
    for i in range(begin, len(kind)):
        if state[WINDOWS] >= len(windows) or state[SILENCES] >= len(silences):
            return i
        before = state[CLOCK]
        state[CLOCK] = max(before, time_ms[i])
        now = state[CLOCK]
        row = now // MINUTE_MS - state[FIRST_MINUTE]
        if kind[i] == GAP:
            ints[row, GAPS] += 1
            if state[UNKNOWN_SINCE] < 0:
                state[UNKNOWN_SINCE] = state[LAST_BOOK] if state[LAST_BOOK] >= 0 else now
                state[UNKNOWN_CAUSE] = CAUSE_GAP
            continue
        if before >= 0:
            ints[row, REGRESS] = max(ints[row, REGRESS], now - time_ms[i])
        first = kind[i] == TRADE or (flags[i] & (FIRST | EMPTY)) != 0
        if first and recv_ns[i] >= 0:
            delay = recv_ns[i] / 1e6 - time_ms[i]
            ints[row, DELAYS] += 1
            reals[row, DELAY_SUM] += delay
            reals[row, DELAY_MAX] = max(reals[row, DELAY_MAX], delay)
        if kind[i] == TRADE:
            _trade(state, ints, reals, row, side[i], price[i], size[i], stall_ms)
            continue
        if kind[i] != BOOK:
            ints[row, BAD_ROWS] += 1
            continue
        if first:
            ints[row, MESSAGES] += 1
            snapshot = (flags[i] & SNAPSHOT) != 0
            ints[row, SNAPSHOTS] += snapshot
            _start_message(state, ints, reals, prices, windows, silences, snapshot, now, stall_ms, notice_ms)
        if flags[i] & EMPTY:
            ints[row, EMPTIES] += 1
        else:
            ints[row, LEVEL_CHANGES] += 1
            if price[i] > 0 and ints[row, BOOK_GRID] != 1:
                ints[row, BOOK_GRID] = _common(ints[row, BOOK_GRID], price[i])
            if price[i] <= 0 or size[i] < 0 or (side[i] != BID and side[i] != ASK):
                ints[row, BAD_ROWS] += 1
            elif state[UNKNOWN_SINCE] < 0:
                _set_level(prices, sizes, state, side[i], price[i], size[i])
        if (flags[i] & (LAST | EMPTY)) != 0 and state[UNKNOWN_SINCE] < 0:
            _end_message(state, ints, reals, prices, sizes, row)
    return len(kind)


def new_rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of `count` minutes in which nothing has happened yet."""
    ints = np.zeros((count, INTS), np.int64)
    ints[:, [LAST_PRICE, MID]] = -1
    reals = np.zeros((count, REALS), np.float64)
    reals[:, SPREAD_MIN] = np.inf
    reals[:, [SPREAD_MAX, DELAY_MAX]] = -np.inf
    return ints, reals
