"""The order book, compiled: a ladder of prices with an occupancy bitmap.

A side is a ring of :data:`WINDOW` ticks around its best price, indexed by the price itself, so a change costs the same
at every depth, and a walk from the best level down jumps from set bit to set bit, over empty words by a bitmap of the
words. Levels beyond the window wait in a sorted array (`far`), and the window moves when the best price nears its edge.
Locked, crossed and absurd prices are only prices.

Inside, a level's *key* is its price for asks and its negated price for bids: on both sides lower is better. `block` is
where a side begins in `book`: 0 or :data:`BLOCK`.
"""

from __future__ import annotations

from numba.cpython.unsafe.numbers import trailing_zeros

from features._layout import (
    BEST,
    BITS,
    BLOCK,
    FAR,
    LOW,
    NOWHERE,
    SUMMARY,
    TOPS,
    WINDOW,
    WORDS,
    helper,
    inlined,
)


@helper
def clear(book):  # type: ignore[no-untyped-def]
    """Forget every level."""
    for side in range(2):
        block = side * BLOCK
        for word in range(WORDS):
            if book[block + BITS + word] != 0:
                book[block + (word << 6) : block + (word + 1) * 64] = 0
        book[block + BITS : block + BEST] = 0
        book[block + BEST] = book[block + LOW] = NOWHERE
        book[block + FAR] = 0


@inlined
def after(book, block, word):  # type: ignore[no-untyped-def]
    """How many words after `word`, round the ring, the next one that is not 0 lies; 0 when no other word is."""
    start = (word + 1) & (WORDS - 1)
    at = start >> 6
    left = book[block + TOPS + at] & (-1 << (start & 63))
    for _ in range(SUMMARY + 1):
        if left != 0:
            return ((at << 6) + trailing_zeros(left) - word) & (WORDS - 1)
        at = (at + 1) & (SUMMARY - 1)
        left = book[block + TOPS + at]
    return 0


@inlined
def _next_key(book, block, key):  # type: ignore[no-untyped-def]
    """The first key of the ladder that is not better than `key`, which none is; NOWHERE when the ladder is empty."""
    base = key & ~63
    word = (key >> 6) & (WORDS - 1)
    left = book[block + BITS + word] & (-1 << (key & 63))
    if left == 0:
        ahead = after(book, block, word)
        if ahead == 0:
            return NOWHERE
        base += ahead << 6
        left = book[block + BITS + ((word + ahead) & (WORDS - 1))]
    return base + trailing_zeros(left)


@inlined
def _put(book, block, key, size):  # type: ignore[no-untyped-def]
    """Set or delete a level inside the window; returns by how much its size changed.

    Whether a level is new, changed or gone cannot be foreseen: nothing branches on it. Where there is no level the
    ladder holds 0.
    """
    slot = key & (WINDOW - 1)
    word = slot >> 6
    there = 1 if size > 0 else 0
    before = book[block + slot]
    book[block + slot] = size
    bits = (book[block + BITS + word] & ~(1 << (key & 63))) | (there << (key & 63))
    book[block + BITS + word] = bits
    some = 1 if bits != 0 else 0
    top = block + TOPS + (word >> 6)
    book[top] = (book[top] & ~(1 << (word & 63))) | (some << (word & 63))
    return size - before


@helper
def _put_far(book, far, side, key, size):  # type: ignore[no-untyped-def]
    """Set or delete a level beyond the window, in an array that has room; worst level first.

    Returns by how much its size changed.
    """
    keys, sizes = far[0, side], far[1, side]
    count = book[side * BLOCK + FAR]
    at, stop = 0, count
    while at < stop:
        middle = (at + stop) >> 1
        if keys[middle] > key:
            at = middle + 1
        else:
            stop = middle
    held = at < count and keys[at] == key
    before = sizes[at] if held else 0
    if size > 0:
        if not held:
            for i in range(count, at, -1):
                keys[i], sizes[i] = keys[i - 1], sizes[i - 1]
            keys[at] = key
            book[side * BLOCK + FAR] = count + 1
        sizes[at] = size
    elif held:
        for i in range(at, count - 1):
            keys[i], sizes[i] = keys[i + 1], sizes[i + 1]
        book[side * BLOCK + FAR] = count - 1
    return size - before


@helper
def _move(book, far, side, best):  # type: ignore[no-untyped-def]
    """Move the window so that the key `best`, than which none is better, ends its first quarter.

    A level's place in the ring is its key's, so only levels that enter or leave the window are touched.
    """
    block = side * BLOCK
    low = (best - WINDOW // 4) & ~63
    end = book[block + LOW] + WINDOW
    key = max(min(book[block + BEST], end), low + WINDOW)
    while key < end:
        left = book[block + BITS + ((key >> 6) & (WORDS - 1))] & (-1 << (key & 63))
        if left == 0:
            key = (key & ~63) + 64
            continue
        key = (key & ~63) + trailing_zeros(left)
        _put_far(book, far, side, key, book[block + (key & (WINDOW - 1))])
        _put(book, block, key, 0)
        key += 1
    book[block + LOW] = low
    book[block + BEST] = best
    while book[block + FAR] > 0 and far[0, side, book[block + FAR] - 1] < low + WINDOW:
        last = book[block + FAR] - 1
        book[block + FAR] = last
        _put(book, block, far[0, side, last], far[1, side, last])


@helper
def _best_gone(book, far, side):  # type: ignore[no-untyped-def]
    """The best level was deleted: find the next one, and keep it in the first half of the window."""
    block = side * BLOCK
    best = _next_key(book, block, book[block + BEST])
    waiting = book[block + FAR]
    book[block + BEST] = best
    if waiting > 0:
        if best == NOWHERE:
            _move(book, far, side, far[0, side, waiting - 1])
        elif best >= book[block + LOW] + WINDOW // 2:
            _move(book, far, side, best)
    elif best == NOWHERE:
        book[block + LOW] = NOWHERE


@helper
def _held(book, block):  # type: ignore[no-untyped-def]
    """Levels in the ladder."""
    count = 0
    for word in range(WORDS):
        left = book[block + BITS + word]
        while left != 0:
            left &= left - 1
            count += 1
    return count


@helper
def _beyond(book, far, side, key, size):  # type: ignore[no-untyped-def]
    """Set or delete a level outside of the window; as :func:`change`."""
    block = side * BLOCK
    low = book[block + LOW]
    if key >= low:
        if book[block + FAR] == far.shape[2]:
            return False, 0
        return True, _put_far(book, far, side, key, size)
    if size > 0:
        if book[block + FAR] + _held(book, block) > far.shape[2]:
            return False, 0
        if low == NOWHERE:
            book[block + LOW] = (key - WINDOW // 4) & ~63
            book[block + BEST] = key
        else:
            _move(book, far, side, key)
        _put(book, block, key, size)
    return True, size


@inlined
def change(book, far, side, price, size):  # type: ignore[no-untyped-def]
    """Set or delete one level (size 0).

    Returns
    -------
    bool
        Whether it was done; if not, nothing was changed and `far` needs more room.
    int
        By how much the size at this price changed.
    """
    block = BLOCK if side else 0
    key = price if side else -price
    low = book[block + LOW]
    if low <= key < low + WINDOW:
        moved = _put(book, block, key, size)
        best = book[block + BEST]
        book[block + BEST] = min(best, key if size > 0 else NOWHERE)
        # One comparison: whether a level is deleted cannot be foreseen, that the best one is, can.
        if key == (best if size == 0 else NOWHERE):
            _best_gone(book, far, side)
        return True, moved
    return _beyond(book, far, side, key, size)


@inlined
def best_size(book, block):  # type: ignore[no-untyped-def]
    """Size of the best level."""
    return book[block + (book[block + BEST] & (WINDOW - 1))]
