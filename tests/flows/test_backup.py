"""Backup and restore with a journal that is being written, and schemas from the first released one on."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import zlib
from contextlib import closing
from pathlib import Path

import pytest

import purplesky
from executor.journal import Journal
from executor.upgrades import STEPS, VERSION, SchemaError, bring_up, schema_of, upgrade_journals
from flows.archive import BackupError, read_manifest, verify
from flows.backup import make_backup, restore
from flows.supervisor import Supervisor
from market.errors import AlreadyRunningError, LakeError
from market.manifest import SCHEMA
from market.manifest import read_manifest as read_part
from market.upgrades import upgrade_lake
from settings import Settings, override
from tests.flows.first_schemas import journal_1, manifest_1

JOURNAL = "executor/dry-run/SYNUSDT/journal.sqlite"


def installation(folder: Path) -> Settings:
    return override(
        Settings(),
        paths={"data": folder / "data", "mlruns": folder / "mlruns"},
        operations={"backups": folder / "backups", "keep_backups": 2},
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation with something of everything that is backed up."""
    made = installation(tmp_path)
    paths = made.paths
    with closing(sqlite3.connect(_folder(paths.mlruns) / "mlflow.db")) as db:
        db.executescript("CREATE TABLE versions (name TEXT); INSERT INTO versions VALUES ('council');")
    (_folder(paths.mlruns / "artifacts" / "1") / "council.json").write_text("{}", encoding="utf-8")
    (paths.mlruns / "ledger.jsonl").write_text("{}\n", encoding="utf-8")
    (_folder(paths.studies / "one") / "journal.log").write_text("{}\n", encoding="utf-8")
    (_folder(paths.reports / "SYNUSDT") / "verdict.json").write_text("{}", encoding="utf-8")
    manifest_1(paths.lake)
    journal_1(paths.executor / "dry-run" / "SYNUSDT")
    return made


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _content(settings: Settings) -> dict[str, bytes]:
    """Every file that a backup keeps, databases as SQL."""
    found = {}
    for root in (settings.paths.data, settings.paths.mlruns):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in (".sqlite-wal", ".sqlite-shm") and "run" not in path.parts:
                name = f"{root.name}/{path.relative_to(root)}"
                if path.suffix in (".sqlite", ".db"):
                    with closing(sqlite3.connect(path)) as db:
                        found[name] = "\n".join(db.iterdump()).encode()
                else:
                    found[name] = path.read_bytes()
    return found


def test_what_was_backed_up_comes_back(settings: Settings, tmp_path: Path) -> None:
    made = make_backup(settings)
    assert verify(made.path) == made.manifest
    assert made.manifest.versions == {"journal": 1, "lake": SCHEMA}
    elsewhere = installation(tmp_path / "elsewhere")
    restore(elsewhere, made.path, journal_schema=VERSION)
    before = _content(settings)
    after = _content(elsewhere)
    assert b"[paths]" in after.pop("data/settings-restored.toml")
    assert after == before
    assert len(before) == 8


def test_a_journal_that_is_being_written(settings: Settings, tmp_path: Path) -> None:
    """Every copy is one moment of the journal, and the executor opens it as if nothing had happened."""
    path = settings.paths.data / JOURNAL
    stop = threading.Event()
    written = [0]

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            while not stop.is_set():
                written[0] += 1
                db.execute("BEGIN")
                for table in ("equity", "alerts"):
                    row = "(?, 0, '0')" if table == "equity" else "(?, 0, 'info', 'x', 'x')"
                    db.execute(f"INSERT INTO {table} VALUES {row}", [written[0] + 1])
                db.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            already = written[0]
            made = make_backup(settings, tmp_path / "busy")
            made.path.rename(made.path.with_name(f"kept-{already}.tar.gz"))
    finally:
        stop.set()
        writer.join()
    for number, archive in enumerate(sorted((tmp_path / "busy").iterdir())):
        elsewhere = installation(tmp_path / f"elsewhere-{number}")
        restore(elsewhere, archive, journal_schema=VERSION)
        with closing(sqlite3.connect(elsewhere.paths.data / JOURNAL)) as db:
            (equity,), (alerts,) = (
                db.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("equity", "alerts")
            )
        assert equity == alerts + 1  # the frozen journal has one row of equity
        journal = Journal(elsewhere.paths.executor / "dry-run" / "SYNUSDT")
        assert not journal.recovered
        assert journal.saved is not None
        assert b"high-water mark" in bytes(journal.saved.core)
        journal.close()
    assert written[0] > 3


def test_only_so_many_are_kept(settings: Settings, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "backups")
    for day in (1, 2, 3):
        (folder / f"purplesky-2026010{day}T000000Z.tar.gz").write_bytes(b"")
    (folder / "purplesky-mine.tar.gz").write_bytes(b"")
    made = make_backup(settings)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["purplesky-20260103T000000Z.tar.gz", made.path.name, "purplesky-mine.tar.gz"]
    assert [path.name for path in made.removed] == [f"purplesky-2026010{day}T000000Z.tar.gz" for day in (1, 2)]


def _changed(archive: Path, target: Path, name: str, data: bytes | None) -> Path:
    """An archive with one member changed or left out."""
    with tarfile.open(archive) as old, tarfile.open(target, "w:gz") as new:
        for head in old:
            content = old.extractfile(head)
            body = content.read() if content else b""
            if head.name == name:
                if data is None:
                    continue
                body, head.size = data, len(data)
            import io

            new.addfile(head, io.BytesIO(body))
    return target


def test_a_damaged_archive_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    archive = make_backup(settings).path
    elsewhere = installation(tmp_path / "elsewhere")
    whole = archive.read_bytes()
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(whole[: len(whole) // 2])
    cases = [
        torn,
        tmp_path / "none.tar.gz",
        _changed(archive, tmp_path / "other.tar.gz", "mlruns/ledger.jsonl", b"forged\n"),
        _changed(archive, tmp_path / "less.tar.gz", "mlruns/ledger.jsonl", None),
        _changed(archive, tmp_path / "headless.tar.gz", "manifest.json", None),
    ]
    for case in cases:
        with pytest.raises(BackupError):
            restore(elsewhere, case, journal_schema=VERSION)
        assert not elsewhere.paths.data.exists()


def test_no_byte_of_an_archive_may_change(settings: Settings, tmp_path: Path) -> None:
    """Those of file heads, too, which no member's digest covers."""
    whole, flipped = make_backup(settings).path.read_bytes(), tmp_path / "flipped.tar.gz"
    meant, refused = gzip.decompress(whole), 0
    for place in range(0, len(whole), max(1, len(whole) // 300)):
        flipped.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            same = gzip.decompress(flipped.read_bytes()) == meant  # a run of zeros may be copied from elsewhere
        except (OSError, EOFError, zlib.error):
            same = False
        if not same:
            refused += 1
            with pytest.raises(BackupError):
                verify(flipped)
    assert refused > 200


@pytest.mark.parametrize("what", ["backup", "journal", "lake"])
def test_a_newer_schema_is_refused(settings: Settings, tmp_path: Path, what: str) -> None:
    archive = make_backup(settings).path
    manifest = json.loads(read_manifest(archive).to_json())
    if what == "backup":
        manifest["schema"] = 99
    else:
        manifest["versions"][what] = 99
    newer = _changed(archive, tmp_path / "newer.tar.gz", "manifest.json", json.dumps(manifest).encode())
    elsewhere = installation(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match=f"{what} schema 99"):
        restore(elsewhere, newer, journal_schema=VERSION)
    assert not elsewhere.paths.data.exists()


@pytest.mark.parametrize("what", ["journal", "lake"])
def test_a_manifest_without_a_schema_is_refused(settings: Settings, tmp_path: Path, what: str) -> None:
    archive = make_backup(settings).path
    manifest = json.loads(read_manifest(archive).to_json())
    del manifest["versions"][what]
    untold = _changed(archive, tmp_path / "untold.tar.gz", "manifest.json", json.dumps(manifest).encode())
    elsewhere = installation(tmp_path / "elsewhere")
    with pytest.raises(BackupError, match=f"schema of the {what}"):
        restore(elsewhere, untold, journal_schema=VERSION)
    assert not elsewhere.paths.data.exists()


def test_not_over_what_is_there(settings: Settings) -> None:
    archive = make_backup(settings).path
    ledger = settings.paths.mlruns / "ledger.jsonl"
    ledger.write_text("newer\n", encoding="utf-8")
    with pytest.raises(BackupError, match="--force"):
        restore(settings, archive, journal_schema=VERSION)
    assert ledger.read_text(encoding="utf-8") == "newer\n"
    restore(settings, archive, journal_schema=VERSION, force=True)
    assert ledger.read_text(encoding="utf-8") == "{}\n"


def test_not_while_it_runs(settings: Settings) -> None:
    archive = make_backup(settings).path
    lock = settings.paths.executor / "dry-run" / "SYNUSDT" / "lock"
    code = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print('held',flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            with pytest.raises(AlreadyRunningError, match="executor"):
                restore(settings, archive, journal_schema=VERSION, force=True)
        finally:
            holder.kill()
    supervisor = Supervisor(settings, [], lambda name, text: None)
    _folder(settings.paths.data / "run")
    supervisor._write_state()
    with pytest.raises(AlreadyRunningError, match="purplesky down"):
        restore(settings, archive, journal_schema=VERSION, force=True)


def test_a_disk_that_refuses_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(BackupError, match="cannot be written"):
        make_backup(settings, blocked)
    full = _folder(tmp_path / "full")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom flows.archive import BackupError, write_archive\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_archive(Path(sys.argv[1]), Path(sys.argv[2]), 'now', {})\n"
        "except BackupError as error: print(error)\n"
    )
    (_folder(tmp_path / "big") / "noise").write_bytes(bytes(hash((i, 7)) & 255 for i in range(60_000)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "big"), str(full / "x.tar.gz")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "cannot be written" in done.stdout, done.stdout + done.stderr
    assert not list(full.iterdir())


def test_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="nothing to back up"):
        make_backup(installation(tmp_path))


def test_by_command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(settings.paths.data.parent)
    for words in (["backup", "--to", "kept"], ["upgrade"]):
        monkeypatch.setattr(sys, "argv", ["purplesky", *words])
        purplesky.main()
    said = capsys.readouterr().out
    assert "verified" in said
    assert "schema 1, nothing to do" in said
    assert "1 of 1 manifests changed" in said
    (archive,) = (settings.paths.data.parent / "kept").iterdir()
    for kept in (settings.paths.data, settings.paths.mlruns):
        shutil.rmtree(kept)
    monkeypatch.setattr(sys, "argv", ["purplesky", "restore", str(archive)])
    purplesky.main()
    assert "are back" in capsys.readouterr().out
    assert (settings.paths.data / JOURNAL).is_file()


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_the_first_journal_opens(tmp_path: Path) -> None:
    journal_1(tmp_path / "journal")
    journal = Journal(tmp_path / "journal")
    assert not journal.recovered
    assert journal.saved is not None
    assert journal.saved.seq == 1
    number = journal.begin("SYNUSDT", "dry-run", b"{}", b"{}", "test")
    assert number == 2
    journal.end(b"{}")
    journal.close()


def test_every_schema_has_a_way_to_the_present_one(tmp_path: Path) -> None:
    assert set(STEPS) == set(range(1, VERSION))
    path = journal_1(tmp_path / "dry-run" / "SYNUSDT")
    upgrade_journals(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        assert schema_of(db) == VERSION
    fresh = Journal(tmp_path / "fresh")
    fresh.close()
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(fresh.path)) as new:
        shapes = [sorted(db.execute("SELECT type, name FROM sqlite_master")) for db in (old, new)]
        assert shapes[0] == shapes[1]
        for _, table in [row for row in shapes[0] if row[0] == "table"]:
            columns = [db.execute(f"PRAGMA table_info({table})").fetchall() for db in (old, new)]
            assert columns[0] == columns[1]


def test_steps_are_taken_in_order_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = journal_1(tmp_path / "journal")
    steps = {1: "ALTER TABLE fills ADD COLUMN funding TEXT;", 2: "CREATE TABLE notes (text TEXT);"}
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert bring_up(db, path, steps=steps, version=3) == (1, 2)
        assert schema_of(db) == 3
        assert "funding" in [row[1] for row in db.execute("PRAGMA table_info(fills)")]
        assert bring_up(db, path, steps=steps, version=3) == ()
    with closing(sqlite3.connect(path.with_name("journal.sqlite.schema-1"))) as kept:
        assert schema_of(kept) == 1
        assert kept.execute("SELECT count(*) FROM equity").fetchone() == (1,)


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = journal_1(tmp_path / "journal")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = list(db.iterdump())
        with pytest.raises(SchemaError, match="could not be brought"):
            bring_up(db, path, steps={1: "CREATE TABLE notes (text TEXT); NONSENSE;"}, version=2)
        assert list(db.iterdump()) == before
        assert schema_of(db) == 1
        with pytest.raises(SchemaError, match="no way from schema 2"):
            bring_up(db, path, steps={1: "SELECT 1;"}, version=3)


@pytest.mark.failure(46)
def test_a_newer_journal_is_left_alone(tmp_path: Path) -> None:
    """It was once taken for a damaged one, and set aside."""
    path = journal_1(tmp_path / "journal", schema=99)
    with closing(sqlite3.connect(path)) as db:
        before = list(db.iterdump())
    with pytest.raises(SchemaError, match="schema 99"):
        Journal(tmp_path / "journal")
    with closing(sqlite3.connect(path)) as db:
        assert list(db.iterdump()) == before
    assert not list(path.parent.glob("*.damaged-*"))


def test_the_first_manifest_reads(tmp_path: Path) -> None:
    path = manifest_1(tmp_path)
    assert upgrade_lake(tmp_path) == (1, 1)
    assert read_part(path).part == "0000000000000001"
    assert upgrade_lake(tmp_path) == (0, 1)


def test_manifests_are_brought_up_one_by_one(tmp_path: Path) -> None:
    path = manifest_1(tmp_path, schema=SCHEMA)
    steps = {SCHEMA: lambda values, folder: {**values, "venue": "bybit"}}
    assert upgrade_lake(tmp_path, steps=steps, schema=SCHEMA + 1) == (1, 1)
    assert json.loads(path.read_bytes())["venue"] == "bybit"
    assert json.loads(path.with_name(f"{path.name}.schema-{SCHEMA}").read_bytes())["schema"] == SCHEMA
    assert upgrade_lake(tmp_path, steps=steps, schema=SCHEMA + 1) == (0, 1)
    with pytest.raises(LakeError, match="a newer one"):
        upgrade_lake(tmp_path)
    with pytest.raises(LakeError, match="no way"):
        upgrade_lake(tmp_path, schema=SCHEMA + 2)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(LakeError, match="damaged"):
        upgrade_lake(tmp_path)
