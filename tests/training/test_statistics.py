"""The statistics against published and independently computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from training import statistics


def test_deflated_sharpe_of_the_papers_example() -> None:
    # Annual Sharpe 2.5 over 1250 days of 250 a year, skew -3, kurtosis 10; 100 trials whose annual variance is 1/2.
    ratio, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert statistics.expected_max_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    deflated = statistics.deflated_sharpe(ratio, 1250, -3, 10, trials=100, variance=variance)
    assert deflated == pytest.approx(0.9004, abs=5e-5)


def test_deflated_sharpe_of_the_papers_other_trial_counts() -> None:
    # The paper: 46 trials would have left 0.9505; had the returns been normal, 88 would have.
    ratio, variance = 2.5 / math.sqrt(250), 0.5 / 250
    fewer = statistics.deflated_sharpe(ratio, 1250, -3, 10, trials=46, variance=variance)
    normal = statistics.deflated_sharpe(ratio, 1250, 0, 3, trials=88, variance=variance)
    assert (round(fewer, 4), round(normal, 4)) == (0.9505, 0.9505)


def test_probabilistic_sharpe_of_the_papers_fund() -> None:
    # "The Sharpe ratio efficient frontier": 24 months, Sharpe 0.458 a month, skew -2.448, kurtosis 10.164.
    assert round(statistics.probabilistic_sharpe(0.458, 24, -2.448, 10.164), 3) == 0.913
    assert round(statistics.probabilistic_sharpe(0.458, 24, 0, 3), 3) == 0.982


@pytest.mark.parametrize(
    ("periods", "skew", "kurtosis", "years"),
    [(252, 0, 3, 2.73), (52, 0, 3, 2.83), (12, 0, 3, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_minimum_track_record_of_the_papers_examples(periods: int, skew: float, kurtosis: float, years: float) -> None:
    # How long a Sharpe ratio of 2 a year must be seen before it is above 1 with a confidence of 95 %.
    root = math.sqrt(periods)
    record = statistics.min_track_record(2 / root, skew, kurtosis, benchmark=1 / root, confidence=0.95)
    assert round(record / periods, 2) == years


def test_sixteen_blocks_give_the_papers_number_of_choices() -> None:
    returns = np.random.default_rng(8).normal(size=(64, 3))
    assert statistics._halves(returns, 16)[1].shape == (12_870, 3)  # type: ignore[index]


def test_exposure_turnover_and_fill_rate_by_hand() -> None:
    entry, exit_ = [10, 20, 90], [30, 25, 120]
    assert statistics.exposure(entry, exit_, (0, 100)) == pytest.approx(0.3)
    assert statistics.exposure([], [], (0, 100)) == 0.0
    assert math.isnan(statistics.exposure([], [], (5, 5)))
    assert statistics.turnover([100.0, 200.0], [101.0, 199.0], stake=100.0, days=2.0) == pytest.approx(3.0)
    assert math.isnan(statistics.turnover([1.0], [1.0], stake=100.0, days=0.0))
    assert statistics.fill_rate(3, 4) == 0.75
    assert math.isnan(statistics.fill_rate(0, 0))


def test_probabilistic_sharpe_and_track_record_invert_each_other() -> None:
    bars = statistics.min_track_record(0.1, -0.5, 5.0, benchmark=0.03, confidence=0.95)
    # The record length is real-valued: between the whole numbers around it the probability crosses the confidence.
    before, after = (
        statistics.probabilistic_sharpe(0.1, math.floor(bars) + step, -0.5, 5.0, benchmark=0.03) for step in (0, 1)
    )
    assert before < 0.95 <= after
    assert statistics.min_track_record(0.03, 0.0, 3.0, benchmark=0.03) == math.inf


def test_expected_maximum_is_what_a_simulation_finds() -> None:
    draws = np.random.default_rng(0).normal(scale=0.02, size=(4_000, 50))
    assert statistics.expected_max_sharpe(50, 0.02**2) == pytest.approx(draws.max(axis=1).mean(), rel=0.02)
    assert statistics.expected_max_sharpe(1, 1.0) == 0.0
    assert math.isnan(statistics.expected_max_sharpe(10, math.nan))


def test_moments_and_ratios_against_scipy() -> None:
    returns = np.random.default_rng(1).standard_t(5, 500) * 0.01 + 0.001
    skew, kurtosis = statistics.moments(returns)
    assert skew == pytest.approx(stats.skew(returns))
    assert kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))
    assert statistics.sharpe(returns) == pytest.approx(returns.mean() / np.std(returns, ddof=1))
    downside = math.sqrt(sum(min(value, 0.0) ** 2 for value in returns) / 500)
    assert statistics.sortino(returns) == pytest.approx(returns.mean() / downside)


def test_max_drawdown_by_hand() -> None:
    assert statistics.max_drawdown([0.1, -0.5, 0.2, 0.5]) == pytest.approx(0.5)
    assert statistics.max_drawdown([-0.2]) == pytest.approx(0.2)
    assert statistics.max_drawdown([0.1, 0.0]) == 0.0


def test_what_is_undefined_is_nan_and_never_zero() -> None:
    assert math.isnan(statistics.sharpe([0.01]))
    assert math.isnan(statistics.sharpe([0.01, 0.01, 0.01]))
    assert math.isnan(statistics.sortino([0.01, 0.02]))
    assert math.isnan(statistics.probabilistic_sharpe(math.nan, 100, 0.0, 3.0))
    assert math.isnan(statistics.backtest_overfitting(np.zeros((100, 1))))
    assert math.isnan(statistics.backtest_overfitting(np.zeros((5, 4))))
    assert all(map(math.isnan, statistics.bootstrap_interval([0.1])))


@pytest.mark.parametrize("bad", [[[0.1, 0.2]], [0.1, math.nan], [math.inf]])
def test_bad_returns_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        statistics.sharpe(bad)


def test_overfitting_of_known_markets() -> None:
    noise = np.random.default_rng(2).normal(size=(1_000, 40))
    # Centred columns: what is good on one half is bad on the other, always.
    assert statistics.backtest_overfitting(noise - noise.mean(axis=0)) == 1.0
    assert statistics.backtest_overfitting(noise) == pytest.approx(0.51, abs=0.3)
    skilled = noise.copy()
    skilled[:, 7] += 0.19
    assert statistics.backtest_overfitting(skilled) < 0.03


def test_overfitting_of_noise_is_a_half_on_average() -> None:
    generator = np.random.default_rng(3)
    values = [statistics.backtest_overfitting(generator.normal(size=(240, 20)), blocks=10) for _ in range(40)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_overfitting_against_a_slow_reference() -> None:
    from itertools import combinations

    returns = np.random.default_rng(4).normal(size=(96, 7))
    returns[:, 2] *= np.random.default_rng(5).random(96) < 0.1
    blocks = np.array_split(np.arange(96), 6)
    below = []
    for choice in combinations(range(6), 3):
        inside = np.concatenate([blocks[block] for block in choice])
        outside = np.setdiff1d(np.arange(96), inside)
        best = int(np.argmax([column[inside].mean() / column[inside].std() for column in returns.T]))
        elsewhere = [column[outside].mean() / column[outside].std() for column in returns.T]
        rank = stats.rankdata(elsewhere)[best] / 8
        below.append(math.log(rank / (1 - rank)) <= 0)
    assert statistics.backtest_overfitting(returns, blocks=6) == pytest.approx(np.mean(below))


def test_copies_are_one_trial_and_strangers_are_many() -> None:
    noise = np.random.default_rng(6).normal(size=(2_000, 10))
    assert statistics.effective_trials(noise) == pytest.approx(10, abs=0.3)
    assert statistics.effective_trials(np.repeat(noise[:, :1], 10, axis=1)) == pytest.approx(1.0)
    assert statistics.effective_trials(np.zeros((10, 3))) == 0.0


def test_bootstrap_covers_the_truth() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for run in range(60):
        low, high = statistics.bootstrap_interval(generator.normal(0.01, 0.1, 200), samples=200, seed=run)
        covered += low <= 2.0 <= high
    assert 46 <= covered <= 60
    returns = generator.normal(size=100)
    assert statistics.bootstrap_interval(returns, seed=1) == statistics.bootstrap_interval(returns, seed=1)


def test_loss_probability_tells_good_choices_from_bad_ones() -> None:
    """Equally good columns look overfitted by rank alone, but what was picked never loses; on noise it often does."""
    noise = np.random.default_rng(5).normal(size=(1_200, 12))
    assert statistics.backtest_overfitting(noise + 0.3) == pytest.approx(
        statistics.backtest_overfitting(noise), abs=0.35
    )
    assert statistics.loss_probability(noise + 0.3) == 0.0
    centred = noise - noise.mean(axis=0)
    assert statistics.loss_probability(centred) > 0.9
    assert 0.2 < statistics.loss_probability(noise) < 0.95
    assert math.isnan(statistics.loss_probability(noise[:, :1]))
