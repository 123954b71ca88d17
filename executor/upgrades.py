"""The journal's schema from the first released one on: each step is a few statements, and a copy is kept before.

A journal of a newer schema is not damaged: it was written by a newer PurpleSky, and is left alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from market.errors import ExecutorError

#: The schema that this version writes.
VERSION = 1
#: Statements that lead from a schema to the next. The first released schema is 1.
STEPS: Mapping[int, str] = {}


class SchemaError(ExecutorError):
    """The journal is of a schema that this version cannot use."""


def schema_of(db: sqlite3.Connection) -> int:
    """The schema of an open journal; 0 for an empty file."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def bring_up(
    db: sqlite3.Connection, path: Path, *, steps: Mapping[int, str] = STEPS, version: int = VERSION
) -> tuple[int, ...]:
    """Bring an open journal to the present schema, all steps or none; the schemas that it passed.

    Parameters
    ----------
    db
        Open, in autocommit mode.
    path
        Where it lies; ``<name>.schema-<n>`` beside it becomes a copy of what it was.

    Raises
    ------
    SchemaError
        It is of a newer schema, of one that never was, or a step failed; it is as it was.
    """
    found = schema_of(db)
    if found == version:
        return ()
    if found > version:
        raise SchemaError(
            f"{path} has schema {found}, this version of PurpleSky writes {version}",
            advice="Use the version that wrote it, or a newer one; the journal was left alone",
        )
    missing = [number for number in range(found, version) if number not in steps]
    if missing:
        raise SchemaError(
            f"there is no way from schema {missing[0]} of {path} to {version}",
            advice="Restore it from a backup; a released PurpleSky never wrote this schema",
        )
    passed = tuple(range(found, version))
    try:
        with closing(sqlite3.connect(path.with_name(f"{path.name}.schema-{found}"))) as kept:
            db.backup(kept)
        script = "".join(steps[number] for number in passed)
        db.executescript(f"BEGIN IMMEDIATE;{script}PRAGMA user_version={version};COMMIT;")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise SchemaError(
            f"{path} could not be brought from schema {found} to {version} ({error})",
            advice=f"Nothing was changed; free disk space, or report it with {path.name}.schema-{found}",
        ) from error
    return passed


def upgrade_journals(root: Path) -> list[str]:
    """Bring every journal below a folder up; what was done, for people.

    Raises
    ------
    SchemaError
        One cannot be; those before it are done.
    """
    lines = []
    for path in sorted(root.glob("*/*/journal.sqlite")):
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as db:
            before = schema_of(db)
            passed = bring_up(db, path)
        lines.append(f"{path}: schema {before}" + (f", now {VERSION}" if passed else ", nothing to do"))
    return lines
