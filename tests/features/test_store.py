"""Bars on disk are what was built, or are built again."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features import BarRule, Bars, FeatureEngine, FeatureStore, build, feature_names, spec_hash, timeframe_label
from features.bars import BY_TIME
from market.errors import DataError
from market.events import EventBatch
from tests.features._streams import random_market


class Lake:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.events = random_market(4, 400)
        self.reads = 0

    def open(self) -> Iterator[EventBatch]:
        self.reads += 1
        return self.events.chunks(500)

    def bars(self, store: FeatureStore, fingerprint: str = "f" * 64, levels: int = 50) -> Bars:
        return store.get_or_build(fingerprint, "BTCUSDT", 10_000, levels, 60_000, self.open)


@pytest.fixture
def lake() -> Lake:
    return Lake()


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features")


def test_built_once_then_read_to_the_bit(lake: Lake, store: FeatureStore) -> None:
    built = lake.bars(store)
    assert len(built)
    assert built.equals(build([lake.events], 10_000, 50))
    assert lake.bars(store).equals(built)
    assert lake.reads == 1


def test_another_lake_or_level_count_is_another_file(lake: Lake, store: FeatureStore) -> None:
    lake.bars(store)
    lake.bars(store, fingerprint="a" * 64)
    lake.bars(store, levels=10)
    assert lake.reads == 3
    assert len(list(store.root.rglob("*.parquet"))) == 3


def test_a_fingerprint_that_only_starts_the_same_is_built_again(lake: Lake, store: FeatureStore) -> None:
    lake.bars(store, fingerprint="f" * 64)
    lake.bars(store, fingerprint="f" * 32 + "0" * 32)
    assert lake.reads == 2


def test_the_path_says_what_it_is(store: FeatureStore) -> None:
    path = store.path("0123456789abcdef" * 4, "BTCUSDT", 300_000, 50, 60_000)
    assert path.relative_to(store.root).as_posix() == (
        f"symbol=BTCUSDT/timeframe=5m/{spec_hash(300_000, 50, 60_000)[:16]}-0123456789abcdef.parquet"
    )
    assert [timeframe_label(ms) for ms in (250, 5_000, 60_000, 14_400_000)] == ["250ms", "5s", "1m", "4h"]


def test_a_file_is_readable_by_anyone(lake: Lake, store: FeatureStore) -> None:
    bars = lake.bars(store)
    table = pq.read_table(next(store.root.rglob("*.parquet")), partitioning=None)
    assert table.column_names[-len(feature_names(50)) :] == list(feature_names(50))
    assert table["close_ms"].to_numpy().tolist() == bars.close_ms.tolist()


@pytest.mark.failure(38)
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "edited", "columns"])
def test_a_damaged_file_is_built_again(lake: Lake, store: FeatureStore, damage: str) -> None:
    built = lake.bars(store)
    path = next(store.root.rglob("*.parquet"))
    if damage in {"cut", "empty", "text"}:
        data = path.read_bytes()
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"not parquet"}[damage])
    else:
        table = pq.read_table(path, partitioning=None)
        if damage == "columns":
            table = table.drop_columns(["spread_mean"])
        else:
            table = table.set_column(7, "trades", [table["volume"].combine_chunks()])
        pq.write_table(table, path)
    assert lake.bars(store).equals(built)
    assert lake.reads == 2
    assert lake.bars(store).equals(built)
    assert lake.reads == 2


def test_a_failed_build_leaves_nothing(store: FeatureStore) -> None:
    def broken() -> Iterator[EventBatch]:
        yield random_market(1, 50)
        raise DataError("part 7 is damaged", advice="Record it again")

    with pytest.raises(DataError, match="part 7"):
        store.get_or_build("f" * 64, "BTCUSDT", 10_000, 50, 60_000, broken)
    assert not list(store.root.rglob("*.parquet"))


def test_progress_counts_events(lake: Lake) -> None:
    seen: list[int] = []
    build(lake.open(), 10_000, 50, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(lake.events)


def test_an_empty_stream_gives_no_bars(store: FeatureStore) -> None:
    bars = store.get_or_build("f" * 64, "BTCUSDT", 10_000, 50, 60_000, list)
    assert bars.values.shape == (0, len(FeatureEngine(10_000, 50).names))


def test_bars_join_cut_and_compare(lake: Lake) -> None:
    bars = build([lake.events], 10_000, 50)
    assert Bars.concat([bars[:7], Bars.empty(bars.values.shape[1]), bars[7:]]).equals(bars)
    assert len(bars[bars.valid]) == bars.valid.sum()
    assert not bars[1:].equals(bars)
    with pytest.raises(ValueError, match="nothing to join"):
        Bars.concat([])


@dataclass(frozen=True)
class Piece:
    """A day of a stream, and how often it was read."""

    date: str
    rows: EventBatch
    opened: list[str]
    edited: str = ""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.date}{len(self.rows)}{self.edited}".encode()).hexdigest()

    def events(self) -> Iterator[EventBatch]:
        self.opened.append(self.date)
        return self.rows.chunks(300)


def pieces(count: int = 4) -> tuple[list[Piece], list[str]]:
    events, opened = random_market(5, 600, context=True), list[str]()
    edges = [len(events) * n // count for n in range(count + 1)]
    return [
        Piece(f"2026-01-0{n + 1}", events[start:stop], opened)
        for n, (start, stop) in enumerate(itertools.pairwise(edges))
    ], opened


def by_day(store: FeatureStore, days: list[Piece], levels: int = 50, rule: BarRule = BY_TIME) -> Bars:
    return store.by_day(days, "BTCUSDT", 10_000, levels, 60_000, rule=rule)


@pytest.mark.parametrize("rule", [BarRule(), BarRule("volume", 400)])
def test_a_new_day_computes_only_the_new_day(store: FeatureStore, rule: BarRule) -> None:
    days, opened = pieces()
    for count in range(1, 5):
        bars = by_day(store, days[:count], rule=rule)
        assert opened == [day.date for day in days[:count]]
        whole = build([day.rows for day in days[:count]], 10_000, 50, rule=rule)
        assert len(bars)
        assert bars.equals(whole)
    assert by_day(store, days, rule=rule).equals(bars)
    assert len(opened) == 4


def test_a_changed_day_computes_itself_and_what_follows(store: FeatureStore) -> None:
    days, opened = pieces()
    by_day(store, days)
    opened.clear()
    again = [*days[:2], dataclasses.replace(days[2], rows=days[2].rows[:-40], edited="shorter"), days[3]]
    bars = by_day(store, again)
    assert opened == [day.date for day in days[2:]]
    assert bars.equals(build([day.rows for day in again], 10_000, 50))


@pytest.mark.parametrize("suffix", [".state", ".parquet"])
def test_damaged_days_are_computed_again(store: FeatureStore, suffix: str) -> None:
    days, opened = pieces()
    by_day(store, days[:3])
    for path in store.root.rglob(f"date=2026-01-03/*{suffix}"):
        path.write_bytes(b"x")
    opened.clear()
    assert by_day(store, days).equals(build([day.rows for day in days], 10_000, 50))
    # Without the state that the third day left there is no way but from the beginning.
    assert opened == ([day.date for day in days] if suffix == ".state" else [day.date for day in days[2:]])


def test_a_kept_engine_goes_on(store: FeatureStore) -> None:
    days, opened = pieces()
    bars = by_day(store, days[:3])
    opened.clear()
    engine = store.engine(days[:3], "BTCUSDT", 10_000, 50, 60_000)
    assert engine is not None
    assert Bars.concat([bars, engine.push(days[3].rows)]).equals(build([day.rows for day in days], 10_000, 50))
    assert not opened
    assert store.engine(days, "BTCUSDT", 10_000, 50, 60_000) is None
    assert store.engine([], "BTCUSDT", 10_000, 50, 60_000) is None


def _write_days(root: Path) -> bytes:
    bars = by_day(FeatureStore(root), pieces()[0])
    return bars.values.tobytes() + bars.close_ms.tobytes()


def test_processes_that_write_at_the_same_time_agree(store: FeatureStore) -> None:
    days, _ = pieces()
    by_day(FeatureStore(store.root / "apart"), days)  # compiled before the processes start
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(_write_days, [store.root] * 6))
    assert len(set(results)) == 1
    bars = by_day(store, days)
    assert bars.values.tobytes() + bars.close_ms.tobytes() == results[0]
    assert not list(store.root.rglob("*.part"))


def test_writers_at_the_same_time_agree(store: FeatureStore) -> None:
    days, _ = pieces()
    with ThreadPoolExecutor(6) as pool:
        results = [job.result() for job in [pool.submit(by_day, store, days) for _ in range(6)]]
    assert all(bars.equals(results[0]) for bars in results)
    assert len(list(store.root.rglob("*.parquet"))) == 4
    assert not list(store.root.rglob("*.part"))
    assert by_day(store, days).equals(results[0])
