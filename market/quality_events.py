"""Which events of a lake tell of a stretch of time, and where the book stands before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from market._replay import iter_events, with_missing_parts, within
from market.events import ASK, BID, BOOK, FIRST, GAP, LAST, SNAPSHOT, EventBatch
from market.history import nearest_checkpoint
from market.ladder import Checkpoint
from market.lake import Lake
from market.manifest import Gap, Manifest

__all__ = ["Stretch"]


class Stretch:
    """The events of ``[start_ms, end_ms)``, after what brings the book there: a snapshot, or a checkpoint.

    A session may run for weeks on one snapshot; parts begin with a checkpoint of the book. Where tick size or quantity
    step change, only what lies under the last rules counts: what was before is in other units.

    Attributes
    ----------
    manifests
        Of the parts, in capture order.
    units
        ``(from_ms, tick size, quantity step)`` of each stretch of parts under one set of rules, in capture order.
    instrument
        The rules that the rows count in.
    start_ms, end_ms
        From and until.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        The lake has nothing of the symbol.
    LakeError
        A part is damaged.
    """

    def __init__(self, lake: Lake, symbol: str, start_ms: int, end_ms: int) -> None:
        manifests = lake.manifests(symbol, start_ms, end_ms)
        units = _units(manifests)
        if len(units) > 1:
            start_ms = units[-1][0]
            manifests = [m for m in manifests if _rules(m) == units[-1][1:] and m.times_ms[1] >= start_ms]
        self._lake, self._symbol = lake, symbol
        self.manifests, self.units, self.start_ms, self.end_ms = manifests, units, start_ms, end_ms
        self.instrument = lake.instrument(symbol)
        last = manifests[-1] if manifests else None
        if last is not None and str(self.instrument.tick_size) != last.tick_size:
            self.instrument = replace(
                self.instrument, tick_size=Decimal(last.tick_size), qty_step=Decimal(last.qty_step)
            )
        self._saved, self._from_ms = self._opening(units[-1][1:] if units else ("", ""))

    def _opening(self, rules: tuple[str, str]) -> tuple[Checkpoint | None, int]:
        """The checkpoint to begin with, if there is no later snapshot; and the exchange time to read from."""
        earlier = [
            m
            for m in self._lake.manifests(self._symbol)
            if m.times_ms[0] < self.start_ms and _rules(m) == rules and m.book_ms is not None
        ]
        snapshot_ms = max((s.time_ms for m in earlier for s in m.snapshots if s.time_ms <= self.start_ms), default=-1)
        saved = nearest_checkpoint(self._lake, earlier, self.start_ms - 1)
        if saved is None or saved.time_ms <= snapshot_ms:
            return None, snapshot_ms if snapshot_ms >= 0 else self.start_ms
        return saved, saved.time_ms

    def events(self) -> Iterator[EventBatch]:
        """All of them, read from the lake."""
        if self._saved is not None:
            yield _as_snapshot(self._saved)
        for batch in self._lake.events(self._symbol, self._from_ms, self.end_ms):
            yield self.own(batch)

    def around(
        self, parts: Sequence[tuple[Manifest, list[Gap]]]
    ) -> tuple[Iterator[EventBatch], Iterator[EventBatch]] | None:
        """What comes before and after the events of some parts, if they are a part of :meth:`events`; else ``None``.

        ``events()`` is the first, then :meth:`own` of what the parts hold, then the second.
        """
        touched = [
            (m, gaps)
            for m, gaps in with_missing_parts(self._lake.manifests(self._symbol))
            if m.times_ms[0] < self.end_ms and m.times_ms[1] >= self._from_ms
        ]
        if len({_rules(m) for m, _ in touched}) != 1 or not parts:
            return None
        first, last = parts[0][0].ordinals[0], parts[-1][0].ordinals[1]
        before = [one for one in touched if one[0].ordinals[0] < first]
        after = [one for one in touched if one[0].ordinals[0] > last]
        if [m.part for m, _ in (*before, *parts, *after)] != [m.part for m, _ in touched]:
            return None
        return self._read(before, opened=False), self._read(after, opened=True)

    def _read(self, parts: Sequence[tuple[Manifest, list[Gap]]], *, opened: bool) -> Iterator[EventBatch]:
        if self._saved is not None and not opened:
            yield _as_snapshot(self._saved)
        for manifest, gaps in parts:
            for batch in iter_events(self._lake.root, manifest, gaps):
                yield self.own(batch)

    def own(self, batch: EventBatch) -> EventBatch:
        """Of a batch what belongs here; tickers and liquidations do not."""
        if self._saved is not None:
            batch = batch[int(np.searchsorted(batch.ordinal, self._saved.ordinal)) :]
        batch = within(batch, self._from_ms, self.end_ms)
        keep = batch.kind <= GAP
        if keep.all():
            return batch
        return EventBatch(**{name: getattr(batch, name)[keep] for name in EventBatch.__slots__})


def _as_snapshot(saved: Checkpoint) -> EventBatch:
    levels = np.concatenate([saved.ladder.bids, saved.ladder.asks])
    count = len(levels)
    flags = np.full(count, SNAPSHOT, np.uint8)
    flags[0] |= FIRST
    flags[-1] |= LAST
    return EventBatch(
        kind=np.full(count, BOOK, np.int8),
        flags=flags,
        side=np.repeat(np.array([BID, ASK], np.int8), [len(saved.ladder.bids), len(saved.ladder.asks)]),
        time_ms=np.full(count, saved.time_ms, np.int64),
        price=levels[:, 0].copy(),
        size=levels[:, 1].copy(),
        ordinal=np.full(count, saved.ordinal, np.int64),
        recv_ns=np.full(count, -1, np.int64),
    )


def _rules(manifest: Manifest) -> tuple[str, str]:
    return manifest.tick_size, manifest.qty_step


def _units(manifests: Sequence[Manifest]) -> tuple[tuple[int, str, str], ...]:
    stretches: list[tuple[int, str, str]] = []
    for manifest in manifests:
        rules = _rules(manifest)
        if not stretches or stretches[-1][1:] != rules:
            stretches.append((manifest.times_ms[0], *rules))
    return tuple(stretches)
