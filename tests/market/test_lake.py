"""The lake gives back what was live, and trusts nothing that is not sealed and whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import EventBatch, Lake, LakeWriter, SessionAssembler, SuspectWindow
from market.compaction import compact
from market.days import lake_days
from market.errors import AlreadyRunningError, EmptyLakeError, LakeError, UnknownSymbolError
from market.events import BOOK, GAP
from tests.market.venue import BTC, NOON_MS, RULES, book, snapshot, ticker, trade

Step = bytes | str
DAY_MS = 86_400_000


def record(lake: Lake, steps: list[Step], *, seal_every: int = 10**9) -> EventBatch:
    """Record frames (bytes) and losses of the connection (text) into the lake; what was live."""
    live: list[EventBatch] = []
    with lake.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, lake.next_ordinal("BTCUSDT"))
        for n, step in enumerate(steps):
            out = assembler.on_disconnect(n, step) if isinstance(step, str) else assembler.on_frame(step, n)
            live += [batch for symbol, batch in out.batches if symbol == "BTCUSDT"]
            writer.append(out)
            if n % seal_every == seal_every - 1:
                writer.seal()
    return EventBatch.concat(live)


def read(lake: Lake, **limits: int) -> EventBatch:
    return EventBatch.concat(lake.events("BTCUSDT", **limits))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


SESSION: list[Step] = [
    snapshot(1),
    trade((NOON_MS + 150, "Buy", "0.5", "100.0"), (NOON_MS + 151, "Sell", "0.5", "100.0")),
    ticker(NOON_MS + 160, kind="snapshot", markPrice="100.05", fundingRate="0.0001", nextFundingTime="1767628800000"),
    book(2, bids=[], asks=[]),
    snapshot(1, symbol="ETHUSDT"),
    book(3),
    book(5),
    book(6),
    "cable cut",
    trade((NOON_MS + 650, "Buy", "0.1", "100.1")),
    snapshot(9),
    book(10)[:30],
    snapshot(12),
    book(13),
]


def test_gives_back_what_was_live_row_for_row(lake: Lake) -> None:
    live = record(lake, SESSION)
    assert read(lake).equals(live)
    assert EventBatch.concat(lake.events("BTCUSDT", chunk_rows=2)).equals(live)
    assert max(map(len, lake.events("BTCUSDT", chunk_rows=2))) == 2
    assert (live.kind == GAP).sum() == 4


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.integers(1, 3)),
        st.tuples(st.just("snapshot"), st.integers(1, 3)),
        st.tuples(st.just("empty"), st.just(1)),
        st.tuples(st.just("trade"), st.integers(0, 500)),
        st.tuples(st.just("ticker"), st.just(1)),
        st.tuples(st.just("loss"), st.just(1)),
        st.tuples(st.just("damage"), st.just(1)),
        st.tuples(st.just("night"), st.just(1)),
        st.tuples(st.just("session"), st.just(1)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, seal_every=st.integers(1, 9))
def test_gives_back_any_session(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], seal_every: int
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    sessions: list[list[Step]] = [[]]
    u, now = 1, NOON_MS
    for kind, value in steps:
        now += 100
        if kind in {"book", "snapshot", "empty"}:
            u += value
            levels = {"bids": [], "asks": []} if kind == "empty" else {}
            sessions[-1].append(book(u, kind="snapshot" if kind == "snapshot" else "delta", cts=now, **levels))
        elif kind == "trade":
            sessions[-1].append(trade((now - value, "Buy", "0.001", "100.0"), (now, "Sell", "0.002", "99.9")))
        elif kind == "ticker":
            sessions[-1].append(ticker(now, fundingRate="0.0001"))
        elif kind == "night":
            now += DAY_MS // 2
        elif kind == "session":
            sessions.append([])
        else:
            sessions[-1].append("lost" if kind == "loss" else b"{")
    live = EventBatch.concat(record(lake, session, seal_every=seal_every) for session in sessions)
    if lake.symbols():
        assert read(lake).equals(live)
        middle = (NOON_MS + now) // 2
        cut = [read_or_empty(lake, end_ms=middle), read_or_empty(lake, start_ms=middle)]
        assert sum(map(len, cut)) == len(live)
    else:
        assert len(live) == 0


def read_or_empty(lake: Lake, **limits: int) -> EventBatch:
    try:
        return read(lake, **limits)
    except EmptyLakeError:
        return EventBatch.empty()


def test_counts_days_span_and_rules(lake: Lake) -> None:
    record(lake, SESSION)
    assert lake.symbols() == ["BTCUSDT"]
    assert lake.days("BTCUSDT") == ["2026-01-05"]
    assert lake.counts("BTCUSDT") == {"level_changes": 14, "trades": 3, "suspect_windows": 3}
    assert lake.span_ms("BTCUSDT") == (NOON_MS + 100, NOON_MS + 1300)
    assert lake.instrument("BTCUSDT") == BTC


@pytest.mark.failure(33)
def test_suspect_windows_last_until_the_next_snapshot(lake: Lake) -> None:
    record(lake, SESSION)
    windows = [
        SuspectWindow(NOON_MS + 300, NOON_MS + 900, "sequence break (u 3 to 5)"),
        SuspectWindow(NOON_MS + 600, NOON_MS + 900, "cable cut"),
        SuspectWindow(NOON_MS + 900, NOON_MS + 1200, "damaged frame"),
    ]
    assert lake.suspect_windows("BTCUSDT") == windows
    assert lake.suspect_windows("BTCUSDT", end_ms=NOON_MS + 600) == windows[:1]
    assert lake.suspect_windows("BTCUSDT", start_ms=NOON_MS + 1000) == windows[2:]


@pytest.mark.failure(35)
@pytest.mark.parametrize("seal_every", [1, 100])
def test_silence_and_outage_count_time_not_rows(lake: Lake, seal_every: int) -> None:
    minute = 60_000
    record(
        lake,
        [snapshot(1, cts=NOON_MS), book(2, cts=NOON_MS + 61_000), book(3, cts=NOON_MS + 90_000)],
        seal_every=seal_every,
    )
    record(lake, [snapshot(9, cts=NOON_MS + 70 * minute), book(10, cts=NOON_MS + 71 * minute)])
    assert lake.suspect_windows("BTCUSDT") == [
        SuspectWindow(NOON_MS, NOON_MS + 61_000, "book silent for 61 s"),
        SuspectWindow(NOON_MS + 90_000, NOON_MS + 70 * minute, "session start"),
    ]
    assert len(lake.suspect_windows("BTCUSDT", stall_ms=10_000)) == 4
    assert lake.counts("BTCUSDT", stall_ms=62_000)["suspect_windows"] == 1


def test_time_limits_select_messages(lake: Lake) -> None:
    live = record(lake, SESSION)
    part = read(lake, start_ms=NOON_MS + 300, end_ms=NOON_MS + 900)
    keep = (live.time_ms >= NOON_MS + 300) & (live.time_ms < NOON_MS + 900)
    assert part.ordinal.tolist() == live.ordinal[keep].tolist()
    warm = next(lake.events("BTCUSDT", start_ms=NOON_MS + 300, from_snapshot=True))
    assert warm.time_ms[0] == NOON_MS + 100
    with pytest.raises(EmptyLakeError, match="no data in that time"):
        lake.events("BTCUSDT", start_ms=NOON_MS + DAY_MS)


def test_a_session_over_midnight_lies_in_two_days(lake: Lake) -> None:
    midnight = NOON_MS + DAY_MS // 2
    steps: list[Step] = [snapshot(1, cts=midnight - 100), book(2, cts=midnight), trade((midnight - 1, "Buy", "1", "1"))]
    live = record(lake, steps)
    assert lake.days("BTCUSDT") == ["2026-01-05", "2026-01-06"]
    assert read(lake).equals(live)


def test_fingerprint_is_of_content(lake: Lake, tmp_path: Path) -> None:
    other = Lake(tmp_path / "other")
    record(lake, SESSION)
    record(other, SESSION)
    assert lake.fingerprint("BTCUSDT") == other.fingerprint("BTCUSDT")
    assert lake.fingerprint("BTCUSDT") != lake.fingerprint("BTCUSDT", end_ms=NOON_MS + 200)
    before = lake.fingerprint("BTCUSDT")
    record(lake, [snapshot(20), book(21)])
    assert lake.fingerprint("BTCUSDT") != before


def test_the_fingerprint_tells_when_frames_came(lake: Lake, tmp_path: Path) -> None:
    """Receive times lie in a file of their own: it was once forgotten."""
    other = Lake(tmp_path / "other")
    record(lake, SESSION[:1])
    with other.writer("BTCUSDT", BTC) as writer:
        writer.append(SessionAssembler(RULES, other.next_ordinal("BTCUSDT")).on_frame(snapshot(1), 77))
    assert (read(lake).recv_ns != read(other).recv_ns).any()
    assert lake.fingerprint("BTCUSDT") != other.fingerprint("BTCUSDT")
    assert lake_days(lake, "BTCUSDT")[0].fingerprint != lake_days(other, "BTCUSDT")[0].fingerprint


def test_nothing_there(lake: Lake) -> None:
    assert lake.symbols() == []
    with pytest.raises(EmptyLakeError, match="purplesky capture"):
        lake.events("BTCUSDT")
    record(lake, SESSION)
    for call in (lake.days, lake.counts, lake.span_ms, lake.instrument, lake.fingerprint, lake.events):
        with pytest.raises(UnknownSymbolError, match=r"ETHUSDT \(it has: BTCUSDT\)"):
            call("ETHUSDT")
    with pytest.raises(LakeError, match="no stream 'candles'"):
        lake.parts("BTCUSDT", "candles")


def test_other_tools_read_it_as_is(lake: Lake) -> None:
    record(lake, SESSION, seal_every=4)
    pattern = str(lake.root / "book" / "**" / "*.parquet")
    rows = duckdb.sql(
        f"select symbol, date, count(*), sum(price) from read_parquet('{pattern}', hive_partitioning=true) group by all"
    ).fetchall()
    frame = pl.read_parquet(pattern, hive_partitioning=True)
    panda = pd.read_parquet(lake.root / "book")
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [("BTCUSDT", "2026-01-05", 15)]
    assert rows[0][3] == frame["price"].sum() == panda["price"].sum()
    assert len(frame) == len(panda) == 15
    assert set(panda["symbol"]) == {"BTCUSDT"}
    for stream, count in (("trades", 3), ("tickers", 1)):
        pattern = str(lake.root / stream / "**" / "*.parquet")
        assert duckdb.sql(f"select count(*) from read_parquet('{pattern}')").fetchall() == [(count,)]
        assert len(pl.read_parquet(pattern)) == len(pd.read_parquet(lake.root / stream)) == count
    messages = str(lake.root / "messages" / "**" / "*.parquet")
    joined = duckdb.sql(
        f"select ordinal, time_ms, recv_ns, u, seq, price from read_parquet('{lake.root}/book/**/*.parquet') as book"
        f" join read_parquet('{messages}') as messages using (ordinal)"
    ).pl()
    book, message = pl.read_parquet(f"{lake.root}/book/**/*.parquet"), pl.read_parquet(messages)
    panda = pd.read_parquet(lake.root / "book").merge(pd.read_parquet(lake.root / "messages"), on="ordinal")
    assert len(joined) == len(book.join(message, on="ordinal")) == len(panda) == 15
    live = read(lake)
    rows = joined.sort("ordinal", maintain_order=True)
    assert np.array_equal(rows["recv_ns"].to_numpy(), live.recv_ns[live.kind == BOOK])
    assert np.array_equal(panda["recv_ns"].to_numpy(), live.recv_ns[live.kind == BOOK])
    funding = pd.read_parquet(lake.root / "tickers")["funding_rate"]
    assert list(funding) == [Decimal("0.0001")]


def test_files_carry_units_and_dense_encodings(lake: Lake) -> None:
    record(lake, SESSION)
    path = lake.parts("BTCUSDT", "book")[0]
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"purplesky.tick_size"], metadata[b"purplesky.qty_step"]) == (b"0.10", b"0.001")
    assert metadata[b"purplesky.schema"] == b"2"
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert all(column.compression == "ZSTD" for column in columns.values())
    assert columns["price"].physical_type == "INT32"
    assert "BYTE_STREAM_SPLIT" in columns["price"].encodings
    assert "DELTA_BINARY_PACKED" in columns["time_ms"].encodings


def test_prices_beyond_32_bits_are_kept(lake: Lake) -> None:
    """No contract of Bybit's has them; a file with one has a wider column, and compaction keeps it."""
    fine = replace(BTC, tick_size=Decimal("0.0000000001"))
    steps = [snapshot(1), book(2), snapshot(3, bids=[("0.1", "1.0")], asks=[("0.2", "1.0")]), book(900_000)]
    live = []
    with lake.writer("BTCUSDT", fine) as writer:
        assembler = SessionAssembler({"BTCUSDT": fine}, 1)
        for step in (*steps, book(900_001, cts=NOON_MS + 86_400_000)):
            out = assembler.on_frame(step, 1)
            live += [batch for _, batch in out.batches]
            writer.append(out)
            writer.seal()
    assert read(lake).equals(EventBatch.concat(live))
    assert compact(lake, "BTCUSDT")
    assert read(lake).equals(EventBatch.concat(live))


def test_a_change_of_tick_is_not_read_across(lake: Lake) -> None:
    record(lake, SESSION)
    finer = replace(BTC, tick_size=Decimal("0.01"))
    with lake.writer("BTCUSDT", finer) as writer:
        writer.append(SessionAssembler({"BTCUSDT": finer}, lake.next_ordinal("BTCUSDT")).on_frame(snapshot(20), 1))
    assert lake.instrument("BTCUSDT") == finer
    with pytest.raises(LakeError, match="changes on the way"):
        lake.events("BTCUSDT")
    assert len(read(lake, start_ms=NOON_MS + 2000)) == 3


# -- damage -----------------------------------------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.failure(38)
@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("stream", ["book", "trades"])
def test_a_damaged_part_is_named_never_read(lake: Lake, stream: str, damage: Callable[[Path], None]) -> None:
    record(lake, SESSION)
    path = lake.parts("BTCUSDT", stream)[0]
    damage(path)
    with pytest.raises(LakeError, match=path.name):
        read(lake)


@pytest.mark.failure(38)
@pytest.mark.parametrize(
    "damage", [_truncate, lambda path: path.write_bytes(b"{}"), lambda path: path.write_bytes(b"")]
)
def test_a_damaged_manifest_is_named(lake: Lake, damage: Callable[[Path], None]) -> None:
    record(lake, SESSION)
    path = next(lake.root.glob("book/*/*/_*.json"))
    damage(path)
    with pytest.raises(LakeError, match=path.name):
        lake.counts("BTCUSDT")


@pytest.mark.failure(38)
def test_another_schema_is_refused(lake: Lake) -> None:
    record(lake, SESSION)
    path = next(lake.root.glob("book/*/*/_*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 3}))
    with pytest.raises(LakeError, match="has lake schema 3"):
        lake.days("BTCUSDT")


@pytest.mark.failure(38)
def test_columns_that_drifted_are_refused_even_when_sealed(lake: Lake) -> None:
    record(lake, SESSION)
    path = lake.parts("BTCUSDT", "book")[0]
    pq.write_table(pq.read_table(path).drop_columns(["size"]), path)
    manifest = path.with_name(f"_{path.stem}.json")
    sealed = json.loads(manifest.read_text())
    sealed["files"]["book"] |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest.write_text(json.dumps(sealed))
    with pytest.raises(LakeError, match="columns are not those"):
        read(lake)


@pytest.mark.failure(38)
def test_what_a_crash_leaves_is_not_trusted_and_moved_away(lake: Lake) -> None:
    live = record(lake, SESSION)
    whole = lake.parts("BTCUSDT", "book")[0]
    half = whole.with_name(f"{10**15}.parquet")
    half.write_bytes(whole.read_bytes())
    temporary = whole.with_name(".x.parquet.tmp")
    temporary.write_bytes(b"PAR1")
    assert read(lake).equals(live)
    lake.writer("BTCUSDT", BTC).close()
    assert not half.exists()
    assert not temporary.exists()
    assert len([path for path in (lake.root / "_quarantine").rglob("*") if path.is_file()]) == 2
    assert read(lake).equals(live)


@pytest.mark.failure(38)
def test_a_part_that_was_taken_away_is_a_hole(lake: Lake) -> None:
    record(lake, [snapshot(1), book(2), book(3), book(4), book(5), book(6)], seal_every=2)
    gone = lake.manifests("BTCUSDT")[1].part
    for path in lake.root.glob(f"book/*/*/*{gone}*"):
        path.unlink()
    events = read(lake)
    assert events.kind.tolist().count(GAP) == 2
    assert lake.suspect_windows("BTCUSDT") == [SuspectWindow(NOON_MS + 200, NOON_MS + 600, f"part {gone} is missing")]


@pytest.mark.failure(38)
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="cannot be written"):
        Lake(tmp_path / "file").writer("BTCUSDT", BTC)


@pytest.mark.failure(43)
def test_a_full_disk_keeps_what_was_sealed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    live = record(lake, SESSION)
    writer = lake.writer("BTCUSDT", BTC)
    writer.append(SessionAssembler(RULES, lake.next_ordinal("BTCUSDT")).on_frame(snapshot(20), 1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(LakeError, match="No space left"):
            writer.close()
    assert read(lake).equals(live)
    assert not list(lake.root.rglob("*.tmp"))
    lake.writer("BTCUSDT", BTC).close()


def test_an_exchange_of_another_time_is_refused(lake: Lake) -> None:
    record(lake, SESSION)
    early = SessionAssembler(RULES, lake.next_ordinal("BTCUSDT")).on_frame(snapshot(1, cts=NOON_MS - DAY_MS), 1)
    with lake.writer("BTCUSDT", BTC) as writer, pytest.raises(LakeError, match="ends at"):
        writer.append(early)


# -- one writer -------------------------------------------------------------------------------------------------------


@pytest.mark.failure(44)
def test_a_second_writer_is_refused_until_the_first_is_done(lake: Lake) -> None:
    first: LakeWriter = lake.writer("BTCUSDT", BTC)
    with pytest.raises(AlreadyRunningError, match="BTCUSDT is being written by another process"):
        lake.writer("BTCUSDT", BTC)
    lake.writer("ETHUSDT", RULES["ETHUSDT"]).close()
    first.close()
    lake.writer("BTCUSDT", BTC).close()


@pytest.mark.failure(44)
def test_a_writer_that_was_killed_does_not_block(lake: Lake) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from market import Lake\n"
        "from tests.market.venue import BTC\n"
        "writer = Lake(Path(sys.argv[1])).writer('BTCUSDT', BTC)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, lake.root], stdin=-1, stdout=-1, cwd=root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(AlreadyRunningError, match=f"pid {other.pid}"):
            lake.writer("BTCUSDT", BTC)
        other.kill()
        other.wait()
    lake.writer("BTCUSDT", BTC).close()
