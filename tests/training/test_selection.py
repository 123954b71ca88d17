"""Who sits in the council, with which boosters and thresholds, and how often the hold-out is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from council import StrategyParams
from features import feature_names
from market.errors import TrainingError
from tests.training.conftest import LEVELS, MINUTE, Market, layout_of
from training.evaluation import council_paths, council_sides
from training.folds import Layout, margins, realized_shares
from training.holdout import HoldOut, Reads
from training.models import BoosterParams
from training.outcomes import Outcomes, Simulator
from training.selection import Seats, correlation, seat, select
from training.splits import CombinatorialPurgedSplit
from training.study import Configuration
from training.trial import SHARES, Assignment, attempt

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
        predictions=np.zeros((2, 3, 2), np.float32),
        returns=returns,
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
    with pytest.raises(TrainingError, match="no trial traded enough"):
        select([_configuration(0, math.nan, np.zeros(50))], 3, 0.9)


Desk = tuple[Layout, Simulator, list[Configuration]]


@pytest.fixture(scope="module")
def desk(market: Market) -> Desk:
    """Rows, simulator and two configurations with real out-of-fold predictions."""
    simulator = market.simulator()
    layout = layout_of(simulator, SPLITTER)
    tried = []
    for trial, strategy in enumerate((STRATEGY, OTHER)):
        record = attempt(
            layout, simulator.table(strategy), Assignment(trial, strategy, BOOSTER, trial, {}, min_trades=1)
        )
        tried.append(
            Configuration(
                trial=trial,
                strategy=strategy,
                booster=BOOSTER,
                share=SHARES[2],
                predictions=record.predictions,
                returns=record.returns[2],
                sharpe=float(record.sharpe[2]),
                score=float(record.score[2]),
                trades=float(record.trades[2]),
            )
        )
    return layout, simulator, tried


def _seat(desk: Desk, count: int = 2) -> Seats:
    layout, simulator, tried = desk
    return seat(tried[:count], layout, simulator, engine_features=feature_names(LEVELS), quorum=0.5, seed=3)


def test_a_path_has_a_prediction_for_every_row_and_lets_about_its_share_through(desk: Desk) -> None:
    layout, _, tried = desk
    assert tried[0].predictions.shape == (5, len(layout.rows), 2)
    assert np.isfinite(tried[0].predictions).all()
    assert 0.1 < (margins(layout, tried[0].predictions, 0.2) >= 0).mean() < 0.3
    shares = realized_shares(layout, tried[0].predictions, 0.2)
    assert shares.shape == (6, 2)
    assert abs(np.nanmean(shares) - 0.2) < 0.08


def test_a_threshold_comes_from_boosters_that_learnt_from_neither_block(desk: Desk) -> None:
    layout, _, tried = desk
    predictions = tried[0].predictions
    for block in range(6):
        wanted = []
        for other in range(6):
            if other != block:
                split = SPLITTER.combinations.index(tuple(sorted((block, other))))
                (path,) = np.flatnonzero(layout.testers[:, other] == split)
                wanted.append(predictions[path, layout.blocks[other], 0])
        np.testing.assert_array_equal(layout.unseen(predictions, block, 0), np.concatenate(wanted))
        # Predictions of the block itself cannot move its own threshold.
        altered = predictions.copy()
        altered[:, layout.blocks[block]] = 0.99
        np.testing.assert_array_equal(layout.unseen(altered, block, 0), layout.unseen(predictions, block, 0))


def test_the_deployed_booster_is_the_tuned_one_refitted_on_every_row(desk: Desk) -> None:
    layout, simulator, tried = desk
    seats = _seat(desk)
    everything = np.arange(len(layout.rows))
    for member, one, boosters in zip(seats.council.members, tried, seats.boosters):
        assert member.params == one.strategy
        for side, name in enumerate(("long", "short")):
            learnt = layout.rows.lesson(simulator.table(one.strategy), side).labels(everything)
            assert learnt is not None
            # Every closed plan of the development rows is learnt from, with as many rounds as were tuned.
            assert set(learnt[0]) == set(np.flatnonzero(simulator.table(one.strategy).closed[:, side]))
            assert boosters[side].num_trees() == one.booster.rounds
            np.testing.assert_array_equal(
                member.models[name].predict(layout.rows.values), boosters[side].predict(layout.rows.values)
            )


def test_the_deployed_threshold_is_the_tuned_share_of_out_of_fold_predictions(desk: Desk) -> None:
    _, _, tried = desk
    for member, one in zip(_seat(desk).council.members, tried):
        for side, level in enumerate((member.threshold_long, member.threshold_short)):
            reached = (one.predictions[:, :, side] >= level).mean()
            assert one.share - 0.02 < reached <= one.share


def test_too_few_labels_for_a_member_are_an_error(desk: Desk) -> None:
    layout, _, _ = desk
    with pytest.raises(TrainingError, match="too few filled long plans"):
        _seat((layout, _Barren(len(layout.rows)), desk[2]))  # type: ignore[arg-type]


class _Barren:
    """A market in which nothing is ever filled."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def table(self, params: StrategyParams) -> Outcomes:
        rows = self._rows
        return Outcomes(
            np.zeros((rows, 2), np.bool_),
            np.ones((rows, 2), np.bool_),
            np.zeros((rows, 2), np.int64),
            np.zeros((rows, 2)),
        )


def test_a_council_of_one_trades_as_its_member_did(desk: Desk) -> None:
    layout, simulator, tried = desk
    paths = council_paths(_seat(desk, 1).council, tried[:1], layout, simulator)
    np.testing.assert_allclose(np.mean([path.returns for path in paths], axis=0), tried[0].returns)


def test_the_council_needs_its_quorum_and_trades_median_plans(desk: Desk) -> None:
    layout, simulator, tried = desk
    council = seat(tried, layout, simulator, engine_features=feature_names(LEVELS), quorum=1.0, seed=3).council
    paths = council_paths(council, tried, layout, simulator)
    spoken = [margins(layout, one.predictions, one.share) for one in tried]
    for number, side in enumerate(council_sides(council, tried, layout)):
        both = np.stack([one[number] for one in spoken], axis=1)
        agreed = np.all(np.any(both >= 0, axis=2), axis=1)
        assert not side[~agreed].any()
        assert not paths[number].taken[side == 0].any()
        # Both approve, so every plan is the median of the two.
        table = simulator.table(council.median_params((True, True)))
        for row in np.flatnonzero(paths[number].filled):
            assert paths[number].returns[row] == table.net_return[row, 0 if side[row] > 0 else 1]


def test_the_holdout_is_read_once(desk: Desk) -> None:
    _, simulator, _ = desk
    council = _seat(desk).council
    holdout = HoldOut(simulator, 0.00055)
    result = holdout.judge(council, seed=1)
    assert holdout.reads == 1
    decisions = council.vote_many(simulator.bars.values)
    np.testing.assert_array_equal(result.side, decisions.side)
    assert not result.track.taken[decisions.side == 0].any()
    assert result.realized.shape == (2, 2)
    # A position is held for at most the time from a plan's decision to its end, and bought and sold about once each.
    assert result.track.trades > 3
    assert 0.0 < result.exposure < 1.0
    days = (simulator.bars.close_ms[-1] - simulator.bars.open_ms[0]) / 86_400_000
    assert 1.0 < result.turnover * days <= 2.02 * result.track.trades
    with pytest.raises(TrainingError, match="was read 1 times"):
        holdout.judge(council, seed=1)
    assert holdout.reads == 1


def test_reads_of_the_same_days_are_remembered(tmp_path: Path) -> None:
    reads = Reads(tmp_path / "studies" / "reads.jsonl")
    assert reads.overlapping("BTCUSDT", "5m", 0, 100) == 0
    reads.add("BTCUSDT", "5m", 0, 100)
    reads.add("BTCUSDT", "5m", 50, 150)
    assert reads.overlapping("BTCUSDT", "5m", 90, 200) == 2
    assert reads.overlapping("BTCUSDT", "5m", 120, 200) == 1
    assert reads.overlapping("BTCUSDT", "1m", 0, 100) == 0
    assert reads.overlapping("ETHUSDT", "5m", 0, 100) == 0
