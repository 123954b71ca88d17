"""From bars and events to a judged council: sample, study, choice, verdict. Nothing is written but the study's book."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from council import Council, StrategyParams
from features import Bars
from market.errors import NotEnoughDataError
from market.events import EventBatch
from market.instruments import Instrument
from settings import Settings, Training, timeframe_ms
from simulation.fills import FillModel
from training.baselines import random_entries
from training.challenger import Champion, compare
from training.evaluation import council_paths, council_sides
from training.findings import Findings
from training.folds import Layout, Rows, Splitter
from training.funding import Funding
from training.gate import judge
from training.holdout import HoldOut, Reads
from training.leaks import foresight
from training.models import MIN_LABELS
from training.outcomes import Costs, Outcomes, Simulator, Tape
from training.reliability import of_members
from training.sample import draw_sample
from training.selection import seat, select
from training.space import SearchSpace, search_space
from training.splits import CombinatorialPurgedSplit, WalkForwardSplit
from training.study import Configuration, Search, run_study
from training.studybook import inherit, tidy

#: Called with the name of a stage, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

#: Trials that the best of the last study may seed.
SEEDS = 3

#: Plans of this shape show whether the market fills orders at all, before anything is written.
_PROBE = StrategyParams(offset_atr=0.1, stop_atr=2.0, target_atr=2.0, tif_bars=2, hold_bars=8)


def examine(
    bars: Bars,
    events: Callable[[], Iterable[EventBatch]],
    *,
    symbol: str,
    instrument: Instrument,
    levels: int,
    spec_hash: str,
    feature_names: Sequence[str],
    data_fingerprint: str,
    settings: Settings,
    funding: Funding | None = None,
    champion: Champion | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Tune, choose a council and judge it; parameters and errors are those of :func:`training.pipeline.train`."""
    started = time.perf_counter()
    tell = progress or (lambda stage, done, total: None)
    rules = settings.training
    space = search_space(rules.space)
    sample = draw_sample(
        bars, feature_names, holdout_share=rules.holdout_share, min_bars=rules.min_bars, groups=rules.groups
    )
    desk = _Desk(settings, instrument, timeframe_ms(rules.timeframe), Tape(events), funding or Funding())
    names = tuple(feature_names[column] for column in sample.kept.tolist())
    rows = Rows(np.ascontiguousarray(sample.development.values[:, sample.kept]), names, sample.development.close_ms)
    layout = Layout(rows, splitter_of(rules))
    tell("reading events", 0, 1)
    simulator = desk.simulator(sample.development, sample.cut_ms)
    probe = _probe(simulator)
    holdout = HoldOut(desk.simulator(sample.holdout, None), desk.costs.model.taker_fee)
    tell("reading events", 1, 1)

    search = search_of(rules, space)
    prefix = f"{symbol}-{rules.timeframe}-"
    name = prefix + study_key(settings, search, rows, symbol, spec_hash, data_fingerprint, desk.funding)
    books = settings.paths.studies
    study = run_study(
        layout,
        simulator,
        search,
        folder=books / name,
        heritage=inherit(books, prefix, name, space.key(), SEEDS) if rules.warm_start else None,
        progress=lambda done, total, best: tell(_trial_stage(best), done, total),
    )
    tell("choosing the council", 0, 3)
    chosen = select(study.configurations, rules.members, rules.max_correlation)
    seats = seat(chosen, layout, simulator, engine_features=feature_names, quorum=rules.quorum, seed=rules.seed)
    council = seats.council
    tell("judging the council", 1, 3)
    paths = council_paths(council, chosen, layout, simulator)
    random = _random_paths(council, chosen, layout, simulator, rules.seed)
    reads = Reads(books / "holdout-reads.jsonl")
    window = (symbol, rules.timeframe, sample.cut_ms, int(sample.holdout.close_ms[-1]))
    earlier_reads = reads.overlapping(*window)
    judged = holdout.judge(council, seed=rules.seed)
    reads.add(*window)
    reliability = of_members(chosen, simulator)
    found = foresight(rows, sample.development.close, probe)
    verdict = judge(
        settings.gate,
        paths=paths,
        sharpes=study.sharpes(),
        returns=study.returns(),
        random=random,
        holdout=judged,
        inherited=study.heritage.tried,
        foresight=found,
        reliability=reliability,
        reads=holdout.reads,
        earlier_reads=earlier_reads,
    )
    comparison = None
    if champion is not None:
        # After the verdict: the challenger was judged, and nothing is chosen by what follows.
        comparison = compare(
            champion,
            council,
            holdout.open(),
            symbol=symbol,
            timeframe=rules.timeframe,
            levels=levels,
            spec_hash=spec_hash,
            engine_features=feature_names,
            seed=rules.seed,
        )
    tidy(books, prefix, keep=2)
    return Findings(
        symbol=symbol,
        settings=settings,
        bars=bars,
        sample=sample,
        layout=layout,
        search=search,
        study=study,
        chosen=chosen,
        seats=seats,
        paths=paths,
        random=random,
        holdout=judged,
        reliability=reliability,
        foresight=found,
        comparison=comparison,
        verdict=verdict,
        fingerprint=data_fingerprint,
        seconds=time.perf_counter() - started,
    )


def splitter_of(rules: Training) -> Splitter:
    """How the settings want rows to be split."""
    embargo_ms = rules.embargo_bars * timeframe_ms(rules.timeframe)
    if rules.splits == "walk-forward":
        return WalkForwardSplit(rules.groups, first=rules.groups // 3, embargo_ms=embargo_ms)
    return CombinatorialPurgedSplit(rules.groups, rules.test_groups, embargo_ms)


def search_of(rules: Training, space: SearchSpace) -> Search:
    """How the settings want the study to search."""
    return Search(
        space=space,
        trials=rules.trials,
        seed=rules.seed,
        workers=rules.workers or os.cpu_count() or 1,
        ahead=rules.ahead,
        random_trials=rules.random_trials,
        prune=rules.prune,
        min_path_trades=rules.min_path_trades,
        time_budget_s=rules.time_budget_s,
    )


def study_key(
    settings: Settings,
    search: Search,
    rows: Rows,
    symbol: str,
    spec_hash: str,
    data_fingerprint: str,
    funding: Funding,
) -> str:
    """Name of the study of this data and this search: whoever asks for the same goes on with it."""
    rules = settings.training.model_dump(
        mode="json", exclude={"trials", "workers", "time_budget_s", "warm_start", "space", "members", "quorum"}
    )
    digest = hashlib.sha256(json.dumps([symbol, spec_hash, data_fingerprint, rules], sort_keys=True).encode())
    digest.update(json.dumps([search.space.key(), settings.costs.model_dump(mode="json"), rows.names]).encode())
    digest.update(np.ascontiguousarray(rows.values).tobytes())
    digest.update(rows.decide_ms.tobytes())
    if len(funding):
        digest.update(funding.times_ms.tobytes() + funding.rates.tobytes())
    return f"{data_fingerprint[:12]}-{digest.hexdigest()[:12]}"


class _Desk:
    """Makes simulators that look at the same tape."""

    def __init__(self, settings: Settings, instrument: Instrument, bar_ms: int, tape: Tape, funding: Funding) -> None:
        fees = settings.costs
        model = FillModel(fees.order_latency_ms, float(fees.maker_fee), float(fees.taker_fee))
        self.costs = Costs(model, float(settings.training.plan_notional))
        self._instrument, self._bar_ms, self._tape, self.funding = instrument, bar_ms, tape, funding

    def simulator(self, bars: Bars, until_ms: int | None) -> Simulator:
        """Of the plans of `bars`; it sees no event at or after `until_ms`."""
        events = (lambda: self._tape) if until_ms is None else (lambda: self._tape.until(until_ms))
        return Simulator(bars, events, self._instrument, self._bar_ms, self.costs, self.funding)


def _probe(simulator: Simulator) -> Outcomes:
    """Outcomes of a usual plan; a market that fills no orders is refused before a study is begun on it."""
    table = simulator.table(_PROBE)
    closed = table.closed.sum(axis=0)
    if closed.min() < 2 * MIN_LABELS:
        raise NotEnoughDataError(
            f"of {len(simulator.bars)} order plans a side, {closed[0]} long and {closed[1]} short ones were filled and "
            f"closed in a test run; {2 * MIN_LABELS} of each are needed",
            advice="Capture or import more data, or take a shorter timeframe",
        )
    return table


def _random_paths(
    council: Council, chosen: Sequence[Configuration], layout: Layout, simulator: Simulator, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    typical = StrategyParams.median_of([member.params for member in council.members])
    like = council_sides(council, chosen, layout)[0]
    return random_entries(simulator.table(typical), layout.rows.decide_ms, like, seed=seed)


def _trial_stage(best: float) -> str:
    return f"trials (best score {best:.2f})" if math.isfinite(best) else "trials"
