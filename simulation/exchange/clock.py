"""Market time: so many times as fast as the wall clock, from a given start."""

from __future__ import annotations

import math
import time

from market.errors import ConfigError

#: Fastest clock that can be asked for.
MAX_SPEED = 100_000.0


class Clock:
    """Where market time should be by now.

    Parameters
    ----------
    start_ms
        Market time at the start.
    speed
        Market seconds a second.
    """

    def __init__(self, start_ms: int, speed: float) -> None:
        self._market_ms = float(start_ms)
        self._wall = time.monotonic()
        self.speed = _checked(speed)
        #: Market time, ms, by which the market has fallen behind because the machine could not keep up.
        self.slipped_ms = 0.0

    def target_ms(self) -> int:
        """Market time that should have been reached."""
        return int(self._market_ms + (time.monotonic() - self._wall) * 1000.0 * self.speed)

    def set_speed(self, speed: float, now_ms: int) -> None:
        """Run at another speed from `now_ms`, the market's present time, on.

        Raises
        ------
        ConfigError
            The speed is not a number between 0 (standing still) and :data:`MAX_SPEED`.
        """
        self.speed = _checked(speed)
        self._anchor(now_ms)

    def slip(self, now_ms: int) -> None:
        """Accept that the market has only reached `now_ms`."""
        self.slipped_ms += self.target_ms() - now_ms
        self._anchor(now_ms)

    def _anchor(self, now_ms: int) -> None:
        self._market_ms, self._wall = float(now_ms), time.monotonic()


def _checked(speed: float) -> float:
    if not math.isfinite(speed) or not 0 <= speed <= MAX_SPEED:
        raise ConfigError(f"a speed of {speed} is impossible", advice=f"Use a number from 0 to {MAX_SPEED:.0f}")
    return float(speed)
