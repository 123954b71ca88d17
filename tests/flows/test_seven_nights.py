"""A week of nights in fast motion: bad data, a killed worker, a full disk, a registry that is down, another regime.

Afterwards every night is green, skipped with a reason, or failed with a notification, and the executor, which ran all
week, never held a council that no person had approved.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from council import Registry
from flows._procs import carrying
from flows.installation import LOCAL_SYMBOL
from flows.nights import read_nights
from flows.prefect_api import ask, everything
from market import Lake
from simulation.exchange import DEFAULT_START_MS
from simulation.flow_params import MarketParams
from tests.flows.installation_rig import Installation
from tests.flows.markets import MINUTE, record

SYMBOL = "NIGHTUSDT"
DAY_MS = 1440 * MINUTE
#: A stretch of each day is recorded.
MINUTES = 240


class Week:
    """Days of a market, and nights after them."""

    def __init__(self, up: Installation, heard: list[dict[str, Any]]) -> None:
        self.up, self.heard = up, heard
        self.runs: list[tuple[str, str, int]] = []
        self._ordinal, self._days = 0, 0

    def day(self, *, bad: bool = False, params: MarketParams | None = None, signal: float = 1.0) -> str:
        """Record the next day; a bad one has a hole that nothing marks."""
        start = DEFAULT_START_MS - (30 - self._days) * DAY_MS
        lake = self.up.settings.paths.lake
        pieces = (
            [(start, MINUTES)] if not bad else [(start, MINUTES // 2), (start + MINUTES // 2 * MINUTE, MINUTES // 2)]
        )
        for number, (at, minutes) in enumerate(pieces):
            self._ordinal = record(
                lake,
                SYMBOL,
                at,
                minutes,
                seed=10 + self._days,
                signal=signal,
                params=params,
                first=self._ordinal,
                torn=bad and number == 1,
            )
        self._days += 1
        return Lake(lake).days(SYMBOL)[-1]

    def begin(self, symbols: tuple[str, ...] = (SYMBOL,), **parameters: Any) -> str:
        """Let a night begin; its run."""
        return self.up.start_run("nightly", symbols=list(symbols), attempts=1, **parameters)

    def end(self, what: str, run: str) -> dict[str, Any]:
        """Wait for the end of a night, and keep what became of it."""
        before = len(self.heard)
        state = self.up.wait_ended(run)
        self.runs.append((what, run, before))
        return state


def edit(up: Installation, old: str, new: str) -> None:
    """Change the settings file that runs read."""
    file = up.settings.paths.data / "purplesky.toml"
    text = file.read_text(encoding="utf-8")
    assert re.search(old, text, re.MULTILINE)
    file.write_text(re.sub(old, new, text, flags=re.MULTILINE), encoding="utf-8")


def councils_of(up: Installation) -> set[str]:
    """Content hashes of every council that the executor ever held, by its journal."""
    path = up.settings.paths.executor / "dry-run" / LOCAL_SYMBOL / "journal.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT event FROM events UNION ALL SELECT state FROM sessions").fetchall()
    return {found for (text,) in rows for found in re.findall(r'"content_hash":"([0-9a-f]{64})"', text)}


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_seven_nights(tmp_path: Path, told: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_URLS", told[0])
    heard = told[1]
    from flows.processes import free_port

    port = free_port()
    toml = {"mlflow": f'uri = "http://127.0.0.1:{port}"'}
    up = Installation(tmp_path / "home", toml, minutes=300, mlflow_port=port)
    with up:
        up.wait_up("executor")
        deployed = up.run("deploy")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        week = Week(up, heard)

        # 1: all is well; a person approves of the first council, and the executor trades it from here on.
        week.day()
        state = week.end("well", week.begin((LOCAL_SYMBOL, SYMBOL)))
        assert state["type"] == "COMPLETED", state
        registry = Registry(up.settings.registry_uri, up.settings.paths.mlruns / "artifacts")
        model = up.settings.model_name(LOCAL_SYMBOL, "1m")
        approved = registry.promote(model, 1)
        up.wait_up()

        # 2: a day with a hole in it that nothing explains.
        bad = week.day(bad=True)
        state = week.end("bad data", week.begin())
        assert state["type"] == "FAILED"
        assert "data validation blocks" in state["message"]
        (night,) = read_nights(up.settings, 1)
        assert (night.symbols[0].state, night.symbols[0].judged) == ("blocked", (f"{bad} blocked",))

        # 3: the worker and the run are killed in the middle of the night.
        week.day()
        run = week.begin()
        up.wait_for(lambda: up.run_state(run)["type"] == "RUNNING", "the night began")
        before = len(heard)
        os.kill(up.pid("worker"), signal.SIGKILL)
        for one in carrying(run, "PREFECT__FLOW_RUN_ID"):
            one.send(signal.SIGKILL)
        state = week.end("killed worker", run)
        assert state["type"] == "CRASHED"
        week.runs[-1] = ("killed worker", run, before)
        up.wait_up()

        # 4: the disk is full.
        week.day()
        edit(up, r"^min_free_bytes = \d+", "min_free_bytes = 1000000000000000000")
        state = week.end("full disk", week.begin())
        assert state["type"] == "FAILED"
        assert "GB are free" in state["message"]
        edit(up, r"^min_free_bytes = \d+", "min_free_bytes = 0")

        # 5: the registry does not answer.
        os.killpg(up.pid("mlflow"), signal.SIGSTOP)
        try:
            state = week.end("registry down", week.begin())
        finally:
            os.killpg(up.pid("mlflow"), signal.SIGCONT)
        assert state["type"] == "FAILED", state
        assert len(heard) > week.runs[-1][2]

        # 6: the registry is back, and the market is another one.
        week.day(params=MarketParams.realistic(), signal=0.0)
        state = week.end("regime break", week.begin())
        (night,) = read_nights(up.settings, 1)
        assert night.symbols[0].state in ("trained", "skipped", "blocked")
        assert night.symbols[0].reason

        # 7: an ordinary night, and the same once more: nothing is done twice.
        week.day()
        state = week.end("well again", week.begin())
        assert state["type"] == "COMPLETED", state
        name = up.settings.model_name(SYMBOL, "1m")
        versions = len(registry.versions(name))
        state = week.end("once more", week.begin())
        assert "1 skipped" in state["message"]
        assert len(registry.versions(name)) == versions

        # Every night is green, skipped with a reason, or failed with a notification.
        for what, run, before in week.runs:
            state = up.run_state(run)
            if state["type"] != "COMPLETED":
                assert len(heard) > before, f"nobody was told of the night with {what}"
                assert any(one["type"] in ("failure", "warning") for one in heard[before:]), what
        hanging = everything(up.settings, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
        assert not [run for run in hanging if run["deployment_id"]]
        assert ask(up.settings, "health") is True
        # The executor ran all week, and held what a person had approved of.
        assert councils_of(up) == {approved.content_hash}
        assert len(registry.versions(model)) >= 1
        assert up.states()["executor"] == "up"
    assert not up.witness.exists(), up.witness.read_text(encoding="utf-8")
