"""Failures seen in systems like ours, at the live gateway and the local exchange: every part real but the wires."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.actions import ClosePosition, Decided, PlaceEntry, PlaceTarget, QueryOrder, SetProtection
from executor.events import EquityRead, Filled, Halt, OrderAccepted, PositionRead, VenueState
from executor.journal import FILE
from tests.executor.conftest import COUNCILS, PARAMS, sign_council
from tests.executor.rig import QUIET, RIG_CONFIG, SYMBOL, Rig, rig

pytestmark = pytest.mark.failure(29)
CREATE, CANCEL, STOP = "/v5/order/create", "/v5/order/cancel", "/v5/position/trading-stop"


@pytest.fixture(params=[False, True], ids=["one-way", "hedge"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """A rig in either position mode."""
    with rig(tmp_path, hedge=request.param) as one:
        yield one


def resting(made: Rig) -> None:
    """Until an entry rests."""
    assert made.run(60, lambda: made.trade is not None and made.trade.entry == "resting")


def filled(made: Rig) -> None:
    """Until an entry has filled, by our own hands."""
    resting(made)
    sweep(made)
    assert made.trade is not None
    assert made.run(5, lambda: made.trade is not None and made.trade.open == made.trade.size)


def protected(made: Rig) -> None:
    """Until the stop of a position is confirmed."""
    filled(made)
    assert made.run(5, lambda: made.trade is not None and made.trade.protected == made.trade.size)


def sweep(made: Rig, size: int = 1_000_000) -> None:
    """Somebody trades through our entry."""
    assert made.trade is not None
    made.sweep(made.trade.limit, -made.trade.side, size)


def flat(made: Rig, seconds: float = 160) -> None:
    """Until the position is closed again, and all is accounted for."""
    before = len([closed for closed in made.closed() if closed.filled])
    made.signal = QUIET
    assert made.run(seconds, lambda: len([c for c in made.closed() if c.filled]) > before)
    made.run(2)
    assert made.verdict() == []


def decided(made: Rig) -> str:
    """Why the last bar was not traded."""
    reason: str = made.said(Decided)[-1].reason
    return reason


def entries(made: Rig) -> list[dict[str, Any]]:
    """Entry orders that reached the wire."""
    return [body for body in made.posts(CREATE) if not body.get("reduceOnly")]


def test_a_plan_lives_and_ends_as_it_was_made(made: Rig) -> None:
    protected(made)
    assert made.trade is not None
    assert made.stop == made.trade.stop
    flat(made)
    assert len(entries(made)) == 1


@pytest.mark.failure(1)
def test_unknown_equity_blocks_entries_and_kills_nothing(made: Rig) -> None:
    protected(made)
    made.fault("failed-read", on="balance")
    made.run(30)
    assert made.core.state.risk.equity is None
    flat(made)
    made.signal = 0.5
    made.run(25)
    assert decided(made) == "equity unknown"
    assert made.core.state.risk.killed is None
    assert made.heard(EquityRead)[-1].equity is None
    made.mend()
    made.run(45)
    assert len(entries(made)) == 2


@pytest.mark.failure(2)
def test_an_unknown_position_changes_nothing(made: Rig) -> None:
    protected(made)
    made.fault("failed-read", on="position")
    before, sent = made.trade, len(made.posts(CREATE))
    made.run(15)
    assert made.trade is before
    assert before is not None
    assert (before.open, len(made.posts(CREATE))) == (before.size, sent)
    assert not made.closed()
    made.mend()
    flat(made)


@pytest.mark.failure(3)
def test_unknown_open_orders_keep_the_entry(made: Rig) -> None:
    resting(made)
    made.fault("failed-read", on="open-orders")
    made.run(10)
    assert made.trade is not None
    assert len(entries(made)) == 1


@pytest.mark.failure(4)
def test_a_kill_without_answers_is_never_reported_flat(made: Rig) -> None:
    protected(made)
    made.core.state.risk.killed = "by the test"
    for on in ("position", "open-orders", "executions"):
        made.fault("failed-read", on=on)
    made.fault("http-status", on=CREATE, status=500)
    made.run(70)
    assert made.trade is not None
    assert made.trade.open > 0
    assert "kill-open" in made.alerts()
    assert not made.closed()
    made.mend()
    flat(made, 30)
    assert made.closed()[-1].reason in ("kill", "exit", "stop", "target")


@pytest.mark.failure(5)
def test_a_killed_account_is_killed_after_a_restart(made: Rig) -> None:
    protected(made)
    made.core.state.risk.killed = "by the test"
    made.run(10)
    made.kill()
    made.signal = 0.5
    made.run(30)
    assert made.held == 0
    assert decided(made) == "kill switch"
    assert len(entries(made)) == 1


@pytest.mark.failure(6)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("amount", [3_000, -3_000])
def test_a_transfer_moves_the_high_water_mark_and_kills_nothing(tmp_path: Path, amount: int, late: bool) -> None:
    config = msgspec.structs.replace(RIG_CONFIG, max_drawdown=Decimal("0.1"))
    with rig(tmp_path, config=config) as made:
        made.signal = QUIET
        made.run(25)
        assert made.core.state.risk.high_water == 10_000
        made.transfer(amount, logged=not late)
        made.run(12)
        made.log_transfers = True
        made.run(60)
        risk = made.core.state.risk
        assert risk.killed is None
        assert risk.equity == risk.high_water == Decimal(10_000 + amount)


@pytest.mark.failure(7)
def test_an_attached_stop_that_never_came_is_set(made: Rig) -> None:
    made.fault("stop-drop", count=1)
    filled(made)
    assert made.stop == 0
    assert made.run(4, lambda: made.trade is not None and made.trade.protected == made.trade.size)
    assert made.trade is not None
    assert made.stop == made.trade.stop
    assert not made.said(ClosePosition)


@pytest.mark.failure(7)
@pytest.mark.failure(8)
@pytest.mark.parametrize("kind", ["stop-drop", "stop-reject", "stop-adjust"])
def test_a_stop_that_does_not_stick_is_closed_in_time(made: Rig, kind: str) -> None:
    made.fault(kind)
    filled(made)
    seconds = RIG_CONFIG.protection_timeout_ms / 1000 + 2
    assert made.run(seconds, lambda: made.held == 0)
    flat(made, 10)
    assert made.closed()[-1].reason == "unprotected"


@pytest.mark.failure(8)
@pytest.mark.parametrize("stop", ["0", "moved"])
def test_a_stop_that_somebody_takes_away_comes_back(made: Rig, stop: str) -> None:
    protected(made)
    assert made.trade is not None
    moved = stop if stop == "0" else str(made.listing.numbers.price(made.trade.stop - 7))
    index = made.gateway.memory.index
    made.call(STOP, category="linear", symbol=SYMBOL, tpslMode="Full", stopLoss=moved, positionIdx=index)
    assert made.run(10, lambda: bool(made.said(SetProtection)))
    assert made.run(3, lambda: made.trade is not None and made.stop == made.trade.stop)
    assert "stop-adjusted" in made.alerts()


@pytest.mark.failure(9)
@pytest.mark.parametrize(
    ("kind", "fields"), [("ret-code", {"code": 10001}), ("timeout-before", {}), ("timeout-after", {})]
)
def test_the_old_stop_stays_until_the_new_one_is_there(made: Rig, kind: str, fields: dict[str, int]) -> None:
    protected(made)
    index = made.gateway.memory.index
    assert made.trade is not None
    moved = str(made.listing.numbers.price(made.trade.stop - 7))
    made.call(STOP, category="linear", symbol=SYMBOL, tpslMode="Full", stopLoss=moved, positionIdx=index)
    made.fault(kind, on=STOP, count=1, **fields)
    seen: set[int] = set()
    plan = made.trade.stop

    def watch() -> bool:
        seen.add(made.stop)
        return made.stop == plan

    assert made.run(12, watch)
    assert 0 not in seen
    assert not made.posts(CANCEL)


@pytest.mark.failure(10)
@pytest.mark.failure(43)
def test_exits_go_on_without_a_stream(made: Rig) -> None:
    protected(made)
    made.fault("drop", on="*")
    made.stream.cut("by the test")
    flat(made)


@pytest.mark.failure(11)
def test_a_restart_with_a_position_goes_on_with_its_plan(made: Rig) -> None:
    protected(made)
    before = made.trade
    assert before is not None
    made.kill()
    made.run(3)
    after = made.trade
    assert after is not None
    for name in ("link_id", "first_fill_ms", "stop", "target", "atr", "hold_ms", "filled", "decided_ms"):
        assert getattr(after, name) == getattr(before, name)
    flat(made)
    assert len(entries(made)) == 1


@pytest.mark.failure(12)
def test_a_restart_with_a_resting_entry_knows_it_and_lets_it_expire(made: Rig) -> None:
    resting(made)
    before = made.trade
    assert before is not None
    made.kill()
    made.signal = QUIET
    made.run(2)
    assert made.trade is not None
    assert (made.trade.link_id, made.trade.entry) == (before.link_id, "resting")
    made.run(80, lambda: made.trade is None)
    made.run(1)
    assert made.verdict() == []


@pytest.mark.failure(16)
def test_a_fill_while_the_process_is_down_is_found(made: Rig) -> None:
    resting(made)
    made.stream.cut("the process is gone")
    sweep(made)
    made.kill()
    assert made.run(5, lambda: made.trade is not None and made.trade.protected == made.trade.size)
    flat(made)


@pytest.mark.failure(13)
@pytest.mark.failure(14)
def test_foreign_orders_of_many_pages_pause_and_are_left_alone(made: Rig) -> None:
    made.signal = QUIET
    made.run(2)
    price, index = (made.listing.best_bid or 0) - 900, made.places()[0][0]
    for number in range(120):
        made.call(
            CREATE, category="linear", symbol=SYMBOL, side="Buy", orderType="Limit", qty="0.002", positionIdx=index,
            price=str(made.listing.numbers.price(price - number)),
        )  # fmt: skip
    made.signal = 0.5
    made.run(25)
    assert "120 foreign" in made.core.state.risk.paused["foreign"]
    assert decided(made).startswith("paused")
    assert len([row for row in made.truth("/v5/order/realtime") if row["orderStatus"] == "New"]) == 120
    assert not made.posts(CANCEL)


@pytest.mark.failure(14)
def test_a_foreign_position_pauses_and_is_left_alone(made: Rig) -> None:
    made.foreign, made.signal = True, QUIET
    made.run(2)
    made.fault("manual-position", side="Buy", qty="0.010", position=made.places()[0][0])
    made.signal = 0.5
    made.run(30)
    assert made.core.state.risk.paused
    assert decided(made).startswith("paused")
    assert made.held == 10
    assert not made.posts(CREATE)


@pytest.mark.failure(14)
def test_a_close_by_hand_is_seen_and_counted(made: Rig) -> None:
    protected(made)
    assert made.trade is not None
    qty = str(made.listing.instrument.quantity(made.trade.size))
    made.fault("manual-position", side="Sell", qty=qty, position=made.gateway.memory.index)
    flat(made, 10)
    assert made.closed()[-1].reason == "external"
    assert "external" in made.core.state.risk.paused
    assert not made.said(ClosePosition)


@pytest.mark.failure(26)
@pytest.mark.parametrize("kind", ["adl", "liquidate"])
def test_what_the_venue_closes_is_counted(made: Rig, kind: str) -> None:
    protected(made)
    made.fault(kind, position=made.gateway.memory.index, **({"share": 1.0} if kind == "adl" else {}))
    flat(made, 10)
    assert made.closed()[-1].reason == {"adl": "adl", "liquidate": "liquidation"}[kind]


@pytest.mark.failure(26)
def test_funding_is_no_fill(made: Rig) -> None:
    protected(made)
    fills = len(made.heard(Filled))
    made.fault("funding", rate="0.001")
    made.run(6)
    assert len(made.heard(Filled)) == fills
    assert made.trade is not None
    assert made.trade.funding > 0
    flat(made)


@pytest.mark.failure(15)
def test_an_entry_expires_with_one_cancel(made: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    params = msgspec.convert(PARAMS.to_json() | {"offset_atr": 3.0}, type=type(PARAMS))
    monkeypatch.setitem(COUNCILS, "long", sign_council(("signal", "other"), "signal", params=params))
    made.kill()
    resting(made)
    made.signal = QUIET
    assert made.trade is not None
    link = made.trade.link_id
    assert made.run(60, lambda: made.trade is None)
    assert [body["orderLinkId"] for body in made.posts(CANCEL)] == [link]
    assert made.verdict() == []


@pytest.mark.failure(16)
def test_a_cancel_that_races_a_fill_gives_a_protected_position(made: Rig) -> None:
    resting(made)
    made.fault("fill-on-cancel", share=0.5)
    made.signal = QUIET
    assert made.trade is not None
    made.drive(Halt(made.now_ms))
    made.core.state.flatten = None
    made.run(45, lambda: made.trade is not None and made.trade.open > 0 and not made.trade.entry_live)
    assert made.trade is not None
    assert made.run(5, lambda: made.trade is not None and made.trade.protected == made.trade.open > 0)
    flat(made)


@pytest.mark.failure(17)
def test_two_pieces_are_one_position_under_one_stop(made: Rig) -> None:
    resting(made)
    assert made.trade is not None
    queue = 0
    while made.held == 0 and queue < 400:
        queue += 1
        made.sweep(made.trade.limit, -made.trade.side, 40)
    made.run(3)
    assert made.trade is not None
    sweep(made)
    assert made.run(5, lambda: made.trade is not None and made.trade.protected == made.trade.open > 0)
    flat(made)
    assert len(entries(made)) == 1


@pytest.mark.failure(18)
def test_a_fill_before_the_answer_keeps_the_plan(made: Rig) -> None:
    def at_once(path: str) -> None:
        if path == CREATE:
            made.after_request = lambda _: None
            row = made.truth("/v5/order/realtime")[0]
            made.sweep(made.listing.instrument.to_ticks(row["price"]), -1)

    made.after_request = at_once
    assert made.run(60, lambda: made.trade is not None and made.trade.open > 0)
    assert made.trade is not None
    assert made.trade.size == made.trade.open
    flat(made)


@pytest.mark.failure(19)
@pytest.mark.failure(20)
def test_duplicated_news_and_many_signals_are_one_entry(made: Rig) -> None:
    made.fault("duplicate", on="*")
    protected(made)
    for _ in range(10):
        made.session.pulse()
    flat(made)
    assert len(entries(made)) == 1


@pytest.mark.failure(21)
@pytest.mark.failure(39)
@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("fault", ["timeout", 10000, 10016, 10019, "http 429", "http 500"])
def test_an_unknown_outcome_is_asked_for_before_anything_is_sent(made: Rig, fault: str | int, accepted: bool) -> None:
    if fault == "timeout":
        made.fault("timeout-after" if accepted else "timeout-before", on=CREATE, count=1)
    elif isinstance(fault, int):
        made.fault("ret-code", on=CREATE, code=fault, accepted=accepted, count=1)
    else:
        made.fault("http-status", on=CREATE, status=int(fault.split()[1]), accepted=accepted, count=1)
    made.run(30, lambda: bool(made.said(QueryOrder)) or bool(made.heard(OrderAccepted)))
    made.signal = QUIET
    first = entries(made)[0]["orderLinkId"]
    # An order that was accepted is told of by the stream, whatever became of the answer.
    assert accepted or made.said(QueryOrder)[0].link_id == first
    made.run(12)
    assert made.verdict() == []
    links = [body["orderLinkId"] for body in entries(made)]
    assert links.count(first) == 1
    if accepted:
        assert made.heard(Filled) or made.trade is not None
    else:
        assert links == [first]
        assert made.trade is None


@pytest.mark.failure(21)
@pytest.mark.parametrize("accepted", [False, True])
def test_a_close_of_unknown_outcome_is_asked_for_and_works_in_the_end(made: Rig, accepted: bool) -> None:
    protected(made)
    made.fault("timeout-after" if accepted else "timeout-before", on=CREATE, count=1)
    made.core.state.flatten = "by the test"
    flat(made, 30)
    assert len(made.said(ClosePosition)) == (1 if accepted else 2)


@pytest.mark.failure(22)
def test_a_post_only_entry_is_sent_again_at_most_so_often(tmp_path: Path) -> None:
    with rig(tmp_path, config=msgspec.structs.replace(RIG_CONFIG, max_reprices=2)) as made:
        made.fault("cancel-post-only")
        made.run(21)
        made.signal = QUIET
        made.run(5)
        links = [body["orderLinkId"][-2:] for body in entries(made)]
        assert links == ["L0", "L1", "L2"]
        assert made.trade is None
        assert made.verdict() == []


@pytest.mark.failure(23)
@pytest.mark.failure(39)
@pytest.mark.parametrize("code", [110007, 110003, 110017, 10002, 10006, 110094])
def test_a_refused_entry_leaves_nothing_behind(made: Rig, code: int) -> None:
    made.fault("ret-code", on=CREATE, code=code)
    made.run(21)
    made.signal = QUIET
    made.run(15)
    assert len(entries(made)) == 1
    assert made.trade is None
    assert made.verdict() == []


@pytest.mark.failure(24)
def test_stop_and_exit_at_once_close_once(made: Rig) -> None:
    protected(made)
    assert made.trade is not None
    made.core.state.flatten = "by the test"
    stop, side = made.trade.stop, made.trade.side

    def at_once(path: str) -> None:
        if path == CREATE:
            made.after_request = lambda _: None

    made.after_request = at_once
    made.session.pulse()
    made.sweep(stop - side, -side)
    flat(made, 30)


@pytest.mark.failure(25)
def test_the_second_position_counts_from_its_own_fill(made: Rig) -> None:
    protected(made)
    flat(made)
    made.signal = 0.5
    protected(made)
    trade = made.trade
    assert trade is not None
    assert trade.first_fill_ms == max(int(row["execTime"]) for row in made.truth("/v5/execution/list"))


@pytest.mark.failure(27)
def test_live_sends_the_plan_of_the_backtest(made: Rig) -> None:
    resting(made)
    order = made.said(PlaceEntry)[0]
    [body] = entries(made)
    price = made.listing.instrument.price
    sent = tuple(Decimal(body[name]) for name in ("price", "stopLoss", "takeProfit"))
    assert sent == (price(order.limit), price(order.stop), price(order.target))


@pytest.mark.failure(28)
def test_a_maker_target_rests_in_the_cycle_of_the_fill(made: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    params = msgspec.convert(PARAMS.to_json() | {"target_maker": True}, type=type(PARAMS))
    monkeypatch.setitem(COUNCILS, "long", sign_council(("signal", "other"), "signal", params=params))
    made.kill()
    resting(made)
    assert "takeProfit" not in entries(made)[0]
    sweep(made)
    made.run(0.3)
    [target] = made.said(PlaceTarget)
    made.run(0.3)
    rows = {row["orderLinkId"]: row for row in made.truth("/v5/order/realtime")}
    assert rows[target.link_id]["reduceOnly"] is True
    assert rows[target.link_id]["orderStatus"] == "New"
    assert made.trade is not None
    made.sweep(target.price, made.trade.side)
    flat(made, 10)
    assert made.closed()[-1].reason == "target"
    assert [fill.maker for fill in made.heard(Filled) if fill.role == "target"] == [True]


def test_no_entry_before_the_venue_has_told_everything(made: Rig) -> None:
    made.fault("failed-read", on="executions")
    made.run(45)
    assert not entries(made)
    assert decided(made).startswith("venue not ready")
    made.mend()
    made.run(30)
    assert entries(made)
    assert made.heard(VenueState)[-1].ready


@pytest.mark.failure(46)
def test_a_damaged_journal_with_a_position_goes_on_from_copy_and_venue(made: Rig) -> None:
    protected(made)
    before = made.trade
    assert before is not None
    made.journal.close()
    path = made.folder / FILE
    path.write_bytes(b"\xff" * path.stat().st_size)
    made.start()
    assert made.journal.recovered
    made.run(3)
    assert made.trade is not None
    assert (made.trade.open, made.trade.first_fill_ms) == (before.open, before.first_fill_ms)
    assert made.heard(PositionRead)
    made.signal = QUIET
    assert made.run(150, lambda: made.trade is None)
    assert made.held == 0
