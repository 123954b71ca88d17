"""The flow ``nightly``: validate what is new, build features, train, register, compare with Production, tell.

One symbol's misfortune is its own: the others go on, and the run's final state says what became of each. A night that
is started again does nothing twice: a day is judged once, and a council of the same data under the same rules is
trained once, which the registry itself remembers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError
from prefect.flow_engine import FlowRunTimeoutError
from prefect.states import Completed

import settings as configuration
from council import ModelVersionInfo, Registry
from features import spec_hash
from flows import runtime
from flows._verdict import current_verdict, windows_of
from flows.nights import Night, SymbolNight, docs_url, version_url, write_night
from flows.tell import notify
from flows.train import KEY_TAG, TrainOutcome, train
from flows.validate import validate
from flows.validation import ValidationReport, mask_windows
from market import Lake
from market.errors import (
    ConfigError,
    NotEnoughDataError,
    PurpleSkyError,
    RegistryUnavailable,
    ValidationBlocked,
    VenueUnavailable,
)
from settings import Settings, timeframe_ms

#: Errors of the machine that free space or time may mend.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
#: A night needs room for features, models and reports.
_LEAST_FREE = 500_000_000


class NightFailed(PurpleSkyError):
    """A night came to less than it should have; the symbols that could be done were done."""


class DiskFull(PurpleSkyError):
    """There is no room for the results of a night."""


@flow(name="nightly", flow_run_name=lambda: f"night of {today()}", retries=0, timeout_seconds=20 * 3600)
def nightly(
    symbols: Sequence[str] | None = None,
    config: str | None = None,
    unfinished: bool = False,
    per_symbol: dict[str, dict[str, Any]] | None = None,
    attempts: int = 1,
    again: bool = False,
) -> Any:
    """Validate the days that are new or have changed, then train a council of each symbol, and tell what came of it.

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
    per_symbol
        What differs from ``[training]`` for a symbol, like ``{"BTCUSDT": {"trials": 100}}``.
    attempts
        How often a symbol is tried whose registry is down or whose disk is full; ``operations.retry_s`` lies between
        the first two, twice as much between the next.
    again
        Train even if the registry has a council of the same data and the same rules.

    Returns
    -------
    dict of str to TrainOutcome
        The symbols that were trained.

    Raises
    ------
    ValidationBlocked
        New data of a symbol is blocked; the other symbols were trained nevertheless.
    NightFailed
        Symbols failed; the others were trained nevertheless.
    ConfigError
        A parameter is impossible; nothing was done.
    """
    settings = runtime.current(config)
    plan = _plan(settings, symbols, per_symbol or {}, attempts)
    work = _Work(settings, config, unfinished=unfinished, again=again)
    began = time.time()
    date = today()
    for attempt in range(attempts):
        waiting = [symbol for symbol in plan if attempt == 0 or symbol in work.transient]
        if not waiting:
            break
        if attempt:
            pause_s = settings.operations.retry_s * 2 ** (attempt - 1)
            runtime.say(f"{', '.join(waiting)}: tried again in {pause_s:.0f} s")
            time.sleep(pause_s)
        for number, symbol in enumerate(waiting):
            work.tell_progress(100 * number / len(waiting), f"{symbol}, attempt {attempt + 1}")
            work.do(symbol, plan[symbol])
    work.tell_progress(100, "done")
    night = Night(date, began, time.time(), _run_id(), tuple(work.nights[symbol] for symbol in plan))
    publish(settings, night)
    return _final_state(night, work)


class _Work:
    """The symbols of one night."""

    def __init__(self, settings: Settings, config: str | None, *, unfinished: bool, again: bool) -> None:
        self._settings, self._config = settings, config
        self._unfinished, self._again = unfinished, again
        self.nights: dict[str, SymbolNight] = {}
        self.outcomes: dict[str, TrainOutcome] = {}
        self.errors: dict[str, Exception] = {}
        #: Symbols that are worth another attempt.
        self.transient: set[str] = set()
        self._judged: dict[str, list[str]] = {}
        self._bar: Any = None

    def do(self, symbol: str, own: Settings) -> None:
        """One symbol; whatever goes wrong is its outcome."""
        self.transient.discard(symbol)
        self.errors.pop(symbol, None)
        try:
            with runtime.using(own):
                self.nights[symbol] = self._night(symbol, own)
            return
        except FlowRunTimeoutError:
            raise  # the night's own time is over: Prefect ends the run
        except NotEnoughDataError as error:
            found = SymbolNight(symbol, "skipped", str(error), self._days(symbol))
        except ValidationBlocked as error:
            self.errors[symbol] = error
            found = SymbolNight(symbol, "blocked", str(error), self._days(symbol))
        except Exception as error:  # noqa: BLE001 - one symbol's bug must not cost the others their night
            self.errors[symbol] = error
            if _is_transient(error):
                self.transient.add(symbol)
            if not isinstance(error, PurpleSkyError):
                runtime.trouble(f"{symbol} failed")
            text = str(error) if isinstance(error, PurpleSkyError) else f"{type(error).__name__}: {error}"
            found = SymbolNight(symbol, "failed", text, self._days(symbol))
        runtime.say(f"{symbol} {found.state}: {found.reason}")
        attempts = self.nights[symbol].attempts + 1 if symbol in self.nights else 1
        self.nights[symbol] = _with_attempts(found, attempts)

    def _days(self, symbol: str) -> tuple[str, ...]:
        return tuple(self._judged.get(symbol, ()))

    def _night(self, symbol: str, own: Settings) -> SymbolNight:
        _require_space(own)
        told = self._judged.setdefault(symbol, [])
        before = None if self._unfinished else today()
        judged = validate_new(own, symbol, self._config, before=before)
        told += [f"{day.date} {day.status}" for report in judged for day in report.days]
        if any(report.status == "blocked" for report in judged):
            raise blocked_error([symbol])
        registry = Registry(own.registry_uri, own.paths.mlruns / "artifacts")
        name = own.model_name(symbol, own.training.timeframe)
        key = night_key(own, symbol)
        newest = _newest(registry, name)
        attempts = self.nights[symbol].attempts + 1 if symbol in self.nights else 1
        if newest is not None and newest.tags.get(KEY_TAG) == key and not self._again:
            why = f"nothing new since version {newest.version}: the same data, the same rules"
            runtime.say(f"{symbol} skipped: {why}")
            return SymbolNight(symbol, "skipped", why, tuple(told), name, newest.version, attempts=attempts)
        outcome = train(symbol, self._config, key)
        self.outcomes[symbol] = outcome
        compared = _compare(outcome)
        gate = outcome.result.gate
        verdict = "passed" if gate.passed else "failed"
        missed = "; ".join(reason.text for reason in gate.reasons if not reason.passed)
        why = f"version {outcome.version} registered, gate {verdict}" + (f" ({missed})" if missed else "")
        return SymbolNight(
            symbol, "trained", why, tuple(told), name, outcome.version, verdict, compared, attempts=attempts
        )

    def tell_progress(self, share: float, text: str) -> None:
        """Tell Prefect how far the night is."""
        if self._bar is None:
            self._bar = create_progress_artifact(share, key="night-progress", description=text)
        else:
            update_progress_artifact(self._bar, share, description=text)


def _with_attempts(found: SymbolNight, attempts: int) -> SymbolNight:
    return SymbolNight(found.symbol, found.state, found.reason, found.judged, attempts=attempts)


def _plan(
    settings: Settings, symbols: Sequence[str] | None, per_symbol: Mapping[str, dict[str, Any]], attempts: int
) -> dict[str, Settings]:
    """Each symbol's settings; checked before anything is done.

    Raises
    ------
    ConfigError
        A symbol or a setting is impossible.
    """
    if attempts < 1:
        raise ConfigError(f"{attempts} attempts are none", advice="Give the night's parameter attempts 1 or more")
    names = tuple(dict.fromkeys(symbols or settings.market.symbols))
    if strangers := set(per_symbol) - set(names):
        raise ConfigError(
            f"per_symbol names {', '.join(sorted(strangers))}, which the night does not do",
            advice=f"It does {', '.join(names)}: correct the parameter symbols or per_symbol",
        )
    configuration.override(settings, market={"symbols": names})
    return {name: configuration.override(settings, training=per_symbol.get(name, {})) for name in names}


def _require_space(settings: Settings) -> None:
    for folder in (settings.paths.data, settings.paths.mlruns):
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        free, least = shutil.disk_usage(there).free, max(_LEAST_FREE, settings.operations.min_free_bytes)
        if free < least:
            raise DiskFull(
                f"{free / 1e9:.2f} GB are free below {folder}, and a night needs {least / 1e9:.2f} GB",
                advice="Free disk space; the next attempt does what was left undone",
            )


def _is_transient(error: BaseException | None) -> bool:
    """Whether another attempt may succeed: somebody else was at fault."""
    while error is not None:
        if isinstance(error, RegistryUnavailable | VenueUnavailable | DiskFull):
            return True
        if isinstance(error, OSError) and error.errno in _DISK:
            return True
        error = error.__cause__
    return False


def _newest(registry: Registry, name: str) -> ModelVersionInfo | None:
    versions = registry.versions(name)
    return versions[-1] if versions else None


def night_key(settings: Settings, symbol: str) -> str:
    """What a council would be trained on and how: the same key, the same council.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data.
    """
    lake = Lake(settings.paths.lake)
    verdict = current_verdict(settings.paths.reports / symbol, lake, symbol)
    levels, stall_ms = settings.market.ob_levels, settings.market.stall_ms
    told = {
        "data": lake.fingerprint(symbol),
        "left out": [(window.start_ms, window.end_ms) for window in windows_of(verdict)],
        "features": spec_hash(timeframe_ms(settings.training.timeframe), levels, stall_ms),
        "training": settings.training.model_dump(mode="json", exclude={"workers"}),
        "gate": settings.gate.model_dump(mode="json"),
        "costs": settings.costs.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@task(name="compare with Production", task_run_name="compare {outcome.name} with Production", cache_policy=NO_CACHE)
def _compare(outcome: TrainOutcome) -> str:
    """Tell how the new council did beside the one in Production, on days that neither saw; the verdict."""
    comparison = outcome.result.comparison
    text = "Nothing is in Production to compare with." if comparison is None else comparison.text()
    create_markdown_artifact(
        key=f"comparison-{outcome.name.lower()}",
        markdown=f"# {outcome.name} version {outcome.version} and Production\n\n{text}",
        description=text,
    )
    return "" if comparison is None else comparison.verdict


def publish(settings: Settings, night: Night) -> None:
    """Keep the night, show it in Prefect, and notify.

    No task: what a task leaves behind is not on the run's own page.
    """
    runtime.say(night.headline())
    create_markdown_artifact(key="night", markdown=night.markdown(settings), description=night.headline())
    for one in night.symbols:
        symbol = one.symbol.lower()
        create_link_artifact(
            docs_url(settings, one.symbol), link_text=f"Data Docs of {one.symbol}", key=f"data-docs-{symbol}"
        )
        if one.version > 0:
            text = f"{one.model} version {one.version}"
            create_link_artifact(version_url(settings, one), link_text=text, key=f"version-{symbol}")
    kind = "failure" if night.count("failed") else "warning" if night.count("blocked") else "success"
    delivered = notify(settings, night.headline(), night.text(), kind)  # type: ignore[arg-type]
    if not delivered:
        runtime.say("not every notification service took the message")
    try:
        write_night(settings, night)
    except OSError as error:
        # A full disk: the run's state and the notification say it already.
        runtime.say(f"the night's record cannot be written ({error.strerror})")


def _final_state(night: Night, work: _Work) -> State[Any] | dict[str, TrainOutcome]:
    """What the run ends with: its own error where there was one symbol, a summary where there were more."""
    if night.green:
        if _run_id():
            return Completed(message=night.headline(), data=work.outcomes)
        return work.outcomes
    if len(work.nights) == 1:
        raise next(iter(work.errors.values()))
    if not night.count("failed"):
        raise blocked_error([one.symbol for one in night.symbols if one.state == "blocked"])
    raise NightFailed(f"{night.headline()}\n{night.text()}", advice="Read the artifact `night` of this run")


def _run_id() -> str:
    try:
        context = get_run_context()
    except MissingContextError:
        return ""
    run = getattr(context, "flow_run", None)
    return str(run.id) if run is not None else ""


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
