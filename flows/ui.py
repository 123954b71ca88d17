"""`purplesky ui`: the three sites a person looks at, on loopback."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import click

from flows.processes import Child, claim_port
from settings import Settings


def mlflow_server(settings: Settings, port: int) -> Child:
    """Start MLflow's server on the installation's registry.

    The registry stays readable directly as well: artifacts are not proxied.
    """
    artifacts = (settings.paths.mlruns / "artifacts").resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    return Child(
        "MLflow",
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", settings.registry_uri, "--default-artifact-root", artifacts.as_uri()),
            "--no-serve-artifacts",
        ],
        settings.paths.data / "logs" / "mlflow.log",
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )


def prefect_server(settings: Settings, port: int) -> Child:
    """Start Prefect's server on the installation's Prefect home."""
    return Child(
        "Prefect",
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"],
        settings.paths.data / "logs" / "prefect.log",
        {
            "PREFECT_HOME": str((settings.paths.data / "prefect").resolve()),
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        },
    )


def reports_site(settings: Settings, port: int) -> Child:
    """Serve ``data/reports`` as static files."""
    settings.paths.reports.mkdir(parents=True, exist_ok=True)
    return Child(
        "reports",
        [
            *(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"),
            *("--directory", str(settings.paths.reports)),
        ],
        settings.paths.data / "logs" / "reports.log",
    )


def serve(settings: Settings, *, echo: Callable[[str], None] = click.echo) -> None:
    """Serve until interrupted, or until one of the sites ends.

    Raises
    ------
    ConfigError
        A port is taken.
    ProcessError
        A site did not start, or ended.
    """
    sites = (
        ("MLflow", mlflow_server, claim_port(settings.mlflow.port, "mlflow.port"), "/health", "/"),
        ("Prefect", prefect_server, claim_port(settings.prefect.port, "prefect.port"), "/api/health", "/"),
        ("reports", reports_site, claim_port(settings.reports.port, "reports.port"), "/", "/"),
    )
    with ExitStack() as stack:
        children = [(stack.enter_context(start(settings, port)), port, health) for _, start, port, health, _ in sites]
        for child, port, health in children:
            child.wait_ready(f"http://127.0.0.1:{port}{health}", 90)
            echo(f"{child.name:<8} http://127.0.0.1:{port}")
        echo("Ctrl-C stops all three")
        while True:
            time.sleep(1)
            for child, _, _ in children:
                child.check()
