"""Candles: minutes of trades and of price samples, joined into Bybit's intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
#: Bybit's names of intervals with a fixed length, in minutes; weeks and months follow the calendar.
MINUTES = {"1": 1, "3": 3, "5": 5, "15": 15, "30": 30, "60": 60, "120": 120, "240": 240, "360": 360, "720": 720}
MINUTES["D"] = 1_440
INTERVALS = (*MINUTES, "W", "M")
# Columns of a candle; volume and turnover only of trades.
START, OPEN, HIGH, LOW, CLOSE, VOLUME, TURNOVER = range(7)


def start_of(interval: str, time_ms: int) -> int:
    """When the candle begins that a time lies in; weeks begin on Monday, months on the first, UTC."""
    if interval in MINUTES:
        length = MINUTES[interval] * _MINUTE_MS
        return time_ms // length * length
    day = datetime.fromtimestamp(time_ms // _DAY_MS * 86_400, UTC)
    first = day - timedelta(days=day.weekday()) if interval == "W" else day.replace(day=1)
    return int(first.timestamp()) * 1000


def end_of(interval: str, start_ms: int) -> int:
    """When the next candle begins."""
    if interval in MINUTES:
        return start_ms + MINUTES[interval] * _MINUTE_MS
    if interval == "W":
        return start_ms + 7 * _DAY_MS
    return start_of("M", start_ms + 32 * _DAY_MS)


def filled(minutes: NDArray[np.int64], now_ms: int) -> NDArray[np.int64]:
    """Minutes of trades up to now, in order, quiet ones included: they stand at the last price without volume.

    Parameters
    ----------
    minutes : int64[n, 7]
        In order of time: minute number, open, high, low, close, volume, turnover.
    """
    if len(minutes) == 0:
        return minutes
    numbers = np.arange(minutes[0, START], max(now_ms // _MINUTE_MS, minutes[-1, START]) + 1)
    at = np.searchsorted(minutes[:, START], numbers, side="right") - 1
    out = minutes[at].copy()
    quiet = out[:, START] != numbers
    out[quiet, OPEN : CLOSE + 1] = out[quiet, CLOSE : CLOSE + 1]
    out[quiet, VOLUME:] = 0
    out[:, START] = numbers
    return out


def joined(minutes: NDArray[np.int64], interval: str) -> NDArray[np.int64]:
    """Candles of an interval from minutes in order; their first column is the start in ms."""
    if len(minutes) == 0:
        return minutes
    if interval in MINUTES:
        starts = minutes[:, START] // MINUTES[interval] * MINUTES[interval] * _MINUTE_MS
    else:
        days, inverse = np.unique(minutes[:, START] // 1_440, return_inverse=True)
        starts = np.array([start_of(interval, day * _DAY_MS) for day in days.tolist()])[inverse]
    first = np.flatnonzero(np.diff(starts, prepend=-1))
    out = np.empty((len(first), minutes.shape[1]), np.int64)
    out[:, START] = starts[first]
    out[:, OPEN] = minutes[first, OPEN]
    out[:, HIGH] = np.maximum.reduceat(minutes[:, HIGH], first)
    out[:, LOW] = np.minimum.reduceat(minutes[:, LOW], first)
    out[:, CLOSE] = minutes[np.append(first[1:], len(minutes)) - 1, CLOSE]
    for column in range(VOLUME, minutes.shape[1]):
        out[:, column] = np.add.reduceat(minutes[:, column], first)
    return out


class Samples:
    """Minutes of a price that is sampled: mark, index, premium.

    Parameters
    ----------
    keep
        Minutes that are kept.
    """

    def __init__(self, keep: int = 4_096) -> None:
        self._rows: NDArray[np.int64] = np.zeros((keep, 5), np.int64)

    def add(self, time_ms: int, value: int) -> None:
        """Take a sample."""
        minute = time_ms // _MINUTE_MS
        row = self._rows[minute % len(self._rows)]
        if row[START] != minute:
            row[:] = minute, value, value, value, value
        else:
            row[HIGH], row[LOW], row[CLOSE] = max(row[HIGH], value), min(row[LOW], value), value

    def forget(self, from_ms: int) -> None:
        """Drop what lies at or after a time, before going back there."""
        self._rows[self._rows[:, START] >= from_ms // _MINUTE_MS] = 0

    def minutes(self) -> NDArray[np.int64]:
        """int64[n, 5] in order of time: minute number, open, high, low, close."""
        kept = self._rows[self._rows[:, START] > 0]
        ordered: NDArray[np.int64] = kept[np.argsort(kept[:, START])]
        return ordered
