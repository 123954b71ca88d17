"""The night against a Prefect server: each symbol's outcome is its own, nothing is done twice, and a person is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from council import Registry
from flows import run_import, runtime
from flows.nights import Night, SymbolNight, read_nights, version_url, write_night
from market import Lake
from market.errors import ConfigError, DataError
from settings import Settings, override
from tests.flows.archives import SYMBOL, write_archives
from tests.flows.test_flows import api, artifacts, last_run

SMALL = {
    **{"timeframe": "1m", "trials": 2, "groups": 3, "test_groups": 1, "members": 1, "min_bars": 50},
    **{"embargo_bars": 1, "workers": 1, "max_correlation": 1.0, "random_trials": 1},
}


@pytest.fixture
def settings(installation: Settings, tmp_path: Path, told: tuple[str, list[dict[str, Any]]]) -> Settings:
    """An empty installation on the session's Prefect server, that tells of its nights."""
    made = override(
        installation,
        paths={"data": tmp_path / "data", "mlruns": tmp_path / "mlruns"},
        training=SMALL,
        operations={"retry_s": 0.05},
    )
    return made.model_copy(update={"secrets": made.secrets.model_copy(update={"notify_urls": SecretStr(told[0])})})


def night_of(settings: Settings, **parameters: Any) -> Any:
    with runtime.session(settings):
        from flows.nightly import nightly

        return nightly(**parameters)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_symbol_has_its_own_outcome(
    settings: Settings, tmp_path: Path, told: tuple[str, list[dict[str, Any]]]
) -> None:
    from flows.nightly import NightFailed

    run_import(settings, write_archives(tmp_path / "archives", hours=4), SYMBOL)
    with pytest.raises(NightFailed, match="1 trained, 1 failed"):
        night_of(settings, symbols=["NOSUCHUSDT", SYMBOL])
    run = last_run(settings, "nightly")
    assert run["state_type"] == "FAILED"
    assert "1 trained, 1 failed" in run["state"]["message"]
    (night,) = read_nights(settings)
    assert [one.state for one in night.symbols] == ["failed", "trained"]
    trained = night.symbols[1]
    assert (trained.version, trained.gate, trained.compared) == (1, "failed", "")
    assert trained.judged == ("2026-03-01 warn", "2026-03-02 warn")
    assert night.run == run["id"]
    # What Prefect's own page shows of it.
    page = artifacts(settings, "night")[-1]["data"]
    assert f"| {SYMBOL} | trained |" in page
    assert "| NOSUCHUSDT | failed |" in page
    assert f"http://127.0.0.1:{settings.reports.port}/{SYMBOL}/docs/index.html" in page
    assert version_url(settings, trained) in page
    assert artifacts(settings, f"data-docs-{SYMBOL.lower()}")
    assert "Nothing is in Production" in artifacts(settings, f"comparison-{trained.model.lower()}")[-1]["data"]
    # A person was told.
    (message,) = told[1]
    assert message["title"].startswith("PurpleSky: night of")
    assert message["type"] == "failure"
    assert "NOSUCHUSDT failed" in message["message"]

    # The same night again does nothing twice, and all is well now.
    night_of(settings, symbols=[SYMBOL])
    run = last_run(settings, "nightly")
    assert (run["state_type"], "1 skipped" in run["state"]["message"]) == ("COMPLETED", True)
    (night,) = read_nights(settings)
    assert night.symbols[0].state == "skipped"
    assert night.symbols[0].reason.startswith("nothing new since version 1")
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    assert len(registry.versions(trained.model)) == 1
    assert told[1][-1]["type"] == "success"


@pytest.mark.slow
def test_a_registry_that_is_down_is_tried_again(
    settings: Settings, tmp_path: Path, told: tuple[str, list[dict[str, Any]]]
) -> None:
    from market.errors import RegistryUnavailable

    run_import(settings, write_archives(tmp_path / "archives", hours=0.5), SYMBOL)
    away = override(settings, mlflow={"uri": "http://127.0.0.1:9"})
    with pytest.raises(RegistryUnavailable):
        night_of(away, attempts=3)
    (night,) = read_nights(settings)
    assert (night.symbols[0].state, night.symbols[0].attempts) == ("failed", 3)
    assert "127.0.0.1:9" in night.symbols[0].reason
    assert told[1][-1]["type"] == "failure"
    assert not (settings.paths.data / "training").exists()
    assert not settings.paths.mlruns.exists()


def test_a_full_disk_stops_the_night_before_it_begins(settings: Settings, tmp_path: Path) -> None:
    from flows.nightly import DiskFull

    run_import(settings, write_archives(tmp_path / "archives", hours=0.5), SYMBOL)
    before = sorted(path for path in tmp_path.rglob("*") if "prefect" not in path.parts)
    full = override(settings, operations={"min_free_bytes": 10**18})
    with pytest.raises(DiskFull, match="a night needs"):
        night_of(full, attempts=2)
    (night,) = read_nights(settings)
    assert (night.symbols[0].state, night.symbols[0].attempts) == ("failed", 2)
    after = sorted(path for path in tmp_path.rglob("*") if "prefect" not in path.parts and "nights" not in path.parts)
    assert after == before


@pytest.mark.slow
def test_too_little_data_is_a_reason_and_no_failure(settings: Settings, tmp_path: Path) -> None:
    run_import(settings, write_archives(tmp_path / "archives", hours=0.5), SYMBOL)
    night_of(settings, per_symbol={SYMBOL: {"min_bars": 5000}})
    (night,) = read_nights(settings)
    assert (night.symbols[0].state, night.green) == ("skipped", True)
    assert "usable bars" in night.symbols[0].reason


def test_impossible_parameters_do_nothing(settings: Settings) -> None:
    for wrong in (
        {"attempts": 0},
        {"symbols": ["x"]},
        {"per_symbol": {SYMBOL: {"trials": -1}}},
        {"per_symbol": {"OTHERUSDT": {}}},
    ):
        with pytest.raises(ConfigError):
            night_of(settings, **wrong)
    assert not read_nights(settings)


def test_a_killed_run_does_not_hang(settings: Settings) -> None:
    """A run whose process is gone is marked, so that its place is free for the next night."""
    from flows.housekeeping import bury

    if not any(pool["name"] == "purplesky" for pool in api(settings, "work_pools/filter")):
        api(settings, "work_pools/", name="purplesky", type="process")
    flow = api(settings, "flows/", name="killed")
    deployment = api(settings, "deployments/", name="killed", flow_id=flow["id"], work_pool_name="purplesky")
    run = api(settings, f"deployments/{deployment['id']}/create_flow_run", name="doomed", state={"type": "RUNNING"})
    try:
        assert bury(settings) == ["doomed"]
        assert bury(settings) == []
    finally:
        import urllib.request

        url = f"{settings.prefect.api_url}/deployments/{deployment['id']}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20).close()
    (found,) = api(settings, "flow_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
    assert found["state"]["type"] == "CRASHED"
    assert "its process is gone" in found["state"]["message"]


def test_nights_are_kept_whole(tmp_path: Path) -> None:
    settings = override(Settings(), paths={"data": tmp_path})
    assert read_nights(settings) == []
    one = SymbolNight("BTCUSDT", "blocked", "bad | data", ("2026-03-01 blocked",))
    for day in (1, 2, 3):
        write_night(settings, Night(f"2026-03-0{day}", 1.0, 2.0, "", (one,)))
    assert [night.date for night in read_nights(settings, 2)] == ["2026-03-03", "2026-03-02"]
    assert read_nights(settings)[0].symbols == (one,)
    assert "- **BTCUSDT** blocked: bad | data. Judged: 2026-03-01 blocked." in read_nights(settings)[0].markdown(
        settings
    )
    (tmp_path / "nights" / "2026-03-04.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="damaged"):
        read_nights(settings)
    assert not list((tmp_path / "nights").glob(".*"))


@pytest.mark.slow
def test_backfill_and_backup_as_flows(settings: Settings, tmp_path: Path) -> None:
    folder = write_archives(tmp_path / "archives", hours=0.2)
    with runtime.session(settings):
        from flows.backfill import backfill
        from flows.backup_flow import backup

        done = backfill(str(folder), [SYMBOL, "NOSUCHUSDT"], judge=False)
        again = backfill(str(folder), [SYMBOL], judge=False)
        archive = backup(str(tmp_path / "kept"))
    assert done[SYMBOL] == "imported"
    assert done["NOSUCHUSDT"].startswith("skipped")
    assert again[SYMBOL] == "nothing new"
    assert Lake(settings.paths.lake).days(SYMBOL)
    assert Path(archive).is_file()
    assert "data/lake" in json.dumps(artifacts(settings, "backup")[-1]["data"])
