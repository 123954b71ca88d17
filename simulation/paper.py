"""The paper broker: the fill model as an exchange that takes orders, for dry-run.

It drives the kernel of `simulation.fills` batch by batch. A plan lives by the same rules as in a backtest, with two
differences that follow from being live: its owner sends the cancel and the time exit, and a gap in the feed does not
end it. While the book is unknown nothing fills; trades still trigger stops and targets, and what is due waits for the
next snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.errors import DataError, OrderRejected
from market.events import EventBatch
from simulation import _layout as lay
from simulation._reports import Accepted, Cancelled, Closed, Filled, Funded, PaperPlan, Rejected, Report
from simulation.fills import ExitReason, FillModel, PlanStatus, make_world, reserve, take_in

__all__ = ["Accepted", "Cancelled", "Closed", "Filled", "Funded", "PaperBroker", "PaperPlan", "Rejected", "Report"]

_SCHEMA = 2
#: Snapshots that can be restored; the first knew passive entries with the target at market only.
_READABLE = (1, 2)
#: Ids of ended plans that are remembered.
_MEMORY = 10_000
_NAMES: tuple[str, ...] = lay.PLAN.names or ()
_UNSENT = {
    **dict.fromkeys(_NAMES, 0),
    **dict.fromkeys(("hold", "cancel_command", "hold_command", "cancel_due", "exit_due", "rest_due"), lay.NEVER),
    **dict.fromkeys(("entry_ms", "exit_ms", "end_ms", "status"), -1),
}
_ROLES: dict[int, str] = {reason: reason.name.lower() for reason in ExitReason}
_ROLES |= {lay.NONE: "entry", lay.RESTED: "target"}


class PaperBroker:
    """An exchange of our own for one symbol, fed with the market's events.

    Times that are handed in are exchange times. An order or command takes effect at the first event of a later batch
    whose clock is at or after ``now_ms + latency_ms``.

    Parameters
    ----------
    model
        Costs and latency.
    """

    def __init__(self, model: FillModel) -> None:
        self.model = model
        self._maker, self._taker = Decimal(str(model.maker_fee)), Decimal(str(model.taker_fee))
        self._world = make_world(np.zeros(8, lay.PLAN), model, strict=False, log_lines=1024)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._ended: dict[str, PlanStatus] = {}

    @property
    def clock_ms(self) -> int:
        """Running maximum of exchange time; -1 before the first event."""
        return int(self._world.state[lay.CLOCK])

    @property
    def book_known(self) -> bool:
        """Whether the book can be trusted now."""
        return bool(self._world.state[lay.KNOWN])

    def submit(
        self,
        plan_id: str,
        side: int,
        limit: int,
        stop: int,
        target: int,
        size: int,
        now_ms: int,
        *,
        taking: bool = False,
        target_maker: bool = False,
    ) -> None:
        """Send an entry with its attached stop and target.

        Parameters
        ----------
        plan_id
            Order link id, unique for ever.
        side
            +1 buys, -1 sells.
        limit, stop, target
            Ticks.
        size
            Steps.
        now_ms
            When it is sent.
        taking
            The entry is immediate-or-cancel and may take up to `limit`; else it is post-only.
        target_maker
            The broker sends the target as a reduce-only post-only limit with every fill of the entry, and closes at
            market where it would take; else the target is a market order on trigger.

        Raises
        ------
        OrderRejected
            The id was used before (110072), or a value is impossible (10001). Nothing was sent.
        """
        if plan_id in self._rows or plan_id in self._ended:
            raise OrderRejected(
                f"order link id {plan_id} was used before",
                advice="Ask what became of it instead of sending again",
                code=110072,
            )
        values = (side, limit, stop, target, size, now_ms)
        if not all(isinstance(value, int | np.integer) for value in values) or not (
            side in (1, -1)
            and min(limit, stop, target, size) > 0
            and side * (limit - stop) > 0
            and side * (target - limit) > 0
            and now_ms >= 0
        ):
            raise OrderRejected(
                f"order {plan_id} is impossible: side {side}, limit {limit}, stop {stop}, target {target}, size {size}",
                advice="Send whole ticks and steps above 0, the stop on the losing side, the target on the winning one",
                code=10001,
            )
        self._adopt(
            plan_id,
            _UNSENT
            | {"side": (1 - side) // 2, "key": side * limit, "stop": side * stop, "target": side * target}
            | {"size": size, "left": size, "decide": self.clock_ms, "arrive": now_ms + self.model.latency_ms}
            | {"taking": int(taking), "target_maker": int(target_maker)},
        )

    def cancel(self, plan_id: str, now_ms: int) -> bool:
        """Send the cancel of an entry order; fills until it takes effect count.

        Returns
        -------
        bool
            Whether there is an entry order that it can reach; a plan that is filled or has ended is left as it is.

        Raises
        ------
        OrderRejected
            No such id was ever submitted (110001).
        """
        plan = self._plan(plan_id)
        if plan is None or plan["stage"] > lay.RESTING:
            return False
        plan["cancel_due"] = min(int(plan["cancel_due"]), now_ms + self.model.latency_ms)
        self._hurry(int(plan["cancel_due"]))
        return True

    def close(self, plan_id: str, now_ms: int, reason: ExitReason = ExitReason.FLATTEN) -> bool:
        """Send a market exit, and with it the cancel of what is left of the entry.

        Returns
        -------
        bool
            Whether it was sent; a plan that is being closed already, or has ended, is closed once.

        Raises
        ------
        OrderRejected
            No such id was ever submitted (110001).
        """
        plan = self._plan(plan_id)
        if plan is None or plan["exit_due"] != lay.NEVER or plan["retry"]:
            return False
        plan["exit_due"], plan["reason"] = now_ms + self.model.latency_ms, int(reason)
        self._hurry(int(plan["exit_due"]))
        return True

    def fund(self, rate: float, time_ms: int) -> None:
        """Schedule a funding payment at the mid price, or correct the rate of the last one; longs pay a positive rate.

        Call it with every ticker: what is charged is the last rate that was told before the time came. One that comes
        later changes nothing.

        Raises
        ------
        OrderRejected
            The rate is not a number, or a later payment is scheduled already (10001).
        """
        times, rates = self._pending_funding()
        if not np.isfinite(rate) or (times.size and times[-1] > time_ms):
            raise OrderRejected(
                f"funding {rate} at {time_ms} is impossible",
                advice="Schedule payments in the order of their times",
                code=10001,
            )
        if time_ms <= self.clock_ms and time_ms not in times[-1:]:
            return
        if times.size and times[-1] == time_ms:
            rates[-1] = rate if time_ms > self.clock_ms else rates[-1]
            return
        self._world.state[lay.NEXT_FUNDING] = 0
        self._world = self._world._replace(
            funding_ms=np.append(times, np.int64(time_ms)), funding_rate=np.append(rates, float(rate))
        )
        self._hurry(time_ms)

    def on_events(self, batch: EventBatch) -> list[Report]:
        """Take in market events; returns what happened to the plans, in order."""
        reports: list[Report] = []
        for chunk in batch.chunks(1 << 16):
            self._world = reserve(self._world, len(chunk))
            first = 0
            while first < len(chunk):
                room = self._log_room()
                first = take_in(self._world, chunk, first, room)
                reports += self._drain()
        return reports

    def plan(self, plan_id: str) -> PaperPlan | PlanStatus:
        """How a plan stands, or how it ended.

        Raises
        ------
        OrderRejected
            No such id was ever submitted (110001).
        """
        record = self._plan(plan_id)
        return self._ended[plan_id] if record is None else self._view(plan_id, record)

    def open_plans(self) -> list[PaperPlan]:
        """Every plan that has not ended, in the order of submission."""
        return [self._view(plan_id, self._world.plans[row]) for plan_id, row in self._rows.items()]

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON values, without the book: after a restart that is unknown until a snapshot."""
        times, rates = self._pending_funding()
        return {
            "schema": _SCHEMA,
            "clock_ms": self.clock_ms,
            "plans": {
                plan_id: {name: self._world.plans[row][name].item() for name in _NAMES}
                for plan_id, row in self._rows.items()
            },
            "ended": {plan_id: int(status) for plan_id, status in self._ended.items()},
            "funding": [[int(time), float(rate)] for time, rate in zip(times, rates)],
        }

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any], model: FillModel) -> PaperBroker:
        """A broker that goes on where :meth:`snapshot` was taken.

        Raises
        ------
        DataError
            The snapshot is damaged or of another schema.
        """
        broker = cls(model)
        try:
            if snapshot["schema"] not in _READABLE:
                raise ValueError(f"schema {snapshot['schema']}")
            unsent = _UNSENT if snapshot["schema"] == 1 else {}
            broker._world.state[lay.CLOCK] = int(snapshot["clock_ms"])
            for plan_id, values in snapshot["plans"].items():
                broker._adopt(str(plan_id), unsent | dict(values))
            broker._ended = {str(plan_id): PlanStatus(status) for plan_id, status in snapshot["ended"].items()}
            for time, rate in snapshot["funding"]:
                broker.fund(rate, time)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"the paper broker's state cannot be read ({type(error).__name__}: {error})",
                advice="Restore the last good copy, or start a new dry-run session",
            ) from error
        return broker

    def _adopt(self, plan_id: str, values: Mapping[str, Any]) -> None:
        """Add a plan; the kernel takes it up with the next frame."""
        row = self._free_row()
        state = self._world.state
        self._world.plans[row] = tuple(values[name] for name in _NAMES)
        self._ids[row:] = [plan_id]
        self._rows[plan_id] = row
        state[lay.PLANS] = row + 1
        if values["stage"] != lay.NEW:
            self._world.active[state[lay.ACTIVE]] = row
            state[lay.ACTIVE] += 1
            state[lay.NEXT_PLAN] = row + 1
        state[lay.NEXT_COMMAND] = min(int(state[lay.NEXT_COMMAND]), self.clock_ms)

    def _free_row(self) -> int:
        """A row for one more plan; rows of ended plans are given back when there is none."""
        world, state = self._world, self._world.state
        if state[lay.PLANS] < len(world.plans):
            return int(state[lay.PLANS])
        kept = list(self._rows.values())
        plans = np.zeros(2 * len(kept) + 8, lay.PLAN)
        plans[: len(kept)] = world.plans[kept]
        entered = int((plans["stage"][: len(kept)] != lay.NEW).sum())
        active = np.zeros(len(plans), np.int64)
        active[:entered] = np.arange(entered)
        self._ids = list(self._rows)
        self._rows = {plan_id: row for row, plan_id in enumerate(self._ids)}
        state[lay.PLANS], state[lay.NEXT_PLAN], state[lay.ACTIVE] = len(kept), entered, entered
        self._world = world._replace(plans=plans, active=active)
        return len(kept)

    def _plan(self, plan_id: str) -> Any:
        """The record of a plan, ``None`` if it has ended."""
        if plan_id in self._rows:
            return self._world.plans[self._rows[plan_id]]
        if plan_id in self._ended:
            return None
        raise OrderRejected(f"there is no order {plan_id}", advice="Check the order link id", code=110001)

    def _view(self, plan_id: str, plan: Any) -> PaperPlan:
        sign = 1 - 2 * int(plan["side"])
        closing = plan["retry"] or plan["exit_due"] != lay.NEVER
        return PaperPlan(
            plan_id=plan_id,
            side=sign,
            limit=sign * int(plan["key"]),
            stop=sign * int(plan["stop"]),
            target=sign * int(plan["target"]),
            size=int(plan["size"]),
            resting=int(plan["left"]) if plan["stage"] <= lay.RESTING else 0,
            position=sign * int(plan["filled"] - plan["exited"]),
            entry_value=int(plan["entry_value"]),
            entry_ms=int(plan["entry_ms"]),
            closing=_ROLES[int(plan["reason"])] if closing else None,
            taking=bool(plan["taking"]),
            target_maker=bool(plan["target_maker"]),
            target_left=int(plan["rest_left"]),
        )

    def _hurry(self, due: int) -> None:
        state = self._world.state
        state[lay.NEXT_DUE] = min(int(state[lay.NEXT_DUE]), due)

    def _pending_funding(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        done = int(self._world.state[lay.NEXT_FUNDING])
        return self._world.funding_ms[done:], self._world.funding_rate[done:]

    def _log_room(self) -> int:
        """Lines that the log may hold before a row that might write as many as any row can."""
        world = self._world
        margin = max(len(self._rows), 1) * (world.keys.shape[1] + 8)
        if len(world.log) < 2 * margin:
            self._world = world._replace(log=np.zeros((2 * margin, world.log.shape[1]), np.int64))
        return int(len(self._world.log) - margin)

    def _drain(self) -> list[Report]:
        """Turn the kernel's log into reports and let go of plans that have ended."""
        state = self._world.state
        lines = self._world.log[: state[lay.LOGGED]].tolist()
        state[lay.LOGGED] = 0
        reports = [self._report(*line) for line in lines]
        for row in {line[0] for line in lines}:
            plan = self._world.plans[row]
            if plan["stage"] == lay.DONE:
                plan_id = self._ids[row]
                del self._rows[plan_id]
                self._ended[plan_id] = PlanStatus(int(plan["status"]))
        while len(self._ended) > _MEMORY:
            del self._ended[next(iter(self._ended))]
        return reports

    def _report(self, row: int, what: int, price: int, size: int, time_ms: int, role: int) -> Report:
        plan, plan_id = self._world.plans[row], self._ids[row]
        if what == lay.LOG_ACCEPTED:
            return Accepted(plan_id, time_ms)
        if what == lay.LOG_REJECTED:
            return Rejected(plan_id, time_ms)
        if what == lay.LOG_CANCELLED:
            return Cancelled(plan_id, time_ms, left=size, filled=int(plan["filled"]))
        sign = 1 - 2 * int(plan["side"])
        if what == lay.LOG_FUNDED:
            # The line was written when the payment was due: `role` counts payments from the last that was dropped.
            rate, mark = Decimal(repr(float(self._world.funding_rate[role]))), Decimal(price) / 2
            return Funded(plan_id, time_ms, rate, mark, sign * size, sign * size * mark * rate)
        entry_fee = self._taker if plan["taking"] else self._maker
        if what == lay.LOG_FILLED:
            entry = role == lay.NONE
            maker = not plan["taking"] if entry else role == lay.RESTED
            fee = (self._maker if maker else self._taker) * price * size
            return Filled(plan_id, time_ms, sign if entry else -sign, price, size, fee, bool(maker), _ROLES[role])
        entry_value, exit_value, rested = (int(plan[name]) for name in ("entry_value", "exit_value", "exit_maker"))
        fees = entry_fee * entry_value + self._taker * (exit_value - rested) + self._maker * rested
        funding = Decimal(repr(float(plan["funding"])))
        return Closed(
            plan_id,
            time_ms,
            reason=_ROLES[role],
            filled=int(plan["filled"]),
            entry_value=entry_value,
            exit_value=exit_value,
            fees=fees,
            funding=funding,
            profit=sign * (exit_value - entry_value) - fees - funding,
        )
