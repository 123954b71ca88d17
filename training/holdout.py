"""The hold-out: the last part of the data, which is read once, by the council that was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from council import Council, StrategyParams
from features import Bars
from market.errors import TrainingError
from training.backtest import Track
from training.baselines import buy_and_hold, random_entries
from training.evaluation import follow_columns
from training.outcomes import Simulator


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
    """

    track: Track
    close_ms: NDArray[np.int64]
    side: NDArray[np.int8]
    random: NDArray[np.float64]
    buy_and_hold: float


class HoldOut:
    """Keeps the hold-out bars until they are read, and counts the reads.

    Parameters
    ----------
    simulator
        Of the plans of the hold-out bars.
    taker_fee
        For the buy-and-hold baseline.
    """

    def __init__(self, simulator: Simulator, taker_fee: float) -> None:
        self._simulator = simulator
        self._taker_fee = taker_fee
        self.reads = 0

    @property
    def bars(self) -> int:
        """How many bars there are; knowing that is not a read."""
        return len(self._simulator.bars)

    def judge(self, council: Council, *, seed: int) -> HoldOutResult:
        """Let the council decide on every bar, once.

        Raises
        ------
        TrainingError
            The hold-out was read before: whatever is chosen after that is no longer judged on unseen data.
        """
        if self.reads:
            raise TrainingError("the hold-out was read already", advice="Train again, on newer data")
        self.reads += 1
        bars: Bars = self._simulator.bars
        decisions = council.vote_many(bars.values)
        params = [decisions.params(row) for row in range(len(decisions))]
        (track,) = follow_columns([(decisions.side, params)], bars.close_ms, self._simulator)
        typical = StrategyParams.median_of([member.params for member in council.members])
        return HoldOutResult(
            track=track,
            close_ms=bars.close_ms,
            side=decisions.side,
            random=random_entries(self._simulator.table(typical), bars.close_ms, decisions.side, seed=seed),
            buy_and_hold=buy_and_hold(bars, self._taker_fee),
        )
