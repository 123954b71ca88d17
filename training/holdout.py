"""The hold-out: the last part of the data, which is read once, by the council that was chosen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from council import Council, Decisions, StrategyParams
from market.errors import TrainingError
from training.backtest import Track
from training.baselines import buy_and_hold, random_entries
from training.evaluation import follow_columns
from training.outcomes import Simulator
from training.statistics import exposure, turnover


@dataclass(frozen=True, slots=True, eq=False)
class HoldOutResult:
    """What the council did on data that neither tuning nor ranking saw.

    Attributes
    ----------
    track
        Its track record.
    close_ms : int64[n]
        Decision times.
    side : int8[n]
        What it decided; a signal while a plan is alive is not followed.
    random : float64[runs]
        Totals of random entries with the same plans.
    buy_and_hold
        Return of holding the contract over the hold-out.
    realized : float64[members, 2]
        Share of the bars that each member's thresholds let through.
    probability : float64[n, members, 2]
        What the members said: long, short; empty where it was not kept.
    exposure
        Share of the time in which a position was held; NaN where it was not measured.
    turnover
        Value bought and sold a day, in stakes, the largest trade being one; NaN without trades.
    """

    track: Track
    close_ms: NDArray[np.int64]
    side: NDArray[np.int8]
    random: NDArray[np.float64]
    buy_and_hold: float
    realized: NDArray[np.float64]
    probability: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0, 2)))
    exposure: float = math.nan
    turnover: float = math.nan


class HoldOut:
    """Keeps the hold-out bars until they are read, and counts the reads.

    Parameters
    ----------
    simulator
        Of the plans of the hold-out bars.
    taker_fee
        For the buy-and-hold baseline.

    Attributes
    ----------
    reads
        How often the bars were looked at.
    """

    def __init__(self, simulator: Simulator, taker_fee: float) -> None:
        self._simulator = simulator
        self._taker_fee = taker_fee
        self.reads = 0

    def __len__(self) -> int:
        """How many bars there are; knowing that is not a read."""
        return len(self._simulator.bars)

    def open(self) -> Simulator:
        """The bars and their outcomes; counts as a read."""
        self.reads += 1
        return self._simulator

    def judge(self, council: Council, *, seed: int) -> HoldOutResult:
        """Let the council decide on every bar, once.

        Raises
        ------
        TrainingError
            The hold-out was read before: whatever is chosen after that is no longer judged on unseen data.
        """
        if self.reads:
            raise TrainingError(
                f"the hold-out was read {self.reads} times before the council was judged on it",
                advice="Report this: nothing but the finished council may read it",
            )
        simulator = self.open()
        bars = simulator.bars
        decisions = council.vote_many(bars.values)
        track = _followed(decisions, simulator)
        share, turned = _held(decisions, track, simulator)
        typical = StrategyParams.median_of([member.params for member in council.members])
        return HoldOutResult(
            track=track,
            close_ms=bars.close_ms,
            side=decisions.side,
            random=random_entries(simulator.table(typical), bars.close_ms, decisions.side, seed=seed),
            buy_and_hold=buy_and_hold(bars, self._taker_fee),
            realized=realized(council, decisions.probability),
            probability=decisions.probability,
            exposure=share,
            turnover=turned,
        )


def council_track(council: Council, simulator: Simulator) -> Track:
    """Track record of a finished council on the bars of a simulator."""
    return _followed(council.vote_many(simulator.bars.values), simulator)


def _followed(decisions: Decisions, simulator: Simulator) -> Track:
    params = [decisions.params(row) for row in range(len(decisions))]
    (track,) = follow_columns([(decisions.side, params)], simulator.bars.close_ms, simulator)
    return track


def _held(decisions: Decisions, track: Track, simulator: Simulator) -> tuple[float, float]:
    """Exposure and turnover of what was traded."""
    bars, rows = simulator.bars, np.flatnonzero(track.filled)
    span = (int(bars.open_ms[0]), int(bars.close_ms[-1]))
    if not len(rows):
        return 0.0, math.nan
    params = [own for row in rows.tolist() if (own := decisions.params(row)) is not None]
    lives = simulator.lives(rows, decisions.side[rows], params)
    stake, days = float(lives.entry_value.max()), (span[1] - span[0]) / 86_400_000
    return (
        exposure(lives.entry_ms, lives.exit_ms, span),
        turnover(lives.entry_value, lives.exit_value, stake, days),
    )


def realized(council: Council, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of rows that each member's thresholds let through: float64[members, 2], from ``[n, members, 2]``."""
    levels = np.array([(member.threshold_long, member.threshold_short) for member in council.members])
    shares: NDArray[np.float64] = (probability >= levels).mean(axis=0)
    return shares


class Reads:
    """Remembers which days have served as a hold-out, over all trainings of an installation.

    A hold-out that was looked at many times is no longer unseen by the person who keeps what did well on it. Nightly
    trainings overlap by design; how often is part of every report.

    Parameters
    ----------
    path
        A file of one JSON object a line; made at the first read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def overlapping(self, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> int:
        """Earlier reads of any bar between two times."""
        if not self._path.exists():
            return 0
        lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
        same = [one for one in lines if one["symbol"] == symbol and one["timeframe"] == timeframe]
        return sum(one["from_ms"] < to_ms and one["to_ms"] > from_ms for one in same)

    def add(self, symbol: str, timeframe: str, from_ms: int, to_ms: int) -> None:
        """Note one more."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"symbol": symbol, "timeframe": timeframe, "from_ms": from_ms, "to_ms": to_ms}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
