"""The compiled step function: a live order book and the lives of order plans on it.

Backtest and dry-run drive this one kernel, so a label and a paper trade follow the same rules: `simulation.fills`
states them. Most event rows concern no plan; what decides that at a glance stands in `World.sides` and `World.watch`.
"""

from __future__ import annotations

from numba import njit

from market.events import EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE
from simulation import _layout as lay
from simulation._kernel_book import crossed, displayed, set_level
from simulation._kernel_orders import (
    close_at_market,
    due_of,
    fill_entry,
    fill_target,
    finish,
    fund,
    funding_due,
    reindex,
    send_exit,
    take_effect,
)


@njit(cache=True, inline="always", _nrt=False)
def _concerns_plans(sides, price, taker):  # type: ignore[no-untyped-def]
    """Whether a trade may fill an entry or trigger an exit."""
    if price * (2 * taker - 1) <= sides[1 - taker, lay.HOT]:
        return True
    bid_key, ask_key = price, -price
    return not (
        sides[0, lay.STOP_KEY] < bid_key < sides[0, lay.TARGET_KEY]
        and sides[1, lay.STOP_KEY] < ask_key < sides[1, lay.TARGET_KEY]
    )


@njit(cache=True, inline="always", _nrt=False)
def _reaches_plans(sides, keys, side):  # type: ignore[no-untyped-def]
    """Whether the book crosses an entry of `side`, or brings one that was out of sight into it."""
    begin = sides[side, lay.BEGIN]
    uncovers = begin < sides[side, lay.END] and keys[side, begin] <= sides[side, lay.HIDDEN_KEY]
    return uncovers or crossed(keys, sides, side, sides[side, lay.HOT])


@njit(cache=True, _nrt=False)
def _begin_frame(world):  # type: ignore[no-untyped-def]
    """What the owner of the plans does once the last frame is read: decide, cancel, close by time."""
    state, plans, active = world.state, world.plans, world.active
    clock = state[lay.CLOCK]
    while state[lay.NEXT_PLAN] < state[lay.PLANS] and plans[state[lay.NEXT_PLAN]].decide <= clock:
        index = state[lay.NEXT_PLAN]
        plan = plans[index]
        state[lay.NEXT_PLAN] += 1
        if state[lay.STRICT] and (not state[lay.KNOWN] or plan.decide < state[lay.KNOWN_SINCE]):
            finish(world, index, lay.UNKNOWN)
        else:
            plan.stage = lay.FLYING
            active[state[lay.ACTIVE]] = index
            state[lay.ACTIVE] += 1
    for i in range(state[lay.ACTIVE]):
        plan = plans[active[i]]
        if plan.cancel_command <= clock:
            plan.cancel_due = min(plan.cancel_due, plan.cancel_command + state[lay.LATENCY])
            plan.cancel_command = lay.NEVER
        if plan.hold_command <= clock:
            send_exit(state, plan, plan.hold_command, lay.TIME)
            plan.hold_command = lay.NEVER
    reindex(world)


@njit(cache=True, _nrt=False)
def _settle(world):  # type: ignore[no-untyped-def]
    """Let everything that is due take effect, in the order of its time, on the book as it stands."""
    state, plans, active = world.state, world.plans, world.active
    while state[lay.NEXT_DUE] <= state[lay.CLOCK]:
        due = state[lay.NEXT_DUE]
        if funding_due(world) == due:
            fund(world, world.funding_rate[state[lay.NEXT_FUNDING]])
            state[lay.NEXT_FUNDING] += 1
            reindex(world)
            continue
        for i in range(state[lay.ACTIVE]):
            if due_of(plans[active[i]]) == due:
                take_effect(world, active[i], due)
        reindex(world)


@njit(cache=True, inline="always", _nrt=False)
def _limit(plan):  # type: ignore[no-untyped-def]
    return plan.key * (1 - 2 * plan.side)


@njit(cache=True, _nrt=False)
def _trade_with_target(world, index, key, size):  # type: ignore[no-untyped-def]
    """A trade at or through a resting target."""
    plan = world.plans[index]
    if -plan.target > key:
        fill_target(world, index, plan.rest_left)
    elif plan.rest_queue != lay.HIDDEN:
        reached = size - plan.rest_queue
        plan.rest_queue = max(plan.rest_queue - size, 0)
        if reached > 0:
            fill_target(world, index, min(reached, plan.rest_left))


@njit(cache=True, _nrt=False)
def _look_at_target(world, index):  # type: ignore[no-untyped-def]
    """A whole book message may cross a resting target, shorten the queue ahead of it, or bring it into sight."""
    plan = world.plans[index]
    if crossed(world.keys, world.sides, 1 - plan.side, -plan.target):
        fill_target(world, index, plan.rest_left)
        return
    shown = displayed(world, 1 - plan.side, -plan.target)
    plan.rest_queue = min(plan.rest_queue, shown)
    if plan.rest_unseen != (shown == lay.HIDDEN):
        plan.rest_unseen = 1 - plan.rest_unseen
        world.state[lay.CHANGED] = 1


@njit(cache=True, _nrt=False)
def _on_trade(world, price, size, taker):  # type: ignore[no-untyped-def]
    """A trade works on the queue of the side that its taker hit, then triggers stops and targets of both sides."""
    state, sides, plans, active = world.state, world.sides, world.plans, world.active
    side = 1 - taker
    key = price * (1 - 2 * side)
    if state[lay.KNOWN] and key <= sides[side, lay.HOT]:
        for i in range(state[lay.ACTIVE]):
            index = active[i]
            plan = plans[index]
            if plan.side != side:
                if plan.rest_left > 0 and -plan.target >= key:
                    _trade_with_target(world, index, key, size)
                continue
            if plan.stage != lay.RESTING or plan.key < key:
                continue
            if plan.key > key:
                fill_entry(world, index, plan.left, _limit(plan))
            elif plan.queue != lay.HIDDEN:
                reached = size - plan.queue
                plan.queue = max(plan.queue - size, 0)
                if reached > 0:
                    fill_entry(world, index, min(reached, plan.left), _limit(plan))
        if state[lay.CHANGED]:
            reindex(world)
    for side in range(2):
        key = price * (1 - 2 * side)
        if sides[side, lay.STOP_KEY] < key < sides[side, lay.TARGET_KEY]:
            continue
        for i in range(state[lay.ACTIVE]):
            plan = plans[active[i]]
            if plan.side == side and plan.filled > plan.exited:
                if key <= plan.stop:
                    send_exit(state, plan, state[lay.CLOCK], lay.STOP)
                elif key >= plan.target and not plan.target_maker:
                    send_exit(state, plan, state[lay.CLOCK], lay.TARGET)
    if state[lay.CHANGED]:
        reindex(world)


@njit(cache=True, _nrt=False)
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
            if plan.side != side:
                if plan.rest_left > 0:
                    _look_at_target(world, index)
                continue
            if plan.stage != lay.RESTING:
                continue
            if crossed(world.keys, sides, side, plan.key):
                fill_entry(world, index, plan.left, _limit(plan))
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
                close_at_market(world, index)
    state[lay.FRESH] = 0
    if state[lay.CHANGED]:
        reindex(world)


@njit(cache=True, _nrt=False)
def _lose_book(world):  # type: ignore[no-untyped-def]
    """A gap: the book is unknown until the next snapshot; in a backtest so is every plan that lives."""
    state = world.state
    state[lay.KNOWN] = state[lay.BUILDING] = state[lay.TOUCHED] = state[lay.FRESH] = 0
    if state[lay.STRICT]:
        for i in range(state[lay.ACTIVE]):
            finish(world, world.active[i], lay.UNKNOWN)
        reindex(world)


@njit(cache=True, _nrt=False)
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
        if what > GAP:  # tickers and liquidations move neither the clock nor the book
            continue
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
