"""What the core decides on a bar, and what keeps it from trading."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from council import TrainingProfile
from executor.actions import Alert, Decided, PlaceEntry, SwapCouncil
from executor.events import CouncilChanged, Halt, OpenOrder, OrdersRead, PositionRead, Resume, Stopping
from tests.executor.conftest import CONFIG, MINUTE, START_MS, Bench, sign_council


def entries(actions: list[Any]) -> list[PlaceEntry]:
    return [action for action in actions if isinstance(action, PlaceEntry)]


def reason(actions: list[Any]) -> str:
    [decided] = [action for action in actions if isinstance(action, Decided)]
    return str(decided.reason)


def test_a_signal_becomes_an_entry_with_stop_and_target(bench: Bench) -> None:
    actions = bench.bar(0.5)
    decided = next(action for action in actions if isinstance(action, Decided))
    [order] = entries(actions)
    assert decided.vote is not None
    assert decided.vote.side == 1
    assert decided.vote.members[0].long > 0.5 > decided.vote.members[0].short
    assert decided.link_id == order.link_id
    assert (order.side, order.limit, order.stop, order.target) == (1, 60_000, 59_900, 60_100)
    # 0.5 % of 10,000 USDT is 50; a coin loses 50 to the stop and 22.4725 in fees; the leverage allows one coin.
    assert order.size == 689


def test_a_short_signal_mirrors_it(bench: Bench) -> None:
    [order] = entries(bench.bar(-0.5))
    assert (order.side, order.limit, order.stop, order.target) == (-1, 60_000, 60_100, 59_900)
    assert order.link_id.endswith("-S0")


def test_link_ids_say_the_same_for_the_same_bar(make_bench: Callable[..., Bench]) -> None:
    first, second = make_bench().enter(), make_bench().enter()
    assert first.link_id == second.link_id
    assert len(first.link_id) <= 36


@pytest.mark.failure(19)
def test_one_bar_gives_one_entry_however_often_it_comes(bench: Bench) -> None:
    close = (bench.now // MINUTE + 1) * MINUTE
    orders = [order for _ in range(10) for order in entries(bench.bar(0.5, close_ms=close))]
    assert len(orders) == 1
    assert len(bench.decisions()) == 1
    assert not entries(bench.bar(0.5))
    assert bench.decisions()[-1].reason.startswith("busy with")


@pytest.mark.failure(37)
def test_a_bar_from_the_future_is_ignored_and_the_next_one_taken(bench: Bench) -> None:
    close = (bench.now // MINUTE + 1) * MINUTE
    actions = bench.bar(0.5, close_ms=close + 10 * MINUTE, now_ms=close)
    assert [type(action) for action in actions] == [Alert]
    assert entries(bench.bar(0.5, close_ms=close))


@pytest.mark.failure(31)
def test_a_closed_bar_is_immutable(bench: Bench) -> None:
    close = (bench.now // MINUTE + 1) * MINUTE
    bench.bar(0.5, close_ms=close)
    before = bench.core.state.dump()
    assert bench.bar(-0.5, close_ms=close, close=1) == []
    assert bench.core.state.dump() == before


@pytest.mark.failure(34)
@pytest.mark.failure(35)
def test_a_bar_that_is_not_whole_is_not_asked_about(bench: Bench) -> None:
    actions = bench.bar(valid=False, values=[np.nan, np.nan], atr=None)
    assert not entries(actions)
    assert bench.decisions()[-1].vote is None
    assert "not whole" in reason(actions)


@pytest.mark.failure(34)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_features_are_not_asked_about(bench: Bench, value: float) -> None:
    assert "infinite: signal" in reason(bench.bar(values=[value, 1.0]))


@pytest.mark.failure(34)
def test_unknown_features_that_training_knew_are_not_asked_about(bench: Bench) -> None:
    actions = bench.bar(values=[np.nan, 1.0])
    assert "unknown here, known in training: signal" in reason(actions)
    assert not entries(actions)


def test_what_training_did_not_know_either_is_asked_about(bench: Bench) -> None:
    known = np.array([[-1.0, 0], [1.0, 0], [np.nan, 0]])
    bench.councils["long"] = sign_council(
        ("signal", "other"), "signal", profile=TrainingProfile.of(known, ("signal", "other"))
    )
    bench.bar(values=[np.nan, 1.0])
    assert bench.decisions()[-1].vote is not None


def test_features_far_outside_training_are_not_asked_about(bench: Bench) -> None:
    seen = np.array([[-1.0, 0], [1.0, 0]])
    bench.councils["long"] = sign_council(
        ("signal", "other"), "signal", profile=TrainingProfile.of(seen, ("signal", "other"))
    )
    assert "far outside training: signal" in reason(bench.bar(3.5))
    assert bench.bar(2.5)
    assert bench.decisions()[-1].vote is not None


def test_a_frozen_feed_is_not_asked_about(bench: Bench) -> None:
    bench.bar(values=[0.0, 1.0])
    assert "frozen" in reason(bench.bar(values=[0.0, 1.0]))


@pytest.mark.failure(10)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ask": 60_200}, "spread 33.3 bps"),
        ({"bid": -1}, "book unknown or empty"),
        ({"ask": -1}, "book unknown or empty"),
        ({"bid": 60_002}, "book crossed"),
        ({"book_age_ms": 10_001}, "book stale"),
        ({"book_age_ms": -1}, "book stale"),
        ({"lag_ms": 6_000}, "bar 6040 ms late"),
    ],
)
def test_the_market_blocks_entries(bench: Bench, change: dict[str, int], said: str) -> None:
    actions = bench.bar(0.5, **change)
    assert not entries(actions)
    assert reason(actions) == said


def test_a_late_bar_is_not_traded(bench: Bench) -> None:
    close = (bench.now // MINUTE + 1) * MINUTE
    assert reason(bench.bar(0.5, close_ms=close, now_ms=close + 5_001)) == "bar 5001 ms late"


@pytest.mark.failure(30)
@pytest.mark.parametrize(
    "change",
    [
        *({"atr": value} for value in (0.0, -1.0, float("nan"), float("inf"))),
        *({"close": value} for value in (-1, 0, 60, -60_000)),
        *({"bid": -60_000}, {"bid": 0}, {"ask": -5}),
    ],
)
def test_impossible_prices_give_an_alert_and_no_order(bench: Bench, change: dict[str, Any]) -> None:
    actions = bench.bar(0.5, **change)
    assert not entries(actions)
    assert any(isinstance(action, Alert) and action.code in ("no-prices", "bad-bar") for action in actions)


@pytest.mark.failure(34)
def test_an_unknown_atr_is_a_reason_and_no_alert(bench: Bench) -> None:
    actions = bench.bar(0.5, atr=None)
    assert [type(action) for action in actions] == [SwapCouncil, Decided]
    assert reason(actions) == "ATR unknown"


@pytest.mark.failure(1)
def test_unknown_equity_stops_entries_and_kills_nothing(bench: Bench) -> None:
    bench.equity(None)
    assert reason(bench.bar(0.5)) == "equity unknown"
    assert bench.core.state.risk.killed is None
    assert bench.core.state.risk.high_water == 10_000
    bench.equity(10_000)
    assert entries(bench.bar(0.5))


def test_stale_equity_is_unknown_equity(bench: Bench) -> None:
    bench.now += CONFIG.equity_age_ms + MINUTE
    assert reason(bench.bar(0.5)) == "equity stale"


def test_no_council_no_trade(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(ready=False)
    bench.equity(10_000)
    assert reason(bench.bar(0.5)) == "no council"


def test_an_order_smaller_than_the_venue_takes_is_skipped(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.equity(0.05)
    bench.core.state.risk.high_water = bench.core.state.risk.day_equity = Decimal("0.05")
    bench.core.state.risk.breaches = 0
    assert reason(bench.bar(0.5)) == "smallest order above the risk limit"


def test_halt_and_resume(bench: Bench) -> None:
    bench.on(Halt(bench.now))
    assert reason(bench.bar(0.5)) == "paused: halted by command"
    bench.on(Resume(bench.now))
    assert entries(bench.bar(0.5))


def test_no_entry_while_stopping(bench: Bench) -> None:
    bench.on(Stopping(bench.now))
    assert reason(bench.bar(0.5)) == "stopping"


@pytest.mark.failure(14)
def test_a_foreign_order_pauses_entries_and_is_left_alone(bench: Bench) -> None:
    actions = bench.on(OrdersRead(bench.now, (OpenOrder("somebody-elses"),)))
    assert [type(action) for action in actions] == [Alert]
    assert reason(bench.bar(0.5)) == "paused: 1 foreign order(s)"


@pytest.mark.failure(13)
def test_own_orders_and_protection_are_not_foreign(bench: Bench) -> None:
    order = bench.enter()
    orders = (OpenOrder(order.link_id), OpenOrder("", protective=True), OpenOrder("tp", protective=True))
    assert bench.on(OrdersRead(bench.now, orders)) == []
    assert bench.on(OrdersRead(bench.now, None)) == []
    assert not bench.core.state.risk.paused


@pytest.mark.failure(14)
def test_a_foreign_position_pauses_entries_after_a_second_look(bench: Bench) -> None:
    assert [type(action).__name__ for action in bench.on(PositionRead(bench.now, 7))] == ["ReadPosition"]
    assert [type(action).__name__ for action in bench.on(PositionRead(bench.now, 7))] == ["Alert", "TracePosition"]
    assert reason(bench.bar(0.5)).startswith("paused: position 7")
    assert not bench.closes()


def test_a_promoted_council_takes_over_at_the_next_bar(bench: Bench) -> None:
    bench.bar(valid=False)
    bench.on(CouncilChanged(bench.now, "short", 2, False))
    actions = bench.bar(0.5)
    assert isinstance(actions[0], SwapCouncil)
    [order] = entries(actions)
    assert order.side == -1
    assert bench.core.state.council is not None
    assert bench.core.state.council.version == 2


def test_a_plan_under_way_keeps_its_prices_when_the_council_changes(bench: Bench) -> None:
    order = bench.enter(0.5)
    bench.fill(order)
    bench.on(CouncilChanged(bench.now, "short", 2))
    bench.bar(0.5)
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.stop, trade.target, trade.council) == (order.stop, order.target, "long")


def test_a_new_council_votes_in_the_shadow_first(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(msgspec.structs.replace(CONFIG, shadow_bars=2))
    bench.bar(valid=False)
    bench.on(CouncilChanged(bench.now, "short", 2))
    for _ in range(2):
        bench.bar(-0.5)
        decided = bench.decisions()[-1]
        assert decided.vote is not None
        assert decided.shadow is not None
        assert (decided.vote.side, decided.shadow.side) == (-1, 1)
    bench.bar(-0.5)
    decided = bench.decisions()[-1]
    assert decided.vote is not None
    assert (decided.vote.side, decided.shadow) == (1, None)


def test_the_same_council_again_changes_nothing(bench: Bench) -> None:
    bench.bar(valid=False)
    assert bench.on(CouncilChanged(bench.now, "long", 1, True)) == []
    assert bench.core.state.pending is None


def test_the_first_close_is_at_start(bench: Bench) -> None:
    assert bench.bar(0.0, close_ms=START_MS + MINUTE)
    assert bench.core.state.last_bar_ms == START_MS
