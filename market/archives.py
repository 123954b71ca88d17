"""Bybit's history archives into the lake.

An order-book archive (``<day>_<symbol>_ob<depth>.data.zip``) holds one message a line, as the stream sends them, with
one snapshot at the start of the day; a trade archive (``<symbol><day>.csv.gz``) one trade a line. Nobody knows when
either was received, so both are merged by exchange time: a trade stands before the first book message whose time is
not earlier, because the matching engine publishes the book that a trade left behind.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from market._archive_files import ArchiveDay, TradeColumns, find_days, find_instrument
from market._buffer import PartBuffer, SealedPart, day_start_ms, part_name, utc_day
from market._decode import BookColumns
from market._parts import publish, stage
from market._shelf import Shelf
from market.assembler import GapMark, TradeRows
from market.errors import ArchiveError, LakeError
from market.events import EMPTY, FIRST, LAST, SNAPSHOT, TRADE, UNKNOWN_NS, EventBatch
from market.instruments import Instrument
from market.lake import ORDINALS_A_DAY, Lake
from market.manifest import Manifest, Source
from market.records import BookRun
from market.sequence import SESSION_START, BookSequence, Trust
from market.writer import quarantine_unsealed, write_parts

#: Rows after which a part of an imported day is closed.
_PART_ROWS = 1 << 20
#: Room for them, and for the piece that is one too many.
_ROOM = _PART_ROWS + (1 << 18)
#: Parts that may wait to be encoded.
_MOST_WAITING = 2
_EPOCH = dt.date(1970, 1, 1)
_DAY_MS = 86_400_000
#: How far the lines of an archive may lie outside of the day in its name.
_SLACK_MS = 3_600_000
#: Parts that are encoded side by side.
_ENCODERS = 2


@dataclass(slots=True)
class ImportReport:
    """What an import came to.

    Attributes
    ----------
    symbol
        Of which.
    imported, skipped
        UTC days that were added, and those that were there already.
    level_changes, trades, gaps
        Added.
    warnings
        What a person should know, for example a day without trades.
    """

    symbol: str
    imported: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    level_changes: int = 0
    trades: int = 0
    gaps: int = 0
    warnings: list[str] = field(default_factory=list)


def import_archives(
    folder: Path, symbol: str, lake: Lake, progress: Callable[[str, float], None] | None = None
) -> ImportReport:
    """Bring all archived days of a symbol into the lake.

    A day is imported whole or not at all, and an archive that is in the lake already (by its SHA-256) is not imported
    again. Receive times are :data:`~market.events.UNKNOWN_NS`; ``seq`` and ``ts`` of trades are -1.

    Parameters
    ----------
    folder
        Holds ``instruments-info.json``, ``orderbook/<symbol>/*_ob*.data.zip`` and ``trades/<symbol>/*.csv.gz``.
    progress
        Called with the day and how much of it has been read, 0 to 1.

    Raises
    ------
    UnknownSymbolError
        The folder has nothing of the symbol; the message lists what there is.
    ArchiveError
        An archive is damaged; the message names file and line, and a note in ``_quarantine/archives`` of the lake keeps
        it. Days before it stay, of its own day nothing is kept.
    LakeError
        The lake already has other data of a day, or cannot be written.
    AlreadyRunningError
        The symbol is being recorded or imported by another process.
    """
    days, warnings = find_days(folder, symbol)
    instrument = find_instrument(folder, symbol)
    report = ImportReport(symbol, warnings=warnings)
    lock = lake.lock(symbol)
    shelf = Shelf(lake, instrument, days)
    try:
        quarantine_unsealed(lake.root, symbol)
        for day in days:
            if _is_there(lake, symbol, day):
                report.skipped.append(day.date)
            else:
                try:
                    parts = _DayImport(lake, instrument, day, shelf, progress).parts()
                except ArchiveError as error:
                    _quarantine(lake, symbol, day, error)
                    raise
                lake.note_rules(instrument, parts[0].manifest.ordinals[0])
                write_parts(lake.root, parts)
                _count(report, day, parts)
    finally:
        shelf.close()
        lock.release()
    return report


def _quarantine(lake: Lake, symbol: str, day: ArchiveDay, error: ArchiveError) -> None:
    """Leave word in the lake of what is wrong with an archive, and in which line; the archive itself is not ours."""
    note = {
        "symbol": symbol,
        "date": day.date,
        "error": error.message,
        "advice": error.advice,
        "archives": day.hashes(),
    }
    path = lake.root / "_quarantine" / "archives" / symbol / f"{day.date}.json"
    stage(path, msgspec.json.format(msgspec.json.encode(note)))
    publish(path)


def _count(report: ImportReport, day: ArchiveDay, parts: Sequence[SealedPart]) -> None:
    report.imported.append(day.date)
    for part in parts:
        report.level_changes += part.manifest.level_changes
        report.trades += part.manifest.trades
        report.gaps += len(part.manifest.gaps)


def _is_there(lake: Lake, symbol: str, day: ArchiveDay) -> bool:
    """Whether the day's archives are in the lake.

    Raises
    ------
    LakeError
        The lake has other data of that day.
    """
    same_day = [manifest for manifest in lake.sealed(symbol) if manifest.date == day.date]
    if not same_day:
        return False
    hashes = day.hashes()
    if all(manifest.source is not None and manifest.source.archives == hashes for manifest in same_day):
        return True
    origin = "other archives" if same_day[0].source is not None else "a recording"
    raise LakeError(
        f"the lake already has {symbol} on {day.date} from {origin}",
        advice="Import into another data folder, or move that day out of the lake first",
    )


class _DayImport:
    """One day's archives on their way to parts."""

    def __init__(
        self,
        lake: Lake,
        instrument: Instrument,
        day: ArchiveDay,
        shelf: Shelf,
        progress: Callable[[str, float], None] | None,
    ) -> None:
        self._lake = lake
        self._instrument = instrument
        self._day = day
        self._shelf = shelf
        self._progress = progress
        self._ordinal = (dt.date.fromisoformat(day.date) - _EPOCH).days * ORDINALS_A_DAY
        self._sequence = BookSequence()
        self._clock_ms = 0  # running maximum of the book's times
        self._trusted_ms = 0  # running maximum of all times

    def parts(self) -> list[SealedPart]:
        """Decode, merge and encode the whole day; nothing is written.

        Raises
        ------
        ArchiveError, LakeError
            An archive is damaged, or the day does not fit between what the lake has.
        """
        previous = self._previous()
        if previous is not None and previous.u is not None:
            self._sequence.trust, self._sequence.last_u = Trust.KNOWN, previous.u[1]
        silent_since_ms = None if previous is None or previous.book_ms is None else previous.book_ms[1]
        follows = None if previous is None else previous.part
        parts: list[SealedPart] = []
        with ThreadPoolExecutor(_ENCODERS) as encoder:  # compression works beside decoding
            waiting: deque[Future[SealedPart]] = deque()
            for buffer in self._buffers():
                waiting.append(encoder.submit(buffer.sealed, follows=follows, silent_since_ms=silent_since_ms))
                assert buffer.first_ordinal is not None
                follows = part_name(buffer.first_ordinal)
                silent_since_ms = buffer.last_book_ms or silent_since_ms
                if len(waiting) > _MOST_WAITING:
                    parts.append(waiting.popleft().result())
            self._shelf.put_back(self._day)
            parts += [one.result() for one in waiting]
        hashes = self._day.hashes()
        sealed = [
            SealedPart(msgspec.structs.replace(part.manifest, source=Source(hashes, piece, len(parts))), part.files)
            for piece, part in enumerate(parts)
        ]
        self._check_place(sealed)
        return sealed

    def _previous(self) -> Manifest | None:
        """The last part of the day before, if the lake has it: the book goes on from there when ``u`` does."""
        yesterday = (dt.date.fromisoformat(self._day.date) - dt.timedelta(days=1)).isoformat()
        earlier = [m for m in self._lake.sealed(self._instrument.symbol) if m.ordinals[1] < self._ordinal]
        return earlier[-1] if earlier and earlier[-1].date == yesterday and earlier[-1].source is not None else None

    def _check_place(self, parts: Sequence[SealedPart]) -> None:
        """Capture order and time must agree between the day and everything else in the lake."""
        first, last = parts[0].manifest.times_ms[0], parts[-1].manifest.times_ms[1]
        for manifest in self._lake.sealed(self._instrument.symbol):
            before = manifest.ordinals[0] < self._ordinal
            if manifest.times_ms[1] > first if before else manifest.times_ms[0] < last:
                raise LakeError(
                    f"{self._day.date} of {self._instrument.symbol} overlaps what the lake has on {manifest.date}",
                    advice="Import into another data folder",
                )

    def _buffers(self) -> Iterator[PartBuffer]:
        pieces = iter(self._shelf.read(self._day))
        trades = next(pieces)
        assert isinstance(trades, TradeColumns)
        if self._day.trades is not None:
            self._check_times(self._day.trades, trades.time_ms)
        buffer = PartBuffer(self._instrument, self._day.date, _ROOM)
        done = 0
        for piece in pieces:
            assert isinstance(piece, tuple)
            book, share = piece
            self._check_times(self._day.book, book.cts)
            clock = np.maximum.accumulate(np.maximum(book.cts, self._clock_ms))
            due = int(np.searchsorted(trades.time_ms, clock[-1], side="right"))
            self._append(buffer, book, clock, _cut(trades, done, due))
            done = due
            if self._progress is not None:
                self._progress(self._day.date, share)
            if buffer.rows >= _PART_ROWS:
                yield buffer
                buffer = PartBuffer(self._instrument, self._day.date, _ROOM)
        rest = _cut(trades, done, len(trades.time_ms))
        if len(rest.time_ms):
            self._append_trades(buffer, rest, self._ordinal + np.arange(len(rest.time_ms)))
        if buffer:
            yield buffer

    def _check_times(self, path: Path, times_ms: NDArray[np.int64]) -> None:
        """An archive whose name tells of another day than its lines would lie in the wrong day of the lake."""
        start_ms = day_start_ms(self._day.date)
        far = np.flatnonzero((times_ms < start_ms - _SLACK_MS) | (times_ms >= start_ms + _DAY_MS + _SLACK_MS))
        if len(far):
            raise ArchiveError(
                f"{path} holds {utc_day(int(times_ms[far[0]]))}, not {self._day.date} ({len(far):,} rows of a piece)",
                advice="Give the archive the name that it was downloaded under, or download it again",
            )

    def _append(self, buffer: PartBuffer, book: BookColumns, clock: np.ndarray, trades: TradeColumns) -> None:
        """Number messages and trades in merged order and hand them on."""
        trades_before = np.searchsorted(trades.time_ms, clock, side="right")
        book_before = np.searchsorted(clock, trades.time_ms, side="left")
        book_ordinals = self._ordinal + np.arange(len(clock)) + trades_before
        trade_ordinals = self._ordinal + np.arange(len(trades.time_ms)) + book_before
        before_ms = np.concatenate([[self._clock_ms], clock[:-1]])
        if len(trades.time_ms):
            last_trade = trades.time_ms[np.maximum(trades_before - 1, 0)]
            before_ms = np.maximum(before_ms, np.where(trades_before > 0, last_trade, self._trusted_ms))
        self._mark_gaps(buffer, book, book_ordinals, np.maximum(before_ms, self._trusted_ms), trades)
        buffer.append_run(_book_run(self._instrument.symbol, book, book_ordinals))
        if len(trades.time_ms):
            self._append_trades(buffer, trades, trade_ordinals)
        self._ordinal += len(clock) + len(trades.time_ms)
        self._clock_ms = int(clock[-1])
        self._trusted_ms = max(self._trusted_ms, self._clock_ms)

    def _append_trades(self, buffer: PartBuffer, trades: TradeColumns, ordinals: np.ndarray) -> None:
        rows = len(trades.time_ms)
        unknown = np.full(rows, -1, np.int64)
        events = EventBatch(
            kind=np.full(rows, TRADE, np.int8),
            flags=np.zeros(rows, np.uint8),
            side=trades.side,
            time_ms=trades.time_ms,
            price=trades.price,
            size=trades.size,
            ordinal=ordinals,
            recv_ns=np.full(rows, UNKNOWN_NS, np.int64),
        )
        buffer.append(TradeRows(self._instrument.symbol, events, -1, unknown, trades.ids))
        self._trusted_ms = max(self._trusted_ms, int(trades.time_ms[-1]))

    def _mark_gaps(
        self, buffer: PartBuffer, book: BookColumns, ordinals: np.ndarray, before_ms: np.ndarray, trades: TradeColumns
    ) -> None:
        """The gaps before the messages whose ``u`` does not follow on, by the rule of live frames."""
        symbol = self._instrument.symbol
        if self._sequence.open():
            first_ms = min(int(book.cts[0]), *trades.time_ms[:1].tolist(), int(book.cts[0]))
            buffer.append(GapMark(symbol, self._ordinal, first_ms, UNKNOWN_NS, SESSION_START))
        previous_u = np.concatenate([[self._sequence.last_u], book.u[:-1]])
        for message in np.flatnonzero((book.u != previous_u + 1) | book.snapshot).tolist():
            self._sequence.last_u = int(previous_u[message])
            cause = self._sequence.check(int(book.u[message]), bool(book.snapshot[message]))
            if cause is not None:
                time_ms = int(before_ms[message]) or int(book.cts[message])
                buffer.append(GapMark(symbol, int(ordinals[message]), time_ms, UNKNOWN_NS, cause))
        self._sequence.last_u = int(book.u[-1])


def _book_run(symbol: str, book: BookColumns, ordinals: np.ndarray) -> BookRun:
    """Messages with their level changes; a message without any gets its EMPTY row."""
    rows = np.maximum(book.levels, 1)
    ends = np.cumsum(rows)
    flags = np.zeros(int(ends[-1]), np.uint8)
    flags[ends - rows] |= FIRST
    flags[ends - 1] |= LAST
    side, price, size = book.side, book.price, book.size
    if len(flags) > len(price):
        empty = np.flatnonzero(book.levels == 0)
        flags[(ends - rows)[empty]] |= EMPTY
        at = (ends - rows)[empty] - np.arange(len(empty))
        side, price, size = np.insert(side, at, 0), np.insert(price, at, 0), np.insert(size, at, 0)
    for message in np.flatnonzero(book.snapshot).tolist():
        flags[ends[message] - rows[message] : ends[message]] |= SNAPSHOT
    return BookRun(
        symbol=symbol,
        clock_ms=int(book.cts.max()),
        ordinals=ordinals,
        recv_ns=np.full(len(rows), UNKNOWN_NS, np.int64),
        time_ms=book.cts,
        ts_ms=book.ts,
        u=book.u,
        seq=book.seq,
        messages=rows,
        price=price,
        size=size,
        side=side,
        flags=flags,
        frames=b"",
        lengths=np.zeros(len(rows), np.int64),
        level_changes=len(book.price),
    )


def _cut(trades: TradeColumns, start: int, end: int) -> TradeColumns:
    return TradeColumns(
        trades.time_ms[start:end],
        trades.price[start:end],
        trades.size[start:end],
        trades.side[start:end],
        trades.ids[start:end],
    )
