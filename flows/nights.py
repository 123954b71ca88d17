"""What became of a night, symbol by symbol: kept as a file, shown in Prefect, told to a person.

``<paths.data>/nights/<UTC day>.json`` holds the last night that began on that day; `purplesky doctor` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from market.errors import DataError
from settings import Settings

State = Literal["trained", "skipped", "blocked", "failed"]
SCHEMA = 1
#: In the order in which they are counted.
STATES: tuple[State, ...] = ("trained", "skipped", "blocked", "failed")


@dataclass(frozen=True, slots=True)
class SymbolNight:
    """What became of one symbol.

    Attributes
    ----------
    symbol
        Contract.
    state
        ``trained`` (a version was registered), ``skipped`` (there was nothing to do), ``blocked`` (validation stopped
        it) or ``failed``.
    reason
        In words; of a trained one the gate's verdict.
    judged
        Days that were judged tonight, each with its verdict.
    model, version
        Registered name, and version: the new one, or the newest there is; -1 if there is none.
    gate
        ``passed`` or ``failed``; empty without a new version.
    compared
        With Production: ``better``, ``worse``, ``undecided``, ``unknown``; empty if there was none to compare with.
    attempts
        How often it was tried.
    """

    symbol: str
    state: State
    reason: str
    judged: tuple[str, ...] = ()
    model: str = ""
    version: int = -1
    gate: str = ""
    compared: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Night:
    """A whole night.

    Attributes
    ----------
    date
        UTC day on which it began.
    started_s, ended_s
        Unix time.
    run
        Id of Prefect's flow run; empty without one.
    symbols
        Outcomes.
    """

    date: str
    started_s: float
    ended_s: float
    run: str
    symbols: tuple[SymbolNight, ...]
    schema: int = field(default=SCHEMA)

    def count(self, state: State) -> int:
        """How many symbols came to that."""
        return sum(one.state == state for one in self.symbols)

    @property
    def green(self) -> bool:
        """Whether nothing needs a person."""
        return not self.count("failed") and not self.count("blocked")

    def headline(self) -> str:
        """In one line."""
        told = [f"{count} {state}" for state in STATES if (count := self.count(state))]
        return f"night of {self.date}: {', '.join(told) or 'no symbols'}"

    def text(self) -> str:
        """For a notification."""
        return "\n".join(f"{one.symbol} {one.state}: {one.reason}" for one in self.symbols)

    def markdown(self, settings: Settings) -> str:
        """For Prefect's page: the table, with links to the reports and to the registry."""
        lines = [f"# {self.headline()}", ""]
        # Prefect's tables do not wrap: what is long stands below.
        lines += [
            "| symbol | outcome | data validation | version | gate | against Production |",
            "|---|---|---|---|---|---|",
        ]
        for one in self.symbols:
            cells = (
                one.symbol,
                one.state,
                _links(settings, one),
                f"[version {one.version}]({version_url(settings, one)})" if one.version > 0 else "–",
                one.gate or "–",
                one.compared or "–",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        for one in self.symbols:
            tried = f" (after {one.attempts} attempts)" if one.attempts > 1 else ""
            judged = f" Judged: {'; '.join(one.judged)}." if one.judged else " No new days."
            lines.append(f"- **{one.symbol}** {one.state}{tried}: {one.reason.rstrip('.')}.{judged}")
        promote = "A new version trades only once a person gives it the alias `production` in MLflow."
        return "\n".join([*lines, "", promote])


def reports_url(settings: Settings, path: str) -> str:
    """Where a page of the reports site is."""
    return f"http://127.0.0.1:{settings.reports.port}/{path}"


def docs_url(settings: Settings, symbol: str) -> str:
    """Where Great Expectations' Data Docs of a symbol are."""
    return reports_url(settings, f"{symbol}/docs/index.html")


def version_url(settings: Settings, one: SymbolNight) -> str:
    """Where the registry shows a version."""
    served = settings.mlflow.uri.startswith("http")
    base = settings.mlflow.uri.rstrip("/") if served else f"http://127.0.0.1:{settings.mlflow.port}"
    return f"{base}/#/models/{one.model}/versions/{one.version}"


def _links(settings: Settings, one: SymbolNight) -> str:
    pages = reports_url(settings, f"{one.symbol}/index.html")
    return f"[Data Docs]({docs_url(settings, one.symbol)}), [pages]({pages})"


def folder_of(settings: Settings) -> Path:
    """Where nights are kept."""
    return settings.paths.data / "nights"


def write_night(settings: Settings, night: Night) -> Path:
    """Keep a night; a reader never sees half of it."""
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{night.date}.json"
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(json.dumps(asdict(night), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def read_nights(settings: Settings, last: int = 7) -> Sequence[Night]:
    """The last nights, newest first.

    Raises
    ------
    DataError
        A file is damaged.
    """
    found = []
    for path in sorted(folder_of(settings).glob("????-??-??.json"), reverse=True)[:last]:
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            symbols = tuple(SymbolNight(**{**row, "judged": tuple(row["judged"])}) for row in values.pop("symbols"))
            found.append(Night(**values, symbols=symbols))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} is damaged ({error})", advice="Remove it: it is a record, nothing is built on it"
            ) from error
    return found
