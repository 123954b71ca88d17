"""From one session to the next without a hole.

The newcomer connects first and keeps what it receives. Once every book has begun it asks the session that holds the
symbols to end; that one seals and gives the locks back, and the newcomer goes on exactly where it ended: book messages
by ``u``, trades by id, the rest by time. Should anything not fit, the usual gap says so.
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
_BOOK = b'{"topic":"orderbook.'


def _request_path(root: Path, symbol: str) -> Path:
    return root / ".locks" / f"{symbol}.next.lock"


def is_asked_to_end(root: Path, symbols: Iterable[str]) -> bool:
    """Whether a living newcomer has asked for any of the symbols."""
    for symbol in symbols:
        path = _request_path(root, symbol)
        if not path.exists():
            continue
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


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
        self._begun: set[str] = set()
        self._asked = False

    def keep(self, connection: int, items: Sequence[Frame | Disconnected]) -> None:
        """Take what a connection has received."""
        self.kept[connection] += items
        for item in items:
            if isinstance(item, Frame) and item.data.startswith(_BOOK):
                topic = item.data[: item.data.find(b'"', len(_BOOK))].decode()
                self._begun.add(topic.rpartition(".")[2])

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
                if self._begun.issuperset(wanted):
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
        if self._asked:
            return
        with contextlib.suppress(AlreadyRunningError):  # the other one is just looking: ask again
            for symbol in wanted:
                asked.callback(SymbolLock(_request_path(self._root, symbol), symbol).release)
            self._asked = True


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
