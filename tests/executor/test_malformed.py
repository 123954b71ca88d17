"""Prices of zero and times off the grid fail aloud, wherever they come in: archive, stream, bar."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from executor.actions import Alert, PlaceEntry
from executor.view import MarketView
from features import FeatureEngine
from market import Lake
from market.archives import import_archives
from market.errors import ArchiveError
from market.events import TRADE
from simulation import SYNTHETIC
from tests.executor.conftest import MINUTE, START_MS, Bench
from tests.executor.stage import LEVELS, market
from tests.market.test_archives import Shelf, at, seconds, snapshot

pytestmark = pytest.mark.failure(36)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"close": 0}, "close of 0"),
        ({"bid": 0, "ask": 0}, "bid and ask of 0"),
        ({"open_ms": START_MS + 500}, "off the grid"),
        ({"close_ms": START_MS + MINUTE - 1}, "off the grid"),
        ({"open_ms": START_MS - MINUTE}, "off the grid"),
        ({"open_ms": START_MS + 500, "close_ms": START_MS + MINUTE + 500}, "off the grid"),
    ],
)
def test_a_bar_is_refused_and_a_person_told(wrong: dict[str, int], says: str) -> None:
    bench = Bench()
    good = {"open_ms": START_MS, "close_ms": START_MS + MINUTE, "now_ms": START_MS + MINUTE + 600}
    (alert,) = bench.bar(0.5, **(good | wrong))
    assert isinstance(alert, Alert)
    assert (alert.level, alert.code) == ("critical", "bad-bar")
    assert says in alert.text
    assert bench.core.state.counts.bars == 0
    # It is not taken for the bar that it says it is: that one may still come, and is traded.
    assert any(isinstance(action, PlaceEntry) for action in bench.bar(0.5, **good))


def test_a_trade_at_zero_is_told_and_left_out() -> None:
    view = MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE)
    row = {"T": START_MS, "s": SYNTHETIC.symbol, "S": "Buy", "v": "0.001", "p": "0", "i": "1", "seq": 1}
    frame = {"topic": f"publicTrade.{SYNTHETIC.symbol}", "type": "snapshot", "ts": START_MS, "data": [row]}
    seen = view.gather([view.on_frame(json.dumps(frame).encode(), 1)])
    assert seen.problems
    assert not (seen.events.kind == TRADE).any()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((seconds(10), "Buy", "0.001", "0"), "price"),
        ((seconds(10), "Buy", "0.001", "0.0"), "price"),
        (("soon", "Buy", "0.001", "100.0"), "timestamp|trade|line"),
    ],
)
def test_an_archive_is_refused_as_a_whole(tmp_path: Path, row: tuple[str, str, str, str], says: str) -> None:
    shelf, lake = Shelf(tmp_path / "archives"), Lake(tmp_path / "lake")
    shelf.books(0, [snapshot(1, cts=at(0))])
    shelf.trades(0, [row])
    with pytest.raises(ArchiveError, match=says):
        import_archives(shelf.folder, "BTCUSDT", lake)
    assert lake.symbols() == []


@pytest.mark.parametrize("timeframe_ms", [5_000, MINUTE, 5 * MINUTE])
def test_our_own_bars_are_on_the_grid_and_have_prices(timeframe_ms: int) -> None:
    """However the market's first event lies to the grid, and whatever pieces it comes in."""
    events = market(40)
    late = events[len(events) // 7 + 3 :]
    bars = FeatureEngine(timeframe_ms, LEVELS, MINUTE).push(late)
    assert len(bars) > 5
    assert not (bars.open_ms % timeframe_ms).any()
    assert (bars.close_ms - bars.open_ms == timeframe_ms).all()
    assert (np.diff(bars.open_ms) == timeframe_ms).all()
    for prices in (bars.close, bars.bid, bars.ask):
        assert not (prices == 0).any()
