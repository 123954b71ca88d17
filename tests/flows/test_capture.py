"""Sessions as flows: a dead one does not look alive, and past days are merged."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from flows import run_capture, runtime
from flows.processes import Child, free_port
from market import EventBatch, Lake
from settings import Settings, override
from tests.market.test_history import three_days


def api(settings: Settings, path: str, **body: Any) -> Any:
    """Ask the Prefect server."""
    request = urllib.request.Request(
        f"{settings.prefect.api_url}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    for _ in range(5):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # Prefect's database is busy while the server is young
                raise
            time.sleep(1.0)
    raise TimeoutError(path)


def begun(settings: Settings, symbol: str) -> str:
    """A run of the flow `capture` that is `Running` though nobody works on it."""
    flow = api(settings, "flows/", name="capture")
    state = {"type": "RUNNING", "name": "Running"}
    run = api(settings, "flow_runs/", flow_id=flow["id"], state=state, parameters={"symbols": [symbol]})
    return str(run["id"])


def state_of(settings: Settings, run: str) -> str:
    runs = api(settings, "flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return str(runs[0]["state_type"])


def test_a_dead_session_does_not_look_alive(installation: Settings, tmp_path: Path) -> None:
    port = free_port()
    code = f"from simulation.exchange import run_exchange; run_exchange(port={port}, speed=5)"
    settings = override(
        installation,
        paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"},
        venue={"rest_url": f"http://127.0.0.1:{port}", "public_url": f"ws://127.0.0.1:{port}/v5/public/linear"},
    )
    settings.paths.data.mkdir()
    dead, other = begun(settings, "SYNUSDT"), begun(settings, "ETHUSDT")
    with Child("exchange", [sys.executable, "-c", code], tmp_path / "exchange.log") as exchange:
        exchange.wait_ready(f"http://127.0.0.1:{port}/control", 60)
        run_capture(settings, ("SYNUSDT",), 3.0)
    assert state_of(settings, dead) == "CRASHED"
    assert state_of(settings, other) == "RUNNING"


def test_past_days_are_merged(installation: Settings, tmp_path: Path) -> None:
    settings = override(installation, paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"})
    lake = Lake(settings.paths.lake)
    three_days(lake)
    before = EventBatch.concat(lake.events("BTCUSDT"))
    with runtime.session(settings):
        from flows.compact import compact

        done = compact()
        assert [one.date for one in done] == ["2026-01-05", "2026-01-06"]
        assert EventBatch.concat(lake.events("BTCUSDT")).equals(before)
        assert compact(keep_days=1) == []
    assert lake.days("BTCUSDT") == ["2026-01-06", "2026-01-07"]
