"""The servers around the pipeline, as commands: what `purplesky up`, `purplesky serve`, systemd and compose all run.

One place says how each is started, so that a unit file cannot differ from the supervisor. Nothing here imports Prefect
or MLflow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from market.errors import ConfigError
from settings import Settings

#: The work pool of prefect.yaml.
POOL = "purplesky"
#: Environment variable that names the settings file of runs that Prefect starts.
CONFIG = "PURPLESKY_CONFIG"
#: Nothing phones home, asks for newer versions of itself, or asks questions at a prompt.
OFFLINE: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "SCARF_NO_ANALYTICS": "true",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A command with its environment.

    Attributes
    ----------
    command
        Program and arguments.
    env
        Additions to the environment; may hold secrets, and is never printed.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


def prefect_api(settings: Settings) -> str:
    """Address of Prefect's API: the configured one, or that of the installation's own server."""
    return settings.prefect.api_url or f"http://127.0.0.1:{settings.prefect.port}/api"


def prefect_is_ours(settings: Settings) -> bool:
    """Whether the installation serves Prefect itself."""
    return prefect_api(settings) == f"http://127.0.0.1:{settings.prefect.port}/api"


def mlflow_is_ours(settings: Settings) -> bool:
    """Whether the installation serves the registry's UI itself."""
    return not settings.mlflow.uri.startswith("http") or settings.mlflow.uri == mlflow_address(settings)


def mlflow_address(settings: Settings) -> str:
    """Where the installation's own MLflow server listens."""
    return f"http://127.0.0.1:{settings.mlflow.port}"


def prefect_home(settings: Settings) -> Path:
    """Prefect's home; Prefect does not create parents, and a server without a home starts over and over."""
    home = (settings.paths.data / "prefect").resolve()
    home.mkdir(parents=True, exist_ok=True)
    return home


def prefect_service(settings: Settings, host: str = "127.0.0.1") -> Service:
    """Prefect's server, on SQLite in ``paths.data/prefect`` or on ``PREFECT_DATABASE_URL``."""
    port, database = settings.prefect.port, settings.secrets.prefect_database_url
    env = {
        **OFFLINE,
        "PREFECT_HOME": str(prefect_home(settings)),
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": settings.prefect.api_url or f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # SQLite has one writer at a time: on a busy machine ten seconds are too few to wait for it.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    }
    if database is not None:
        env["PREFECT_API_DATABASE_CONNECTION_URL"] = database.get_secret_value()
    return Service((sys.executable, "-m", "prefect", "server", "start", "--host", host), env)


def worker_service(settings: Settings, host: str = "127.0.0.1") -> Service:
    """Prefect's process worker on our pool, with a health page of its own."""
    env = {
        **OFFLINE,
        "PREFECT_HOME": str(prefect_home(settings)),
        "PREFECT_API_URL": prefect_api(settings),
        "PREFECT_WORKER_WEBSERVER_HOST": host,
        "PREFECT_WORKER_WEBSERVER_PORT": str(settings.operations.worker_port),
        "PREFECT_WORKER_QUERY_SECONDS": "5",
        # A run whose process is gone stops telling that it lives; see flows/housekeeping.py.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    command = (sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--pool", POOL, "--type", "process")
    limit = ("--limit", str(settings.operations.parallel_runs), "--with-healthcheck", "--name", POOL)
    return Service((*command, *limit), env)


def mlflow_service(settings: Settings, host: str = "127.0.0.1") -> Service:
    """MLflow's server on the installation's registry.

    Where ``mlflow.uri`` is an SQLite file (the default) the registry stays readable directly, and artifacts are not
    proxied. Where ``mlflow.uri`` is an address, everybody goes through the server, artifacts included.
    """
    artifacts = (settings.paths.mlruns / "artifacts").resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    database = settings.secrets.mlflow_database_url
    backend = database.get_secret_value() if database is not None else _sqlite(settings)
    if database is not None and not settings.mlflow.uri.startswith("http"):
        raise ConfigError(
            "MLFLOW_DATABASE_URL is set, and mlflow.uri is not the address of a server",
            advice=f'Set mlflow.uri = "{mlflow_address(settings)}": a database is reached through the server only',
        )
    command = (sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(settings.mlflow.port))
    if settings.mlflow.uri.startswith("http"):
        place: tuple[str, ...] = ("--serve-artifacts", "--artifacts-destination", artifacts.as_uri())
    else:
        place = ("--no-serve-artifacts", "--default-artifact-root", artifacts.as_uri())
    # By the environment, not as an argument: command lines can be read by everybody on the machine.
    env = {**OFFLINE, "MLFLOW_BACKEND_STORE_URI": backend, "PYTHONWARNINGS": "ignore"}
    if host != "127.0.0.1":
        # Behind a name of its own, as in compose.yaml; the port is published on loopback there.
        env["MLFLOW_SERVER_ALLOWED_HOSTS"] = "mlflow:*,localhost:*,127.0.0.1:*"
    quiet = ("--workers", "1", "--uvicorn-opts", "--log-level warning")
    return Service((*command, *quiet, *place), env)


def _sqlite(settings: Settings) -> str:
    if settings.mlflow.uri.startswith("sqlite:"):
        return settings.mlflow.uri
    return f"sqlite:///{(settings.paths.mlruns / 'mlflow.db').resolve()}"


def reports_service(settings: Settings, host: str = "127.0.0.1") -> Service:
    """``data/reports`` as static files."""
    settings.paths.reports.mkdir(parents=True, exist_ok=True)
    script = str(Path(__file__).with_name("_site.py"))
    folder = str(settings.paths.reports.resolve())
    return Service((sys.executable, "-I", script, str(settings.reports.port), host, folder))


#: What `purplesky serve` offers.
SERVICES: Mapping[str, Callable[[Settings, str], Service]] = {
    "prefect": prefect_service,
    "worker": worker_service,
    "mlflow": mlflow_service,
    "reports": reports_service,
}


def become(settings: Settings, name: str, *, host: str = "127.0.0.1", config: Path | None = None) -> None:
    """Replace this process by one of the services; does not return.

    Raises
    ------
    ConfigError
        There is no such service, or the settings do not allow it.
    """
    if name not in SERVICES:
        raise ConfigError(f"{name!r} is no service", advice=f"Use one of {', '.join(SERVICES)}")
    service = SERVICES[name](settings, host)
    # Flow runs work in the folder of the sources: what is relative here must mean the same there.
    named = {
        "PURPLESKY_PATHS__DATA": str(settings.paths.data.resolve()),
        "PURPLESKY_PATHS__MLRUNS": str(settings.paths.mlruns.resolve()),
    }
    file = config or (Path("purplesky.toml") if Path("purplesky.toml").exists() else None)
    if file is not None:
        named[CONFIG] = str(file.resolve())
    if name == "worker":
        from flows.housekeeping import bury_at_start

        bury_at_start(settings)
    os.execvpe(service.command[0], list(service.command), os.environ | dict(service.env) | named)
