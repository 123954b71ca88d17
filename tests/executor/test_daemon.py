"""The whole executor against the local exchange, over sockets; and its front door's errors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import settings as configuration
from council import save_bundle
from council.registry import Registry
from executor import (
    ExecutorSummary,
    JournalReader,
    read_status,
    replay_session,
    run_executor,
    send_command,
    status_text,
)
from executor.actions import Decided, SwapCouncil, decode_actions
from executor.daemon import safe_echo
from executor.lock import Lock
from executor.status import folder_of
from features import feature_names, spec_hash
from market import Lake, Recorder
from market.assembler import Assembled, BookRows, GapMark, TradeRows
from market.errors import (
    AlreadyRunningError,
    ConfigError,
    EmptyLakeError,
    ExecutorError,
    NoProductionError,
    RegistryUnavailable,
    UnknownSymbolError,
    VenueUnavailable,
)
from market.events import GAP, TRADE
from settings import Settings
from simulation import SYNTHETIC, LocalExchange, synthetic_events
from tests.executor.conftest import MINUTE, START_MS, asked_before, sign_council

LEVELS = 50
NAME = "council-SYNUSDT-1m"


def make_settings(folder: Path, exchange: LocalExchange | None = None, **sections: dict[str, Any]) -> Settings:
    base: dict[str, dict[str, Any]] = {
        "paths": {"data": folder / "data", "mlruns": folder / "mlruns"},
        "market": {"symbols": ("SYNUSDT",), "ob_levels": LEVELS},
        "executor": {"timeframe": "1m", "registry_poll_s": 0.2, "page_port": 0},
        "venue": {"rest_url": "http://127.0.0.1:9", "public_url": "ws://127.0.0.1:9"},
    }
    if exchange is not None:
        base["venue"] = {
            "rest_url": exchange.rest_url,
            "public_url": exchange.public_url,
            "private_url": exchange.private_url,
            "speed": exchange.clock.speed,
        }
    return configuration.override(Settings(), **(base | sections))


def register(settings: Settings, folder: Path, *, sign: int, learnt: dict[str, Any] | None = None) -> Registry:
    """Register a council of one for the executor's bars and promote it; `learnt` tells what it was trained on."""
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    timeframe = settings.executor.timeframe
    name, names = settings.model_name("SYNUSDT", timeframe), feature_names(LEVELS)
    bundle = folder / f"bundle{sign}"
    save_bundle(
        bundle,
        sign_council(names, "imbalance_all_mean", sign=sign),
        symbol="SYNUSDT",
        timeframe=timeframe,
        levels=LEVELS,
        stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash(configuration.timeframe_ms(timeframe), LEVELS, settings.market.stall_ms),
        data_fingerprint="hand-made",
        gate={"passed": False},
        **({"window_ms": (0, 1)} | (learnt or {})),
    )
    registry.promote(name, registry.register(name, bundle))
    return registry


@pytest.fixture(scope="module")
def registered(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]
) -> tuple[Settings, Path]:
    """Settings whose registry has a council in Production, and their folder."""
    folder = tmp_path_factory.mktemp("registered")
    settings = make_settings(folder)
    empty_registry(settings.paths.mlruns)
    register(settings, folder, sign=1)
    return settings, folder


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    async with LocalExchange(seed=3, speed=240) as served:
        yield served


def journal(settings: Settings, mode: str = "dry-run") -> JournalReader:
    return JournalReader(folder_of(settings, "SYNUSDT", mode))


def actions(reader: JournalReader, session: int) -> list[Any]:
    return [action for _, _, text in reader.turns(session) for action in decode_actions(text)]


@pytest.mark.failure(45)
async def test_from_the_market_to_closed_trades_and_a_new_council(
    exchange: LocalExchange, empty_registry: Callable[[Path], Path], tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, exchange)
    empty_registry(settings.paths.mlruns)
    registry = await asyncio.to_thread(register, settings, tmp_path, sign=1)
    lines: list[str] = []
    promoted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def until(summary: ExecutorSummary) -> bool:
        if summary.decisions >= 6 and not promoted.is_set():
            loop.call_soon_threadsafe(promoted.set)
        return summary.council_version == 2 and summary.decisions >= 20 and summary.closed >= 2

    run = asyncio.create_task(
        asyncio.to_thread(
            run_executor,
            settings,
            "SYNUSDT",
            max_seconds=100,
            until=until,
            summary=tmp_path / "summary.json",
            echo=lines.append,
        )
    )
    waiting = asyncio.create_task(promoted.wait())
    await asyncio.wait([run, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert not run.done() or run.result()
    await asyncio.to_thread(register, settings, tmp_path, sign=-1)
    summary = await run
    assert registry.production(NAME).version == 2

    assert summary.mode == "dry-run"
    assert summary.decisions >= 20
    assert summary.closed >= 2
    assert summary.fills >= 2 * summary.closed
    assert summary.orders >= summary.closed
    assert summary.council_version == 2
    assert json.loads((tmp_path / "summary.json").read_text())["closed"] == summary.closed
    reader = journal(settings)
    done = actions(reader, summary.session)
    swaps = [index for index, action in enumerate(done) if isinstance(action, SwapCouncil)]
    assert [done[index].version for index in swaps] == [1, 2]
    assert all(isinstance(done[index + 1], Decided) for index in swaps)
    votes = [action.vote for action in done if isinstance(action, Decided) and action.vote]
    assert len({vote.council for vote in votes}) == 2
    assert sum(float(str(row[0])) for row in reader.query("SELECT net_pnl FROM trades")) == pytest.approx(
        summary.net_pnl
    )
    reader.close()

    assert "the same to the byte" in replay_session(settings, "SYNUSDT", "latest")
    status = read_status(settings, "SYNUSDT")
    assert status["running"] is False
    assert status["counts"]["closed"] == summary.closed
    assert "not running" in status_text(settings, "SYNUSDT")
    assert any("decides from here" in line for line in lines)


async def test_features_are_warm_from_what_was_captured_before(
    exchange: LocalExchange, registered: tuple[Settings, Path], tmp_path: Path
) -> None:
    _, folder = registered
    settings = make_settings(tmp_path, exchange, paths={"data": tmp_path / "data", "mlruns": folder / "mlruns"})
    asked_before(settings)
    exchange.clock.set_speed(900.0, exchange.now_ms)
    recorder = Recorder(
        Lake(settings.paths.lake),
        exchange.public_url,
        {"SYNUSDT": SYNTHETIC},
        ["SYNUSDT"],
        levels=LEVELS,
        part_seconds=60,
        idle_seconds=10.0,
    )
    start_ms = exchange.now_ms
    await recorder.run(seconds=60, until=lambda counts: counts.clock_ms > start_ms + 30 * MINUTE)
    exchange.clock.set_speed(120.0, exchange.now_ms)
    lines: list[str] = []
    summary = await asyncio.to_thread(run_executor, settings, "SYNUSDT", max_bars=4, max_seconds=60, echo=lines.append)
    assert any(line.startswith("features warmed up over") for line in lines)
    assert summary.orders >= 1
    assert not any("ATR unknown" in line for line in lines)


@pytest.mark.failure(45)
async def test_the_process_ends_in_order_on_sigterm_and_goes_on(
    exchange: LocalExchange, registered: tuple[Settings, Path], tmp_path: Path
) -> None:
    base, folder = registered
    settings = make_settings(tmp_path, exchange, paths={"data": tmp_path / "data", "mlruns": folder / "mlruns"})
    asked_before(settings)
    config = tmp_path / "purplesky.toml"
    config.write_text(configuration.to_toml(settings), encoding="utf-8")
    command = [sys.executable, "-m", "purplesky", "--config", str(config), "execute", "--symbol", "SYNUSDT"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert process.stdout is not None
    seen: list[str] = []
    async with asyncio.timeout(120):
        while sum("bar " in line for line in seen) < 3:
            line = await process.stdout.readline()
            assert line, "".join(seen)
            seen.append(line.decode())
    with pytest.raises(AlreadyRunningError):
        await asyncio.to_thread(run_executor, settings, "SYNUSDT", feed="venue")
    assert "within a second" in send_command(settings, "SYNUSDT", "halt")
    async with asyncio.timeout(60):
        while not any("entries halted" in line for line in seen):
            line = await process.stdout.readline()
            assert line, "".join(seen)
            seen.append(line.decode())
    process.send_signal(signal.SIGTERM)
    rest, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, rest.decode()
    assert base.paths.mlruns == settings.paths.mlruns
    # The next session is still halted: a person said so.
    lines: list[str] = []
    summary = await asyncio.to_thread(
        run_executor, settings, "SYNUSDT", max_bars=2, max_seconds=60, echo=lines.append, feed="venue"
    )
    assert summary.session == 2
    assert summary.orders == 0
    assert "the same to the byte" in replay_session(settings, "SYNUSDT", "dry-run/1")


def fill_lake(root: Path, minutes: int, symbol: str = "SYNUSDT") -> None:
    """A lake with a synthetic market in it."""
    with Lake(root).writer(symbol, replace(SYNTHETIC, symbol=symbol)) as writer:
        for batch in synthetic_events(4, 1.0, START_MS, minutes * MINUTE, levels=LEVELS):
            edges = [0, *((batch.ordinal[1:] != batch.ordinal[:-1]).nonzero()[0] + 1).tolist(), len(batch)]
            for first, last in pairwise(edges):
                rows, out = batch[first:last], Assembled()
                while len(rows) and rows.kind[0] == GAP:
                    out.records.append(GapMark(symbol, int(rows.ordinal[0]), int(rows.time_ms[0]), -1, "start"))
                    rows = rows[1:]
                if len(rows) and rows.kind[0] == TRADE:
                    ids = [f"{rows.ordinal[0]}-{index}" for index in range(len(rows))]
                    out.records.append(TradeRows(symbol, rows, int(rows.time_ms[0]), rows.ordinal.copy(), ids))
                elif len(rows):
                    number = int(rows.ordinal[0])
                    out.records.append(BookRows(symbol, rows, int(rows.time_ms[0]), number + 1, number))
                writer.append(out)
        writer.seal()


def test_a_recorded_market_is_replayed_when_the_venue_does_not_answer(
    registered: tuple[Settings, Path], tmp_path: Path
) -> None:
    _, folder = registered
    settings = make_settings(tmp_path, paths={"data": tmp_path / "data", "mlruns": folder / "mlruns"})
    fill_lake(settings.paths.lake, 40)
    asked_before(settings)
    lines: list[str] = []
    first = run_executor(settings, "SYNUSDT", echo=lines.append)
    assert first.mode == "lake"
    assert first.decisions >= 37
    assert first.orders > 0
    assert "replaying the lake instead" in lines[0]
    # A lake is replayed from its beginning every time, and gives the same again.
    second = run_executor(settings, "SYNUSDT", feed="lake")
    assert second.session == 2
    assert (second.decisions, second.orders, second.net_pnl) == (first.decisions, first.orders, first.net_pnl)
    assert "the same to the byte" in replay_session(settings, "SYNUSDT", "lake/2")


def test_a_replay_does_not_trade_what_the_council_learnt_from(
    empty_registry: Callable[[Path], Path], tmp_path: Path
) -> None:
    settings = make_settings(tmp_path)
    empty_registry(settings.paths.mlruns)
    unseen = START_MS + 25 * MINUTE
    learnt = {"window_ms": (START_MS, START_MS + 40 * MINUTE), "statistics": {"holdout_from_ms": unseen}}
    register(settings, tmp_path, sign=1, learnt=learnt)
    asked_before(settings)
    fill_lake(settings.paths.lake, 40)
    lines: list[str] = []
    summary = run_executor(settings, "SYNUSDT", feed="lake", echo=lines.append)
    assert any("the data before it trained the council" in line for line in lines)
    decided = [action for action in actions(journal(settings, "lake"), 1) if isinstance(action, Decided)]
    assert [action.open_ms for action in decided][:2] == [unseen - MINUTE, unseen]
    assert summary.decisions == len(decided) == 16
    assert "the same to the byte" in replay_session(settings, "SYNUSDT", "lake/1")


def test_live_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs an API key"):
        run_executor(make_settings(tmp_path), "SYNUSDT", live=True)


def test_no_venue_and_no_lake(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(VenueUnavailable):
        run_executor(make_settings(tmp_path), "SYNUSDT")
    assert time.monotonic() - started < 30
    with pytest.raises(EmptyLakeError, match="empty"):
        run_executor(make_settings(tmp_path), "SYNUSDT", feed="lake")
    with pytest.raises(ExecutorError, match="is no feed"):
        run_executor(make_settings(tmp_path), "SYNUSDT", feed="carrier-pigeon")


async def test_a_symbol_that_nobody_knows(exchange: LocalExchange, tmp_path: Path) -> None:
    with pytest.raises(UnknownSymbolError, match="lists no NOPEUSDT"):
        await asyncio.to_thread(run_executor, make_settings(tmp_path, exchange), "NOPEUSDT")


async def test_nobody_in_production(
    exchange: LocalExchange, empty_registry: Callable[[Path], Path], tmp_path: Path
) -> None:
    empty_registry(make_settings(tmp_path).paths.mlruns)
    with pytest.raises(NoProductionError):
        await asyncio.to_thread(run_executor, make_settings(tmp_path, exchange), "SYNUSDT")
    assert not (folder_of(make_settings(tmp_path), "SYNUSDT", "dry-run") / "status.json").exists()


async def test_it_starts_from_its_cache_when_the_registry_is_down(
    exchange: LocalExchange, registered: tuple[Settings, Path], tmp_path: Path
) -> None:
    _, folder = registered
    settings = make_settings(tmp_path, exchange, paths={"data": tmp_path / "data", "mlruns": folder / "mlruns"})
    down = configuration.override(settings, mlflow={"uri": "http://127.0.0.1:9"})
    with pytest.raises(RegistryUnavailable):
        await asyncio.to_thread(run_executor, down, "SYNUSDT", max_seconds=60)
    await asyncio.to_thread(run_executor, settings, "SYNUSDT", max_bars=1, max_seconds=60)
    lines: list[str] = []
    summary = await asyncio.to_thread(run_executor, down, "SYNUSDT", max_bars=2, max_seconds=60, echo=lines.append)
    assert summary.decisions >= 2
    assert any("from the cache" in line for line in lines)


@pytest.mark.failure(42)
def test_a_narrow_console_does_not_end_it() -> None:
    lines: list[str] = []

    def narrow(line: str) -> None:
        lines.append(line.encode("ascii").decode("ascii"))

    say = safe_echo(narrow)
    say("plain")
    say("SYNUSDT \u2192 Zürich")
    assert lines == ["plain", "SYNUSDT ? Z?rich"]


def test_status_and_commands_before_it_ever_ran(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with pytest.raises(ExecutorError, match="has not run on SYNUSDT"):
        status_text(settings, "SYNUSDT")
    with pytest.raises(ExecutorError, match="has not run on SYNUSDT"):
        send_command(settings, "SYNUSDT", "halt")
    with pytest.raises(ExecutorError, match="has not run on SYNUSDT"):
        replay_session(settings, "SYNUSDT", "1")
    with pytest.raises(ExecutorError, match="is no command"):
        send_command(settings, "SYNUSDT", "panic")


@pytest.mark.failure(44)
def test_a_symbol_that_is_being_traded_is_refused(registered: tuple[Settings, Path], tmp_path: Path) -> None:
    _, folder = registered
    settings = make_settings(tmp_path, paths={"data": tmp_path / "data", "mlruns": folder / "mlruns"})
    fill_lake(settings.paths.lake, 3)
    with Lock(folder_of(settings, "SYNUSDT", "lake") / "lock"), pytest.raises(AlreadyRunningError):
        run_executor(settings, "SYNUSDT", feed="lake")
