"""The engine: market events in, closed bars with features out; the same code for a year and for one event."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features import _events, _history, _indicators, _layout, _levels
from features.bars import BY_TIME, KINDS, BarRule, Bars
from features.catalogue import ENGINE_VERSION, feature_columns, feature_names, sampling_ms, spec_hash
from market.errors import DataError
from market.events import TICKER, TRADE, EventBatch

#: A batch whose clock spans more bars than this holds a wrong time.
MAX_BARS = 5_000_000

_MAGIC = b"purplesky-features\n"
#: What lies where in a saved state: raise it whenever features/_layout.py moves or reinterprets something.
STATE_VERSION = 2
_DAY_MS = 86_400_000
_CAPACITY = 1_024
#: Rows of a batch as live trading gets them.
_FEW = 100


@dataclass(frozen=True, slots=True)
class Quote:
    """What the engine knows about the market now.

    Attributes
    ----------
    clock_ms
        Running maximum of exchange time; -1 before the first event.
    book_ms
        Clock at the last trusted book message; -1 before any.
    bid, ask
        Best prices, ticks; -1 where the book is unknown or empty on that side.
    """

    clock_ms: int
    book_ms: int
    bid: int
    ask: int


class FeatureEngine:
    """Turns one symbol's events into bars and features.

    A bar [open_ms, close_ms) closes at the first event whose clock (the running maximum of exchange time) reaches
    close_ms, and never changes afterwards; a late event counts in the bar that is open when it arrives. However the
    events are cut into batches, and whatever states were dumped and restored on the way, the bars are the same bits.

    A bar is invalid when the book was unknown (from a gap to the next snapshot) or silent for more than `stall_ms` in
    it, as far as known when it closed; the first bar is always invalid. After a hole of more than 60 minutes in the
    book everything starts cold.

    Parameters
    ----------
    timeframe_ms
        Length of a bar; divides a UTC day. For bars by activity: the length that stands for a bar where a window is
        given in hours.
    levels
        Book levels a side that count.
    stall_ms
        Silence of the book that makes a suspect window.
    rule
        How bars are cut.
    sample_ms
        The shape of the book is looked at whenever the clock passes a multiple of this; 1 weighs each book by the time
        it stood. 0 for :func:`features.catalogue.sampling_ms`.

    Raises
    ------
    DataError
        A parameter is impossible.
    """

    def __init__(
        self, timeframe_ms: int, levels: int, stall_ms: int = 60_000, rule: BarRule = BY_TIME, sample_ms: int = 0
    ) -> None:
        if timeframe_ms < 1 or _DAY_MS % timeframe_ms:
            raise DataError(f"a bar of {timeframe_ms} ms does not divide a UTC day", advice="Use 1m, 5m, 15m, 1h or 4h")
        if stall_ms < 1:
            raise DataError(f"a stall of {stall_ms} ms", advice="Use a positive number of milliseconds")
        if sample_ms < 0 or sample_ms > timeframe_ms or (sample_ms and timeframe_ms % sample_ms):
            raise DataError(
                f"samples every {sample_ms} ms of bars of {timeframe_ms} ms", advice="Use a divisor of the bar's length"
            )
        self.timeframe_ms = timeframe_ms
        self.levels = levels
        self.stall_ms = stall_ms
        self.rule = rule
        self.names = feature_names(levels)
        self.sample_ms = sample_ms or sampling_ms(timeframe_ms)
        self.spec_hash = spec_hash(timeframe_ms, levels, stall_ms, rule, sample_ms)
        self._columns = np.array(feature_columns(levels))
        self._kind = KINDS.index(rule.kind)
        self._no_rows = np.empty((0, _layout.RAW_INTS), np.int64), np.empty((0, _layout.RAW_FLOATS))
        self._none = Bars.empty(len(self.names))
        self._windows = (-(-4 * 3_600_000 // timeframe_ms), _DAY_MS // timeframe_ms)
        self._state: dict[str, NDArray[np.generic]] = {
            "event_ints": np.zeros(_layout.INTS, np.int64),
            "event_floats": np.zeros(_layout.FLOATS),
            "book": np.zeros(2 * _layout.BLOCK, np.int64),
            "far": np.zeros((2, 2, _CAPACITY), np.int64),
            "looks": np.zeros(_layout.LOOK_ROWS * _layout.LOOKS, np.int64),
            "ints": np.zeros(_indicators.INTS, np.int64),
            "floats": np.zeros(_indicators.FLOATS),
            "ring": np.full((_indicators.SERIES, _indicators.LONG), np.nan),
            "turnover": np.zeros((3, self._windows[1]), np.int64),
            "vpin": np.zeros(_history.VPIN_STATE),
        }
        ints = self._state["event_ints"]
        ints[[_layout.CLOCK, _layout.LAST_BOOK, _layout.LAST_PRICE, _layout.LAST_TRADE, _layout.TICKER_MS]] = -1
        for side in range(2):
            best = side * _layout.BLOCK + _layout.BEST
            self._state["book"][best : best + 2] = _layout.NOWHERE
        ints[_layout.HIT_MS : _layout.HIT_MS + 2] = _layout.UNKNOWN
        ints[_layout.MARK : _layout.NEXT_FUNDING + 1] = _layout.UNKNOWN
        self._state["event_floats"][[_layout.LAST_MOVE, _layout.LAST_LOG_MID]] = np.nan
        self._state["floats"][_indicators.PREVIOUS_CLOSE] = np.nan
        self._state["vpin"][_history.SIZE] = np.nan
        self._room = np.zeros((_indicators.ROOM, _indicators.LONG))
        self._metrics = np.zeros(_layout.METRICS_ROOM)
        self._reach = np.zeros((2 * _levels.ROWS, _levels.columns(levels)), np.int64)

    def push(self, batch: EventBatch) -> Bars:
        """Consume events.

        Parameters
        ----------
        batch
            The next events, in capture order; tickers and liquidations among them if their features are wanted.

        Returns
        -------
        Bars
            The bars that these events closed, often none.

        Raises
        ------
        DataError
            An event's time lies so far ahead that it must be wrong; the engine is as before.
        """
        if not len(batch):
            return self._none
        state = self._state
        room = self._bars_ahead(batch)
        raw_ints, raw_floats = self._no_rows
        if room:
            raw_ints = np.empty((room, _layout.RAW_INTS), np.int64)
            raw_floats = np.empty((room, _layout.RAW_FLOATS))
        columns = [
            _frozen(column) for column in (batch.kind, batch.flags, batch.side, batch.time_ms, batch.price, batch.size)
        ]
        row = done = 0
        while True:
            row, done = _events.run(
                *columns, row, state["event_ints"], state["event_floats"], state["book"], state["far"],
                state["looks"], self._reach, self._metrics,
                self.timeframe_ms, self.levels, self.sample_ms, self.stall_ms,
                self._kind, self.rule.threshold,
                raw_ints, raw_floats, done,
            )  # fmt: skip
            if row == len(batch):
                break
            state["far"] = np.concatenate([state["far"], np.zeros_like(state["far"])], axis=2)
        return self._finish(raw_ints[:done], raw_floats[:done]) if done else self._none

    def quote(self) -> Quote:
        """The clock and the best prices as they stand after the last event."""
        ints, book = self._state["event_ints"], self._state["book"]
        bid, ask = int(book[_layout.BEST]), int(book[_layout.BLOCK + _layout.BEST])
        known = bool(ints[_layout.KNOWN])
        return Quote(
            clock_ms=int(ints[_layout.CLOCK]),
            book_ms=int(ints[_layout.LAST_BOOK]),
            bid=-bid if known and bid != _layout.NOWHERE else -1,
            ask=ask if known and ask != _layout.NOWHERE else -1,
        )

    def dump(self) -> bytes:
        """The whole state; :meth:`restore` goes on from it to the bit."""
        header = {
            "engine": ENGINE_VERSION,
            "state": STATE_VERSION,
            "spec_hash": self.spec_hash,
            "timeframe_ms": self.timeframe_ms,
            "levels": self.levels,
            "stall_ms": self.stall_ms,
            "rule": [self.rule.kind, self.rule.threshold],
            "sample_ms": self.sample_ms,
            "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in self._state.items()],
        }
        body = json.dumps(header).encode() + b"\n" + b"".join(array.tobytes() for array in self._state.values())
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def restore(cls, data: bytes) -> FeatureEngine:
        """An engine that goes on where :meth:`dump` was called.

        Raises
        ------
        DataError
            The state is damaged, or of another version of the features.
        """
        start = len(_MAGIC) + 32
        body = data[start:]
        if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
            raise DataError("the saved feature state is damaged", advice="Delete it; the engine warms up from the lake")
        line, _, rest = body.partition(b"\n")
        header = json.loads(line)
        current = header["engine"] == ENGINE_VERSION and header.get("state") == STATE_VERSION
        if current:
            engine = cls(
                header["timeframe_ms"],
                header["levels"],
                header["stall_ms"],
                BarRule(*header["rule"]),
                header["sample_ms"],
            )
        if not current or header["spec_hash"] != engine.spec_hash:
            raise DataError(
                "the saved feature state is of another version of the features",
                advice="Delete it; the engine warms up from the lake",
            )
        offset = 0
        for name, dtype, shape in header["arrays"]:
            count = int(np.prod(shape))
            array = np.frombuffer(rest, np.dtype(dtype), count, offset).reshape(shape).copy()
            engine._state[name] = array
            offset += array.nbytes
        return engine

    def _bars_ahead(self, batch: EventBatch) -> int:
        """How many bars the batch can close at most."""
        if self._kind != _events.BY_TIME:
            return int(np.count_nonzero(batch.kind == TRADE)) + 1
        ints = self._state["event_ints"]
        started = ints[_layout.CLOCK] >= 0
        start = int(ints[_layout.OPEN_MS]) if started else int(batch.time_ms[0])
        # Of a few numbers Python finds the largest sooner.
        latest = int(batch.time_ms.max()) if len(batch) > _FEW else max(batch.time_ms.tolist())
        if latest - start > MAX_BARS * self.timeframe_ms or not (started or (batch.kind[0] < TICKER and start > 0)):
            # Tickers and liquidations move no clock, and neither does a time that is none.
            times_ms = batch.time_ms[(batch.kind < TICKER) & (batch.time_ms > 0)]
            latest = int(times_ms.max(initial=0))
            start = start if started else int(times_ms[0]) if len(times_ms) else latest
        start -= start % self.timeframe_ms
        room = max(0, (latest - start) // self.timeframe_ms)
        if room > MAX_BARS:
            raise DataError(
                f"the clock jumps from {start} to {latest} ms, {room} bars ahead",
                advice="Check the exchange times of the recording",
            )
        return room

    def _finish(self, raw_ints: NDArray[np.int64], raw_floats: NDArray[np.float64]) -> Bars:
        state = self._state
        values = np.empty((len(raw_ints), _indicators.VALUES))
        atr = np.empty(len(raw_ints))
        _indicators.run(
            raw_ints, raw_floats, state["ints"], state["floats"], state["ring"], state["turnover"],
            state["vpin"], self._room, *self._windows, values, atr,
        )  # fmt: skip
        columns = raw_ints[:, : _layout.RAW_SINCE_TRADE].T.copy()
        return Bars(
            open_ms=columns[_layout.RAW_OPEN_MS],
            close_ms=columns[_layout.RAW_CLOSE_MS],
            open=columns[_layout.RAW_OPEN],
            high=columns[_layout.RAW_HIGH],
            low=columns[_layout.RAW_LOW],
            close=columns[_layout.RAW_CLOSE],
            volume=columns[_layout.RAW_VOLUME],
            trades=columns[_layout.RAW_TRADES],
            bid=columns[_layout.RAW_BID],
            ask=columns[_layout.RAW_ASK],
            atr=atr,
            valid=columns[_layout.RAW_SUSPECT] == 0,
            values=values[:, self._columns],
        )


def _frozen(column: NDArray[np.generic]) -> NDArray[np.generic]:
    # Columns of the lake are read-only, fresh ones are not: one kind only, or Numba compiles the kernel twice.
    flags = column.flags
    if not flags.writeable and flags.c_contiguous:
        return column
    view = column.view() if flags.c_contiguous else np.ascontiguousarray(column)
    view.setflags(write=False)
    return view
