"""The reference pages of what is kept on disk: bundle, lake, journal."""

from __future__ import annotations

import sqlite3
import types
import typing

import msgspec

from council import bundle, manifest, plan
from executor import journal, upgrades
from market import _parts, events
from market import manifest as seals
from tests.docs import wording
from tests.docs.source import attributes, plain, table
from tests.docs.wording import intro


def bundle_format() -> str:
    """``council.json``."""
    words = attributes(manifest.Manifest) | wording.BUNDLE
    parts = [
        "# The council bundle\n",
        intro("bundle", schema=bundle.SCHEMA, readable=" and ".join(map(str, bundle._READABLE))),
        "## `council.json`\n",
        _struct(bundle._Document, words),
        "## A member\n",
        _struct(bundle._Member, words | wording.MEMBER),
        "## `params`\n",
        _struct(bundle._Params, attributes(plan.StrategyParams)),
        "## `profile`\n",
        _struct(bundle._Profile, attributes(manifest.TrainingProfile)),
    ]
    return "\n".join(parts)


def _struct(kind: type[msgspec.Struct], words: dict[str, str]) -> str:
    rows = []
    for field in msgspec.structs.fields(kind):
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        rows.append(
            (f"`{field.encode_name}`", _json(field.type), "" if required else "optional", plain(words[field.name]))
        )
    return table(("field", "type", "", "meaning"), rows)


def _json(kind: object) -> str:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _json(inside[0])
    if origin is typing.Literal:
        return " or ".join(f"`{one}`" for one in inside)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_json(one) for one in inside)
    if origin is tuple:
        return f"list of {_json(inside[0])}" if inside[-1] is ... else "[" + ", ".join(map(_json, inside)) + "]"
    if origin is list:
        return f"list of {_json(inside[0])}"
    if origin is dict:
        return f"object of {_json(inside[1])}"
    names = {int: "integer", float: "number", str: "text", bool: "boolean", type(None): "null", typing.Any: "any"}
    return names.get(typing.cast("type", kind), str(getattr(kind, "__name__", kind)).strip("_").lower())


def lake_schema() -> str:
    """Columns of the streams, and the manifest of a part."""
    words = attributes(events.EventBatch) | wording.COLUMNS
    parts = [
        "# The lake\n",
        intro("lake", schema=seals.SCHEMA),
        "```sql\nSELECT side, count(*) FROM read_parquet('data/lake/trades/**/*.parquet', hive_partitioning = true)\n"
        "WHERE symbol = 'BTCUSDT' GROUP BY side\n```\n",
        "Rows of the book with what their messages have once, message by message:\n",
        "```sql\nSELECT * FROM read_parquet('data/lake/book/**/*.parquet', hive_partitioning = true) AS book\n"
        "JOIN read_parquet('data/lake/messages/**/*.parquet', hive_partitioning = true) AS messages\n"
        "USING (symbol, date, ordinal) ORDER BY symbol, ordinal\n```\n",
        "A price beyond 2^31 ticks, which no contract has, makes the column of its file `int64`.\n",
    ]
    for stream in _parts.STREAMS:
        fields = _parts.arrow_schema(stream, {})
        rows = [(f"`{field.name}`", f"{field.type}", plain(words[field.name])) for field in fields]
        parts += [f"## `{stream}`\n", wording.STREAMS[stream] + "\n", table(("column", "type", "meaning"), rows)]
    parts += ["## The manifest of a part\n", _struct(seals.Manifest, wording.PART | attributes(seals.Manifest))]
    parts += ["A gap:\n", _struct(seals.Gap, wording.GAP), "A doubt:\n", _struct(seals.Doubt, wording.GAP)]
    return "\n".join(parts)


def journal_schema() -> str:
    """Tables of the executor's journal."""
    db = sqlite3.connect(":memory:")
    db.executescript(journal._SCHEMA)
    parts = [
        "# The journal\n",
        intro("journal", schema=upgrades.VERSION),
    ]
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"):
        columns = [f"`{row[1]}` {row[2].lower()}" for row in db.execute(f"PRAGMA table_info({name})")]
        parts += [f"## `{name}`\n", wording.TABLES[name] + "\n", ", ".join(columns) + "\n"]
    db.close()
    return "\n".join(parts)
