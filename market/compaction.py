"""Past days in one file: small parts merged without changing a row, and old days removed where a person wants that."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from market._buffer import day_start_ms
from market._part_files import end_removals, manifest_path, part_path, remove_merged, remove_part
from market._parts import (
    BOOK_STREAM,
    STREAMS,
    arrow_schema,
    is_wide,
    lake_io,
    publish,
    read_parquet,
    stage,
    staged,
    thorough_options,
)
from market._replay import with_missing_parts
from market.errors import LakeError
from market.lake import Lake
from market.manifest import Gap, Manifest, Merged, StreamFile, encode_manifest

#: Rows of a row group of a merged file: what a reader holds at a time.
_GROUP_ROWS = 1 << 18
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Compacted:
    """One merged run of parts: sizes before and after, and the digest of its rows, which has not changed."""

    symbol: str
    date: str
    parts: int
    bytes_before: int
    bytes_after: int
    digest: str


@dataclass(frozen=True, slots=True)
class Retention:
    """What may be removed; both off by default.

    Attributes
    ----------
    max_age_days
        Days older than this, counted from the newest day of the symbol, are removed.
    max_bytes
        Oldest days of all symbols are removed until the lake is not larger.
    """

    max_age_days: int | None = None
    max_bytes: int | None = None


def compact(lake: Lake, symbol: str, *, min_parts: int = 2) -> list[Compacted]:
    """Merge the recorded parts of each past day; recording may go on meanwhile.

    The rows, their order, gaps, doubts and the lake's fingerprint stay as they are: the digest of the merged file is
    computed from the file as read back and compared before anything is removed. The newest day is left alone.

    Raises
    ------
    AlreadyRunningError
        Another compaction is at work on the symbol.
    LakeError
        A part is damaged, the disk refuses, or the digests differ; the parts are left as they are.
    """
    lock = lake.compaction_lock(symbol)
    done: list[Compacted] = []
    try:
        remove_merged(lake.root, symbol)
        sealed = lake.sealed(symbol)
        newest = max((manifest.date for manifest in sealed), default="")
        runs = [run for run in _runs(with_missing_parts(sealed)) if len(run) >= min_parts and run[0][0].date < newest]
        done += [_merge(lake.root, run) for run in runs]
        remove_merged(lake.root, symbol)
    finally:
        lock.release()
    return done


def _runs(parts: Sequence[tuple[Manifest, list[Gap]]]) -> Iterator[list[tuple[Manifest, list[Gap]]]]:
    """Neighbouring recorded parts of one day and the same units."""
    for key, run in groupby(parts, lambda one: (one[0].date, one[0].tick_size, one[0].qty_step, one[0].source is None)):
        if key[3]:
            yield list(run)


def _merge(root: Path, run: Sequence[tuple[Manifest, list[Gap]]]) -> Compacted:
    manifests = [manifest for manifest, _ in run]
    first = manifests[0]
    name = f"{first.part.rstrip('c')}c{'c' * (len(first.part) - len(first.part.rstrip('c')))}"
    target = msgspec.structs.replace(first, part=name)
    files: dict[str, StreamFile] = {}
    digests: list[str] = []
    try:
        for stream in STREAMS:
            sources = [manifest for manifest in manifests if stream in manifest.files]
            if sources:
                files[stream], digest = _merge_stream(root, stream, sources, part_path(root, stream, target))
                digests.append(digest)
        merged = _merged_manifest(run, name, files)
        stage(manifest_path(root, merged), encode_manifest(merged))
        for stream in files:
            publish(part_path(root, stream, target))
        publish(manifest_path(root, merged))
    except LakeError:
        for path in (*(part_path(root, stream, target) for stream in STREAMS), manifest_path(root, target)):
            staged(path).unlink(missing_ok=True)
        raise
    before = sum(file.bytes for manifest in manifests for file in manifest.files.values())
    after = sum(file.bytes for file in files.values())
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Compacted(first.symbol, first.date, len(run), before, after, digest)


def _merge_stream(root: Path, stream: str, sources: Sequence[Manifest], target: Path) -> tuple[StreamFile, str]:
    """Write the rows of all sources into one file under its temporary name, and prove that they are the same."""
    before = RowDigest()
    first = sources[0]
    metadata = {
        "purplesky.symbol": first.symbol,
        "purplesky.tick_size": first.tick_size,
        "purplesky.qty_step": first.qty_step,
    }
    path = staged(target)
    wide = any(is_wide(part_path(root, stream, one)) for one in sources) if stream == BOOK_STREAM else False
    schema = arrow_schema(stream, metadata, wide=wide)
    with lake_io(path), path.open("wb") as file:
        tables = _regrouped(table.cast(schema) for table in _tables(root, stream, sources, before))
        first_table = next(tables, schema.empty_table())
        with pq.ParquetWriter(file, schema, **thorough_options(first_table)) as writer:
            for table in itertools.chain([first_table], tables):
                writer.write_table(table, row_group_size=_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    after = RowDigest()
    with pq.ParquetFile(path) as written:
        for batch in written.iter_batches(_GROUP_ROWS):
            after.add(pa.Table.from_batches([batch]))
    if after.rows != before.rows or after.hexdigest() != before.hexdigest():
        raise LakeError(f"{target} would not hold the rows of its parts", advice="Report it; the parts are untouched")
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return StreamFile(after.rows, path.stat().st_size, content), after.hexdigest()


def _tables(root: Path, stream: str, sources: Sequence[Manifest], digest: RowDigest) -> Iterator[pa.Table]:
    for manifest in sources:
        table = read_parquet(part_path(root, stream, manifest), stream, manifest.files[stream])
        digest.add(table)
        yield table


def _regrouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a whole row group each."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= _GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            whole = rows - rows % _GROUP_ROWS
            yield joined.slice(0, whole).combine_chunks()
            waiting, rows = [joined.slice(whole)], rows - whole
    if rows:
        yield pa.concat_tables(waiting).combine_chunks()


class RowDigest:
    """SHA-256 over rows, column by column, whatever parts and row groups they lie in."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: dict[str, hashlib._Hash] = {}

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        self.rows += len(table)
        for name in table.column_names:
            hasher = self._columns.setdefault(name, hashlib.sha256())
            column = table.column(name)
            if pa.types.is_integer(column.type) and column.null_count == 0:
                width = np.int64 if pa.types.is_int32(column.type) else None  # the same price in a wide file
                hasher.update(np.ascontiguousarray(column.to_numpy(), width).tobytes())
            else:
                hasher.update("".join(f"{value!r}\n" for value in column.to_pylist()).encode())

    def hexdigest(self) -> str:
        """Of all columns, by name."""
        return hashlib.sha256(
            "".join(f"{name}:{hasher.hexdigest()};" for name, hasher in sorted(self._columns.items())).encode()
        ).hexdigest()


def _merged_manifest(run: Sequence[tuple[Manifest, list[Gap]]], name: str, files: dict[str, StreamFile]) -> Manifest:
    manifests = [manifest for manifest, _ in run]
    first = manifests[0]
    book = [manifest for manifest in manifests if manifest.book_ms is not None and manifest.u is not None]
    origins: list[Merged] = []
    for manifest, gaps in run:
        origins += manifest.merged or [Merged(manifest.part, manifest.times_ms, manifest.files, gaps)]
    return msgspec.structs.replace(
        first,
        part=name,
        files=files,
        level_changes=sum(manifest.level_changes for manifest in manifests),
        trades=sum(manifest.trades for manifest in manifests),
        ordinals=(first.ordinals[0], manifests[-1].ordinals[1]),
        times_ms=(min(m.times_ms[0] for m in manifests), max(m.times_ms[1] for m in manifests)),
        book_ms=_ends([(m.book_ms[0], m.book_ms[1]) for m in book if m.book_ms]),
        u=_ends([(m.u[0], m.u[1]) for m in book if m.u]),
        max_silence_ms=max(_silences(book), default=0),
        gaps=[gap for _, gaps in run for gap in gaps if not _is_outside(gap, first)],
        snapshots=[snapshot for manifest in manifests for snapshot in manifest.snapshots],
        doubts=[doubt for manifest in manifests for doubt in manifest.doubts],
        oddities=None
        if all(manifest.oddities is None for manifest in manifests)
        else [oddity for manifest in manifests for oddity in manifest.oddities or ()],
        merged=origins,
    )


def _is_outside(gap: Gap, first: Manifest) -> bool:
    """Whether a gap says that the part before the whole run is missing: that is said anew whenever it is read."""
    return gap.recv_ns == -1 and gap.ordinal == first.ordinals[0] and gap not in first.gaps


def _ends(pairs: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (pairs[0][0], pairs[-1][1]) if pairs else None


def _silences(book: Sequence[Manifest]) -> Iterator[int]:
    """Silences within parts, and between two parts, whichever session they are of."""
    clock = None
    for manifest in book:
        assert manifest.book_ms is not None
        yield manifest.max_silence_ms
        if clock is not None:
            yield max(0, manifest.book_ms[0] - clock)
        clock = max(clock or 0, manifest.book_ms[1])


def retain(lake: Lake, policy: Retention) -> list[tuple[str, str, int]]:
    """Remove whole old days; never the newest day of a symbol.

    Returns
    -------
    list of (symbol, date, bytes)
        What was removed. Its time counts as a hole from then on.
    """
    for symbol in lake.symbols():
        end_removals(lake.root, symbol)
    days = [
        (date, symbol, list(parts))
        for symbol in lake.symbols()
        for date, parts in groupby(lake.sealed(symbol), lambda manifest: manifest.date)
    ]
    newest = {symbol: max(date for date, other, _ in days if other == symbol) for _, symbol, _ in days}
    sizes = {(s, d): sum(f.bytes for m in parts for f in m.files.values()) for d, s, parts in days}
    total, removed = sum(sizes.values()), []
    for date, symbol, parts in sorted(days, key=lambda day: day[:2]):
        age = (day_start_ms(newest[symbol]) - day_start_ms(date)) // _DAY_MS
        too_old = policy.max_age_days is not None and age > policy.max_age_days
        too_large = policy.max_bytes is not None and total > policy.max_bytes
        if date != newest[symbol] and (too_old or too_large):
            _remove(lake, symbol, parts)
            total -= sizes[symbol, date]
            removed.append((symbol, date, sizes[symbol, date]))
    return removed


def _remove(lake: Lake, symbol: str, parts: Sequence[Manifest]) -> None:
    lock = lake.compaction_lock(symbol)
    try:
        for manifest in parts:
            remove_part(lake.root, manifest)
    finally:
        lock.release()
