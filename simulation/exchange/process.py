"""The local exchange as a process of its own."""

from __future__ import annotations

import asyncio
import signal as signals
import sys
from collections.abc import Sequence
from typing import Any

from simulation.exchange.server import LocalExchange


def run_exchange(
    *,
    seed: int = 7,
    signal: float = 1.0,
    speed: float = 1.0,
    port: int = 8899,
    start_ms: int | None = None,
    symbols: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Serve a local exchange until SIGINT or SIGTERM; see :class:`LocalExchange` for the parameters.

    Raises
    ------
    ConfigError
        An argument is impossible, or the port is taken.
    """

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signals.SIGINT, signals.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        exchange = LocalExchange(
            seed=seed, signal=signal, speed=speed, port=port, start_ms=start_ms, symbols=symbols, **options
        )
        async with exchange:
            sys.stdout.write(
                f"local exchange: {exchange.rest_url}  symbols {', '.join(exchange.venue.listings)}  "
                f"{exchange.source}  speed {speed:g}\n"
                f"API key {exchange.api_key}, secret {exchange.api_secret}; Ctrl-C ends it\n"
            )
            sys.stdout.flush()
            ended = asyncio.create_task(stop.wait())
            broken = asyncio.create_task(exchange.wait())
            await asyncio.wait((ended, broken), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if broken.done():
                broken.result()

    asyncio.run(serve())
