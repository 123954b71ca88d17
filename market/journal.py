"""The write-ahead journal: raw frames on disk within the second, until the part that holds their rows is sealed.

One file a part and symbol, ``<lake>/.journal/<symbol>/<part>.wal``. It begins with what the part must know of its
place; then every accepted frame follows as received, with the ordinal that it had live, and every gap. Each record
carries a CRC, so a record that a crash or a power loss cut off is told from a whole one. Reading it back needs no
memory of the session: rows and gaps come out as they were live.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from isal import isal_zlib
from msgspec import Struct

from market._parts import lake_io, sync_folder
from market.errors import LakeError
from market.instruments import Instrument
from market.records import BookRun, DoubtMark, FrameReader, GapMark, OddityMark, Record, place_of

#: CRC-32 of all that follows, length of the payload, kind, ordinal, time (ms), receive time (ns).
_HEAD = struct.Struct("<IIBqqq")
_AFTER_CRC = struct.Struct("<IBqqq")
_PLACE, _FRAME, _GAP, _DOUBT, _RUN, _ODDITY = range(6)
#: A record longer than this is damage.
_LONGEST = 1 << 27
#: As many pieces the system takes in one call.
_PIECES_A_CALL = min(1_024, os.sysconf("SC_IOV_MAX"))

Buffer = bytes | memoryview


class Place(Struct, frozen=True):
    """What a part must know of its place to be sealed by another process."""

    symbol: str
    date: str
    part: str
    rules: dict[str, Any]
    follows: str | None
    silent_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Journalled:
    """What a journal file gives back.

    Attributes
    ----------
    place
        ``None`` where not even that reached the disk.
    records
        All whole ones, in order.
    damage
        What is wrong with the file beyond a cut-off end; ``None`` if nothing is.
    """

    place: Place | None
    records: list[Record]
    damage: str | None


class JournalFile:
    """Takes down the frames of one part.

    Nothing touches the disk before :meth:`flush`; its jobs must run in the order they were taken, in any thread.

    Parameters
    ----------
    path
        Where; a file that is there already is another session's and refused.
    place
        Of the part.
    """

    def __init__(self, path: Path, place: Place) -> None:
        self.path = path
        self.waiting = 0
        self._pending: list[Buffer] = []
        self._file: int | None = None
        self._lock = threading.Lock()
        self._over = False
        self._put(_PLACE, 0, 0, 0, msgspec.json.encode(place))

    def note(self, record: Record, data: bytes) -> None:
        """Take down one record; `data` is its raw frame."""
        if isinstance(record, GapMark):
            self._put(_GAP, record.ordinal, record.time_ms, record.recv_ns, record.cause.encode())
        elif isinstance(record, DoubtMark):
            payload = record.start_ms.to_bytes(8, "little", signed=True) + record.cause.encode()
            self._put(_DOUBT, record.ordinal, record.time_ms, record.recv_ns, payload)
        elif isinstance(record, OddityMark):
            payload = msgspec.json.encode((record.kind, record.detail))
            self._put(_ODDITY, record.ordinal, record.time_ms, record.recv_ns, payload)
        else:
            ordinal, recv_ns = place_of(record)
            self._put(_FRAME, ordinal, 0, recv_ns, data)

    def note_run(self, run: BookRun) -> None:
        """Take down many frames in one record: how many, then ordinals, receive times and lengths, then the frames."""
        columns = [
            np.ascontiguousarray(column, "<i8").data.cast("B") for column in (run.ordinals, run.recv_ns, run.lengths)
        ]
        self._put(_RUN, int(run.ordinals[0]), 0, len(run.lengths), *columns, run.frames)

    def _put(self, kind: int, ordinal: int, time_ms: int, recv_ns: int, *payload: Buffer) -> None:
        """One record; `recv_ns` of a run is its number of frames."""
        length = sum(map(len, payload))
        rest = _AFTER_CRC.pack(length, kind, ordinal, time_ms, recv_ns)
        crc = isal_zlib.crc32(rest)
        for piece in payload:
            crc = isal_zlib.crc32(piece, crc)
        self._pending += (crc.to_bytes(4, "little"), rest, *payload)
        self.waiting += _HEAD.size + length

    def flush(self) -> Callable[[], None] | None:
        """Take away what waits, as a job that writes it down to the disk; ``None`` if nothing waits.

        The job raises :class:`LakeError` where the disk refuses.
        """
        pending, self._pending = self._pending, []
        self.waiting = 0
        if not pending:
            return None

        def write() -> None:
            with self._lock, lake_io(self.path):
                if self._over:  # sealed meanwhile: the part holds these rows
                    return
                if self._file is None:
                    self._open()
                assert self._file is not None
                _write_all(self._file, pending)
                os.fdatasync(self._file)

        return write

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """The part is sealed: forget the file."""
        with self._lock:
            self._over = True
            self._close()
            with contextlib.suppress(FileNotFoundError), lake_io(self.path):
                self.path.unlink()

    def abandon(self) -> None:
        """Close the file and leave it to the next start."""
        with self._lock:
            self._over = True
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write_all(file: int, pieces: list[Buffer]) -> None:
    for start in range(0, len(pieces), _PIECES_A_CALL):
        some = pieces[start : start + _PIECES_A_CALL]
        rest = sum(map(len, some))
        rest -= os.writev(file, some)
        if rest:  # a part of it: the disk is nearly full
            view = memoryview(b"".join(some))[-rest:]
            while view:
                view = view[os.write(file, view) :]


def _frames_of(payload: bytes, count: int) -> Iterator[tuple[bytes, int, int]]:
    """The frames of a run, each with its ordinal and receive time."""
    ordinals, recv_ns, lengths = np.frombuffer(payload, "<i8", 3 * count).reshape(3, count).tolist()
    start = 24 * count
    for ordinal, received, length in zip(ordinals, recv_ns, lengths):
        yield payload[start : start + length], ordinal, received
        start += length


def read_journal(path: Path) -> Journalled:
    """Read a journal file back, up to the first record that is not whole.

    Raises
    ------
    LakeError
        The file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LakeError(
            f"{path} cannot be read ({error.strerror or error})",
            advice="Check permissions of the data folder; it holds what a recorder received before it was killed",
        ) from error
    place, reader, records, position = None, None, list[Record](), 0
    while position + _HEAD.size <= len(data):
        crc, length, kind, ordinal, time_ms, recv_ns = _HEAD.unpack_from(data, position)
        start, end = position + _HEAD.size, position + _HEAD.size + length
        if end > len(data) and length <= _LONGEST:
            break  # cut off
        payload = data[start:end]
        if length > _LONGEST or isal_zlib.crc32(payload, isal_zlib.crc32(data[position + 4 : start])) != crc:
            at_end = not data[end:].strip(b"\0") or not data[position:].strip(b"\0")
            return Journalled(place, records, None if at_end else f"record at byte {position} is damaged")
        position = end
        if place is None:
            place = msgspec.json.decode(payload, type=Place)
            reader = FrameReader(Instrument.from_json(place.rules))
        elif kind == _GAP:
            records.append(GapMark(place.symbol, ordinal, time_ms, recv_ns, payload.decode()))
        elif kind == _DOUBT:
            start_ms = int.from_bytes(payload[:8], "little", signed=True)
            records.append(DoubtMark(place.symbol, ordinal, start_ms, time_ms, recv_ns, payload[8:].decode()))
        elif kind == _ODDITY:
            what, detail = msgspec.json.decode(payload, type=tuple[str, str])
            records.append(OddityMark(place.symbol, ordinal, time_ms, recv_ns, what, detail))
        else:
            assert reader is not None
            frames = _frames_of(payload, recv_ns) if kind == _RUN else [(payload, ordinal, recv_ns)]
            records += [reader.read(*frame) for frame in frames]
    return Journalled(place, records, None)
