"""A study in a process of its own, to be killed: ``python -m tests.training.study_process FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.training.conftest import MINUTE, layout_of, make_market
from training.space import search_space
from training.splits import CombinatorialPurgedSplit
from training.study import Search, StudyResult, run_study

TRIALS = 9


def run(folder: Path, workers: int = 1, trials: int = TRIALS, time_budget_s: float = 0.0) -> StudyResult:
    """The study that the test compares."""
    simulator = make_market(3, 1.0, 420).simulator()
    layout = layout_of(simulator, CombinatorialPurgedSplit(6, 2, 12 * MINUTE))
    space = search_space(
        {"rounds": [10, 15], "offset_atr": 0.1, "tif_bars": 2, "hold_bars": [8, 12], "entry": "passive"}
    )
    search = Search(
        space,
        trials,
        seed=11,
        workers=workers,
        ahead=2,
        random_trials=3,
        min_path_trades=3,
        time_budget_s=time_budget_s,
    )
    return run_study(
        layout, simulator, search, folder=folder, progress=lambda done, total, best: print(done, flush=True)
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]))
