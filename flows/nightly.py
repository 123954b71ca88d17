"""The flow ``nightly``: validate what is new, then train and register."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import flow

from flows import runtime
from flows.train import TrainOutcome, train
from flows.validate import validate
from flows.validation import ValidationReport, mask_windows
from market import Lake
from market.errors import ValidationBlocked
from settings import Settings


@flow(name="nightly", retries=0)
def nightly(
    symbols: Sequence[str] | None = None, config: str | None = None, unfinished: bool = False
) -> dict[str, TrainOutcome]:
    """Validate the days that are new or have changed, then train a council of each symbol.

    Promotion stays with a person: the night only registers candidates. A day is judged once it is over: twenty minutes
    after midnight the day that has just begun would be found wanting.

    Parameters
    ----------
    symbols
        Contracts; ``None`` takes those of the settings.
    config
        Settings file, for runs that Prefect starts.
    unfinished
        Judge the day that has not ended yet, too.

    Raises
    ------
    ValidationBlocked
        New data of a symbol is blocked; the other symbols were trained nevertheless.
    """
    settings = runtime.current(config)
    outcomes: dict[str, TrainOutcome] = {}
    blocked: list[str] = []
    for symbol in symbols or settings.market.symbols:
        judged = validate_new(settings, symbol, config, before=None if unfinished else today())
        if any(report.status == "blocked" for report in judged):
            blocked.append(symbol)
        else:
            outcomes[symbol] = train(symbol, config)
    if blocked:
        raise blocked_error(blocked)
    return outcomes


def today() -> str:
    """The UTC day that has not ended yet."""
    return datetime.now(UTC).date().isoformat()


def validate_new(
    settings: Settings, symbol: str, config: str | None = None, *, before: str | None = None
) -> list[ValidationReport]:
    """Judge the days of which there is no report, or one of other data than the lake holds now.

    Parameters
    ----------
    before
        Only days before this one; ``None`` takes all.
    """
    _, unjudged = mask_windows(settings.paths.reports, Lake(settings.paths.lake), symbol)
    return [validate(symbol, day, config) for day in unjudged if before is None or day < before]


def blocked_error(symbols: Sequence[str]) -> ValidationBlocked:
    """The error that stops training on blocked data."""
    return ValidationBlocked(
        f"data validation blocks training on {', '.join(symbols)}",
        advice="Read the report, mend or remove the data, and validate again; blocked days then leave training",
    )
