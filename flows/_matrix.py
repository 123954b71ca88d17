"""The tables of features that are judged: how good a day's matrix is, and whether it looks like the days before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from features import FeatureStore, feature_names, spec_hash, timeframe_label
from features.bars import COLUMNS
from features.drift import Drift, drift
from features.quality import feature_quality
from flows._quality_checks import DAY_MS, bar_columns, drift_columns, feature_columns
from market import Lake
from market.days import LakeDay, lake_days, old_rules
from market.events import EventBatch
from market.quality_day import QualityPass

#: Days before the judged one that it is compared with: the training window, as far as it is needed to know a day.
WINDOW_DAYS = 30


@dataclass(frozen=True, slots=True)
class FeatureInput:
    """Where features come from, and how they are built; as training builds them.

    Attributes
    ----------
    store
        Folder of the feature store.
    timeframe_ms, levels
        See :class:`features.FeatureEngine`.
    """

    store: Path
    timeframe_ms: int
    levels: int


@dataclass(frozen=True, slots=True)
class _Watched:
    """A day whose events are judged while features are built from them: they are read once."""

    day: LakeDay
    quality: QualityPass

    @property
    def date(self) -> str:
        return self.day.date

    @property
    def fingerprint(self) -> str:
        return self.day.fingerprint

    def events(self) -> Iterator[EventBatch]:
        return self.quality.watched(self.day)


class Matrix:
    """The features of a symbol, built once for all days that are judged.

    Parameters
    ----------
    lake, symbol, source
        What is built.
    stall_ms
        Silence of the book that makes a suspect window.
    watch
        By day, who wants to see the events that are read.
    """

    def __init__(
        self, lake: Lake, symbol: str, source: FeatureInput, stall_ms: int, watch: Mapping[str, QualityPass]
    ) -> None:
        self.names = feature_names(source.levels)
        self._source = source
        self._symbol, self._spec = symbol, spec_hash(source.timeframe_ms, source.levels, stall_ms)
        self._old = old_rules(lake, symbol)
        store = FeatureStore(source.store)
        days = [_Watched(day, watch[day.date]) if day.date in watch else day for day in lake_days(lake, symbol)]
        self.bars = store.by_day(days, symbol, source.timeframe_ms, source.levels, stall_ms)

    def missing(self, date: str) -> str:
        """Why features are not built from a day; empty where they are."""
        if self._old is None or date not in self._old.days:
            return ""
        rules = f"tick / step: {self._old.before}, now {self._old.after}"
        return f"its prices and sizes count in other units than today's ({rules})"

    def kept(self, date: str) -> tuple[tuple[str, ...], str]:
        """Feature columns and spec hash of the file that training would read for a day; empty where there is none."""
        label = timeframe_label(self._source.timeframe_ms)
        folder = self._source.store / f"symbol={self._symbol}" / f"timeframe={label}" / f"date={date}"
        files = sorted(folder.glob(f"{self._spec[:16]}-*.parquet"), key=lambda path: path.stat().st_mtime)
        if not files:
            return (), ""
        schema = pq.read_schema(files[-1])
        names = tuple(name for name in schema.names if name not in COLUMNS)
        return names, (schema.metadata or {}).get(b"spec_hash", b"").decode()

    def tables(
        self, date: str, start_ms: int, others_ms: Sequence[int]
    ) -> tuple[dict[str, dict[str, Any]], Drift | None]:
        """The tables ``features``, ``bars`` and ``drift`` of one day; none where it has no bar.

        Parameters
        ----------
        date
            The day.
        start_ms
            Beginning of the day.
        others_ms
            Beginnings of the days that may be learned from.
        """
        step = self._source.timeframe_ms
        quality = feature_quality(self.bars, self.names, step, start_ms, start_ms + DAY_MS)
        if not len(quality.open_ms):
            return {}, None
        names, spec = self.kept(date)
        before = [at for at in sorted(others_ms) if at < start_ms][-WINDOW_DAYS:]
        found = drift(self.bars, self.names, step, start_ms, before)
        return {
            "features": feature_columns(quality, names, spec == self._spec),
            "bars": bar_columns(quality),
            "drift": drift_columns(found),
        }, found
