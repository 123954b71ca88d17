"""What a frame comes to, and where each symbol's streams stand within a session."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from market._scan import FrameScanner
from market.events import EventBatch
from market.instruments import Instrument
from market.records import BookRows, GapMark, Record, TradeRows
from market.sequence import BookSequence
from market.units import UnitTable

#: A message this far ahead of its symbol's clock, with no disconnect between, is taken for damaged (ms).
MAX_JUMP_MS = 86_400_000
#: Trade ids remembered of each symbol, to know a trade that comes twice.
_TRADE_MEMORY = 16_384


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
        Why the frame, or a part of it, was left out, or ``None``.
    kept
        The frame without what was left out of it, where only a part was; ``None`` otherwise.
    other_rules
        Symbols whose prices or sizes do not fit the contract rules in force: ask the venue for them again.
    """

    batches: list[tuple[str, EventBatch]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    resync: tuple[str, ...] = ()
    problem: str | None = None
    kept: bytes | None = None
    other_rules: tuple[str, ...] = ()

    def add_gap(self, mark: GapMark) -> None:
        """A gap is next."""
        self.batches.append((mark.symbol, mark.events()))
        self.records.append(mark)

    def add_rows(self, rows: BookRows | TradeRows) -> None:
        """Rows are next."""
        self.batches.append((rows.symbol, rows.events))
        self.records.append(rows)


class SymbolState:
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
        "trade_ids",
        "trade_order",
        "trade_seq",
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
        self.trade_seq = -1
        self.trade_ids: set[str] = set()
        self.trade_order: deque[str] = deque()

    def remember(self, ids: Iterable[str]) -> None:
        """Note trade ids, and forget the oldest."""
        known, order = self.trade_ids, self.trade_order
        for trade_id in ids:
            known.add(trade_id)
            order.append(trade_id)
        while len(order) > _TRADE_MEMORY:
            known.discard(order.popleft())

    def accept(self, time_ms: int) -> bool:
        """Move the clock; False for a time that a running connection cannot bring, until a second message agrees."""
        if time_ms > self.clock_ms + MAX_JUMP_MS and not self.may_jump and abs(time_ms - self.outlier_ms) > MAX_JUMP_MS:
            self.outlier_ms = time_ms
            return False
        self.may_jump = self.idle = False
        self.outlier_ms = 0
        self.clock_ms = max(self.clock_ms, time_ms)
        return True
