"""Funding: the last rate told before the payment, and NaN where nobody told one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from market import Lake, SessionAssembler
from simulation import SYNTHETIC
from tests.market.venue import BTC, NOON_MS, RULES, book, snapshot, ticker
from tests.training.conftest import COSTS, MINUTE, Market
from tests.training.test_outcomes import PARAMS
from training.funding import Funding, funding_of, schedule
from training.outcomes import Simulator

HOUR = 3_600_000
DUE = 8 * HOUR


def test_the_last_rate_before_the_payment_is_charged() -> None:
    tickers = [
        (DUE - 900_000, 0.0003, DUE),
        (DUE - 1_000, 0.0001, None),
        (DUE, 0.0007, None),  # too late: this is what the next one would be, of which nothing was said yet
        (DUE + 1_000, 0.0002, DUE + 8 * HOUR),
    ]
    funding = schedule(tickers, 0, DUE + HOUR, 480)
    assert (funding.times_ms.tolist(), funding.rates.tolist()) == ([DUE], [0.0001])


def test_a_payment_that_no_ticker_told_of_is_unknown_not_free() -> None:
    funding = schedule([], HOUR, 17 * HOUR, 480)
    assert funding.times_ms.tolist() == [8 * HOUR, 16 * HOUR]
    assert funding.unknown == 2


def test_a_rate_from_long_before_the_payment_is_unknown() -> None:
    funding = schedule([(HOUR, 0.0001, DUE)], 0, 9 * HOUR, 480)
    assert funding.times_ms.tolist() == [DUE]
    assert math.isnan(funding.rates[0])


def test_what_a_ticker_does_not_tell_is_as_it_was() -> None:
    """Bybit sends what has changed: a rate that stays is told once, in the snapshot."""
    tickers = [(0, 0.0001, DUE), (DUE - 1_000, None, None), (DUE + 5, None, 2 * DUE), (2 * DUE - 1_000, None, None)]
    funding = schedule(tickers, 0, 2 * DUE, 480)
    assert (funding.times_ms.tolist(), funding.rates.tolist()) == ([DUE, 2 * DUE], [0.0001, 0.0001])
    silent = schedule(tickers[:3], 0, 2 * DUE, 480)
    assert silent.rates[0] == 0.0001
    assert math.isnan(silent.rates[1])  # no ticker for eight hours: it may have changed


def test_the_lake_tells_of_a_rate_that_stays(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, 0)
        midnight = NOON_MS - 12 * HOUR
        frames = [
            snapshot(1, cts=midnight),
            ticker(midnight, fundingRate="0.0001", nextFundingTime=str(midnight + DUE)),
        ]
        frames += [ticker(midnight + minute * MINUTE, markPrice="100.1") for minute in range(1, 8 * 60)]
        frames.append(ticker(midnight + DUE, nextFundingTime=str(midnight + 2 * DUE)))
        frames += [ticker(midnight + minute * MINUTE, markPrice="100.2") for minute in range(8 * 60 + 1, 16 * 60)]
        frames.append(book(2, cts=midnight + 17 * HOUR))
        for n, frame in enumerate(frames):
            writer.append(assembler.on_frame(frame, n), frame)
    funding = funding_of(lake, "BTCUSDT")
    assert (funding.times_ms - midnight).tolist() == [DUE, 2 * DUE]
    assert funding.rates.tolist() == [0.0001, 0.0001]


def test_tickers_overrule_the_contract_about_when_funding_is_due() -> None:
    tickers = [(hour * HOUR - 1, 0.0001, hour * HOUR) for hour in (4, 12, 20)]
    funding = schedule(tickers, 0, 21 * HOUR, 480)
    assert funding.times_ms.tolist() == [4 * HOUR, 8 * HOUR, 12 * HOUR, 16 * HOUR, 20 * HOUR]
    assert funding.unknown == 2  # eight hours lie between those told: what fell due in between is not ruled out
    hourly = schedule([(hour * HOUR - 1, 0.0001, hour * HOUR) for hour in range(1, 10)], 0, 9 * HOUR, 480)
    assert (len(hourly), hourly.unknown) == (9, 0)


def test_a_backtest_pays_funding_and_admits_what_it_does_not_know(market: Market) -> None:
    free = market.simulator()
    bars = free.bars
    lives = free.lives(np.arange(40), np.ones(40, np.int8), [PARAMS] * 40)
    held = int(np.flatnonzero((lives.status == 1) & (lives.exit_ms - lives.entry_ms > 1_000))[0])
    middle = int(lives.entry_ms[held] + lives.exit_ms[held]) // 2
    for rate in (0.001, math.nan):
        paying = Simulator(
            bars, lambda: market.events, SYNTHETIC, MINUTE, COSTS, Funding(np.array([middle]), np.array([rate]))
        )
        outcome = paying.lives(np.array([held]), np.ones(1, np.int8), [PARAMS])
        if math.isnan(rate):
            assert math.isnan(outcome.net_return[0])
        else:
            assert outcome.funding[0] == pytest.approx(rate * lives.entry_value[held], rel=0.05)
            assert outcome.net_return[0] == pytest.approx(
                lives.net_return[held] - outcome.funding[0] / lives.entry_value[held], abs=1e-12
            )
