"""How good is a matrix of features: what is missing though it is due, what cannot be, what never moves.

A value is *due* in a valid bar when the feature's warm-up lies within valid bars without a break. What is missing
before that is warm-up, and what is missing in an invalid bar is a hole: neither is a defect of the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features import _indicators
from features._spec import FeatureSpec
from features.bars import Bars
from features.catalogue import FEATURES

#: What a unit allows. A z-score within its own window of n values cannot exceed sqrt(n - 1) (Samuelson 1968, How
#: deviant can you be?); a feature in basis points beyond 100 % is a wrong price.
_SLACK = 1e-9
RANGES: dict[str, tuple[float, float]] = {
    "-1 to 1": (-1.0, 1.0),
    "0 to 1": (0.0, 1.0),
    "0 to 100": (0.0, 100.0),
    "z-score": (-((_indicators.LONG - 1) ** 0.5), (_indicators.LONG - 1) ** 0.5),
    "up to 1": (-np.inf, 1.0),
    "bps": (-1e4, 1e4),
    "log ratio": (-30.0, 30.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureQuality:
    """One row a feature, and one a bar; over the bars that were asked for.

    Attributes
    ----------
    names, sources
        Of the features, in the order of the columns.
    due : int64[F]
        Bars in which a value is due.
    missing : int64[F]
        Of these, bars in which it is NaN.
    infinite, outside : int64[F]
        Values that are infinite; that lie outside what the unit allows.
    distinct : int64[F]
        Different known values, counted up to 2.
    low, high : float64[F]
        Least and greatest known value; NaN where none is known.
    open_ms, close_ms : int64[n]
        Of the bars.
    valid : bool[n]
        Of the bars.
    impossible : int64[n]
        Values of the bar that are infinite or outside their range.
    filled : int64[n]
        Known values of an invalid bar: there should be none.
    misplaced : int64[n]
        1 where the bar does not open where the one before closed.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    due: NDArray[np.int64]
    missing: NDArray[np.int64]
    infinite: NDArray[np.int64]
    outside: NDArray[np.int64]
    distinct: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    open_ms: NDArray[np.int64]
    close_ms: NDArray[np.int64]
    valid: NDArray[np.bool_]
    impossible: NDArray[np.int64]
    filled: NDArray[np.int64]
    misplaced: NDArray[np.int64]


def feature_quality(bars: Bars, names: Sequence[str], timeframe_ms: int, start_ms: int, end_ms: int) -> FeatureQuality:
    """Look at the bars that close in ``(start_ms, end_ms]``.

    Parameters
    ----------
    bars
        All bars, oldest first: those before `start_ms` tell which values are warm.
    names
        Of the columns.
    timeframe_ms
        Bar length.

    Raises
    ------
    ValueError
        The names do not fit the columns, or one is not declared.
    """
    if bars.values.shape[1] != len(names):
        raise ValueError(f"{bars.values.shape[1]} columns and {len(names)} names")
    declared = {spec.name: spec for spec in FEATURES}
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise ValueError(f"not declared: {', '.join(unknown)}")
    specs = [declared[name] for name in names]
    here = (bars.close_ms > start_ms) & (bars.close_ms <= end_ms)
    values, valid = bars.values[here], bars.valid[here]
    run = _valid_run(bars)[here]
    due = np.stack([valid & (run >= warm_bars(spec, timeframe_ms)) for spec in specs], axis=1)
    known = ~np.isnan(values)
    infinite = np.isinf(values)
    limits = np.array([RANGES.get(spec.unit, (-np.inf, np.inf)) for spec in specs])
    with np.errstate(invalid="ignore"):
        outside = (values < limits[:, 0] - _SLACK) | (values > limits[:, 1] + _SLACK)
    late = np.zeros(len(bars), np.int64)
    late[1:] = bars.open_ms[1:] != bars.close_ms[:-1]
    finite = np.where(known & ~infinite & valid[:, None], values, np.nan)
    low, high = _extent(finite)
    return FeatureQuality(
        names=tuple(names),
        sources=tuple(spec.source for spec in specs),
        due=due.sum(axis=0),
        missing=(due & ~known).sum(axis=0),
        infinite=infinite.sum(axis=0),
        outside=outside.sum(axis=0),
        distinct=np.where(np.isnan(low), 0, np.where(low == high, 1, 2)),
        low=low,
        high=high,
        open_ms=bars.open_ms[here],
        close_ms=bars.close_ms[here],
        valid=valid,
        impossible=(infinite | outside).sum(axis=1),
        filled=(known & ~valid[:, None]).sum(axis=1),
        misplaced=late[here],
    )


def warm_bars(spec: FeatureSpec, timeframe_ms: int) -> int:
    """Valid bars in a row after which a value is due, this one included."""
    return max(1, spec.warmup_bars, -(-spec.warmup_ms // timeframe_ms))


def _valid_run(bars: Bars) -> NDArray[np.int64]:
    """How many valid bars in a row end with each bar."""
    at = np.arange(len(bars))
    joined = np.r_[False, bars.open_ms[1:] == bars.close_ms[:-1]] if len(bars) else np.zeros(0, bool)
    # A bar that does not join on begins a run of its own; an invalid one is in none.
    before = np.where(bars.valid & joined, -1, np.where(bars.valid, at - 1, at))
    return at - np.maximum.accumulate(before) if len(bars) else at


def _extent(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low = np.fmin.reduce(values, axis=0, initial=np.nan)
    high = np.fmax.reduce(values, axis=0, initial=np.nan)
    return low, high
