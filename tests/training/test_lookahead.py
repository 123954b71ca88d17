"""The check for looking ahead passes what is honest and catches what is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

import settings
from features import Bars, FeatureEngine, check_lookahead
from market.events import EventBatch
from simulation.fills import FillModel
from simulation.synthetic import SYNTHETIC, synthetic_events
from training import lookahead
from training.lookahead import check, check_labels
from training.outcomes import Costs, Simulator

MINUTE = 60_000
START_MS = 1_767_225_600_000
EVENTS = list(synthetic_events(5, 1.0, START_MS, 100 * MINUTE))
COSTS = Costs(FillModel(150, 0.0002, 0.00055), 1_000.0)


def run(stream: Iterable[EventBatch]) -> Bars:
    engine = FeatureEngine(MINUTE, 50)
    return Bars.concat([Bars.empty(len(engine.names)), *(engine.push(batch) for batch in stream)])


def test_the_engine_does_not_look_ahead() -> None:
    report = check_lookahead(lambda: EVENTS, MINUTE, 50, cuts=8)
    assert report.passed
    assert report.bars > 100
    assert len(report.cuts) == 8


def test_a_centred_filter_is_caught() -> None:
    def smoothed(stream: Iterable[EventBatch]) -> Bars:
        bars = run(stream)
        values = bars.values.copy()
        if len(bars) > 2:
            values[1:-1] = (values[:-2] + values[1:-1] + values[2:]) / 3
        return dataclasses.replace(bars, values=values)

    report = check_lookahead(lambda: EVENTS, MINUTE, 50, cuts=4, compute=smoothed)
    assert not report.passed
    assert {peek.column for peek in report.peeks} >= {"spread_mean"}


def test_labels_end_where_they_say() -> None:
    report = check_labels(run(EVENTS), lambda: EVENTS, SYNTHETIC, MINUTE, COSTS, cuts=3)
    assert report.peeks == ()
    assert report.labels > 100


def test_labels_that_look_further_than_their_end_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hindsight(Simulator):
        def run(self, rows: object, sides: object, params: object) -> object:  # type: ignore[override]
            outcomes = super().run(rows, sides, params)  # type: ignore[arg-type]
            last = max(int(batch.time_ms.max()) for batch in self._events())
            outcomes.net_return[:] += last % 1_000_003 / 1e12
            return outcomes

    monkeypatch.setattr(lookahead, "Simulator", Hindsight)
    report = check_labels(run(EVENTS), lambda: EVENTS, SYNTHETIC, MINUTE, COSTS, cuts=2)
    assert any("net_return when the data ends" in peek for peek in report.peeks)


def test_anyone_can_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookahead, "_SYNTHETIC_MS", 150 * MINUTE)
    own = settings.override(settings.load(None), training={"timeframe": "1m"})
    checked = check(own, None, cuts=2)
    assert checked.passed
    assert "equal to the bit" in checked.text()
    assert np.all(np.array([checked.features.bars, checked.labels.labels]) > 0)
