"""Stylised facts of a market, from its event stream: the same numbers for a synthetic and for a recorded one.

Which facts, and where they were found:

- spread and depth by level: Biais, Hillion and Spatt (1995); Bouchaud, Mezard and Potters (2002)
- trades and messages a second, the ratio of cancelled to added size: Farmer, Patelli and Zovko (2005)
- trade sizes with a heavy tail: Gopikrishnan, Plerou, Gabaix and Stanley (2000)
- heavy tails of returns, no autocorrelation of returns, volatility clustering: Cont (2001)
- long memory of trade signs: Lillo and Farmer (2004)
- impact of order-flow imbalance: Cont, Kukanov and Stoikov (2014)
- signature plot: Andersen, Bollerslev, Diebold and Labys (2000)
- the pattern of the day: Admati and Pfleiderer (1988); for crypto markets Hansen, Kim and Kimbrough (2021)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.errors import EmptyLakeError
from market.events import BOOK, LAST, TRADE, EventBatch
from market.instruments import Instrument
from simulation import _stats_kernel as kernel
from simulation._replay_orders import new_stage

#: Sampling intervals of the signature plot, seconds.
INTERVALS_S = (1, 2, 5, 10, 30, 60, 120, 300)
#: Lags of autocorrelations: of returns and absolute returns in samples, of signs in trades.
LAGS = (1, 2, 3, 5, 10, 20, 30, 60)
QUANTILES = (0.1, 0.5, 0.9, 0.99)
_SAMPLE_MS = 1_000
_IMPACT_S = 10
#: A silence of the book beyond this breaks the series of returns, ms.
_STALL_MS = 10_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What a market looks like; NaN where there is too little of it.

    Attributes
    ----------
    name
        Of the market.
    hours
        Exchange time from the first to the last quote.
    spread_ticks, spread_bps : float[4]
        Quantiles, see :data:`QUANTILES`, over seconds.
    depth : float[2, 10]
        Mean displayed size of the best levels of bids and asks, in coins.
    trades_s, messages_s, changes_s
        Trades, book messages and level changes a second.
    sizes : float[4]
        Quantiles of trade sizes, in coins.
    volatility_bps
        Standard deviation of one-minute returns.
    kurtosis_1s, kurtosis_1m
        Excess kurtosis of returns of the mid price.
    acf_returns, acf_absolute : float[8]
        Autocorrelation of one-second returns and of their size, at :data:`LAGS` seconds.
    acf_absolute_1m : float[8]
        The same of one-minute returns, at :data:`LAGS` minutes.
    acf_signs : float[8]
        Autocorrelation of taker sides, at :data:`LAGS` trades.
    impact_ticks, impact_r2
        Move of the mid price in ten seconds for one standard deviation of order-flow imbalance, and R squared.
    signature_bps : float[8]
        Realised volatility a square-root minute by sampling interval, see :data:`INTERVALS_S`.
    hourly_volatility, hourly_trades : float[24]
        By hour of the day (UTC), as multiples of the mean.
    cancel_ratio
        Size taken away without a trade, over size added, within ten levels of the best price.
    """

    name: str
    hours: float
    spread_ticks: NDArray[np.float64]
    spread_bps: NDArray[np.float64]
    depth: NDArray[np.float64]
    trades_s: float
    messages_s: float
    changes_s: float
    sizes: NDArray[np.float64]
    volatility_bps: float
    kurtosis_1s: float
    kurtosis_1m: float
    acf_returns: NDArray[np.float64]
    acf_absolute: NDArray[np.float64]
    acf_absolute_1m: NDArray[np.float64]
    acf_signs: NDArray[np.float64]
    impact_ticks: float
    impact_r2: float
    signature_bps: NDArray[np.float64]
    hourly_volatility: NDArray[np.float64]
    hourly_trades: NDArray[np.float64]
    cancel_ratio: float


def market_facts(name: str, events: Iterable[EventBatch], instrument: Instrument) -> Facts:
    """Measure a market.

    Parameters
    ----------
    name
        To call it by.
    events
        Its stream, in capture order.
    instrument
        Its contract rules.

    Raises
    ------
    EmptyLakeError
        There is no quote in it.
    """
    stage, depth, sums = new_stage(1 << 14), np.zeros((2, kernel.NEAR), np.int64), np.zeros(5, np.int64)
    quotes: list[NDArray[np.int64]] = []
    trades: list[NDArray[np.int64]] = []
    last = np.empty((0, 7), np.int64)
    messages = changes = 0
    for batch in events:
        ends = int(((batch.kind == BOOK) & (batch.flags & LAST > 0)).sum())
        rows = np.empty((len(last) + ends, 7), np.int64)
        rows[: len(last)] = last
        columns = (batch.kind, batch.flags, batch.side, batch.time_ms, batch.price, batch.size)
        n = kernel.walk(stage, *(_frozen(column) for column in columns), rows, len(last), depth, sums, _SAMPLE_MS)
        quotes.append(rows[len(last) : n])
        last = rows[max(n - 1, 0) : n]
        taken = batch.kind == TRADE
        trades.append(np.stack([batch.time_ms[taken], batch.side[taken], batch.size[taken]], axis=1))
        messages += ends
        changes += int((batch.kind == BOOK).sum())
    book = np.concatenate(quotes) if quotes else last
    if len(book) < 2:
        raise EmptyLakeError(f"{name} has no quotes", advice="Choose a longer time")
    return _facts(name, book, np.concatenate(trades), depth, sums, messages, changes, instrument)


def _facts(
    name: str,
    book: NDArray[np.int64],
    trades: NDArray[np.int64],
    depth: NDArray[np.int64],
    sums: NDArray[np.int64],
    messages: int,
    changes: int,
    instrument: Instrument,
) -> Facts:
    step = float(instrument.qty_step)
    times = np.maximum.accumulate(book[:, kernel.Q_TIME])
    mid = (book[:, kernel.Q_BID] + book[:, kernel.Q_ASK]) / 2
    spread = book[:, kernel.Q_ASK] - book[:, kernel.Q_BID]
    seconds = max((times[-1] - times[0]) / 1000, 1.0)
    grid, at, good = sampled(times, book[:, kernel.Q_BROKEN] > 0, _SAMPLE_MS)
    log = np.log(mid[at])
    one_s = returns(log, good, 1)
    minutes = returns(log, good, 60)[::60]
    removed = max(int(sums[kernel.REMOVED]) - int(trades[:, 2].sum()), 0)
    impact, r2 = _impact(book, times, mid, grid, at, good)
    hours = (grid // 3_600_000 % 24).astype(np.int64)
    return Facts(
        name=name,
        hours=seconds / 3600,
        spread_ticks=np.quantile(spread[at][good], QUANTILES),
        spread_bps=np.quantile((spread / mid)[at][good], QUANTILES) * 1e4,
        depth=depth * step / max(int(sums[kernel.N_SAMPLES]), 1),
        trades_s=len(trades) / seconds,
        messages_s=messages / seconds,
        changes_s=changes / seconds,
        sizes=np.quantile(trades[:, 2], QUANTILES) * step if len(trades) else np.full(len(QUANTILES), np.nan),
        volatility_bps=float(np.nanstd(minutes)) * 1e4 if np.isfinite(minutes).sum() > 2 else float("nan"),
        kurtosis_1s=excess_kurtosis(one_s),
        kurtosis_1m=excess_kurtosis(minutes),
        acf_returns=autocorrelation(one_s, LAGS),
        acf_absolute=autocorrelation(np.abs(one_s), LAGS),
        acf_absolute_1m=autocorrelation(np.abs(minutes), LAGS),
        acf_signs=autocorrelation(np.where(trades[:, 1] == 0, 1.0, -1.0), LAGS),
        impact_ticks=impact,
        impact_r2=r2,
        signature_bps=np.array([_realised(log, good, interval) for interval in INTERVALS_S]) * 1e4,
        hourly_volatility=_by_hour(hours[1:], one_s**2) ** 0.5,
        hourly_trades=_hourly_trades(trades, hours),
        cancel_ratio=removed / int(sums[kernel.ADDED]) if sums[kernel.ADDED] else float("nan"),
    )


def sampled(
    times: NDArray[np.int64], broken: NDArray[np.bool_], sample_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The quote in force at each point of a grid.

    Returns
    -------
    grid : int64[n]
        Times.
    at : int64[n]
        Row of the quote.
    good : bool[n]
        Whether it is fresh: no silence of more than ten seconds, and no gap that is not over.
    """
    grid = np.arange(times[0] // sample_ms + 1, times[-1] // sample_ms + 1) * sample_ms
    at = np.searchsorted(times, grid, side="right") - 1
    good = grid - times[at] <= _STALL_MS
    after = np.minimum(at + 1, len(times) - 1)
    good &= ~(broken[after] & (grid - times[at] > sample_ms))
    return grid, at, good


def returns(log: NDArray[np.float64], good: NDArray[np.bool_], lag: int) -> NDArray[np.float64]:
    """Log returns over `lag` samples, overlapping; NaN where an end is not good."""
    if len(log) <= lag:
        return np.empty(0)
    out = log[lag:] - log[:-lag]
    out[~(good[lag:] & good[:-lag])] = np.nan
    return out


def autocorrelation(values: NDArray[np.float64], lags: Iterable[int]) -> NDArray[np.float64]:
    """Correlation of a series with itself, NaN left out; NaN for lags with fewer than 30 pairs."""
    out = []
    for lag in lags:
        left, right = values[:-lag], values[lag:]
        known = np.isfinite(left) & np.isfinite(right)
        left, right = left[known], right[known]
        enough = len(left) >= 30 and left.std() > 0 and right.std() > 0
        out.append(float(np.corrcoef(left, right)[0, 1]) if enough else float("nan"))
    return np.array(out)


def excess_kurtosis(values: NDArray[np.float64]) -> float:
    """Fourth moment over the squared second, less 3; NaN for fewer than 30 values."""
    known = values[np.isfinite(values)]
    if len(known) < 30 or known.std() == 0:
        return float("nan")
    centred = known - known.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)


def _realised(log: NDArray[np.float64], good: NDArray[np.bool_], interval: int) -> float:
    """Volatility a square-root minute from returns over an interval, seconds."""
    values = returns(log, good, interval)
    known = values[np.isfinite(values)]
    return float(np.sqrt((known**2).mean() * 60 / interval)) if len(known) >= 30 else float("nan")


def _impact(
    book: NDArray[np.int64],
    times: NDArray[np.int64],
    mid: NDArray[np.float64],
    grid: NDArray[np.int64],
    at: NDArray[np.int64],
    good: NDArray[np.bool_],
) -> tuple[float, float]:
    """Regression of ten-second moves of the mid price on order-flow imbalance."""
    total = np.cumsum(book[:, kernel.Q_FLOW])
    ends = np.arange(0, len(grid), _IMPACT_S)
    fresh = good[ends]
    flow, move = np.diff(total[at[ends]]).astype(float), np.diff(mid[at[ends]])
    known = fresh[1:] & fresh[:-1]
    flow, move = flow[known], move[known]
    if len(flow) < 30 or flow.std() == 0 or move.std() == 0:
        return float("nan"), float("nan")
    correlation = float(np.corrcoef(flow, move)[0, 1])
    return correlation * float(move.std()), correlation**2


def _by_hour(hours: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean by hour of the day over the mean of all; NaN for hours without values."""
    known = np.isfinite(values)
    count = np.bincount(hours[known], minlength=24).astype(float)
    total = np.bincount(hours[known], values[known], minlength=24)
    mean = np.divide(total, count, out=np.full(24, np.nan), where=count > 0)
    return _relative(mean, float(values[known].mean()) if known.any() else 0.0)


def _hourly_trades(trades: NDArray[np.int64], hours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Trades a second by hour of the day over the mean."""
    seconds = np.bincount(hours, minlength=24).astype(float)
    count = np.bincount(trades[:, 0] // 3_600_000 % 24, minlength=24).astype(float)
    rate = np.divide(count, seconds, out=np.full(24, np.nan), where=seconds > 0)
    return _relative(rate, len(trades) / max(len(hours), 1))


def _relative(values: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Values as multiples of a mean; NaN where that is 0."""
    return values / mean if mean > 0 else np.full(len(values), np.nan)


def _frozen(column: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view
