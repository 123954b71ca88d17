"""The flows against a Prefect server: what they do, what they leave there, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from council import Registry
from features import Bars
from flows import run_capture, run_import, run_pipeline, run_train, run_validate, runtime
from flows.deployments import POOL, deploy, differences, schedules_off
from flows.processes import Child, free_port
from flows.train import masked_bars
from market import Lake
from market.errors import EmptyLakeError, NotEnoughDataError, UnknownSymbolError, ValidationBlocked, VenueUnavailable
from market.quality import Window
from settings import Settings, override, to_toml
from tests.flows.archives import SYMBOL, write_archives

ROOT = Path(__file__).parents[2]


def api(settings: Settings, path: str, **body: Any) -> Any:
    """Ask the Prefect server."""
    request = urllib.request.Request(
        f"{settings.prefect.api_url}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def last_run(settings: Settings, flow: str) -> dict[str, Any]:
    """The newest run of a flow that has begun."""
    runs = api(
        settings,
        "flow_runs/filter",
        flows={"name": {"any_": [flow]}},
        flow_runs={"start_time": {"is_null_": False}},
        sort="START_TIME_DESC",
        limit=1,
    )
    return dict(runs[0])


def artifacts(settings: Settings, key: str) -> list[dict[str, Any]]:
    """Those of a key, the newest last; other tests of the same server may have left some, too."""
    return list(api(settings, "artifacts/filter", artifacts={"key": {"any_": [key]}}, sort="CREATED_DESC"))[::-1]


@pytest.fixture(scope="module")
def imported(installation: Settings, archives: Path) -> Settings:
    """The installation after the flow ``import``."""
    report = run_import(installation, archives, SYMBOL)
    assert report.imported == ["2026-03-01", "2026-03-02"]
    return installation


def test_import_leaves_a_run_and_an_artifact(imported: Settings, archives: Path) -> None:
    run = last_run(imported, "import")
    assert (run["state_type"], run["name"]) == ("COMPLETED", f"import {SYMBOL}")
    assert "2 days imported" in artifacts(imported, f"import-{SYMBOL.lower()}")[-1]["data"]
    again = run_import(imported, archives, SYMBOL)
    assert (again.imported, again.level_changes) == ([], 0)


def test_import_of_an_unknown_symbol_begins_no_run(imported: Settings, archives: Path) -> None:
    before = last_run(imported, "import")["id"]
    with pytest.raises(UnknownSymbolError, match=SYMBOL):
        run_import(imported, archives, "NOSUCHUSDT")
    assert last_run(imported, "import")["id"] == before


def test_validate_publishes_what_it_found(imported: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_validate(imported, SYMBOL, "2026-03-01")
    assert report.status == "warn"
    assert report.report.is_file()
    assert "suspect windows" in capsys.readouterr().out
    assert last_run(imported, "validate")["state_type"] == "COMPLETED"
    key = f"validation-{SYMBOL.lower()}"
    assert "| 2026-03-01 | mask | suspect windows |" in artifacts(imported, key)[-1]["data"]
    link = artifacts(imported, f"{key}-pages")[-1]["data"]
    assert f"127.0.0.1:{imported.reports.port}/{SYMBOL}/2026-03-01.html" in link


def test_a_failed_flow_raises_its_own_error(imported: Settings) -> None:
    with pytest.raises(EmptyLakeError, match="2026-05-05"):
        run_validate(imported, SYMBOL, "2026-05-05")
    assert last_run(imported, "validate")["state_type"] == "FAILED"


def test_nothing_to_work_on_is_said_at_once(tmp_path: Path) -> None:
    settings = override(Settings(), paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"})
    for run in (run_validate, run_train, run_pipeline):
        with pytest.raises(EmptyLakeError):
            run(settings, SYMBOL)
    assert not list(tmp_path.iterdir())


def test_the_pipeline_registers_a_failed_verdict(imported: Settings) -> None:
    """Four hours of a random walk: there is nothing to find, and the version that says so is registered."""
    settings = override(
        imported,
        training={
            **{"timeframe": "1m", "trials": 4, "groups": 3, "test_groups": 1, "members": 1, "min_bars": 50},
            **{"embargo_bars": 1, "workers": 1, "max_correlation": 1.0},
        },
    )
    outcome = run_pipeline(settings, SYMBOL)
    assert not outcome.result.gate.passed
    assert outcome.result.report.is_file()
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    (version,) = registry.versions(outcome.name)
    assert (version.version, version.gate_passed) == (outcome.version, False)
    assert last_run(settings, "nightly")["state_type"] == "COMPLETED"
    assert "gate FAILED" in artifacts(settings, f"training-{outcome.name.lower()}")[-1]["data"]
    # The night judged what had not been judged: every day has a page now.
    assert {path.stem for path in (settings.paths.reports / SYMBOL).glob("2026-*.html")} == {"2026-03-01", "2026-03-02"}


def test_too_little_data_writes_nothing(imported: Settings) -> None:
    settings = override(imported, training={"timeframe": "1h"}, mlflow={"model_prefix": "scarce"})
    with pytest.raises(NotEnoughDataError):
        run_train(settings, SYMBOL)
    assert not (settings.paths.data / "training" / f"scarce-{SYMBOL}-1h").exists()


def test_blocked_data_stops_the_night(imported: Settings, tmp_path: Path) -> None:
    settings = override(imported, paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"})
    folder = write_archives(tmp_path / "archives", hours=0.1, trades=False)
    with pytest.raises(ValidationBlocked, match=SYMBOL) as error:
        run_pipeline(settings, SYMBOL, folder=folder)
    assert error.value.exit_code == 1
    assert last_run(settings, "nightly")["state_type"] == "FAILED"
    assert not (tmp_path / "mlruns").exists()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[int]:
    """The local exchange as a process, 60 times as fast as the wall clock."""
    port = free_port()
    command = [sys.executable, "-m", "purplesky", "exchange", "--synthetic", "--speed", "60", "--port", str(port)]
    with Child("exchange", command, tmp_path / "exchange.log") as child:
        child.wait_ready(f"http://127.0.0.1:{port}/v5/market/time", 120)
        yield port


def test_capture_records_a_bounded_session(installation: Settings, exchange: int, tmp_path: Path) -> None:
    settings = override(
        installation,
        paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"},
        venue={"rest_url": f"http://127.0.0.1:{exchange}", "public_url": f"ws://127.0.0.1:{exchange}/v5/public/linear"},
    )
    counts = run_capture(settings, ("SYNUSDT",), 4.0)
    lake = Lake(settings.paths.lake)
    assert counts.level_changes == lake.counts("SYNUSDT")["level_changes"] > 1_000
    assert counts.trades > 0
    report = run_validate(settings, "SYNUSDT")
    assert report.status == "ok", report.findings
    states = {check.check: check.state for check in report.days[0].checks}
    assert states["delay"] == "unknown"  # the exchange's market lives at another time than the wall clock
    with pytest.raises(UnknownSymbolError):
        run_capture(settings, ("NOSUCHUSDT",), 1.0)


def test_capture_without_a_venue(installation: Settings) -> None:
    settings = override(installation, venue={"rest_url": "http://127.0.0.1:9"})
    with pytest.raises(VenueUnavailable):
        run_capture(settings, (SYMBOL,), 1.0)


@pytest.fixture(scope="module")
def client(installation: Settings) -> dict[str, str]:
    """The environment of a person at the `prefect` command."""
    home = installation.paths.data / "prefect-client"
    return os.environ | {"PREFECT_API_URL": installation.prefect.api_url, "PREFECT_HOME": str(home)}


@pytest.fixture(scope="module")
def deployments(installation: Settings, client: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What `purplesky deploy` makes of prefect.yaml."""
    said = deploy(installation)
    assert POOL in {pool["name"] for pool in api(installation, "work_pools/filter")}
    assert "20 0 * * * UTC" in said
    return {row["name"]: row for row in api(installation, "deployments/filter")}


def wait_for_run(settings: Settings, deployment: dict[str, Any], state: str, seconds: float) -> list[dict[str, Any]]:
    """The runs of a deployment in a state, as soon as there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = api(
            settings,
            "flow_runs/filter",
            deployments={"id": {"any_": [deployment["id"]]}},
            flow_runs={"state": {"type": {"any_": [state]}}},
        )
        if runs:
            return list(runs)
        time.sleep(0.5)
    pytest.fail(f"no run of {deployment['name']} became {state} within {seconds:.0f} s")


def test_deployments_and_a_cron_run_appear(installation: Settings, deployments: dict[str, dict[str, Any]]) -> None:
    """A joint resolution of Prefect and SQLAlchemy can look whole and never schedule a run: wait for one."""
    assert set(deployments) == {"nightly", "capture", "backfill", "compact", "backup", "import", "validate", "train"}
    assert list(differences(installation)) == []
    assert schedules_off(installation) == []
    for row in deployments.values():
        assert row["work_pool_name"] == "purplesky"
        assert row["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    (schedule,) = deployments["nightly"]["schedules"]
    assert schedule["schedule"] == {"cron": "20 0 * * *", "timezone": "UTC", "day_or": True}
    runs = wait_for_run(installation, deployments["nightly"], "SCHEDULED", 60)
    assert all(run["expected_start_time"][11:16] == "00:20" for run in runs)


@pytest.mark.slow
def test_a_worker_runs_a_deployment(
    imported: Settings, deployments: dict[str, dict[str, Any]], client: dict[str, str], tmp_path: Path
) -> None:
    """A run that Prefect starts reads the settings file that its parameter names."""
    settings = override(imported, paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"})
    archives = write_archives(tmp_path / "archives", hours=0.2)
    run_import(settings, archives, SYMBOL)
    config = tmp_path / "own.toml"
    config.write_text(to_toml(settings), encoding="utf-8")
    deployment = deployments["validate"]
    parameters = {"symbol": SYMBOL, "config": str(config)}
    api(settings, f"deployments/{deployment['id']}/create_flow_run", parameters=parameters, state={"type": "SCHEDULED"})
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "purplesky"]
    with Child("worker", command, tmp_path / "worker.log", client | {"PREFECT_WORKER_QUERY_SECONDS": "2"}) as worker:
        wait_for_run(settings, deployment, "COMPLETED", 180)
        worker.check()
    assert (settings.paths.reports / SYMBOL / "index.html").is_file()


def test_masked_bars_are_invalid_and_unknown() -> None:
    count = 5
    whole = np.arange(count, dtype=np.int64)
    bars = Bars(
        open_ms=whole * 60_000,
        close_ms=(whole + 1) * 60_000,
        **dict.fromkeys(("open", "high", "low", "close", "volume", "trades", "bid", "ask"), whole),
        atr=np.ones(count),
        valid=np.array([True, True, True, True, False]),
        values=np.ones((count, 2)),
    )
    masked = masked_bars(bars, [Window(119_000, 120_000, "x"), Window(180_000, 180_001, "y")])
    assert masked.valid.tolist() == [True, False, True, False, False]
    assert np.isnan(masked.values[1]).all()
    assert not np.isnan(masked.values[2]).any()
    assert bars.valid.sum() == 4


def test_a_session_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installation: Settings
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "yes")
    before = dict(os.environ)
    with runtime.session(installation):
        assert runtime.current() is installation
        assert os.environ["PREFECT_API_URL"] == installation.prefect.api_url
        assert os.environ["PREFECT_HOME"].endswith("prefect")
        assert os.environ["DO_NOT_TRACK"] == "yes"
    assert dict(os.environ) == before
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text("[training]\ntrials = 9\n", encoding="utf-8")
    assert runtime.current("own.toml").training.trials == 9
    assert runtime.current().training.trials == 50


def test_a_meter_tells_now_and_then(capsys: pytest.CaptureFixture[str], installation: Settings) -> None:
    with runtime.session(installation), runtime.Meter(every=0.0) as meter:
        meter("half done")
    assert "half done" in capsys.readouterr().out
    with runtime.session(installation), runtime.Meter(every=1e9) as meter:
        meter("never told")
    assert not capsys.readouterr().out


def test_importing_the_room_is_light() -> None:
    code = "import sys, flows; print(sorted({'prefect', 'pandas', 'great_expectations', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
