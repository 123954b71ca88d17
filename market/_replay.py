"""Sealed parts back to the event stream that was live, and where its holes are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from market._part_files import part_path
from market._parts import BOOK_STREAM, MESSAGE_STREAM, TRADE_STREAM, damaged, open_parquet, read_parquet
from market.events import BOOK, FIRST, GAP, TRADE, EventBatch
from market.manifest import Gap, Manifest, Merged
from market.sequence import SESSION_START

_EVENT_COLUMNS = ("time_ms", "price", "size", "ordinal")
#: Rows of the book that are read at a time.
_PIECE_ROWS = 1 << 16
_MESSAGES_AT_A_TIME = 1 << 14


@dataclass(frozen=True, slots=True)
class SuspectWindow:
    """A stretch of exchange time, ``[start_ms, end_ms]``, in which the book was not known, and why."""

    start_ms: int
    end_ms: int
    cause: str


def with_missing_parts(manifests: Sequence[Manifest]) -> list[tuple[Manifest, list[Gap]]]:
    """Each part with its gaps, and one more where the part that it follows is not there any more."""
    out: list[tuple[Manifest, list[Gap]]] = []
    last_ms = 0
    before: str | None = None
    for manifest in manifests:
        gaps = list(manifest.gaps)
        if manifest.follows is not None and manifest.follows != before:
            time_ms = last_ms or manifest.times_ms[0]
            gaps.insert(0, Gap(manifest.ordinals[0], time_ms, -1, f"part {manifest.follows} is missing"))
        out.append((manifest, gaps))
        before = manifest.last_part
        last_ms = max(last_ms, manifest.times_ms[1])
    return out


def read_events(root: Path, manifest: Manifest, gaps: Sequence[Gap]) -> EventBatch:
    """All events of one part in capture order; :func:`iter_events` holds less at a time.

    Raises
    ------
    LakeError
        A file of the part is damaged.
    """
    return EventBatch.concat(iter_events(root, manifest, gaps))


def iter_events(root: Path, manifest: Manifest, gaps: Sequence[Gap]) -> Iterator[EventBatch]:
    """All events of one part in capture order, a quarter of a row group of the book at a time.

    Whoever only looks at them once, as an executor does that replays the lake, need not hold more.

    Raises
    ------
    LakeError
        A file of the part is damaged.
    """
    others = _gap_rows(gaps)
    if TRADE_STREAM in manifest.files:
        path = part_path(root, TRADE_STREAM, manifest)
        table = read_parquet(path, TRADE_STREAM, manifest.files[TRADE_STREAM], [*_EVENT_COLUMNS, "recv_ns", "side"])
        received = table.column("recv_ns").to_numpy()
        others = _in_order([others, _rows(table.combine_chunks(), TRADE, np.zeros(len(table), np.uint8), received)])
    receipts = _Receipts(root, manifest)
    done = 0
    for table in _pieces(root, BOOK_STREAM, manifest, [*_EVENT_COLUMNS, "side", "flags"], _PIECE_ROWS):
        if not len(table):
            continue
        received = receipts.of_rows(table.column("ordinal").to_numpy())
        book = _rows(table, BOOK, table.column("flags").to_numpy(), received)
        due = done + int(np.searchsorted(others.ordinal[done:], book.ordinal[-1], side="right"))
        yield _in_order([others[done:due], book])
        done = due
    if done < len(others):
        yield others[done:]


def _pieces(root: Path, stream: str, manifest: Manifest, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    path = part_path(root, stream, manifest)
    file = open_parquet(path, stream, manifest.files[stream])
    try:
        yield from file.iter_batches(rows, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"not Parquet: {error}") from error


class _Receipts:
    """When each row of a book file was received, read from the messages of the part as the rows go by."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._path = part_path(root, MESSAGE_STREAM, manifest)
        there = MESSAGE_STREAM in manifest.files
        columns = ["ordinal", "recv_ns"]
        self._pieces = _pieces(root, MESSAGE_STREAM, manifest, columns, _MESSAGES_AT_A_TIME) if there else iter(())
        self._ordinal = self._recv_ns = np.empty(0, np.int64)

    def of_rows(self, ordinal: NDArray[np.int64]) -> NDArray[np.int64]:
        """Receive time of the next rows of the book, ns, by their ordinals.

        Raises
        ------
        LakeError
            A row is of a message that is not there.
        """
        keep = int(np.searchsorted(self._ordinal, ordinal[0]))
        parts = [(self._ordinal[keep:], self._recv_ns[keep:])]
        while not len(parts[-1][0]) or parts[-1][0][-1] < ordinal[-1]:
            table = next(self._pieces, None)
            if table is None:
                break
            parts.append((table.column("ordinal").to_numpy(), table.column("recv_ns").to_numpy()))
        self._ordinal, self._recv_ns = (np.concatenate(column) for column in zip(*parts))
        new = np.diff(ordinal, prepend=ordinal[0]) != 0
        which = np.cumsum(new)
        if not np.array_equal(self._ordinal[: which[-1] + 1], ordinal[np.concatenate([[0], np.flatnonzero(new)])]):
            raise damaged(self._path, "its messages are not those of the book")
        return np.asarray(self._recv_ns[which])


def _in_order(parts: Sequence[EventBatch]) -> EventBatch:
    """Capture order; every frame is of one stream and a gap stands before the rows of its ordinal: a stable sort."""
    events = EventBatch.concat(parts)
    order = np.argsort(events.ordinal, kind="stable")
    return EventBatch(**{name: getattr(events, name)[order] for name in EventBatch.__slots__})


def _gap_rows(gaps: Iterable[Gap]) -> EventBatch:
    return EventBatch.from_rows((GAP, 0, 0, gap.time_ms, 0, 0, gap.ordinal, gap.recv_ns) for gap in gaps)


def _rows(
    table: pa.Table | pa.RecordBatch, kind: int, flags: NDArray[np.uint8], recv_ns: NDArray[np.int64]
) -> EventBatch:
    columns = {name: table.column(name).to_numpy().astype(np.int64, copy=False) for name in _EVENT_COLUMNS}
    side = table.column("side").to_numpy()
    return EventBatch(kind=np.full(len(table), kind, np.int8), flags=flags, side=side, recv_ns=recv_ns, **columns)


def within(events: EventBatch, start_ms: int | None, end_ms: int | None) -> EventBatch:
    """The rows with exchange time in ``[start_ms, end_ms)``."""
    if start_ms is None and end_ms is None:
        return events
    keep = np.ones(len(events), bool)
    if start_ms is not None:
        keep &= events.time_ms >= start_ms
    if end_ms is not None:
        keep &= events.time_ms < end_ms
    if keep.all():
        return events
    return EventBatch(**{name: getattr(events, name)[keep] for name in EventBatch.__slots__})


def suspect_windows(root: Path, manifests: Sequence[Manifest], stall_ms: int) -> list[SuspectWindow]:
    """The holes of a symbol: gaps up to the next snapshot, doubts, and silences of the book beyond `stall_ms`.

    The beginning of the first session is none: nothing was lost before it.
    """
    parts = with_missing_parts(manifests)
    snapshots = [snapshot for manifest in manifests for snapshot in manifest.snapshots]
    ordinals = [snapshot.ordinal for snapshot in snapshots]
    end_ms = max((manifest.times_ms[1] for manifest in manifests), default=0)
    windows: list[SuspectWindow] = []
    # Parts as they were sealed: in a merged one, a session may begin in the middle.
    origins: list[Manifest | Merged] = []
    for manifest in manifests:
        origins += manifest.merged or [manifest]
    begins = [int(one.part.rstrip("c")) for one in origins]
    ends = list(accumulate((one.times_ms[1] for one in origins), max))
    for _, gaps in parts:
        for gap in gaps:
            start_ms = gap.time_ms
            if gap.cause == SESSION_START:
                before = int(np.searchsorted(begins, gap.ordinal))
                if before == 0:
                    continue
                start_ms = min(start_ms, ends[before - 1])
            index = int(np.searchsorted(ordinals, gap.ordinal))
            until_ms = snapshots[index].time_ms if index < len(snapshots) else end_ms
            windows.append(SuspectWindow(start_ms, max(start_ms, until_ms), gap.cause))
    windows += [
        SuspectWindow(doubt.start_ms, doubt.end_ms, doubt.cause) for manifest in manifests for doubt in manifest.doubts
    ]
    windows += _stalls(root, parts, stall_ms)
    return sorted(windows, key=lambda window: (window.start_ms, window.end_ms))


def _stalls(root: Path, parts: Sequence[tuple[Manifest, list[Gap]]], stall_ms: int) -> Iterator[SuspectWindow]:
    before_ms: int | None = None
    for manifest, gaps in parts:
        if manifest.book_ms is None:
            continue
        if manifest.max_silence_ms > stall_ms:
            yield from _stalls_within(root, manifest, gaps, before_ms, stall_ms)
        before_ms = manifest.book_ms[1]


def _stalls_within(
    root: Path, manifest: Manifest, gaps: Sequence[Gap], before_ms: int | None, stall_ms: int
) -> Iterator[SuspectWindow]:
    path = part_path(root, BOOK_STREAM, manifest)
    table = read_parquet(path, BOOK_STREAM, manifest.files[BOOK_STREAM], ["time_ms", "ordinal", "flags"])
    first = table.column("flags").to_numpy() & FIRST != 0
    times = np.maximum.accumulate(table.column("time_ms").to_numpy()[first])
    ordinals = table.column("ordinal").to_numpy()[first]
    starts = np.concatenate([[times[0] if before_ms is None or manifest.follows is None else before_ms], times[:-1]])
    # A silence with a gap in it is that gap's window already.
    after_gap = np.zeros(len(times), bool)
    after_gap[[i for gap in gaps if (i := int(np.searchsorted(ordinals, gap.ordinal))) < len(times)]] = True
    stalled = (times - starts > stall_ms) & ~after_gap
    for start, end in zip(starts[stalled].tolist(), times[stalled].tolist()):
        yield SuspectWindow(start, end, f"book silent for {(end - start) / 1000:.0f} s")
