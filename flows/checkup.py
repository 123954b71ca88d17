"""`purplesky doctor` of the whole installation: everything that a night and a day need, looked at once.

Each thing that is looked at is well, worth a warning, or missing; what cannot be found out is never well. It changes
nothing, and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from council import Registry
from flows import _procs, services
from flows._running import answers
from flows.backup import newest_backup
from flows.deployments import ROOT, differences, schedules_off
from flows.nights import read_nights
from flows.prefect_api import ask, everything
from flows.services import OFFLINE, POOL
from flows.supervisor import running_state, span
from market import Lake
from market.errors import NoProductionError, PurpleSkyError
from settings import Settings

State = Literal["ok", "warn", "fail"]
_SCARCE = 5_000_000_000
_CLOCK_S = 2.0
_LAKE_AGE_S = 3_600
_BACKUP_AGE_S = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do, and is empty where all is well."""

    name: str
    state: State
    text: str
    advice: str = ""

    def line(self) -> str:
        """For people."""
        text = f"{self.state:<4}  {self.name}: {self.text}"
        return f"{text}. {self.advice}." if self.advice else text


def exit_code(findings: list[Finding]) -> int:
    """0 all well, 1 warnings, 2 something is missing."""
    states = {finding.state for finding in findings}
    return 2 if "fail" in states else 1 if "warn" in states else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, in the order in which it is needed."""
    yield _python()
    yield _packages()
    yield _offline()
    yield from _folders(settings)
    yield _disk(settings)
    yield _clock(settings)
    yield from _parts(settings)
    yield from _prefect(settings)
    yield _mlflow(settings)
    for symbol in settings.market.symbols:
        yield _lake(settings, symbol)
        yield _production(settings, symbol)
    yield _studies(settings)
    yield _night(settings)
    yield _backup(settings)
    yield _notifications(settings)


# --- the machine -----------------------------------------------------------------------------------------------------


def _python() -> Finding:
    found = f"{'.'.join(map(str, sys.version_info[:3]))} in {sys.prefix}"
    if sys.prefix == sys.base_prefix:
        return Finding("python", "warn", found, "Use an environment of its own: make env")
    return Finding("python", "ok", found)


def _packages() -> Finding:
    """Installed packages against the lock file."""
    lock = ROOT / "locks" / "all.txt"
    if not lock.is_file():
        return Finding("packages", "warn", f"no lock file at {lock}", "Install from a checkout to be sure of versions")
    other, missing, count = [], [], 0
    for match in re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(.*)$", lock.read_text(encoding="utf-8"), re.MULTILINE):
        name, wanted, rest = match.groups()
        if ";" in rest and not _applies(rest):
            continue
        count += 1
        try:
            have = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if have != wanted:
            other.append(f"{name} {have}, not {wanted}")
    if missing or other:
        text = "; ".join([*other[:5], *(f"{name} is missing" for name in missing[:5])])
        return Finding("packages", "warn", text, "Install what the lock file says: make env")
    return Finding("packages", "ok", f"{count} as in locks/all.txt")


def _applies(rest: str) -> bool:
    from packaging.markers import Marker

    return Marker(rest.split(";", 1)[1].rstrip("\\ ").strip()).evaluate()


def _offline() -> Finding:
    on = [name for name, value in OFFLINE.items() if name in os.environ and os.environ[name] != value]
    if on:
        return Finding(
            "analytics", "warn", f"{', '.join(on)} is set to something else", "Unset it: nothing phones home"
        )
    return Finding("analytics", "ok", "off in Prefect, MLflow and Great Expectations")


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("data folder", settings.paths.data), ("mlruns folder", settings.paths.mlruns)):
        there = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            yield Finding(
                name, "fail", f"{there} cannot be written ({error.strerror})", "Mend its owner or permissions"
            )
        else:
            yield Finding(name, "ok", f"{folder} can be written")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_existing(settings.paths.data)).free
    text = f"{free / 1e9:.1f} GB free below {settings.paths.data}"
    if free >= _SCARCE:
        return Finding("disk", "ok", text)
    state: State = "warn" if free >= settings.operations.min_free_bytes else "fail"
    return Finding("disk", state, text, "Free space: nights do not begin and recording ends on a full disk")


def _clock(settings: Settings) -> Finding:
    """This machine's clock beside the venue's."""
    request = urllib.request.Request(f"{settings.venue.rest_url}/v5/market/time", method="GET")
    before = time.time()
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            told = answer.headers.get("Date")
    except (urllib.error.URLError, OSError, ValueError):
        return Finding(
            "clock",
            "warn",
            f"{settings.venue.rest_url} does not answer, so the clock is not compared",
            "Check the network; trading needs a clock that is right to a second",
        )
    if not told:
        return Finding("clock", "warn", "the venue does not tell the time", "Compare the clock yourself")
    middle = (before + time.time()) / 2
    off = middle - parsedate_to_datetime(told).timestamp()
    # The header is cut to whole seconds.
    if -_CLOCK_S <= off <= _CLOCK_S + 1:
        return Finding("clock", "ok", "within two seconds of the venue's")
    return Finding("clock", "fail", f"{off:+.1f} s beside the venue's", "Enable time synchronisation on this machine")


# --- what runs -------------------------------------------------------------------------------------------------------


def _parts(settings: Settings) -> Iterator[Finding]:
    state = running_state(settings)
    if state is None:
        yield _ports(settings)
        yield Finding("supervisor", "warn", "nothing is run by `purplesky up` here", "Start it, or see to your units")
        return
    said = time.time() - state["written_s"]
    if said > 10:
        yield Finding("supervisor", "fail", f"said nothing for {span(said)}", "End it with `purplesky down`")
        return
    yield Finding("supervisor", "ok", f"process {state['pid']}, {len(state['parts'])} parts")
    for part in state["parts"]:
        text = f"{part['state']}, {part['restarts']} restarts" + (f"; {part['text']}" if part["text"] else "")
        if part["state"] == "up":
            yield Finding(part["name"], "ok", f"up, {part['restarts']} restarts")
        elif part["state"] in ("starting", "waits", "refused"):
            yield Finding(part["name"], "warn", text, "Look again in a minute; `purplesky status` tells more")
        else:
            yield Finding(part["name"], "fail", text, "Read its log below data/logs/up")


def _ports(settings: Settings) -> Finding:
    """Ports that would be in the way of a start; those of servers that answer as ours are not."""
    wanted = {
        "prefect.port": settings.prefect.port,
        "mlflow.port": settings.mlflow.port,
        "reports.port": settings.reports.port,
        "operations.worker_port": settings.operations.worker_port,
        "operations.metrics_port": settings.operations.metrics_port,
        "executor.page_port": settings.executor.page_port,
    }
    taken = []
    for name, port in wanted.items():
        with socket.socket() as probe:
            probe.settimeout(1)
            if port and probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(f"{port} ({name}) by {_procs.holder(port) or 'somebody'}")
    if taken:
        advice = "That is well if it is your own server, else stop it or choose another port"
        return Finding("ports", "warn", f"taken: {'; '.join(taken)}", advice)
    return Finding("ports", "ok", "free for `purplesky up`")


def _prefect(settings: Settings) -> Iterator[Finding]:
    try:
        ask(settings, "health", timeout_s=5)
    except PurpleSkyError as error:
        yield Finding("Prefect", "fail", error.message, error.advice)
        return
    yield Finding("Prefect", "ok", services.prefect_api(settings))
    yield from (_guarded(name, look, settings) for name, look in _PREFECT)


def _guarded(name: str, look: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """A question without an answer is not well."""
    try:
        return look(settings)
    except PurpleSkyError as error:
        return Finding(name, "fail", error.message, error.advice)
    except (KeyError, TypeError, ValueError) as error:
        return Finding(name, "fail", f"the answer cannot be read ({type(error).__name__})", "Check Prefect's version")


def _worker(settings: Settings) -> Finding:
    pools = {pool["name"]: pool for pool in everything(settings, "work_pools/filter")}
    if POOL not in pools:
        return Finding("work pool", "fail", f"there is no pool {POOL}", "Run: purplesky deploy")
    if pools[POOL]["is_paused"]:
        return Finding("work pool", "fail", f"{POOL} is paused", "Switch it on in the Prefect UI")
    workers = everything(settings, f"work_pools/{POOL}/workers/filter")
    online = [one["name"] for one in workers if one["status"] == "ONLINE"]
    if not online:
        return Finding("worker", "fail", f"no worker of {POOL} is online", "Start everything with `purplesky up`")
    return Finding("worker", "ok", f"{', '.join(online)} online in the pool {POOL}")


def _deployments(settings: Settings) -> Finding:
    found = list(differences(settings))
    if found:
        return Finding("deployments", "fail", "; ".join(found), "Run: purplesky deploy")
    return Finding("deployments", "ok", "as in prefect.yaml")


def _schedules(settings: Settings) -> Finding:
    off = schedules_off(settings)
    if off:
        return Finding(
            "schedules", "warn", f"off: {', '.join(off)}", "Switch them on in the Prefect UI, or deploy again"
        )
    return Finding("schedules", "ok", "on")


def _runs(settings: Settings) -> Finding:
    """Runs of the last week that were late, crashed or hang."""
    since = (datetime.now(UTC) - timedelta(days=7)).isoformat()
    query = {
        "flow_runs": {
            "state": {"type": {"any_": ["CRASHED", "FAILED"]}},
            "expected_start_time": {"after_": since},
            "deployment_id": {"is_null_": False},
        }
    }
    bad = everything(settings, "flow_runs/filter", query)
    if bad:
        names = ", ".join(f"{run['name']} ({run['state']['type'].lower()})" for run in bad[:5])
        return Finding("runs", "warn", f"in the last week: {names}", "Read them in the Prefect UI")
    return Finding("runs", "ok", "none failed or crashed in the last week")


_PREFECT = (("worker", _worker), ("deployments", _deployments), ("schedules", _schedules), ("runs", _runs))


def _mlflow(settings: Settings) -> Finding:
    address = services.mlflow_address(settings) if services.mlflow_is_ours(settings) else settings.mlflow.uri
    if answers(f"{address.rstrip('/')}/health"):
        return Finding("MLflow", "ok", address)
    return Finding("MLflow", "fail", f"no answer at {address}", "Start it with `purplesky up`, or correct mlflow.uri")


# --- what is there ---------------------------------------------------------------------------------------------------


def _lake(settings: Settings, symbol: str) -> Finding:
    name, advice = f"lake {symbol}", f"Run: purplesky capture, with {symbol} in market.symbols"
    lake = Lake(settings.paths.lake)
    try:
        if symbol not in lake.symbols():
            return Finding(name, "warn", f"nothing of it in {lake.root}", advice)
        age_s = time.time() - lake.span_ms(symbol)[1] / 1000
    except PurpleSkyError as error:
        return Finding(name, "fail", error.message, error.advice)
    if age_s > _LAKE_AGE_S:
        return Finding(name, "warn", f"ends {span(age_s)} ago", advice)
    return Finding(name, "ok", f"ends {span(max(age_s, 0.0))} ago")


def _production(settings: Settings, symbol: str) -> Finding:
    name = f"Production {symbol}"
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    model = settings.model_name(symbol, settings.executor.timeframe)
    try:
        info = registry.production(model)
    except NoProductionError as error:
        return Finding(name, "warn", error.message, error.advice)
    except PurpleSkyError as error:
        return Finding(name, "fail", error.message, error.advice)
    if not info.gate_passed:
        advice = "It trades in dry-run only: promote a version that passed"
        return Finding(name, "warn", f"{model} version {info.version}, its gate did not pass", advice)
    return Finding(name, "ok", f"{model} version {info.version}, its gate passed")


def _studies(settings: Settings) -> Finding:
    folder = settings.paths.studies
    found = [path for path in folder.glob("**/journal.log") if path.is_file()] if folder.is_dir() else []
    if not found:
        return Finding("studies", "warn", f"none in {folder}", "The first night makes one")
    newest = max(path.stat().st_mtime for path in found)
    return Finding("studies", "ok", f"{len(found)}, the newest {span(time.time() - newest)} old")


def _night(settings: Settings) -> Finding:
    try:
        nights = read_nights(settings, 1)
    except PurpleSkyError as error:
        return Finding("last night", "fail", error.message, error.advice)
    if not nights:
        return Finding("last night", "warn", "none yet", "It begins at 00:20 UTC, or with a click in the Prefect UI")
    last = nights[0]
    age_s = time.time() - last.ended_s
    text = f"{last.headline()}, ended {span(age_s)} ago"
    if not last.green:
        return Finding("last night", "warn", f"{text}; {last.text()}", "Read its artifact `night` in the Prefect UI")
    if age_s > 2 * 86_400:
        return Finding("last night", "warn", text, "Nights do not run: see schedules and worker")
    return Finding("last night", "ok", text)


def _backup(settings: Settings) -> Finding:
    newest = newest_backup(settings)
    if newest is None:
        return Finding("backup", "warn", f"none in {settings.operations.backups}", "Run: purplesky backup")
    age_s = time.time() - newest.stat().st_mtime
    text = f"{newest.name}, {span(age_s)} old"
    if age_s > _BACKUP_AGE_S:
        return Finding("backup", "warn", text, "Run: purplesky backup, and see to its schedule")
    return Finding("backup", "ok", text)


def _notifications(settings: Settings) -> Finding:
    count = len(settings.secrets.notification_urls())
    if not count:
        return Finding("notifications", "warn", "nowhere to send any", "Set DISCORD_WEBHOOK_URL or NOTIFY_URLS")
    return Finding("notifications", "ok", f"to {count} service(s)")
