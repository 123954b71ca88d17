"""Order-book archive lines to columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market.errors import ArchiveError, DataError, FrameError
from market.events import ASK, BID
from market.frames import BookFrame, decode
from market.instruments import Instrument
from market.units import UnitTable

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
        heads: list[tuple[int, int, int, int, bool, int]] = []
        prices: list[int] = []
        sizes: list[int] = []
        sides: list[int] = []
        for number, line in enumerate(data.splitlines(), first_line):
            try:
                frame = self._frame(line)
                levels = frame.data.b + frame.data.a
                prices += [self._prices[level[0]] for level in levels]
                sizes += [self._sizes[level[1]] for level in levels]
            except DataError as error:
                raise ArchiveError(f"line {number}: {error.message}", advice=error.advice) from error
            sides += [BID] * len(frame.data.b) + [ASK] * len(frame.data.a)
            heads.append((frame.cts, frame.ts, frame.data.u, frame.data.seq, frame.is_snapshot, len(levels)))
        cts, ts, u, seq, snapshot, counts = np.array(heads, np.int64).reshape(-1, 6).T.copy()
        return BookColumns(
            cts=cts,
            ts=ts,
            u=u,
            seq=seq,
            snapshot=snapshot.astype(bool),
            levels=counts,
            price=np.array(prices, np.int64),
            size=np.array(sizes, np.int64),
            side=np.array(sides, np.int8),
        )

    def _frame(self, line: bytes) -> BookFrame:
        frame = decode(line)
        if not isinstance(frame, BookFrame):
            raise FrameError("not an order-book message", advice="Check that the archive is one of order-book data")
        if frame.data.s != self.symbol:
            raise FrameError(f"a message of {frame.data.s}, not of {self.symbol}", advice="Check the archive's folder")
        return frame
