"""Who sits in the council, with which boosters and thresholds, and how often the hold-out is read."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from council import StrategyParams
from features import feature_names
from market.errors import TrainingError
from tests.training.conftest import LEVELS, MINUTE, Market
from training.evaluation import council_paths, council_sides
from training.folds import Rows, out_of_fold
from training.holdout import HoldOut
from training.models import BoosterParams
from training.outcomes import Simulator
from training.selection import calibration_rows, correlation, seat, select, training_rows
from training.splits import CombinatorialPurgedSplit
from training.study import Configuration, evaluate

BOOSTER = BoosterParams(4, 0.05, 30, 0.05, 0.3, 0.8, 1.0)
STRATEGY = StrategyParams(offset_atr=0.1, stop_atr=2.0, target_atr=3.0, tif_bars=2, hold_bars=5)
OTHER = StrategyParams(offset_atr=0.3, stop_atr=3.0, target_atr=3.0, tif_bars=1, hold_bars=8)
SPLITTER = CombinatorialPurgedSplit(6, 2, 12 * MINUTE)


def _configuration(trial: int, score: float, returns: np.ndarray) -> Configuration:
    return Configuration(
        trial=trial,
        strategy=STRATEGY,
        booster=BOOSTER,
        share=0.1,
        margins=np.zeros((2, 3, 2)),
        returns=np.stack([returns, returns]),
        sharpe=score / 10,
        score=score,
        trades=1.0,
    )


def test_near_copies_and_losers_get_no_second_seat() -> None:
    generator = np.random.default_rng(1)
    best, distinct = generator.normal(size=(2, 300))
    copy = best + 0.1 * generator.normal(size=300)
    tried = [
        _configuration(0, 1.0, distinct),
        _configuration(1, 3.0, best),
        _configuration(2, 2.0, copy),
        _configuration(1, 2.5, generator.normal(size=300)),
        _configuration(3, -0.5, generator.normal(size=300)),
        _configuration(4, math.nan, np.zeros(300)),
    ]
    assert correlation(tried[1], tried[2]) > 0.9
    chosen = select(tried, members=5, max_correlation=0.9)
    assert [one.trial for one in chosen] == [1, 0]
    assert [one.trial for one in select(tried, members=5, max_correlation=1.0)] == [1, 2, 0]
    assert len(select(tried, members=1, max_correlation=1.0)) == 1


def test_the_best_loser_still_gets_judged_but_silence_cannot() -> None:
    losers = [_configuration(n, -1.0 - n, np.random.default_rng(n).normal(size=50)) for n in range(3)]
    assert [one.trial for one in select(losers, 3, 0.9)] == [0]
    with pytest.raises(TrainingError, match="no trial traded"):
        select([_configuration(0, math.nan, np.zeros(50))], 3, 0.9)


@pytest.fixture(scope="module")
def desk(market: Market) -> tuple[Rows, Simulator, list[Configuration]]:
    """Rows, simulator and two configurations with real out-of-fold signals."""
    simulator = market.simulator()
    values = simulator.bars.values
    kept = np.flatnonzero(np.isnan(values).mean(axis=0) <= 0.2)
    names = feature_names(LEVELS)
    rows = Rows(np.ascontiguousarray(values[:, kept]), tuple(names[column] for column in kept), simulator.bars.close_ms)
    tried = []
    with ThreadPoolExecutor(2) as threads:
        for trial, strategy in enumerate((STRATEGY, OTHER)):
            table = simulator.table(strategy)
            folds = out_of_fold(rows, table, SPLITTER, BOOSTER, (0.2,), seed=trial, threads=threads)
            tried.append(evaluate(trial, strategy, BOOSTER, 0.2, folds.margins[0], rows, table))
    return rows, simulator, tried


def test_out_of_fold_signals_do_not_depend_on_the_number_of_threads(
    desk: tuple[Rows, Simulator, list[Configuration]],
) -> None:
    rows, simulator, tried = desk
    with ThreadPoolExecutor(1) as threads:
        alone = out_of_fold(rows, simulator.table(STRATEGY), SPLITTER, BOOSTER, (0.2,), seed=0, threads=threads)
    np.testing.assert_array_equal(alone.margins[0], tried[0].margins)


def test_a_path_has_a_signal_for_every_row_and_lets_about_its_share_through(
    desk: tuple[Rows, Simulator, list[Configuration]],
) -> None:
    rows, _, tried = desk
    margins = tried[0].margins
    assert margins.shape == (5, len(rows), 2)
    assert np.isfinite(margins).all()
    assert 0.1 < (margins >= 0).mean() < 0.3


def test_the_deployed_threshold_is_set_on_the_deployed_booster_and_rows_it_never_saw(
    desk: tuple[Rows, Simulator, list[Configuration]],
) -> None:
    rows, simulator, tried = desk
    council = seat(tried, rows, simulator, SPLITTER, engine_features=feature_names(LEVELS), quorum=0.5, seed=3)
    last = calibration_rows(SPLITTER, len(rows))
    for member, one in zip(council.members, tried):
        assert member.params == one.strategy
        train = training_rows(rows, simulator.table(one.strategy).end_ms.max(axis=1), last, SPLITTER.embargo_ms)
        assert simulator.table(one.strategy).end_ms[train].max() < rows.decide_ms[last[0]] - SPLITTER.embargo_ms
        for side, level in (("long", member.threshold_long), ("short", member.threshold_short)):
            predictions = member.models[side].predict(rows.values[last])
            reached = (predictions >= level).mean()
            # The share that was tuned, on the very model of the bundle, up to ties.
            assert 0.1 < reached <= one.share


def test_too_few_labels_for_a_member_are_an_error(desk: tuple[Rows, Simulator, list[Configuration]]) -> None:
    rows, simulator, tried = desk
    blind = CombinatorialPurgedSplit(6, 2, 400 * MINUTE)
    with pytest.raises(TrainingError, match="too few filled long plans"):
        seat(tried, rows, simulator, blind, engine_features=feature_names(LEVELS), quorum=0.5, seed=3)


def test_a_council_of_one_trades_as_its_member_did(desk: tuple[Rows, Simulator, list[Configuration]]) -> None:
    rows, simulator, tried = desk
    council = seat(tried[:1], rows, simulator, SPLITTER, engine_features=feature_names(LEVELS), quorum=0.5, seed=3)
    paths = council_paths(council, tried[:1], rows, simulator)
    np.testing.assert_array_equal(np.array([path.returns for path in paths]), tried[0].returns)


def test_the_council_needs_its_quorum_and_trades_median_plans(
    desk: tuple[Rows, Simulator, list[Configuration]],
) -> None:
    rows, simulator, tried = desk
    council = seat(tried, rows, simulator, SPLITTER, engine_features=feature_names(LEVELS), quorum=1.0, seed=3)
    paths = council_paths(council, tried, rows, simulator)
    for number, side in enumerate(council_sides(council, tried)):
        both = np.stack([one.margins[number] for one in tried], axis=1)
        agreed = ((both >= 0).any(axis=2)).all(axis=1)
        assert not side[~agreed].any()
        assert not paths[number].taken[side == 0].any()
        # Both approve, so every plan is the median of the two.
        table = simulator.table(council.median_params((True, True)))
        for row in np.flatnonzero(paths[number].filled):
            assert paths[number].returns[row] == table.net_return[row, 0 if side[row] > 0 else 1]


def test_the_holdout_is_read_once(desk: tuple[Rows, Simulator, list[Configuration]]) -> None:
    rows, simulator, tried = desk
    council = seat(tried, rows, simulator, SPLITTER, engine_features=feature_names(LEVELS), quorum=0.5, seed=3)
    holdout = HoldOut(simulator, 0.00055)
    result = holdout.judge(council, seed=1)
    assert holdout.reads == 1
    decisions = council.vote_many(simulator.bars.values)
    np.testing.assert_array_equal(result.side, decisions.side)
    assert not result.track.taken[decisions.side == 0].any()
    with pytest.raises(TrainingError, match="read already"):
        holdout.judge(council, seed=1)
    assert holdout.reads == 1
