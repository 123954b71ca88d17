"""The declarations: complete, unambiguous, and what a model is bound to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features import FEATURES, FeatureEngine, build, catalogue_markdown, feature_names, spec_hash
from features.catalogue import ENGINE_VERSION
from market.errors import DataError
from market.events import ASK, BID
from tests.features._streams import START_MS, Market, random_market

MINUTE = 60_000
ROOT = Path(__file__).parents[2]


def test_names_are_unique_and_follow_the_levels() -> None:
    names = feature_names(200)
    assert len(names) == len(set(names)) == len(FEATURES)
    assert set(names) - set(feature_names(50)) == {f"imbalance_50_{part}" for part in ("mean", "std", "last")}
    assert "imbalance_all_mean" in feature_names(1)
    assert "imbalance_1_mean" not in feature_names(1)
    with pytest.raises(DataError):
        feature_names(0)


def test_every_declaration_is_whole() -> None:
    for spec in FEATURES:
        assert spec.formula
        assert spec.unit
        assert spec.inputs
        assert spec.source in {"book", "trades", "book and trades"}
        assert (spec.warmup_bars > 0) != (spec.warmup_ms > 0)


def test_the_catalogue_page_names_every_feature_once() -> None:
    page = catalogue_markdown()
    assert all(page.count(f"| `{name}` |") == 1 for name in feature_names(200))


def test_the_hash_knows_every_setting() -> None:
    hashes = {
        spec_hash(MINUTE, 50, MINUTE),
        spec_hash(5 * MINUTE, 50, MINUTE),
        spec_hash(MINUTE, 200, MINUTE),
        spec_hash(MINUTE, 51, MINUTE),
        spec_hash(MINUTE, 50, 2 * MINUTE),
    }
    assert len(hashes) == 5
    assert FeatureEngine(MINUTE, 50).spec_hash in hashes


def test_values_and_version_go_together() -> None:
    """Values of a fixed stream: when they change on purpose, raise ENGINE_VERSION and write the new ones here."""
    bars = build([random_market(11, 2_000, rough=False)], 10_000, 50)
    names = feature_names(50)
    wanted = GOLDEN[ENGINE_VERSION]
    last = dict(zip(names, bars.values[bars.valid][-1]))
    assert {name: last[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


GOLDEN: dict[int, dict[str, float]] = {
    1: {
        "spread_mean": 0.4995961597708519,
        "imbalance_1_std": 0.07295885986296884,
        "imbalance_all_last": 0.17367648328871232,
        "depth_log_ratio_mean": 0.3228514828105493,
        "microprice_mean": 0.06462795922968803,
        "depth_slope_mean": 0.09663090936449956,
        "depth_slope_skew_last": -0.07232891562295386,
        "elasticity_mean": 0.9213637641518495,
        "elasticity_skew_std": 0.04375981364538975,
        "integrity_mean": 0.030476947751709327,
        "integrity_skew_last": 0.0149344546821512,
        "depth_skew_mean": -0.055696798778857505,
        "depth_z": 0.3013625271907931,
        "depth_std": 0.009285637288591487,
        "ofi_std": 0.02022517506364293,
        "ofi_sum": 0.15297615101805628,
        "taker_buy_ratio_z": -0.10928058817792026,
        "volume_z": 0.07247503134100357,
        "trade_count_z": 0.16491525028930268,
        "atr_14": 1.015151424309337,
        "ema_distance_21": 0.6343558712829124,
        "rsi_14": 56.79587470679191,
        "bollinger_b": 0.6758346525020156,
        "volume_regime": 0.00790601282412739,
        "volatility_regime": -0.31369671879692657,
        "price_liquidity_divergence": 0.453345668620474,
        "liquidity_dominance": 0.9913559836429637,
    },
}


@pytest.mark.failure(34)
def test_warm_up_is_as_declared() -> None:
    """A feature is unknown until its declared warm-up has passed, and known from then on."""
    market = Market()
    market.snapshot(levels=60)
    rng = np.random.default_rng(3)
    bars_wanted = 110
    for second in np.sort(rng.choice((bars_wanted + 1) * 900, 2_500, replace=False)).tolist():
        market.now = START_MS + second * 1_000
        market.message([(int(side), 60_000 + (3 if side == ASK else -3), int(rng.integers(1, 99))) for side in (0, 1)])
        market.trade(60_000 + int(rng.integers(-9, 9)), int(rng.integers(1, 9)), int(rng.choice([BID, ASK])))
    bars = build([market.events()], 15 * MINUTE, 200, 3_000_000)
    assert bars.valid[1:].all()
    for spec, series in zip(FEATURES, bars.values[1:].T):
        warm = max(spec.warmup_bars, spec.warmup_ms // (15 * MINUTE))
        assert np.isnan(series[: warm - 1]).all(), spec.name
        assert np.isfinite(series[warm - 1 :]).all(), spec.name


def test_importing_the_room_is_light() -> None:
    heavy = ["pandas", "prefect", "mlflow", "optuna", "matplotlib", "sklearn", "lightgbm"]
    code = f"import sys, features; print([name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert seen.stdout.strip() == "[]"
