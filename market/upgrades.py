"""The lake's schema from the first released one on: manifests are rewritten step by step, a copy is kept before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from market._parts import lake_io, publish, stage
from market._schema_2 import split_messages
from market.errors import LakeError
from market.manifest import SCHEMA, read_manifest

#: Leads the plain values of a manifest, and the folder of its files, from a schema to the next; columns of its Parquet
#: files that change are rewritten by the step, which keeps the old file as ``<name>.schema-<n>`` meanwhile. The first
#: released schema is 1.
Step = Callable[[dict[str, Any], Path], dict[str, Any]]
STEPS: Mapping[int, Step] = {1: split_messages}


def upgrade_lake(root: Path, *, steps: Mapping[int, Step] = STEPS, schema: int = SCHEMA) -> tuple[int, int]:
    """Bring every manifest of a lake to the present schema; how many were changed, and how many there are.

    Each manifest is changed whole or not at all, and is left alone when it is there already: an upgrade that was
    interrupted is simply run again. What a manifest was stays beside it as ``<name>.schema-<n>``; Parquet files that
    were rewritten go once it is written, as their rows are proven to be in the new ones.

    Raises
    ------
    LakeError
        A manifest or a file of its part is damaged, of a newer schema, or of one that never was; or the disk refuses.
    """
    paths = sorted(root.glob("*/symbol=*/date=*/_*.json"))
    changed = 0
    for path in paths:
        values = _values(path)
        found = values["schema"]
        if found > schema:
            raise LakeError(
                f"{path} has lake schema {found}, this version writes {schema}",
                advice="Use the PurpleSky version that wrote it, or a newer one; the lake was left alone from here on",
            )
        if found == schema:
            _forget_files(path, values["part"])
            continue
        with lake_io(path):
            path.with_name(f"{path.name}.schema-{found}").write_bytes(path.read_bytes())
        for number in range(found, schema):
            if number not in steps:
                raise LakeError(
                    f"there is no way from lake schema {number} of {path} to {schema}",
                    advice="Restore it from a backup; a released PurpleSky never wrote this schema",
                )
            values = {**steps[number](values, path.parent), "schema": number + 1}
        stage(path, json.dumps(values, indent=1).encode() + b"\n")
        publish(path)
        _forget_files(path, values["part"])
        changed += 1
    for path in paths if schema == SCHEMA else ():
        read_manifest(path)
    return changed, len(paths)


def _forget_files(manifest: Path, part: str) -> None:
    """Remove the Parquet files that a step has rewritten."""
    for path in manifest.parent.glob(f"{part}.parquet.schema-*"):
        with lake_io(path):
            path.unlink()


def _values(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(values["schema"], int) or not isinstance(values["part"], str):
            raise TypeError("schema is no number, or part no name")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"{path} is damaged ({error})", advice="Restore it from a backup") from error
    return values
