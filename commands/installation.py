"""The installation as a whole: settings, demo, pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands._shared import pipeline, settings_of

if TYPE_CHECKING:
    pass


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


COMMANDS = (config, demo, ui)
