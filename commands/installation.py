"""The installation as a whole: settings, demo, pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands._shared import pipeline, settings_of, venue_option

if TYPE_CHECKING:
    from settings import Settings


@click.command()
@click.pass_context
def config(context: click.Context) -> None:
    """Print the effective settings; secrets are masked."""
    import settings

    click.echo(settings.to_toml(settings_of(context)))


@click.command()
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the synthetic market and the study.")
@click.pass_context
def demo(context: click.Context, seed: int) -> None:
    """The whole job offline, in minutes: market, capture, validation, training, gate, dry-run."""
    pipeline("flows.demo").run_demo(settings_of(context).paths.data / "demo", seed=seed)


@click.command()
@click.pass_context
def ui(context: click.Context) -> None:
    """Serve the MLflow UI, the Prefect UI and the reports, on loopback, until Ctrl-C."""
    import settings

    own = settings.load(context.obj)
    left_by_demo = own.paths.data / "demo" / "purplesky.toml"
    if context.obj is None and not Path("purplesky.toml").exists() and left_by_demo.exists():
        own = settings.load(left_by_demo)
    pipeline("flows.ui").serve(own)


@click.command()
@venue_option
@click.pass_context
def up(context: click.Context, venue: str) -> None:
    """Run everything in the foreground, with one log: servers, worker, recorder, executors (dry-run), reports.

    What dies or hangs is started again; Ctrl-C, or `purplesky down` elsewhere, ends all of it. No real money is traded.
    """
    supervisor, installation = pipeline("flows.supervisor"), pipeline("flows.installation")
    settings, config = installed(context, venue)
    parts = installation.parts_of(settings, config, exchange=venue == "local")
    log = supervisor.Log([part.name for part in parts])
    supervisor.Supervisor(settings, parts, log).run()


@click.command()
@venue_option
@click.pass_context
def down(context: click.Context, venue: str) -> None:
    """End what `purplesky up` runs, in order; it ends nothing else."""
    settings, _ = installed(context, venue)
    click.echo(pipeline("flows.supervisor").end(settings))


@click.command()
@click.argument("service", type=click.Choice(["prefect", "worker", "mlflow", "reports"]))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; behind it nobody asks who.")
@click.pass_context
def serve(context: click.Context, service: str, host: str) -> None:
    """Run one server of the installation in the foreground, as systemd and containers do."""
    pipeline("flows.services").become(settings_of(context), service, host=host, config=context.obj)


def installed(context: click.Context, venue: str) -> tuple[Settings, Path | None]:
    """Settings and settings file of the installation that is meant."""
    settings = settings_of(context)
    if venue != "local":
        return settings, context.obj
    installation = pipeline("flows.installation")
    return installation.local_settings(settings), installation.local_config(settings)


COMMANDS = (config, demo, ui, up, down, serve)
