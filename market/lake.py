"""The Parquet lake: what was captured or imported, sealed, checked, and read back as it was live."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from market._part_files import part_path, remove_merged
from market._parts import BOOK_STREAM, MESSAGE_STREAM, STREAMS, TRADE_STREAM, damaged, publish, stage
from market._replay import SuspectWindow, iter_events, suspect_windows, with_missing_parts, within
from market.errors import AlreadyRunningError, EmptyLakeError, LakeError, UnknownSymbolError
from market.events import EventBatch
from market.instruments import Instrument
from market.locks import SymbolLock
from market.manifest import Gap, Manifest, Merged, StreamFile, read_manifest
from market.recovery import ending, recover
from market.writer import Ending, LakeWriter, quarantine_unsealed

#: Silence of the book that makes a suspect window when nothing else is said (ms).
STALL_MS = 60_000
_CHUNK_ROWS = 1 << 19
#: Streams that :meth:`Lake.events` gives back.
_EVENT_STREAMS = (BOOK_STREAM, MESSAGE_STREAM, TRADE_STREAM)
_DAY_NS = 86_400 * 10**9
#: Ordinals of a day start here times the day's number, so that history can be imported before what was recorded.
ORDINALS_A_DAY = 1 << 32


class Lake:
    """The lake in a folder.

    Layout: ``root/<stream>/symbol=<S>/date=<UTC day>/<part>.parquet`` with streams ``book``, ``trades``, ``tickers``,
    ``liquidations`` and ``checkpoints`` (the whole book at the start of a part); the manifest ``_<part>.json`` of a
    part lies beside its book file. A part is in the lake once its manifest is, and every file is checked against the
    manifest's SHA-256 before it is used. A row lies in the folder of the day of the running maximum of exchange time,
    so a late trade may lie in the day after its own.

    Row order: within a file rows stand in capture order, ``ordinal`` never falls, and files sort by name as their rows
    do. ``ordinal`` is one order over all streams of a symbol; rows of one frame share it.

    Parameters
    ----------
    root
        The folder; it need not exist yet.

    Attributes
    ----------
    recovered
        By symbol, the parts that the last :meth:`writer` has made of a killed session's journal.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recovered: dict[str, list[Manifest]] = {}

    # -- what there is ------------------------------------------------------------------------------------------------

    def symbols(self) -> list[str]:
        """Symbols with at least one sealed part."""
        folders = sorted((self.root / BOOK_STREAM).glob("symbol=*"))
        return [folder.name.removeprefix("symbol=") for folder in folders if next(folder.glob("date=*/_*.json"), None)]

    def days(self, symbol: str) -> list[str]:
        """UTC days with data, ``YYYY-MM-DD``.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError
            There is no data.
        """
        return sorted({manifest.date for manifest in self.manifests(symbol)})

    def manifests(self, symbol: str, start_ms: int | None = None, end_ms: int | None = None) -> list[Manifest]:
        """Manifests of the sealed parts of a symbol that touch ``[start_ms, end_ms)``, in capture order.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError
            The lake has nothing of `symbol` at all.
        LakeError
            A part is damaged.
        """
        found = self.sealed(symbol)
        if not found:
            raise self._nothing(symbol)
        return [manifest for manifest in found if _touches(manifest, start_ms, end_ms)]

    def parts(self, symbol: str, stream: str, start_ms: int | None = None, end_ms: int | None = None) -> list[Path]:
        """Files of one stream that may be read, in capture order.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError, LakeError
            As :meth:`manifests`.
        """
        if stream not in STREAMS:
            raise LakeError(f"the lake has no stream {stream!r}", advice=f"Take one of {', '.join(STREAMS)}")
        return [
            part_path(self.root, stream, manifest)
            for manifest in self.manifests(symbol, start_ms, end_ms)
            if stream in manifest.files
        ]

    def span_ms(self, symbol: str) -> tuple[int, int]:
        """First and last exchange time."""
        manifests = self.manifests(symbol)
        return min(m.times_ms[0] for m in manifests), max(m.times_ms[1] for m in manifests)

    def counts(self, symbol: str, stall_ms: int = STALL_MS) -> dict[str, int]:
        """``level_changes``, ``trades`` and ``suspect_windows`` of a symbol."""
        manifests = self.manifests(symbol)
        return {
            "level_changes": sum(manifest.level_changes for manifest in manifests),
            "trades": sum(manifest.trades for manifest in manifests),
            "suspect_windows": len(suspect_windows(self.root, manifests, stall_ms)),
        }

    def suspect_windows(
        self, symbol: str, start_ms: int | None = None, end_ms: int | None = None, stall_ms: int = STALL_MS
    ) -> list[SuspectWindow]:
        """Windows that touch ``[start_ms, end_ms)``: gaps up to the next snapshot, and silences beyond `stall_ms`."""
        windows = suspect_windows(self.root, self.manifests(symbol), stall_ms)
        return [
            window
            for window in windows
            if (end_ms is None or window.start_ms < end_ms) and (start_ms is None or window.end_ms >= start_ms)
        ]

    def instrument(self, symbol: str) -> Instrument:
        """The contract rules that the latest rows were written under.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError
            There are none.
        LakeError
            The table of rules is damaged.
        """
        rules = self._rules(symbol)
        if not rules:
            raise self._nothing(symbol)
        return Instrument.from_json(rules[-1]["rules"])

    def fingerprint(self, symbol: str, start_ms: int | None = None, end_ms: int | None = None) -> str:
        """SHA-256 over what :meth:`events` would return: content of the parts, gaps and limits.

        Compaction does not change it: a merged part counts as the parts that it was made of.
        """
        digest = hashlib.sha256(repr((symbol, start_ms, end_ms)).encode())
        for manifest, gaps in self._with_gaps(symbol, start_ms, end_ms):
            for files, marks in origins(manifest, gaps, start_ms, end_ms):
                rows = {stream: file for stream, file in files.items() if stream in _EVENT_STREAMS}
                digest.update(msgspec.json.encode((manifest.tick_size, manifest.qty_step, rows, marks), order="sorted"))
        return digest.hexdigest()

    def next_ordinal(self, symbol: str) -> int:
        """First ordinal of the next session: beyond all there are, and beyond all that history could be given."""
        today = time.time_ns() // _DAY_NS * ORDINALS_A_DAY
        return max([today, *(manifest.ordinals[1] + 1 for manifest in self.sealed(symbol)[-1:])])

    # -- reading ------------------------------------------------------------------------------------------------------

    def events(
        self,
        symbol: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        *,
        from_snapshot: bool = False,
        chunk_rows: int = _CHUNK_ROWS,
    ) -> Iterator[EventBatch]:
        """The event stream in capture order, row for row what live trading saw, GAP rows included.

        Parameters
        ----------
        start_ms, end_ms
            Rows with exchange time in ``[start_ms, end_ms)``.
        from_snapshot
            Begin at the last snapshot before `start_ms` instead, so that the book is known at `start_ms`.
        chunk_rows
            Greatest length of a batch.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError
            There is no data of `symbol`, or none in that time.
        LakeError
            A part is damaged, or the tick size or quantity step changes on the way.
        """
        if from_snapshot and start_ms is not None:
            start_ms = self._snapshot_before(symbol, start_ms)
        parts = self._with_gaps(symbol, start_ms, end_ms)
        if not parts:
            first, last = self.span_ms(symbol)
            raise EmptyLakeError(
                f"{symbol} has no data in that time", advice=f"Its data spans exchange times {first} to {last} ms"
            )
        check_units([manifest for manifest, _ in parts])
        return self._read(parts, start_ms, end_ms, chunk_rows)

    def _with_gaps(self, symbol: str, start_ms: int | None, end_ms: int | None) -> list[tuple[Manifest, list[Gap]]]:
        parts = with_missing_parts(self.manifests(symbol))
        return [(manifest, gaps) for manifest, gaps in parts if _touches(manifest, start_ms, end_ms)]

    def _read(
        self, parts: list[tuple[Manifest, list[Gap]]], start_ms: int | None, end_ms: int | None, chunk_rows: int
    ) -> Iterator[EventBatch]:
        for manifest, gaps in parts:
            for events in iter_events(self.root, manifest, gaps):
                yield from within(events, start_ms, end_ms).chunks(chunk_rows)

    def _snapshot_before(self, symbol: str, start_ms: int) -> int:
        times = [snap.time_ms for manifest in self.manifests(symbol) for snap in manifest.snapshots]
        return max((time_ms for time_ms in times if time_ms <= start_ms), default=start_ms)

    # -- writing ------------------------------------------------------------------------------------------------------

    def writer(self, symbol: str, instrument: Instrument) -> LakeWriter:
        """The writer of a symbol; one at a time, between all processes.

        What a killed writer had in its journal is sealed first, see :attr:`recovered`; files that it left half
        written are moved to ``root/_quarantine``.

        Raises
        ------
        AlreadyRunningError
            Another writer is at work on the symbol.
        LakeError
            The folder cannot be written.
        """
        lock = self.lock(symbol)
        try:
            self.recovered[symbol] = recover(self.root, symbol, self.sealed(symbol))
            self._tidy(symbol)
            end = ending(self.root, self.sealed(symbol))
            self.note_rules(instrument, self.next_ordinal(symbol))
        except BaseException:
            lock.release()
            raise
        return LakeWriter(self.root, instrument, lock, end)

    def ending(self, symbol: str, overlap_ms: int = 0) -> Ending:
        """Where the lake of a symbol ends, for a session that goes on there; see :func:`market.recovery.ending`."""
        return ending(self.root, self.sealed(symbol), overlap_ms)

    def _tidy(self, symbol: str) -> None:
        """Put away what a crash has left; not while a compaction is at work on the symbol."""
        with contextlib.suppress(AlreadyRunningError):
            lock = self.compaction_lock(symbol)
            try:
                remove_merged(self.root, symbol)
                quarantine_unsealed(self.root, symbol)
            finally:
                lock.release()

    def compaction_lock(self, symbol: str) -> SymbolLock:
        """The exclusive right to rewrite past days of a symbol; recording goes on meanwhile."""
        return SymbolLock(self.root / ".locks" / f"{symbol}.compaction.lock", symbol)

    def lock(self, symbol: str) -> SymbolLock:
        """The exclusive right to write a symbol."""
        return SymbolLock(self.root / ".locks" / f"{symbol}.lock", symbol)

    def note_rules(self, instrument: Instrument, from_ordinal: int) -> None:
        """Add contract rules, valid from an ordinal on, to the symbol's table unless they hold there already."""
        rules = self._rules(instrument.symbol)
        in_force = [rule for rule in rules if rule["from_ordinal"] <= from_ordinal]
        if in_force and in_force[-1]["rules"] == instrument.to_json():
            return
        path = self._rules_path(instrument.symbol)
        rules.append({"from_ordinal": from_ordinal, "rules": instrument.to_json()})
        rules.sort(key=lambda rule: int(rule["from_ordinal"]))
        stage(path, msgspec.json.format(msgspec.json.encode(rules)))
        publish(path)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _rules_path(self, symbol: str) -> Path:
        return self.root / "instruments" / f"{symbol}.json"

    def _rules(self, symbol: str) -> list[dict[str, Any]]:
        path = self._rules_path(symbol)
        if not path.exists():
            return []
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        except (OSError, msgspec.DecodeError) as error:
            raise damaged(path, str(error)) from error

    def sealed(self, symbol: str) -> list[Manifest]:
        """Manifests of all parts of a symbol that may be trusted, in capture order; empty if there are none."""
        folder = self.root / BOOK_STREAM / f"symbol={symbol}"
        found = sorted(_manifests(folder), key=lambda manifest: manifest.part)
        merged = {one.part for manifest in found for one in manifest.merged}
        found = [manifest for manifest in found if manifest.part not in merged]
        for manifest in found:
            self._check_files(manifest)
        return _whole_imports(found)

    def _check_files(self, manifest: Manifest) -> None:
        for stream, file in manifest.files.items():
            path = part_path(self.root, stream, manifest)
            try:
                size = path.stat().st_size
            except OSError as error:
                raise damaged(path, error.strerror or "unreadable") from error
            if size != file.bytes:
                raise damaged(path, f"{size} bytes instead of {file.bytes}")

    def _nothing(self, symbol: str) -> LakeError | UnknownSymbolError:
        known = self.symbols()
        if not known:
            return EmptyLakeError(
                f"the lake {self.root} is empty",
                advice="Record with `purplesky capture` or import with `purplesky import`",
            )
        return UnknownSymbolError(
            f"the lake {self.root} has no {symbol} (it has: {', '.join(known)})",
            advice=f"Check the symbol's spelling, or record it with `purplesky capture --symbol {symbol}`",
        )


def _manifests(folder: Path) -> list[Manifest]:
    """All manifests below a folder; one that a compaction removes meanwhile is none."""
    found = []
    for path in folder.glob("date=*/_*.json"):
        try:
            found.append(read_manifest(path))
        except LakeError:
            if path.exists():
                raise
    return found


def origins(
    manifest: Manifest, gaps: list[Gap], start_ms: int | None, end_ms: int | None
) -> Iterator[tuple[dict[str, StreamFile], list[Gap]]]:
    """Files and gaps of a part, or of those parts it was merged from that touch the time."""
    if not manifest.merged:
        yield manifest.files, gaps
    for one in manifest.merged:
        if _touches(one, start_ms, end_ms):
            yield one.files, one.gaps


def _touches(manifest: Manifest | Merged, start_ms: int | None, end_ms: int | None) -> bool:
    first, last = manifest.times_ms
    return (end_ms is None or first < end_ms) and (start_ms is None or last >= start_ms)


def check_units(manifests: list[Manifest]) -> None:
    """Refuse parts of different tick sizes or quantity steps: their rows count in different units."""
    units = {(manifest.tick_size, manifest.qty_step): manifest for manifest in manifests}
    if len(units) > 1:
        days = ", ".join(f"{tick}/{step} until {last.date}" for (tick, step), last in units.items())
        raise LakeError(
            f"tick size or quantity step of {manifests[0].symbol} changes on the way ({days})",
            advice="Ask for a time on one side of the change",
        )


def _whole_imports(manifests: list[Manifest]) -> list[Manifest]:
    """Leave out imported days of which not every piece was sealed: their import was cut off and will be repeated."""
    pieces = Counter(_import_key(manifest) for manifest in manifests)
    return [m for m in manifests if m.source is None or pieces[_import_key(m)] == m.source.pieces]


def _import_key(manifest: Manifest) -> tuple[str, str] | None:
    return None if manifest.source is None else (manifest.date, repr(manifest.source.archives))
