"""Champion and challenger: the council in Production and the new one, on the same days that neither was tuned on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from council import Council, load_bundle
from market.errors import BundleError
from training import statistics
from training.backtest import Track
from training.holdout import council_track
from training.outcomes import Simulator

#: Bars that both must not have seen, below which a comparison says nothing.
MIN_BARS = 20


@dataclass(frozen=True, slots=True)
class Champion:
    """The council in Production.

    Attributes
    ----------
    name
        For people, like ``council-BTCUSDT-5m version 3``.
    bundle
        Its folder.
    """

    name: str
    bundle: Path


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Both on the same bars.

    Attributes
    ----------
    name
        The champion's.
    reason
        Why there is no comparison; empty if there is one.
    from_ms, bars
        First bar that neither saw before it was chosen, and how many there are.
    champion, challenger
        Track records; None without a comparison.
    low, high
        90 % interval of the challenger's total return less the champion's; NaN if unknown.
    """

    name: str
    reason: str = ""
    from_ms: int = -1
    bars: int = 0
    champion: Track | None = None
    challenger: Track | None = None
    low: float = math.nan
    high: float = math.nan

    @property
    def difference(self) -> float:
        """Total return of the challenger less the champion's; NaN without a comparison."""
        if self.champion is None or self.challenger is None:
            return math.nan
        return self.challenger.total - self.champion.total

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``undecided`` (the interval holds 0), or ``unknown``."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return "unknown"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"

    def text(self) -> str:
        """For people."""
        if self.champion is None or self.challenger is None:
            return f"Not compared with {self.name}: {self.reason}."
        words = {"better": "is better", "worse": "is worse", "undecided": "cannot be told apart", "unknown": "unknown"}
        return (
            f"On {self.bars:,} bars that neither was tuned on, {self.name} returned "
            f"{100 * self.champion.total:+.2f} % in {self.champion.trades} trades and the new council "
            f"{100 * self.challenger.total:+.2f} % in "
            f"{self.challenger.trades}; the difference is {100 * self.low:+.2f} % to {100 * self.high:+.2f} % "
            f"(90 %): the new council {words[self.verdict]}."
        )

    def figures(self) -> dict[str, float]:
        """For metrics; NaN where unknown."""
        nothing = math.nan
        return {
            "champion_bars": float(self.bars),
            "champion_return": self.champion.total if self.champion else nothing,
            "challenger_return": self.challenger.total if self.challenger else nothing,
            "challenger_minus_champion": self.difference,
            "challenger_minus_champion_low": self.low,
            "challenger_minus_champion_high": self.high,
        }


def compare(
    champion: Champion,
    challenger: Council,
    holdout: Simulator,
    *,
    symbol: str,
    timeframe: str,
    levels: int,
    spec_hash: str,
    engine_features: Sequence[str],
    seed: int,
) -> Comparison:
    """Let both decide on the bars of the hold-out that neither was tuned on.

    Parameters
    ----------
    champion, challenger
        Who.
    holdout
        Hold-out of the challenger.
    symbol, timeframe, levels, spec_hash, engine_features
        What the challenger was trained on; a champion of something else is not comparable, and said so.
    seed
        Of the bootstrap.
    """
    try:
        own = load_bundle(champion.bundle, symbol=symbol, timeframe=timeframe, levels=levels, spec_hash=spec_hash)
    except BundleError as error:
        return Comparison(champion.name, reason=str(error))
    if tuple(own.engine_features) != tuple(engine_features):
        return Comparison(champion.name, reason="it reads other features")
    unseen = holdout.bars.close_ms > _unseen_from(own)
    if unseen.sum() < MIN_BARS:
        return Comparison(champion.name, reason=f"only {int(unseen.sum())} bars are new to both")
    first = int(unseen.argmax())
    tracks = [_tail(council_track(council, holdout), first) for council in (own, challenger)]
    low, high = statistics.bootstrap_interval(tracks[1].returns - tracks[0].returns, seed=seed)
    return Comparison(
        champion.name, "", int(holdout.bars.open_ms[first]), int(unseen.sum()), tracks[0], tracks[1], low, high
    )


def _unseen_from(council: Council) -> int:
    """Since when the champion had seen nothing: the start of its own hold-out."""
    manifest = council.manifest
    assert manifest is not None, "a loaded council has a manifest"
    known: Any = manifest.statistics.get("holdout_from_ms", manifest.window_ms[1])
    return int(known)


def _tail(track: Track, first: int) -> Track:
    return Track(
        returns=np.ascontiguousarray(track.returns[first:]),
        taken=track.taken[first:],
        filled=track.filled[first:],
        unknown=track.unknown,
    )
