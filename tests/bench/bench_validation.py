"""How long it takes to judge a recorded day: the quality table, the checks, the pages."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from flows import _pages
from flows._datadocs import run_suite
from flows._findings import judge
from flows._quality_checks import checks, frame_columns
from flows.validation import day_span
from market.quality import quality_table
from simulation.synthetic import SYNTHETIC, synthetic_events
from tests.bench._harness import benchmark, best_of

_DAY = "2026-03-02"
_HOURS = 6


@benchmark("validation.day")
def day() -> dict[str, object]:
    start_ms, end_ms = day_span(_DAY)
    batches = list(synthetic_events(7, 1.0, start_ms, _HOURS * 3_600_000))
    rows = sum(map(len, batches))
    quality_table([batches[0][:100]], SYNTHETIC)
    table_s = best_of(lambda: quality_table(batches, SYNTHETIC))
    table = quality_table(batches, SYNTHETIC).between(start_ms, end_ms)
    suite = checks(60_000, inner_day=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Great Expectations takes seconds to import: that is paid once a command, not once a day.
        run_suite(frame_columns(table), suite, name="warm", run=_DAY, site=None)
        started = time.perf_counter()
        outcomes = run_suite(frame_columns(table), suite, name="SYNUSDT", run=_DAY, site=folder / "docs")
        report = judge("SYNUSDT", _DAY, table, outcomes, "")
        _pages.write_day(folder, report, table, SYNTHETIC, docs=True)
        pages_s = time.perf_counter() - started
    return {
        "value": table_s * 24 / _HOURS + pages_s,
        "unit": "s",
        "less_is_better": True,
        "input": f"24 h of the synthetic market ({rows * 24 / _HOURS / 1e6:.1f} M rows), table at "
        f"{rows / table_s / 1e6:.0f} M rows/s, checks and Data Docs {pages_s:.1f} s",
    }
