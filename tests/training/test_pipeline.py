"""Training from end to end on synthetic markets, with a signal and without."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import settings as configuration
import training
from council import StrategyParams, load_bundle
from features import Bars, feature_names, spec_hash
from market.errors import NotEnoughDataError, TrainingError
from settings import Settings
from tests.training.conftest import LEVELS, MINUTE, Market, make_market
from training.holdout import HoldOut
from training.pipeline import TrainingResult
from training.study import StudyResult, run_study

MakeSettings = Callable[..., Settings]
#: Bars of the markets on which the gate is tried: what `make demo` captures, roughly.
MINUTES = 1_300


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """A council trained on a market with a strong planted signal."""
    folder = tmp_path_factory.mktemp("planted")
    own = configuration.override(
        Settings(),
        paths={"data": folder / "data"},
        training={"timeframe": "1m", "trials": 16, "members": 3, "seed": 5, "holdout_share": 0.25, "workers": 1},
    )
    return make_market(21, 3.0, MINUTES).train(own, folder / "out"), folder


def test_the_gate_passes_where_there_is_something_to_find(planted: tuple[TrainingResult, Path]) -> None:
    result, _ = planted
    assert result.gate.passed, [reason.text for reason in result.gate.reasons if not reason.passed]
    assert (result.trials, result.splits) == (16, 15)
    assert result.gate.figures["tried"] == 48


def test_the_bundle_is_whole_and_says_what_it_is(planted: tuple[TrainingResult, Path]) -> None:
    result, _ = planted
    council = load_bundle(
        result.bundle, symbol="SYNUSDT", timeframe="1m", levels=LEVELS, spec_hash=spec_hash(MINUTE, LEVELS, 60_000)
    )
    manifest = council.manifest
    assert manifest is not None
    assert len(council.members) == result.members
    assert manifest.gate_passed
    assert manifest.gate["dsr"] == pytest.approx(result.gate.dsr)
    assert manifest.profile is not None
    predictions = {name for name in manifest.profile.missing if name.startswith("prediction.")}
    assert predictions == {f"prediction.{rank}.{side}" for rank in (1, 2, 3) for side in ("long", "short")}
    assert set(manifest.profile.missing) - predictions == set(council.engine_features)
    # A day is too short for the 24-hour distance: it is left out, and said so.
    assert "missing" in manifest.statistics["left_out"]["vwap_distance_24h"]
    # On less than a day the time of day tells the rows apart, not the market.
    assert manifest.statistics["left_out"]["day_sin"] == "needs 5 days of data"
    assert not set(manifest.statistics["left_out"]) & set(council.features)


def test_the_report_stands_alone_and_has_the_verdict_first(planted: tuple[TrainingResult, Path]) -> None:
    result, _ = planted
    page = result.report.read_text(encoding="utf-8")
    assert page.index("The gate: passed") < page.index("<svg")
    for reason in result.gate.reasons:
        assert reason.text.replace("'", "&#x27;") in page
    assert page.count("<figure>") >= 11
    for foreign in ("http://", "https://", "<script", "<link", "@import", "url("):
        assert foreign not in page
    assert "nan" not in page.replace("nance", "")
    assert "**Gate: passed.**" in result.description


def test_metrics_are_finite_and_the_study_is_journalled(planted: tuple[TrainingResult, Path]) -> None:
    result, folder = planted
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert result.metrics["gate_passed"] == 1.0
    journals = list((folder / "data" / "studies").glob("SYNUSDT-1m-*/journal.log"))
    assert len(journals) == 1
    # Operation 4 of Optuna's journal makes a trial; each is there once.
    assert sum(json.loads(line)["op_code"] == 4 for line in journals[0].read_text().splitlines()) == 16
    assert result.metrics["holdout_reads"] == 1
    assert result.tags["gate.dsr"] == "met"
    assert float(result.tags["figure.dsr"]) == pytest.approx(result.gate.dsr, rel=1e-4)


def test_the_gate_does_not_pass_with_the_signal_off(make_settings: MakeSettings, tmp_path: Path) -> None:
    result = make_market(21, 0.0, 900).train(make_settings(trials=6), tmp_path / "out")
    assert not result.gate.passed
    assert result.gate.dsr < 0.95
    # It is a finished, registrable version all the same, and says no.
    assert load_bundle(result.bundle).manifest.gate_passed is False  # type: ignore[union-attr]
    assert "The gate: failed" in result.report.read_text(encoding="utf-8")
    assert "**Gate: FAILED.**" in result.description


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_gate_passes_at_most_one_null_market_in_twenty(make_settings: MakeSettings, tmp_path: Path) -> None:
    passed = [
        make_market.__wrapped__(seed, 0.0, 900).train(make_settings(seed=seed), tmp_path / str(seed)).gate.passed
        for seed in range(100, 120)
    ]
    assert sum(passed) <= 1


def _same(one: TrainingResult, other: TrainingResult) -> bool:
    return one.gate == other.gate and all(
        (one.bundle / path.relative_to(other.bundle)).read_bytes() == path.read_bytes()
        for path in other.bundle.rglob("*.txt")
    )


def test_the_same_seed_gives_the_same_council_for_any_number_of_workers(
    market: Market, make_settings: MakeSettings, tmp_path: Path
) -> None:
    def council(name: str, **training: object) -> TrainingResult:
        own = make_settings(trials=5, ahead=2, **training)
        own = configuration.override(own, paths={"data": tmp_path / name / "data"})
        return market.train(own, tmp_path / name / "out")

    one = council("one")
    assert _same(one, council("two", workers=2))
    other = council("other", seed=6)
    assert not _same(one, other)


def test_tuning_never_sees_the_holdout(market: Market, make_settings: MakeSettings, tmp_path: Path) -> None:
    # Two markets that agree up to the cut and differ in everything after it give the same council.
    cut = int(len(market.bars) * 0.8)
    bars = market.bars
    values = bars.values.copy()
    values[cut:] = np.random.default_rng(0).normal(size=values[cut:].shape)
    cut_ms = int(bars.open_ms[cut])
    events = [
        replace(batch, price=np.where(batch.time_ms >= cut_ms, batch.price + 500, batch.price))
        for batch in market.events
    ]
    altered = Bars(**{name: getattr(bars, name) for name in Bars.__slots__} | {"values": values})
    # The same study, even: its name is made of all that tuning sees, and so the second finds the first one's trials.
    one = market.train(make_settings(trials=3), tmp_path / "one")
    other = Market(events, altered).train(make_settings(trials=3), tmp_path / "other")
    assert other.metrics["trials_resumed"] == 3
    own = configuration.override(make_settings(trials=3), paths={"data": tmp_path / "afresh"})
    other = Market(events, altered).train(own, tmp_path / "afresh" / "out")
    assert other.metrics["trials_resumed"] == 0
    for name in ("dsr", "pbo", "sharpe", "path_return_mean"):
        assert one.gate.figures[name] == other.gate.figures[name]
    assert one.gate.figures["holdout_return"] != other.gate.figures["holdout_return"]
    for path in one.bundle.rglob("*.txt"):
        assert path.read_bytes() == (other.bundle / path.relative_to(one.bundle)).read_bytes()


def test_a_holdout_that_tuning_reads_is_refused(
    market: Market, make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard itself: whoever looks before the council is chosen ends the training."""
    kept: list[HoldOut] = []

    class Watched(HoldOut):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)

    def peeking(*arguments: Any, **options: Any) -> StudyResult:
        kept[0].open()
        return run_study(*arguments, **options)

    monkeypatch.setattr("training.examination.HoldOut", Watched)
    monkeypatch.setattr("training.examination.run_study", peeking)
    with pytest.raises(TrainingError, match="hold-out was read 1 times"):
        market.train(make_settings(trials=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_feature_that_is_the_label_of_the_future_fails_the_gate(
    market: Market, make_settings: MakeSettings, tmp_path: Path
) -> None:
    ahead = np.zeros(len(market.bars))
    ahead[:-1] = np.sign(np.diff(market.bars.close))
    values = market.bars.values.copy()
    column = feature_names(LEVELS).index("imbalance_5_mean")
    values[:, column] = np.where(market.bars.valid, ahead, np.nan)
    result = Market(market.events, replace(market.bars, values=values)).train(make_settings(trials=2), tmp_path / "out")
    (reason,) = (one for one in result.gate.reasons if one.name == "leaks")
    assert not reason.passed
    assert not result.gate.passed
    assert "imbalance_5_mean" in reason.text
    assert "imbalance_5_mean" in result.report.read_text(encoding="utf-8")


def test_no_label_of_a_training_row_ends_inside_a_test_block(market: Market) -> None:
    from training.splits import CombinatorialPurgedSplit

    simulator = market.simulator()
    decide_ms = simulator.bars.close_ms
    splitter = CombinatorialPurgedSplit(6, 2, 12 * MINUTE)
    bounds = splitter.bounds(len(decide_ms))
    for hold in (3, 15):
        end_ms = simulator.table(StrategyParams(0.1, 2.0, 2.0, 3, hold)).end_ms.max(axis=1)
        for choice, (train, _) in zip(splitter.combinations, splitter.split(decide_ms, end_ms)):
            for group in choice:
                first, last = decide_ms[bounds[group]], end_ms[bounds[group] : bounds[group + 1]].max()
                inside = (end_ms[train] >= first) & (decide_ms[train] <= last + splitter.embargo_ms)
                assert not inside.any()


def test_too_little_data_is_refused_and_nothing_is_written(
    market: Market, make_settings: MakeSettings, tmp_path: Path
) -> None:
    short = Market(market.events, market.bars[:200])
    with pytest.raises(NotEnoughDataError, match="usable bars") as refused:
        short.train(make_settings(), tmp_path / "out")
    assert "training.min_bars" in refused.value.advice
    few_before = Market(market.events, market.bars[:140])
    with pytest.raises(NotEnoughDataError, match="blocks of 20"):
        few_before.train(make_settings(min_bars=100), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_market_that_fills_nothing_is_refused_and_nothing_is_written(
    market: Market, make_settings: MakeSettings, tmp_path: Path
) -> None:
    with pytest.raises(NotEnoughDataError, match="were filled and closed"):
        Market([], market.bars).train(make_settings(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_never_known_are_refused(market: Market, make_settings: MakeSettings, tmp_path: Path) -> None:
    bars = market.bars
    blank = Bars(
        **{name: getattr(bars, name) for name in Bars.__slots__} | {"values": np.full(bars.values.shape, np.nan)}
    )
    with pytest.raises(NotEnoughDataError, match="every feature is missing"):
        Market(market.events, blank).train(make_settings(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_front_of_the_room() -> None:
    assert training.train.__module__ == "training.pipeline"
    assert "train" in dir(training)
    with pytest.raises(AttributeError, match="nothing"):
        _ = training.nothing
