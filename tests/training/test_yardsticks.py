"""What the bundle tells the health monitor, and that the monitor reads it."""

from __future__ import annotations

import numpy as np

from council.manifest import Manifest
from executor.monitor import HealthConfig, HealthMonitor
from training.backtest import Track
from training.yardsticks import trade_quantiles, training_profile


def track(trades: int, seed: int) -> Track:
    rng = np.random.default_rng(seed)
    filled = np.arange(200) < trades
    return Track(np.where(filled, rng.normal(0.001, 0.002, 200), 0.0), filled, filled, 0)


def test_the_monitor_finds_all_three_distributions() -> None:
    rng = np.random.default_rng(1)
    profile = training_profile(rng.normal(size=(500, 2)), ("x", "y"), rng.uniform(size=(100, 2, 2)), [1, 3])
    statistics = trade_quantiles([track(40, 1), track(40, 2)])
    manifest = Manifest("SYNUSDT", "1m", 50, 60_000, "0" * 64, (0, 1), "", {"passed": True}, statistics, profile)
    assert HealthMonitor(manifest, ("x", "y"), (1, 3), HealthConfig()).blind == []
    quantiles = statistics["trade_quantiles"]["quantiles"]
    assert quantiles == sorted(quantiles)
    assert 0.0 not in quantiles  # rows without a trade are none


def test_too_few_trades_say_nothing() -> None:
    assert trade_quantiles([track(5, 1)]) == {}
    assert trade_quantiles([]) == {}
