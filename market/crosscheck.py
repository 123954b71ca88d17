"""Is the rebuilt book the venue's? Compared with the REST book at the same cross sequence.

The REST book is taken at any moment, the stream's messages come every few ms: the two meet where the REST book's
``seq`` lies between two messages. A level that the second of them does not touch must be equal in both. One that
changed and changed back in between may differ for once, so only a difference that comes back counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from market.events import ASK, BID
from market.ladder import Ladder
from market.rest import RestBook
from market.writer import LakeWriter

#: Differences in a row that make a mismatch.
_CONFIRMATIONS = 3
#: How long the stream may take to pass the REST book (s).
_PATIENCE = 5.0
_POLL = 0.02


class Outcome(Enum):
    """What a check came to; what could not be verified is not clean."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of a check and, in words, why."""

    outcome: Outcome
    detail: str = ""


def compare(ours: Ladder, rest: RestBook, touched: set[tuple[int, int]]) -> str | None:
    """The first level that differs, in words; ``None`` if there is none.

    Parameters
    ----------
    ours
        Rebuilt from the stream, up to the last message that is not later than `rest`.
    rest
        The venue's.
    touched
        Sides and prices that the stream's next message changes: they may differ.
    """
    for side, mine, theirs in ((BID, ours.bids, rest.ladder.bids), (ASK, ours.asks, rest.ladder.asks)):
        if not len(mine) or not len(theirs):
            if len(mine) != len(theirs):
                return f"{'bids' if side == BID else 'asks'}: {len(mine)} levels beside {len(theirs)}"
            continue
        worst = max(mine[-1, 0], theirs[-1, 0]) if side == BID else min(mine[-1, 0], theirs[-1, 0])
        own, other = _within(mine, worst, side), _within(theirs, worst, side)
        for price in sorted(own.keys() | other.keys()):
            if own.get(price) != other.get(price) and (side, price) not in touched:
                name = "bid" if side == BID else "ask"
                return f"{name} {price} ticks: {own.get(price, 0)} steps beside {other.get(price, 0)}"
    return None


def _within(levels: NDArray[np.int64], worst: int, side: int) -> dict[int, int]:
    keep = levels[:, 0] >= worst if side == BID else levels[:, 0] <= worst
    return dict(levels[keep].tolist())


async def check_book(
    fetch: Callable[[], RestBook], writer: LakeWriter, stopped: Callable[[], bool] = lambda: False
) -> Finding:
    """Compare the book that a writer records with the venue's; a difference is confirmed before it counts.

    Raises
    ------
    VenueUnavailable
        The venue does not answer.
    """
    detail = ""
    for _ in range(_CONFIRMATIONS):
        finding = await _check_once(fetch, writer, stopped)
        if finding.outcome is not Outcome.DIFFERENT:
            return finding
        detail = finding.detail
    return Finding(Outcome.DIFFERENT, detail)


async def _check_once(fetch: Callable[[], RestBook], writer: LakeWriter, stopped: Callable[[], bool]) -> Finding:
    start_seq = writer.advance()
    rest = await asyncio.to_thread(fetch)
    if start_seq is None or rest.seq < start_seq:
        return Finding(Outcome.UNVERIFIED, "the REST book is older than the stream")
    deadline = time.monotonic() + _PATIENCE
    while (last := writer.last_seq) is None or last <= rest.seq:
        if time.monotonic() > deadline or stopped():
            return Finding(Outcome.UNVERIFIED, "the stream did not reach the REST book")
        await asyncio.sleep(_POLL)
    reached = writer.advance(rest.seq)
    following = writer.next_message()
    if reached is None or following is None:
        return Finding(Outcome.UNVERIFIED, "a part was sealed meanwhile")
    if not writer.book.known:
        return Finding(Outcome.UNVERIFIED, "the book is unknown")
    touched = set() if reached == rest.seq else following[0]
    difference = compare(writer.book.ladder(), rest, touched)
    return Finding(Outcome.EQUAL) if difference is None else Finding(Outcome.DIFFERENT, difference)
