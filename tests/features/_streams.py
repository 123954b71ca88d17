"""Random event streams with everything in them that a recorder meets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from market.context import FUNDING_RATE, NEXT_FUNDING, OPEN_INTEREST
from market.events import (
    ASK,
    BID,
    BOOK,
    EMPTY,
    FIRST,
    GAP,
    LAST,
    LIQUIDATION,
    SNAPSHOT,
    TICKER,
    TRADE,
    UNKNOWN_NS,
    EventBatch,
)

START_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 12 * 3_600_000

Row = tuple[int, int, int, int, int, int, int, int]


class Market:
    """Writes events by hand: keeps ordinals and message boundaries right."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.now = start_ms
        self.rows: list[Row] = []
        self._ordinal = 0

    def _add(self, kind: int, flags: int, side: int, price: int, size: int, time_ms: int | None = None) -> None:
        time_ms = self.now if time_ms is None else time_ms
        self.rows.append((kind, flags, side, time_ms, price, size, self._ordinal, UNKNOWN_NS))

    def message(self, changes: list[tuple[int, int, int]], snapshot: bool = False, time_ms: int | None = None) -> None:
        """One book message of (side, price, size) changes."""
        self._ordinal += 1
        for n, (side, price, size) in enumerate(changes):
            edges = (FIRST if n == 0 else 0) | (LAST if n == len(changes) - 1 else 0)
            self._add(BOOK, edges | (SNAPSHOT if snapshot else 0), side, price, size, time_ms)
        if not changes:
            self._add(BOOK, EMPTY | FIRST | LAST | (SNAPSHOT if snapshot else 0), 0, 0, 0, time_ms)

    def snapshot(self, mid: int = 60_000, levels: int = 5, size: int = 10, step: int = 1) -> None:
        """A symmetric book, best prices at mid - 1 and mid + 1."""
        self.message(
            [(BID, mid - 1 - step * n, size + n) for n in range(levels)]
            + [(ASK, mid + 1 + step * n, size + n) for n in range(levels)],
            snapshot=True,
        )

    def trade(self, price: int = 60_000, size: int = 1, side: int = BID, time_ms: int | None = None) -> None:
        self._ordinal += 1
        self._add(TRADE, 0, side, price, size, time_ms)

    def gap(self) -> None:
        self._ordinal += 1
        self._add(GAP, 0, 0, 0, 0)

    def ticker(self, field: int, value: int) -> None:
        self._ordinal += 1
        self._add(TICKER, 0, field, value, 0)

    def liquidation(self, side: int, size: int) -> None:
        self._ordinal += 1
        self._add(LIQUIDATION, 0, side, 1, size)

    def events(self) -> EventBatch:
        return EventBatch.from_rows(self.rows)


def random_market(
    seed: int, messages: int = 3_000, pause_ms: int = 400, wide: bool = False, rough: bool = True, context: bool = False
) -> EventBatch:
    """A random stream.

    `wide` scatters levels and moves the mid over many thousand ticks; `rough` adds gaps, silences, holes, late events,
    empty messages, deletes of unknown levels, crossed books and emptied sides; `context` adds tickers and liquidations.
    """
    rng = np.random.default_rng(seed)
    market = Market(START_MS + int(rng.integers(0, 60_000)))
    mid, depth = 60_000, 4_000.0 if wide else 12.0
    market.gap()
    market.message(list(_levels(rng, mid, depth, 40)), snapshot=True)
    for _ in range(messages):
        market.now += int(rng.integers(0, 2 * pause_ms))
        mid += int(rng.normal(0, 600 if wide else 1.2))
        mid = max(mid, 20_000)
        event = rng.random()
        late = market.now - int(rng.integers(0, 3_000)) if rough and rng.random() < 0.05 else None
        if context:
            _context(rng, market, mid)
        if event < 0.6:
            changes = [(side, price, 0) for side, price in _stale(rng, mid, depth)] if rng.random() < 0.5 else []
            market.message([*changes, *_levels(rng, mid, depth, int(rng.integers(1, 8)))], time_ms=late)
        elif event < 0.95:
            side = int(rng.integers(0, 2))
            market.trade(mid + int(rng.integers(-2, 3)), int(rng.integers(1, 40)), side, late)
        elif not rough:
            market.message([])
        else:
            _trouble(rng, market, mid, depth)
    return market.events()


def _context(rng: np.random.Generator, market: Market, mid: int) -> None:
    """Now and then a ticker or a liquidation."""
    what = int(rng.integers(0, 12))
    if what <= OPEN_INTEREST:
        market.ticker(what, 10**6 * (mid + int(rng.integers(-50, 50))))
    elif what == FUNDING_RATE:
        market.ticker(what, int(rng.integers(-(10**6), 10**6)))
    elif what == NEXT_FUNDING:
        market.ticker(what, (market.now // 28_800_000 + 1) * 28_800_000)
    elif what == 5:
        market.liquidation(int(rng.integers(0, 2)), int(rng.integers(1, 30)))


def _levels(rng: np.random.Generator, mid: int, depth: float, count: int) -> Iterator[tuple[int, int, int]]:
    for _ in range(count):
        side = int(rng.integers(0, 2))
        away = 1 + int(rng.exponential(depth))
        size = 0 if rng.random() < 0.25 else int(rng.integers(1, 500))
        yield side, mid - away if side == BID else mid + away, size


def _stale(rng: np.random.Generator, mid: int, depth: float) -> Iterator[tuple[int, int]]:
    """Deletes of levels that the mid has passed, as an exchange sends them."""
    for away in range(6):
        yield BID, mid + away
        yield ASK, mid - away


def _trouble(rng: np.random.Generator, market: Market, mid: int, depth: float) -> None:
    what = int(rng.integers(0, 8))
    if what == 0:
        market.gap()
        market.now += int(rng.integers(0, 40_000))
        market.message([(BID, mid - 1, 3)])  # a delta while the book is unknown
        market.message(list(_levels(rng, mid, depth, 30)), snapshot=True)
    elif what == 1:
        market.now += int(rng.integers(5_000, 90_000))  # silence of everything
    elif what == 2:
        for _ in range(20):  # silence of the book alone
            market.now += int(rng.integers(1_000, 6_000))
            market.trade(mid, int(rng.integers(1, 9)))
    elif what == 3:
        market.message([(BID, mid + 4, 7), (ASK, mid - 3, 9)])  # crossed
    elif what == 4:
        market.message(list(_levels(rng, mid, depth, 25)), snapshot=True)  # a snapshot without a gap
    elif what == 5:
        market.message([(ASK, price, 0) for price in range(mid - 60, mid + 200)])  # the asks are gone
    elif what == 6:
        market.message([(BID, 3, 1), (ASK, 9_000_000, 2)])  # stub quotes
    else:
        market.message([], snapshot=bool(rng.integers(0, 2)))
        if rng.random() < 0.15:
            market.now += int(rng.integers(3_600_000, 3_700_000))  # a hole
