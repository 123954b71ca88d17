"""A session's journal as Parquet: one file a table, readable by DuckDB, Polars and pandas as is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from executor.journal import JournalError
from executor.reader import JournalReader
from executor.status import folder_of, read_status
from settings import Settings

_I, _F, _T = pa.int64(), pa.float64(), pa.string()
#: Columns of each table, as the journal keeps them: money and decimals as text, so that nothing is rounded.
TABLES: dict[str, dict[str, pa.DataType]] = {
    "events": {"seq": _I, "wall_ns": _I, "event": _T, "actions": _T},
    "decisions": {"seq": _I, "open_ms": _I, "side": _I, "confidence": _F, "link_id": _T, "reason": _T},
    "orders": {"seq": _I, "link_id": _T, "kind": _T, "side": _I, "size": _I}
    | {"limit_ticks": _I, "stop_ticks": _I, "target_ticks": _I, "reason": _T},
    "fills": {"seq": _I, "execution_id": _T, "link_id": _T, "role": _T, "time_ms": _I, "side": _I}
    | {"price_ticks": _I, "size": _I, "fee": _T, "maker": _I},
    "trades": {"seq": _I, "link_id": _T, "side": _I, "filled": _I, "reason": _T, "entry_ms": _I}
    | {"fees": _T, "funding": _T, "net_pnl": _T},
    "equity": {"seq": _I, "now_ms": _I, "equity": _T},
    "alerts": {"seq": _I, "wall_ns": _I, "level": _T, "code": _T, "text": _T},
}


def find_session(settings: Settings, symbol: str, session: str) -> tuple[JournalReader, int]:
    """The journal that a session is in, open, and the session's number.

    Parameters
    ----------
    session
        Its number, or ``latest``; ``dry-run/7`` or ``live/2`` where it matters how it traded.

    Raises
    ------
    ExecutorError
        There is no such session, or no journal.
    """
    mode, _, number = session.rpartition("/")
    reader = JournalReader(folder_of(settings, symbol, mode or read_status(settings, symbol)["mode"]))
    try:
        known = reader.sessions()
        if number == "latest" and known:
            number = str(known[-1])
        if not number.isdigit() or int(number) not in known:
            raise JournalError(f"{session!r} names no session", advice=f"Use latest, or one of {known[-10:]}")
    except BaseException:
        reader.close()
        raise
    return reader, int(number)


def export_journal(settings: Settings, symbol: str, session: str, folder: Path) -> list[Path]:
    """Write a session's tables into `folder`, replacing what an earlier export left there.

    Raises
    ------
    ExecutorError
        There is no such session, or the folder cannot be written.
    """
    reader, number = find_session(settings, symbol, session)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_table(reader, number, name, folder) for name in TABLES]
    except OSError as error:
        raise JournalError(f"{folder} cannot be written ({error.strerror})", advice="Choose another folder") from error
    finally:
        reader.close()


def _table(reader: JournalReader, session: int, name: str, folder: Path) -> Path:
    columns = TABLES[name]
    sql = (
        f"SELECT {', '.join(columns)} FROM {name} "
        "WHERE seq IN (SELECT seq FROM events WHERE session = ?) ORDER BY seq, rowid"
    )
    rows = reader.query(sql, [session])
    arrays = {column: pa.array([row[at] for row in rows], kind) for at, (column, kind) in enumerate(columns.items())}
    path = folder / f"{name}.parquet"
    beside = path.with_suffix(".part")
    pq.write_table(pa.table(arrays).replace_schema_metadata({"session": str(session)}), beside, compression="zstd")
    beside.replace(path)
    return path
