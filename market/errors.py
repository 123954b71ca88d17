"""The exception tree, in one place.

Every error that a person can meet is a :class:`PurpleSkyError`: one line that says what happened, one that says what to
do next, and the exit code of the command that it ends. Anything else that reaches the front door is a bug.
"""

from __future__ import annotations


class PurpleSkyError(Exception):
    """Base of all errors meant for a person.

    Parameters
    ----------
    message
        What happened, without a trailing full stop.
    advice
        What the person should do next, an imperative sentence without a trailing full stop.
    """

    exit_code = 2

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}."

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries in pools and flows; keyword-only arguments do not survive the default.
        return (_rebuild, (type(self), self.message, self.advice))


def _rebuild(kind: type[PurpleSkyError], message: str, advice: str) -> PurpleSkyError:
    return kind(message, advice=advice)


class ConfigError(PurpleSkyError):
    """A setting is unknown, impossible or missing."""


class DataError(PurpleSkyError):
    """What is on disk, or was received, cannot be used."""


class FrameError(DataError):
    """A WebSocket frame is not what Bybit documents."""


class RulesChanged(DataError):
    """A price or size is not a multiple of the tick or step in force."""


class ArchiveError(DataError):
    """A history archive is damaged or not what its name says."""


class LakeError(DataError):
    """The lake refuses: damaged part, wrong schema, second writer, no space."""


class EmptyLakeError(LakeError):
    """There is no data for what was asked."""


class UnknownSymbolError(DataError):
    """No instrument rules are known for a symbol."""


class ValidationBlocked(DataError):
    """Validation found a defect that stops training on the data."""

    exit_code = 1


class TrainingError(PurpleSkyError):
    """Training cannot give a result that could be believed."""


class NotEnoughDataError(TrainingError):
    """Too few usable bars for the splits that were asked for."""


class RegistryError(PurpleSkyError):
    """The model registry refuses or has no answer."""


class RegistryUnavailable(RegistryError):
    """The registry cannot be reached; what it holds is unknown."""


class NoProductionError(RegistryError):
    """No version is in Production."""


class BundleError(RegistryError):
    """A council bundle is damaged or of another schema."""


class BundleMismatch(BundleError):
    """A council bundle is whole but not for this symbol, timeframe, level count or feature specification."""


class VenueError(PurpleSkyError):
    """The exchange refused, or could not be asked."""


class VenueUnavailable(VenueError):
    """The exchange did not answer a read: the value is unknown, which is not zero and not empty."""


class OutcomeUnknown(VenueError):
    """An order was sent and no answer says what became of it: ask by its link id before sending anything again."""


class OrderRejected(VenueError):
    """The exchange refused an order.

    Parameters
    ----------
    code
        Bybit's ``retCode``.
    """

    def __init__(self, message: str, *, advice: str, code: int = -1) -> None:
        super().__init__(message, advice=advice)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_rejected, (self.message, self.advice, self.code))


def _rebuild_rejected(message: str, advice: str, code: int) -> OrderRejected:
    return OrderRejected(message, advice=advice, code=code)


class ExecutorError(PurpleSkyError):
    """The executor cannot start or go on."""


class AlreadyRunningError(ExecutorError):
    """Another process holds the lock for the same account and symbol, or lake and symbol."""
