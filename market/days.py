"""The lake day by day, with tickers and liquidations: what features are built from.

The days cut the whole event stream where the lake's folders do. Joined, their events are the stream of
:meth:`market.lake.Lake.events` with the context rows where they were received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as pa

from market._part_files import part_path
from market._parts import BOOK_STREAM, LIQUIDATION_STREAM, MESSAGE_STREAM, TICKER_STREAM, TRADE_STREAM, read_parquet
from market._replay import iter_events, with_missing_parts
from market.context import merged, ticker_events
from market.events import LIQUIDATION, EventBatch
from market.lake import Lake, origins
from market.manifest import Gap, Manifest

_STREAMS = (BOOK_STREAM, MESSAGE_STREAM, TRADE_STREAM, TICKER_STREAM, LIQUIDATION_STREAM)
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
            context, done = _context(self._lake, manifest), 0
            # A piece at a time: a whole part would have to be sorted, and held several times.
            for events in iter_events(self._lake.root, manifest, gaps):
                due = int(np.searchsorted(context.ordinal, events.ordinal[-1], side="right"))
                yield from merged(events, context[done:due]).chunks(chunk_rows)
                done = due
            yield from context[done:].chunks(chunk_rows)


@dataclass(frozen=True, slots=True)
class OldRules:
    """What was recorded under rules that do not hold any more: its prices and sizes count in other units.

    Attributes
    ----------
    until_ms
        Exchange time at which the last rules began.
    days
        UTC days of which nothing was recorded under the last rules.
    before, after
        ``tick size / quantity step`` until then, and from then on.
    """

    until_ms: int
    days: tuple[str, ...]
    before: str
    after: str


def lake_days(lake: Lake, symbol: str) -> list[LakeDay]:
    """The days of a symbol under its last rules, oldest first.

    Where the tick size or the quantity step changed, rows before the change count in other units: they are left out,
    and :func:`old_rules` says which.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data of `symbol`.
    LakeError
        A part is damaged.
    """
    parts = with_missing_parts(lake.manifests(symbol))
    days = []
    for date, group in groupby(parts[_change([part for part, _ in parts]) :], key=lambda part: part[0].date):
        own = tuple(group)
        days.append(LakeDay(date, _fingerprint(symbol, own), lake, own))
    return days


def old_rules(lake: Lake, symbol: str) -> OldRules | None:
    """What :func:`lake_days` leaves out; ``None`` where the rules never changed.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data of `symbol`.
    LakeError
        A part is damaged.
    """
    manifests = lake.manifests(symbol)
    at = _change(manifests)
    if not at:
        return None
    served = {manifest.date for manifest in manifests[at:]}
    return OldRules(
        # Streams lag behind each other: a row of the old rules may be a little later than the first of the new.
        max(manifests[at].times_ms[0], max(manifest.times_ms[1] for manifest in manifests[:at]) + 1),
        tuple(dict.fromkeys(manifest.date for manifest in manifests[:at] if manifest.date not in served)),
        _rules(manifests[at - 1]),
        _rules(manifests[at]),
    )


def _rules(manifest: Manifest) -> str:
    return f"{manifest.tick_size} / {manifest.qty_step}"


def _change(manifests: Sequence[Manifest]) -> int:
    """Number of the first part from which on the rules are those of the last one."""
    at = len(manifests)
    while at and _rules(manifests[at - 1]) == _rules(manifests[-1]):
        at -= 1
    return at


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
