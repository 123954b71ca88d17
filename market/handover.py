"""From one session to the next without a hole.

The newcomer connects first and keeps what it receives. Once every book has begun it asks the session that holds the
symbols to end, and says with which ``u`` each book began; that one goes on until it has got so far (its connection may
be the slower one), seals and gives the locks back, and the newcomer goes on exactly where it ended: book messages by
``u``, trades by id, the rest by time. Should anything not fit, the usual gap says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from market.errors import AlreadyRunningError, FrameError
from market.feed import Disconnected, Frame
from market.frames import BookFrame, LiquidationFrame, TickerFrame, decode
from market.locks import SymbolLock
from market.writer import Ending

_POLL_SECONDS = 0.05
#: How long a session that is asked to end goes on for what the newcomer has got sooner (s).
_PATIENCE_SECONDS = 5.0
_BOOK = b'{"topic":"orderbook.'


def _request_path(root: Path, symbol: str) -> Path:
    return root / ".locks" / f"{symbol}.next.lock"


def _requests(root: Path, symbols: Iterable[str]) -> dict[str, int]:
    """The symbols that a living newcomer asks for, with ``u`` of its first book message; 0 when it says none."""
    asked: dict[str, int] = {}
    for symbol in symbols:
        path = _request_path(root, symbol)
        if not path.exists():
            continue
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                process, _, u = file.read().partition(b" ")
                if process:  # else it is just about to say
                    asked[symbol] = int(u) if u.isdigit() else 0
    return asked


class Incumbent:
    """The session that records, and may be asked to end.

    Parameters
    ----------
    root
        Of the lake.
    last_u
        Update id of a symbol's last book message that has been taken in.
    """

    def __init__(self, root: Path, last_u: Callable[[str], int]) -> None:
        self._root = root
        self._last_u = last_u
        self._until: float | None = None

    def may_end(self, symbols: Iterable[str]) -> bool:
        """Whether a living newcomer has asked for any of the symbols, and nothing lies between it and this session."""
        asked = _requests(self._root, symbols)
        if not asked:
            self._until = None
            return False
        if self._until is None:
            self._until = time.monotonic() + _PATIENCE_SECONDS
        behind = any(self._last_u(symbol) < u - 1 for symbol, u in asked.items())
        return not behind or time.monotonic() >= self._until


class Newcomer:
    """Keeps what is received while another session still records.

    Parameters
    ----------
    root
        Of the lake.
    groups
        Symbols by connection.
    """

    def __init__(self, root: Path, groups: Sequence[tuple[str, ...]]) -> None:
        self._root = root
        self._groups = groups
        self.kept: list[list[Frame | Disconnected]] = [[] for _ in groups]
        self._begun: dict[str, int] = {}
        self._asked: set[str] = set()

    def keep(self, connection: int, items: Sequence[Frame | Disconnected]) -> None:
        """Take what a connection has received."""
        self.kept[connection] += items
        for item in items:
            if isinstance(item, Frame) and item.data.startswith(_BOOK):
                topic = item.data[: item.data.find(b'"', len(_BOOK))].decode()
                symbol = topic.rpartition(".")[2]
                if symbol not in self._begun:
                    self._begun[symbol] = _update_id(item.data)

    async def take_over(self, acquire: Callable[[], None], seconds: float, stopped: Callable[[], bool]) -> bool:
        """Ask the other session to end once every book has begun, and wait until `acquire` succeeds.

        Returns
        -------
        bool
            False if `stopped` became true first.

        Raises
        ------
        AlreadyRunningError
            The other session did not end within `seconds`.
        """
        deadline = time.monotonic() + seconds
        wanted = [symbol for group in self._groups for symbol in group]
        with contextlib.ExitStack() as asked:
            while not stopped():
                if self._begun.keys() >= set(wanted):
                    self._ask(wanted, asked)
                try:
                    acquire()
                except AlreadyRunningError:
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    return True
        return False

    def _ask(self, wanted: Sequence[str], asked: contextlib.ExitStack) -> None:
        for symbol in set(wanted) - self._asked:
            path = _request_path(self._root, symbol)
            with contextlib.suppress(AlreadyRunningError):  # the other one is just looking: ask again
                asked.callback(SymbolLock(path, symbol, str(self._begun[symbol])).release)
                self._asked.add(symbol)


def _update_id(data: bytes) -> int:
    """``u`` of a book message; 0 when it cannot be read."""
    try:
        frame = decode(data)
    except FrameError:
        return 0
    return frame.data.u if isinstance(frame, BookFrame) else 0


def beyond(items: Iterable[Frame | Disconnected], endings: dict[str, Ending]) -> list[Frame | Disconnected]:
    """Those that the other session has not recorded; repeated trades are left to the assembler, which knows ids."""
    last_u = {symbol: ending.last_u or 0 for symbol, ending in endings.items()}
    out: list[Frame | Disconnected] = []
    seen_u: dict[str, int] = {}
    for item in items:
        if isinstance(item, Disconnected):
            out.append(item)
            continue
        try:
            frame = decode(item.data)
        except FrameError:
            out.append(item)
            continue
        if isinstance(frame, BookFrame):
            symbol, u = frame.data.s, frame.data.u
            if u < seen_u.get(symbol, 0):
                last_u[symbol] = 0  # the venue's service has begun anew: nothing of it was recorded before
            seen_u[symbol] = u
            if u <= last_u.get(symbol, 0):
                continue
        elif isinstance(frame, TickerFrame | LiquidationFrame):
            ending = endings.get(frame.topic.rpartition(".")[2])
            known_ms = None if ending is None else ending.others_ms.get(frame.topic.partition(".")[0])
            if known_ms is not None and frame.ts <= known_ms:
                continue
        out.append(item)
    return out
