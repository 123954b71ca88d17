"""The table of :mod:`market.quality`: one row a minute, with the windows that were not observed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """A stretch of exchange time, UTC ms.

    Attributes
    ----------
    start_ms, end_ms
        First and last moment.
    cause
        ``gap`` (sequence break, reconnect, session start), ``stall`` (the book was silent for longer than the stall
        limit), ``no snapshot yet`` (the stream starts with deltas), or ``silence`` for the shorter ones.
    """

    start_ms: int
    end_ms: int
    cause: str

    @property
    def seconds(self) -> float:
        """Length."""
        return (self.end_ms - self.start_ms) / 1e3


@dataclass(frozen=True, slots=True, eq=False)
class QualityTable:
    """One row a UTC minute, without holes, from the first event's minute to the last one's.

    Attributes
    ----------
    minute_ms : int64[n]
        Start of the minute, exchange time.
    covered_ms : int64[n]
        How much of the minute lies between the first and the last event.
    messages, level_changes, snapshots, empties : int64[n]
        Book messages, their level changes, how many were snapshots, how many changed nothing.
    trades, volume, last_price : int64[n]
        Trades, their size in steps, the last one's price in ticks (-1: none).
    gaps : int64[n]
        Gap rows.
    suspect_ms : int64[n]
        Time within suspect windows.
    max_silence_ms : int64[n]
        Longest silence of the book that touches the minute.
    books, locked, crossed, one_sided : int64[n]
        Messages that left a two-sided book; of these, locked (bid = ask) and crossed (bid > ask) ones; messages that
        left an empty side.
    bad_rows : int64[n]
        Rows with impossible values: a price at or below 0, a negative size, a trade without size, an unknown side.
    regress_ms : int64[n]
        Largest step back of exchange time behind the running maximum.
    known_ms : int64[n]
        Time with a two-sided book that is neither unknown nor stalled.
    spread_min_bps, spread_mean_bps, spread_max_bps : float64[n]
        Of the spread over the mid price; the mean by time. NaN where no book was seen.
    bid_depth, ask_depth : float64[n]
        Mean value of the five best levels of a side, USDT, sampled once a second; NaN where no book was seen.
    trade_distance_bps : float64[n]
        Largest distance of a trade from the nearer touch, outside the book as known at that moment; NaN without trades.
    delay_mean_ms, delay_max_ms : float64[n]
        Receive time minus exchange time; NaN where no receive time is known.
    touches : int64[n]
        Messages that changed a best price or the size there.
    mid : int64[n]
        Best bid plus best ask at the minute's last look, ticks (twice the mid); -1 without a two-sided book.
    book_grid, trade_grid : int64[n]
        Greatest common divisor of the minute's book and trade prices, ticks; 0 without prices.
    buys, sided, agreed : int64[n]
        Trades whose taker bought; trades at or beyond a touch of an uncrossed book; of these, those whose taker side
        is that touch's.
    largest : int64[n]
        Largest trade, steps.
    bid_levels, ask_levels : float64[n]
        Mean number of levels of a side, sampled once a second; NaN where no book was seen.
    duplicates : int64[n]
        Trades whose id had been seen before; -1 where nobody counted.
    breaks, repeats, backward : int64[n]
        Book messages whose ``u`` does not follow on though no gap row says so, that repeat the one before, or whose
        ``seq`` is less than the one before; -1 where nobody counted.
    quotes, untraded : int64[n]
        New last prices that tickers told, and those of them at which no trade was recorded since the one before; -1
        without tickers.
    mark_distance_bps : float64[n]
        Largest distance of the mid from the mark price that tickers told; NaN without.
    oddities : int64[n]
        Messages that were not in the documented form; -1 where nobody counted.
    windows : tuple of Window
        Suspect windows, by time.
    silences : tuple of Window
        Silences of the book of at least the notice limit, by time.
    """

    minute_ms: NDArray[np.int64]
    covered_ms: NDArray[np.int64]
    messages: NDArray[np.int64]
    level_changes: NDArray[np.int64]
    snapshots: NDArray[np.int64]
    empties: NDArray[np.int64]
    trades: NDArray[np.int64]
    volume: NDArray[np.int64]
    last_price: NDArray[np.int64]
    gaps: NDArray[np.int64]
    suspect_ms: NDArray[np.int64]
    max_silence_ms: NDArray[np.int64]
    books: NDArray[np.int64]
    locked: NDArray[np.int64]
    crossed: NDArray[np.int64]
    one_sided: NDArray[np.int64]
    bad_rows: NDArray[np.int64]
    regress_ms: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    spread_min_bps: NDArray[np.float64]
    spread_mean_bps: NDArray[np.float64]
    spread_max_bps: NDArray[np.float64]
    bid_depth: NDArray[np.float64]
    ask_depth: NDArray[np.float64]
    trade_distance_bps: NDArray[np.float64]
    delay_mean_ms: NDArray[np.float64]
    delay_max_ms: NDArray[np.float64]
    touches: NDArray[np.int64]
    mid: NDArray[np.int64]
    book_grid: NDArray[np.int64]
    trade_grid: NDArray[np.int64]
    buys: NDArray[np.int64]
    sided: NDArray[np.int64]
    agreed: NDArray[np.int64]
    largest: NDArray[np.int64]
    bid_levels: NDArray[np.float64]
    ask_levels: NDArray[np.float64]
    duplicates: NDArray[np.int64]
    breaks: NDArray[np.int64]
    repeats: NDArray[np.int64]
    backward: NDArray[np.int64]
    quotes: NDArray[np.int64]
    untraded: NDArray[np.int64]
    mark_distance_bps: NDArray[np.float64]
    oddities: NDArray[np.int64]
    windows: tuple[Window, ...]
    silences: tuple[Window, ...]

    def __len__(self) -> int:
        return len(self.minute_ms)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)[:-2]}

    def between(self, start_ms: int, end_ms: int) -> QualityTable:
        """The minutes that start in ``[start_ms, end_ms)``, and the windows that touch them, cut to size."""
        rows = slice(*np.searchsorted(self.minute_ms, (start_ms, end_ms)))
        return QualityTable(
            **{name: column[rows] for name, column in self.columns().items()},
            windows=_cut(self.windows, start_ms, end_ms),
            silences=_cut(self.silences, start_ms, end_ms),
        )


def _cut(windows: tuple[Window, ...], start_ms: int, end_ms: int) -> tuple[Window, ...]:
    return tuple(
        Window(max(window.start_ms, start_ms), min(window.end_ms, end_ms), window.cause)
        for window in windows
        if window.start_ms < end_ms and window.end_ms > start_ms
    )
