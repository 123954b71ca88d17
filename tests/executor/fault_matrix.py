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
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from executor.events import Flatten
from simulation import SYNTHETIC
from tests.executor.ear import LEVELS
from tests.executor.rig import QUIET, Rig, rig

PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
CREATE, CANCEL, STOP = "/v5/order/create", "/v5/order/cancel", "/v5/position/trading-stop"
#: Seeds of each cell, and of each step at which the process dies.
SEEDS, DEATHS = 2, 2
#: Steps of a plan's life at which it can die; more than a life has, so that none is missed.
STEPS = 120
DEATH = "death"


@dataclass(frozen=True)
class Trouble:
    """One row of the matrix."""

    name: str
    start: Callable[[Rig], None]
    bystander: bool = False
    market: bool = False

    @property
    def kind(self) -> str:
        """The exchange's word for it."""
        return self.name.partition(",")[0].partition(" (")[0]


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


def _order(made: Rig) -> None:
    """Somebody leaves a limit order far from the market; nobody but them may touch it."""
    price = SYNTHETIC.tick_size * int((made.listing.best_bid or 0) * 0.97)
    made.fault("manual-order", side="Buy", qty="0.005", price=f"{price:f}", position=made.places()[0][0])


def _deafen(made: Rig) -> None:
    assert made.ear is not None
    made.ear.deaf = True


def _lose(made: Rig) -> None:
    assert made.ear is not None
    made.ear.lose()


def _market(kind: str, **fields: Any) -> Trouble:
    """Something about the book that the executor sees."""
    on = f"orderbook.{LEVELS}.*"
    return Trouble(f"{kind}, on {on}", lambda made: made.fault(kind, on=on, **fields), market=True)


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
    for kind in ("wrong", "restart", "snapshot", "malform", "drop"):
        yield _market(kind)
    yield Trouble("kill (the market stream)", _lose, market=True)
    yield Trouble("freeze (the market stream)", _deafen, market=True)
    yield Trouble("kill (the private stream)", lambda made: made.stream.cut("killed"))
    yield Trouble("freeze (the private stream)", lambda made: made.stream.freeze())
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
    yield Trouble("manual-order", _order)
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
        if trouble.market:
            made.listen()
            made.run(21)  # the first bar is not whole
        STATES[state](made)
        trouble.start(made)
        made.run(chance.choice((3, 8, 14)), _hands(made, chance))
        made.mend()
        if made.ear is not None and made.ear.deaf:
            made.ear.deaf = False
            made.ear.lose()
        return _end(made, bystander=trouble.bystander) + _touched(made, trouble)


def _touched(made: Rig, trouble: Trouble) -> list[str]:
    """Whether somebody else's order is as they left it."""
    if trouble.kind != "manual-order":
        return []
    theirs = [row for row in made.truth("/v5/order/realtime") if not row["orderLinkId"] and not row["stopOrderType"]]
    return [] if len(theirs) == 1 else [f"of somebody else's order there is {theirs}"]


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


def page(failed: dict[tuple[str, str], int], died: int, there: set[str]) -> str:
    """The page in Markdown, for so many failures of the rows that were run."""
    runs, ends = sum(trouble.name in there for trouble, _, _ in cells()), len(list(deaths())) * (DEATH in there)
    total = sum(failed.values()) + died
    head = "| misbehaviour | " + " | ".join(STATES) + " |\n|---|" + "---|" * len(STATES) + "\n"
    rows = ""
    for trouble in TROUBLES:
        good = [f"{SEEDS - failed.get((trouble.name, state), 0)}/{SEEDS}" for state in STATES]
        rows += f"| {_escaped(trouble)} | " + " | ".join(good if trouble.name in there else ["-"] * len(good)) + " |\n"
    fate = f"{ends} | {ends - died}" if DEATH in there else "- | -"
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
        "Columns are the state of order and position when it begins to go wrong. Every second run is in hedge mode. A "
        "row tells of its last run, `-` that it was not run yet; `--only` renews some.\n\n"
        f"{head}{rows}\n"
        "## Death\n\n"
        "The process dies before or after a write of the journal, or before or after an order is handed over, and "
        "another one goes on from its files. A request that was on its way may or may not arrive. Processes "
        "that SIGKILL ends, at these steps and at random instants, are in `tests/executor/test_sigkill.py`.\n\n"
        f"| steps | runs | held |\n|---|---|---|\n| 1 to {STEPS} | {fate} |\n"
    )


def _escaped(trouble: Trouble) -> str:
    return trouble.name.replace("*", "\\*")


def published() -> tuple[dict[tuple[str, str], int], int, set[str]]:
    """What the page says by now: failures of cells, failures of deaths, and the rows that it has."""
    failed: dict[tuple[str, str], int] = {}
    died, there = 0, set()
    rows = {line.split(" | ")[0].removeprefix("| "): line.strip("| ").split(" | ") for line in _lines()}
    for trouble in TROUBLES:
        if (row := rows.get(_escaped(trouble))) is not None and "-" not in row:
            there.add(trouble.name)
            lost = {(trouble.name, state): SEEDS - int(n.partition("/")[0]) for state, n in zip(STATES, row[1:])}
            failed |= {cell: count for cell, count in lost.items() if count}
    if (row := rows.get(f"1 to {STEPS}")) is not None and row[1] == str(len(list(deaths()))):
        there.add(DEATH)
        died = int(row[1]) - int(row[2])
    return failed, died, there


def _lines() -> list[str]:
    return PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []


def _every() -> list[tuple[Trouble | None, str, int, int]]:
    """All runs: of cells, with their state, and of deaths, with their step."""
    runs: list[tuple[Trouble | None, str, int, int]] = [(one, state, 0, seed) for one, state, seed in cells()]
    return runs + [(None, "", step, seed) for step, seed in deaths()]


def _work(place: int) -> tuple[int, list[str]]:
    """One run by its place among all: troubles do not travel between processes."""
    trouble, state, step, seed = _every()[place]
    return place, run_death(step, seed) if trouble is None else run_cell(trouble, state, seed)


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description="Run the fault matrix.")
    parser.add_argument("--write", action="store_true", help="write the page")
    parser.add_argument("--only", default="", help="rows whose name this pattern finds")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each cell")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    if options.write and options.seeds != SEEDS:
        parser.error("the page tells of whole rows: leave out --seeds")
    every = _every()
    names = [trouble.name if trouble else DEATH for trouble, _, _, _ in every]
    wanted = [
        place for place, run in enumerate(every) if run[3] <= options.seeds and re.search(options.only, names[place])
    ]
    failed, died, there = published()
    renewed = {names[place] for place in wanted}
    failed = {cell: count for cell, count in failed.items() if cell[0] not in renewed}
    died = 0 if DEATH in renewed else died
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for done, (place, problems) in enumerate(pool.map(_work, wanted, chunksize=4), 1):
            trouble, state, step, seed = every[place]
            name = f"{trouble.name} / {state}" if trouble else f"{DEATH} at {step}"
            sys.stdout.writelines(f"{name} / {seed}: {problem}\n" for problem in problems)
            if done % 50 == 0 or done == len(wanted):
                sys.stdout.write(f"{done} of {len(wanted)}\n")
            sys.stdout.flush()
            if trouble is None:
                died += bool(problems)
            elif problems:
                failed[trouble.name, state] = failed.get((trouble.name, state), 0) + 1
    if options.write:
        PAGE.write_text(page(failed, died, there | renewed), encoding="utf-8")
    return 1 if failed or died else 0


if __name__ == "__main__":
    sys.exit(main())
