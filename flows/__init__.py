"""When things run: Prefect flows, data validation, the demo and the sites; orchestration, no domain logic.

The functions here are what the ``purplesky`` command calls: each checks what can be checked at once, then runs a flow
with the command's settings. Prefect is imported with the first of them, not before.

Public face
-----------
:func:`run_import`, :func:`run_capture`, :func:`run_validate`, :func:`run_train`, :func:`run_pipeline`.

This room will never decide a trade, define a feature or compute a statistic, and nothing imports it but the front door.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.train import TrainOutcome
    from flows.validation import ValidationReport
    from market import ImportReport, RecorderCounts
    from settings import Settings

__all__ = ["run_capture", "run_import", "run_pipeline", "run_train", "run_validate"]


def run_import(settings: Settings, folder: Path, symbol: str) -> ImportReport:
    """Import history archives of `symbol` below `folder` into the lake.

    Raises
    ------
    UnknownSymbolError, ArchiveError, LakeError
        See :func:`market.import_archives`.
    """
    from flows.runtime import session
    from market._archive_files import find_days

    find_days(folder, symbol)
    with session(settings):
        from flows.import_ import import_archives

        return import_archives(str(folder), symbol)


def run_capture(settings: Settings, symbols: Sequence[str], seconds: float) -> RecorderCounts:
    """Record `symbols` for `seconds` of wall time.

    Raises
    ------
    VenueUnavailable, UnknownSymbolError, LakeError, AlreadyRunningError
        See :class:`market.Recorder`.
    """
    from flows.runtime import session

    with session(settings):
        from flows.capture import capture

        return capture(list(symbols), seconds)


def run_validate(settings: Settings, symbol: str, date: str | None = None) -> ValidationReport:
    """Judge what the lake holds of `symbol`.

    Raises
    ------
    ConfigError, EmptyLakeError, UnknownSymbolError, DataError
        See :func:`flows.validation.validate`.
    """
    from flows.runtime import session

    _require_data(settings, symbol)
    with session(settings):
        from flows.validate import validate

        return validate(symbol, date)


def run_train(settings: Settings, symbol: str) -> TrainOutcome:
    """Train a council of `symbol` and register it, whatever the gate says.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError, NotEnoughDataError, TrainingError, RegistryError
        See :func:`training.pipeline.train` and :meth:`council.Registry.register`.
    """
    from flows.runtime import session

    _require_data(settings, symbol)
    with session(settings):
        from flows.train import train

        return train(symbol)


def run_pipeline(
    settings: Settings, symbol: str, *, folder: Path | None = None, capture_seconds: float | None = None
) -> TrainOutcome:
    """Import or capture if asked to, validate what is new, train and register.

    Raises
    ------
    ValidationBlocked
        Validation stops training.
    PurpleSkyError
        As the single steps.
    """
    from flows.runtime import session

    if folder is not None:
        run_import(settings, folder, symbol)
    if capture_seconds is not None:
        run_capture(settings, (symbol,), capture_seconds)
    _require_data(settings, symbol)
    with session(settings):
        from flows.nightly import nightly

        outcomes: Any = nightly([symbol], unfinished=True, again=True)
        trained: TrainOutcome = outcomes[symbol]
        return trained


def _require_data(settings: Settings, symbol: str) -> None:
    """Fail at once where there is nothing to work on, before a Prefect server is started for it."""
    from market import Lake

    Lake(settings.paths.lake).days(symbol)
