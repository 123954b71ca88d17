"""The fault matrix: every misbehaviour of the local exchange, in every state of an order or position; and death.

Each run is one seeded scenario on the :class:`~tests.executor.rig.Rig`: bring an order to a state, let something go
wrong, let the market and the clock go on, mend it, end the plan, and compare journal and venue. What must hold, always:

- no order is sent twice, and the position is never larger than one entry;
- the position is never without a resident stop for longer than the protection time-out and the time of a close;
- no execution and no flat position is invented, and none of ours is missed;
- when the plan has ended, the journal's money is the venue's.

``python -m tests.executor.fault_matrix --write`` runs all of it and writes ``docs/fault-matrix.md``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.events import Flatten
from tests.executor.rig import QUIET, Rig, rig

PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
CREATE, CANCEL, STOP = "/v5/order/create", "/v5/order/cancel", "/v5/position/trading-stop"
#: Seeds of each cell, and of each step at which the process dies.
SEEDS, DEATHS = 2, 2
#: Steps of a plan's life at which it can die; more than a life has, so that none is missed.
STEPS = 120


@dataclass(frozen=True)
class Trouble:
    """One row of the matrix."""

    name: str
    start: Callable[[Rig], None]
    bystander: bool = False


def _fault(kind: str, name: str = "", **fields: Any) -> Trouble:
    words = [kind, *(f"{key} {value}" for key, value in fields.items() if key != "kind")]
    return Trouble(name or ", ".join(words), lambda made: made.fault(kind, **fields))


def _held(made: Rig, kind: str, **fields: Any) -> None:
    """An incident that needs a position."""
    held = [index for index, steps in made.places() if steps]
    if held:
        made.fault(kind, **({} if kind == "funding" else {"position": held[0]}), **fields)


def _hand(made: Rig, side: str) -> None:
    made.foreign = True
    made.fault("manual-position", side=side, qty="0.005", position=0)


def _troubles() -> Iterator[Trouble]:
    yield Trouble("nothing", lambda made: None)
    for on in (CREATE, CANCEL, STOP, "/v5/*"):
        yield _fault("timeout-before", on=on)
        yield _fault("timeout-after", on=on)
    for code in (10000, 10016, 10019):
        yield _fault("ret-code", on=CREATE, code=code)
        yield _fault("ret-code", on=CREATE, code=code, accepted=True)
    for code in (10002, 10006):
        yield _fault("ret-code", on="/v5/*", code=code)
    for status in (429, 500):
        yield _fault("http-status", on="/v5/*", status=status)
        yield _fault("http-status", on="/v5/order/*", status=status, accepted=True)
    for on in ("balance", "position", "open-orders", "executions"):
        yield _fault("failed-read", on=on)
    yield _fault("maintenance")
    yield _fault("clock-skew", ms=60_000)
    for on in ("order", "execution", "*"):
        yield _fault("drop", on=on)
        yield _fault("duplicate", on=on)
        yield _fault("reorder", on=on)
    yield _fault("stall", on="*", ms=3_000)
    yield _fault("latency", on="*", ms=400)
    for kind in ("cut", "half-open", "malform"):
        yield _fault(kind, on="*", count=2)
    yield _fault("unknown-field", on="*")
    yield Trouble("kill (the private stream)", lambda made: made.stream.cut("killed"))
    yield _fault("reject", count=1)
    yield _fault("cancel-post-only", count=1)
    yield _fault("fill-on-cancel", share=0.5)
    yield _fault("fill-on-cancel", share=1.0)
    for kind in ("stop-reject", "stop-adjust", "stop-drop"):
        yield _fault(kind, count=1)
        yield _fault(kind)
    yield Trouble("adl, a half", lambda made: _held(made, "adl", share=0.5))
    yield Trouble("liquidate", lambda made: _held(made, "liquidate"))
    yield Trouble("funding", lambda made: _held(made, "funding", rate="0.001"))
    yield Trouble("manual-position, the same side", lambda made: _hand(made, "Buy"), bystander=True)
    yield Trouble("manual-position, the other side", lambda made: _hand(made, "Sell"), bystander=True)


TROUBLES = tuple(_troubles())


# --- states -----------------------------------------------------------------------------------------------------------


def _sweep(made: Rig, size: int = 1_000_000) -> None:
    if made.trade is not None:
        made.sweep(made.trade.limit, -made.trade.side, size)


def _idle(made: Rig) -> None:
    made.run(15)


def _sent(made: Rig) -> None:
    made.run(30, lambda: made.trade is not None)


def _resting(made: Rig) -> None:
    made.run(30, lambda: made.trade is not None and made.trade.entry == "resting")


def _part(made: Rig) -> None:
    _resting(made)
    for _ in range(60):
        if made.held:
            break
        _sweep(made, 60)


def _filled(made: Rig) -> None:
    _resting(made)
    _sweep(made)


def _protected(made: Rig) -> None:
    _filled(made)
    made.run(5, lambda: made.trade is not None and made.trade.protected > 0)


def _cancelling(made: Rig) -> None:
    _resting(made)
    made.drive(Flatten(made.now_ms))


def _closing(made: Rig) -> None:
    _protected(made)
    made.drive(Flatten(made.now_ms))


STATES: dict[str, Callable[[Rig], None]] = {
    "idle": _idle,
    "sent": _sent,
    "resting": _resting,
    "part filled": _part,
    "filled": _filled,
    "protected": _protected,
    "cancelling": _cancelling,
    "closing": _closing,
}


# --- runs -------------------------------------------------------------------------------------------------------------


def run_cell(trouble: Trouble, state: str, seed: int) -> list[str]:
    """One scenario; what was wrong about it."""
    chance = random.Random(f"{trouble.name}/{state}/{seed}")
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), seed=seed, hedge=_hedge(trouble, seed)) as made:
        made.atr = chance.choice((30.0, 150.0))
        STATES[state](made)
        trouble.start(made)
        made.run(chance.choice((3, 8, 14)), _hands(made, chance))
        made.mend()
        return _end(made, bystander=trouble.bystander)


def run_death(step: int, seed: int) -> list[str]:
    """A life that ends at a step and goes on in another process."""
    chance = random.Random(f"{step}/{seed}")
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), seed=seed, kill_at=step) as made:
        made.atr = chance.choice((30.0, 150.0))
        for state in chance.sample((_resting, _filled, _cancelling, _closing), 1):
            state(made)
        made.run(8, _hands(made, chance))
        return _end(made)


def _hedge(trouble: Trouble, seed: int) -> bool:
    """Hedge mode in every second run; a bystander's orders are one-way ones."""
    return seed % 2 == 1 and not trouble.bystander


def _hands(made: Rig, chance: random.Random) -> Callable[[], bool]:
    """Somebody who trades through our prices now and then."""

    def trade() -> bool:
        plan = made.trade
        if plan is not None and chance.random() < 0.02:
            price = chance.choice((plan.limit, plan.limit, plan.stop, plan.target))
            side = -1 if price <= plan.limit else 1
            made.sweep(price, side, chance.choice((50, 5_000, 1_000_000)))
        return False

    return trade


def _end(made: Rig, *, bystander: bool = False) -> list[str]:
    """End the plan in order and judge."""
    made.signal = QUIET
    made.run(4)
    for _ in range(2):  # the first one may be what the process dies of, before it is written down
        if made.trade is not None:
            made.drive(Flatten(made.now_ms))
        made.run(40, lambda: made.trade is None)
    made.run(2)
    problems = made.verdict(bystander=bystander)
    if made.trade is not None and not bystander:
        problems.append(f"the plan did not end: {made.trade.entry}, {made.trade.open} open")
    return problems


def cells() -> Iterator[tuple[Trouble, str, int]]:
    """All runs of the matrix."""
    for trouble in TROUBLES:
        for state in STATES:
            for seed in range(1, SEEDS + 1):
                yield trouble, state, seed


def deaths() -> Iterator[tuple[int, int]]:
    """All runs that die."""
    for step in range(1, STEPS + 1):
        for seed in range(1, DEATHS + 1):
            yield step, seed


# --- the page ---------------------------------------------------------------------------------------------------------


def page(failed: dict[tuple[str, str], int] | None = None, died: int = 0) -> str:
    """The page in Markdown, for so many failures."""
    failed = failed or {}
    runs, ends = len(list(cells())), len(list(deaths()))
    total = sum(failed.values()) + died
    head = "| misbehaviour | " + " | ".join(STATES) + " |\n|---|" + "---|" * len(STATES) + "\n"
    rows = ""
    for trouble in TROUBLES:
        good = [SEEDS - failed.get((trouble.name, state), 0) for state in STATES]
        rows += f"| {trouble.name.replace('*', chr(92) + '*')} | " + " | ".join(f"{n}/{SEEDS}" for n in good) + " |\n"
    return (
        "# Fault matrix\n\n"
        "Generated by `python -m tests.executor.fault_matrix --write`; do not edit.\n\n"
        f"Each number is seeded runs that held everything below, of those that were made: {runs + ends} runs in all, "
        f"{runs + ends - total} held. The whole matrix runs with `make test-all`, a part of it with `make test`.\n\n"
        "- No order is sent twice; the position is never larger than one entry.\n"
        "- The position is never without a stop at the venue for longer than the protection time-out and the time of a "
        "close.\n"
        "- No execution and no flat position is invented; none of ours is missed.\n"
        "- When the plan has ended, the journal's money is the venue's, but for the venue's own rounding.\n\n"
        "Columns are the state of order and position when it begins to go wrong. Every second run is in hedge mode.\n\n"
        f"{head}{rows}\n"
        "## Death\n\n"
        "The process dies before or after a write of the journal, or before or after an order is handed over, and "
        "another one goes on from its files. A request that was on its way may or may not arrive.\n\n"
        f"| steps | runs | held |\n|---|---|---|\n| 1 to {STEPS} | {ends} | {ends - died} |\n\n"
        "Misbehaviour of the market stream (`wrong`, `restart`, `snapshot`) does not reach orders; it is told to the "
        "features, which mark what they cannot trust.\n"
    )


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description="Run the fault matrix.")
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each cell")
    options = parser.parse_args()
    failed: dict[tuple[str, str], int] = {}
    died = 0
    for trouble, state, seed in cells():
        if options.only in trouble.name and seed <= options.seeds:
            for number, problem in enumerate(run_cell(trouble, state, seed)):
                failed[trouble.name, state] = failed.get((trouble.name, state), 0) + (number == 0)
                sys.stdout.write(f"{trouble.name} / {state} / {seed}: {problem}\n")
                sys.stdout.flush()
    for step, seed in deaths():
        if not options.only and seed <= options.seeds:
            problems = run_death(step, seed)
            died += bool(problems)
            sys.stdout.writelines(f"death at {step} / {seed}: {problem}\n" for problem in problems)
            sys.stdout.flush()
    if options.write:
        PAGE.write_text(page(failed, died), encoding="utf-8")
    return 1 if failed or died else 0


if __name__ == "__main__":
    sys.exit(main())
