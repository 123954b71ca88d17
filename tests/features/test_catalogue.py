"""The declarations: complete, unambiguous, and what a model is bound to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features import FEATURES, BarRule, FeatureEngine, build, catalogue_markdown, feature_names, spec_hash
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
    assert {"ofi_5", "weighted_mid_5_mean"} <= set(feature_names(5))
    assert not {"ofi_10", "ofi_integrated", "weighted_mid_10_mean"} & set(feature_names(5))
    with pytest.raises(DataError):
        feature_names(0)


def test_every_declaration_is_whole() -> None:
    for spec in FEATURES:
        assert spec.formula
        assert spec.unit
        assert spec.inputs
        assert spec.source in {"book", "trades", "book and trades", "tickers", "liquidations", "clock"}
        assert (spec.warmup_bars > 0) != (spec.warmup_ms > 0)


def test_the_catalogue_page_names_every_feature_once() -> None:
    page = catalogue_markdown()
    assert all(page.count(f"| `{name}` |") == 1 for name in feature_names(200))
    assert page == (ROOT / "docs" / "features.md").read_text(), "write it anew: purplesky features > docs/features.md"


def test_the_hash_knows_every_setting() -> None:
    hashes = {
        spec_hash(MINUTE, 50, MINUTE),
        spec_hash(5 * MINUTE, 50, MINUTE),
        spec_hash(MINUTE, 200, MINUTE),
        spec_hash(MINUTE, 51, MINUTE),
        spec_hash(MINUTE, 50, 2 * MINUTE),
        spec_hash(MINUTE, 50, MINUTE, BarRule("volume", 7)),
        spec_hash(MINUTE, 50, MINUTE, BarRule("dollar", 7)),
        spec_hash(MINUTE, 50, MINUTE, BarRule("volume", 8)),
    }
    assert len(hashes) == 8
    assert FeatureEngine(MINUTE, 50).spec_hash in hashes


def test_values_and_version_go_together() -> None:
    """Values of a fixed stream: when they change on purpose, raise ENGINE_VERSION and write the new ones here."""
    bars = build([random_market(11, 2_000, rough=False, context=True)], 10_000, 50)
    names = feature_names(50)
    wanted = GOLDEN[ENGINE_VERSION]
    last = dict(zip(names, bars.values[bars.valid][-1]))
    assert {name: last[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


GOLDEN: dict[int, dict[str, float]] = {
    3: {
        "spread_mean": 0.450391590487043,
        "imbalance_1_std": 0.41174102799199674,
        "imbalance_all_last": -0.27315816589386915,
        "depth_log_ratio_mean": -0.6395026376785701,
        "microprice_mean": 0.003863205638497619,
        "depth_slope_mean": 0.11324789795725403,
        "depth_slope_skew_last": 0.10732014496050969,
        "elasticity_mean": 0.9283682649658971,
        "elasticity_skew_std": 0.27201033552760584,
        "integrity_mean": 0.0319350770292224,
        "integrity_skew_last": 0.042352373398826956,
        "depth_skew_mean": 0.1325557931161577,
        "depth_z": -1.1777061648312912,
        "depth_std": 0.028205449484592394,
        "ofi_std": 0.14141800524656947,
        "ofi_sum": 0.5536452254014324,
        "taker_buy_ratio_z": -0.5363100994361436,
        "volume_z": -0.30102142129476306,
        "trade_count_z": -0.6420387375057796,
        "atr_14": 1.1320129718571377,
        "ema_distance_21": -2.5998425827684506,
        "rsi_14": 30.37607230308052,
        "bollinger_b": -0.031114142309372993,
        "volume_regime": 0.07776428335683234,
        "volatility_regime": 0.09851020289601999,
        "price_liquidity_divergence": 2.1643129024526355,
        "liquidity_dominance": 0.9928720644343323,
        "pressure_5bps_mean": -0.11765959945078243,
        "pressure_5bps_last": -0.05734442836468886,
        "pressure_10bps_mean": -0.28511802198695374,
        "pressure_10bps_last": -0.24370108287766698,
        "pressure_25bps_mean": -0.30890180892216945,
        "pressure_25bps_last": -0.27315816589386915,
        "pressure_50bps_mean": -0.30890180892216945,
        "pressure_50bps_last": -0.27315816589386915,
        "weighted_mid_5_mean": 0.027546548594181087,
        "weighted_mid_5_last": 0.3241890460342752,
        "weighted_mid_10_mean": -0.05024223960818411,
        "weighted_mid_10_last": 0.13946284323526012,
        "ofi_5": 0.06551333990291615,
        "ofi_10": 0.04854191758823315,
        "ofi_integrated": 0.003994756517149358,
        "addition_rate": 0.2474264330408138,
        "addition_skew": -0.07968941561095219,
        "cancellation_rate": 0.31466737213854207,
        "cancellation_skew": -0.38367609254498714,
        "resilience": 10.169014084507042,
        "trade_sign_autocorrelation": 0.6666666666666666,
        "signed_volume_4": -0.055408970976253295,
        "signed_volume_12": -0.06958637469586375,
        "signed_volume_48": -0.11637080867850098,
        "kyle_lambda": 0.4542578646761871,
        "amihud": 0.6260643641948633,
        "roll_spread": 0.4023001718943924,
        "effective_spread": -0.024668434533691223,
        "realised_spread": -0.19582293473465046,
        "realised_volatility": 0.04568320201490444,
        "bipower_volatility": 0.0,
        "jump_share": 1.0,
        "microprice_momentum_1": 0.24653515353634248,
        "microprice_momentum_12": -2.938148321316447,
        "trade_intensity": -0.1941560144409575,
        "quote_intensity": -0.2902828541518384,
        "quotes_per_trade": 0.5389965007326869,
        "time_since_trade": 0.1129,
        "funding_rate": 0.157105,
        "time_to_funding": 0.4722222222222222,
        "open_interest_change_1": 0.0,
        "open_interest_change_12": -3.6686233068650154,
        "basis": 5.508630187293426,
        "liquidation_imbalance": -0.04481434058898848,
        "day_sin": -0.05814482890866295,
        "day_cos": -0.9983081582713738,
        "week_sin": 0.9767436117622578,
        "week_cos": 0.21441062679265668,
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
        for field in range(5):
            market.ticker(field, 10**15 + second if field < 4 else market.now + 1_000_000)
        market.liquidation(int(rng.integers(0, 2)), 5)
        market.message([(int(side), 60_000 + (3 if side == ASK else -3), int(rng.integers(1, 99))) for side in (0, 1)])
        market.message([(ASK, 60_001, int(rng.integers(0, 2)))])
        market.trade(60_000 + int(rng.integers(-9, 9)), int(rng.integers(1, 9)), int(rng.choice([BID, ASK])))
    bars = build([market.events()], 15 * MINUTE, 200, 3_000_000)
    assert bars.valid[1:].all()
    for spec, series in zip(FEATURES, bars.values[1:].T):
        warm = max(spec.warmup_bars, spec.warmup_ms // (15 * MINUTE))
        assert np.isnan(series[: warm - 1]).all(), spec.name
        # How many bars fill the VPIN's buckets depends on their volumes.
        assert np.isfinite(series[warm - 1 :] if spec.name != "vpin" else series[-1:]).all(), spec.name


def test_importing_the_room_is_light() -> None:
    heavy = ["pandas", "prefect", "mlflow", "optuna", "matplotlib", "sklearn", "lightgbm"]
    code = f"import sys, features; print([name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert seen.stdout.strip() == "[]"
