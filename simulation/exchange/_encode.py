"""Bybit's public frames as bytes, compiled: rows of the market's buffer in, finished WebSocket frames out.

The layout of the JSON, field order and spacing included, is that of Bybit's linear streams. Each frame is a whole
unmasked text frame (RFC 6455, section 5.2), so that a batch is sent with one write.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from market.events import EMPTY
from simulation._lob import (
    FEEDS,
    R_FEED,
    R_FLAGS,
    R_FRAME,
    R_ID,
    R_PRICE,
    R_PUSH,
    R_SEQ,
    R_SIDE,
    R_SIZE,
    R_TIME,
    TRADE_FEED,
    inner,
)

#: Room for a frame's fixed parts, a level and a trade, bytes.
FRAME_BYTES, LEVEL_BYTES, TRADE_BYTES = 320, 64, 320


class Style(NamedTuple):
    """How one symbol's numbers and names are written: the middle arguments of :func:`encode`."""

    heads: NDArray[np.uint8]
    """[texts, 64]: ``{"topic":"…","type":"`` of each feed, trades last; the symbol; fixed texts."""
    numbers: NDArray[np.int64]
    """Sizes of `heads`; decimals of prices and sizes; units of the last decimal a tick and a step; last trade price and
    direction, carried from batch to batch."""


# Rows of `heads` after those of the feeds: the symbol, then the fixed texts below.
_SYMBOL = FEEDS + 1
(
    _SNAPSHOT, _DELTA, _DATA, _BIDS, _ASKS, _U, _SEQ, _CTS, _TRADES, _T, _S, _BUY, _SELL, _P, _L, _PLUS, _MINUS, _ZERO,
    _ID, _BT, _TYPE,
) = range(FEEDS + 2, FEEDS + 23)  # fmt: skip
_TEXTS = (
    'snapshot","ts":', 'delta","ts":', ',"data":{"s":"', '","b":[', '],"a":[', '],"u":', ',"seq":', '},"cts":',
    ',"data":[', '{"T":', ',"s":"', '","S":"Buy","v":"', '","S":"Sell","v":"', '","p":"', '","L":"', "Plus", "Minus",
    "Zero", 'Tick","i":"00000000-0000-5000-8000-', '","BT":false,"RPI":false,"seq":',
    ',"type":"snapshot"',
)  # fmt: skip
# Places of `numbers` after the sizes of texts; `_NONE` holds 0 decimals.
_PRICE_DIGITS, _SIZE_DIGITS, _PRICE_UNITS, _SIZE_UNITS, _NONE, _LAST, _DIRECTION = range(FEEDS + 23, FEEDS + 30)
_BEST = FEEDS + 30


def new_style(symbol: str, topics: dict[int, str], digits: tuple[int, int, int, int], best: int) -> Style:
    """The style of a symbol whose feeds are published under `topics`; `best` is the feed of one level.

    Bybit writes the time of that topic before its type, as its page on the order-book stream notes.
    """
    heads = np.zeros((FEEDS + 23, 64), np.uint8)
    numbers = np.zeros(FEEDS + 31, np.int64)
    texts = {feed: f'{{"topic":"{topic}","type":"' for feed, topic in topics.items()}
    texts[best] = f'{{"topic":"{topics[best]}","ts":'
    texts |= {_SYMBOL: symbol} | dict(enumerate(_TEXTS, _SNAPSHOT))
    for place, text in texts.items():
        raw = text.encode()
        heads[place, : len(raw)] = np.frombuffer(raw, np.uint8)
        numbers[place] = len(raw)
    numbers[_PRICE_DIGITS:] = (*digits, 0, 0, 1, best)
    return Style(heads, numbers)


@inner
def _put(out, at, text, size):  # type: ignore[no-untyped-def]
    for k in range(size):
        out[at + k] = text[k]
    return at + size


@inner
def _number(out, at, value, digits):  # type: ignore[no-untyped-def]
    """A whole number of units of the last decimal, written with `digits` decimals."""
    width, rest = 1, value // 10
    while rest > 0 or width <= digits:
        width += 1
        rest //= 10
    end = at + width + (1 if digits > 0 else 0)
    place = end - 1
    for k in range(width):
        if k == digits and digits > 0:
            out[place] = 46
            place -= 1
        out[place] = 48 + value % 10
        value //= 10
        place -= 1
    return end


@inner
def _level(out, at, price, size, numbers):  # type: ignore[no-untyped-def]
    out[at], out[at + 1] = 91, 34
    at = _number(out, at + 2, price * numbers[_PRICE_UNITS], numbers[_PRICE_DIGITS])
    out[at], out[at + 1], out[at + 2] = 34, 44, 34
    at = _number(out, at + 3, size * numbers[_SIZE_UNITS], numbers[_SIZE_DIGITS if size > 0 else _NONE])
    out[at], out[at + 1] = 34, 93
    return at + 2


@inner
def _book(rows, first, last, heads, numbers, out, at):  # type: ignore[no-untyped-def]
    feed = rows[first, R_FEED]
    at = _put(out, at, heads[feed], numbers[feed])
    if feed != numbers[_BEST]:
        text = _SNAPSHOT if rows[first, R_FLAGS] & 1 else _DELTA
        at = _put(out, at, heads[text], numbers[text])
    at = _number(out, at, rows[first, R_PUSH], numbers[_NONE])
    if feed == numbers[_BEST]:
        at = _put(out, at, heads[_TYPE], numbers[_TYPE])
    at = _put(out, at, heads[_DATA], numbers[_DATA])
    at = _put(out, at, heads[_SYMBOL], numbers[_SYMBOL])
    at = _put(out, at, heads[_BIDS], numbers[_BIDS])
    row = first
    for side in range(2):
        start = row
        while row < last and rows[row, R_SIDE] == side:
            if rows[row, R_FLAGS] & EMPTY:
                row += 1
                continue
            if row > start:
                out[at] = 44
                at += 1
            at = _level(out, at, rows[row, R_PRICE], rows[row, R_SIZE], numbers)
            row += 1
        text = _ASKS if side == 0 else _U
        at = _put(out, at, heads[text], numbers[text])
    at = _number(out, at, rows[first, R_ID], numbers[_NONE])
    at = _put(out, at, heads[_SEQ], numbers[_SEQ])
    at = _number(out, at, rows[first, R_SEQ], numbers[_NONE])
    at = _put(out, at, heads[_CTS], numbers[_CTS])
    at = _number(out, at, rows[first, R_TIME], numbers[_NONE])
    out[at] = 125
    return at + 1


@inner
def _trade(rows, row, heads, numbers, out, at):  # type: ignore[no-untyped-def]
    price = rows[row, R_PRICE]
    at = _put(out, at, heads[_T], numbers[_T])
    at = _number(out, at, rows[row, R_TIME], numbers[_NONE])
    at = _put(out, at, heads[_S], numbers[_S])
    at = _put(out, at, heads[_SYMBOL], numbers[_SYMBOL])
    text = _BUY if rows[row, R_SIDE] == 0 else _SELL
    at = _put(out, at, heads[text], numbers[text])
    at = _number(out, at, rows[row, R_SIZE] * numbers[_SIZE_UNITS], numbers[_SIZE_DIGITS])
    at = _put(out, at, heads[_P], numbers[_P])
    at = _number(out, at, price * numbers[_PRICE_UNITS], numbers[_PRICE_DIGITS])
    at = _put(out, at, heads[_L], numbers[_L])
    if price == numbers[_LAST]:
        at = _put(out, at, heads[_ZERO], numbers[_ZERO])
    else:
        numbers[_DIRECTION] = 1 if price > numbers[_LAST] else -1
    numbers[_LAST] = price
    text = _PLUS if numbers[_DIRECTION] > 0 else _MINUS
    at = _put(out, at, heads[text], numbers[text])
    at = _put(out, at, heads[_ID], numbers[_ID])
    for k in range(12):
        digit = (rows[row, R_ID] >> (4 * k)) & 15
        out[at + 11 - k] = digit + (48 if digit < 10 else 87)
    at = _put(out, at + 12, heads[_BT], numbers[_BT])
    at = _number(out, at, rows[row, R_SEQ], numbers[_NONE])
    out[at] = 125
    return at + 1


@inner
def _trades(rows, first, last, heads, numbers, out, at):  # type: ignore[no-untyped-def]
    at = _put(out, at, heads[FEEDS], numbers[FEEDS])
    at = _put(out, at, heads[_SNAPSHOT], numbers[_SNAPSHOT])
    at = _number(out, at, rows[first, R_PUSH], numbers[_NONE])
    at = _put(out, at, heads[_TRADES], numbers[_TRADES])
    for row in range(first, last):
        at = _trade(rows, row, heads, numbers, out, at)
        out[at] = 44
        at += 1
    out[at - 1], out[at] = 93, 125
    return at + 1


@njit(cache=True)
def encode(rows, heads, numbers, out, feeds, ends):  # type: ignore[no-untyped-def]
    """Write the frames of a market's rows; return how many.

    `feeds` gets the feed of each frame (:data:`simulation._lob.FEEDS` for trades), `ends` the end of its
    bytes in `out`.
    """
    first = frames = at = np.int64(0)
    while first < len(rows):
        last = first + 1
        while last < len(rows) and rows[last, R_FRAME] == rows[first, R_FRAME]:
            last += 1
        feed = rows[first, R_FEED]
        if feed == TRADE_FEED:
            feed = FEEDS
            end = _trades(rows, first, last, heads, numbers, out, at + 10)
        else:
            end = _book(rows, first, last, heads, numbers, out, at + 10)
        # The header of the frame goes before its payload, which then closes up.
        size = end - at - 10
        extra = 0 if size < 126 else 2 if size < 65_536 else 8
        out[at] = 0x81
        out[at + 1] = size if extra == 0 else 126 if extra == 2 else 127
        for k in range(extra):
            out[at + 2 + k] = (size >> (8 * (extra - 1 - k))) & 255
        for k in range(size):
            out[at + 2 + extra + k] = out[at + 10 + k]
        at += 2 + extra + size
        feeds[frames], ends[frames] = feed, at
        frames += 1
        first = last
    return frames
