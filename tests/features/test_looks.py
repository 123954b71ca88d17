"""The shape of the book: looks that are gathered and computed together, and the bitmaps that they walk by."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from features import FeatureEngine, _layout
from features.bars import Bars
from market.errors import DataError
from tests.features._streams import Market, random_market

MINUTE = 60_000


def _rows(parts: list[Bars]) -> bytes:
    return b"".join(np.concatenate([getattr(part, name) for part in parts]).tobytes() for name in Bars.__slots__)


@pytest.mark.parametrize("sample_ms", [1, 1_000])
def test_looks_that_wait_are_part_of_the_state(sample_ms: int) -> None:
    # More looks in a bar than are computed together where each change of the clock is one.
    events = random_market(5, 1_200, pause_ms=150)
    whole = FeatureEngine(MINUTE, 20, sample_ms=sample_ms)
    expected = _rows([whole.push(events)])
    engine, parts, rng = FeatureEngine(MINUTE, 20, sample_ms=sample_ms), [], np.random.default_rng(1)
    waiting = set()
    at = 0
    while at < len(events):
        step = int(rng.integers(1, 40))
        parts.append(engine.push(events[at : at + step]))
        waiting.add(int(engine._state["event_ints"][_layout.LOOKED]))
        engine, at = FeatureEngine.restore(engine.dump()), at + step
    assert max(waiting) > 20
    assert _rows(parts) == expected


def test_a_summary_bit_says_that_its_word_is_not_empty() -> None:
    engine = FeatureEngine(MINUTE, 50)
    for piece in random_market(3, 2_000, wide=True).chunks(50):
        engine.push(piece)
        for side in range(2):
            book = engine._state["book"][side * _layout.BLOCK : (side + 1) * _layout.BLOCK]
            ladder = book[: _layout.WINDOW].reshape(-1, 64) != 0
            words = (ladder.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
            assert words.tolist() == book[_layout.BITS : _layout.TOPS].view(np.uint64).tolist()
            some = ((words != 0).reshape(-1, 64).astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(axis=1)
            assert some.tolist() == book[_layout.TOPS : _layout.BEST].view(np.uint64).tolist()


def test_a_dense_and_a_scattered_book_are_seen_alike() -> None:
    # The same sizes at distances that differ only in scale: what depends on sizes alone is equal.
    seen = []
    for step in (1, 70):
        market = Market()
        for _ in range(400):
            market.snapshot(60_000, levels=60, step=step)
            market.now += 500
        bars = FeatureEngine(MINUTE, 50).push(market.events())
        names = FeatureEngine(MINUTE, 50).names
        seen.append(bars.values[-1][[names.index(name) for name in ("imbalance_5_mean", "integrity_mean")]])
    assert seen[0].tolist() == seen[1].tolist()
    # Sizes 10, 11, ... 59 on both sides.
    assert seen[0] == pytest.approx([0.0, 20 / (2 * sum(range(10, 60)))], rel=1e-12)


def test_a_state_of_another_layout_is_refused() -> None:
    state = FeatureEngine(MINUTE, 20).dump()
    start = state.index(b"\n") + 1 + 32
    line, _, rest = state[start:].partition(b"\n")
    header = json.loads(line)
    for other in ({**header, "state": header["state"] - 1}, {k: v for k, v in header.items() if k != "state"}):
        body = json.dumps(other).encode() + b"\n" + rest
        with pytest.raises(DataError, match="another version"):
            FeatureEngine.restore(state[: start - 32] + hashlib.sha256(body).digest() + body)
