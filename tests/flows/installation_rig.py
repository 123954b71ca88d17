"""A whole installation on loopback, by its own command, in a folder and on ports of its own; and whom it speaks to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from flows import supervisor
from flows.installation import LOCAL_SYMBOL, local_settings
from flows.prefect_api import ask, everything
from flows.processes import free_port
from market.errors import PurpleSkyError
from settings import Settings, load
from simulation.exchange import DEFAULT_START_MS
from tests.flows.markets import MINUTE, record

ROOT = Path(__file__).parents[2]
#: Starts take minutes on a machine that is busy elsewhere.
PATIENCE_S = 900.0
#: Tells of every address that a Python process looks up or connects to, other than this machine's.
_WITNESS = """
import os, sys
def _hear(event, args):
    if event == "socket.connect":
        address = args[1]
        host = str(address[0]) if isinstance(address, tuple) else ""
    elif event == "socket.getaddrinfo":
        host = args[0].decode() if isinstance(args[0], bytes) else str(args[0] or "")
    else:
        return
    if host and not host.startswith("127.") and host not in ("localhost", "::1", "0.0.0.0", "::"):
        with open(os.environ["WITNESS"], "a") as file:
            file.write(f"{event} {host} {' '.join(sys.argv)[:200]}\\n")
sys.addaudithook(_hear)
"""


class Installation:
    """`purplesky up --venue local`, with enough of a recorded market for a night.

    Parameters
    ----------
    folder
        Empty.
    toml
        More settings, by section.
    minutes
        Recorded market before the exchange's begins.
    """

    def __init__(
        self, folder: Path, toml: dict[str, str] | None = None, *, minutes: int = 600, mlflow_port: int | None = None
    ) -> None:
        self.folder = folder
        self.config = folder / "purplesky.toml"
        ports = {
            name: free_port() for name in ("mlflow", "prefect", "reports", "worker", "metrics", "exchange", "page")
        }
        ports["mlflow"] = mlflow_port or ports["mlflow"]
        sections = {
            "market": "ob_levels = 50\npart_seconds = 30",
            "training": 'timeframe = "1m"\ntrials = 2\ngroups = 3\ntest_groups = 1\nmembers = 1\nmin_bars = 50\n'
            "embargo_bars = 1\nworkers = 1\nmax_correlation = 1.0\nrandom_trials = 1",
            "executor": f'timeframe = "1m"\nregistry_poll_s = 1.0\npage_port = {ports["page"]}\n'
            "max_bar_delay_ms = 3600000",
            "mlflow": f"port = {ports['mlflow']}",
            "prefect": f"port = {ports['prefect']}",
            "reports": f"port = {ports['reports']}",
            "operations": f"worker_port = {ports['worker']}\nmetrics_port = {ports['metrics']}\n"
            f"exchange_port = {ports['exchange']}\nexchange_speed = 10.0\nwait_s = 30.0\nstart_s = 900.0\n"
            "hang_s = 300.0\nretry_s = 1.0\nmin_free_bytes = 0",
        }
        for name, text in (toml or {}).items():
            sections[name] = f"{sections.get(name, '')}\n{text}"
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text("".join(f"[{name}]\n{text}\n" for name, text in sections.items()), encoding="utf-8")
        self.env = os.environ | {"PURPLESKY_PATHS__DATA": str(folder / "data")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PURPLESKY_PATHS__DATA", str(folder / "data"))
            self.settings: Settings = local_settings(load(self.config))
        self.witness = folder / "witness.log"
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(_WITNESS, encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(folder / "site"), str(ROOT), os.environ.get("PYTHONPATH", ""))))
        self.env |= {"PYTHONPATH": path, "WITNESS": str(self.witness)}
        record(self.settings.paths.lake, LOCAL_SYMBOL, DEFAULT_START_MS - minutes * MINUTE, minutes)
        self.log = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Installation:
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                self._command("up", "--venue", "local"),
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.env,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(180)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if error is not None:
            sys.stdout.write(self.log.read_text(encoding="utf-8", errors="replace")[-20_000:])

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "purplesky", "--config", str(self.config), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours on this installation."""
        env = self.env | {"VENUE": "local"}
        return subprocess.run(
            self._command(*words), cwd=self.folder, env=env, capture_output=True, text=True, timeout=900, check=False
        )

    def wait_for(self, what: Callable[[], Any], why: str, seconds: float = PATIENCE_S) -> Any:
        """The first true answer; it must come while the supervisor lives."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-5_000:]
            try:
                if found := what():
                    return found
            except (PurpleSkyError, OSError, ValueError, KeyError):
                pass  # not there yet
            time.sleep(0.25)
        pytest.fail(f"{why}: not within {seconds:.0f} s")

    def states(self) -> dict[str, str]:
        """State of every part."""
        found = supervisor.running_state(self.settings)
        return {one["name"]: one["state"] for one in found["parts"]} if found else {}

    def wait_up(self, *waiting: str) -> None:
        """Until every part is up; those named may wait for a person."""
        self.wait_for(
            lambda: (
                (found := self.states())
                and all(state == ("refused" if name in waiting else "up") for name, state in found.items())
            ),
            "everything up",
        )

    def pid(self, name: str) -> int:
        """Process of a part."""
        found = supervisor.running_state(self.settings)
        assert found is not None
        return int(next(one["pid"] for one in found["parts"] if one["name"] == name))

    # --- Prefect -----------------------------------------------------------------------------------------------------

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Let the worker run a deployment now; the run's id."""
        (found,) = [one for one in everything(self.settings, "deployments/filter") if one["name"] == deployment]
        key = str(uuid.uuid4())  # asked again after a server error, it is still one run
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": key}
        path = f"deployments/{found['id']}/create_flow_run"
        run = self.wait_for(lambda: ask(self.settings, path, body, timeout_s=120)["id"], f"a run of {deployment}")
        return str(run)

    def run_state(self, run: str) -> dict[str, Any]:
        """State of a run."""
        return dict(ask(self.settings, f"flow_runs/{run}", timeout_s=120)["state"])

    def wait_ended(self, run: str) -> dict[str, Any]:
        """The final state of a run."""
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        self.wait_for(lambda: self.run_state(run)["type"] in ended, f"the end of run {run}")
        return self.run_state(run)
