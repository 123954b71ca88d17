"""Processes that carry out trials.

A worker is a process of its own interpreter, spoken to over its standard streams: it inherits no threads and no locks,
and it ends by itself when the study is killed, because its input does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from market.errors import TrainingError
from training.folds import Layout, Rows, Splitter
from training.outcomes import Outcomes
from training.trial import Assignment, Record, attempt

_ROOT = Path(__file__).resolve().parents[1]
#: What a worker runs. LightGBM brings scikit-learn and pandas along for wrappers that no trial uses: more than half of
#: the time in which a process starts.
_WORK = (
    "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'pandas'))); from training.workers import main; main()"
)


class Crew(Protocol):
    """Who carries out trials."""

    def submit(self, wanted: Assignment, table: Outcomes) -> Future[Record]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def crew(workers: int, layout: Layout) -> Crew:
    """This process if there is to be one worker, else that many processes."""
    return _Alone(layout) if workers == 1 else _Processes(workers, layout)


class _Alone:
    """Trials in this process, at once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def submit(self, wanted: Assignment, table: Outcomes) -> Future[Record]:
        done: Future[Record] = Future()
        done.set_result(attempt(self._layout, table, wanted))
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Processes:
    """Trials in other processes, each started when it is first needed; a thread waits for each."""

    def __init__(self, workers: int, layout: Layout) -> None:
        self._setup = (layout.rows, layout.splitter)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="trial")
        self._own = threading.local()
        self._started: list[subprocess.Popen[bytes]] = []

    def submit(self, wanted: Assignment, table: Outcomes) -> Future[Record]:
        return self._threads.submit(self._ask, wanted, table)

    def _ask(self, wanted: Assignment, table: Outcomes) -> Record:
        process = getattr(self._own, "process", None) or self._start()
        try:
            if getattr(self._own, "process", None) is None:
                self._own.process = process
                _send(process.stdin, self._setup)
            _send(process.stdin, (wanted, table))
            answer = _receive(process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = process.wait()
            raise TrainingError(
                f"a worker process died in trial {wanted.number} (exit code {code})",
                advice="Start the training again, it goes on where it stopped; if memory ran out, lower "
                "training.workers",
            ) from error
        if isinstance(answer, str):
            raise TrainingError(
                f"trial {wanted.number} failed in a worker:\n{answer}", advice="Report this: it is a bug"
            )
        record: Record = answer
        return record

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
        )
        self._started.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._started:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._started:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # what was not sent yet to a worker that died
                process.stdin.close()
            process.wait()
            process.stdout.close()


def _send(stream: IO[bytes] | None, thing: Any) -> None:
    assert stream is not None
    pickle.dump(thing, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    # Only ever from the process at the other end of our own pipe.
    return pickle.load(stream)


def main() -> None:
    """Carry out the trials that standard input asks for until it ends."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a library prints must not get between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        setup: tuple[Rows, Splitter] = _receive(asked)
        layout = Layout(*setup)
        while True:
            wanted, table = _receive(asked)
            try:
                answer: Record | str = attempt(layout, table, wanted)
            except Exception:  # noqa: BLE001 - the study raises it, with what it was
                answer = traceback.format_exc()
            _send(answers, answer)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
