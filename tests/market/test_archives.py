"""Import of history archives: whole, exact, once."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import threading
import zipfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market import EventBatch, Lake, SessionAssembler, SuspectWindow, import_archives, read_instruments
from market._ahead import Ahead
from market._decode import LineDecoder
from market._scan import FrameScanner
from market.assembler import book_events
from market.errors import AlreadyRunningError, ArchiveError, LakeError, UnknownSymbolError
from market.events import BOOK, EMPTY, GAP, TRADE
from market.frames import BookFrame, decode
from market.units import UnitTable
from tests.market.venue import BTC, RULES, book, snapshot

#: 2026-01-05 00:00 UTC.
DAY_MS = 1_767_571_200_000
HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
INFO = {
    "symbol": "BTCUSDT",
    "leverageFilter": {"maxLeverage": "100"},
    "priceFilter": {"tickSize": "0.10"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "1000", "maxMktOrderQty": "100"},
}


class Shelf:
    """A folder of archives being filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "instruments-info.json").write_text(json.dumps({"result": {"list": [INFO]}}))

    def books(self, day: int, lines: Sequence[bytes], symbol: str = "BTCUSDT") -> Path:
        path = self.folder / "orderbook" / symbol / f"{date(day)}_{symbol}_ob200.data.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path.name.removesuffix(".zip"), b"".join(line + b"\n" for line in lines))
        return path

    def trades(self, day: int, rows: Sequence[tuple[str, str, str, str]], symbol: str = "BTCUSDT") -> Path:
        """Rows of ``(seconds, side, size, price)``."""
        path = self.folder / "trades" / symbol / f"{symbol}{date(day)}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{t},{symbol},{side},{size},{price},PlusTick,id{n},1,1,1" for n, (t, side, size, price) in enumerate(rows)
        ]
        path.write_bytes(gzip.compress("\n".join([HEADER, *lines, ""]).encode()))
        return path


def date(day: int) -> str:
    return (dt.date(2026, 1, 5) + dt.timedelta(days=day)).isoformat()


def at(ms: int) -> int:
    return DAY_MS + ms


def seconds(ms: int) -> str:
    return f"{at(ms) // 1000}.{at(ms) % 1000:03d}0"


def events(lake: Lake) -> EventBatch:
    return EventBatch.concat(lake.events("BTCUSDT"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "archives")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def two_days(shelf: Shelf) -> None:
    midnight = 86_400_000
    late = midnight - 2000
    shelf.books(0, [snapshot(1, cts=at(late)), book(2, cts=at(late + 100)), book(3, [], [], cts=at(late + 200))])
    shelf.trades(0, [(seconds(late + 100), "Buy", "0.001", "100.1"), (seconds(late + 101), "Sell", "0.002", "100.0")])
    shelf.books(1, [snapshot(4, cts=at(midnight)), book(5, cts=at(midnight + 50))])
    shelf.trades(1, [(seconds(midnight + 60), "Buy", "0.003", "100.10")])


def test_books_and_trades_are_merged_by_time(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    told: list[tuple[str, float]] = []
    report = import_archives(shelf.folder, "BTCUSDT", lake, lambda day, share: told.append((day, share)))
    assert (report.imported, report.skipped) == (["2026-01-05", "2026-01-06"], [])
    assert (report.level_changes, report.trades, report.gaps, report.warnings) == (8, 3, 1, [])
    assert told == [("2026-01-05", 1.0), ("2026-01-06", 1.0)]
    got = events(lake)
    assert got.kind.tolist() == [GAP, BOOK, BOOK, TRADE, BOOK, BOOK, TRADE, BOOK, BOOK, BOOK, BOOK, BOOK, TRADE]
    assert got.time_ms.tolist()[:8] == [at(86_398_000 + n) for n in (0, 0, 0, 100, 100, 100, 101, 200)]
    assert got.flags[7] & EMPTY
    assert (np.diff(got.ordinal) >= 0).all()
    assert set(got.recv_ns.tolist()) == {-1}
    trades = got.kind == TRADE
    assert got.price[trades].tolist() == [1001, 1000, 1001]
    assert got.size[trades].tolist() == [1, 2, 3]
    assert got.side[trades].tolist() == [0, 1, 0]
    assert lake.instrument("BTCUSDT").tick_size == BTC.tick_size


def test_older_rules_do_not_replace_newer_ones(shelf: Shelf, lake: Lake) -> None:
    newer = replace(BTC, max_steps=7)
    with lake.writer("BTCUSDT", newer) as writer:
        assembler = SessionAssembler({"BTCUSDT": newer}, lake.next_ordinal("BTCUSDT"))
        writer.append(assembler.on_frame(snapshot(1, cts=at(9 * 86_400_000)), 1))
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.instrument("BTCUSDT") == newer


def test_twice_adds_nothing(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", lake)
    before = lake.fingerprint("BTCUSDT")
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert (report.imported, report.skipped, report.level_changes) == ([], ["2026-01-05", "2026-01-06"], 0)
    assert lake.fingerprint("BTCUSDT") == before


@pytest.mark.failure(41)
def test_other_data_of_a_day_is_not_merged(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", lake)
    shelf.books(1, [snapshot(4, cts=at(86_400_000))])
    with pytest.raises(LakeError, match="already has BTCUSDT on 2026-01-06 from other archives"):
        import_archives(shelf.folder, "BTCUSDT", lake)


@pytest.mark.failure(41)
def test_history_goes_before_what_was_recorded_but_not_over_it(shelf: Shelf, lake: Lake) -> None:
    day = 86_400_000
    with lake.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, lake.next_ordinal("BTCUSDT"))
        writer.append(assembler.on_frame(snapshot(1, cts=at(3 * day)), 1))
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", lake)
    got = events(lake)
    assert (np.diff(got.ordinal) >= 0).all()
    assert (np.diff(got.time_ms) >= 0).all()
    assert [window.cause for window in lake.suspect_windows("BTCUSDT")] == ["session start"]
    shelf.books(3, [snapshot(9, cts=at(3 * day + 5))])
    with pytest.raises(LakeError, match="already has BTCUSDT on 2026-01-08 from a recording"):
        import_archives(shelf.folder, "BTCUSDT", lake)


def test_days_may_come_in_any_order(shelf: Shelf, lake: Lake, tmp_path: Path) -> None:
    two_days(shelf)
    first = next(shelf.folder.glob("orderbook/*/2026-01-05*"))
    first.rename(tmp_path / "aside")
    import_archives(shelf.folder, "BTCUSDT", lake)
    (tmp_path / "aside").rename(first)
    import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.days("BTCUSDT") == ["2026-01-05", "2026-01-06"]
    assert (np.diff(events(lake).time_ms) >= 0).all()


@pytest.mark.failure(33)
def test_breaks_inside_an_archive_are_gaps(shelf: Shelf, lake: Lake) -> None:
    lines = [snapshot(1, cts=at(0)), book(2, cts=at(1)), book(4, cts=at(5)), book(5, cts=at(6)), snapshot(9, cts=at(9))]
    lines += [book(10, cts=at(10)), snapshot(1, cts=at(20)), book(2, cts=at(21))]
    shelf.books(0, lines)
    shelf.trades(0, [(seconds(3), "Buy", "1", "100.0")])
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert report.gaps == 3
    assert lake.suspect_windows("BTCUSDT") == [
        SuspectWindow(at(3), at(9), "sequence break (u 2 to 4)"),
        SuspectWindow(at(10), at(20), "book restarted (u 10 to 1)"),
    ]


@pytest.mark.failure(35)
def test_a_missing_day_is_a_hole(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    shelf.books(3, [snapshot(9, cts=at(3 * 86_400_000)), book(10, cts=at(3 * 86_400_000 + 1))])
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert report.warnings == ["2026-01-08 has no trades archive"]
    windows = lake.suspect_windows("BTCUSDT")
    assert windows == [SuspectWindow(at(86_400_060), at(3 * 86_400_000), "session start")]


def test_archive_and_live_frames_give_the_same_book(shelf: Shelf, lake: Lake, recorded: Path) -> None:
    path = next((recorded / "live").glob("*.ndjson.gz"))
    frames = [line.split(b" ", 1)[1] for line in gzip.decompress(path.read_bytes()).splitlines()]
    books = [frame for frame in frames if b'"topic":"orderbook.200.BTCUSDT"' in frame]
    day = (dt.date(2026, 8, 9) - dt.date(2026, 1, 5)).days
    shelf.books(day, books)
    import_archives(shelf.folder, "BTCUSDT", lake)
    assembler = SessionAssembler({"BTCUSDT": BTC}, int(events(lake).ordinal[0]))
    live = EventBatch.concat(batch for frame in books for _, batch in assembler.on_frame(frame, -1).batches)
    assert events(lake).equals(live)


# -- the compiled scanner ---------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "0.1", "100.10", "100.1000", "99999.9", "1.05", "007.0", "1e3", "", ".", "1.", "-1", "9" * 20, "NaN"]
    ),
    st.integers(0, 10**6).map(lambda n: f"{n / 10:.1f}"),
    st.from_regex(r"[0-9]{0,10}(\.[0-9]{0,10})?", fullmatch=True),  # shorter and longer than what is read at once
    st.tuples(st.integers(0, 10**7), st.integers(1, 6)).map(lambda pair: f"{pair[0]}.{'0' * pair[1]}"),
)
LEVELS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4)
LINES = st.builds(
    book,
    u=st.sampled_from([1, 2, 5, 10**15, 10**17, 10**19]),
    bids=LEVELS,
    asks=LEVELS,
    kind=st.sampled_from(["snapshot", "delta", "update"]),
    symbol=st.sampled_from(["BTCUSDT", "BTCUSDT", "BTCUSDT", "BTCUSD"]),
    cts=st.sampled_from([0, 1, 1_767_571_200_000]),
)
MANGLED = st.one_of(
    LINES,
    LINES.map(lambda line: line + b"\r"),
    LINES.map(lambda line: line.replace(b":", b": ")),
    LINES.map(lambda line: json.dumps(dict(reversed(json.loads(line).items()))).encode()),
    st.tuples(LINES, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]]),
    st.tuples(LINES, st.integers(0, 200), st.binary(min_size=1, max_size=2)).map(
        lambda parts: parts[0][: parts[1]] + parts[2].replace(b"\n", b"x") + parts[0][parts[1] :]
    ),
    st.just(b""),
)


def slow(decoder: LineDecoder, lines: bytes) -> list[np.ndarray] | str:
    """What the decoder says when every line takes the slow way."""
    import market._decode as module

    original = module.scan_lines
    module.scan_lines = lambda data, end, position, symbol, units, heads, message, row, *rest: (position, message, row)
    try:
        return columns(decoder, lines)
    finally:
        module.scan_lines = original


def columns(decoder: LineDecoder, lines: bytes) -> list[np.ndarray] | str:
    try:
        decoded = decoder.decode(lines, 1)
    except ArchiveError as error:
        return error.message
    return [getattr(decoded, name) for name in decoded.__slots__]


@settings(max_examples=120, deadline=None)
@given(st.lists(MANGLED, min_size=1, max_size=5), st.booleans())
@example([book(2, [("100.05", "1")])], True)
@example([book(2, [("9007199254740993.0", "1")])], True)
@example([book(2, [("65114.20", "1.234"), ("123456.7", "12345678")])], True)
@example([book(2, [("65114.200", "0.00100"), ("1234567.0", "1.2345678")])], True)
@example([book(2, [("12345678", "0"), ("12345678.1", "1.0000000")])], True)
def test_the_scanner_never_differs_from_the_decoder(lines: list[bytes], ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    decoder = LineDecoder(BTC)
    fast, exact = columns(decoder, data), slow(decoder, data)
    if isinstance(fast, str) or isinstance(exact, str):
        assert fast == exact
    else:
        assert all(np.array_equal(one, other) for one, other in zip(fast, exact))


@settings(max_examples=100, deadline=None)
@given(MANGLED)
def test_live_frames_are_scanned_to_the_same_rows(line: bytes) -> None:
    scanned = FrameScanner(BTC).scan(line, 5, 6)
    if scanned is None:
        return
    frame = decode(line)
    assert isinstance(frame, BookFrame)
    prices, sizes = UnitTable(BTC.tick_size, "price"), UnitTable(BTC.qty_step, "size")
    assert scanned[0].equals(book_events(frame, prices, sizes, 5, 6))
    assert scanned[1][:5] == [frame.cts, frame.ts, frame.data.u, frame.data.seq, frame.is_snapshot]


def test_the_scanner_takes_what_bybit_writes(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> int:
        raise AssertionError("a line of Bybit's own took the slow way")

    monkeypatch.setattr(LineDecoder, "_slow", never)
    rules = read_instruments(recorded / "instruments-info.json")
    path = next((recorded / "orderbook" / "XRPUSDT").glob("*.zip"))
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0])
    assert len(LineDecoder(rules["XRPUSDT"]).decode(lines, 1).cts) == 50


# -- bad input --------------------------------------------------------------------------------------------------------


def test_an_unknown_symbol_lists_what_there_is(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    with pytest.raises(UnknownSymbolError, match=r"XRPUSDT \(symbols there: BTCUSDT\)"):
        import_archives(shelf.folder, "XRPUSDT", lake)
    with pytest.raises(UnknownSymbolError, match="symbols there: none"):
        import_archives(shelf.folder / "nowhere", "BTCUSDT", lake)
    shelf.books(0, [snapshot(1, symbol="ETHUSDT")], "ETHUSDT")
    with pytest.raises(UnknownSymbolError, match="no instrument rules for ETHUSDT"):
        import_archives(shelf.folder, "ETHUSDT", lake)
    assert not lake.root.exists()


def test_rules_must_be_there(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    (shelf.folder / "instruments-info.json").unlink()
    with pytest.raises(ArchiveError, match=r"no instruments-info\.json"):
        import_archives(shelf.folder, "BTCUSDT", lake)
    (shelf.folder / "live").mkdir()
    (shelf.folder / "live" / "x.instruments-info.json").write_text(json.dumps({"result": {"list": [INFO]}}))
    assert import_archives(shelf.folder, "BTCUSDT", lake).imported


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.failure(38)
@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("kind", ["orderbook", "trades"])
def test_a_damaged_archive_leaves_its_day_out_whole(
    shelf: Shelf, lake: Lake, kind: str, damage: Callable[[Path], None]
) -> None:
    two_days(shelf)
    path = next(shelf.folder.glob(f"{kind}/*/*2026-01-06*"))
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(ArchiveError, match=path.name):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.days("BTCUSDT") == ["2026-01-05"]
    assert not list(lake.root.glob("*/*/*2026-01-06*"))
    assert path.name in (lake.root / "_quarantine" / "archives" / "BTCUSDT" / "2026-01-06.json").read_text()
    path.write_bytes(whole)
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert (report.skipped, report.imported) == (["2026-01-05"], ["2026-01-06"])


def _wrong_checksum(data: bytearray) -> None:
    at = data.rindex(b"PK\x01\x02")
    data[at + 16] ^= 1


def _no_local_header(data: bytearray) -> None:
    data[0] ^= 1


def _other_method(data: bytearray) -> None:
    data[data.rindex(b"PK\x01\x02") + 10] = zipfile.ZIP_LZMA


def _encrypted(data: bytearray) -> None:
    data[data.rindex(b"PK\x01\x02") + 8] |= 1


@pytest.mark.failure(38)
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_wrong_checksum, "after line 20000: its checksum"),
        (_no_local_header, "after line 0: its file does not begin"),
        (_other_method, "after line 0: it is encrypted, or not deflated"),
        (_encrypted, "after line 0: it is encrypted, or not deflated"),
    ],
)
def test_a_zip_that_is_not_as_it_should_be(
    shelf: Shelf, lake: Lake, damage: Callable[[bytearray], None], says: str
) -> None:
    path = shelf.books(0, [snapshot(1, cts=at(0)), *(book(n, cts=at(n)) for n in range(2, 20_001))])
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=says):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.symbols() == []


def test_a_zip_that_is_not_compressed_is_read(shelf: Shelf, lake: Lake) -> None:
    path = shelf.books(0, [snapshot(1, cts=at(0)), *(book(n, cts=at(n)) for n in range(2, 20_001))])
    deflated = import_archives(shelf.folder, "BTCUSDT", lake)
    with zipfile.ZipFile(path) as archive:
        name, lines = archive.namelist()[0], archive.read(archive.namelist()[0])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, lines)
    other = Lake(lake.root.parent / "other")
    stored = import_archives(shelf.folder, "BTCUSDT", other)
    assert stored.level_changes == deflated.level_changes == 40_000
    assert EventBatch.concat(other.events("BTCUSDT")).equals(EventBatch.concat(lake.events("BTCUSDT")))


@pytest.mark.failure(38)
@pytest.mark.parametrize(
    ("line", "says"),
    [
        (book(2)[:50], "line 2: frame"),
        (book(2, [("100.05", "1")]), r"line 2: BTCUSDT price 100\.05 is not a multiple"),
        (b'{"topic":"kline.1.BTCUSDT"}', "line 2: not an order-book message"),
        (book(2, symbol="ETHUSDT"), "line 2: a message of ETHUSDT"),
        (b"", "line 2"),
    ],
)
def test_a_wrong_line_is_named(shelf: Shelf, lake: Lake, line: bytes, says: str) -> None:
    shelf.books(0, [snapshot(1, cts=at(0)), line, book(3, cts=at(2))])
    with pytest.raises(ArchiveError, match=says):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.symbols() == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("soon,BTCUSDT,Buy,1,100.0,x,id,1,1,1", "line 3 is not a trade"),
        ("1767571200.1,BTCUSDT,Long,1,100.0,x,id,1,1,1", "line 3 is not a trade"),
        ("1767571200.1,BTCUSDT,Buy,1,100.01,x,id,1,1,1", "line 3: BTCUSDT price"),
        ("1767571200.1,BTCUSDT,Buy,0,100.0,x,id,1,1,1", "line 3: BTCUSDT size"),
        ("1767571200.1,ETHUSDT,Buy,1,100.0,x,id,1,1,1", "line 3 is a trade of ETHUSDT"),
        ("1767571200.1,BTCUSDT", "line 3 is not a trade"),
    ],
)
def test_a_wrong_trade_is_named(shelf: Shelf, lake: Lake, row: str, says: str) -> None:
    shelf.books(0, [snapshot(1, cts=at(0))])
    path = shelf.trades(0, [(seconds(5), "Buy", "1", "100.0")])
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + row.encode() + b"\n"))
    with pytest.raises(ArchiveError, match=says):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.symbols() == []


@pytest.mark.failure(38)
@pytest.mark.parametrize("wrong", ["book", "trades"])
def test_an_archive_of_another_day_is_refused(shelf: Shelf, lake: Lake, wrong: str) -> None:
    later = 3 * 86_400_000
    shelf.books(0, [snapshot(1, cts=at(later if wrong == "book" else 0))])
    shelf.trades(0, [(seconds(later if wrong == "trades" else 5), "Buy", "1", "100.0")])
    with pytest.raises(ArchiveError, match=f"holds {date(3)}, not {date(0)}"):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.symbols() == []


def test_columns_of_trades_are_found_by_name(shelf: Shelf, lake: Lake) -> None:
    shelf.books(0, [snapshot(1, cts=at(0))])
    path = shelf.trades(0, [])
    path.write_bytes(gzip.compress(b"timestamp,symbol,side,size\n"))
    with pytest.raises(ArchiveError, match="line 1 has no column price, trdMatchID"):
        import_archives(shelf.folder, "BTCUSDT", lake)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows(
        [
            ["trdMatchID", "price", "size", "side", "symbol", "timestamp"],
            ["a", "100.0", "1e-3", "Buy", "BTCUSDT", seconds(7)],
        ]
    )
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    import_archives(shelf.folder, "BTCUSDT", lake)
    got = events(lake)
    assert (got.size[got.kind == TRADE].tolist(), got.time_ms[got.kind == TRADE].tolist()) == ([1], [at(7)])


def test_old_trade_archives_have_the_newest_first(shelf: Shelf, lake: Lake) -> None:
    shelf.books(0, [snapshot(1, cts=at(0))])
    shelf.trades(0, [(seconds(ms), "Buy", size, "100.0") for ms, size in ((9, "4"), (7, "3"), (7, "2"), (5, "1"))])
    import_archives(shelf.folder, "BTCUSDT", lake)
    got = events(lake)
    assert got.size[got.kind == TRADE].tolist() == [1000, 2000, 3000, 4000]


def test_a_day_without_a_book_is_left_out_and_said_so(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    shelf.trades(2, [(seconds(3 * 86_400_000), "Buy", "1", "100.0")])
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert report.warnings == ["2026-01-07 is left out: trades without an order book"]
    assert lake.days("BTCUSDT") == ["2026-01-05", "2026-01-06"]


@pytest.mark.failure(44)
def test_an_import_beside_a_recorder_is_refused(shelf: Shelf, lake: Lake) -> None:
    two_days(shelf)
    with lake.writer("BTCUSDT", BTC), pytest.raises(AlreadyRunningError):
        import_archives(shelf.folder, "BTCUSDT", lake)


@pytest.mark.failure(38)
def test_an_import_that_was_cut_off_is_done_again(shelf: Shelf, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.archives._PART_ROWS", 1)
    monkeypatch.setattr("market._archive_files.CHUNK", 200)
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", lake)
    whole = events(lake)
    manifests = sorted(lake.root.glob("book/*/date=2026-01-06/_*.json"))
    assert len(manifests) > 1
    manifests[-1].unlink()
    assert lake.days("BTCUSDT") == ["2026-01-05"]
    report = import_archives(shelf.folder, "BTCUSDT", lake)
    assert report.imported == ["2026-01-06"]
    assert events(lake).equals(whole)


def test_recorded_days(recorded: Path, lake: Lake) -> None:
    report = import_archives(recorded, "HLETHUSDT", lake)
    assert (report.gaps, report.trades) == (1, 6837)
    for symbol, count in (
        ("HLETHUSDT", report.level_changes),
        ("XRPUSDT", import_archives(recorded, "XRPUSDT", lake).level_changes),
    ):
        assert lake.counts(symbol)["level_changes"] == count
        assert lake.counts(symbol)["suspect_windows"] == 0
    got = EventBatch.concat(lake.events("HLETHUSDT"))
    assert (np.diff(got.time_ms) >= 0).all()


def test_what_is_made_ahead_comes_in_order_and_so_does_its_error() -> None:
    made: list[int] = []

    def items() -> Generator[int]:
        try:
            for n in range(5):
                made.append(n)
                yield n
            raise ArchiveError("line 5", advice="none")
        finally:
            made.append(-1)

    threads = threading.active_count()
    with Ahead(items(), 2) as ahead:
        taken = iter(ahead)
        assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ArchiveError, match="line 5"):
            next(taken)
    with Ahead(items(), 2) as ahead:
        assert next(iter(ahead)) == 0
    assert made[-1] == -1  # who stops early leaves nothing open
    assert threading.active_count() == threads
