"""Book rows that wait to be sealed: what a message has once is kept once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market._columns import Columns
from market._parts import BOOK_DTYPES, MESSAGE_DTYPES
from market.events import FIRST
from market.records import BookRows, BookRun

_Kinds = dict[str, np.dtype[Any]]
_WIDE = np.dtype(np.int64)
_OF_LEVELS: _Kinds = {"side": np.dtype(np.int8), "flags": np.dtype(np.uint8), "price": _WIDE, "size": _WIDE}
#: As expected of a message.
_ROWS_OF_A_MESSAGE = 4
_OF_MESSAGES: _Kinds = dict.fromkeys(("time_ms", "recv_ns", "ordinal", "ts_ms", "u", "seq", "rows"), _WIDE)


class BookMessages:
    """Book messages as columns that grow; all columns are read as one value a row.

    Parameters
    ----------
    room
        Rows that are expected.
    """

    def __init__(self, room: int = 1024) -> None:
        self._levels = Columns(_OF_LEVELS, room)
        self._messages = Columns(_OF_MESSAGES, room // _ROWS_OF_A_MESSAGE)

    @property
    def rows(self) -> int:
        """Rows of all messages."""
        return self._levels.rows

    def append(self, record: BookRows) -> None:
        """Append rows of one message or of several."""
        events = record.events
        first = np.flatnonzero(events.flags & FIRST)
        if not len(first) or first[0]:
            first = np.concatenate([[0], first])
        of_rows = {
            "time_ms": events.time_ms,
            "recv_ns": events.recv_ns,
            "ordinal": events.ordinal,
            "ts_ms": record.ts_ms,
            "u": record.u,
            "seq": record.seq,
        }
        values = {name: value if isinstance(value, int) else value[first] for name, value in of_rows.items()}
        self._messages.extend(len(first), values | {"rows": np.diff(first, append=len(events))})
        levels: dict[str, NDArray[Any]] = {
            "side": events.side,
            "flags": events.flags,
            "price": events.price,
            "size": events.size,
        }
        self._levels.extend(len(events), levels)

    def append_run(self, run: BookRun) -> None:
        """Append messages of a run."""
        messages = {
            "time_ms": run.time_ms,
            "recv_ns": run.recv_ns,
            "ordinal": run.ordinals,
            "ts_ms": run.ts_ms,
            "u": run.u,
            "seq": run.seq,
            "rows": run.messages,
        }
        self._messages.extend(len(run.ordinals), messages)
        levels: dict[str, NDArray[Any]] = {"side": run.side, "flags": run.flags, "price": run.price, "size": run.size}
        self._levels.extend(len(run.price), levels)

    def of_messages(self, name: str) -> NDArray[np.int64]:
        """One column, a value for each message; of its first row where rows differ."""
        if name not in _OF_LEVELS:
            return self._messages[name]
        rows = self._messages["rows"]
        return self._levels[name][np.asarray(np.cumsum(rows) - rows)]

    def at(self, name: str, row: int) -> int:
        """One column of one row, without repeating the column for all rows."""
        if name in _OF_LEVELS:
            return int(self._levels[name][row])
        return int(self._messages[name][np.searchsorted(np.cumsum(self._messages["rows"]), row, side="right")])

    def first_row(self, ordinal: int) -> int:
        """The first row of the message of that ordinal, or of the next one."""
        before = int(np.searchsorted(self._messages["ordinal"], ordinal))
        return int(self._messages["rows"][:before].sum())

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        """One column, a value for each row."""
        if name in _OF_LEVELS:
            return self._levels[name]
        return np.repeat(self._messages[name], self._messages["rows"])

    def pieces(self, rows: int) -> Iterator[dict[str, NDArray[np.int64]]]:
        """The columns of the book stream, so many rows at a time; one piece without rows if there are none.

        A piece must be done with before the next is asked for.
        """
        ends = np.cumsum(self._messages["rows"])
        repeated = [name for name in BOOK_DTYPES if name not in _OF_LEVELS]
        room = np.empty((len(repeated), min(rows, self.rows)), np.int64)
        for start in range(0, max(self.rows, 1), rows):
            end = min(start + rows, self.rows)
            first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(ends, end)
            counts = np.diff(np.minimum(ends[first : last + 1], end), prepend=start)
            message = np.repeat(np.arange(first, first + len(counts)), counts)
            piece = {name: self._levels[name][start:end] for name in _OF_LEVELS}
            for name, values in zip(repeated, room[:, : end - start]):
                piece[name] = np.take(self._messages[name], message, out=values, mode="clip")
            yield {name: piece[name] for name in BOOK_DTYPES}

    def messages(self) -> dict[str, NDArray[np.int64]]:
        """The columns of the message stream."""
        columns = {name: self._messages[name] for name in MESSAGE_DTYPES if name != "ts_lag_ms"}
        columns["ts_lag_ms"] = self._messages["ts_ms"] - self._messages["time_ms"]
        return {name: columns[name] for name in MESSAGE_DTYPES}
