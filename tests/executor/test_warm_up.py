"""What was captured warms up the features only as far as it is fresh, continuous and long enough; nothing twice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from executor.view import MarketView
from executor.warmup import warm_up
from features import Bars
from market import Lake
from market.assembler import Assembled, BookRows, GapMark, TradeRows
from market.events import GAP, TRADE, EventBatch
from simulation import SYNTHETIC
from tests.executor.conftest import MINUTE, START_MS
from tests.executor.stage import LEVELS, market, reconnected

pytestmark = pytest.mark.failure(41)
SYMBOL = SYNTHETIC.symbol


def record(root: Path, events: EventBatch) -> None:
    """Put events into a lake, as a recorder would."""
    with Lake(root).writer(SYMBOL, SYNTHETIC) as writer:
        edges = [0, *((events.ordinal[1:] != events.ordinal[:-1]).nonzero()[0] + 1).tolist(), len(events)]
        for first, last in pairwise(edges):
            rows, out = events[first:last], Assembled()
            while len(rows) and rows.kind[0] == GAP:
                out.records.append(GapMark(SYMBOL, int(rows.ordinal[0]), int(rows.time_ms[0]), -1, "start"))
                rows = rows[1:]
            if len(rows) and rows.kind[0] == TRADE:
                ids = [f"{rows.ordinal[0]}-{index}" for index in range(len(rows))]
                out.records.append(TradeRows(SYMBOL, rows, int(rows.time_ms[0]), rows.ordinal.copy(), ids))
            elif len(rows):
                number = int(rows.ordinal[0])
                out.records.append(BookRows(SYMBOL, rows, int(rows.time_ms[0]), number + 1, number))
            writer.append(out)
        writer.seal()


def row_at(minutes: float) -> int:
    """The first row of a frame at or after a minute of the market."""
    events = market(150)
    row = int(np.argmax(events.time_ms >= START_MS + minutes * MINUTE))
    return int(np.searchsorted(events.ordinal, events.ordinal[row]))


def bars_after(root: Path | None, live: EventBatch) -> tuple[Bars, list[str]]:
    """The bars of a session that begins with `live`, after what the lake has."""
    view, lines = MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE), list[str]()
    if root is not None:
        warm_up(view, Lake(root), lines.append)
    return view.push(live), lines


def whole(bars: Bars) -> list[bool]:
    """For each bar, whether it may be traded on: complete, and with a known ATR."""
    flags: list[bool] = (bars.valid & np.isfinite(bars.atr)).tolist()
    return flags


def test_a_fresh_lake_goes_on_as_if_there_had_been_no_restart(tmp_path: Path) -> None:
    events, row = market(150), row_at(40.3)
    record(tmp_path, events[:row])
    live = reconnected(events, row)[: 1 << 18]
    found, lines = bars_after(tmp_path, live)
    assert lines[0].startswith("features warmed up over")
    view = MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE)
    view.push(events[:row])
    expected = view.push(live)
    assert found.equals(expected)
    assert found.values.tobytes() == expected.values.tobytes()
    # Just the bar that the restart fell into is left out.
    assert whole(found)[:6] == [False, True, True, True, True, True]
    # Nothing of the lake is counted again: that bar has the trades since the restart and those before, each once.
    trades = events.kind == TRADE
    minute = (events.time_ms - START_MS) // MINUTE
    assert found.trades[1:5].tolist() == [int((trades & (minute == number)).sum()) for number in range(41, 45)]


@pytest.mark.failure(35)
@pytest.mark.parametrize(("minutes", "known"), [(20, True), (70, False)])
def test_a_lake_that_is_not_fresh_is_a_hole_and_an_old_one_no_warm_up(
    tmp_path: Path, minutes: int, known: bool
) -> None:
    events = market(150)
    record(tmp_path, events[: row_at(40)])
    found, _ = bars_after(tmp_path, reconnected(events, row_at(40 + minutes)))
    first = int(np.argmax(found.valid))
    assert not found.valid[:first].any()
    assert (found.open_ms[first] - START_MS) // MINUTE in (40 + minutes, 41 + minutes)
    assert bool(np.isfinite(found.atr[first])) == known
    assert any(whole(found)[first : first + 16])


@pytest.mark.failure(34)
def test_a_short_lake_leaves_unknown_what_it_is_too_short_for(tmp_path: Path) -> None:
    events, row = market(150), row_at(5)
    record(tmp_path, events[:row])
    live = reconnected(events, row)
    found, _ = bars_after(tmp_path, live)
    cold, _ = bars_after(None, live)
    known, never = whole(found).index(True), whole(cold).index(True)
    assert 5 < known < never <= known + 6
    assert not np.isinf(found.values).any()


def test_a_hole_within_the_lake_is_a_hole_in_the_features(tmp_path: Path) -> None:
    events, hole, row = market(150), row_at(10), row_at(85)
    record(tmp_path, EventBatch.concat([events[:hole], reconnected(events, row)[: row_at(90) - row]]))
    found, _ = bars_after(tmp_path, reconnected(events, row_at(90)))
    # Five minutes before the session, and 75 minutes of nothing before them: too little for 14 bars.
    assert np.isnan(found.atr[1:4]).all()
    assert found.valid[1:4].all()


def test_a_lake_of_other_rules_warms_up_nothing(tmp_path: Path) -> None:
    """Its ticks and steps are others: mixed with the session's, an ATR would be anything."""
    events, row = market(150), row_at(40)
    record(tmp_path, events[:row])
    for change in ({"tick_size": Decimal("0.05")}, {"qty_step": Decimal("0.01"), "max_steps": 100_000}):
        view, lines = MarketView(replace(SYNTHETIC, **change), MINUTE, LEVELS, MINUTE), list[str]()
        warm_up(view, Lake(tmp_path), lines.append)
        assert lines[0].startswith("features start cold: ")
        found = view.push(reconnected(events, row))
        cold = MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE).push(reconnected(events, row))
        assert found.equals(cold)
