"""The recorder as a process: readiness, status, SIGTERM, SIGKILL, exit codes, metrics, what the disk refuses."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from market import EventBatch, Lake, Recorder
from market.daemon import Notifier
from market.errors import AlreadyRunningError, ConfigError, LakeError
from market.feed import connections_for
from market.metrics import MetricsServer
from market.recorder import RecorderCounts
from tests.market.venue import BTC, RULES, Connection, Venue, book, liquidation, snapshot, trade

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from market import Lake, Recorder, run_daemon
from market.errors import PurpleSkyError
from tests.market.venue import RULES

def make(progress):
    return Recorder(Lake(Path(sys.argv[1])), sys.argv[2], RULES, ["BTCUSDT"], 50, progress=progress)

try:
    run_daemon(make, tell=lambda text: print(text, flush=True), tell_seconds=0.5, metrics_port=0)
except PurpleSkyError as error:
    print(error, file=sys.stderr)
    raise SystemExit(error.exit_code)
"""


class Listener:
    """What systemd would hear."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(self.path))
        self.heard: list[str] = []

    async def hear(self, what: str) -> None:
        """Wait for a message that contains `what`."""
        async with asyncio.timeout(30):
            while True:
                try:
                    self.heard.append(self.socket.recv(4096).decode())
                except BlockingIOError:
                    await asyncio.sleep(0.02)
                    continue
                if what in self.heard[-1]:
                    return


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path)
    yield listener
    listener.socket.close()


async def endless(connection: Connection) -> None:
    """A message every 10 ms."""
    await connection.send(snapshot(1))
    for u in range(2, 100_000):
        await connection.send(book(u))
        await asyncio.sleep(0.01)


def start(lake: Path, venue: Venue, systemd: Listener) -> subprocess.Popen[str]:
    environment = os.environ | {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "5000000"}
    command = [sys.executable, "-c", PROGRAM, str(lake), venue.url]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)


async def test_ready_status_metrics_and_sigterm(tmp_path: Path, systemd: Listener) -> None:
    lake = Lake(tmp_path / "lake")
    async with Venue(endless) as venue:
        daemon = start(lake.root, venue, systemd)
        await systemd.hear("READY=1")
        await systemd.hear("WATCHDOG=1")
        assert daemon.stdout is not None
        address = (await asyncio.to_thread(daemon.stdout.readline)).split()[-1]
        second = start(lake.root, venue, systemd)
        assert await asyncio.to_thread(second.wait, 30) == 2
        assert "is being written by another process" in second.communicate()[1]
        await asyncio.sleep(1.2)
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=5).read().decode())
        assert "purplesky_recorder_frames_total" in text
        assert 'purplesky_recorder_book_checks_total{outcome="equal"} 0.0' in text
        daemon.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(daemon.wait, 30) == 0
        await systemd.hear("STOPPING=1")
        output, errors = daemon.communicate()
    assert errors == ""
    assert "sealed: " in output
    events = EventBatch.concat(lake.events("BTCUSDT"))
    assert len(events) > 50
    assert not list(lake.root.rglob("*.wal"))


@pytest.mark.failure(38)
async def test_sigkill_loses_at_most_the_last_second(tmp_path: Path, systemd: Listener) -> None:
    lake, sent = Lake(tmp_path / "lake"), dict[int, int]()
    clock = asyncio.get_running_loop()

    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))
        for u in range(2, 100_000):
            await connection.send(book(u))
            sent[u] = int(clock.time() * 1000)
            await asyncio.sleep(0.01)

    async with Venue(script) as venue:
        daemon = start(lake.root, venue, systemd)
        await systemd.hear("READY=1")
        while len(sent) < 200:
            await asyncio.sleep(0.01)
        daemon.kill()
        killed = int(clock.time() * 1000)
        await asyncio.to_thread(daemon.communicate)
    assert lake.symbols() == []  # no part was due
    lake.writer("BTCUSDT", BTC).close()
    safe = max(u for u, at in sent.items() if at <= killed - 1000)
    assert lake.recovered["BTCUSDT"][0].u is not None
    assert lake.recovered["BTCUSDT"][0].u[1] >= safe
    assert [window.cause for window in lake.suspect_windows("BTCUSDT")] == ["recorder was cut off"]


async def test_liquidations_are_recorded_where_the_venue_has_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")

    async def script(connection: Connection) -> None:
        await connection.until("subscribe", "allLiquidation.BTCUSDT")
        await connection.send(snapshot(1), liquidation((1_767_614_400_000, "Buy", "0.5", "99.9")), book(2))

    async with Venue(script) as venue:
        one = Recorder(lake, venue.url, RULES, ["BTCUSDT"], 50)
        counts = await one.run(until=lambda counts: counts.frames >= 3)
    assert (counts.liquidations, counts.problems) == (1, 0)
    assert len(lake.parts("BTCUSDT", "liquidations")) == 1


async def test_trades_that_come_twice_or_out_of_order_are_found(tmp_path: Path) -> None:
    lake, at = Lake(tmp_path / "lake"), 1_767_614_400_000
    one, two, three = (trade((at + n, "Buy", "1", "100.0")) for n in range(3))

    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1), one, one, three, two, book(2))

    async with Venue(script) as venue:
        recorder = Recorder(lake, venue.url, RULES, ["BTCUSDT"], 50)
        counts = await recorder.run(until=lambda counts: counts.frames >= 6)
    assert (counts.trades, counts.problems) == (3, 1)
    assert "repeats trade" in counts.last_problem
    assert [window.cause.split(" (")[0] for window in lake.suspect_windows("BTCUSDT")] == ["trades out of order"]


def test_many_symbols_take_few_connections() -> None:
    symbols = [f"S{n:03}USDT" for n in range(500)]
    groups = connections_for(symbols, 200)
    assert [symbol for group in groups for symbol in group] == symbols
    assert len(groups) == 3
    assert connections_for(["BTCUSDT"], 50) == [("BTCUSDT",)]


def test_metrics_on_a_taken_port() -> None:
    with MetricsServer(RecorderCounts, 0) as server, pytest.raises(ConfigError, match="cannot be served"):
        MetricsServer(RecorderCounts, server.port)


def test_nobody_listens() -> None:
    notify = Notifier("/nonexistent/socket")
    notify(READY="1")
    notify(READY="1")


@pytest.mark.failure(43)
async def test_a_disk_that_takes_no_more_ends_it_and_keeps_what_it_took(tmp_path: Path) -> None:
    """The kernel itself refuses: files may not grow beyond a limit."""
    lake = Lake(tmp_path / "lake")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async with Venue(endless) as venue:
        one = Recorder(lake, venue.url, RULES, ["BTCUSDT"], 50, sync_seconds=0.05)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
            with pytest.raises(LakeError, match="cannot be written"):
                await asyncio.wait_for(one.run(), 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
    lake.writer("BTCUSDT", BTC).close()
    assert sum(part.level_changes for part in lake.sealed("BTCUSDT")) > 10


@pytest.mark.failure(43)
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.root.mkdir()
    lake.root.chmod(0o555)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from market import Lake\n"
        "from market.errors import LakeError\n"
        "from tests.market.venue import BTC\n"
        "import market.lake\n"
        "if os.getuid() == 0:\n"
        "    os.setuid(65534)\n"
        "try:\n"
        "    Lake(Path(sys.argv[1])).writer('BTCUSDT', BTC)\n"
        "except LakeError as error:\n"
        "    print(error)\n"
    )
    tmp_path.chmod(0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, str(lake.root)], cwd=ROOT, capture_output=True, text=True)
    assert "cannot be written (Permission denied)" in done.stdout, done.stderr


async def test_a_second_recorder_does_not_wait_longer_than_asked(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    writer = lake.writer("BTCUSDT", BTC)  # belongs to one that does not look whether it is asked to end
    async with Venue(endless) as venue:
        with pytest.raises(AlreadyRunningError):
            await Recorder(lake, venue.url, RULES, ["BTCUSDT"], 50, take_over=0.5).run()
    writer.close()
