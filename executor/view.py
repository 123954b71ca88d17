"""What the executor sees: frames to events to bars, by the same code as the recorder and the training data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executor.events import BarClosed
from features import Bars, FeatureEngine, Quote
from market.assembler import Assembled, Record, SessionAssembler, TickerRow
from market.context import context_events, merged
from market.events import TICKER, TRADE, EventBatch
from market.instruments import Instrument


@dataclass(frozen=True, slots=True)
class Seen:
    """What some frames came to: events, tickers, book topics that need a fresh snapshot, prices of other rules."""

    events: EventBatch
    tickers: list[TickerRow]
    records: list[Record]
    resync: tuple[str, ...]
    problems: list[str]
    other_rules: bool = False


class MarketView:
    """One symbol's live market.

    Parameters
    ----------
    instrument
        Contract rules.
    timeframe_ms, levels, stall_ms
        Of the feature engine.
    first_ordinal
        Number of the first frame.
    """

    def __init__(
        self, instrument: Instrument, timeframe_ms: int, levels: int, stall_ms: int, *, first_ordinal: int = 0
    ) -> None:
        self.rules = instrument
        self.symbol = instrument.symbol
        self.timeframe_ms = timeframe_ms
        self.engine = FeatureEngine(timeframe_ms, levels, stall_ms)
        self.last_price = -1
        self._context = EventBatch.empty()
        self._assembler = SessionAssembler({instrument.symbol: instrument}, first_ordinal)

    def reset(self) -> None:
        """Forget the market: the features start cold."""
        engine = self.engine
        self.engine = FeatureEngine(engine.timeframe_ms, engine.levels, engine.stall_ms)
        self.last_price = -1

    def on_frame(self, data: bytes, recv_ns: int) -> Assembled:
        """Take in one frame of the public feed."""
        return self._assembler.on_frame(data, recv_ns)

    def on_disconnect(self, recv_ns: int, cause: str) -> Assembled:
        """Take in a loss of the connection."""
        return self._assembler.on_disconnect(recv_ns, cause)

    def gather(self, parts: Iterable[Assembled]) -> Seen:
        """Join what several frames came to; tickers and liquidations wait here for the events around them."""
        held = list(parts)
        records = [record for part in held for record in part.records]
        self._context = EventBatch.concat([self._context, context_events(records)])
        return Seen(
            events=EventBatch.concat(batch for part in held for _, batch in part.batches),
            tickers=[record for record in records if isinstance(record, TickerRow)],
            records=records,
            resync=tuple(dict.fromkeys(topic for part in held for topic in part.resync)),
            problems=[part.problem for part in held if part.problem is not None],
            other_rules=any(part.other_rules for part in held),
        )

    def part(self, stream: EventBatch) -> EventBatch:
        """The events of a stream with tickers and liquidations in it, which wait here for the events around them."""
        beside = stream.kind >= TICKER
        if not beside.any():
            return stream
        self._context = EventBatch.concat([self._context, _rows(stream, beside)])
        return _rows(stream, ~beside)

    def push(self, events: EventBatch) -> Bars:
        """Let the engine see events, and what came beside them; the bars that they closed."""
        if len(self._context) and len(events):
            due = int(np.searchsorted(self._context.ordinal, events.ordinal[-1], side="right"))
            events, self._context = merged(events, self._context[:due]), self._context[due:]
        trades = np.flatnonzero(events.kind == TRADE)
        if trades.size:
            self.last_price = int(events.price[trades[-1]])
        return self.engine.push(events)

    def quote(self) -> Quote:
        """Clock and best prices after the last event."""
        return self.engine.quote()

    def next_close_ms(self, events: EventBatch) -> int:
        """Close of the bar that is open, or, before the first event, of the bar in which `events` begin."""
        clock = self.engine.quote().clock_ms
        if clock < 0:
            clock = int(events.time_ms[0])
        return (clock // self.timeframe_ms + 1) * self.timeframe_ms


def _rows(events: EventBatch, keep: NDArray[np.bool_]) -> EventBatch:
    return EventBatch(**{name: getattr(events, name)[keep] for name in EventBatch.__slots__})


def cut(events: EventBatch, clock_ms: int, due_ms: int) -> int:
    """Rows up to the end of the first frame after which the clock is at or past `due_ms`; all rows if there is none.

    Decisions are taken between frames, at the same ones however many frames are taken in at once.
    """
    if clock_ms >= due_ms:
        row = 0
    else:
        late = events.time_ms >= due_ms
        row = int(np.argmax(late))
        if not late[row]:
            return len(events)
    return int(np.searchsorted(events.ordinal, events.ordinal[row], side="right"))


def closed_bar(bars: Bars, row: int, now: int, book_age: int, lag_ms: int) -> BarClosed:
    """What the core is told of bar `row`, at venue time `now`.

    Parameters
    ----------
    book_age
        ms since the last change of the book; -1 unknown.
    lag_ms
        How long its last frame had waited here.
    """
    atr = float(bars.atr[row])
    return BarClosed(
        now_ms=now,
        open_ms=int(bars.open_ms[row]),
        close_ms=int(bars.close_ms[row]),
        close=int(bars.close[row]),
        bid=int(bars.bid[row]),
        ask=int(bars.ask[row]),
        atr=atr if np.isfinite(atr) else None,
        valid=bool(bars.valid[row]),
        values=bars.values[row].astype("<f8").tobytes(),
        book_age_ms=book_age,
        lag_ms=lag_ms,
    )
