"""Several contracts' recorded markets in step: none is ever a bar ahead of another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from market.events import EventBatch

#: Events that are handed over at once.
_AT_ONCE = 8192


class Lakes:
    """Pieces of the markets in order of time: within a bar one contract after the other.

    Parameters
    ----------
    events
        Of each contract, in capture order.
    timeframe_ms
        Length of a bar of each contract.
    """

    def __init__(self, events: Mapping[str, Iterator[EventBatch]], timeframe_ms: Mapping[str, int]) -> None:
        self._events = {symbol: iter(one) for symbol, one in events.items()}
        self._step_ms = max(timeframe_ms.values(), default=1)
        self._waiting: dict[str, EventBatch] = {}

    def __iter__(self) -> Iterator[tuple[str, EventBatch]]:
        alone = len(self._events) == 1
        while True:
            for symbol in list(self._events):
                self._fill(symbol)
            if not self._waiting:
                return
            first_ms = min(int(batch.time_ms[0]) for batch in self._waiting.values())
            end_ms = (first_ms // self._step_ms + 1) * self._step_ms
            for symbol in list(self._waiting):
                yield from self._until(symbol, None if alone else end_ms)

    def _fill(self, symbol: str) -> None:
        while symbol not in self._waiting:
            batch = next(self._events[symbol], None)
            if batch is None:
                return
            if len(batch):
                self._waiting[symbol] = batch

    def _until(self, symbol: str, end_ms: int | None) -> Iterator[tuple[str, EventBatch]]:
        """What comes before the end of the bar; all that is at hand if there is none."""
        while symbol in self._waiting:
            batch = self._waiting.pop(symbol)
            late = np.zeros(len(batch), bool) if end_ms is None else batch.time_ms >= end_ms
            rows = int(np.argmax(late)) if late.any() else len(batch)
            if rows:
                for piece in batch[:rows].chunks(_AT_ONCE):
                    yield symbol, piece
            if rows < len(batch):
                self._waiting[symbol] = batch[rows:]
                return
            if end_ms is None:
                return
            self._fill(symbol)
