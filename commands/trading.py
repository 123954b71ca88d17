"""What trades, and what a person says to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands._shared import pipeline, settings_of, symbol_option, timeframe_option, venue_option

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--symbol", "some", multiple=True, help="Contract; may be given several times. [default: the config's]")
@click.option("--symbols", "more", default="", help="Several contracts, separated by commas or colons.")
@timeframe_option
@click.option("--live", is_flag=True, help="Trade with real money. [default: dry-run]")
@click.option(
    "--accept-failed-gate",
    type=click.IntRange(min=1),
    metavar="VERSION",
    help="Trade this council version live although its gate did not pass.",
)
@click.option(
    "--feed",
    type=click.Choice(["auto", "venue", "lake"]),
    default="auto",
    show_default=True,
    help="Where the market comes from; auto replays the lake (dry-run only) if the venue does not know the symbol.",
)
@click.option("--max-bars", type=click.IntRange(min=1), help="Stop after this many decisions.")
@click.option(
    "--min-closed", type=click.IntRange(min=0), default=0, help="With --max-bars: go on until this many trades closed."
)
@click.option("--max-seconds", type=click.FloatRange(min=1), help="Stop after this long in any case.")
@click.option("--summary", type=click.Path(path_type=Path), help="Write the session's summary there, as JSON.")
@click.pass_context
def execute(context: click.Context, /, some: tuple[str, ...], more: str, timeframe: str | None, **options: Any) -> None:
    """Trade the Production councils of some contracts: dry-run by default, through the fill model on the live feed.

    Several contracts are traded by one process as what they are, parts of one account: one equity, one limit on all
    positions and pending entries together, one kill switch.
    """
    from executor import run_executors

    settings = settings_of(context, executor={"timeframe": timeframe})
    named = [*some, *re.findall(r"[^,:\s]+", more)]
    run_executors(settings, named or settings.market.symbols, echo=click.echo, **options)


@click.command()
@click.option("--symbol", help="Contract, for example BTCUSDT. [default: the whole installation]")
@click.option("--all", "everything", is_flag=True, help="Every part of the installation, and every executor.")
@venue_option
@click.pass_context
def status(context: click.Context, symbol: str | None, everything: bool, venue: str) -> None:
    """Show what `purplesky up` runs and how it is, or what the executor of a symbol last said of itself.

    With --all the exit code is 1 where the status of a contract cannot be read; one that never ran is told as that.
    """
    from commands.installation import installed
    from executor.status import overview, status_text

    settings, _ = installed(context, venue)
    if symbol is None:
        click.echo(pipeline("flows.supervisor").status_table(settings))
    texts, whole = overview(settings) if everything else ([status_text(settings, symbol)] if symbol else [], True)
    for text in texts:
        click.echo(("\n" if everything else "") + text)
    if not whole:
        raise SystemExit(1)


def _command(name: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @click.option("--symbol", help="Contract. [default: all that are traded, or all that were if none is]")
    @click.pass_context
    def command(context: click.Context, symbol: str | None) -> None:
        from executor import send_command
        from executor.status import traded_symbols

        settings = settings_of(context)
        for one in [symbol] if symbol else traded_symbols(settings):
            click.echo(send_command(settings, one, name))

    return command


halt = _command("halt", "Stop entries; positions keep their protection.")
resume = _command("resume", "Allow entries again, also after the kill switch.")
flatten = _command("flatten", "Cancel entries and close the position at market.")


@click.command()
@click.argument("session")
@symbol_option
@click.pass_context
def replay(context: click.Context, session: str, symbol: str) -> None:
    """Recompute a session's decisions from its journal and compare them to the byte."""
    from executor import replay_session

    click.echo(replay_session(settings_of(context), symbol, session))


@click.command()
@click.option("--symbol", help="Look at what trading this contract needs. [default: the whole installation]")
@timeframe_option
@click.option("--live", is_flag=True, help="Look with the eyes of live trading: what only that needs must be there.")
@click.option("--all", "everything", is_flag=True, help="The whole installation, and trading of every contract.")
@venue_option
@click.pass_context
def doctor(
    context: click.Context, symbol: str | None, timeframe: str | None, live: bool, everything: bool, venue: str
) -> None:
    """Look at everything that is needed; exit code 0 all well, 1 warnings, 2 something is missing.

    Without a symbol: machine, packages, servers, worker, deployments and schedules, data, last night, Production,
    backups. With one: keys, account, feed, council, journal.
    """
    from commands.installation import installed
    from executor.doctor import examine, exit_code, line
    from settings import override

    settings, _ = installed(context, venue)
    settings = override(settings, executor={"timeframe": timeframe})
    findings: list[Any] = []
    if symbol is None:
        for found in pipeline("flows.checkup").examine(settings):
            click.echo(found.line())
            findings.append(found)
    for one in settings.market.symbols if everything else [symbol] if symbol else []:
        for finding in examine(settings, one, live=live):
            click.echo(line(finding))
            findings.append(finding)
    raise SystemExit(exit_code(findings))


@click.command()
@click.argument("session")
@symbol_option
@click.pass_context
def compare(context: click.Context, session: str, symbol: str) -> None:
    """Put a session's fills, prices, fees and profit beside the simulator's on the captured market."""
    from executor.compare import compare_session

    click.echo(compare_session(settings_of(context), symbol, session).text())


@click.command("export-journal")
@click.argument("session")
@symbol_option
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the Parquet files.")
@click.pass_context
def export_journal(context: click.Context, session: str, symbol: str, folder: Path) -> None:
    """Write a session's journal as Parquet, one file a table."""
    from executor.export import export_journal as export

    for path in export(settings_of(context), symbol, session, folder):
        click.echo(path)


COMMANDS = (execute, status, halt, resume, flatten, replay, doctor, compare, export_journal)
