"""Order-book archive lines to columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market._scan import CTS, LEVELS, SEQ, SHORTEST_LEVEL, SNAPSHOT, TS, U, padded, scan_lines
from market.errors import ArchiveError, DataError, FrameError
from market.events import ASK, BID
from market.frames import BookFrame, decode
from market.instruments import Instrument
from market.units import UnitTable, scaled

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BookColumns:
    """Book messages as columns.

    Attributes
    ----------
    cts, ts, u, seq : int64[m]
        One a message.
    snapshot : bool[m]
        Whether the message replaces the book.
    levels : int64[m]
        Level changes of each message.
    price, size : int64[n]
        Ticks and steps of all level changes, one message after the other.
    side : int8[n]
        :data:`~market.events.BID` or :data:`~market.events.ASK`.
    """

    cts: Ints
    ts: Ints
    u: Ints
    seq: Ints
    snapshot: NDArray[np.bool_]
    levels: Ints
    price: Ints
    size: Ints
    side: NDArray[np.int8]


#: Of any line that is a message: its keys alone are longer.
_SHORTEST_LINE = 64


class LineDecoder:
    """Decodes the order-book lines of one symbol's archives.

    Parameters
    ----------
    instrument
        Gives symbol, tick and step.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.symbol = instrument.symbol
        self._prices = UnitTable(instrument.tick_size, f"{instrument.symbol} price", positive=True)
        self._sizes = UnitTable(instrument.qty_step, f"{instrument.symbol} size")
        self._name = np.frombuffer(self.symbol.encode(), np.uint8)
        self._units = np.array([*scaled(instrument.tick_size), *scaled(instrument.qty_step)], np.int64)

    def decode(self, data: bytes, first_line: int) -> BookColumns:
        """Decode whole lines.

        Parameters
        ----------
        data
            Lines, each with its end.
        first_line
            Number of the first one, for errors.

        Raises
        ------
        ArchiveError
            A line is not an order-book message of the symbol, or a price or size is not on the tick or step.
        """
        lines, most = len(data) // _SHORTEST_LINE + 2, len(data) // SHORTEST_LEVEL + 1
        heads = np.empty((lines, 6), np.int64)
        price, size, side = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int8)
        source = padded(data)
        position, message, row = 0, 0, 0
        while True:
            position, message, row = scan_lines(
                source, len(data), position, self._name, self._units, heads, message, row, price, size, side
            )
            if position >= len(data):
                break
            end = data.find(b"\n", position)
            end = len(data) if end < 0 else end
            try:
                row = self._slow(data[position:end], heads[message], row, price, size, side)
            except DataError as error:
                raise ArchiveError(f"line {first_line + message}: {error.message}", advice=error.advice) from error
            position, message = min(end + 1, len(data)), message + 1
        heads = heads[:message].T.copy()
        return BookColumns(
            cts=heads[CTS],
            ts=heads[TS],
            u=heads[U],
            seq=heads[SEQ],
            snapshot=heads[SNAPSHOT].astype(bool),
            levels=heads[LEVELS],
            price=price[:row],
            size=size[:row],
            side=side[:row],
        )

    def _slow(self, line: bytes, head: Ints, row: int, price: Ints, size: Ints, side: NDArray[np.int8]) -> int:
        """Decode one line of any form; the row after its last."""
        frame = self._frame(line)
        levels = frame.data.b + frame.data.a
        end = row + len(levels)
        head[[CTS, TS, U, SEQ]] = frame.cts, frame.ts, frame.data.u, frame.data.seq
        head[[SNAPSHOT, LEVELS]] = frame.is_snapshot, len(levels)
        price[row:end] = [self._prices[level[0]] for level in levels]
        size[row:end] = [self._sizes[level[1]] for level in levels]
        side[row : row + len(frame.data.b)] = BID
        side[row + len(frame.data.b) : end] = ASK
        return end

    def _frame(self, line: bytes) -> BookFrame:
        frame = decode(line)
        if not isinstance(frame, BookFrame):
            raise FrameError("not an order-book message", advice="Check that the archive is one of order-book data")
        if frame.data.s != self.symbol:
            raise FrameError(f"a message of {frame.data.s}, not of {self.symbol}", advice="Check the archive's folder")
        return frame
