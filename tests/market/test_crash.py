"""Killed at any instant, a recorder loses nothing that it has synced, and nothing half is ever trusted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from market import EventBatch, Lake, import_archives
from market.compaction import Retention, compact, retain
from market.errors import LakeError
from market.events import GAP
from market.journal import read_journal
from market.recovery import CRASH
from market.upgrades import upgrade_lake
from tests.flows.first_schemas import part_1
from tests.market.crash import FRAMES, SESSION_NS, live, record
from tests.market.test_archives import Shelf, two_days
from tests.market.test_upgrade import assert_upgraded
from tests.market.venue import BTC

Kill = Callable[..., int]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """Runs a recording in another process that is killed; its exit code."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.market.crash"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, cwd=root, text=True) as server:

        def run(lake: Path, session: int, *, job: str = "record", call: int = 0, after: float = 0.0) -> int:
            acked = str(lake.parent / f"acked{session}")
            request = {"lake": str(lake), "job": job, "acked": acked, "session": session}
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps({**request, "call": call, "after": after}) + "\n")
            server.stdin.flush()
            return int(json.loads(server.stdout.readline()))

        yield run
        assert server.stdin is not None
        server.stdin.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill cannot tell, and hundreds of syncs take no time."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def check_visible(root: Path) -> None:
    """Every file that a reader of the folders can see is whole, and the lake reads what is sealed."""
    for path in root.glob("*/*/*/*.parquet"):
        if not path.name.startswith("."):
            pq.read_metadata(path)
    lake = Lake(root)
    if lake.symbols():
        EventBatch.concat(lake.events("BTCUSDT"))


def check_recovered(root: Path, sessions: int) -> None:
    """After the next start the lake holds a beginning of each session, with all that was acknowledged."""
    lake = Lake(root)
    lake.writer("BTCUSDT", BTC).close()
    assert not list(root.rglob("*.tmp"))
    assert not list(root.rglob("*.wal"))
    events = EventBatch.concat(lake.events("BTCUSDT")) if lake.symbols() else EventBatch.empty()
    assert (np.diff(events.ordinal) >= 0).all()
    crashes = [gap.ordinal for part in (lake.sealed("BTCUSDT")) for gap in part.gaps if gap.cause == CRASH]
    ours = ~((events.kind == GAP) & np.isin(events.ordinal, crashes))
    for session in range(sessions):
        mine = ours & (events.recv_ns // SESSION_NS == session)
        got = EventBatch(**{name: getattr(events, name)[mine] for name in EventBatch.__slots__})
        path = root.parent / f"acked{session}"
        acked = int(path.read_bytes() or b"0") if path.exists() else 0
        safe = len(live(session, acked))
        assert len(got) >= safe, f"session {session}: {len(got)} rows of {safe} acknowledged"
        if len(got):
            assert live(session, FRAMES, int(got.ordinal[0]))[: len(got)].equals(got)


def attempt(folder: Path, kill: Kill, calls: tuple[int, ...], delays: tuple[float, ...]) -> list[int]:
    """Sessions on one lake, each killed; the exit codes."""
    folder.mkdir()
    root = folder / "lake"
    codes = []
    for session, (call, after) in enumerate(zip(calls, delays)):
        codes.append(kill(root, session, call=call, after=after))
        assert codes[-1] in {0, -9}
        check_visible(root)
    check_recovered(root, len(calls))
    return codes


@pytest.mark.failure(38)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_system_call(memory: Path, kill: Kill, step: int) -> None:
    """Two kills a lake: the second one mostly meets the recovery of the first."""
    rng, kills = random.Random(3), 0
    for call in range(1, 200, step):
        codes = attempt(memory / str(call), kill, (call, rng.randint(1, 30)), (0.0, 0.0))
        kills += codes.count(-9)
        if codes[0] == 0:
            break
    assert codes[0] == 0  # the loop has met every call there is
    assert kills >= 220 // step - 5


@pytest.mark.failure(38)
def test_killed_at_random_instants(memory: Path, kill: Kill) -> None:
    rng, kills = random.Random(4), 0
    for n in range(25):
        delays = (rng.uniform(0.002, 0.05), rng.uniform(0.002, 0.05))
        kills += attempt(memory / str(n), kill, (0, 0), delays).count(-9)
    assert kills >= 25


@pytest.fixture
def past_day(memory: Path) -> Lake:
    """Two sessions over midnight: a past day of several parts, and a newest one."""
    lake = Lake(memory / "whole")
    for session in range(2):
        record(lake, session, lambda count: None)
    assert len(lake.sealed("BTCUSDT")) > 4
    return lake


@pytest.mark.failure(38)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_compaction_killed_at_any_system_call_changes_no_row(
    memory: Path, past_day: Lake, kill: Kill, step: int
) -> None:
    """Readers see all rows once after every kill, and the next compaction ends the work."""
    rows, print_before = EventBatch.concat(past_day.events("BTCUSDT")), past_day.fingerprint("BTCUSDT")
    for call in range(1, 200, step):
        root = memory / str(call)
        shutil.copytree(past_day.root, root)
        code = kill(root, 0, job="compact", call=call)
        assert code in {0, -9}
        check_visible(root)
        for _ in range(2):
            lake = Lake(root)
            assert EventBatch.concat(lake.events("BTCUSDT")).equals(rows), call
            assert lake.fingerprint("BTCUSDT") == print_before
            compact(lake, "BTCUSDT")
        assert not list(root.rglob("*.tmp"))
        assert len(lake.sealed("BTCUSDT")) < len(past_day.sealed("BTCUSDT"))
        if code == 0:
            break
    assert code == 0
    assert call > 20


@pytest.mark.failure(38)
def test_a_removal_of_old_days_killed_at_any_system_call_is_ended_by_the_next(
    memory: Path, past_day: Lake, kill: Kill
) -> None:
    newest = past_day.sealed("BTCUSDT")[-1].date
    for call in range(1, 200):
        root = memory / str(call)
        shutil.copytree(past_day.root, root)
        code = kill(root, 0, job="retain", call=call)
        check_visible(root)
        retain(Lake(root), Retention(max_age_days=0))
        assert {part.date for part in Lake(root).sealed("BTCUSDT")} == {newest}
        assert {path.parent.name for path in root.rglob("*.parquet")} == {f"date={newest}"}, call
        if code == 0:
            break
    assert code == 0
    assert call > 5


@pytest.fixture
def archives(memory: Path) -> Path:
    """Two archived days, and the lake that their import gives, in ``whole``."""
    shelf = Shelf(memory / "archives")
    two_days(shelf)
    import_archives(shelf.folder, "BTCUSDT", Lake(memory / "whole"))
    return shelf.folder


@pytest.mark.failure(38)
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_an_import_killed_at_any_system_call_is_done_by_the_next(
    memory: Path, archives: Path, kill: Kill, step: int
) -> None:
    """A day is there whole or not at all, and what was imported is not imported again."""
    whole = Lake(memory / "whole")
    rows, days = EventBatch.concat(whole.events("BTCUSDT")), whole.days("BTCUSDT")
    for call in range(1, 200, step):
        folder = memory / str(call)
        folder.mkdir()
        (folder / "archives").symlink_to(archives)
        code = kill(folder / "lake", 0, job="import", call=call)
        assert code in {0, -9}
        check_visible(folder / "lake")
        lake = Lake(folder / "lake")
        done = lake.days("BTCUSDT") if lake.symbols() else []
        assert done == days[: len(done)]
        report = import_archives(archives, "BTCUSDT", lake)
        assert (report.skipped, report.imported) == (done, days[len(done) :])
        assert EventBatch.concat(lake.events("BTCUSDT")).equals(rows), call
        assert lake.fingerprint("BTCUSDT") == whole.fingerprint("BTCUSDT")
        assert not list(lake.root.glob("[!_]*/*/*/.*"))
        if code == 0:
            break
    assert code == 0
    assert call > 20


@pytest.mark.failure(38)
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_an_upgrade_killed_at_any_system_call_is_done_by_the_next(memory: Path, kill: Kill, step: int) -> None:
    for call in range(1, 200, step):
        root = memory / str(call)
        part_1(root)
        code = kill(root, 0, job="upgrade", call=call)
        assert code in {0, -9}
        upgrade_lake(root)
        assert_upgraded(root)
        if code == 0:
            break
    assert code == 0
    assert call > 10


def test_a_session_that_is_not_killed_leaves_no_journal(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    record(lake, 0, lambda count: None)
    assert not list(lake.root.rglob("*.wal"))
    got = EventBatch.concat(lake.events("BTCUSDT"))
    assert got.equals(live(0, FRAMES, int(got.ordinal[0])))
    assert sum(part.files["liquidations"].rows for part in lake.sealed("BTCUSDT") if "liquidations" in part.files) > 0


def unsealed(lake: Lake) -> Path:
    """A journal of some frames of which no part was made."""
    writer = lake.writer("BTCUSDT", BTC)
    try:
        record_some(lake, writer)
    finally:
        writer._lock.release()
    return next(lake.root.rglob("*.wal"))


def record_some(lake: Lake, writer: object) -> None:
    from market import LakeWriter, SessionAssembler
    from tests.market.crash import frames
    from tests.market.venue import RULES

    assert isinstance(writer, LakeWriter)
    assembler = SessionAssembler(RULES, lake.next_ordinal("BTCUSDT"))
    for n, frame in enumerate(frames(0)[:20]):
        writer.append(assembler.on_frame(frame, n), frame)
    writer.sync_now()


@pytest.mark.failure(38)
def test_a_journal_cut_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    path = unsealed(Lake(tmp_path / "lake"))
    data, cut = path.read_bytes(), path.with_name("cut.wal")
    whole = read_journal(path)
    count = len(whole.records)
    assert count > 20  # with the gaps
    seen = set()
    for length in range(0, len(data), 7):
        cut.write_bytes(data[:length])
        found = read_journal(cut)
        assert found.damage is None
        seen.add(len(found.records))
    assert seen == set(range(count))
    cut.write_bytes(data[:-30] + bytes(30))  # what a power loss may leave
    assert (len(read_journal(cut).records), read_journal(cut).damage) == (count - 1, None)


@pytest.mark.failure(38)
def test_a_damaged_journal_gives_what_is_before_and_is_kept(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    path = unsealed(lake)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    lake.writer("BTCUSDT", BTC).close()
    gaps = [gap.cause for part in lake.sealed("BTCUSDT") for gap in part.gaps]
    assert gaps[0] == "session start"
    assert gaps[-1].startswith("journal: record at byte")
    assert len(list((lake.root / "_quarantine" / "journal").rglob("*.wal"))) == 1
    got = EventBatch.concat(lake.events("BTCUSDT"))
    assert 5 < len(got) < 30


def test_a_journal_that_cannot_be_sealed_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    unsealed(lake)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(LakeError, match="No space left"):
            lake.writer("BTCUSDT", BTC)
    lake.writer("BTCUSDT", BTC).close()
    assert lake.recovered["BTCUSDT"][0].level_changes > 0
