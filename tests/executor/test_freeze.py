"""A feature that stands still although it moved in training blocks the bar, by its name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from council import TrainingProfile, load_bundle
from council.bundle import save_bundle
from executor.sanity import Yardstick, stillness
from tests.executor.conftest import CONFIG, Bench, sign_council

FEATURES = ("signal", "other")


def profile(run: int = 3) -> TrainingProfile:
    """`signal` kept its value for at most `run` rows, `other` for ever."""
    steps = np.repeat(np.linspace(-1, 1, 60), run)
    return TrainingProfile.of(np.column_stack([steps, np.ones_like(steps)]), FEATURES)


def bench(bars: int = 5, run: int = 3) -> Bench:
    made = Bench(msgspec.structs.replace(CONFIG, freeze_bars=bars), ready=False)
    made.councils["long"] = sign_council(FEATURES, "signal", profile=profile(run))
    from executor.events import CouncilChanged

    made.on(CouncilChanged(made.now, "long", 1, True))
    made.equity(10_000)
    return made


def test_the_longest_stand_of_each_feature_is_measured() -> None:
    often, seldom = np.repeat(np.arange(40.0), 5), np.repeat(np.arange(20.0), 10)
    often[7:9] = often[6]
    unknown = np.full(200, np.nan)
    profile = TrainingProfile.of(np.column_stack([often, seldom, unknown, np.ones(200)]), ["a", "b", "c", "d"])
    # What seldom changes does not tell how long is too long, and what is unknown has no value to keep.
    assert profile.longest == {"a": 5, "c": 1}


def test_repeats_are_counted_and_the_unknown_repeats_nothing() -> None:
    before = np.array([1.0, 2.0, np.nan]).tobytes()
    assert stillness(np.array([1.0, 3.0, np.nan]), before, [4, 4, 4]) == [5, 0, 0]
    assert stillness(np.array([1.0, 3.0]), before, [4, 4, 4]) == [0, 0]
    assert stillness(np.array([1.0, 2.0, 1.0]), before, []) == [1, 1, 0]


@pytest.mark.parametrize(("bars", "run", "allowed"), [(5, 1, 5), (5, 4, 8)])
def test_a_frozen_feature_blocks_by_name_after_its_patience(bars: int, run: int, allowed: int) -> None:
    made = bench(bars, run)
    for number in range(1, allowed + 3):
        made.bar(0.5, values=[0.5, float(number)])
        blocked = made.decisions()[-1].reason == "frozen, not so in training: signal"
        assert blocked == (number > allowed)
    # It moves again, and the council is asked again.
    made.bar(0.4, values=[0.4, 77.0])
    assert made.decisions()[-1].vote is not None


def test_what_stood_still_in_training_or_is_not_read_may_stand_still() -> None:
    made = bench()
    for number in range(30):
        made.bar(0.5, values=[0.5 - number / 100, 1.0])
        assert made.decisions()[-1].vote is not None
    yardstick = Yardstick.of(profile(), FEATURES, ["other"])
    assert yardstick.stuck([500, 500], 5) == ""
    assert Yardstick.of(None, FEATURES, ["signal"]).stuck([500, 500], 5) == ""
    assert Yardstick.of(profile(), FEATURES, ["signal"]).stuck([500, 500], 0) == ""
    assert Yardstick.of(profile(), FEATURES, ["signal"]).stuck([500, 500], 5).endswith("signal")


def test_the_reference_is_in_the_bundle(tmp_path: Path) -> None:
    save_bundle(
        tmp_path / "bundle",
        sign_council(FEATURES, "signal"),
        symbol="SYNUSDT",
        timeframe="1m",
        levels=50,
        stall_ms=60_000,
        spec_hash="0" * 64,
        data_fingerprint="hand-made",
        gate={"passed": True},
        window_ms=(0, 1),
        profile=profile(4),
    )
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest is not None
    assert manifest.profile is not None
    assert manifest.profile.longest == {"signal": 4}
