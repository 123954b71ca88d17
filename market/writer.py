"""The one writer of a symbol's part of the lake."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from market._buffer import PartBuffer, SealedPart, part_name, record_ms, utc_day
from market._parts import BOOK_STREAM, STREAMS, lake_io, publish, stage, staged
from market.assembler import Assembled
from market.errors import AlreadyRunningError, LakeError
from market.instruments import Instrument
from market.manifest import Manifest, encode_manifest

#: Rows after which a part is sealed by itself, so that reading a part back stays within a few hundred MB.
MAX_PART_ROWS = 2_000_000
#: How far the exchange's clock may lie behind what the lake already holds (ms).
_BACKWARDS_MS = 60_000


class SymbolLock:
    """Exclusive right to write one symbol, between processes; freed by the system when the process dies.

    Raises
    ------
    AlreadyRunningError
        Another writer holds it.
    """

    def __init__(self, path: Path, symbol: str) -> None:
        with lake_io(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise AlreadyRunningError(
                f"the lake of {symbol} is being written by another process (pid {holder})",
                advice="Stop that recorder or import first, or wait for it",
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Give the right back."""
        self._file.close()


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


def part_path(root: Path, stream: str, manifest: Manifest) -> Path:
    """Where the file of a stream of a part lies."""
    return root / stream / f"symbol={manifest.symbol}" / f"date={manifest.date}" / f"{manifest.part}.parquet"


def manifest_path(root: Path, manifest: Manifest) -> Path:
    """Where the manifest of a part lies: beside its book file, out of sight of readers of Parquet folders."""
    return part_path(root, BOOK_STREAM, manifest).with_name(f"_{manifest.part}.json")


def quarantine_unsealed(root: Path, symbol: str) -> list[Path]:
    """Move what a crash left behind, files without a manifest, out of the lake into ``_quarantine``.

    Returns
    -------
    list of Path
        Where they are now.
    """
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

    Sealing never loses what was sealed before. What is still in memory when the process dies is lost, and the next
    session begins with a gap that says so.
    """

    def __init__(self, root: Path, instrument: Instrument, lock: SymbolLock, last_ms: int | None) -> None:
        self.symbol = instrument.symbol
        self._root = root
        self._instrument = instrument
        self._lock = lock
        self._last_ms = last_ms
        self._clock_ms = 0
        self._buffer: PartBuffer | None = None
        self._follows: str | None = None
        self._silent_since_ms: int | None = None

    def append(self, assembled: Assembled) -> None:
        """Take in the records of this writer's symbol; those of other symbols are left alone.

        Raises
        ------
        LakeError
            The records are older than what the lake holds, or the day has turned and the part cannot be written.
        """
        records = [record for record in assembled.records if record.symbol == self.symbol]
        if not records:
            return
        time_ms = max([record_ms(record) for record in records])
        if time_ms > self._clock_ms:
            self._check_order(time_ms)
            self._clock_ms = time_ms
        buffer = self._buffer
        if buffer is not None and (self._clock_ms >= buffer.day_end_ms or buffer.rows >= MAX_PART_ROWS):
            self.seal()
            buffer = None
        if buffer is None:
            buffer = self._buffer = PartBuffer(self._instrument, utc_day(self._clock_ms))
        for record in records:
            buffer.append(record)

    def _check_order(self, time_ms: int) -> None:
        if self._last_ms is not None and time_ms < self._last_ms - _BACKWARDS_MS:
            raise LakeError(
                f"the lake of {self.symbol} ends at {self._last_ms} ms, later than the {time_ms} ms that is received",
                advice="Use another data folder for another exchange, or import the older days as archives",
            )

    @property
    def rows(self) -> int:
        """Rows waiting to be sealed."""
        return 0 if self._buffer is None else self._buffer.rows

    def take(self) -> Callable[[], Manifest] | None:
        """Take the waiting rows away as a job that writes them as a part; ``None`` if there are none.

        The job may run in another thread while rows are appended here; jobs must run in the order they were taken.
        """
        buffer, self._buffer = self._buffer, None
        if buffer is None or buffer.first_ordinal is None:
            return None
        follows, silent_since_ms = self._follows, self._silent_since_ms
        self._follows = part_name(buffer.first_ordinal)
        self._silent_since_ms = buffer.last_book_ms or silent_since_ms

        def write() -> Manifest:
            part = buffer.sealed(follows=follows, silent_since_ms=silent_since_ms)
            write_parts(self._root, [part])
            return part.manifest

        return write

    def seal(self) -> Manifest | None:
        """Write the waiting rows as a part; ``None`` if there are none.

        Raises
        ------
        LakeError
            The disk refuses.
        """
        job = self.take()
        return None if job is None else job()

    def close(self) -> None:
        """Seal and give the symbol free."""
        try:
            self.seal()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
