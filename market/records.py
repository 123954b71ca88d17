"""What one frame comes to: the records that the lake keeps, and how they are read from a decoded frame.

Nothing here knows what came before: a record is a function of its frame alone, so a journal of raw frames gives back
the very rows that were live.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from market._scan import FrameScanner
from market.errors import FrameError
from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from market.frames import BookFrame, LiquidationFrame, TickerFrame, TradeFrame, decode
from market.instruments import Instrument
from market.units import UnitTable

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class GapMark:
    """The book of `symbol` is unknown from here; stands before all rows of its ordinal."""

    symbol: str
    ordinal: int
    time_ms: int
    recv_ns: int
    cause: str

    def events(self) -> EventBatch:
        """The one GAP row."""
        return EventBatch.from_rows([(GAP, 0, 0, self.time_ms, 0, 0, self.ordinal, self.recv_ns)])


@dataclass(frozen=True, slots=True)
class DoubtMark:
    """Something in exchange time `start_ms` to `time_ms` cannot be vouched for; the rows stay as they were live."""

    symbol: str
    ordinal: int
    start_ms: int
    time_ms: int
    recv_ns: int
    cause: str


@dataclass(frozen=True, slots=True)
class OddityMark:
    """A message was not in the documented form; see :class:`market.manifest.Oddity`. No row stands for it."""

    symbol: str
    ordinal: int
    time_ms: int
    recv_ns: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class BookRows:
    """Level changes with what only the lake keeps: ``ts`` (ms), ``u`` and ``seq``, one each or one a row."""

    symbol: str
    events: EventBatch
    ts_ms: int | NDArray[np.int64]
    u: int | NDArray[np.int64]
    seq: int | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BookRun:
    """Book messages of one symbol that follow on each other, with the frames that they came in.

    Attributes
    ----------
    symbol
        Of which.
    clock_ms
        Greatest exchange time among them.
    ordinals, recv_ns, time_ms, ts_ms, u, seq : int64[m]
        Of each message.
    messages : int64[m]
        Rows of each.
    price, size, side, flags : int64[n], int64[n], int8[n], uint8[n]
        Of each row, as in :class:`~market.events.EventBatch`.
    frames
        As received, one after the other.
    lengths : int64[m]
        Of each frame.
    level_changes
        Rows that change a level.
    """

    symbol: str
    clock_ms: int
    ordinals: NDArray[np.int64]
    recv_ns: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    u: NDArray[np.int64]
    seq: NDArray[np.int64]
    messages: NDArray[np.int64]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    side: NDArray[np.int8]
    flags: NDArray[np.uint8]
    frames: bytes | memoryview
    lengths: NDArray[np.int64]
    level_changes: int

    def rows(self) -> BookRows:
        """The rows of all of them."""
        time_ms, ordinal, recv_ns, ts_ms, u, seq = (
            np.repeat(column, self.messages)
            for column in (self.time_ms, self.ordinals, self.recv_ns, self.ts_ms, self.u, self.seq)
        )
        kind = np.full(len(self.price), BOOK, np.int8)
        events = EventBatch(kind, self.flags, self.side, time_ms, self.price, self.size, ordinal, recv_ns)
        return BookRows(self.symbol, events, ts_ms, u, seq)


@dataclass(frozen=True, slots=True)
class TradeRows:
    """Trades with what only the lake keeps: ``ts`` (ms), ``seq`` and Bybit's trade ids."""

    symbol: str
    events: EventBatch
    ts_ms: int | NDArray[np.int64]
    seq: NDArray[np.int64]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class LiquidationRows:
    """Liquidations of one message; ``side`` is that of the position: :data:`~market.events.BID` for a long one."""

    symbol: str
    ordinal: int
    recv_ns: int
    ts_ms: int
    times_ms: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.int64]
    size: NDArray[np.int64]

    @property
    def time_ms(self) -> int:
        """The latest of them."""
        return int(self.times_ms.max())


@dataclass(frozen=True, slots=True)
class TickerRow:
    """Funding, mark, index and open interest; ``None``: not in this message, so unchanged."""

    symbol: str
    ordinal: int
    recv_ns: int
    time_ms: int
    cs: int
    is_snapshot: bool
    last_price: Decimal | None
    mark_price: Decimal | None
    index_price: Decimal | None
    open_interest: Decimal | None
    funding_rate: Decimal | None
    next_funding_ms: int | None


#: What a lake part is made of; each record belongs to one frame, or to none.
Record = GapMark | DoubtMark | OddityMark | BookRows | TradeRows | LiquidationRows | TickerRow


def record_ms(record: Record) -> int:
    """The greatest exchange time of a record."""
    if isinstance(record, BookRows):
        return int(record.events.time_ms[-1])  # one time a message
    return int(record.events.time_ms.max()) if isinstance(record, TradeRows) else record.time_ms


def place_of(record: Record) -> tuple[int, int]:
    """Ordinal and receive time (ns) of a record."""
    if isinstance(record, BookRows | TradeRows):
        return int(record.events.ordinal[0]), int(record.events.recv_ns[0])
    return record.ordinal, record.recv_ns


class FrameReader:
    """Reads accepted frames of one symbol again, without any memory of what came before.

    Parameters
    ----------
    instrument
        The rules that the frames were received under.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._symbol = instrument.symbol
        self._prices = UnitTable(instrument.tick_size, f"{instrument.symbol} price", positive=True)
        self._sizes = UnitTable(instrument.qty_step, f"{instrument.symbol} size")
        self._scanner = FrameScanner(instrument)

    def read(self, data: bytes, ordinal: int, recv_ns: int) -> Record:
        """The record of a frame.

        Raises
        ------
        FrameError
            The frame has none.
        DataError
            A price or size is not a multiple of the tick or step.
        """
        scanned = self._scanner.scan(data, ordinal, recv_ns)
        if scanned is not None:
            events, (_, ts, u, seq, _, _) = scanned
            return BookRows(self._symbol, events, ts, u, seq)
        frame = decode(data)
        if isinstance(frame, BookFrame):
            rows = book_events(frame, self._prices, self._sizes, ordinal, recv_ns)
            return BookRows(self._symbol, rows, frame.ts, frame.data.u, frame.data.seq)
        if isinstance(frame, TradeFrame):
            return trade_rows(self._symbol, frame, self._prices, self._sizes, ordinal, recv_ns)
        if isinstance(frame, LiquidationFrame):
            return liquidation_rows(self._symbol, frame, self._prices, self._sizes, ordinal, recv_ns)
        if isinstance(frame, TickerFrame):
            return ticker_row(self._symbol, frame, ordinal, recv_ns)
        raise FrameError(f"a frame of {self._symbol} holds no rows", advice="Report it if it comes back")


def book_events(frame: BookFrame, prices: UnitTable, sizes: UnitTable, ordinal: int, recv_ns: int) -> EventBatch:
    """The rows of one book message: bids, then asks, as they stand in it; one EMPTY row if it has no level.

    Raises
    ------
    DataError
        A price or size is not a multiple of the tick or step.
    """
    bids, asks = frame.data.b, frame.data.a
    rows = len(bids) + len(asks)
    base = SNAPSHOT if frame.is_snapshot else 0
    if rows == 0:
        return EventBatch.from_rows([(BOOK, base | FIRST | LAST | EMPTY, 0, frame.cts, 0, 0, ordinal, recv_ns)])
    small = np.zeros((3, rows), np.int8)
    small[0] = BOOK
    small[1] = base
    small[1, 0] |= FIRST
    small[1, -1] |= LAST
    small[2, : len(bids)] = BID
    small[2, len(bids) :] = ASK
    wide = np.empty((5, rows), np.int64)
    wide[0] = frame.cts
    wide[1] = [prices[level[0]] for level in bids] + [prices[level[0]] for level in asks]
    wide[2] = [sizes[level[1]] for level in bids] + [sizes[level[1]] for level in asks]
    wide[3] = ordinal
    wide[4] = recv_ns
    return EventBatch(small[0], small[1].view(np.uint8), small[2], *wide)


def trade_rows(
    symbol: str, frame: TradeFrame, prices: UnitTable, sizes: UnitTable, ordinal: int, recv_ns: int
) -> TradeRows:
    """The rows of one trade message.

    Raises
    ------
    DataError
        A price or size is not a multiple of the tick or step.
    """
    trades = frame.data
    ticks, steps = [prices[trade.p] for trade in trades], [sizes[trade.v] for trade in trades]
    if 0 in steps:
        raise FrameError(f"{frame.topic} carries a trade of size 0", advice="Report it if it comes back")
    # Two arrays rather than one a column: most messages hold one trade, and each array costs more than a number.
    rows = len(trades)
    kind, flags, side = np.array(
        [[TRADE] * rows, [0] * rows, [BID if trade.S == "Buy" else ASK for trade in trades]], np.int8
    )
    time_ms, price, size, ordinals, received, seq = np.array(
        [
            [trade.T for trade in trades],
            ticks,
            steps,
            [ordinal] * rows,
            [recv_ns] * rows,
            [trade.seq for trade in trades],
        ],
        np.int64,
    )
    events = EventBatch(kind, flags.view(np.uint8), side, time_ms, price, size, ordinals, received)
    return TradeRows(symbol, events, frame.ts, seq, [trade.i for trade in trades])


def liquidation_rows(
    symbol: str, frame: LiquidationFrame, prices: UnitTable, sizes: UnitTable, ordinal: int, recv_ns: int
) -> LiquidationRows:
    """The rows of one liquidation message.

    Raises
    ------
    DataError
        A price or size is not a multiple of the tick or step.
    """
    return LiquidationRows(
        symbol=symbol,
        ordinal=ordinal,
        recv_ns=recv_ns,
        ts_ms=frame.ts,
        times_ms=np.array([one.T for one in frame.data], np.int64),
        side=np.array([BID if one.S == "Buy" else ASK for one in frame.data], np.int8),
        price=np.array([prices[one.p] for one in frame.data], np.int64),
        size=np.array([sizes[one.v] for one in frame.data], np.int64),
    )


def ticker_row(symbol: str, frame: TickerFrame, ordinal: int, recv_ns: int) -> TickerRow:
    """The row of one ticker message.

    Raises
    ------
    FrameError
        A field is not a number.
    """
    data = frame.data
    next_funding = _decimal(frame.topic, data.next_funding_time)
    return TickerRow(
        symbol=symbol,
        ordinal=ordinal,
        recv_ns=recv_ns,
        time_ms=frame.ts,
        cs=frame.cs,
        is_snapshot=frame.type == "snapshot",
        last_price=_decimal(frame.topic, data.last_price),
        mark_price=_decimal(frame.topic, data.mark_price),
        index_price=_decimal(frame.topic, data.index_price),
        open_interest=_decimal(frame.topic, data.open_interest),
        funding_rate=_decimal(frame.topic, data.funding_rate),
        next_funding_ms=None if next_funding is None else int(next_funding),
    )


def _decimal(topic: str, text: str | None) -> Decimal | None:
    """A decimal of a ticker; Bybit sends an empty string for what does not apply."""
    if not text:
        return None
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None:
        raise FrameError(f"{topic} carries {text!r} for a number", advice="Report it if it comes back")
    return value
