"""Is this feature vector one that the models could have been trained on?

LightGBM answers to anything. A feature that was always known in training is read as 0 when it is NaN, and a value far
outside what training saw lands in an outermost leaf, so both are caught here, before the council is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from council.manifest import TrainingProfile

#: A used feature may lie this many widths of its training range outside of it.
WIDTHS = 1.0
#: Share of the used features that may lie further outside.
SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What training saw, for the features that the models read.

    Attributes
    ----------
    names
        Of those features.
    columns : int64[k]
        Their places in the engine's vector.
    always_known : bool[k]
        Never NaN in training; without a profile, all.
    low, high : float64[k]
        Range in training; NaN where unknown.
    """

    names: tuple[str, ...]
    columns: npt.NDArray[np.int64]
    always_known: npt.NDArray[np.bool_]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def of(cls, profile: TrainingProfile | None, engine_features: Sequence[str], used: Sequence[str]) -> Yardstick:
        """Read a bundle's profile."""
        where = {name: index for index, name in enumerate(engine_features)}
        known, low, high = [], [], []
        for name in used:
            quantiles = profile.quantiles.get(name, ()) if profile else ()
            known.append(profile is None or profile.missing.get(name, 0.0) == 0.0)
            low.append(quantiles[0] if quantiles else np.nan)
            high.append(quantiles[-1] if quantiles else np.nan)
        return cls(
            tuple(used),
            np.array([where[name] for name in used], np.int64),
            np.array(known, np.bool_),
            np.array(low, np.float64),
            np.array(high, np.float64),
        )

    def objection(self, values: npt.NDArray[np.float64]) -> str:
        """Why the council must not be asked about `values` (``float64[F]``); empty if it may."""
        if not len(self.names):
            return ""
        row = values[self.columns]
        if np.isinf(row).any():
            return f"infinite: {self._list(np.isinf(row))}"
        missing = np.isnan(row) & self.always_known
        if missing.any():
            return f"unknown here, known in training: {self._list(missing)}"
        width = self.high - self.low
        outside = (row < self.low - WIDTHS * width) | (row > self.high + WIDTHS * width)
        if outside.mean() > SHARE:
            return f"far outside training: {self._list(outside)}"
        return ""

    def _list(self, which: npt.NDArray[np.bool_]) -> str:
        names = [name for name, yes in zip(self.names, which) if yes]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def frozen(values: bytes, before: bytes) -> bool:
    """Whether two bars in a row have the same vector, bit for bit: a feed that repeats itself."""
    return bool(values) and values == before
