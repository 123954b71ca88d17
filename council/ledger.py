"""Who promoted what, when, and over which version: an append-only file beside the registry.

Each line is a JSON object that carries the hash of the line before it, so a line that was changed, removed or put in
between is noticed. A promotion that was made elsewhere, in the MLflow UI for example, is written when somebody looks.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from market.errors import RegistryError

#: ``promote`` and ``rollback`` were made through this program; ``seen`` was found in the registry.
How = Literal["promote", "rollback", "seen"]

#: Who made a promotion that was found in the registry.
ELSEWHERE = "somebody, in the registry"
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One change of what is in Production.

    Attributes
    ----------
    number
        Counts from 1, over all names.
    time_ms
        When it was written, UTC.
    name, version
        What is in Production from then on.
    over
        What was before; ``None`` for the first.
    by
        User and machine, or :data:`ELSEWHERE`.
    how
        See :data:`How`.
    content_hash
        Of the bundle; empty where no tag tells it.
    gate_passed
        The gate's verdict then.
    previous
        Hash of the line before.
    """

    number: int
    time_ms: int
    name: str
    version: int
    over: int | None
    by: str
    how: How
    content_hash: str
    gate_passed: bool
    previous: str


class Ledger:
    """The ledger in a file.

    Parameters
    ----------
    path
        ``ledger.jsonl``; made with the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, name: str | None = None) -> list[LedgerEntry]:
        """What was written, oldest first; of one registered model, or of all.

        Raises
        ------
        RegistryError
            The file cannot be read, or somebody changed it.
        """
        try:
            data = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise RegistryError(f"{self.path} cannot be read ({error})", advice="Check the folder's rights") from error
        return [entry for entry in self._parse(data)[0] if name in (None, entry.name)]

    def in_production(self, name: str) -> list[int]:
        """The versions that a rollback would go back through, the present one last: int[...].

        A promotion goes on top, a rollback takes the top away.
        """
        stack: list[int] = []
        for entry in self.entries(name):
            if entry.how == "rollback" and len(stack) > 1 and stack[-2] == entry.version:
                stack.pop()
            elif not stack or stack[-1] != entry.version:
                stack.append(entry.version)
        return stack

    def write(self, name: str, version: int, how: How, *, content_hash: str, gate_passed: bool) -> LedgerEntry | None:
        """Append what is in Production now; nothing where the ledger knows it already.

        Safe with several processes. An unfinished last line, of a process that was killed, is dropped.

        Raises
        ------
        RegistryError
            The file cannot be written, or somebody changed it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                entries, whole = self._parse(file.read())
                own = [entry for entry in entries if entry.name == name]
                if own and own[-1].version == version:
                    return None
                entry = LedgerEntry(
                    number=len(entries) + 1,
                    time_ms=time.time_ns() // 1_000_000,
                    name=name,
                    version=version,
                    over=own[-1].version if own else None,
                    by=ELSEWHERE if how == "seen" else f"{getpass.getuser()}@{socket.gethostname()}",
                    how=how,
                    content_hash=content_hash,
                    gate_passed=gate_passed,
                    previous=_hash(_line(entries[-1])) if entries else _START,
                )
                file.truncate(whole)
                file.write(_line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RegistryError(
                f"{self.path} cannot be written ({error}): version {version} of {name} is in Production and not in it",
                advice="Check the folder's rights and room; purplesky ledger writes it down when it is run again",
            ) from error
        return entry

    def _parse(self, data: bytes) -> tuple[list[LedgerEntry], int]:
        """The entries, and how many bytes of whole lines there are."""
        whole = data.rfind(b"\n") + 1
        entries: list[LedgerEntry] = []
        previous = _START
        for number, line in enumerate(data[:whole].splitlines(keepends=True), start=1):
            try:
                entry = LedgerEntry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise self._damaged(number, str(error)) from error
            if entry.number != number or entry.previous != previous or _line(entry) != line:
                raise self._damaged(number, "it does not follow from the one before")
            entries.append(entry)
            previous = _hash(line)
        return entries, whole

    def _damaged(self, number: int, why: str) -> RegistryError:
        return RegistryError(
            f"line {number} of {self.path} was changed or is damaged ({why})",
            advice="Find out who did it; move the file away to begin a new ledger",
        )


def _line(entry: LedgerEntry) -> bytes:
    return json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n"


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
