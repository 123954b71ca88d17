"""The calibration of the gate: intervals, resuming, and a small one for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from settings import Settings
from tests.training.conftest import Market
from training import calibrate as subject
from training.calibration_markets import Size, Task, turned
from training.calibration_rates import clopper_pearson, rate, sum_up

TINY = Size(nulls=6, planted=2, strengths=(2.0, 3.0))


def test_intervals_are_the_textbooks() -> None:
    # For 0 of n the upper end is 1 - (tail)^(1/n); for 10 of 100 tables print 4.90 to 17.62 %.
    low, high = clopper_pearson(0, 200)
    assert low == 0.0
    assert high == pytest.approx(1.0 - 0.025 ** (1 / 200))
    np.testing.assert_allclose(clopper_pearson(10, 100), (0.0490, 0.1762), atol=5e-5)
    assert clopper_pearson(20, 20)[1] == 1.0
    assert "1 of 4 passed (25.0 %" in rate("markets", [True, False, False, False]).text()


def _fake(verdicts: dict[str, str], judged: list[str]) -> Callable[..., dict[str, Any]]:
    def judge(task: Task, settings: Settings, size: Size, symbol: str | None) -> dict[str, Any]:
        judged.append(task.name)
        if len(judged) == 5 and "stop" in verdicts:
            raise KeyboardInterrupt
        return {
            "task": task.name,
            "kind": task.kind,
            "strength": task.strength,
            "seed": task.seed,
            "verdict": verdicts.get(task.kind, "failed"),
            "unmet": ["dsr"],
            "figures": {"dsr": 0.3},
            "seconds": 1.0,
        }

    return judge


def test_an_interrupted_calibration_goes_on(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    monkeypatch.setattr(subject, "judge_market", _fake({"planted": "passed", "stop": ""}, judged))
    with pytest.raises(KeyboardInterrupt):
        subject.calibrate(make_settings(), TINY, workers=1)
    again: list[str] = []
    monkeypatch.setattr(subject, "judge_market", _fake({"planted": "passed"}, again))
    result = subject.calibrate(make_settings(), TINY, workers=1)
    assert len(judged) == 5
    assert sorted(judged[:4] + again) == sorted(set(judged[:4]) | set(again))
    assert len(judged[:4] + again) == 6 + 4
    assert result.passed
    assert (result.false_passes.passed, result.false_passes.judged) == (0, 6)
    assert {one.name: (one.passed, one.judged) for one in result.rates} == {
        "null": (0, 3), "null without costs": (0, 3), "signal 2": (2, 2), "signal 3": (2, 2),
    }  # fmt: skip
    plain = json.loads((result.page.parent / "calibration.json").read_text(encoding="utf-8"))
    assert plain["false_passes"]["high"] == pytest.approx(result.false_passes.high)
    assert "The gate: calibrated" in result.page.read_text(encoding="utf-8")
    assert "interval" in result.text()


def test_a_gate_that_lets_nulls_through_is_not_calibrated(tmp_path: Path) -> None:
    tasks = [Task("null", number) for number in range(20)]
    done = {
        task.name: {"task": task.name, "verdict": "passed" if task.seed < 2 else "failed", "seconds": 1.0}
        for task in tasks
    }
    assert not sum_up(TINY, tasks, done, tmp_path / "index.html").passed
    done[tasks[0].name]["verdict"] = "failed"
    assert sum_up(TINY, tasks, done, tmp_path / "index.html").passed


def test_turned_features_keep_their_shape_and_lose_their_meaning(market: Market) -> None:
    bars = turned(market.bars, seed=4)
    assert bars.close is market.bars.close
    both = bars.valid & market.bars.valid
    assert both.sum() > 0.7 * len(bars)
    column = 20
    np.testing.assert_array_equal(np.sort(bars.values[:, column]), np.sort(market.bars.values[:, column]))
    assert not np.array_equal(bars.values, market.bars.values, equal_nan=True)
    assert np.array_equal(bars.values, turned(market.bars, seed=4).values, equal_nan=True)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_small_calibration(make_settings: Callable[..., Settings]) -> None:
    size = Size(nulls=8, planted=2, strengths=(3.0,), minutes=900, planted_minutes=1_440, trials=6)
    result = subject.calibrate(make_settings(), size, workers=2)
    assert result.false_passes.passed == 0
    assert result.false_passes.judged == 8
    unmet = {name for one in result.outcomes for name in one["unmet"]}
    assert "dsr" in unmet
