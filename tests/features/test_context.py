"""Tickers and liquidations beside the book: their features, what they leave alone, and the lake's order of them."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest

from features import FeatureEngine, build
from market.context import FUNDING_RATE, INDEX, MARK, NEXT_FUNDING, OPEN_INTEREST, merged, ticker_events
from market.errors import DataError
from market.events import TICKER, EventBatch
from tests.features._streams import START_MS, Market, random_market

MINUTE = 60_000
BESIDE = {"funding_rate", "time_to_funding", "basis", "liquidation_imbalance"} | {
    f"open_interest_change_{n}" for n in (1, 12)
}


def only(events: EventBatch, keep: np.ndarray) -> EventBatch:
    return EventBatch(**{name: getattr(events, name)[keep] for name in EventBatch.__slots__})


def test_tickers_change_nothing_but_their_own_features() -> None:
    events = random_market(9, 1_500, context=True)
    names = FeatureEngine(10_000, 50).names
    others = [column for column, name in enumerate(names) if name not in BESIDE]
    bars = build([events], 10_000, 50)
    without = build([only(events, events.kind < TICKER)], 10_000, 50)
    for field in dataclasses.fields(bars):
        mine, theirs = getattr(bars, field.name), getattr(without, field.name)
        if field.name == "values":
            mine, theirs = mine[:, others], theirs[:, others]
        assert mine.tobytes() == theirs.tobytes(), field.name
    assert np.isnan(without.values[:, [names.index(name) for name in BESIDE]]).all()


def test_streams_join_in_the_order_of_frames() -> None:
    events = random_market(9, 300, context=True)
    beside = events.kind >= TICKER
    assert merged(only(events, ~beside), only(events, beside)).equals(events)
    assert merged(events, EventBatch.empty()) is events
    assert merged(EventBatch.empty(), events) is events


def _ticker(**fields: object) -> SimpleNamespace:
    names = ("mark_price", "index_price", "open_interest", "funding_rate", "next_funding_ms")
    return SimpleNamespace(ordinal=3, recv_ns=5, time_ms=START_MS, **(dict.fromkeys(names) | fields))


def test_a_ticker_gives_a_row_for_each_field_it_carries() -> None:
    rows = ticker_events([
        _ticker(mark_price=Decimal("0.00001234"), open_interest=Decimal("123456.5")),
        _ticker(index_price=Decimal("65000.1"), funding_rate=Decimal("-0.0001"), next_funding_ms=START_MS + 7),
        _ticker(),
    ])  # fmt: skip
    assert rows.side.tolist() == [MARK, OPEN_INTEREST, INDEX, FUNDING_RATE, NEXT_FUNDING]
    assert rows.price.tolist() == [1_234, 1_234_565_000, 6_500_010_000_000, -1_000_000, START_MS + 7]
    with pytest.raises(DataError):
        ticker_events([_ticker(mark_price=Decimal("1e30"))])


def _positioning(silent_after: int = 10**9, gap_at: int = -1) -> list[dict[str, float]]:
    market = Market()
    market.snapshot()
    market.ticker(FUNDING_RATE, 1_000_000)
    market.ticker(NEXT_FUNDING, START_MS + 8 * MINUTE)
    for second in range(0, 1_200, 10):
        market.now = START_MS + second * 1_000
        market.message([])
        if second == gap_at:
            market.gap()
            market.snapshot()
        if second <= silent_after:
            for field, value in ((MARK, 1_001), (INDEX, 1_000), (OPEN_INTEREST, 500 + second)):
                market.ticker(field, value)
    names = FeatureEngine(MINUTE, 50).names
    return [dict(zip(names, row)) for row in build([market.events()], MINUTE, 50).values]


def test_funding_is_known_until_its_time() -> None:
    bars = _positioning()
    assert bars[2]["funding_rate"] == pytest.approx(1.0)
    assert bars[2]["time_to_funding"] == pytest.approx(5 / 480)
    assert np.isnan(bars[8]["funding_rate"])
    assert np.isnan(bars[8]["time_to_funding"])
    assert bars[2]["basis"] == pytest.approx(10.0)
    assert bars[15]["open_interest_change_12"] == pytest.approx(1e4 * np.log((500 + 950) / (500 + 230)))


def test_what_tickers_measured_is_unknown_when_they_fall_silent_and_from_a_gap() -> None:
    quiet = _positioning(silent_after=300)
    assert np.isfinite(quiet[5]["basis"])
    assert np.isnan(quiet[7]["basis"])
    cut = _positioning(silent_after=300, gap_at=310)
    assert np.isnan(cut[6]["basis"])
    assert np.isfinite(cut[6]["funding_rate"])
