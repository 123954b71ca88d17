"""Bybit's public frames as bytes, compiled: rows of the market's buffer in, finished WebSocket frames out.

The layout of the JSON, field order and spacing included, is that of Bybit's linear streams. Each frame is a whole
unmasked text frame (RFC 6455, section 5.2), so that a batch is sent with one write.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulation._lob import FEEDS, TRADE_FEED

#: Room for a frame's fixed parts, a level and a trade, bytes.
FRAME_BYTES, LEVEL_BYTES, TRADE_BYTES = 320, 64, 320


class Style(NamedTuple):
    """How one symbol's numbers and names are written."""

    heads: NDArray[np.uint8]
    """[FEEDS + 1, n]: ``{"topic":"…","type":"`` of each feed; trades last."""
    head_size: NDArray[np.int64]
    symbol: NDArray[np.uint8]
    digits: NDArray[np.int64]
    """Decimals of prices, of sizes; units of the last decimal a tick, a step."""
    tick: NDArray[np.int64]
    """Last trade price and direction, carried from batch to batch."""


def new_style(symbol: str, topics: dict[int, str], digits: tuple[int, int, int, int]) -> Style:
    """The style of a symbol whose feeds are published under `topics`."""
    heads = np.zeros((FEEDS + 1, 64), np.uint8)
    sizes = np.zeros(FEEDS + 1, np.int64)
    for feed, topic in topics.items():
        raw = f'{{"topic":"{topic}","type":"'.encode()
        heads[feed, : len(raw)] = np.frombuffer(raw, np.uint8)
        sizes[feed] = len(raw)
    return Style(
        heads=heads,
        head_size=sizes,
        symbol=np.frombuffer(symbol.encode(), np.uint8),
        digits=np.array(digits, np.int64),
        tick=np.array([0, 1], np.int64),
    )


def _text(value: str) -> NDArray[np.uint8]:
    return np.frombuffer(value.encode(), np.uint8)


_SNAPSHOT, _DELTA = _text('snapshot","ts":'), _text('delta","ts":')
_DATA, _BIDS, _ASKS, _U = _text(',"data":{"s":"'), _text('","b":['), _text('],"a":['), _text('],"u":')
_SEQ, _CTS = _text(',"seq":'), _text('},"cts":')
_TRADES, _T, _S = _text(',"data":['), _text('{"T":'), _text(',"s":"')
_BUY, _SELL, _P = _text('","S":"Buy","v":"'), _text('","S":"Sell","v":"'), _text('","p":"')
_ID, _BT = _text('Tick","i":"00000000-0000-5000-8000-'), _text('","BT":false,"RPI":false,"seq":')
_PLUS, _MINUS, _ZERO, _L = _text("Plus"), _text("Minus"), _text("Zero"), _text('","L":"')
_HEX = _text("0123456789abcdef")


@njit(cache=True)
def _put(out, at, text):  # type: ignore[no-untyped-def]
    for k in range(len(text)):
        out[at + k] = text[k]
    return at + len(text)


@njit(cache=True)
def _char(out, at, code):  # type: ignore[no-untyped-def]
    out[at] = code
    return at + 1


@njit(cache=True)
def _number(out, at, value, digits):  # type: ignore[no-untyped-def]
    """A whole number of units of the last decimal, written with `digits` decimals."""
    end, rest = at, value
    width = digits + 1
    while rest >= 10 ** min(width, 18) and width < 18:
        width += 1
    end = at + width + (1 if digits > 0 else 0)
    place = end - 1
    for k in range(width):
        if k == digits and digits > 0:
            out[place] = 46
            place -= 1
        out[place] = 48 + rest % 10
        rest //= 10
        place -= 1
    return end


@njit(cache=True)
def _level(out, at, price, size, digits):  # type: ignore[no-untyped-def]
    at = _char(out, at, 91)
    at = _char(out, at, 34)
    at = _number(out, at, price * digits[2], digits[0])
    at = _char(out, at, 34)
    at = _char(out, at, 44)
    at = _char(out, at, 34)
    at = _number(out, at, size * digits[3], digits[1] if size > 0 else 0)
    at = _char(out, at, 34)
    return _char(out, at, 93)


@njit(cache=True)
def _book(b, style, first, last, out, at):  # type: ignore[no-untyped-def]
    feed = b.row_feed[first]
    at = _put(out, at, style.heads[feed, : style.head_size[feed]])
    at = _put(out, at, _SNAPSHOT if b.row_flags[first] & 1 else _DELTA)
    at = _number(out, at, b.row_push[first], 0)
    at = _put(out, at, _DATA)
    at = _put(out, at, style.symbol)
    at = _put(out, at, _BIDS)
    side = 0
    comma = False
    for row in range(first, last):
        if side == 0 and b.row_side[row] == 1:
            at = _put(out, at, _ASKS)
            side, comma = 1, False
        if comma:
            at = _char(out, at, 44)
        comma = True
        at = _level(out, at, b.row_price[row], b.row_size[row], style.digits)
    if side == 0:
        at = _put(out, at, _ASKS)
    at = _put(out, at, _U)
    at = _number(out, at, b.row_id[first], 0)
    at = _put(out, at, _SEQ)
    at = _number(out, at, b.row_seq[first], 0)
    at = _put(out, at, _CTS)
    at = _number(out, at, b.row_time[first], 0)
    return _char(out, at, 125)


@njit(cache=True)
def _trades(b, style, first, last, out, at):  # type: ignore[no-untyped-def]
    feed = len(style.head_size) - 1
    at = _put(out, at, style.heads[feed, : style.head_size[feed]])
    at = _put(out, at, _SNAPSHOT)
    at = _number(out, at, b.row_push[first], 0)
    at = _put(out, at, _TRADES)
    for row in range(first, last):
        price = b.row_price[row]
        if row > first:
            at = _char(out, at, 44)
        at = _put(out, at, _T)
        at = _number(out, at, b.row_time[row], 0)
        at = _put(out, at, _S)
        at = _put(out, at, style.symbol)
        at = _put(out, at, _BUY if b.row_side[row] == 0 else _SELL)
        at = _number(out, at, b.row_size[row] * style.digits[3], style.digits[1])
        at = _put(out, at, _P)
        at = _number(out, at, price * style.digits[2], style.digits[0])
        at = _put(out, at, _L)
        if price == style.tick[0]:
            at = _put(out, at, _ZERO)
        else:
            style.tick[1] = 1 if price > style.tick[0] else -1
        style.tick[0] = price
        at = _put(out, at, _PLUS if style.tick[1] > 0 else _MINUS)
        at = _put(out, at, _ID)
        for k in range(12):
            out[at + 11 - k] = _HEX[(b.row_id[row] >> (4 * k)) & 15]
        at += 12
        at = _put(out, at, _BT)
        at = _number(out, at, b.row_seq[row], 0)
        at = _char(out, at, 125)
    at = _char(out, at, 93)
    return _char(out, at, 125)


@njit(cache=True)
def _framed(out, start, body, end):  # type: ignore[no-untyped-def]
    """Put the header of a text frame before its payload, which stands at `body`, and close the gap."""
    size = end - body
    out[start] = 0x81
    if size < 126:
        out[start + 1] = size
        head = 2
    elif size < 65_536:
        out[start + 1] = 126
        out[start + 2] = size >> 8
        out[start + 3] = size & 255
        head = 4
    else:
        out[start + 1] = 127
        for k in range(8):
            out[start + 2 + k] = (size >> (8 * (7 - k))) & 255
        head = 10
    for k in range(size):
        out[start + head + k] = out[body + k]
    return start + head + size


@njit(cache=True)
def encode(b, rows, style, out, feeds, ends):  # type: ignore[no-untyped-def]
    """Write the frames of the first `rows` rows of a market's buffer; return how many.

    `feeds` gets the feed of each frame (the last feed number for trades), `ends` the end of its bytes in `out`.
    """
    first = frames = at = 0
    while first < rows:
        last = first + 1
        while last < rows and b.row_frame[last] == b.row_frame[first]:
            last += 1
        body = at + 10
        if b.row_feed[first] == TRADE_FEED:
            end = _trades(b, style, first, last, out, body)
            feeds[frames] = len(style.head_size) - 1
        else:
            end = _book(b, style, first, last, out, body)
            feeds[frames] = b.row_feed[first]
        at = _framed(out, at, body, end)
        ends[frames] = at
        frames += 1
        first = last
    return frames
