"""The life of one plan on the index: it touches the few steps that concern it, where the kernel reads every event.

The rules are those of `_kernel`, to the bit. One thing is left to it, which is rare: an exit that the book cannot take
at once. `live` then says :data:`DEFER`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from simulation import _layout as lay
from simulation._index_build import BLOCK
from simulation._index_lookups import capped, displayed, first_at_least, next_trade, reach, size_of, turn

#: The life of this plan has to be read event by event.
DEFER = -2
#: Prices that an order looks at before it is left to the kernel.
_DEEPEST = 1 << 14


@njit(cache=True, _nrt=False)
def _walk(m, side, step, wanted, limit):  # type: ignore[no-untyped-def]
    """Take from one side of the book, best price first, down to a key: size taken and its value."""
    taken, value = 0, 0
    key = m.best[side, step]
    for _ in range(_DEEPEST):
        if taken == wanted or key < limit or key < m.worst[side, step]:
            return taken, value
        part = min(wanted - taken, size_of(m, side, key, step))
        taken += part
        value += part * key * (1 - 2 * side)
        key -= 1
    return -1, 0


@njit(cache=True, _nrt=False)
def _close(m, plan, step):  # type: ignore[no-untyped-def]
    """Nothing is held any more, and nothing rests."""
    plan.exit_ms = plan.end_ms = m.clock[step]
    return lay.CLOSED


@njit(cache=True, _nrt=False)
def _send_exit(plan, due, reason):  # type: ignore[no-untyped-def]
    if plan.exit_due == lay.NEVER:
        plan.exit_due, plan.reason = due, reason


@njit(cache=True, _nrt=False)
def _fill_entry(m, plan, latency, step, size, value):  # type: ignore[no-untyped-def]
    if plan.filled == 0:
        plan.entry_ms = m.clock[step]
    plan.filled += size
    plan.left -= size
    plan.entry_value += value
    if plan.left == 0:
        plan.stage = lay.GONE
    if plan.target_maker and plan.exit_due == lay.NEVER:
        plan.rest_due = m.clock[step] + latency


@njit(cache=True, _nrt=False)
def _fill_target(m, plan, latency, step, size):  # type: ignore[no-untyped-def]
    value = size * plan.target * (1 - 2 * plan.side)
    plan.exited += size
    plan.exit_value += value
    plan.exit_maker += value
    plan.rest_left -= size
    plan.exit_ms = m.clock[step]
    if plan.stage == lay.RESTING:
        plan.cancel_due = min(plan.cancel_due, m.clock[step] + latency)
    elif plan.exited == plan.filled:
        plan.reason = lay.TARGET
        return _close(m, plan, step)
    return lay.OPEN


@njit(cache=True, _nrt=False)
def _arrive(m, plan, latency, step):  # type: ignore[no-untyped-def]
    """The entry arrives: it takes what it finds, or rests."""
    side = plan.side
    if plan.taking:
        # The entry walks the other side of the book, whose keys are the negative of its own.
        taken, value = _walk(m, 1 - side, step - 1, plan.size, -plan.key)
        if taken < 0:
            return DEFER
        if taken > 0:
            _fill_entry(m, plan, latency, step, taken, value)
        plan.stage = lay.GONE
    elif m.best[1 - side, step - 1] >= -plan.key:
        plan.end_ms = m.clock[step]
        return lay.REJECTED
    else:
        plan.stage, plan.queue = lay.RESTING, displayed(m, side, plan.key, step - 1)
        return lay.OPEN
    if plan.filled == 0:
        plan.end_ms = m.clock[step]
        return lay.UNFILLED
    return lay.OPEN


@njit(cache=True, _nrt=False)
def _rest_target(m, plan, latency, step):  # type: ignore[no-untyped-def]
    """The maker target arrives, or is amended; where the market has passed it, the position is closed instead."""
    held = plan.filled - plan.exited
    if held == 0:
        return
    if m.best[plan.side, step - 1] >= plan.target:
        plan.rest_left = 0
        _send_exit(plan, m.clock[step] + latency, lay.TARGET)
    else:
        plan.rest_left, plan.rest_queue = held, displayed(m, 1 - plan.side, -plan.target, step - 1)


@njit(cache=True, _nrt=False)
def _cancel(m, plan, step):  # type: ignore[no-untyped-def]
    plan.stage = lay.GONE
    if plan.filled == 0:
        plan.end_ms = m.clock[step]
        return lay.UNFILLED
    if plan.exited == plan.filled:
        # The target was done before: its own time stays the time of the exit.
        plan.reason, plan.end_ms = lay.TARGET, m.clock[step]
        return lay.CLOSED
    return lay.OPEN


@njit(cache=True, _nrt=False)
def _leave(m, plan, step):  # type: ignore[no-untyped-def]
    """The market exit: the rest of the entry and the target are cancelled, the book is walked."""
    status = _cancel(m, plan, step)
    if status != lay.OPEN:
        return status
    held = plan.filled - plan.exited
    taken, value = _walk(m, plan.side, step - 1, held, -lay.NEVER)
    if taken != held:
        return DEFER
    plan.exited += taken
    plan.exit_value += value
    return _close(m, plan, step)


@njit(cache=True, _nrt=False)
def _due(plan):  # type: ignore[no-untyped-def]
    """When something that was sent next takes effect."""
    if plan.stage == lay.FLYING:
        return plan.arrive
    due = min(plan.exit_due, plan.rest_due)
    return min(due, plan.cancel_due) if plan.stage == lay.RESTING else due


@njit(cache=True, _nrt=False)
def _take_effect(m, plan, latency, step, due):  # type: ignore[no-untyped-def]
    if plan.stage == lay.FLYING:
        return _arrive(m, plan, latency, step)
    if plan.rest_due == due:
        plan.rest_due = lay.NEVER
        _rest_target(m, plan, latency, step)
        return lay.OPEN
    if plan.stage == lay.RESTING and plan.cancel_due == due:
        plan.cancel_due = lay.NEVER
        return _cancel(m, plan, step)
    return _leave(m, plan, step)


@njit(cache=True, _nrt=False)
def _fund(m, plan, payment, step):  # type: ignore[no-untyped-def]
    """Charge a payment on what is held; whether its rate is known."""
    held = plan.filled - plan.exited
    if held == 0:
        return True
    sign = 1 - 2 * plan.side
    mark = float(plan.key * sign)
    bid, ask = m.best[0, step - 1], m.best[1, step - 1]
    if bid != -lay.NEVER and ask != -lay.NEVER:
        mark = (bid - ask) / 2.0
    plan.funding += sign * m.funding_rate[payment] * mark * held
    return not np.isnan(m.funding_rate[payment])


@njit(cache=True, _nrt=False)
def _settle(m, plan, latency, step, payment):  # type: ignore[no-untyped-def]
    """Let what is due take effect, in the order of its time: the status, and the payment that comes next."""
    while True:
        due = _due(plan)
        funding = m.funding_ms[payment] if payment < len(m.funding_ms) else lay.NEVER
        if min(due, funding) > m.clock[step]:
            return lay.OPEN, payment
        if funding <= due:
            if not _fund(m, plan, payment, step):
                return lay.UNKNOWN, payment
            payment += 1
            continue
        status = _take_effect(m, plan, latency, step, due)
        if status != lay.OPEN:
            return status, payment


@njit(cache=True, _nrt=False)
def _on_trade(m, plan, latency, trade):  # type: ignore[no-untyped-def]
    """A trade fills what rests at its price or before it, then triggers the stop or the target."""
    step, price, size = m.trade_step[trade], m.trade_price[trade], m.trade_size[trade]
    hit = 1 - m.trade_taker[trade]
    key = price * (1 - 2 * hit)
    status = lay.OPEN
    if hit != plan.side:
        reached = plan.rest_left
        if -plan.target == key:
            reached = min(max(size - plan.rest_queue, 0), plan.rest_left) if plan.rest_queue != lay.HIDDEN else 0
            plan.rest_queue = max(plan.rest_queue - size, 0) if plan.rest_queue != lay.HIDDEN else lay.HIDDEN
        if -plan.target >= key and reached > 0:
            status = _fill_target(m, plan, latency, step, reached)
    elif plan.stage == lay.RESTING and plan.key >= key:
        reached = plan.left
        if plan.key == key:
            reached = min(max(size - plan.queue, 0), plan.left) if plan.queue != lay.HIDDEN else 0
            plan.queue = max(plan.queue - size, 0) if plan.queue != lay.HIDDEN else lay.HIDDEN
        if reached > 0:
            _fill_entry(m, plan, latency, step, reached, reached * plan.key * (1 - 2 * plan.side))
    if status == lay.OPEN and plan.filled > plan.exited:
        key = price * (1 - 2 * plan.side)
        if key <= plan.stop:
            _send_exit(plan, m.clock[step] + latency, lay.STOP)
        elif key >= plan.target and not plan.target_maker:
            _send_exit(plan, m.clock[step] + latency, lay.TARGET)
    return status


@njit(cache=True, _nrt=False)
def _on_message(m, plan, latency, step):  # type: ignore[no-untyped-def]
    """A book message fills what its best price reaches; the bids are looked at first."""
    status = lay.OPEN
    for side in range(2):
        if side != plan.side:
            if plan.rest_left > 0 and m.best[plan.side, step] >= plan.target:
                status = _fill_target(m, plan, latency, step, plan.rest_left)
        elif status == lay.OPEN and plan.stage == lay.RESTING and m.best[1 - side, step] >= -plan.key:
            _fill_entry(m, plan, latency, step, plan.left, plan.left * plan.key * (1 - 2 * side))
    return status


@njit(cache=True, _nrt=False)
def _trigger(m, plan, trade, until):  # type: ignore[no-untyped-def]
    """The step of the first trade from `trade` on, before step `until`, that triggers the stop or a taken target."""
    sign = 1 - 2 * plan.side
    stop, target = plan.stop * sign, plan.target * sign
    if plan.target_maker:
        target = sign * lay.NEVER
    low, high = min(stop, target), max(stop, target)
    while trade < len(m.trade_step) and m.trade_step[trade] < until:
        if trade % BLOCK == 0 and m.trade_low[trade // BLOCK] > low and m.trade_high[trade // BLOCK] < high:
            trade += BLOCK
        elif low < m.trade_price[trade] < high:
            trade += 1
        else:
            return m.trade_step[trade]
    return until


@njit(cache=True, _nrt=False)
def _reached(m, side, key, step, trade, until):  # type: ignore[no-untyped-def]
    """The first step in ``[step, until)`` that may fill what rests on `side` at `key`, else `until`."""
    until = first_at_least(m.best[1 - side], m.best_high[1 - side], -key, step, until)
    trade = next_trade(m, side, key, trade, until)
    return m.trade_step[trade] if trade < len(m.trade_step) else until


@njit(cache=True, _nrt=False)
def _next_step(m, plan, step, trade, payment, until):  # type: ignore[no-untyped-def]
    """The first step in ``[step, until)`` that concerns the plan, else `until`."""
    due = _due(plan)
    if plan.filled > plan.exited and payment < len(m.funding_ms):
        due = min(due, m.funding_ms[payment])
    if due != lay.NEVER:
        until = min(until, reach(m.clock, due, step))
    if plan.stage == lay.RESTING:
        until = _reached(m, plan.side, plan.key, step, trade, until)
    if plan.rest_left > 0:
        until = _reached(m, 1 - plan.side, -plan.target, step, trade, until)
    if plan.filled > plan.exited and plan.exit_due == lay.NEVER:
        until = _trigger(m, plan, trade, until)
    return until


@njit(cache=True, _nrt=False)
def live(m, plan, latency):  # type: ignore[no-untyped-def]
    """Live a plan; its record then tells the outcome.

    Returns
    -------
    int
        The status, or :data:`DEFER`.
    """
    adopted = turn(m, plan.decide, 0)
    segment = np.searchsorted(m.segment_step, adopted) - 1
    if segment < 0 or adopted >= m.segment_end[segment] or plan.decide < m.segment_clock[segment]:
        return lay.UNKNOWN
    end = m.segment_end[segment]
    plan.stage = lay.FLYING
    step = reach(m.clock, plan.arrive, adopted)
    cancelled, left = turn(m, plan.cancel_command, adopted), lay.NEVER
    payment = np.searchsorted(m.funding_ms, m.clock[step - 1], side="right")
    trade, seen = 0, step
    while step < end:
        plan.queue = capped(m, plan.side, plan.key, plan.queue, seen, step) if plan.stage == lay.RESTING else 0
        if plan.rest_left > 0:
            plan.rest_queue = capped(m, 1 - plan.side, -plan.target, plan.rest_queue, seen, step)
        seen = step
        if step >= cancelled:
            plan.cancel_due = min(plan.cancel_due, plan.cancel_command + latency)
            cancelled = lay.NEVER
        if step >= left:
            _send_exit(plan, plan.entry_ms + plan.hold + latency, lay.TIME)
        status, payment = _settle(m, plan, latency, step, payment)
        if status != lay.OPEN:
            return status
        trade = reach(m.trade_step, step, trade)
        if trade < len(m.trade_step) and m.trade_step[trade] == step:
            status = _on_trade(m, plan, latency, trade)
            trade += 1
        else:
            status = _on_message(m, plan, latency, step)
        if status != lay.OPEN:
            return status
        if left == lay.NEVER and plan.filled > 0:
            left = turn(m, plan.entry_ms + plan.hold, step + 1)
        until = min(end, cancelled) if plan.stage == lay.RESTING else end
        if plan.filled > 0 and plan.exit_due == lay.NEVER:
            until = min(until, left)
        step = _next_step(m, plan, step + 1, trade, payment, until)
    return lay.UNKNOWN


@njit(cache=True, _nrt=False)
def live_all(market, plans, latency, deferred):  # type: ignore[no-untyped-def]
    """Live every plan; `deferred` marks those that have to be read event by event."""
    for row in range(len(plans)):
        status = live(market, plans[row], latency)
        if status == DEFER:
            deferred[row] = True
        else:
            plans[row].stage, plans[row].status = lay.DONE, status
