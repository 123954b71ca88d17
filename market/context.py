"""What stands beside the order book: tickers and liquidations as rows of the one event stream.

The session's batches and :meth:`market.lake.Lake.events` carry book, trades and gaps only, which is what fills, quality
and replay consume. Whoever computes features asks for these rows too, and :func:`merged` puts them where they were
received: live (:func:`context_events`) and from the lake (:mod:`market.days`) alike, because frames are numbered across
all streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

import numpy as np

from market.errors import DataError
from market.events import LIQUIDATION, TICKER, EventBatch
from market.records import LiquidationRows, TickerRow

#: Fields of a :data:`market.events.TICKER` row, which stand in its ``side``.
MARK, INDEX, OPEN_INTEREST, FUNDING_RATE, NEXT_FUNDING = 0, 1, 2, 3, 4

#: What the ``price`` of a row is counted in: 1e-8 for prices, 1e-4 for open interest (in contracts' coins), 1e-10 for
#: rates, and milliseconds.
_UNITS = (Decimal("1e-8"), Decimal("1e-8"), Decimal("1e-4"), Decimal("1e-10"), Decimal(1))
_MOST = 1 << 62


class TickerLike(Protocol):
    """A ticker: as the assembler gives it, or as a row of the lake."""

    @property
    def ordinal(self) -> int: ...
    @property
    def recv_ns(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def mark_price(self) -> Decimal | None: ...
    @property
    def index_price(self) -> Decimal | None: ...
    @property
    def open_interest(self) -> Decimal | None: ...
    @property
    def funding_rate(self) -> Decimal | None: ...
    @property
    def next_funding_ms(self) -> int | None: ...


def ticker_events(tickers: Iterable[TickerLike]) -> EventBatch:
    """Tickers as rows, one for each field that a ticker carries.

    Raises
    ------
    DataError
        A value does not fit.
    """
    rows = []
    for ticker in tickers:
        values = (ticker.mark_price, ticker.index_price, ticker.open_interest, ticker.funding_rate)
        for field, (value, unit) in enumerate(zip((*values, ticker.next_funding_ms), _UNITS)):
            if value is not None:
                count = int(value / unit)
                if abs(count) >= _MOST:
                    raise DataError(f"a ticker carries {value}", advice="Report it if it comes back")
                rows.append((TICKER, 0, field, ticker.time_ms, count, 0, ticker.ordinal, ticker.recv_ns))
    return EventBatch.from_rows(rows)


def liquidation_events(rows: LiquidationRows) -> EventBatch:
    """The liquidations of one message."""
    count = len(rows.times_ms)
    return EventBatch(
        kind=np.full(count, LIQUIDATION, np.int8),
        flags=np.zeros(count, np.uint8),
        side=rows.side,
        time_ms=rows.times_ms,
        price=rows.price,
        size=rows.size,
        ordinal=np.full(count, rows.ordinal, np.int64),
        recv_ns=np.full(count, rows.recv_ns, np.int64),
    )


def context_events(records: Iterable[object]) -> EventBatch:
    """The tickers and liquidations among a session's records, in their order."""
    return EventBatch.concat(
        liquidation_events(record) if isinstance(record, LiquidationRows) else ticker_events([record])
        for record in records
        if isinstance(record, LiquidationRows | TickerRow)
    )


def merged(events: EventBatch, context: EventBatch) -> EventBatch:
    """One stream of two, in the order in which frames were received.

    Parameters
    ----------
    events, context
        Each in capture order.
    """
    if not len(context):
        return events
    if not len(events):
        return context
    both = EventBatch.concat([events, context])
    order = np.argsort(both.ordinal, kind="stable")
    return EventBatch(**{name: getattr(both, name)[order] for name in EventBatch.__slots__})
