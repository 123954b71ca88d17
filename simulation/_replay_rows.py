"""What the lake holds of a symbol as one stream: events, and between them what tickers and liquidations said."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from market.context import FUNDING_RATE, INDEX, MARK, OPEN_INTEREST, merged
from market.events import LIQUIDATION, TICKER, EventBatch
from market.lake import Lake

#: Columns of the ticker files, the field that a row stands for, and what its value is counted in (ticks: ``None``).
_FIELDS = {
    "mark_price": (MARK, None),
    "index_price": (INDEX, None),
    "open_interest": (OPEN_INTEREST, Decimal("1e-4")),
    "funding_rate": (FUNDING_RATE, Decimal("1e-10")),
}


def recorded_rows(lake: Lake, symbol: str, start_ms: int) -> Iterator[EventBatch]:
    """Events, tickers and liquidations in capture order, from the last book snapshot before a time on.

    Prices of tickers are rounded to ticks.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError, LakeError
        As :meth:`market.lake.Lake.events`.
    """
    first_ms, _ = lake.span_ms(symbol)
    start = start_ms if start_ms >= first_ms else None
    told = _Told(lake, symbol, start)
    for events in lake.events(symbol, start, from_snapshot=start is not None):
        if len(events):
            yield merged(events, told.until(int(events.ordinal[-1])))


class _Told:
    """Tickers and liquidations of a symbol, handed out by ordinal, a part of the lake at a time."""

    def __init__(self, lake: Lake, symbol: str, start_ms: int | None) -> None:
        tick = lake.instrument(symbol).tick_size
        self._tick = tick
        parts = [("tickers", path) for path in lake.parts(symbol, "tickers", start_ms)]
        parts += [("liquidations", path) for path in lake.parts(symbol, "liquidations", start_ms)]
        self._parts = sorted(parts, key=lambda part: part[1].name)
        self._held = EventBatch.empty()

    def until(self, ordinal: int) -> EventBatch:
        """The rows up to an ordinal that have not been handed out yet."""
        while self._parts and (len(self._held) == 0 or self._held.ordinal[-1] <= ordinal):
            name = self._parts[0][1].name
            group = [part for part in self._parts if part[1].name == name]
            self._parts = self._parts[len(group) :]
            rows = EventBatch.concat([self._held, *(self._read(stream, pq.read_table(p)) for stream, p in group)])
            order = np.argsort(rows.ordinal, kind="stable")
            self._held = EventBatch(**{field: getattr(rows, field)[order] for field in EventBatch.__slots__})
        due = int(np.searchsorted(self._held.ordinal, ordinal, side="right"))
        out, self._held = self._held[:due], self._held[due:]
        return out

    def _read(self, stream: str, table: pa.Table) -> EventBatch:
        return _liquidations(table) if stream == "liquidations" else _tickers(table, self._tick)


def _tickers(table: pa.Table, tick: Decimal) -> EventBatch:
    """One row for each field that a ticker carries."""
    batches = []
    times = {name: table[name].to_numpy() for name in ("time_ms", "ordinal", "recv_ns")}
    for column, (field, unit) in _FIELDS.items():
        values = pc.cast(table[column], pa.float64()).to_numpy(zero_copy_only=False)
        given = np.isfinite(values)
        count = int(given.sum())
        batches.append(
            EventBatch(
                kind=np.full(count, TICKER, np.int8),
                flags=np.zeros(count, np.uint8),
                side=np.full(count, field, np.int8),
                price=np.rint(values[given] / float(unit or tick)).astype(np.int64),
                size=np.zeros(count, np.int64),
                **{name: values_of[given] for name, values_of in times.items()},
            )
        )
    return EventBatch.concat(batches)


def _liquidations(table: pa.Table) -> EventBatch:
    columns = {name: table[name].to_numpy() for name in ("side", "time_ms", "price", "size", "ordinal", "recv_ns")}
    return EventBatch(kind=np.full(len(table), LIQUIDATION, np.int8), flags=np.zeros(len(table), np.uint8), **columns)
