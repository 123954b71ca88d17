"""The lake day by day, with tickers and liquidations: what features are built from.

The days cut the whole event stream where the lake's folders do. Joined, their events are the stream of
:meth:`market.lake.Lake.events` with the context rows where they were received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as pa

from market._parts import BOOK_STREAM, LIQUIDATION_STREAM, TICKER_STREAM, TRADE_STREAM, read_parquet
from market._replay import read_events, with_missing_parts
from market.context import merged, ticker_events
from market.events import LIQUIDATION, EventBatch
from market.lake import Lake, check_units, origins
from market.manifest import Gap, Manifest
from market.writer import part_path

_STREAMS = (BOOK_STREAM, TRADE_STREAM, TICKER_STREAM, LIQUIDATION_STREAM)
_CHUNK_ROWS = 1 << 19


@dataclass(frozen=True, slots=True)
class LakeDay:
    """One UTC day of a symbol, as far as it is sealed.

    Attributes
    ----------
    date
        ``YYYY-MM-DD``.
    fingerprint
        SHA-256 over what :meth:`events` gives; compaction does not change it.
    """

    date: str
    fingerprint: str
    _lake: Lake
    _parts: tuple[tuple[Manifest, list[Gap]], ...]

    def events(self, chunk_rows: int = _CHUNK_ROWS) -> Iterator[EventBatch]:
        """The day's events in capture order, in batches of at most `chunk_rows` rows.

        Raises
        ------
        LakeError
            A part is damaged.
        """
        for manifest, gaps in self._parts:
            events = merged(read_events(self._lake.root, manifest, gaps), _context(self._lake, manifest))
            yield from events.chunks(chunk_rows)


def lake_days(lake: Lake, symbol: str) -> list[LakeDay]:
    """All days of a symbol, oldest first.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data of `symbol`.
    LakeError
        A part is damaged, or the tick size or quantity step changes on the way.
    """
    manifests = lake.manifests(symbol)
    check_units(manifests)
    parts = with_missing_parts(manifests)
    days = []
    for date, group in groupby(parts, key=lambda part: part[0].date):
        own = tuple(group)
        days.append(LakeDay(date, _fingerprint(symbol, own), lake, own))
    return days


def _fingerprint(symbol: str, parts: tuple[tuple[Manifest, list[Gap]], ...]) -> str:
    digest = hashlib.sha256(symbol.encode())
    for manifest, gaps in parts:
        for files, marks in origins(manifest, gaps, None, None):
            rows = {stream: file for stream, file in files.items() if stream in _STREAMS}
            digest.update(msgspec.json.encode((manifest.tick_size, manifest.qty_step, rows, marks), order="sorted"))
    return digest.hexdigest()


def _context(lake: Lake, manifest: Manifest) -> EventBatch:
    parts = []
    for stream, read in ((TICKER_STREAM, _tickers), (LIQUIDATION_STREAM, _liquidations)):
        if stream in manifest.files:
            path = part_path(lake.root, stream, manifest)
            parts.append(read(read_parquet(path, stream, manifest.files[stream])))
    rows = EventBatch.concat(parts)
    order = np.argsort(rows.ordinal, kind="stable")
    return EventBatch(**{name: getattr(rows, name)[order] for name in EventBatch.__slots__})


def _tickers(table: pa.Table) -> EventBatch:
    return ticker_events(SimpleNamespace(**row) for row in table.to_pylist())


def _liquidations(table: pa.Table) -> EventBatch:
    columns = {name: table[name].to_numpy() for name in ("side", "time_ms", "price", "size", "ordinal", "recv_ns")}
    return EventBatch(kind=np.full(len(table), LIQUIDATION, np.int8), flags=np.zeros(len(table), np.uint8), **columns)
