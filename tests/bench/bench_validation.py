"""How long it takes to judge a recorded day of ten million level changes, and in how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from market import Lake
from market.assembler import Assembled, BookRows, GapMark, TradeRows
from market.events import BOOK, EMPTY, FIRST, GAP, TRADE, EventBatch
from simulation.synthetic import SYNTHETIC, MarketParams, synthetic_events
from tests.bench._harness import benchmark

_ROWS = 10_000_000
_DAY_MS = 1_772_323_200_000
_DATE = "2026-03-01"
_ROOT = Path(__file__).parents[2]

#: Run by a process of its own, on one core, after a first run on a small lake has compiled the kernels. Processor time
#: is told, so that what else the machine does is not in it; with and without the libraries' import, which a night pays
#: once.
_JUDGE = """
import json, resource, sys, time
from pathlib import Path
import great_expectations
from flows.validation import FeatureInput, validate
from market import Lake
lake, reports, store = (Path(one) for one in sys.argv[1:4])
imported, started = time.process_time(), time.perf_counter()
validate(Lake(lake), "SYNUSDT", sys.argv[4], reports=reports, features=FeatureInput(store, 60_000, 200))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.process_time() - imported, time.perf_counter() - started, imported, peak]))
"""


def busy_day(rows: int) -> Iterator[EventBatch]:
    """A day of a busy synthetic market, cut off after so many level changes; it fills about that day."""
    flow = MarketParams(limit_rate=62.0, market_rate=4.0, cancel_rate=0.02)
    seen = 0
    for batch in synthetic_events(7, 1.0, _DAY_MS, 86_400_000, push_ms=20, params=flow):
        yield batch
        seen += int((batch.kind == BOOK).sum())
        if seen >= rows:
            return


def fill(lake: Lake, rows: int) -> int:
    """Write such a day as a recorder would have; the level changes that it has."""
    return record(lake, busy_day(rows))


def record(lake: Lake, market: Iterable[EventBatch]) -> int:
    """Write a synthetic market as a recorder would have; the level changes that it has."""
    written, u = 0, 0
    with lake.writer("SYNUSDT", SYNTHETIC) as writer:
        for batch in market:
            starts = np.flatnonzero(np.diff(batch.kind.astype(int), prepend=-1))
            out = Assembled()
            for start, end in zip(starts, [*starts[1:], len(batch)]):
                part = batch[start:end]
                kind, time_ms = int(part.kind[0]), int(part.time_ms[0])
                if kind == GAP:
                    out.records.append(GapMark("SYNUSDT", int(part.ordinal[0]), time_ms, int(part.recv_ns[0]), "start"))
                elif kind == TRADE:
                    ids = [f"{int(part.ordinal[0]):016d}-{number:019d}" for number in range(len(part))]
                    seq = np.full(len(part), u, np.int64)
                    out.records.append(TradeRows("SYNUSDT", part, time_ms, seq, ids))
                else:
                    numbers = u + np.cumsum(part.flags & (FIRST | EMPTY) != 0)
                    u = int(numbers[-1])
                    out.records.append(BookRows("SYNUSDT", part, part.time_ms, numbers, numbers))
                    written += len(part)
            writer.append(out)
    return written


@lru_cache(maxsize=1)
def _judged() -> tuple[int, float, float, float, float]:
    """Level changes; processor and elapsed time of judging them, that of the imports, and peak memory (MB)."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fill(Lake(folder / "small"), 20_000)
        changes = fill(Lake(folder / "lake"), _ROWS)
        _judge(folder, "small")
        seconds, elapsed, imports, megabytes = _judge(folder, "lake")
    return changes, seconds, elapsed, imports, megabytes


@benchmark("validation.day")
def day() -> dict[str, object]:
    changes, seconds, elapsed, imports, megabytes = _judged()
    return {
        "value": seconds,
        "unit": "s",
        "less_is_better": True,
        "input": f"{changes / 1e6:.1f} M level changes in a lake, one core, processor time of quality table, features, "
        f"suites, pages and Data Docs ({elapsed:.1f} s elapsed on a shared machine); importing the libraries takes "
        f"another {imports:.1f} s; peak memory {megabytes:,.0f} MB",
    }


@benchmark("validation.day_with_imports")
def day_with_imports() -> dict[str, object]:
    changes, seconds, _, imports, _ = _judged()
    return {
        "value": seconds + imports,
        "unit": "s",
        "less_is_better": True,
        "input": f"the same {changes / 1e6:.1f} M level changes in a process that has just started: {imports:.1f} s of "
        "it import Great Expectations and what it needs",
    }


def _judge(folder: Path, lake: str) -> tuple[float, ...]:
    """Of a process that judges a lake: processor and elapsed time, that of its imports, and peak memory (MB)."""
    command = [
        sys.executable,
        "-c",
        _JUDGE,
        *(str(folder / name) for name in (lake, f"{lake}-reports", f"{lake}-store")),
    ]
    one_core = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}

    def pin() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done = subprocess.run(
        [*command, _DATE],
        cwd=_ROOT,
        env=os.environ | one_core,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=pin,
    )
    return tuple(float(value) for value in json.loads(done.stdout.splitlines()[-1]))
