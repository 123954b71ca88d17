"""What we learn: outcome tables, purged splits, tuning, statistics, the promotion gate, the report.

:func:`train` takes bars and the events they were built from, and leaves a council's bundle, the gate's verdict and a
report. A label is the backtest of one order plan; tuning reads nothing of the hold-out; everything that was tried
counts against the result.

This room never talks to an exchange or a registry, never schedules itself, and never computes a feature.

Names are loaded on first use: the statistics can be had without LightGBM and Optuna.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "CombinatorialPurgedSplit": "splits",
    "GateVerdict": "gate",
    "Reason": "gate",
    "TrainingResult": "pipeline",
    "train": "pipeline",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
