"""The fill model: what would have become of an order plan on the recorded market.

The rules, for a plan that buys (selling mirrors them):

1. *Decision.* The plan is sent once a frame has been seen whose clock is at or after `decide_ms`; the order arrives
   when the clock reaches `decide_ms + latency_ms`, in a later frame at the earliest. What is due takes effect before
   the event that moves the clock, on the book as it stood.
2. *Arrival.* The entry is post-only: at or above the best ask it is rejected. Otherwise it joins the queue behind the
   size displayed at its price. Where its price lies deeper than the book shows, the queue is unknown: trades at the
   price do not fill it, and the queue becomes the displayed size when the level comes into sight.
3. *Queue.* A sell trade at the price uses up the queue ahead, then fills the order, in part if need be. Displayed
   size below the queue ahead caps it: who cancels is assumed to stand behind us first. This is the risk-averse queue
   model that hftbacktest documents. A touch is not a fill.
4. *Sweep.* A sell trade below the price, or a best ask at or below it after a whole book message, fills the rest at the
   limit. Entry fills pay the maker fee.
5. *Cancel.* Sent at `decide_ms + tif_ms`, in effect `latency_ms` later; fills in between count.
6. *Exit.* From the first fill on, a trade at or through the stop or the target triggers a market exit (Bybit's "Full"
   mode with last-price trigger: the target is a market order too), and so does the time `first fill + hold_ms`. The
   trade that fills the entry may trigger the stop; trades before it count for nothing. The exit takes effect
   `latency_ms` after its trigger, cancels the rest of the entry, walks the book and pays the taker fee; what the book
   does not hold is closed on the following messages, only against levels that they show anew. The first trigger counts.
7. *Funding* is charged on the position held at each funding time, at the mid price.
10. *Unknown.* A plan whose life touches a time at which the book is unknown, or the end of the data, is unknown. That
    is not a loss, not a zero, and not a label.

Plans do not see each other, and the market does not see them: sizes are assumed small beside the book.

References
----------
hftbacktest, "Order Fill" and "Queue models": https://hftbacktest.readthedocs.io/en/latest/order_fill.html.
Bybit, "Take Profit/Stop Loss" (``tpslMode=Full``): https://bybit-exchange.github.io/docs/v5/position/trading-stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from market.events import EventBatch
from simulation import _layout as lay
from simulation._kernel import advance
from simulation.plans import ExitReason, FillModel, PlanOutcomes, Plans, PlanStatus

__all__ = ["ExitReason", "FillModel", "PlanOutcomes", "PlanStatus", "Plans", "simulate"]

_CHUNK = 1 << 16
_NO_LIMIT = 1 << 62


def simulate(
    events: Iterable[EventBatch],
    plans: Plans,
    model: FillModel,
    *,
    funding_ms: ArrayLike | None = None,
    funding_rate: ArrayLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> PlanOutcomes:
    """Live every plan through one pass over the events.

    Parameters
    ----------
    events
        Batches of one symbol, in capture order; a single :class:`EventBatch` in a list will do.
    plans
        In any order; each lives independently of the others.
    model
        Costs and latency.
    funding_ms, funding_rate
        Funding times, ascending, ms UTC, and rates as fractions of position value (positive: longs pay; NaN: unknown).
    progress
        Called with the number of rows taken in so far.

    Returns
    -------
    PlanOutcomes
        One row per plan, in the plans' order.

    Raises
    ------
    ValueError
        Funding times and rates do not fit each other.
    """
    order = np.argsort(plans.decide_ms, kind="stable")
    records = plan_records(plans, model, order)
    world = make_world(records, model, strict=True, funding=checked_funding(funding_ms, funding_rate))
    world.state[lay.PLANS] = len(records)
    world.state[lay.NEXT_COMMAND] = records["decide"][0] if len(records) else lay.NEVER
    rows = 0
    for batch in events:
        for chunk in batch.chunks(_CHUNK):
            world = reserve(world, len(chunk))
            take_in(world, chunk, 0, _NO_LIMIT)
        rows += len(batch)
        if progress is not None:
            progress(rows)
    settled = np.empty(len(records), lay.PLAN)
    settled[order] = records
    return outcomes_of(settled, model)


def plan_records(plans: Plans, model: FillModel, order: NDArray[np.int64]) -> NDArray[np.void]:
    """The kernel's records of plans, in `order`."""
    records = np.zeros(len(plans), lay.PLAN)
    sign = plans.side.astype(np.int64)[order]
    records["decide"] = plans.decide_ms[order]
    records["side"] = (1 - sign) // 2
    for name, column in (("key", plans.limit), ("stop", plans.stop), ("target", plans.target)):
        records[name] = sign * column[order]
    records["size"] = records["left"] = plans.size[order]
    records["hold"] = plans.hold_ms[order]
    records["taking"], records["target_maker"] = plans.taking[order], plans.target_maker[order]
    records["arrive"] = records["decide"] + model.latency_ms
    records["cancel_command"] = records["decide"] + plans.tif_ms[order]
    for name in ("hold_command", "cancel_due", "exit_due", "rest_due"):
        records[name] = lay.NEVER
    for name in ("entry_ms", "exit_ms", "end_ms", "status"):
        records[name] = -1
    return records


def make_world(
    records: NDArray[np.void],
    model: FillModel,
    *,
    strict: bool,
    log_lines: int = 0,
    funding: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None,
) -> lay.World:
    """A kernel state without a book; `strict` makes plans that live through a gap unknown."""
    state = np.zeros(lay.STATE_SIZE, np.int64)
    state[[lay.CLOCK, lay.ORDINAL]] = -1
    state[[lay.NEXT_DUE, lay.NEXT_COMMAND]] = lay.NEVER
    state[lay.STRICT], state[lay.LATENCY], state[lay.LOGGING] = strict, model.latency_ms, log_lines > 0
    sides = np.zeros((2, lay.SIDE_SIZE), np.int64)
    sides[:, [lay.BEGIN, lay.END]] = 512
    sides[:, [lay.HOT, lay.HIDDEN_KEY, lay.STOP_KEY]] = -lay.NEVER
    sides[:, lay.TARGET_KEY] = lay.NEVER
    times, rates = funding or (np.empty(0, np.int64), np.empty(0, np.float64))
    if len(times):
        state[lay.NEXT_DUE] = times[0]
    return lay.World(
        state=state,
        sides=sides,
        keys=np.zeros((2, 1024), np.int64),
        sizes=np.zeros((2, 1024), np.int64),
        watch=np.zeros((2, lay.WATCH), np.bool_),
        plans=records,
        active=np.zeros(len(records), np.int64),
        log=np.zeros((log_lines, 6), np.int64),
        fresh=np.zeros((64, 2), np.int64),
        funding_ms=times,
        funding_rate=rates,
    )


def reserve(world: lay.World, rows: int) -> lay.World:
    """Move the book to the middle of its arrays, with room for `rows` more levels at either end and in `fresh`."""
    needed = max(int(world.state[lay.FRESH]), 0) + rows
    if len(world.fresh) < needed:
        fresh = np.zeros((2 * needed, 2), np.int64)
        fresh[: len(world.fresh)] = world.fresh
        world = world._replace(fresh=fresh)
    begin, end = world.sides[:, lay.BEGIN], world.sides[:, lay.END]
    capacity = world.keys.shape[1]
    if begin.min() >= rows and capacity - end.max() >= rows and capacity >= 2 * rows:
        return world
    width = max(capacity, 2 * (int((end - begin).max()) + 2 * rows))
    keys, sizes = np.zeros((2, width), np.int64), np.zeros((2, width), np.int64)
    for side in range(2):
        held = np.arange(begin[side], end[side])
        held = held[world.sizes[side, held] > 0]
        begin[side] = (width - len(held)) // 2
        end[side] = begin[side] + len(held)
        keys[side, begin[side] : end[side]] = world.keys[side, held]
        sizes[side, begin[side] : end[side]] = world.sizes[side, held]
    return world._replace(keys=keys, sizes=sizes)


def take_in(world: lay.World, batch: EventBatch, first: int, room: int) -> int:
    """Run the kernel over a batch; see `advance`."""
    return int(
        advance(
            world,
            frozen(batch.kind),
            frozen(batch.flags),
            frozen(batch.side),
            frozen(batch.time_ms),
            frozen(batch.price),
            frozen(batch.size),
            frozen(batch.ordinal),
            first,
            room,
        )
    )


def frozen(column: NDArray[Any]) -> NDArray[Any]:
    """A read-only, contiguous view: memory-mapped and ordinary columns then share one compiled kernel."""
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def checked_funding(
    times: ArrayLike | None, rates: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    if times is None and rates is None:
        return None
    moments = np.asarray([] if times is None else times, np.int64)
    shares = np.asarray([] if rates is None else rates, np.float64)
    if moments.shape != shares.shape or moments.ndim != 1:
        raise ValueError("funding: times and rates differ in length")
    if (np.diff(moments) <= 0).any() or np.isinf(shares).any():
        raise ValueError("funding: times must ascend and rates be finite, or NaN where unknown")
    return moments, shares


def outcomes_of(records: NDArray[np.void], model: FillModel) -> PlanOutcomes:
    status = np.where(records["stage"] == lay.DONE, records["status"], lay.UNKNOWN).astype(np.int8)
    unknown = status == lay.UNKNOWN
    closed = status == lay.CLOSED

    def whole(name: str) -> NDArray[np.int64]:
        return np.where(unknown, -1, records[name]).astype(np.int64)

    def real(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(unknown, np.nan, values)

    entry, exit_ = records["entry_value"], records["exit_value"]
    rested = records["exit_maker"]
    fees = np.where(records["taking"], model.taker_fee, model.maker_fee) * entry
    fees = fees + (model.taker_fee * (exit_ - rested) + model.maker_fee * rested)
    profit = (1 - 2 * records["side"]) * (exit_ - entry) - fees - records["funding"]
    return PlanOutcomes(
        status=status,
        exit_reason=np.where(closed, records["reason"], lay.NONE).astype(np.int8),
        entry_ms=whole("entry_ms"),
        exit_ms=whole("exit_ms"),
        end_ms=whole("end_ms"),
        filled=whole("filled"),
        entry_value=whole("entry_value"),
        exit_value=whole("exit_value"),
        fees=real(fees),
        funding=real(records["funding"]),
        net_return=real(np.divide(profit, entry, out=np.zeros(len(records)), where=closed)),
    )
