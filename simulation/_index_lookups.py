"""What the index can be asked: the book at a step, the next trade or step that reaches a price, a queue's size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulation import _layout as lay
from simulation._index_build import BLOCK


class Market(NamedTuple):
    """The index; see :class:`simulation.index.FillIndex`."""

    clock: NDArray[np.int64]
    begins: NDArray[np.bool_]
    best: NDArray[np.int64]
    worst: NDArray[np.int64]
    best_high: NDArray[np.int64]
    worst_low: NDArray[np.int64]
    trade_step: NDArray[np.int64]
    trade_price: NDArray[np.int64]
    trade_size: NDArray[np.int64]
    trade_taker: NDArray[np.int8]
    trade_low: NDArray[np.int64]
    trade_high: NDArray[np.int64]
    low: NDArray[np.int64]
    offsets: NDArray[np.int64]
    change_step: NDArray[np.int64]
    change_size: NDArray[np.int64]
    segment_step: NDArray[np.int64]
    segment_clock: NDArray[np.int64]
    segment_end: NDArray[np.int64]
    funding_ms: NDArray[np.int64]
    funding_rate: NDArray[np.float64]


@njit(cache=True, _nrt=False)
def reach(values, target, low):  # type: ignore[no-untyped-def]
    """First place from `low` on whose value is at least `target`; values ascend."""
    high = len(values)
    step = 1
    while low + step < high and values[low + step - 1] < target:
        low += step
        step *= 2
    high = min(low + step, high)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < target:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, _nrt=False)
def turn(m, moment, low):  # type: ignore[no-untyped-def]
    """First step from `low` on that begins a frame after the clock has reached a moment."""
    step = max(reach(m.clock, moment, max(low - 1, 0)) + 1, low)
    while step < len(m.clock) and not m.begins[step]:
        step += 1
    return step


@njit(cache=True, _nrt=False)
def last_change(m, side, key, step):  # type: ignore[no-untyped-def]
    """The last change of a level up to a step; -1 where there is none."""
    level = key - m.low[side]
    if level < 0 or level >= m.offsets.shape[1] - 1:
        return -1
    low, high = m.offsets[side, level], m.offsets[side, level + 1]
    begin = low
    while low < high:
        middle = (low + high) >> 1
        if m.change_step[middle] <= step:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low > begin else -1


@njit(cache=True, _nrt=False)
def size_of(m, side, key, step):  # type: ignore[no-untyped-def]
    """Size of a level after a step."""
    place = last_change(m, side, key, step)
    return m.change_size[place] if place >= 0 else 0


@njit(cache=True, _nrt=False)
def displayed(m, side, key, step):  # type: ignore[no-untyped-def]
    """Displayed size of a level after a step; `HIDDEN` where it lies deeper than the book shows."""
    return lay.HIDDEN if key < m.worst[side, step] else size_of(m, side, key, step)


@njit(cache=True, _nrt=False)
def first_at_most(values, lows, limit, start, stop):  # type: ignore[no-untyped-def]
    """First place in ``[start, stop)`` whose value is at most `limit`."""
    place = start
    while place < stop:
        if place % BLOCK == 0 and lows[place // BLOCK] > limit:
            place += BLOCK
        elif values[place] <= limit:
            return place
        else:
            place += 1
    return stop


@njit(cache=True, _nrt=False)
def first_at_least(values, highs, limit, start, stop):  # type: ignore[no-untyped-def]
    """First place in ``[start, stop)`` whose value is at least `limit`."""
    place = start
    while place < stop:
        if place % BLOCK == 0 and highs[place // BLOCK] < limit:
            place += BLOCK
        elif values[place] >= limit:
            return place
        else:
            place += 1
    return stop


@njit(cache=True, _nrt=False)
def capped(m, side, key, queue, start, stop):  # type: ignore[no-untyped-def]
    """The queue after what the messages of the steps in ``[start, stop)`` show at its price."""
    if queue == 0 or start >= stop:
        return queue
    level = key - m.low[side]
    inside = 0 <= level < m.offsets.shape[1] - 1
    end = m.offsets[side, level + 1] if inside else 0
    place = last_change(m, side, key, start - 1)
    size = m.change_size[place] if place >= 0 else 0
    place = (place + 1 if place >= 0 else m.offsets[side, level]) if inside else 0
    step = start
    while True:
        until = m.change_step[place] if place < end and m.change_step[place] < stop else stop
        # An empty level is a queue of nothing as soon as the book shows something deeper.
        if size == 0 and first_at_most(m.worst[side], m.worst_low[side], key, step, until) < until:
            return 0
        if until == stop:
            return queue
        while place < end and m.change_step[place] == until:
            size = m.change_size[place]
            place += 1
        if size > 0:
            queue = min(queue, size)
        step = until
        if queue == 0:
            return 0


@njit(cache=True, _nrt=False)
def next_trade(m, side, key, trade, stop):  # type: ignore[no-untyped-def]
    """First trade from `trade` on, before step `stop`, whose taker hits `side` at `key` or through it."""
    count = len(m.trade_step)
    while trade < count:
        if side == 0:
            trade = first_at_most(m.trade_price, m.trade_low, key, trade, count)
        else:
            trade = first_at_least(m.trade_price, m.trade_high, -key, trade, count)
        if trade >= count or m.trade_step[trade] >= stop:
            return count
        if m.trade_taker[trade] == 1 - side:
            return trade
        trade += 1
    return count
