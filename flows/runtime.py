"""What flows run in: Prefect's home and manners, the settings at hand, and how progress is told.

Prefect reads its own settings when it is imported, so everything here works before that. A flow that was started by
Prefect (a deployment, the UI) loads the settings file itself; one that was started by the ``purplesky`` command takes
the settings of the command.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import click

import settings as configuration
from flows.services import CONFIG, OFFLINE
from market.errors import PurpleSkyError
from settings import Settings

_current: ContextVar[Settings | None] = ContextVar("purplesky_settings", default=None)
#: Whether a person waits at the console for what the flow says.
_console: ContextVar[bool] = ContextVar("purplesky_console", default=False)

#: Set where nobody has set them: no telemetry, no chatter on the console (the run's own log keeps everything).
_MANNERS = {
    **OFFLINE,
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
#: A failed flow ends with one line on the console, not with Prefect's traceback: the front door says it.
_QUIET_CONSOLE = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}


#: What Prefect says, as a bare RuntimeError, when there is no server to talk to.
_NO_SERVER = re.compile(r"(ephemeral Prefect API server|Failed to reach API)")


class OrchestrationError(PurpleSkyError):
    """Prefect's server is not there."""


@contextmanager
def session(settings: Settings) -> Iterator[None]:
    """Run flows in this process with `settings`.

    Without ``prefect.api_url`` Prefect starts a server of its own for the run, on ``paths.data/prefect``.

    Raises
    ------
    OrchestrationError
        The server cannot be reached, or did not start.
    """
    home = (settings.paths.data / "prefect").resolve()
    # Prefect does not create parents, and a server without a home starts over and over instead of failing.
    home.mkdir(parents=True, exist_ok=True)
    url = settings.prefect.api_url
    wanted = {**_MANNERS, **_QUIET_CONSOLE, "PREFECT_HOME": str(home)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    with ExitStack() as stack:
        stack.enter_context(_environment(added | ({"PREFECT_API_URL": url} if url else {})))
        if url:
            # The environment counts only until Prefect is imported.
            from prefect.settings import PREFECT_API_URL, temporary_settings

            stack.enter_context(temporary_settings(updates={PREFECT_API_URL: url}))
        stack.enter_context(using(settings))
        token = _console.set(True)
        stack.callback(_console.reset, token)
        try:
            yield
        except RuntimeError as error:
            if not _NO_SERVER.search(str(error)):
                raise
            raise OrchestrationError(
                f"no Prefect server at {url}" if url else "Prefect's own server for this run did not start",
                advice="Start one with `purplesky ui`, or correct prefect.api_url"
                if url
                else f"Read the logs in {home}",
            ) from error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def using(settings: Settings) -> Iterator[None]:
    """Let flows that are called within take these settings."""
    token = _current.set(settings)
    try:
        yield
    finally:
        _current.reset(token)


def current(config: str | None = None) -> Settings:
    """The settings that a flow works with.

    Parameters
    ----------
    config
        Settings file, for runs that Prefect started; ``None`` takes the one that ``PURPLESKY_CONFIG`` of the worker
        names, or ``purplesky.toml`` of the working directory.

    Raises
    ------
    ConfigError
        The file is missing or wrong.
    """
    settings = _current.get()
    if settings is not None:
        return settings
    named = config or os.environ.get(CONFIG, "")
    return configuration.load(Path(named) if named else None)


def say(text: str) -> None:
    """Tell the person at the console, and the run's log."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    with suppress(MissingContextError):
        get_run_logger().info(text)
    if _console.get():
        click.echo(f"      {text}")


def trouble(text: str) -> None:
    """Put the exception at hand into the run's log, with its traceback."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    with suppress(MissingContextError):
        get_run_logger().exception(text)


class Meter:
    """Tells how far a long step is: a line that rewrites itself on a terminal, now and then a line elsewhere.

    Parameters
    ----------
    every
        Seconds between two lines where there is no terminal.
    """

    def __init__(self, every: float = 10.0) -> None:
        self._live = sys.stdout.isatty() and _console.get()
        self._every = 0.2 if self._live else every
        self._told_at = time.monotonic()
        self._text = ""
        self._shown = False

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r" + self._text[:100].ljust(100))

    def __call__(self, text: str) -> None:
        """Tell `text`, if the last word was long enough ago."""
        self._text = f"      {text}"
        now = time.monotonic()
        if now - self._told_at < self._every:
            return
        self._told_at = now
        if self._live:
            click.echo("\r" + self._text[:100].ljust(100), nl=False)
            self._shown = True
        else:
            say(text)
