"""Parameters of the synthetic markets: flow, intraday pattern, liquidations, regime breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from market.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Break:
    """A change of regime: from a time on, parameters are the market's own times these factors.

    Factors do not add up over breaks: a break of ones goes back to the market's own parameters.

    Attributes
    ----------
    at_ms
        Market time.
    signal
        Factor of the planted drift; -1 turns it round.
    volatility
        Factor of the efficient price's volatility.
    activity
        Factor of all arrivals: limit orders, market orders, cancellations.

    Raises
    ------
    ConfigError
        A factor is impossible.
    """

    at_ms: int
    signal: float = -1.0
    volatility: float = 1.0
    activity: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.signal, self.volatility, self.activity)
        if not all(map(math.isfinite, numbers)) or self.volatility <= 0 or self.activity <= 0 or self.at_ms < 0:
            raise ConfigError(
                f"a regime of signal x {self.signal}, volatility x {self.volatility}, activity x {self.activity} at "
                f"{self.at_ms} is impossible",
                advice="Use finite factors, those of volatility and activity above 0",
            )


@dataclass(frozen=True, slots=True)
class MarketParams:
    """Parameters of the flow. Rates are a second, sizes quantity steps, distances ticks.

    Attributes
    ----------
    start_ticks
        Efficient price at the opening of the burn-in.
    signal
        How much of the planted drift is there: 0 none, 1 all.
    edge
        Drift a minute of one standard deviation of pressure, in units of the one-minute volatility.
    volatility
        Standard deviation of the efficient price's one-minute return.
    vol_sd, vol_minutes
        Log volatility: standard deviation and correlation time.
    signal_minutes
        Correlation time of the pressure.
    limit_rate, market_rate
        Arrivals of limit and of noise market orders.
    cancel_rate
        Cancellations of each resting order.
    side_tilt, size_tilt, taker_tilt
        Tilt a standard deviation of pressure: logit of limit orders' side, log of their size, logit of takers' side.
    limit_size, market_size, size_sd
        Mean sizes, and the standard deviation of their log.
    distance, tail, far
        Limit prices lie at ``distance * (u ** (-1 / tail) - 1)`` behind the efficient price, at most `far`.
    stale
        A quote is stale when the efficient price is this far beyond it.
    snipe
        Probability, each :data:`simulation._lob_flow.LATENT_MS`, that stale quotes are taken instead of cancelled.
    flee
        Probability that the owner of a stale quote cancels it in time.
    refill
        Probability that a market maker closes a gap behind the efficient price.
    season
        Strength of the intraday pattern of volatility and arrivals; 0 for a flat day.
    liquidation_share, liquidation_distance, entry_minutes
        Liquidations of other traders: greatest share of takers, mean distance from the average entry, and how far back
        that average looks. They only say which takers were forced.
    cascade
        Market orders a second that liquidations add at full hazard.
    breaks
        Changes of regime, by time.

    Notes
    -----
    The defaults are the market that the demo learns in: a flat day, so that any hour of it is like any other, and no
    cascades. :meth:`realistic` is the market with all stylised facts.
    """

    start_ticks: int = 60_000
    signal: float = 1.0
    edge: float = 0.35
    volatility: float = 0.0009
    vol_sd: float = 0.35
    vol_minutes: float = 45.0
    signal_minutes: float = 10.0
    limit_rate: float = 4.5
    market_rate: float = 0.5
    cancel_rate: float = 0.004
    side_tilt: float = 0.15
    size_tilt: float = 0.6
    taker_tilt: float = 0.2
    limit_size: float = 600.0
    market_size: float = 250.0
    size_sd: float = 0.7
    distance: float = 30.0
    tail: float = 1.0
    far: float = 1_500.0
    stale: float = 1.0
    snipe: float = 0.25
    flee: float = 0.8
    refill: float = 1.0
    season: float = 0.0
    liquidation_share: float = 0.3
    liquidation_distance: float = 0.01
    entry_minutes: float = 60.0
    cascade: float = 0.0
    breaks: tuple[Break, ...] = ()

    def __post_init__(self) -> None:
        values = {field.name: float(getattr(self, field.name)) for field in fields(self) if field.name != "breaks"}
        positive = {"start_ticks", "volatility", "vol_minutes", "signal_minutes", "limit_rate", "limit_size", "tail"}
        positive |= {"liquidation_distance", "entry_minutes"}
        for name, value in values.items():
            if not np.isfinite(value) or value < 0 or (name in positive and value == 0):
                raise ConfigError(
                    f"{name} = {value} of a synthetic market is impossible", advice="Use a positive number"
                )
        if list(self.breaks) != sorted(self.breaks, key=lambda one: one.at_ms):
            raise ConfigError("the breaks of a synthetic market are not in order", advice="Sort them by time")

    @classmethod
    def realistic(cls, **changes: Any) -> Self:
        """The preset with an intraday pattern, strongly clustered volatility, heavier sizes and liquidation cascades.

        Parameters
        ----------
        changes
            Attributes that differ from the preset.
        """
        preset: dict[str, Any] = {
            "season": 0.35, "vol_sd": 0.6, "vol_minutes": 90.0, "size_sd": 1.1, "market_rate": 0.8, "cascade": 0.2,
        }  # fmt: skip
        return cls(**preset | changes)
