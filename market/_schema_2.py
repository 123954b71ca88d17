"""From lake schema 1 to 2: what a book message has once leaves the rows of the book for a file of its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from market._parts import (
    BOOK_STREAM,
    MESSAGE_STREAM,
    ROW_GROUP,
    arrow_schema,
    damaged,
    lake_io,
    needs_wide,
    publish,
    staged,
    sync_folder,
    writer_options,
)
from market.compaction import RowDigest
from market.errors import LakeError

_BEFORE = ("time_ms", "recv_ns", "ordinal", "ts_ms", "u", "seq", "side", "flags", "price", "size")
_OF_MESSAGE = ("recv_ns", "ts_ms", "u", "seq")


def split_messages(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Rewrite the book file of a part of schema 1 as a book and a message file; its manifest's new values.

    What the book file was stays beside it as ``<name>.schema-1`` until the manifest is written, and is what a second
    attempt starts from. The new files are read back, put together and compared before they get their names.

    Raises
    ------
    LakeError
        The book file is not what was sealed, the disk refuses, or the new files would not hold the same rows.
    """
    files = dict(values["files"])
    if BOOK_STREAM not in files:
        return values
    book = folder / f"{values['part']}.parquet"
    before = _kept(book, files[BOOK_STREAM])
    root, place = folder.parents[2], Path(folder.parent.name, folder.name)
    targets = {stream: root / stream / place / book.name for stream in (MESSAGE_STREAM, BOOK_STREAM)}
    rows = dict.fromkeys(targets, 0)
    names = ("symbol", "tick_size", "qty_step")
    metadata = {f"purplesky.{name}": str(values[name]) for name in names}
    with lake_io(book):
        source = pq.ParquetFile(before)
        wide = any(needs_wide(table.column("price").to_numpy()) for table in _groups(source, ["price"]))
        schemas = {stream: arrow_schema(stream, metadata, wide=wide) for stream in targets}
        for stream, schema in schemas.items():
            staged(targets[stream]).parent.mkdir(parents=True, exist_ok=True)
            with pq.ParquetWriter(staged(targets[stream]), schema, **writer_options(schema.names)) as writer:
                for table in _messages(source) if stream == MESSAGE_STREAM else _groups(source, schema.names):
                    writer.write_table(table.select(schema.names).cast(schema), row_group_size=ROW_GROUP)
                    rows[stream] += len(table)
        if _digest(_together(*(staged(targets[stream]) for stream in targets))) != _digest(_groups(source, _BEFORE)):
            raise LakeError(f"{book} would not keep its rows", advice="Report it; the part is as it was")
        for stream, path in targets.items():
            if not rows[stream] and stream == MESSAGE_STREAM:
                staged(path).unlink()
                continue
            files[stream] = {"rows": rows[stream], **_seal(staged(path))}
            publish(path)
    return {**values, "files": files}


def _kept(book: Path, sealed: dict[str, Any]) -> Path:
    """The book file of schema 1, under the name that it keeps until the part is done."""
    kept = book.with_name(f"{book.name}.schema-1")
    with lake_io(book):
        source = kept if kept.exists() else book
        if not source.exists():
            raise damaged(book, "it is not there")
        found = _hashed(source)
        if (found["bytes"], found["sha256"]) != (sealed["bytes"], sealed["sha256"]):
            raise damaged(source, "its content is not what was sealed")
        if source is book:
            os.link(book, kept)
            sync_folder(book.parent)
    return kept


def _hashed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _seal(path: Path) -> dict[str, Any]:
    """Bring a file down to the disk; its size and hash."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _hashed(path)


def _groups(file: pq.ParquetFile, columns: list[str] | tuple[str, ...]) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, list(columns)).select(list(columns))


def _messages(source: pq.ParquetFile) -> Iterator[pa.Table]:
    """One row for each message: of the first of its rows."""
    last = -1
    for table in _groups(source, ("ordinal", "time_ms", *_OF_MESSAGE)):
        ordinal = table.column("ordinal").to_numpy()
        first = pa.array(np.flatnonzero(np.diff(ordinal, prepend=last)))
        last = int(ordinal[-1]) if len(ordinal) else last
        rows = table.take(first)
        lag = rows.column("ts_ms").to_numpy() - rows.column("time_ms").to_numpy()
        yield rows.append_column("ts_lag_ms", pa.array(lag))


def _together(message_path: Path, book_path: Path) -> Iterator[pa.Table]:
    """The rows of schema 1, from the files of schema 2."""
    with pq.ParquetFile(message_path) as one, pq.ParquetFile(book_path) as other:
        messages = one.read()
        ordinals = messages.column("ordinal").to_numpy()
        for table in _groups(other, other.schema_arrow.names):
            at = pa.array(np.searchsorted(ordinals, table.column("ordinal").to_numpy()))
            of_message = messages.take(at)
            ts_ms = of_message.column("ts_lag_ms").to_numpy() + table.column("time_ms").to_numpy()
            columns = {name: table.column(name) for name in table.column_names}
            columns |= {name: of_message.column(name) for name in ("recv_ns", "u", "seq")} | {"ts_ms": pa.array(ts_ms)}
            yield pa.table({name: columns[name] for name in _BEFORE})


def _digest(tables: Iterator[pa.Table]) -> str:
    """Of the rows, however wide their prices are kept."""
    digest = RowDigest()
    for table in tables:
        digest.add(table)
    return digest.hexdigest()
