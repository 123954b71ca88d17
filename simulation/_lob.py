"""A limit order book with price-time priority, compiled.

Orders live in a pool of slots; each price holds a doubly linked queue of slots, oldest first. Prices address a ring of
levels (power of two, so that a price is found by a mask): the book may wander without bound as long as all resting
orders lie within half a ring of each other. Nothing here draws random numbers; see :mod:`simulation._lob_flow`.
"""

from __future__ import annotations

from typing import NamedTuple

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
#: Most levels of a topic.
DEEPEST = 1000
#: ``row_feed`` of trades.
TRADE_FEED = -1
#: `owner` of the background flow; users' orders carry a positive number.
BACKGROUND = 0
#: Best price of an empty side.
NO_BID = -1
NO_ASK = 1 << 62

# Slots of the integer state.
BEST_BID, BEST_ASK, N_BIDS, N_ASKS, FREE, LIVE, VERSION, BOOK_MS, LAST, TRADE_ID, N_ROWS, N_FILLS, FRAME = range(13)
TRIGGER_LOW, TRIGGER_HIGH, TRIGGERED, NOW_MS, NEXT_LATENT_MS, LATENT_STEPS, CANDLE_FIRST, CANDLE_LAST = range(13, 21)
I_STATE = 21


class Lob(NamedTuple):
    """State of one book and its buffers; every field is an array, so that kernels change it in place."""

    i: NDArray[np.int64]
    """Integer state, see the constants of this module."""
    f: NDArray[np.float64]
    """Latent state of the flow, see :mod:`simulation._lob_flow`."""
    rng: NDArray[np.uint64]
    """Two random streams: latent processes, order flow."""
    price: NDArray[np.int64]
    left: NDArray[np.int64]
    side: NDArray[np.int8]
    owner: NDArray[np.int64]
    next: NDArray[np.int32]
    prev: NDArray[np.int32]
    free: NDArray[np.int32]
    """Stack of unused slots."""
    live: NDArray[np.int32]
    """Dense list of the background's resting orders, for drawing one at random."""
    where: NDArray[np.int32]
    """Place of a slot in `live`; -1 for users' orders."""
    head: NDArray[np.int32]
    tail: NDArray[np.int32]
    depth: NDArray[np.int64]
    """Displayed size by ring place."""
    feed: NDArray[np.int64]
    """[FEEDS, 6]: on, next push (ms), version at the last push, update id `u`, depth, ms between pushes."""
    shown_n: NDArray[np.int64]
    """[FEEDS, 2]: levels published a side."""
    shown_price: NDArray[np.int64]
    shown_size: NDArray[np.int64]
    row_feed: NDArray[np.int8]
    row_flags: NDArray[np.uint8]
    row_side: NDArray[np.int8]
    row_time: NDArray[np.int64]
    row_price: NDArray[np.int64]
    row_size: NDArray[np.int64]
    row_frame: NDArray[np.int64]
    row_push: NDArray[np.int64]
    """Time at which the frame was sent, ms."""
    row_id: NDArray[np.int64]
    """`u` of book rows, trade number of trades."""
    row_seq: NDArray[np.int64]
    """Cross sequence: grows with every change of the book, not dense."""
    fills: NDArray[np.int64]
    """[FILLS, 7]: owner, price, size, time (ms), maker (1/0), trade number, size left."""
    candles: NDArray[np.int64]
    """[CANDLES, 7]: minute, open, high, low, close, volume (steps), turnover (ticks x steps)."""


def new_lob(latents: int) -> Lob:
    """An empty book; `latents` is the length of the flow's float state."""
    i = np.zeros(I_STATE, np.int64)
    i[BEST_BID], i[BEST_ASK], i[LAST] = NO_BID, NO_ASK, -1
    i[FREE] = SLOTS
    i[TRIGGER_LOW], i[TRIGGER_HIGH] = NO_BID, NO_ASK
    i[CANDLE_LAST] = -1
    rows = {
        "row_feed": np.int8, "row_flags": np.uint8, "row_side": np.int8, "row_time": np.int64, "row_price": np.int64,
        "row_size": np.int64, "row_frame": np.int64, "row_push": np.int64, "row_id": np.int64, "row_seq": np.int64,
    }  # fmt: skip
    return Lob(
        i=i,
        f=np.zeros(latents, np.float64),
        rng=np.zeros(2, np.uint64),
        price=np.zeros(SLOTS, np.int64),
        left=np.zeros(SLOTS, np.int64),
        side=np.zeros(SLOTS, np.int8),
        owner=np.zeros(SLOTS, np.int64),
        next=np.full(SLOTS, -1, np.int32),
        prev=np.full(SLOTS, -1, np.int32),
        free=np.arange(SLOTS - 1, -1, -1, dtype=np.int32),
        live=np.zeros(SLOTS, np.int32),
        where=np.full(SLOTS, -1, np.int32),
        head=np.full(RING, -1, np.int32),
        tail=np.full(RING, -1, np.int32),
        depth=np.zeros(RING, np.int64),
        feed=np.zeros((FEEDS, 6), np.int64),
        shown_n=np.zeros((FEEDS, 2), np.int64),
        shown_price=np.zeros((FEEDS, 2, DEEPEST), np.int64),
        shown_size=np.zeros((FEEDS, 2, DEEPEST), np.int64),
        fills=np.zeros((FILLS, 7), np.int64),
        candles=np.zeros((CANDLES, 7), np.int64),
        **{name: np.zeros(ROWS, dtype) for name, dtype in rows.items()},
    )


@njit(cache=True)
def add(b, side, price, size, owner):  # type: ignore[no-untyped-def]
    """Rest an order at the end of its level's queue and return its slot; -1 when all slots are taken."""
    i = b.i
    if i[FREE] == 0:
        return -1
    i[FREE] -= 1
    slot = b.free[i[FREE]]
    place = price & _MASK
    b.price[slot], b.left[slot], b.side[slot], b.owner[slot] = price, size, side, owner
    b.next[slot] = -1
    b.prev[slot] = b.tail[place]
    if b.tail[place] >= 0:
        b.next[b.tail[place]] = slot
    else:
        b.head[place] = slot
        i[N_BIDS + side] += 1
        if side == 0 and price > i[BEST_BID]:
            i[BEST_BID] = price
        elif side == 1 and price < i[BEST_ASK]:
            i[BEST_ASK] = price
    b.tail[place] = slot
    b.depth[place] += size
    if owner == BACKGROUND:
        b.where[slot] = i[LIVE]
        b.live[i[LIVE]] = slot
        i[LIVE] += 1
    else:
        b.where[slot] = -1
    i[VERSION] += 1
    i[BOOK_MS] = i[NOW_MS]
    return slot


@njit(cache=True)
def remove(b, slot):  # type: ignore[no-untyped-def]
    """Take an order off the book."""
    i = b.i
    price, side = b.price[slot], b.side[slot]
    place = price & _MASK
    before, after = b.prev[slot], b.next[slot]
    if before >= 0:
        b.next[before] = after
    else:
        b.head[place] = after
    if after >= 0:
        b.prev[after] = before
    else:
        b.tail[place] = before
    b.depth[place] -= b.left[slot]
    b.left[slot] = 0
    where = b.where[slot]
    if where >= 0:
        i[LIVE] -= 1
        moved = b.live[i[LIVE]]
        b.live[where] = moved
        b.where[moved] = where
        b.where[slot] = -1
    b.free[i[FREE]] = slot
    i[FREE] += 1
    i[VERSION] += 1
    i[BOOK_MS] = i[NOW_MS]
    if b.head[place] < 0:
        i[N_BIDS + side] -= 1
        _rescan(b, side, price)


@njit(cache=True)
def _rescan(b, side, price):  # type: ignore[no-untyped-def]
    i = b.i
    if side == 0 and price == i[BEST_BID]:
        if i[N_BIDS] == 0:
            i[BEST_BID] = NO_BID
            return
        while b.head[price & _MASK] < 0:
            price -= 1
        i[BEST_BID] = price
    elif side == 1 and price == i[BEST_ASK]:
        if i[N_ASKS] == 0:
            i[BEST_ASK] = NO_ASK
            return
        while b.head[price & _MASK] < 0:
            price += 1
        i[BEST_ASK] = price


@njit(cache=True)
def take(b, side, limit, size, owner):  # type: ignore[no-untyped-def]
    """Match an incoming order against the other side up to its limit, oldest first; return the size left.

    Every match is a row of one public trade frame, and a row of `fills` for each user it concerns.
    """
    i = b.i
    first = i[N_ROWS]
    while size > 0 and i[N_ROWS] < ROWS and i[N_FILLS] < FILLS - 1:
        best = i[BEST_ASK] if side == 0 else i[BEST_BID]
        if (side == 0 and best > limit) or (side == 1 and best < limit) or i[N_ASKS - side] == 0:
            break
        slot = b.head[best & _MASK]
        amount = min(size, b.left[slot])
        size -= amount
        i[TRADE_ID] += 1
        _record_trade(b, side, best, amount)
        if b.owner[slot] != BACKGROUND:
            _record_fill(b, b.owner[slot], best, amount, 1, b.left[slot] - amount)
        if owner != BACKGROUND:
            _record_fill(b, owner, best, amount, 0, size)
        if amount == b.left[slot]:
            remove(b, slot)
        else:
            b.left[slot] -= amount
            b.depth[best & _MASK] -= amount
            i[VERSION] += 1
            i[BOOK_MS] = i[NOW_MS]
    if i[N_ROWS] > first:
        b.row_flags[first] |= 2
        b.row_flags[i[N_ROWS] - 1] |= 4
        i[FRAME] += 1
    return size


@njit(cache=True)
def _record_trade(b, side, price, size):  # type: ignore[no-untyped-def]
    i = b.i
    n, now = i[N_ROWS], i[NOW_MS]
    b.row_feed[n], b.row_flags[n], b.row_side[n] = TRADE_FEED, 0, side
    b.row_time[n], b.row_price[n], b.row_size[n] = now, price, size
    b.row_frame[n], b.row_push[n], b.row_id[n], b.row_seq[n] = i[FRAME], now, i[TRADE_ID], i[VERSION]
    i[N_ROWS] = n + 1
    i[LAST] = price
    if price <= i[TRIGGER_LOW]:
        i[TRIGGERED] |= 1
    if price >= i[TRIGGER_HIGH]:
        i[TRIGGERED] |= 2
    minute = now // 60_000
    place = minute % CANDLES
    c = b.candles[place]
    if c[0] != minute:
        c[0], c[1], c[2], c[3], c[5], c[6] = minute, price, price, price, 0, 0
        if i[CANDLE_LAST] < 0:
            i[CANDLE_FIRST] = minute
        i[CANDLE_LAST] = minute
    c[2], c[3], c[4] = max(c[2], price), min(c[3], price), price
    c[5] += size
    c[6] += price * size


@njit(cache=True)
def _record_fill(b, owner, price, size, maker, left):  # type: ignore[no-untyped-def]
    i = b.i
    row = b.fills[i[N_FILLS]]
    row[0], row[1], row[2], row[3], row[4], row[5], row[6] = owner, price, size, i[NOW_MS], maker, i[TRADE_ID], left
    i[N_FILLS] += 1


@njit(cache=True)
def top(b, side, count, prices, sizes):  # type: ignore[no-untyped-def]
    """Write the best `count` levels of a side, best first, and return how many there are."""
    levels = b.i[N_BIDS + side]
    want = min(count, levels)
    price = b.i[BEST_BID + side]
    step = -1 if side == 0 else 1
    n = 0
    while n < want:
        place = price & _MASK
        if b.head[place] >= 0:
            prices[n], sizes[n] = price, b.depth[place]
            n += 1
        price += step
    return n


@njit(cache=True)
def _book_row(b, feed, flags, side, price, size, push_ms):  # type: ignore[no-untyped-def]
    i = b.i
    n = i[N_ROWS]
    b.row_feed[n], b.row_flags[n], b.row_side[n] = feed, flags, side
    b.row_time[n], b.row_price[n], b.row_size[n] = i[BOOK_MS], price, size
    b.row_frame[n], b.row_push[n], b.row_id[n], b.row_seq[n] = i[FRAME], push_ms, b.feed[feed, 3], i[VERSION]
    i[N_ROWS] = n + 1


@njit(cache=True)
def publish(b, feed, push_ms, snapshot, prices, sizes):  # type: ignore[no-untyped-def]
    """Emit one message of a book topic: the whole top of the book, or what differs from the last message.

    A level that left the published depth is deleted, one that entered it is sent whole; nothing is sent when nothing
    differs. `prices` and `sizes` are scratch of :data:`DEEPEST` elements.
    """
    i = b.i
    start = i[N_ROWS]
    b.feed[feed, 2] = i[VERSION]
    b.feed[feed, 3] += 1
    mark = 1 if snapshot else 0
    for side in range(2):
        n = top(b, side, b.feed[feed, 4], prices, sizes)
        old_price, old_size = b.shown_price[feed, side], b.shown_size[feed, side]
        old_n = 0 if snapshot else b.shown_n[feed, side]
        sign = -1 if side == 0 else 1
        k = j = 0
        while k < n or j < old_n:
            if j == old_n or (k < n and (prices[k] - old_price[j]) * sign < 0):
                _book_row(b, feed, mark, side, prices[k], sizes[k], push_ms)
                k += 1
            elif k == n or prices[k] != old_price[j]:
                _book_row(b, feed, mark, side, old_price[j], 0, push_ms)
                j += 1
            else:
                if sizes[k] != old_size[j]:
                    _book_row(b, feed, mark, side, prices[k], sizes[k], push_ms)
                k += 1
                j += 1
        for k in range(n):
            old_price[k], old_size[k] = prices[k], sizes[k]
        b.shown_n[feed, side] = n
    if i[N_ROWS] > start:
        b.row_flags[start] |= 2
        b.row_flags[i[N_ROWS] - 1] |= 4
        i[FRAME] += 1
    elif not snapshot:
        b.feed[feed, 3] -= 1
