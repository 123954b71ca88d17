"""Whether any bar knows what came after it: recompute on streams that end early, and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from features.bars import BY_TIME, BarRule, Bars
from features.catalogue import feature_names
from features.engine import FeatureEngine
from market.events import EventBatch


@dataclass(frozen=True, slots=True)
class Peek:
    """A value that changes when the events after it are taken away.

    Attributes
    ----------
    event
        Events that were left.
    open_ms
        Of the bar.
    column
        Of the bars, or the feature's name.
    cut, whole
        The value without and with the events after the cut.
    """

    event: int
    open_ms: int
    column: str
    cut: float
    whole: float


@dataclass(frozen=True, slots=True)
class LookaheadReport:
    """What a check found.

    Attributes
    ----------
    cuts
        Events after which the stream was cut.
    bars
        Bars compared, over all cuts.
    peeks
        What did not hold; empty when nothing looks ahead.
    """

    cuts: tuple[int, ...]
    bars: int
    peeks: tuple[Peek, ...]

    @property
    def passed(self) -> bool:
        """Whether every bar was the same, and there were bars to compare."""
        return not self.peeks and self.bars > 0


def check_lookahead(
    events: Callable[[], Iterable[EventBatch]],
    timeframe_ms: int,
    levels: int,
    stall_ms: int = 60_000,
    *,
    cuts: int = 20,
    seed: int = 0,
    rule: BarRule = BY_TIME,
    compute: Callable[[Iterable[EventBatch]], Bars] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LookaheadReport:
    """Cut the stream at random events, recompute every bar from the beginning, and compare with the whole stream's.

    Bars that closed before a cut must be equal to the bit, in every column.

    Parameters
    ----------
    events
        Opens the stream.
    timeframe_ms, levels, stall_ms, rule
        See :class:`features.FeatureEngine`.
    cuts
        How many cuts.
    seed
        Of the cuts.
    compute
        What is checked, for tests of the check; the engine if ``None``.
    progress
        Called with the number of cuts done and of all.

    Raises
    ------
    DataError
        A parameter or an event's time is impossible.
    """

    def engine(stream: Iterable[EventBatch]) -> Bars:
        one = FeatureEngine(timeframe_ms, levels, stall_ms, rule)
        return Bars.concat([Bars.empty(len(one.names)), *(one.push(batch) for batch in stream)])

    work = compute or engine
    whole = work(events())
    rows = sum(len(batch) for batch in events())
    rng = np.random.default_rng(seed)
    chosen = sorted(set(rng.integers(1, rows + 1, cuts).tolist())) if rows else []
    peeks: list[Peek] = []
    compared = 0
    names = feature_names(levels)
    for done, cut in enumerate(chosen):
        bars = work(_until(events(), cut))
        compared += len(bars)
        peeks += _differences(cut, bars, whole, names)
        if progress is not None:
            progress(done + 1, len(chosen))
    return LookaheadReport(tuple(chosen), compared, tuple(peeks))


def _until(stream: Iterable[EventBatch], rows: int) -> Iterable[EventBatch]:
    for batch in stream:
        yield batch[:rows]
        rows -= len(batch)
        if rows <= 0:
            return


def _differences(cut: int, bars: Bars, whole: Bars, names: tuple[str, ...]) -> list[Peek]:
    if bars.equals(whole[: len(bars)]):
        return []
    found: list[Peek] = []
    for name in bars.__slots__:
        mine, theirs = (np.ascontiguousarray(getattr(run, name)[: len(bars)]) for run in (bars, whole))
        rows = np.flatnonzero((mine.view(np.uint8) != theirs.view(np.uint8)).reshape(len(bars), -1).any(axis=1))
        for row in rows[:1]:
            columns = [(name, mine[row], theirs[row])]
            if name == "values":
                columns = list(zip(names, mine[row], theirs[row]))
            found += [
                Peek(cut, int(bars.open_ms[row]), label, float(left), float(right))
                for label, left, right in columns
                if left != right and not (np.isnan(left) and np.isnan(right))
            ]
    return found
