"""A position of our own whose plan was lost: taken over under a stop, or closed; never left bare."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from executor.actions import Alert, ClosePosition, SetProtection
from executor.events import PositionOrigin, PositionRead
from tests.executor.conftest import CONFIG, Bench
from tests.executor.rig import QUIET, RIG_CONFIG, Rig, rig
from tests.executor.test_live import CREATE, STOP, protected


def lose_journal(made: Rig) -> None:
    """The process dies, and its files with it."""
    made.journal.close()
    for file in made.folder.iterdir():
        file.unlink()
    made.steps.at = -1
    made.lanes.die(made.chance)
    made.signal = QUIET
    made.start()


def adopted(made: Rig) -> bool:
    return made.trade is not None and made.trade.open > 0 and made.trade.protected == made.trade.open


@pytest.mark.failure(46)
@pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])
def test_a_position_under_its_stop_is_taken_over_as_it_is(tmp_path: Path, hedge: bool) -> None:
    with rig(tmp_path, hedge=hedge) as made:
        protected(made)
        before = made.trade
        assert before is not None
        lose_journal(made)
        assert made.trade is None
        assert made.run(30, lambda: adopted(made))
        after = made.trade
        assert after is not None
        assert (after.link_id, after.side, after.open, after.stop) == (
            before.link_id,
            before.side,
            before.open,
            before.stop,
        )
        assert (after.entry_value, after.fees, after.target) == (before.entry_value, before.fees, before.target)
        assert made.core.state.risk.paused == {}
        assert not made.said(SetProtection)
        # It ends as every plan does, and all is accounted for.
        made.sweep(after.stop - 20 * after.side, -after.side)
        assert made.run(30, lambda: bool(made.closed()))
        made.run(3)
        assert made.closed()[-1].reason == "stop"
        # The new journal knows neither the entry's order nor its fill, but money and position to the last decimal.
        lost = ("holds ", "fill ")
        assert [problem for problem in made.verdict() if not problem.startswith(lost)] == []


@pytest.mark.failure(7)
@pytest.mark.failure(46)
def test_a_position_without_a_stop_gets_the_fail_safe_one(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        protected(made)
        made.call(STOP, category="linear", symbol="SYNUSDT", tpslMode="Full", stopLoss="0", positionIdx=0)
        lose_journal(made)
        assert made.stop == 0
        assert made.run(30, lambda: adopted(made))
        trade = made.trade
        assert trade is not None
        average = Decimal(trade.entry_value) / trade.filled
        assert made.stop == trade.stop
        assert abs(average - trade.stop) / average == pytest.approx(RIG_CONFIG.failsafe_stop, rel=Decimal("0.01"))
        assert (average - trade.stop) * trade.side > 0
        made.run(20)
        assert made.held != 0
        assert not [problem for problem in made.problems if "without a stop" in problem]


@pytest.mark.failure(46)
def test_a_position_is_closed_where_the_settings_say_so(tmp_path: Path) -> None:
    config = msgspec.structs.replace(RIG_CONFIG, adopt="flatten")
    with rig(tmp_path, config=config) as made:
        protected(made)
        lose_journal(made)
        assert made.run(30, lambda: made.held == 0 and bool(made.closed()))
        assert made.said(ClosePosition)
        assert made.closed()[-1].reason == "flatten"
        made.run(3)
        assert made.core.state.flatten is None


@pytest.mark.failure(14)
def test_a_position_of_somebody_else_is_not_taken_over(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.foreign, made.signal = True, QUIET
        made.run(2)
        made.fault("manual-position", side="Buy", qty="0.010")
        made.run(30)
        assert made.trade is None
        assert "position" in made.core.state.risk.paused
        assert not made.posts(CREATE)
        assert any(isinstance(event, PositionOrigin) and not event.link_id for event in made.heard(PositionOrigin))


@pytest.mark.failure(14)
def test_a_position_that_somebody_else_added_to_is_not_taken_over(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        protected(made)
        made.foreign = True
        side = "Buy" if made.trade is not None and made.trade.side > 0 else "Sell"
        made.fault("manual-position", side=side, qty="0.010")
        made.run(1)
        lose_journal(made)
        made.run(30)
        assert made.trade is None
        assert made.core.state.risk.paused


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    bench = Bench(CONFIG)
    order = bench.enter()
    bench.fill(order)
    before = bench.core.state.dump()
    bench.on(PositionOrigin(bench.now, 5, "SYNUSDT-abc-L0", 5 * 60_000, Decimal(0), bench.now))
    assert bench.core.state.dump() == before


def test_an_unreadable_history_leaves_the_pause() -> None:
    bench = Bench(CONFIG)
    for _ in range(2):
        bench.on(PositionRead(bench.now, 7))
    assert bench.on(PositionOrigin(bench.now, None)) == []
    assert "position" in bench.core.state.risk.paused
    [alert] = [a for a in bench.on(PositionOrigin(bench.now, 7, "SYNUSDT-abc-L0", 420_000)) if isinstance(a, Alert)]
    assert "a fail-safe stop is set" in alert.text
