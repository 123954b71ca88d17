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
@venue_option
@click.pass_context
def deploy(context: click.Context, venue: str) -> None:
    """Register the flows and schedules of prefect.yaml with the running Prefect server; again after every change."""
    settings, _ = installed(context, venue)
    click.echo(pipeline("flows.deployments").deploy(settings))


@click.command()
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder. [default: operations.backups]")
@venue_option
@click.pass_context
def backup(context: click.Context, folder: Path | None, venue: str) -> None:
    """Back up registry, journals, studies, lake manifests, verdicts and settings in one verified archive.

    Everything may go on running meanwhile. The oldest archives beyond operations.keep_backups are removed. The lake's
    recordings are not in it: copy paths.data/lake for those.
    """
    settings, _ = installed(context, venue)
    click.echo(pipeline("flows.backup").make_backup(settings, folder).text())


@click.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Put it over what is there.")
@venue_option
@click.pass_context
def restore(context: click.Context, archive: Path, force: bool, venue: str) -> None:
    """Put back what ARCHIVE of `purplesky backup` holds; every byte is compared before anything is changed."""
    from executor.upgrades import VERSION

    settings, _ = installed(context, venue)
    manifest = pipeline("flows.backup").restore(settings, archive, journal_schema=VERSION, force=force)
    click.echo(f"{len(manifest.members)} files of {manifest.made} are back; now: purplesky doctor")


@click.command()
@venue_option
@click.pass_context
def upgrade(context: click.Context, venue: str) -> None:
    """Bring journals and lake of an earlier version to this version's schema; what they were is kept beside them."""
    from executor.upgrades import upgrade_journals
    from market.upgrades import upgrade_lake

    settings, _ = installed(context, venue)
    for line in upgrade_journals(settings.paths.executor):
        click.echo(line)
    changed, there = upgrade_lake(settings.paths.lake)
    click.echo(f"{settings.paths.lake}: {changed} of {there} manifests changed")


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


COMMANDS = (config, demo, ui, up, down, deploy, backup, restore, upgrade, serve)
