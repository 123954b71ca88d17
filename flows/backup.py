"""`purplesky backup` and `purplesky restore`: what cannot be recorded or computed again.

In: the registry (database, artifacts and ledger), the executors' journals with the copies of their state, the studies,
the lake's manifests and contract rules, the verdicts and the index of the reports, the nights, the settings. Not in:
the lake's Parquet files (large; copy the folder), features and pages (computed again), secrets.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import settings as configuration
from flows.archive import (
    BackupError,
    Manifest,
    copy_sqlite,
    damaged,
    put_in_place,
    read_manifest,
    unpack,
    write_archive,
)
from flows.supervisor import running_state
from market.errors import AlreadyRunningError
from market.manifest import SCHEMA as LAKE_SCHEMA
from settings import Settings

_NAME = "purplesky-{stamp}.tar.gz"
_PATTERN = "purplesky-????????T??????Z.tar.gz"
#: Folders whose files are copied as they are, by the place of their root.
_LAKE = ("**/*.json",)


@dataclass(frozen=True, slots=True)
class Backup:
    """What was backed up.

    Attributes
    ----------
    path
        The archive.
    manifest
        What is in it.
    removed
        Older archives that had to go.
    """

    path: Path
    manifest: Manifest
    removed: tuple[Path, ...]

    def text(self) -> str:
        """For people."""
        size, count = self.path.stat().st_size / 1e6, len(self.manifest.members)
        gone = f"; {len(self.removed)} older removed" if self.removed else ""
        return f"{self.path}: {count} files, {size:.1f} MB, verified{gone}"


def make_backup(settings: Settings, folder: Path | None = None) -> Backup:
    """Back up an installation that may be running; the oldest archives beyond ``operations.keep_backups`` go.

    Raises
    ------
    BackupError
        There is nothing to back up, a database is damaged, or the archive cannot be written; older ones stay.
    """
    target = folder or settings.operations.backups
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="purplesky-backup-") as scratch:
        staged = Path(scratch)
        try:
            count = sum(_stage(place, source, staged) for place, source in _sources(settings))
        except OSError as error:
            raise BackupError(
                f"the backup cannot be put together ({error})", advice="Free space in the temporary folder"
            ) from error
        if not count:
            raise BackupError(
                f"there is nothing to back up in {settings.paths.data} and {settings.paths.mlruns}",
                advice="Check paths.data and paths.mlruns, or the working directory",
            )
        (staged / "settings.toml").write_text(configuration.to_toml(settings), encoding="utf-8")
        path = target / _NAME.format(stamp=now.strftime("%Y%m%dT%H%M%SZ"))
        versions = {"journal": _journal_schema(staged), "lake": LAKE_SCHEMA}
        manifest = write_archive(staged, path, now.isoformat(timespec="seconds"), versions)
    return Backup(path, manifest, tuple(_retire(target, settings.operations.keep_backups)))


def _journal_schema(staged: Path) -> int:
    """The newest schema of the journals that were copied; 0 without any."""
    found = 0
    for path in staged.glob("data/executor/*/*/journal.sqlite"):
        with closing(sqlite3.connect(path)) as db:
            found = max(found, int(db.execute("PRAGMA user_version").fetchone()[0]))
    return found


def _retire(folder: Path, keep: int) -> Iterator[Path]:
    for path in sorted(folder.glob(_PATTERN))[:-keep]:
        path.unlink()
        yield path


def _sources(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every file that is backed up, with its name in the archive."""
    paths = settings.paths
    registry = settings.registry_uri
    database = Path(registry.removeprefix("sqlite:///")) if registry.startswith("sqlite:///") else _own_database(paths)
    if database.is_file():
        yield "mlruns/mlflow.db", database
    for root, place, patterns in (
        (paths.mlruns, "mlruns", ("artifacts/**/*", "ledger.jsonl")),
        (paths.executor, "data/executor", ("**/state.?.json", "**/journal.sqlite", "councils/**/*")),
        (paths.studies, "data/studies", ("**/*",)),
        (paths.lake, "data/lake", _LAKE),
        (paths.reports, "data/reports", ("*.html", "*/verdict.json", "*/????-??-??.json")),
        (paths.data / "nights", "data/nights", ("*.json",)),
    ):
        if root.is_dir():
            # Copies of a journal's state before the journal: one that is ahead would look like a journal that lost
            # its end.
            files = [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
            for path in dict.fromkeys(files):
                if not path.name.endswith((".lock", ".part")) and not path.name.startswith("."):
                    yield f"{place}/{path.relative_to(root).as_posix()}", path


def newest_backup(settings: Settings) -> Path | None:
    """The newest archive in ``operations.backups``; ``None`` if there is none."""
    return max(settings.operations.backups.glob(_PATTERN), default=None)


def _own_database(paths: configuration.Paths) -> Path:
    """Of a server that this installation runs on SQLite."""
    return paths.mlruns / "mlflow.db"


def _stage(place: str, source: Path, staged: Path) -> int:
    """Copy one file; how many that were: 0 for one that went away meanwhile, like a sealed part that was merged."""
    target = staged / place
    if source.suffix in (".sqlite", ".db"):
        copy_sqlite(source, target)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        shutil.copyfile(source, target)
        return 1
    return 0


def restore(settings: Settings, archive: Path, *, journal_schema: int, force: bool = False) -> Manifest:
    """Put back what an archive holds, every byte compared before anything is changed.

    Parameters
    ----------
    settings
        Where to: `paths` and `mlflow` are read; the archive's own settings are kept beside, in
        ``<paths.data>/settings-restored.toml``.
    archive
        Of :func:`make_backup`.
    journal_schema
        The newest that this version reads.
    force
        Put it over what is there; what the archive does not have stays.

    Raises
    ------
    AlreadyRunningError
        The installation runs.
    BackupError
        The archive is damaged or of a newer schema, or there is something already and `force` is not given; nothing
        was changed.
    """
    manifest = read_manifest(archive)
    _check_versions(archive, manifest, {"journal": journal_schema, "lake": LAKE_SCHEMA})
    _check_stopped(settings)
    roots = {"data": settings.paths.data, "mlruns": settings.paths.mlruns}
    if not force and (there := [path for path in _kept(settings) if path.exists()]):
        raise BackupError(
            f"{there[0]} is there already", advice="Move it away, restore to other paths, or say --force to overwrite"
        )
    with tempfile.TemporaryDirectory(prefix="purplesky-restore-") as scratch:
        staged = Path(scratch)
        unpack(archive, staged)
        for member in manifest.members:
            root, _, rest = member.path.partition("/")
            target = roots[root] / rest if root in roots else settings.paths.data / "settings-restored.toml"
            if target.suffix in (".sqlite", ".db"):
                # The log of the database that was there must not be played into this one.
                for suffix in ("-wal", "-shm"):
                    target.with_name(target.name + suffix).unlink(missing_ok=True)
            put_in_place(staged / member.path, target)
    return manifest


def _check_versions(archive: Path, manifest: Manifest, known: dict[str, int]) -> None:
    for name, own in known.items():
        if name not in manifest.versions:
            raise damaged(archive, f"its manifest does not tell the schema of the {name}")
        theirs = manifest.versions[name]
        if theirs > own:
            raise BackupError(
                f"{archive} has {name} schema {theirs}, this version reads {own}",
                advice="Restore it with the PurpleSky version that made it, or a newer one",
            )


def _check_stopped(settings: Settings) -> None:
    state = running_state(settings)
    if state is not None:
        raise AlreadyRunningError(
            f"the installation runs (process {state['pid']})", advice="End it first: purplesky down"
        )
    for lock in [*settings.paths.executor.glob("*/*/*.lock"), *settings.paths.executor.glob("*/*/lock")]:
        if _held(lock):
            raise AlreadyRunningError(f"an executor holds {lock}", advice="Stop it first")


def _held(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _kept(settings: Settings) -> Iterator[Path]:
    """What an installation has that a restore would replace."""
    paths = settings.paths
    yield from (paths.mlruns / "mlflow.db", paths.mlruns / "artifacts", paths.executor, paths.studies, paths.lake)
