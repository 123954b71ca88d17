"""Runs that look alive though they are not: a killed process leaves its run `Running`, and its place taken, for ever.

The worker of an installation runs on the machine of its processes, so whether a run's process lives can be seen: it
carries the run's id in its environment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from flows._procs import carrying
from flows.prefect_api import ask, everything
from flows.runtime import OrchestrationError
from flows.services import POOL
from flows.tell import notify
from settings import Settings

#: What Prefect's runner puts into the environment of a run's process.
_RUN = "PREFECT__FLOW_RUN_ID"
_WAIT_S = 30.0


def bury(settings: Settings) -> list[str]:
    """Mark runs of our pool as crashed whose process is gone, and tell; the names of their flows and runs.

    Raises
    ------
    OrchestrationError
        Prefect's server does not answer.
    """
    buried = []
    query = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    for run in everything(settings, "flow_runs/filter", query):
        if carrying(run["id"], _RUN):
            continue
        kind = "CANCELLED" if run["state"]["type"] == "CANCELLING" else "CRASHED"
        state = {"type": kind, "message": "its process is gone: it was killed, or the machine was started again"}
        ask(settings, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        buried.append(run["name"])
    if buried:
        text = f"{', '.join(buried)}: the process is gone; the next scheduled run does what it has left undone"
        notify(settings, "A run was killed", text, "failure")
    return buried


def bury_at_start(settings: Settings, say: Callable[[str], None] = click.echo) -> None:
    """The same before a worker starts; a server that is not there yet is waited for, though not for long."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            for name in bury(settings):
                say(f"{name} is marked as crashed: its process is gone")
        except OrchestrationError as error:
            if time.monotonic() < deadline:
                time.sleep(1)
                continue
            say(f"runs that were killed are not looked for: {error}")
        return
