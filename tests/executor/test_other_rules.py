"""The venue changes tick or step of a contract while the daemon trades it: over sockets, from frame to page."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import executor.rules
import settings as configuration
from council import StrategyParams, save_bundle
from council.registry import Registry
from executor import read_status, replay_session, run_executor, status_text
from executor.actions import Alert, ClosePosition, Decided, PlaceEntry, decode_actions
from executor.daemon import ExecutorSummary
from executor.events import Protected, decode_event
from executor.rescale import NEW_RULES
from features import feature_names, spec_hash
from settings import Settings
from simulation import LocalExchange
from simulation.exchange import rest_market
from simulation.exchange.rules import instrument_row
from tests.executor.conftest import MINUTE, asked_before, sign_council
from tests.executor.rig import SYMBOL
from tests.executor.test_account import with_keys
from tests.executor.test_daemon import LEVELS, NAME, journal

#: Enters at once, is out again eight bars later.
PLAN = StrategyParams(offset_atr=5.0, stop_atr=30.0, target_atr=30.0, tif_bars=1, hold_bars=8, entry="directional")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def installation(folder: Path, exchange: LocalExchange, empty_registry: Callable[[Path], Path]) -> Settings:
    settings = configuration.override(
        with_keys(folder, exchange),
        # Minutes of the market pass in one second of ours.
        executor={
            "protection_timeout_ms": 240_000,
            "protection_retry_ms": 60_000,
            "max_bar_delay_ms": 240_000,
            "page_port": free_port(),
        },
        risk={"max_stale_ms": 240_000},
    )
    empty_registry(settings.paths.mlruns)
    save_bundle(
        folder / "bundle",
        sign_council(feature_names(LEVELS), "imbalance_all_mean", params=PLAN),
        symbol=SYMBOL,
        timeframe="1m",
        levels=LEVELS,
        stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash(MINUTE, LEVELS, settings.market.stall_ms),
        data_fingerprint="hand-made",
        gate={"passed": True},
        window_ms=(0, 1),
    )
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    registry.promote(NAME, registry.register(NAME, folder / "bundle"))
    asked_before(settings)
    return settings


def off_the_tick(exchange: LocalExchange) -> None:
    """Everybody who listens hears of a trade at a price that the old tick does not have."""
    listing = exchange.venue.listings[SYMBOL]
    price = f"{listing.numbers.price(listing.last_ticks)}7"
    row = {
        "T": exchange.now_ms,
        "s": SYMBOL,
        "S": "Buy",
        "v": "0.001",
        "p": price,
        "L": "PlusTick",
        "i": "off-the-tick",
        "BT": False,
        "seq": 1,
    }
    topic = f"publicTrade.{SYMBOL}"
    frame = {"topic": topic, "type": "snapshot", "ts": exchange.now_ms, "data": [row]}
    for connection in exchange._public.connections:
        if topic in connection.topics:
            connection.send(frame)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("live", "speed", "part", "change"),
    [
        pytest.param(False, 240, "priceFilter", {"tickSize": "0.05"}, id="dry-run, finer tick"),
        # It fits all prices and sizes: nothing but asking tells of it.
        pytest.param(False, 240, "priceFilter", {"tickSize": "1"}, id="dry-run, coarser tick",
            marks=pytest.mark.slow),
        pytest.param(
            True, 60, "lotSizeFilter", {"qtyStep": "0.002", "minOrderQty": "0.002"}, id="live, coarser step",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
async def test_entries_stop_protection_stays_and_a_person_is_told(
    live: bool,
    speed: int,
    part: str,
    change: dict[str, str],
    empty_registry: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(executor.rules, "_LOOK_EVERY", 600.0 if change == {"tickSize": "0.05"} else 0.5)
    changed, over = threading.Event(), threading.Event()

    def row(*arguments: Any) -> dict[str, Any]:
        told = instrument_row(*arguments)
        return told | {part: told[part] | change} if changed.is_set() else told

    monkeypatch.setattr(rest_market, "instrument_row", row)
    seen: list[ExecutorSummary] = []

    def until(now: ExecutorSummary) -> bool:
        seen.append(now)
        return over.is_set()

    async with LocalExchange(seed=3, speed=speed) as exchange:
        settings = await asyncio.to_thread(installation, tmp_path, exchange, empty_registry)
        page = f"http://127.0.0.1:{settings.executor.page_port}"
        run = asyncio.create_task(
            asyncio.to_thread(run_executor, settings, SYMBOL, live=live, feed="venue", max_seconds=120, until=until)
        )

        async def wait(for_what: Callable[[], bool]) -> None:
            async with asyncio.timeout(100):
                while not for_what():
                    assert not run.done(), run.result()
                    await asyncio.sleep(0.02)

        async def status() -> dict[str, Any]:
            [one] = json.loads(await asyncio.to_thread(get, f"{page}/status.json"))
            return dict(one)

        await wait(lambda: bool(seen) and seen[-1].position_steps != 0)
        changed.set()
        if change == {"tickSize": "0.05"}:
            off_the_tick(exchange)
        told = {"rules": ""}
        async with asyncio.timeout(30):
            while "when the session began" not in told["rules"]:
                told = await status()
        bars = seen[-1].bars
        html = await asyncio.to_thread(get, f"{page}/middle")
        assert "stopped: contract rules" in html
        assert NEW_RULES in html
        # It is closed when its plan says so, and bars go by on which it would have entered again.
        await wait(lambda: seen[-1].position_steps == 0 and seen[-1].bars >= bars + 5)
        assert NEW_RULES in status_text(settings, SYMBOL)
        over.set()
        summary = await run
    assert f" {next(iter(change.values()))} " in told["rules"]
    assert read_status(settings, SYMBOL)["rules"] == told["rules"]
    after = journalled(settings, summary)
    [first, *_] = [i for i, one in enumerate(after) if isinstance(one, Alert) and one.code == "rules"]
    assert after[first].level == "critical"
    assert "no entries until the executor is started again with the new rules" in after[first].text
    stops = {one.stop for one in after[first:] if isinstance(one, Protected) and one.size}
    assert len(stops) <= 1, "protection did not stay"
    assert not [one for one in after[first:] if isinstance(one, PlaceEntry)]
    # Where neither stop nor target came before its time.
    assert [one.reason for one in after[first:] if isinstance(one, ClosePosition)] in ([], ["time"])
    why = [one.reason for one in after[first:] if isinstance(one, Decided)]
    assert f"contract rules: {told['rules']}" in why
    assert "the same to the byte" in replay_session(settings, SYMBOL, f"{summary.mode}/latest")


def journalled(settings: Settings, summary: ExecutorSummary) -> list[Any]:
    """Events and what followed from them, in order."""
    reader = journal(settings, summary.mode)
    turns = [(decode_event(event), decode_actions(done)) for _, event, done in reader.turns(summary.session)]
    reader.close()
    return [one for event, done in turns for one in (event, *done)]
