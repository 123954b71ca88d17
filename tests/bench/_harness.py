"""What a benchmark is, and how its row is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name
        ``room.what``.
    value, unit
        Ours.
    peer, peer_value
        What it is compared with, in the same unit; ``None`` where there is no peer or it does not install.
    ratio
        Ours over the peer's, turned so that more is better; ``None`` without a peer.
    input
        What was measured on.
    seconds
        How long the benchmark took.
    """

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    input: str
    seconds: float


Benchmark = Callable[[], Row]
REGISTRY: dict[str, Benchmark] = {}


def benchmark(name: str) -> Callable[[Callable[[], dict[str, object]]], Callable[[], dict[str, object]]]:
    """Register a benchmark: a function that gives the row's fields but for its name, ratio and seconds.

    ``less_is_better=True`` among them turns the ratio around.
    """

    def register(measure: Callable[[], dict[str, object]]) -> Callable[[], dict[str, object]]:
        def run() -> Row:
            started = time.perf_counter()
            fields = dict(measure())
            less = bool(fields.pop("less_is_better", False))
            value, peer_value = fields["value"], fields.setdefault("peer_value", None)
            fields.setdefault("peer", None)
            ratio = None
            if isinstance(peer_value, (int, float)) and isinstance(value, (int, float)):
                ratio = peer_value / value if less else value / peer_value
            return Row(name=name, ratio=ratio, seconds=time.perf_counter() - started, **fields)  # type: ignore[arg-type]

        REGISTRY[name] = run
        return measure

    return register


def best_of(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs: on a noisy machine the least disturbed one is nearest the truth."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
