"""`purplesky rollback` beside a running executor, with a real MLflow server between them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import settings as configuration
from executor import replay_session, run_executor, status_text
from executor.actions import Decided, SwapCouncil, decode_actions
from executor.daemon import ExecutorSummary
from executor.events import BarClosed, decode_event
from executor.status import read_status
from simulation import LocalExchange
from tests.executor.conftest import MINUTE
from tests.executor.test_daemon import journal, make_settings, register


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> Iterator[str]:
    """A real MLflow server on loopback, which may take its time on a busy machine."""
    folder = tmp_path_factory.mktemp("server")
    store = empty_registry(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | quiet, stdout=log, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 600
            while not _is_up(f"http://127.0.0.1:{port}/health"):
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, "no MLflow server after ten minutes"
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


@pytest.mark.slow
async def test_a_rollback_is_taken_within_a_bar_and_said(server_uri: str, tmp_path: Path) -> None:
    # A bar takes six seconds: the registry is asked several times in each, also on a busy machine.
    async with LocalExchange(seed=3, speed=10) as exchange:
        settings = make_settings(tmp_path, exchange, mlflow={"uri": server_uri})
        for sign in (1, -1):
            await asyncio.to_thread(register, settings, tmp_path, sign=sign)
        config = tmp_path / "purplesky.toml"
        config.write_text(configuration.to_toml(settings), encoding="utf-8")
        seen: set[int] = set()
        second = asyncio.Event()
        loop = asyncio.get_running_loop()

        def until(now: ExecutorSummary) -> bool:
            if now.council_version is not None:
                seen.add(now.council_version)
            if now.bars >= 1 and now.council_version == 2:
                loop.call_soon_threadsafe(second.set)
            return now.council_version == 1

        run = asyncio.create_task(
            asyncio.to_thread(run_executor, settings, "SYNUSDT", max_seconds=300, until=until, feed="venue")
        )
        waiting = asyncio.create_task(second.wait())
        await asyncio.wait([run, waiting], return_when=asyncio.FIRST_COMPLETED)
        assert not run.done(), run.result()
        command = [sys.executable, "-m", "purplesky", "--config", str(config), "rollback"]
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, "--symbol", "SYNUSDT", "--timeframe", "1m"],
            capture_output=True,
            text=True,
            env=os.environ,
            timeout=120,
            check=False,
        )
        at_ms = exchange.now_ms
        assert done.returncode == 0, done.stderr
        assert "council-SYNUSDT-1m version 1 is in Production" in done.stdout
        summary = await run
    assert seen == {1, 2}
    assert summary.council_version == 1
    assert read_status(settings, "SYNUSDT")["council"]["version"] == 1
    assert "council    version 1 (" in status_text(settings, "SYNUSDT")
    reader = journal(settings)
    swaps = [
        (event, actions)
        for event, actions in ((decode_event(e), decode_actions(a)) for _, e, a in reader.turns(1))
        if any(isinstance(action, SwapCouncil) and action.version == 1 for action in actions)
    ]
    reader.close()
    [(event, actions)] = swaps
    assert isinstance(event, BarClosed)
    # Taken at the first close after it was noticed, before that bar was decided on.
    assert event.close_ms <= at_ms + 2 * MINUTE
    kinds = [type(action) for action in actions]
    assert kinds.index(SwapCouncil) < kinds.index(Decided)
    assert "the same to the byte" in replay_session(settings, "SYNUSDT", "latest")
