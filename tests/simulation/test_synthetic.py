"""The synthetic market: a proper book, reproducible, with a signal that can be found and one that is not there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from market.errors import ConfigError
from market.events import BOOK, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from simulation import _lob, _lob_flow
from simulation.synthetic import SYNTHETIC, MarketParams, SyntheticMarket, synthetic_events

START = 1_767_225_600_000
HOUR = 3_600_000


def stream(seed: int = 7, signal: float = 1.0, hours: float = 1.0, **options: int) -> EventBatch:
    return EventBatch.concat(synthetic_events(seed, signal, START, int(hours * HOUR), **options))


@dataclass
class Minutes:
    """One row a minute, from a book that is kept the slow way."""

    close: np.ndarray
    imbalance: np.ndarray
    spread: np.ndarray
    levels: np.ndarray


def minutes(batch: EventBatch) -> Minutes:
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    columns = [getattr(batch, name).tolist() for name in ("kind", "flags", "side", "time_ms", "price", "size")]
    rows, due = [], 0
    for kind, flags, side, time_ms, price, size in zip(*columns):
        if kind != BOOK:
            continue
        if flags & SNAPSHOT and flags & FIRST:
            sides[0].clear()
            sides[1].clear()
        if size:
            sides[side][price] = size
        else:
            del sides[side][price]
        if flags & LAST and time_ms >= due:
            due = time_ms + 5_000
            bids, asks = sorted(sides[0], reverse=True), sorted(sides[1])
            bid, ask = bids[0], asks[0]
            assert bid < ask
            near = sum(sides[0][p] for p in bids[:10]), sum(sides[1][p] for p in asks[:10])
            levels = min(len(bids), len(asks))
            rows.append((time_ms // 60_000, (bid + ask) / 2, (near[0] - near[1]) / sum(near), ask - bid, levels))
    table = np.array(rows)
    _, first, inverse = np.unique(table[:, 0], return_index=True, return_inverse=True)
    last = np.append(first[1:], len(table)) - 1
    return Minutes(
        close=table[last, 1],
        imbalance=np.bincount(inverse, table[:, 2]) / np.bincount(inverse),
        spread=table[:, 3],
        levels=table[:, 4],
    )


def information_coefficient(table: Minutes, bars: int) -> float:
    log = np.log(table.close)
    return float(np.corrcoef(table.imbalance[:-bars], log[bars:] - log[:-bars])[0, 1])


@pytest.fixture(scope="module")
def planted() -> EventBatch:
    return stream(hours=16)


@pytest.fixture(scope="module")
def planted_minutes(planted: EventBatch) -> Minutes:
    return minutes(planted)


def test_same_arguments_give_the_same_market() -> None:
    assert stream(hours=0.2).equals(stream(hours=0.2))
    assert not stream(hours=0.2).equals(stream(seed=8, hours=0.2))


def test_however_time_is_cut_the_market_is_the_same() -> None:
    def run(step: int) -> EventBatch:
        market = SyntheticMarket(3, START, MarketParams())
        market.open_feed(0, 50, 20)
        pieces = [market.take_rows()]
        while market.now_ms < START + 120_000:
            market.advance(min(market.now_ms + step, START + 120_000))
            pieces.append(market.take_rows())
        return EventBatch.concat(pieces)

    assert run(120_000).equals(run(7))


def test_stream_has_the_shape_that_consumers_rely_on() -> None:
    batch = stream(hours=0.5)
    assert batch.kind[0] == GAP
    assert batch.flags[1] == SNAPSHOT | FIRST
    assert np.flatnonzero(batch.flags & SNAPSHOT).max() < 2_000
    book = batch.kind == BOOK
    assert (batch.flags[batch.kind == TRADE] == 0).all()
    assert np.array_equal(np.diff(np.unique(batch.ordinal)), np.ones(batch.ordinal[-1]))
    assert (np.diff(batch.ordinal) >= 0).all()
    assert (np.diff(batch.time_ms) >= 0).all()
    firsts, lasts = np.flatnonzero(batch.flags & FIRST), np.flatnonzero(batch.flags & LAST)
    assert (firsts <= lasts).all()
    assert (batch.ordinal[firsts] == batch.ordinal[lasts]).all()
    assert (batch.recv_ns[book] // 1_000_000 % 100 == 0).all()
    assert (batch.recv_ns // 1_000_000 >= batch.time_ms).all()


def test_trades_lie_at_or_between_the_quotes_around_them(planted: EventBatch) -> None:
    trades = planted.kind == TRADE
    assert (planted.size[trades] > 0).all()
    assert abs(np.diff(planted.price[trades])).max() < 500
    buys = (planted.side[trades] == 0).mean()
    assert 0.4 < buys < 0.6


def test_market_looks_like_one(planted: EventBatch, planted_minutes: Minutes) -> None:
    hours = (planted.time_ms[-1] - START) / HOUR
    table = planted_minutes
    returns = np.diff(np.log(table.close))
    assert (table.spread <= 3).mean() > 0.8
    assert 6e-4 < returns.std() < 13e-4
    assert np.quantile(table.levels, 0.02) >= 50
    assert 4 < (planted.flags & LAST > 0).sum() / hours / 3600 < 10
    assert 0.5 < (planted.kind == TRADE).sum() / hours / 3600 < 4


def test_planted_signal_is_there(planted_minutes: Minutes) -> None:
    assert information_coefficient(planted_minutes, 5) > 0.25
    assert information_coefficient(planted_minutes, 15) > 0.3


def test_without_signal_the_same_tilt_foretells_nothing() -> None:
    tables = [minutes(stream(seed=seed, signal=0.0, hours=6)) for seed in (1, 2, 3)]
    found = np.array([information_coefficient(table, 1) for table in tables])
    # The standard error of one of them is 1 / sqrt(360) = 0.053.
    assert abs(found.mean()) < 0.08
    assert min(table.imbalance.std() for table in tables) > 0.2
    returns = [np.diff(np.log(table.close)) for table in tables]
    assert abs(np.mean([np.corrcoef(r[:-1], r[1:])[0, 1] for r in returns])) < 0.08


def test_signal_changes_nothing_of_the_noise() -> None:
    calm, driven = (SyntheticMarket(5, START, MarketParams(signal=signal)) for signal in (0.0, 1.0))
    for market in (calm, driven):
        market.advance(START + 600_000)
    assert calm.pressure == driven.pressure
    assert calm.efficient_price != driven.efficient_price


def test_book_queues_agree_with_displayed_sizes() -> None:
    market = SyntheticMarket(11, START, MarketParams())
    market.advance(START + 300_000)
    lob = market.lob
    for side in (0, 1):
        prices, sizes = market.top(side, 1_000)
        for price, size in zip(prices.tolist(), sizes.tolist()):
            slot, total = int(lob.ladder[_lob.HEAD, price % _lob.RING]), 0
            while slot >= 0:
                assert lob.pool[[_lob.PRICE, _lob.SIDE], slot].tolist() == [price, side]
                total += int(lob.pool[_lob.LEFT, slot])
                slot = int(lob.pool[_lob.NEXT, slot])
            assert total == size
    assert lob.i[_lob.FREE] + lob.i[_lob.LIVE] == _lob.SLOTS


def test_oldest_order_of_a_level_trades_first() -> None:
    market = SyntheticMarket(11, START, MarketParams())
    lob = market.lob
    price = int(lob.i[_lob.BEST_BID])
    displayed = int(lob.ladder[_lob.DEPTH, price % _lob.RING])
    _lob.add(lob, 0, price, 30, 1)
    _lob.add(lob, 0, price, 30, 2)
    assert _lob.take(lob, 1, price, displayed + 40, 3) == 0
    fills = lob.fills[: lob.i[_lob.N_FILLS], [_lob.X_OWNER, _lob.X_SIZE, _lob.X_MAKER]].tolist()
    makers = [fill for fill in fills if fill[2]]
    assert makers == [[1, 30, 1], [2, 10, 1]]
    assert sum(size for owner, size, maker in fills if owner == 3) == displayed + 40


def test_market_stops_for_a_user_and_for_a_trigger() -> None:
    market = SyntheticMarket(11, START, MarketParams())
    _lob.add(market.lob, 0, int(market.lob.i[_lob.BEST_ASK]) - 1, 10, 1)
    while market.lob.i[_lob.N_FILLS] == 0:
        reason = market.advance(START + HOUR)
    assert reason == _lob_flow.FILLED
    assert market.now_ms < START + HOUR
    market.lob.i[_lob.N_FILLS] = 0
    market.lob.i[_lob.TRIGGER_LOW] = int(market.lob.i[_lob.LAST]) - 20
    market.lob.i[_lob.TRIGGER_HIGH] = int(market.lob.i[_lob.LAST]) + 20
    while reason != _lob_flow.TRIGGER:
        reason = market.advance(START + HOUR)
        market.clear_rows()
    assert abs(int(market.lob.i[_lob.LAST]) - market.efficient_price) < 100


def test_prices_may_wander_round_the_ring() -> None:
    market = SyntheticMarket(2, START, MarketParams(start_ticks=_lob.RING - 40))
    market.open_feed(0, 50, 100)
    market.advance(START + 120_000)
    assert market.rows > 100
    bids, asks = market.top(0, 50)[0], market.top(1, 50)[0]
    assert (np.diff(bids) < 0).all()
    assert (np.diff(asks) > 0).all()
    assert bids[0] < asks[0]


@pytest.mark.parametrize("options", [{"levels": 0}, {"levels": 5_000}, {"push_ms": 0}])
def test_impossible_topic_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="book topic"):
        stream(hours=0.01, **options)


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ConfigError, match="volatility"):
        MarketParams(volatility=float("nan"))
    with pytest.raises(ConfigError, match="seed"):
        SyntheticMarket(-1, START, MarketParams())


def test_instrument_of_the_synthetic_market() -> None:
    assert SYNTHETIC.symbol == "SYNUSDT"
    assert SYNTHETIC.price(60_000) == 30_000
