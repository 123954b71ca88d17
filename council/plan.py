"""From a signal to an order plan: the one place that turns strategy parameters into prices.

Training simulates the plans that these functions make and the executor sends them, so a label is the backtest of the
very order that would have been placed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from numba import njit

#: Side of a plan: buy first.
LONG = 1
#: Side of a plan: sell first.
SHORT = -1

#: How a plan enters: a resting post-only limit, or an immediate-or-cancel limit that takes at market up to a cap.
Entry = Literal["passive", "directional"]
PASSIVE: Entry = "passive"
DIRECTIONAL: Entry = "directional"


@dataclass(frozen=True, slots=True)
class StrategyParams:
    """What a trial tunes beside its models.

    Attributes
    ----------
    offset_atr
        In ATR(14), at least 0. Passive: distance of the entry limit from the close, on the passive side. Directional:
        how far beyond the close the entry may pay.
    stop_atr
        Distance of the stop from the entry limit (directional: from the close), in ATR(14); greater than 0.
    target_atr
        Distance of the target from the entry limit (directional: from the close), in ATR(14); greater than 0.
    tif_bars
        Bars after which an unfilled passive entry is cancelled; at least 1. A directional one lives for an instant.
    hold_bars
        Bars after the first fill at which the position is closed at market; at least 1.
    entry
        :data:`PASSIVE` or :data:`DIRECTIONAL`.
    target_maker
        Whether the target rests in the book as a reduce-only post-only limit; else it is a market order on trigger.
    """

    offset_atr: float
    stop_atr: float
    target_atr: float
    tif_bars: int
    hold_bars: int
    entry: Entry = PASSIVE
    target_maker: bool = False

    def __post_init__(self) -> None:
        if self.entry not in (PASSIVE, DIRECTIONAL) or not isinstance(self.target_maker, bool):
            raise ValueError(f"impossible strategy parameters: {self}")
        reals = (self.offset_atr, self.stop_atr, self.target_atr)
        if not all(map(math.isfinite, reals)) or self.offset_atr < 0 or min(reals[1:]) <= 0:
            raise ValueError(f"impossible strategy parameters: {self}")
        if self.tif_bars < 1 or self.hold_bars < 1:
            raise ValueError(f"impossible strategy parameters: {self}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def median_of(cls, members: Sequence[StrategyParams]) -> StrategyParams:
        """The parameters that a council trades, from those of its approving members.

        Numbers are medians, bar counts rounded up. Entry style and kind of target are the majority's; a tie enters
        passively and keeps the target at market, which needs nobody to be awake. The offset means another thing for
        each entry style, so its median is taken over the members of the style that was chosen.
        """
        styles = Counter(member.entry for member in members)
        entry = DIRECTIONAL if styles[DIRECTIONAL] > styles[PASSIVE] else PASSIVE
        return cls(
            offset_atr=median(member.offset_atr for member in members if member.entry == entry),
            stop_atr=median(member.stop_atr for member in members),
            target_atr=median(member.target_atr for member in members),
            tif_bars=math.ceil(median(member.tif_bars for member in members)),
            hold_bars=math.ceil(median(member.hold_bars for member in members)),
            entry=entry,
            target_maker=2 * sum(member.target_maker for member in members) > len(members),
        )


@njit(cache=True)
def plan_prices(  # type: ignore[no-untyped-def]
    side, close, atr, offset_atr, stop_atr, target_atr, directional=False
):
    """Prices of a plan, in ticks.

    The limit is rounded away from the market (directional: towards paying less), the stop away from the entry, and the
    target away from the entry: never a better price than was asked for. The stop and the target lie at least one tick
    from the limit.

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
    directional : bool
        Whether the entry takes; the limit is then the worst price that it may pay.

    Returns
    -------
    limit, stop, target : int
        Ticks.
    """
    if directional:
        # What will be paid is not known yet, and is near the close: the distances count from there.
        if side > 0:
            limit = math.floor(close + offset_atr * atr)
            stop = min(math.floor(close - stop_atr * atr), limit - 1)
            target = max(math.ceil(close + target_atr * atr), limit + 1)
        else:
            limit = math.ceil(close - offset_atr * atr)
            stop = max(math.ceil(close + stop_atr * atr), limit + 1)
            target = min(math.floor(close - target_atr * atr), limit - 1)
    elif side > 0:
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
    """An entry with its attached stop and target.

    Attributes
    ----------
    side
        :data:`LONG` or :data:`SHORT`.
    limit, stop, target
        Ticks. The limit of a passive entry is post-only; that of a directional one is immediate-or-cancel.
    tif_ms
        The entry is cancelled this long after the decision.
    hold_ms
        The position is closed at market this long after its first fill.
    entry
        :data:`PASSIVE` or :data:`DIRECTIONAL`.
    target_maker
        The target is placed as a reduce-only post-only limit in the same cycle as the entry's fill; one that would take
        on arrival becomes a market exit. Otherwise the target is a market order on trigger, attached to the entry.
    """

    side: int
    limit: int
    stop: int
    target: int
    tif_ms: int
    hold_ms: int
    entry: Entry = PASSIVE
    target_maker: bool = False


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
    distances = (params.offset_atr, params.stop_atr, params.target_atr)
    limit, stop, target = plan_prices(side, close, atr, *distances, params.entry == DIRECTIONAL)
    if min(limit, stop, target) <= 0:
        return None
    return OrderPlan(
        side,
        limit,
        stop,
        target,
        params.tif_bars * timeframe_ms,
        params.hold_bars * timeframe_ms,
        params.entry,
        params.target_maker,
    )
