"""What the lake can tell: the book at any instant, and what there is of each day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from market._part_files import part_path
from market._parts import BOOK_STREAM, CHECKPOINT_STREAM, MESSAGE_STREAM, damaged, read_parquet
from market._replay import SuspectWindow, with_missing_parts
from market.errors import DataError, EmptyLakeError
from market.instruments import Instrument
from market.ladder import Checkpoint, Ladder, LiveBook, checkpoints
from market.lake import STALL_MS, Lake
from market.manifest import Manifest

_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class BookAt:
    """A rebuilt book.

    Attributes
    ----------
    symbol, time_ms
        What was asked for.
    ladder
        Both sides, best level first.
    message_ms, u
        Exchange time and update id of the last message in it.
    replayed
        Level changes that were applied on top of the nearest checkpoint or snapshot.
    """

    symbol: str
    time_ms: int
    ladder: Ladder
    message_ms: int
    u: int
    replayed: int


def book_at(lake: Lake, symbol: str, time_ms: int) -> BookAt:
    """The book after all messages up to exchange time `time_ms`, in capture order.

    Starts at the nearest snapshot or checkpoint, so the cost does not grow with the session.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is nothing of the symbol at that time.
    DataError
        The book is not known then; the message names the hole.
    LakeError
        A part is damaged.
    """
    first_ms, last_ms = lake.span_ms(symbol)
    if not first_ms <= time_ms <= last_ms:
        raise EmptyLakeError(
            f"{symbol} has no data at {utc_text(time_ms)}",
            advice=f"Ask for a time between {utc_text(first_ms)} and {utc_text(last_ms)}",
        )
    parts = [(m, gaps) for m, gaps in with_missing_parts(lake.manifests(symbol)) if m.times_ms[0] <= time_ms]
    starts = [(snap.ordinal, m) for m, _ in parts for snap in m.snapshots if snap.time_ms <= time_ms]
    saved = nearest_checkpoint(lake, [manifest for manifest, _ in parts], time_ms)
    from_ordinal = max([ordinal for ordinal, _ in starts] + ([saved.ordinal] if saved else []), default=_FOREVER)
    # A gap stands before the snapshot of its ordinal, but behind the checkpoint of its ordinal.
    first_gap = from_ordinal + (saved is None or saved.ordinal != from_ordinal)
    book = LiveBook()
    if saved is not None and saved.ordinal == from_ordinal:
        book.load(saved.ladder)
    message_ms, u = (saved.time_ms, saved.u) if book.known and saved is not None else (-1, -1)
    replayed = 0
    for manifest, gaps in parts:
        if manifest.ordinals[1] < from_ordinal or manifest.u is None:
            continue
        path = part_path(lake.root, BOOK_STREAM, manifest)
        columns = ["time_ms", "ordinal", "flags", "side", "price", "size"]
        table = read_parquet(path, BOOK_STREAM, manifest.files[BOOK_STREAM], columns, from_ordinal=from_ordinal)
        rows = {name: table.column(name).to_numpy() for name in columns}
        rows["price"] = rows["price"].astype(np.int64, copy=False)
        start = int(np.searchsorted(rows["ordinal"], from_ordinal))
        later = np.flatnonzero(rows["time_ms"][start:] > time_ms)
        end = start + int(later[0]) if len(later) else len(table)
        for gap in gaps:
            cut = int(np.searchsorted(rows["ordinal"], gap.ordinal))
            reached = start <= cut < end or (cut == end and gap.time_ms < time_ms)
            if reached and gap.ordinal >= first_gap:
                _apply(book, rows, start, cut)
                book.lose()
                start = cut
        _apply(book, rows, start, end)
        replayed += end - start
        if end:
            message_ms, u = int(rows["time_ms"][end - 1]), _u_of(lake, manifest, int(rows["ordinal"][end - 1]))
        if end < len(table):
            break
    if not book.known:
        raise DataError(
            f"the book of {symbol} is not known at {utc_text(time_ms)}{_why(lake, symbol, time_ms)}",
            advice="Ask for another time; `purplesky lake` lists the holes",
        )
    return BookAt(symbol, time_ms, book.ladder(), message_ms, u, replayed)


def _u_of(lake: Lake, manifest: Manifest, ordinal: int) -> int:
    """Update id of the book message of an ordinal."""
    path = part_path(lake.root, MESSAGE_STREAM, manifest)
    table = read_parquet(path, MESSAGE_STREAM, manifest.files[MESSAGE_STREAM], ["ordinal", "u"], from_ordinal=ordinal)
    ordinals, u = (table.column(name).to_numpy() for name in ("ordinal", "u"))
    at = int(np.searchsorted(ordinals, ordinal))
    if at == len(ordinals) or ordinals[at] != ordinal:
        raise damaged(path, "its messages are not those of the book")
    return int(u[at])


def _apply(book: LiveBook, rows: dict[str, np.ndarray], start: int, end: int) -> None:
    if end > start:
        book.apply(*(rows[name][start:end] for name in ("flags", "side", "price", "size")))


def nearest_checkpoint(lake: Lake, manifests: Sequence[Manifest], time_ms: int) -> Checkpoint | None:
    """The last whole book that parts were sealed with, at or before `time_ms`; ``None`` if there is none."""
    for manifest in reversed(manifests):
        if CHECKPOINT_STREAM in manifest.files:
            path = part_path(lake.root, CHECKPOINT_STREAM, manifest)
            table = read_parquet(path, CHECKPOINT_STREAM, manifest.files[CHECKPOINT_STREAM])
            earlier = [one for one in checkpoints(table) if one.time_ms <= time_ms]
            if earlier:
                return earlier[-1]
    return None


def _why(lake: Lake, symbol: str, time_ms: int) -> str:
    windows = lake.suspect_windows(symbol, time_ms, time_ms + 1)
    return f" ({windows[0].cause})" if windows else ""


def book_text(book: BookAt, instrument: Instrument, levels: int = 10) -> str:
    """The ladder as a table for a person: asks above, bids below, best levels in the middle."""
    lines = [
        f"{book.symbol} at {utc_text(book.time_ms)}  (last message {utc_text(book.message_ms)}, u {book.u})",
        f"{'':<5}{'price':>16}{'size':>18}",
    ]
    for name, side in (("ask", book.ladder.asks[:levels][::-1]), ("bid", book.ladder.bids[:levels])):
        lines += [f"{name:<5}{instrument.price(p):>16}{instrument.quantity(s):>18}" for p, s in side.tolist()]
    lines.append(f"{len(book.ladder.bids)} bids, {len(book.ladder.asks)} asks, sha256 {book.ladder.digest()[:16]}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class DayCoverage:
    """What the lake holds of a symbol's UTC day; `covered_ms` is from the first to the last event, without holes."""

    symbol: str
    date: str
    parts: int
    level_changes: int
    trades: int
    bytes: int
    holes: int
    covered_ms: int
    suspect_ms: int
    origin: str


def coverage(lake: Lake, symbol: str, stall_ms: int = STALL_MS) -> list[DayCoverage]:
    """Each day of a symbol.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError, LakeError
        As :meth:`Lake.manifests`.
    """
    manifests = lake.manifests(symbol)
    windows = lake.suspect_windows(symbol, stall_ms=stall_ms)
    days = []
    for date in sorted({manifest.date for manifest in manifests}):
        parts = [manifest for manifest in manifests if manifest.date == date]
        span = min(m.times_ms[0] for m in parts), max(m.times_ms[1] for m in parts)
        mine = [window for window in windows if window.start_ms < span[1] and window.end_ms > span[0]]
        suspect_ms = _union_ms(mine, span)
        days.append(
            DayCoverage(
                symbol=symbol,
                date=date,
                parts=len(parts),
                level_changes=sum(m.level_changes for m in parts),
                trades=sum(m.trades for m in parts),
                bytes=sum(file.bytes for m in parts for file in m.files.values()),
                holes=len(mine),
                covered_ms=span[1] - span[0] - suspect_ms,
                suspect_ms=suspect_ms,
                origin="archive" if all(m.source is not None for m in parts) else "recorded",
            )
        )
    return days


def _union_ms(windows: Sequence[SuspectWindow], span: tuple[int, int]) -> int:
    total, reached = 0, span[0]
    for window in sorted(windows, key=lambda one: one.start_ms):
        start, end = max(window.start_ms, reached), min(window.end_ms, span[1])
        total += max(0, end - start)
        reached = max(reached, end)
    return total


def coverage_text(lake: Lake, symbols: Sequence[str], stall_ms: int = STALL_MS) -> str:
    """Coverage, holes and sizes as a table for a person."""
    lines = [
        f"{'symbol':<14}{'day':<12}{'origin':<10}{'parts':>6}{'level changes':>15}{'trades':>11}{'covered':>10}"
        f"{'holes':>7}{'suspect':>10}{'MB':>9}"
    ]
    for symbol in symbols:
        lines += [
            f"{day.symbol:<14}{day.date:<12}{day.origin:<10}{day.parts:>6}{day.level_changes:>15,}{day.trades:>11,}"
            f"{day.covered_ms / 3_600_000:>9.2f}h{day.holes:>7,}{day.suspect_ms / 1000:>9.1f}s{day.bytes / 1e6:>9.1f}"
            for day in coverage(lake, symbol, stall_ms)
        ]
        lines += [
            f"  suspect {utc_text(window.start_ms)} to {utc_text(window.end_ms)}: {window.cause}"
            for window in lake.suspect_windows(symbol, stall_ms=stall_ms)
        ]
    return "\n".join(lines)


def utc_text(time_ms: int) -> str:
    """Exchange time as a person writes it."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def parse_time(text: str) -> int:
    """``2026-01-05 12:00[:30[.250]]``, ISO 8601 or milliseconds, as exchange time; UTC unless the text says otherwise.

    Raises
    ------
    DataError
        It is none of these.
    """
    if text.isdigit() and len(text) >= 12:
        return int(text)
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is not a time", advice="Write it like 2026-01-05T12:00:00, in UTC") from error
    time = time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
    return round(time.timestamp() * 1000)
