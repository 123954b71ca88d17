"""Synthetic markets beyond the plain flow: intraday pattern, regime breaks on demand, liquidations, one best level."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from market.errors import ConfigError
from market.events import TRADE, EventBatch
from simulation import _lob
from simulation.flow_params import Break, MarketParams
from simulation.synthetic import SyntheticMarket, synthetic_events

START = 1_767_225_600_000
HOUR = 3_600_000
_DIGEST = """
import hashlib
from simulation.flow_params import Break, MarketParams
from simulation.synthetic import synthetic_events
digest = hashlib.sha256()
params = MarketParams.realistic(breaks=(Break({at}),))
for batch in synthetic_events(9, 1.0, {start}, 600_000, params=params):
    for name in type(batch).__slots__:
        digest.update(getattr(batch, name).tobytes())
print(digest.hexdigest())
"""


def stream(hours: float, params: MarketParams, *, seed: int = 9, start: int = START, signal: float = 1.0) -> EventBatch:
    return EventBatch.concat(synthetic_events(seed, signal, start, int(hours * HOUR), params=params))


def test_same_seed_is_the_same_market_byte_for_byte_in_another_process() -> None:
    at = START + 300_000
    other = subprocess.run(
        [sys.executable, "-c", _DIGEST.format(at=at, start=START)], capture_output=True, text=True, check=True
    )
    digest = hashlib.sha256()
    for batch in synthetic_events(9, 1.0, START, 600_000, params=MarketParams.realistic(breaks=(Break(at),))):
        for name in type(batch).__slots__:
            digest.update(getattr(batch, name).tobytes())
    assert digest.hexdigest() == other.stdout.strip()


def test_a_break_changes_everything_after_it_and_nothing_before() -> None:
    at = START + HOUR
    plain = stream(2, MarketParams())
    broken = stream(2, MarketParams(breaks=(Break(at, signal=-1.0, volatility=3.0, activity=2.0),)))
    before, same = plain.time_ms < at, broken.time_ms < at
    for name in EventBatch.__slots__:
        assert np.array_equal(getattr(plain, name)[before], getattr(broken, name)[same])
    later = (~before).sum(), (~same).sum()
    assert later[1] > 1.4 * later[0]

    def volatility(batch: EventBatch) -> float:
        trades = (batch.kind == TRADE) & (batch.time_ms >= at)
        _, first = np.unique(batch.time_ms[trades] // 60_000, return_index=True)
        return float(np.diff(np.log(batch.price[trades][first])).std())

    assert volatility(broken) > 1.8 * volatility(plain)


def test_a_break_turns_the_signal_round_and_one_of_ones_turns_it_back() -> None:
    market = SyntheticMarket(3, START, MarketParams(signal=2.0))
    mirror = SyntheticMarket(3, START, MarketParams(signal=2.0))
    for change in (Break(START + 60_000), Break(START + 120_000, signal=1.0)):
        market.break_regime(change)
    moves = []
    for minute in (1, 2, 3):
        for one in (market, mirror):
            while one.now_ms < START + minute * 60_000:
                one.advance(START + minute * 60_000)
                one.clear_rows()
        moves.append(np.log(market.efficient_price / mirror.efficient_price))
    assert moves[0] == 0
    assert abs(moves[1]) > 1e-6
    assert moves[2] == pytest.approx(moves[1], abs=1e-12)


def test_the_same_command_at_the_same_time_gives_the_same_market() -> None:
    def run(steps: list[int]) -> bytes:
        market = SyntheticMarket(3, START, MarketParams())
        market.open_feed(0, 50, 100)
        market.advance(START + steps[0])
        market.break_regime(Break(START + 90_000, volatility=4.0))
        for step in steps[1:]:
            market.advance(START + step)
        return market.lob.rows[: market.rows].tobytes()

    assert run([10_000, 180_000]) == run([80_000, 89_999, 90_000, 90_001, 180_000])


def test_a_regime_that_has_passed_or_cannot_be_is_refused() -> None:
    market = SyntheticMarket(3, START, MarketParams())
    market.advance(START + 1_000)
    with pytest.raises(ConfigError, match="already"):
        market.break_regime(Break(START))
    with pytest.raises(ConfigError, match="impossible"):
        Break(START, volatility=0.0)
    with pytest.raises(ConfigError, match="impossible"):
        Break(START, signal=float("nan"))
    with pytest.raises(ConfigError, match="order"):
        MarketParams(breaks=(Break(2), Break(1)))


def test_the_intraday_pattern_is_a_parameter() -> None:
    def trades(hour: int, season: float) -> int:
        batch = stream(1, MarketParams(season=season), start=START + hour * HOUR)
        return int((batch.kind == TRADE).sum())

    flat, seasonal = [[trades(hour, season) for hour in (4, 15)] for season in (0.0, 0.5)]
    assert 0.6 < flat[1] / flat[0] < 1.7
    assert seasonal[1] / seasonal[0] > 1.8


def liquidations(params: MarketParams, minutes: int = 90) -> tuple[list[tuple[int, ...]], SyntheticMarket]:
    market, found = SyntheticMarket(4, START, params), []
    while market.now_ms < START + minutes * 60_000:
        market.advance(START + minutes * 60_000)
        found += [tuple(one) for one in market.drain_liquidations()]
        market.clear_rows()
    return found, market


def test_others_are_liquidated_on_the_side_that_a_move_has_hurt() -> None:
    found, market = liquidations(MarketParams())
    assert len(found) > 20
    assert [row[3] for row in found] == sorted(row[3] for row in found)
    for side, price, size, _ in found:
        assert size > 0
        assert abs(price / 60_000 - 1) < 0.1
        assert side in (0, 1)
    again, _ = liquidations(MarketParams())
    assert again == found
    _, silent = liquidations(MarketParams(liquidation_share=0.0))
    assert silent.efficient_price == market.efficient_price
    assert silent.lob.i[_lob.TRADE_ID] == market.lob.i[_lob.TRADE_ID]


def test_cascades_add_orders() -> None:
    plain, calm = liquidations(MarketParams(liquidation_distance=0.002))
    fierce, market = liquidations(MarketParams(liquidation_distance=0.002, cascade=1.0))
    assert len(fierce) > 1.5 * len(plain)
    assert market.lob.i[_lob.TRADE_ID] > calm.lob.i[_lob.TRADE_ID]


def test_the_topic_of_one_level_sends_snapshots_and_repeats_itself() -> None:
    market = SyntheticMarket(4, START, MarketParams(limit_rate=0.001, market_rate=0.0, volatility=1e-9))
    market.open_feed(3, 1, 10)
    market.advance(START + 30_000)
    rows = market.lob.rows[: market.rows]
    assert (rows[:, _lob.R_FLAGS] & 1).all()
    firsts = rows[(rows[:, _lob.R_FLAGS] & 2) > 0]
    gaps, ids = np.diff(firsts[:, _lob.R_PUSH]), np.diff(firsts[:, _lob.R_ID])
    assert set(ids.tolist()) <= {0, 1}
    assert (ids == 0).any()
    assert (gaps[ids == 0] == 3_000).all()
    assert (gaps <= 3_000).all()
    assert (firsts[:, _lob.R_PUSH] % 10 == 0).all()
