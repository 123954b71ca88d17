"""Core, journal, paper venue and features together, on a synthetic market."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from executor.actions import CancelEntry, ClosePosition, Decided, PlaceEntry, TradeClosed
from executor.events import Filled, decode_event
from executor.reader import JournalReader, post_command
from executor.replay import replay
from market.assembler import TickerRow
from market.errors import ExecutorError
from market.events import EventBatch
from simulation import ExitReason, Plans, PlanStatus, simulate
from tests.executor.conftest import CONFIG, MINUTE, START_MS
from tests.executor.stage import CONTENT, MODEL, Stage, council, market, reconnected


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, JournalReader]:
    stage = Stage(tmp_path_factory.mktemp("played"))
    stage.run(market())
    return stage, stage.close()


def trades(reader: JournalReader) -> list[TradeClosed]:
    from executor.actions import decode_actions

    return [
        action
        for _, _, actions in reader.turns(1)
        for action in decode_actions(actions)
        if isinstance(action, TradeClosed)
    ]


def test_it_decides_trades_and_closes(played: tuple[Stage, JournalReader]) -> None:
    stage, reader = played
    counts = stage.core.state.counts
    assert counts.bars >= 149
    assert counts.decisions == counts.bars - 1
    assert counts.closed >= 10
    assert counts.fills >= 2 * counts.closed
    reasons = {trade.reason for trade in trades(reader) if trade.filled}
    assert len(reasons) >= 2
    assert reasons <= {"stop", "target", "time"}
    assert any("closed (" in line for line in stage.lines)


def test_money_adds_up(played: tuple[Stage, JournalReader]) -> None:
    stage, reader = played
    state = stage.core.state
    closed = [trade for trade in trades(reader) if trade.filled]
    assert sum(trade.net_pnl for trade in closed) == state.counts.net_pnl
    rows = reader.query("SELECT side, price_ticks, size, fee FROM fills")
    unit = stage.core.rules.notional(1, 1)
    flow = sum(
        -int(str(side)) * int(str(price)) * int(str(size)) * unit - Decimal(str(fee)) for side, price, size, fee in rows
    )
    held = state.trade.side * (state.trade.entry_value - state.trade.exit_value) * unit if state.trade else Decimal(0)
    paid = state.trade.fees if state.trade else Decimal(0)
    assert flow + held + paid == state.counts.net_pnl


def test_replay_gives_the_same_bytes(played: tuple[Stage, JournalReader]) -> None:
    stage, reader = played
    report = replay(reader, 1, lambda _: council())
    assert report.decisions == stage.core.state.counts.decisions


@pytest.mark.parametrize("rows", [7, 1000])
def test_what_is_decided_does_not_depend_on_how_much_comes_at_once(
    played: tuple[Stage, JournalReader], tmp_path: Path, rows: int
) -> None:
    _, reader = played
    other = Stage(tmp_path)
    events = market()
    whole = np.flatnonzero(np.diff(events.ordinal)) + 1
    start = 0
    for end in [*whole[rows - 1 :: rows], len(events)]:
        other.session.market(events[start : int(end)])
        start = int(end)
    again = other.close()
    for table in ("decisions", "orders", "fills", "trades"):
        columns = "*" if table != "decisions" else "seq, open_ms, side, confidence, link_id, reason"
        mine = [row[1:] for row in again.query(f"SELECT {columns} FROM {table} ORDER BY seq")]
        assert mine == [row[1:] for row in reader.query(f"SELECT {columns} FROM {table} ORDER BY seq")]


@pytest.mark.failure(27)
def test_every_trade_is_the_backtest_of_its_plan(played: tuple[Stage, JournalReader]) -> None:
    """The same plans, sent when the executor sent them, live the same lives in the simulation that makes the labels."""
    _, reader = played
    from executor.actions import decode_actions

    sent: dict[str, tuple[int, PlaceEntry]] = {}
    cancelled: dict[str, int] = {}
    first_fill: dict[str, int] = {}
    closing: dict[str, int] = {}
    for _, event, actions in reader.turns(1):
        seen = decode_event(event)
        if isinstance(seen, Filled) and seen.role == "entry":
            first_fill.setdefault(seen.link_id, seen.time_ms)
        for action in decode_actions(actions):
            if isinstance(action, PlaceEntry):
                sent[action.link_id] = (seen.now_ms, action)
            elif isinstance(action, CancelEntry):
                cancelled[action.link_id] = seen.now_ms
            elif isinstance(action, ClosePosition) and action.reason == "time":
                closing[action.entry_link] = seen.now_ms
    finished = [trade for trade in trades(reader) if trade.link_id in sent]
    assert len(finished) >= 15
    orders = [sent[trade.link_id] for trade in finished]
    far = 10**9

    def held(link: str) -> int:
        return closing[link] - first_fill[link] if link in closing else far

    plans = Plans(
        decide_ms=[now for now, _ in orders],
        side=[order.side for _, order in orders],
        limit=[order.limit for _, order in orders],
        stop=[order.stop for _, order in orders],
        target=[order.target for _, order in orders],
        size=[order.size for _, order in orders],
        tif_ms=[cancelled.get(order.link_id, now + far) - now for now, order in orders],
        hold_ms=[held(order.link_id) for _, order in orders],
    )
    outcomes = simulate([market()], plans, MODEL)
    unit = Decimal("0.0005")
    for row, trade in enumerate(finished):
        if outcomes.status[row] in (PlanStatus.REJECTED, PlanStatus.UNFILLED):
            assert trade.filled == 0
            continue
        assert outcomes.status[row] == PlanStatus.CLOSED
        assert ExitReason(outcomes.exit_reason[row]).name.lower() == trade.reason
        assert (outcomes.filled[row], outcomes.entry_ms[row]) == (trade.filled, trade.entry_ms)
        assert (outcomes.entry_value[row], outcomes.exit_value[row]) == (trade.entry_value, trade.exit_value)
        net = float(trade.net_pnl / (trade.entry_value * unit))
        assert outcomes.net_return[row] == pytest.approx(net, abs=1e-12)


@pytest.mark.failure(11)
def test_a_restart_goes_on_with_the_position(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    events = market()
    done = first.run(events, 500, until=lambda: first.core.state.trade is not None and first.core.state.trade.open > 0)
    before = first.core.state.trade
    assert before is not None
    first.journal.close()  # no orderly end: as after a kill
    second = Stage(tmp_path)
    trade = second.core.state.trade
    assert trade is not None
    assert (trade.link_id, trade.open, trade.first_fill_ms) == (before.link_id, before.open, before.first_fill_ms)
    assert (trade.stop, trade.target, trade.atr) == (before.stop, before.target, before.atr)
    second.run(reconnected(events, done), 500, until=lambda: second.core.state.trade is None)
    assert second.core.state.counts.closed == 1 + first.core.state.counts.closed
    placed = [action for action in second.sent() if isinstance(action, PlaceEntry)]
    assert len({action.link_id for action in placed}) == len(placed)
    assert replay(second.close(), 2, lambda _: council()).session == 2


@pytest.mark.failure(12)
def test_a_restart_recognises_a_resting_entry(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    events = market()
    done = first.run(
        events, 50, until=lambda: first.core.state.trade is not None and first.core.state.trade.entry == "resting"
    )
    link = first.core.state.trade.link_id if first.core.state.trade else ""
    first.journal.close()
    second = Stage(tmp_path)
    second.run(reconnected(events, done), 50, until=lambda: second.core.state.trade is None)
    ended = [action for action in second.sent() if isinstance(action, TradeClosed)]
    assert ended[-1].link_id == link


@pytest.mark.failure(43)
def test_a_full_disk_stops_entries_and_not_exits(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(events, 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    db = stage.journal._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    stage.run(events[done:], 500, until=lambda: stage.core.state.trade is None and stage.core.state.counts.bars > 100)
    assert stage.session.problems > 0
    assert any("no entries; exits go on" in line for line in stage.lines)
    assert stage.core.state.counts.closed == 1
    assert stage.gateway._account.position == 0
    db.execute("PRAGMA max_page_count=1000000")
    assert stage.session.flush()
    post = stage.core.state.counts.bars
    stage.run(events[done:][-20_000:], 500)
    assert stage.core.state.counts.bars >= post
    assert stage.session.problems == 0
    assert replay(stage.close(), 1, lambda _: council()).turns > 100


@pytest.mark.failure(43)
def test_a_copy_that_cannot_be_written_stops_entries_and_nothing_is_written_twice(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(events, 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    for name in ("state.a.json", "state.b.json"):
        (stage.folder / name).unlink()
        (stage.folder / name).mkdir()
    stage.run(events[done:], 500, until=lambda: stage.core.state.trade is None and stage.core.state.counts.bars > 100)
    assert stage.session.problems == 1
    assert sum("state." in line and "no entries; exits go on" in line for line in stage.lines) == 1
    assert stage.core.state.counts.closed == 1
    for name in ("state.a.json", "state.b.json"):
        (stage.folder / name).rmdir()
    assert stage.session.flush()
    assert stage.session.problems == 0
    assert any("the copy of the state can be written again" in line for line in stage.lines)
    assert replay(stage.close(), 1, lambda _: council()).turns > 100


@pytest.mark.failure(33)
def test_a_gap_blocks_its_bars_and_nothing_else(tmp_path: Path) -> None:
    events = market()
    middle = START_MS + 60 * MINUTE + 20_000
    row = int(np.argmax(events.time_ms >= middle))
    stage = Stage(tmp_path)
    stage.run(events[:row])
    stage.run(reconnected(events, row))
    decisions = [action for action in stage.sent() if isinstance(action, Decided)]
    silent = [(decided.open_ms - START_MS) // MINUTE for decided in decisions if decided.vote is None]
    assert silent == [0, 60]


@pytest.mark.failure(43)
def test_in_silence_time_goes_on_and_exits_are_sent(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.run(market(), 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    now = time.monotonic()
    stage.session.tick(now + 9)
    assert not [action for action in stage.sent() if isinstance(action, ClosePosition)]
    stage.session.tick(now + 10 + 6 * 60)
    assert [action.reason for action in stage.sent() if isinstance(action, ClosePosition)] == ["time"]
    stage.session.tick(now + 10 + 6 * 60 + 1)
    assert len([action for action in stage.sent() if isinstance(action, ClosePosition)]) == 1


def test_commands_are_taken_while_it_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(events, 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    post_command(tmp_path, "flatten")
    stage.session.tick(time.monotonic())
    stage.run(events[done:], 500)
    assert [action.reason for action in stage.sent() if isinstance(action, ClosePosition)] == ["flatten"]
    assert stage.core.state.trade is None
    assert stage.core.state.counts.closed == 1
    assert stage.core.state.counts.bars > 100


@pytest.mark.failure(43)
def test_commands_that_cannot_be_read_are_unknown_and_wait(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(events, 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    post_command(tmp_path, "halt")
    stage.journal._db.execute("ALTER TABLE commands RENAME TO elsewhere")
    stage.session.tick(time.monotonic())
    stage.session.tick(time.monotonic())
    assert stage.session.problems == 2
    assert sum("commands are not heard, no entries; exits go on" in line for line in stage.lines) == 1
    ended = stage.run(events[done:], 500, until=lambda: stage.core.state.counts.bars > 100)
    # The position had its exits, and no entry followed it: the command that nobody could read may have been to halt.
    assert stage.core.state.counts.closed == 1
    assert stage.core.state.trade is None
    assert stage.gateway._account.position == 0
    assert "person" not in stage.core.state.risk.paused
    stage.journal._db.execute("ALTER TABLE elsewhere RENAME TO commands")
    stage.session.tick(time.monotonic())
    assert stage.session.problems == 0
    assert any("commands can be read again" in line for line in stage.lines)
    assert "person" in stage.core.state.risk.paused
    assert stage.journal.commands() == []
    stage.run(events[done:][ended:], 500)
    assert replay(stage.close(), 1, lambda _: council()).turns > 100


@pytest.mark.failure(43)
def test_a_command_of_a_turn_that_waits_for_the_disk_is_noted_with_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.run(market(), 500, until=lambda: stage.core.state.counts.bars > 2)
    post_command(tmp_path, "halt")
    stage.journal._db.execute("PRAGMA query_only=1")
    stage.session.tick(time.monotonic())
    assert "person" in stage.core.state.risk.paused
    assert stage.journal.commands(), "a crash now would lose the turn: the command must be heard again"
    stage.journal._db.execute("PRAGMA query_only=0")
    assert stage.session.flush()
    assert stage.journal.commands() == []


def test_stopping_leaves_no_entry_behind(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(
        events, 50, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.entry == "resting"
    )
    assert not stage.session.may_end
    stage.session.stop()
    stage.run(events[done:], 50, until=lambda: stage.session.may_end)
    assert stage.session.may_end
    assert not stage.gateway._broker.open_plans()


@pytest.mark.failure(26)
def test_funding_is_paid_once_on_what_is_held(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = market()
    done = stage.run(events, 500, until=lambda: stage.core.state.trade is not None and stage.core.state.trade.open > 0)
    trade = stage.core.state.trade
    assert trade is not None
    now = stage.session.clock.event_ms
    rate, due = Decimal("0.0001"), now + 1_000

    def ticker(next_ms: int) -> TickerRow:
        return TickerRow("SYNUSDT", 0, 0, now, 0, True, None, None, None, None, rate, next_ms)

    stage.session.market(events[:0], [ticker(due)])
    for piece in events[done:].chunks(500):
        stage.session.market(piece, [ticker(due if stage.session.clock.event_ms < due else due + 8 * 3_600_000)])
        if stage.core.state.trade is None:
            break
    [ended] = [action for action in stage.sent() if isinstance(action, TradeClosed) and action.link_id == trade.link_id]
    expected = trade.side * rate * ended.entry_value * Decimal("0.0005")
    assert float(ended.funding) == pytest.approx(float(expected), rel=0.01)
    assert ended.funding == stage.gateway._account.funding


@pytest.mark.failure(26)
def test_a_payment_at_the_rate_of_the_one_before_is_paid_too(tmp_path: Path) -> None:
    """A ticker tells what has changed: after the first payment that may be the time of the next one alone."""
    stage = Stage(tmp_path)
    told: list[tuple[Decimal, int]] = []
    stage.gateway.on_funding = lambda rate, time_ms: told.append((rate, time_ms))  # type: ignore[method-assign]
    for rate, due in ((Decimal("0.0001"), 8), (None, None), (None, 16), (Decimal("0.0002"), None)):
        row = TickerRow("SYNUSDT", 0, 0, 0, 0, due == 8, None, None, None, None, rate, due)
        stage.session.market(market()[:0], [row])
    stage.close().close()
    assert told == [(Decimal("0.0001"), 8), (Decimal("0.0001"), 16), (Decimal("0.0002"), 16)]


def test_another_market_than_last_time_is_refused(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.run(market()[:20_000])
    first.close().close()
    second = Stage(tmp_path)
    early = EventBatch.from_rows([(1, 0, 0, START_MS - 3_600_000, 60_000, 1, 0, 0)])
    with pytest.raises(ExecutorError, match="behind the journal's"):
        second.session.market(early)
    second.journal.close()


def test_the_council_is_named_in_every_decision(played: tuple[Stage, JournalReader]) -> None:
    stage, _ = played
    assert stage.core.state.council is not None
    assert stage.core.state.council.content_hash == CONTENT
    assert stage.session.last_decision is not None
    assert stage.session.last_decision.vote is not None
    assert stage.session.last_decision.vote.council == CONTENT
    assert CONFIG.timeframe_ms == MINUTE
