"""Whether anything looks where it may not: features beyond their bar, labels beyond their end or before their start.

The reverse of the features' check: a label must be the same when the trades before its decision are taken away, and
when the data ends where the label does; and before that end it must be unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from council.plan import LONG, SHORT, StrategyParams
from features import Bars, FeatureEngine, LookaheadReport, check_lookahead
from market.days import lake_days
from market.errors import NotEnoughDataError
from market.events import TICKER, TRADE, EventBatch
from market.instruments import Instrument
from market.lake import Lake
from settings import Settings, timeframe_ms
from simulation.fills import FillModel
from simulation.synthetic import SYNTHETIC, synthetic_events
from training.outcomes import Costs, Outcomes, Simulator, Tape, tradable

#: An ordinary plan: fills often, ends soon.
PLAN = StrategyParams(0.2, 1.0, 1.5, 3, 12)

Source = Callable[[], Iterable[EventBatch]]

_SYNTHETIC_START_MS = 1_767_225_600_000
_SYNTHETIC_MS = 8 * 3_600_000


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What a check of labels found.

    Attributes
    ----------
    labels
        Labels compared, over all cuts.
    peeks
        What did not hold, in words.
    """

    labels: int
    peeks: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every label was the same, and there were labels to compare."""
        return not self.peeks and self.labels > 0


def check_labels(
    bars: Bars,
    events: Source,
    instrument: Instrument,
    bar_ms: int,
    costs: Costs,
    *,
    params: StrategyParams = PLAN,
    cuts: int = 8,
    seed: int = 0,
) -> LabelReport:
    """Recompute labels on data that ends at random times, and on data without the trades before some decisions.

    Parameters
    ----------
    bars
        Bars of the stream; the tradable ones are decided on.
    events
        Opens the stream.
    instrument, bar_ms, costs, params
        Of the plans.
    cuts
        How many times of each.
    seed
        Of the times.

    Raises
    ------
    NotEnoughDataError
        There is no bar to decide on.
    """
    chosen = bars[tradable(bars)]
    if not len(chosen):
        raise NotEnoughDataError("no bar has a plan", advice="Capture or import more data")
    tape = Tape(events)

    def outcomes(decided: Bars, stream: Source) -> Outcomes:
        rows = np.repeat(np.arange(len(decided)), 2)
        sides = np.tile(np.array([LONG, SHORT], np.int8), len(decided))
        return Simulator(decided, stream, instrument, bar_ms, costs).run(rows, sides, [params] * len(rows))

    whole = outcomes(chosen, lambda: tape)
    decided_ms = np.repeat(chosen.close_ms, 2)
    rng = np.random.default_rng(seed)
    peeks: list[str] = []
    labels = 0
    if (early := whole.known & (whole.end_ms < decided_ms)).any():
        peeks.append(f"{int(early.sum())} labels end before their decision")
    for cut_ms in rng.integers(int(chosen.close_ms[0]), int(chosen.close_ms[-1]) + 1, cuts).tolist():
        short = outcomes(chosen, lambda cut_ms=cut_ms: tape.until(cut_ms))  # type: ignore[misc]
        over = whole.known & (whole.end_ms < cut_ms)
        labels += int(over.sum())
        peeks += _compare(short, whole, over, f"when the data ends at {cut_ms} ms")
        # A plan that never fills is over when it is known to be; none may be settled before its end.
        if (soon := short.known & ~over & (decided_ms < cut_ms) & (whole.end_ms > cut_ms)).any():
            peeks.append(f"{int(soon.sum())} labels are known at {cut_ms} ms, before their end")
        after = decided_ms >= cut_ms
        bare = outcomes(chosen, lambda cut_ms=cut_ms: _without_trades(tape, cut_ms))  # type: ignore[misc]
        labels += int(after.sum())
        peeks += _compare(bare, whole, after, f"without the trades before {cut_ms} ms")
    return LabelReport(labels, tuple(peeks))


def _compare(mine: Outcomes, whole: Outcomes, rows: np.ndarray, when: str) -> list[str]:
    found = []
    for name in ("closed", "known", "end_ms", "net_return"):
        left, right = getattr(mine, name)[rows], getattr(whole, name)[rows]
        if left.tobytes() != right.tobytes():
            found.append(f"{int((left != right).sum())} labels differ in {name} {when}")
    return found


def _without_trades(events: Iterable[EventBatch], before_ms: int) -> Iterator[EventBatch]:
    clock = -1
    for batch in events:
        times = np.maximum(np.maximum.accumulate(batch.time_ms), clock)
        clock = int(times[-1]) if len(times) else clock
        keep = (batch.kind != TRADE) | (times >= before_ms)
        yield EventBatch(**{name: getattr(batch, name)[keep] for name in EventBatch.__slots__})


@dataclass(frozen=True, slots=True)
class Checked:
    """Both checks of one market."""

    market: str
    features: LookaheadReport
    labels: LabelReport

    @property
    def passed(self) -> bool:
        """Whether nothing looked where it may not."""
        return self.features.passed and self.labels.passed

    def text(self) -> str:
        """For a person."""
        lines = [
            f"{self.market}: {len(self.features.cuts)} cuts, {self.features.bars:,} bars recomputed without what came "
            f"after them: {'equal to the bit' if self.features.passed else 'NOT equal'}",
            f"{self.market}: {self.labels.labels:,} labels recomputed without what came after their end or before "
            f"their decision: {'equal to the bit' if self.labels.passed else 'NOT equal'}",
        ]
        lines += [f"  {peek.column} of the bar at {peek.open_ms} ms: {peek.cut} != {peek.whole}"
                  for peek in self.features.peeks[:20]]  # fmt: skip
        return "\n".join([*lines, *(f"  {peek}" for peek in self.labels.peeks[:20])])


def check(settings: Settings, symbol: str | None, *, cuts: int = 10, seed: int = 0) -> Checked:
    """Check the lake's data of a symbol, or, without one, eight hours of the synthetic market.

    Raises
    ------
    LakeError
        The lake has no data of the symbol, or it is damaged.
    """
    bar_ms = timeframe_ms(settings.training.timeframe)
    levels, stall_ms = settings.market.ob_levels, settings.market.stall_ms
    if symbol is None:
        kept = list(synthetic_events(seed + 1, 1.0, _SYNTHETIC_START_MS, _SYNTHETIC_MS))
        instrument, name = SYNTHETIC, "synthetic market"

        def events() -> Iterable[EventBatch]:
            return kept
    else:
        lake = Lake(settings.paths.lake)
        days, instrument, name = lake_days(lake, symbol), lake.instrument(symbol), symbol

        def events() -> Iterable[EventBatch]:
            return (batch for day in days for batch in day.events())

    features = check_lookahead(events, bar_ms, levels, stall_ms, cuts=cuts, seed=seed)
    engine = FeatureEngine(bar_ms, levels, stall_ms)
    bars = Bars.concat([Bars.empty(len(engine.names)), *(engine.push(batch) for batch in events())])
    costs = settings.costs
    model = FillModel(costs.order_latency_ms, float(costs.maker_fee), float(costs.taker_fee))
    labels = check_labels(
        bars,
        lambda: map(_without_context, events()),
        instrument,
        bar_ms,
        Costs(model, float(settings.training.plan_notional)),
        cuts=max(1, cuts // 2),
        seed=seed,
    )
    return Checked(name, features, labels)


def _without_context(batch: EventBatch) -> EventBatch:
    keep = batch.kind < TICKER
    if keep.all():
        return batch
    return EventBatch(**{name: getattr(batch, name)[keep] for name in EventBatch.__slots__})
