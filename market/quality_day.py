"""The quality table of what a lake holds: the pass over the events, and what only the lake's own columns tell.

Beside the events there are ids of trades, update ids and sequence numbers of book messages, prices that tickers told,
and what recorders noted of messages in another form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from market._part_files import part_path
from market._parts import BOOK_STREAM, MESSAGE_STREAM, TICKER_STREAM, TRADE_STREAM, read_parquet
from market._replay import with_missing_parts
from market.days import LakeDay
from market.events import EventBatch
from market.instruments import Instrument
from market.lake import Lake
from market.manifest import Manifest, Oddity
from market.quality import MINUTE_MS, QualityBuilder, QualityTable, Window, counted
from market.quality_events import Stretch

#: A last price may be told this long before or after its trade is (ms).
_TOLD_WITHIN_MS = 2_000
_STATE = 4
_KNOWN, _LAST_U, _LAST_SEQ, _NEXT_GAP = range(_STATE)
_BREAK, _REPEAT, _BACKWARD = 1, 2, 4


@dataclass(frozen=True, slots=True, eq=False)
class LakeQuality:
    """What :func:`lake_quality` finds.

    Attributes
    ----------
    table
        By minute.
    oddities
        What recorders noted of messages in another form, by kind and detail.
    units
        ``(from_ms, tick size, quantity step)`` of each stretch of parts under one set of rules, in capture order.
    """

    table: QualityTable
    oddities: tuple[Oddity, ...]
    units: tuple[tuple[int, str, str], ...]


def lake_quality(
    lake: Lake, symbol: str, start_ms: int, end_ms: int, *, stall_ms: int = 60_000, notice_ms: int = 5_000
) -> LakeQuality:
    """The quality of ``[start_ms, end_ms)`` as the lake holds it.

    Where tick size or quantity step change, only the rows under the last rules are in the table: those before count in
    other units.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data in that time.
    LakeError
        A part is damaged.
    DataError
        Exchange time is impossible.
    """
    return QualityPass(lake, symbol, start_ms, end_ms, stall_ms=stall_ms, notice_ms=notice_ms).result()


class QualityPass:
    """The quality of ``[start_ms, end_ms)``, of events that somebody else reads.

    Decoding a day is a good part of the work, and features are built from the same rows: who builds them takes the
    events through :meth:`watched`, and :meth:`result` need not read them again. Where nobody did, it reads itself.

    Parameters
    ----------
    lake, symbol, start_ms, end_ms, stall_ms, notice_ms
        As of :func:`lake_quality`.
    """

    def __init__(
        self, lake: Lake, symbol: str, start_ms: int, end_ms: int, *, stall_ms: int = 60_000, notice_ms: int = 5_000
    ) -> None:
        self._what = (lake, symbol, start_ms, end_ms)
        self._limits = (stall_ms, notice_ms)
        self._found: LakeQuality | None = None

    def watched(self, day: LakeDay) -> Iterator[EventBatch]:
        """The events of a day, looked at on their way; what is not read to its end does not count."""
        stretch = Stretch(*self._what)
        around = None if self._found is not None else stretch.around(day._parts)
        if around is None:
            yield from day.events()
            return
        before, after = around
        builder = self._builder(stretch)
        for batch in before:
            builder.push(batch)
        for batch in day.events():
            builder.push(stretch.own(batch))
            yield batch
        for batch in after:
            builder.push(batch)
        self._found = self._finished(builder, stretch)

    def result(self) -> LakeQuality:
        """What was found.

        Raises
        ------
        EmptyLakeError, UnknownSymbolError, LakeError, DataError
            As of :func:`lake_quality`.
        """
        if self._found is None:
            stretch = Stretch(*self._what)
            builder = self._builder(stretch)
            for batch in stretch.events():
                builder.push(batch)
            self._found = self._finished(builder, stretch)
        return self._found

    def _builder(self, stretch: Stretch) -> QualityBuilder:
        stall_ms, notice_ms = self._limits
        return QualityBuilder(stretch.instrument, stall_ms=stall_ms, notice_ms=notice_ms)

    def _finished(self, builder: QualityBuilder, stretch: Stretch) -> LakeQuality:
        """The table, with what the lake's own columns tell."""
        lake, symbol, _, _ = self._what
        manifests, start_ms, end_ms = stretch.manifests, stretch.start_ms, stretch.end_ms
        table = builder.table(_duplicates(lake, manifests, start_ms, end_ms))
        if len(table):
            table = _with_sequence(table, lake, manifests)
            table = _with_tickers(table, lake, manifests, stretch.instrument)
            table = _with_oddities(table, manifests)
        table = _with_causes(table.between(start_ms, end_ms), lake, symbol, self._limits[0])
        return LakeQuality(table, _joined(manifests), stretch.units)


def _with_causes(table: QualityTable, lake: Lake, symbol: str, stall_ms: int) -> QualityTable:
    """Say of each gap what the recorder said of it, and add what it doubted: events only show that there is a gap."""
    if not len(table):
        return table
    begin, end = int(table.minute_ms[0]), int(table.minute_ms[-1]) + MINUTE_MS
    told = lake.suspect_windows(symbol, begin, end, stall_ms)
    named = []
    for window in table.windows:
        causes = [w.cause for w in told if w.start_ms <= window.end_ms and w.end_ms >= window.start_ms]
        named.append(Window(window.start_ms, window.end_ms, causes[0] if causes else window.cause))
    doubts = [d for m in lake.manifests(symbol, begin, end) for d in m.doubts if d.start_ms < end and d.end_ms >= begin]
    named += [Window(max(d.start_ms, begin), min(d.end_ms, end), d.cause) for d in doubts]
    suspect = table.suspect_ms.copy()
    for doubt in doubts:
        touched = (table.minute_ms <= doubt.end_ms) & (table.minute_ms + MINUTE_MS > doubt.start_ms)
        part = np.minimum(table.minute_ms + MINUTE_MS, doubt.end_ms) - np.maximum(table.minute_ms, doubt.start_ms)
        # A doubt may be a moment: it still makes its minute suspect.
        suspect[touched] = np.minimum(suspect[touched] + np.maximum(part[touched], 1), MINUTE_MS)
    return replace(table, windows=tuple(sorted(named)), suspect_ms=suspect)


# -- trade ids ---------------------------------------------------------------------------------------------------------


def _duplicates(lake: Lake, manifests: Sequence[Manifest], start_ms: int, end_ms: int) -> NDArray[np.int64] | None:
    """Exchange times of trades whose id had been seen before; ``None`` where trades have no ids."""
    tables = [
        read_parquet(part_path(lake.root, TRADE_STREAM, m), TRADE_STREAM, m.files[TRADE_STREAM], ["id", "time_ms"])
        for m in manifests
        if TRADE_STREAM in m.files
    ]
    if not tables:
        return None
    table = pa.concat_tables(tables)
    ids = table.column("id").combine_chunks()
    times = table.column("time_ms").to_numpy()
    lengths = pa.compute.binary_length(ids)
    if ids.null_count or pa.compute.min(lengths).as_py() == 0:
        return None
    codes = ids.dictionary_encode().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    again = np.ones(len(codes), bool)
    again[first] = False
    found: NDArray[np.int64] = times[again & (times >= start_ms) & (times < end_ms)]
    return found


# -- update ids --------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _follow(u, seq, snapshot, ordinal, gaps, state, marks):  # type: ignore[no-untyped-def]
    """Mark book messages that do not follow on, repeat the one before, or go back in sequence."""
    for i in range(len(u)):
        while state[_NEXT_GAP] < len(gaps) and gaps[state[_NEXT_GAP]] <= ordinal[i]:
            state[_NEXT_GAP] += 1
            state[_KNOWN] = 0
            state[_LAST_SEQ] = -1
        if snapshot[i]:
            state[_KNOWN] = 1
        elif state[_KNOWN] == 1:
            if u[i] == state[_LAST_U]:
                marks[i] |= _REPEAT
            elif u[i] != state[_LAST_U] + 1:
                marks[i] |= _BREAK
        if seq[i] >= 0:
            if seq[i] < state[_LAST_SEQ]:
                marks[i] |= _BACKWARD
            state[_LAST_SEQ] = seq[i]
        state[_LAST_U] = u[i]


def _with_sequence(table: QualityTable, lake: Lake, manifests: Sequence[Manifest]) -> QualityTable:
    counts = {name: np.zeros(len(table), np.int64) for name in ("breaks", "repeats", "backward")}
    state = np.array([0, -1, -1, 0], np.int64)
    for manifest, gaps in with_missing_parts(manifests):
        if MESSAGE_STREAM not in manifest.files:
            continue
        path = part_path(lake.root, MESSAGE_STREAM, manifest)
        rows = read_parquet(path, MESSAGE_STREAM, manifest.files[MESSAGE_STREAM], ["ordinal", "u", "seq"])
        ordinal, u, seq = (rows.column(name).to_numpy() for name in ("ordinal", "u", "seq"))
        snapshot = np.isin(ordinal, np.array([one.ordinal for one in manifest.snapshots], np.int64))
        cuts = np.array(sorted(gap.ordinal for gap in gaps), np.int64)
        state[_NEXT_GAP] = 0
        marks = np.zeros(len(rows), np.uint8)
        _follow(u, seq, snapshot, ordinal, cuts, state, marks)
        if marks.any():
            marked = np.flatnonzero(marks)
            times = _times_of(lake, manifest, ordinal[marked])
            for name, bit in (("breaks", _BREAK), ("repeats", _REPEAT), ("backward", _BACKWARD)):
                counts[name] += counted(table.minute_ms, times[marks[marked] & bit != 0])
    return replace(table, breaks=counts["breaks"], repeats=counts["repeats"], backward=counts["backward"])


def _times_of(lake: Lake, manifest: Manifest, ordinals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exchange time of the book messages of these ordinals, ms."""
    path = part_path(lake.root, BOOK_STREAM, manifest)
    rows = read_parquet(path, BOOK_STREAM, manifest.files[BOOK_STREAM], ["ordinal", "time_ms"])
    ordinal, time_ms = (rows.column(name).to_numpy() for name in ("ordinal", "time_ms"))
    return np.asarray(time_ms[np.searchsorted(ordinal, ordinals)])


# -- tickers -----------------------------------------------------------------------------------------------------------


@njit(cache=True)
def _untraded(told_ms, told, trade_ms, trade_price):  # type: ignore[no-untyped-def]
    """Which of the told prices were not traded since the one told before; both sorted by time."""
    missing = np.zeros(len(told), np.bool_)
    first = 0
    for i in range(1, len(told)):
        begin, end = told_ms[i - 1] - _TOLD_WITHIN_MS, told_ms[i] + _TOLD_WITHIN_MS
        while first < len(trade_ms) and trade_ms[first] < begin:
            first += 1
        missing[i] = True
        at = first
        while at < len(trade_ms) and trade_ms[at] <= end:
            if trade_price[at] == told[i]:
                missing[i] = False
                break
            at += 1
    return missing


def _with_tickers(
    table: QualityTable, lake: Lake, manifests: Sequence[Manifest], instrument: Instrument
) -> QualityTable:
    tickers = [
        read_parquet(
            part_path(lake.root, TICKER_STREAM, m),
            TICKER_STREAM,
            m.files[TICKER_STREAM],
            ["time_ms", "last_price", "mark_price"],
        )
        for m in manifests
        if TICKER_STREAM in m.files
    ]
    if not tickers:
        return table
    told = pa.concat_tables(tickers)
    times = told.column("time_ms").to_numpy()
    last = _floats(told.column("last_price"))
    mark = _floats(told.column("mark_price"))
    tick = float(instrument.tick_size)
    minute = np.clip((times - table.minute_ms[0]) // MINUTE_MS, 0, len(table) - 1)
    away = np.full(len(table), np.nan)
    known = np.isfinite(mark) & (mark > 0) & (table.mid[minute] > 0)
    distance = np.abs(table.mid[minute] * tick / 2 / mark - 1) * 1e4
    np.fmax.at(away, minute[known], distance[known])
    quotes, untraded = _compared(table, lake, manifests, times, last, tick)
    return replace(table, quotes=quotes, untraded=untraded, mark_distance_bps=away)


def _compared(
    table: QualityTable,
    lake: Lake,
    manifests: Sequence[Manifest],
    times: NDArray[np.int64],
    last: NDArray[np.float64],
    tick: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """New last prices a minute, and how many of them no trade explains."""
    trades = [
        read_parquet(part_path(lake.root, TRADE_STREAM, m), TRADE_STREAM, m.files[TRADE_STREAM], ["time_ms", "price"])
        for m in manifests
        if TRADE_STREAM in m.files
    ]
    told = np.isfinite(last)
    when, prices = times[told], np.rint(last[told] / tick).astype(np.int64)
    fresh = np.ones(len(prices), bool)
    fresh[1:] = prices[1:] != prices[:-1]
    when, prices = when[fresh], prices[fresh]
    if not trades or len(when) < 2:
        return table.quotes, table.untraded
    rows = pa.concat_tables(trades)
    trade_ms, trade_price = rows.column("time_ms").to_numpy(), rows.column("price").to_numpy()
    order = np.argsort(trade_ms, kind="stable")
    by_time = np.argsort(when, kind="stable")
    when, prices = when[by_time], prices[by_time]
    missing = _untraded(when, prices, trade_ms[order], trade_price[order])
    # The first price was traded before the session; around a hole nobody knows.
    judged = np.ones(len(when), bool)
    judged[0] = False
    for window in table.windows:
        judged &= (when < window.start_ms - _TOLD_WITHIN_MS) | (when > window.end_ms + 30_000)
    return counted(table.minute_ms, when[judged]), counted(table.minute_ms, when[judged & missing])


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return values


# -- messages in another form ------------------------------------------------------------------------------------------


def _joined(manifests: Iterable[Manifest]) -> tuple[Oddity, ...]:
    found: dict[tuple[str, str], Oddity] = {}
    for one in (oddity for manifest in manifests for oddity in manifest.oddities or ()):
        before = found.get((one.kind, one.detail))
        if before is not None:
            one = Oddity(
                one.kind,
                one.detail,
                before.count + one.count,
                min(before.first_ms, one.first_ms),
                max(before.last_ms, one.last_ms),
            )
        found[one.kind, one.detail] = one
    return tuple(found.values())


def _with_oddities(table: QualityTable, manifests: Sequence[Manifest]) -> QualityTable:
    if all(manifest.oddities is None for manifest in manifests):
        return table
    # A part keeps the first and the last time of each kind, and how many there were: they count where they began.
    counts = np.zeros(len(table), np.int64)
    for one in (oddity for manifest in manifests for oddity in manifest.oddities or ()):
        at = int(np.clip((one.first_ms - table.minute_ms[0]) // MINUTE_MS, 0, len(table) - 1))
        counts[at] += one.count
    return replace(table, oddities=counts)
