"""A recording that is killed at a chosen system call or instant; a server forks one such process after another.

``python -m tests.market.crash`` reads requests ``{"lake", "job", "acked", "session", "call", "after"}`` a line and
answers with how the forked process ended. Forking saves the imports: hundreds of kills take seconds. The jobs besides
recording are the compaction of past days, the removal of old ones, the import of the archives that lie in the folder
``archives`` beside the lake, and the upgrade of the lake's schema.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from market import EventBatch, Lake, LakeWriter, SessionAssembler, import_archives
from market.bulk import BulkAssembler
from market.compaction import Retention, compact, retain
from market.feed import Frame
from market.records import BookRun
from market.upgrades import upgrade_lake
from tests.market.venue import BTC, NOON_MS, RULES, book, liquidation, snapshot, ticker, trade

FRAMES, SYNC_EVERY, SEAL_EVERY = 64, 7, 30
#: Receive times tell the sessions apart.
SESSION_NS = 10**9
_MIDNIGHT = NOON_MS + 43_200_000


def frames(session: int) -> list[bytes]:
    """What a session receives; it runs over midnight."""
    out, start = [snapshot(1000 * session + 1, cts=_MIDNIGHT - 5_000 + session * 60_000)], random.Random(session)
    for n in range(1, FRAMES):
        now = _MIDNIGHT - 5_000 + session * 60_000 + 100 * n
        if n % 6 == 3:
            out.append(trade((now, "Buy", "0.5", "100.0"), (now, "Sell", "0.5", "100.0")))
        elif n % 11 == 4:
            out.append(ticker(now, markPrice="100.05"))
        elif n % 17 == 5:
            out.append(liquidation((now, "Sell", "0.2", "99.9")))
        elif n == 40:
            out.append(book(1000 * session + n + 5, cts=now))  # a break in the sequence
        else:
            out.append(book(1000 * session + n + 1, [(f"{100 - start.random():.1f}", "1.5")], [], cts=now))
    return out


def live(session: int, count: int = FRAMES, first_ordinal: int = 0) -> EventBatch:
    """The events of the first frames of a session."""
    assembler = SessionAssembler(RULES, first_ordinal)
    batches = [
        batch
        for n, frame in enumerate(frames(session)[:count])
        for _, batch in assembler.on_frame(frame, session * SESSION_NS + n).batches
    ]
    return EventBatch.concat(batches)


def record(lake: Lake, session: int, acked: Callable[[int], None]) -> None:
    """Record a session; `acked` hears how many frames are safe."""
    with lake.writer("BTCUSDT", BTC) as writer:
        bulk = BulkAssembler(SessionAssembler(RULES, lake.next_ordinal("BTCUSDT")), lambda _: writer.room_ms)
        waiting: list[Frame] = []
        for n, frame in enumerate(frames(session)):
            waiting.append(Frame(frame, session * SESSION_NS + n))
            if n % SYNC_EVERY == 0:
                _take(bulk, writer, waiting)
                writer.sync_now()
                acked(n + 1)
            if n % SEAL_EVERY == SEAL_EVERY - 1:
                _take(bulk, writer, waiting)
                writer.seal()
        _take(bulk, writer, waiting)
    acked(FRAMES)


def _take(bulk: BulkAssembler, writer: LakeWriter, waiting: list[Frame]) -> None:
    """Take in what waits as the recorder does."""
    for out in bulk.on_frames(waiting):
        if isinstance(out, BookRun):
            writer.append_run(out)
        else:
            writer.append(out[1], waiting[out[0]].data)
    waiting.clear()


def tidy(lake: Lake, job: str) -> None:
    """Merge the parts of past days, remove those days, import archives, or upgrade."""
    if job == "compact":
        compact(lake, "BTCUSDT")
    elif job == "import":
        import_archives(lake.root.parent / "archives", "BTCUSDT", lake)
    elif job == "upgrade":
        upgrade_lake(lake.root)
    else:
        retain(lake, Retention(max_age_days=0))


def die_at(call: int) -> None:
    """Kill this process at its `call`-th system call that changes the disk: before it, after it, or half way."""
    count = 0

    def wrap(name: str, owner: Any) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == call and name == "write" and len(args[1]) > 1:
                original(args[0], args[1][: len(args[1]) // 2])
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        setattr(owner, name, wrapped)

    for name in ("write", "fsync", "fdatasync", "open"):
        wrap(name, os)
    for name in ("replace", "unlink", "mkdir"):
        wrap(name, Path)


def child(request: dict[str, Any]) -> None:
    """One job, until it is killed or done."""
    lake = Lake(Path(request["lake"]))
    if request["job"] != "record":
        if request["call"]:
            die_at(request["call"])
        tidy(lake, request["job"])
        return
    ack = os.open(request["acked"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write = os.pwrite

    if request["call"]:
        die_at(request["call"])
    record(lake, request["session"], lambda count: write(ack, b"%8d" % count, 0))


def serve() -> None:
    """Answer requests until standard input ends."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        record(lake, 0, lambda count: None)
        compact(lake, "BTCUSDT")
        retain(lake, Retention(max_age_days=0))  # everything is imported and compiled before the first fork
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                child(request)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - a forked process must not go on as the server
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
        if request["after"]:
            time.sleep(request["after"])
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    serve()
