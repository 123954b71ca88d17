"""The study: Optuna's TPE tunes strategy parameters, boosters and thresholds together.

What trial t draws depends on the seed, on t, and on the finished trials before ``t - ahead``, and on nothing else: not
on the number of workers, on which of them is quicker, or on whether the study was killed and taken up again in between.
`ahead` trials may therefore overlap. Early stopping follows the same rule.

A trial is stopped when its score on the first path, or the first two, is below the median of the trials that it may
know, each with its score at that point or, if it was stopped before, with its last one (the median stopping rule of
Golovin et al., "Google Vizier", KDD 2017).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from council.plan import StrategyParams
from training.folds import Floats, Layout, Singles
from training.models import BoosterParams
from training.outcomes import Simulator
from training.space import SearchSpace, booster_of, strategy_of
from training.studybook import Heritage, StudyBook, finished
from training.trial import SHARES, Assignment, Record
from training.workers import Crew, crew

#: Trials that must be known before any is stopped early, and the paths after which that is asked.
PRUNE_FROM, PRUNE_PATHS = 8, (1, 2)

#: Called with the number of finished trials, of all trials, and the best score so far (NaN before there is one).
TrialProgress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Search:
    """How a study searches.

    Attributes
    ----------
    space
        What is tuned.
    trials, seed
        Number of trials; the seed of all that is drawn.
    workers
        Processes; 1 works in this one. Results do not depend on it.
    ahead
        Trials before its own whose results a trial is drawn without.
    random_trials
        Trials drawn at random before the search learns.
    prune
        Whether trials are stopped early.
    min_path_trades
        Trades of a path below which there is no score.
    time_budget_s
        No trial is started after this long; 0 means never stop.
    """

    space: SearchSpace
    trials: int
    seed: int
    workers: int = 1
    ahead: int = 4
    random_trials: int = 10
    prune: bool = True
    min_path_trades: int = 10
    time_budget_s: float = 0.0


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
    predictions : float32[paths, n, 2]
        Out-of-fold probabilities; without rows for a trial that was stopped early.
    returns : float64[n]
        Out-of-fold net return of every bar, mean over the paths that were finished.
    sharpe
        Mean over the paths, per bar; NaN where a path has no trades.
    score
        What the study maximises; NaN where there is none, and for a trial that was stopped early.
    trades
        Mean number of trades of a path.
    """

    trial: int
    strategy: StrategyParams
    booster: BoosterParams
    share: float
    predictions: Singles = field(repr=False)
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
        Every configuration of every trial, by number and share.
    finished
        The trials as Optuna sees them, by number.
    heritage
        What was taken over from an earlier study.
    fit_seconds, trial_seconds
        Spent in LightGBM and in trials, summed over the processes, in this run.
    seconds
        Wall time of this run.
    resumed
        Trials that an earlier run had finished.
    """

    configurations: list[Configuration]
    finished: list[FrozenTrial]
    heritage: Heritage
    fit_seconds: float
    trial_seconds: float
    seconds: float
    resumed: int

    @property
    def trials(self) -> int:
        """Trials that ran."""
        return len(self.finished)

    @property
    def pruned(self) -> int:
        """Trials that were stopped early."""
        return sum(one.user_attrs["ended"] == "pruned" for one in self.finished)

    @property
    def tried(self) -> int:
        """Configurations that were tried, those of the studies that seeded this one included."""
        return len(self.configurations) + self.heritage.tried

    def sharpes(self) -> Floats:
        """Sharpe ratio of every configuration, per bar; NaN without trades."""
        return np.array([one.sharpe for one in self.configurations])

    def returns(self) -> Floats:
        """Out-of-fold return of every bar: float64[n, configurations]."""
        return np.column_stack([one.returns for one in self.configurations])


def run_study(
    layout: Layout,
    simulator: Simulator,
    search: Search,
    *,
    folder: Path,
    heritage: Heritage | None = None,
    progress: TrialProgress | None = None,
) -> StudyResult:
    """Run a study, or go on with one that was interrupted.

    Parameters
    ----------
    layout
        Development rows and how they are split.
    simulator
        Of the plans of those rows; like the layout it knows nothing of the hold-out.
    search
        How to search.
    folder
        The study's own; the same folder must always be given the same data and search (but for `trials`, `workers` and
        `time_budget_s`: more trials go on where fewer ended).
    heritage
        What a new study takes over.
    progress
        Told about every finished trial.

    Raises
    ------
    TrainingError
        Another process runs this study, or a worker died.
    """
    started = time.perf_counter()
    with StudyBook(folder, heritage or Heritage(), search.space.key()) as book, crew(search.workers, layout) as hands:
        run = _Run(layout, simulator, search, book)
        resumed = len(run.records)
        run.go(hands, started, progress)
    numbers = sorted(run.records)
    return StudyResult(
        configurations=[one for number in numbers for one in _configurations(run.done[number], run.records[number])],
        finished=[run.done[number] for number in numbers],
        heritage=book.heritage,
        fit_seconds=run.fit_seconds,
        trial_seconds=run.trial_seconds,
        seconds=time.perf_counter() - started,
        resumed=resumed,
    )


class _Run:
    """One run of a study."""

    def __init__(self, layout: Layout, simulator: Simulator, search: Search, book: StudyBook) -> None:
        self.layout, self.simulator, self.search, self.book = layout, simulator, search, book
        self.records: dict[int, Record] = {}
        self.done: dict[int, FrozenTrial] = {}
        self.fit_seconds = self.trial_seconds = 0.0
        self._proposer = Proposer(search, book.heritage)
        for number, trial in book.trials().items():
            record = book.record(trial) if number < search.trials else None
            if record is not None:
                self.records[number], self.done[number] = record, finished(record, trial)

    def go(self, hands: Crew, started: float, progress: TrialProgress | None) -> None:
        """Carry out what is missing."""
        pending: dict[Future[Record], FrozenTrial] = {}
        todo = iter([number for number in range(self.search.trials) if number not in self.records])
        upcoming = next(todo, None)
        while True:
            budget = self.search.time_budget_s
            if budget and time.perf_counter() - started > budget:
                upcoming = None
            while upcoming is not None and len(pending) < self.search.workers and self._known(upcoming):
                proposal = self._proposer.draw(upcoming, self.done)
                pending[self._dispatch(hands, upcoming, proposal)] = proposal
                upcoming = next(todo, None)
                if self.search.workers == 1:
                    break
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                self._take(future.result(), pending.pop(future))
                if progress is not None:
                    progress(len(self.records), self.search.trials, self._best())

    def _known(self, number: int) -> bool:
        return all(earlier in self.records for earlier in range(number - self.search.ahead))

    def _dispatch(self, hands: Crew, number: int, proposal: FrozenTrial) -> Future[Record]:
        strategy = strategy_of(proposal.params)
        wanted = Assignment(
            number=number,
            strategy=strategy,
            booster=booster_of(proposal.params),
            seed=self.search.seed + 1000 * number,
            bars=self._bars(number) if self.search.prune else {},
            min_trades=self.search.min_path_trades,
        )
        return hands.submit(wanted, self.simulator.table(strategy))

    def _bars(self, number: int) -> dict[int, float]:
        known = [self.records[earlier] for earlier in range(number - self.search.ahead)]
        bars = {}
        for paths in PRUNE_PATHS:
            scores = [_score_at(record, paths) for record in known]
            ranked = [score for score in scores if math.isfinite(score)]
            if len(ranked) >= PRUNE_FROM:
                bars[paths] = median(ranked)
        return bars

    def _take(self, record: Record, proposal: FrozenTrial) -> None:
        self.fit_seconds += record.fit_seconds
        self.trial_seconds += record.seconds
        self.records[record.number] = record
        self.done[record.number] = self.book.keep(record, proposal)

    def _best(self) -> float:
        scores = [record.best for record in self.records.values() if record.state == "complete"]
        return max(scores, default=math.nan)


class Proposer:
    """Draws trials: the parameters of a trial follow from the search, its number and the trials that it may know."""

    def __init__(self, search: Search, heritage: Heritage) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search, self._seeds = search, heritage.seeds
        self._study = optuna.create_study(direction="maximize")
        self._added = 0

    def draw(self, number: int, done: dict[int, FrozenTrial]) -> FrozenTrial:
        """The trial `number`, given all finished trials before ``number - ahead`` (others are not looked at)."""
        visible = max(0, number - self._search.ahead)
        if self._added < visible:
            self._study.add_trials([done[earlier] for earlier in range(self._added, visible)])
            self._added = visible
        seed = int(np.random.SeedSequence([self._search.seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=self._search.random_trials, multivariate=True, constant_liar=False
            )
        if number < len(self._seeds):
            self._study.enqueue_trial(self._seeds[number])
        trial = self._study.ask()
        self._search.space.draw(trial)
        drawn: FrozenTrial = self._study.get_trials(deepcopy=False)[trial.number]
        proposal = optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL, params=dict(drawn.params), distributions=dict(drawn.distributions)
        )
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return proposal


def _score_at(record: Record, paths: int) -> float:
    """Score when `paths` paths were finished, or the last before that."""
    at = [step for step in record.steps if step <= paths]
    return record.steps[max(at)] if at else math.nan


def _configurations(trial: FrozenTrial, record: Record) -> Iterable[Configuration]:
    strategy, booster = strategy_of(trial.params), booster_of(trial.params)
    for index, share in enumerate(SHARES):
        yield Configuration(
            trial=record.number,
            strategy=strategy,
            booster=booster,
            share=share,
            predictions=record.predictions,
            returns=record.returns[index],
            sharpe=float(record.sharpe[index]),
            score=float(record.score[index]) if record.state == "complete" else math.nan,
            trades=float(record.trades[index]),
        )


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
