"""Bars on disk: one Parquet file per symbol, timeframe, feature specification and content of the lake.

A file is only a copy of what can be computed again: what does not prove itself is computed again. Names are content:
whoever writes a name writes the same rows, so writers need no lock, and the last one to give a file its name changes
nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.bars import BY_TIME, COLUMNS, BarRule, Bars
from features.catalogue import feature_names, spec_hash
from features.engine import FeatureEngine
from market.errors import DataError
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
    rule: BarRule = BY_TIME,
) -> Bars:
    """Run a fresh engine over a whole stream.

    Parameters
    ----------
    lake_events
        The stream, in capture order.
    timeframe_ms, levels, stall_ms, rule
        See :class:`features.FeatureEngine`.
    progress
        Called after each batch with the number of events consumed so far.

    Raises
    ------
    DataError
        A parameter or an event's time is impossible.
    """
    return _run(FeatureEngine(timeframe_ms, levels, stall_ms, rule), lake_events, progress)


def _run(
    engine: FeatureEngine, events: Iterable[EventBatch], progress: Callable[[int], None] | None, rows: int = 0
) -> Bars:
    parts = [Bars.empty(len(engine.names))]
    for batch in events:
        parts.append(engine.push(batch))
        rows += len(batch)
        if progress is not None:
            progress(rows)
    return Bars.concat(parts)


class Day(Protocol):
    """A piece of a stream; :class:`market.days.LakeDay` is one."""

    @property
    def date(self) -> str:
        """Names the piece; without a path's separators."""

    @property
    def fingerprint(self) -> str:
        """Of the piece's content: SHA-256, hex."""

    def events(self) -> Iterable[EventBatch]:
        """Opens the piece."""


class FeatureStore:
    """Keeps built bars under `root`.

    Parameters
    ----------
    root
        Folder; made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(
        self, fingerprint: str, symbol: str, timeframe_ms: int, levels: int, stall_ms: int, rule: BarRule = BY_TIME
    ) -> Path:
        """Where the bars of these inputs are kept."""
        name = f"{spec_hash(timeframe_ms, levels, stall_ms, rule)[:16]}-{fingerprint[:16]}.parquet"
        cut = timeframe_label(timeframe_ms) if rule == BY_TIME else f"{rule.kind}-{rule.threshold}"
        return self.root / f"symbol={symbol}" / f"timeframe={cut}" / name

    def by_day(
        self,
        days: Sequence[Day],
        symbol: str,
        timeframe_ms: int,
        levels: int,
        stall_ms: int,
        progress: Callable[[int], None] | None = None,
        rule: BarRule = BY_TIME,
    ) -> Bars:
        """The bars of a stream that grows by days: only what is new or has changed is computed.

        A day is kept under a hash of its content and of all days before it, with the engine's state at its end, from
        which the next day goes on. The bars are those of one run over the whole stream, to the bit; a bar is kept with
        the day in which it closed.

        Parameters
        ----------
        days
            The whole stream, oldest first.
        symbol, timeframe_ms, levels, stall_ms, rule
            As in :meth:`get_or_build`.
        progress
            Called while building with the number of events consumed so far.

        Raises
        ------
        DataError
            A parameter or an event's time is impossible.
        OSError
            The folder cannot be written.
        """
        spec = spec_hash(timeframe_ms, levels, stall_ms, rule)
        names = feature_names(levels)
        parts = [Bars.empty(len(names))]
        engine: FeatureEngine | None = FeatureEngine(timeframe_ms, levels, stall_ms, rule)
        state_before: Path | None = None
        chain, rows = "", 0
        for number, day in enumerate(days):
            chain = hashlib.sha256(f"{chain} {day.date} {day.fingerprint}".encode()).hexdigest()
            whole = self.path(chain, symbol, timeframe_ms, levels, stall_ms, rule)
            path = whole.parent / f"date={day.date}" / whole.name
            state = path.with_suffix(".state")
            identity = {"spec_hash": spec, "fingerprint": chain, "symbol": symbol}
            bars = _read(path, identity, names) if state.exists() else None
            if bars is None:
                if engine is None and state_before is not None:
                    engine = _thaw(state_before, spec)
                if engine is None:
                    # The state that the last kept day left is not usable: go back to the beginning.
                    engine = FeatureEngine(timeframe_ms, levels, stall_ms, rule)
                    for earlier in days[:number]:
                        _run(engine, earlier.events(), None)
                seen = _Counted(day.events())
                bars = _run(engine, seen, progress, rows)
                rows += seen.rows
                _write(path, identity, names, bars)
                _replace(state, zlib.compress(engine.dump(), 1))
            else:
                engine = None
            state_before = state
            parts.append(bars)
        return Bars.concat(parts)

    def engine(
        self, days: Sequence[Day], symbol: str, timeframe_ms: int, levels: int, stall_ms: int, rule: BarRule = BY_TIME
    ) -> FeatureEngine | None:
        """An engine as :meth:`by_day` left it after these days, or ``None`` if it is not kept.

        A restart goes on from it without the days before.
        """
        chain = ""
        for day in days:
            chain = hashlib.sha256(f"{chain} {day.date} {day.fingerprint}".encode()).hexdigest()
        if not chain:
            return None
        whole = self.path(chain, symbol, timeframe_ms, levels, stall_ms, rule)
        path = whole.parent / f"date={days[-1].date}" / whole.name
        return _thaw(path.with_suffix(".state"), spec_hash(timeframe_ms, levels, stall_ms, rule))

    def get_or_build(
        self,
        fingerprint: str,
        symbol: str,
        timeframe_ms: int,
        levels: int,
        stall_ms: int,
        events: Callable[[], Iterable[EventBatch]],
        progress: Callable[[int], None] | None = None,
        rule: BarRule = BY_TIME,
    ) -> Bars:
        """The bars of a stream, from disk when they are there and whole.

        Parameters
        ----------
        fingerprint
            Of the stream's content, as ``Lake.fingerprint`` gives it.
        symbol
            For example ``BTCUSDT``.
        timeframe_ms, levels, stall_ms, rule
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
        path = self.path(fingerprint, symbol, timeframe_ms, levels, stall_ms, rule)
        identity = {
            "spec_hash": spec_hash(timeframe_ms, levels, stall_ms, rule),
            "fingerprint": fingerprint,
            "symbol": symbol,
        }
        names = feature_names(levels)
        bars = _read(path, identity, names)
        if bars is None:
            bars = build(events(), timeframe_ms, levels, stall_ms, progress, rule)
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
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    _replace(path, sink.getvalue())


def _replace(path: Path, data: bytes | pa.Buffer) -> None:
    """Write a file whole or not at all, whoever else does the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


class _Counted:
    """Counts the events that go through."""

    def __init__(self, batches: Iterable[EventBatch]) -> None:
        self.rows = 0
        self._batches = batches

    def __iter__(self) -> Iterator[EventBatch]:
        for batch in self._batches:
            self.rows += len(batch)
            yield batch


def _thaw(path: Path, spec: str) -> FeatureEngine | None:
    """The engine that was kept, or ``None`` when there is none that can be trusted."""
    try:
        engine = FeatureEngine.restore(zlib.decompress(path.read_bytes()))
    except (OSError, zlib.error, DataError):
        return None
    return engine if engine.spec_hash == spec else None


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
