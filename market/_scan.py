"""Compiled reading of order-book messages in the exact form that Bybit writes them.

The kernel takes only what it recognises byte by byte; at anything else (other key order, spaces, exponents, a price off
the tick) it stops and leaves the line to the slow decoder, which either reads it or says what is wrong with it. So a
fast result is never a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from market._digits import address, byte_at, integer_at, literal, put_byte, put_word, same, units_at, word_at
from market.events import ASK, BID, BOOK, EMPTY, FIRST, LAST, EventBatch
from market.events import SNAPSHOT as SNAPSHOT_FLAG
from market.instruments import Instrument
from market.units import scaled

#: Columns of the heads that :func:`scan_lines` writes.
CTS, TS, U, SEQ, SNAPSHOT, LEVELS = range(6)

_TOPIC, _DELTA, _SNAPSHOT = b'{"topic":"orderbook.', b'","type":"delta","ts":', b'","type":"snapshot","ts":'
_DATA, _BIDS, _ASKS = b',"data":{"s":"', b'","b":[', b',"a":['
_UPDATE, _SEQ, _CTS = b',"u":', b',"seq":', b'},"cts":'
_topic_stands, _delta_stands, _snapshot_stands = literal(_TOPIC), literal(_DELTA), literal(_SNAPSHOT)  # type: ignore[no-untyped-call]
_data_stands, _bids_stand, _asks_stand = literal(_DATA), literal(_BIDS), literal(_ASKS)  # type: ignore[no-untyped-call]
_update_stands, _seq_stands, _cts_stands = literal(_UPDATE), literal(_SEQ), literal(_CTS)  # type: ignore[no-untyped-call]
_DOT, _CLOSE, _BRACE, _RETURN, _NEWLINE = (ord(char) for char in ".]}\r\n")
# Positions are unsigned so that nothing asks whether they count from the end.
_ONE, _TWO, _THREE, _FIVE = map(np.uint64, (1, 2, 3, 5))
_TWO_BYTES, _THREE_BYTES, _FIVE_BYTES = (np.uint64((1 << 8 * count) - 1) for count in (2, 3, 5))
#: What stands before, within, between and after the levels of a side.
_FIRST, _WITHIN, _NEXT, _LAST = (
    np.uint64(int.from_bytes(text, "little")) for text in (b'["', b'","', b'"],["', b'"]]')
)
#: What must follow the last byte that counts: a line's end, and room for comparisons that look ahead.
PADDING = b"\n" + bytes(127)
#: Bytes of ``["1","0"]``.
SHORTEST_LEVEL = 9


@njit(cache=True, forceinline=True)
def _levels(position, places, divisors, row, which, price, size, side):  # type: ignore[no-untyped-def]
    """The levels of one side, after its opening bracket: rows written so far, or -1; the position after the closing."""
    if byte_at(position) == _CLOSE:
        return row, position + _ONE
    if word_at(position) & _TWO_BYTES != _FIRST:
        return np.int64(-1), position
    position += _TWO
    while True:
        ticks, position = units_at(position, places[0], divisors[0])
        if ticks <= 0 or word_at(position) & _THREE_BYTES != _WITHIN:
            return np.int64(-1), position
        steps, position = units_at(position + _THREE, places[1], divisors[1])
        if steps < 0:
            return np.int64(-1), position
        put_word(price + (np.uint64(row) << _THREE), ticks)
        put_word(size + (np.uint64(row) << _THREE), steps)
        put_byte(side + np.uint64(row), which)
        row += 1
        behind = word_at(position)
        if behind & _FIVE_BYTES != _NEXT:
            if behind & _THREE_BYTES != _LAST:
                return np.int64(-1), position
            return row, position + _THREE
        position += _FIVE


@njit(cache=True, forceinline=True)
def message_at(position, symbol, length, places, divisors, row, price, size, side):  # type: ignore[no-untyped-def]
    """A message from behind its topic on.

    Parameters
    ----------
    position : uint64
        An address. What it points to must be :func:`padded`.
    symbol, length : uint64
        Address and length of the symbol that the message must be of.
    places, divisors : (int64, int64)
        Of prices and of sizes, as :func:`market.units.scaled` gives them.
    row : int64
        Rows written so far.
    price, size, side : uint64
        Addresses of arrays of int64, int64 and int8 that are written to.

    Returns
    -------
    row, position, cts, ts, u, seq, is_snapshot
        `row` is -1 where the message is not in the form that is known; the position is that after its last brace.
    """
    bad = np.int64(-1), position, np.int64(0), np.int64(0), np.int64(0), np.int64(0), False
    snapshot = not _delta_stands(position)
    if snapshot and not _snapshot_stands(position):
        return bad
    ts, position = integer_at(position + np.uint64(len(_SNAPSHOT) if snapshot else len(_DELTA)))
    if ts < 0 or not _data_stands(position) or not same(position + np.uint64(len(_DATA)), symbol, length):
        return bad
    position += np.uint64(len(_DATA)) + length
    if not _bids_stand(position):
        return bad
    position += np.uint64(len(_BIDS))
    row, position = _levels(position, places, divisors, row, np.int8(BID), price, size, side)
    if row < 0 or not _asks_stand(position):
        return bad
    position += np.uint64(len(_ASKS))
    row, position = _levels(position, places, divisors, row, np.int8(ASK), price, size, side)
    if row < 0 or not _update_stands(position):
        return bad
    u, position = integer_at(position + np.uint64(len(_UPDATE)))
    if u < 0 or not _seq_stands(position):
        return bad
    seq, position = integer_at(position + np.uint64(len(_SEQ)))
    if seq < 0 or not _cts_stands(position):
        return bad
    cts, position = integer_at(position + np.uint64(len(_CTS)))
    if cts < 0 or byte_at(position) != _BRACE:
        return bad
    return row, position + _ONE, cts, ts, u, seq, snapshot or u == 1


@njit(cache=True)
def _line(position, symbol, length, places, divisors, row, price, size, side):  # type: ignore[no-untyped-def]
    """One line, as :func:`message_at` gives it, and the position after its end."""
    bad = np.int64(-1), position, np.int64(0), np.int64(0), np.int64(0), np.int64(0), False
    if not _topic_stands(position):
        return bad
    depth, position = integer_at(position + np.uint64(len(_TOPIC)))
    if depth < 0 or byte_at(position) != _DOT:
        return bad
    name = position + _ONE
    for i in range(length):
        if byte_at(name + i) != byte_at(symbol + i):
            return bad
    row, position, cts, ts, u, seq, snapshot = message_at(
        name + length, name, length, places, divisors, row, price, size, side
    )
    if row < 0:
        return bad
    if byte_at(position) == _RETURN:
        position += _ONE
    if byte_at(position) != _NEWLINE:
        return bad
    return row, position + _ONE, cts, ts, u, seq, snapshot


@njit(cache=True, nogil=True)
def _scan(data, end, position, symbol, units, heads, message, row, price, size, side):  # type: ignore[no-untyped-def]
    base, name, length = address(data), address(symbol), np.uint64(len(symbol))
    places, divisors = (units[0], units[2]), (units[1], units[3])
    while position < end:
        rows, after, cts, ts, u, seq, snapshot = _line(
            base + position, name, length, places, divisors, row, address(price), address(size), address(side)
        )
        if rows < 0:
            break
        heads[message, CTS], heads[message, TS], heads[message, U], heads[message, SEQ] = cts, ts, u, seq
        heads[message, SNAPSHOT], heads[message, LEVELS] = snapshot, rows - row
        row, position = rows, after - base
        message += 1
    return position, message, row


def padded(data: bytes) -> Any:
    """`data` as uint8, with behind it what the kernels may look at."""
    return np.frombuffer(data + PADDING, np.uint8)


def scan_lines(
    data: Any,
    end: int,
    position: int,
    symbol: Any,
    units: Any,
    heads: Any,
    message: int,
    row: int,
    price: Any,
    size: Any,
    side: Any,
) -> tuple[int, int, int]:
    """Read lines from `position` on until the end or the first line of another form.

    Parameters
    ----------
    data : uint8[b]
        Whole lines, :func:`padded`.
    end
        Length of the lines without the padding.
    symbol : uint8[s]
        The symbol that they must be of.
    units : int64[4]
        Decimals and divisor of prices and of sizes, as :func:`market.units.scaled` gives them.
    heads : int64[m, 6]
        Written: :data:`CTS`, :data:`TS`, :data:`U`, :data:`SEQ`, :data:`SNAPSHOT`, :data:`LEVELS` of each message.
    message, row
        Where to go on writing messages and level changes.
    price, size : int64[n]
        Written: ticks and steps.
    side : int8[n]
        Written.

    Returns
    -------
    position, message, row
        Where it stopped: `position` is `end` or more, or the start of a line that it does not know.
    """
    first, last = np.uint64(position), np.uint64(end)
    position, message, row = _scan(data, last, first, symbol, units, heads, message, row, price, size, side)
    return int(position), int(message), int(row)


@njit(cache=True)
def _frame(data, end, symbol, units, head, wide, small, ordinal, recv_ns):  # type: ignore[no-untyped-def]
    start, columns = address(data), np.uint64(8 * wide.shape[1])
    rows, after, cts, ts, u, seq, snapshot = _line(
        start,
        address(symbol),
        np.uint64(len(symbol)),
        (units[0], units[2]),
        (units[1], units[3]),
        np.int64(0),
        address(wide) + columns,
        address(wide) + columns + columns,
        address(small) + np.uint64(2 * small.shape[1]),
    )
    if rows < 0 or np.int64(after - start) != end + 1:  # the padding's line end is taken as well
        return -1
    head[CTS], head[TS], head[U], head[SEQ], head[SNAPSHOT], head[LEVELS] = cts, ts, u, seq, snapshot, rows
    flags = SNAPSHOT_FLAG if head[SNAPSHOT] else 0
    if rows == 0:
        flags |= EMPTY
        wide[1, 0], wide[2, 0], small[2, 0] = 0, 0, 0
        rows = 1
    for row in range(rows):
        small[0, row], small[1, row] = BOOK, flags
        wide[0, row], wide[3, row], wide[4, row] = head[CTS], ordinal, recv_ns
    small[1, 0] |= FIRST
    small[1, rows - 1] |= LAST
    return rows


class FrameScanner:
    """Order-book frames of one symbol as events, by the compiled kernel.

    Parameters
    ----------
    instrument
        Gives symbol, tick and step.

    Attributes
    ----------
    units : int64[4]
        Decimals and divisor of prices and of sizes.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._symbol = np.frombuffer(instrument.symbol.encode(), np.uint8)
        self.units = np.array([*scaled(instrument.tick_size), *scaled(instrument.qty_step)], np.int64)
        self._head = np.zeros(6, np.int64)
        self._room(1)
        self.scan(b" ", 0, 0)  # compile now rather than while frames wait

    def _room(self, levels: int) -> None:
        self._levels = levels
        self._wide = np.empty((5, levels), np.int64)
        self._small = np.empty((3, levels), np.int8)

    def scan(self, data: bytes, ordinal: int, recv_ns: int) -> tuple[EventBatch, list[int]] | None:
        """The rows of one frame and its head, or ``None`` where the frame is not in the form the kernel knows.

        Returns
        -------
        events, head
            `head` is indexed by :data:`CTS`, :data:`TS`, :data:`U`, :data:`SEQ`, :data:`SNAPSHOT`, :data:`LEVELS`.
        """
        if len(data) // SHORTEST_LEVEL >= self._levels:
            self._room(len(data) // SHORTEST_LEVEL * 2 + 1)
        rows = _frame(
            padded(data), len(data), self._symbol, self.units, self._head, self._wide, self._small, ordinal, recv_ns
        )
        if rows < 0:
            return None
        wide, small = self._wide[:, :rows].copy(), self._small[:, :rows].copy()
        return EventBatch(small[0], small[1].view(np.uint8), small[2], *wide), self._head.tolist()
