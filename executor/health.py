"""Does live trading still look like training and like the backtest? Three tests, each with a false-alarm rate.

* **features** and **predictions**: over windows of bars, against the distribution of training (predictions: of the
  hold-out). Every value becomes its rank in that distribution; where the mean rank, or the mean distance from the
  middle, has moved by more than chance allows, the column has drifted. Bars follow each other closely, so what is
  compared are means of ten blocks of the window: the rate holds as long as the memory of a column is shorter than a
  block. All columns together raise a false alarm in at most the declared share of windows (Bonferroni).
* **outcomes**: the net return of each closed trade as its rank among the out-of-fold trades of training. A gambler bets
  that ranks are too low; while trades are as good as the paths promised, the stake can be expected not to grow, and
  the chance that it ever exceeds 1 / rate is below the declared rate, however often one looks.

References
----------
Ville (1939), Étude critique de la notion de collectif, and Ramdas et al. (2023), Game-theoretic statistics and safe
anytime-valid inference, for the second. Abramowitz and Stegun (1964), 26.7.3, for Student's distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLOCKS = 10
#: Share of a block's values that must be known for the column to be judged.
_KNOWN = 0.5
_STAKES = (0.2, 0.4, 0.6, 0.8)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranks:
    """A distribution as bins between its quantiles: a value's rank is the middle of its bin.

    With exact quantiles the mean of the ranks is 1/2, whatever the distribution.
    """

    edges: Floats
    middles: Floats
    shares: Floats

    @classmethod
    def of(cls, probabilities: Sequence[float], quantiles: Sequence[float]) -> Ranks | None:
        """From quantiles, the ends included; ``None`` where there are none, or ties hide where the mass lies."""
        at, values = np.asarray(probabilities, np.float64), np.asarray(quantiles, np.float64)
        if values.size != at.size or at.size < 3 or not np.isfinite(values).all():
            return None
        edges = values[1:-1]
        if (np.diff(edges) <= 0).any():
            return None
        return cls(edges, (at[1:] + at[:-1]) / 2, np.diff(at))

    def __call__(self, values: Floats) -> Floats:
        """Ranks in (0, 1); NaN stays NaN."""
        ranks: Floats = self.middles[np.searchsorted(self.edges, values, side="right")]
        return np.where(np.isfinite(values), ranks, np.nan)

    @property
    def spread(self) -> float:
        """Mean distance of the ranks from 1/2."""
        return float(np.sum(self.shares * np.abs(self.middles - 0.5)))


class Drift:
    """Windows of rows beside the distribution of training.

    Parameters
    ----------
    ranks
        By column name; other columns are not judged.
    names
        Of the columns.
    window
        Rows that are judged together, at least 20; each row is in one window.
    rate
        Share of windows with a false alarm, at most.
    """

    def __init__(self, ranks: Mapping[str, Ranks], names: Sequence[str], *, window: int, rate: float) -> None:
        self._columns = [(column, name, ranks[name]) for column, name in enumerate(names) if name in ranks]
        self._window, self._rate = max(window, 2 * _BLOCKS), rate
        self._rows: list[Floats] = []

    def add(self, row: Floats) -> dict[str, float] | None:
        """Take a row; at the end of a window the columns that drifted and their p-values, else ``None``."""
        self._rows.append(np.array(row, np.float64))
        if len(self._rows) < self._window:
            return None
        matrix = np.array(self._rows)
        self._rows.clear()
        found = {name: _p_value(ranks(matrix[:, column]), ranks.spread) for column, name, ranks in self._columns}
        judged = {name: p for name, p in found.items() if not math.isnan(p)}
        return {name: p for name, p in judged.items() if p * len(judged) < self._rate}


def _p_value(ranks: Floats, spread: float) -> float:
    """That location and spread of the ranks are those of training; NaN where too little is known."""
    blocks = np.array_split(ranks, _BLOCKS)
    if any(np.isfinite(block).mean() < _KNOWN for block in blocks):
        return math.nan
    location = np.array([np.nanmean(block) for block in blocks]) - 0.5
    distance = np.array([np.nanmean(np.abs(block - 0.5)) for block in blocks]) - spread
    return min(1.0, 2 * min(_student(location), _student(distance)))


def _student(means: Floats) -> float:
    """Two-sided p-value of Student's test that the mean is 0."""
    mean, error = float(means.mean()), float(means.std(ddof=1)) / math.sqrt(means.size)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return _tails(mean / error)


def _tails(t: float) -> float:
    """Both tails of Student's distribution with nine degrees of freedom."""
    angle = math.atan(abs(t) / 3.0)
    cosine = math.cos(angle)
    term = total = cosine
    for degree in (2, 4, 6):
        term *= cosine * cosine * degree / (degree + 1)
        total += term
    return max(0.0, 1.0 - 2 / math.pi * (angle + math.sin(angle) * total))


class Outcomes:
    """Closed trades beside the paths' trades: an alarm when they are worse.

    Parameters
    ----------
    ranks
        Distribution of the net returns of the paths' trades.
    rate
        Chance of ever raising a false alarm.
    """

    def __init__(self, ranks: Ranks, rate: float) -> None:
        self._ranks, self._rate = ranks, rate
        self._wealth = np.ones(len(_STAKES))
        self._stakes = np.array(_STAKES)
        self.trades = 0

    def add(self, net_return: float) -> bool:
        """Take a trade's net return; whether trades are worse than the paths'."""
        self.trades += 1
        rank = float(self._ranks(np.array([net_return]))[0])
        self._wealth = self._wealth * (1 + self._stakes * (1 - 2 * rank))
        return bool(self._wealth.mean() >= 1 / self._rate)
