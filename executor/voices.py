"""Who hears what the executor says: the log, the notifications, and the lists that the status page shows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from executor.logs import Log, Masking
from executor.notify import Herald, carrier_of
from settings import Settings

#: How many of the last remarks and decisions the page shows.
RECENT = 40
#: Remarks that tell of a part's state, by code: the last one is the state.
_PARTS = ("feed", "registry", "venue", "journal", "drift", "gate", "health")


def secrets_of(settings: Settings) -> list[str]:
    """Every secret in force, in clear: for masking only."""
    values = [getattr(settings.secrets, name) for name in type(settings.secrets).model_fields]
    return [value.get_secret_value() for value in values if value is not None]


def herald_of(settings: Settings, title: str) -> Herald | None:
    """Sends to the settings' addresses; ``None`` where there are none.

    Raises
    ------
    ConfigError
        A notification URL is none.
    """
    urls = settings.secrets.notification_urls()
    return Herald(carrier_of(urls), title, pause_s=settings.executor.notify_pause_s) if urls else None


class Voices:
    """Passes remarks on.

    Parameters
    ----------
    settings
        For secrets, addresses and the folder of the logs.
    symbol, mode
        On every line, and in every title.
    say
        Takes lines for people.
    herald
        Sends notifications for several contracts, each message with its own in front; ``None`` for one of its own, if
        there are URLs.

    Attributes
    ----------
    recent
        Wall time, level, code and text of the last remarks, oldest first.
    parts
        The last remark about each part.

    Raises
    ------
    ConfigError
        A notification URL is none.
    """

    def __init__(
        self,
        settings: Settings,
        symbol: str,
        mode: str,
        say: Callable[[str], None],
        herald: Herald | None = None,
    ) -> None:
        self.recent: deque[tuple[float, str, str, str]] = deque(maxlen=RECENT)
        self.parts: dict[str, tuple[float, str, str]] = {}
        self._mask = Masking(secrets_of(settings))
        self._prefix = f"{symbol}: " if herald is not None else ""
        self._herald = herald or herald_of(settings, f"PurpleSky {symbol} ({mode})")
        self._log: Log | None = None
        try:
            folder, fields = settings.paths.data / "logs", {"symbol": symbol, "mode": mode}
            self._log = Log(folder, f"executor-{mode}-{symbol}", self._mask, fields=fields)
        except OSError as error:
            # Like the status: a courtesy, and a full disk is the journal's to report.
            say(f"warning: the log below {settings.paths.data / 'logs'} cannot be written ({error.strerror})")

    def hear(self, level: str, code: str, text: str) -> None:
        """Pass a remark on."""
        text = self._mask(text)
        now = time.time()
        if code in _PARTS:
            self.parts[code] = (now, level, text)
        if level != "info" or code != "decided":
            self.recent.append((now, level, code, text))
        if self._log is not None:
            self._log.hear(level, code, text)
        if self._herald is not None:
            self._herald.hear(level, code, self._prefix + text)

    def error(self, error: BaseException) -> None:
        """The daemon ends because of this."""
        if self._log is not None:
            self._log.error("stop", error)
        if self._herald is not None:
            text = self._mask(f"the executor ended: {type(error).__name__}: {error}")
            self._herald.hear("critical", "stop", self._prefix + text)

    def counts(self) -> Mapping[str, int]:
        """What became of log lines and notifications."""
        told = self._herald.counts if self._herald is not None else None
        return {
            "log_failures": self._log.failures if self._log is not None else -1,
            "notifications_sent": told.sent if told else 0,
            "notifications_failed": told.failed if told else 0,
            "notifications_dropped": told.dropped if told else 0,
        }

    def close(self, patience_s: float = 5.0) -> None:
        """Send what waits, unless somebody else does, and close the log."""
        if self._herald is not None and not self._prefix:
            self._herald.close(patience_s)
        if self._log is not None:
            self._log.close()
