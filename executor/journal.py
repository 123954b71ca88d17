"""The journal: what the core saw and did, written before it acts.

One SQLite file (WAL) an account and symbol, and beside it two small copies of the last state. A restart goes on from
the state; a damaged journal is set aside and the state taken from a copy; without either the executor refuses to start,
because a fresh high-water mark would silently forget a drawdown.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from executor.actions import Action, Alert, ClosePosition, Decided, PlaceEntry, TradeClosed
from executor.events import EquityRead, Event, Filled, encode
from executor.upgrades import VERSION, bring_up
from market.errors import ExecutorError

_SCHEMA = """
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started_ns INTEGER NOT NULL, ended_ns INTEGER, symbol TEXT NOT NULL,
  mode TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL, final TEXT, software TEXT NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions, wall_ns INTEGER NOT NULL,
  event TEXT NOT NULL, actions TEXT NOT NULL);
CREATE INDEX events_by_session ON events (session, seq);
CREATE TABLE decisions (seq INTEGER NOT NULL, open_ms INTEGER NOT NULL, side INTEGER, confidence REAL, link_id TEXT,
  reason TEXT NOT NULL);
CREATE TABLE orders (seq INTEGER NOT NULL, link_id TEXT NOT NULL, kind TEXT NOT NULL, side INTEGER NOT NULL,
  size INTEGER NOT NULL, limit_ticks INTEGER, stop_ticks INTEGER, target_ticks INTEGER, reason TEXT NOT NULL);
CREATE TABLE fills (seq INTEGER NOT NULL, execution_id TEXT NOT NULL, link_id TEXT NOT NULL, role TEXT NOT NULL,
  time_ms INTEGER NOT NULL, side INTEGER NOT NULL, price_ticks INTEGER NOT NULL, size INTEGER NOT NULL,
  fee TEXT NOT NULL, maker INTEGER NOT NULL);
CREATE TABLE trades (seq INTEGER NOT NULL, link_id TEXT NOT NULL, side INTEGER NOT NULL, filled INTEGER NOT NULL,
  reason TEXT NOT NULL, entry_ms INTEGER, fees TEXT NOT NULL, funding TEXT NOT NULL, net_pnl TEXT NOT NULL);
CREATE TABLE equity (seq INTEGER NOT NULL, now_ms INTEGER NOT NULL, equity TEXT);
CREATE TABLE alerts (seq INTEGER NOT NULL, wall_ns INTEGER NOT NULL, level TEXT NOT NULL, code TEXT NOT NULL,
  text TEXT NOT NULL);
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), seal TEXT NOT NULL);
CREATE TABLE commands (id INTEGER PRIMARY KEY, name TEXT NOT NULL, posted_ns INTEGER NOT NULL, taken_ns INTEGER);
"""
#: Name of the journal in its folder.
FILE = "journal.sqlite"
#: Written in turn and in place: whatever moment a crash chooses, one of them is whole.
_COPIES = ("state.a.json", "state.b.json")


class JournalError(ExecutorError):
    """The journal cannot be written or read."""


class Saved(msgspec.Struct, frozen=True):
    """The state after turn number `seq`: the core's, and the gateway's."""

    seq: int
    core: msgspec.Raw
    gateway: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Turn:
    """One event and what followed from it."""

    event: Event
    actions: Sequence[Action]


class Journal:
    """Opens, or creates, the journal in `folder`.

    Parameters
    ----------
    folder
        Of one account and symbol.
    durable
        Whether every write waits for the disk, as live trading must.

    Attributes
    ----------
    recovered
        What was damaged and where the state was taken from instead; empty if nothing was.
    saved
        State of the last session; ``None`` if there was none.

    Raises
    ------
    JournalError
        The journal is damaged and no copy of the state is whole.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._durable = folder, durable
        self.path = folder / FILE
        self.recovered = ""
        self.saved: Saved | None = None
        self._session = -1
        self._slot = 0
        self._uncopied: bytes | None = None
        #: Number of the last command that was carried out and could not be noted as that; -1 for none.
        self._owed = -1
        had_journal = self.path.exists()
        damage = ""
        try:
            self._db = self._connect()
            self.saved = self._read_state()
            newest = self._newest_copy()
            self._slot = _COPIES.index(newest[1]) if newest else 0
            if newest is not None and (self.saved is None or newest[0].seq > self.saved.seq):
                # The copy is written after the journal: a copy that is ahead means that the journal lost its end.
                damage = damage or "its last turns are lost"
        except (sqlite3.DatabaseError, ValueError) as error:
            if isinstance(error, sqlite3.OperationalError) and not had_journal:
                raise JournalError(f"{self.path} cannot be written ({error})", advice="Check the folder") from error
            damage = str(error)
        if damage:
            self._recover(damage)

    def _connect(self) -> sqlite3.Connection:
        # A session that begins again is made ready in a thread; afterwards the loop alone writes.
        db = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            else:
                bring_up(db, self.path)
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ValueError(verdict)
        except BaseException:
            db.close()
            raise
        return db

    def _read_state(self) -> Saved | None:
        row = self._db.execute("SELECT seal FROM state").fetchone()
        return None if row is None else _unseal(row[0].encode())

    def _recover(self, damage: str) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        newest = self._newest_copy()
        if newest is None:
            raise JournalError(
                f"{self.path} is damaged ({damage}) and no copy of the state is whole",
                advice=f"Restore {self._folder} from a backup, or move it away to start with a new high-water mark",
            )
        self.saved, name = newest
        stamp = time.time_ns()
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(part.with_name(f"{part.name}.damaged-{stamp}"))
        self._db = self._connect()
        self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", [_seal(self.saved).decode()])
        self.recovered = f"the journal was damaged ({damage}); the state was taken from {name}"

    def _newest_copy(self) -> tuple[Saved, str] | None:
        found: list[tuple[Saved, str]] = []
        for name in _COPIES:
            try:
                found.append((_unseal((self._folder / name).read_bytes()), name))
            except (OSError, ValueError):
                continue
        return max(found, key=lambda copy: copy[0].seq, default=None)

    def last_config(self) -> bytes | None:
        """The configuration of the last session, as it was written; ``None`` if there was none."""
        row = self._db.execute("SELECT config FROM sessions ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0]).encode()

    # --- writing -----------------------------------------------------------------------------------------------------

    def begin(self, symbol: str, mode: str, config: bytes, state: bytes, software: str) -> int:
        """Start a session; its number."""
        with self._writing():
            cursor = self._db.execute(
                "INSERT INTO sessions (started_ns, symbol, mode, config, state, software) VALUES (?, ?, ?, ?, ?, ?)",
                [time.time_ns(), symbol, mode, config.decode(), state.decode(), software],
            )
            self._session = int(cursor.lastrowid or -1)
        return self._session

    def record(self, turns: Sequence[Turn], core: bytes, gateway: bytes) -> None:
        """Write turns and the state after them, all or nothing; :meth:`copy` is due afterwards.

        Raises
        ------
        JournalError
            Nothing was written.
        """
        seq, wall_ns = self.saved.seq if self.saved else 0, time.time_ns()
        with self._writing():
            for turn in turns:
                seq += 1
                self._db.execute(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
                    [seq, self._session, wall_ns, encode(turn.event).decode(), encode(turn.actions).decode()],
                )
                self._index(seq, turn, wall_ns)
            saved = Saved(seq, msgspec.Raw(core), msgspec.Raw(gateway))
            seal = _seal(saved)
            self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", [seal.decode()])
            if self._owed >= 0:
                self._take_commands(self._owed)
        self.saved, self._uncopied, self._owed = saved, seal, -1

    def copy(self) -> None:
        """Keep the state of the last turns beside the journal, too: over the older of the two copies.

        Not within :meth:`record`: orders wait for the journal alone. A copy that a crash leaves behind it does no harm.

        Raises
        ------
        JournalError
            The copy was not written, and is still due; the journal is whole.
        """
        if self._uncopied is None:
            return
        path = self._folder / _COPIES[1 - self._slot]
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, self._uncopied, 0)
                os.ftruncate(file, len(self._uncopied))
                if self._durable:
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise JournalError(f"{path} cannot be written ({error.strerror})", advice="Free disk space") from error
        self._slot, self._uncopied = 1 - self._slot, None

    def end(self, final: bytes) -> None:
        """The session ended in order."""
        with self._writing():
            self._db.execute(
                "UPDATE sessions SET ended_ns = ?, final = ? WHERE id = ?",
                [time.time_ns(), final.decode(), self._session],
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _writing(self) -> _Transaction:
        return _Transaction(self._db, self.path)

    def _index(self, seq: int, turn: Turn, wall_ns: int) -> None:
        """The same, in tables that people query."""
        for table, row in _rows(turn, wall_ns):
            marks = ", ".join("?" * (len(row) + 1))
            self._db.execute(f"INSERT INTO {table} VALUES ({marks})", [seq, *row])

    def commands(self) -> list[tuple[int, str]]:
        """Commands that a person left and that were not yet taken, in order: number and name.

        Raises
        ------
        JournalError
            They cannot be read: that is not "none".
        """
        try:
            rows = self._db.execute("SELECT id, name FROM commands WHERE taken_ns IS NULL ORDER BY id").fetchall()
        except sqlite3.Error as error:
            advice = "Start the executor again: it sets the journal aside and takes the state from a copy"
            raise JournalError(f"{self.path} cannot be read ({error})", advice=advice) from error
        return [(int(number), str(name)) for number, name in rows]

    def took_commands(self, last: int) -> None:
        """Commands up to number `last` were carried out.

        Said after the turn that they caused was written: a process that dies in between hears them again. What cannot
        be noted now, on a full disk, is noted with the next turns.
        """
        try:
            with self._writing():
                self._take_commands(last)
        except JournalError:
            self._owed = last

    def _take_commands(self, last: int) -> None:
        self._db.execute("UPDATE commands SET taken_ns = ? WHERE id <= ? AND taken_ns IS NULL", [time.time_ns(), last])

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a reading statement."""
        return self._db.execute(sql).fetchall()


class _Transaction:
    """All or nothing, with SQLite's errors as ours."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = db, path

    def __enter__(self) -> None:
        self._guard(lambda: self._db.execute("BEGIN IMMEDIATE"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._guard(lambda: self._db.execute("COMMIT"))
            return
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._error(error) from error

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"{self.path} cannot be written ({error})", advice="Free disk space, check its permissions")


def _rows(turn: Turn, wall_ns: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    match turn.event:
        case Filled() as e:
            row = (e.execution_id, e.link_id, e.role, e.time_ms, e.side, e.price, e.size, str(e.fee), int(e.maker))
            yield "fills", row
        case EquityRead() as e:
            yield "equity", (e.now_ms, None if e.equity is None else str(e.equity))
        case _:
            pass
    for action in turn.actions:
        match action:
            case Decided(open_ms=open_ms, vote=vote, link_id=link, reason=reason):
                said = (vote.side, vote.confidence) if vote else (None, None)
                yield "decisions", (open_ms, *said, link, reason)
            case PlaceEntry() as a:
                yield "orders", (a.link_id, "entry", a.side, a.size, a.limit, a.stop, a.target, "")
            case ClosePosition() as a:
                yield "orders", (a.link_id, "close", a.side, a.size, None, None, None, a.reason)
            case TradeClosed() as a:
                money = (str(a.fees), str(a.funding), str(a.net_pnl))
                yield "trades", (a.link_id, a.side, a.filled, a.reason, a.entry_ms, *money)
            case Alert() as a:
                yield "alerts", (wall_ns, a.level, a.code, a.text)
            case _:
                pass


def _seal(saved: Saved) -> bytes:
    body = msgspec.json.encode(saved)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unseal(data: bytes) -> Saved:
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("the state does not match its hash")
    return msgspec.json.decode(body, type=Saved)
