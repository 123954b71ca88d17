"""Each rule of the fill model on a market written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from market.events import EventBatch
from simulation.fills import ExitReason, FillModel, PlanOutcomes, Plans, PlanStatus, simulate
from tests.simulation.fill_markets import BUY, SELL, Tape

MODEL = FillModel(latency_ms=50, maker_fee=0.0002, taker_fee=0.00055)
FREE = FillModel(latency_ms=50, maker_fee=0.0, taker_fee=0.0)
LONG = {"side": 1, "limit": 100, "stop": 95, "target": 105, "size": 2, "tif_ms": 1000, "hold_ms": 5000}
SHORT = LONG | {"side": -1, "limit": 101, "stop": 106, "target": 96}


def plan(decide_ms: int = 1000, **changes: int) -> Plans:
    values: dict[str, Any] = LONG | {"decide_ms": decide_ms} | changes
    return Plans(**{name: np.array([value]) for name, value in values.items()})


def market() -> Tape:
    """Bids 100 to 96, asks 101 to 105, five steps each, known from 900 on."""
    return Tape().gap(900).snapshot(900, {100 - d: 5 for d in range(5)}, {101 + d: 5 for d in range(5)}).book(1000)


def filled() -> Tape:
    """A market in which a buy of 2 at 100, decided at 1000, is filled at 1200."""
    return market().book(1060).trade(1200, SELL, (100, 7))


def run(tape: Tape, plans: Plans | None = None, model: FillModel = MODEL) -> PlanOutcomes:
    return simulate([tape.batch], plans or plan(), model)


def status(outcomes: PlanOutcomes) -> PlanStatus:
    assert len(outcomes) == 1
    return PlanStatus(int(outcomes.status[0]))


def reason(outcomes: PlanOutcomes) -> ExitReason:
    assert status(outcomes) is PlanStatus.CLOSED
    return ExitReason(int(outcomes.exit_reason[0]))


# Arrival


def test_an_order_that_would_take_at_arrival_is_rejected() -> None:
    outcomes = run(market().book(1040, asks={100: 3}).book(1060))
    assert status(outcomes) is PlanStatus.REJECTED
    assert (outcomes.end_ms[0], outcomes.net_return[0], outcomes.entry_ms[0]) == (1060, 0.0, -1)


def test_the_book_before_the_event_that_moves_the_clock_decides() -> None:
    """At 1050 the ask was still 101: what a message of 1060 brings comes after the order, and fills it."""
    outcomes = run(market().book(1060, asks={100: 3}).book(1200))
    assert outcomes.status[0] == PlanStatus.UNKNOWN  # filled, and still open at the end of the data
    assert status(run(market().book(1060, asks={100: 3}).book(7000).book(7060))) is PlanStatus.CLOSED


def test_an_order_does_not_arrive_within_the_frame_that_closed_its_bar() -> None:
    """The frame at 2000 is the first that shows that 1000 has passed: nobody could act before it was read."""
    tape = Tape().gap(900).snapshot(900, {100: 5}, {101: 5}).trade(2000, SELL, (99, 9), (99, 9)).book(2100).book(2200)
    assert status(run(tape)) is PlanStatus.UNFILLED


# Queue


def test_the_queue_ahead_is_served_first() -> None:
    tape = market().trade(1100, SELL, (100, 5)).book(2000).book(2060)
    assert status(run(tape)) is PlanStatus.UNFILLED


def test_a_trade_beyond_the_queue_fills_in_part() -> None:
    tape = market().trade(1100, SELL, (100, 6)).book(1500).trade(1600, SELL, (94, 1)).book(1700)
    outcomes = run(tape, plan(size=9, stop=94, tif_ms=300))
    assert outcomes.filled[0] == 1
    assert outcomes.entry_value[0] == 100


def test_a_shrinking_level_caps_the_queue() -> None:
    tape = market().book(1100, bids={100: 1}).trade(1200, SELL, (100, 3)).trade(1300, BUY, (105, 1)).book(1400)
    assert run(tape).filled[0] == 2
    unchanged = market().book(1100, bids={100: 9}).trade(1200, SELL, (100, 3)).book(2000).book(2060)
    assert status(run(unchanged)) is PlanStatus.UNFILLED


def test_a_touch_is_not_a_fill() -> None:
    """The market trades at our price from the other side, and below us as buys; neither reaches a resting bid."""
    tape = market().book(1060).trade(1100, BUY, (100, 50), (99, 50)).book(2000).book(2060)
    assert status(run(tape)) is PlanStatus.UNFILLED


def test_a_trade_through_the_price_fills_wholly() -> None:
    tape = market().book(1060).trade(1100, SELL, (99, 1)).trade(1300, BUY, (105, 1)).book(1400)
    outcomes = run(tape)
    assert (outcomes.filled[0], outcomes.entry_ms[0], outcomes.entry_value[0]) == (2, 1100, 200)


def test_an_opposite_price_that_reaches_ours_fills_at_our_limit() -> None:
    tape = market().book(1060).book(1100, {100: 0}, {99: 4}).trade(1300, BUY, (105, 1)).book(1400)
    outcomes = run(tape)
    assert (outcomes.filled[0], outcomes.entry_value[0]) == (2, 200)


def test_the_queue_of_a_level_deeper_than_the_book_is_unknown() -> None:
    """Nothing displayed at 90 does not mean that nobody waits there."""
    deep = plan(limit=90, stop=80, target=110, size=1)
    sweep = market().book(1060).trade(1100, SELL, (90, 50)).book(2000).book(2060)
    assert status(run(sweep, deep)) is PlanStatus.UNFILLED
    seen = market().book(1060).book(1070, {90: 4}).trade(1100, SELL, (90, 4)).book(2000).book(2060)
    assert status(run(seen, deep)) is PlanStatus.UNFILLED
    beyond = market().book(1060).book(1070, {90: 4}).trade(1100, SELL, (90, 5)).trade(1200, BUY, (110, 1)).book(1300)
    assert run(beyond, deep).filled[0] == 1


def test_a_snapshot_without_a_gap_keeps_the_plan() -> None:
    tape = market().book(1060).snapshot(1100, {100: 1}, {101: 1}).trade(1200, SELL, (100, 2)).book(2000).book(2060)
    outcomes = run(tape.trade(2300, BUY, (105, 1)).book(2400), plan(size=1))
    assert outcomes.filled[0] == 1


# Cancel


def test_an_unfilled_entry_is_cancelled() -> None:
    outcomes = run(market().book(2000).book(2049).book(2050).book(2100))
    assert status(outcomes) is PlanStatus.UNFILLED
    assert (outcomes.end_ms[0], outcomes.filled[0], outcomes.net_return[0], outcomes.fees[0]) == (2050, 0, 0.0, 0.0)


@pytest.mark.failure(16)
def test_a_fill_that_races_the_cancel_counts_and_is_protected() -> None:
    """The cancel is sent at 2000 and takes effect at 2050; the fill at 2040 is a position with a stop."""
    tape = market().book(1060).book(2000).trade(2040, SELL, (99, 1)).book(2060).trade(2100, SELL, (95, 1)).book(2150)
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.STOP
    assert outcomes.entry_ms[0] == 2040


# Exits


def test_stop() -> None:
    tape = filled().trade(1300, SELL, (96, 1)).trade(1310, SELL, (95, 1)).book(1330, {100: 0, 99: 1}).book(1400)
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.STOP
    assert outcomes.exit_value[0] == 99 + 98
    assert outcomes.exit_ms[0] == outcomes.end_ms[0] == 1400


def test_target_is_a_market_order_too() -> None:
    tape = filled().trade(1300, BUY, (105, 1)).book(1400)
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.TARGET
    assert outcomes.exit_value[0] == 200  # the bid, not the target: the print at 105 came and went
    assert outcomes.fees[0] == pytest.approx(200 * 0.0002 + 200 * 0.00055)


def test_time_exit_counts_from_the_fill() -> None:
    outcomes = run(filled().book(6199).book(6200).book(6249).book(6251))
    assert reason(outcomes) is ExitReason.TIME
    assert outcomes.exit_ms[0] == 6251


def test_the_exit_takes_effect_after_the_latency_on_the_book_as_it_stood() -> None:
    tape = filled().trade(1300, SELL, (95, 1)).book(1340, {100: 0, 99: 0}).book(1350, {98: 0}).book(1360)
    assert run(tape).exit_value[0] == 2 * 98


def test_what_the_book_does_not_hold_is_closed_on_the_next_message() -> None:
    thin = {100: 0, 99: 0, 98: 0, 97: 0, 96: 1}
    tape = filled().trade(1300, SELL, (95, 1)).book(1310, thin).trade(1400, SELL, (96, 1)).book(1500, {96: 0, 90: 9})
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.STOP
    assert (outcomes.exit_value[0], outcomes.exit_ms[0]) == (96 + 90, 1500)


def test_the_trade_that_fills_may_trigger_the_stop() -> None:
    tape = market().book(1060).trade(1200, SELL, (94, 1)).book(1300)
    assert reason(run(tape)) is ExitReason.STOP


def test_a_target_before_the_fill_does_not_count() -> None:
    """A live system booked take profits from the part of the fill's bar that lay before the fill."""
    tape = market().book(1060).trade(1100, BUY, (105, 9), (120, 9)).trade(1200, SELL, (100, 7)).book(1300).book(6000)
    outcomes = run(tape.book(6200).book(6260))
    assert reason(outcomes) is ExitReason.TIME
    assert outcomes.entry_ms[0] == 1200


def test_a_stop_before_the_fill_does_not_count() -> None:
    tape = market().book(1060).trade(1100, BUY, (90, 1)).trade(1200, SELL, (100, 7)).book(6200).book(6260)
    assert reason(run(tape)) is ExitReason.TIME


@pytest.mark.failure(24)
def test_the_first_trigger_is_the_only_exit() -> None:
    tape = filled().trade(1300, SELL, (95, 1)).trade(1310, BUY, (105, 1)).book(6300).book(6400)
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.STOP
    assert outcomes.exit_value[0] == 200


@pytest.mark.failure(17)
def test_two_pieces_are_one_position_with_one_stop() -> None:
    tape = (
        market()
        .book(1060)
        .trade(1100, SELL, (100, 6))
        .trade(1400, SELL, (100, 1))
        .trade(1500, SELL, (95, 1))
        .book(1600)
    )
    outcomes = run(tape)
    assert reason(outcomes) is ExitReason.STOP
    assert (outcomes.filled[0], outcomes.entry_ms[0], outcomes.exit_value[0]) == (2, 1100, 200)


def test_an_exit_cancels_the_rest_of_the_entry() -> None:
    tape = (
        market()
        .book(1060)
        .trade(1100, SELL, (100, 6))
        .trade(1200, BUY, (105, 1))
        .book(1300)
        .trade(1400, SELL, (90, 99))
    )
    outcomes = run(tape.book(1500))
    assert reason(outcomes) is ExitReason.TARGET
    assert (outcomes.filled[0], outcomes.end_ms[0]) == (1, 1300)


def test_a_fill_while_the_exit_is_under_way_is_closed_with_it() -> None:
    tape = (
        market().book(1060).trade(1100, SELL, (100, 6)).trade(1200, BUY, (105, 1)).trade(1210, SELL, (99, 1)).book(1300)
    )
    outcomes = run(tape)
    assert (outcomes.filled[0], outcomes.exit_value[0]) == (2, 200)


def test_a_short_is_the_mirror_image() -> None:
    tape = (
        market().book(1060).trade(1200, BUY, (101, 7)).trade(1300, SELL, (96, 1)).book(1320, asks={101: 0}).book(1400)
    )
    outcomes = run(tape, plan(**SHORT))
    assert reason(outcomes) is ExitReason.TARGET
    assert (outcomes.entry_value[0], outcomes.exit_value[0]) == (202, 204)
    fees = 202 * 0.0002 + 204 * 0.00055
    assert outcomes.net_return[0] == pytest.approx((202 - 204 - fees) / 202, abs=1e-15)


# Unknown


def test_the_end_of_the_data_is_unknown_not_zero() -> None:
    """A live system labelled its last rows 0."""
    outcomes = run(filled().book(1300))
    assert status(outcomes) is PlanStatus.UNKNOWN
    assert np.isnan(outcomes.net_return[0])
    assert np.isnan(outcomes.fees[0])
    assert outcomes.end_ms[0] == outcomes.filled[0] == outcomes.entry_value[0] == -1
    assert status(run(market(), plan(decide_ms=50_000))) is PlanStatus.UNKNOWN


def test_a_gap_makes_every_living_plan_unknown() -> None:
    late = Plans.concat([plan(1000), plan(1290), plan(1310), plan(1500)])
    tape = market().book(1060).book(1300).gap(1300).book(1320, {100: 1}).snapshot(1400, {100: 5}, {101: 5})
    outcomes = simulate([tape.book(1500).book(4000).book(4100).batch], late, MODEL)
    # The third is decided while the book is unknown: its life began in the dark, so it is unknown as well.
    assert outcomes.status.tolist() == [PlanStatus.UNKNOWN] * 3 + [PlanStatus.UNFILLED]


def test_a_plan_that_ended_before_the_gap_is_known() -> None:
    assert status(run(market().book(2000).book(2060).gap(2060))) is PlanStatus.UNFILLED


def test_a_plan_from_before_the_data_is_unknown() -> None:
    assert status(run(market().book(3000), plan(decide_ms=800))) is PlanStatus.UNKNOWN


def test_no_events_and_no_plans() -> None:
    assert status(simulate([], plan(), MODEL)) is PlanStatus.UNKNOWN
    assert status(simulate([EventBatch.empty()], plan(), MODEL)) is PlanStatus.UNKNOWN
    assert len(simulate([market().batch], Plans.concat([]), MODEL)) == 0


# Money


@pytest.mark.failure(26)
def test_every_fill_is_counted_once_with_fees_and_funding() -> None:
    """Entry in two fills, exit over two levels, funding while held."""
    tape = market().book(1060).trade(1100, SELL, (100, 7)).trade(1150, SELL, (100, 5)).book(1200, {100: 4, 99: 3})
    tape.trade(1300, SELL, (95, 1)).book(1400)
    outcomes = simulate([tape.batch], plan(size=7), MODEL, funding_ms=[1000, 1250, 9000], funding_rate=[1.0, 0.01, 1.0])
    assert outcomes.filled[0] == 7
    assert (outcomes.entry_value[0], outcomes.exit_value[0]) == (700, 4 * 100 + 3 * 99)
    assert outcomes.funding[0] == pytest.approx(0.01 * 100.5 * 7)
    fees = 700 * 0.0002 + 697 * 0.00055
    assert outcomes.fees[0] == pytest.approx(fees)
    assert outcomes.net_return[0] == pytest.approx((697 - 700 - fees - 0.01 * 100.5 * 7) / 700, abs=1e-15)


def test_shorts_receive_positive_funding() -> None:
    tape = market().book(1060).trade(1100, BUY, (101, 7)).book(1200).trade(1300, SELL, (96, 1)).book(1400)
    outcomes = simulate([tape.batch], plan(**SHORT), FREE, funding_ms=[1150], funding_rate=[0.01])
    assert outcomes.funding[0] == pytest.approx(-0.01 * 100.5 * 2)
    assert outcomes.net_return[0] == pytest.approx(0.01 * 100.5 * 2 / 202, abs=1e-15)


def test_an_unknown_rate_makes_the_outcome_of_an_open_position_unknown() -> None:
    """Not a payment of nothing. Who was flat then is as known as before."""
    tape = filled().book(1210).trade(1300, BUY, (105, 1)).book(1400)
    for time_ms, known in ((1150, True), (1250, False), (1500, True)):
        outcomes = simulate([tape.batch], plan(), MODEL, funding_ms=[time_ms], funding_rate=[float("nan")])
        assert (status(outcomes) is PlanStatus.CLOSED) is known
        assert np.isnan(outcomes.net_return[0]) is np.bool_(not known)


# Directional entries


def test_a_directional_entry_takes_what_the_book_shows_up_to_its_limit() -> None:
    tape = market().book(1060, asks={101: 1}).trade(1200, SELL, (95, 1)).book(1300)
    outcomes = run(tape, plan(taking=1, limit=102, size=9))
    assert (outcomes.filled[0], outcomes.entry_value[0], outcomes.entry_ms[0]) == (9, 5 * 101 + 4 * 102, 1060)
    assert reason(outcomes) is ExitReason.STOP
    assert outcomes.fees[0] == pytest.approx(0.00055 * (outcomes.entry_value[0] + outcomes.exit_value[0]))


def test_what_a_directional_entry_does_not_get_is_cancelled_at_once() -> None:
    tape = market().book(1060).book(1070, asks={101: 9}).trade(1200, BUY, (105, 1)).book(1300)
    outcomes = run(tape, plan(taking=1, limit=101, size=9))
    assert (outcomes.filled[0], outcomes.entry_value[0]) == (5, 505)
    assert reason(outcomes) is ExitReason.TARGET
    away = run(tape, plan(taking=1, limit=100))
    assert status(away) is PlanStatus.UNFILLED
    assert (away.end_ms[0], away.net_return[0]) == (1060, 0.0)


@pytest.mark.failure(27)
def test_a_directional_entry_carries_its_target() -> None:
    tape = market().book(1060).trade(1100, BUY, (105, 1)).book(1200)
    assert reason(run(tape, plan(taking=1, limit=101))) is ExitReason.TARGET


# Maker targets


@pytest.mark.failure(28)
def test_a_maker_target_is_sent_with_the_fill_and_waits_in_its_queue() -> None:
    """Filled at 1200, so the target arrives at 1250, behind the five steps that stand at 105."""
    touched = filled().book(1260).trade(1300, BUY, (105, 5)).book(1400)
    assert status(run(touched, plan(target_maker=1))) is PlanStatus.UNKNOWN
    outcomes = run(filled().book(1260).trade(1300, BUY, (105, 6), (105, 1)), plan(target_maker=1))
    assert reason(outcomes) is ExitReason.TARGET
    assert (outcomes.exit_value[0], outcomes.exit_ms[0], outcomes.end_ms[0]) == (210, 1300, 1300)
    assert outcomes.fees[0] == pytest.approx(0.0002 * 410)


def test_a_maker_target_is_not_there_before_it_arrives() -> None:
    tape = filled().trade(1240, BUY, (106, 9)).book(1260).book(1400)
    assert status(run(tape, plan(target_maker=1))) is PlanStatus.UNKNOWN


def test_a_maker_target_that_would_take_is_closed_at_market() -> None:
    tape = filled().book(1240, {105: 4}, dict.fromkeys(range(101, 106), 0)).book(1260, {105: 0, 104: 4}).book(1400)
    outcomes = run(tape, plan(target_maker=1))
    assert reason(outcomes) is ExitReason.TARGET
    assert (outcomes.exit_value[0], outcomes.exit_ms[0]) == (208, 1400)
    assert outcomes.fees[0] == pytest.approx(0.0002 * 200 + 0.00055 * 208)


def test_the_stop_cancels_a_maker_target_when_it_takes_effect_not_before() -> None:
    """Triggered at 1300, in effect at 1350: the target may fill once more in between, in part."""
    tape = filled().book(1260).trade(1300, SELL, (95, 1)).trade(1320, BUY, (105, 6)).trade(1400, BUY, (105, 9))
    outcomes = run(tape, plan(target_maker=1))
    assert reason(outcomes) is ExitReason.STOP
    assert (outcomes.exit_value[0], outcomes.exit_ms[0]) == (105 + 100, 1400)
    assert outcomes.fees[0] == pytest.approx(0.0002 * (200 + 105) + 0.00055 * 100)


def test_a_maker_target_grows_with_the_position_and_goes_to_the_end_of_the_queue() -> None:
    """Two more steps at 1300: amended at 1350, when nine steps stand at 105."""
    tape = market().book(1060).trade(1200, SELL, (100, 6)).book(1260).trade(1300, SELL, (100, 1))
    tape.book(1310, asks={105: 9}).book(1360).trade(1400, BUY, (105, 9)).trade(1410, BUY, (105, 2))
    outcomes = run(tape, plan(target_maker=1))
    assert (outcomes.filled[0], outcomes.exit_ms[0]) == (2, 1410)


def test_a_filled_target_cancels_what_is_left_of_the_entry() -> None:
    tape = market().book(1060).trade(1200, SELL, (100, 6)).book(1260).trade(1300, BUY, (106, 1)).book(1360).book(1400)
    outcomes = run(tape, plan(target_maker=1, size=4))
    assert reason(outcomes) is ExitReason.TARGET
    assert (outcomes.filled[0], outcomes.exit_ms[0], outcomes.end_ms[0]) == (1, 1300, 1360)


# Bad input


@pytest.mark.failure(30)
@pytest.mark.parametrize(
    "change",
    [
        {"side": 0},
        {"side": 2},
        {"limit": 0},
        {"limit": -100},
        {"stop": 100},
        {"stop": 101},
        {"target": 100},
        {"size": 0},
        {"tif_ms": 0},
        {"hold_ms": -1},
        {"decide_ms": -1},
    ],
)
def test_impossible_plans_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"row 0 is impossible.*{next(iter(change))}"):
        plan(**change)


def test_plans_refuse_floats_and_ragged_columns() -> None:
    good = {name: np.array([value]) for name, value in (LONG | {"decide_ms": 1}).items()}
    with pytest.raises(ValueError, match="limit holds float64"):
        Plans(**good | {"limit": np.array([np.nan])})
    with pytest.raises(ValueError, match="differ in length"):
        Plans(**good | {"size": np.array([1, 2])})


@pytest.mark.parametrize("values", [(-1, 0.0, 0.0), (1, float("nan"), 0.0), (1, 0.0, 1.0)])
def test_impossible_models_are_refused(values: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="impossible fill model"):
        FillModel(*values)


@pytest.mark.parametrize(("times", "rates"), [([1], None), ([2, 1], [0.0, 0.0]), ([1], [float("inf")])])
def test_impossible_funding_is_refused(times: list[int], rates: list[float] | None) -> None:
    with pytest.raises(ValueError, match="funding"):
        simulate([market().batch], plan(), MODEL, funding_ms=times, funding_rate=rates)


def test_deep_books_grow_and_keep_their_order() -> None:
    """More levels than the arrays begin with, added at both ends; the exit walks them all."""
    tape = Tape().gap(900).snapshot(900, {50_000: 1}, {50_001: 1})
    for step in range(1, 3000, 2):
        tape.book(900, {50_000 - step: 1, 50_000 - step - 1: 1}, {50_001 + step: 1})
    tape.book(1000).book(1060).trade(1100, SELL, (49_999, 1)).trade(1200, SELL, (49_000, 1)).book(1300)
    outcomes = run(tape, plan(limit=50_000, stop=49_000, target=60_000, size=2500))
    assert outcomes.exit_value[0] == sum(50_000 - level for level in range(2500))
