"""One part of the installation while it runs: its process, its signs of life, and when to start it again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Literal

from flows._procs import TOKEN
from flows.installation import Part
from settings import Operations

State = Literal["waits", "starting", "up", "ending", "down", "refused", "given up"]
#: Log files are cut at this size; what was there goes to ``<name>.log.1``.
_LOG_BYTES = 20_000_000
_LOOK_S = 2.0
#: Lines of a part that differ in numbers only are passed on this often.
_SAME_S = 60.0
_NUMBERS = re.compile(r"[0-9][0-9.,:]*")
#: Lines that only draw: Prefect greets with a picture.
_DRAWING = re.compile(r"[\s_|\\/'`.,\-=+*<>()~^╭╮╰╯│─]*")


class Running:
    """A part under the supervisor's eyes.

    Parameters
    ----------
    part
        What it is.
    rules
        Patience, backoff, circuit breaker.
    logs
        Folder of the log files.
    token
        What its processes carry.
    say
        Takes name and text for the combined log.
    """

    def __init__(self, part: Part, rules: Operations, logs: Path, token: str, say: Callable[[str, str], None]) -> None:
        self.part, self._rules, self._token, self._say = part, rules, token, say
        self.state: State = "waits"
        self.text = ""
        self.restarts = 0
        self.was_up = False
        self.healthy_s: float | None = None
        self.started_s: float | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.log = logs / f"{part.name.replace(' ', '-')}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._read = self.log.stat().st_size if self.log.exists() else 0
        self._partial = b""
        self._said: dict[str, float] = {}
        self._error = ""
        self._deaths: deque[float] = deque()
        self._retry_at = self._begun = self._sign_at = self._looked_at = self._kill_at = 0.0
        self._look: Future[bool] | None = None
        self._refused = ""
        # Abstract, so that nothing stays behind; the name cannot be guessed.
        name = f"purplesky-{token}-{part.name.replace(' ', '-')}"
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.ear.bind("\0" + name)
        self._notify = "@" + name

    # --- for people --------------------------------------------------------------------------------------------------

    def row(self) -> dict[str, Any]:
        """What there is to say, as plain JSON values."""
        return {
            "name": self.part.name,
            "state": self.state,
            "pid": self.process.pid if self.process is not None and self.process.poll() is None else None,
            "started_s": self.started_s,
            "restarts": self.restarts,
            "address": self.part.address,
            "healthy_s": self.healthy_s,
            "text": self.text,
        }

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process. Called by the supervisor's main thread only."""
        env = {**os.environ, **self.part.service.env, TOKEN: self._token, "NOTIFY_SOCKET": self._notify}
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
            self._read = 0
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                list(self.part.service.command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self.state, self.started_s, self._error = "starting", time.time(), ""
        self._begun = self._sign_at = time.monotonic()
        self._look = None

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._retry_at = float("inf")
        if self._signal(signal.SIGTERM):
            self.state = "ending"
        elif self.state not in ("refused", "given up"):
            self.state = "down"

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def _signal(self, number: int) -> bool:
        if not self.alive:
            return False
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            # It leads a group of its own, and it was not waited for yet: the id is still its.
            os.killpg(self.process.pid, number)
        return True

    def hear(self) -> None:
        """Take what it said by systemd's protocol."""
        while True:
            try:
                message = self.ear.recv(4096)
            except BlockingIOError:
                return
            values = dict(line.partition("=")[::2] for line in message.decode("utf-8", "replace").splitlines())
            if self.part.health or self.state not in ("starting", "up"):
                continue
            if "STATUS" in values:
                self.text = values["STATUS"]
            if values.get("READY") == "1" or values.get("WATCHDOG") == "1":
                self._well()

    def _well(self) -> None:
        self._sign_at, self.healthy_s = time.monotonic(), time.time()
        if self.state == "starting":
            self.state, self._refused = "up", ""
            where = f" at {self.part.address}" if self.part.address else ""
            self._tell(f"up after {self._sign_at - self._begun:.0f} s{where}")
            if self.part.health:
                self.text = ""
            self.was_up = True

    # --- what is due -------------------------------------------------------------------------------------------------

    def step(self, crew: Executor, may_start: bool) -> None:
        """Look after it once; never blocks."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._ended(self.process.returncode, now)
        if self.process is None:
            if may_start and self.state != "down" and now >= self._retry_at:
                if self.was_up or self._deaths or self._refused:
                    self.restarts += 1
                self.start()
            return
        if self._kill_at and now >= self._kill_at:
            self.kill()
        if self.state in ("starting", "up"):
            self._look_at(crew, now)
            self._judge(now)

    def _look_at(self, crew: Executor, now: float) -> None:
        if not self.part.health:
            return
        if self._look is not None and self._look.done():
            if self._look.result():
                self._well()
            self._look = None
        if self._look is None and now >= self._looked_at + (_LOOK_S if self.state == "up" else 1.0):
            self._looked_at = now
            self._look = crew.submit(answers, self.part.health)

    def _judge(self, now: float) -> None:
        silent = now - self._sign_at
        patience = self._rules.start_s if self.state == "starting" else self._rules.hang_s
        if silent < patience:
            if self.part.health and self.state == "up" and silent > 3 * _LOOK_S + 5:
                self.text = f"no answer for {silent:.0f} s"
            return
        what = "is not up" if self.state == "starting" else "gives no sign of life"
        self._tell(f"{what} after {silent:.0f} s: ending it, it is started again")
        self.state = "ending"
        self._kill_at = now + min(10.0, self._rules.stop_s)
        self._signal(signal.SIGTERM)

    def _ended(self, code: int, now: float) -> None:
        self.tail()
        # What it started and left in its group goes too; a flow run leads a group of its own, and goes on.
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process, self._kill_at = None, 0.0
        if self._retry_at == float("inf"):
            self.state = "down"
            return
        if code == 2 and self._error:
            # An error with advice: it is for a person to mend, not a crash.
            self.state, self.text = "refused", self._error
            self._retry_at = now + self._rules.wait_s
            if self._error != self._refused:
                self._refused = self._error
                self._tell(f"cannot start yet: {self._error} (asked again every {self._rules.wait_s:.0f} s)")
            return
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        self._died(how, now)

    def _died(self, how: str, now: float) -> None:
        self._deaths.append(now)
        while self._deaths and self._deaths[0] < now - self._rules.breaker_window_s:
            self._deaths.popleft()
        count = len(self._deaths)
        if count >= self._rules.breaker_deaths:
            pause = self._rules.breaker_pause_s
            self.state = "given up"
            self.text = f"{how}; {count} deaths in {self._rules.breaker_window_s / 60:.0f} min"
            self._tell(f"{self.text}: left alone for {pause / 60:.0f} min, the others go on; read {self.log}")
            self._deaths.clear()
        else:
            pause = min(60.0, self._rules.backoff_s * 2 ** (count - 1))
            self.state, self.text = "waits", how
            self._tell(f"{how}: started again in {pause:.0f} s")
        self._retry_at = now + pause

    # --- the log -----------------------------------------------------------------------------------------------------

    def tail(self) -> None:
        """Pass on what was added to its log."""
        try:
            with self.log.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:
                    self._read = 0
                file.seek(self._read)
                data = self._partial + file.read()
                self._read = file.tell()
        except OSError:
            return
        *lines, self._partial = data.split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace").rpartition("\r")[2].rstrip()
            if line.startswith("error: "):
                self._error = line.removeprefix("error: ")
                if self._error == self._refused:
                    continue  # said when it came up, and asked again and again since
            if not _DRAWING.fullmatch(line) and self._is_news(line):
                self._say(self.part.name, line)

    def _is_news(self, line: str) -> bool:
        """Whether a line differs in more than numbers from those of the last minute; the part's own log has all."""
        now, kind = time.monotonic(), _NUMBERS.sub("0", line)
        if kind in self._said and now < self._said[kind] + _SAME_S:
            return False
        if len(self._said) > 1_000:
            self._said.clear()
        self._said[kind] = now
        return True

    def _tell(self, text: str) -> None:
        self._say("supervisor", f"{self.part.name} {text}")


def answers(url: str) -> bool:
    """Whether a URL answers in five seconds with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
