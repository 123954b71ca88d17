"""Archived days on their way into the lake, read and decoded ahead of their use."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from market._ahead import Ahead
from market._archive_files import ArchiveDay, TradeColumns, read_lines, read_trades
from market._decode import BookColumns, LineDecoder
from market.errors import ArchiveError
from market.instruments import Instrument
from market.lake import Lake

#: Decoded pieces that may wait to be taken.
_MOST_DECODED = 2
#: What a day is read as: its trades once, then pieces of its book with the share read so far.
Piece = TradeColumns | tuple[BookColumns, float]


class Shelf:
    """The days to import: the next one is begun while the one before is still being encoded.

    Parameters
    ----------
    lake
        Days that it has something of are not begun unasked.
    instrument, days
        What there is, in order.
    """

    def __init__(self, lake: Lake, instrument: Instrument, days: Sequence[ArchiveDay]) -> None:
        self._lake = lake
        self._instrument = instrument
        self._days = days
        self._open: dict[str, Ahead[Piece]] = {}

    def read(self, day: ArchiveDay) -> Ahead[Piece]:
        """The day's trades, then its order book piece by piece."""
        if day.date not in self._open:
            self._open[day.date] = Ahead(_read_day(day, self._instrument), _MOST_DECODED)
        return self._open[day.date]

    def put_back(self, day: ArchiveDay) -> None:
        """Done with `day`: begin the next one, unless the lake has something of it already."""
        self._open.pop(day.date).close()
        later = [one for one in self._days if one.date > day.date][:1]
        sealed = {manifest.date for manifest in self._lake.sealed(self._instrument.symbol)} if later else set()
        for one in later:
            if one.date not in sealed:
                self.read(one)

    def close(self) -> None:
        """Leave what has been begun."""
        for pieces in self._open.values():
            pieces.close()
        self._open.clear()


def _read_day(day: ArchiveDay, instrument: Instrument) -> Generator[Piece]:
    decoder = LineDecoder(instrument)
    with Ahead(read_lines(day.book)) as pieces:
        yield _no_trades() if day.trades is None else read_trades(day.trades, instrument)
        first = 1
        for lines, share in pieces:
            try:
                book = decoder.decode(lines, first)
            except ArchiveError as error:
                raise ArchiveError(f"{day.book}, {error.message}", advice=error.advice) from error
            first += len(book.cts)
            yield book, share


def _no_trades() -> TradeColumns:
    none = np.empty(0, np.int64)
    return TradeColumns(none, none, none, np.empty(0, np.int8), [])
