"""The flow ``capture``: a bounded session of the recorder.

Recording around the clock is the daemon's job (``purplesky capture`` without ``--seconds``): a flow dies when its
server goes away, a recorder must not. Sessions hand over to each other without a hole: the next one begins before this
one ends, and goes on exactly where it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from prefect import flow, get_client
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType
from prefect.client.schemas.objects import StateType as State
from prefect.context import get_run_context
from prefect.states import Crashed

from flows import runtime
from market import Lake, Recorder, RecorderCounts, fetch_instruments

#: How long a session waits for the one before it (s).
HAND_OVER_SECONDS = 120.0
_ARTIFACT_SECONDS = 10.0


@flow(name="capture", flow_run_name="capture for {seconds:g} s", retries=0)
def capture(symbols: Sequence[str] | None = None, seconds: float = 3600.0, config: str | None = None) -> RecorderCounts:
    """Record order book, trades, tickers and liquidations into the lake for some time.

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
        told = _Progress(seconds)

        def tell(counts: RecorderCounts) -> None:
            meter(counts.text())
            told.note(counts)

        recorder = Recorder(
            lake,
            settings.venue.public_url,
            instruments,
            names,
            settings.market.ob_levels,
            part_seconds=settings.market.part_seconds,
            idle_seconds=settings.market.idle_seconds,
            rest_url=settings.venue.rest_url,
            take_over=HAND_OVER_SECONDS,
            progress=tell,
        )
        counts = asyncio.run(_record(recorder, seconds, told, names))
    runtime.say(counts.text())
    if counts.problems:
        runtime.say(f"{counts.problems} frames were left out; the last one: {counts.last_problem}")
    create_table_artifact(
        key="capture",
        table=[{"symbol": name, **lake.counts(name, settings.market.stall_ms)} for name in names],
        description=f"What the lake holds after capturing {', '.join(names)} for {seconds:g} s",
    )
    return counts


async def _record(recorder: Recorder, seconds: float, told: _Progress, names: Sequence[str]) -> RecorderCounts:
    """Record; beside it tell Prefect how it goes, so that a slow server never holds up frames."""
    ready = asyncio.Event()
    telling = asyncio.create_task(told.run(ready, names))
    try:
        return await recorder.run(seconds=seconds, handle_signals=True, on_ready=ready.set)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


class _Progress:
    """Live counters as Prefect artifacts."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = time.monotonic()
        self._latest: RecorderCounts | None = None

    def note(self, counts: RecorderCounts) -> None:
        """Take the latest counts."""
        self._latest = counts

    async def run(self, ready: asyncio.Event, names: Sequence[str]) -> None:
        """Tell now and then, until cancelled."""
        await ready.wait()
        await _bury_dead_sessions(names)
        bar: UUID | None = None
        while True:
            await asyncio.sleep(_ARTIFACT_SECONDS)
            if self._latest is not None:
                bar = await asyncio.to_thread(self._tell, bar, self._latest)

    def _tell(self, bar: UUID | None, counts: RecorderCounts) -> UUID | None:
        share = min(100.0, (time.monotonic() - self._started) / self._seconds * 100)
        if bar is None:
            bar = create_progress_artifact(share, key="capture-progress", description=counts.text())  # type: ignore[assignment]
        else:
            update_progress_artifact(bar, share, description=counts.text())
        create_table_artifact(
            key="capture-counters",
            table=[
                {
                    "messages/s": round(counts.frames_a_second, 1),
                    "lag ms": counts.lag_ms,
                    "gaps": counts.gaps,
                    "disconnects": counts.disconnects,
                    "books equal": counts.checks["equal"],
                    "books different": counts.checks["different"],
                    "MB sealed": round(counts.part_bytes / 1e6, 2),
                    "GB free": round(counts.free_bytes / 1e9, 1),
                }
            ],
            description="The recorder, live",
        )
        return bar


async def _bury_dead_sessions(names: Sequence[str]) -> None:
    """End runs that look alive though they are not.

    The symbols' locks are this process's, and the system frees a lock only when its holder is gone: any other run of
    the same symbols that is still `Running` has lost its worker.
    """
    context = get_run_context()
    own = getattr(getattr(context, "flow_run", None), "id", None)
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["capture"])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateType(any_=[State.RUNNING]))),
        )
        for run in runs:
            others = run.parameters.get("symbols") or names
            if run.id != own and set(others) & set(names):
                why = "its worker is gone: another session holds its symbols"
                await client.set_flow_run_state(run.id, Crashed(message=why), force=True)
