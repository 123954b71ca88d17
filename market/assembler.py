"""Frames to market events: the one path that recorder and live trading share.

Because both take their events from a :class:`SessionAssembler`, what the lake holds is what live trading saw.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from market._scan import FrameScanner
from market.errors import FrameError
from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from market.frames import TOPIC_PREFIX, BookFrame, ControlFrame, TickerFrame, TradeFrame, decode
from market.instruments import Instrument
from market.sequence import SESSION_START, BookSequence, Trust
from market.units import UnitTable

#: A message this far ahead of its symbol's clock, with no disconnect between, is taken for damaged (ms).
MAX_JUMP_MS = 86_400_000
#: While a book is unknown, its topic is named for a new snapshot once every so many messages.
_RESYNC_EVERY = 500
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_TOPIC = re.compile(rb'"topic"\s*:\s*"([A-Za-z]+)\.[^"]*?([A-Za-z0-9-]+)"')


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
class BookRows:
    """Level changes with what only the lake keeps: ``ts`` (ms), ``u`` and ``seq``, one each or one a row."""

    symbol: str
    events: EventBatch
    ts_ms: int | NDArray[np.int64]
    u: int | NDArray[np.int64]
    seq: int | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TradeRows:
    """Trades with what only the lake keeps: ``ts`` (ms), ``seq`` and Bybit's trade ids."""

    symbol: str
    events: EventBatch
    ts_ms: int | NDArray[np.int64]
    seq: NDArray[np.int64]
    ids: list[str]


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


Record = GapMark | BookRows | TradeRows | TickerRow


@dataclass(slots=True)
class Assembled:
    """What one frame, or one loss of the connection, comes to.

    Attributes
    ----------
    batches
        ``(symbol, events)`` in order, for whoever trades or computes.
    records
        The same with all that the lake keeps, in the same order; tickers too.
    resync
        Book topics that need a fresh snapshot: hand them to :meth:`market.feed.PublicFeed.resync`.
    problem
        Why the frame was left out, or ``None``.
    """

    batches: list[tuple[str, EventBatch]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    resync: tuple[str, ...] = ()
    problem: str | None = None

    def _gap(self, mark: GapMark) -> None:
        self.batches.append((mark.symbol, mark.events()))
        self.records.append(mark)

    def _rows(self, rows: BookRows | TradeRows) -> None:
        self.batches.append((rows.symbol, rows.events))
        self.records.append(rows)


class _SymbolState:
    """Where one symbol's streams stand within the session."""

    __slots__ = (
        "book_topic",
        "clock_ms",
        "idle",
        "may_jump",
        "outlier_ms",
        "prices",
        "scanner",
        "sequence",
        "sizes",
        "symbol",
        "unknown_for",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.symbol = instrument.symbol
        self.prices = UnitTable(instrument.tick_size, f"{instrument.symbol} price", positive=True)
        self.sizes = UnitTable(instrument.qty_step, f"{instrument.symbol} size")
        self.scanner = FrameScanner(instrument)
        self.sequence = BookSequence()
        self.book_topic = ""
        self.clock_ms = 0  # running maximum of exchange time; 0 before the first event
        self.idle = True  # nothing came since the last gap: another one would say nothing new
        self.may_jump = True  # the connection was lost: time may have passed unseen
        self.outlier_ms = 0
        self.unknown_for = 0  # book messages since the book became unknown

    def accept(self, time_ms: int) -> bool:
        """Move the clock; False for a time that a running connection cannot bring, until a second message agrees."""
        if time_ms > self.clock_ms + MAX_JUMP_MS and not self.may_jump and abs(time_ms - self.outlier_ms) > MAX_JUMP_MS:
            self.outlier_ms = time_ms
            return False
        self.may_jump = self.idle = False
        self.outlier_ms = 0
        self.clock_ms = max(self.clock_ms, time_ms)
        return True


class SessionAssembler:
    """Turns the frames of one session into event batches and lake records.

    Parameters
    ----------
    instruments
        Rules of the symbols; frames of other symbols are left out and said so.
    first_ordinal
        Number of the first frame; a recorder takes the lake's next.

    Notes
    -----
    The first event of a symbol is preceded by a GAP row, as is a book message whose ``u`` does not follow on; a lost
    connection and a damaged frame of a recorded stream are gaps as well. A GAP row carries the last exchange time that
    was received of its symbol, or the message's own if there is none. Deltas of an unknown book are passed on:
    consumers ignore them until the next snapshot.
    """

    def __init__(self, instruments: Mapping[str, Instrument], first_ordinal: int = 0) -> None:
        self.next_ordinal = first_ordinal
        self._book_topics: dict[bytes, _SymbolState] = {}
        self._states = {symbol: _SymbolState(instrument) for symbol, instrument in instruments.items()}

    def on_frame(self, data: bytes, recv_ns: int) -> Assembled:
        """Take in one frame.

        Parameters
        ----------
        data
            The frame as received.
        recv_ns
            Local receive time, UTC ns.

        Raises
        ------
        DataError
            A price or size is not a multiple of the tick or step: the contract rules have changed.
        """
        try:
            return self._scan_book(data, recv_ns) or self._dispatch(data, recv_ns)
        except FrameError as error:
            return self._on_damaged(data, recv_ns, error.message)

    def _dispatch(self, data: bytes, recv_ns: int) -> Assembled:
        frame = decode(data)
        if isinstance(frame, ControlFrame):
            return Assembled()
        state = self._states.get(frame.topic.rpartition(".")[2])
        if state is None:
            return Assembled(problem=f"{frame.topic} was not asked for")
        if isinstance(frame, BookFrame):
            return self._on_book(state, frame, recv_ns)
        if isinstance(frame, TradeFrame):
            return self._on_trades(state, frame, recv_ns)
        if isinstance(frame, TickerFrame):
            return self._on_ticker(state, frame, recv_ns)
        return Assembled()

    def on_disconnect(self, recv_ns: int, cause: str) -> Assembled:
        """The connection is lost: a GAP for every symbol of which anything came since its last one."""
        for state in self._states.values():
            state.may_jump = True
        return self._lose(self._states.values(), recv_ns, cause)

    def _lose(self, states: Iterable[_SymbolState], recv_ns: int, cause: str) -> Assembled:
        out = Assembled()
        for state in states:
            if not state.idle:
                state.sequence.lose()
                state.idle = True
                state.unknown_for = 0
                out._gap(GapMark(state.symbol, self.next_ordinal, state.clock_ms, recv_ns, cause))
        self.next_ordinal += bool(out.records)
        return out

    def _on_damaged(self, data: bytes, recv_ns: int, problem: str) -> Assembled:
        """A frame is lost: whichever stream it belonged to has a hole. Streams that are not kept cannot have one."""
        states = list(self._states.values())
        if match := _TOPIC.search(data):
            kept = match[1] in (b"orderbook", b"publicTrade")
            states = [state for state in states if kept and state.symbol.encode() == match[2]]
        out = self._lose(states, recv_ns, "damaged frame")
        lost = {record.symbol for record in out.records}
        out.resync = tuple(state.book_topic for state in states if state.symbol in lost and state.book_topic)
        out.problem = problem
        return out

    def _from_future(self, topic: str, state: _SymbolState, time_ms: int, recv_ns: int) -> Assembled:
        problem = f"{topic} jumped from exchange time {state.clock_ms} to {time_ms}"
        return self._on_damaged(b'{"topic":"%s"' % topic.encode(), recv_ns, problem)

    def _on_book(self, state: _SymbolState, frame: BookFrame, recv_ns: int) -> Assembled:
        if not state.book_topic:
            state.book_topic = frame.topic
            self._book_topics[frame.topic.encode()] = state
        elif state.book_topic != frame.topic:
            return Assembled(problem=f"{frame.topic} beside {state.book_topic}: one book a symbol is kept")
        events = book_events(frame, state.prices, state.sizes, self.next_ordinal, recv_ns)
        rows = BookRows(state.symbol, events, frame.ts, frame.data.u, frame.data.seq)
        return self._on_book_rows(state, rows, frame.data.u, frame.cts, frame.is_snapshot, recv_ns)

    def _scan_book(self, data: bytes, recv_ns: int) -> Assembled | None:
        """The fast way for what is nearly every frame; None sends the frame the slow way."""
        state = self._book_topics.get(data[len(TOPIC_PREFIX) : data.find(b'"', len(TOPIC_PREFIX))])
        scanned = None if state is None else state.scanner.scan(data, self.next_ordinal, recv_ns)
        if state is None or scanned is None:
            return None
        events, (cts, ts, u, seq, is_snapshot, _) = scanned
        return self._on_book_rows(state, BookRows(state.symbol, events, ts, u, seq), u, cts, bool(is_snapshot), recv_ns)

    def _on_book_rows(
        self, state: _SymbolState, rows: BookRows, u: int, cts: int, is_snapshot: bool, recv_ns: int
    ) -> Assembled:
        trusted_ms = state.clock_ms or cts
        if not state.accept(cts):
            return self._from_future(state.book_topic, state, cts, recv_ns)
        out = Assembled()
        cause = state.sequence.check(u, is_snapshot)
        if cause is not None:
            out._gap(GapMark(state.symbol, self.next_ordinal, trusted_ms, recv_ns, cause))
            state.unknown_for = 0
        out._rows(rows)
        if state.sequence.trust is not Trust.KNOWN:
            if state.unknown_for % _RESYNC_EVERY == 0:
                out.resync = (state.book_topic,)
            state.unknown_for += 1
        self.next_ordinal += 1
        return out

    def _on_trades(self, state: _SymbolState, frame: TradeFrame, recv_ns: int) -> Assembled:
        if not frame.data:
            return Assembled()
        rows = trade_rows(state.symbol, frame, state.prices, state.sizes, self.next_ordinal, recv_ns)
        first_ms, last_ms = int(rows.events.time_ms[0]), int(rows.events.time_ms.max())
        trusted_ms = state.clock_ms or first_ms
        if not state.accept(last_ms):
            return self._from_future(frame.topic, state, last_ms, recv_ns)
        out = Assembled()
        if state.sequence.open():
            out._gap(GapMark(state.symbol, self.next_ordinal, trusted_ms, recv_ns, SESSION_START))
        out._rows(rows)
        self.next_ordinal += 1
        return out

    def _on_ticker(self, state: _SymbolState, frame: TickerFrame, recv_ns: int) -> Assembled:
        data = frame.data
        kept = (data.last_price, data.mark_price, data.index_price, data.open_interest, data.funding_rate)
        if not any(kept) and not data.next_funding_time:
            return Assembled()
        if frame.ts > state.clock_ms + MAX_JUMP_MS and not state.may_jump:
            return Assembled(problem=f"{frame.topic} jumped from exchange time {state.clock_ms} to {frame.ts}")
        next_funding = _decimal(frame.topic, data.next_funding_time)
        row = TickerRow(
            symbol=state.symbol,
            ordinal=self.next_ordinal,
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
        self.next_ordinal += 1
        return Assembled(records=[row])


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
    rows = len(frame.data)
    events = EventBatch(
        kind=np.full(rows, TRADE, np.int8),
        flags=np.zeros(rows, np.uint8),
        side=np.array([BID if trade.S == "Buy" else ASK for trade in frame.data], np.int8),
        time_ms=np.array([trade.T for trade in frame.data], np.int64),
        price=np.array([prices[trade.p] for trade in frame.data], np.int64),
        size=np.array([sizes[trade.v] for trade in frame.data], np.int64),
        ordinal=np.full(rows, ordinal, np.int64),
        recv_ns=np.full(rows, recv_ns, np.int64),
    )
    if not events.size.all():
        raise FrameError(f"{frame.topic} carries a trade of size 0", advice="Report it if it comes back")
    seq = np.array([trade.seq for trade in frame.data], np.int64)
    return TradeRows(symbol, events, frame.ts, seq, [trade.i for trade in frame.data])


def _decimal(topic: str, text: str | None) -> Decimal | None:
    """A decimal of a ticker; Bybit sends an empty string for what does not apply."""
    if not text:
        return None
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None:
        raise FrameError(f"{topic} carries {text!r} for a number", advice="Report it if it comes back")
    return value
