"""The compiled step function: a live order book and the lives of order plans on it.

Backtest and dry-run drive this one kernel, so a label and a paper trade follow the same rules: `simulation.fills`
states them. Most event rows concern no plan; what decides that at a glance stands in `World.sides` and `World.watch`.
"""

from __future__ import annotations

from numba import njit

from market.events import EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE
from simulation import _layout as lay
from simulation._kernel_book import crossed, displayed, set_level


@njit(cache=True, inline="always")
def _concerns_plans(sides, price, taker):  # type: ignore[no-untyped-def]
    """Whether a trade may fill an entry or trigger an exit."""
    if price * (2 * taker - 1) <= sides[1 - taker, lay.HOT]:
        return True
    bid_key, ask_key = price, -price
    return not (
        sides[0, lay.STOP_KEY] < bid_key < sides[0, lay.TARGET_KEY]
        and sides[1, lay.STOP_KEY] < ask_key < sides[1, lay.TARGET_KEY]
    )


@njit(cache=True, inline="always")
def _reaches_plans(sides, keys, side):  # type: ignore[no-untyped-def]
    """Whether the book crosses an entry of `side`, or brings one that was out of sight into it."""
    begin = sides[side, lay.BEGIN]
    uncovers = begin < sides[side, lay.END] and keys[side, begin] <= sides[side, lay.HIDDEN_KEY]
    return uncovers or crossed(keys, sides, side, sides[side, lay.HOT])


@njit(cache=True)
def _write(world, plan, what, price, size, role):  # type: ignore[no-untyped-def]
    state = world.state
    state[lay.CHANGED] = 1
    if state[lay.LOGGING]:
        line = world.log[state[lay.LOGGED]]
        line[0], line[1], line[2], line[3], line[4], line[5] = plan, what, price, size, state[lay.CLOCK], role
        state[lay.LOGGED] += 1


@njit(cache=True)
def _finish(world, index, status):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    plan.stage, plan.status, plan.end_ms = lay.DONE, status, world.state[lay.CLOCK]
    world.state[lay.CHANGED] = 1
    if status == lay.CLOSED:
        plan.exit_ms = world.state[lay.CLOCK]
        _write(world, index, lay.LOG_CLOSED, 0, plan.exited, plan.reason)


@njit(cache=True)
def _reindex(world):  # type: ignore[no-untyped-def]
    """Drop finished plans and recompute what decides whether an event concerns any plan."""
    state, sides, plans, active = world.state, world.sides, world.plans, world.active
    state[lay.CHANGED] = 0
    state[lay.RETRY] = 0
    next_due = _funding_due(world)
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
        next_due = min(next_due, _due(plan))
        if plan.stage <= lay.RESTING:
            next_command = min(next_command, plan.cancel_command)
        if plan.stage == lay.RESTING:
            sides[side, lay.HOT] = max(sides[side, lay.HOT], plan.key)
            world.watch[side, plan.key % lay.WATCH] = True
            if plan.unseen:
                sides[side, lay.HIDDEN_KEY] = max(sides[side, lay.HIDDEN_KEY], plan.key)
        if plan.retry:
            state[lay.RETRY] = 1
        elif plan.exit_due == lay.NEVER and plan.filled > 0:
            next_command = min(next_command, plan.hold_command)
            sides[side, lay.STOP_KEY] = max(sides[side, lay.STOP_KEY], plan.stop)
            sides[side, lay.TARGET_KEY] = min(sides[side, lay.TARGET_KEY], plan.target)
    state[lay.ACTIVE], state[lay.NEXT_DUE], state[lay.NEXT_COMMAND] = kept, next_due, next_command


@njit(cache=True)
def _due(plan):  # type: ignore[no-untyped-def]
    """When something that was sent for the plan next takes effect."""
    if plan.stage == lay.FLYING:
        return plan.arrive
    if plan.stage == lay.RESTING:
        return min(plan.cancel_due, plan.exit_due)
    return plan.exit_due


@njit(cache=True)
def _funding_due(world):  # type: ignore[no-untyped-def]
    following = world.state[lay.NEXT_FUNDING]
    return world.funding_ms[following] if following < len(world.funding_ms) else lay.NEVER


@njit(cache=True)
def _begin_frame(world):  # type: ignore[no-untyped-def]
    """What the owner of the plans does once the last frame is read: decide, cancel, close by time."""
    state, plans, active = world.state, world.plans, world.active
    clock = state[lay.CLOCK]
    while state[lay.NEXT_PLAN] < state[lay.PLANS] and plans[state[lay.NEXT_PLAN]].decide <= clock:
        index = state[lay.NEXT_PLAN]
        plan = plans[index]
        state[lay.NEXT_PLAN] += 1
        if state[lay.STRICT] and (not state[lay.KNOWN] or plan.decide < state[lay.KNOWN_SINCE]):
            _finish(world, index, lay.UNKNOWN)
        else:
            plan.stage = lay.FLYING
            active[state[lay.ACTIVE]] = index
            state[lay.ACTIVE] += 1
    for i in range(state[lay.ACTIVE]):
        plan = plans[active[i]]
        if plan.cancel_command <= clock:
            plan.cancel_due = plan.cancel_command + state[lay.LATENCY]
            plan.cancel_command = lay.NEVER
        if plan.hold_command <= clock:
            _send_exit(state, plan, plan.hold_command, lay.TIME)
            plan.hold_command = lay.NEVER
    _reindex(world)


@njit(cache=True)
def _send_exit(state, plan, sent, reason):  # type: ignore[no-untyped-def]
    """Send the market exit; whatever fires first is the one close of the plan."""
    if plan.exit_due == lay.NEVER and not plan.retry:
        plan.exit_due = sent + state[lay.LATENCY]
        plan.reason = reason
        state[lay.CHANGED] = 1


@njit(cache=True)
def _arrive(world, index):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    if crossed(world.keys, world.sides, plan.side, plan.key):
        _write(world, index, lay.LOG_REJECTED, 0, 0, lay.NONE)
        _finish(world, index, lay.REJECTED)
        return
    plan.stage = lay.RESTING
    plan.queue = displayed(world, plan.side, plan.key)
    plan.unseen = plan.queue == lay.HIDDEN
    _write(world, index, lay.LOG_ACCEPTED, 0, 0, lay.NONE)


@njit(cache=True)
def _cancel(world, index):  # type: ignore[no-untyped-def]
    plan = world.plans[index]
    if plan.stage == lay.RESTING:
        _write(world, index, lay.LOG_CANCELLED, 0, plan.left, lay.NONE)
        plan.stage = lay.GONE
    if plan.filled == 0:
        _finish(world, index, lay.UNFILLED)


@njit(cache=True)
def _is_fresh(world, side, key):  # type: ignore[no-untyped-def]
    """Whether the message that is being read has set a level."""
    count = world.state[lay.FRESH]
    for i in range(count):
        if world.fresh[i, 0] == side and world.fresh[i, 1] == key:
            return True
    return count == lay.ALL_FRESH


@njit(cache=True)
def _exit(world, index):  # type: ignore[no-untyped-def]
    """Close at market: cancel the rest of the entry, walk the book; what that lacks waits for the next messages.

    Who waits has taken all that was displayed, so it finds size only where a message has shown a level anew.
    """
    plan = world.plans[index]
    _cancel(world, index)
    if plan.stage == lay.DONE:
        return
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
            _write(world, index, lay.LOG_FILLED, price, taken, plan.reason)
        level -= 1
    plan.exit_due = lay.NEVER
    plan.retry = 1
    world.state[lay.CHANGED] = 1
    if plan.exited == plan.filled:
        _finish(world, index, lay.CLOSED)


@njit(cache=True)
def _fill(world, index, size):  # type: ignore[no-untyped-def]
    """Fill the resting entry at its limit, as maker."""
    plan = world.plans[index]
    price = plan.key * (1 - 2 * plan.side)
    if plan.filled == 0:
        plan.entry_ms = world.state[lay.CLOCK]
        if plan.hold != lay.NEVER:
            plan.hold_command = world.state[lay.CLOCK] + plan.hold
    plan.filled += size
    plan.left -= size
    plan.entry_value += size * price
    if plan.left == 0:
        plan.stage = lay.GONE
    _write(world, index, lay.LOG_FILLED, price, size, lay.NONE)


@njit(cache=True)
def _fund(world, rate):  # type: ignore[no-untyped-def]
    """Charge funding on open positions at the mid price: longs pay a positive rate, shorts receive it."""
    sides, keys, plans, active = world.sides, world.keys, world.plans, world.active
    for i in range(world.state[lay.ACTIVE]):
        plan = plans[active[i]]
        sign = 1 - 2 * plan.side
        mark = float(plan.key * sign)
        if sides[0, lay.BEGIN] < sides[0, lay.END] and sides[1, lay.BEGIN] < sides[1, lay.END]:
            mark = (keys[0, sides[0, lay.END] - 1] - keys[1, sides[1, lay.END] - 1]) / 2.0
        plan.funding += sign * rate * mark * (plan.filled - plan.exited)


@njit(cache=True)
def _settle(world):  # type: ignore[no-untyped-def]
    """Let everything that is due take effect, in the order of its time, on the book as it stands."""
    state, plans, active = world.state, world.plans, world.active
    while state[lay.NEXT_DUE] <= state[lay.CLOCK]:
        due = state[lay.NEXT_DUE]
        if _funding_due(world) == due:
            _fund(world, world.funding_rate[state[lay.NEXT_FUNDING]])
            state[lay.NEXT_FUNDING] += 1
            _reindex(world)
            continue
        for i in range(state[lay.ACTIVE]):
            index = active[i]
            plan = plans[index]
            if _due(plan) != due:
                continue
            if plan.stage == lay.FLYING:
                _arrive(world, index)
            elif plan.stage == lay.RESTING and plan.cancel_due == due:
                plan.cancel_due = lay.NEVER
                _cancel(world, index)
            else:
                _exit(world, index)
        _reindex(world)


@njit(cache=True)
def _on_trade(world, price, size, taker):  # type: ignore[no-untyped-def]
    """A trade works on the queue of the side that its taker hit, then triggers stops and targets of both sides."""
    state, sides, plans, active = world.state, world.sides, world.plans, world.active
    side = 1 - taker
    key = price * (1 - 2 * side)
    if state[lay.KNOWN] and key <= sides[side, lay.HOT]:
        for i in range(state[lay.ACTIVE]):
            index = active[i]
            plan = plans[index]
            if plan.stage != lay.RESTING or plan.side != side or plan.key < key:
                continue
            if plan.key > key:
                _fill(world, index, plan.left)
            elif plan.queue != lay.HIDDEN:
                reached = size - plan.queue
                plan.queue = max(plan.queue - size, 0)
                if reached > 0:
                    _fill(world, index, min(reached, plan.left))
        if state[lay.CHANGED]:
            _reindex(world)
    for side in range(2):
        key = price * (1 - 2 * side)
        if sides[side, lay.STOP_KEY] < key < sides[side, lay.TARGET_KEY]:
            continue
        for i in range(state[lay.ACTIVE]):
            plan = plans[active[i]]
            if plan.side == side and plan.filled > 0:
                if key <= plan.stop:
                    _send_exit(state, plan, state[lay.CLOCK], lay.STOP)
                elif key >= plan.target:
                    _send_exit(state, plan, state[lay.CLOCK], lay.TARGET)
    if state[lay.CHANGED]:
        _reindex(world)


@njit(cache=True)
def _on_message_end(world):  # type: ignore[no-untyped-def]
    """A book message is whole: fills by a crossing price, queue caps, exits that wait for size."""
    state, sides, plans, active = world.state, world.sides, world.plans, world.active
    if state[lay.BUILDING]:
        state[lay.BUILDING] = 0
        state[lay.TOUCHED] = 3
        if not state[lay.KNOWN]:
            state[lay.KNOWN] = 1
            state[lay.KNOWN_SINCE] = state[lay.CLOCK]
    for side in range(2):
        if not (state[lay.TOUCHED] & (1 << side) or _reaches_plans(sides, world.keys, side)):
            continue
        for i in range(state[lay.ACTIVE]):
            index = active[i]
            plan = plans[index]
            if plan.stage != lay.RESTING or plan.side != side:
                continue
            if crossed(world.keys, sides, side, plan.key):
                _fill(world, index, plan.left)
                continue
            shown = displayed(world, side, plan.key)
            plan.queue = min(plan.queue, shown)
            if plan.unseen != (shown == lay.HIDDEN):
                plan.unseen = 1 - plan.unseen
                state[lay.CHANGED] = 1
    state[lay.TOUCHED] = 0
    if state[lay.RETRY]:
        for i in range(state[lay.ACTIVE]):
            index = active[i]
            if plans[index].retry:
                _exit(world, index)
    state[lay.FRESH] = 0
    if state[lay.CHANGED]:
        _reindex(world)


@njit(cache=True)
def _lose_book(world):  # type: ignore[no-untyped-def]
    """A gap: the book is unknown until the next snapshot; in a backtest so is every plan that lives."""
    state = world.state
    state[lay.KNOWN] = state[lay.BUILDING] = state[lay.TOUCHED] = state[lay.FRESH] = 0
    if state[lay.STRICT]:
        for i in range(state[lay.ACTIVE]):
            _finish(world, world.active[i], lay.UNKNOWN)
        _reindex(world)


@njit(cache=True)
def advance(  # type: ignore[no-untyped-def]
    world, kind, flags, side, time_ms, price, size, ordinal, first, room
):
    """Take in event rows from `first` on; stops early when the log holds more than `room` lines.

    Returns
    -------
    int
        The row after the last one that was taken in.
    """
    # Most rows concern no plan: what they touch stands in local names, and the rest is called for only when it matters.
    state, sides, keys, sizes, watch = world.state, world.sides, world.keys, world.sizes, world.watch
    for row in range(first, len(kind)):
        if state[lay.LOGGED] > room:
            return row
        flag, what, own = flags[row], kind[row], side[row]
        if ordinal[row] != state[lay.ORDINAL] or flag & FIRST:
            state[lay.ORDINAL] = ordinal[row]
            if state[lay.NEXT_COMMAND] <= state[lay.CLOCK]:
                _begin_frame(world)
        if what == GAP:
            _lose_book(world)
        if time_ms[row] > state[lay.CLOCK]:
            state[lay.CLOCK] = time_ms[row]
        if what == GAP:
            continue
        known = state[lay.KNOWN] != 0
        if known and state[lay.NEXT_DUE] <= state[lay.CLOCK] and (what == TRADE or flag & FIRST):
            _settle(world)
        if what == TRADE:
            if _concerns_plans(sides, price[row], own):
                _on_trade(world, price[row], size[row], own)
                if known:
                    _settle(world)
            continue
        if flag & SNAPSHOT and flag & FIRST:
            sides[:, lay.BEGIN] = sides[:, lay.END] = keys.shape[1] // 2
            state[lay.BUILDING] = 1
            state[lay.FRESH] = lay.ALL_FRESH
        if not (known or state[lay.BUILDING]):
            continue
        if not flag & EMPTY:
            key = price[row] * (1 - 2 * own)
            set_level(keys, sizes, sides, own, key, size[row])
            if watch[own, key % lay.WATCH]:
                state[lay.TOUCHED] |= 1 << own
            if state[lay.RETRY] and state[lay.FRESH] != lay.ALL_FRESH:
                world.fresh[state[lay.FRESH], 0], world.fresh[state[lay.FRESH], 1] = own, key
                state[lay.FRESH] += 1
        if flag & LAST and (
            state[lay.BUILDING]
            or state[lay.TOUCHED]
            or state[lay.RETRY]
            or _reaches_plans(sides, keys, 0)
            or _reaches_plans(sides, keys, 1)
        ):
            _on_message_end(world)
    return len(kind)
