"""Do the features still look as they did in training? A population stability index a feature, for people to read.

References
----------
Siddiqi (2006), Credit Risk Scorecards: below 0.1 no change, above 0.25 a significant one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from council.manifest import TrainingProfile

#: Index from which on a feature counts as drifted.
DRIFTED = 0.25
_FLOOR = 1e-4


def stability_index(
    values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]
) -> float:
    """Population stability index of a sample against bins of a reference.

    Parameters
    ----------
    values : float64[n]
        Known values, n at least 1.
    edges : float64[k]
        Inner edges of the bins, ascending.
    shares : float64[k + 1]
        Share of the reference in each bin.
    """
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(shares))
    actual = np.maximum(counts / len(values), _FLOOR)
    expected = np.maximum(shares, _FLOOR)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


class Drift:
    """A window of feature vectors beside the distribution of training.

    Parameters
    ----------
    profile
        Of training.
    names
        Of the engine's vector.
    window
        Vectors that are compared; nothing is said before there are so many.
    """

    def __init__(self, profile: TrainingProfile, names: Sequence[str], window: int = 200) -> None:
        self._names, self._window = tuple(names), window
        self._rows: deque[npt.NDArray[np.float64]] = deque(maxlen=window)
        self._bins = {name: bins for name in names if (bins := _bins(profile, name)) is not None}
        self._since = 0

    def add(self, values: npt.NDArray[np.float64]) -> dict[str, float]:
        """Take a vector; once a full window, the features that drifted and their index, else nothing."""
        self._rows.append(values)
        self._since += 1
        if len(self._rows) < self._window or self._since < self._window:
            return {}
        self._since = 0
        return {name: index for name, index in self.indices().items() if index > DRIFTED}

    def indices(self) -> dict[str, float]:
        """The index of every feature with a reference and values."""
        if not self._rows:
            return {}
        matrix = np.array(self._rows)
        found = {}
        for column, name in enumerate(self._names):
            known = matrix[np.isfinite(matrix[:, column]), column]
            if name in self._bins and known.size:
                found[name] = stability_index(known, *self._bins[name])
        return found


def _bins(profile: TrainingProfile, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Inner edges and shares; ``None`` for a feature with ties, whose quantiles do not say where its mass lies."""
    quantiles = np.array(profile.quantiles.get(name, ()))
    if not quantiles.size:
        return None
    probabilities = np.array(profile.probabilities)
    inner = (probabilities >= 0.1) & (probabilities <= 0.9)
    edges = quantiles[inner]
    if not inner.any() or (np.diff(edges) <= 0).any():
        return None
    return edges, np.diff(np.concatenate([[0.0], probabilities[inner], [1.0]]))
