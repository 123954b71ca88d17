"""The executor as a process: from the closing frame to the order at the venue, a week's memory, and how it starts."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm as lgb
import msgspec
import numpy as np

from council import Council, Member, TrainingProfile, TreeModel
from council.manifest import Manifest
from executor.clock import VenueClock
from executor.core import Core
from executor.events import encode
from executor.journal import Journal
from executor.lanes import ThreadLanes
from executor.live import LiveGateway
from executor.session import Session
from executor.state import CouncilRef
from executor.status import folder_of
from executor.venue import VenueClient
from executor.view import MarketView
from features import feature_names
from market import Lake, PublicFeed, topics_for
from market.feed import Frame
from simulation import SYNTHETIC, synthetic_events
from tests.bench._harness import benchmark
from tests.bench.bench_validation import record
from tests.executor.conftest import CONFIG, MINUTE, PARAMS, START_MS, sign_council
from tests.executor.days import (
    ROOT,
    SYMBOL,
    control,
    exchange,
    install,
    settings_for,
    start_executor,
    trained,
)

LEVELS, BAR_MS = 200, 5_000
MEMBERS, FEATURES, TREES = 5, 60, 300
#: Bars until the features are warm, and bars that are measured.
_WARM, _BARS = 40, 300
_DAY_MS = 86_400_000
#: An exchange that writes down when the bytes of an order have reached it: the monotonic clock is every process's.
_VENUE = """
import sys, time
from simulation.exchange.server import LocalExchange
answer = LocalExchange._rest
async def timed(self, request):
    if request.rel_url.path == "/v5/order/create":
        sys.stderr.write(f"{time.monotonic_ns()}\\n")
        sys.stderr.flush()
    return await answer(self, request)
LocalExchange._rest = timed
from simulation.exchange import run_exchange
run_exchange(port=0, speed=1_000.0, seed=3, limits={}, ip_limit=None)
"""


# --- from the closing frame to the order ------------------------------------------------------------------------------


def big_council() -> Council:
    """Five members of two models of 300 trees over 60 features, who are always for buying."""
    rng = np.random.default_rng(1)
    names = feature_names(LEVELS)
    read = names[:FEATURES]
    values = rng.normal(size=(4_000, FEATURES))
    members = []
    for rank in range(1, MEMBERS + 1):
        models = {}
        for side in ("long", "short"):
            wins = (values @ rng.normal(size=FEATURES) + rng.normal(size=len(values)) > 0).astype(np.int8)
            options = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 31, "learning_rate": 0.02}
            booster = lgb.train(options, lgb.Dataset(values, wins, feature_name=list(read), params=options), TREES)
            assert booster.num_trees() == TREES
            models[side] = TreeModel.from_booster(booster)
        members.append(Member(rank, PARAMS, 1e-9, 2.0, models))
    profile = TrainingProfile((0.0, 1.0), {}, dict.fromkeys(names, 0.5))
    manifest = Manifest(SYMBOL, "5s", LEVELS, MINUTE, "0" * 64, (0, 1), "", {"passed": True}, profile=profile)
    return Council(tuple(members), 0.5, names, read, manifest)


async def _frames(url: str) -> list[Frame]:
    """The market's frames over so many bars, as they were received."""
    held: list[Frame] = []
    clock = MarketView(SYNTHETIC, BAR_MS, LEVELS, MINUTE)
    async with PublicFeed(url.replace("http", "ws", 1) + "/v5/public/linear", topics_for([SYMBOL], LEVELS)) as feed:
        bars = 0
        async for item in feed:
            assert isinstance(item, Frame)
            held.append(item)
            bars += len(clock.push(clock.gather([clock.on_frame(item.data, item.recv_ns)]).events))
            if bars >= _WARM + _BARS:
                return held
    raise AssertionError("the feed ended")


@contextmanager
def _order_session(folder: Path, url: str) -> Iterator[Session]:
    """A live session at a venue that refuses every entry, so that each bar may send one."""
    council = big_council()
    config = msgspec.structs.replace(CONFIG, timeframe_ms=BAR_MS, max_bar_delay_ms=BAR_MS, loss_streak=0)
    journal, clock = Journal(folder, durable=True), VenueClock()
    core = Core(config, lambda _: council)
    lanes = ThreadLanes()
    venue = VenueClient(url, "local", "local-secret")
    gateway = LiveGateway(venue, None, SYNTHETIC, lanes=lanes, clock=lambda: clock.event_ms)
    journal.begin(SYMBOL, "live", encode(config), core.state.dump(), "bench")
    session = Session(
        core=core, journal=journal, gateway=gateway, view=MarketView(SYNTHETIC, BAR_MS, LEVELS, MINUTE), clock=clock,
        echo=lambda _: None,
    )  # fmt: skip
    session.council(CouncilRef("c" * 64, 1, True))
    try:
        yield session
    finally:
        gateway.close()
        venue.close()
        journal.close()


def _settle(session: Session) -> None:
    """Until the venue has answered, and the account is known."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        session.pulse(at_once=True)
        trade = session.core.state.trade
        if (trade is None or trade.entry == "done") and session.core.state.risk.equity is not None:
            return
        time.sleep(0.001)


@contextmanager
def _sendings() -> Iterator[list[int]]:
    """Monotonic times at which the last byte of each order was handed to the socket, ns."""
    at: list[int] = []
    real, own = http.client.HTTPConnection.send, threading.local()

    def send(self: http.client.HTTPConnection, data: Any) -> None:
        real(self, data)
        if isinstance(data, bytes) and data.startswith(b"POST "):  # the head, then the body
            own.order = data.startswith(b"POST /v5/order/create ")
            if own.order:
                at.append(0)
        if getattr(own, "order", False):
            at[-1] = time.monotonic_ns()

    http.client.HTTPConnection.send = send  # type: ignore[method-assign]
    try:
        yield at
    finally:
        http.client.HTTPConnection.send = real  # type: ignore[method-assign]


def _orders() -> tuple[list[float], list[float], list[float]]:
    """Milliseconds from holding the closing frame to its order sent, and at the venue; CPU milliseconds of our loop."""
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "received"
        with log.open("w") as received:
            process = subprocess.Popen(
                [sys.executable, "-c", _VENUE], cwd=ROOT, stdout=subprocess.PIPE, stderr=received, text=True
            )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[2]
            frames = asyncio.run(_frames(url))
            refused = {"kind": "ret-code", "on": "/v5/order/create", "code": 110007}
            control(url, speed=0.0, faults=[refused])
            begun, cpu = [], []
            with _sendings() as left, _order_session(Path(name) / "journal", url) as session:
                for frame in frames:
                    before = session.core.state.counts.orders
                    started, spent = time.monotonic_ns(), time.thread_time_ns()
                    seen = session.view.gather([session.view.on_frame(frame.data, frame.recv_ns)])
                    session.market(seen.events, seen.tickers)
                    if session.core.state.counts.orders > before:
                        cpu.append((time.thread_time_ns() - spent) / 1e6)
                        begun.append(started)
                        _settle(session)
                    elif session.core.state.risk.equity is None:
                        _settle(session)
            arrived = [int(line) for line in log.read_text().split()]
        finally:
            process.terminate()
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()
    assert len(arrived) == len(begun) >= _BARS // 2, f"{len(arrived)} orders arrived, {len(begun)} were sent"
    assert len(left) == len(begun)
    sent, came = ([(end - start) / 1e6 for start, end in zip(begun, ends)] for ends in (left, arrived))
    return sent[5:], came[5:], cpu[5:]


@benchmark("executor.order")
def order() -> dict[str, object]:
    """Decode, features, vote, gates, size, durable journal, signature: until the order's last byte has left."""
    sent, came, cpu = _orders()
    return {
        "value": median(sent),
        "unit": "ms, median",
        "input": f"{len(sent)} bars, {MEMBERS} x 2 models x {TREES} trees, {FEATURES} features, fsynced journal, "
        f"REST on loopback (p90 {np.percentile(sent, 90):.2f}, p99 {np.percentile(sent, 99):.2f} ms; the venue has "
        f"read it at p50 {median(came):.2f}, p99 {np.percentile(came, 99):.2f} ms; CPU of the loop "
        f"p50 {median(cpu):.2f}, p99 {np.percentile(cpu, 99):.2f} ms; aims 3 and 15 ms)",
        "less_is_better": True,
    }


# --- memory -----------------------------------------------------------------------------------------------------------


def resident_mib(process: subprocess.Popen[bytes]) -> float:
    """What a process holds in memory."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def week(folder: Path, days: int = 7) -> tuple[list[float], dict[str, int]]:
    """Memory in MiB of a real `purplesky execute` on a recorded market, at each day's end; what it did."""
    settings = settings_for(folder, "http://127.0.0.1:9")
    config = install(settings, *trained())
    market = synthetic_events(11, 1.0, START_MS, days * _DAY_MS, levels=settings.market.ob_levels, push_ms=500)
    record(Lake(settings.paths.lake), market)
    status = folder_of(settings, SYMBOL, "lake") / "status.json"
    process = start_executor(config, "--feed", "lake", log=folder / "executor.log")
    held: list[float] = []
    said: dict[str, Any] = {"venue_ms": 0, "counts": {}}
    try:
        while process.poll() is None:
            now_mib = resident_mib(process)
            with contextlib.suppress(FileNotFoundError):
                said = json.loads(status.read_text())
            if said["venue_ms"] >= START_MS + (len(held) + 1) * _DAY_MS - 10 * MINUTE:
                held.append(now_mib)
            time.sleep(0.05)
        assert process.returncode == 0, (folder / "executor.log").read_text()
    finally:
        process.kill()
        process.wait()
    return held, said["counts"]


@benchmark("executor.memory")
def memory() -> dict[str, object]:
    """A week of one-minute bars through the daemon itself: reader, features, council, core, paper venue, journal."""
    with tempfile.TemporaryDirectory() as folder:
        held, counts = week(Path(folder))
    return {
        "value": max(held),
        "unit": "MiB resident",
        "input": f"purplesky execute, {counts['bars']:,} bars of a recorded week, {counts['closed']:,} trades; at the "
        f"end of each day {', '.join(f'{mib:.0f}' for mib in held)} MiB (aim: flat, at most 350)",
        "less_is_better": True,
    }


# --- start ------------------------------------------------------------------------------------------------------------

_IMPORT = """
import json, resource, time
started = time.perf_counter()
import purplesky, executor.daemon, executor.account
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, used.ru_utime + used.ru_stime]))
"""


def imports(repeats: int = 5) -> tuple[float, float]:
    """Wall and CPU seconds of importing what `purplesky execute --live` imports; the least of some runs."""
    found = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", _IMPORT], cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


@benchmark("executor.import")
def importing() -> dict[str, object]:
    """What the interpreter loads before anything begins."""
    wall, cpu = imports()
    return {
        "value": wall,
        "unit": "s",
        "input": f"purplesky, executor.daemon, executor.account, least of 5 (CPU {cpu:.2f} s with the interpreter; "
        "aim 1.5)",
        "less_is_better": True,
    }


def _ready(config: Path) -> tuple[float, float]:
    """Wall and CPU seconds from starting the process to its `READY=1`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        address = f"{config.parent}/notify"
        Path(address).unlink(missing_ok=True)
        systemd.bind(address)
        command = [sys.executable, "-m", "purplesky", "--config", str(config), "execute", "--symbol", SYMBOL]
        keys = {"BYBIT_API_KEY": "local", "BYBIT_API_SECRET": "local-secret", "NOTIFY_SOCKET": address}
        started = time.perf_counter()
        with (config.parent / "executor.log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--timeframe", "5s", "--live"], cwd=ROOT, stdout=log, stderr=log, env={**os.environ, **keys}
            )
        try:
            while True:
                assert process.poll() is None, (config.parent / "executor.log").read_text()
                if select.select([systemd], [], [], 0.05)[0] and b"READY=1" in systemd.recv(4_096):
                    seconds = time.perf_counter() - started
                    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                    return seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        finally:
            process.terminate()
            process.wait(300)


@benchmark("executor.start")
def start() -> dict[str, object]:
    """A live executor, from nothing to ready, with a journal and a cached council from before."""
    with tempfile.TemporaryDirectory() as name, exchange(3, 1.0, limits={}, ip_limit=None) as url:
        settings = settings_for(Path(name), url, executor={"timeframe": "5s"})
        config = install(settings, sign_council(feature_names(LEVELS), "imbalance_all_mean"), None, timeframe="5s")
        first = _ready(config)
        again = min(_ready(config) for _ in range(3))
    return {
        "value": again[0],
        "unit": "s",
        "input": f"--live on the local exchange, saved state, no lake, least of 3 (CPU {again[1]:.2f} s; with nothing "
        f"saved {first[0]:.2f} s; aim 10)",
        "less_is_better": True,
    }
