"""What people and their machines see: of each session voices and status file, of the process page and watchdog."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from executor.build import Parts
from executor.notify import Herald
from executor.page import StatusPage, Values
from executor.session import Echo
from executor.status import status_values, write_status
from executor.voices import Voices
from market.daemon import Notifier
from market.errors import ConfigError
from settings import Settings

#: Decisions on the page, and in the status file.
_DECISIONS = 20


class Front:
    """Everything of a session that is for looking at.

    Parameters
    ----------
    settings, parts
        Of the session.
    folder
        Where ``status.json`` lies.
    say
        Takes lines for people.
    herald
        Sends notifications for all contracts of the process; ``None`` for one of its own, if there are URLs.

    Raises
    ------
    ConfigError
        A notification URL is none.
    """

    def __init__(self, settings: Settings, parts: Parts, folder: Path, say: Echo, herald: Herald | None = None) -> None:
        self._settings, self._parts, self._folder = settings, parts, folder
        self.voices = Voices(settings, parts.session.view.symbol, parts.mode, say, herald)
        parts.session.hear = self.voices.hear
        self._frame_s: float | None = None
        self._losses = 0

    def frames(self) -> None:
        """Market data came."""
        if self._frame_s is None and self._losses:
            self.voices.hear("info", "feed", "market data is back")
        self._frame_s = time.monotonic()

    def lost(self) -> None:
        """The connection for market data was lost."""
        self._losses += 1
        self._frame_s = None

    def values(self, *, running: bool = True) -> dict[str, Any]:
        """What there is to say now, as plain JSON values."""
        session, parts = self._parts.session, self._parts
        base = status_values(session, mode=parts.mode, running=running, number=parts.number)
        return base | {
            "feed": None if parts.events is not None else self._feed(),
            "registry": {"problem": parts.watch.problem, "asked_s": parts.watch.asked_s},
            "decisions": [msgspec.to_builtins(decided) for decided in list(session.decisions)[-_DECISIONS:]],
            "remarks": [list(remark) for remark in list(self.voices.recent)[-_DECISIONS:]],
            "voices": dict(self.voices.counts()),
        }

    def _feed(self) -> dict[str, Any]:
        age_s = None if self._frame_s is None else time.monotonic() - self._frame_s
        fresh = age_s is not None and age_s <= self._settings.market.idle_seconds
        return {"age_s": age_s, "fresh": fresh, "disconnects": self._losses}

    def write(self, *, running: bool, failure: str = "") -> None:
        """Write the status file; `failure` says why the session ended before its time."""
        values = self.values(running=running) | ({"failure": failure} if failure else {})
        write_status(self._folder, values, self._parts.session.tell)

    def begin(self) -> None:
        """Say that the session has begun."""
        parts = self._parts
        council = parts.session.core.state.pending or parts.session.core.state.council
        version = f"council version {council.version}" if council else "no council"
        self.voices.hear("info", "start", f"{parts.mode} session {parts.number} has begun with {version}")

    def end(self, text: str, error: BaseException | None) -> None:
        """Say how the session ended, and let the last notification go."""
        if error is not None:
            self.voices.error(error)
        else:
            self.voices.hear("info", "stop", text)
        self.voices.close()


class Hall:
    """What the process shows as a whole: one page for all contracts, one answer to systemd.

    Parameters
    ----------
    port
        Of the page; 0 for none.
    sources
        Give what there is to say of each contract.
    say
        Takes lines for people.
    """

    def __init__(self, port: int, sources: Sequence[Values], say: Echo) -> None:
        self._port, self._sources, self._say = port, sources, say
        self._page: StatusPage | None = None
        self._systemd = Notifier()

    async def open(self) -> None:
        """Serve the page, and tell systemd that all is up."""
        if self._port:
            page = StatusPage(self._sources, self._port)
            try:
                await page.start()
            except ConfigError as error:
                # Another executor may have it: no reason not to trade.
                self._say(f"warning: {error}")
            else:
                self._page = page
                self._say(f"status page at http://127.0.0.1:{page.port}/")
        self._systemd(READY="1")

    def beat(self, text: str) -> None:
        """Tell systemd that the loop turns."""
        self._systemd(WATCHDOG="1", STATUS=text)

    async def close(self) -> None:
        """Serve the page no more."""
        self._systemd(STOPPING="1")
        if self._page is not None:
            await self._page.close()
