"""The local exchange and its markets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--synthetic", is_flag=True, default=True, help="A seeded synthetic market (SYNUSDT).")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option(
    "--signal",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Strength of the planted signal; 0: nothing to find.",
)
@click.option(
    "--speed", type=click.FloatRange(min=0.01), default=1.0, show_default=True, help="Market seconds a second."
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8899, show_default=True, help="0 takes a free one.")
def exchange(synthetic: bool, seed: int, signal: float, speed: float, port: int) -> None:
    """Serve a local exchange that speaks Bybit's v5 API, on loopback."""
    from simulation.exchange import run_exchange

    run_exchange(seed=seed, signal=signal, speed=speed, port=port)


COMMANDS = (exchange,)
