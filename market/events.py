"""Market events: the one stream that features, fill model and replay consume.

A stream is a *structure of arrays*. One row is one level change of a book message, one trade, or one gap marker; the
rows stand in capture order, which is the order that live trading saw. Everything is an integer: prices in ticks, sizes
in quantity steps, exchange time in milliseconds, receive time in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

#: ``kind``: a change of one price level of the book (size 0 deletes the level).
BOOK = 0
#: ``kind``: a trade; ``side`` is the taker's.
TRADE = 1
#: ``kind``: the book is unknown from here until the next snapshot (sequence break, reconnect, session start, crash).
GAP = 2
#: ``kind``: what a ticker says of one field: ``side`` is the field, ``price`` its value; moves no clock. Only in
#: streams that were asked for it, see market.context.
TICKER = 3
#: ``kind``: a liquidation; ``side`` is :data:`BID` for a long position; moves no clock. As tickers.
LIQUIDATION = 4

#: ``side`` of bids and of taker buys.
BID = 0
#: ``side`` of asks and of taker sells.
ASK = 1

#: ``flags``: the row belongs to a snapshot; the first row of a snapshot replaces the book.
SNAPSHOT = 1
#: ``flags``: first row of a message.
FIRST = 2
#: ``flags``: last row of a message.
LAST = 4
#: ``flags``: the message had no level change; the row carries its times and sequence only (price = size = 0).
EMPTY = 8

#: Receive time of rows whose receive time nobody knows (imported archives).
UNKNOWN_NS = -1

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "kind": np.dtype(np.int8),
    "flags": np.dtype(np.uint8),
    "side": np.dtype(np.int8),
    "time_ms": np.dtype(np.int64),
    "price": np.dtype(np.int64),
    "size": np.dtype(np.int64),
    "ordinal": np.dtype(np.int64),
    "recv_ns": np.dtype(np.int64),
}


@dataclass(frozen=True, slots=True, eq=False)
class EventBatch:
    """A run of market events of one symbol, in capture order.

    Attributes
    ----------
    kind : int8[n]
        :data:`BOOK`, :data:`TRADE` or :data:`GAP`; :data:`TICKER` and :data:`LIQUIDATION` where they were asked for.
    flags : uint8[n]
        Message boundaries of book rows: :data:`SNAPSHOT`, :data:`FIRST`, :data:`LAST`, :data:`EMPTY`; 0 otherwise.
    side : int8[n]
        :data:`BID` or :data:`ASK`; for trades the side of the taker.
    time_ms : int64[n]
        Matching-engine time (``cts`` of books, ``T`` of trades). Not monotone across streams: consumers that need a
        clock take the running maximum. A gap carries the last time that is trusted.
    price : int64[n]
        Ticks.
    size : int64[n]
        Quantity steps; 0 deletes the level.
    ordinal : int64[n]
        Number of the frame in its session; all rows of one frame share it; never decreases.
    recv_ns : int64[n]
        Local receive time, UTC; :data:`UNKNOWN_NS` where nobody knows.
    """

    kind: NDArray[np.int8]
    flags: NDArray[np.uint8]
    side: NDArray[np.int8]
    time_ms: NDArray[np.int64]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    ordinal: NDArray[np.int64]
    recv_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: slice) -> EventBatch:
        return EventBatch(**{name: getattr(self, name)[rows] for name in _DTYPES})

    @classmethod
    def empty(cls, rows: int = 0) -> EventBatch:
        """A batch of `rows` zeroed rows."""
        return cls(**{name: np.zeros(rows, dtype) for name, dtype in _DTYPES.items()})

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, int, int, int, int, int, int, int]]) -> EventBatch:
        """Build a batch from tuples in the order of the attributes."""
        columns = list(zip(*rows)) or [()] * len(_DTYPES)
        return cls(**{name: np.array(column, dtype) for (name, dtype), column in zip(_DTYPES.items(), columns)})

    @classmethod
    def concat(cls, batches: Iterable[EventBatch]) -> EventBatch:
        """Join batches end to end."""
        parts = list(batches)
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _DTYPES})

    def chunks(self, rows: int) -> Iterator[EventBatch]:
        """Cut into pieces of at most `rows` rows."""
        for start in range(0, len(self), rows):
            yield self[start : start + rows]

    def equals(self, other: EventBatch) -> bool:
        """Whether every column is equal, row for row."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _DTYPES)


assert tuple(field.name for field in fields(EventBatch)) == tuple(_DTYPES)
