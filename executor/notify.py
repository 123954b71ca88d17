"""Notifications: Discord and whatever else apprise knows by a URL, sent by a thread of their own.

The loop hands a message over and goes on; what the outside world does with it can neither stop nor slow down trading.
URLs carry tokens: they are never written anywhere, and apprise's own log lines are kept from the console.

References
----------
https://appriseit.com/services/ for the URLs
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from market.errors import ConfigError

#: What a person is told even though nothing is wrong.
TOLD = frozenset({"start", "stop", "council", "swap", "venue", "registry", "journal", "feed", "resume", "transfer"})
_LEVELS = {"info": 0, "warning": 1, "critical": 2}
_KINDS = {0: "info", 1: "warning", 2: "failure"}
#: Services cut longer messages; Discord at 2,000 characters.
_MOST_CHARACTERS = 1_800
_ATTEMPTS = 3


class Carrier(Protocol):
    """Delivers a message; whether it arrived everywhere."""

    def __call__(self, title: str, body: str, kind: str) -> bool:
        """Deliver; may block, and may raise anything."""


@dataclass(slots=True)
class NotifyCounts:
    """What became of the messages.

    Attributes
    ----------
    sent, failed
        Notifications that every service took, and those that one did not take after all attempts.
    dropped
        Messages that had to make room for newer ones.
    """

    sent: int = 0
    failed: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Said:
    level: int
    code: str
    text: str
    times: int = 1


class Herald:
    """Collects what is worth telling and sends it in its own thread.

    Messages that come within `gather_s` of each other go out as one, the same text once with a count, and never more
    than one notification in `pause_s`. When `room` messages wait, the oldest one goes; how many went is said.

    Parameters
    ----------
    carrier
        See :func:`carrier_of`.
    title
        Of every notification.
    gather_s, pause_s
        See above.
    room
        Messages that may wait.
    """

    def __init__(
        self, carrier: Carrier, title: str, *, gather_s: float = 1.0, pause_s: float = 5.0, room: int = 100
    ) -> None:
        self.counts = NotifyCounts()
        self._carrier, self._title = carrier, title
        self._gather_s, self._pause_s, self._room = gather_s, pause_s, room
        self._waiting: deque[_Said] = deque()
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        # A daemon thread: a service that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    def hear(self, level: str, code: str, text: str) -> None:
        """Hand a message over; returns at once. What is neither a warning nor worth telling is left out."""
        rank = _LEVELS.get(level, 1)
        if rank == 0 and code not in TOLD:
            return
        with self._changed:
            for said in self._waiting:
                if (said.level, said.code, said.text) == (rank, code, text):
                    said.times += 1
                    return
            if len(self._waiting) >= self._room:
                self._waiting.popleft()
                self._dropped += 1
                self.counts.dropped += 1
            self._waiting.append(_Said(rank, code, text))
            self._changed.notify()

    def close(self, patience_s: float = 5.0) -> bool:
        """Send what waits; whether that was done in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
            self._rest(self._gather_s)
            with self._changed:
                batch, self._waiting = list(self._waiting), deque()
                dropped, self._dropped = self._dropped, 0
            self._send(batch, dropped)
            self._rest(self._pause_s)

    def _rest(self, seconds: float) -> None:
        """Sleep, unless the end is near."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _send(self, batch: list[_Said], dropped: int) -> None:
        body = _body(batch, dropped)
        kind = _KINDS[max(said.level for said in batch)]
        for attempt in range(_ATTEMPTS):
            try:
                arrived = self._carrier(self._title, body, kind)
            except Exception:  # noqa: BLE001 - whatever a service's plug-in raises: it is counted, and tried again
                arrived = False
            if arrived:
                self.counts.sent += 1
                return
            if self._closing:
                break
            self._rest(self._pause_s * 2**attempt)
        self.counts.failed += 1


def _body(batch: Sequence[_Said], dropped: int) -> str:
    """The loudest first; cut where a service would cut."""
    lines = [f"({dropped} older messages were dropped)"] if dropped else []
    for said in sorted(batch, key=lambda said: -said.level):
        level = ("", "warning: ", "CRITICAL: ")[said.level]
        lines.append(f"{level}{said.text}" + (f" (×{said.times})" if said.times > 1 else ""))
    text = "\n".join(lines)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 2] + " …"


def carrier_of(urls: Sequence[str]) -> Carrier:
    """Deliver through apprise to all of `urls`.

    Raises
    ------
    ConfigError
        One of them is none that apprise knows; the message tells its place in the list, never the URL.
    """
    _silence()
    with warnings.catch_warnings():
        # apprise's plug-ins import modules that Python is about to drop; that is for its keepers to know.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise, NotifyType

        services = Apprise()
        taken = [bool(services.add(url)) for url in urls]
    if not all(taken):
        raise ConfigError(
            f"notification URL {taken.index(False) + 1} of {len(urls)} is none that apprise understands",
            advice="Correct DISCORD_WEBHOOK_URL or NOTIFY_URLS in the environment: appriseit.com/services",
        )

    def carry(title: str, body: str, kind: str) -> bool:
        return bool(services.notify(body=body, title=title, notify_type=NotifyType(kind)))

    return carry


def _silence() -> None:
    """Keep apprise's and its transport's lines, which name addresses, from the last-resort handler."""
    for name in ("apprise", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
