"""One trial: from drawn parameters to track records on backtest paths, and what they are worth.

The score of n-bar backtest paths is ``t = √n × (mean - ½ standard deviation)`` of their Sharpe ratios (per bar, after
fees): roughly a t-statistic of the mean return, lowered where the paths disagree. Two things keep it honest:

- A configuration with fewer than `min_trades` trades on any path has no score. Standing aside is never the best.
- A gain is believed as far as it rests on many trades: ``t × k / (k + 20)`` with k trades a path. Three lucky trades
  (t = √3) would be worth 0.2, and have no score anyway; a loss is never softened.

Whatever was tried counts as a trial in the deflated Sharpe ratio and in the probability of backtest overfitting: each
share of bars that a threshold may let through is a configuration of its own, and one that was stopped early counts with
the paths that it finished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from council.plan import StrategyParams
from training.backtest import Track, follow
from training.folds import Floats, Folds, Layout, Ranking, Singles, margins, out_of_fold, ranking
from training.models import BoosterParams
from training.outcomes import Outcomes
from training.voting import member_sides

#: Shares of bars, a side, that a member's threshold may let through.
SHARES = (0.05, 0.10, 0.20)
#: Trades a path at which half of a gain is believed.
CREDIBLE = 20

#: How a trial ended: with all paths, stopped on the first ones, or without a share that trades enough to be scored.
State = Literal["complete", "pruned", "silent"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is to try.

    Attributes
    ----------
    number
        Of the trial, from 0.
    strategy, booster
        What was drawn.
    seed
        Of the boosters.
    bars
        Score below which the trial is stopped, by the number of finished paths.
    min_trades
        Trades a path below which there is no score.
    """

    number: int
    strategy: StrategyParams
    booster: BoosterParams
    seed: int
    bars: Mapping[int, float]
    min_trades: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What came of a trial; arrays are by share, in the order of :data:`SHARES`.

    Attributes
    ----------
    number, state
        Which trial, and how it ended.
    sharpe : float64[shares]
        Mean Sharpe ratio over the finished paths, per bar; NaN where one has no trades.
    score : float64[shares]
        See the module; NaN where there is none.
    trades : float64[shares]
        Mean number of trades of a path.
    returns : float64[shares, n]
        Out-of-fold net return of every bar, mean over the finished paths.
    steps
        Best score of the shares, by the number of finished paths.
    predictions : float32[paths, n, 2]
        Out-of-fold predictions; without rows if the trial was stopped, for then nothing will be made of them.
    fit_seconds, seconds
        Spent in LightGBM, and in all.
    """

    number: int
    state: State
    sharpe: Floats
    score: Floats
    trades: Floats
    returns: Floats
    steps: dict[int, float]
    predictions: Singles
    fit_seconds: float
    seconds: float

    @property
    def best(self) -> float:
        """Best score of the shares; NaN if there is none."""
        known = self.score[np.isfinite(self.score)]
        return float(known.max()) if len(known) else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One share's track records on some paths, in short."""

    sharpe: float
    score: float
    trades: float
    returns: Floats


def attempt(layout: Layout, table: Outcomes, wanted: Assignment) -> Record:
    """Carry out a trial.

    Parameters
    ----------
    layout
        Of the study.
    table
        Outcomes of the strategy's plans, ``[n, 2]``.
    wanted
        What to try.
    """
    started = time.perf_counter()
    steps: dict[int, float] = {}
    judged: list[Judged] = []

    def look(folds: Folds) -> float:
        known = ranking(layout, folds.predictions)
        judged[:] = [judge_share(layout, folds, table, share, wanted.min_trades, known) for share in SHARES]
        scores = [one.score for one in judged if math.isfinite(one.score)]
        steps[folds.done] = max(scores, default=math.nan)
        return steps[folds.done]

    def go_on(folds: Folds) -> bool:
        # Every path must trade: where one does not, the others cannot mend it.
        score = look(folds)
        return math.isfinite(score) and score >= wanted.bars.get(folds.done, -math.inf)

    folds = out_of_fold(layout, table, wanted.booster, seed=wanted.seed, go_on=go_on)
    whole = folds.done == layout.paths
    final = look(folds) if whole else steps[folds.done]
    state: State = "silent" if not math.isfinite(final) else "complete" if whole else "pruned"
    return Record(
        number=wanted.number,
        state=state,
        sharpe=np.array([one.sharpe for one in judged]),
        score=np.array([one.score for one in judged]),
        trades=np.array([one.trades for one in judged]),
        returns=np.array([one.returns for one in judged]),
        steps=steps,
        predictions=folds.predictions if state == "complete" else folds.predictions[:, :0],
        fit_seconds=folds.fit_seconds,
        seconds=time.perf_counter() - started,
    )


def judge_share(layout: Layout, folds: Folds, table: Outcomes, share: float, min_trades: int, known: Ranking) -> Judged:
    """Backtest one share on the paths that are finished."""
    sides = member_sides(margins(layout, folds.predictions, share, folds.done, known))
    tracks = [backtest(side, layout.rows.decide_ms, table) for side in sides]
    sharpes = np.array([track.sharpe for track in tracks])
    trades = np.array([track.trades for track in tracks])
    return Judged(
        sharpe=float(sharpes.mean()),
        score=path_score(sharpes, trades, len(layout.rows), min_trades),
        trades=float(trades.mean()),
        returns=np.mean([track.returns for track in tracks], axis=0),
    )


def backtest(side: NDArray[np.int8], decide_ms: NDArray[np.int64], table: Outcomes) -> Track:
    """Follow a column of signals, one plan at a time."""
    return follow(side, decide_ms, table.closed, table.known, table.end_ms, table.net_return)


def path_score(sharpes: Floats, trades: NDArray[np.int64], bars: int, min_trades: int) -> float:
    """What paths are worth together; see the module.

    Parameters
    ----------
    sharpes : float64[paths]
        Per bar; NaN without trades.
    trades : int64[paths]
        Closed trades.
    bars
        Of a path.
    min_trades
        Fewer on any path give no score.

    Returns
    -------
    float
        NaN where there is no score.
    """
    if trades.min() < min_trades or not np.isfinite(sharpes).all():
        return math.nan
    spread = sharpes.std(ddof=1) if len(sharpes) > 1 else 0.0
    plain = math.sqrt(bars) * (sharpes.mean() - 0.5 * spread)
    credible = trades.mean() / (trades.mean() + CREDIBLE)
    return float(plain * credible if plain > 0 else plain)
