"""What happens to the orders of one plan: they arrive, rest, fill, are cancelled, close the position, pay funding.

A plan's entry rests on its own side of the book under `key`; its target, if it is a maker's, rests on the other side
under `-target`. `simulation.fills` states the rules.
"""

from __future__ import annotations

import math

from numba import njit

from simulation import _layout as lay
from simulation._kernel_book import crossed, displayed


@njit(cache=True, _nrt=False)
def _write(world, plan, what, price, size, role):  # type: ignore[no-untyped-def]
    state = world.state
    state[lay.CHANGED] = 1
    if state[lay.LOGGING]:
        line = world.log[state[lay.LOGGED]]
        line[0], line[1], line[2], line[3], line[4], line[5] = plan, what, price, size, state[lay.CLOCK], role
        state[lay.LOGGED] += 1


@njit(cache=True, _nrt=False)
def finish(world, index, status):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    plan.stage, plan.status, plan.end_ms = lay.DONE, status, world.state[lay.CLOCK]
    world.state[lay.CHANGED] = 1
    if status == lay.CLOSED:
        _write(world, index, lay.LOG_CLOSED, 0, plan.exited, plan.reason)


@njit(cache=True, _nrt=False)
def send_exit(state, plan, sent, reason):  # type: ignore[no-untyped-def]
    """Send the market exit; whatever fires first is the one close of the plan."""
    if plan.exit_due == lay.NEVER and not plan.retry:
        plan.exit_due = sent + state[lay.LATENCY]
        plan.reason = reason
        state[lay.CHANGED] = 1


@njit(cache=True, _nrt=False)
def reindex(world):  # type: ignore[no-untyped-def]
    """Drop finished plans and recompute what decides whether an event concerns any plan."""
    state, sides, plans, active = world.state, world.sides, world.plans, world.active
    state[lay.CHANGED] = 0
    state[lay.RETRY] = 0
    next_due = funding_due(world)
    next_command = plans[state[lay.NEXT_PLAN]].decide if state[lay.NEXT_PLAN] < state[lay.PLANS] else lay.NEVER
    for side in range(2):
        sides[side, lay.HOT] = sides[side, lay.HIDDEN_KEY] = sides[side, lay.STOP_KEY] = -lay.NEVER
        sides[side, lay.TARGET_KEY] = lay.NEVER
    world.watch[:] = False
    kept = 0
    for i in range(state[lay.ACTIVE]):
        plan = plans[active[i]]
        if plan.stage == lay.DONE:
            continue
        active[kept] = active[i]
        kept += 1
        side = plan.side
        next_due = min(next_due, due_of(plan))
        if plan.stage <= lay.RESTING:
            next_command = min(next_command, plan.cancel_command)
        if plan.stage == lay.RESTING:
            sides[side, lay.HOT] = max(sides[side, lay.HOT], plan.key)
            world.watch[side, plan.key % lay.WATCH] = True
            if plan.unseen:
                sides[side, lay.HIDDEN_KEY] = max(sides[side, lay.HIDDEN_KEY], plan.key)
        if plan.rest_left > 0:
            sides[1 - side, lay.HOT] = max(sides[1 - side, lay.HOT], -plan.target)
            world.watch[1 - side, -plan.target % lay.WATCH] = True
            if plan.rest_unseen:
                sides[1 - side, lay.HIDDEN_KEY] = max(sides[1 - side, lay.HIDDEN_KEY], -plan.target)
        if plan.retry:
            state[lay.RETRY] = 1
        elif plan.exit_due == lay.NEVER and plan.filled > 0:
            next_command = min(next_command, plan.hold_command)
            sides[side, lay.STOP_KEY] = max(sides[side, lay.STOP_KEY], plan.stop)
            if not plan.target_maker:
                sides[side, lay.TARGET_KEY] = min(sides[side, lay.TARGET_KEY], plan.target)
    state[lay.ACTIVE], state[lay.NEXT_DUE], state[lay.NEXT_COMMAND] = kept, next_due, next_command


@njit(cache=True, _nrt=False)
def due_of(plan):  # type: ignore[no-untyped-def]
    """When something that was sent for the plan next takes effect."""
    if plan.stage == lay.FLYING:
        return plan.arrive
    due = min(plan.exit_due, plan.rest_due)
    return min(due, plan.cancel_due) if plan.stage == lay.RESTING else due


@njit(cache=True, _nrt=False)
def take_effect(world, index, due):  # type: ignore[no-untyped-def]
    """What is due for a plan: its entry or target arrives, a cancel, or the market exit."""
    plan = world.plans[index]
    if plan.stage == lay.FLYING:
        if plan.taking:
            _take(world, index)
        else:
            _arrive(world, index)
    elif plan.rest_due == due:
        plan.rest_due = lay.NEVER
        _rest_target(world, index)
    elif plan.stage == lay.RESTING and plan.cancel_due == due:
        plan.cancel_due = lay.NEVER
        _cancel(world, index)
    else:
        close_at_market(world, index)


@njit(cache=True, _nrt=False)
def funding_due(world):  # type: ignore[no-untyped-def]
    following = world.state[lay.NEXT_FUNDING]
    return world.funding_ms[following] if following < len(world.funding_ms) else lay.NEVER


@njit(cache=True, _nrt=False)
def _arrive(world, index):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    if crossed(world.keys, world.sides, plan.side, plan.key):
        _write(world, index, lay.LOG_REJECTED, 0, 0, lay.NONE)
        finish(world, index, lay.REJECTED)
        return
    plan.stage = lay.RESTING
    plan.queue = displayed(world, plan.side, plan.key)
    plan.unseen = plan.queue == lay.HIDDEN
    _write(world, index, lay.LOG_ACCEPTED, 0, 0, lay.NONE)


@njit(cache=True, _nrt=False)
def _take(world, index):  # type: ignore[no-untyped-def]
    """A directional entry arrives: take what the book shows up to the limit, now or never."""
    plan = world.plans[index]
    other = 1 - plan.side
    _write(world, index, lay.LOG_ACCEPTED, 0, 0, lay.NONE)
    level = world.sides[other, lay.END] - 1
    while plan.left > 0 and level >= world.sides[other, lay.BEGIN] and -world.keys[other, level] <= plan.key:
        taken = min(plan.left, world.sizes[other, level])
        if taken > 0:
            fill_entry(world, index, taken, world.keys[other, level] * (1 - 2 * other))
        level -= 1
    if plan.left > 0:
        plan.stage = lay.RESTING
        _cancel(world, index)


@njit(cache=True, _nrt=False)
def _rest_target(world, index):  # type: ignore[no-untyped-def]
    """The maker target arrives, or is amended to a larger position, which sends it to the end of the queue.

    It is post-only: where the market has passed it already, the position is closed at market instead.
    """
    plan = world.plans[index]
    held = plan.filled - plan.exited
    if held == 0:
        return
    if crossed(world.keys, world.sides, 1 - plan.side, -plan.target):
        plan.rest_left = 0
        send_exit(world.state, plan, world.state[lay.CLOCK], lay.TARGET)
    else:
        plan.rest_left = held
        plan.rest_queue = displayed(world, 1 - plan.side, -plan.target)
        plan.rest_unseen = plan.rest_queue == lay.HIDDEN
    world.state[lay.CHANGED] = 1


@njit(cache=True, _nrt=False)
def fill_target(world, index, size):  # type: ignore[no-untyped-def]
    """Fill the resting target, as maker; its owner then cancels what is left of the entry."""
    plan, state = world.plans[index], world.state
    value = size * plan.target * (1 - 2 * plan.side)
    plan.exited += size
    plan.exit_value += value
    plan.exit_maker += value
    plan.rest_left -= size
    plan.exit_ms = state[lay.CLOCK]
    _write(world, index, lay.LOG_FILLED, plan.target * (1 - 2 * plan.side), size, lay.RESTED)
    if plan.stage == lay.RESTING:
        plan.cancel_due = min(plan.cancel_due, state[lay.CLOCK] + state[lay.LATENCY])
    elif plan.exited == plan.filled:
        _close_by_target(world, index)


@njit(cache=True, _nrt=False)
def _close_by_target(world, index):  # type: ignore[no-untyped-def]
    world.plans[index].reason = lay.TARGET
    finish(world, index, lay.CLOSED)


@njit(cache=True, _nrt=False)
def _cancel(world, index):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    if plan.stage == lay.RESTING:
        _write(world, index, lay.LOG_CANCELLED, 0, plan.left, lay.NONE)
        plan.stage = lay.GONE
    if plan.filled == 0:
        finish(world, index, lay.UNFILLED)
    elif plan.exited == plan.filled:
        _close_by_target(world, index)


@njit(cache=True, _nrt=False)
def _is_fresh(world, side, key):  # type: ignore[no-untyped-def]
    """Whether the message that is being read has set a level."""
    count = world.state[lay.FRESH]
    for i in range(count):
        if world.fresh[i, 0] == side and world.fresh[i, 1] == key:
            return True
    return count == lay.ALL_FRESH


@njit(cache=True, _nrt=False)
def close_at_market(world, index):  # type: ignore[no-untyped-def]
    """Close at market: cancel the rest of the entry and the target, walk the book.

    What the book lacks waits for the next messages.
    Who waits has taken all that was displayed, so it finds size only where a message has shown a level anew.
    """
    plan = world.plans[index]
    _cancel(world, index)
    if plan.stage == lay.DONE:
        return
    plan.rest_left, plan.rest_due = 0, lay.NEVER
    side = plan.side
    sign = 1 - 2 * side
    level = world.sides[side, lay.END] - 1
    while plan.exited < plan.filled and level >= world.sides[side, lay.BEGIN]:
        taken = min(plan.filled - plan.exited, world.sizes[side, level])
        if plan.retry and not _is_fresh(world, side, world.keys[side, level]):
            taken = 0
        price = sign * world.keys[side, level]
        plan.exited += taken
        plan.exit_value += taken * price
        if taken > 0:
            plan.exit_ms = world.state[lay.CLOCK]
            _write(world, index, lay.LOG_FILLED, price, taken, plan.reason)
        level -= 1
    plan.exit_due = lay.NEVER
    plan.retry = 1
    world.state[lay.CHANGED] = 1
    if plan.exited == plan.filled:
        finish(world, index, lay.CLOSED)


@njit(cache=True, _nrt=False)
def fill_entry(world, index, size, price):  # type: ignore[no-untyped-def]
    """Fill the entry; a maker target is sent, or amended, in the same cycle."""
    plan = world.plans[index]
    if plan.filled == 0:
        plan.entry_ms = world.state[lay.CLOCK]
        if plan.hold != lay.NEVER:
            plan.hold_command = world.state[lay.CLOCK] + plan.hold
    plan.filled += size
    plan.left -= size
    plan.entry_value += size * price
    if plan.left == 0:
        plan.stage = lay.GONE
    if plan.target_maker and plan.exit_due == lay.NEVER and not plan.retry:
        plan.rest_due = world.state[lay.CLOCK] + world.state[lay.LATENCY]
    _write(world, index, lay.LOG_FILLED, price, size, lay.NONE)


@njit(cache=True, _nrt=False)
def fund(world, rate):  # type: ignore[no-untyped-def]
    """Charge funding on open positions at the mid price: longs pay a positive rate, shorts receive it.

    An unknown rate (NaN) makes the outcome of every open position unknown.
    """
    sides, keys, plans, active = world.sides, world.keys, world.plans, world.active
    for i in range(world.state[lay.ACTIVE]):
        index = active[i]
        plan = plans[index]
        held = plan.filled - plan.exited
        if held == 0:
            continue
        if math.isnan(rate):
            finish(world, index, lay.UNKNOWN)
            continue
        sign = 1 - 2 * plan.side
        mark = float(plan.key * sign)
        if sides[0, lay.BEGIN] < sides[0, lay.END] and sides[1, lay.BEGIN] < sides[1, lay.END]:
            mark = (keys[0, sides[0, lay.END] - 1] - keys[1, sides[1, lay.END] - 1]) / 2.0
        plan.funding += sign * rate * mark * held
        _write(world, index, lay.LOG_FUNDED, int(2 * mark), held, world.state[lay.NEXT_FUNDING])
