"""One executor an account and symbol."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from market.errors import AlreadyRunningError


class Lock:
    """A lock that dies with its process; use it as a context manager.

    Raises
    ------
    AlreadyRunningError
        Another process holds it; the message names its process id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip() or "?"
            os.close(self._file)
            raise AlreadyRunningError(
                f"another executor (process {holder}) holds {self._path}",
                advice="Stop it first: two executors on one symbol would send every order twice",
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file stays: removing it would let two processes lock two files of one name.
        os.ftruncate(self._file, 0)
        os.close(self._file)
