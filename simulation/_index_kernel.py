"""The life of one plan on the index: it touches the few steps that concern it, where the kernel reads every event.

The rules are those of `_kernel`, to the bit. What is rare is left to it: a fill in part, an exit that the book cannot
take at once, and maker targets. `live` then says :data:`DEFER`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulation import _layout as lay
from simulation._index_build import BLOCK

#: The life of this plan has to be read event by event.
DEFER = -2
#: Prices that an exit looks at before it is left to the kernel.
_DEEPEST = 256


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


@njit(cache=True)
def _reach(values, target, low):  # type: ignore[no-untyped-def]
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


@njit(cache=True)
def _turn(m, moment, low):  # type: ignore[no-untyped-def]
    """First step from `low` on that begins a frame after the clock has reached a moment."""
    step = max(_reach(m.clock, moment, max(low - 1, 0)) + 1, low)
    while step < len(m.clock) and not m.begins[step]:
        step += 1
    return step


@njit(cache=True)
def _last_change(m, side, key, step):  # type: ignore[no-untyped-def]
    """The last change of a level up to a step, and where the level's changes begin: -1 where there is none."""
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


@njit(cache=True)
def _size(m, side, key, step):  # type: ignore[no-untyped-def]
    place = _last_change(m, side, key, step)
    return m.change_size[place] if place >= 0 else 0


@njit(cache=True)
def _displayed(m, side, key, step):  # type: ignore[no-untyped-def]
    return lay.HIDDEN if key < m.worst[side, step] else _size(m, side, key, step)


@njit(cache=True)
def _first_at_most(values, lows, limit, start, stop):  # type: ignore[no-untyped-def]
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


@njit(cache=True)
def _first_at_least(values, highs, limit, start, stop):  # type: ignore[no-untyped-def]
    place = start
    while place < stop:
        if place % BLOCK == 0 and highs[place // BLOCK] < limit:
            place += BLOCK
        elif values[place] >= limit:
            return place
        else:
            place += 1
    return stop


@njit(cache=True)
def _capped(m, side, key, queue, start, stop):  # type: ignore[no-untyped-def]
    """The queue after what the messages of the steps in ``[start, stop)`` show at its price."""
    if queue == 0 or start >= stop:
        return queue
    level = key - m.low[side]
    inside = 0 <= level < m.offsets.shape[1] - 1
    end = m.offsets[side, level + 1] if inside else 0
    place = _last_change(m, side, key, start - 1)
    size = m.change_size[place] if place >= 0 else 0
    place = (place + 1 if place >= 0 else m.offsets[side, level]) if inside else 0
    step = start
    while True:
        until = m.change_step[place] if place < end and m.change_step[place] < stop else stop
        # An empty level is a queue of nothing as soon as the book shows something deeper.
        if size == 0 and _first_at_most(m.worst[side], m.worst_low[side], key, step, until) < until:
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


@njit(cache=True)
def _next_trade(m, side, key, trade, stop):  # type: ignore[no-untyped-def]
    """First trade from `trade` on, before step `stop`, whose taker hits `side` at `key` or through it."""
    count = len(m.trade_step)
    while trade < count:
        if side == 0:
            trade = _first_at_most(m.trade_price, m.trade_low, key, trade, count)
        else:
            trade = _first_at_least(m.trade_price, m.trade_high, -key, trade, count)
        if trade >= count or m.trade_step[trade] >= stop:
            return count
        if m.trade_taker[trade] == 1 - side:
            return trade
        trade += 1
    return count


@njit(cache=True)
def _walk(m, side, step, wanted, limit):  # type: ignore[no-untyped-def]
    """Take from one side of the book, best price first, down to a key: size taken and its value."""
    taken, value = 0, 0
    key = m.best[side, step]
    for _ in range(_DEEPEST):
        if taken == wanted or key < limit or key < m.worst[side, step]:
            return taken, value
        part = min(wanted - taken, _size(m, side, key, step))
        taken += part
        value += part * key * (1 - 2 * side)
        key -= 1
    return -1, 0


@njit(cache=True)
def _fill_step(m, plan, start, stop):  # type: ignore[no-untyped-def]
    """The step in ``[start, stop)`` at which a passive entry that arrived at `start` fills as a whole, else `stop`.

    :data:`DEFER` where it fills in part.
    """
    side, key = plan.side, plan.key
    queue = _displayed(m, side, key, start - 1)
    crossing = _first_at_least(m.best[1 - side], m.best_high[1 - side], -key, start, stop)
    trade = _reach(m.trade_step, start, 0)
    seen = start
    while True:
        trade = _next_trade(m, side, key, trade, crossing)
        if trade == len(m.trade_step):
            return crossing
        step = m.trade_step[trade]
        if m.trade_price[trade] * (1 - 2 * side) < key:
            return step
        queue = _capped(m, side, key, queue, seen, step)
        seen = step
        if queue != lay.HIDDEN:
            reached = m.trade_size[trade] - queue
            queue = max(-reached, 0)
            if reached > 0:
                return step if reached >= plan.size else DEFER
        trade += 1


@njit(cache=True)
def _fund(m, plan, filled_at, taken_due, exit_at, exit_due):  # type: ignore[no-untyped-def]
    """Charge the payments between entry and exit; whether their rates are known."""
    sign = 1 - 2 * plan.side
    for i in range(len(m.funding_ms)):
        due = m.funding_ms[i]
        step = _reach(m.clock, due, 0)
        before = step < filled_at or (step == filled_at and (taken_due < 0 or due <= taken_due))
        if before or step > exit_at or (step == exit_at and due > exit_due):
            continue
        mark = float(plan.key * sign)
        bid, ask = m.best[0, step - 1], m.best[1, step - 1]
        if bid != -lay.NEVER and ask != -lay.NEVER:
            mark = (bid - ask) / 2.0
        if np.isnan(m.funding_rate[i]):
            return False
        plan.funding += sign * m.funding_rate[i] * mark * plan.filled
    return True


@njit(cache=True)
def live(m, plan, latency):  # type: ignore[no-untyped-def]
    """Live a plan; its record then tells the outcome.

    Returns
    -------
    int
        The status, or :data:`DEFER` with the record as it was.
    """
    side = plan.side
    if plan.target_maker:
        return DEFER
    adopted = _turn(m, plan.decide, 0)
    segment = np.searchsorted(m.segment_step, adopted) - 1
    if segment < 0 or adopted >= m.segment_end[segment] or plan.decide < m.segment_clock[segment]:
        return lay.UNKNOWN
    end = m.segment_end[segment]
    arrived = _reach(m.clock, plan.arrive, adopted)
    if arrived >= end:
        return lay.UNKNOWN
    if plan.taking:
        filled_at, taken_due = arrived, plan.arrive
        # The entry walks the other side of the book, whose keys are the negative of its own.
        filled, value = _walk(m, 1 - side, arrived - 1, plan.size, -plan.key)
        if filled < 0:
            return DEFER
        if filled == 0:
            plan.end_ms = m.clock[arrived]
            return lay.UNFILLED
    else:
        if m.best[1 - side, arrived - 1] >= -plan.key:
            plan.end_ms = m.clock[arrived]
            return lay.REJECTED
        cancelled = _reach(m.clock, plan.cancel_command + latency, max(_turn(m, plan.cancel_command, 0), arrived))
        filled_at, taken_due = _fill_step(m, plan, arrived, min(cancelled, end)), -1
        if filled_at == DEFER:
            return DEFER
        if filled_at >= end:
            return lay.UNKNOWN
        if filled_at == cancelled:
            plan.end_ms = m.clock[cancelled]
            return lay.UNFILLED
        filled, value = plan.size, plan.size * plan.key * (1 - 2 * side)
    return _leave(m, plan, latency, end, filled_at, taken_due, filled, value)


@njit(cache=True)
def _leave(m, plan, latency, end, filled_at, taken_due, filled, value):  # type: ignore[no-untyped-def]
    """From the fill to the market exit."""
    side = plan.side
    sign = 1 - 2 * side
    entry_ms = m.clock[filled_at]
    held_until = _turn(m, entry_ms + plan.hold, filled_at + 1)
    trade = _reach(m.trade_step, filled_at, 0)
    stop, target = plan.stop * sign, plan.target * sign
    low, high = min(stop, target), max(stop, target)
    count = len(m.trade_step)
    while trade < count:
        if trade % BLOCK == 0 and m.trade_low[trade // BLOCK] > low and m.trade_high[trade // BLOCK] < high:
            trade += BLOCK
        elif low < m.trade_price[trade] < high:
            trade += 1
        else:
            break
    trade = min(trade, count)
    if trade < count and m.trade_step[trade] < held_until:
        reason = lay.STOP if m.trade_price[trade] * sign <= plan.stop else lay.TARGET
        due, start = m.clock[m.trade_step[trade]] + latency, m.trade_step[trade] + 1
    else:
        reason, due, start = lay.TIME, entry_ms + plan.hold + latency, held_until
    exit_at = _reach(m.clock, due, start)
    if exit_at >= end:
        return lay.UNKNOWN
    exited, exit_value = _walk(m, side, exit_at - 1, filled, -lay.NEVER)
    if exited != filled:
        return DEFER
    plan.filled = filled
    if not _fund(m, plan, filled_at, taken_due, exit_at, due):
        return lay.UNKNOWN
    plan.entry_value, plan.entry_ms, plan.reason = value, entry_ms, reason
    plan.exited, plan.exit_value = exited, exit_value
    plan.exit_ms = plan.end_ms = m.clock[exit_at]
    return lay.CLOSED


@njit(cache=True)
def live_all(market, plans, latency, deferred):  # type: ignore[no-untyped-def]
    """Live every plan; `deferred` marks those that have to be read event by event."""
    for row in range(len(plans)):
        status = live(market, plans[row], latency)
        if status == DEFER:
            deferred[row] = True
        else:
            plans[row].stage, plans[row].status = lay.DONE, status
