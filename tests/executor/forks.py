"""Live executors as processes that can be killed: forked from one that has imported everything, so a start is cheap.

A child runs ``purplesky execute --live`` as the command line would; it may be told to kill itself, by SIGKILL, at the
n-th step of order plans: before, within and after a write of the journal while a plan lives, before and after an order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Nursery:
    """A process that forks executors."""

    def __init__(self) -> None:
        code = "from tests.executor.forks import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "BYBIT_API_KEY": "local", "BYBIT_API_SECRET": "local-secret"},
        )  # fmt: skip

    def start(self, arguments: list[str], log: Path, kill_at: int = 0) -> int:
        """Fork one; its process id."""
        return int(self._ask({"arguments": arguments, "log": str(log), "kill_at": kill_at}))

    def wait(self, pid: int) -> int:
        """How it ended: minus the signal, or the exit code."""
        return int(self._ask({"wait": pid}))

    def alive(self, pid: int) -> bool:
        """Whether it still runs."""
        return bool(self._ask({"alive": pid}))

    def close(self) -> None:
        """End the process that forks; its children have ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    """Fork executors for whoever asks on the standard input."""
    _prepare()

    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if "wait" in request:
            answer = ended.get(request["wait"])
            if answer is None:
                answer = ended[request["wait"]] = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif "alive" in request:
            if request["alive"] not in ended:
                pid, status = os.waitpid(request["alive"], os.WNOHANG)
                ended |= {pid: os.waitstatus_to_exitcode(status)} if pid else {}
            answer = request["alive"] not in ended
        else:
            answer = _fork(request["arguments"], request["log"], request["kill_at"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _prepare() -> None:
    """Import, and compile, what every child would have to by itself; no thread may be left behind."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    for name in ("executor.account", "executor.daemon", "purplesky"):
        import_module(name)
    from executor.view import MarketView
    from market.events import EventBatch
    from simulation import SYNTHETIC, synthetic_events

    view = MarketView(SYNTHETIC, 5_000, 50, 60_000)
    view.push(EventBatch.concat(synthetic_events(1, 0.0, 1_800_000_000_000, 60_000, levels=50)))
    assert threading.active_count() == 1, threading.enumerate()


def _fork(arguments: list[str], log: str, kill_at: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 3
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the parent's requests are not ours
        sys.argv = ["purplesky", *arguments]
        if kill_at:
            _arm(kill_at)
        from purplesky import main

        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _arm(kill_at: int) -> None:
    """Die at the n-th step of this process's order plans."""
    from executor.actions import CancelEntry, ClosePosition, PlaceEntry, PlaceTarget, SetProtection
    from executor.journal import Journal
    from executor.live import LiveGateway

    left = kill_at

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    record, copy, send = Journal.record, Journal.copy, LiveGateway.send
    alive = False

    def dying_record(self: Journal, turns: Any, core: bytes, gateway: bytes) -> None:
        nonlocal alive
        alive = b'"trade":{' in core
        dying = step if alive else _nothing
        dying()
        record(self, turns, core, gateway)
        dying()

    def dying_copy(self: Journal) -> None:
        # The transaction is written and its orders are sent, the copy beside the journal is not.
        if alive:
            step()
        copy(self)

    def dying_send(self: LiveGateway, action: Any, now_ms: int) -> None:
        orders = (PlaceEntry, PlaceTarget, CancelEntry, ClosePosition, SetProtection)
        dying: Callable[[], None] = step if isinstance(action, orders) else _nothing
        dying()
        send(self, action, now_ms)
        dying()

    Journal.record = dying_record  # type: ignore[method-assign]
    Journal.copy = dying_copy  # type: ignore[method-assign]
    LiveGateway.send = dying_send  # type: ignore[method-assign]


def _nothing() -> None:
    """No step of a plan."""
