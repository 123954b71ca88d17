"""What a bundle says about its council: for which market, from which data, how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

#: Where the distribution of a feature is kept: its deciles, the tails and the ends.
PROBABILITIES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
#: A feature that changed no more often than this does not tell how long is too long: a funding rate stands for hours.
_TELLING = 30


@dataclass(frozen=True, slots=True)
class TrainingProfile:
    """What the features looked like in training: the yardstick of drift and sanity checks.

    Attributes
    ----------
    probabilities
        At which the quantiles were taken, ascending.
    quantiles
        Per feature the quantiles of its known values; empty where it was never known.
    missing
        Per feature the share of rows in which it was unknown.
    longest
        Per feature the most rows in a row in which it kept its value, where it changed often enough to tell; empty in
        bundles that were made without it.
    """

    probabilities: tuple[float, ...]
    quantiles: Mapping[str, tuple[float, ...]]
    missing: Mapping[str, float]
    longest: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, values: npt.NDArray[np.float64], names: Sequence[str], probabilities: Sequence[float] = PROBABILITIES
    ) -> TrainingProfile:
        """Measure.

        Parameters
        ----------
        values
            ``float64[n, F]``, n at least 1, in order of time.
        names
            Of the F features.
        probabilities
            Where to take quantiles.
        """
        if values.ndim != 2 or values.shape[1] != len(names) or not values.shape[0]:
            raise ValueError(f"values of shape {values.shape} do not fit {len(names)} features")
        quantiles: dict[str, tuple[float, ...]] = {}
        missing: dict[str, float] = {}
        for column, name in enumerate(names):
            known = values[np.isfinite(values[:, column]), column]
            quantiles[name] = tuple(np.quantile(known, probabilities).tolist()) if known.size else ()
            missing[name] = 1.0 - known.size / values.shape[0]
        stands = {name: _stands(values[:, column]) for column, name in enumerate(names)}
        longest = {name: int(rows.max()) for name, rows in stands.items() if rows.size > _TELLING}
        return cls(tuple(float(p) for p in probabilities), quantiles, missing, longest)


def _stands(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows in a row with one value, for each value in turn; an unknown value repeats nothing."""
    edges = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True])
    return np.diff(edges)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The part of ``council.json`` that is not the vote itself.

    Attributes
    ----------
    symbol, timeframe, levels, stall_ms, spec_hash
        For which market and which feature specification the council may be asked.
    window_ms
        First and last exchange time of the training data, hold-out included.
    data_fingerprint
        Of the lake that it was trained on.
    gate
        Verdict: ``passed`` and what the gate wants to say beside it (``dsr``, ``pbo``, ``reasons``, ...).
    statistics
        Further figures, by name.
    profile
        Distribution of the features in training, if it was given.
    software
        Versions of what trained it.
    content_hash
        sha256 of the whole bundle, hexadecimal.
    """

    symbol: str
    timeframe: str
    levels: int
    stall_ms: int
    spec_hash: str
    window_ms: tuple[int, int]
    data_fingerprint: str
    gate: Mapping[str, Any]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    profile: TrainingProfile | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    content_hash: str = ""

    @property
    def gate_passed(self) -> bool:
        """Whether the gate let the council through."""
        return self.gate.get("passed") is True
