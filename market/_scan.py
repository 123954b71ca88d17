"""Compiled reading of order-book messages in the exact form that Bybit writes them.

The kernel takes only what it recognises byte by byte; at anything else (other key order, spaces, exponents, a price off
the tick) it stops and leaves the line to the slow decoder, which either reads it or says what is wrong with it. So a
fast result is never a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from market.events import ASK, BID, BOOK, EMPTY, FIRST, LAST, EventBatch
from market.events import SNAPSHOT as SNAPSHOT_FLAG
from market.instruments import Instrument
from market.units import scaled

#: Columns of the heads that :func:`scan_lines` writes.
CTS, TS, U, SEQ, SNAPSHOT, LEVELS = range(6)

_TOPIC = np.frombuffer(b'{"topic":"orderbook.', np.uint8)
_TYPE = np.frombuffer(b'","type":"', np.uint8)
_SNAPSHOT = np.frombuffer(b'snapshot","ts":', np.uint8)
_DELTA = np.frombuffer(b'delta","ts":', np.uint8)
_DATA = np.frombuffer(b',"data":{"s":"', np.uint8)
_BIDS = np.frombuffer(b'","b":[', np.uint8)
_ASKS = np.frombuffer(b',"a":[', np.uint8)
_UPDATE = np.frombuffer(b',"u":', np.uint8)
_SEQ = np.frombuffer(b',"seq":', np.uint8)
_CTS = np.frombuffer(b'},"cts":', np.uint8)
_QUOTE, _COMMA, _DOT, _OPEN, _CLOSE, _BRACE, _RETURN, _NEWLINE = (ord(char) for char in '",.[]}\r\n')
_MOST_DIGITS = 18
#: Longer whole numbers are left to the decoder, which refuses those beyond 2**53.
_INTEGER_DIGITS = 15
#: Bytes of ``["1","0"]``.
_SHORTEST_LEVEL = 9


@njit(cache=True)
def _skip(data, position, literal):  # type: ignore[no-untyped-def]
    """Position after `literal`, or -1 where something else stands."""
    if position < 0 or position + len(literal) > len(data):
        return -1
    for i in range(len(literal)):
        if data[position + i] != literal[i]:
            return -1
    return position + len(literal)


@njit(cache=True)
def _integer(data, position):  # type: ignore[no-untyped-def]
    """A whole number without sign or leading zero, greater than 0: its value and the position after it, or -1."""
    value, start = np.int64(0), position
    while 0 <= position < len(data) and 48 <= data[position] <= 57 and position - start < _INTEGER_DIGITS:
        value = value * 10 + (np.int64(data[position]) - 48)
        position += 1
    if position == start or data[start] == 48:
        return value, -1
    return value, position


@njit(cache=True)
def _units(data, position, decimals, divisor):  # type: ignore[no-untyped-def]
    """A quoted decimal as a number of units: its value and the position after the closing quote, or -1."""
    if position < 0 or position >= len(data) or data[position] != _QUOTE:
        return 0, -1
    position += 1
    value, digits, places, whole = np.int64(0), 0, -1, 0
    while position < len(data):
        byte = data[position]
        if 48 <= byte <= 57:
            if places >= decimals:
                if byte != 48:
                    return 0, -1
            else:
                value = value * 10 + (np.int64(byte) - 48)
                digits += 1
                if places >= 0:
                    places += 1
                else:
                    whole += 1
        elif byte == _DOT and places < 0:
            places = 0
        else:
            break
        position += 1
    if position >= len(data) or data[position] != _QUOTE or whole == 0:
        return 0, -1
    for _ in range(decimals - max(places, 0)):
        value *= 10
        digits += 1
    if digits > _MOST_DIGITS or value % divisor != 0 or value // divisor > 1 << 53:
        return 0, -1
    return value // divisor, position + 1


@njit(cache=True)
def _levels(data, position, units, row, price, size):  # type: ignore[no-untyped-def]
    """The levels of one side, after its opening bracket: rows written so far and the position after the closing one."""
    if position < 0 or position >= len(data):
        return row, -1
    if data[position] == _CLOSE:
        return row, position + 1
    while True:
        if position >= len(data) or data[position] != _OPEN:
            return row, -1
        ticks, position = _units(data, position + 1, units[0], units[1])
        if position < 0 or ticks == 0 or position >= len(data) or data[position] != _COMMA:
            return row, -1
        steps, position = _units(data, position + 1, units[2], units[3])
        if position < 0 or position + 1 >= len(data) or data[position] != _CLOSE:
            return row, -1
        price[row], size[row] = ticks, steps
        row += 1
        position += 2
        if data[position - 1] == _CLOSE:
            return row, position
        if data[position - 1] != _COMMA:
            return row, -1


@njit(cache=True)
def _line(data, position, symbol, units, head, row, price, size, side):  # type: ignore[no-untyped-def]
    """One line: rows written so far and the position after its end, or -1."""
    first = row
    position = _skip(data, position, _TOPIC)
    _, position = _integer(data, position)
    if position < 0 or position >= len(data) or data[position] != _DOT:
        return first, -1
    position = _skip(data, _skip(data, position + 1, symbol), _TYPE)
    after = _skip(data, position, _DELTA)
    snapshot = after < 0
    if snapshot:
        after = _skip(data, position, _SNAPSHOT)
    head[TS], position = _integer(data, after)
    position = _skip(data, _skip(data, _skip(data, position, _DATA), symbol), _BIDS)
    row, position = _levels(data, position, units, row, price, size)
    side[first:row] = BID
    bids = row
    row, position = _levels(data, _skip(data, position, _ASKS), units, row, price, size)
    side[bids:row] = ASK
    head[U], position = _integer(data, _skip(data, position, _UPDATE))
    head[SEQ], position = _integer(data, _skip(data, position, _SEQ))
    head[CTS], position = _integer(data, _skip(data, position, _CTS))
    head[SNAPSHOT] = snapshot or head[U] == 1
    head[LEVELS] = row - first
    if position < 0 or position >= len(data) or data[position] != _BRACE:
        return first, -1
    position += 1
    if position < len(data) and data[position] == _RETURN:
        position += 1
    if position < len(data):
        if data[position] != _NEWLINE:
            return first, -1
        position += 1
    return row, position


@njit(cache=True)
def _scan(data, position, symbol, units, heads, message, row, price, size, side):  # type: ignore[no-untyped-def]
    while position < len(data):
        row, after = _line(data, position, symbol, units, heads[message], row, price, size, side)
        if after < 0:
            break
        position = after
        message += 1
    return position, message, row


def scan_lines(
    data: Any,
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
        Whole lines.
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
        Where it stopped: `position` is ``len(data)`` or the start of a line that it does not know.
    """
    position, message, row = _scan(data, position, symbol, units, heads, message, row, price, size, side)
    return int(position), int(message), int(row)


@njit(cache=True)
def _frame(data, symbol, units, head, wide, small, ordinal, recv_ns):  # type: ignore[no-untyped-def]
    rows, position = _line(data, 0, symbol, units, head, 0, wide[1], wide[2], small[2])
    if position != len(data):
        return -1
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
        if len(data) // _SHORTEST_LEVEL >= self._levels:
            self._room(len(data) // _SHORTEST_LEVEL * 2 + 1)
        source = np.frombuffer(data, np.uint8)
        rows = _frame(source, self._symbol, self.units, self._head, self._wide, self._small, ordinal, recv_ns)
        if rows < 0:
            return None
        wide, small = self._wide[:, :rows].copy(), self._small[:, :rows].copy()
        return EventBatch(small[0], small[1].view(np.uint8), small[2], *wide), self._head.tolist()
