"""One plan at a time: what following a column of signals would have earned.

A plan's return is booked on the bar of its decision. Returns are fractions of a plan's own entry value, so their sum is
what a constant stake earns; nothing is compounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from training import statistics


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The track record of one strategy over n rows.

    Attributes
    ----------
    returns : float64[n]
        Net return of the plan decided on that row; 0.0 where there was none, or none was filled.
    taken : bool[n]
        A plan was sent on that row.
    filled : bool[n]
        It was filled and closed.
    unknown
        Plans sent whose outcome nobody knows (holes, end of the data). They count neither as gain nor as loss.
    """

    returns: NDArray[np.float64]
    taken: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    unknown: int

    @property
    def orders(self) -> int:
        """Plans sent."""
        return int(self.taken.sum())

    @property
    def trades(self) -> int:
        """Plans filled and closed."""
        return int(self.filled.sum())

    @property
    def total(self) -> float:
        """Sum of the net returns."""
        return float(self.returns.sum())

    @property
    def sharpe(self) -> float:
        """Per row; NaN without trades."""
        return statistics.sharpe(self.returns)

    @property
    def win_rate(self) -> float:
        """Share of trades with a positive net return; NaN without trades."""
        return float((self.returns[self.filled] > 0).mean()) if self.trades else float("nan")


def follow(
    side: NDArray[np.int8],
    decide_ms: NDArray[np.int64],
    closed: NDArray[np.bool_],
    known: NDArray[np.bool_],
    end_ms: NDArray[np.int64],
    net_return: NDArray[np.float64],
) -> Track:
    """Send a plan on every row with a signal while no earlier plan is alive.

    Parameters
    ----------
    side : int8[n]
        +1, -1, or 0 for no signal.
    decide_ms : int64[n]
        Decision times, never decreasing.
    closed, known : bool[n, 2]
        Per row and side (long, short): the plan was filled and closed; its outcome is known at all.
    end_ms : int64[n, 2]
        When the plan was over; for an unknown outcome, the latest moment at which it can have been.
    net_return : float64[n, 2]
        Net return of the plan; read where `closed`.
    """
    returns = np.zeros(len(side))
    taken = np.zeros(len(side), np.bool_)
    filled = np.zeros(len(side), np.bool_)
    unknown = _follow(side, decide_ms, closed, known, end_ms, net_return, returns, taken, filled)
    return Track(returns, taken, filled, int(unknown))


@njit(cache=True)
def _follow(  # type: ignore[no-untyped-def]
    side, decide_ms, closed, known, end_ms, net_return, returns, taken, filled
):
    unknown = 0
    busy_until = decide_ms[0] if len(decide_ms) else 0
    for row in range(len(side)):
        if side[row] == 0 or decide_ms[row] < busy_until:
            continue
        which = 0 if side[row] > 0 else 1
        busy_until = end_ms[row, which]
        taken[row] = True
        if closed[row, which]:
            filled[row] = True
            returns[row] = net_return[row, which]
        elif not known[row, which]:
            unknown += 1
    return unknown
