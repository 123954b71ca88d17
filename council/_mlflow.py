"""The way to MLflow: its client, made late, and its errors, made ours."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from market.errors import RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
# A registry that is down is known to be down in seconds; a person's own environment wins.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Missing(RegistryError):
    """What was asked for is not in the registry."""


class Connection:
    """An MLflow address.

    Parameters
    ----------
    uri
        ``sqlite:///path`` or ``http://host:port``.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def file(self) -> Path | None:
        """The SQLite file, if that is what the address names."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    def exists(self) -> bool:
        """Whether there can be anything to read: MLflow would make an empty database where there is none."""
        return self.file is None or self.file.exists()

    @cached_property
    def client(self) -> MlflowClient:
        """The client, made at the first use.

        Raises
        ------
        RegistryError
            The address is none, or a package for it is not installed.
        RegistryUnavailable
            The SQLite file cannot be used.
        """
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        self.check_address()
        self._check_file()
        from mlflow import MlflowClient

        _quiet()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def check_address(self) -> None:
        """Refuse what is neither a file's nor a server's address.

        Raises
        ------
        RegistryError
            It is none.
        """
        if self.file is None and not re.match(r"https?://[^/]+", self.uri):
            raise RegistryError(
                f"{self.uri!r} is no registry address",
                advice="Set mlflow.uri to sqlite:///file or http://host:port",
            )

    def _check_file(self) -> None:
        """A file that is no database, or no place for one: MLflow would retry that for minutes."""
        file = self.file
        if file is None:
            return
        # The base install speaks to a server only.
        if missing := [package for package in ("sqlalchemy", "alembic") if find_spec(package) is None]:
            raise RegistryError(
                f"the registry {self.uri} needs the package {missing[0]}",
                advice="Install purplesky[pipeline], or set mlflow.uri to the address of an MLflow server",
            )
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=2)) as connection:
                connection.execute("PRAGMA schema_version").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise RegistryUnavailable(
                f"the registry file {file} cannot be used ({error})",
                advice="Restore it from a backup or move it away, and see that its folder can be written",
            ) from error

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Turn the errors of MLflow and of its store into ours."""
        try:
            yield
        except Exception as error:
            translated = self._translated(error)
            if translated is None:
                raise
            raise translated from error

    def _translated(self, error: Exception) -> RegistryError | None:
        mlflow = sys.modules.get("mlflow.exceptions")
        alchemy = sys.modules.get("sqlalchemy.exc")
        text = _one_line(error)
        if mlflow is not None and isinstance(error, mlflow.MlflowException):
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return Missing(
                    f"the registry has nothing there ({text})", advice="Look at it in the MLflow UI: make ui"
                )
            if error.error_code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
                return RegistryError(f"the registry refuses: {text}", advice="Correct what it names")
        elif not isinstance(error, ConnectionError | TimeoutError) and not (
            alchemy is not None and isinstance(error, alchemy.SQLAlchemyError)
        ):
            return None
        return RegistryUnavailable(
            f"the registry at {self.uri} cannot be reached ({text})",
            advice="Start it (make ui), or correct mlflow.uri in purplesky.toml",
        )


def _one_line(error: Exception) -> str:
    """What happened, without the client's wrapping."""
    text = (str(error).splitlines() or [""])[0]
    if cause := re.search(r"Caused by (\w+)", text):
        return cause[1]
    return text.rpartition("failed with exception ")[2][:200] or type(error).__name__


def _quiet() -> None:
    """MLflow's migrations announce themselves on stderr."""
    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
