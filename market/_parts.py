"""Parquet files of the lake: columns, encodings, writing that survives a crash, checked reading."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.errors import LakeError
from market.manifest import SCHEMA, StreamFile

BOOK_STREAM, MESSAGE_STREAM, TRADE_STREAM, TICKER_STREAM = "book", "messages", "trades", "tickers"
LIQUIDATION_STREAM, CHECKPOINT_STREAM = "liquidations", "checkpoints"
STREAMS = (BOOK_STREAM, MESSAGE_STREAM, TRADE_STREAM, TICKER_STREAM, LIQUIDATION_STREAM, CHECKPOINT_STREAM)

_WIDE, _SMALL, _FLAGS = np.dtype(np.int64), np.dtype(np.int8), np.dtype(np.uint8)
BOOK_DTYPES: dict[str, np.dtype[Any]] = {
    "time_ms": _WIDE, "ordinal": _WIDE, "side": _SMALL, "flags": _FLAGS, "price": np.dtype(np.int32), "size": _WIDE,
}  # fmt: skip
#: What a book message has once, whatever its number of rows; ``ordinal`` leads from the one to the other.
MESSAGE_DTYPES: dict[str, np.dtype[Any]] = dict.fromkeys(("ordinal", "recv_ns", "ts_lag_ms", "u", "seq"), _WIDE)
TRADE_DTYPES: dict[str, np.dtype[Any]] = {
    "time_ms": _WIDE, "recv_ns": _WIDE, "ordinal": _WIDE, "ts_ms": _WIDE, "seq": _WIDE,
    "side": _SMALL, "price": _WIDE, "size": _WIDE,
}  # fmt: skip
LIQUIDATION_DTYPES: dict[str, np.dtype[Any]] = {
    "time_ms": _WIDE, "recv_ns": _WIDE, "ordinal": _WIDE, "ts_ms": _WIDE, "side": _SMALL, "price": _WIDE, "size": _WIDE,
}  # fmt: skip
#: The whole book just before the rows of ``ordinal``, one row a level, best first.
CHECKPOINT_DTYPES: dict[str, np.dtype[Any]] = {
    "time_ms": _WIDE, "ordinal": _WIDE, "u": _WIDE, "side": _SMALL, "price": _WIDE, "size": _WIDE,
}  # fmt: skip

_DECIMAL = pa.decimal128(38, 12)
_ARROW: dict[str, list[tuple[str, pa.DataType] | pa.Field]] = {
    # Fields that cannot be null need no levels to say so: a fifth of the work of writing them.
    BOOK_STREAM: [pa.field(name, pa.from_numpy_dtype(dtype), False) for name, dtype in BOOK_DTYPES.items()],
    MESSAGE_STREAM: [pa.field(name, pa.from_numpy_dtype(dtype), False) for name, dtype in MESSAGE_DTYPES.items()],
    TRADE_STREAM: [*((name, pa.from_numpy_dtype(dtype)) for name, dtype in TRADE_DTYPES.items()), ("id", pa.string())],
    LIQUIDATION_STREAM: [(name, pa.from_numpy_dtype(dtype)) for name, dtype in LIQUIDATION_DTYPES.items()],
    CHECKPOINT_STREAM: [(name, pa.from_numpy_dtype(dtype)) for name, dtype in CHECKPOINT_DTYPES.items()],
    TICKER_STREAM: [
        ("time_ms", pa.int64()), ("recv_ns", pa.int64()), ("ordinal", pa.int64()), ("cs", pa.int64()),
        ("is_snapshot", pa.bool_()), ("last_price", _DECIMAL), ("mark_price", _DECIMAL), ("index_price", _DECIMAL),
        ("open_interest", _DECIMAL), ("funding_rate", _DECIMAL), ("next_funding_ms", pa.int64()),
    ],
}  # fmt: skip
#: Rows that are compressed together, and found together.
ROW_GROUP = 1 << 18
_DELTA = {"time_ms", "ordinal", "recv_ns", "ts_ms", "ts_lag_ms", "u", "seq", "cs"}
#: How a past day is compressed: slowly, once. Reading is as fast as before.
_THOROUGH_LEVEL, _TRIAL_ROWS = 19, 1 << 16
_SPLIT = {"price", "size", "side", "flags"}
#: Columns that a higher level makes slower to write and hardly smaller: with these encodings little is left to find.
_LIGHT = _DELTA | {"size", "side", "flags", "id"}
#: The greatest price, in ticks, of a file with the usual columns.
_NARROW_MOST = 2**31 - 1
#: Columns by which readers leave out row groups.
_SOUGHT = {"time_ms", "ordinal"}


def arrow_schema(stream: str, metadata: dict[str, str], *, wide: bool = False) -> pa.Schema:
    """Columns of a stream, with the file's metadata; `wide` for a book with prices beyond 32 bits."""
    schema = pa.schema(_ARROW[stream], metadata={"purplesky.schema": str(SCHEMA), **metadata})
    if not wide or stream != BOOK_STREAM:
        return schema
    return schema.set(schema.get_field_index("price"), pa.field("price", pa.int64(), False))


def needs_wide(price: NDArray[np.int64]) -> bool:
    """Whether prices, in ticks, do not fit the usual column. No contract of Bybit's comes near it."""
    return bool(len(price) and max(int(price.max()), -int(price.min())) > _NARROW_MOST)


def writer_options(names: list[str]) -> dict[str, Any]:
    """How columns are compressed and encoded."""
    encodings = {name: "DELTA_BINARY_PACKED" for name in names if name in _DELTA}
    encodings |= {name: "BYTE_STREAM_SPLIT" for name in names if name in _SPLIT}
    return {
        "compression": "zstd",
        "compression_level": {name: 1 if name in _LIGHT else 3 for name in names},
        "write_statistics": [name for name in names if name in _SOUGHT],
        "use_dictionary": False,
        "column_encoding": encodings,
        "max_rows_per_page": ROW_GROUP,
    }


def thorough_options(table: pa.Table) -> dict[str, Any]:
    """The smallest encoding of each column, tried on the first rows of `table`, and slow compression."""
    trial = table.slice(0, _TRIAL_ROWS)
    best = {name: _best_encoding(trial.select([name])) for name in table.column_names}
    return {
        "compression": "zstd",
        "compression_level": _THOROUGH_LEVEL,
        "use_dictionary": [name for name, encoding in best.items() if encoding is None],
        "column_encoding": {name: encoding for name, encoding in best.items() if encoding is not None},
    }


def _best_encoding(column: pa.Table) -> str | None:
    """The encoding that makes a column smallest; ``None`` is the dictionary."""
    (name,) = column.column_names
    sizes: dict[str | None, int] = {}
    for encoding in ("DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "PLAIN", None):
        kind = column.schema.field(name).type
        if encoding not in ("PLAIN", None) and not pa.types.is_integer(kind):
            continue
        chosen = {"use_dictionary": True} if encoding is None else {"column_encoding": {name: encoding}}
        sink = pa.BufferOutputStream()
        options = {"compression": "zstd", "compression_level": _THOROUGH_LEVEL, "use_dictionary": False} | chosen
        pq.write_table(column, sink, **options)
        sizes[encoding] = sink.getvalue().size
    return min(sizes, key=lambda encoding: sizes[encoding])


def encode_parquet(schema: pa.Schema, pieces: Iterable[pa.Table]) -> bytes:
    """A table as the bytes of a Parquet file; its pieces are row groups, cut where they are too long."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, **writer_options(schema.names)) as writer:
        for piece in pieces:
            writer.write_table(piece.cast(schema), row_group_size=ROW_GROUP)
    return bytes(sink.getvalue())


def stage(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `path`, down to the disk. :func:`publish` gives it its name."""
    with lake_io(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def publish(path: Path) -> None:
    """Give a staged file its name."""
    with lake_io(path):
        staged(path).replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names down to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def staged(path: Path) -> Path:
    """The temporary name: hidden, so that no reader of Parquet folders takes it for a part."""
    return path.with_name(f".{path.name}.tmp")


class lake_io(contextlib.AbstractContextManager[None]):
    """Turns an ``OSError`` into a :class:`LakeError` that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise LakeError(
                f"{self._path} cannot be written ({error.strerror or error})",
                advice="Check free space and permissions of the data folder; what was sealed before is safe",
            ) from error


def read_parquet(
    path: Path,
    stream: str,
    expected: StreamFile,
    columns: list[str] | None = None,
    *,
    from_ordinal: int | None = None,
) -> pa.Table:
    """Read one file of a sealed part, after checking that it is what was sealed.

    With `from_ordinal`, row groups that end before that ordinal are left out.

    Raises
    ------
    LakeError
        The file is missing, truncated, changed or has other columns.
    """
    file = open_parquet(path, stream, expected)
    try:
        if from_ordinal is None:
            return file.read(columns)
        place = file.schema_arrow.get_field_index("ordinal")
        groups = [
            n
            for n in range(file.num_row_groups)
            if file.metadata.row_group(n).column(place).statistics is None
            or file.metadata.row_group(n).column(place).statistics.max >= from_ordinal
        ]
        return file.read_row_groups(groups, columns)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"not Parquet: {error}") from error


def is_wide(path: Path) -> bool:
    """Whether a book file has the column for prices beyond 32 bits.

    Raises
    ------
    LakeError
        It is not Parquet.
    """
    try:
        return bool(pa.types.is_int64(pq.read_schema(path).field("price").type))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise damaged(path, f"not Parquet: {error}") from error


def open_parquet(path: Path, stream: str, expected: StreamFile) -> pq.ParquetFile:
    """Open one file of a sealed part, after checking that it is what was sealed.

    Raises
    ------
    LakeError
        The file is missing, truncated, changed or has other columns.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or "unreadable") from error
    if len(data) != expected.bytes:
        raise damaged(path, f"{len(data)} bytes instead of {expected.bytes}")
    if hashlib.sha256(data).hexdigest() != expected.sha256:
        raise damaged(path, "its content is not what was sealed")
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if not any(file.schema_arrow.equals(arrow_schema(stream, {}, wide=wide)) for wide in (False, True)):
            raise damaged(path, "its columns are not those of this lake schema")
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"not Parquet: {error}") from error
    if file.metadata.num_rows != expected.rows:
        raise damaged(path, f"{file.metadata.num_rows} rows instead of {expected.rows}")
    return file


def damaged(path: Path, what: str) -> LakeError:
    """The error for a part that must not be trusted."""
    return LakeError(
        f"{path} is damaged ({what})",
        advice="Restore it from a backup, or move it and its manifest out of the lake: its time then counts as a hole",
    )
