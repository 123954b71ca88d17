"""Recorded events turned into steps, trades and level changes that can be looked up: compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from market.events import EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE
from simulation import _layout as lay
from simulation._kernel_book import set_level

# Places in the builder's carry.
CLOCK, ORDINAL, KNOWN, BUILDING, OPEN, MESSAGE_MS, IRREGULAR, STEPS, TRADES, CHANGES, SEGMENTS, CARRY = range(12)

#: Trades and steps are looked through by blocks of this many.
BLOCK = 64


class Pieces(NamedTuple):
    """What one batch of events gives; the carry counts how much of each array is used.

    A step is one book message, one trade or one gap; its arrays tell how things stand after it. Keys as in
    `_kernel_book`: an empty side has a best of ``-NEVER`` and a worst of ``NEVER``.
    """

    clock: NDArray[np.int64]
    begins: NDArray[np.bool_]
    gap: NDArray[np.bool_]
    best: NDArray[np.int64]
    worst: NDArray[np.int64]
    trade_step: NDArray[np.int64]
    trade_price: NDArray[np.int64]
    trade_size: NDArray[np.int64]
    trade_taker: NDArray[np.int8]
    change_step: NDArray[np.int64]
    change_side: NDArray[np.int8]
    change_key: NDArray[np.int64]
    change_size: NDArray[np.int64]
    segment_step: NDArray[np.int64]
    segment_clock: NDArray[np.int64]


@njit(cache=True, _nrt=False)
def _end_step(sides, keys, carry, out, first, begins, gap):  # type: ignore[no-untyped-def]
    step = carry[STEPS]
    row = step - first
    out.clock[row], out.begins[row], out.gap[row] = carry[CLOCK], begins, gap
    for side in range(2):
        begin, end = sides[side, lay.BEGIN], sides[side, lay.END]
        out.best[side, row] = keys[side, end - 1] if end > begin else -lay.NEVER
        out.worst[side, row] = keys[side, begin] if end > begin else lay.NEVER
    carry[STEPS] += 1


@njit(cache=True, _nrt=False)
def _note(carry, out, side, key, size):  # type: ignore[no-untyped-def]
    if carry[CHANGES] >= len(out.change_step):
        carry[IRREGULAR] = 1
        return
    row = carry[CHANGES]
    out.change_step[row], out.change_side[row] = carry[STEPS], side
    out.change_key[row], out.change_size[row] = key, size
    carry[CHANGES] += 1


@njit(cache=True, _nrt=False)
def build(  # type: ignore[no-untyped-def]
    keys, sizes, sides, carry, out, kind, flags, side, time_ms, price, size, ordinal
):
    """Take in event rows. Rows that do not come in whole messages make the carry irregular."""
    first = carry[STEPS]
    for row in range(len(kind)):
        what, flag, own = kind[row], flags[row], side[row]
        if what > GAP:
            continue
        begins = ordinal[row] != carry[ORDINAL] or (flag & FIRST) != 0
        carry[ORDINAL] = ordinal[row]
        opens = what != GAP and what != TRADE and (flag & FIRST) != 0
        if carry[OPEN] and (opens or what == TRADE or (what != GAP and (begins or time_ms[row] != carry[MESSAGE_MS]))):
            carry[IRREGULAR] = 1
        if what != GAP and what != TRADE and not opens and not carry[OPEN]:
            carry[IRREGULAR] = 1
        carry[CLOCK] = max(carry[CLOCK], time_ms[row])
        if what == GAP:
            carry[KNOWN] = carry[BUILDING] = carry[OPEN] = 0
            _end_step(sides, keys, carry, out, first, begins, True)
            continue
        if what == TRADE:
            place = carry[TRADES]
            out.trade_step[place], out.trade_taker[place] = carry[STEPS], own
            out.trade_price[place], out.trade_size[place] = price[row], size[row]
            carry[TRADES] += 1
            _end_step(sides, keys, carry, out, first, begins, False)
            continue
        if opens:
            carry[OPEN], carry[MESSAGE_MS] = 1, time_ms[row]
            if flag & SNAPSHOT:
                for which in range(2):
                    for level in range(sides[which, lay.BEGIN], sides[which, lay.END]):
                        _note(carry, out, which, keys[which, level], 0)
                sides[:, lay.BEGIN] = sides[:, lay.END] = keys.shape[1] // 2
                carry[BUILDING] = 1
        if (carry[KNOWN] or carry[BUILDING]) and not flag & EMPTY:
            key = price[row] * (1 - 2 * own)
            set_level(keys, sizes, sides, own, key, size[row])
            _note(carry, out, own, key, size[row])
        if flag & LAST:
            carry[OPEN] = 0
            if carry[BUILDING]:
                carry[BUILDING] = 0
                if not carry[KNOWN]:
                    carry[KNOWN] = 1
                    out.segment_step[carry[SEGMENTS]] = carry[STEPS]
                    out.segment_clock[carry[SEGMENTS]] = carry[CLOCK]
                    carry[SEGMENTS] += 1
            # Every message begins a frame of its own, whatever row of it this is.
            _end_step(sides, keys, carry, out, first, True, False)


@njit(cache=True)
def by_level(change_side, change_key, low, offsets, order):  # type: ignore[no-untyped-def]
    """Counting sort of the changes by level, in the order of their steps within each.

    `offsets`, of ``span + 1`` a side, receives where each level begins; `order` the rows of the changes.
    """
    for row in range(len(change_key)):
        offsets[change_side[row], change_key[row] - low[change_side[row]] + 1] += 1
    total = 0
    for side in range(2):
        for level in range(offsets.shape[1]):
            total += offsets[side, level]
            offsets[side, level] = total
    filled = offsets.copy()
    for row in range(len(change_key)):
        side, level = change_side[row], change_key[row] - low[change_side[row]]
        order[filled[side, level]] = row
        filled[side, level] += 1
