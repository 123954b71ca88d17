"""The one writer of a symbol's part of the lake."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from market._buffer import PartBuffer, SealedPart, part_name, utc_day
from market._part_files import end_removals, manifest_path, part_path
from market._parts import BOOK_STREAM, STREAMS, lake_io, publish, stage, staged
from market.assembler import Assembled
from market.errors import LakeError
from market.instruments import Instrument
from market.journal import JournalFile, Place
from market.ladder import Checkpoint, LiveBook
from market.locks import SymbolLock
from market.manifest import Manifest, encode_manifest
from market.records import BookRun, DoubtMark, GapMark, OddityMark, place_of, record_ms

#: Rows after which a part is sealed by itself, so that reading a part back stays within a few hundred MB.
MAX_PART_ROWS = 2_000_000
#: How far the exchange's clock may lie behind what the lake already holds (ms).
_BACKWARDS_MS = 60_000
#: Bytes that may wait for the journal before they are written at once.
_MOST_WAITING = 1 << 23


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the lake of a symbol ends.

    Attributes
    ----------
    last_ms
        Greatest exchange time; ``None`` for an empty lake.
    part
        Name of the last part.
    book_ms
        Time of its last book message.
    last_u
        Update id of that message, if the book is known there.
    trade_ids
        Of the last trades.
    others_ms
        Last ``ts`` of the topics ``tickers`` and ``allLiquidation``.
    """

    last_ms: int | None = None
    part: str | None = None
    book_ms: int | None = None
    last_u: int | None = None
    trade_ids: list[str] = field(default_factory=list)
    others_ms: dict[str, int] = field(default_factory=dict)


def write_parts(root: Path, parts: Sequence[SealedPart]) -> None:
    """Put parts into the lake, all or none: a part exists once its manifest does, and the manifests come last.

    Raises
    ------
    LakeError
        The disk refuses; nothing of the parts is left behind under a trusted name.
    """
    staged_paths: list[Path] = []
    try:
        for part in parts:
            for stream, data in part.files.items():
                staged_paths.append(part_path(root, stream, part.manifest))
                stage(staged_paths[-1], data)
        manifests = [manifest_path(root, part.manifest) for part in parts]
        for path, part in zip(manifests, parts):
            staged_paths.append(path)
            stage(path, encode_manifest(part.manifest))
        for path in staged_paths:
            publish(path)
    except LakeError:
        for path in staged_paths:
            with contextlib.suppress(OSError):
                staged(path).unlink(missing_ok=True)
        raise


def journal_folder(root: Path, symbol: str) -> Path:
    """Where the journal of a symbol lies."""
    return root / ".journal" / symbol


def quarantine_unsealed(root: Path, symbol: str) -> list[Path]:
    """Move what a crash left behind, files without a manifest, out of the lake into ``_quarantine``.

    Returns
    -------
    list of Path
        Where they are now.
    """
    end_removals(root, symbol)
    moved: list[Path] = []
    for stream in STREAMS:
        for path in sorted((root / stream / f"symbol={symbol}").glob("date=*/*")):
            sealed = root / BOOK_STREAM / path.parent.relative_to(root / stream) / f"_{path.stem}.json"
            if path.name.startswith(".") or (path.suffix == ".parquet" and not sealed.exists()):
                target = root / "_quarantine" / path.relative_to(root).with_name(path.name.lstrip("."))
                with lake_io(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
                moved.append(target)
    return moved


class LakeWriter:
    """Appends one symbol's records; made by :meth:`market.lake.Lake.writer`.

    Sealing never loses what was sealed before. Records that were appended with their raw frame are in the journal
    after :meth:`sync`, and the next start recovers them if the process dies before they are sealed.
    """

    def __init__(self, root: Path, instrument: Instrument, lock: SymbolLock, ending: Ending) -> None:
        self.symbol = instrument.symbol
        self.book = LiveBook()
        self.parts = 0
        self.part_bytes = 0
        self._root = root
        self._instrument = instrument
        self._lock = lock
        self._last_ms = ending.last_ms
        self._clock_ms = 0
        self._buffer: PartBuffer | None = None
        self._journal: JournalFile | None = None
        self._follows: str | None = None
        self._silent_since_ms: int | None = None
        self._applied = 0  # book rows and gaps of the buffer that `book` has seen
        self._applied_gaps = 0
        self._book_at: tuple[int, int] = (0, 0)  # time and u of the last book message that `book` has seen
        self._newest = -1  # greatest ordinal that was appended

    def resume(self, ending: Ending) -> None:
        """Go on seamlessly after the part that the lake ends with."""
        self._follows = ending.part
        self._silent_since_ms = ending.book_ms

    def append(self, assembled: Assembled, data: bytes | None = None) -> None:
        """Take in the records of this writer's symbol; those of other symbols are left alone.

        Parameters
        ----------
        assembled
            What a frame came to.
        data
            The raw frame, for the journal; without it the records are safe only once they are sealed.

        Raises
        ------
        LakeError
            The records are older than what the lake holds, or the day has turned and the part cannot be written.
        """
        records = [record for record in assembled.records if record.symbol == self.symbol]
        if not records:
            return
        self._advance_clock(max([record_ms(record) for record in records]))
        ordinal = place_of(records[0])[0]
        buffer = self._buffer
        # What stood between the frames of a run comes after it: a part never ends in the middle of one.
        if buffer is not None and ordinal >= self._newest:
            self._newest = ordinal
            if self._clock_ms >= buffer.day_end_ms or buffer.rows >= MAX_PART_ROWS:
                self.seal()
                buffer = None
        if buffer is None:
            buffer = self._begin(ordinal)
        for record in records:
            buffer.append(record)
            if self._journal is not None and (data or isinstance(record, GapMark | DoubtMark | OddityMark)):
                self._journal.note(record, assembled.kept or data or b"")
        if self._journal is not None and self._journal.waiting > _MOST_WAITING:
            self.sync_now()

    def append_run(self, run: BookRun) -> None:
        """Take in book messages that follow on, none of them later than :attr:`room_ms`.

        Raises
        ------
        LakeError
            The records are older than what the lake holds.
        """
        assert self._buffer is not None
        assert self._journal is not None
        self._advance_clock(run.clock_ms)
        self._newest = max(self._newest, int(run.ordinals[-1]))
        self._buffer.append_run(run)
        self._journal.note_run(run)
        if self._journal.waiting > _MOST_WAITING:
            self.sync_now()

    @property
    def room_ms(self) -> int:
        """Exchange time up to which runs can be appended; -1 while no part is open, or when it is full."""
        if self._buffer is None or self._buffer.rows >= MAX_PART_ROWS:
            return -1
        return self._buffer.day_end_ms - 1

    def _begin(self, ordinal: int) -> PartBuffer:
        """A new part, with the book that it begins with."""
        buffer = self._buffer = PartBuffer(self._instrument, utc_day(self._clock_ms))
        if self.book.known:
            buffer.checkpoint = Checkpoint(ordinal, *self._book_at, self.book.ladder())
        place = Place(
            symbol=self.symbol,
            date=buffer.date,
            part=part_name(ordinal),
            rules=self._instrument.to_json(),
            follows=self._follows,
            silent_since_ms=self._silent_since_ms,
        )
        self._journal = JournalFile(journal_folder(self._root, self.symbol) / f"{place.part}.wal", place)
        return buffer

    def _advance_clock(self, time_ms: int) -> None:
        if time_ms <= self._clock_ms:
            return
        if self._last_ms is not None and time_ms < self._last_ms - _BACKWARDS_MS:
            raise LakeError(
                f"the lake of {self.symbol} ends at {self._last_ms} ms, later than the {time_ms} ms that is received",
                advice="Use another data folder for another exchange, or import the older days as archives",
            )
        self._clock_ms = time_ms

    @property
    def rows(self) -> int:
        """Rows waiting to be sealed."""
        return 0 if self._buffer is None else self._buffer.rows

    @property
    def last_seq(self) -> int | None:
        """Cross sequence of the last book message that waits."""
        if self._buffer is None or not self._buffer.book.rows:
            return None
        return self._buffer.book.at("seq", self._buffer.book.rows - 1)

    def sync(self) -> Callable[[], None] | None:
        """Take what the journal has not written yet as a job that brings it down to the disk; ``None`` for nothing.

        The job may run in another thread; jobs must run in the order they were taken.
        """
        return None if self._journal is None else self._journal.flush()

    def sync_now(self) -> None:
        """Bring the journal down to the disk.

        Raises
        ------
        LakeError
            The disk refuses.
        """
        job = self.sync()
        if job is not None:
            job()

    def advance(self, seq: int | None = None) -> int | None:
        """Bring :attr:`book` up to the last row, or to the last message whose cross sequence is at most `seq`.

        Returns
        -------
        seq
            That of the last message applied; ``None`` if the buffer has none that was applied.
        """
        buffer = self._buffer
        if buffer is None:
            return None
        columns, start = buffer.book, self._applied
        end = columns.rows
        if seq is not None:
            end = start + int(np.searchsorted(np.maximum.accumulate(columns["seq"][start:]), seq, side="right"))
        cuts = [columns.first_row(gap.ordinal) for gap in buffer.gaps[self._applied_gaps :]]
        for cut in cuts:
            if cut > end or (seq is not None and cut == end):
                break
            self._apply(buffer, start, cut)
            self.book.lose()
            self._applied_gaps += 1
            start = cut
        self._apply(buffer, start, end)
        self._applied = end
        return columns.at("seq", end - 1) if end else None

    def _apply(self, buffer: PartBuffer, start: int, end: int) -> None:
        if end > start:
            rows = slice(start, end)
            names = ("flags", "side", "price", "size")
            self.book.apply(*(buffer.book[name][rows] for name in names))  # type: ignore[arg-type]
            self._book_at = buffer.book.at("time_ms", end - 1), buffer.book.at("u", end - 1)

    def next_message(self) -> tuple[set[tuple[int, int]], int] | None:
        """Sides and prices that the first book message beyond :attr:`book` changes, and its cross sequence."""
        buffer, start = self._buffer, self._applied
        if buffer is None or start >= buffer.book.rows:
            return None
        end = buffer.book.first_row(buffer.book.at("ordinal", start) + 1)
        sides, prices = buffer.book["side"][start:end].tolist(), buffer.book["price"][start:end].tolist()
        return set(zip(sides, prices)), buffer.book.at("seq", start)

    def take(self) -> Callable[[], Manifest] | None:
        """Take the waiting rows away as a job that writes them as a part; ``None`` if there are none.

        The job may run in another thread while rows are appended here; jobs must run in the order they were taken.
        """
        if self._buffer is None or self._buffer.first_ordinal is None:
            return None
        self.advance()
        self._applied = self._applied_gaps = 0
        buffer, self._buffer = self._buffer, None
        journal, self._journal = self._journal, None
        assert journal is not None
        synced = journal.flush()
        follows, silent_since_ms = self._follows, self._silent_since_ms
        assert buffer.first_ordinal is not None
        self._follows = part_name(buffer.first_ordinal)
        self._silent_since_ms = buffer.last_book_ms or silent_since_ms

        def write() -> Manifest:
            if synced is not None:
                synced()  # encoding takes longer than what may be lost
            part = buffer.sealed(follows=follows, silent_since_ms=silent_since_ms)
            write_parts(self._root, [part])
            journal.discard()
            self.parts += 1
            self.part_bytes += sum(map(len, part.files.values()))
            return part.manifest

        return write

    def adopt(self, instrument: Instrument) -> Callable[[], Manifest] | None:
        """Go on under other contract rules, in a new part; the rows so far as a job, as :meth:`take` gives it.

        The book is forgotten: its levels count in other units.
        """
        job = self.take()
        self._instrument = instrument
        self._follows = None
        self.book.lose()
        return job

    def seal(self) -> Manifest | None:
        """Write the waiting rows as a part; ``None`` if there are none.

        Raises
        ------
        LakeError
            The disk refuses; the journal keeps what reached it for the next start.
        """
        job = self.take()
        return None if job is None else job()

    def close(self) -> None:
        """Seal and give the symbol free; where sealing fails the journal is left to the next start."""
        journal = self._journal
        try:
            self.seal()
        finally:
            if journal is not None:
                journal.abandon()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
