"""The log: one JSON object a line in rotating files, without secrets. People read the console; this is for machines."""

from __future__ import annotations

import json
import logging
import logging.handlers
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
#: Secrets shorter than this would mask ordinary words.
_SHORTEST = 6
MASK = "********"


class Masking:
    """Replaces secrets in text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: a secret may be part of another one.
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class _Lines(logging.Formatter):
    """A record as a line of JSON, masked as a whole, exception text included."""

    def __init__(self, mask: Masking) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            **getattr(record, "fields", {}),
            "text": record.getMessage(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        # Masked before encoding, for encoding may change how a secret looks.
        masked = {key: self._mask(value) if isinstance(value, str) else value for key, value in values.items()}
        return json.dumps(masked, ensure_ascii=False)


class _Rotating(logging.handlers.RotatingFileHandler):
    """A full disk must not end a daemon that trades, nor fill its console: failures are counted."""

    failures = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1


class Log:
    """Writes ``<folder>/<name>.jsonl`` and keeps some older ones beside it.

    Parameters
    ----------
    folder, name
        Where.
    mask
        Takes secrets out.
    fields
        On every line.
    max_bytes, keep
        A file grows to so many bytes; so many older ones are kept.

    Raises
    ------
    OSError
        The file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        mask: Masking,
        *,
        fields: dict[str, Any] | None = None,
        max_bytes: int = 10_000_000,
        keep: int = 5,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        self._fields = fields or {}
        self._handler = _Rotating(self.path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8")
        self._handler.setFormatter(_Lines(mask))
        # A logger of its own, outside of the tree: no other handler sees the lines.
        self._logger = logging.Logger(f"purplesky.{name}")
        self._logger.addHandler(self._handler)

    @property
    def failures(self) -> int:
        """Lines that could not be written."""
        return self._handler.failures

    def hear(self, level: str, code: str, text: str) -> None:
        """Write a line."""
        fields = {"code": code, **self._fields}
        self._logger.log(_LEVELS.get(level, logging.WARNING), "%s", text, extra={"fields": fields})

    def error(self, code: str, error: BaseException) -> None:
        """Write an error with its traceback."""
        fields = {"code": code, **self._fields}
        info = (type(error), error, error.__traceback__)
        self._logger.critical("%s", error, exc_info=info, extra={"fields": fields})

    def close(self) -> None:
        """Close the file."""
        try:
            self._handler.close()
        except OSError:  # what was not written before is not written now either
            self._handler.failures += 1
