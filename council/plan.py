"""From a signal to an order plan: the one place that turns strategy parameters into prices.

Training simulates the plans that these functions make and the executor sends them, so a label is the backtest of the
very order that would have been placed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from numba import njit

#: Side of a plan: buy first.
LONG = 1
#: Side of a plan: sell first.
SHORT = -1


@dataclass(frozen=True, slots=True)
class StrategyParams:
    """What a trial tunes beside its models.

    Attributes
    ----------
    offset_atr
        Distance of the entry limit from the close, on the passive side, in ATR(14); at least 0.
    stop_atr
        Distance of the stop from the entry limit, in ATR(14); greater than 0.
    target_atr
        Distance of the target from the entry limit, in ATR(14); greater than 0.
    tif_bars
        Bars after which an unfilled entry is cancelled; at least 1.
    hold_bars
        Bars after the first fill at which the position is closed at market; at least 1.
    """

    offset_atr: float
    stop_atr: float
    target_atr: float
    tif_bars: int
    hold_bars: int

    def __post_init__(self) -> None:
        reals = (self.offset_atr, self.stop_atr, self.target_atr)
        if not all(map(math.isfinite, reals)) or self.offset_atr < 0 or min(reals[1:]) <= 0:
            raise ValueError(f"impossible strategy parameters: {self}")
        if self.tif_bars < 1 or self.hold_bars < 1:
            raise ValueError(f"impossible strategy parameters: {self}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def median_of(cls, members: list[StrategyParams]) -> StrategyParams:
        """The parameters that a council trades: the median of its approving members', bar counts rounded up."""
        return cls(
            offset_atr=median(member.offset_atr for member in members),
            stop_atr=median(member.stop_atr for member in members),
            target_atr=median(member.target_atr for member in members),
            tif_bars=math.ceil(median(member.tif_bars for member in members)),
            hold_bars=math.ceil(median(member.hold_bars for member in members)),
        )


@njit(cache=True)
def plan_prices(  # type: ignore[no-untyped-def]
    side, close, atr, offset_atr, stop_atr, target_atr
):
    """Prices of a plan, in ticks.

    The limit is rounded away from the market, the stop away from the entry, and the target away from the entry: never a
    better price than was asked for. The stop and the target lie at least one tick from the limit.

    Parameters
    ----------
    side : int
        :data:`LONG` or :data:`SHORT`.
    close : int
        Close of the bar, ticks.
    atr : float
        ATR(14) at the close, ticks; greater than 0.
    offset_atr, stop_atr, target_atr : float
        See :class:`StrategyParams`.

    Returns
    -------
    limit, stop, target : int
        Ticks.
    """
    if side > 0:
        limit = math.floor(close - offset_atr * atr)
        stop = min(math.floor(limit - stop_atr * atr), limit - 1)
        target = max(math.ceil(limit + target_atr * atr), limit + 1)
    else:
        limit = math.ceil(close + offset_atr * atr)
        stop = max(math.ceil(limit + stop_atr * atr), limit + 1)
        target = min(math.floor(limit - target_atr * atr), limit - 1)
    return limit, stop, target


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """A passive entry with its attached stop and target.

    Attributes
    ----------
    side
        :data:`LONG` or :data:`SHORT`.
    limit, stop, target
        Ticks.
    tif_ms
        The entry is cancelled this long after the decision.
    hold_ms
        The position is closed at market this long after its first fill.
    """

    side: int
    limit: int
    stop: int
    target: int
    tif_ms: int
    hold_ms: int


def make_plan(params: StrategyParams, side: int, close: int, atr: float, timeframe_ms: int) -> OrderPlan | None:
    """The plan of a signal, or ``None`` where no valid prices exist (unknown ATR, a price at or below zero).

    Parameters
    ----------
    params
        Strategy parameters.
    side
        :data:`LONG` or :data:`SHORT`.
    close
        Close of the bar, ticks.
    atr
        ATR(14), ticks; NaN where unknown.
    timeframe_ms
        Length of a bar.
    """
    if not (math.isfinite(atr) and atr > 0 and close > 0):
        return None
    limit, stop, target = plan_prices(side, close, atr, params.offset_atr, params.stop_atr, params.target_atr)
    if min(limit, stop, target) <= 0:
        return None
    return OrderPlan(side, limit, stop, target, params.tif_bars * timeframe_ms, params.hold_bars * timeframe_ms)
