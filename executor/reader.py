"""The journal as others see it: read without a lock beside the running executor, and commands left for it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.journal import FILE, JournalError


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it was written: canonical JSON of its configuration and of the state it began and ended with."""

    id: int
    mode: str
    config: bytes
    state: bytes
    final: bytes | None


class JournalReader:
    """Reads the journal in `folder`; changes nothing.

    Raises
    ------
    JournalError
        There is none, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._db = _open(self._path, "ro")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def sessions(self) -> list[int]:
        """Numbers of all sessions."""
        return [int(str(row[0])) for row in self.query("SELECT id FROM sessions ORDER BY id")]

    def session(self, number: int) -> SessionRow:
        """One session.

        Raises
        ------
        JournalError
            There is none of that number.
        """
        rows = self.query("SELECT id, mode, config, state, final FROM sessions WHERE id = ?", [number])
        if not rows:
            known = ", ".join(map(str, self.sessions()[-10:])) or "none"
            raise JournalError(f"there is no session {number} (last ones: {known})", advice="Name one of them")
        _, mode, config, state, final = rows[0]
        last = None if final is None else str(final).encode()
        return SessionRow(number, str(mode), str(config).encode(), str(state).encode(), last)

    def turns(self, session: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Sequence number, event and actions, as they were written.

        Raises
        ------
        JournalError
            The file is damaged.
        """
        sql = "SELECT seq, event, actions FROM events WHERE session = ? ORDER BY seq"
        try:
            for seq, event, actions in self._db.execute(sql, [session]):
                yield seq, event.encode(), actions.encode()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Rows of a reading statement.

        Raises
        ------
        JournalError
            The file is damaged.
        """
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"{self._path} cannot be read ({error})", advice="Start the executor: it recovers")


def post_command(folder: Path, name: str) -> None:
    """Leave a command for the executor, running or not.

    Raises
    ------
    JournalError
        There is no journal, or it cannot be written.
    """
    path = folder / FILE
    db = _open(path, "rw")
    try:
        with db:
            db.execute("INSERT INTO commands (name, posted_ns) VALUES (?, ?)", [name, time.time_ns()])
    except sqlite3.DatabaseError as error:
        raise JournalError(
            f"{path} cannot be written ({error})", advice="Free disk space, check permissions"
        ) from error
    finally:
        db.close()


def _open(path: Path, mode: str) -> sqlite3.Connection:
    if not path.exists():
        raise JournalError(f"there is no journal at {path}", advice="Run the executor first: purplesky execute")
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=5.0)
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path} cannot be opened ({error})", advice="Check its permissions") from error
