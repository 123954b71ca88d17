"""What several commands share: options, the settings in force, rooms that need the pipeline's packages."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from market.errors import ConfigError

if TYPE_CHECKING:
    from settings import Settings

_OURS = {"commands", "market", "features", "council", "simulation", "training", "flows"}

symbol_option = click.option("--symbol", required=True, help="Contract, for example BTCUSDT.")
timeframe_option = click.option("--timeframe", help="Length of a bar: 1m, 5m, 15m, 1h, 4h. [default: the config's]")
#: Which of a folder's installations is meant.
venue_option = click.option(
    "--venue",
    type=click.Choice(["bybit", "local"]),
    default="bybit",
    envvar="VENUE",
    show_default=True,
    help="Bybit's public data, or the local exchange with a folder of its own (data/local).",
)


def settings_of(context: click.Context, **sections: dict[str, Any]) -> Settings:
    """The settings in force, with what the command line changes; ``None`` changes nothing."""
    import settings

    return settings.override(settings.load(context.obj), **sections)


def pipeline(module: str) -> Any:
    """Import a room that needs the extra ``[pipeline]``."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _OURS:
            raise
        raise ConfigError(
            f"this command needs the package {error.name}",
            advice="Install the pipeline: pip install 'purplesky[pipeline]'",
        ) from error
