"""The quality table against a slow reference, and every defect that it must show."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import DataError
from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from market.instruments import Instrument
from market.quality import MINUTE_MS, QualityBuilder, QualityTable, Window, quality_table

RULES = Instrument(
    symbol="TESTUSDT",
    tick_size=Decimal("0.5"),
    qty_step=Decimal("0.01"),
    min_steps=1,
    max_steps=10**9,
    max_market_steps=10**9,
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
)
T0 = 1_700_000_040_000  # a whole minute
Row = tuple[int, int, int, int, int, int, int, int]


def book(time_ms: int, *levels: tuple[int, int, int], snapshot: bool = False, recv_ns: int = -1) -> list[Row]:
    """Rows of one book message; levels are (side, price, size)."""
    base = SNAPSHOT if snapshot else 0
    if not levels:
        return [(BOOK, base | FIRST | LAST | EMPTY, 0, time_ms, 0, 0, 0, recv_ns)]
    last = len(levels) - 1
    return [
        (BOOK, base | (FIRST if i == 0 else 0) | (LAST if i == last else 0), side, time_ms, price, size, 0, recv_ns)
        for i, (side, price, size) in enumerate(levels)
    ]


def trade(time_ms: int, price: int, size: int = 1, side: int = BID, recv_ns: int = -1) -> list[Row]:
    return [(TRADE, 0, side, time_ms, price, size, 0, recv_ns)]


def gap(time_ms: int) -> list[Row]:
    return [(GAP, 0, 0, time_ms, 0, 0, 0, -1)]


def table(*messages: list[Row], **options: int) -> QualityTable:
    return quality_table([EventBatch.from_rows(row for message in messages for row in message)], RULES, **options)


START = book(T0, (BID, 99, 5), (ASK, 101, 5), snapshot=True)


def test_counts_spread_and_depth() -> None:
    got = table(
        START,
        book(T0 + 20_000, (BID, 100, 7), (ASK, 101, 0), (ASK, 102, 3)),
        trade(T0 + 30_000, 102, 4),
        trade(T0 + 30_000, 105, 2),
        book(T0 + 30_000),
        book(T0 + 60_000, (BID, 100, 0)),
        stall_ms=60_000,
    )
    assert len(got) == 2
    assert got.minute_ms.tolist() == [T0, T0 + MINUTE_MS]
    assert got.covered_ms.tolist() == [60_000, 0]
    assert (got.messages[0], got.level_changes[0], got.snapshots[0], got.empties[0]) == (3, 5, 1, 1)
    assert (got.trades[0], got.volume[0], got.last_price[0]) == (2, 6, 105)
    assert (got.trades[1], got.last_price[1]) == (0, -1)
    assert got.known_ms.tolist() == [60_000, 0]
    # 2 ticks about 100 for 20 s, then 2 ticks about 101 for 40 s
    assert got.spread_mean_bps[0] == pytest.approx((1e4 * 2 / 100 * 20 + 1e4 * 2 / 101 * 40) / 60)
    assert got.spread_max_bps[0] == pytest.approx(1e4 * 2 / 100)
    assert got.trade_distance_bps[0] == pytest.approx(1e4 * 3 / 101)
    assert np.isnan(got.trade_distance_bps[1])
    assert np.isnan(got.delay_mean_ms).all()
    assert got.duplicates.tolist() == [-1, -1]
    # samples at the first message of each second: 99x5; 100x7 + 99x5; 100x7 + 99x5; in units of 0.5 x 0.01
    assert got.bid_depth[0] == pytest.approx((495 + 1195 + 1195) / 3 * 0.005)
    assert not got.windows
    assert [window.seconds for window in got.silences] == [20.0, 10.0, 30.0]


@pytest.mark.failure(33)
def test_gap_is_suspect_until_the_snapshot() -> None:
    got = table(
        START,
        book(T0 + 1_000, (BID, 98, 1)),
        gap(T0 + 1_000),
        book(T0 + 3_000, (BID, 105, 9)),  # a delta that nobody may believe
        trade(T0 + 4_000, 500),
        book(T0 + 5_000, (BID, 99, 5), (ASK, 101, 5), snapshot=True),
        book(T0 + 6_000),
    )
    assert got.windows == (Window(T0 + 1_000, T0 + 5_000, "gap"),)
    assert got.suspect_ms.tolist() == [4_000]
    assert got.crossed.tolist() == [0]
    assert got.known_ms.tolist() == [2_000]
    assert np.isnan(got.trade_distance_bps[0])
    assert got.gaps.tolist() == [1]


def test_a_stall_is_a_window_and_a_shorter_silence_is_listed() -> None:
    later = T0 + 200_000
    got = table(START, trade(T0 + 90_000, 100), book(later, (BID, 98, 1)), book(later + 7_000))
    assert got.windows == (Window(T0, later, "stall"),)
    assert got.suspect_ms.tolist() == [60_000, 60_000, 60_000, 20_000]
    assert got.max_silence_ms.tolist() == [200_000] * 4
    assert got.silences == (Window(T0, later, "silence"), Window(later, later + 7_000, "silence"))
    assert got.trade_distance_bps[1:2] != 0  # the book was stale: unknown, not 0


def test_what_is_open_at_the_end_ends_there() -> None:
    stalled = table(START, trade(T0 + 100_000, 100))
    assert stalled.windows == (Window(T0, T0 + 100_000, "stall"),)
    assert stalled.max_silence_ms.tolist() == [100_000, 100_000]
    unknown = table(START, gap(T0 + 10), trade(T0 + 500, 100))
    assert unknown.windows == (Window(T0, T0 + 500, "gap"),)


def test_deltas_without_a_snapshot_are_unknown() -> None:
    got = table(book(T0, (BID, 99, 1), (ASK, 100, 1)), book(T0 + 9_000, (BID, 98, 1)))
    assert got.windows == (Window(T0, T0 + 9_000, "no snapshot yet"),)
    assert got.books.tolist() == [0]
    assert np.isnan(got.spread_mean_bps[0])


def test_locked_crossed_one_sided_and_bad_rows() -> None:
    got = table(
        START,
        book(T0 + 1, (BID, 101, 1)),
        book(T0 + 2, (BID, 103, 1)),
        book(T0 + 3, (ASK, 101, 0)),
        book(T0 + 4, (ASK, -3, 1)),
        trade(T0 + 5, 100, 0),
        [(9, 0, 0, T0 + 6, 1, 1, 0, -1)],
    )
    assert (got.locked[0], got.crossed[0], got.one_sided[0], got.bad_rows[0]) == (1, 1, 2, 3)


def test_receive_delay_regress_and_duplicates() -> None:
    late = (T0 + 250) * 1_000_000
    rows = [*book(T0, (BID, 99, 5), (ASK, 101, 5), snapshot=True, recv_ns=late), *trade(T0 - 400, 100, recv_ns=late)]
    builder = QualityBuilder(RULES)
    builder.push(EventBatch.from_rows(rows))
    got = builder.table(np.array([T0 + 5, T0 + 9]))
    assert got.delay_max_ms[0] == pytest.approx(650)
    assert got.delay_mean_ms[0] == pytest.approx(450)
    assert got.regress_ms.tolist() == [400]
    assert got.duplicates.tolist() == [2]


def test_a_day_is_cut_out_with_its_windows() -> None:
    got = table(START, book(T0 + 200_000, (BID, 98, 1))).between(T0 + MINUTE_MS, T0 + 2 * MINUTE_MS)
    assert got.minute_ms.tolist() == [T0 + MINUTE_MS]
    assert got.windows == (Window(T0 + MINUTE_MS, T0 + 2 * MINUTE_MS, "stall"),)


def test_an_empty_stream_gives_an_empty_table() -> None:
    assert len(table()) == 0


def test_impossible_times_are_refused() -> None:
    with pytest.raises(DataError, match="no exchange time"):
        table(START, trade(0, 100))
    with pytest.raises(DataError, match="days in one table"):
        table(START, trade(T0 * 2, 100))


def test_levels_that_share_a_place_in_the_ladder() -> None:
    far = 99 + (1 << 16)
    got = table(
        book(T0, (BID, 99, 5), (ASK, 101, 5), (ASK, 101 + (1 << 16), 5), snapshot=True),
        book(T0 + 1, (BID, far, 1)),  # a better bid in the same place: the worse one makes room
        book(T0 + 2, (BID, far, 0), (BID, 98, 1)),
        book(T0 + 3, (BID, 98, 0), (BID, 97 - 96, 2)),
    )
    assert got.crossed.tolist() == [1]
    assert got.spread_max_bps[0] == pytest.approx(2e4 * 100 / 102)


class SlowBook:
    """A book of dictionaries, for comparison."""

    def __init__(self, stall_ms: int) -> None:
        self.stall_ms, self.sides, self.known, self.last = stall_ms, ({}, {}), False, -1
        self.clock, self.minutes, self.windows, self.since = -1, {}, [], -1

    def minute(self, at: int) -> dict[str, float]:
        zero = dict.fromkeys(("messages", "trades", "locked", "crossed", "one_sided", "books", "known_ms", "area"), 0)
        return self.minutes.setdefault(at // MINUTE_MS, zero)

    def touch(self) -> tuple[int, int] | None:
        bids, asks = self.sides
        return (max(bids), min(asks)) if bids and asks else None

    def message(self, now: int, snapshot: bool, levels: list[tuple[int, int, int]]) -> None:
        self.minute(now)["messages"] += 1
        if self.last >= 0 and self.known:
            if now - self.last > self.stall_ms:
                self.windows.append((self.last, now))
            elif touch := self.touch():
                for at in range(self.last, now):
                    self.minute(at)["known_ms"] += 1
                    self.minute(at)["area"] += 2e4 * (touch[1] - touch[0]) / (touch[0] + touch[1])
        self.last = now
        if snapshot:
            if 0 <= self.since < now:
                self.windows.append((self.since, now))
            self.known, self.since, self.sides = True, -1, ({}, {})
        if not self.known:
            return
        for side, price, size in levels:
            if size:
                self.sides[side][price] = size
            else:
                self.sides[side].pop(price, None)
        if touch := self.touch():
            self.minute(now)["books"] += 1
            self.minute(now)["locked"] += touch[0] == touch[1]
            self.minute(now)["crossed"] += touch[0] > touch[1]
        else:
            self.minute(now)["one_sided"] += 1

    def feed(self, messages: Iterable[tuple[str, int, bool, list[tuple[int, int, int]]]]) -> None:
        for kind, time_ms, snapshot, levels in messages:
            if self.clock < 0:
                self.since = time_ms
            self.clock = max(self.clock, time_ms)
            if kind == "gap":
                if self.since < 0:
                    self.since = self.last if self.last >= 0 else self.clock
                self.known = False
            elif kind == "trade":
                self.minute(self.clock)["trades"] += 1
            else:
                self.message(self.clock, snapshot, levels)
        if 0 <= self.since < self.clock:
            self.windows.append((self.since, self.clock))
        elif self.since < 0 <= self.last and self.clock - self.last > self.stall_ms:
            self.windows.append((self.last, self.clock))


LEVELS = st.lists(st.tuples(st.sampled_from([BID, ASK]), st.integers(90, 110), st.integers(0, 3)), max_size=4)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["book"] * 6 + ["trade", "trade", "gap"]),
        st.sampled_from([-30, 0, 1, 40, 900, 2_500, 31_000]),
        st.booleans(),
        LEVELS,
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(messages=MESSAGES, cut=st.integers(1, 9))
def test_equal_to_the_slow_reference_however_it_is_cut(messages: list[tuple], cut: int) -> None:
    stall_ms, at, rows, plain = 2_000, T0, [], []
    for kind, step, snapshot, levels in messages:
        at += step
        plain.append((kind, at, snapshot, levels))
        rows += {"book": book(at, *levels, snapshot=snapshot), "trade": trade(at, 100), "gap": gap(at)}[kind]
    slow = SlowBook(stall_ms)
    slow.feed(plain)
    batch = EventBatch.from_rows(rows)
    whole = quality_table([batch], RULES, stall_ms=stall_ms, notice_ms=1)
    pieces = quality_table(batch.chunks(cut), RULES, stall_ms=stall_ms, notice_ms=1)
    for name, column in whole.columns().items():
        np.testing.assert_array_equal(column, getattr(pieces, name), err_msg=name)
    assert (whole.windows, whole.silences) == (pieces.windows, pieces.silences)
    assert [window[:2] for window in whole.windows] == slow.windows
    for i, minute in enumerate(whole.minute_ms // MINUTE_MS):
        expected = slow.minute(int(minute) * MINUTE_MS)
        for name in ("messages", "trades", "locked", "crossed", "one_sided", "books", "known_ms"):
            assert getattr(whole, name)[i] == expected[name], name
        if expected["known_ms"]:
            assert whole.spread_mean_bps[i] == pytest.approx(expected["area"] / expected["known_ms"])
