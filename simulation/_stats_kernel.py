"""The walk through a book that the market's statistics need, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from market.events import BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT
from simulation._lob import inner
from simulation._replay_orders import B_PRICE, B_SIZE, KNOWN, displayed, set_level

#: Columns of `quotes`: time, best bid and its size, best ask and its size, order-flow imbalance since the last quote,
#: whether the book was unknown in between.
Q_TIME, Q_BID, Q_BID_SIZE, Q_ASK, Q_ASK_SIZE, Q_FLOW, Q_BROKEN = range(7)
#: Columns of `sums`: samples of depth, sizes added and taken away near the best price.
N_SAMPLES, ADDED, REMOVED, N_ADDED, N_REMOVED = range(5)
#: Levels near the best price.
NEAR = 10


@inner
def _near(s, side, price):  # type: ignore[no-untyped-def]
    """Whether a price lies within the best levels of its side."""
    n = s.counts[side]
    if n == 0:
        return False
    edge = s.book[B_PRICE, side, min(n, NEAR) - 1]
    return price >= edge if side == 0 else price <= edge


@inner
def _flow(quotes, n):  # type: ignore[no-untyped-def]
    """Order-flow imbalance between two quotes (Cont, Kukanov and Stoikov 2014, equation 1)."""
    old, new = quotes[n - 1], quotes[n]
    flow = 0
    if new[Q_BID] >= old[Q_BID]:
        flow += new[Q_BID_SIZE]
    if new[Q_BID] <= old[Q_BID]:
        flow -= old[Q_BID_SIZE]
    if new[Q_ASK] <= old[Q_ASK]:
        flow -= new[Q_ASK_SIZE]
    if new[Q_ASK] >= old[Q_ASK]:
        flow += old[Q_ASK_SIZE]
    return flow


@njit(cache=True)
def walk(s, kind, flags, side, time_ms, price, size, quotes, n, depth, sums, sample_ms):  # type: ignore[no-untyped-def]
    """Take in rows; write a quote for each whole book message from row `n` of `quotes` on, and return the next row.

    `depth` [2, NEAR] sums displayed sizes by level at every multiple of `sample_ms`; `s` is a stage of the replay.
    """
    broken = 1 if s.state[KNOWN] == 0 else 0
    for row in range(len(kind)):
        if kind[row] == GAP:
            s.state[KNOWN], broken = 0, 1
        if kind[row] != BOOK:
            continue
        flag, own = flags[row], np.int64(side[row])
        fresh = flag & SNAPSHOT != 0
        if fresh and flag & FIRST:
            s.counts[:] = 0
            s.state[KNOWN] = 1
        if s.state[KNOWN] == 0:
            continue
        if not flag & EMPTY:
            before = np.int64(0) if fresh else displayed(s, own, price[row])
            near = _near(s, own, price[row])
            set_level(s, own, price[row], size[row])
            if not fresh and (near or _near(s, own, price[row])) and before < 1 << 61:
                change = size[row] - before
                sums[ADDED if change > 0 else REMOVED] += abs(change)
                sums[N_ADDED if change > 0 else N_REMOVED] += 1
        if not flag & LAST or s.counts[0] == 0 or s.counts[1] == 0:
            continue
        line = quotes[n]
        line[Q_TIME], line[Q_BROKEN] = time_ms[row], broken
        line[Q_BID], line[Q_BID_SIZE] = s.book[B_PRICE, 0, 0], s.book[B_SIZE, 0, 0]
        line[Q_ASK], line[Q_ASK_SIZE] = s.book[B_PRICE, 1, 0], s.book[B_SIZE, 1, 0]
        line[Q_FLOW] = 0
        if n > 0 and broken == 0:
            line[Q_FLOW] = _flow(quotes, n)
        if n == 0 or time_ms[row] // sample_ms != quotes[n - 1, Q_TIME] // sample_ms:
            sums[N_SAMPLES] += 1
            for k in range(2):
                for level in range(min(NEAR, s.counts[k])):
                    depth[k, level] += s.book[B_SIZE, k, level]
        broken = 0
        n += 1
    return n
