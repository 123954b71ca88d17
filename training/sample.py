"""From bars to what may be learnt from: development rows, hold-out rows, and the features that are worth using."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features import Bars
from market.errors import NotEnoughDataError
from training.outcomes import tradable

_DAY_MS = 86_400_000
#: A feature that is missing in more than this share of the development rows is left out of the models.
MOST_MISSING = 0.2
#: Days of development data below which a cycle cannot be told from a trend: a clock seen twice is an index of the rows.
CYCLES_DAYS = {"day_": 5, "week_": 28}
#: Rows below which a cross-validation block, or the hold-out, says nothing.
SMALLEST_BLOCK = 20


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Bars on which a plan can be made, cut once in time.

    Attributes
    ----------
    development
        Bars that tuning, ranking and the final fit may read.
    holdout
        Later bars; nothing may read them before the council is chosen.
    cut_ms
        Opening of the first hold-out bar: development sees no event at or after it.
    kept
        Columns of the features that the models use.
    left_out
        Names of the others, and why.
    """

    development: Bars
    holdout: Bars
    cut_ms: int
    kept: NDArray[np.int64]
    left_out: dict[str, str]


def draw_sample(bars: Bars, names: Sequence[str], *, holdout_share: float, min_bars: int, groups: int) -> Sample:
    """Cut bars into development and hold-out.

    Parameters
    ----------
    bars
        All bars, invalid ones included.
    names
        Of the feature columns.
    holdout_share
        Last share of the bars, by time.
    min_bars
        Usable bars below which no training is attempted.
    groups
        Cross-validation blocks that development must fill.

    Raises
    ------
    NotEnoughDataError
        There are too few usable bars, or no feature is known often enough.
    ValueError
        The names do not fit the columns.
    """
    if bars.values.shape[1] != len(names):
        raise ValueError(f"{bars.values.shape[1]} feature columns and {len(names)} names")
    usable = tradable(bars)
    if usable.sum() < min_bars:
        raise NotEnoughDataError(
            f"{int(usable.sum())} usable bars of {len(bars)}, {min_bars} are needed",
            advice="Capture or import more data, take a shorter timeframe, or lower training.min_bars",
        )
    cut = int(len(bars) * (1.0 - holdout_share))
    early = np.arange(len(bars)) < cut
    development, holdout = bars[usable & early], bars[usable & ~early]
    if len(development) < groups * SMALLEST_BLOCK or len(holdout) < SMALLEST_BLOCK:
        raise NotEnoughDataError(
            f"{len(development)} usable bars before the hold-out and {len(holdout)} in it; {groups} blocks of "
            f"{SMALLEST_BLOCK} and {SMALLEST_BLOCK} are needed",
            advice="Capture or import more data, or take a shorter timeframe",
        )
    left_out = _left_out(development, names)
    kept = np.array([column for column, name in enumerate(names) if name not in left_out], np.int64)
    if not len(kept):
        raise NotEnoughDataError(
            "every feature is missing in more than a fifth of the bars", advice="Capture or import longer runs of data"
        )
    return Sample(development, holdout, int(bars.open_ms[cut]), kept, left_out)


def _left_out(development: Bars, names: Sequence[str]) -> dict[str, str]:
    """Names of the features that the models do not use, and why."""
    missing = np.isnan(development.values).mean(axis=0)
    days = (development.close_ms[-1] - development.open_ms[0]) / _DAY_MS
    reasons = {}
    for column, name in enumerate(names):
        needed = next((need for prefix, need in CYCLES_DAYS.items() if name.startswith(prefix)), 0)
        if missing[column] > MOST_MISSING:
            reasons[name] = f"{100 * missing[column]:.0f} % missing"
        elif days < needed:
            reasons[name] = f"needs {needed} days of data"
    return reasons
