"""Settings: one TOML file, overridden by the environment; secrets from the environment only.

Every section is frozen and refuses unknown keys. ``PURPLESKY_RISK__MAX_DRAWDOWN=0.1`` overrides ``max_drawdown`` of
``[risk]``. Rooms take the sections, or plain values, that they need; no module holds settings of its own.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from market.errors import ConfigError
from settings.sections import (
    Choice,
    Costs,
    Dimension,
    Executor,
    Gate,
    Market,
    Mlflow,
    Operations,
    Paths,
    Prefect,
    Rate,
    Reports,
    Risk,
    Secrets,
    Section,
    Symbol,
    Training,
    Venue,
    timeframe_ms,
)

__all__ = [
    "Choice",
    "Costs",
    "Dimension",
    "Executor",
    "Gate",
    "Market",
    "Mlflow",
    "Operations",
    "Paths",
    "Prefect",
    "Rate",
    "Reports",
    "Risk",
    "Secrets",
    "Section",
    "Settings",
    "Symbol",
    "Training",
    "Venue",
    "load",
    "override",
    "timeframe_ms",
    "to_toml",
]


class Settings(BaseSettings):
    """The effective settings.

    Attributes are the sections of ``purplesky.toml``.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="PURPLESKY_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    paths: Paths = Paths()
    venue: Venue = Venue()
    market: Market = Market()
    costs: Costs = Costs()
    training: Training = Training()
    gate: Gate = Gate()
    mlflow: Mlflow = Mlflow()
    prefect: Prefect = Prefect()
    reports: Reports = Reports()
    operations: Operations = Operations()
    executor: Executor = Executor()
    risk: Risk = Risk()
    secrets: Secrets = Secrets()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file: the file's values arrive as init values."""
        return env_settings, init_settings

    @property
    def registry_uri(self) -> str:
        """Address of the MLflow registry."""
        return self.mlflow.uri or f"sqlite:///{self.paths.mlruns / 'mlflow.db'}"

    def model_name(self, symbol: str, timeframe: str) -> str:
        """Registered name of the council of a symbol and timeframe."""
        return f"{self.mlflow.model_prefix}-{symbol}-{timeframe}"


def load(path: Path | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path
        The TOML file; ``None`` takes ``purplesky.toml`` of the working directory if there is one.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, a key is unknown or a value impossible; the message names the key.
    """
    file = path or Path("purplesky.toml")
    values: dict[str, Any] = {}
    if path is not None or file.exists():
        values = _read(file)
    if "secrets" in values:
        raise ConfigError(f"{file} has a section [secrets]", advice="Keep secrets in the environment: see .env.example")
    values["secrets"] = {
        name: os.environ[name.upper()] for name in Secrets.model_fields if os.environ.get(name.upper())
    }
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _explain(error, prefix="", where=f"{file} or the environment") from None


def override(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """The settings with some values replaced, validated again; ``None`` values are left alone.

    Raises
    ------
    ConfigError
        A value is impossible; the message names the key.
    """
    changed: dict[str, Section] = {}
    for name, values in sections.items():
        section: Section = getattr(settings, name)
        given = {key: value for key, value in values.items() if value is not None}
        try:
            changed[name] = type(section).model_validate(section.model_dump() | given)
        except ValidationError as error:
            raise _explain(error, prefix=f"{name}.", where="the command line") from None
    return settings.model_copy(update=changed)


def to_toml(settings: Settings) -> str:
    """The effective settings as TOML; secrets are masked and written as comments, for they cannot live in a file."""
    lines: list[str] = []
    for name in Settings.model_fields:
        section: Section = getattr(settings, name)
        secret = isinstance(section, Secrets)
        lines.append("# secrets, from the environment:" if secret else f"[{name}]")
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            note = f"  # {field.description}" if field.description else ""
            lines.append(
                f"# {key.upper()} is {'set: ********' if value else 'not set'}"
                if secret
                else f"{key} = {_toml(value)}{note}"
            )
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(str(value), ensure_ascii=False)


def _explain(error: ValidationError, *, prefix: str, where: str) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    key = prefix + ".".join(str(part) for part in first["loc"])
    what = "is not a setting" if first["type"] == "extra_forbidden" else f"is impossible: {first['msg']}"
    return ConfigError(f"{key} {what}", advice=f"Correct it in {where}; `purplesky config` lists all settings")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror})", advice="Name an existing file with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML ({error})", advice="Correct that line") from error
