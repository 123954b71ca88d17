"""Processes by what cannot be mistaken: a token in their environment, or their id with the time they began (Linux).

Ids are used again by the system; a process that carries a run's random token in its environment was started by that
run, however many parents between them have died meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

#: Environment variable that every process below a supervisor carries.
TOKEN = "PURPLESKY_RUN_TOKEN"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, for ever: its id, when it began (clock ticks since boot), and the boot."""

    pid: int
    began: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Of a process that lives; ``None`` if there is none."""
        began = _began(pid)
        return None if began is None else cls(pid, began, _boot())

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def send(self, number: int) -> bool:
        """Send a signal to this very process; whether it was there."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Looked at after it was opened: from here on the handle means this process and no later one of its id.
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def _began(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text[text.rfind(")") + 2 :].split()  # the name before may hold spaces and parentheses
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def carrying(value: str, variable: str = TOKEN) -> list[Identity]:
    """The living processes, other than this one, that have a variable of this value in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        # Processes of others cannot be read, and some end while one looks: neither is ours to end.
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                identity = Identity.of(int(folder.name))
                if identity is not None:
                    found.append(identity)
    return found


def sweep(token: str, grace_s: float, spare: Collection[int] = ()) -> int:
    """End every process that carries a token: politely, then not; how many there were.

    Parameters
    ----------
    spare
        Process groups that are left alone.
    """
    ended: set[Identity] = set()
    deadline = time.monotonic() + grace_s
    asked: set[Identity] = set()
    while found := [one for one in carrying(token) if _group(one.pid) not in spare]:
        late = time.monotonic() >= deadline
        for one in found:
            if late or one not in asked:
                one.send(signal.SIGKILL if late else signal.SIGTERM)
                asked.add(one)
        ended.update(found)
        if late and time.monotonic() >= deadline + 10:
            break  # stuck in the kernel: nobody can end it
        time.sleep(0.1)
    return len(ended)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def holder(port: int) -> str:
    """Who listens on a TCP port, for people: ``process 123 (name)``; empty if that cannot be seen."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for folder in _PROC.iterdir():
        if sockets and folder.name.isdigit():
            with contextlib.suppress(OSError):
                if any(str(one.readlink()) in sockets for one in (folder / "fd").iterdir()):
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    return f"process {folder.name} ({words.strip()[:80]})"
    return ""
