"""Outcome tables: what the order plan of every bar and side would have become.

Labels, purging intervals, sample weights and backtests are all read from here, so a label is the backtest of one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from council.plan import DIRECTIONAL, LONG, SHORT, StrategyParams, plan_prices
from features import Bars
from market.events import EventBatch
from market.instruments import Instrument
from simulation.fills import FillModel, PlanOutcomes, Plans, PlanStatus, simulate
from simulation.index import FillIndex
from training.funding import Funding

#: Event rows that are kept in memory, at about 43 bytes each; a longer tape is read anew for every pass.
TAPE_ROWS = 24_000_000
#: Event rows up to which outcomes are looked up in an index, at about 35 bytes each (a month of a busy book is 2 GB);
#: longer tapes are read through for every table.
INDEX_ROWS = 64_000_000

Ints = NDArray[np.int64]


class Tape:
    """The events of a market, to be run through several times.

    Parameters
    ----------
    source
        Gives the events from the beginning, each time it is called.
    keep_rows
        A tape of at most this many rows stays in memory from the first pass on.
    """

    def __init__(self, source: Callable[[], Iterable[EventBatch]], keep_rows: int = TAPE_ROWS) -> None:
        self._source = source
        self._keep_rows = keep_rows
        self._kept: list[EventBatch] | None = None
        self._too_long = False

    def __iter__(self) -> Iterator[EventBatch]:
        if self._kept is None and not self._too_long:
            self._load()
        yield from self._source() if self._kept is None else self._kept

    def _load(self) -> None:
        kept: list[EventBatch] = []
        rows = 0
        for batch in self._source():
            rows += len(batch)
            if rows > self._keep_rows:
                self._too_long = True
                return
            kept.append(batch)
        self._kept = kept

    def until(self, stop_ms: int) -> Iterator[EventBatch]:
        """The events before the clock (running maximum of exchange time) reaches `stop_ms`."""
        for batch in self:
            late = batch.time_ms >= stop_ms
            if late.any():
                yield batch[: int(late.argmax())]
                return
            yield batch


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcomes of plans; the arrays have any one shape, usually ``[n, 2]`` with long first.

    Attributes
    ----------
    closed : bool[...]
        Filled and closed: has a net return, and so a label.
    known : bool[...]
        What became of the plan is known: closed, never filled, or rejected on arrival.
    end_ms : int64[...]
        When the plan was over. For an unknown outcome the latest moment at which it can have been.
    net_return : float64[...]
        Fraction of the entry value, net of fees and funding; 0.0 where nothing was filled, NaN where unknown.
    """

    closed: NDArray[np.bool_]
    known: NDArray[np.bool_]
    end_ms: Ints
    net_return: NDArray[np.float64]

    def __getitem__(self, rows: slice | Ints) -> Outcomes:
        return Outcomes(self.closed[rows], self.known[rows], self.end_ms[rows], self.net_return[rows])


@dataclass(frozen=True, slots=True)
class Costs:
    """What a plan is simulated with.

    Attributes
    ----------
    model
        Latency and fees.
    notional
        USDT of one plan; sizes are rounded down to steps, but not below the contract's smallest order.
    """

    model: FillModel
    notional: float


class Simulator:
    """Simulates the plans of decisions on a run of bars.

    Parameters
    ----------
    bars
        Decisions are made at their closes; all must be tradable (valid, with a known ATR above 0 and a close).
    events
        Gives the events from the beginning up to where this simulator may look.
    instrument
        Contract rules.
    timeframe_ms
        Length of a bar.
    costs
        Fees, latency, size.
    funding
        Payments while the events were recorded; left out, the contract has none.
    """

    def __init__(
        self,
        bars: Bars,
        events: Callable[[], Iterable[EventBatch]],
        instrument: Instrument,
        timeframe_ms: int,
        costs: Costs,
        funding: Funding | None = None,
    ) -> None:
        self.bars = bars
        self.funding = funding or Funding()
        self.passes = 0
        self._events = events
        self._timeframe_ms = timeframe_ms
        self._costs = costs
        step_value = bars.close * float(instrument.tick_size * instrument.qty_step)
        smallest = np.maximum(instrument.min_steps, np.ceil(float(instrument.min_notional) / step_value))
        self._size = np.clip(costs.notional // step_value, smallest, instrument.max_steps).astype(np.int64)
        self._tables: dict[StrategyParams, Outcomes] = {}
        self._rows = 0
        self._index: FillIndex | None = None

    def table(self, params: StrategyParams) -> Outcomes:
        """Outcomes of both sides of every bar, ``[n, 2]``; computed once for each set of parameters."""
        if params not in self._tables:
            rows = np.repeat(np.arange(len(self.bars)), 2)
            sides = np.tile(np.array([LONG, SHORT], np.int8), len(self.bars))
            flat = self.run(rows, sides, [params])
            self._tables[params] = Outcomes(
                *(getattr(flat, name).reshape(-1, 2) for name in ("closed", "known", "end_ms", "net_return"))
            )
        return self._tables[params]

    def run(self, rows: Ints, sides: NDArray[np.int8], params: Sequence[StrategyParams]) -> Outcomes:
        """Outcomes of single decisions, each with its own parameters, in one pass over the events.

        Parameters
        ----------
        rows : int64[m]
            Bars, never decreasing.
        sides : int8[m]
            +1 or -1.
        params
            m strategy parameters, or one for all.
        """
        lives = self.lives(rows, sides, params)
        known = lives.status != PlanStatus.UNKNOWN
        last = np.array([one.tif_bars + one.hold_bars for one in params], np.int64) * self._timeframe_ms
        latest = self.bars.close_ms[rows] + last + 4 * self._costs.model.latency_ms
        return Outcomes(
            closed=lives.status == PlanStatus.CLOSED,
            known=known,
            end_ms=np.where(known, lives.end_ms, latest),
            net_return=lives.net_return,
        )

    def lives(self, rows: Ints, sides: NDArray[np.int8], params: Sequence[StrategyParams]) -> PlanOutcomes:
        """What :meth:`run` tells in full: prices, values, fees, funding, and why each plan ended.

        A plan whose prices are impossible is never sent: it is unfilled, and over when it is decided.
        """
        decide_ms = self.bars.close_ms[rows]
        own = np.arange(len(params)) if len(params) == len(rows) else np.zeros(len(rows), np.int64)
        tif_ms = np.array([one.tif_bars for one in params], np.int64)[own] * self._timeframe_ms
        hold_ms = np.array([one.hold_bars for one in params], np.int64)[own] * self._timeframe_ms
        taking = np.array([one.entry == DIRECTIONAL for one in params], np.int8)[own]
        target_maker = np.array([one.target_maker for one in params], np.int8)[own]
        distances = np.array([(one.offset_atr, one.stop_atr, one.target_atr) for one in params]).reshape(-1, 3)[own]
        prices = np.empty((len(rows), 3), np.int64)
        _prices(sides, self.bars.close[rows], self.bars.atr[rows], distances, taking, prices)
        # A market of tiny prices and huge ranges has plans with a price at or below 0: the executor sends no such plan.
        possible: NDArray[np.bool_] = np.asarray((prices > 0).all(axis=1))
        lives = PlanOutcomes.unsent(decide_ms)
        if not possible.any():
            return lives
        plans = Plans(
            decide_ms=decide_ms[possible],
            side=sides[possible].astype(np.int8),
            limit=np.ascontiguousarray(prices[possible, 0]),
            stop=np.ascontiguousarray(prices[possible, 1]),
            target=np.ascontiguousarray(prices[possible, 2]),
            size=self._size[rows][possible],
            tif_ms=tif_ms[possible],
            hold_ms=hold_ms[possible],
            taking=taking[possible],
            target_maker=target_maker[possible],
        )
        times, rates = self.funding.times_ms, self.funding.rates
        lives[possible] = self._simulate(plans, funding_ms=times, funding_rate=rates)
        return lives

    def _simulate(self, plans: Plans, **funding: NDArray[Any]) -> PlanOutcomes:
        """Read every event the first time, which a single table is done with; from the second on there is an index."""
        model = self._costs.model
        if self._index is None and 0 < self._rows <= INDEX_ROWS:
            self._index = FillIndex(self._events)
        if self._index is not None:
            return self._index.simulate(plans, model, **funding)

        def count(rows: int) -> None:
            self._rows = rows

        self.passes += 1
        return simulate(self._events(), plans, model, progress=count, **funding)


def tradable(bars: Bars) -> NDArray[np.bool_]:
    """Bars at whose close a plan can be made: valid, with a close and an ATR(14) above 0."""
    with np.errstate(invalid="ignore"):
        return bars.valid & (bars.close > 0) & np.isfinite(bars.atr) & (bars.atr > 0)


@njit(cache=True)
def _prices(sides, close, atr, distances, taking, prices):  # type: ignore[no-untyped-def]
    for i in range(len(sides)):
        prices[i, 0], prices[i, 1], prices[i, 2] = plan_prices(
            sides[i], close[i], atr[i], distances[i, 0], distances[i, 1], distances[i, 2], taking[i] != 0
        )
