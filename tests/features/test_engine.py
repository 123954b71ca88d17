"""The engine against a slow reference, and against itself however its stream is cut."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import Bars, FeatureEngine, build
from market.errors import DataError
from market.events import ASK, BID, EventBatch
from tests.features._reference import Reference
from tests.features._streams import START_MS, Market, random_market

MINUTE = 60_000


def run(events: EventBatch, timeframe_ms: int = MINUTE, levels: int = 50, stall_ms: int = MINUTE) -> Bars:
    return build([events], timeframe_ms, levels, stall_ms)


@pytest.mark.parametrize(
    ("seed", "timeframe_ms", "levels", "stall_ms", "pause_ms", "wide", "rough"),
    [
        (1, 10_000, 50, 20_000, 400, False, True),
        (2, 10_000, 7, 5_000, 400, False, True),
        (3, 5_000, 200, 60_000, 400, True, True),
        (4, 15 * MINUTE, 60, 400_000, 40_000, False, False),
        pytest.param(5, 10_000, 1, 60_000, 400, True, False, marks=pytest.mark.slow),
        (6, 2_000, 20, 60_000, 400, False, False),
    ],
)
def test_every_value_is_the_catalogues(
    seed: int, timeframe_ms: int, levels: int, stall_ms: int, pause_ms: int, wide: bool, rough: bool
) -> None:
    events = random_market(seed, 3_000 if timeframe_ms > 5_000 else 1_200, pause_ms, wide, rough, True)
    bars = run(events, timeframe_ms, levels, stall_ms)
    reference = Reference(events, timeframe_ms, levels, stall_ms)
    assert len(bars) == len(reference.bars) > 100
    assert bars.valid.tolist() == [bar.valid for bar in reference.bars]
    assert bars.valid.any()
    names = FeatureEngine(timeframe_ms, levels).names
    for n, (bar, expected) in enumerate(zip(reference.bars, reference.values())):
        prices = bar.prices
        assert (bars.open_ms[n], bars.close_ms[n]) == (bar.open_ms, bar.open_ms + timeframe_ms)
        assert (bars.open[n], bars.high[n]) == (prices[0], max(prices))
        assert (bars.low[n], bars.close[n]) == (min(prices), prices[-1])
        assert (bars.volume[n], bars.trades[n]) == (bar.volume, len(bar.trades))
        assert (bars.bid[n], bars.ask[n]) == (bar.bid, bar.ask)
        if not bar.valid:
            assert np.isnan(bars.values[n]).all()
            assert math.isnan(bars.atr[n])
            continue
        # A ratio of two differences of nearly equal sums loses digits; no value is near 1e-7 unless it is nothing.
        wanted = np.array([expected.get(name, math.nan) for name in names])
        np.testing.assert_allclose(bars.values[n], wanted, rtol=1e-7, atol=1e-7, err_msg=f"bar {n}")
        np.testing.assert_allclose(bars.atr[n], expected["atr"], rtol=1e-9)
    if pause_ms > 400:
        assert np.isfinite(bars.values).any(axis=0).all(), "a feature was never known, so never compared"


def test_samples_of_a_millisecond_weigh_each_book_by_its_time() -> None:
    events = random_market(2, 800, 400, False, True, True)
    bars = FeatureEngine(10_000, 7, 5_000, sample_ms=1).push(events)
    names = FeatureEngine(10_000, 7).names
    expected = Reference(events, 10_000, 7, 5_000, 1).values()
    for n in np.flatnonzero(bars.valid):
        wanted = np.array([expected[n].get(name, math.nan) for name in names])
        np.testing.assert_allclose(bars.values[n], wanted, rtol=1e-7, atol=1e-7, err_msg=f"bar {n}")
    assert FeatureEngine(10_000, 7, 5_000, sample_ms=1).spec_hash != FeatureEngine(10_000, 7, 5_000).spec_hash
    for impossible in (-1, 3_000, 20_000):
        with pytest.raises(DataError, match="samples every"):
            FeatureEngine(10_000, 7, sample_ms=impossible)


def test_absurd_distances_are_unknown_and_not_wrong() -> None:
    market = Market()
    market.snapshot()
    market.message([(ASK, 10**12, 10**9)])
    market.now += 130_000
    market.message([])
    values = dict(zip(FeatureEngine(MINUTE, 50).names, run(market.events(), stall_ms=10**6).values[1]))
    assert np.isnan([values["depth_slope_mean"], values["depth_skew_mean"]]).all()
    assert np.isfinite([values["spread_mean"], values["imbalance_all_mean"], values["elasticity_mean"]]).all()


@pytest.mark.failure(32)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 5), data=st.data())
def test_cuts_and_restarts_do_not_show(seed: int, data: st.DataObject) -> None:
    events = random_market(seed, 600, 900, wide=seed % 2 == 1, context=True)
    whole = run(events, 10_000)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=12)))
    restarts = data.draw(st.sets(st.integers(0, len(cuts))))
    engine = FeatureEngine(10_000, 50)
    parts = []
    for n, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(events)])):
        if n in restarts:
            engine = FeatureEngine.restore(engine.dump())
        parts.append(engine.push(events[start:stop]))
    assert Bars.concat(parts).equals(whole)


@pytest.mark.failure(32)
def test_event_by_event_equals_the_batch() -> None:
    events = random_market(7, 1_500, 600)
    engine = FeatureEngine(5_000, 20)
    assert Bars.concat(engine.push(row) for row in events.chunks(1)).equals(run(events, 5_000, 20))


@pytest.mark.failure(31)
def test_a_bar_of_many_trades_polled_late_is_the_same_and_stays() -> None:
    market = Market()
    market.snapshot()
    for second in range(180):
        market.now = START_MS + second * 1_000
        market.message([(BID, 59_990, second + 1)])
        for n in range(40):  # 2,400 a bar
            market.trade(60_000 + (second * 7 + n) % 13, 1 + n % 3, n % 2)
    events = market.events()
    live = FeatureEngine(MINUTE, 50)
    polled_late = FeatureEngine(MINUTE, 50)
    early = Bars.concat(live.push(batch) for batch in events.chunks(97))
    kept = Bars.concat([early, Bars.empty(len(live.names))])
    copy = dataclasses.replace(kept, **{f.name: getattr(kept, f.name).copy() for f in dataclasses.fields(kept)})
    assert early.trades.tolist() == [2_400, 2_400]
    assert polled_late.push(events).equals(early)
    live.push(random_market(3, 500))
    assert kept.equals(copy)


def test_a_late_event_counts_in_the_open_bar() -> None:
    market = Market()
    market.snapshot()
    market.trade(60_000)
    market.now += MINUTE
    market.message([])
    market.trade(60_009, time_ms=START_MS + 59_000)
    market.now += MINUTE
    market.message([])
    bars = run(market.events())
    assert bars.close.tolist() == [60_000, 60_009]
    assert bars.trades.tolist() == [1, 1]


@pytest.mark.failure(33)
def test_after_a_gap_the_book_is_unknown_until_a_snapshot() -> None:
    market = Market()
    market.snapshot()
    for second in range(1, 400):
        market.now = START_MS + second * 1_000
        if second == 130:
            market.gap()
        market.message([(BID, 59_995, second)])
        market.trade()
        if second == 250:
            market.snapshot()
    bars = run(market.events())
    assert bars.valid.tolist() == [False, True, False, False, False, True]
    assert bars.bid.tolist() == [59_999, 59_999, -1, -1, 59_999, 59_999]
    assert np.isnan(bars.values[2:5]).all()
    assert np.isfinite(bars.values[5, 0])


@pytest.mark.failure(34)
def test_the_first_bar_is_flagged_and_nothing_is_infinite() -> None:
    market = Market()
    market.snapshot()
    for second in range(1, 200):
        market.now = START_MS + second * 1_000
        market.message([(ASK, 60_004, second)])
    bars = run(market.events())
    assert not bars.valid[0]
    assert bars.close.tolist() == [-1, -1, -1]
    assert not np.isinf(bars.values).any()
    names = FeatureEngine(MINUTE, 50).names
    first = dict(zip(names, bars.values[1]))
    assert np.isnan([first["atr_14"], first["volume_z"], first["taker_buy_ratio"], first["rsi_14"]]).all()
    assert first["spread_mean"] == pytest.approx(1e4 * 2 / 60_000)


def _outage(minutes: int, timeframe_ms: int = MINUTE) -> Bars:
    """Three hours of a quiet market, an outage, and an hour more."""
    market = Market()
    market.snapshot()
    for second in range(0, 14_400, 5):
        market.now = START_MS + second * 1_000 + (minutes * MINUTE if second >= 10_800 else 0)
        if second == 10_800:
            market.gap()
            market.snapshot()
        market.message([(BID, 59_998, second + 1)])
        market.trade(60_000 + (second // 5) % 7 - second // 400, 1 + second % 3, second % 2)
    return run(market.events(), timeframe_ms)


@pytest.mark.failure(35)
def test_an_outage_of_20_minutes_blocks_just_the_bars_it_touches() -> None:
    bars = _outage(20)
    invalid = np.flatnonzero(~bars.valid)
    assert invalid.tolist() == [0, *range(179, 201)]
    assert np.diff(bars.open_ms).tolist() == [MINUTE] * (len(bars) - 1)
    values = dict(zip(FeatureEngine(MINUTE, 50).names, bars.values[201]))
    assert np.isfinite([values["atr_14"], values["ema_distance_50"], values["rsi_14"], bars.atr[201]]).all()
    # 20 minutes are 20 bars: a window of 48 bars has a hole, of 12 too large a one, and 4 hours have not passed.
    assert math.isnan(values["volume_regime"])
    assert math.isnan(values["vwap_distance_4h"])


@pytest.mark.failure(35)
def test_an_outage_of_70_minutes_resets_continuity() -> None:
    bars = _outage(70)
    assert np.flatnonzero(~bars.valid).tolist() == [0, *range(179, 251)]
    assert bars.close[179 + 59] > 0
    assert bars.close[179 + 61] == -1
    atr = bars.atr[251:]
    assert np.isnan(atr[:13]).all()
    assert np.isfinite(atr[13:]).all()


@pytest.mark.failure(35)
def test_a_hole_within_one_bar_resets_too() -> None:
    values = _outage(70, 4 * 60 * MINUTE)
    assert len(values) == 1
    bars = _outage(70, 30 * MINUTE)
    assert bars.valid.tolist() == [False, *[True] * 4, *[False] * 4, True]


@pytest.mark.failure(35)
def test_silence_of_the_book_is_a_suspect_window_though_trades_go_on() -> None:
    market = Market()
    market.snapshot()
    for second in range(1, 600):
        market.now = START_MS + second * 1_000
        if not 130 < second < 290:
            market.message([(BID, 59_998, second)])
        market.trade()
    bars = run(market.events())
    # The window [130 s, 290 s] was not yet one when the third bar closed: a closed bar never changes.
    assert bars.valid.tolist() == [False, True, True, False, False, True, True, True, True]
    assert bars.bid.tolist()[3] == -1


def test_a_hole_of_days_counts_its_time() -> None:
    market = Market()
    market.snapshot()
    market.trade()
    market.now += 3 * 86_400_000
    market.snapshot()
    bars = run(market.events())
    assert len(bars) == 3 * 1_440
    assert not bars.valid.any()
    assert bars.close[-1] == -1


def test_an_absurd_time_is_refused_and_nothing_changes() -> None:
    engine = FeatureEngine(1_000, 50)
    engine.push(random_market(1, 50))
    before = engine.dump()
    market = Market(START_MS * 1_000)
    market.snapshot()
    with pytest.raises(DataError, match="clock jumps"):
        engine.push(market.events())
    assert engine.dump() == before


def _scaled(events: EventBatch, price: int, size: int) -> EventBatch:
    return dataclasses.replace(events, price=events.price * price, size=events.size * size)


@pytest.mark.parametrize(("price", "size"), [(1, 1_000), (10, 1), (7, 13)])
def test_no_value_knows_the_tick_or_the_step(price: int, size: int) -> None:
    market = Market()
    market.snapshot(levels=30)
    rng = np.random.default_rng(1)
    for second in range(1, 5_000):
        market.now = START_MS + second * 1_000
        side = int(rng.integers(0, 2))
        away = 1 + int(rng.integers(0, 25))
        market.message([(side, 60_000 + (away if side == ASK else -away), int(rng.integers(1, 900)))])
        market.trade(60_000 + int(rng.integers(-9, 10)), int(rng.integers(1, 50)), side)
    events = market.events()
    bars, scaled = run(events), run(_scaled(events, price, size))
    assert np.isfinite(bars.values[-1]).sum() > 60
    np.testing.assert_allclose(scaled.values, bars.values, rtol=1e-6, atol=1e-7)


def test_quote_says_what_is_known() -> None:
    engine = FeatureEngine(MINUTE, 50)
    assert dataclasses.astuple(engine.quote()) == (-1, -1, -1, -1)
    market = Market()
    market.snapshot()
    market.now += 7
    market.trade()
    engine.push(market.events())
    assert dataclasses.astuple(engine.quote()) == (START_MS + 7, START_MS, 59_999, 60_001)
    market.gap()
    engine.push(market.events()[-1:])
    assert dataclasses.astuple(engine.quote()) == (START_MS + 7, START_MS, -1, -1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 1),
                st.one_of(st.integers(59_990, 60_010), st.integers(1, 200_000), st.integers(10**6, 10**8)),
                st.integers(0, 3),
            ),
            min_size=1,
            max_size=30,
        ),
        max_size=40,
    )
)
def test_the_ladder_holds_any_price(messages: list[list[tuple[int, int, int]]]) -> None:
    engine = FeatureEngine(MINUTE, 50)
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    market = Market()
    market.message([], snapshot=True)
    for changes in messages:
        market.message(changes)
        for side, price, size in changes:
            if size:
                book[side][price] = size
            else:
                book[side].pop(price, None)
        engine.push(market.events())
        market.rows.clear()
        quote = engine.quote()
        assert quote.bid == max(book[BID], default=-1)
        assert quote.ask == min(book[ASK], default=-1)


def test_far_levels_grow_the_book() -> None:
    market = Market()
    market.snapshot()
    market.message([(BID, 40_000 - 2 * n, 1) for n in range(3_000)])
    market.message([(ASK, 80_000 + n, 1) for n in range(3_000)])
    market.now += 30_000
    market.message([(BID, 59_998, 0)])
    for _ in range(3):
        market.now += 30_000
        market.message([])
    events = market.events()
    bars = run(events, MINUTE, 5_000)
    reference = Reference(events, MINUTE, 5_000, MINUTE)
    names = FeatureEngine(MINUTE, 5_000).names
    wanted = [reference.values()[1].get(name, math.nan) for name in names]
    np.testing.assert_allclose(bars.values[1], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("damage", [b"", b"purplesky", b"x" * 200])
def test_a_damaged_state_is_refused(damage: bytes) -> None:
    with pytest.raises(DataError, match="damaged"):
        FeatureEngine.restore(damage)


def test_a_changed_or_cut_state_is_refused() -> None:
    state = FeatureEngine(MINUTE, 50).dump()
    for damaged in (state[:-1], state[:-1] + b"\x07", state + b"\0"):
        with pytest.raises(DataError, match="damaged"):
            FeatureEngine.restore(damaged)


@pytest.mark.parametrize(
    ("timeframe_ms", "levels", "stall_ms"), [(0, 50, 1), (7_001, 50, 1), (1_000, 0, 1), (1_000, 1, 0)]
)
def test_impossible_parameters_are_refused(timeframe_ms: int, levels: int, stall_ms: int) -> None:
    with pytest.raises(DataError):
        FeatureEngine(timeframe_ms, levels, stall_ms)


def test_no_events_no_bars() -> None:
    engine = FeatureEngine(MINUTE, 50)
    assert len(engine.push(EventBatch.empty())) == 0
    assert engine.push(EventBatch.empty()).values.shape == (0, len(engine.names))


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    pieces=st.lists(st.integers(1, 900), min_size=3, max_size=12),
    restart=st.integers(0, 20),
)
def test_symbols_do_not_know_of_each_other(order: list[int], pieces: list[int], restart: int) -> None:
    """Any mixture of symbols, in any order, with a restart in between, is each symbol alone."""
    streams = [random_market(seed, 250, 900, context=True) for seed in (1, 2, 3)]
    engines = [FeatureEngine(10_000, 50) for _ in streams]
    parts: list[list[Bars]] = [[] for _ in streams]
    places, turn = [0, 0, 0], 0
    while any(place < len(stream) for place, stream in zip(places, streams)):
        symbol, rows = order[turn % 3], pieces[turn % len(pieces)] + 20
        parts[symbol].append(engines[symbol].push(streams[symbol][places[symbol] : places[symbol] + rows]))
        places[symbol] += rows
        if turn == restart:
            engines[symbol] = FeatureEngine.restore(engines[symbol].dump())
        turn += 1
    for symbol, stream in enumerate(streams):
        assert Bars.concat(parts[symbol]).equals(run(stream, 10_000))
