"""Child processes on loopback: start, wait until healthy, stop, and say where the log is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from market.errors import ConfigError, PurpleSkyError


class ProcessError(PurpleSkyError):
    """A part of the installation did not start, or ended by itself."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def claim_port(port: int, setting: str) -> int:
    """The port, if nobody listens on it.

    Raises
    ------
    ConfigError
        It is taken; the message names the setting to change.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            variable = "PURPLESKY_" + setting.upper().replace(".", "__")
            raise ConfigError(
                f"port {port} of {setting} is taken",
                advice=f"Stop what listens there, or set {variable} to another port",
            ) from error
    return port


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt as Ctrl-C does, while the context lasts: children are stopped on the way out.

    Only the main thread can listen; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, _interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before):
            signal.signal(number, old)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Child:
    """A child process in a process group of its own, with its output in a file.

    Parameters
    ----------
    name
        For messages.
    command
        Program and arguments.
    log
        File that takes standard output and error.
    env
        Additions to the environment.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(env or {}),
                start_new_session=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise if the process has ended.

        Raises
        ------
        ProcessError
            It has; the message ends with the last line of its log.
        """
        code = self.process.poll()
        if code is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1] if lines else "it printed nothing"
            raise ProcessError(f"{self.name} ended with code {code}: {last}", advice=f"Read {self.log}")

    def wait_ready(self, url: str, seconds: float) -> None:
        """Wait until `url` answers with any HTTP status below 500.

        Raises
        ------
        ProcessError
            The process ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            if _answers(url):
                return
            time.sleep(0.2)
        raise ProcessError(f"{self.name} did not answer at {url} within {seconds:.0f} s", advice=f"Read {self.log}")

    def wait(self, seconds: float) -> int:
        """Wait for the process to end; its exit code.

        Raises
        ------
        ProcessError
            It is still running after `seconds`.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} still runs after {seconds:.0f} s", advice=f"Read {self.log}") from None

    def stop(self, grace_s: float = 10.0) -> None:
        """End the whole process group: politely, then not."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (urllib.error.URLError, OSError):
        return False
