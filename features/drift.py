"""Does a day look like the days before it? A population stability index a feature, with a declared false-alarm rate.

The index of two histograms p and q is ``sum((p - q) * ln(p / q))`` (Siddiqi 2006, Credit Risk Scorecards; also the
symmetrised Kullback-Leibler divergence). What it comes to by chance depends on how many *independent* values there are,
and bars are anything but independent. So its distribution is taken from the days before: they are cut into blocks of
:data:`BLOCK_HOURS` hours by the time of day, and days are put together by drawing the block of each slot at random from
any of them (Politis and Romano 1994 for blocks). What such a day shows against the rest is what chance does. The day
that is judged is never drawn: a strange one would raise its own limit, and the fewer days there are the more. The alarm
looks at the largest standardised index over all features (Westfall and Young 1993), so the rate holds for the day, not
for each of a hundred features.

Days differ as days too: volatility and the price level wander for longer than a block. So the index must also exceed
what the most unlike of the other days shows against the rest, by half, and the limit that the draws give by half. What
is left is drift, and not always a defect. How small a shift is found: ``docs/statistics.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.bars import Bars
from features.catalogue import FEATURES
from features.quality import warm_bars

#: Length of a block: several times longer than what bars remember.
BLOCK_HOURS = 4
#: Declared: of the days that are like the others, at most this share raises an alarm.
FALSE_ALARMS = 0.01
#: An index below this is not told, however sure it is: the usual limit of "no change" is 0.1.
LEAST_INDEX = 0.1
BINS = 10
_DAY_MS = 86_400_000
_BLOCK_MS = BLOCK_HOURS * 3_600_000
_DRAWS = 4_000
#: Fewer draws than this could not show a day to be one in a hundred.
_LEAST_DRAWS = 1 / FALSE_ALARMS
#: A block needs this share of its bars.
_WHOLE = 0.75
#: How far beyond the most unlike of the other days, and beyond the limit of the draws.
_BEYOND = 1.5
_MARGIN = 1.5
#: Added to each bin, so that an empty one is not infinitely surprising.
_PRIOR = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """A day against others.

    Attributes
    ----------
    names
        Of the features.
    index : float64[F]
        Population stability index; NaN where it was not judged.
    limit : float64[F]
        What it may be on a day like the others; NaN where it was not judged.
    p_value : float64[F]
        How often a day like the others has a feature as strange as this one, all features considered.
    reason : tuple of str
        Why a feature was not judged; empty where it was.
    days, blocks
        Days that it was compared with; blocks of the day itself.
    """

    names: tuple[str, ...]
    index: NDArray[np.float64]
    limit: NDArray[np.float64]
    p_value: NDArray[np.float64]
    reason: tuple[str, ...]
    days: int
    blocks: int

    @property
    def alarmed(self) -> NDArray[np.bool_]:
        """Features that have drifted."""
        found: NDArray[np.bool_] = self.index > self.limit
        return found


def drift(
    bars: Bars, names: Sequence[str], timeframe_ms: int, day_ms: int, others_ms: Sequence[int], *, seed: int = 7
) -> Drift:
    """Compare one UTC day with others.

    Parameters
    ----------
    bars
        All bars.
    names
        Of the feature columns.
    timeframe_ms
        Bar length.
    day_ms
        Beginning of the day.
    others_ms
        Beginnings of the days to compare with: the training window.
    seed
        Of the draws.
    """
    memory = {spec.name: warm_bars(spec, timeframe_ms) * timeframe_ms for spec in FEATURES}
    clocks = {spec.name for spec in FEATURES if spec.source == "clock"}
    reason = [_unfit(name, memory, clocks) for name in names]
    own, rest = _blocks(bars, day_ms, timeframe_ms), [_blocks(bars, at, timeframe_ms) for at in others_ms]
    slots = {
        slot: [(0, own[slot]), *((number, day[slot]) for number, day in enumerate(rest, 1) if slot in day)]
        for slot in own
    }
    slots = {slot: rows for slot, rows in slots.items() if len(rows) > 2}
    draws = float(np.prod([len(rows) - 1 for rows in slots.values()])) if slots else 0.0
    unknown = np.full(len(names), np.nan)
    if draws < _LEAST_DRAWS:
        why = f"the days before it give {draws:,.0f} comparisons, {_LEAST_DRAWS:,.0f} are needed"
        return Drift(tuple(names), unknown, unknown, unknown, tuple(r or why for r in reason), len(rest), len(own))
    judged = [column for column in range(len(names)) if not reason[column]]
    blocks = [(slot, number, rows) for slot, days in slots.items() for number, rows in days]
    counts = _histograms(bars.values, [rows for _, _, rows in blocks], judged)
    fit = counts.sum(axis=(0, 2)) > 0
    for column, known in zip(judged, fit):
        if not known:
            reason[column] = "never known"
    counts, judged = counts[:, fit], [column for column, known in zip(judged, fit) if known]
    index, limit, p_value = unknown.copy(), unknown.copy(), unknown.copy()
    if judged:
        places = np.array([(slot, number) for slot, number, _ in blocks])
        index[judged], limit[judged], p_value[judged] = _compare(counts, places[:, 0], places[:, 1], seed)
    return Drift(tuple(names), index, limit, p_value, tuple(reason), len(rest), len(own))


def _unfit(name: str, memory: dict[str, int], clocks: set[str]) -> str:
    if name in clocks:
        return "the clock tells the time, not the market"
    if memory.get(name, 0) > _BLOCK_MS:
        return f"remembers more than {BLOCK_HOURS} h"
    return ""


def _blocks(bars: Bars, day_ms: int, timeframe_ms: int) -> dict[int, NDArray[np.int64]]:
    """Rows of the valid bars of each block of a day that has enough of them."""
    found = {}
    for slot in range(_DAY_MS // _BLOCK_MS):
        begin = day_ms + slot * _BLOCK_MS
        rows = np.flatnonzero((bars.close_ms > begin) & (bars.close_ms <= begin + _BLOCK_MS) & bars.valid)
        if len(rows) >= _WHOLE * _BLOCK_MS / timeframe_ms:
            found[slot] = rows
    return found


def _histograms(
    values: NDArray[np.float64], blocks: Sequence[NDArray[np.int64]], judged: Sequence[int]
) -> NDArray[np.float64]:
    """Counts by block, feature and bin; bins hold equal shares of all that is compared."""
    every = np.concatenate(blocks)
    counts = np.zeros((len(blocks), len(judged), BINS))
    for place, column in enumerate(judged):
        pooled = values[every, column]
        pooled = pooled[np.isfinite(pooled)]
        if not len(pooled):
            continue
        edges = np.quantile(pooled, np.arange(1, BINS) / BINS)
        for block, rows in enumerate(blocks):
            own = values[rows, column]
            bins = np.searchsorted(edges, own[np.isfinite(own)], side="right")
            counts[block, place] = np.bincount(bins, minlength=BINS)
    return counts


def _compare(
    counts: NDArray[np.float64], slot: NDArray[np.int64], number: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Index of the day, its limit, and the p-value over all features."""
    rng = np.random.default_rng(seed)
    picks = np.zeros((_DRAWS + 1, len(slot)))
    for one in np.unique(slot):
        members = np.flatnonzero(slot == one)
        picks[0, members[0]] = 1
        picks[np.arange(1, _DRAWS + 1), rng.choice(members[1:], _DRAWS)] = 1
    others = number > 0
    before = counts[others].sum(axis=0)
    day = np.tensordot(picks, counts, axes=(1, 0))
    rest = before - day
    rest[0] = before
    logs = np.log(np.maximum(_index(day, rest), 1e-12))
    centre, spread = logs[1:].mean(axis=0), np.maximum(logs[1:].std(axis=0), 1e-9)
    strange = (logs - centre) / spread
    worst = np.sort(strange[1:].max(axis=1))
    above = _DRAWS - np.searchsorted(worst, strange[0], side="left")
    limit = _MARGIN * np.exp(centre + spread * np.quantile(worst, 1 - FALSE_ALARMS))
    for one in np.unique(number[others]):
        unlike = counts[number == one].sum(axis=0)
        limit = np.maximum(limit, _BEYOND * _index(unlike, counts[others].sum(axis=0) - unlike))
    return np.exp(logs[0]), np.maximum(limit, LEAST_INDEX), (above + 1) / (_DRAWS + 1)


def _index(day: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    p = (day + _PRIOR) / (day + _PRIOR).sum(axis=-1, keepdims=True)
    q = (rest + _PRIOR) / (rest + _PRIOR).sum(axis=-1, keepdims=True)
    found: NDArray[np.float64] = ((p - q) * np.log(p / q)).sum(axis=-1)
    return found
