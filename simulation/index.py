"""An index over recorded events on which the life of a plan touches few of them.

:func:`simulation.fills.simulate` reads every event for every table of outcomes. This reads them once; after that a plan
looks up what it needs: the book at a moment, the next trade at or through a price (by blocks with their lowest and
highest price), the changes of one level. The outcomes are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from market.events import FIRST, SNAPSHOT, EventBatch
from simulation import _index_build as steps
from simulation import _layout as lay
from simulation._index_kernel import live_all
from simulation._index_lookups import Market
from simulation.fills import (
    checked_funding,
    frozen,
    make_world,
    outcomes_of,
    plan_records,
    reserve,
    simulate,
)
from simulation.plans import FillModel, PlanOutcomes, Plans

_CHUNK = 1 << 20
#: Levels that a snapshot is expected to replace at most.
_LEVELS = 8192
#: Prices between the lowest and the highest of a side, beyond which there is no index.
_SPAN = 1 << 25


class FillIndex:
    """Events, ready for plans.

    Parameters
    ----------
    events
        Gives the events from the beginning, each time it is called: once now, and again for plans whose exit the book
        could not take at once.

    Attributes
    ----------
    deferred
        Plans so far that were simulated event by event.
    regular
        Whether there is an index at all; without one every plan is. Messages that are not whole have none.
    """

    def __init__(self, events: Callable[[], Iterable[EventBatch]]) -> None:
        self._events = events
        self.deferred = 0
        self._market = _market(events())
        self.regular = self._market is not None

    def simulate(
        self,
        plans: Plans,
        model: FillModel,
        *,
        funding_ms: ArrayLike | None = None,
        funding_rate: ArrayLike | None = None,
    ) -> PlanOutcomes:
        """As :func:`simulation.fills.simulate`."""
        if self._market is None or model.latency_ms == 0:
            self.deferred += len(plans)
            return simulate(self._events(), plans, model, funding_ms=funding_ms, funding_rate=funding_rate)
        funding = checked_funding(funding_ms, funding_rate) or (np.empty(0, np.int64), np.empty(0))
        records = plan_records(plans, model, np.arange(len(plans)))
        deferred = np.zeros(len(plans), np.bool_)
        market = self._market._replace(funding_ms=funding[0], funding_rate=funding[1])
        live_all(market, records, model.latency_ms, deferred)
        outcomes = outcomes_of(records, model)
        if deferred.any():
            self.deferred += int(deferred.sum())
            outcomes[deferred] = simulate(
                self._events(), plans[deferred], model, funding_ms=funding_ms, funding_rate=funding_rate
            )
        return outcomes


def _market(events: Iterable[EventBatch]) -> Market | None:
    """The index of events; ``None`` where their messages are not whole or their prices too far apart."""
    world = make_world(np.zeros(0, lay.PLAN), FillModel(0, 0.0, 0.0), strict=False)
    carry = np.zeros(steps.CARRY, np.int64)
    carry[[steps.CLOCK, steps.ORDINAL]] = -1
    pieces: list[steps.Pieces] = []
    for batch in events:
        for chunk in batch.chunks(_CHUNK):
            world = reserve(world, len(chunk))
            pieces.append(_piece(world, carry, chunk))
            if carry[steps.IRREGULAR]:
                return None
    return _joined(pieces)


def _piece(world: lay.World, carry: NDArray[np.int64], chunk: EventBatch) -> steps.Pieces:
    rows = len(chunk)
    both = SNAPSHOT | FIRST
    snapshots = int(((chunk.flags & both) == both).sum())
    out = _room(rows, rows + snapshots * _LEVELS, snapshots + 1)
    first = int(carry[steps.STEPS])
    carry[[steps.TRADES, steps.CHANGES, steps.SEGMENTS]] = 0
    columns: tuple[NDArray[Any], ...] = (
        chunk.kind,
        chunk.flags,
        chunk.side,
        chunk.time_ms,
        chunk.price,
        chunk.size,
        chunk.ordinal,
    )
    steps.build(world.keys, world.sizes, world.sides, carry, out, *(frozen(column) for column in columns))
    used = (int(carry[steps.STEPS]) - first, *carry[[steps.TRADES, steps.CHANGES, steps.SEGMENTS]].tolist())
    ends = (used[0],) * 5 + (used[1],) * 4 + (used[2],) * 4 + (used[3],) * 2
    # Copies: the room that was not needed goes back.
    held: tuple[NDArray[Any], ...] = out
    trimmed: list[Any] = [column[..., :end].copy() for column, end in zip(held, ends)]
    return steps.Pieces(*trimmed)


def _room(rows: int, changes: int, segments: int) -> steps.Pieces:
    def whole(count: int) -> NDArray[np.int64]:
        return np.empty(count, np.int64)

    return steps.Pieces(
        clock=whole(rows),
        begins=np.empty(rows, np.bool_),
        gap=np.empty(rows, np.bool_),
        best=np.empty((2, rows), np.int64),
        worst=np.empty((2, rows), np.int64),
        trade_step=whole(rows),
        trade_price=whole(rows),
        trade_size=whole(rows),
        trade_taker=np.empty(rows, np.int8),
        change_step=whole(changes),
        change_side=np.empty(changes, np.int8),
        change_key=whole(changes),
        change_size=whole(changes),
        segment_step=whole(segments),
        segment_clock=whole(segments),
    )


def _joined(pieces: list[steps.Pieces]) -> Market | None:
    pieces = pieces or [_room(0, 0, 0)]
    parts = [list(columns) for columns in zip(*pieces)]
    pieces.clear()
    joined = []
    for columns in parts:  # one after the other, so that only one is held twice
        joined.append(np.concatenate(columns, axis=-1))
        columns.clear()
    all_ = steps.Pieces(*joined)
    low = np.zeros(2, np.int64)
    span = 1
    for side in range(2):
        keys = all_.change_key[all_.change_side == side]
        if len(keys):
            low[side] = keys.min()
            span = max(span, int(keys.max()) - int(low[side]) + 1)
    if span > _SPAN:
        return None
    offsets = np.zeros((2, span + 1), np.int64)
    order = np.empty(len(all_.change_key), np.int64)
    steps.by_level(all_.change_side, all_.change_key, low, offsets, order)
    gaps = np.flatnonzero(all_.gap)
    after = np.searchsorted(gaps, all_.segment_step)
    ends = np.append(gaps, len(all_.clock))
    return Market(
        clock=all_.clock,
        begins=all_.begins,
        best=all_.best,
        worst=all_.worst,
        best_high=np.stack([_blocks(all_.best[side], np.maximum) for side in range(2)]),
        worst_low=np.stack([_blocks(all_.worst[side], np.minimum) for side in range(2)]),
        trade_step=all_.trade_step,
        trade_price=all_.trade_price,
        trade_size=all_.trade_size,
        trade_taker=all_.trade_taker,
        trade_low=_blocks(all_.trade_price, np.minimum),
        trade_high=_blocks(all_.trade_price, np.maximum),
        low=low,
        offsets=offsets,
        change_step=all_.change_step[order],
        change_size=all_.change_size[order],
        segment_step=all_.segment_step,
        segment_clock=all_.segment_clock,
        segment_end=ends[after],
        funding_ms=np.empty(0, np.int64),
        funding_rate=np.empty(0),
    )


def _blocks(values: NDArray[np.int64], reduce: np.ufunc) -> NDArray[np.int64]:
    if not len(values):
        return np.empty(0, np.int64)
    found: NDArray[np.int64] = reduce.reduceat(values, np.arange(0, len(values), steps.BLOCK))
    return found
