"""Everything that a training run found out, for the bundle and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features import Bars
from settings import Settings
from training.backtest import Track
from training.challenger import Comparison
from training.folds import Layout
from training.gate import GateVerdict
from training.holdout import HoldOutResult
from training.leaks import Foresight
from training.reliability import Reliability
from training.sample import Sample
from training.selection import Seats
from training.study import Configuration, Search, StudyResult


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a training run found out; the attributes are what their types say.

    Attributes
    ----------
    paths
        Out-of-fold track records of the council.
    random
        Total returns of random entries on the development bars.
    seconds
        Wall time of the run.
    """

    symbol: str
    settings: Settings
    bars: Bars
    sample: Sample
    layout: Layout
    search: Search
    study: StudyResult
    chosen: Sequence[Configuration]
    seats: Seats
    paths: Sequence[Track]
    random: NDArray[np.float64]
    holdout: HoldOutResult
    reliability: Reliability
    foresight: Sequence[Foresight]
    comparison: Comparison | None
    verdict: GateVerdict
    fingerprint: str
    seconds: float
