"""The kernel against a slow second opinion, and against itself in pieces."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.events import EventBatch
from simulation.fills import ExitReason, FillModel, PlanOutcomes, Plans, PlanStatus, simulate
from tests.simulation.fill_markets import Life, random_tape

MODEL = FillModel(latency_ms=20, maker_fee=0.0002, taker_fee=0.00055)


def random_plans(seed: int, count: int, end_ms: int) -> Plans:
    rng = np.random.default_rng(seed)
    side = rng.choice([-1, 1], count)
    limit = 100 - side * rng.integers(-2, 7, count)
    return Plans(
        decide_ms=rng.integers(900, end_ms, count),
        side=side,
        limit=limit,
        stop=limit - side * rng.integers(1, 6, count),
        target=limit + side * rng.integers(1, 6, count),
        size=rng.integers(1, 25, count),
        tif_ms=rng.integers(1, 1500, count),
        hold_ms=rng.integers(1, 1500, count),
        taking=rng.integers(0, 2, count),
        target_maker=rng.integers(0, 2, count),
    )


def equal(left: PlanOutcomes, right: PlanOutcomes) -> bool:
    return all(
        np.array_equal(getattr(left, field.name), getattr(right, field.name), equal_nan=True) for field in fields(left)
    )


def reference(
    batch: EventBatch, rows: list[tuple[int, ...]], plans: Plans, model: FillModel, funding: list[tuple[int, float]]
) -> list[Life]:
    columns = [getattr(plans, field.name).tolist() for field in fields(plans)]
    return [Life(*values, model).run(rows, funding) for values in zip(*columns)]


@pytest.mark.parametrize("latency_ms", [0, 20])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_outcomes_equal_the_reference(latency_ms: int, seed: int) -> None:
    tape = random_tape(seed, 150)
    batch = tape.batch
    model = FillModel(latency_ms, 0.0002, 0.00055)
    end = int(batch.time_ms.max())
    plans = random_plans(seed, 12, end)
    funding = [(end // 3, 0.001), (end // 2, -0.0005), (2 * end // 3, math.nan)]
    times, rates = zip(*funding)
    outcomes = simulate([batch], plans, model, funding_ms=times, funding_rate=rates)
    for row, life in enumerate(reference(batch, tape.rows, plans, model, funding)):
        status = PlanStatus(int(outcomes.status[row]))
        assert status == life.status
        if status is PlanStatus.UNKNOWN:
            assert np.isnan(outcomes.net_return[row])
            assert outcomes.end_ms[row] == -1
            continue
        entry = sum(price * size for _, price, size in life.entries)
        exit_ = sum(price * size for _, price, size in life.exits)
        assert outcomes.filled[row] == sum(size for _, _, size in life.entries)
        assert outcomes.entry_value[row] == entry
        assert outcomes.exit_value[row] == exit_
        assert outcomes.end_ms[row] == life.end
        assert outcomes.entry_ms[row] == (life.entries[0][0] if life.entries else -1)
        assert outcomes.exit_ms[row] == (life.exits[-1][0] if life.exits else -1)
        assert outcomes.exit_reason[row] == (life.reason if status is PlanStatus.CLOSED else ExitReason.NONE)
        assert outcomes.funding[row] == life.funding
        entry_fee = model.taker_fee if plans.taking[row] else model.maker_fee
        fees = entry_fee * entry + model.taker_fee * (exit_ - life.rested) + model.maker_fee * life.rested
        assert outcomes.fees[row] == pytest.approx(fees, abs=1e-12)
        if life.entries:
            profit = life.side * (exit_ - entry) - outcomes.fees[row] - life.funding
            assert outcomes.net_return[row] == pytest.approx(profit / entry, abs=1e-15)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_chunking_changes_nothing(seed: int, rows: int) -> None:
    batch = random_tape(seed, 200).batch
    plans = random_plans(seed, 20, int(batch.time_ms.max()))
    whole = simulate([batch], plans, MODEL)
    assert equal(whole, simulate(batch.chunks(rows), plans, MODEL))


def test_plans_do_not_see_each_other_and_may_come_in_any_order() -> None:
    batch = random_tape(5, 400).batch
    plans = random_plans(5, 40, int(batch.time_ms.max()))
    together = simulate([batch], plans, MODEL)
    shuffled = np.random.default_rng(0).permutation(len(plans))
    assert equal(together[shuffled], simulate([batch], plans[shuffled], MODEL))
    for row in range(len(plans)):
        assert equal(together[row : row + 1], simulate([batch], plans[row : row + 1], MODEL))


def test_every_ending_occurs_in_the_random_markets() -> None:
    """The comparisons above would be empty if the random markets never reached some branch."""
    kinds, partial = set(), 0
    for seed in range(60):
        batch = random_tape(seed, 150).batch
        plans = random_plans(seed, 12, int(batch.time_ms.max()))
        outcomes = simulate([batch], plans, MODEL)
        columns = (plans.taking, plans.target_maker, outcomes.status, outcomes.exit_reason)
        kinds |= set(zip(*(column.tolist() for column in columns)))
        partial += int(((outcomes.filled > 0) & (outcomes.filled < plans.size)).sum())
    for taking, target_maker in product((0, 1), (0, 1)):
        ended = {
            (status, reason) for entry, target, status, reason in kinds if (entry, target) == (taking, target_maker)
        }
        assert {status for status, _ in ended} == set(PlanStatus) - ({PlanStatus.REJECTED} if taking else set())
        assert {reason for _, reason in ended} == set(ExitReason) - {ExitReason.FLATTEN}
    assert partial > 5


def test_events_may_be_read_only_views() -> None:
    batch = random_tape(3, 100).batch
    plans = random_plans(3, 10, int(batch.time_ms.max()))
    frozen = batch[:]
    for field in fields(frozen):
        getattr(frozen, field.name).flags.writeable = False
    assert equal(simulate([batch], plans, MODEL), simulate([frozen], plans, MODEL))


def test_progress_counts_rows() -> None:
    batch = random_tape(3, 100).batch
    seen: list[int] = []
    simulate(batch.chunks(50), random_plans(3, 1, 2000), MODEL, progress=seen.append)
    assert seen[-1] == len(batch)
    assert seen == sorted(seen)
