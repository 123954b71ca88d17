"""The book that follows its rows, against a dictionary."""

from __future__ import annotations

import random

import numpy as np

from market.events import ASK, BID, FIRST, SNAPSHOT
from market.ladder import LiveBook


def test_levels_near_and_far_are_those_of_a_dictionary() -> None:
    """A level may lie anywhere: outside the window, before and after the window grows, beyond what it may grow to."""
    rng = random.Random(5)
    for trial in range(20):
        touch = rng.choice([40, 600_000, 90_000_000])
        spread = rng.choice([50, 20_000, 3_000_000, 1 << 40])
        rows = [
            (0, rng.choice([BID, ASK]), max(1, touch + rng.randint(-spread, spread)), rng.choice([0, 0, 3, 7]))
            for _ in range(400)
        ]
        prices = [row[2] for row in rows]
        rows += [(0, row[1], rng.choice(prices), rng.choice([0, 5])) for row in rows]
        rows[0] = (SNAPSHOT | FIRST, BID, touch, 9)
        if trial % 2:
            rows[300] = (SNAPSHOT | FIRST, ASK, touch + spread, 4)
        book, expected = LiveBook(), dict[tuple[int, int], int]()
        for start in range(0, len(rows), 7):
            some = rows[start : start + 7]
            for flags, side, price, size in some:
                if flags:
                    expected.clear()
                expected[side, price] = size
            columns = zip(*some)
            book.apply(*(np.array(c, k) for c, k in zip(columns, (np.uint8, np.int8, np.int64, np.int64))))  # type: ignore[arg-type]
            ladder = book.ladder()
            for side, levels in ((BID, ladder.bids), (ASK, ladder.asks)):
                wanted = sorted(((p, n) for (s, p), n in expected.items() if s == side and n), reverse=side == BID)
                assert [tuple(level) for level in levels.tolist()] == wanted
        other = LiveBook()
        other.load(book.ladder())
        assert other.ladder().digest() == book.ladder().digest()
