"""A backup: one file that says what is in it, with a hash of every member, and is there whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from market.errors import PurpleSkyError

#: Version of the archive's layout; a newer one is refused.
SCHEMA = 1
MANIFEST = "manifest.json"
#: What reading a damaged archive may raise; `zlib.error` is no `OSError`, and `tarfile` passes it on now and then.
_DAMAGE = (tarfile.TarError, zlib.error, OSError, EOFError)


class BackupError(PurpleSkyError):
    """A backup cannot be made, or not be restored."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: where it belongs below the installation, its length and its hash."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds.

    Attributes
    ----------
    schema
        Of the archive.
    made
        UTC, ISO 8601.
    versions
        Schemas of what is in it: ``journal``, ``lake``.
    members
        By path.
    """

    schema: int
    made: str
    versions: dict[str, int]
    members: tuple[Member, ...]

    def to_json(self) -> bytes:
        """Indented JSON."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def of(cls, data: bytes, where: Path) -> Manifest:
        """Read one.

        Raises
        ------
        BackupError
            It is damaged, or of a newer schema.
        """
        try:
            values: dict[str, Any] = json.loads(data)
            schema = int(values["schema"])
            if schema > SCHEMA:
                raise BackupError(
                    f"{where} has backup schema {schema}, this version reads {SCHEMA}",
                    advice="Restore it with the PurpleSky version that made it, or a newer one",
                )
            members = tuple(Member(**row) for row in values["members"])
            return cls(schema, str(values["made"]), dict(values["versions"]), members)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(where, f"its manifest cannot be read: {error}") from error


def damaged(where: Path, why: str) -> BackupError:
    """The error for an archive that is not what was written."""
    return BackupError(f"{where} is damaged ({why})", advice="Take another archive; nothing was restored")


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of a database that others may be writing, by SQLite's online backup.

    Raises
    ------
    BackupError
        The database is damaged, or the copy is.

    References
    ----------
    https://www.sqlite.org/backup.html
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30.0)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            # All pages in one step: a step-wise copy begins anew at every write of a busy journal.
            old.backup(new)
            verdict = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied ({error})", advice="Run `purplesky doctor`") from error
    if verdict != "ok":
        raise BackupError(f"{source} is damaged ({verdict})", advice="Run `purplesky doctor`")


def write_archive(staged: Path, target: Path, made: str, versions: dict[str, int]) -> Manifest:
    """Put a folder into one archive, read it again, and only then give it its name.

    Raises
    ------
    BackupError
        It cannot be written, or does not read back as it was written; nothing is left at `target`.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    members = tuple(Member(path.relative_to(staged).as_posix(), *_digest(path)) for path in files)
    manifest = Manifest(SCHEMA, made, versions, members)
    beside = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as sink:
            with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=3) as archive:
                data = manifest.to_json()
                head = tarfile.TarInfo(MANIFEST)
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
                for path, member in zip(files, members):
                    archive.add(path, arcname=member.path, recursive=False)
            sink.flush()
            os.fsync(sink.fileno())
        verify(beside)
        beside.replace(target)
    except OSError as error:
        raise BackupError(
            f"{target} cannot be written ({error.strerror or error})",
            advice="Free disk space, or choose another folder",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return manifest


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> Manifest:
    """What an archive says of itself.

    Raises
    ------
    BackupError
        It is not there, damaged, or of a newer schema.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            head = archive.next()
            file = archive.extractfile(head) if head is not None and head.name == MANIFEST else None
            if file is None:
                raise damaged(path, "it does not begin with a manifest")
            return Manifest.of(file.read(), path)
    except FileNotFoundError as error:
        raise BackupError(f"there is no {path}", advice="Name an archive of `purplesky backup`") from error
    except _DAMAGE as error:
        raise damaged(path, str(error)) from error


def verify(path: Path) -> Manifest:
    """Read every byte of an archive and compare; what it says of itself.

    Raises
    ------
    BackupError
        A member is missing, added or changed.
    """
    manifest = read_manifest(path)
    for _ in _members(path, manifest):
        pass
    return manifest


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack an archive into a folder, every byte compared.

    Raises
    ------
    BackupError
        As :func:`verify`.
    """
    manifest = read_manifest(path)
    for member, data in _members(path, manifest):
        target = folder / member.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return manifest


def _members(path: Path, manifest: Manifest) -> Iterator[tuple[Member, bytes]]:
    """Each member with its content, compared with the manifest."""
    wanted = {member.path: member for member in manifest.members}
    try:
        with gzip.open(path) as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
            for head in archive:
                if head.name == MANIFEST:
                    continue
                member = wanted.pop(head.name, None)
                parts = PurePosixPath(head.name)
                if member is None or not head.isfile() or parts.is_absolute() or ".." in parts.parts:
                    raise damaged(path, f"{head.name} does not belong there")
                file = archive.extractfile(head)
                data = b"" if file is None else file.read()
                if hashlib.sha256(data).hexdigest() != member.sha256:
                    raise damaged(path, f"{head.name} was changed")
                yield member, data
            while whole.read(1 << 20):  # the checksum of all is at its very end
                pass
    except _DAMAGE as error:
        raise damaged(path, str(error)) from error
    if wanted:
        raise damaged(path, f"{len(wanted)} files are missing, the first is {min(wanted)}")


def put_in_place(staged: Path, target: Path) -> None:
    """Move a file to where it belongs, over what is there, across file systems too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.restored")
    shutil.copyfile(staged, beside)
    beside.replace(target)
