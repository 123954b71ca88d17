"""Users' orders in a recorded book, compiled: where they stand in the queue, and what the recorded flow does to them.

The rules are those of :mod:`simulation.fills`: an order rests behind the size that was displayed, cancellations happen
behind it first, a touch is not a fill. Taking orders use up displayed size, each level once until a message shows it
anew. Nobody in the recording notices any of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulation._lob import (
    FEEDS,
    FILLS,
    N_FILLS,
    NOW_MS,
    TRADE_ID,
    X_MAKER,
    X_OWNER,
    X_PRICE,
    X_SIZE,
    X_TIME,
    X_TRADE,
    inner,
)

#: Queue position of an order whose level lies deeper than the book shows.
HIDDEN = 1 << 62
#: Trades of one public message, as Bybit documents.
MOST_TRADES = 1_024
#: Rows of a book message that the output buffer surely holds.
MOST_LEVELS = 16_384
#: Orders that users can rest at a time.
ORDERS = 1 << 10

# Places in `state`: next row, running maximum of exchange time, whether the book is known, whether all rows are read,
# how many orders rest, how deep the book has been since its last snapshot.
CURSOR, CLOCK, KNOWN, ENDED, RESTING, DEEP = range(6)
#: What the recorded venue said: mark and index price (ticks), open interest (1e-4), funding rate (1e-10); -1: nothing.
TOLD = 6
UNTOLD = -(1 << 62)
#: What a topic owes its listeners, one place each: nothing, a snapshot, a snapshot after an interruption.
OWES = 10
STATE = OWES + FEEDS
NOTHING, FIRST_SNAPSHOT, RESTART = 0, 1, 2
# Rows of `orders`, and the list of slots in the order of their arrival.
O_OWNER, O_SIDE, O_PRICE, O_LEFT, O_QUEUE, O_UNSEEN, O_CROSSING, O_LIST = range(8)
# Rows of `book`.
B_PRICE, B_SIZE, B_USED = range(3)


class Tape(NamedTuple):
    """The recorded rows at hand, as in :class:`market.events.EventBatch`."""

    kind: NDArray[np.int8]
    flags: NDArray[np.uint8]
    side: NDArray[np.int8]
    time_ms: NDArray[np.int64]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    ordinal: NDArray[np.int64]


class Stage(NamedTuple):
    """State of a replay."""

    state: NDArray[np.int64]
    book: NDArray[np.int64]
    """[price, size and what users have taken of it; 2 sides; levels, best first]."""
    counts: NDArray[np.int64]
    orders: NDArray[np.int64]


def new_stage(levels: int = 4_096) -> Stage:
    """A replay before its first row."""
    state = np.zeros(STATE, np.int64)
    state[CLOCK] = -1
    state[TOLD:OWES] = UNTOLD
    return Stage(state, np.zeros((3, 2, levels), np.int64), np.zeros(2, np.int64), np.zeros((8, ORDERS), np.int64))


@inner
def better_by(side, price, other):  # type: ignore[no-untyped-def]
    """By how many ticks a price of a side is better than another."""
    return price - other if side == 0 else other - price


@inner
def _place(prices, count, side, price):  # type: ignore[no-untyped-def]
    """First level that is not better than a price."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if better_by(side, prices[middle], price) > 0:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def set_level(s, side, price, size):  # type: ignore[no-untyped-def]
    """Set one level; what users had taken of it is forgotten."""
    n = s.counts[side]
    at = _place(s.book[B_PRICE, side], n, side, price)
    found = at < n and s.book[B_PRICE, side, at] == price
    if size > 0:
        if not found:
            for k in range(3):
                for i in range(n, at, -1):
                    s.book[k, side, i] = s.book[k, side, i - 1]
            s.counts[side] = n + 1
        s.book[B_PRICE, side, at], s.book[B_SIZE, side, at], s.book[B_USED, side, at] = price, size, 0
    elif found:
        for k in range(3):
            for i in range(at, n - 1):
                s.book[k, side, i] = s.book[k, side, i + 1]
        s.counts[side] = n - 1


@njit(cache=True)
def displayed(s, side, price):  # type: ignore[no-untyped-def]
    """Displayed size at a level; `HIDDEN` where the level lies deeper than the book shows, or nothing is known."""
    n = s.counts[side]
    if s.state[KNOWN] == 0 or n == 0 or better_by(side, s.book[B_PRICE, side, n - 1], price) > 0:
        return HIDDEN
    at = _place(s.book[B_PRICE, side], n, side, price)
    return s.book[B_SIZE, side, at] if at < n and s.book[B_PRICE, side, at] == price else 0


@inner
def _fill(b, s, slot, size, maker):  # type: ignore[no-untyped-def]
    i, orders = b.i, s.orders
    line = b.fills[i[N_FILLS]]
    line[X_OWNER], line[X_PRICE], line[X_SIZE] = orders[O_OWNER, slot], orders[O_PRICE, slot], size
    line[X_TIME], line[X_MAKER], line[X_TRADE] = i[NOW_MS], maker, i[TRADE_ID]
    i[N_FILLS] += 1
    orders[O_LEFT, slot] -= size


@inner
def _forget_filled(s):  # type: ignore[no-untyped-def]
    kept = 0
    for k in range(s.state[RESTING]):
        slot = s.orders[O_LIST, k]
        if s.orders[O_LEFT, slot] > 0:
            s.orders[O_LIST, kept] = slot
            kept += 1
        else:
            s.orders[O_OWNER, slot] = 0
    s.state[RESTING] = kept


@inner
def trade_meets_orders(b, s, price, size, taker):  # type: ignore[no-untyped-def]
    """A trade works on the queue of the side that its taker hit; users' orders share it in the order they came."""
    side, orders = 1 - taker, s.orders
    changed = False
    for k in range(s.state[RESTING]):
        slot = orders[O_LIST, k]
        if orders[O_SIDE, slot] != side or orders[O_LEFT, slot] == 0:
            continue
        ahead = better_by(side, orders[O_PRICE, slot], price)
        if ahead > 0:
            _fill(b, s, slot, orders[O_LEFT, slot], np.int64(1))
            changed = True
        elif ahead == 0 and orders[O_QUEUE, slot] != HIDDEN:
            reached = min(size - orders[O_QUEUE, slot], orders[O_LEFT, slot])
            orders[O_QUEUE, slot] = max(orders[O_QUEUE, slot] - size, 0)
            if reached > 0:
                _fill(b, s, slot, reached, np.int64(1))
                size -= reached
                changed = True
    if changed:
        _forget_filled(s)


@inner
def book_meets_orders(b, s):  # type: ignore[no-untyped-def]
    """A book message is whole: orders that it crosses fill, queues shrink to what is displayed.

    An order that has taken what was there before it rested (`O_CROSSING`) gets only size that is shown anew.
    """
    orders = s.orders
    changed = False
    for k in range(s.state[RESTING]):
        slot = orders[O_LIST, k]
        side, price = orders[O_SIDE, slot], orders[O_PRICE, slot]
        n = s.counts[1 - side]
        if n > 0 and better_by(side, price, s.book[B_PRICE, 1 - side, 0]) >= 0:
            changed = True
            if orders[O_CROSSING, slot] == 0:
                _fill(b, s, slot, orders[O_LEFT, slot], np.int64(1))
                continue
            level = 0
            while level < n and better_by(side, price, s.book[B_PRICE, 1 - side, level]) >= 0:
                fresh = s.book[B_SIZE, 1 - side, level] - s.book[B_USED, 1 - side, level]
                got = min(fresh, orders[O_LEFT, slot])
                if got > 0:
                    s.book[B_USED, 1 - side, level] += got
                    _fill(b, s, slot, got, np.int64(1))
                level += 1
            continue
        orders[O_CROSSING, slot] = 0
        shown = displayed(s, side, price)
        orders[O_QUEUE, slot] = min(orders[O_QUEUE, slot], shown)
    if changed:
        _forget_filled(s)


@njit(cache=True)
def take(b, s, side, limit, size, owner):  # type: ignore[no-untyped-def]
    """Take displayed size up to a price, each level's once until it is shown anew; the size that is left."""
    i = b.i
    level = 0
    while size > 0 and s.state[KNOWN] != 0 and level < s.counts[1 - side] and i[N_FILLS] < FILLS - 1:
        price = s.book[B_PRICE, 1 - side, level]
        if better_by(side, limit, price) < 0:
            break
        got = min(size, s.book[B_SIZE, 1 - side, level] - s.book[B_USED, 1 - side, level])
        if got > 0:
            s.book[B_USED, 1 - side, level] += got
            size -= got
            i[TRADE_ID] += 1
            line = b.fills[i[N_FILLS]]
            line[X_OWNER], line[X_PRICE], line[X_SIZE] = owner, price, got
            line[X_TIME], line[X_MAKER], line[X_TRADE] = i[NOW_MS], 0, i[TRADE_ID]
            i[N_FILLS] += 1
        level += 1
    return size
