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
