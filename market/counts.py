"""What a recording has come to so far, for people and for Prometheus."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from market.assembler import Assembled
from market.events import EMPTY
from market.records import BookRows, BookRun, GapMark, LiquidationRows, TradeRows

#: A venue whose clock is this far from ours does not tell the time.
_ANOTHER_CLOCK_MS = 3_600_000


@dataclass(slots=True)
class RecorderCounts:
    """What a recording has come to so far.

    Attributes
    ----------
    frames, frame_bytes, level_changes, trades, liquidations
        Received.
    gaps
        GAP rows, one at each symbol's start included.
    disconnects
        Lost connections and failed attempts.
    problems, last_problem
        Frames that were left out, and why the last one was.
    clock_ms
        Greatest exchange time; -1 before the first event.
    lag_ms
        Between the last book message's making and its receipt, by the local clock; ``None`` before the first.
    checks
        Comparisons with the REST book, by outcome.
    clock_steps
        Times the local clock jumped.
    recovered
        Rows that were taken from a killed session's journal.
    parts, part_bytes
        Sealed, and their size.
    sync_seconds
        What the journal's last sync took.
    free_bytes
        Left on the lake's disk; -1 while nobody has looked.
    started
        Monotonic time of the beginning.
    """

    frames: int = 0
    frame_bytes: int = 0
    level_changes: int = 0
    trades: int = 0
    liquidations: int = 0
    gaps: int = 0
    disconnects: int = 0
    problems: int = 0
    last_problem: str = ""
    clock_ms: int = -1
    lag_ms: int | None = None
    checks: dict[str, int] = field(default_factory=lambda: {"equal": 0, "different": 0, "unverified": 0})
    clock_steps: int = 0
    recovered: int = 0
    parts: int = 0
    part_bytes: int = 0
    sync_seconds: float = 0.0
    free_bytes: int = -1
    started: float = field(default_factory=time.monotonic)

    def add(self, assembled: Assembled) -> None:
        """Count what one frame came to."""
        for record in assembled.records:
            if isinstance(record, BookRows):
                if not record.events.flags[0] & EMPTY:
                    self.level_changes += len(record.events)
                self._count_book(int(record.events.time_ms[-1]), int(record.events.recv_ns[-1]))
            elif isinstance(record, TradeRows):
                self.trades += len(record.events)
                self.clock_ms = max(self.clock_ms, int(record.events.time_ms[-1]))
            elif isinstance(record, LiquidationRows):
                self.liquidations += len(record.times_ms)
            elif isinstance(record, GapMark):
                self.gaps += 1
        if assembled.problem is not None:
            self.problems += 1
            self.last_problem = assembled.problem

    def add_run(self, run: BookRun) -> None:
        """Count book messages that follow on each other."""
        self.level_changes += run.level_changes
        self._count_book(run.clock_ms, int(run.recv_ns[-1]))

    def _count_book(self, time_ms: int, recv_ns: int) -> None:
        self.clock_ms = max(self.clock_ms, time_ms)
        lag_ms = recv_ns // 1_000_000 - time_ms
        # A market with a clock of its own (a fast local exchange) says nothing about how late frames are.
        self.lag_ms = lag_ms if abs(lag_ms) < _ANOTHER_CLOCK_MS else None

    @property
    def frames_a_second(self) -> float:
        """Since the beginning."""
        return self.frames / max(time.monotonic() - self.started, 1e-3)

    def text(self) -> str:
        """One line for a person."""
        lag = "unknown" if self.lag_ms is None else f"{self.lag_ms:,} ms"
        return (
            f"{self.frames:,} frames ({self.frames_a_second:,.0f}/s), {self.level_changes:,} level changes, "
            f"{self.trades:,} trades, lag {lag}, {self.gaps} gaps, {self.disconnects} disconnects, "
            f"{self.part_bytes / 1e6:,.1f} MB sealed"
        )
