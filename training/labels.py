"""Labels and sample weights, read from outcome tables.

References
----------
M. López de Prado, "Advances in Financial Machine Learning", Wiley 2018, chapter 4: labels that overlap in time share
their information, so each weighs as much as it is unique.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wins(net_return: NDArray[np.float64]) -> NDArray[np.float64]:
    """1.0 where a closed plan earned more than it cost, 0.0 where not.

    Parameters
    ----------
    net_return : float64[n]
        Of closed plans only: a plan that was not filled, or whose end is unknown, has no label.

    Raises
    ------
    ValueError
        A return is NaN.
    """
    if np.isnan(net_return).any():
        raise ValueError("a plan with an unknown outcome has no label")
    return (net_return > 0).astype(np.float64)


def fills(closed: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1.0 where a plan was filled, 0.0 where it was cancelled or rejected without a fill, NaN where nobody knows.

    Parameters
    ----------
    closed, known : bool[...]
        See :class:`training.outcomes.Outcomes`. Unfilled is not lost: these labels say nothing of profit.
    """
    return np.where(known, closed.astype(np.float64), np.nan)


def directions(
    close: NDArray[np.int64],
    close_ms: NDArray[np.int64],
    valid: NDArray[np.bool_],
    hold_bars: int,
    timeframe_ms: int,
) -> NDArray[np.float64]:
    """1.0 where the price was higher `hold_bars` later, 0.0 where lower; NaN where unchanged or unknown.

    Parameters
    ----------
    close : int64[n]
        Closes of bars, ticks; at or below 0 unknown.
    close_ms : int64[n]
        Strictly increasing; bars may be missing.
    valid : bool[n]
        Bars that touch no suspect window. One that does, or is missing, on the way makes the label unknown: nothing is
        bridged.
    hold_bars, timeframe_ms
        How far ahead to look.
    """
    later = np.searchsorted(close_ms, close_ms + hold_bars * timeframe_ms)
    inside = later < len(close)
    later = np.minimum(later, len(close) - 1) if len(close) else later
    rows = np.arange(len(close))
    good = np.concatenate(([0], np.cumsum(valid & (close > 0))))
    whole = (
        inside
        & (close_ms[later] == close_ms + hold_bars * timeframe_ms)
        & (later - rows == hold_bars)
        & (good[later + 1] - good[rows] == hold_bars + 1)
    )
    change = close[later] - close
    return np.where(whole & (change != 0), (change > 0).astype(np.float64), np.nan)


def uniqueness(start_ms: NDArray[np.int64], end_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average uniqueness of labels, scaled to a mean of 1.

    A label is alive at every decision time from its own to its end. At each of those, it shares the market with the
    other labels that are alive; its uniqueness is the mean of one over their number.

    Parameters
    ----------
    start_ms : int64[n]
        Decision times, never decreasing.
    end_ms : int64[n]
        When the labels are known; at or after `start_ms`.

    Returns
    -------
    float64[n]
    """
    count = len(start_ms)
    if not count:
        return np.empty(0)
    fresh = np.append(True, np.diff(start_ms) > 0)
    times, first = start_ms[fresh], np.cumsum(fresh) - 1
    after = np.searchsorted(times, end_ms, side="right")
    alive = np.bincount(first, minlength=len(times) + 1) - np.bincount(after, minlength=len(times) + 1)
    share = np.concatenate(([0.0], np.cumsum(1.0 / np.cumsum(alive)[:-1])))
    weights: NDArray[np.float64] = (share[after] - share[first]) / (after - first)
    weights /= weights.mean()
    return weights
