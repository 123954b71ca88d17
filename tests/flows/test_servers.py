"""The servers of an installation, started as a person or systemd does: they answer, and SIGTERM ends all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows._procs import Identity, carrying
from flows.processes import free_port

ROOT = Path(__file__).parents[2]
#: Much more than they need: a machine that is busy elsewhere is no failure.
PATIENCE_S = 240.0


class Server:
    """A command of an installation in a folder of its own.

    Parameters
    ----------
    folder
        Empty.
    arguments
        Of `purplesky`.

    Attributes
    ----------
    ports
        By name of the site.
    log
        What it said.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.ports = {name: free_port() for name in ("mlflow", "prefect", "reports")}
        (folder / "purplesky.toml").write_text(
            "".join(f"[{name}]\nport = {port}\n" for name, port in self.ports.items()), encoding="utf-8"
        )
        self.log, self.token = folder / "said.log", uuid.uuid4().hex
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "purplesky", *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": path, "SERVER_TOKEN": self.token},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def answer(self, site: str, path: str) -> str:
        """What a site says, as soon as it says something."""
        until = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, self.said()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[site]}{path}", timeout=30) as answer:
                    return str(answer.read().decode())
            except OSError:
                assert time.monotonic() < until, self.said()
                time.sleep(0.05)

    def end(self) -> int:
        """Send SIGTERM, as systemd does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def left(self) -> int:
        """How many of its processes there are."""
        return len(carrying(self.token, "SERVER_TOKEN"))


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    server = Server(folder, *arguments)
    try:
        yield server
    finally:
        for one in carrying(server.token, "SERVER_TOKEN"):
            one.send(signal.SIGKILL)
        server.process.wait(60)


#: Those that load MLflow or Prefect take half a minute on a busy machine; the suite has a Prefect server of its own.
@pytest.mark.parametrize(
    ("service", "path", "words"),
    [
        ("reports", "/hello.html", "good morning"),
        pytest.param("mlflow", "/health", "OK", marks=pytest.mark.slow),
        pytest.param("prefect", "/api/health", "true", marks=pytest.mark.slow),
    ],
)
def test_a_server_answers_until_sigterm(tmp_path: Path, service: str, path: str, words: str) -> None:
    reports = tmp_path / "data" / "reports"
    reports.mkdir(parents=True)
    (reports / "hello.html").write_text("good morning", encoding="utf-8")
    with serving(tmp_path, "serve", service) as server:
        assert server.answer(service, path) == words
        # Ended in order, or by the signal itself: systemd takes both for a good end.
        assert server.end() in (0, -signal.SIGTERM)
        assert server.left() == 0


@pytest.mark.slow
def test_ui_serves_three_sites_and_sigterm_leaves_none_behind(tmp_path: Path) -> None:
    with serving(tmp_path, "ui") as server:
        for site in server.ports:
            assert server.answer(site, "/")
        while "Ctrl-C stops all three" not in server.said():
            assert server.process.poll() is None, server.said()
            time.sleep(0.05)
        assert server.left() > 3
        assert server.end() == 130
        assert server.said().endswith("interrupted\n")
        assert server.left() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_leaves_no_child_behind(tmp_path: Path, number: int) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom flows.processes import Child, interruptible\n"
        "with interruptible(), Child('sleeper', ['sleep', '600'], Path(sys.argv[1])) as child:\n"
        "    print(child.process.pid, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "sleeper.log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = Identity.of(int(process.stdout.readline()))
        assert child is not None
        assert child.alive
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert said.endswith("KeyboardInterrupt\n")
    assert not child.alive
