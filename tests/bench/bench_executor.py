"""The executor: how long a bar takes from its closing frame to the order being handed to the gateway."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from executor.events import BarClosed
from tests.bench._harness import benchmark
from tests.executor.stage import Stage, market


@benchmark("executor.decision")
def decision() -> dict[str, object]:
    """Vote, gates, size, journal transaction and submission of every bar of a session, in place."""
    events = market(600)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        took: list[float] = []
        drive = stage.session.drive

        def timed(batch: object) -> None:
            started = time.perf_counter()
            drive(batch)  # type: ignore[arg-type]
            if any(isinstance(event, BarClosed) for event in batch):  # type: ignore[attr-defined]
                took.append(1e3 * (time.perf_counter() - started))

        stage.session.drive = timed  # type: ignore[method-assign]
        stage.run(events[: len(events) // 20])
        took.clear()
        stage.run(events[len(events) // 20 :])
        stage.close().close()
    return {
        "value": float(np.percentile(took, 99)),
        "unit": "ms, p99",
        "input": f"{len(took)} bars, one member, journal included (p50 {np.median(took):.2f} ms)",
        "less_is_better": True,
    }


@benchmark("executor.session")
def session() -> dict[str, object]:
    """Events through features, paper venue, core and journal, in pieces of 512 frames' size."""
    events = market(600)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.run(events[: len(events) // 20], 1_500)
        rest = events[len(events) // 20 :]
        started = time.perf_counter()
        stage.run(rest, 1_500)
        seconds = time.perf_counter() - started
        stage.close().close()
    return {"value": len(rest) / seconds, "unit": "events/s", "input": f"{len(rest):,} events of a synthetic market"}
