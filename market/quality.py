"""How good is what we recorded: a per-minute quality table of a stream of market events.

The table is what data validation judges. It is computed in one compiled pass with the same rules for "the book is
unknown" that features use: from a gap row to the next snapshot, and over every silence of the book longer than the
stall limit. What was not observed is NaN or -1 in the table, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from market import _quality_kernel as kernel
from market._quality_table import QualityTable, Window
from market.errors import DataError
from market.events import EventBatch
from market.instruments import Instrument

__all__ = ["MAX_MINUTES", "MINUTE_MS", "QualityBuilder", "QualityTable", "Window", "counted", "quality_table"]

MINUTE_MS = kernel.MINUTE_MS
#: A table longer than this is refused: such a jump of exchange time is a defect, not a recording.
MAX_MINUTES = 400 * 1440

_CAUSES = {
    kernel.CAUSE_GAP: "gap",
    kernel.CAUSE_STALL: "stall",
    kernel.CAUSE_START: "no snapshot yet",
}


class QualityBuilder:
    """Builds a :class:`QualityTable` from batches; however the stream is cut, the table is the same.

    Parameters
    ----------
    instrument
        Contract rules, to express depth in USDT.
    stall_ms
        A silence of the book longer than this is a suspect window.
    notice_ms
        Silences at least this long are listed.
    """

    def __init__(self, instrument: Instrument, *, stall_ms: int = 60_000, notice_ms: int = 5_000) -> None:
        self._unit = float(instrument.tick_size * instrument.qty_step)
        self._limits = (stall_ms, notice_ms)
        self._state = np.full(kernel.STATES, -1, np.int64)
        self._state[[kernel.WINDOWS, kernel.SILENCES, kernel.BIDS, kernel.ASKS]] = 0
        self._prices = np.full((2, kernel.LADDER), -1, np.int64)
        self._sizes = np.zeros((2, kernel.LADDER), np.int64)
        self._ints, self._reals = kernel.new_rows(0)
        self._windows = np.zeros((64, 3), np.int64)
        self._silences = np.zeros((1024, 2), np.int64)

    def push(self, batch: EventBatch) -> None:
        """Take in a batch.

        Raises
        ------
        DataError
            Exchange time is not positive, or jumps by more than a recording can be long.
        """
        if not len(batch):
            return
        self._make_room(batch)
        at = 0
        while at < len(batch):
            at = kernel.scan(
                batch.kind,
                batch.flags,
                batch.side,
                batch.time_ms,
                batch.price,
                batch.size,
                batch.recv_ns,
                at,
                self._state,
                self._prices,
                self._sizes,
                self._ints,
                self._reals,
                self._windows,
                self._silences,
                *self._limits,
            )
            if self._state[kernel.WINDOWS] >= len(self._windows):
                self._windows = np.concatenate([self._windows, np.zeros_like(self._windows)])
            if self._state[kernel.SILENCES] >= len(self._silences):
                self._silences = np.concatenate([self._silences, np.zeros_like(self._silences)])

    def _make_room(self, batch: EventBatch) -> None:
        state = self._state
        if int(batch.time_ms.min()) <= 0:
            raise DataError("an event has no exchange time", advice="Quarantine the lake part that it comes from")
        if state[kernel.CLOCK] < 0:
            state[kernel.FIRST_MS] = batch.time_ms[0]
            state[kernel.FIRST_MINUTE] = batch.time_ms[0] // MINUTE_MS
            state[kernel.UNKNOWN_SINCE] = batch.time_ms[0]
            state[kernel.UNKNOWN_CAUSE] = kernel.CAUSE_START
        latest = max(int(batch.time_ms.max()), int(state[kernel.CLOCK]))
        needed = latest // MINUTE_MS - int(state[kernel.FIRST_MINUTE]) + 1
        if needed > MAX_MINUTES:
            raise DataError(
                f"exchange time runs over {needed // 1440} days in one table",
                advice="Judge shorter spans, or quarantine the lake part with the impossible time",
            )
        if needed > len(self._ints):
            grown = max(needed, min(2 * len(self._ints), MAX_MINUTES)) - len(self._ints)
            ints, reals = kernel.new_rows(grown)
            self._ints = np.concatenate([self._ints, ints])
            self._reals = np.concatenate([self._reals, reals])

    def table(self, duplicate_ms: NDArray[np.int64] | None = None) -> QualityTable:
        """The table of what was taken in so far; more may be pushed afterwards.

        Parameters
        ----------
        duplicate_ms
            Exchange times of trades whose id had been seen before; ``None`` where nobody looked.
        """
        state = self._state
        if state[kernel.CLOCK] < 0:
            count, first_ms, end_ms = 0, 0, 0
        else:
            first_ms, end_ms = int(state[kernel.FIRST_MS]), int(state[kernel.CLOCK])
            count = end_ms // MINUTE_MS - int(state[kernel.FIRST_MINUTE]) + 1
        ints, reals = self._ints[:count].copy(), self._reals[:count]
        minute_ms = (np.arange(count, dtype=np.int64) + state[kernel.FIRST_MINUTE]) * MINUTE_MS
        windows, silences = self._windows_until(end_ms)
        if silences and silences[-1].end_ms == end_ms:
            touched = minute_ms + MINUTE_MS > silences[-1].start_ms
            longest = ints[touched, kernel.SILENCE]
            ints[touched, kernel.SILENCE] = np.maximum(longest, end_ms - silences[-1].start_ms)
        books = ints[:, kernel.BOOKS]
        return QualityTable(
            minute_ms=minute_ms,
            covered_ms=np.minimum(minute_ms + MINUTE_MS, end_ms) - np.maximum(minute_ms, first_ms),
            **{name: ints[:, at].copy() for name, at in _INT_COLUMNS.items()},
            suspect_ms=_overlap(minute_ms, windows),
            spread_min_bps=np.where(books > 0, reals[:, kernel.SPREAD_MIN], np.nan),
            spread_mean_bps=_ratio(reals[:, kernel.SPREAD_AREA], ints[:, kernel.KNOWN_MS]),
            spread_max_bps=np.where(books > 0, reals[:, kernel.SPREAD_MAX], np.nan),
            bid_depth=_ratio(reals[:, kernel.BID_DEPTH] * self._unit, ints[:, kernel.SAMPLES]),
            ask_depth=_ratio(reals[:, kernel.ASK_DEPTH] * self._unit, ints[:, kernel.SAMPLES]),
            trade_distance_bps=np.where(ints[:, kernel.MEASURED] > 0, reals[:, kernel.TRADE_DISTANCE], np.nan),
            delay_mean_ms=_ratio(reals[:, kernel.DELAY_SUM], ints[:, kernel.DELAYS]),
            delay_max_ms=np.where(ints[:, kernel.DELAYS] > 0, reals[:, kernel.DELAY_MAX], np.nan),
            bid_levels=_ratio(ints[:, kernel.BID_LEVELS].astype(float), ints[:, kernel.SAMPLES]),
            ask_levels=_ratio(ints[:, kernel.ASK_LEVELS].astype(float), ints[:, kernel.SAMPLES]),
            duplicates=counted(minute_ms, duplicate_ms),
            mark_distance_bps=np.full(count, np.nan),
            **{name: np.full(count, -1, np.int64) for name in _UNCOUNTED},
            windows=tuple(windows),
            silences=tuple(silences),
        )

    def _windows_until(self, end_ms: int) -> tuple[list[Window], list[Window]]:
        """Suspect windows and silences; those that were still open at the end are closed there."""
        state = self._state
        windows = [Window(int(a), int(b), _CAUSES[int(c)]) for a, b, c in self._windows[: state[kernel.WINDOWS]]]
        silences = [Window(int(a), int(b), "silence") for a, b in self._silences[: state[kernel.SILENCES]]]
        unknown, last = int(state[kernel.UNKNOWN_SINCE]), int(state[kernel.LAST_BOOK])
        stall_ms, notice_ms = self._limits
        if 0 <= unknown < end_ms:
            windows.append(Window(unknown, end_ms, _CAUSES[int(state[kernel.UNKNOWN_CAUSE])]))
        elif unknown < 0 <= last and end_ms - last > stall_ms:
            windows.append(Window(last, end_ms, "stall"))
        if last >= 0 and end_ms - last >= notice_ms:
            silences.append(Window(last, end_ms, "silence"))
        return windows, silences


_INT_COLUMNS = {
    "messages": kernel.MESSAGES,
    "level_changes": kernel.LEVEL_CHANGES,
    "snapshots": kernel.SNAPSHOTS,
    "empties": kernel.EMPTIES,
    "trades": kernel.TRADES,
    "volume": kernel.VOLUME,
    "last_price": kernel.LAST_PRICE,
    "gaps": kernel.GAPS,
    "max_silence_ms": kernel.SILENCE,
    "books": kernel.BOOKS,
    "locked": kernel.LOCKED,
    "crossed": kernel.CROSSED,
    "one_sided": kernel.ONE_SIDED,
    "bad_rows": kernel.BAD_ROWS,
    "regress_ms": kernel.REGRESS,
    "known_ms": kernel.KNOWN_MS,
    "touches": kernel.TOUCHES,
    "mid": kernel.MID,
    "book_grid": kernel.BOOK_GRID,
    "trade_grid": kernel.TRADE_GRID,
    "buys": kernel.BUYS,
    "sided": kernel.SIDED,
    "agreed": kernel.AGREED,
    "largest": kernel.LARGEST,
}
#: What events do not tell: see :func:`market.quality_day.lake_quality`.
_UNCOUNTED = ("breaks", "repeats", "backward", "quotes", "untraded", "oddities")


def _ratio(total: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.full(len(total), np.nan)
    np.divide(total, count, out=ratio, where=count > 0)
    return ratio


def _overlap(minute_ms: NDArray[np.int64], windows: list[Window]) -> NDArray[np.int64]:
    """How much of each minute lies within `windows`, which do not overlap."""
    total = np.zeros(len(minute_ms), np.int64)
    for start, end, _ in windows:
        first, last = np.searchsorted(minute_ms, (start - MINUTE_MS, end), side="right")
        part = minute_ms[first:last]
        total[first:last] += np.minimum(part + MINUTE_MS, end) - np.maximum(part, start)
    return total


def counted(minute_ms: NDArray[np.int64], times_ms: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """How many of `times_ms` fall into each minute, -1 for ``None``; those before or after count at the ends."""
    if times_ms is None:
        return np.full(len(minute_ms), -1, np.int64)
    if not len(minute_ms):
        return np.zeros(0, np.int64)
    rows = np.clip((np.asarray(times_ms, np.int64) - minute_ms[0]) // MINUTE_MS, 0, len(minute_ms) - 1)
    return np.bincount(rows, minlength=len(minute_ms)).astype(np.int64)


def quality_table(
    events: Iterable[EventBatch],
    instrument: Instrument,
    *,
    stall_ms: int = 60_000,
    notice_ms: int = 5_000,
    duplicate_ms: NDArray[np.int64] | None = None,
) -> QualityTable:
    """The quality table of a stream; see :class:`QualityBuilder` for the parameters."""
    builder = QualityBuilder(instrument, stall_ms=stall_ms, notice_ms=notice_ms)
    for batch in events:
        builder.push(batch)
    return builder.table(duplicate_ms)
