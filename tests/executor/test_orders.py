"""The life of a plan: answers that come late, twice, in the wrong order, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from executor.actions import (
    Alert,
    CancelEntry,
    ClosePosition,
    PlaceEntry,
    QueryOrder,
    SetProtection,
    TradeClosed,
)
from executor.events import (
    Clock,
    Filled,
    Flatten,
    Funding,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrdersRead,
    OrderState,
    OrderUnknown,
    PositionRead,
    Protected,
    Stopping,
)
from executor.guard import POST_ONLY_REASON
from executor.state import CoreState
from tests.executor.conftest import CONFIG, MINUTE, Bench

HOLD_MS, TIF_MS = 5 * MINUTE, 2 * MINUTE


def kinds(actions: list[Any]) -> list[str]:
    return [type(action).__name__ for action in actions]


def of(actions: list[Any], kind: type) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def ended(bench: Bench) -> TradeClosed:
    [closed] = of(bench.actions, TradeClosed)
    assert bench.core.state.trade is None
    return closed


def test_a_target_pays(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    bench.fill(order, role="target")
    closed = ended(bench)
    assert closed.reason == "target"
    # 689 steps, 100 ticks of 0.5 USDT, less two fees.
    assert closed.net_pnl == Decimal("0.689") * 50 - Decimal("0.2")
    assert bench.core.state.counts.closed == 1
    assert bench.core.state.counts.net_pnl == closed.net_pnl


def test_a_short_counts_the_other_way(bench: Bench) -> None:
    order = bench.enter(-0.5)
    bench.fill(order)
    bench.fill(order, role="stop")
    assert ended(bench).net_pnl == -Decimal("0.001") * order.size * 50 - Decimal("0.2")


@pytest.mark.failure(15)
def test_an_entry_expires_with_one_cancel_and_is_forgotten_when_confirmed(bench: Bench) -> None:
    order = bench.enter()
    assert bench.wait(TIF_MS - MINUTE) == []
    assert kinds(bench.wait(MINUTE)) == ["CancelEntry"]
    for _ in range(5):
        bench.bar(0.5)
    assert len(of(bench.actions, CancelEntry)) == 1
    assert bench.core.state.trade is not None
    assert len(of(bench.actions, QueryOrder)) > 0
    bench.on(OrderCancelled(bench.now, order.link_id, 0))
    bench.wait(CONFIG.settle_ms)
    closed = ended(bench)
    assert (closed.filled, closed.net_pnl) == (0, 0)
    assert bench.core.state.counts.closed == 0


def test_a_cancel_that_got_lost_is_sent_again_after_asking(bench: Bench) -> None:
    order = bench.enter()
    bench.wait(TIF_MS)
    [query] = of(bench.wait(CONFIG.retry_ms + MINUTE), QueryOrder)[:1]
    assert query.link_id == order.link_id
    assert kinds(bench.on(OrderState(bench.now, order.link_id, "resting"))) == ["CancelEntry"]


@pytest.mark.failure(16)
@pytest.mark.parametrize("confirmed_first", [True, False])
def test_a_cancel_that_races_a_fill_gives_a_protected_position(bench: Bench, confirmed_first: bool) -> None:
    order = bench.enter()
    bench.wait(TIF_MS)
    if confirmed_first:
        bench.on(OrderCancelled(bench.now, order.link_id, order.size))
        bench.fill(order)
    else:
        bench.fill(order)
        bench.on(OrderCancelled(bench.now, order.link_id, order.size))
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.entry, trade.open, trade.protected) == ("done", order.size, order.size)
    assert not bench.closes()


@pytest.mark.failure(16)
def test_a_fill_that_comes_after_the_plan_was_forgotten_revives_it(bench: Bench) -> None:
    order = bench.enter()
    bench.wait(TIF_MS)
    bench.on(OrderCancelled(bench.now, order.link_id, 0))
    bench.wait(CONFIG.settle_ms)
    assert bench.core.state.trade is None
    bench.fill(order)
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.open, trade.stop, trade.naked_ms) == (order.size, order.stop, None)
    assert not bench.core.state.risk.paused


def test_fills_that_the_venue_told_of_are_waited_for(bench: Bench) -> None:
    order = bench.enter()
    bench.wait(TIF_MS)
    bench.on(OrderCancelled(bench.now, order.link_id, 100))
    assert QueryOrder in map(type, bench.wait(CONFIG.settle_ms + CONFIG.retry_ms))
    assert bench.core.state.trade is not None
    bench.fill(order, 100)
    assert bench.core.state.trade.open == 100


@pytest.mark.failure(17)
def test_a_fill_in_two_pieces_is_one_position_under_one_stop(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 200)
    first_ms = bench.now
    bench.now += 1_000
    bench.fill(order, order.size - 200)
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.filled, trade.protected, trade.first_fill_ms) == (order.size, order.size, first_ms)
    bench.bar(0.5)
    assert len(of(bench.actions, PlaceEntry)) == 1


@pytest.mark.failure(17)
def test_a_stop_for_the_first_piece_only_is_no_protection(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 200)
    bench.fill(order, 300, protect=False)
    closes = of(bench.wait(CONFIG.protection_timeout_ms), ClosePosition)
    assert [(close.size, close.reason) for close in closes] == [(500, "unprotected")]


@pytest.mark.failure(18)
def test_a_fill_before_the_answer_keeps_the_plan(bench: Bench) -> None:
    order = bench.enter(accept=False)
    bench.fill(order)
    bench.on(OrderAccepted(bench.now, order.link_id))
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.entry, trade.open, trade.stop) == ("done", order.size, order.stop)


@pytest.mark.failure(7)
def test_a_fill_without_a_confirmed_stop_is_flattened(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, protect=False)
    tries = bench.wait(CONFIG.protection_timeout_ms - 1)
    assert set(tries) == {SetProtection(order.link_id, order.side, order.stop, order.target)}
    assert len(tries) == 4
    actions = bench.wait(1)
    [close] = of(actions, ClosePosition)
    assert (close.side, close.size, close.reason) == (-1, order.size, "unprotected")
    assert of(actions, Alert)[0].level == "critical"


@pytest.mark.failure(8)
def test_a_stop_that_the_venue_adjusted_is_no_protection(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    assert kinds(bench.on(Protected(bench.now, order.stop - 10, order.size))) == ["Alert", "SetProtection"]
    [close] = of(bench.wait(CONFIG.protection_timeout_ms), ClosePosition)
    assert close.reason == "unprotected"


@pytest.mark.failure(10)
def test_exits_and_expiry_run_while_the_book_is_empty(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 100)
    for _ in range(2):
        bench.bar(0.5, bid=-1, ask=-1)
    assert len(of(bench.actions, CancelEntry)) == 1
    for _ in range(4):
        bench.bar(0.5, bid=-1, ask=-1)
    assert [close.reason for close in bench.closes()] == ["time"]


@pytest.mark.failure(25)
def test_the_holding_time_counts_from_the_fill_itself(bench: Bench) -> None:
    order = bench.enter()
    filled_ms = bench.now
    bench.now += 7_000
    bench.fill(order, time_ms=filled_ms)
    assert of(bench.wait(HOLD_MS - 7_001), ClosePosition) == []
    [close] = of(bench.wait(1), ClosePosition)
    assert close.reason == "time"


@pytest.mark.failure(24)
@pytest.mark.parametrize("stop_first", [True, False])
def test_a_stop_and_our_exit_at_once_close_once(bench: Bench, stop_first: bool) -> None:
    order = bench.enter()
    bench.fill(order)
    [close] = of(bench.wait(HOLD_MS), ClosePosition)
    refusal = OrderRejected(bench.now, close.link_id, 110017, "nothing to close")
    if stop_first:
        bench.fill(order, role="stop")
        bench.on(refusal)
    else:
        bench.on(refusal)
        bench.fill(order, role="stop")
    bench.wait(HOLD_MS)
    assert len(bench.closes()) == 1
    assert ended(bench).reason == "stop"


@pytest.mark.failure(24)
def test_our_exit_beside_a_part_of_the_stop_counts_every_fill_once(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    [close] = of(bench.wait(HOLD_MS), ClosePosition)
    bench.fill(order, 89, role="stop", execution_id="a")
    bench.fill(order, 600, role="exit", link_id=close.link_id, price=60_010, execution_id="b")
    bench.fill(order, 600, role="exit", link_id=close.link_id, price=60_010, execution_id="b")
    closed = ended(bench)
    assert closed.exit_value == 89 * order.stop + 600 * 60_010
    assert closed.fees == Decimal("0.3")


@pytest.mark.failure(26)
def test_partial_closes_sum_every_fill_once_with_fees_and_funding(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 300, execution_id="a")
    bench.fill(order, 389, execution_id="b")
    bench.fill(order, 389, execution_id="b")
    bench.on(Funding(bench.now, "f", Decimal("1.5")))
    bench.on(Funding(bench.now, "f", Decimal("1.5")))
    for number, size in enumerate((100, 500, 89)):
        bench.fill(order, size, role="target", execution_id=f"t{number}")
        bench.fill(order, size, role="target", execution_id=f"t{number}")
    closed = ended(bench)
    assert (closed.fees, closed.funding) == (Decimal("0.5"), Decimal("1.5"))
    assert closed.net_pnl == Decimal("0.689") * 50 - Decimal("2.0")
    assert bench.core.state.counts.fills == 5


@pytest.mark.failure(20)
def test_stream_and_reconciliation_tell_the_same_and_it_counts_once(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, execution_id="a")
    after_stream = bench.core.state.dump()
    bench.fill(order, execution_id="a")
    bench.on(OrderState(bench.now, order.link_id, "filled", order.size))
    bench.on(OrdersRead(bench.now, ()))
    bench.on(PositionRead(bench.now, order.size))
    bench.on(OrderAccepted(bench.now, order.link_id))
    assert bench.core.state.dump() == after_stream
    assert len(of(bench.actions, PlaceEntry)) == 1


def test_a_late_copy_of_the_last_execution_is_not_foreign(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    bench.fill(order, role="stop", execution_id="s")
    bench.fill(order, role="stop", execution_id="s")
    assert not bench.core.state.risk.paused
    assert bench.core.state.counts.fills == 2


@pytest.mark.failure(14)
def test_an_execution_of_somebody_else_pauses_entries(bench: Bench) -> None:
    foreign = Filled(bench.now, "manual-1", "e1", "entry", bench.now, 1, 60_000, 5, Decimal(0), True)
    assert kinds(bench.on(foreign)) == ["Alert"]
    assert bench.core.state.trade is None
    assert "foreign" in bench.core.state.risk.paused


@pytest.mark.failure(21)
def test_an_order_of_unknown_outcome_is_asked_for_and_not_sent_again(bench: Bench) -> None:
    order = bench.enter(accept=False)
    assert bench.on(OrderUnknown(bench.now, order.link_id)) == [QueryOrder(order.link_id)]
    bench.on(OrderState(bench.now, order.link_id, None))
    bench.wait(3 * CONFIG.retry_ms)
    assert len(of(bench.actions, QueryOrder)) == 4
    assert len(of(bench.actions, PlaceEntry)) == 1
    bench.on(OrderState(bench.now, order.link_id, "resting"))
    trade = bench.core.state.trade
    assert trade is not None
    assert trade.entry == "resting"


@pytest.mark.failure(21)
def test_one_absence_proves_nothing_two_end_it(bench: Bench) -> None:
    order = bench.enter(accept=False)
    bench.on(OrderUnknown(bench.now, order.link_id))
    bench.on(OrderState(bench.now, order.link_id, "absent"))
    assert bench.core.state.trade is not None
    assert bench.core.state.trade.entry == "unknown"
    bench.wait(CONFIG.retry_ms)
    bench.on(OrderState(bench.now, order.link_id, "absent"))
    bench.wait(CONFIG.settle_ms)
    assert ended(bench).reason == "never arrived"


@pytest.mark.failure(21)
def test_an_entry_without_any_answer_is_asked_for(bench: Bench) -> None:
    order = bench.enter(accept=False)
    assert bench.wait(CONFIG.retry_ms) == [QueryOrder(order.link_id)]


@pytest.mark.failure(21)
@pytest.mark.failure(39)
def test_a_close_of_unknown_outcome_is_asked_for(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    [close] = of(bench.wait(HOLD_MS), ClosePosition)
    assert bench.on(OrderUnknown(bench.now, close.link_id)) == [QueryOrder(close.link_id)]
    bench.on(OrderState(bench.now, close.link_id, "absent"))
    [again] = of(bench.wait(CONFIG.retry_ms), ClosePosition)
    assert again.link_id != close.link_id
    assert again.size == order.size


@pytest.mark.failure(22)
def test_a_post_only_cancel_is_not_repriced_by_default(bench: Bench) -> None:
    order = bench.enter()
    bench.on(OrderCancelled(bench.now, order.link_id, 0, POST_ONLY_REASON))
    bench.wait(CONFIG.settle_ms)
    assert ended(bench).reason == POST_ONLY_REASON
    assert len(of(bench.actions, PlaceEntry)) == 1


@pytest.mark.failure(22)
def test_a_post_only_cancel_is_repriced_at_most_so_often(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(msgspec.structs.replace(CONFIG, max_reprices=2))
    [order] = of(bench.bar(0.5, close=60_005), PlaceEntry)
    for _ in range(4):
        bench.on(OrderAccepted(bench.now, order.link_id))
        bench.on(OrderCancelled(bench.now, order.link_id, 0, POST_ONLY_REASON))
        order = of(bench.actions, PlaceEntry)[-1]
    orders = of(bench.actions, PlaceEntry)
    assert [order.limit for order in orders] == [60_005, 60_000, 60_000]
    assert [order.link_id[-2:] for order in orders] == ["L0", "L1", "L2"]
    assert {(order.limit - order.stop, order.target - order.limit) for order in orders} == {(100, 100)}
    bench.wait(CONFIG.settle_ms)
    assert bench.core.state.trade is None


@pytest.mark.failure(23)
def test_a_margin_rejection_leaves_no_position_and_no_loop(bench: Bench) -> None:
    order = bench.enter(accept=False)
    assert kinds(bench.on(OrderRejected(bench.now, order.link_id, 110007, "not enough margin"))) == ["Alert"]
    bench.wait(CONFIG.settle_ms)
    closed = ended(bench)
    assert (closed.filled, closed.reason) == (0, "rejected: 110007 not enough margin")
    assert len(of(bench.actions, PlaceEntry)) == 1
    assert bench.core.state.counts.closed == 0


@pytest.mark.failure(23)
def test_a_refused_close_is_tried_again_but_not_in_a_loop(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    [close] = of(bench.wait(HOLD_MS), ClosePosition)
    for _ in range(20):
        bench.on(OrderRejected(bench.now, close.link_id, 10006, "rate limit"))
    assert len(bench.closes()) == 1
    bench.wait(CONFIG.retry_ms)
    assert len(bench.closes()) == 2


@pytest.mark.failure(2)
def test_an_unknown_position_changes_nothing(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    before = bench.core.state.dump()
    assert bench.on(PositionRead(bench.now, None)) == []
    assert bench.core.state.dump() == before
    [close] = of(bench.wait(HOLD_MS), ClosePosition)
    assert close.reason == "time"


@pytest.mark.failure(3)
def test_unknown_open_orders_change_nothing(bench: Bench) -> None:
    bench.enter()
    before = bench.core.state.dump()
    assert bench.on(OrdersRead(bench.now, None)) == []
    assert bench.core.state.dump() == before


@pytest.mark.failure(11)
def test_a_restart_with_a_position_restores_everything(bench: Bench, make_bench: Callable[..., Bench]) -> None:
    order = bench.enter()
    bench.fill(order)
    after = make_bench(state=CoreState.load(bench.core.state.dump()), ready=False)
    after.now = bench.now
    trade = after.core.state.trade
    assert trade is not None
    assert (trade.first_fill_ms, trade.stop, trade.target, trade.atr) == (bench.now, order.stop, order.target, 50.0)
    assert not of(after.bar(0.5), PlaceEntry)
    [close] = of(after.wait(HOLD_MS), ClosePosition)
    assert close.reason == "time"


@pytest.mark.failure(12)
def test_a_restart_with_a_resting_entry_expires_it_on_time(bench: Bench, make_bench: Callable[..., Bench]) -> None:
    order = bench.enter()
    after = make_bench(state=CoreState.load(bench.core.state.dump()), ready=False)
    after.now = bench.now
    after.on(OrderState(after.now, order.link_id, "resting"))
    assert after.wait(TIF_MS - 41) == []
    assert after.wait(41) == [CancelEntry(order.link_id)]


@pytest.mark.failure(43)
def test_a_late_clock_does_everything_that_was_due(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 100)
    bench.now += 60 * MINUTE
    assert kinds(bench.on(Clock(bench.now))) == ["CancelEntry", "ClosePosition"]


def test_a_command_to_flatten(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 100)
    actions = bench.on(Flatten(bench.now))
    assert kinds(actions) == ["Alert", "CancelEntry", "ClosePosition"]
    assert of(actions, ClosePosition)[0].size == 100


def test_stopping_cancels_the_entry_and_leaves_the_position(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 100)
    assert kinds(bench.on(Stopping(bench.now))) == ["CancelEntry"]
    assert not bench.closes()


def test_an_exit_of_a_part_cancels_the_rest_of_the_entry(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order, 100)
    assert kinds(bench.fill(order, 100, role="stop")) == ["CancelEntry"]
    bench.on(OrderState(bench.now, order.link_id, "filled", 100))
    assert ended(bench).filled == 100


@pytest.mark.failure(30)
@pytest.mark.parametrize(("price", "size"), [(0, 5), (-1, 5), (60_000, 0), (60_000, -5)])
def test_an_impossible_execution_is_not_counted(bench: Bench, price: int, size: int) -> None:
    order = bench.enter()
    fill = Filled(bench.now, order.link_id, "e", "entry", bench.now, 1, price, size, Decimal(0), True)
    assert kinds(bench.on(fill)) == ["Alert"]
    assert bench.core.state.trade is not None
    assert bench.core.state.trade.filled == 0
