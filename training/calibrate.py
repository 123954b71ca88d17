"""Calibration of the gate: how often it passes where there is nothing to find, and where there is something.

Null markets are synthetic ones with the signal off, in turn with the costs of the settings and without any (the harder
test: there a skill-less council loses nothing on average), or recorded days whose features are turned against time by
a random distance, so that they foretell nothing while their own shape stays. Planted markets are synthetic ones of
several strengths. Every market goes through the whole of training up to the verdict, with studies of its own.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import settings as configuration
from settings import Settings
from training.calibration_markets import Size, Task, judge_market
from training.calibration_page import write_page
from training.calibration_rates import Calibration, sum_up

_ROOT = Path(__file__).resolve().parents[1]
#: Rooms whose code decides verdicts.
_ROOMS = ("market", "features", "council", "simulation", "training")
Told = Callable[[int, int, str], None]


def calibrate(
    settings: Settings,
    size: Size,
    *,
    symbol: str | None = None,
    workers: int = 0,
    told: Told | None = None,
) -> Calibration:
    """Judge all markets that are not judged yet, and sum up.

    Parameters
    ----------
    settings
        Of training, gate and costs; what :class:`Size` says overrides them.
    size
        How many markets, and how large.
    symbol
        Recorded days of this contract serve as null markets instead of synthetic ones.
    workers
        Processes; 0 means one a core.
    told
        Called after each market: how many are done, how many there are, what came out.

    Raises
    ------
    TrainingError
        A market could not be judged.

    Notes
    -----
    Results are kept a line each in ``reports/calibration``; a calibration that was interrupted goes on. Other settings,
    another size or changed code of the rooms that matter start anew.
    """
    own = _settings(settings, size, recorded=symbol is not None)
    folder = settings.paths.reports / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"{_key(own, size, symbol)}.jsonl"
    wanted = _tasks(size, recorded=symbol is not None)
    done = {one["task"]: one for one in _read(journal)}
    missing = [task for task in wanted if task.name not in done]
    with journal.open("a", encoding="utf-8") as file:
        for outcome in _judge_all(missing, own, size, symbol, workers or os.cpu_count() or 1):
            done[outcome["task"]] = outcome
            file.write(json.dumps(outcome) + "\n")
            file.flush()
            if told is not None:
                told(sum(task.name in done for task in wanted), len(wanted), f"{outcome['task']}: {outcome['verdict']}")
    result = sum_up(size, wanted, done, folder / "index.html")
    write_page(result)
    return result


def _tasks(size: Size, *, recorded: bool) -> list[Task]:
    kinds = ("recorded",) if recorded else ("null", "null without costs")
    nulls = [Task(kinds[number % len(kinds)], 10_000 + number) for number in range(size.nulls)]
    planted = [
        Task("planted", 50_000 + number, strength) for number in range(size.planted) for strength in size.strengths
    ]
    # The two in turn, so that an interrupted calibration says something about both.
    every = max(1, len(nulls) // max(1, len(planted)))
    mixed: list[Task] = []
    for number, task in enumerate(nulls):
        mixed.append(task)
        if number % every == every - 1 and planted:
            mixed.append(planted.pop(0))
    return mixed + planted


def _settings(settings: Settings, size: Size, *, recorded: bool) -> Settings:
    changed: dict[str, Any] = {"trials": size.trials, "workers": 1, "warm_start": False, "time_budget_s": 0}
    if not recorded:
        changed["timeframe"] = "1m"
    return configuration.override(settings, training=changed)


def _key(settings: Settings, size: Size, symbol: str | None) -> str:
    """Results belong to settings, size and code: what the rooms look like decides verdicts."""
    plain = settings.model_dump(mode="json", include={"training", "gate", "costs", "market"})
    shape = {name: value for name, value in asdict(size).items() if name not in ("nulls", "planted")}
    digest = hashlib.sha256(json.dumps([plain, shape, symbol], sort_keys=True, default=str).encode())
    for room in _ROOMS:
        for file in sorted((_ROOT / room).rglob("*.py")):
            digest.update(str(file.relative_to(_ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _read(journal: Path) -> list[dict[str, Any]]:
    if not journal.exists():
        return []
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # the line that a kill cut off: its market is judged again
    return found


def _judge_all(
    tasks: Sequence[Task], settings: Settings, size: Size, symbol: str | None, workers: int
) -> Iterable[dict[str, Any]]:
    if not tasks:
        return
    if workers == 1:
        for task in tasks:
            yield judge_market(task, settings, size, symbol)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        for future in as_completed([pool.submit(judge_market, task, settings, size, symbol) for task in tasks]):
            yield future.result()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a pool's process has a parent"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
