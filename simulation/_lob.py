"""A limit order book with price-time priority, compiled.

Orders live in a pool of slots; each price holds a doubly linked queue of slots, oldest first. Prices address a ring of
levels (power of two, so that a price is found by a mask): the book may wander without bound as long as all resting
orders lie within half a ring of each other. Nothing here draws random numbers; see :mod:`simulation._lob_flow`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Levels of the ring.
RING = 1 << 16
_MASK = RING - 1
#: Order slots of one book.
SLOTS = 1 << 15
#: Rows of the output buffer; `advance` stops while a worst-case push still fits.
ROWS = 1 << 17
#: Executions of users' orders that one call can report.
FILLS = 1 << 12
#: One-minute candles that are kept.
CANDLES = 1 << 12
#: Book topics that one market can publish at a time.
FEEDS = 4
#: Liquidations of other traders that one call can report.
LIQUIDATIONS = 1 << 10
#: A topic of one level is sent again, under the same update id, after so long without a change (ms).
REPEAT_MS = 3_000
#: Most levels of a topic.
DEEPEST = 1000
#: ``R_FEED`` of trades.
TRADE_FEED = -1
#: `owner` of the background flow; users' orders carry a positive number.
BACKGROUND = 0
#: Best price of an empty side.
NO_BID = -1
NO_ASK = 1 << 62

# Slots of the integer state.
BEST_BID, BEST_ASK, N_BIDS, N_ASKS, FREE, LIVE, VERSION, BOOK_MS, LAST, TRADE_ID, N_ROWS, N_FILLS, FRAME = range(13)
TRIGGER_LOW, TRIGGER_HIGH, TRIGGERED, NOW_MS, NEXT_LATENT_MS, LATENT_STEPS, N_LIQUIDATED = range(13, 20)
I_STATE = 20


# Rows of `pool`: one order each column; then the stack of free slots and the dense list of the background's orders.
PRICE, LEFT, SIDE, OWNER, NEXT, PREV, WHERE, FREE_LIST, LIVE_LIST = range(9)
# Rows of `ladder`: queue ends and displayed size by ring place.
HEAD, TAIL, DEPTH = range(3)
# Columns of `feed`: on, next push (ms), version at the last push, update id, depth, ms between pushes, levels shown,
# time of the last message (ms).
F_ON, F_NEXT, F_VERSION, F_U, F_DEPTH, F_PUSH, F_BIDS, F_ASKS, F_SENT = range(9)
# Columns of `rows`: output, one level change or trade each; R_PUSH is when the frame was sent, R_ID the update id of a
# book message or the number of a trade, R_SEQ the cross sequence, which grows with every change of the book.
R_FEED, R_FLAGS, R_SIDE, R_TIME, R_PRICE, R_SIZE, R_FRAME, R_PUSH, R_ID, R_SEQ = range(10)
# Columns of `fills`: executions of users' orders.
X_OWNER, X_PRICE, X_SIZE, X_TIME, X_MAKER, X_TRADE = range(6)
# Columns of `liquidated`: `side` is 0 for a long position; the price is the bankruptcy price.
Q_SIDE, Q_PRICE, Q_SIZE, Q_TIME = range(4)
# Columns of `candles`, a ring of minutes; volume in steps, turnover in ticks x steps.
C_MINUTE, C_OPEN, C_HIGH, C_LOW, C_CLOSE, C_VOLUME, C_TURNOVER = range(7)


class Lob(NamedTuple):
    """State of one book and its buffers: few arrays, because each one more costs compile time in every kernel."""

    i: NDArray[np.int64]
    """Integer state, see the constants of this module."""
    f: NDArray[np.float64]
    """Latent state of the flow, see :mod:`simulation._lob_flow`."""
    rng: NDArray[np.uint64]
    """Three random streams: latent processes, order flow, liquidations."""
    pool: NDArray[np.int64]
    ladder: NDArray[np.int64]
    feed: NDArray[np.int64]
    shown: NDArray[np.int64]
    """[FEEDS, 2 sides, price and size, DEEPEST]: what each topic has published."""
    rows: NDArray[np.int64]
    fills: NDArray[np.int64]
    candles: NDArray[np.int64]
    liquidated: NDArray[np.int64]


def new_lob(latents: int, *, slots: int = SLOTS, ring: int = RING) -> Lob:
    """An empty book; `latents` is the length of the flow's float state."""
    i = np.zeros(I_STATE, np.int64)
    i[BEST_BID], i[BEST_ASK], i[LAST] = NO_BID, NO_ASK, -1
    i[FREE] = slots
    i[TRIGGER_LOW], i[TRIGGER_HIGH] = NO_BID, NO_ASK
    pool = np.zeros((9, slots), np.int64)
    pool[[NEXT, PREV, WHERE]] = -1
    pool[FREE_LIST] = np.arange(slots - 1, -1, -1)
    ladder = np.zeros((3, ring), np.int64)
    ladder[[HEAD, TAIL]] = -1
    return Lob(
        i=i,
        f=np.zeros(latents, np.float64),
        rng=np.zeros(3, np.uint64),
        pool=pool,
        ladder=ladder,
        feed=np.zeros((FEEDS, 9), np.int64),
        shown=np.zeros((FEEDS, 2, 2, DEEPEST), np.int64),
        rows=np.zeros((ROWS, 10), np.int64),
        fills=np.zeros((FILLS, 6), np.int64),
        candles=np.zeros((CANDLES, 7), np.int64),
        liquidated=np.zeros((LIQUIDATIONS, 4), np.int64),
    )


def inner(kernel: Any) -> Any:
    """Compile a kernel that only kernels call: without the wrapper for Python, which costs compile time.

    Kernels hand each other ``np.int64(0)`` rather than ``0``: Numba compiles a function anew for each literal.
    """
    return njit(cache=True, no_cpython_wrapper=True)(kernel)


@njit(cache=True)
def add(b, side, price, size, owner):  # type: ignore[no-untyped-def]
    """Rest an order at the end of its level's queue and return its slot; -1 when all slots are taken."""
    i, pool, ladder = b.i, b.pool, b.ladder
    if i[FREE] == 0:
        return -1
    i[FREE] -= 1
    slot = pool[FREE_LIST, i[FREE]]
    place = price & _MASK
    tail = ladder[TAIL, place]
    pool[PRICE, slot], pool[LEFT, slot], pool[SIDE, slot], pool[OWNER, slot] = price, size, side, owner
    pool[NEXT, slot], pool[PREV, slot], pool[WHERE, slot] = -1, tail, -1
    if tail >= 0:
        pool[NEXT, tail] = slot
    else:
        ladder[HEAD, place] = slot
        i[N_BIDS + side] += 1
        if side == 0 and price > i[BEST_BID]:
            i[BEST_BID] = price
        elif side == 1 and price < i[BEST_ASK]:
            i[BEST_ASK] = price
    ladder[TAIL, place] = slot
    ladder[DEPTH, place] += size
    if owner == BACKGROUND:
        pool[WHERE, slot] = i[LIVE]
        pool[LIVE_LIST, i[LIVE]] = slot
        i[LIVE] += 1
    i[VERSION] += 1
    i[BOOK_MS] = i[NOW_MS]
    return slot


@njit(cache=True)
def remove(b, slot):  # type: ignore[no-untyped-def]
    """Take an order off the book."""
    i, pool, ladder = b.i, b.pool, b.ladder
    price, side = pool[PRICE, slot], pool[SIDE, slot]
    place = price & _MASK
    before, after = pool[PREV, slot], pool[NEXT, slot]
    if before >= 0:
        pool[NEXT, before] = after
    else:
        ladder[HEAD, place] = after
    if after >= 0:
        pool[PREV, after] = before
    else:
        ladder[TAIL, place] = before
    ladder[DEPTH, place] -= pool[LEFT, slot]
    pool[LEFT, slot] = 0
    where = pool[WHERE, slot]
    if where >= 0:
        i[LIVE] -= 1
        moved = pool[LIVE_LIST, i[LIVE]]
        pool[LIVE_LIST, where] = moved
        pool[WHERE, moved] = where
        pool[WHERE, slot] = -1
    pool[FREE_LIST, i[FREE]] = slot
    i[FREE] += 1
    i[VERSION] += 1
    i[BOOK_MS] = i[NOW_MS]
    if ladder[HEAD, place] < 0:
        i[N_BIDS + side] -= 1
        if price == i[BEST_BID + side]:
            step = -1 if side == 0 else 1
            while i[N_BIDS + side] > 0 and ladder[HEAD, price & _MASK] < 0:
                price += step
            i[BEST_BID + side] = price if i[N_BIDS + side] > 0 else NO_BID if side == 0 else NO_ASK


@njit(cache=True)
def take(b, side, limit, size, owner):  # type: ignore[no-untyped-def]
    """Match an incoming order against the other side up to its limit, oldest first; return the size left.

    Every match is a row of one public trade frame, and a row of `fills` for each user it concerns.
    """
    i, pool = b.i, b.pool
    first = i[N_ROWS]
    while size > 0 and i[N_ROWS] < ROWS and i[N_FILLS] < FILLS - 1:
        best = i[BEST_ASK - side]
        if i[N_ASKS - side] == 0 or (side == 0 and best > limit) or (side == 1 and best < limit):
            break
        slot = b.ladder[HEAD, best & _MASK]
        amount = min(size, pool[LEFT, slot])
        size -= amount
        i[TRADE_ID] += 1
        record_trade(i, b.rows, b.candles, side, best, amount, i[NOW_MS])
        for maker in range(2):
            who = pool[OWNER, slot] if maker else owner
            if who != BACKGROUND:
                n = i[N_FILLS]
                b.fills[n, X_OWNER], b.fills[n, X_PRICE], b.fills[n, X_SIZE] = who, best, amount
                b.fills[n, X_TIME], b.fills[n, X_MAKER], b.fills[n, X_TRADE] = i[NOW_MS], maker, i[TRADE_ID]
                i[N_FILLS] = n + 1
        if amount == pool[LEFT, slot]:
            remove(b, slot)
        else:
            pool[LEFT, slot] -= amount
            b.ladder[DEPTH, best & _MASK] -= amount
            i[VERSION] += 1
            i[BOOK_MS] = i[NOW_MS]
    if i[N_ROWS] > first:
        b.rows[first, R_FLAGS] |= 2
        b.rows[i[N_ROWS] - 1, R_FLAGS] |= 4
        i[FRAME] += 1
    return size


@inner
def record_trade(i, rows, candles, side, price, size, time_ms):  # type: ignore[no-untyped-def]
    """A public trade: its row, the candle of the minute, the last price, and what it triggers."""
    now = i[NOW_MS]
    add_row(i, rows, np.int64(TRADE_FEED), np.int64(0), side, time_ms, price, size, now, i[TRADE_ID])
    i[LAST] = price
    if price <= i[TRIGGER_LOW]:
        i[TRIGGERED] |= 1
    if price >= i[TRIGGER_HIGH]:
        i[TRIGGERED] |= 2
    minute = now // 60_000
    k = minute % CANDLES
    if candles[k, C_MINUTE] != minute:
        candles[k, C_MINUTE] = minute
        candles[k, C_OPEN] = candles[k, C_HIGH] = candles[k, C_LOW] = price
        candles[k, C_VOLUME] = candles[k, C_TURNOVER] = 0
    candles[k, C_HIGH] = max(candles[k, C_HIGH], price)
    candles[k, C_LOW] = min(candles[k, C_LOW], price)
    candles[k, C_CLOSE] = price
    candles[k, C_VOLUME] += size
    candles[k, C_TURNOVER] += price * size


@inner
def add_row(i, rows, feed, flags, side, time_ms, price, size, push_ms, number):  # type: ignore[no-untyped-def]
    """One line of output."""
    n = i[N_ROWS]
    rows[n, R_FEED], rows[n, R_FLAGS], rows[n, R_SIDE], rows[n, R_TIME] = feed, flags, side, time_ms
    rows[n, R_PRICE], rows[n, R_SIZE], rows[n, R_FRAME], rows[n, R_PUSH] = price, size, i[FRAME], push_ms
    rows[n, R_ID], rows[n, R_SEQ] = number, i[VERSION]
    i[N_ROWS] = n + 1


@njit(cache=True)
def top(b, side, count, prices, sizes):  # type: ignore[no-untyped-def]
    """Write the best `count` levels of a side, best first, and return how many there are."""
    want = min(count, b.i[N_BIDS + side])
    price = b.i[BEST_BID + side]
    step = -1 if side == 0 else 1
    n = 0
    while n < want:
        place = price & _MASK
        if b.ladder[HEAD, place] >= 0:
            prices[n], sizes[n] = price, b.ladder[DEPTH, place]
            n += 1
        price += step
    return n


@inner
def differ(i, rows, feeds, shown, feed, side, snapshot, n, prices, sizes, push_ms):  # type: ignore[no-untyped-def]
    """Emit what differs between `n` levels of a side and what a topic has shown, or all of them; show them."""
    u = feeds[feed, F_U] + 1
    own = shown[feed, side]
    old_n = 0 if snapshot == 1 else feeds[feed, F_BIDS + side]
    sign = -1 if side == 0 else 1
    k = j = 0
    while k < n or j < old_n:
        # Which level comes next: one that is new (order < 0), one that is gone (> 0), or one in both (0).
        order = -1 if j == old_n else 1 if k == n else (prices[k] - own[0, j]) * sign
        price, size = (prices[k], sizes[k]) if order <= 0 else (own[0, j], 0)
        if order != 0 or size != own[1, j]:
            add_row(i, rows, feed, snapshot, side, i[BOOK_MS], price, size, push_ms, u)
        k += order <= 0
        j += order >= 0
    for k in range(n):
        own[0, k], own[1, k] = prices[k], sizes[k]
    feeds[feed, F_BIDS + side] = n


@inner
def close_message(i, rows, feeds, feed, start, push_ms):  # type: ignore[no-untyped-def]
    """Mark the rows from `start` on as one message of a topic; none make none."""
    feeds[feed, F_VERSION] = i[VERSION]
    if i[N_ROWS] > start:
        rows[start, R_FLAGS] |= 2
        rows[i[N_ROWS] - 1, R_FLAGS] |= 4
        i[FRAME] += 1
        feeds[feed, F_U] += 1
        feeds[feed, F_SENT] = push_ms


@njit(cache=True)
def publish(b, feed, push_ms, snapshot, prices, sizes):  # type: ignore[no-untyped-def]
    """Emit one message of a book topic: the whole top of the book, or what differs from the last message.

    A level that left the published depth is deleted, one that entered it is sent whole; nothing is sent when nothing
    differs. `snapshot` is 1 or 0; `prices` and `sizes` are scratch of :data:`DEEPEST` elements.
    """
    start = b.i[N_ROWS]
    for side in range(2):
        n = top(b, side, b.feed[feed, F_DEPTH], prices, sizes)
        differ(b.i, b.rows, b.feed, b.shown, feed, side, snapshot, n, prices, sizes, push_ms)
    close_message(b.i, b.rows, b.feed, feed, start, push_ms)


@inner
def is_due(i, feeds, feed, push_ms):  # type: ignore[no-untyped-def]
    """Whether a topic has something to say: a change, or, with one level, that nothing has changed for long."""
    if feeds[feed, F_VERSION] != i[VERSION]:
        return True
    return feeds[feed, F_DEPTH] == 1 and push_ms - feeds[feed, F_SENT] >= REPEAT_MS


@inner
def publish_best(i, rows, feeds, shown, feed, best, push_ms):  # type: ignore[no-untyped-def]
    """A message of a topic of one level: always a snapshot, and again under the same update id when nothing changes.

    `best` is [2 sides, price and size]; a size of 0 stands for an empty side. Bybit documents both habits:
    https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook.
    """
    feeds[feed, F_VERSION] = i[VERSION]
    same = True
    for side in range(2):
        n = 1 if best[side, 1] > 0 else 0
        old = shown[feed, side, :, 0]
        if n != feeds[feed, F_BIDS + side] or (n > 0 and (best[side, 0] != old[0] or best[side, 1] != old[1])):
            same = False
    nothing = best[0, 1] == 0 and best[1, 1] == 0
    if nothing or (same and push_ms - feeds[feed, F_SENT] < REPEAT_MS):
        return
    if same:
        feeds[feed, F_U] -= 1
    start = i[N_ROWS]
    for side in range(2):
        shows = np.int64(1 if best[side, 1] > 0 else 0)
        differ(i, rows, feeds, shown, feed, side, np.int64(1), shows, best[side, :1], best[side, 1:], push_ms)
    close_message(i, rows, feeds, feed, start, push_ms)
