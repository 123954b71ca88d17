"""The status page in a real browser, its metrics and its health, of a session that really trades."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import settings as configuration
from council.registry import Registry
from executor.build import Parts
from executor.front import Front
from executor.page import StatusPage
from executor.registry_watch import CouncilStore, RegistryWatch, Wanted
from executor.status import read_status
from executor.telemetry import ills
from market.errors import ConfigError
from settings import Settings
from tests.executor.stage import Stage, market

if TYPE_CHECKING:
    from playwright.sync_api import Browser


class Served:
    """A page in a loop of its own thread."""

    def __init__(self, values: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.page = StatusPage([values], 0)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.page.start(), self.loop).result(10)
        self.url = f"http://127.0.0.1:{self.page.port}"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.page.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def get(self, path: str, host: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class Scene:
    """A session that holds a position, and its front; `fresh` is overridden to let market data be missing."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder / "data" / "executor" / "dry-run" / "SYNUSDT")
        self.settings: Settings = configuration.override(
            Settings(),
            paths={"data": folder / "data", "mlruns": folder / "mlruns"},
            executor={"page_port": 0},
            market={"idle_seconds": 3600.0},
        )
        registry = Registry("http://127.0.0.1:9", folder)
        store = CouncilStore(folder / "councils", Wanted("SYNUSDT", "1m", 20, "0" * 64))
        stage = self.stage
        watch = RegistryWatch(registry, "council-SYNUSDT-1m", store)
        parts = Parts("dry-run", 1, stage.session, stage.journal, watch, None)
        self.front = Front(self.settings, parts, stage.folder, stage.lines.append)
        self.front.frames()
        self.rows = stage.run(market(), rows=512, until=self.holds)

    def holds(self) -> bool:
        trade = self.stage.core.state.trade
        return trade is not None and trade.open > 0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.front.end("the end", None)
    made.stage.journal.close()


@pytest.fixture
def served(scene: Scene) -> Iterator[Served]:
    made = Served(scene.front.values)
    yield made
    made.close()


def test_a_person_sees_it_and_sees_it_change(scene: Scene, served: Served, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    errors: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(served.url)
    text = page.inner_text("main")
    trade = scene.stage.core.state.trade
    assert trade is not None
    rules = scene.stage.core.rules
    assert str(rules.price(trade.stop)) in text
    assert "confirmed for the whole position" in text
    assert "version 1 (cccccccccccc), gate passed" in text
    assert f"entry {trade.link_id}" in text
    assert "rank 1" in text
    # On a phone nothing sticks out to the side.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    scene.front.voices.hear("critical", "kill", "<b>not bold</b> & told at once")
    page.get_by_text("told at once").wait_for(timeout=8_000)
    assert "<b>not bold</b> & told at once" in page.inner_text("main")
    assert page.locator("main b").count() == 0
    assert not errors
    assert all(url.startswith((served.url, "data:")) for url in requested)
    page.close()


def test_it_says_that_it_is_old_when_the_executor_is_gone(scene: Scene, browser: Browser) -> None:
    served = Served(scene.front.values)
    page = browser.new_page()
    page.goto(served.url)
    assert page.is_hidden("#lost")
    served.close()
    page.wait_for_selector("#lost:visible", timeout=8_000)
    page.close()


def test_metrics_are_what_the_session_says(scene: Scene, served: Served) -> None:
    status, text = served.get("/metrics")
    assert status == 200
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"symbol": "SYNUSDT", "mode": "dry-run"}
    }
    state = scene.stage.core.state
    assert state.trade is not None
    assert state.risk.equity is not None
    assert found["purplesky_executor_equity_usdt"] == float(state.risk.equity)
    assert found["purplesky_executor_decisions_total"] == state.counts.decisions
    assert found["purplesky_executor_protected"] == 1
    assert abs(found["purplesky_executor_position"]) == float(scene.stage.core.rules.quantity(state.trade.open))
    assert found["purplesky_executor_healthy"] == 1
    state.risk.equity = None
    assert "purplesky_executor_equity_usdt{" not in served.get("/metrics")[1]  # unknown, not 0


def test_health_names_what_is_wrong(scene: Scene, served: Served) -> None:
    assert served.get("/health")[0] == 200
    state = scene.stage.core.state
    assert state.trade is not None
    scene.front.lost()
    state.trade.protected, state.trade.naked_ms = 0, state.now_ms - 700
    state.risk.killed = "equity below"
    status, text = served.get("/health")
    assert status == 503
    [problems] = json.loads(text)["problems"].values()
    assert problems == [
        "killed: equity below",
        "700 ms without a confirmed stop for the whole position",
        "no market data",
    ]
    # What a person asked for is no illness.
    state.trade.naked_ms, state.trade.protected, state.risk.killed = None, state.trade.open, None
    state.risk.paused["person"] = "halted by command"
    scene.front.frames()
    assert ills(scene.front.values()) == []


def test_only_this_machine_may_look(served: Served) -> None:
    assert served.get("/status.json", host="evil.example")[0] == 403
    assert served.get("/status.json", host="localhost:1")[0] == 200


def test_a_port_that_is_taken(served: Served) -> None:
    async def second() -> None:
        with pytest.raises(ConfigError, match="cannot be served at port"):
            await StatusPage([], served.page.port).start()

    asyncio.run_coroutine_threadsafe(second(), served.loop).result(10)


def test_the_status_file_has_the_same(scene: Scene) -> None:
    scene.front.write(running=True)
    status = read_status(scene.settings, "SYNUSDT")
    values = scene.front.values()
    assert status["protection"] == values["protection"]
    assert status["decisions"] == json.loads(json.dumps(values["decisions"]))
