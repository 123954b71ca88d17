"""What a backtest is worth after the search that found it.

All Sharpe ratios here are *per observation* (per bar), never annualised: the formulas below need that, and a bar is
what the rest of the room counts in.

References
----------
.. [1] D. H. Bailey, M. López de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15(2), 2012: the
   probabilistic Sharpe ratio and the minimum track record length.
.. [2] D. H. Bailey, M. López de Prado, "The deflated Sharpe ratio: correcting for selection bias, backtest overfitting
   and non-normality", Journal of Portfolio Management 40(5), 2014.
.. [3] D. H. Bailey, J. M. Borwein, M. López de Prado, Q. J. Zhu, "The probability of backtest overfitting", Journal of
   Computational Finance 20(4), 2017: combinatorially symmetric cross-validation.
.. [4] D. N. Politis, J. P. Romano, "The stationary bootstrap", JASA 89, 1994.
.. [5] F. A. Sortino, R. van der Meer, "Downside risk", Journal of Portfolio Management 17(4), 1991.
"""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.577_215_664_901_532_9

Floats = NDArray[np.float64]


def _finite(returns: ArrayLike) -> Floats:
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("returns must be one-dimensional and finite")
    return values


def sharpe(returns: ArrayLike) -> float:
    """Mean over standard deviation (``ddof=1``) of one column of returns; NaN where it is undefined."""
    values = _finite(returns)
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan
    return float(values.mean() / values.std(ddof=1))


def sortino(returns: ArrayLike, target: float = 0.0) -> float:
    """Mean excess over `target` divided by the downside deviation [5]_; NaN where no return lies below it."""
    excess = _finite(returns) - target
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2))) if len(excess) else 0.0
    return float(excess.mean() / downside) if downside > 0 else math.nan


def max_drawdown(returns: ArrayLike) -> float:
    """Largest fall of the compounded equity below its running maximum (which starts at 1), as a fraction, 0 or more."""
    equity = np.concatenate(([1.0], np.cumprod(1.0 + _finite(returns))))
    return float(np.max(1.0 - equity / np.maximum.accumulate(equity)))


def fill_rate(filled: int, orders: int) -> float:
    """Share of the orders sent that were filled, at least in part; NaN without orders."""
    return filled / orders if orders > 0 else math.nan


def exposure(entry_ms: ArrayLike, exit_ms: ArrayLike, span_ms: tuple[int, int]) -> float:
    """Share of a span of time in which a position was held; overlapping positions count once. NaN for an empty span.

    Parameters
    ----------
    entry_ms, exit_ms : int64[n]
        First fill of the entry and last fill of the exit of each trade.
    span_ms
        Begin and end of what was traded.
    """
    start, end = span_ms
    entry, exit_ = np.asarray(entry_ms, np.int64), np.asarray(exit_ms, np.int64)
    if end <= start or entry.shape != exit_.shape:
        return math.nan
    order = np.argsort(entry, kind="stable")
    entry, exit_ = np.clip(entry[order], start, end), np.clip(exit_[order], start, end)
    reached = np.concatenate(([start], np.maximum.accumulate(exit_)[:-1])) if len(entry) else entry
    held = np.maximum(exit_ - np.maximum(entry, reached), 0).sum()
    return float(held / (end - start))


def turnover(entry_value: ArrayLike, exit_value: ArrayLike, stake: float, days: float) -> float:
    """Value bought and sold a day, in stakes; NaN where that is undefined.

    Parameters
    ----------
    entry_value, exit_value
        Of each trade, in the unit of `stake`.
    stake
        Value of one plan.
    days
        Length of the span.
    """
    if not (stake > 0 and days > 0):
        return math.nan
    return float((np.sum(np.asarray(entry_value)) + np.sum(np.asarray(exit_value))) / stake / days)


def moments(returns: ArrayLike) -> tuple[float, float]:
    """Skewness and (not excess) kurtosis, population moments; NaN for a constant."""
    values = _finite(returns)
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan, math.nan
    z = (values - values.mean()) / values.std()
    return float(np.mean(z**3)), float(np.mean(z**4))


def sharpe_error(ratio: float, observations: int, skew: float, kurtosis: float) -> float:
    """Standard error of an estimated Sharpe ratio of independent, not necessarily normal, returns [1]_."""
    if observations < 2:
        return math.nan
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    return math.sqrt(variance / (observations - 1)) if variance > 0 else math.nan


def probabilistic_sharpe(
    ratio: float, observations: int, skew: float, kurtosis: float, benchmark: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark` [1]_; NaN where it is undefined.

    Parameters
    ----------
    ratio, benchmark
        Per observation.
    observations
        Number of returns.
    skew, kurtosis
        Of the returns; the kurtosis of a normal distribution is 3.
    """
    error = sharpe_error(ratio, observations, skew, kurtosis)
    if not (error > 0 and math.isfinite(ratio) and math.isfinite(benchmark)):
        return math.nan
    return _NORMAL.cdf((ratio - benchmark) / error)


def expected_max_sharpe(trials: float, variance: float) -> float:
    """Sharpe ratio that the best of `trials` skill-less trials is expected to show (False Strategy theorem [2]_).

    Parameters
    ----------
    trials
        Number of trials, at least 1; one trial was not selected, so 0 is expected of it.
    variance
        Of the Sharpe ratios across trials.
    """
    if trials < 1 or not variance >= 0:
        return math.nan
    if trials == 1:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER_MASCHERONI) * high + _EULER_MASCHERONI * higher)


def deflated_sharpe(
    ratio: float, observations: int, skew: float, kurtosis: float, *, trials: float, variance: float
) -> float:
    """Probability that a Sharpe ratio is real although it is the best of many [2]_; NaN where it is undefined.

    The probabilistic Sharpe ratio against :func:`expected_max_sharpe`.
    """
    return probabilistic_sharpe(ratio, observations, skew, kurtosis, expected_max_sharpe(trials, variance))


def min_track_record(
    ratio: float, skew: float, kurtosis: float, *, benchmark: float = 0.0, confidence: float = 0.95
) -> float:
    """Observations needed before `ratio` differs from `benchmark` at `confidence` [1]_; infinite if it never will."""
    if not all(map(math.isfinite, (ratio, skew, kurtosis, benchmark))):
        return math.nan
    if ratio <= benchmark:
        return math.inf
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio
    return float(1.0 + variance * (_NORMAL.inv_cdf(confidence) / (ratio - benchmark)) ** 2)


def effective_trials(returns: ArrayLike) -> float:
    """Number of independent trials that are worth as much as these: ``ρ + (1 - ρ) N`` with the mean correlation ρ [2]_.

    Parameters
    ----------
    returns : float64[T, N]
        One column a trial; constant columns have no correlation and are left out.
    """
    matrix = np.asarray(returns, np.float64)
    matrix = matrix[:, np.ptp(matrix, axis=0) > 0] if len(matrix) else matrix[:, :0]
    count = matrix.shape[1]
    if count < 2:
        return float(count)
    correlation = np.corrcoef(matrix, rowvar=False)
    mean = float((correlation.sum() - count) / (count * (count - 1)))
    mean = min(max(mean, 0.0), 1.0)
    return float(mean + (1.0 - mean) * count)


def backtest_overfitting(returns: ArrayLike, blocks: int = 16) -> float:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation [3]_.

    The rows are cut into `blocks` contiguous blocks; for every choice of half of them, the column that is best there is
    ranked on the other half. The result is the share of choices in which it is at or below the median, that is, whose
    logit of the relative rank ``rank / (N + 1)`` is at most 0. A column that never moves on a half earned exactly
    nothing there and ranks with a Sharpe ratio of 0.

    Parameters
    ----------
    returns : float64[T, N]
        One column a trial, one row an observation.
    blocks
        Even. It is lowered where there are fewer than four rows a block.

    Returns
    -------
    float
        NaN with fewer than two trials or too few rows.
    """
    ranks = overfitting_ranks(returns, blocks)
    return float(np.mean(ranks <= 0.5)) if len(ranks) else math.nan


def overfitting_ranks(returns: ArrayLike, blocks: int = 16) -> Floats:
    """Relative rank, on the other half, of what was best on one half: float64[choices], the stuff of the PBO [3]_.

    Parameters
    ----------
    returns, blocks
        See :func:`backtest_overfitting`; empty where that is NaN.
    """
    halves = _halves(returns, blocks)
    if halves is None:
        return np.empty(0)
    picked, outside = halves
    below = (outside < picked).sum(axis=1)
    ties = (outside == picked).sum(axis=1)
    rank = below + (ties + 1) / 2.0
    relative: Floats = rank / (outside.shape[1] + 1)
    return relative


def loss_probability(returns: ArrayLike, blocks: int = 16) -> float:
    """Probability of loss out of sample, from the same halves as :func:`backtest_overfitting` [3]_.

    The share of choices in which the column that is best on one half lost money on the other. Where every column earns,
    ranks among them are a matter of chance and the probability of overfitting is near one half; this one is near 0.

    Parameters
    ----------
    returns : float64[T, N]
        One column a trial, one row an observation.
    blocks
        Even. It is lowered where there are fewer than four rows a block.

    Returns
    -------
    float
        NaN with fewer than two trials or too few rows.
    """
    halves = _halves(returns, blocks)
    return math.nan if halves is None else float(np.mean(halves[0] < 0.0))


def _halves(returns: ArrayLike, blocks: int) -> tuple[Floats, Floats] | None:
    """For every choice of half of the blocks: Sharpe ratio on the other half of the best column, and of all columns."""
    matrix = np.asarray(returns, np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError("returns must be two-dimensional and finite")
    if blocks < 2 or blocks % 2:
        raise ValueError("the number of blocks must be even and at least 2")
    rows, count = matrix.shape
    blocks = min(blocks, rows // 4 // 2 * 2)
    if count < 2 or blocks < 2:
        return None
    pieces = np.array_split(matrix, blocks)
    sizes = np.array([len(piece) for piece in pieces], np.float64)
    sums = np.array([piece.sum(axis=0) for piece in pieces])
    squares = np.array([(piece * piece).sum(axis=0) for piece in pieces])
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for row, choice in enumerate(combinations(range(blocks), blocks // 2)):
        chosen[row, list(choice)] = 1.0
    inside = _block_sharpe(chosen, sizes, sums, squares)
    outside = _block_sharpe(1.0 - chosen, sizes, sums, squares)
    best = inside.argmax(axis=1)
    return outside[np.arange(len(best)), best][:, None], outside


def _block_sharpe(chosen: Floats, sizes: Floats, sums: Floats, squares: Floats) -> Floats:
    number = (chosen @ sizes)[:, None]
    mean = (chosen @ sums) / number
    variance = (chosen @ squares) / number - mean * mean
    # Rounding leaves tiny variances on columns that never moved: their mean is exactly 0 and so is the ratio.
    moved = variance > 1e-18
    ratio: Floats = np.where(moved, mean / np.sqrt(np.where(moved, variance, 1.0)), 0.0)
    return ratio


def bootstrap_interval(
    returns: ArrayLike, *, confidence: float = 0.9, mean_block: float = 20.0, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the total (summed) return by the stationary bootstrap [4]_.

    Parameters
    ----------
    returns
        One column of returns.
    confidence
        Probability that the interval is to cover.
    mean_block
        Mean length of the blocks that are drawn, in observations.
    samples, seed
        Number of resamples, and the seed of their generator.

    Returns
    -------
    low, high : float
        NaN for fewer than two returns.
    """
    values = _finite(returns)
    size = len(values)
    if size < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    totals = np.empty(samples)
    for sample in range(samples):
        fresh = generator.random(size) < 1.0 / mean_block
        fresh[0] = True
        starts = generator.integers(size, size=size)
        block = np.cumsum(fresh) - 1
        first = np.flatnonzero(fresh)
        index = (starts[first][block] + np.arange(size) - first[block]) % size
        totals[sample] = values[index].sum()
    low, high = np.quantile(totals, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
