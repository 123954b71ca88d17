"""What the control endpoint takes beside faults: another time of a replay, another regime of a synthetic market."""

from __future__ import annotations

from typing import Any

import msgspec

from simulation.exchange.clock import Clock
from simulation.exchange.misbehaviour import Control, schema
from simulation.exchange.venue import Venue
from simulation.flow_params import Break


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of regime, see :class:`simulation.flow_params.Break`.

    Attributes
    ----------
    at_ms
        Market time; at once unless given.
    symbol
        Contract; all unless given.
    signal, volatility, activity
        Factors of the market's own parameters.
    """

    at_ms: int | None = None
    symbol: str | None = None
    signal: float = -1.0
    volatility: float = 1.0
    activity: float = 1.0


class Steering(Control, frozen=True, forbid_unknown_fields=True):
    """All that ``POST /control`` takes.

    Attributes
    ----------
    seek
        Market time, UTC ms, at which a replay goes on.
    regime
        Change of a synthetic market.
    """

    seek: int | None = None
    regime: Regime | None = None


def steer(steering: Steering, venue: Venue, clock: Clock) -> None:
    """Do what a request asks of the markets and their clock.

    Raises
    ------
    ConfigError
        The markets cannot do it; nothing has changed.
    """
    if steering.regime is not None:
        wanted = steering.regime
        at_ms = venue.now_ms if wanted.at_ms is None else wanted.at_ms
        venue.break_regime(Break(at_ms, wanted.signal, wanted.volatility, wanted.activity), wanted.symbol)
    if steering.seek is not None:
        venue.seek(steering.seek)
        clock.set_speed(clock.speed, venue.now_ms)


def control_schema() -> dict[str, Any]:
    """What ``GET /control/schema`` tells."""
    return schema() | {"schema": msgspec.json.schema(Steering)}
