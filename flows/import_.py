"""The flow ``import``: history archives into the lake."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import runtime
from market import ImportReport, Lake
from market import import_archives as read_archives


@flow(name="import", flow_run_name="import {symbol}", retries=0)
def import_archives(folder: str, symbol: str, config: str | None = None) -> ImportReport:
    """Import Bybit's history archives of one symbol; what is there already is left alone.

    Parameters
    ----------
    folder
        Where the archives are.
    symbol
        Contract.
    config
        Settings file, for runs that Prefect starts.
    """
    settings = runtime.current(config)
    with runtime.Meter() as meter:
        report = read_archives(
            Path(folder),
            symbol,
            Lake(settings.paths.lake),
            progress=lambda day, share: meter(f"{symbol} {day}: {share:.0%} read"),
        )
    added = f"{report.level_changes:,} level changes and {report.trades:,} trades"
    days = f"{len(report.imported)} days imported, {len(report.skipped)} were there already"
    runtime.say(f"{symbol}: {days}; {added} added")
    for warning in report.warnings:
        runtime.say(f"{symbol}: {warning}")
    create_markdown_artifact(
        key=f"import-{symbol.lower()}",
        markdown="\n".join([f"# Import of {symbol}", "", f"{days}; {added} added.", "", *_bullets(report)]),
        description=f"Import of {symbol}",
    )
    return report


def _bullets(report: ImportReport) -> list[str]:
    return [f"- {day}: imported" for day in report.imported] + [f"- {warning}" for warning in report.warnings]
