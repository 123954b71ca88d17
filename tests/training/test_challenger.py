"""Champion and challenger on the same days, and what makes a comparison impossible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from council import load_bundle
from features import feature_names, spec_hash
from settings import Settings
from tests.training.conftest import LEVELS, MINUTE, Market
from training.backtest import Track
from training.challenger import Champion, Comparison, compare
from training.pipeline import TrainingResult

SMALL = {"trials": 2, "members": 1, "space": {"rounds": 10, "num_leaves": 4}}


@pytest.fixture(scope="module")
def first(market: Market, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    import settings as configuration

    folder = tmp_path_factory.mktemp("champion")
    own = configuration.override(
        Settings(), paths={"data": folder / "data"}, training={"timeframe": "1m", "seed": 5, "workers": 1, **SMALL}
    )
    return market.train(own, folder / "out")


def test_a_challenger_is_compared_on_days_that_neither_was_tuned_on(
    market: Market, first: TrainingResult, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    champion = Champion("council version 1", first.bundle)
    result = market.train(make_settings(seed=9, **SMALL), tmp_path / "out", champion=champion)
    found = result.comparison
    assert found is not None
    assert found.champion is not None
    assert found.challenger is not None
    # Same data, so the hold-outs begin at the same bar; the challenger's record is the one that it was judged by.
    assert found.from_ms == load_bundle(result.bundle).manifest.statistics["holdout_from_ms"]  # type: ignore[union-attr]
    assert found.challenger.total == pytest.approx(result.gate.figures["holdout_return"])
    assert found.champion.total == pytest.approx(first.gate.figures["holdout_return"])
    assert found.low <= found.difference <= found.high
    assert result.tags["champion"] == "council version 1"
    assert result.tags["against_champion"] == found.verdict
    assert result.metrics["challenger_minus_champion"] == pytest.approx(found.difference)
    assert found.text() in result.description
    assert "Against the council in Production" in result.report.read_text(encoding="utf-8")
    # The verdict was spoken before the champion was looked at.
    assert result.metrics["holdout_reads"] == 1


def test_what_cannot_be_compared_is_said(market: Market, first: TrainingResult, tmp_path: Path) -> None:
    council = load_bundle(first.bundle)
    simulator = market.simulator()
    usual = {
        "symbol": "SYNUSDT",
        "timeframe": "1m",
        "levels": LEVELS,
        "spec_hash": spec_hash(MINUTE, LEVELS, 60_000),
        "engine_features": feature_names(LEVELS),
        "seed": 1,
    }
    champion = Champion("council version 1", first.bundle)
    for change in ({"symbol": "OTHERUSDT"}, {"spec_hash": "0" * 64}, {"levels": 200}, {"engine_features": ("one",)}):
        found = compare(champion, council, simulator, **(usual | change))  # type: ignore[arg-type]
        assert found.reason
        assert found.verdict == "unknown"
        assert found.text().startswith("Not compared with council version 1: ")
        assert np.isnan(found.figures()["challenger_minus_champion"])
    # A champion that has seen everything leaves nothing to compare on.
    late = market.simulator()
    late.bars = late.bars[:-70]
    assert "new to both" in compare(champion, council, late, **usual).reason  # type: ignore[arg-type]


def test_the_interval_decides() -> None:
    track = Track(np.array([0.01]), np.array([True]), np.array([True]), 0)
    for low, high, verdict in ((0.01, 0.02, "better"), (-0.02, -0.01, "worse"), (-0.01, 0.01, "undecided")):
        found = Comparison("c", "", 0, 100, track, track, low, high)
        assert found.verdict == verdict
        assert "cannot be told apart" in found.text() or "is " + verdict in found.text()
