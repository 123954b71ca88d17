"""prefect.yaml and the doctor without a server: what is registered can run, and what is missing is said."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

import purplesky
from flows import checkup
from flows.deployments import ROOT, deploy, wanted
from flows.processes import free_port
from flows.runtime import OrchestrationError
from market.errors import ConfigError
from settings import Settings, override

DEPLOYMENTS = wanted()


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_deployment_can_run(name: str) -> None:
    one = DEPLOYMENTS[name]
    path, _, function = one["entrypoint"].partition(":")
    assert (ROOT / path).is_file()
    flow: Any = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    accepted = inspect.signature(flow.fn).parameters
    assert set(one.get("parameters", {})) <= set(accepted)
    needed = {key for key, value in accepted.items() if value.default is inspect.Parameter.empty}
    if one.get("schedules"):
        assert needed <= set(one.get("parameters", {})), "a schedule cannot ask a person"
    assert "config" in accepted
    assert one["description"]
    assert "purplesky" in one["tags"]
    assert one["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"
    assert all(plan["timezone"] == "UTC" for plan in one.get("schedules", []))


def test_what_the_issue_asks_for_is_there() -> None:
    assert {"capture", "nightly", "backfill", "compact", "backup"} <= set(DEPLOYMENTS)
    assert DEPLOYMENTS["nightly"]["parameters"]["attempts"] > 1


def test_deploy_without_a_server(tmp_path: Path) -> None:
    settings = override(Settings(), paths={"data": tmp_path}, prefect={"port": free_port()})
    with pytest.raises(OrchestrationError, match="no Prefect server at") as error:
        deploy(settings)
    assert "purplesky up" in error.value.advice


def test_a_damaged_prefect_yaml(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text("deployments: [", encoding="utf-8")
    for name in ("prefect.yaml", "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            wanted(tmp_path / name)


def test_the_doctor_of_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT", "MLFLOW", "REPORTS"):
        monkeypatch.setenv(f"PURPLESKY_{name}__PORT", str(free_port()))
    monkeypatch.setenv("PURPLESKY_VENUE__REST_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setattr(sys, "argv", ["purplesky", "doctor"])
    with pytest.raises(SystemExit) as stop:
        purplesky.main()
    said = capsys.readouterr().out
    assert stop.value.code == 2
    states = {line[6:].split(":")[0]: line[:4].strip() for line in said.splitlines()}
    assert states["Prefect"] == states["MLflow"] == "fail"
    assert states["analytics"] == "warn"
    assert states["supervisor"] == states["last night"] == states["backup"] == "warn"
    assert states["data folder"] == states["python"] == "ok"
    assert "nothing of it in data/lake" in said
    # It leaves nothing behind.
    assert not list(tmp_path.iterdir())


def test_exit_codes() -> None:
    found = {state: checkup.Finding("x", state, "y") for state in ("ok", "warn", "fail")}  # type: ignore[arg-type]
    assert checkup.exit_code([found["ok"]]) == 0
    assert checkup.exit_code([found["ok"], found["warn"]]) == 1
    assert checkup.exit_code(list(found.values())) == 2


def test_other_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "all.txt").write_text(
        "click==0.0.1 \\\n    --hash=sha256:0\nno-such-package==1.0 ; python_version >= '3'\n"
        "winonly==1 ; sys_platform == 'win32'\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(checkup, "ROOT", tmp_path)
    found = checkup._packages()
    assert found.state == "warn"
    assert ", not 0.0.1" in found.text
    assert "no-such-package is missing" in found.text
    assert "winonly" not in found.text
