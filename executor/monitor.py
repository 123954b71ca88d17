"""The health monitor: what the tests of :mod:`executor.health` lead to. The core hears of it as an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from council.manifest import Manifest
from executor.actions import Voted
from executor.health import Drift, Outcomes, Ranks

#: What a test that fails leads to.
Measure = Literal["warn", "shrink", "pause"]
#: Where a bundle keeps the quantiles of the paths' trades, in its statistics.
TRADES = "trade_quantiles"
_SERIOUS = {"warn": 0, "shrink": 1, "pause": 2}


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """How the monitor judges and what it does: see ``[executor]`` in the settings."""

    window: int = 200
    rate: float = 0.01
    shrink: float = 0.5
    features: Measure = "warn"
    predictions: Measure = "shrink"
    outcomes: Measure = "pause"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done, and why; `scale` is the share of the usual risk."""

    scale: float
    text: str


def prediction_name(rank: int, side: str) -> str:
    """Name of a member's prediction in a bundle's profile."""
    return f"prediction.{rank}.{side}"


class HealthMonitor:
    """Watches the bars, predictions and trades of one council.

    Parameters
    ----------
    manifest
        Of the council's bundle.
    names
        Of the engine's feature vector.
    ranks
        Of the members, in the order of their votes.
    config
        See :class:`HealthConfig`.

    Attributes
    ----------
    blind
        Tests that the bundle gives no distribution for.
    """

    def __init__(
        self, manifest: Manifest, names: tuple[str, ...], ranks: tuple[int, ...], config: HealthConfig
    ) -> None:
        self._config = config
        known = _known(manifest)
        said = tuple(prediction_name(rank, side) for rank in ranks for side in ("long", "short"))
        self._features = Drift(known, names, window=config.window, rate=config.rate)
        self._predictions = Drift(known, said, window=config.window, rate=config.rate)
        trades = manifest.statistics.get(TRADES)
        paths = Ranks.of(trades["probabilities"], trades["quantiles"]) if isinstance(trades, dict) else None
        self._outcomes = Outcomes(paths, config.rate) if paths is not None else None
        missing = {"features": not known.keys() & set(names), "predictions": not known.keys() & set(said)}
        self.blind = [*(name for name, yes in missing.items() if yes), *([] if paths is not None else ["outcomes"])]
        self._complaints: dict[str, tuple[Measure, str]] = {}

    def bar(self, values: npt.NDArray[np.float64], vote: Voted | None) -> Verdict | None:
        """Take a bar's features and what was voted on it; a verdict when something changed."""
        changed = self._judge("features", self._features.add(values), self._config.features)
        if vote is not None:
            row = np.array([p for member in vote.members for p in (member.long, member.short)])
            changed |= self._judge("predictions", self._predictions.add(row), self._config.predictions)
        return self._verdict() if changed else None

    def trade(self, net_return: float) -> Verdict | None:
        """Take a closed trade's net return on its notional; a verdict when something changed."""
        if self._outcomes is None or "outcomes" in self._complaints or not self._outcomes.add(net_return):
            return None
        text = f"{self._outcomes.trades} trades are worse than the backtest's"
        self._complaints["outcomes"] = (self._config.outcomes, text)
        return self._verdict()

    def _judge(self, what: str, drifted: dict[str, float] | None, measure: Measure) -> bool:
        """Whether the complaint about `what` came, went or is another one."""
        if drifted is None:
            return False
        before = self._complaints.pop(what, None)
        if drifted:
            worst = sorted(drifted, key=lambda name: drifted[name])[:3]
            text = f"{len(drifted)} {what} drifted from training: {', '.join(worst)}"
            self._complaints[what] = (measure, text)
        return before != self._complaints.get(what)

    def _verdict(self) -> Verdict:
        if not self._complaints:
            return Verdict(1.0, "features, predictions and outcomes look as in training")
        texts = "; ".join(text for _, text in self._complaints.values())
        worst = max((measure for measure, _ in self._complaints.values()), key=_SERIOUS.__getitem__)
        return Verdict({"warn": 1.0, "shrink": self._config.shrink, "pause": 0.0}[worst], texts)


def _known(manifest: Manifest) -> dict[str, Ranks]:
    profile = manifest.profile
    if profile is None:
        return {}
    found = {name: Ranks.of(profile.probabilities, quantiles) for name, quantiles in profile.quantiles.items()}
    return {name: ranks for name, ranks in found.items() if ranks is not None}
