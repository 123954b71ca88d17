"""Compiled reading of many frames at once: book messages that follow on, whatever stands between them.

The kernel takes only book messages in the form that :mod:`market._scan` knows, of topics that are known, whose ``u``
follows on and whose time does not jump. Everything else is left to the path that takes one frame at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from market._scan import CTS, LEVELS, SNAPSHOT, U, body
from market.events import EMPTY, FIRST, LAST

#: Further columns of the heads: which topic (-1: none of them), and the first row of its levels.
TOPIC, ROW = LEVELS + 1, LEVELS + 2
HEAD_COLUMNS = LEVELS + 3

_PREFIX = len('{"topic":"')


@njit(cache=True)
def _which(data, start, end, names, hint):  # type: ignore[no-untyped-def]
    """The topic that a frame names, or -1; looks first where the last one was found."""
    begin = start + _PREFIX
    for step in range(len(names)):
        topic = (hint + step) % len(names)
        length = names[topic, 0]
        if begin + length >= end or data[begin + length] != 34:  # the closing quote
            continue
        same = True
        for i in range(length - 1, -1, -1):  # topics differ at their end
            if data[begin + i] != names[topic, 2 + i]:
                same = False
                break
        if same:
            return topic
    return -1


@njit(cache=True)
def scan_run(data, offsets, first, names, units, follow, heads, price, size, side):  # type: ignore[no-untyped-def]
    """Read frames from `first` on, up to the first book message that needs a closer look.

    Parameters
    ----------
    data : uint8[b]
        Frames, one after the other, :func:`market._scan.padded`.
    offsets : int64[m + 1]
        Where each begins.
    names : uint8[t, w]
        Of each topic: its length, where in it the symbol begins, its bytes.
    units : int64[t, 4]
        As for :func:`market._scan.scan_lines`.
    follow : int64[t, 2]
        The ``u`` that was seen last (changed), and the greatest time that is taken; -1 takes nothing.
    heads : int64[m, 8]
        Written for each frame read.
    price, size : int64[n]
    side : int8[n]
        Written.

    Returns
    -------
    stop, rows
        The frame that it stopped before, and how many level changes there are.
    """
    row, topic, base = 0, 0, np.uint64(data.ctypes.data)
    symbol, unit = names[0, 2 + names[0, 1] : 2 + names[0, 0]], units[0]
    for frame in range(first, len(offsets) - 1):
        start, end = offsets[frame], offsets[frame + 1]
        head = heads[frame]
        found = _which(data, start, end, names, topic)
        head[TOPIC] = found
        if found < 0:
            continue
        if found != topic:  # every slice counts references to its array
            topic = found
            symbol, unit = names[topic, 2 + names[topic, 1] : 2 + names[topic, 0]], units[topic]
        place = base + np.uint64(start + _PREFIX + names[topic, 0])
        after, place = body(place, symbol, unit, head, row, price, size, side)
        if (
            after < 0
            or np.int64(place - base) != end
            or head[SNAPSHOT]
            or head[U] != follow[topic, 0] + 1
            or head[CTS] > follow[topic, 1]
        ):
            return frame, row
        follow[topic, 0] = head[U]
        head[ROW] = row
        row = after
    return len(offsets) - 1, row


@njit(cache=True)
def lay_out(heads, first, stop, topic, price, size, side, wide, small):  # type: ignore[no-untyped-def]
    """The rows of one topic's messages, as :func:`market.records.book_events` gives them one by one.

    Parameters
    ----------
    wide : int64[2, n]
        Written: price, size.
    small : int8[2, n]
        Written: flags, side.
    """
    out = 0
    for frame in range(first, stop):
        head = heads[frame]
        if head[TOPIC] != topic:
            continue
        levels, row = head[LEVELS], head[ROW]
        for k in range(levels):
            wide[0, out + k], wide[1, out + k] = price[row + k], size[row + k]
            small[0, out + k], small[1, out + k] = 0, side[row + k]
        if levels == 0:
            wide[0, out], wide[1, out], small[0, out], small[1, out] = 0, 0, EMPTY, 0
        rows = max(levels, 1)
        small[0, out] |= FIRST
        small[0, out + rows - 1] |= LAST
        out += rows
    return out


def topic_names(topics: list[bytes]) -> np.ndarray:
    """Topics as :func:`scan_run` wants them."""
    names = np.zeros((len(topics), 2 + max(map(len, topics))), np.uint8)
    for row, topic in zip(names, topics):
        row[0], row[1] = len(topic), topic.rindex(b".") + 1
        row[2 : 2 + len(topic)] = np.frombuffer(topic, np.uint8)
    return names
