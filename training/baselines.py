"""What needs no model: the yardsticks that a council must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features import Bars
from training.backtest import Track, follow
from training.outcomes import Outcomes


def random_entries(
    outcomes: Outcomes, decide_ms: NDArray[np.int64], like: NDArray[np.int8], *, runs: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """Total returns of entering at random, with the same plans, as often and as often long as a column of signals.

    Parameters
    ----------
    outcomes
        Of both sides of every row, ``[n, 2]``.
    decide_ms : int64[n]
        Decision times.
    like : int8[n]
        The signals to imitate; each run permutes them over the rows.
    runs, seed
        Number of runs and the seed of their generator.

    Returns
    -------
    float64[runs]
    """
    generator = np.random.default_rng(seed)
    return np.array([track(outcomes, decide_ms, generator.permutation(like)).total for _ in range(runs)])


def track(outcomes: Outcomes, decide_ms: NDArray[np.int64], side: NDArray[np.int8]) -> Track:
    """Follow a column of signals whose plans are all in one outcome table."""
    return follow(side, decide_ms, outcomes.closed, outcomes.known, outcomes.end_ms, outcomes.net_return)


def buy_and_hold(bars: Bars, taker_fee: float) -> float:
    """Return of buying at the first close and selling at the last, both as taker; NaN without two known closes."""
    closes = bars.close[bars.close > 0]
    if len(closes) < 2:
        return float("nan")
    return float(closes[-1] / closes[0] - 1.0 - taker_fee * (1.0 + closes[-1] / closes[0]))
