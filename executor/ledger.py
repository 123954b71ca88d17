"""Executions: whose they are, and what they come to, each counted once. No I/O; works on the core's state."""

from __future__ import annotations

from executor.actions import Action, Alert, ReadPosition
from executor.events import Filled, Funding
from executor.guard import Guard
from executor.ids import kind_of, plan_of
from executor.state import CoreState, Trade


class Ledger:
    """Counts the executions of the one plan that may be under way, and of those that ended lately."""

    def __init__(self, state: CoreState, guard: Guard, symbol: str) -> None:
        self._state, self._guard, self._stem = state, guard, f"{symbol}-"

    def filled(self, event: Filled) -> list[Action]:
        """Count an execution, once."""
        trade = self._owner(event)
        if trade is None and event.link_id.startswith(self._stem) and kind_of(event.link_id):
            self._state.risk.paused["position"] = "an execution of a plan that is not known"
            text = f"execution {event.execution_id} is of {event.link_id}, a plan that is not known: entries paused"
            return [Alert("critical", "lost-plan", text), ReadPosition()]
        if trade is None:
            self._state.risk.paused["foreign"] = "an execution that is not ours"
            text = f"execution {event.execution_id} ({event.link_id or 'no link id'}) is not ours: entries paused"
            return [Alert("critical", "foreign", text)]
        if event.execution_id in trade.executions:
            return []
        if event.price <= 0 or event.size <= 0:
            return [Alert("critical", "bad-fill", f"execution {event.execution_id}: {event.size} at {event.price}")]
        if event.side != trade.side and event.size > trade.open and more_may_come(trade):
            if all(event.execution_id != early.execution_id for early in trade.early):
                trade.early.append(event)
            return []
        actions = self._count(trade, event)
        return [*actions, *self.settle(trade)]

    def settle(self, trade: Trade) -> list[Action]:
        """Count what came before what it belongs to, as far as that is there by now or will not come any more."""
        early, trade.early = trade.early, []
        return [action for waiting in early for action in self.filled(waiting)]

    def _count(self, trade: Trade, event: Filled) -> list[Action]:
        trade.executions.append(event.execution_id)
        self._state.counts.fills += 1
        if event.side == trade.side:
            trade.fees += event.fee
            trade.filled += event.size
            trade.entry_value += event.price * event.size
            if trade.first_fill_ms is None:
                trade.first_fill_ms = event.time_ms
            if trade.filled >= trade.size and trade.entry != "done":
                end_entry(trade, "filled", self._state.now_ms)
            self._guard.check_cover(trade)
            return []
        size = min(event.size, max(trade.open, 0))
        trade.fees += event.fee if size == event.size else event.fee * size / event.size
        trade.closed += size
        trade.exit_value += event.price * size
        trade.last_exit_ms = max(trade.last_exit_ms, event.time_ms)
        if event.role == "target":
            self._guard.target_filled(trade, event.link_id, size)
        if event.role != "exit" or not trade.exit_reason:
            trade.exit_reason = event.role
        self._guard.check_cover(trade)
        return self._remarks(event, event.size - size)

    def _remarks(self, event: Filled, too_much: int) -> list[Action]:
        """What a person must know of an execution that we did not ask for, or not for all of it."""
        paused = self._state.risk.paused
        if too_much:
            paused["foreign"] = "an execution beyond our position"
            text = f"execution {event.execution_id}: {too_much} steps more than our position: entries paused"
            return [Alert("critical", "foreign", text)]
        if event.role == "external":
            paused["external"] = "somebody else closed our position"
            text = f"{event.size} steps were closed by somebody else at {event.price} ticks: entries paused"
            return [Alert("critical", "external-close", text)]
        if event.role in ("liquidation", "adl"):
            return [Alert("critical", event.role, f"the venue closed {event.size} steps at {event.price} ticks")]
        return []

    def _owner(self, event: Filled) -> Trade | None:
        state = self._state
        trade = state.trade
        if trade is not None and self._belongs(event, trade):
            return trade
        for old in state.finished:
            if event.execution_id in old.executions:
                return old
            if trade is None and event.link_id == old.link_id and event.side == old.side:
                # The cancel was confirmed first and its fill came late: the position is real, so is the plan.
                state.finished.remove(old)
                state.trade = old
                return old
        return None

    @staticmethod
    def _belongs(event: Filled, trade: Trade) -> bool:
        if event.link_id:
            return plan_of(event.link_id) == plan_of(trade.link_id)
        return event.side == -trade.side and (trade.open > 0 or more_may_come(trade))

    def funding(self, event: Funding) -> list[Action]:
        """Count a funding payment, once."""
        trade = self._state.trade
        if trade is not None and event.execution_id not in trade.executions:
            trade.executions.append(event.execution_id)
            trade.funding += event.amount
        return []


def more_may_come(trade: Trade) -> bool:
    """Whether the entry may have traded more than its executions say."""
    return trade.entry_live or trade.filled < trade.expected


def end_entry(trade: Trade, reason: str, now_ms: int) -> None:
    """The entry is off the book."""
    trade.entry, trade.done_ms = "done", now_ms
    if not trade.filled:
        trade.exit_reason = reason
