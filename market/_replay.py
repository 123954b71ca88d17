"""Sealed parts back to the event stream that was live, and where its holes are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from market._parts import BOOK_STREAM, TRADE_STREAM, read_parquet
from market.events import BOOK, FIRST, GAP, TRADE, EventBatch
from market.manifest import Gap, Manifest
from market.sequence import SESSION_START
from market.writer import part_path

_EVENT_COLUMNS = ("time_ms", "price", "size", "ordinal", "recv_ns")


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
    """All events of one part in capture order.

    Raises
    ------
    LakeError
        A file of the part is damaged.
    """
    parts = [_gap_rows(gaps)]
    for stream, kind in ((BOOK_STREAM, BOOK), (TRADE_STREAM, TRADE)):
        if stream in manifest.files:
            path = part_path(root, stream, manifest)
            columns = [*_EVENT_COLUMNS, "side", "flags"] if kind == BOOK else [*_EVENT_COLUMNS, "side"]
            parts.append(_rows(read_parquet(path, stream, manifest.files[stream], columns), kind))
    events = EventBatch.concat(parts)
    # Every frame is of one stream, and a gap stands before the rows of its ordinal: a stable sort restores the order.
    order = np.argsort(events.ordinal, kind="stable")
    return EventBatch(**{name: getattr(events, name)[order] for name in EventBatch.__slots__})


def _gap_rows(gaps: Iterable[Gap]) -> EventBatch:
    return EventBatch.from_rows((GAP, 0, 0, gap.time_ms, 0, 0, gap.ordinal, gap.recv_ns) for gap in gaps)


def _rows(table: pa.Table, kind: int) -> EventBatch:
    columns = {name: table.column(name).to_numpy() for name in _EVENT_COLUMNS}
    flags = table.column("flags").to_numpy() if kind == BOOK else np.zeros(len(table), np.uint8)
    return EventBatch(
        kind=np.full(len(table), kind, np.int8), flags=flags, side=table.column("side").to_numpy(), **columns
    )


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
    """The holes of a symbol: gaps up to the next snapshot, and silences of the book longer than `stall_ms`.

    The beginning of the first session is none: nothing was lost before it.
    """
    parts = with_missing_parts(manifests)
    snapshots = [snapshot for manifest in manifests for snapshot in manifest.snapshots]
    ordinals = [snapshot.ordinal for snapshot in snapshots]
    end_ms = max((manifest.times_ms[1] for manifest in manifests), default=0)
    windows: list[SuspectWindow] = []
    last_ms: int | None = None
    for manifest, gaps in parts:
        for gap in gaps:
            start_ms = gap.time_ms
            if gap.cause == SESSION_START:
                if last_ms is None:
                    continue
                start_ms = min(start_ms, last_ms)
            index = int(np.searchsorted(ordinals, gap.ordinal))
            until_ms = snapshots[index].time_ms if index < len(snapshots) else end_ms
            windows.append(SuspectWindow(start_ms, max(start_ms, until_ms), gap.cause))
        last_ms = max(last_ms or 0, manifest.times_ms[1])
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
