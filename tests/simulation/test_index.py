"""The index against the kernel: the same outcomes to the bit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market.events import EventBatch
from simulation import FillModel, Plans, PlanStatus, simulate
from simulation.index import FillIndex
from tests.simulation.fill_markets import BUY, SELL, Tape, random_tape
from tests.simulation.test_fills_reference import equal, random_plans

MODEL = FillModel(latency_ms=20, maker_fee=0.0002, taker_fee=0.00055)


def both(batch: EventBatch, plans: Plans, model: FillModel = MODEL, **funding: Any) -> FillIndex:
    """Compare; gives the index that was used."""
    index = FillIndex(lambda: iter([batch]))
    assert equal(index.simulate(plans, model, **funding), simulate([batch], plans, model, **funding))
    return index


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1), latency_ms=st.sampled_from([0, 1, 20, 200]), size=st.sampled_from([None, 1, 2, 4])
)
@example(seed=560, latency_ms=1, size=None)  # a payment falls due while the entry is on its way
def test_the_index_equals_the_kernel(seed: int, latency_ms: int, size: int | None) -> None:
    batch = random_tape(seed, 200).batch
    end = int(batch.time_ms.max())
    plans = random_plans(seed, 25, end)
    if size:  # small enough for whole exits, which the index lives itself
        plans = replace(plans, size=np.full(len(plans), size, np.int64))
    funding = {"funding_ms": [end // 3, end // 2, 2 * end // 3], "funding_rate": [0.001, -0.0005, math.nan]}
    both(batch, plans, FillModel(latency_ms, 0.0002, 0.00055), **funding)


def test_the_index_lives_most_small_plans_itself() -> None:
    """The comparison would be empty if everything were left to the kernel."""
    deferred, statuses = 0, set()
    for seed in range(10):
        batch = random_tape(seed, 200).batch
        plans = random_plans(seed, 25, int(batch.time_ms.max()))
        plans = replace(plans, size=np.full(25, 2, np.int64))
        index = both(batch, plans)
        assert index.regular
        deferred += index.deferred
        statuses |= set(index.simulate(plans, MODEL).status.tolist())
    assert statuses == set(PlanStatus)
    assert deferred < 25


def test_chunks_make_no_difference() -> None:
    batch = random_tape(4, 300).batch
    plans = random_plans(4, 25, int(batch.time_ms.max()))
    index = FillIndex(lambda: batch.chunks(7))
    assert index.regular
    assert equal(index.simulate(plans, MODEL), simulate([batch], plans, MODEL))


def test_events_without_whole_messages_have_no_index() -> None:
    tape = Tape().gap(900).snapshot(900, {100: 5}, {101: 5}).book(1000, {99: 3, 98: 2}).trade(1100, SELL, (100, 1))
    whole = tape.batch
    torn = EventBatch.concat([whole[:4], whole[5:]])  # the second message has lost its last row
    plans = random_plans(1, 5, 1100)
    assert both(whole, plans).regular
    index = both(torn, plans)
    assert not index.regular
    assert index.deferred == len(plans)


def test_nothing_recorded_and_nothing_asked() -> None:
    index = FillIndex(list)
    assert (index.simulate(random_plans(1, 3, 2000), MODEL).status == PlanStatus.UNKNOWN).all()
    assert len(index.simulate(Plans.concat([]), MODEL)) == 0
    batch = Tape().gap(900).snapshot(900, {100: 5}, {101: 5}).trade(1000, BUY, (101, 1)).batch
    assert len(both(batch, Plans.concat([])).simulate(Plans.concat([]), MODEL)) == 0


@pytest.mark.parametrize("times", [[2, 1], [1, 1]])
def test_impossible_funding_is_refused(times: list[int]) -> None:
    batch = random_tape(4, 20).batch
    with pytest.raises(ValueError, match="funding"):
        FillIndex(lambda: [batch]).simulate(random_plans(4, 2, 2000), MODEL, funding_ms=times, funding_rate=[0.1, 0.1])
