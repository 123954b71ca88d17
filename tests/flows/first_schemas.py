"""What the first released schemas looked like, frozen: never change it, add the next one beside it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: The journal of schema 1, with a session that was ended in order.
JOURNAL_1 = """
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
INSERT INTO sessions VALUES (1, 1772402400000000000, 1772402460000000000, 'SYNUSDT', 'dry-run', '{}', '{}', '{}', '0');
INSERT INTO equity VALUES (1, 1772402400000, '10000');
INSERT INTO commands VALUES (1, 'halt', 1772402401000000000, 1772402402000000000);
"""


def journal_1(folder: Path, *, schema: int = 1) -> Path:
    """Write a journal of the first schema with a state after turn 1."""
    folder.mkdir(parents=True)
    path = folder / "journal.sqlite"
    body = json.dumps({"seq": 1, "core": {"kept": "high-water mark"}, "gateway": {}}, separators=(",", ":"))
    seal = f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(JOURNAL_1)
        db.execute("INSERT INTO state VALUES (1, ?)", [seal])
        db.execute(f"PRAGMA user_version={schema}")
        db.commit()
    (folder / "state.a.json").write_text(seal, encoding="utf-8")
    return path


#: A manifest of lake schema 1, as the first release wrote it.
MANIFEST_1 = {
    **{"schema": 1, "symbol": "SYNUSDT", "date": "2026-01-01", "part": "0000000000000001", "tick_size": "0.10"},
    **{"qty_step": "0.001", "files": {}, "level_changes": 0, "trades": 0, "ordinals": [1, 2]},
    **{"times_ms": [1767225600000, 1767225660000], "book_ms": None, "u": None, "max_silence_ms": 0},
    **{"gaps": [], "snapshots": [{"ordinal": 1, "time_ms": 1767225600000}]},
}


def manifest_1(root: Path, *, schema: int = 1) -> Path:
    """Write a manifest of the first schema."""
    path = root / "book" / "symbol=SYNUSDT" / "date=2026-01-01" / "_0000000000000001.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**MANIFEST_1, "schema": schema}), encoding="utf-8")
    return path


_MS = 1767225600000
#: Book rows of lake schema 1: a snapshot of three levels, a message of two, one of one, and one without a level.
BOOK_1 = {
    "time_ms": [_MS, _MS, _MS, _MS + 100, _MS + 100, _MS + 180, _MS + 300],
    "recv_ns": [(_MS + 9) * 10**6 + 7] * 3 + [(_MS + 105) * 10**6] * 2 + [(_MS + 188) * 10**6 + 1, (_MS + 304) * 10**6],
    "ordinal": [1, 1, 1, 3, 3, 4, 9],
    "ts_ms": [_MS + 2] * 3 + [_MS + 101] * 2 + [_MS + 180, _MS + 303],
    "u": [1, 1, 1, 2, 2, 3, 4],
    "seq": [70, 70, 70, 77, 77, 90, 91],
    "side": [0, 0, 1, 0, 1, 1, 0],
    "flags": [3, 1, 5, 2, 4, 6, 14],
    "price": [10_000, 9_999, 10_002, 10_001, 10_002, 10_003, 0],
    "size": [5, 10**12, 3, 1, 0, 4, 0],
}


def part_1(root: Path, *, rows_a_group: int = 100, rows: int = 7, **columns: list[int]) -> Path:
    """Write a part of lake schema 1, as the first release wrote it; the path of its manifest."""
    path = manifest_1(root)
    types = {"side": pa.int8(), "flags": pa.uint8()}
    values = {name: pa.array(one[:rows], types.get(name, pa.int64())) for name, one in (BOOK_1 | columns).items()}
    book = path.with_name("0000000000000001.parquet")
    pq.write_table(pa.table(values), book, row_group_size=rows_a_group)
    data = book.read_bytes()
    file = {"rows": rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    some = {"ordinals": [1, 9], "book_ms": [_MS, _MS + 300], "u": [1, 4], "level_changes": 6}
    values_1 = {**MANIFEST_1, **(some if rows else {}), "files": {"book": file}}
    path.write_text(json.dumps(values_1), encoding="utf-8")
    return path
