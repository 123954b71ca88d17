"""Bars by activity: cut by the right trade, joined without a seam, and the same bits however the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import BarRule, Bars, FeatureEngine, build
from market.errors import DataError
from market.events import ASK, BID, TICKER, TRADE, EventBatch
from tests.features._streams import START_MS, Market, random_market

RULES = [BarRule("volume", 300), BarRule("dollar", 300 * 60_000), BarRule("imbalance", 120)]


def slow_bars(events: EventBatch, rule: BarRule) -> list[tuple[int, int, int, int]]:
    """open_ms, close_ms, volume and trades of the closed bars."""
    bars: list[tuple[int, int, int, int]] = []
    clock, open_ms, close_ms = -1, -1, None
    volume = signed = dollars = trades = 0
    for kind, side, time_ms, price, size in zip(events.kind, events.side, events.time_ms, events.price, events.size):
        if kind >= TICKER:
            continue
        if time_ms > clock:
            if clock < 0:
                open_ms = int(time_ms)
            clock = int(time_ms)
            if close_ms is not None and clock >= close_ms:
                bars.append((open_ms, close_ms, volume, trades))
                open_ms, close_ms = close_ms, None
                volume = signed = dollars = trades = 0
        if kind == TRADE:
            volume, dollars, trades = volume + int(size), dollars + int(price * size), trades + 1
            signed += int(size) if side == BID else -int(size)
            reached = {"volume": volume, "dollar": dollars, "imbalance": abs(signed)}[rule.kind] >= rule.threshold
            if reached and close_ms is None:
                close_ms = clock + 1
    return bars


@pytest.mark.parametrize("rule", RULES)
def test_bars_are_cut_where_the_rule_says(rule: BarRule) -> None:
    events = random_market(3, 2_000, context=True)
    bars = build([events], 60_000, 50, rule=rule)
    got = list(zip(bars.open_ms.tolist(), bars.close_ms.tolist(), bars.volume.tolist(), bars.trades.tolist()))
    assert got == slow_bars(events, rule)
    assert len(bars) > 20
    assert bars.valid.any()
    assert not bars.valid.all()
    assert np.isnan(bars.values[~bars.valid]).all()


@settings(max_examples=20, deadline=None)
@given(rule=st.sampled_from(RULES), data=st.data())
def test_cuts_and_restarts_do_not_show(rule: BarRule, data: st.DataObject) -> None:
    events = random_market(2, 600, 900, context=True)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=12)))
    engine = FeatureEngine(60_000, 50, rule=rule)
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(events)]):
        parts.append(engine.push(events[start:stop]))
        if data.draw(st.booleans()):
            engine = FeatureEngine.restore(engine.dump())
    assert Bars.concat(parts).equals(build([events], 60_000, 50, rule=rule))


def test_all_trades_of_the_last_millisecond_belong_to_the_bar() -> None:
    market = Market()
    market.snapshot()
    for n in range(4):
        market.now = START_MS + 1_000 * n
        market.message([(ASK, 60_004, n + 1)])
        for _ in range(3):
            market.trade(size=4)
    market.now += 5
    market.message([])
    bars = build([market.events()], 60_000, 50, rule=BarRule("volume", 10))
    assert bars.volume.tolist() == [12, 12, 12, 12]
    assert bars.close_ms.tolist() == [START_MS + 1_000 * n + 1 for n in range(4)]
    assert bars.open_ms.tolist() == [START_MS, *bars.close_ms.tolist()[:-1]]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_read_as_it_is_written(rule: BarRule) -> None:
    assert BarRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["", "time", "time:0", "volume", "volume:", "volume:0", "volume:-3", "volume:1.5", "5m", "volume:²"]
)
def test_what_names_no_rule_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        BarRule.parse(text)


@pytest.mark.parametrize(("kind", "threshold"), [("tick", 5), ("volume", 0), ("time", 5), ("dollar", -1)])
def test_impossible_rules_are_refused(kind: str, threshold: int) -> None:
    with pytest.raises(DataError):
        BarRule(kind, threshold)
