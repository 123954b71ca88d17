"""What a registry says of a model, in few bytes and without MLflow: enough to know that nothing has changed.

Nothing is decided by it. Where it is the same as before, the answer that MLflow gave then still holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from council._mlflow import Connection
from market.errors import RegistryUnavailable

_WAIT_S = 5.0
_API = "/api/2.0/mlflow/"
#: MLflow's tables. They are nobody's promise: where one reads otherwise, the signature is unknown.
_TABLES = (
    "SELECT alias, version FROM registered_model_aliases WHERE name = ? ORDER BY 1, 2",
    "SELECT version, current_stage, run_id, source, storage_location FROM model_versions WHERE name = ? ORDER BY 1",
    "SELECT version, key, value FROM model_version_tags WHERE name = ? ORDER BY 1, 2",
)


def signature(connection: Connection, name: str) -> str | None:
    """Digest of what decides which version of `name` trades; ``None`` where it cannot be told.

    Raises
    ------
    RegistryUnavailable
        The server does not answer.
    """
    file = connection.file
    said = _of_server(connection, name) if file is None else _of_file(file, name)
    return None if said is None else hashlib.sha256(repr(said).encode()).hexdigest()


def _of_file(file: Path, name: str) -> object:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=2)) as database:
            database.execute("BEGIN")  # one state, not three
            return [database.execute(query, (name,)).fetchall() for query in _TABLES]
    except sqlite3.Error:
        return None


def _of_server(connection: Connection, name: str) -> object:
    """`Get RegisteredModel` and `Get ModelVersion` of MLflow's REST API, https://mlflow.org/docs/latest/rest-api.html."""
    try:
        model = _get(connection, "registered-models/get", name=name)
        if model is None:
            return None
        told = model.get("registered_model", {})
        aliases = sorted((row["alias"], row["version"]) for row in told.get("aliases", ()))
        latest = {row["version"]: row for row in told.get("latest_versions", ())}
        for number in {version for _, version in aliases} - set(latest):
            one = _get(connection, "model-versions/get", name=name, version=number)
            if one is None:
                return None
            latest[number] = one["model_version"]
        return aliases, [_version(latest[number]) for number in sorted(latest)]
    except (KeyError, TypeError, AttributeError):  # not what the API promises
        return None


def _version(row: dict[str, Any]) -> tuple[object, ...]:
    tags = sorted((tag["key"], tag.get("value")) for tag in row.get("tags", ()))
    return row["version"], row.get("current_stage"), row.get("run_id"), row.get("source"), tags


def _get(connection: Connection, call: str, **words: str) -> dict[str, Any] | None:
    """An answer; an empty one where there is no such thing; ``None`` where the server said something else."""
    request = urllib.request.Request(
        f"{connection.uri.rstrip('/')}{_API}{call}?{urlencode(words)}", headers=_credentials()
    )
    try:
        with urllib.request.urlopen(request, timeout=_WAIT_S) as answer:
            found = json.load(answer)
            return found if isinstance(found, dict) else None
    except urllib.error.HTTPError as error:
        with closing(error):
            return {} if error.code == 404 else None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise RegistryUnavailable(
            f"the registry at {connection.uri} cannot be reached ({type(reason).__name__})",
            advice="Start it (make ui), or correct mlflow.uri in purplesky.toml",
        ) from error
    except ValueError:
        return None


def _credentials() -> dict[str, str]:
    """As MLflow's client takes them from the environment."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{word}") for word in ("USERNAME", "PASSWORD"))
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
