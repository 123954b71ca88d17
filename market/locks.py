"""Who may write a symbol's part of the lake."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from market._parts import lake_io
from market.errors import AlreadyRunningError


class SymbolLock:
    """Exclusive right to write one symbol, between processes; freed by the system when the process dies.

    Parameters
    ----------
    path
        The file that is locked; it names the process that holds it.
    symbol
        Of which.
    note
        Written behind the process's number, for whoever looks.

    Raises
    ------
    AlreadyRunningError
        Another writer holds it.
    """

    def __init__(self, path: Path, symbol: str, note: str = "") -> None:
        with lake_io(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise AlreadyRunningError(
                f"the lake of {symbol} is being written by another process (pid {holder})",
                advice="Stop that recorder or import first, or wait for it",
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {note}".rstrip())
        self._file.flush()

    def release(self) -> None:
        """Give the right back."""
        self._file.close()
