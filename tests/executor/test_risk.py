"""Kill switch, daily loss, streaks, and the size of an entry."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.actions import Alert, PlaceEntry, ReadEquity
from executor.events import EquityRead, OrderRejected, PositionRead, Resume
from executor.risk import size_steps
from executor.state import CoreState
from tests.executor.conftest import CONFIG, INSTRUMENT, MINUTE, Bench

DAY = 86_400_000


def last_reason(bench: Bench) -> str:
    return bench.decisions()[-1].reason


def kill(bench: Bench) -> None:
    for _ in range(3):
        bench.equity(8_900)


def test_three_fresh_readings_kill_and_each_asks_for_the_next(bench: Bench) -> None:
    assert bench.equity(8_999) == [ReadEquity()]
    assert bench.equity(8_999) == [ReadEquity()]
    assert bench.core.state.risk.killed is None
    bench.bar(0.5)
    assert last_reason(bench) == "drawdown being confirmed"
    [alert] = bench.equity(8_999)
    assert isinstance(alert, Alert)
    assert alert.level == "critical"
    bench.bar(0.5)
    assert last_reason(bench) == "kill switch"


@pytest.mark.failure(1)
def test_a_stale_reading_confirms_nothing(bench: Bench) -> None:
    bench.equity(8_000)
    at = bench.now
    for _ in range(10):
        bench.on(EquityRead(at, at, Decimal(8_000)))
    assert bench.core.state.risk.killed is None


@pytest.mark.failure(1)
def test_failed_readings_between_neither_kill_nor_clear(bench: Bench) -> None:
    bench.equity(8_000)
    for _ in range(5):
        assert bench.equity(None) == [ReadEquity()]
    assert bench.core.state.risk.killed is None
    assert bench.core.state.risk.breaches == 1
    bench.equity(9_990)
    assert bench.core.state.risk.breaches == 0


@pytest.mark.failure(1)
@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_equity_that_is_no_number_is_unknown(bench: Bench, value: str) -> None:
    for _ in range(5):
        bench.now += 1
        bench.on(EquityRead(bench.now, bench.now, Decimal(value)))
    assert bench.core.state.risk.equity is None
    assert bench.core.state.risk.killed is None


@pytest.mark.failure(4)
def test_a_kill_whose_position_reads_fail_keeps_closing_and_alarms(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    kill(bench)
    [close] = bench.closes()
    assert close.reason == "kill"
    for _ in range(30):
        bench.on(PositionRead(bench.now, None))
        bench.on(OrderRejected(bench.now, bench.closes()[-1].link_id, 10016, "server error"))
        bench.wait(CONFIG.retry_ms)
    assert len(bench.closes()) > 20
    alarms = [a for a in bench.actions if isinstance(a, Alert) and a.code == "kill-open"]
    assert len(alarms) >= 2
    assert bench.core.state.trade is not None
    bench.fill(order, role="exit", link_id=bench.closes()[-1].link_id)
    assert bench.core.state.trade is None


def test_a_kill_cancels_a_resting_entry(bench: Bench) -> None:
    bench.enter()
    kill(bench)
    assert "CancelEntry" in [type(action).__name__ for action in bench.actions]


@pytest.mark.failure(5)
def test_a_kill_outlives_a_restart_until_a_person_resumes(bench: Bench, make_bench: Callable[..., Bench]) -> None:
    kill(bench)
    after = make_bench(state=CoreState.load(bench.core.state.dump()), ready=False)
    after.now = bench.now
    after.equity(10_500)
    after.bar(0.5)
    assert last_reason(after) == "kill switch"
    said = [action for action in after.on(Resume(after.now)) if isinstance(action, Alert)]
    assert "high-water mark" in said[0].text
    after.bar(0.5)
    assert isinstance(after.actions[-1], PlaceEntry)


@pytest.mark.failure(5)
def test_resuming_below_the_old_mark_does_not_kill_at_once(bench: Bench) -> None:
    kill(bench)
    bench.on(Resume(bench.now))
    for _ in range(5):
        bench.equity(8_900)
    assert bench.core.state.risk.killed is None
    assert bench.core.state.risk.high_water == 8_900


@pytest.mark.failure(6)
def test_a_withdrawal_is_no_drawdown_and_a_deposit_no_profit(bench: Bench) -> None:
    for _ in range(5):
        bench.equity(6_000, transfers=-4_000)
    assert bench.core.state.risk.killed is None
    assert bench.core.state.risk.high_water == 6_000
    bench.equity(16_000, transfers=6_000)
    assert bench.core.state.risk.high_water == 16_000
    bench.equity(15_000, transfers=6_000)
    bench.bar(0.5)
    assert last_reason(bench) == "daily loss limit"


@pytest.mark.failure(6)
def test_transfers_before_the_first_reading_do_not_count(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(ready=False)
    bench.equity(10_000, transfers=50_000)
    assert bench.core.state.risk.high_water == 10_000


def test_the_daily_loss_stops_entries_until_the_next_utc_day(bench: Bench) -> None:
    bench.equity(9_699)
    bench.bar(0.5)
    assert last_reason(bench) == "daily loss limit"
    bench.now = (bench.now // DAY + 1) * DAY
    bench.equity(9_699)
    bench.bar(0.5)
    assert last_reason(bench) == ""


def test_losses_in_a_row_start_a_cooldown(bench: Bench) -> None:
    for _ in range(CONFIG.loss_streak):
        order = bench.enter()
        bench.fill(order)
        bench.fill(order, role="stop")
    for _ in range(CONFIG.cooldown_bars):
        bench.bar(0.5)
        assert last_reason(bench) == "cooldown after losses"
    bench.bar(0.5)
    assert last_reason(bench) == ""


def test_a_win_ends_a_streak(bench: Bench) -> None:
    for role in ("stop", "stop", "target", "stop", "stop"):
        order = bench.enter()
        bench.fill(order)
        bench.fill(order, role=role)
    bench.bar(0.5)
    assert last_reason(bench) == ""


@given(
    equity=st.decimals(Decimal("0.01"), Decimal(10_000_000), places=2),
    limit=st.integers(1, 1_000_000),
    distance=st.integers(1, 100_000),
    side=st.sampled_from([1, -1]),
)
def test_a_size_never_risks_more_than_allowed(equity: Decimal, limit: int, distance: int, side: int) -> None:
    stop = max(1, limit - side * distance)
    if stop == limit:
        return
    steps, reason = size_steps(CONFIG, INSTRUMENT, equity, limit, stop)
    assert (steps == 0) == bool(reason)
    if not steps:
        return
    loss = INSTRUMENT.notional(abs(limit - stop), steps)
    loss += INSTRUMENT.notional(limit, steps) * CONFIG.maker_fee + INSTRUMENT.notional(stop, steps) * CONFIG.taker_fee
    assert loss <= equity * CONFIG.risk_per_trade
    value = INSTRUMENT.notional(limit, steps)
    margin, bankrupt = value / CONFIG.max_leverage, value * (1 + 1 / CONFIG.max_leverage)
    assert margin + (value + bankrupt) * CONFIG.taker_fee <= equity * (1 + Decimal("1e-20"))
    assert INSTRUMENT.min_steps <= steps <= INSTRUMENT.max_market_steps
    assert INSTRUMENT.notional(limit, steps) >= INSTRUMENT.min_notional


def test_a_position_of_all_the_leverage_leaves_room_for_its_fees() -> None:
    config = msgspec.structs.replace(CONFIG, risk_per_trade=Decimal(1))
    steps, _ = size_steps(config, INSTRUMENT, Decimal(10_000), 60_000, 59_990)
    value = INSTRUMENT.notional(60_000, steps)
    assert Decimal("0.99") * 10_000 < value / config.max_leverage < 10_000 - 2 * value * config.taker_fee


@pytest.mark.parametrize("equity", [Decimal(0), Decimal(-5)])
def test_no_equity_no_size(equity: Decimal) -> None:
    assert size_steps(CONFIG, INSTRUMENT, equity, 60_000, 59_900) == (0, "no equity to risk")


def test_no_risk_no_size() -> None:
    config = msgspec.structs.replace(CONFIG, risk_per_trade=Decimal(0))
    assert size_steps(config, INSTRUMENT, Decimal(10_000), 60_000, 59_900)[0] == 0


def test_entries_wait_for_the_first_reading(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.core.state.risk.equity = None
    bench.now += MINUTE
    bench.bar(0.5)
    assert last_reason(bench) == "equity unknown"
