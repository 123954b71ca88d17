"""The flow ``backfill``: history archives of every symbol into the lake, and the new days judged."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import runtime
from flows.import_ import import_archives
from flows.nightly import validate_new
from market.errors import DataError, PurpleSkyError, UnknownSymbolError


class BackfillFailed(DataError):
    """Archives of a symbol could not be imported."""


@flow(name="backfill", timeout_seconds=12 * 3600)
def backfill(
    folder: str, symbols: Sequence[str] | None = None, judge: bool = True, config: str | None = None
) -> dict[str, str]:
    """Import what is below a folder; days that are there already are left alone, so that it may run every day.

    Parameters
    ----------
    folder
        Where Bybit's archives are.
    symbols
        Contracts; ``None`` takes those of the settings.
    judge
        Validate the days that are new, too.
    config
        Settings file, for runs that Prefect starts.

    Returns
    -------
    dict of str to str
        What became of each symbol, in words.

    Raises
    ------
    BackfillFailed
        A symbol failed; the others were imported nevertheless.
    """
    settings = runtime.current(config)
    rows, failed = [], []
    for symbol in symbols or settings.market.symbols:
        try:
            report = import_archives(folder, symbol, config)
            judged = validate_new(settings, symbol, config) if judge else []
            verdicts = "; ".join(f"{day.date} {day.status}" for one in judged for day in one.days)
            rows.append(
                {
                    "symbol": symbol,
                    "outcome": "imported" if report.imported else "nothing new",
                    "days": ", ".join(report.imported) or "-",
                    "validation": verdicts or "-",
                }
            )
        except UnknownSymbolError as error:
            rows.append({"symbol": symbol, "outcome": f"skipped: {error}", "days": "-", "validation": "-"})
        except PurpleSkyError as error:
            failed.append(f"{symbol}: {error}")
            rows.append({"symbol": symbol, "outcome": f"failed: {error}", "days": "-", "validation": "-"})
    create_table_artifact(key="backfill", table=rows, description=f"Archives below {folder}")
    if failed:
        raise BackfillFailed("; ".join(failed), advice="Mend or remove the archives; the other symbols are done")
    return {str(row["symbol"]): str(row["outcome"]) for row in rows}
