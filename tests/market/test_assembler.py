"""From frames to events: sequence, gaps, damage."""

from __future__ import annotations

import pytest

from market import EventBatch, SessionAssembler
from market.assembler import Assembled, GapMark, OddityMark, TickerRow
from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE
from market.sequence import SESSION_START
from tests.market.venue import NOON_MS, RULES, book, snapshot, ticker, trade


class Session:
    """An assembler that numbers receive times and keeps what comes out."""

    def __init__(self) -> None:
        self.assembler = SessionAssembler(RULES, first_ordinal=10)
        self.clock = 0

    def frame(self, data: bytes) -> Assembled:
        self.clock += 1
        return self.assembler.on_frame(data, self.clock)

    def lose(self, cause: str = "lost") -> Assembled:
        self.clock += 1
        return self.assembler.on_disconnect(self.clock, cause)


def kinds(out: Assembled) -> list[int]:
    return [int(kind) for _, batch in out.batches for kind in batch.kind]


def gaps(out: Assembled) -> list[GapMark]:
    return [record for record in out.records if isinstance(record, GapMark)]


def test_first_frame_of_a_session() -> None:
    out = Session().frame(snapshot(7, bids=[("100.0", "1.5"), ("99.9", "2")], asks=[("100.10", "0.001")]))
    time_ms = NOON_MS + 700
    expected = [
        (GAP, 0, 0, time_ms, 0, 0, 10, 1),
        (BOOK, SNAPSHOT | FIRST, BID, time_ms, 1000, 1500, 10, 1),
        (BOOK, SNAPSHOT, BID, time_ms, 999, 2000, 10, 1),
        (BOOK, SNAPSHOT | LAST, ASK, time_ms, 1001, 1, 10, 1),
    ]
    assert EventBatch.concat(batch for _, batch in out.batches).equals(EventBatch.from_rows(expected))
    assert [symbol for symbol, _ in out.batches] == ["BTCUSDT", "BTCUSDT"]
    assert gaps(out)[0].cause == SESSION_START
    assert out.resync == ()


def test_a_session_may_begin_with_a_trade() -> None:
    session = Session()
    assert kinds(session.frame(trade((NOON_MS, "Buy", "0.5", "100.0")))) == [GAP, TRADE]
    assert kinds(session.frame(snapshot(5))) == [BOOK, BOOK]
    assert kinds(session.frame(book(6))) == [BOOK, BOOK]


def test_trades() -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(trade((NOON_MS + 1, "Buy", "0.5", "100.0"), (NOON_MS + 2, "Sell", "0.001", "99.9")))
    expected = [(TRADE, 0, BID, NOON_MS + 1, 1000, 500, 11, 2), (TRADE, 0, ASK, NOON_MS + 2, 999, 1, 11, 2)]
    assert out.batches[0][1].equals(EventBatch.from_rows(expected))


def test_a_message_without_levels_is_one_empty_row() -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(book(6, bids=[], asks=[]))
    expected = [(BOOK, FIRST | LAST | EMPTY, 0, NOON_MS + 600, 0, 0, 11, 2)]
    assert out.batches[0][1].equals(EventBatch.from_rows(expected))


@pytest.mark.failure(33)
@pytest.mark.parametrize("u", [4, 5, 7, 100])
def test_a_break_of_u_is_a_gap_until_the_next_snapshot(u: int) -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(book(u, cts=NOON_MS + 5000))
    assert kinds(out) == [GAP, BOOK, BOOK]
    assert gaps(out)[0].time_ms == NOON_MS + 500
    assert gaps(out)[0].cause == f"sequence break (u 5 to {u})"
    assert out.resync == ("orderbook.50.BTCUSDT",)
    after = session.frame(book(u + 1))
    assert (kinds(after), after.resync) == ([BOOK, BOOK], ())
    assert kinds(session.frame(snapshot(u + 9))) == [BOOK, BOOK]
    assert kinds(session.frame(book(u + 10))) == [BOOK, BOOK]
    assert kinds(session.frame(book(u + 12))) == [GAP, BOOK, BOOK]


def test_a_snapshot_that_follows_on_is_no_gap_and_a_restart_is_one() -> None:
    session = Session()
    session.frame(snapshot(5))
    assert kinds(session.frame(snapshot(6))) == [BOOK, BOOK]
    assert kinds(session.frame(snapshot(6))) == [BOOK, BOOK]
    out = session.frame(book(1, cts=NOON_MS + 900))
    assert kinds(out) == [GAP, BOOK, BOOK]
    assert out.batches[1][1].flags.tolist() == [SNAPSHOT | FIRST, SNAPSHOT | LAST]
    assert out.resync == ()
    assert kinds(session.frame(book(2))) == [BOOK, BOOK]


def test_a_snapshot_that_never_comes_is_asked_for_again() -> None:
    session = Session()
    session.frame(snapshot(5))
    asked = [session.frame(book(u)).resync for u in range(7, 1100)]
    assert [n for n, topics in enumerate(asked) if topics] == [0, 500, 1000]


@pytest.mark.failure(33)
def test_a_lost_connection_is_a_gap_of_every_symbol_once() -> None:
    session = Session()
    assert session.lose().batches == []
    session.frame(snapshot(5))
    session.frame(snapshot(3, symbol="ETHUSDT"))
    out = session.lose("cable cut")
    assert [(mark.symbol, mark.time_ms, mark.cause) for mark in gaps(out)] == [
        ("BTCUSDT", NOON_MS + 500, "cable cut"),
        ("ETHUSDT", NOON_MS + 300, "cable cut"),
    ]
    assert {mark.ordinal for mark in gaps(out)} == {12}
    assert session.lose("still down").batches == []
    out = session.frame(snapshot(500))
    assert (kinds(out), session.assembler.next_ordinal) == ([BOOK, BOOK], 14)


@pytest.mark.failure(37)
@pytest.mark.parametrize(
    "damage",
    [
        book(6)[:40],
        book(6).replace(b'"u":6', b'"u":"6"'),
        book(6, bids=[("NaN", "1")]),
        book(6, bids=[("-1.0", "1")]),
        book(6, bids=[("0.0", "1")]),
        trade((NOON_MS, "Buy", "0", "100.0")),
        trade((NOON_MS, "Hold", "1", "100.0")),
    ],
)
def test_a_damaged_frame_is_a_gap_of_its_symbol_and_the_stream_goes_on(damage: bytes) -> None:
    session = Session()
    session.frame(snapshot(5))
    session.frame(snapshot(5, symbol="ETHUSDT"))
    out = session.frame(damage)
    assert out.problem
    assert [(mark.symbol, mark.cause) for mark in gaps(out)] == [("BTCUSDT", "damaged frame")]
    assert out.resync == ("orderbook.50.BTCUSDT",)
    assert kinds(session.frame(book(6))) == [BOOK, BOOK]
    assert kinds(session.frame(snapshot(8))) == [BOOK, BOOK]


@pytest.mark.failure(37)
def test_what_belongs_to_nobody_may_belong_to_anybody() -> None:
    session = Session()
    session.frame(snapshot(5))
    session.frame(snapshot(5, symbol="ETHUSDT"))
    assert {mark.symbol for mark in gaps(session.frame(b'{"to'))} == {"BTCUSDT", "ETHUSDT"}


@pytest.mark.failure(37)
@pytest.mark.parametrize("damage", [b'{"topic":"kline.1.BTCUSDT","data":', ticker(NOON_MS, markPrice="soon")])
def test_a_damaged_frame_of_a_stream_without_events_is_no_gap(damage: bytes) -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(damage)
    assert out.problem
    assert not gaps(out)
    assert {type(record) for record in out.records} == {OddityMark}
    assert out.resync == ()


@pytest.mark.failure(37)
def test_a_message_from_the_future_is_left_out_and_the_next_one_accepted() -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(book(6, cts=NOON_MS * 2))
    assert (kinds(out), out.resync) == ([GAP], ("orderbook.50.BTCUSDT",))
    assert out.problem is not None
    assert "jumped" in out.problem
    assert kinds(session.frame(snapshot(7))) == [BOOK, BOOK]
    assert kinds(session.frame(trade((NOON_MS * 2, "Buy", "1", "100.0")))) == [GAP]
    two_days = 2 * 86_400_000
    session.frame(snapshot(8))
    session.frame(book(9, cts=NOON_MS + two_days))
    assert BOOK in kinds(session.frame(snapshot(10, cts=NOON_MS + two_days + 1)))


@pytest.mark.failure(35)
def test_a_long_outage_is_no_message_from_the_future() -> None:
    session = Session()
    session.frame(snapshot(5))
    session.lose()
    assert kinds(session.frame(snapshot(6, cts=NOON_MS + 3 * 86_400_000))) == [BOOK, BOOK]


def test_off_tick_says_symbol_and_value_and_leaves_a_gap() -> None:
    session = Session()
    session.frame(snapshot(5))
    out = session.frame(book(6, bids=[("100.05", "1")]))
    assert "BTCUSDT price 100.05 is not a multiple of 0.10" in str(out.problem)
    assert (kinds(out), out.resync, out.other_rules) == ([GAP], ("orderbook.50.BTCUSDT",), ("BTCUSDT",))
    out = session.frame(trade((NOON_MS, "Buy", "0.0001", "100.0")))
    assert "BTCUSDT size 0.0001" in str(out.problem)
    assert out.other_rules == ("BTCUSDT",)


def test_tickers_are_records_without_events() -> None:
    session = Session()
    out = session.frame(
        ticker(NOON_MS, kind="snapshot", markPrice="100.05", fundingRate="0.0001", nextFundingTime="123", preQty="")
    )
    row = out.records[0]
    assert isinstance(row, TickerRow)
    assert (str(row.mark_price), str(row.funding_rate), row.next_funding_ms) == ("100.05", "0.0001", 123)
    assert (row.index_price, row.is_snapshot, out.batches) == (None, True, [])
    assert session.frame(ticker(NOON_MS, bid1Price="1")).records == []


def test_other_symbols_topics_and_depths_are_left_out() -> None:
    session = Session()
    assert session.frame(b'{"topic":"kline.1.BTCUSDT"}') == Assembled()
    assert session.frame(b'{"success":true,"op":"subscribe"}') == Assembled()
    assert "not asked for" in str(session.frame(snapshot(5, symbol="XRPUSDT")).problem)
    session.frame(snapshot(5))
    out = session.frame(snapshot(5).replace(b"orderbook.50", b"orderbook.200"))
    assert not out.batches
    assert "one book a symbol" in str(out.problem)


def test_ordinals_number_the_frames() -> None:
    session = Session()
    frames = [snapshot(1), book(2), snapshot(1, symbol="ETHUSDT"), trade((NOON_MS, "Buy", "1", "1")), book(3)]
    ordinals = [batch.ordinal.tolist() for frame in frames for _, batch in session.frame(frame).batches]
    assert ordinals == [[10], [10, 10], [11, 11], [12], [12, 12], [13], [14, 14]]
