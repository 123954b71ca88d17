"""Synthetic markets that the room's tests share; each is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import settings as configuration
from features import Bars, build, feature_names, spec_hash
from market.events import EventBatch
from settings import Settings
from simulation import SYNTHETIC, FillModel, synthetic_events
from training.challenger import Champion
from training.folds import Layout, Rows, Splitter
from training.outcomes import Costs, Simulator, tradable
from training.pipeline import TrainingResult, train

MINUTE = 60_000
START_MS = 1_767_225_600_000
LEVELS = 50


@dataclass(frozen=True)
class Market:
    """A market's events and one-minute bars."""

    events: list[EventBatch]
    bars: Bars

    def simulator(self) -> Simulator:
        """Of the plans of all tradable bars."""
        return Simulator(self.bars[tradable(self.bars)], lambda: self.events, SYNTHETIC, MINUTE, COSTS)

    def train(self, settings: Settings, folder: Path, champion: Champion | None = None) -> TrainingResult:
        """Train a council on the whole market."""
        return train(
            self.bars,
            lambda: self.events,
            symbol=SYNTHETIC.symbol,
            instrument=SYNTHETIC,
            levels=LEVELS,
            spec_hash=spec_hash(MINUTE, LEVELS, settings.market.stall_ms),
            feature_names=feature_names(LEVELS),
            data_fingerprint="0123456789abcdef" * 4,
            settings=settings,
            folder=folder,
            champion=champion,
        )


COSTS = Costs(FillModel(latency_ms=50, maker_fee=0.0002, taker_fee=0.00055), notional=1_000.0)


def layout_of(simulator: Simulator, splitter: Splitter) -> Layout:
    """All tradable rows, with the features that are known often enough."""
    values = simulator.bars.values
    kept = np.flatnonzero(np.isnan(values).mean(axis=0) <= 0.2)
    names = feature_names(LEVELS)
    rows = Rows(np.ascontiguousarray(values[:, kept]), tuple(names[column] for column in kept), simulator.bars.close_ms)
    return Layout(rows, splitter)


@cache
def make_market(seed: int, signal: float, minutes: int) -> Market:
    events = list(synthetic_events(seed, signal, START_MS, minutes * MINUTE, levels=LEVELS))
    return Market(events, build(events, MINUTE, LEVELS))


@pytest.fixture(scope="session")
def market() -> Market:
    """Seven hours with a signal."""
    return make_market(3, 1.0, 420)


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a small study in the test's own folder; keywords are those of ``[training]``."""

    def make(**training: object) -> Settings:
        small = {"timeframe": "1m", "trials": 4, "members": 3, "seed": 5, "workers": 1}
        return configuration.override(Settings(), paths={"data": tmp_path / "data"}, training={**small, **training})

    return make
