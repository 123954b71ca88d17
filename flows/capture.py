"""The flow ``capture``: a bounded session of the recorder.

Recording around the clock is the daemon's job (``purplesky capture`` without ``--seconds``): a flow dies when its
server goes away, a recorder must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import runtime
from market import Lake, Recorder, RecorderCounts, fetch_instruments


@flow(name="capture", flow_run_name="capture for {seconds:g} s", retries=0)
def capture(symbols: Sequence[str] | None = None, seconds: float = 3600.0, config: str | None = None) -> RecorderCounts:
    """Record order book, trades and tickers into the lake for some time.

    Parameters
    ----------
    symbols
        Contracts; ``None`` takes those of the settings.
    seconds
        Wall time.
    config
        Settings file, for runs that Prefect starts.
    """
    settings = runtime.current(config)
    names = tuple(symbols or settings.market.symbols)
    lake = Lake(settings.paths.lake)
    instruments = fetch_instruments(settings.venue.rest_url, names)
    with runtime.Meter() as meter:
        recorder = Recorder(
            lake,
            settings.venue.public_url,
            instruments,
            names,
            settings.market.ob_levels,
            part_seconds=settings.market.part_seconds,
            idle_seconds=settings.market.idle_seconds,
            progress=lambda counts: meter(_text(counts)),
        )
        counts = asyncio.run(recorder.run(seconds=seconds, handle_signals=True))
    runtime.say(_text(counts))
    if counts.problems:
        runtime.say(f"{counts.problems} frames were left out; the last one: {counts.last_problem}")
    create_table_artifact(
        key="capture",
        table=[{"symbol": name, **lake.counts(name, settings.market.stall_ms)} for name in names],
        description=f"What the lake holds after capturing {', '.join(names)} for {seconds:g} s",
    )
    return counts


def _text(counts: RecorderCounts) -> str:
    return (
        f"{counts.frames:,} frames, {counts.level_changes:,} level changes, {counts.trades:,} trades, "
        f"{counts.gaps} gaps, {counts.disconnects} disconnects"
    )
