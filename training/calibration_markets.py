"""The markets on which the gate is calibrated, and how one of them is judged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

import settings as configuration
from features import Bars, FeatureStore, build, feature_names, spec_hash
from market import Lake
from market.days import lake_days
from market.errors import NotEnoughDataError, TrainingError
from market.events import EventBatch
from settings import Settings, timeframe_ms
from simulation import SYNTHETIC
from simulation.synthetic import synthetic_events
from training.examination import examine

#: 2026-01-01 UTC, where all synthetic markets begin, ms.
_START_MS = 1_767_225_600_000
_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Size:
    """How large every market and study is.

    Attributes
    ----------
    nulls, planted
        Null markets; planted markets of each strength.
    strengths
        Of the planted signal.
    minutes, planted_minutes
        Length of a synthetic null market and of a planted one, in one-minute bars.
    trials
        Of every study.
    push_ms
        Book messages of a synthetic market are this far apart.
    """

    nulls: int = 200
    planted: int = 10
    strengths: tuple[float, ...] = (1.0, 2.0, 3.0)
    minutes: int = 900
    planted_minutes: int = 1_440
    trials: int = 6
    push_ms: int = 500


@dataclass(frozen=True, slots=True)
class Task:
    """One market to judge.

    Attributes
    ----------
    kind
        ``null``, ``null without costs``, ``recorded`` or ``planted``.
    seed
        Of the market (``recorded``: of the turn) and of the study.
    strength
        Of the signal; 0 for a null.
    """

    kind: str
    seed: int
    strength: float = 0.0

    @property
    def null(self) -> bool:
        """Whether there is nothing to find."""
        return self.kind != "planted"

    @property
    def name(self) -> str:
        """Unique among the tasks of a calibration."""
        return f"{self.kind} {self.strength:g} {self.seed}"


def turned(bars: Bars, seed: int) -> Bars:
    """The bars with the features of another time: turned around by at least a tenth of their number.

    Features keep their distribution, their memory and their correlations; what they say about the market is gone.
    """
    count = len(bars)
    distance = int(np.random.default_rng(seed).integers(count // 10, count - count // 10))
    both = bars.valid & np.roll(bars.valid, distance)
    return replace(bars, values=np.roll(bars.values, distance, axis=0), valid=both)


def judge_market(task: Task, settings: Settings, size: Size, symbol: str | None) -> dict[str, Any]:
    """One market's verdict, as plain JSON values.

    A market on which no council can be chosen has not passed: its verdict is ``none``, with the reason.
    """
    started = time.perf_counter()
    own = configuration.override(settings, training={"seed": task.seed})
    if task.kind == "null without costs":
        own = configuration.override(own, costs={"maker_fee": Decimal(0), "taker_fee": Decimal(0)})
    bars, events, what = _recorded(own, symbol, task) if symbol else _synthetic(own, size, task)
    outcome: dict[str, Any] = {"task": task.name, "kind": task.kind, "strength": task.strength, "seed": task.seed}
    with tempfile.TemporaryDirectory() as scratch:
        own = configuration.override(own, paths={"data": Path(scratch)})
        try:
            found = examine(bars, events, data_fingerprint="0" * 64, settings=own, **what)
        except NotEnoughDataError:
            raise
        except TrainingError as error:
            return {**outcome, "verdict": "none", "unmet": [str(error)], "figures": {}, "seconds": _since(started)}
    verdict = found.verdict
    return {
        **outcome,
        "verdict": "passed" if verdict.passed else "failed",
        "unmet": [one.name for one in verdict.reasons if not one.passed],
        "figures": verdict.to_json()["figures"],
        "seconds": _since(started),
    }


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)


def _synthetic(
    settings: Settings, size: Size, task: Task
) -> tuple[Bars, Callable[[], Iterable[EventBatch]], dict[str, Any]]:
    minute = 60_000
    length_ms = minute * (size.minutes if task.null else size.planted_minutes)
    kept = list(synthetic_events(task.seed, task.strength, _START_MS, length_ms, levels=_LEVELS, push_ms=size.push_ms))
    bar_ms = timeframe_ms(settings.training.timeframe)
    return build(kept, bar_ms, _LEVELS), lambda: kept, _what(settings, SYNTHETIC.symbol, SYNTHETIC, _LEVELS)


def _recorded(
    settings: Settings, symbol: str | None, task: Task
) -> tuple[Bars, Callable[[], Iterable[EventBatch]], dict[str, Any]]:
    assert symbol is not None, "recorded days have a symbol"
    lake = Lake(settings.paths.lake)
    bars = FeatureStore(settings.paths.features).by_day(
        lake_days(lake, symbol),
        symbol,
        timeframe_ms(settings.training.timeframe),
        settings.market.ob_levels,
        settings.market.stall_ms,
    )
    what = _what(settings, symbol, lake.instrument(symbol), settings.market.ob_levels)
    return turned(bars, task.seed), lambda: lake.events(symbol), what


def _what(settings: Settings, symbol: str, instrument: Any, levels: int) -> dict[str, Any]:
    bar_ms = timeframe_ms(settings.training.timeframe)
    return {
        "symbol": symbol,
        "instrument": instrument,
        "levels": levels,
        "spec_hash": spec_hash(bar_ms, levels, settings.market.stall_ms),
        "feature_names": feature_names(levels),
    }
