"""The study: Optuna tunes strategy parameters, boosters and thresholds together under combinatorial purged splits.

A trial's score is ``√n × (mean - ½ standard deviation)`` of the Sharpe ratios (per bar, after fees) of its n-bar
backtest paths: roughly a t-statistic of the mean return, lowered where the paths disagree. The paths are out of fold
and hold one plan at a time.

Every share of bars that a threshold lets through is a configuration of its own. All of them count as trials in the
deflated Sharpe ratio and in the probability of backtest overfitting, the losing ones and those without trades too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from council.plan import StrategyParams
from training.backtest import Track, follow
from training.folds import Rows, out_of_fold
from training.models import BoosterParams
from training.outcomes import Outcomes, Simulator
from training.splits import CombinatorialPurgedSplit
from training.voting import member_sides

#: Shares of bars, a side, that a member's threshold may let through.
SHARES = (0.05, 0.10, 0.20)

#: Called with the number of finished trials, of all trials, and the best score so far (NaN before there is one).
TrialProgress = Callable[[int, int, float], None]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """One thing that was tried: a trial with one share.

    Attributes
    ----------
    trial
        Number of the trial.
    strategy, booster
        What the trial drew.
    share
        Share of bars, a side, that the thresholds let through.
    margins : float64[paths, n, 2]
        Out-of-fold probability minus threshold.
    returns : float64[paths, n]
        Out-of-fold net return of every bar.
    sharpe
        Mean over the paths, per bar; NaN where a path has no trades.
    score
        What the study maximises; NaN where a path has no trades.
    trades
        Mean number of trades of a path.
    """

    trial: int
    strategy: StrategyParams
    booster: BoosterParams
    share: float
    margins: Floats = field(repr=False)
    returns: Floats = field(repr=False)
    sharpe: float
    score: float
    trades: float


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """All that was tried.

    Attributes
    ----------
    configurations
        Every configuration of every trial, in the order in which they were tried.
    trials
        Trials that ran.
    fit_seconds
        Spent in LightGBM, summed over the threads.
    seconds
        Wall time.
    """

    configurations: list[Configuration]
    trials: int
    fit_seconds: float
    seconds: float

    def sharpes(self) -> Floats:
        """Sharpe ratio of every configuration, per bar; NaN without trades."""
        return np.array([one.sharpe for one in self.configurations])

    def returns(self) -> Floats:
        """Out-of-fold return of every bar, mean over the paths: float64[n, configurations]."""
        return np.column_stack([one.returns.mean(axis=0) for one in self.configurations])


def run_study(
    rows: Rows,
    simulator: Simulator,
    splitter: CombinatorialPurgedSplit,
    *,
    trials: int,
    seed: int,
    workers: int,
    journal: Path,
    name: str,
    time_budget_s: float = 0.0,
    progress: TrialProgress | None = None,
) -> StudyResult:
    """Run a new study.

    Parameters
    ----------
    rows, simulator
        Development rows, and the simulator of their plans; both know nothing of the hold-out.
    splitter
        Combinatorial purged splits.
    trials, seed
        Number of trials; the seed of the sampler and of the boosters.
    workers
        Fits that run at a time. They are threads of this process (LightGBM releases the interpreter), the trials follow
        one another, and so the result is the same for any number.
    journal
        File of Optuna's journal; created.
    name
        Of the study in the journal.
    time_budget_s
        No trial is started after this long; 0 means never stop.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(max(trials // 2, 4), 20))
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", sampler=sampler)
    started = time.perf_counter()
    tried: list[Configuration] = []
    fit_seconds = 0.0

    with ThreadPoolExecutor(workers, thread_name_prefix="fit") as threads:

        def objective(trial: optuna.Trial) -> float:
            nonlocal fit_seconds
            strategy, booster = draw_strategy(trial), draw_booster(trial)
            table = simulator.table(strategy)
            folds = out_of_fold(
                rows, table, splitter, booster, SHARES, seed=seed + 1000 * trial.number, threads=threads
            )
            fit_seconds += folds.fit_seconds
            here = [
                evaluate(trial.number, strategy, booster, share, margins, rows, table)
                for share, margins in zip(SHARES, folds.margins)
            ]
            tried.extend(here)
            best = max(here, key=_rank)
            trial.set_user_attr("scores", {str(one.share): one.score for one in here if math.isfinite(one.score)})
            if not math.isfinite(best.score):
                raise optuna.TrialPruned("a path without trades has no score")
            return best.score

        def report(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            if progress is not None:
                progress(trial.number + 1, trials, max((_rank(one) for one in tried), default=math.nan))
            if time_budget_s and time.perf_counter() - started > time_budget_s:
                study.stop()

        study.optimize(objective, n_trials=trials, callbacks=[report])
    return StudyResult(tried, len(study.trials), fit_seconds, time.perf_counter() - started)


def draw_strategy(trial: optuna.Trial) -> StrategyParams:
    """Strategy parameters of a trial, on a coarse grid, so that trials share outcome tables."""
    return StrategyParams(
        offset_atr=trial.suggest_categorical("offset_atr", [0.05, 0.1, 0.2, 0.35]),
        stop_atr=trial.suggest_categorical("stop_atr", [1.5, 2.0, 3.0, 4.0]),
        target_atr=trial.suggest_categorical("target_atr", [2.0, 3.0, 4.0, 6.0]),
        tif_bars=trial.suggest_int("tif_bars", 1, 3),
        hold_bars=trial.suggest_int("hold_bars", 4, 16, step=4),
    )


def draw_booster(trial: optuna.Trial) -> BoosterParams:
    """LightGBM parameters of a trial: small trees and strong shrinkage, as few and noisy labels want."""
    return BoosterParams(
        num_leaves=trial.suggest_int("num_leaves", 3, 8),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.08, log=True),
        rounds=trial.suggest_int("rounds", 20, 60, step=10),
        min_child_share=trial.suggest_float("min_child_share", 0.05, 0.2, log=True),
        feature_fraction=trial.suggest_float("feature_fraction", 0.1, 0.4, step=0.1),
        bagging_fraction=trial.suggest_float("bagging_fraction", 0.5, 0.8, step=0.1),
        lambda_l2=trial.suggest_float("lambda_l2", 1.0, 30.0, log=True),
    )


def evaluate(
    trial: int,
    strategy: StrategyParams,
    booster: BoosterParams,
    share: float,
    margins: Floats,
    rows: Rows,
    table: Outcomes,
) -> Configuration:
    """Backtest one configuration on all its paths."""
    tracks = [backtest(side, rows, table) for side in member_sides(margins)]
    sharpes = np.array([track.sharpe for track in tracks])
    return Configuration(
        trial=trial,
        strategy=strategy,
        booster=booster,
        share=share,
        margins=margins,
        returns=np.array([track.returns for track in tracks]),
        sharpe=float(sharpes.mean()),
        score=path_score(sharpes, len(rows)),
        trades=float(np.mean([track.trades for track in tracks])),
    )


def backtest(side: NDArray[np.int8], rows: Rows, table: Outcomes) -> Track:
    """Follow a column of signals, one plan at a time."""
    return follow(side, rows.decide_ms, table.closed, table.known, table.end_ms, table.net_return)


def path_score(sharpes: Floats, bars: int) -> float:
    """``√n × (mean - ½ standard deviation)`` of the paths' Sharpe ratios; NaN where one has none."""
    spread = sharpes.std(ddof=1) if len(sharpes) > 1 else 0.0
    return float(math.sqrt(bars) * (sharpes.mean() - 0.5 * spread))


def _rank(configuration: Configuration) -> float:
    return configuration.score if math.isfinite(configuration.score) else -math.inf


def describe(configuration: Configuration) -> dict[str, Any]:
    """A configuration's parameters and figures as plain values."""
    return {
        "trial": configuration.trial,
        **configuration.strategy.to_json(),
        **{name: getattr(configuration.booster, name) for name in configuration.booster.__slots__},
        "share": configuration.share,
        "score": configuration.score,
        "sharpe": configuration.sharpe,
        "trades": configuration.trades,
    }
