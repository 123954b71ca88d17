"""What a killed recorder has left in the journal, back into the lake; and where a session can go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from market._buffer import PartBuffer
from market._part_files import part_path
from market._parts import LIQUIDATION_STREAM, TICKER_STREAM, TRADE_STREAM, lake_io, read_parquet
from market.instruments import Instrument
from market.journal import Journalled, read_journal
from market.manifest import Manifest
from market.records import GapMark, place_of, record_ms
from market.writer import Ending, journal_folder, write_parts

#: Cause of the gap behind what was recovered.
CRASH = "recorder was cut off"
#: Topics that are continued by time: their stream and the column that holds the frame's ``ts``.
_OTHERS = (("tickers", TICKER_STREAM, "time_ms"), ("allLiquidation", LIQUIDATION_STREAM, "ts_ms"))


def recover(root: Path, symbol: str, sealed: Sequence[Manifest]) -> list[Manifest]:
    """Seal what the journal of a symbol holds; the caller has the symbol's lock.

    Returns
    -------
    list of Manifest
        The parts that were made.

    Raises
    ------
    LakeError
        The disk refuses; the journal is left as it is.
    """
    done = {name for manifest in sealed for name in (manifest.part, *(one.part for one in manifest.merged))}
    found: list[tuple[Path, Journalled]] = []
    for path in sorted(journal_folder(root, symbol).glob("*.wal")):
        journalled = None if path.stem in done else read_journal(path)
        if journalled is not None and journalled.records:
            found.append((path, journalled))
        else:
            with lake_io(path):
                path.unlink()
    made: list[Manifest] = []
    for path, journalled in found:
        made.append(_seal(root, path, journalled, last=path == found[-1][0]))
        _put_away(root, path, journalled.damage)
    return made


def _seal(root: Path, path: Path, journalled: Journalled, *, last: bool) -> Manifest:
    place = journalled.place
    assert place is not None
    buffer = PartBuffer(Instrument.from_json(place.rules), place.date)
    for record in journalled.records:
        buffer.append(record)
    if last or journalled.damage is not None:
        ordinal, recv_ns = place_of(journalled.records[-1])
        clock_ms = max(map(record_ms, journalled.records))
        cause = CRASH if journalled.damage is None else f"journal: {journalled.damage}"
        buffer.append(GapMark(place.symbol, ordinal + 1, clock_ms, recv_ns, cause))
    part = buffer.sealed(follows=place.follows, silent_since_ms=place.silent_since_ms)
    write_parts(root, [part])
    return part.manifest


def _put_away(root: Path, path: Path, damage: str | None) -> None:
    """Forget a journal file that is sealed; keep a damaged one for whoever wants to look."""
    with lake_io(path):
        if damage is None:
            path.unlink()
        else:
            target = root / "_quarantine" / "journal" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def ending(root: Path, sealed: Sequence[Manifest], overlap_ms: int = 0) -> Ending:
    """Where the lake of a symbol ends.

    Parameters
    ----------
    root, sealed
        The lake, and the manifests of the symbol in capture order.
    overlap_ms
        Trade ids are given of this much exchange time before the end.
    """
    if not sealed:
        return Ending()
    last = sealed[-1]
    last_ms = max(manifest.times_ms[1] for manifest in sealed)
    gap = max((mark.ordinal for manifest in sealed for mark in manifest.gaps), default=-1)
    snapshot = max((mark.ordinal for manifest in sealed for mark in manifest.snapshots), default=-1)
    book = [manifest for manifest in sealed if manifest.u is not None]
    ids: list[str] = []
    others: dict[str, int] = {}
    for manifest in sealed:
        if not overlap_ms or manifest.times_ms[1] < last_ms - overlap_ms:
            continue
        ids += [] if TRADE_STREAM not in manifest.files else _column(root, manifest, TRADE_STREAM, "id")
        for topic, stream, name in _OTHERS:
            if stream in manifest.files:
                others[topic] = max(_column(root, manifest, stream, name))
    return Ending(
        last_ms=last_ms,
        part=last.last_part,
        book_ms=book[-1].book_ms[1] if book and book[-1].book_ms else None,
        last_u=book[-1].u[1] if book and book[-1].u and snapshot >= max(gap, 0) else None,
        trade_ids=ids,
        others_ms=others,
    )


def _column(root: Path, manifest: Manifest, stream: str, name: str) -> list[Any]:
    path = part_path(root, stream, manifest)
    values: list[Any] = read_parquet(path, stream, manifest.files[stream], [name]).column(name).to_pylist()
    return values


__all__ = ["CRASH", "Ending", "ending", "recover"]
