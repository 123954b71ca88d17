"""What the venue says beside what our executions say: positions, open orders, and contract rules. No I/O.

A foreign position or order is never touched. A position that our own entries made, but whose plan was lost with a
journal, is taken over: it never stays without a resident stop.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN

from executor.actions import Action, Alert, CancelEntry, ReadPosition, TracePosition
from executor.desk import Desk
from executor.events import OrdersRead, PositionOrigin, PositionRead, RulesChanged, VenueState
from executor.ids import plan_of
from executor.state import CoreConfig, CoreState, Trade
from market.instruments import Instrument

#: Position readings in a row, each against our executions, that pause trading.
STRANGE_READS = 2
#: Nobody knows how long a position of a lost plan was to be held: until its stop, its target, or a person.
_FOREVER_MS = 1 << 52


class Reconciler:
    """Compares, pauses, and adopts; works on the core's state."""

    def __init__(self, config: CoreConfig, rules: Instrument, state: CoreState, desk: Desk) -> None:
        self._config, self._rules, self._state, self._desk = config, rules, state, desk

    def position(self, event: PositionRead) -> list[Action]:
        """Compare; an unknown position changes nothing, and a strange one is traced before anything else."""
        state, trade = self._state, self._state.trade
        if event.position is None:
            return []
        ours = trade.side * trade.open if trade is not None else 0
        in_flight = trade is not None and (trade.close_link is not None or trade.entry_live)
        if event.position == ours or in_flight:
            state.strange = 0
            return []
        state.strange += 1
        if state.strange < STRANGE_READS:
            return [ReadPosition()]
        state.risk.paused["position"] = f"position {event.position}, executions say {ours}"
        text = f"the venue's position is {event.position} steps, our executions say {ours}: entries paused"
        trace: list[Action] = [TracePosition()] if trade is None else []
        return [Alert("critical", "position", text), *trace]

    def origin(self, event: PositionOrigin) -> list[Action]:
        """Take over a position that our own entries made; somebody else's stays paused and is left alone."""
        state = self._state
        if state.trade is not None or not event.position or not event.link_id:
            return []
        trade = state.trade = self._plan(event, event.position)
        state.strange = 0
        state.risk.paused.pop("position", None)
        self._desk.guard.check_cover(trade)
        if trade.naked_ms is not None:
            trade.protect_ms = state.now_ms
        what = f"{event.position} steps of {event.link_id} are ours, their plan is not known"
        if self._config.adopt == "flatten":
            state.flatten = "plan not known"
            return [Alert("critical", "adopted", f"{what}: closing them")]
        stop = f"the resident stop {trade.stop} stays" if event.stop > 0 else f"a fail-safe stop is set at {trade.stop}"
        return [Alert("critical", "adopted", f"{what}: taken over, {stop} (ticks); `purplesky flatten` closes them")]

    def _plan(self, event: PositionOrigin, position: int) -> Trade:
        """A plan for a position: as far as the venue knows it, and a fail-safe stop where it has none."""
        side, size = (1, position) if position > 0 else (-1, -position)
        average = event.entry_value // size
        away = (average * self._config.failsafe_stop).to_integral_value(ROUND_HALF_EVEN)
        return Trade(
            link_id=event.link_id,
            side=side,
            limit=average,
            stop=event.stop if event.stop > 0 else max(average - side * max(int(away), 1), 1),
            target=max(event.target, 0),
            size=size,
            decided_ms=event.first_fill_ms,
            tif_ms=0,
            hold_ms=_FOREVER_MS,
            atr=0.0,
            council="",
            entry="done",
            done_ms=event.first_fill_ms,
            expected=size,
            filled=size,
            entry_value=event.entry_value,
            fees=event.fees,
            first_fill_ms=event.first_fill_ms,
            protected=size if event.stop > 0 else 0,
            executions=list(event.executions),
        )

    def venue(self, event: VenueState) -> list[Action]:
        """Whether what the venue tells is complete."""
        before, self._state.venue = self._state.venue, "" if event.ready else event.cause or "not ready"
        if event.ready:
            return [Alert("info", "venue", "the venue has told everything: entries are allowed")] if before else []
        return [] if before else [Alert("warning", "venue", f"{event.cause}: no entries until the venue has told all")]

    def rules_changed(self, event: RulesChanged) -> list[Action]:
        """Prices or sizes in ticks and steps of other rules would be wrong ones: no entries. Exits go on."""
        before, self._state.rules = self._state.rules, event.text
        if not event.text:
            text = "the venue says that the contract rules are as they were: entries are allowed"
            return [Alert("info", "rules", text)] if before else []
        if before == event.text:
            return []
        text = f"{event.text}: no entries until the executor is started again with the new rules; exits go on"
        return [Alert("critical", "rules", text)]

    def orders(self, event: OrdersRead) -> list[Action]:
        """Look for orders that are not ours, and for ours that are not there; own protection never counts as one."""
        if event.orders is None:
            return []
        stem, trade = f"{self._rules.symbol}-", self._state.trade
        foreign = [o.link_id for o in event.orders if not o.protective and not o.link_id.startswith(stem)]
        actions: list[Action] = []
        if trade is not None:
            actions += self._desk.guard.missing(trade, frozenset(order.link_id for order in event.orders))
        for order in event.orders:
            if not order.protective and order.link_id.startswith(stem) and not self._of_plan(order.link_id):
                text = f"entry {order.link_id} of a plan that has ended is still open: cancelled"
                actions += [CancelEntry(order.link_id), Alert("warning", "orphan", text)]
        if not foreign:
            return actions
        self._state.risk.paused["foreign"] = f"{len(foreign)} foreign order(s)"
        text = f"{len(foreign)} order(s) that are not ours: entries paused, left alone"
        return [*actions, Alert("critical", "foreign", text)]

    def _of_plan(self, link_id: str) -> bool:
        trade = self._state.trade
        return trade is not None and plan_of(link_id) == plan_of(trade.link_id)
