"""Compiled reading of the decimals in Bybit's messages, at addresses rather than in arrays.

The kernels take only what they recognise; anything else is -1.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

QUOTE, DOT = ord('"'), ord(".")
_MOST_DIGITS = 18
_POWERS = 10 ** np.arange(_MOST_DIGITS + 1)
# Positions are unsigned so that nothing asks whether they count from the end.
_NONE, _ONE, _THREE, _EIGHT, _TEN, _SIXTEEN, _HALF = map(np.uint64, (0, 1, 3, 8, 10, 16, 32))
_SEVEN, _WORD, _BYTE = map(np.uint64, (7, 64, 255))
_ZERO = ord("0")
_ZEROS, _BEYOND_NINE, _HIGH_BITS = (np.uint64(byte * 0x0101010101010101) for byte in (_ZERO, 0x80 - 10, 0x80))
_PAIRS, _HIGH_PAIRS, _LOW_PAIRS = map(np.uint64, (0x000000FF000000FF, 0x000F424000000064, 0x0000271000000001))
#: With so many decimal places eight characters do not overflow.
_MOST_PLACES = 10
#: More than that is not exact as a float64.
_MOST = 1 << 53


def _load(bits):  # type: ignore[no-untyped-def]
    """An intrinsic that reads a little-endian number of so many bits at an address, aligned or not.

    Arrays that are handed from function to function, and slices of them, cost two atomic operations each time, more
    than parsing a number; addresses cost nothing.
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


byte_at, word_at = _load(8), _load(64)  # type: ignore[no-untyped-call]


def _store(bits):  # type: ignore[no-untyped-def]
    """An intrinsic that writes a signed number of so many bits at an address."""

    @intrinsic
    def store(typingctx, address, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            integer = ir.IntType(bits)
            builder.store(args[1], builder.inttoptr(args[0], ir.PointerType(integer)), align=1)
            return context.get_dummy_value()

        return types.none(types.uint64, getattr(types, f"int{bits}")), codegen

    return store


put_byte, put_word = _store(8), _store(64)  # type: ignore[no-untyped-call]


def literal(text):  # type: ignore[no-untyped-def]
    """An intrinsic that tells whether `text` stands at an address; up to seven bytes behind it are read."""
    starts = sorted({*range(0, len(text) - 7, 8), max(len(text) - 8, 0)})  # the last may overlap the one before
    mask = (1 << 8 * min(len(text), 8)) - 1

    @intrinsic
    def stands(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            word, different = ir.IntType(64), ir.Constant(ir.IntType(64), 0)
            for start in starts:
                place = builder.add(args[0], ir.Constant(word, start))
                loaded = builder.load(builder.inttoptr(place, ir.PointerType(word)))
                loaded.align = 1
                wanted = ir.Constant(word, int.from_bytes(text[start : start + 8], "little"))
                different = builder.or_(different, builder.xor(loaded, wanted))
            different = builder.and_(different, ir.Constant(word, mask))
            return builder.icmp_unsigned("==", different, ir.Constant(word, 0))

        return types.boolean(types.uint64), codegen

    return stands


@intrinsic
def _trailing_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """Zero bits below the lowest one; `word` must not be 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@njit(cache=True, forceinline=True)
def _digits_at(position):  # type: ignore[no-untyped-def]
    """The values of the digits that stand at `position`, a byte each, and how many there are, at most eight."""
    values = word_at(position) ^ _ZEROS
    others = (values | (values + _BEYOND_NINE)) & _HIGH_BITS
    if others == _NONE:
        return values, _EIGHT
    return values, _trailing_zeros(others) >> _THREE


@njit(cache=True, forceinline=True)
def _joined(values):  # type: ignore[no-untyped-def]
    """Eight digits as a number: neighbours are joined to pairs, pairs to fours, fours to eight."""
    values = values * _TEN + (values >> _EIGHT)
    high = (values & _PAIRS) * _HIGH_PAIRS
    low = ((values >> _SIXTEEN) & _PAIRS) * _LOW_PAIRS
    return np.int64((high + low) >> _HALF)


@njit(cache=True, forceinline=True)
def _number(values, count):  # type: ignore[no-untyped-def]
    """The first `count` digits, 1 to 8, as a number."""
    return _joined(values << ((_EIGHT - count) << _THREE))


@njit(cache=True, forceinline=True)
def address(array):  # type: ignore[no-untyped-def]
    """Where the items of an array begin."""
    return np.uint64(array.ctypes.data)


@njit(cache=True, forceinline=True)
def same(one, other, length):  # type: ignore[no-untyped-def]
    """Whether the same bytes stand at two addresses; up to seven bytes behind them are read."""
    while length >= _EIGHT:
        if word_at(one) != word_at(other):
            return False
        one, other, length = one + _EIGHT, other + _EIGHT, length - _EIGHT
    return length == _NONE or (word_at(one) ^ word_at(other)) << (_WORD - (length << _THREE)) == _NONE


@njit(cache=True, forceinline=True)
def integer_at(position):  # type: ignore[no-untyped-def]
    """A whole number without sign or leading zero, or -1; and the position after it."""
    if byte_at(position) == _ZERO:
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
    if count == _NONE or (count == _EIGHT and (wanted > _EIGHT or byte_at(position + _EIGHT) != QUOTE)):
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
def _long_units(position, decimals, divisor):  # type: ignore[no-untyped-def]
    """What :func:`units_at` gives, for decimals of up to 16 digits before the dot and eight behind it."""
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
    if byte_at(position) == DOT:
        places, position = _fraction(position + _ONE, decimals)
        if places < 0:
            return np.int64(-1), position
        value += places
    if divisor != 1:
        if value % divisor != 0:
            return np.int64(-1), position
        value //= divisor
    if value > _MOST:
        return np.int64(-1), position
    return value, position


@njit(cache=True, forceinline=True)
def units_at(position, decimals, divisor):  # type: ignore[no-untyped-def]
    """A decimal, from behind its opening quote, as a number of units, or -1; and the position of its closing quote.

    Whether a quote stands there is left to the caller. Nearly all decimals have at most eight characters: those are
    read at once, the fraction moved over the dot, and without a branch that hangs on their lengths.
    """
    word = word_at(position)
    values = word ^ _ZEROS
    others = (values | (values + _BEYOND_NINE)) & _HIGH_BITS  # true up to the second, where the first is a dot
    if others == _NONE or decimals > _MOST_PLACES:
        return _long_units(position, decimals, divisor)
    whole = _trailing_zeros(others) - _SEVEN  # bits of the digits before the dot
    dotted = (word >> whole) & _BYTE == DOT
    others &= others - _ONE
    if dotted and others == _NONE and byte_at(position + _EIGHT) != QUOTE:
        return _long_units(position, decimals, divisor)
    end = (_trailing_zeros(others) - _SEVEN if others != _NONE else _WORD) if dotted else whole
    bits = end - _EIGHT if dotted else end
    places = np.int64((bits - whole) >> _THREE)
    if whole == _NONE or (dotted and places == 0):
        return np.int64(-1), position
    before = (_ONE << whole) - _ONE
    digits = ((values & before) | ((values >> _EIGHT) & ~before)) << (_WORD - bits)
    if places > decimals:
        surplus = np.uint64(places - decimals) << _THREE
        if digits >> (_WORD - surplus) != _NONE:
            return np.int64(-1), position
        digits <<= surplus
        places = decimals
    value = _joined(digits) * _POWERS[np.uint64(decimals - places)]
    if divisor != 1:
        if value % divisor != 0:
            return np.int64(-1), position
        value //= divisor
    if value > _MOST:
        return np.int64(-1), position
    return value, position + (end >> _THREE)
