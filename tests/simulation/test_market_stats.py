"""Stylised facts: measured right on streams where they are known, and what the synthetic markets show of them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from commands.venue import exchange as exchange_command
from commands.venue import market as market_command
from market.errors import EmptyLakeError
from market.events import LAST, EventBatch
from simulation.exchange import DEFAULT_START_MS
from simulation.flow_params import MarketParams
from simulation.stats import Facts, autocorrelation, excess_kurtosis, market_facts, returns, sampled
from simulation.stats_report import facts_page, facts_text
from simulation.synthetic import SYNTHETIC, synthetic_events
from tests.simulation.fill_markets import BUY, SELL, Tape

HOUR = 3_600_000
START = DEFAULT_START_MS


def facts(tape: Tape) -> Facts:
    return market_facts("tape", [tape.batch], SYNTHETIC)


def test_numbers_of_a_market_that_is_known() -> None:
    tape = Tape().gap(START).snapshot(START, {100: 1000, 99: 2000}, {102: 3000, 103: 4000})
    tape.trade(START + 500, BUY, (102, 500), (103, 1500)).trade(START + 1_500, SELL, (100, 1000))
    tape.book(START + 2_000, {100: 4000}, {102: 1000}).book(START + 3_000, {100: 3000}).book(START + 10_000)
    found = facts(tape)
    assert found.hours == pytest.approx(10 / 3600)
    assert found.spread_ticks.tolist() == [2, 2, 2, 2]
    assert found.spread_bps[1] == pytest.approx(2 / 101 * 1e4)
    assert found.trades_s == pytest.approx(0.3)
    assert found.messages_s == pytest.approx(0.4)
    assert found.sizes[1] == pytest.approx(1.0)
    # 3,000 steps came, 3,000 went, of which all were traded.
    assert found.cancel_ratio == 0.0
    assert found.depth[0, 0] == pytest.approx((1000 + 4000 + 3000 + 3000) / 4 * 0.001)
    assert math.isnan(found.kurtosis_1m)


def test_order_flow_imbalance_is_that_of_cont_kukanov_and_stoikov() -> None:
    rng = np.random.default_rng(0)
    tape, mid = Tape().gap(START).snapshot(START, {1000: 50}, {1001: 50}), 1000
    for second in range(1, 2_000):
        up = int(rng.integers(-1, 2))
        bids = {mid: 0, mid + up: int(rng.integers(40, 60))} if up else {mid: int(rng.integers(40, 60))}
        asks = {mid + 1: 0, mid + 1 + up: int(rng.integers(40, 60))} if up else {}
        tape.book(START + 1000 * second, bids, asks)
        mid += up
    found = facts(tape)
    assert found.impact_r2 > 0.9
    assert found.impact_ticks == pytest.approx(math.sqrt(10 * 2 / 3), rel=0.15)
    assert abs(found.acf_returns[0]) < 0.1
    assert found.signature_bps[0] == pytest.approx(found.signature_bps[3], rel=0.15)


def test_gaps_and_silence_break_the_series() -> None:
    tape = Tape().gap(START).snapshot(START, {100: 1}, {101: 1}).book(START + 1_000, {100: 2})
    tape.gap(START + 2_000).snapshot(START + 30_000, {200: 1}, {201: 1}).book(START + 31_000, {200: 2})
    batch = tape.batch
    book = batch.flags & LAST > 0
    times = batch.time_ms[book]
    broken = np.array([True, False, True, False])
    grid, at, good = sampled(times, broken, 1_000)
    log = np.log(np.array([100.5, 100.5, 200.5, 200.5])[at])
    moves = returns(log, good, 1)
    assert np.nanmax(np.abs(moves)) == 0
    assert np.isnan(moves).sum() > 20
    assert len(grid) == 31


def test_autocorrelation_and_kurtosis() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=20_000)
    moved = np.empty(20_000)
    moved[0] = 0
    for k in range(1, len(moved)):
        moved[k] = 0.8 * moved[k - 1] + noise[k]
    found = autocorrelation(moved, (1, 2, 5))
    assert found == pytest.approx([0.8, 0.64, 0.328], abs=0.03)
    assert abs(excess_kurtosis(noise)) < 0.15
    assert excess_kurtosis(rng.standard_t(5, 200_000)) > 2
    assert math.isnan(excess_kurtosis(np.ones(100)))
    assert np.isnan(autocorrelation(np.array([1.0, 2.0]), (1,))).all()


def test_chunks_change_nothing() -> None:
    batch = EventBatch.concat(synthetic_events(3, 1.0, START, HOUR // 4))
    whole = market_facts("a", [batch], SYNTHETIC)
    cut = market_facts("a", batch.chunks(777), SYNTHETIC)
    for name in Facts.__slots__:
        assert np.array_equal(getattr(whole, name), getattr(cut, name), equal_nan=name != "name"), name


def test_a_market_without_quotes_is_refused() -> None:
    with pytest.raises(EmptyLakeError, match="no quotes"):
        market_facts("empty", [], SYNTHETIC)


@pytest.fixture(scope="module")
def shown() -> list[Facts]:
    markets = (("synthetic", MarketParams()), ("realistic", MarketParams.realistic()))
    return [
        market_facts(name, synthetic_events(7, 1.0, START, 3 * HOUR, params=params), SYNTHETIC)
        for name, params in markets
    ]


def test_synthetic_markets_show_the_stylised_facts(shown: list[Facts]) -> None:
    plain, realistic = shown
    for one in shown:
        assert 1 <= one.spread_ticks[1] <= 2
        assert (one.depth[:, 0] < one.depth.mean() * 1.5).all()
        assert one.acf_signs[0] > 0.1
        assert 0.3 < one.impact_r2 < 0.95
        assert one.kurtosis_1s > 0.5
        assert abs(one.acf_returns[5]) < 0.05
        assert one.acf_absolute[4] > 0.03
        assert one.cancel_ratio > 0.5
        assert one.signature_bps[0] / one.signature_bps[4] == pytest.approx(1, abs=0.35)
    assert realistic.acf_absolute[5] > plain.acf_absolute[5]
    assert realistic.sizes[3] / realistic.sizes[1] > plain.sizes[3] / plain.sizes[1]
    assert np.nanstd(realistic.hourly_trades) > 0


def test_table_and_page_show_every_market(shown: list[Facts]) -> None:
    text = facts_text(shown)
    assert "excess kurtosis" in text
    assert "Cont 2001" in text
    page = facts_page(shown)
    assert page.count("<svg") == 8
    assert re.search(r"\bnan\b|\binf\b", page.lower()) is None
    for one in shown:
        assert one.name in page


def test_command_writes_table_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(market_command, ["--stats", "--hours", "0.3", "--seed", "3"], obj=None)
    assert result.exit_code == 0, result.output
    assert "trades a second" in result.output
    (page,) = (tmp_path / "data" / "reports" / "market").glob("*.html")
    assert "<svg" in page.read_text()
    again = CliRunner().invoke(market_command, ["--hours", "1"], obj=None)
    assert again.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--synthetic", "--replay", "lake"], "exclude"),
        (["--seek", "2026-01-05"], "belongs to --replay"),
        (["--replay", "lake", "--seek", "2026-01-05", "--start", "2026-01-05"], "takes the place"),
    ],
)
def test_command_lines_that_make_no_sense_are_refused(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(exchange_command, arguments, obj=None)
    assert result.exit_code == 2
    assert why in result.output
