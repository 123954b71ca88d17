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
from executor.events import BarClosed

#: A used feature may lie this many widths of its training range outside of it.
WIDTHS = 1.0
#: Share of the used features that may lie further outside.
SHARE = 0.1
#: A feature may keep its value for so many times the bars that it ever did in training.
_PATIENCE = 2


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
    longest : int64[k]
        Rows in a row for which it kept its value in training; -1 where unknown, or where it never changed.
    """

    names: tuple[str, ...]
    columns: npt.NDArray[np.int64]
    always_known: npt.NDArray[np.bool_]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    longest: npt.NDArray[np.int64]

    @classmethod
    def of(cls, profile: TrainingProfile | None, engine_features: Sequence[str], used: Sequence[str]) -> Yardstick:
        """Read a bundle's profile."""
        where = {name: index for index, name in enumerate(engine_features)}
        known, low, high, longest = [], [], [], []
        for name in used:
            quantiles = profile.quantiles.get(name, ()) if profile else ()
            known.append(profile is None or profile.missing.get(name, 0.0) == 0.0)
            low.append(quantiles[0] if quantiles else np.nan)
            high.append(quantiles[-1] if quantiles else np.nan)
            moved = bool(quantiles) and quantiles[0] < quantiles[-1]
            longest.append(profile.longest.get(name, -1) if profile and moved else -1)
        return cls(
            tuple(used),
            np.array([where[name] for name in used], np.int64),
            np.array(known, np.bool_),
            np.array(low, np.float64),
            np.array(high, np.float64),
            np.array(longest, np.int64),
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

    def stuck(self, still: Sequence[int], bars: int) -> str:
        """Which features stand still although they moved in training; empty if none does.

        Parameters
        ----------
        still
            For each of the engine's features, bars in a row that repeated its value.
        bars
            So many are always allowed; 0 looks at nothing.
        """
        if not bars or not len(self.names) or not still:
            return ""
        run = np.asarray(still, np.int64)[self.columns] + 1
        # Training leaves out bars that are not whole, so its longest run may have been longer on the clock.
        stuck = (self.longest >= 0) & (run > np.maximum(bars, _PATIENCE * self.longest))
        return f"frozen, not so in training: {self._list(stuck)}" if stuck.any() else ""

    def _list(self, which: npt.NDArray[np.bool_]) -> str:
        names = [name for name, yes in zip(self.names, which) if yes]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def frozen(values: bytes, before: bytes) -> bool:
    """Whether two bars in a row have the same vector, bit for bit: a feed that repeats itself."""
    return bool(values) and values == before


def stillness(values: npt.NDArray[np.float64], before: bytes, still: Sequence[int]) -> list[int]:
    """Bars in a row that repeated each value, this one included; an unknown value repeats nothing.

    Parameters
    ----------
    values : float64[F]
        Of this bar.
    before
        Of the bar before, as bytes.
    still
        As it was after that bar.
    """
    last = np.frombuffer(before, "<f8")
    if last.shape != values.shape:
        return [0] * len(values)
    so_far = np.asarray(still, np.int64) if len(still) == len(values) else np.zeros(len(values), np.int64)
    repeated: list[int] = np.where(values == last, so_far + 1, 0).tolist()
    return repeated


def malformed(bar: BarClosed, timeframe_ms: int) -> str:
    """What is impossible about a bar: times off the grid, or a price of 0 or below; empty if nothing is.

    A price that nobody knows is -1, and no reason for an alarm.
    """
    if bar.open_ms % timeframe_ms or bar.close_ms - bar.open_ms != timeframe_ms:
        return f"from {bar.open_ms} to {bar.close_ms} is off the grid of {timeframe_ms} ms"
    wrong: dict[int, list[str]] = {}
    for name in ("close", "bid", "ask"):
        if (price := getattr(bar, name)) == 0 or price < -1:
            wrong.setdefault(price, []).append(name)
    return ", ".join(f"{' and '.join(names)} of {price}" for price, names in wrong.items())
