"""Bars on disk: one Parquet file per symbol, timeframe, feature specification and lake content.

A file is only a copy of what can be computed again: what does not prove itself is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.bars import COLUMNS, Bars
from features.catalogue import feature_names, spec_hash
from features.engine import FeatureEngine
from market.events import EventBatch

_BASE = tuple(name for name in COLUMNS if name != "values")
_UNITS = ((3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def timeframe_label(timeframe_ms: int) -> str:
    """Short name of a bar length: 300,000 is ``5m``."""
    length, unit = next((length, unit) for length, unit in _UNITS if timeframe_ms % length == 0)
    return f"{timeframe_ms // length}{unit}"


def build(
    lake_events: Iterable[EventBatch],
    timeframe_ms: int,
    levels: int,
    stall_ms: int = 60_000,
    progress: Callable[[int], None] | None = None,
) -> Bars:
    """Run a fresh engine over a whole stream.

    Parameters
    ----------
    lake_events
        The stream, in capture order.
    timeframe_ms, levels, stall_ms
        See :class:`features.FeatureEngine`.
    progress
        Called after each batch with the number of events consumed so far.

    Raises
    ------
    DataError
        A parameter or an event's time is impossible.
    """
    engine = FeatureEngine(timeframe_ms, levels, stall_ms)
    parts = [Bars.empty(len(engine.names))]
    rows = 0
    for batch in lake_events:
        parts.append(engine.push(batch))
        rows += len(batch)
        if progress is not None:
            progress(rows)
    return Bars.concat(parts)


class FeatureStore:
    """Keeps built bars under `root`.

    Parameters
    ----------
    root
        Folder; made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, fingerprint: str, symbol: str, timeframe_ms: int, levels: int, stall_ms: int) -> Path:
        """Where the bars of these inputs are kept."""
        name = f"{spec_hash(timeframe_ms, levels, stall_ms)[:16]}-{fingerprint[:16]}.parquet"
        return self.root / f"symbol={symbol}" / f"timeframe={timeframe_label(timeframe_ms)}" / name

    def get_or_build(
        self,
        fingerprint: str,
        symbol: str,
        timeframe_ms: int,
        levels: int,
        stall_ms: int,
        events: Callable[[], Iterable[EventBatch]],
        progress: Callable[[int], None] | None = None,
    ) -> Bars:
        """The bars of a stream, from disk when they are there and whole.

        Parameters
        ----------
        fingerprint
            Of the stream's content, as ``Lake.fingerprint`` gives it.
        symbol
            For example ``BTCUSDT``.
        timeframe_ms, levels, stall_ms
            See :class:`features.FeatureEngine`.
        events
            Opens the stream; called only when the bars must be built.
        progress
            Called while building with the number of events consumed so far.

        Raises
        ------
        DataError
            A parameter or an event's time is impossible.
        OSError
            The folder cannot be written.
        """
        path = self.path(fingerprint, symbol, timeframe_ms, levels, stall_ms)
        identity = {
            "spec_hash": spec_hash(timeframe_ms, levels, stall_ms),
            "fingerprint": fingerprint,
            "symbol": symbol,
        }
        names = feature_names(levels)
        bars = _read(path, identity, names)
        if bars is None:
            bars = build(events(), timeframe_ms, levels, stall_ms, progress)
            _write(path, identity, names, bars)
        return bars


def _digest(bars: Bars) -> str:
    sha = hashlib.sha256()
    for name in COLUMNS:
        sha.update(np.ascontiguousarray(getattr(bars, name)).tobytes())
    return sha.hexdigest()


def _write(path: Path, identity: dict[str, str], names: tuple[str, ...], bars: Bars) -> None:
    columns = {name: pa.array(getattr(bars, name)) for name in _BASE}
    columns |= {name: pa.array(bars.values[:, column]) for column, name in enumerate(names)}
    table = pa.table(columns).replace_schema_metadata({**identity, "content": _digest(bars)})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _read(path: Path, identity: dict[str, str], names: tuple[str, ...]) -> Bars | None:
    """The stored bars, or ``None`` when there are none that can be trusted."""
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid):
        return None
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if table.column_names != [*_BASE, *names] or any(metadata.get(key) != value for key, value in identity.items()):
        return None
    values = np.empty((table.num_rows, len(names)))
    for column, name in enumerate(names):
        values[:, column] = table[name].to_numpy()
    bars = Bars(**{name: table[name].to_numpy().astype(COLUMNS[name]) for name in _BASE}, values=values)
    return bars if _digest(bars) == metadata.get("content") else None
