"""The paper broker: agreement with the backtest, commands that race, restart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import DataError, OrderRejected
from market.events import EventBatch
from simulation import (
    Accepted,
    Cancelled,
    Closed,
    ExitReason,
    Filled,
    FillModel,
    Funded,
    PaperBroker,
    PaperPlan,
    Plans,
    PlanStatus,
    Rejected,
    Report,
    simulate,
)
from simulation import _layout as lay
from tests.simulation.fill_markets import BUY, SELL, Tape, frames, random_tape
from tests.simulation.test_fills_reference import random_plans

MODEL = FillModel(latency_ms=50, maker_fee=0.0002, taker_fee=0.00055)


def market() -> Tape:
    return Tape().gap(900).snapshot(900, {100 - d: 5 for d in range(5)}, {101 + d: 5 for d in range(5)}).book(1000)


class Desk:
    """A broker, the tape that it reads, and all that it reported."""

    def __init__(self, model: FillModel = MODEL) -> None:
        self.broker, self.tape, self.read, self.reports = PaperBroker(model), market(), 0, list[Report]()
        self.take()

    def take(self) -> list[Report]:
        """Hand over what was written on the tape since the last time, frame by frame."""
        batch = self.tape.batch
        new = [report for frame in frames(batch[self.read :]) for report in self.broker.on_events(frame)]
        self.read = len(batch)
        self.reports += new
        return new

    def buy(self, plan_id: str = "a", size: int = 2, now_ms: int = 1000) -> None:
        self.broker.submit(plan_id, 1, 100, 95, 105, size, now_ms)

    def of(self, kind: type[Report]) -> list[Report]:
        return [report for report in self.reports if type(report) is kind]


def dry_run(
    batch: EventBatch, plans: Plans, model: FillModel, funding: Sequence[tuple[int, float]] = ()
) -> tuple[PaperBroker, dict[str, list[Report]]]:
    """Trade plans as an executor would: it acts on what the frames up to now have shown."""
    broker, reports = PaperBroker(model), defaultdict[str, list[Report]](list)
    rows = [
        dict(zip([f.name for f in fields(plans)], row))
        for row in zip(*(getattr(plans, f.name).tolist() for f in fields(plans)))
    ]
    first_fill: dict[str, int] = {}
    for time_ms, rate in funding:
        broker.fund(rate, time_ms)
    for frame in frames(batch):
        for report in broker.on_events(frame):
            reports[report.plan_id].append(report)
            if isinstance(report, Filled):
                first_fill.setdefault(report.plan_id, report.time_ms)
        for number, row in enumerate(rows):
            plan_id = str(number)
            if row["decide_ms"] <= broker.clock_ms and not row.get("sent"):
                row["sent"] = True
                prices = (row["side"], row["limit"], row["stop"], row["target"], row["size"])
                style = {name: bool(row[name]) for name in ("taking", "target_maker")}
                broker.submit(plan_id, *prices, now_ms=row["decide_ms"], **style)
            if row["decide_ms"] + row["tif_ms"] <= broker.clock_ms and not row.get("cancelled"):
                row["cancelled"] = True
                broker.cancel(plan_id, row["decide_ms"] + row["tif_ms"])
            if first_fill.get(plan_id, 1 << 60) + row["hold_ms"] <= broker.clock_ms and not row.get("left"):
                row["left"] = True
                broker.close(plan_id, first_fill[plan_id] + row["hold_ms"], ExitReason.TIME)
    return broker, reports


@pytest.mark.parametrize("latency_ms", [0, 20])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_dry_run_and_backtest_agree_to_the_tick(latency_ms: int, seed: int) -> None:
    batch = random_tape(seed, 200, gaps=False).batch
    model = FillModel(latency_ms, 0.0002, 0.00055)
    plans = random_plans(seed, 15, int(batch.time_ms.max()))
    plans = plans[plans.decide_ms >= 1000]
    end = int(batch.time_ms.max())
    funding = [(end // 3, 0.001), (end // 2, -0.0005)]
    times, rates = zip(*funding)
    outcomes = simulate([batch], plans, model, funding_ms=times, funding_rate=rates)
    broker, reports = dry_run(batch, plans, model, funding)
    for row in range(len(plans)):
        told = reports[str(row)]
        status = PlanStatus(int(outcomes.status[row]))
        if status is PlanStatus.UNKNOWN:  # open when the data ended
            assert not told or not isinstance(told[-1], Closed | Rejected)
            continue
        assert broker.plan(str(row)) is status
        fills = [report for report in told if isinstance(report, Filled)]
        entries = [fill for fill in fills if fill.role == "entry"]
        exits = [fill for fill in fills if fill.role != "entry"]
        assert sum(fill.size for fill in entries) == outcomes.filled[row]
        assert sum(fill.size * fill.price for fill in entries) == outcomes.entry_value[row]
        assert sum(fill.size * fill.price for fill in exits) == outcomes.exit_value[row]
        if exits:
            assert exits[-1].role == ExitReason(int(outcomes.exit_reason[row])).name.lower()
        assert {fill.maker for fill in entries} <= {not plans.taking[row]}
        assert float(sum(one.amount for one in told if isinstance(one, Funded))) == pytest.approx(outcomes.funding[row])
        assert told[-1].time_ms == outcomes.end_ms[row]
        assert float(sum(fill.fee for fill in fills)) == pytest.approx(outcomes.fees[row])
        if status is PlanStatus.CLOSED:
            closed = told[-1]
            assert isinstance(closed, Closed)
            assert closed.fees == sum(fill.fee for fill in fills)
            assert float(closed.profit) / closed.entry_value == pytest.approx(outcomes.net_return[row], abs=1e-12)


def test_reports_of_a_whole_life() -> None:
    desk = Desk()
    desk.buy()
    desk.tape.book(1060).trade(1200, SELL, (100, 7)).trade(1300, BUY, (105, 1)).book(1310, {100: 1}).book(1400)
    assert desk.take() == [
        Accepted("a", 1060),
        Filled("a", 1200, side=1, price=100, size=2, fee=Decimal("0.0400"), maker=True, role="entry"),
        Filled("a", 1400, side=-1, price=100, size=1, fee=Decimal("0.05500"), maker=False, role="target"),
        Filled("a", 1400, side=-1, price=99, size=1, fee=Decimal("0.05445"), maker=False, role="target"),
        Closed("a", 1400, "target", 2, 200, 199, Decimal("0.14945"), Decimal(0), Decimal("-1.14945")),
    ]
    assert desk.broker.plan("a") is PlanStatus.CLOSED
    assert desk.broker.open_plans() == []


def test_a_rejected_order() -> None:
    desk = Desk()
    desk.broker.submit("a", 1, 101, 95, 105, 2, 1000)
    desk.tape.book(1060)
    assert desk.take() == [Rejected("a", 1060)]
    assert desk.broker.plan("a") is PlanStatus.REJECTED


@pytest.mark.failure(16)
def test_a_cancel_that_races_a_fill() -> None:
    desk = Desk()
    desk.buy()
    desk.tape.book(1060)
    desk.take()
    assert desk.broker.cancel("a", 1100)
    desk.tape.trade(1140, SELL, (100, 6)).book(1160)
    desk.take()
    assert desk.of(Cancelled) == [Cancelled("a", 1160, left=1, filled=1)]
    assert desk.broker.open_plans()[0].position == 1
    desk.tape.trade(1200, SELL, (95, 1)).book(1260)
    assert isinstance(desk.take()[-1], Closed)


def test_a_cancel_before_the_order_arrived() -> None:
    desk = Desk()
    desk.buy()
    assert desk.broker.cancel("a", 1000)
    desk.tape.book(1060)
    assert desk.take() == [Accepted("a", 1060), Cancelled("a", 1060, left=2, filled=0)]
    assert desk.broker.plan("a") is PlanStatus.UNFILLED
    assert not desk.broker.cancel("a", 1070)


@pytest.mark.failure(17)
def test_two_pieces_are_one_position() -> None:
    desk = Desk()
    desk.buy()
    desk.tape.book(1060).trade(1100, SELL, (100, 6)).trade(1110, SELL, (100, 1))
    desk.take()
    [view] = desk.broker.open_plans()
    assert (view.position, view.resting, view.entry_value, view.entry_ms, view.closing) == (2, 0, 200, 1100, None)
    desk.tape.trade(1200, SELL, (95, 1)).book(1260)
    desk.take()
    assert [report.filled for report in desk.of(Closed) if isinstance(report, Closed)] == [2]


@pytest.mark.failure(24)
@pytest.mark.parametrize("owner_first", [True, False])
def test_stop_and_owner_close_together(owner_first: bool) -> None:
    desk = Desk()
    desk.buy()
    desk.tape.book(1060).trade(1100, SELL, (100, 7))
    desk.take()
    if owner_first:
        assert desk.broker.close("a", 1200)
    desk.tape.trade(1200, SELL, (95, 1))
    desk.take()
    if not owner_first:
        assert not desk.broker.close("a", 1200)
    assert not desk.broker.close("a", 1210)
    desk.tape.trade(1220, SELL, (94, 1)).book(1260).book(1400)
    desk.take()
    [closed] = desk.of(Closed)
    assert isinstance(closed, Closed)
    assert closed.reason == ("flatten" if owner_first else "stop")
    assert closed.filled == 2


@pytest.mark.failure(25)
def test_the_view_shows_the_time_of_the_fill_not_of_the_order() -> None:
    desk = Desk()
    desk.buy("old")
    desk.buy("new", now_ms=1000)
    desk.tape.book(1060).book(5000).trade(9000, SELL, (100, 7))
    desk.take()
    assert {view.entry_ms for view in desk.broker.open_plans()} == {9000}


@pytest.mark.failure(26)
def test_partial_closes_are_summed_once_with_funding() -> None:
    desk = Desk()
    desk.buy(size=8)
    desk.broker.fund(0.01, 1150)
    desk.tape.book(1060).trade(1100, SELL, (99, 1)).book(1160, {98: 0, 97: 0, 96: 0})
    desk.tape.book(1170, {99: 0, 100: 6}).trade(1200, SELL, (95, 1)).trade(1260, BUY, (101, 1)).book(
        1300, {100: 0, 99: 9}
    )
    desk.take()
    fills = [report for report in desk.of(Filled) if isinstance(report, Filled)]
    assert [(fill.side, fill.price, fill.size) for fill in fills] == [(1, 100, 8), (-1, 100, 6), (-1, 99, 2)]
    [closed] = desk.of(Closed)
    assert isinstance(closed, Closed)
    assert (closed.entry_value, closed.exit_value, closed.time_ms) == (800, 798, 1300)
    assert closed.fees == sum(fill.fee for fill in fills)
    assert closed.funding == Decimal(repr(0.01 * 100.5 * 8))
    assert closed.profit == -2 - closed.fees - closed.funding


def test_an_exit_that_waits_for_size_takes_no_level_twice() -> None:
    desk = Desk()
    desk.buy(size=40)
    desk.tape.book(1060).trade(1100, SELL, (99, 1)).trade(1200, SELL, (95, 1)).book(1260)
    desk.take()
    walked = [(100 - d, 5) for d in range(5)]
    assert [(fill.price, fill.size) for fill in desk.of(Filled)[1:]] == walked
    desk.tape.book(1300, asks={101: 6}).book(1310).trade(1320, SELL, (96, 5))
    assert desk.take() == []  # nothing was shown anew, so nothing is there to take
    desk.tape.book(1330, bids={98: 7, 95: 2})
    assert [(fill.price, fill.size) for fill in desk.take() if isinstance(fill, Filled)] == [(98, 7), (95, 2)]
    desk.tape.snapshot(1400, {90: 3, 89: 9}, {101: 5})
    closing = desk.take()
    assert [(fill.price, fill.size) for fill in closing if isinstance(fill, Filled)] == [(90, 3), (89, 3)]
    assert isinstance(closing[-1], Closed)
    assert closing[-1].filled == 40


def test_close_of_an_entry_that_did_not_fill_cancels_it() -> None:
    desk = Desk()
    desk.buy()
    desk.tape.book(1060)
    desk.take()
    assert desk.broker.close("a", 1100)
    desk.tape.book(1160)
    assert desk.take() == [Cancelled("a", 1160, left=2, filled=0)]


def test_a_gap_holds_everything_up_but_ends_nothing() -> None:
    desk = Desk()
    desk.buy("held", size=2)
    desk.tape.book(1060).trade(1100, SELL, (100, 7))
    desk.take()
    desk.buy("resting", now_ms=1100)
    desk.tape.book(1160).gap(1200)
    desk.take()
    assert not desk.broker.book_known
    desk.buy("flying", now_ms=1200)
    desk.broker.cancel("resting", 1300)
    desk.tape.trade(1250, SELL, (95, 99)).book(1400, {100: 1})
    assert desk.take() == []  # nothing fills, arrives or closes in the dark
    desk.tape.snapshot(1500, {100: 1, 99: 9}, {101: 5}).book(1510)
    told = desk.take()
    assert [type(report) for report in told if report.plan_id == "held"] == [Filled, Filled, Closed]
    assert [type(report) for report in told if report.plan_id == "resting"] == [Cancelled]
    assert [type(report) for report in told if report.plan_id == "flying"] == [Accepted]
    assert {report.time_ms for report in told} == {1510}


def test_batches_of_many_frames_and_long_logs() -> None:
    """One call with more plans and reports than the log begins with gives the same as many calls."""
    batch = random_tape(11, 400, gaps=False).batch
    plans = random_plans(11, 60, 1400)
    first = next(iter(frames(batch)))
    results = []
    for pieces in ([batch[len(first) :]], list(frames(batch[len(first) :]))):
        broker = PaperBroker(MODEL)
        broker.on_events(first)
        for row in range(len(plans)):
            columns = (plans.side, plans.limit, plans.stop, plans.target, plans.size)
            broker.submit(str(row), *(int(column[row]) for column in columns), now_ms=1000)
        results.append([report for piece in pieces for report in broker.on_events(piece)])
    assert results[0] == results[1]
    assert len(results[0]) > 60


def test_rows_of_ended_plans_are_used_again() -> None:
    desk = Desk()
    desk.broker.submit("first", 1, 96, 90, 110, 1, 1000)
    clock = 1100
    for number in range(100):
        desk.buy(f"p{number}", now_ms=clock)
        desk.tape.book(clock + 60)
        desk.take()
        desk.broker.cancel(f"p{number}", clock + 100)
        desk.tape.book(clock + 160)
        desk.take()
        clock += 200
    assert len(desk.of(Cancelled)) == 100
    assert [view.plan_id for view in desk.broker.open_plans()] == ["first"]
    desk.tape.trade(clock, SELL, (95, 1))
    [fill] = desk.take()
    assert isinstance(fill, Filled)
    assert (fill.plan_id, fill.price) == ("first", 96)


def test_restart_goes_on_where_it_was() -> None:
    """State goes through JSON text while one plan is held, one rests and one is under way."""
    desk = Desk()
    desk.buy("held")
    desk.tape.book(1060).trade(1100, SELL, (100, 7))
    desk.take()
    desk.buy("resting", now_ms=1100)
    desk.broker.submit("done", 1, 101, 95, 105, 2, 1100)
    desk.tape.book(1160)
    desk.take()
    desk.broker.cancel("resting", 1190)
    desk.broker.fund(0.001, 1190)
    desk.buy("flying", now_ms=1190)
    views = desk.broker.open_plans()
    desk.broker = PaperBroker.restore(json.loads(json.dumps(desk.broker.snapshot())), MODEL)
    assert desk.broker.open_plans() == views
    assert desk.broker.clock_ms == 1160
    assert not desk.broker.book_known
    assert desk.broker.plan("done") is PlanStatus.REJECTED
    with pytest.raises(OrderRejected) as refused:
        desk.buy("done")
    assert refused.value.code == 110072
    desk.tape.gap(1160).snapshot(1200, {100: 5}, {101: 5}).book(1250).trade(1300, SELL, (95, 1)).book(1400)
    told = desk.take()
    assert [type(report) for report in told if report.plan_id == "resting"] == [Cancelled]
    assert [type(report) for report in told if report.plan_id == "flying"] == [Accepted, Filled, Filled, Closed]
    [closed] = [report for report in told if report.plan_id == "held" and isinstance(report, Closed)]
    assert closed.reason == "stop"
    assert closed.funding > 0


@pytest.mark.failure(46)
@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("plans"),
        lambda state: state.update(schema=99),
        lambda state: state["plans"]["a"].pop("filled"),
        lambda state: state["plans"]["a"].update(stop="soon"),
        lambda state: state.update(ended={"b": 77}),
        lambda state: state.update(plans=[]),
    ],
)
def test_a_damaged_state_is_reported(damage) -> None:  # type: ignore[no-untyped-def]
    desk = Desk()
    desk.buy()
    state = desk.broker.snapshot()
    damage(state)
    with pytest.raises(DataError, match="paper broker's state cannot be read"):
        PaperBroker.restore(state, MODEL)


@pytest.mark.failure(30)
@pytest.mark.parametrize(
    ("side", "limit", "stop", "target", "size"),
    [
        (0, 100, 95, 105, 1),
        (1, 0, 95, 105, 1),
        (1, -100, 95, 105, 1),
        (1, float("nan"), 95, 105, 1),
        (1, 100, 100, 105, 1),
        (1, 100, 95, 99, 1),
        (-1, 100, 95, 105, 1),
        (1, 100, 95, 105, 0),
        (1, 100, 95, 105, 1.5),
    ],
)
def test_impossible_orders_are_refused(side: int, limit: int, stop: int, target: int, size: int) -> None:
    broker = PaperBroker(MODEL)
    with pytest.raises(OrderRejected) as refused:
        broker.submit("a", side, limit, stop, target, size, 1000)
    assert refused.value.code == 10001
    assert broker.open_plans() == []


def test_ids() -> None:
    desk = Desk()
    desk.buy()
    with pytest.raises(OrderRejected) as refused:
        desk.buy()
    assert refused.value.code == 110072
    for ask in (desk.broker.plan, lambda name: desk.broker.cancel(name, 1), lambda name: desk.broker.close(name, 1)):
        with pytest.raises(OrderRejected) as unknown:
            ask("b")
        assert unknown.value.code == 110001
    view = desk.broker.plan("a")
    assert view == PaperPlan("a", 1, 100, 95, 105, 2, resting=2, position=0, entry_value=0, entry_ms=-1, closing=None)


@pytest.mark.parametrize("payment", [(float("nan"), 2000), (0.1, 999)])
def test_impossible_funding_is_refused(payment: tuple[float, int]) -> None:
    broker = PaperBroker(MODEL)
    broker.fund(0.0001, 1000)
    with pytest.raises(OrderRejected, match="funding"):
        broker.fund(*payment)


def test_the_last_rate_before_the_payment_is_charged() -> None:
    desk = Desk()
    desk.buy()
    desk.broker.fund(0.5, 1250)
    desk.tape.book(1060).trade(1200, SELL, (100, 7))
    desk.take()
    desk.broker.fund(0.01, 1250)
    desk.tape.book(1260).book(1270)
    assert desk.take() == [Funded("a", 1260, Decimal("0.01"), Decimal("100.5"), 2, Decimal("2.010"))]


def test_a_snapshot_of_the_first_schema_is_restored() -> None:
    desk = Desk()
    desk.buy()
    state = desk.broker.snapshot() | {"schema": 1}
    for plan in state["plans"].values():
        for name in [*lay._RESTS, "taking", "target_maker", "rest_due"]:
            del plan[name]
    restored = PaperBroker.restore(state, MODEL)
    assert restored.open_plans() == desk.broker.open_plans()
    with pytest.raises(DataError, match="schema 3"):
        PaperBroker.restore(state | {"schema": 3}, MODEL)


def test_a_broker_that_restarts_keeps_a_resting_target() -> None:
    desk = Desk()
    desk.broker.submit("a", 1, 101, 95, 105, 2, 1000, taking=True, target_maker=True)
    desk.tape.book(1060).book(1120)
    desk.take()
    desk.broker = PaperBroker.restore(json.loads(json.dumps(desk.broker.snapshot())), MODEL)
    (plan,) = desk.broker.open_plans()
    assert (plan.position, plan.target_left, plan.taking, plan.target_maker) == (2, 2, True, True)
    desk.tape.snapshot(1200, {100: 5}, {105: 3}).trade(1300, BUY, (105, 5))
    closed = desk.take()[-1]
    assert isinstance(closed, Closed)
    assert (closed.reason, closed.exit_value) == ("target", 210)
