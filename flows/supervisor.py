"""`purplesky up`: everything on one machine, in the foreground, with one log; and `down` and `status` beside it.

Each part writes to a file of its own, which is followed: a terminal that stands still can hold up nobody. Parts are
looked at by HTTP or by systemd's watchdog protocol. One that dies or hangs is started again with growing pauses; one
that does so too often is left alone while the others go on; one that says what a person must mend is asked again.

Nothing is left behind: every process carries a token, a watchman outlives a supervisor that is killed and ends its
children, and the next start looks for what both of them left.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from flows._procs import Identity, sweep
from flows._running import Running
from flows.installation import Part, check_ports
from flows.services import OFFLINE
from market.errors import AlreadyRunningError, PurpleSkyError
from settings import Settings

_STEP_S = 0.2
_STATE_S = 1.0
_COLOURS = (36, 35, 34, 33, 32, 96, 95, 94, 92)


class SupervisorError(PurpleSkyError):
    """The supervisor cannot be asked or ended."""


def folder_of(settings: Settings) -> Path:
    """Where the supervisor keeps its lock and its state."""
    return settings.paths.data / "run"


class Log:
    """One readable log of all parts: time, name, text; coloured on a terminal."""

    def __init__(self, names: Sequence[str], *, colour: bool | None = None) -> None:
        self._width = max(map(len, [*names, "supervisor"]))
        self._colour = sys.stdout.isatty() if colour is None else colour
        self._codes = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
        self._open = True

    def __call__(self, name: str, text: str) -> None:
        """Print one line; a terminal that is gone is no reason to end."""
        if not self._open:
            return
        prefix = f"{time.strftime('%H:%M:%S')} {name:<{self._width}} |"
        if self._colour:
            prefix = f"\x1b[{self._codes.get(name, 1)}m{prefix}\x1b[0m"
        try:
            print(prefix, text, flush=True)  # noqa: T201 - the log is the supervisor's output
        except OSError:
            self._open = False


class Supervisor:
    """Runs parts until it is told to end.

    Parameters
    ----------
    settings
        Of the installation; `operations` and `paths` are read.
    parts
        See :func:`flows.installation.parts_of`.
    say
        Takes name and text.
    """

    def __init__(self, settings: Settings, parts: Sequence[Part], say: Callable[[str, str], None]) -> None:
        self._rules, self._folder, self._say = settings.operations, folder_of(settings), say
        self._parts = parts
        self._logs = settings.paths.data / "logs" / "up"
        self._token = uuid.uuid4().hex
        self._asked_to_stop = 0
        self._state_at = 0.0
        self._running: list[Running] = []

    def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP; a second one kills at once.

        Raises
        ------
        AlreadyRunningError
            Another supervisor has this installation.
        ConfigError
            A port is taken; nothing was started.
        """
        with ExitStack() as stack:
            stack.enter_context(_lock(self._folder))
            self._clean_leftovers()
            check_ports(self._parts)
            stack.enter_context(_signals(self._on_signal))
            stack.enter_context(self._watchman())
            # Known before the first child: whatever happens from here on, the next start finds it.
            self._running = [Running(part, self._rules, self._logs, self._token, self._say) for part in self._parts]
            self._write_state()
            crew = stack.enter_context(ThreadPoolExecutor(len(self._parts), thread_name_prefix="health"))
            ears = stack.enter_context(selectors.DefaultSelector())
            for one in self._running:
                ears.register(one.ear, selectors.EVENT_READ, one)
            self._say("supervisor", f"starting {', '.join(part.name for part in self._parts)}; Ctrl-C ends them all")
            try:
                self._loop(crew, ears)
            finally:
                self._end()
                for one in self._running:
                    one.ear.close()

    def _loop(self, crew: ThreadPoolExecutor, ears: selectors.BaseSelector) -> None:
        told = False
        while not self._asked_to_stop:
            for key, _ in ears.select(_STEP_S):
                key.data.hear()
            been_up = {one.part.name for one in self._running if one.was_up}
            for one in self._running:
                one.tail()
                one.step(crew, may_start=been_up.issuperset(one.part.after))
            self._write_state(at_most_every=_STATE_S)
            if not told and all(one.state in ("up", "refused") for one in self._running):
                told = True
                self._say("supervisor", "all parts were started; `purplesky status` in another terminal shows them")

    def _end(self) -> None:
        """Those that work first, the servers they tell it to afterwards."""
        self._say("supervisor", "ending; a second Ctrl-C kills")
        deadline = time.monotonic() + self._rules.stop_s
        for last in (False, True):
            stage = [one for one in self._running if one.part.last is last]
            for one in stage:
                one.stop()
            while any(one.alive for one in stage):
                late = time.monotonic() >= deadline or self._asked_to_stop > 1
                for one in self._running:
                    if late and one in stage and one.alive:
                        one.kill()
                    one.tail()
                self._write_state(at_most_every=_STATE_S)
                time.sleep(0.1)
            # What the parts started themselves, flow runs above all, while Prefect's server still hears of it.
            spare = [one.process.pid for one in self._running if one.alive and one.process is not None]
            sweep(self._token, 0.0 if self._asked_to_stop > 1 else 10.0, spare)
            deadline = max(deadline, time.monotonic() + 10)
        for one in self._running:
            one.tail()
        self._write_state(ended=True)
        self._say("supervisor", "everything has ended")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop += 1

    # --- nothing is left behind --------------------------------------------------------------------------------------

    def _clean_leftovers(self) -> None:
        before = _read_state(self._folder)
        if before is None or before.get("ended"):
            return
        count = sweep(str(before["token"]), self._rules.stop_s)
        if count:
            self._say("supervisor", f"ended {count} processes that an earlier supervisor had left behind")

    @contextmanager
    def _watchman(self) -> Iterator[None]:
        command = [sys.executable, "-m", "flows._watchman", self._token, str(self._rules.stop_s)]
        root = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        env = {**os.environ, **OFFLINE, "PYTHONPATH": path}
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        ) as watchman:
            try:
                yield
            finally:
                assert watchman.stdin is not None
                try:
                    watchman.stdin.write(b"all in order\n")
                    watchman.stdin.close()
                except BrokenPipeError:
                    self._say("supervisor", "the watchman was gone; everything has ended all the same")

    def _write_state(self, *, at_most_every: float = 0.0, ended: bool = False) -> None:
        now = time.monotonic()
        if now < self._state_at + at_most_every:
            return
        self._state_at = now
        own = Identity.of(os.getpid())
        assert own is not None, "this process lives"
        values = {
            "pid": own.pid,
            "began": own.began,
            "boot": own.boot,
            "token": self._token,
            "written_s": round(time.time(), 3),
            "ended": ended,
            "parts": [one.row() for one in self._running],
        }
        beside = self._folder / "supervisor.json.part"
        try:
            beside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            beside.replace(self._folder / "supervisor.json")
        except OSError as error:
            # A full disk is the recorder's and the journal's to report; the others must go on.
            self._say("supervisor", f"the state cannot be written ({error.strerror})")


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before):
            signal.signal(number, old)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One supervisor an installation; freed by the system when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "supervisor.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            state = _read_state(folder) or {}
            raise AlreadyRunningError(
                f"this installation runs already (process {state.get('pid', 'unknown')})",
                advice="See `purplesky status`; `purplesky down` ends it",
            ) from error
        yield


def _read_state(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "supervisor.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SupervisorError(
            f"{folder / 'supervisor.json'} cannot be read ({error})", advice="Remove the file"
        ) from error
    return found


def running_state(settings: Settings) -> dict[str, Any] | None:
    """What the supervisor of this installation last said; ``None`` if none runs.

    Raises
    ------
    SupervisorError
        Its state file is damaged.
    """
    state = _read_state(folder_of(settings))
    if state is None or state["ended"] or not _identity(state).alive:
        return None
    return state


def _identity(state: dict[str, Any]) -> Identity:
    return Identity(int(state["pid"]), int(state["began"]), str(state["boot"]))


def end(settings: Settings) -> str:
    """End the installation from another terminal; what was done, for people.

    Only the very process that wrote the state file is told to end, and only processes that carry its token.

    Raises
    ------
    SupervisorError
        It does not end.
    """
    state = _read_state(folder_of(settings))
    if state is None:
        return "nothing runs here"
    supervisor, rules = _identity(state), settings.operations
    if not supervisor.send(signal.SIGTERM):
        left = 0 if state["ended"] else sweep(str(state["token"]), rules.stop_s)
        return f"no supervisor runs here; ended {left} processes that it had left" if left else "nothing runs here"
    deadline = time.monotonic() + 2 * rules.stop_s + 30
    while supervisor.alive:
        if time.monotonic() >= deadline:
            raise SupervisorError(
                f"the supervisor (process {supervisor.pid}) does not end",
                advice=f"Kill it: kill -9 {supervisor.pid}; its watchman ends the others",
            )
        time.sleep(0.1)
    return f"ended the supervisor (process {supervisor.pid}) and its {len(state['parts'])} parts"


def status_table(settings: Settings) -> str:
    """The parts as the supervisor last saw them, for people."""
    state = running_state(settings)
    if state is None:
        return "nothing runs here; start everything with `purplesky up`"
    now = time.time()
    said = now - state["written_s"]
    head = f"supervisor  process {state['pid']}, said {said:.0f} s ago"
    if said > 10:
        head += " (it hangs: end it with `purplesky down`)"
    rows = [("part", "state", "pid", "for", "restarts", "well", "address")]
    remarks = []
    for one in state["parts"]:
        rows.append(
            (
                one["name"],
                one["state"],
                str(one["pid"] or "-"),
                span(now - one["started_s"]) if one["pid"] else "-",
                str(one["restarts"]),
                f"{span(now - one['healthy_s'])} ago" if one["healthy_s"] else "never",
                one["address"] or "-",
            )
        )
        if one["text"]:
            remarks.append(f"{one['name']}: {one['text']}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([head, "", *table, *([""] if remarks else []), *remarks])


def span(seconds: float) -> str:
    """A length of time in two units at most: ``3 d 4 h``, ``12 s``."""
    left = max(0, int(seconds))
    out: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not out):
            out.append(f"{left // size} {unit}")
            left %= size
    return " ".join(out[:2])
