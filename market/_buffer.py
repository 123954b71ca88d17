"""Rows that are not sealed yet, and how they become the files of a part."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from market._columns import Columns
from market._messages import BookMessages
from market._parts import (
    BOOK_STREAM,
    CHECKPOINT_STREAM,
    LIQUIDATION_DTYPES,
    LIQUIDATION_STREAM,
    MESSAGE_STREAM,
    ROW_GROUP,
    TICKER_STREAM,
    TRADE_DTYPES,
    TRADE_STREAM,
    arrow_schema,
    encode_parquet,
    needs_wide,
)
from market.events import EMPTY, SNAPSHOT, EventBatch
from market.instruments import Instrument
from market.ladder import Checkpoint, checkpoint_table
from market.manifest import SCHEMA, Doubt, Gap, Manifest, Oddity, Snapshot, Source, StreamFile
from market.records import (
    BookRows,
    BookRun,
    DoubtMark,
    GapMark,
    LiquidationRows,
    OddityMark,
    Record,
    TickerRow,
    TradeRows,
    place_of,
)

_DAY_MS = 86_400_000
#: Different oddities that a part tells apart.
_MOST_ODDITIES = 100


@dataclass(frozen=True, slots=True)
class SealedPart:
    """A part ready for the disk: its manifest and the bytes of its files, by stream."""

    manifest: Manifest
    files: dict[str, bytes]


class PartBuffer:
    """Collects the lake records of one symbol and UTC day until they are sealed; room for so many rows of the book."""

    def __init__(self, instrument: Instrument, date: str, room: int = 1024) -> None:
        self.instrument = instrument
        self.date = date
        self.day_end_ms = day_start_ms(date) + _DAY_MS
        self.book = BookMessages(room)
        self.trades = Columns(TRADE_DTYPES)
        self.trade_ids: list[str] = []
        self.tickers: list[TickerRow] = []
        self.liquidations = Columns(LIQUIDATION_DTYPES)
        self.gaps: list[Gap] = []
        self.doubts: list[Doubt] = []
        self.oddities: dict[tuple[str, str], Oddity] = {}
        self._odd_ordinals: list[int] = []
        self.checkpoint: Checkpoint | None = None
        self.first_ordinal: int | None = None
        self.last_book_ms: int | None = None

    def append(self, record: Record) -> None:
        """Take in one record."""
        if self.first_ordinal is None:
            self.first_ordinal = place_of(record)[0]
        if isinstance(record, BookRows):
            self.last_book_ms = max(self.last_book_ms or 0, int(record.events.time_ms[-1]))
            self.book.append(record)
        elif isinstance(record, TradeRows):
            self.trades.extend(len(record.events), _event_columns(record))
            self.trade_ids += record.ids
        elif isinstance(record, TickerRow):
            self.tickers.append(record)
        elif isinstance(record, LiquidationRows):
            self.liquidations.extend(len(record.times_ms), _liquidation_columns(record))
        elif isinstance(record, DoubtMark):
            self.doubts.append(Doubt(record.ordinal, record.start_ms, record.time_ms, record.recv_ns, record.cause))
        elif isinstance(record, OddityMark):
            self._note(record)
        elif isinstance(record, GapMark):
            self.gaps.append(Gap(record.ordinal, record.time_ms, record.recv_ns, record.cause))

    def append_run(self, run: BookRun) -> None:
        """Take in book messages that follow on."""
        if self.first_ordinal is None:
            self.first_ordinal = int(run.ordinals[0])
        self.last_book_ms = max(self.last_book_ms or 0, int(run.time_ms[-1]))
        self.book.append_run(run)

    def _note(self, mark: OddityMark) -> None:
        key = (mark.kind, mark.detail)
        before = self.oddities.get(key)
        if before is None and len(self.oddities) >= _MOST_ODDITIES:
            key, before = (mark.kind, "others"), self.oddities.get((mark.kind, "others"))
        self._odd_ordinals = [min([mark.ordinal, *self._odd_ordinals]), max([mark.ordinal, *self._odd_ordinals])]
        self.oddities[key] = Oddity(
            mark.kind,
            key[1],
            1 if before is None else before.count + 1,
            mark.time_ms if before is None else before.first_ms,
            mark.time_ms,
        )

    @property
    def rows(self) -> int:
        """Rows held, of all streams."""
        return self.book.rows + self.trades.rows + self.liquidations.rows + len(self.tickers)

    def __bool__(self) -> bool:
        return bool(self.rows or self.gaps or self.doubts or self.oddities)

    def sealed(
        self, *, follows: str | None, silent_since_ms: int | None = None, source: Source | None = None
    ) -> SealedPart:
        """The part that these rows make.

        Parameters
        ----------
        follows
            Name of the part sealed before it in the same session.
        silent_since_ms
            Time of the last book message of that part, from which the first silence is counted.
        source
            The archive that the rows were imported from.
        """
        metadata = {
            "purplesky.symbol": self.instrument.symbol,
            "purplesky.tick_size": str(self.instrument.tick_size),
            "purplesky.qty_step": str(self.instrument.qty_step),
        }
        tables = {
            MESSAGE_STREAM: pa.table(self.book.messages()),
            TRADE_STREAM: self._trade_table(),
            TICKER_STREAM: self._ticker_table(),
            LIQUIDATION_STREAM: pa.table({name: self.liquidations[name] for name in LIQUIDATION_DTYPES}),
            CHECKPOINT_STREAM: checkpoint_table(self.checkpoint),
        }
        rows = {BOOK_STREAM: self.book.rows} | {stream: len(table) for stream, table in tables.items() if len(table)}
        wide = needs_wide(self.book["price"])
        files = {
            stream: encode_parquet(
                arrow_schema(stream, metadata, wide=wide),
                map(pa.table, self.book.pieces(ROW_GROUP)) if stream == BOOK_STREAM else [tables[stream]],
            )
            for stream in rows
        }
        marks = [gap.ordinal for gap in self.gaps] + [doubt.ordinal for doubt in self.doubts] + self._odd_ordinals
        odd = [time_ms for one in self.oddities.values() for time_ms in (one.first_ms, one.last_ms)]
        ordinals = self._extent("ordinal", marks)
        manifest = Manifest(
            schema=SCHEMA,
            symbol=self.instrument.symbol,
            date=self.date,
            part=part_name(ordinals[0]),
            tick_size=str(self.instrument.tick_size),
            qty_step=str(self.instrument.qty_step),
            files={
                stream: StreamFile(rows[stream], len(data), hashlib.sha256(data).hexdigest())
                for stream, data in files.items()
            },
            level_changes=int(np.count_nonzero(self.book["flags"] & EMPTY == 0)),
            trades=self.trades.rows,
            ordinals=ordinals,
            times_ms=self._extent(
                "time_ms", (*(gap.time_ms for gap in self.gaps), *(doubt.end_ms for doubt in self.doubts), *odd)
            ),
            gaps=self.gaps,
            doubts=self.doubts,
            oddities=None if source is not None else list(self.oddities.values()),
            follows=follows,
            source=source,
            **_book_facts(self.book, silent_since_ms),
        )
        return SealedPart(manifest, files)

    def _extent(self, name: str, others: Iterable[int]) -> tuple[int, int]:
        ends = [*others, *(getattr(row, name) for row in self.tickers)]
        for column in (self.book.of_messages(name), self.trades[name], self.liquidations[name]):
            if len(column):
                ends += [int(column.min()), int(column.max())]
        return min(ends), max(ends)

    def _trade_table(self) -> pa.Table:
        columns = {name: self.trades[name] for name in TRADE_DTYPES}
        return pa.table(columns | {"id": pa.array(self.trade_ids, pa.string())})

    def _ticker_table(self) -> pa.Table:
        schema = arrow_schema(TICKER_STREAM, {})
        return pa.table(
            {field.name: pa.array([getattr(row, field.name) for row in self.tickers], field.type) for field in schema}
        )


def _book_facts(book: BookMessages, silent_since_ms: int | None) -> dict[str, Any]:
    if not book.rows:
        return {"book_ms": None, "u": None, "max_silence_ms": 0, "snapshots": []}
    times_ms, u, ordinals = (book.of_messages(name) for name in ("time_ms", "u", "ordinal"))
    clock = np.maximum.accumulate(times_ms)
    silences = np.diff(clock, prepend=clock[0] if silent_since_ms is None else min(silent_since_ms, clock[0]))
    snapshot = book.of_messages("flags") & SNAPSHOT != 0
    return {
        "book_ms": (int(clock[0]), int(clock[-1])),
        "u": (int(u[0]), int(u[-1])),
        "max_silence_ms": int(silences.max()),
        "snapshots": [
            Snapshot(int(ordinal), int(time_ms)) for ordinal, time_ms in zip(ordinals[snapshot], times_ms[snapshot])
        ],
    }


def part_name(first_ordinal: int) -> str:
    """Name of the part that begins with that ordinal; names sort as ordinals do."""
    return f"{first_ordinal:016d}"


def utc_day(time_ms: int) -> str:
    """The UTC day of an exchange time."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).date().isoformat()


def day_start_ms(date: str) -> int:
    """Exchange time at which a UTC day begins."""
    return (dt.date.fromisoformat(date) - dt.date(1970, 1, 1)).days * _DAY_MS


def _event_columns(record: TradeRows) -> dict[str, Any]:
    events: EventBatch = record.events
    return {
        "time_ms": events.time_ms,
        "recv_ns": events.recv_ns,
        "ordinal": events.ordinal,
        "ts_ms": record.ts_ms,
        "seq": record.seq,
        "side": events.side,
        "price": events.price,
        "size": events.size,
    }


def _liquidation_columns(record: LiquidationRows) -> dict[str, Any]:
    return {
        "time_ms": record.times_ms,
        "recv_ns": record.recv_ns,
        "ordinal": record.ordinal,
        "ts_ms": record.ts_ms,
        "side": record.side,
        "price": record.price,
        "size": record.size,
    }
