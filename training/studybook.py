"""What a study remembers on disk: every finished trial, whole or not at all.

A folder a study: Optuna's journal with each trial's parameters and figures, and beside it a file of arrays a trial
(out-of-fold returns and predictions). The arrays are written first and the journal's line commits them, so a kill at
any moment loses nothing but the trials that were running.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from market.errors import TrainingError
from training.space import Value
from training.trial import Record

JOURNAL = "journal.log"
#: Environment variable with the address of a database for studies; unset: a journal file in the study's folder.
DATABASE = "STUDY_DATABASE_URL"
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "silent": TrialState.PRUNED}


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a study takes over from an earlier one.

    Attributes
    ----------
    seeds
        Parameters that its first trials try.
    tried
        Configurations that were tried to find them; they count as trials of this study too.
    source
        Name of the earlier study's folder; empty if there was none.
    """

    seeds: tuple[dict[str, Value], ...] = ()
    tried: int = 0
    source: str = ""


class StudyBook:
    """The memory of one study; one process at a time may hold it.

    Parameters
    ----------
    folder
        Of the study; created.
    heritage
        Recorded when the study is new; what was recorded then counts afterwards.
    space_key
        Fingerprint of the search space.

    Raises
    ------
    TrainingError
        Another process holds the study.
    """

    def __init__(self, folder: Path, heritage: Heritage, space_key: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise TrainingError(
                f"the study {folder.name} is running already", advice="Wait for it, or end the other training"
            ) from error
        _mend(folder / JOURNAL)
        self.study = optuna.create_study(
            storage=_storage(folder), study_name=folder.name, direction="maximize", load_if_exists=True
        )
        (folder / JOURNAL).touch()  # the mark of a study's folder, also where a database keeps its trials
        if "heritage" not in self.study.user_attrs:
            plain = {"seeds": list(heritage.seeds), "tried": heritage.tried, "source": heritage.source}
            self.study.set_user_attr("heritage", {**plain, "space": space_key})
        own: dict[str, Any] = self.study.user_attrs["heritage"]
        self.heritage = Heritage(tuple(own["seeds"]), own["tried"], own["source"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def trials(self) -> dict[int, FrozenTrial]:
        """Finished trials by number."""
        found: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            found.setdefault(int(trial.user_attrs["number"]), trial)
        return found

    def record(self, trial: FrozenTrial) -> Record | None:
        """What came of a finished trial; None if its arrays are gone, so that it must run again."""
        number = int(trial.user_attrs["number"])
        path = self._arrays(number)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in ("sharpe", "score", "trades", "returns", "predictions")}
        return Record(
            number=number,
            state=trial.user_attrs["ended"],
            steps={int(step): float(value) for step, value in trial.user_attrs["steps"].items()},
            fit_seconds=trial.user_attrs["fit_seconds"],
            seconds=trial.user_attrs["seconds"],
            **kept,
        )

    def keep(self, record: Record, proposal: FrozenTrial) -> FrozenTrial:
        """Write a finished trial down for good, and give it as the search sees it."""
        whole = finished(record, proposal)
        _write(
            self._arrays(record.number),
            sharpe=record.sharpe,
            score=record.score,
            trades=record.trades,
            returns=record.returns,
            predictions=record.predictions,
        )
        if record.number not in self.trials():
            self.study.add_trial(whole)
        return whole

    def _arrays(self, number: int) -> Path:
        return self.folder / f"trial-{number:05d}.npz"


def finished(record: Record, proposal: FrozenTrial) -> FrozenTrial:
    """A trial as Optuna sees it once it is over."""
    steps = {step: value for step, value in record.steps.items() if math.isfinite(value)}
    return optuna.trial.create_trial(
        state=_STATES[record.state],
        value=record.best if record.state == "complete" else None,
        params=proposal.params,
        distributions=proposal.distributions,
        intermediate_values=steps,
        user_attrs={
            "number": record.number,
            "ended": record.state,
            "steps": {str(step): value for step, value in steps.items()},
            "configurations": len(record.score),
            "trades": [float(value) for value in record.trades],
            "fit_seconds": record.fit_seconds,
            "seconds": record.seconds,
        },
    )


def inherit(root: Path, prefix: str, own: str, space_key: str, best: int) -> Heritage:
    """The best trials of the newest other study whose folder begins with `prefix`, if it drew from the same space.

    Parameters
    ----------
    root
        Folder of the studies.
    prefix, own
        Names begin with `prefix`; `own` is left out.
    space_key
        Of the search space.
    best
        How many trials.
    """
    others = [path for path in root.glob(f"{prefix}*/{JOURNAL}") if path.parent.name != own]
    for path in sorted(others, key=lambda one: (one.stat().st_mtime_ns, one.parent.name), reverse=True):
        study = optuna.load_study(storage=_storage(path.parent), study_name=path.parent.name)
        earlier: Mapping[str, Any] = study.user_attrs.get("heritage", {})
        done = [one for one in study.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE]
        if earlier.get("space") != space_key or not done:
            continue
        ranked = sorted(done, key=lambda one: (-float(one.value or 0.0), one.user_attrs["number"]))
        tried = sum(one.user_attrs["configurations"] for one in study.get_trials(deepcopy=False))
        return Heritage(_different([one.params for one in ranked], best), tried + earlier["tried"], path.parent.name)
    return Heritage()


def tidy(root: Path, prefix: str, keep: int) -> None:
    """Remove the arrays of all but the newest studies; their journals, which are small, stay."""
    folders = [path.parent for path in root.glob(f"{prefix}*/{JOURNAL}")]
    for folder in sorted(folders, key=lambda one: (one / JOURNAL).stat().st_mtime_ns)[:-keep]:
        for arrays in folder.glob("trial-*.npz"):
            arrays.unlink()


def _different(params: Sequence[dict[str, Value]], count: int) -> tuple[dict[str, Value], ...]:
    chosen: list[dict[str, Value]] = []
    for one in params:
        if one not in chosen and len(chosen) < count:
            chosen.append(one)
    return tuple(chosen)


def _storage(folder: Path) -> optuna.storages.BaseStorage:
    """The study's journal file, or the database that the environment names; studies go by the name of their folder."""
    url = os.environ.get(DATABASE)
    if url:
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL)))


def _mend(journal: Path) -> None:
    """Take back what a kill left behind: half a line at the end of the journal, and the lock on it."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    try:
        if whole:
            json.loads(whole[last:])
    except ValueError:
        whole = whole[:last]
    if whole != data:
        shutil.copyfile(journal, journal.with_suffix(".torn"))
        with journal.open("r+b") as file:
            file.truncate(len(whole))


def _write(path: Path, **arrays: np.ndarray[Any, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
