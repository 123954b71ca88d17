"""`purplesky ui`: the three sites a person looks at, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import click

from flows.processes import Child, claim_port, interruptible
from flows.services import mlflow_service, prefect_service, reports_service
from settings import Settings, override


def mlflow_server(settings: Settings, port: int) -> Child:
    """Start MLflow's server on the installation's registry.

    The registry stays readable directly as well: artifacts are not proxied.
    """
    service = mlflow_service(override(settings, mlflow={"port": port}))
    return Child("MLflow", service.command, settings.paths.data / "logs" / "mlflow.log", service.env)


def prefect_server(settings: Settings, port: int) -> Child:
    """Start Prefect's server on the installation's Prefect home."""
    service = prefect_service(override(settings, prefect={"port": port}))
    return Child("Prefect", service.command, settings.paths.data / "logs" / "prefect.log", service.env)


def reports_site(settings: Settings, port: int) -> Child:
    """Serve ``data/reports`` as static files."""
    service = reports_service(override(settings, reports={"port": port}))
    return Child("reports", service.command, settings.paths.data / "logs" / "reports.log", service.env)


def serve(settings: Settings, *, echo: Callable[[str], None] = click.echo) -> None:
    """Serve until interrupted, by Ctrl-C or SIGTERM, or until one of the sites ends.

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
    with interruptible(), ExitStack() as stack:
        children = [(stack.enter_context(start(settings, port)), port, health) for _, start, port, health, _ in sites]
        for child, port, health in children:
            child.wait_ready(f"http://127.0.0.1:{port}{health}", 90)
            echo(f"{child.name:<8} http://127.0.0.1:{port}")
        echo("Ctrl-C stops all three")
        while True:
            time.sleep(1)
            for child, _, _ in children:
                child.check()
