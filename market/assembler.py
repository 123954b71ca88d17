"""Frames to market events: the one path that recorder and live trading share.

Because both take their events from a :class:`SessionAssembler`, what the lake holds is what live trading saw.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from market._session import MAX_JUMP_MS, Assembled, SymbolState
from market.errors import FrameError, RulesChanged
from market.frames import (
    TOPIC_PREFIX,
    BookFrame,
    ControlFrame,
    LiquidationFrame,
    OtherFrame,
    TickerFrame,
    TradeFrame,
    decode,
    new_fields,
)
from market.instruments import Instrument
from market.records import (
    BookRows,
    DoubtMark,
    GapMark,
    LiquidationRows,
    OddityMark,
    Record,
    TickerRow,
    TradeRows,
    book_events,
    liquidation_rows,
    ticker_row,
    trade_rows,
)
from market.sequence import SESSION_START, Trust

__all__ = [
    "MAX_JUMP_MS",
    "Assembled",
    "BookRows",
    "DoubtMark",
    "GapMark",
    "LiquidationRows",
    "OddityMark",
    "Record",
    "SessionAssembler",
    "TickerRow",
    "TradeRows",
]

#: While a book is unknown, its topic is named for a new snapshot once every so many messages.
_RESYNC_EVERY = 500
#: One frame in so many is looked at for fields that are not documented, beside the first of each topic.
_LOOK_EVERY = 64
_PATH = re.compile(r"(Expected .*|Object missing .*|Object contains .*|Invalid .*|JSON is malformed.*|Input data .*)")
_TOPIC = re.compile(rb'"topic"\s*:\s*"([A-Za-z]+)\.[^"]*?([A-Za-z0-9-]+)"')


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
        self._book_topics: dict[bytes, SymbolState] = {}
        self._states = {symbol: SymbolState(instrument) for symbol, instrument in instruments.items()}
        self._looked: dict[str, int] = {}

    def on_frame(self, data: bytes, recv_ns: int) -> Assembled:
        """Take in one frame.

        Parameters
        ----------
        data
            The frame as received.
        recv_ns
            Local receive time, UTC ns.

        Notes
        -----
        What is not in the documented form never ends the session and never changes a number: a frame that cannot be
        read, or whose prices do not fit the tick, is left out as a gap; fields that are new are not read. Each leaves
        an :class:`OddityMark`.
        """
        try:
            return self._scan_book(data, recv_ns) or self._dispatch(data, recv_ns)
        except RulesChanged as error:
            out = self._on_damaged(data, recv_ns, error.message)
            out.other_rules = tuple(state.symbol for state in self._states_of(data))
            self._note(
                out, data, recv_ns, "off the tick", "price or size is not a multiple of the tick or step in force"
            )
            return out
        except FrameError as error:
            out = self._on_damaged(data, recv_ns, error.message)
            found = _PATH.search(str(error.__cause__ or ""))
            detail = "carries another symbol" if "another symbol" in error.message else "cannot be read"
            self._note(out, data, recv_ns, "changed form", found[1] if found else detail)
            return out

    def _dispatch(self, data: bytes, recv_ns: int) -> Assembled:
        frame = decode(data)
        if isinstance(frame, ControlFrame | OtherFrame):
            return Assembled()
        state = self._states.get(frame.topic.rpartition(".")[2])
        if state is None:
            out = Assembled(problem=f"{frame.topic} was not asked for")
            self._note(out, b"", recv_ns, "other symbol", frame.topic[:80])
            return out
        out = self._take(state, frame, recv_ns)
        self._look(out, frame.topic, data, recv_ns)
        return out

    def _look(self, out: Assembled, topic: str, data: bytes, recv_ns: int) -> None:
        """Look for fields that are not documented; book frames in the usual form never come here."""
        seen = self._looked[topic] = self._looked.get(topic, -1) + 1
        if seen % _LOOK_EVERY == 0:
            for name in new_fields(data):
                self._note(out, data, recv_ns, "new field", name)

    def _note(self, out: Assembled, data: bytes, recv_ns: int, kind: str, detail: str) -> None:
        """Leave word of an oddity with the symbols that it may concern; before their first event there is no time."""
        marks = [
            OddityMark(state.symbol, self.next_ordinal, state.clock_ms, recv_ns, kind, detail)
            for state in self._states_of(data)
            if state.clock_ms
        ]
        out.records += marks
        self.next_ordinal += bool(marks)

    def _states_of(self, data: bytes) -> list[SymbolState]:
        match = _TOPIC.search(data)
        known = None if match is None else self._states.get(match[2].decode())
        return list(self._states.values()) if known is None else [known]

    def adopt(self, instrument: Instrument, recv_ns: int) -> Assembled:
        """Go on under other contract rules: the book is lost, and the next events begin a session of their own."""
        state = self._states[instrument.symbol]
        out = self._lose([state], recv_ns, f"contract rules changed (tick {instrument.tick_size})")
        fresh = SymbolState(instrument)
        fresh.book_topic, fresh.clock_ms, fresh.may_jump = state.book_topic, state.clock_ms, state.may_jump
        fresh.trade_ids, fresh.trade_order, fresh.trade_seq = state.trade_ids, state.trade_order, state.trade_seq
        self._states[instrument.symbol] = fresh
        if state.book_topic:
            self._book_topics[state.book_topic.encode()] = fresh
            out.resync = (state.book_topic,)
        return out

    def _take(
        self, state: SymbolState, frame: BookFrame | TradeFrame | TickerFrame | LiquidationFrame, recv_ns: int
    ) -> Assembled:
        if isinstance(frame, BookFrame):
            return self._on_book(state, frame, recv_ns)
        if isinstance(frame, TradeFrame):
            return self._on_trades(state, frame, recv_ns)
        if isinstance(frame, TickerFrame):
            return self._on_ticker(state, frame, recv_ns)
        return self._on_liquidations(state, frame, recv_ns)

    def on_disconnect(self, recv_ns: int, cause: str, symbols: Iterable[str] | None = None) -> Assembled:
        """The connection is lost: a GAP for every symbol of which anything came since its last one.

        Parameters
        ----------
        recv_ns
            When, UTC ns.
        cause
            Why.
        symbols
            Those that the connection carried; ``None`` for all.
        """
        states = list(self._states.values()) if symbols is None else [self._states[symbol] for symbol in symbols]
        for state in states:
            state.may_jump = True
        return self._lose(states, recv_ns, cause)

    def doubt(self, symbol: str, start_ms: int, recv_ns: int, cause: str, *, lost: bool = False) -> Assembled:
        """Say that what was received since `start_ms` cannot be vouched for; `lost`: nor can the book from here on."""
        state = self._states[symbol]
        out = self._lose([state], recv_ns, cause) if lost else Assembled()
        if lost and state.book_topic:
            out.resync = (state.book_topic,)
        time_ms = max(state.clock_ms, start_ms)
        out.records.append(DoubtMark(symbol, self.next_ordinal, start_ms, time_ms, recv_ns, cause))
        self.next_ordinal += 1
        return out

    def resume(self, symbol: str, clock_ms: int, last_u: int | None, trade_ids: Sequence[str]) -> None:
        """Go on where another session has ended, instead of beginning with a gap.

        Parameters
        ----------
        symbol
            Of which.
        clock_ms
            Greatest exchange time of the other session.
        last_u
            Update id of its last book message if the book was known there, else ``None``.
        trade_ids
            Of its last trades.
        """
        state = self._states[symbol]
        state.clock_ms, state.may_jump = clock_ms, False
        state.sequence.trust = Trust.UNKNOWN if last_u is None else Trust.KNOWN
        state.sequence.last_u = last_u or 0
        state.idle = last_u is None
        state.remember(trade_ids)

    def clock_ms(self, symbol: str) -> int:
        """Greatest exchange time received of a symbol; 0 before the first."""
        return self._states[symbol].clock_ms

    def last_u(self, symbol: str) -> int:
        """Update id of the last book message of a symbol; 0 before the first."""
        return self._states[symbol].sequence.last_u

    def _lose(self, states: Iterable[SymbolState], recv_ns: int, cause: str) -> Assembled:
        out = Assembled()
        for state in states:
            if not state.idle:
                state.sequence.lose()
                state.idle = True
                state.unknown_for = 0
                out.add_gap(GapMark(state.symbol, self.next_ordinal, state.clock_ms, recv_ns, cause))
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

    def _from_future(self, topic: str, state: SymbolState, time_ms: int, recv_ns: int) -> Assembled:
        problem = f"{topic} jumped from exchange time {state.clock_ms} to {time_ms}"
        return self._on_damaged(b'{"topic":"%s"' % topic.encode(), recv_ns, problem)

    def _on_book(self, state: SymbolState, frame: BookFrame, recv_ns: int) -> Assembled:
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
        self, state: SymbolState, rows: BookRows, u: int, cts: int, is_snapshot: bool, recv_ns: int
    ) -> Assembled:
        trusted_ms = state.clock_ms or cts
        if not state.accept(cts):
            return self._from_future(state.book_topic, state, cts, recv_ns)
        out = Assembled()
        cause = state.sequence.check(u, is_snapshot)
        if cause is not None:
            out.add_gap(GapMark(state.symbol, self.next_ordinal, trusted_ms, recv_ns, cause))
            state.unknown_for = 0
        out.add_rows(rows)
        if state.sequence.trust is not Trust.KNOWN:
            if state.unknown_for % _RESYNC_EVERY == 0:
                out.resync = (state.book_topic,)
            state.unknown_for += 1
        self.next_ordinal += 1
        return out

    def _on_trades(self, state: SymbolState, frame: TradeFrame, recv_ns: int) -> Assembled:
        if not frame.data:
            return Assembled()
        repeated = [one for one in frame.data if one.i in state.trade_ids]
        if repeated:
            fresh = [one for one in frame.data if one.i not in state.trade_ids]
            frame = msgspec.structs.replace(frame, data=fresh)
        problem = f"{frame.topic} repeats trade {repeated[0].i}" if repeated else None
        if not frame.data:
            return Assembled(problem=problem)
        rows = trade_rows(state.symbol, frame, state.prices, state.sizes, self.next_ordinal, recv_ns)
        first_ms, last_ms = frame.data[0].T, max(trade.T for trade in frame.data)
        trusted_ms = state.clock_ms or first_ms
        if not state.accept(last_ms):
            return self._from_future(frame.topic, state, last_ms, recv_ns)
        out = Assembled()
        if state.sequence.open():
            out.add_gap(GapMark(state.symbol, self.next_ordinal, trusted_ms, recv_ns, SESSION_START))
        out.add_rows(rows)
        out.problem, out.kept = problem, msgspec.json.encode(frame) if repeated else None
        state.remember(rows.ids)
        self._check_trade_order(state, frame, first_ms, recv_ns, out)
        self.next_ordinal += 1
        return out

    def _check_trade_order(
        self, state: SymbolState, frame: TradeFrame, first_ms: int, recv_ns: int, out: Assembled
    ) -> None:
        """``seq`` of trades never goes back: where it does, messages came in another order, or some were lost."""
        numbers = [trade.seq for trade in frame.data]
        first, last = numbers[0], max(numbers)
        if first >= 0 and (first < state.trade_seq or any(later < one for one, later in pairwise(numbers))):
            cause = f"trades out of order (seq {max(state.trade_seq, first)} to {first})"
            start_ms = min(first_ms, state.clock_ms)
            out.records.append(DoubtMark(state.symbol, self.next_ordinal, start_ms, state.clock_ms, recv_ns, cause))
        state.trade_seq = max(state.trade_seq, last)

    def _on_liquidations(self, state: SymbolState, frame: LiquidationFrame, recv_ns: int) -> Assembled:
        if not frame.data:
            return Assembled()
        rows = liquidation_rows(state.symbol, frame, state.prices, state.sizes, self.next_ordinal, recv_ns)
        if rows.time_ms > state.clock_ms + MAX_JUMP_MS and not state.may_jump:
            return Assembled(problem=f"{frame.topic} jumped from exchange time {state.clock_ms} to {rows.time_ms}")
        self.next_ordinal += 1
        return Assembled(records=[rows])

    def _on_ticker(self, state: SymbolState, frame: TickerFrame, recv_ns: int) -> Assembled:
        data = frame.data
        kept = (data.last_price, data.mark_price, data.index_price, data.open_interest, data.funding_rate)
        if not any(kept) and not data.next_funding_time:
            return Assembled()
        if frame.ts > state.clock_ms + MAX_JUMP_MS and not state.may_jump:
            return Assembled(problem=f"{frame.topic} jumped from exchange time {state.clock_ms} to {frame.ts}")
        row = ticker_row(state.symbol, frame, self.next_ordinal, recv_ns)
        self.next_ordinal += 1
        return Assembled(records=[row])
