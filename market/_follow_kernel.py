"""Compiled reading of many frames at once: book messages that follow on, whatever stands between them.

The kernel takes only book messages in the form that :mod:`market._scan` knows, of topics that are known, whose ``u``
follows on and whose time does not jump. Everything else is left to the path that takes one frame at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from market._digits import address, byte_at, same
from market._scan import CTS, LEVELS, SEQ, TS, U, message_at
from market.events import EMPTY, FIRST, LAST

#: Rows of the heads beside those of :mod:`market._scan`: rows of each message (one where it has no level), which topic
#: (-1: none of them), and the first of its rows.
ROWS, TOPIC, ROW = LEVELS, LEVELS + 1, LEVELS + 2
HEADS = LEVELS + 3
#: What is followed of each topic: the last ``u``, the greatest time that is taken, and what the messages come to: the
#: greatest time, how many they are, how many level changes.
LAST_U, LIMIT, CLOCK, MESSAGES, CHANGES = range(5)
FOLLOWED = 5

_PREFIX = np.uint64(len('{"topic":"'))
_QUOTE = ord('"')
_TWO = np.uint64(2)


@njit(cache=True, forceinline=True)
def _which(place, room, names, width, count, hint):  # type: ignore[no-untyped-def]
    """The topic that stands at `place`, or -1; looks first where the last one was found."""
    for step in range(count):
        topic = hint + step
        if topic >= count:
            topic -= count
        name = names + np.uint64(topic) * width
        length = np.uint64(byte_at(name))
        if length < room and byte_at(place + length) == _QUOTE and same(place, name + _TWO, length):
            return topic
    return -1


@njit(cache=True)
def scan_run(data, offsets, first, names, units, follow, heads, price, size, side, flags):  # type: ignore[no-untyped-def]
    """Read frames from `first` on, up to the first book message that needs a closer look.

    Parameters
    ----------
    data : uint8[b]
        Frames, one after the other, :func:`market._scan.padded`.
    offsets : int64[m + 1]
        Where each begins.
    names : uint8[t, w]
        As :func:`topic_names` gives them.
    units : int64[t, 4]
        As for :func:`market._scan.scan_lines`.
    follow : int64[t, 5]
        :data:`LAST_U` (changed), :data:`LIMIT` (-1 takes nothing), and, added to, the others.
    heads : int64[8, m]
        Written for each frame read.
    price, size : int64[n]
    side : int8[n]
    flags : uint8[n]
        Written, as :func:`market.records.book_events` gives them one by one.

    Returns
    -------
    stop, rows
        The frame that it stopped before, and how many rows there are.
    """
    row, base, known = np.int64(0), address(data), address(names)
    count, width = names.shape[0], np.uint64(names.shape[1])
    prices, sizes, sides = address(price), address(size), address(side)
    topic = 0
    places, divisors = (units[0, 0], units[0, 2]), (units[0, 1], units[0, 3])
    for frame in range(first, len(offsets) - 1):
        place, end = base + np.uint64(offsets[frame]) + _PREFIX, base + np.uint64(offsets[frame + 1])
        found = _which(place, end - place, known, width, count, topic) if place < end else -1
        heads[TOPIC, frame] = found
        if found < 0:
            continue
        if found != topic:
            topic = found
            places, divisors = (units[topic, 0], units[topic, 2]), (units[topic, 1], units[topic, 3])
        length = np.uint64(names[topic, 0])
        skipped = np.uint64(names[topic, 1])
        after, place, cts, ts, u, seq, snapshot = message_at(
            place + length, place + skipped, length - skipped, places, divisors, row, prices, sizes, sides
        )
        if after < 0 or place != end or snapshot or u != follow[topic, LAST_U] + 1 or cts > follow[topic, LIMIT]:
            return frame, row
        follow[topic, LAST_U] = u
        follow[topic, CLOCK] = max(follow[topic, CLOCK], cts)
        follow[topic, MESSAGES] += 1
        follow[topic, CHANGES] += after - row
        heads[CTS, frame], heads[TS, frame], heads[U, frame], heads[SEQ, frame] = cts, ts, u, seq
        if after == row:
            price[row], size[row], side[row], flags[row] = 0, 0, 0, EMPTY
            after += 1
        else:
            for k in range(row, after):
                flags[k] = 0
        flags[row] |= FIRST
        flags[after - 1] |= LAST
        heads[ROWS, frame], heads[ROW, frame] = after - row, row
        row = after
    return len(offsets) - 1, row


@njit(cache=True)
def lay_out(heads, chosen, price, size, side, flags, wide, small):  # type: ignore[no-untyped-def]
    """The rows of some of the messages, side by side.

    Parameters
    ----------
    chosen : int64[k]
        Which.
    wide : int64[2, n]
        Written: price, size.
    small : int8[2, n]
        Written: flags, side.
    """
    out = 0
    for frame in chosen:
        row = heads[ROW, frame]
        for k in range(row, row + heads[ROWS, frame]):
            wide[0, out], wide[1, out] = price[k], size[k]
            small[0, out], small[1, out] = flags[k], side[k]
            out += 1


def topic_names(topics: list[bytes]) -> NDArray[np.uint8]:
    """Topics as :func:`scan_run` wants them: length, where the symbol begins, the bytes, and room to look ahead."""
    names = np.zeros((len(topics), 2 + max(map(len, topics)) + 8), np.uint8)
    for row, topic in zip(names, topics):
        row[0], row[1] = len(topic), topic.rindex(b".") + 1
        row[2 : 2 + len(topic)] = np.frombuffer(topic, np.uint8)
    return names
