"""`purplesky deploy`: what prefect.yaml says, on the server; and whether the server still has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from flows import services
from flows.prefect_api import ask, everything
from flows.runtime import OrchestrationError
from flows.services import OFFLINE, POOL, prefect_api
from market.errors import ConfigError
from settings import Settings

#: The folder that holds prefect.yaml and the rooms: runs work there.
ROOT = Path(__file__).resolve().parents[1]
#: Starts are slow on a busy machine.
_PATIENCE_S = 300


def wanted(file: Path | None = None) -> dict[str, dict[str, Any]]:
    """The deployments of prefect.yaml, by name.

    Raises
    ------
    ConfigError
        The file is not there, or is damaged.
    """
    path = file or ROOT / "prefect.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {str(one["name"]): one for one in found["deployments"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error})",
            advice="Run `purplesky deploy` from a checkout of PurpleSky: flows are run from their sources",
        ) from error


def deploy(settings: Settings) -> str:
    """Register all deployments, after making the work pool where it is missing; what was done, for people.

    Raises
    ------
    OrchestrationError
        The server is not up, or refuses.
    ConfigError
        prefect.yaml is damaged.
    """
    names = wanted()
    ask(settings, "health", timeout_s=5.0)
    made = _make_pool(settings)
    env = {**os.environ, **OFFLINE, "PREFECT_API_URL": prefect_api(settings)}
    env["PREFECT_HOME"] = str(services.prefect_home(settings))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OrchestrationError(
            f"registering took more than {_PATIENCE_S} s", advice="Look at the server's log, and try again"
        ) from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise OrchestrationError(
            f"Prefect refuses: {lines[-1] if lines else 'without a word'}", advice="Correct prefect.yaml"
        )
    problems = list(differences(settings))
    if problems:
        raise OrchestrationError(
            f"the server has something else than prefect.yaml: {'; '.join(problems)}", advice="Report it"
        )
    lines = [f"work pool {POOL} made"] if made else []
    for name, one in names.items():
        crons = [
            f"{plan['cron']} {plan.get('timezone', '')}" + ("" if plan.get("active", True) else " (switched off)")
            for plan in one.get("schedules", [])
        ]
        lines.append(f"{name:<10} {', '.join(crons) or 'when asked'}")
    ui = prefect_api(settings).removesuffix("/api")
    return "\n".join([*lines, f"see {ui}/deployments"])


def _make_pool(settings: Settings) -> bool:
    if any(pool["name"] == POOL for pool in everything(settings, "work_pools/filter")):
        return False
    ask(settings, "work_pools/", {"name": POOL, "type": "process"})
    return True


def differences(settings: Settings) -> Iterator[str]:
    """What the server has otherwise than prefect.yaml says, in words.

    Raises
    ------
    OrchestrationError
        The server does not answer.
    """
    there = {one["name"]: one for one in everything(settings, "deployments/filter")}
    names = wanted()
    for name, one in names.items():
        if name not in there:
            yield f"{name} is not registered"
            continue
        found = there[name]
        limit = (found.get("global_concurrency_limit") or {}).get("limit")
        pairs = (
            ("its flow", one["entrypoint"], found["entrypoint"]),
            ("its work pool", one["work_pool"]["name"], found["work_pool_name"]),
            ("tags", sorted(one.get("tags", [])), sorted(found["tags"])),
            ("parameters", one.get("parameters", {}), found["parameters"]),
            ("the schedule", _schedules(one.get("schedules", [])), _schedules_there(found)),
            ("the limit", one["concurrency_limit"]["limit"], limit),
        )
        for what, want, have in pairs:
            if want != have:
                yield f"{name}: {what} is {have}, not {want}"
    for name in sorted(set(there) - set(names)):
        yield f"{name} is registered, and not in prefect.yaml"


def schedules_off(settings: Settings) -> list[str]:
    """Deployments whose schedule prefect.yaml has on and the server has off, or that are paused."""
    there = {one["name"]: one for one in everything(settings, "deployments/filter")}
    off = []
    for name, one in wanted().items():
        plans = [plan for plan in one.get("schedules", []) if plan.get("active", True)]
        found = there.get(name)
        if plans and found and (found["paused"] or not any(plan["active"] for plan in found["schedules"])):
            off.append(name)
    return off


def _schedules(plans: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((plan["cron"], plan.get("timezone", "UTC")) for plan in plans)


def _schedules_there(found: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((one["schedule"]["cron"], one["schedule"]["timezone"]) for one in found["schedules"])
