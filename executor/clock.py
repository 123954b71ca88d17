"""The venue's clock, as the executor knows it."""

from __future__ import annotations


class VenueClock:
    """Running maximum of exchange time; carried on by the wall clock when the stream is silent.

    While events come, time is what they say, so that decisions depend on the market alone. After `grace_s` of silence
    the clock goes on at `speed` times wall time: an entry still expires and a position is still closed on time when the
    stream is dead.

    Parameters
    ----------
    speed
        Venue seconds a wall second; 1 but for a local exchange.
    grace_s
        Silence after which time is extrapolated, wall seconds.
    """

    def __init__(self, speed: float = 1.0, grace_s: float = 10.0) -> None:
        self._speed, self._grace_s = speed, grace_s
        self._last_ms, self._seen_s = -1, 0.0

    def saw(self, time_ms: int, monotonic_s: float) -> None:
        """An event of `time_ms` came at `monotonic_s` of the monotonic clock, which no step of the wall clock moves."""
        self._last_ms = max(self._last_ms, time_ms)
        self._seen_s = monotonic_s

    @property
    def event_ms(self) -> int:
        """Running maximum of exchange time; -1 before the first event."""
        return self._last_ms

    def now_ms(self, monotonic_s: float) -> int:
        """Venue time; -1 before the first event."""
        silence_s = monotonic_s - self._seen_s
        if self._last_ms < 0 or silence_s <= self._grace_s:
            return self._last_ms
        return self._last_ms + int((silence_s - self._grace_s) * 1000 * self._speed)
