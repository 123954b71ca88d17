"""Outcome tables on a synthetic market."""

from __future__ import annotations

import numpy as np

from council import LONG, SHORT, StrategyParams, make_plan
from market.events import EventBatch
from simulation import SYNTHETIC, Plans, PlanStatus, simulate
from tests.training.conftest import COSTS, MINUTE, START_MS, Market
from training.outcomes import Simulator, Tape, tradable

PARAMS = StrategyParams(offset_atr=0.1, stop_atr=2.0, target_atr=2.0, tif_bars=2, hold_bars=5)


def test_a_label_is_the_simulated_life_of_the_plan_the_executor_would_send(market: Market) -> None:
    simulator = market.simulator()
    table = simulator.table(PARAMS)
    for row, column, side in ((5, 0, LONG), (40, 1, SHORT), (200, 0, LONG), (333, 1, SHORT)):
        bars = simulator.bars
        plan = make_plan(PARAMS, side, int(bars.close[row]), float(bars.atr[row]), MINUTE)
        assert plan is not None
        size = int(COSTS.notional // (float(bars.close[row]) * float(SYNTHETIC.tick_size * SYNTHETIC.qty_step)))
        plans = Plans(
            decide_ms=[int(bars.close_ms[row])],
            side=[side],
            limit=[plan.limit],
            stop=[plan.stop],
            target=[plan.target],
            size=[size],
            tif_ms=[plan.tif_ms],
            hold_ms=[plan.hold_ms],
        )
        alone = simulate(market.events, plans, COSTS.model)
        assert table.closed[row, column] == (alone.status[0] == PlanStatus.CLOSED)
        assert table.end_ms[row, column] == alone.end_ms[0]
        assert table.net_return[row, column] == alone.net_return[0]


def test_single_decisions_equal_the_table(market: Market) -> None:
    simulator = market.simulator()
    other = StrategyParams(offset_atr=0.3, stop_atr=1.5, target_atr=3.0, tif_bars=1, hold_bars=8)
    rows = np.array([10, 10, 60, 100, 250], np.int64)
    sides = np.array([1, -1, -1, 1, 1], np.int8)
    params = [PARAMS, other, other, PARAMS, other]
    flat = simulator.run(rows, sides, params)
    for index, (row, side, own) in enumerate(zip(rows, sides, params)):
        table = simulator.table(own)
        column = 0 if side > 0 else 1
        assert flat.end_ms[index] == table.end_ms[row, column]
        np.testing.assert_array_equal(flat.net_return[index], table.net_return[row, column])


def test_a_table_is_computed_once(market: Market) -> None:
    simulator = market.simulator()
    assert simulator.table(PARAMS) is simulator.table(PARAMS)
    assert simulator.passes == 1


def test_the_end_of_the_data_is_unknown_not_a_loss(market: Market) -> None:
    simulator = market.simulator()
    table = simulator.table(PARAMS)
    assert not table.known[-1].any()
    assert np.isnan(table.net_return[-1]).all()
    assert not table.closed[-1].any()
    # Purging needs an end all the same: the latest moment at which it can have been.
    longest = (PARAMS.tif_bars + PARAMS.hold_bars) * MINUTE
    assert (table.end_ms[-1] >= simulator.bars.close_ms[-1] + longest).all()
    assert table.known[:300].mean() > 0.95


def test_an_impossible_plan_is_known_to_earn_nothing(market: Market) -> None:
    simulator = market.simulator()
    absurd = StrategyParams(offset_atr=0.1, stop_atr=1e6, target_atr=1.0, tif_bars=1, hold_bars=1)
    table = simulator.table(absurd)
    # A long stop below zero cannot be sent; a short stop far above can.
    assert not table.closed[:, 0].any()
    assert table.known[:, 0].all()
    np.testing.assert_array_equal(table.end_ms[:, 0], simulator.bars.close_ms)
    assert table.closed[:, 1].any()


def test_a_tape_cut_in_time_shows_nothing_after(market: Market) -> None:
    tape = Tape(lambda: market.events)
    cut_ms = START_MS + 100 * MINUTE
    early = EventBatch.concat(tape.until(cut_ms))
    everything = EventBatch.concat(market.events)
    assert early.time_ms.max() < cut_ms
    assert early.equals(everything[: len(early)])
    assert everything.time_ms[len(early)] >= cut_ms
    assert EventBatch.concat(tape).equals(everything)


def test_a_tape_reads_its_source_once_if_it_fits(market: Market) -> None:
    reads = []

    def source() -> list[EventBatch]:
        reads.append(1)
        return market.events

    rows = sum(map(len, market.events))
    kept, streamed = Tape(source, keep_rows=rows), Tape(source, keep_rows=rows - 1)
    for _ in range(3):
        assert sum(map(len, kept)) == rows
    assert len(reads) == 1
    for _ in range(3):
        assert sum(map(len, streamed)) == rows
    assert len(reads) == 1 + 4


def test_development_outcomes_do_not_depend_on_what_comes_later(market: Market) -> None:
    cut_ms = START_MS + 200 * MINUTE
    usable = market.bars[tradable(market.bars) & (market.bars.close_ms <= cut_ms)]
    tape = Tape(lambda: market.events)
    cut = Simulator(usable, lambda: tape.until(cut_ms), SYNTHETIC, MINUTE, COSTS).table(PARAMS)
    full = Simulator(usable, lambda: tape, SYNTHETIC, MINUTE, COSTS).table(PARAMS)
    late = (cut.end_ms > cut_ms) | (full.end_ms > cut_ms)
    # What ended before the cut is the same; what did not is unknown, not half-known.
    np.testing.assert_array_equal(cut.net_return[~late], full.net_return[~late])
    assert not cut.closed[late].any()
    assert late[-5:].any()


def test_bars_without_a_plan_are_not_tradable(market: Market) -> None:
    bars = market.bars[:40]
    usable = tradable(bars)
    assert not usable[0]
    assert not usable[np.isnan(bars.atr)].any()
    assert usable[20:].all()
