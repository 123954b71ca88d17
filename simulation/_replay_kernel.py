"""A recorded market run again, compiled: frames out as they came in, users' orders filled by the fill model.

The book, the trades and their order are those of the recording. A book topic as deep as the recorded one passes its
messages on one by one; a shallower one is made from the book and pushed at its interval.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from market.events import BOOK, EMPTY, FIRST, GAP, LIQUIDATION, SNAPSHOT, TICKER, TRADE
from simulation._lob import (
    BEST_BID,
    BOOK_MS,
    F_DEPTH,
    F_NEXT,
    F_ON,
    F_PUSH,
    F_U,
    F_VERSION,
    FEEDS,
    FRAME,
    LIQUIDATIONS,
    N_BIDS,
    N_FILLS,
    N_LIQUIDATED,
    N_ROWS,
    NO_ASK,
    NO_BID,
    NOW_MS,
    Q_PRICE,
    Q_SIDE,
    Q_SIZE,
    Q_TIME,
    R_FLAGS,
    ROWS,
    TRADE_ID,
    TRIGGERED,
    VERSION,
    add_row,
    close_message,
    differ,
    inner,
    is_due,
    publish_best,
    record_trade,
)
from simulation._lob_flow import FILLED, FULL, REACHED, TRIGGER
from simulation._replay_orders import (
    B_PRICE,
    B_SIZE,
    CLOCK,
    CURSOR,
    DEEP,
    ENDED,
    FIRST_SNAPSHOT,
    KNOWN,
    MOST_TRADES,
    NOTHING,
    OWES,
    RESTART,
    RESTING,
    TOLD,
    book_meets_orders,
    set_level,
    trade_meets_orders,
)

#: Further reasons why `replay` came back: it has read all rows, or the book has outgrown its arrays.
MORE, GROW = 4, 5


@inner
def _note_best(b, s):  # type: ignore[no-untyped-def]
    for side in range(2):
        n = s.counts[side] if s.state[KNOWN] != 0 else 0
        b.i[N_BIDS + side] = n
        b.i[BEST_BID + side] = s.book[B_PRICE, side, 0] if n > 0 else NO_BID if side == 0 else NO_ASK


@inner
def _passes(b, s, feed):  # type: ignore[no-untyped-def]
    """Whether a topic is as deep as the recording, so that messages are passed on as they were."""
    return b.feed[feed, F_DEPTH] >= s.state[DEEP] and b.feed[feed, F_DEPTH] > 1


@inner
def _restart(feeds, feed):  # type: ignore[no-untyped-def]
    """Begin a topic's update ids anew, as after a restart of the service, so that nobody takes it for going on."""
    feeds[feed, F_U] = 0 if feeds[feed, F_U] != 1 else 2


@njit(cache=True)
def publish_shown(b, s, feed, push_ms, snapshot):  # type: ignore[no-untyped-def]
    """A message of a topic made from the book: all it shows, or what differs from what it has shown."""
    if s.state[OWES + feed] != NOTHING:
        if s.state[OWES + feed] == RESTART:
            _restart(b.feed, feed)
        snapshot = np.int64(1)
        s.state[OWES + feed] = NOTHING
    start = b.i[N_ROWS]
    for side in range(2):
        n = min(s.counts[side], b.feed[feed, F_DEPTH])
        prices, sizes = s.book[B_PRICE, side], s.book[B_SIZE, side]
        differ(b.i, b.rows, b.feed, b.shown, feed, np.int64(side), snapshot, n, prices, sizes, push_ms)
    close_message(b.i, b.rows, b.feed, feed, start, push_ms)


@inner
def _push(b, s, feed, push_ms, best):  # type: ignore[no-untyped-def]
    """The interval of a topic has passed."""
    owes = s.state[OWES + feed] != NOTHING
    if s.state[KNOWN] == 0 or (_passes(b, s, feed) and not owes):
        return
    if owes or (b.feed[feed, F_DEPTH] > 1 and b.feed[feed, F_VERSION] != b.i[VERSION]):
        publish_shown(b, s, feed, push_ms, np.int64(0))
    elif b.feed[feed, F_DEPTH] == 1 and is_due(b.i, b.feed, feed, push_ms):
        for side in range(2):
            best[side, 0], best[side, 1] = b.i[BEST_BID + side], 0
            if s.counts[side] > 0:
                best[side, 1] = s.book[B_SIZE, side, 0]
        publish_best(b.i, b.rows, b.feed, b.shown, feed, best, push_ms)


@inner
def _pass_on(b, s, t, first, last, feed):  # type: ignore[no-untyped-def]
    """A recorded book message as it was."""
    snapshot = t.flags[first] & SNAPSHOT != 0
    if s.state[OWES + feed] != NOTHING and not snapshot:
        publish_shown(b, s, feed, b.i[NOW_MS], np.int64(1))
        return
    if s.state[OWES + feed] == RESTART:
        _restart(b.feed, feed)
    s.state[OWES + feed] = NOTHING
    start, u = b.i[N_ROWS], b.feed[feed, F_U] + 1
    for row in range(first, last):
        flags = np.int64(t.flags[row] & (SNAPSHOT | EMPTY))
        side, price, size = np.int64(t.side[row]), t.price[row], t.size[row]
        add_row(b.i, b.rows, np.int64(feed), flags, side, t.time_ms[row], price, size, b.i[NOW_MS], u)
    close_message(b.i, b.rows, b.feed, feed, start, b.i[NOW_MS])


@inner
def _book_frame(b, s, t, first, last):  # type: ignore[no-untyped-def]
    i, state = b.i, s.state
    deep = state[DEEP]
    if t.flags[first] & SNAPSHOT and t.flags[first] & FIRST:
        s.counts[:] = state[DEEP] = 0
        state[KNOWN] = 1
    if state[KNOWN] == 0:
        return
    i[VERSION] += last - first
    i[BOOK_MS] = t.time_ms[first]
    for row in range(first, last):
        if not t.flags[row] & EMPTY:
            set_level(s, t.side[row], t.price[row], t.size[row])
    _note_best(b, s)
    state[DEEP] = max(state[DEEP], max(s.counts[0], s.counts[1]))
    for feed in range(FEEDS):
        if b.feed[feed, F_ON] == 0:
            continue
        if _passes(b, s, feed):
            _pass_on(b, s, t, first, last, np.int64(feed))
        elif b.feed[feed, F_DEPTH] >= deep and state[OWES + feed] == NOTHING:
            state[OWES + feed] = FIRST_SNAPSHOT  # passed messages on so far
    if state[RESTING] > 0:
        book_meets_orders(b, s)


@inner
def _trade_frame(b, s, t, first, last):  # type: ignore[no-untyped-def]
    i = b.i
    start = i[N_ROWS]
    for row in range(first, last):
        i[TRADE_ID] += 1
        price, size, taker = t.price[row], t.size[row], np.int64(t.side[row])
        if s.state[KNOWN] != 0 and s.state[RESTING] > 0:
            trade_meets_orders(b, s, price, size, taker)
        record_trade(i, b.rows, b.candles, taker, price, size, t.time_ms[row])
    b.rows[start, R_FLAGS] |= 2
    b.rows[i[N_ROWS] - 1, R_FLAGS] |= 4
    i[FRAME] += 1


@inner
def _gap(b, s):  # type: ignore[no-untyped-def]
    """The book is unknown until the next snapshot, with which every topic begins anew."""
    s.state[KNOWN] = 0
    for feed in range(FEEDS):
        if b.feed[feed, F_ON] != 0 and s.state[OWES + feed] == NOTHING:
            s.state[OWES + feed] = RESTART
    _note_best(b, s)


@inner
def _liquidations(b, t, first, last):  # type: ignore[no-untyped-def]
    i = b.i
    for row in range(first, last):
        if i[N_LIQUIDATED] == LIQUIDATIONS:
            return
        line = b.liquidated[i[N_LIQUIDATED]]
        line[Q_SIDE], line[Q_PRICE], line[Q_SIZE], line[Q_TIME] = t.side[row], t.price[row], t.size[row], t.time_ms[row]
        i[N_LIQUIDATED] += 1


@inner
def _frame_end(t, first):  # type: ignore[no-untyped-def]
    """The row after the frame that begins at `first`."""
    last = first + 1
    while last < len(t.kind) and t.ordinal[last] == t.ordinal[first] and t.kind[last] == t.kind[first]:
        if t.kind[last] == BOOK and t.flags[last] & FIRST:
            break
        if t.kind[last] != BOOK and last - first == MOST_TRADES:
            break
        last += 1
    return last


@inner
def _frame(b, s, t, first, last):  # type: ignore[no-untyped-def]
    kind = t.kind[first]
    if kind == BOOK:
        _book_frame(b, s, t, first, last)
    elif kind == TRADE:
        _trade_frame(b, s, t, first, last)
    elif kind == GAP:
        _gap(b, s)
    elif kind == TICKER:
        for row in range(first, last):
            s.state[TOLD + t.side[row]] = t.price[row]
    elif kind == LIQUIDATION:
        _liquidations(b, t, first, last)


@njit(cache=True)
def replay(b, s, t, until_ms):  # type: ignore[no-untyped-def]
    """Run the recording to `until_ms` of exchange time and return why it stopped.

    How a span is cut into calls, or rows into tapes, changes nothing.
    """
    i, state = b.i, s.state
    best = np.zeros((2, 2), np.int64)
    while True:
        if i[TRIGGERED] != 0:
            return TRIGGER
        if i[N_FILLS] > 0:
            return FILLED
        first, frame_ms, last = state[CURSOR], until_ms + 1, state[CURSOR]
        if first < len(t.kind):
            last = _frame_end(t, first)
            frame_ms = state[CLOCK]
            if t.kind[first] == BOOK or t.kind[first] == TRADE or t.kind[first] == GAP:
                for row in range(first, last):
                    frame_ms = max(frame_ms, t.time_ms[row])
        elif state[ENDED] == 0:
            return MORE
        if i[N_ROWS] > 0 and i[N_ROWS] + FEEDS * (last - first + 2_000) > ROWS:
            return FULL
        if i[N_LIQUIDATED] > LIQUIDATIONS // 2:
            return FULL
        if max(s.counts[0], s.counts[1]) + last - first > s.book.shape[2]:
            return GROW
        push, which = until_ms + 1, 0
        for feed in range(FEEDS):
            if b.feed[feed, F_ON] != 0 and b.feed[feed, F_NEXT] < push:
                push, which = b.feed[feed, F_NEXT], feed
        if min(frame_ms, push) > until_ms:
            i[NOW_MS] = max(i[NOW_MS], until_ms)
            return REACHED
        if frame_ms <= push:
            i[NOW_MS] = max(i[NOW_MS], frame_ms)
            state[CLOCK] = frame_ms
            state[CURSOR] = last
            _frame(b, s, t, first, last)
        else:
            i[NOW_MS] = max(i[NOW_MS], push)
            b.feed[which, F_NEXT] = push + b.feed[which, F_PUSH]
            _push(b, s, np.int64(which), push, best)
