"""The journal: written before acting, going on after a restart, honest about damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.actions import Alert
from executor.events import Clock, encode
from executor.journal import FILE, Journal, JournalError, Turn
from executor.reader import JournalReader, post_command
from executor.replay import ReplayMismatch, replay
from executor.state import CoreState
from executor.upgrades import SchemaError
from tests.executor.conftest import CONFIG, COUNCILS, Bench

GATEWAY = b'{"account":1}'


def run(folder: Path, bench: Bench, upto: int | None = None) -> None:
    """Write the turns of a bench into a journal, one transaction a turn."""
    core = type(bench.core)(CONFIG, COUNCILS.__getitem__)
    journal = Journal(folder)
    journal.begin("SYNUSDT", "dry-run", encode(CONFIG), core.state.dump(), "test")
    for event in bench.events[:upto]:
        turn = Turn(event, core.on(event))
        journal.record([turn], core.state.dump(), GATEWAY)
        journal.copy()
    journal.end(core.state.dump())
    journal.close()


@pytest.fixture
def busy() -> Bench:
    bench = Bench()
    order = bench.enter()
    bench.fill(order, execution_id="a")
    bench.fill(order, role="target", execution_id="b")
    bench.bar(-0.5)
    bench.equity(8_900)
    return bench


def test_a_session_goes_on_where_it_was(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    journal = Journal(tmp_path)
    assert journal.recovered == ""
    assert journal.saved is not None
    assert bytes(journal.saved.core) == busy.core.state.dump()
    assert bytes(journal.saved.gateway) == GATEWAY
    assert CoreState.load(bytes(journal.saved.core)).risk.breaches == 1
    journal.close()


def test_what_people_query(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    reader = JournalReader(tmp_path)
    [trade] = reader.query("SELECT link_id, reason, net_pnl FROM trades")
    assert trade[1:] == ("target", "34.2500")
    assert reader.query("SELECT count(*) FROM fills") == [(2,)]
    assert reader.query("SELECT side, reason FROM decisions ORDER BY seq") == [(1, ""), (-1, "")]
    assert [row[0] for row in reader.query("SELECT kind FROM orders")] == ["entry", "entry"]
    assert reader.query("SELECT equity FROM equity ORDER BY seq") == [("10000",), ("8900",)]
    reader.close()


def test_replay_is_the_same_to_the_byte(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    report = replay(JournalReader(tmp_path), 1, COUNCILS.__getitem__)
    assert (report.turns, report.decisions, report.orders) == (len(busy.events), 2, 2)


def test_replay_sees_another_council(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    swapped = {"long": COUNCILS["short"], "short": COUNCILS["long"]}
    with pytest.raises(ReplayMismatch, match=r"turn \d+ of session 1 differs"):
        replay(JournalReader(tmp_path), 1, swapped.__getitem__)


def test_replay_of_no_session(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    with pytest.raises(JournalError, match=r"no session 9 \(last ones: 1\)"):
        replay(JournalReader(tmp_path), 9, COUNCILS.__getitem__)


@pytest.mark.failure(46)
@pytest.mark.parametrize("how", ["overwritten", "truncated", "empty", "deleted"])
def test_a_damaged_journal_is_set_aside_and_the_copy_taken(tmp_path: Path, busy: Bench, how: str) -> None:
    run(tmp_path, busy)
    path = tmp_path / FILE
    data = path.read_bytes()
    damage: dict[str, Callable[[], object]] = {
        "overwritten": lambda: path.write_bytes(data[:100] + b"\xff" * (len(data) - 100)),
        "truncated": lambda: path.write_bytes(data[: len(data) // 3]),
        "empty": lambda: path.write_bytes(b""),
        "deleted": path.unlink,
    }
    damage[how]()
    journal = Journal(tmp_path)
    assert "the state was taken from state." in journal.recovered
    assert journal.saved is not None
    state = CoreState.load(bytes(journal.saved.core))
    assert state.risk.high_water == 10_000
    assert state.dump() == busy.core.state.dump()
    assert list(tmp_path.glob("*.damaged-*"))
    journal.close()
    again = Journal(tmp_path)
    assert again.recovered == ""
    assert again.saved == journal.saved
    again.close()


@pytest.mark.failure(46)
@pytest.mark.parametrize("damaged", ["state.a.json", "state.b.json"])
def test_one_copy_serves_when_the_other_is_damaged(tmp_path: Path, busy: Bench, damaged: str) -> None:
    run(tmp_path, busy)
    (tmp_path / FILE).write_bytes(b"nonsense" * 1000)
    (tmp_path / damaged).write_bytes((tmp_path / damaged).read_bytes()[:-20])
    journal = Journal(tmp_path)
    assert damaged not in journal.recovered
    assert journal.saved is not None
    assert journal.saved.seq >= len(busy.events) - 1
    assert CoreState.load(bytes(journal.saved.core)).risk.high_water == 10_000
    journal.close()


@pytest.mark.failure(46)
def test_nothing_whole_is_an_error_and_never_a_fresh_mark(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    (tmp_path / FILE).write_bytes(b"nonsense" * 1000)
    for copy in ("state.a.json", "state.b.json"):
        (tmp_path / copy).write_bytes(b"half")
    with pytest.raises(JournalError, match="no copy of the state is whole") as caught:
        Journal(tmp_path)
    assert "high-water mark" in caught.value.advice
    assert (tmp_path / FILE).read_bytes().startswith(b"nonsense")


@pytest.mark.failure(46)
def test_a_journal_that_lost_its_end_is_behind_its_copy(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy, upto=3)
    early = (tmp_path / FILE).read_bytes()
    for left in tmp_path.iterdir():
        left.unlink()
    run(tmp_path, busy)
    (tmp_path / FILE).write_bytes(early)
    journal = Journal(tmp_path)
    assert "last turns are lost" in journal.recovered
    assert journal.saved is not None
    assert bytes(journal.saved.core) == busy.core.state.dump()
    journal.close()


@pytest.mark.failure(46)
def test_a_copy_that_a_crash_left_behind_does_no_harm(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    journal = Journal(tmp_path)
    journal.record([Turn(Clock(10**15), [])], b'{"later":1}', GATEWAY)
    journal.close()  # as a crash does: no copy
    again = Journal(tmp_path)
    assert again.recovered == ""
    assert again.saved is not None
    assert bytes(again.saved.core) == b'{"later":1}'
    again.close()


@pytest.mark.failure(46)
def test_a_state_that_was_tampered_with_is_not_trusted(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    with sqlite3.connect(tmp_path / FILE) as db:
        seal = db.execute("SELECT seal FROM state").fetchone()[0].replace('"high_water":"10000"', '"high_water":"1"')
        db.execute("UPDATE state SET seal = ?", [seal])
    db.close()
    journal = Journal(tmp_path)
    assert "does not match its hash" in journal.recovered
    journal.close()


@pytest.mark.failure(43)
def test_a_full_disk_writes_nothing_and_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("SYNUSDT", "dry-run", b"{}", b"{}", "test")
    journal.record([Turn(Clock(1), [])], b"{}", b"{}")
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages + 1}")
    turn = Turn(Clock(2), [Alert("info", "test", "x" * 100_000)])
    with pytest.raises(JournalError, match="full"):
        journal.record([turn], b'{"after":1}', b"{}")
    assert journal.saved is not None
    assert bytes(journal.saved.core) == b"{}"
    journal._db.execute("PRAGMA max_page_count=100000")
    journal.record([turn], b'{"after":1}', b"{}")
    assert journal._db.execute("SELECT max(seq), count(*) FROM events").fetchone() == (2, 2)
    journal.close()


def test_commands_wait_for_the_executor(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    post_command(tmp_path, "halt")
    post_command(tmp_path, "resume")
    journal = Journal(tmp_path)
    assert [name for _, name in journal.commands()] == ["halt", "resume"]
    assert [name for _, name in journal.commands()] == ["halt", "resume"], "heard again until they were carried out"
    journal.took_commands(journal.commands()[-1][0])
    assert journal.commands() == []
    journal.close()


def test_no_journal_no_reader(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        JournalReader(tmp_path)
    with pytest.raises(JournalError, match="there is no journal"):
        post_command(tmp_path, "halt")


def test_a_journal_of_another_schema_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(SchemaError, match="schema 99"):
        Journal(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(JournalError):
        Journal(tmp_path)


@pytest.mark.failure(38)
@pytest.mark.failure(43)
def test_a_copy_that_cannot_be_written_costs_no_turn_and_doubles_none(tmp_path: Path, busy: Bench) -> None:
    core = type(busy.core)(CONFIG, COUNCILS.__getitem__)
    journal = Journal(tmp_path)
    journal.begin("SYNUSDT", "dry-run", encode(CONFIG), core.state.dump(), "test")
    turns = [Turn(event, core.on(event)) for event in busy.events]
    blocked = tmp_path / "state.b.json"
    blocked.mkdir()
    for turn in turns[:3]:
        journal.record([turn], core.state.dump(), GATEWAY)
        with pytest.raises(JournalError, match=r"state\.b\.json cannot be written"):
            journal.copy()
    blocked.rmdir()
    journal.record(turns[3:], core.state.dump(), GATEWAY)
    journal.copy()
    journal.end(core.state.dump())
    journal.close()
    reader = JournalReader(tmp_path)
    assert reader.query("SELECT max(seq), count(*) FROM events") == [(len(turns), len(turns))]
    assert replay(reader, 1, COUNCILS.__getitem__).turns == len(turns)
    (tmp_path / FILE).unlink()
    again = Journal(tmp_path)
    assert "state.b.json" in again.recovered
    again.close()


@pytest.mark.failure(43)
def test_a_command_that_cannot_be_noted_on_a_full_disk_is_noted_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.begin("SYNUSDT", "dry-run", b"{}", b"{}", "test")
    post_command(tmp_path, "flatten")
    [(number, name)] = journal.commands()
    assert name == "flatten"
    # The disk takes nothing: no statement that writes goes through.
    journal._db.execute("PRAGMA query_only=1")
    journal.took_commands(number)
    assert journal.commands() == [(number, "flatten")]
    journal._db.execute("PRAGMA query_only=0")
    journal.record([Turn(Clock(1), [])], b"{}", b"{}")
    assert journal.commands() == []
    journal.close()


@pytest.mark.failure(38)
def test_a_journal_that_cannot_be_read_is_an_error_and_not_empty(tmp_path: Path, busy: Bench) -> None:
    run(tmp_path, busy)
    journal, reader = Journal(tmp_path), JournalReader(tmp_path)
    for table in ("commands", "events"):
        journal._db.execute(f"DROP TABLE {table}")
    with pytest.raises(JournalError, match="cannot be read"):
        journal.commands()
    with pytest.raises(JournalError, match="cannot be read"):
        list(reader.turns(1))
    reader.close()
    journal.close()
