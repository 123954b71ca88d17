"""Compiled reading of order-book messages in the exact form that Bybit writes them.

The kernel takes only what it recognises byte by byte; at anything else (other key order, spaces, exponents, a price off
the tick) it stops and leaves the line to the slow decoder, which either reads it or says what is wrong with it. So a
fast result is never a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

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
_POWERS = 10 ** np.arange(_MOST_DIGITS + 1)
# Positions are unsigned so that nothing asks whether they count from the end.
_NONE, _ONE, _TWO, _THREE, _EIGHT, _TEN, _SIXTEEN, _HALF = map(np.uint64, (0, 1, 2, 3, 8, 10, 16, 32))
_ZERO = ord("0")
_ZEROS, _BEYOND_NINE, _HIGH_BITS = (np.uint64(byte * 0x0101010101010101) for byte in (_ZERO, 0x80 - 10, 0x80))
_PAIRS, _HIGH_PAIRS, _LOW_PAIRS = map(np.uint64, (0x000000FF000000FF, 0x000F424000000064, 0x0000271000000001))
#: What must follow the last byte that counts: a line's end, and room for comparisons that look ahead.
PADDING = b"\n" + bytes(127)
#: Bytes of ``["1","0"]``.
SHORTEST_LEVEL = 9


def _load(bits):  # type: ignore[no-untyped-def]
    """An intrinsic that reads a little-endian number of so many bits at an address, aligned or not.

    Arrays that are handed from function to function cost two atomic operations a call, more than parsing a number;
    addresses cost nothing.
    """

    @intrinsic
    def load(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            integer = ir.IntType(bits)
            loaded = builder.load(builder.inttoptr(args[0], ir.PointerType(integer)))
            loaded.align = 1
            return loaded

        return getattr(types, f"uint{bits}")(types.uint64), codegen

    return load


_byte, _word = _load(8), _load(64)  # type: ignore[no-untyped-call]


@intrinsic
def _trailing_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """Zero bits below the lowest one; `word` must not be 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@njit(cache=True)
def _digits_at(position):  # type: ignore[no-untyped-def]
    """The values of the digits that stand at `position`, a byte each, and how many there are, at most eight."""
    values = _word(position) ^ _ZEROS
    others = (values | (values + _BEYOND_NINE)) & _HIGH_BITS
    if others == _NONE:
        return values, _EIGHT
    return values, _trailing_zeros(others) >> _THREE


@njit(cache=True)
def _number(values, count):  # type: ignore[no-untyped-def]
    """The first `count` digits, 1 to 8, as a number: neighbours are joined to pairs, pairs to fours, fours to eight."""
    values <<= (_EIGHT - count) << _THREE
    values = values * _TEN + (values >> _EIGHT)
    high = (values & _PAIRS) * _HIGH_PAIRS
    low = ((values >> _SIXTEEN) & _PAIRS) * _LOW_PAIRS
    return np.int64((high + low) >> _HALF)


@njit(cache=True)
def _skip(position, literal):  # type: ignore[no-untyped-def]
    """Whether `literal` stands at `position`."""
    different = np.uint8(0)
    for i in range(np.uint64(len(literal))):  # no way out of the loop: it becomes a few wide comparisons
        different |= _byte(position + i) ^ literal[i]
    return different == 0


@njit(cache=True)
def _integer(position):  # type: ignore[no-untyped-def]
    """A whole number without sign or leading zero, or -1; and the position after it."""
    if _byte(position) == _ZERO:
        return np.int64(-1), position
    values, count = _digits_at(position)
    if count == _NONE:
        return np.int64(-1), position
    number = _number(values, count)
    position += count
    if count == _EIGHT:
        values, count = _digits_at(position)
        if count == _EIGHT:
            return np.int64(-1), position
        if count > _NONE:
            number = number * _POWERS[count] + _number(values, count)
            position += count
    return number, position


@njit(cache=True)
def _fraction(position, decimals):  # type: ignore[no-untyped-def]
    """Decimal places as so many units of the last of `decimals`, or -1; and the position after them."""
    values, count = _digits_at(position)
    wanted = np.uint64(decimals)
    if count == _NONE or (count == _EIGHT and (wanted > _EIGHT or _byte(position + _EIGHT) != _QUOTE)):
        return np.int64(-1), position
    position += count
    if count > wanted:
        surplus = values >> (wanted << _THREE)
        if surplus << ((_EIGHT - (count - wanted)) << _THREE) != _NONE:
            return np.int64(-1), position
        count = wanted
    if count == _NONE:
        return np.int64(0), position
    return _number(values, count) * _POWERS[wanted - count], position


@njit(cache=True)
def _units(position, decimals, divisor):  # type: ignore[no-untyped-def]
    """A quoted decimal as a number of units, or -1; and the position after the closing quote."""
    if _byte(position) != _QUOTE:
        return np.int64(-1), position
    position += _ONE
    values, count = _digits_at(position)
    if count == _NONE:
        return np.int64(-1), position
    value = _number(values, count)
    position += count
    if count == _EIGHT:
        values, count = _digits_at(position)
        if count > _NONE:
            value = value * _POWERS[count] + _number(values, count)
            position += count
        count += _EIGHT
    if np.int64(count) + decimals > _MOST_DIGITS:
        return np.int64(-1), position
    value *= _POWERS[decimals]
    if _byte(position) == _DOT:
        places, position = _fraction(position + _ONE, decimals)
        if places < 0:
            return np.int64(-1), position
        value += places
    if _byte(position) != _QUOTE:
        return np.int64(-1), position
    if divisor != 1:
        if value % divisor != 0:
            return np.int64(-1), position
        value //= divisor
    if value > 1 << 53:
        return np.int64(-1), position
    return value, position + _ONE


@njit(cache=True, inline="always")  # else every call counts references to its arrays
def _levels(position, units, row, price, size):  # type: ignore[no-untyped-def]
    """The levels of one side, after its opening bracket: rows written so far, or -1; the position after the closing."""
    if _byte(position) == _CLOSE:
        return row, position + _ONE
    while True:
        if _byte(position) != _OPEN:
            return -1, position
        ticks, position = _units(position + _ONE, units[0], units[1])
        if ticks <= 0 or _byte(position) != _COMMA:
            return -1, position
        steps, position = _units(position + _ONE, units[2], units[3])
        if steps < 0 or _byte(position) != _CLOSE:
            return -1, position
        price[row], size[row] = ticks, steps
        row += 1
        byte = _byte(position + _ONE)
        position += _TWO
        if byte == _CLOSE:
            return row, position
        if byte != _COMMA:
            return -1, position


@njit(cache=True, inline="always")  # else every call counts references to its arrays
def body(position, symbol, units, head, row, price, size, side):  # type: ignore[no-untyped-def]
    """A message from behind its topic on: rows written so far, or -1; and the position after its last brace.

    `position` is an address. What it points to must be :func:`padded`.
    """
    first = row
    if not _skip(position, _TYPE):
        return -1, position
    position += np.uint64(len(_TYPE))
    snapshot = _byte(position) != _DELTA[0]
    if not _skip(position, _SNAPSHOT if snapshot else _DELTA):
        return -1, position
    position += np.uint64(len(_SNAPSHOT) if snapshot else len(_DELTA))
    head[TS], position = _integer(position)
    if head[TS] < 0 or not _skip(position, _DATA) or not _skip(position + np.uint64(len(_DATA)), symbol):
        return -1, position
    position += np.uint64(len(_DATA) + len(symbol))
    if not _skip(position, _BIDS):
        return -1, position
    bids, position = _levels(position + np.uint64(len(_BIDS)), units, row, price, size)
    if bids < 0 or not _skip(position, _ASKS):
        return -1, position
    row, position = _levels(position + np.uint64(len(_ASKS)), units, bids, price, size)
    if row < 0 or not _skip(position, _UPDATE):
        return -1, position
    head[U], position = _integer(position + np.uint64(len(_UPDATE)))
    if head[U] < 0 or not _skip(position, _SEQ):
        return -1, position
    head[SEQ], position = _integer(position + np.uint64(len(_SEQ)))
    if head[SEQ] < 0 or not _skip(position, _CTS):
        return -1, position
    head[CTS], position = _integer(position + np.uint64(len(_CTS)))
    if head[CTS] < 0 or _byte(position) != _BRACE:
        return -1, position
    side[first:bids], side[bids:row] = BID, ASK
    head[SNAPSHOT] = snapshot or head[U] == 1
    head[LEVELS] = row - first
    return row, position + _ONE


@njit(cache=True)
def _line(position, symbol, units, head, row, price, size, side):  # type: ignore[no-untyped-def]
    """One line: rows written so far, or -1; and the position after its end."""
    if not _skip(position, _TOPIC):
        return -1, position
    depth, position = _integer(position + np.uint64(len(_TOPIC)))
    if depth < 0 or _byte(position) != _DOT or not _skip(position + _ONE, symbol):
        return -1, position
    after = position + _ONE + np.uint64(len(symbol))
    row, position = body(after, symbol, units, head, row, price, size, side)
    if row < 0:
        return -1, position
    if _byte(position) == _RETURN:
        position += _ONE
    if _byte(position) != _NEWLINE:
        return -1, position
    return row, position + _ONE


@njit(cache=True, nogil=True)
def _scan(data, end, position, symbol, units, heads, message, row, price, size, side):  # type: ignore[no-untyped-def]
    start = np.uint64(data.ctypes.data)
    while position < end:
        rows, after = _line(start + position, symbol, units, heads[message], row, price, size, side)
        if rows < 0:
            break
        row, position = rows, after - start
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
    start = np.uint64(data.ctypes.data)
    rows, after = _line(start, symbol, units, head, 0, wide[1], wide[2], small[2])
    if rows < 0 or np.int64(after - start) != end + 1:  # the padding's line end is taken as well
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
        if len(data) // SHORTEST_LEVEL >= self._levels:
            self._room(len(data) // SHORTEST_LEVEL * 2 + 1)
        rows = _frame(
            padded(data), len(data), self._symbol, self.units, self._head, self._wide, self._small, ordinal, recv_ns
        )
        if rows < 0:
            return None
        wide, small = self._wide[:, :rows].copy(), self._small[:, :rows].copy()
        return EventBatch(small[0], small[1].view(np.uint8), small[2], *wide), self._head.tolist()
