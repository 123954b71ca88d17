"""Several contracts in one process, from the market to the page: what they share, and what is each one's own affair."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import settings as configuration
from council.bundle import save_bundle
from council.registry import Registry
from executor import replay_session, run_executors, status_text
from executor import unit as units
from executor.compare import compare_session
from executor.feeds import Feeds, Item
from executor.reader import JournalReader
from executor.session import Session
from executor.status import folder_of, read_status, send_command, traded_symbols
from executor.tasks import put_away
from executor.unit import ExecutorSummary
from features import feature_names, spec_hash
from market.errors import ExecutorError, NoProductionError, VenueError
from market.feed import Disconnected, Frame
from market.lake import Lake
from market.recorder import Recorder
from settings import Settings
from simulation import SYNTHETIC, LocalExchange
from tests.executor.conftest import MINUTE, asked_before, sign_council
from tests.executor.test_account import with_keys
from tests.executor.test_daemon import LEVELS, fill_lake, make_settings

ONE, TWO = "SYNUSDT", "OTHUSDT"


def shelve(settings: Settings, folder: Path, symbol: str) -> None:
    """Put a council for a contract into Production."""
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    name, bundle = settings.model_name(symbol, "1m"), folder / f"bundle-{symbol}"
    save_bundle(
        bundle,
        sign_council(feature_names(LEVELS), "imbalance_all_mean"),
        symbol=symbol,
        timeframe="1m",
        levels=LEVELS,
        stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash(MINUTE, LEVELS, settings.market.stall_ms),
        data_fingerprint="hand-made",
        gate={"passed": False},
        window_ms=(0, 1),
    )
    registry.promote(name, registry.register(name, bundle))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def fetch(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            status, body = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read().decode()
    return status, json.loads(body) if body[:1] in "[{" else body


@pytest.mark.failure(45)
async def test_the_failure_of_one_leaves_the_others_alone(
    empty_registry: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One contract trades, one has no council and breaks once, and one does not exist."""
    monkeypatch.setattr(units, "_FIRST_S", 0.1)
    port = free_port()
    seen: dict[str, Any] = {}
    broken: list[str] = []
    market = Session.market

    def breaks_once(self: Session, *args: Any, **words: Any) -> None:
        market(self, *args, **words)
        if self.view.symbol == TWO and self.core.state.counts.bars >= 2 and not broken:
            broken.append(TWO)
            raise RuntimeError("by the test")

    monkeypatch.setattr(Session, "market", breaks_once)

    def until(now: ExecutorSummary) -> bool:
        if broken and now.symbol == ONE and now.bars >= 5 and "page" not in seen:
            seen["page"] = fetch_in_thread("/status.json")
            seen["health"] = fetch_in_thread("/health")
            seen["metrics"] = fetch_in_thread("/metrics")
            seen["middle"] = fetch_in_thread("/middle")
            for symbol in traded_symbols(settings):
                send_command(settings, symbol, "halt")
        if now.symbol == TWO:
            return now.session == 2 and now.bars >= 3
        return "page" in seen and now.decisions >= 5

    # The page answers from the loop that calls us: it is asked by a thread, and read at the end.
    def fetch_in_thread(path: str) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.to_thread(fetch, port, path), loop)

    loop = asyncio.get_running_loop()
    lines: list[str] = []
    async with LocalExchange(seed=3, speed=120, symbols=(ONE, TWO)) as exchange:
        settings = make_settings(
            tmp_path,
            exchange,
            executor={"timeframe": "1m", "registry_poll_s": 0.5, "page_port": port},
            market={"symbols": (ONE, TWO), "ob_levels": LEVELS},
        )
        empty_registry(settings.paths.mlruns)
        await asyncio.to_thread(shelve, settings, tmp_path, ONE)
        with pytest.raises(ExecutorError, match=r"not looked after to the end: NOPEUSDT: .* lists no NOPEUSDT"):
            await asyncio.to_thread(
                run_executors,
                settings,
                [ONE, TWO, "NOPEUSDT"],
                max_seconds=600,
                until=until,
                summary=tmp_path / "summary.json",
                echo=lines.append,
            )
    told = {one["symbol"]: one for one in json.loads((tmp_path / "summary.json").read_text())}
    assert told.keys() == {ONE, TWO}
    assert told[ONE]["decisions"] >= 5
    assert (told[TWO]["session"], told[TWO]["decisions"], told[TWO]["council_version"]) == (2, 0, None)
    assert told[ONE]["session"] == 1
    text = "\n".join(lines)
    assert f"critical: {TWO} is not looked after: RuntimeError: by the test; it is tried again" in text
    assert f"{TWO} is looked after again" in text
    assert f"{TWO}: critical: " in text
    assert "positions are looked after, nothing is entered" in text
    status, page = seen["page"].result()
    assert {one["symbol"] for one in page} == {ONE, TWO, "NOPEUSDT"}
    assert "failure" in {one["symbol"]: one for one in page}["NOPEUSDT"]
    status, health = seen["health"].result()
    assert status == 503
    assert any("not looked after" in problem for problem in health["problems"]["NOPEUSDT"])
    assert 'purplesky_executor_failed{mode="dry-run",symbol="NOPEUSDT"} 1.0' in seen["metrics"].result()[1]
    assert "NOPEUSDT" in seen["middle"].result()[1]
    # The command without a contract reached both.
    for symbol in (ONE, TWO):
        assert read_status(settings, symbol)["paused"] == ["halted by command"]
        assert "not running" in status_text(settings, symbol)
    assert "the same to the byte" in replay_session(settings, ONE, "dry-run/1")
    assert "the same to the byte" in replay_session(settings, TWO, "dry-run/2")


async def test_nobody_with_a_council_and_nothing_held_is_refused(
    empty_registry: Callable[[Path], Path], tmp_path: Path
) -> None:
    async with LocalExchange(seed=3, speed=60, symbols=(ONE, TWO)) as exchange:
        settings = make_settings(tmp_path, exchange)
        empty_registry(settings.paths.mlruns)
        with pytest.raises(NoProductionError):
            await asyncio.to_thread(run_executors, settings, [ONE, TWO], max_seconds=30)


async def test_a_refused_topic_costs_its_own_contract_only(tmp_path: Path) -> None:
    feeds = Feeds(make_settings(tmp_path), [ONE, TWO])

    async def refuse() -> None:
        raise VenueError("the venue refuses subscribe", advice="Check the symbols")

    async def refused(line: Any) -> None:
        await put_away(line.task)
        line.task = asyncio.create_task(refuse())
        await asyncio.wait([line.task])

    [line] = feeds._lines
    await refused(line)
    while not feeds._queue.empty():
        feeds._queue.get_nowait()
    before = Item((ONE,), Frame(b"{}", 1))
    feeds._queue.put_nowait(before)
    first, loss = await feeds.some()
    # What came before the loss is handed over before it, and both contracts know that something is missing.
    assert first == before
    assert (loss.symbols, type(loss.what)) == ((ONE, TWO), Disconnected)
    assert [one.symbols for one in feeds._lines] == [(ONE,), (TWO,)]
    assert feeds.refused == {}
    await refused(feeds._lines[1])
    await feeds.some()
    assert set(feeds.refused) == {TWO}
    assert [one.symbols for one in feeds._lines] == [(ONE,)]
    await feeds.close()


async def test_a_frame_goes_to_whom_it_concerns(tmp_path: Path) -> None:
    feeds = Feeds(make_settings(tmp_path), [ONE, TWO])
    [line] = feeds._lines
    book = b'{"topic":"orderbook.50.%s","type":"delta"}'
    assert feeds._whose(line, Frame(book % b"OTHUSDT", 0)) == (TWO,)
    assert feeds._whose(line, Frame(b"not even JSON", 0)) == (ONE, TWO)
    assert feeds._whose(line, Frame(book % b"ALIENUSDT", 0)) == (ONE, TWO)
    feeds.need("NEWUSDT")
    assert [one.symbols for one in feeds._lines] == [(ONE, TWO), ("NEWUSDT",)]
    await feeds.close()


def test_two_lakes_are_replayed_in_step_and_give_the_same_again(
    empty_registry: Callable[[Path], Path], tmp_path: Path
) -> None:
    settings = make_settings(tmp_path)
    settings = configuration.override(settings, risk={"max_portfolio_leverage": "0.05"})
    empty_registry(settings.paths.mlruns)
    for symbol in (ONE, TWO):
        shelve(settings, tmp_path, symbol)
        asked_before(settings, symbol)
        fill_lake(settings.paths.lake, 40, symbol)
    first = run_executors(settings, [ONE, TWO], feed="lake")
    assert [one.mode for one in first] == ["lake", "lake"]
    assert all(one.decisions >= 37 for one in first)
    second = run_executors(settings, [ONE, TWO], feed="lake")
    results = [[(one.symbol, one.decisions, one.orders, one.net_pnl) for one in each] for each in (first, second)]
    assert results[0] == results[1]
    # The same market twice: both see the same signal at the same close, and never pass together.
    reasons: dict[str, list[str]] = {}
    for symbol in (ONE, TWO):
        assert "the same to the byte" in replay_session(settings, symbol, "lake/2")
        reader = JournalReader(folder_of(settings, symbol, "lake"))
        reasons[symbol] = [str(row[0]) for row in reader.query("SELECT reason FROM decisions")]
        reader.close()
    assert sum(one.orders for one in first) >= 1
    assert any(reason.startswith("portfolio cap: other contracts use") for reason in reasons[TWO])
    assert not any(reason.startswith("portfolio cap") for reason in reasons[ONE][:5])


@pytest.mark.slow
@pytest.mark.failure(45)
async def test_live_contracts_share_an_account_and_are_compared_with_the_simulator(
    empty_registry: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    symbols = (ONE, TWO)
    async with LocalExchange(seed=3, speed=60, symbols=symbols) as exchange:
        settings = configuration.override(
            with_keys(tmp_path, exchange),
            # A minute of the market passes in one of our seconds.
            executor={"protection_timeout_ms": 240_000, "protection_retry_ms": 60_000, "max_bar_delay_ms": 60_000},
            risk={"max_stale_ms": 60_000, "max_leverage": 4, "max_daily_loss": "0.5", "max_drawdown": "0.5"},
        )
        empty_registry(settings.paths.mlruns)
        for symbol in symbols:
            await asyncio.to_thread(shelve, settings, tmp_path, symbol)
        recorder = Recorder(
            Lake(settings.paths.lake),
            exchange.public_url,
            {symbol: replace(SYNTHETIC, symbol=symbol) for symbol in symbols},
            list(symbols),
            levels=LEVELS,
            part_seconds=60,
            idle_seconds=30.0,
        )
        ended: list[int] = []
        connections: set[int] = set()

        def recorded(counts: Any) -> bool:
            return bool(ended) and counts.clock_ms > ended[0] + 12 * MINUTE

        recording = asyncio.create_task(recorder.run(seconds=1_500, until=recorded))

        def until(now: ExecutorSummary) -> bool:
            connections.add(len(exchange._private.connections))
            return now.closed >= 1

        results = await asyncio.to_thread(
            run_executors, settings, symbols, live=True, accept_failed_gate=1, max_seconds=900, until=until
        )
        ended.append(exchange.now_ms)
        leverages = {str(place.leverage) for one in exchange.venue.desk.positions.values() for place in one.active}
        await recording
    assert connections <= {0, 1}
    assert leverages == {"4"}
    assert all(one.closed >= 1 for one in results)
    for one in results:
        assert one.mode == "live"
        assert "the same to the byte" in replay_session(settings, one.symbol, "live/1")
        found = compare_session(settings, one.symbol, "live/1")
        assert found.live.plans == found.simulated.plans
        assert found.live.plans + found.left_out == one.orders
        assert found.live.plans >= 1
        assert "live" in found.text()
