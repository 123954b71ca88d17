"""Units, container and compose file: they name commands that exist, images by tag, and settings that are accepted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import purplesky
from flows.services import SERVICES
from settings import Settings, load

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy").glob("purplesky*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


def parses(words: list[str]) -> None:
    """Whether the command line is one, by the front door's own parser; nothing is run."""
    command: click.Command = purplesky.cli
    context = click.Context(command)
    assert isinstance(command, click.Group)
    name, found, rest = command.resolve_command(context, words)
    assert found is not None
    assert name
    found.make_context(name, rest, parent=context, resilient_parsing=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/usr/bin/env purplesky (.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    parses(shlex.split(line.replace("%i", "BTCUSDT")))


def test_the_target_starts_every_service() -> None:
    text = (ROOT / "deploy" / "purplesky.target").read_text(encoding="utf-8")
    wanted = {name for line in re.findall(r"^Wants=(.+)$", text, re.MULTILINE) for name in line.split()}
    assert wanted == {unit.name for unit in UNITS if "@" not in unit.name}
    assert {f"purplesky-{name}.service" for name in SERVICES} <= wanted


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("no systemd-analyze on this machine")
    for file in [*UNITS, ROOT / "deploy" / "purplesky.target"]:
        shutil.copyfile(file, tmp_path / file.name.replace("@.", "@BTCUSDT."))
    files = [str(path) for path in tmp_path.iterdir()]
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [systemd, "verify", "--user", "--man=no", *files],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=False,
    )
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line or "purplesky" in line]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_compose_service(name: str) -> None:
    service = COMPOSE["services"][name]
    tag = service["image"].rpartition(":")[2]
    assert re.match(r"\d+\.\d+", tag), "images are pinned by tag"
    for published in service.get("ports", []):
        assert published.startswith("127.0.0.1:")
    if name != "postgres":
        parses([str(word) for word in service["command"]])
        assert service["image"] == "purplesky:0.1.0"
    for other in service.get("depends_on", {}):
        assert "healthcheck" in COMPOSE["services"][other]


def test_compose_files_that_it_names_exist() -> None:
    build = COMPOSE["services"]["worker"]["build"]
    assert (ROOT / "deploy" / build["context"] / build["dockerfile"]).resolve().is_file()
    mounted = [one.split(":")[0] for one in COMPOSE["services"]["postgres"]["volumes"]]
    assert (ROOT / "deploy" / mounted[1]).is_file()
    named = {one.split(":")[0] for one in COMPOSE["services"]["worker"]["volumes"] if one[0] != "."}
    assert named <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["prefect", "mlflow", "worker", "executor"])
def test_settings_accept_what_compose_says(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PostgreSQL for Prefect, MLflow and Optuna, and the servers by their names."""
    monkeypatch.chdir(tmp_path)
    for variable, value in COMPOSE["services"][name]["environment"].items():
        text = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "pass%40word", value)
        assert "$" not in text
        monkeypatch.setenv(variable, text)
    settings: Settings = load()
    assert settings.registry_uri == "http://mlflow:5000"
    assert settings.secrets.study_database_url is not None
    service = SERVICES[name](settings, "0.0.0.0") if name in SERVICES else None
    if name == "prefect":
        assert service is not None
        url = service.env["PREFECT_API_DATABASE_CONNECTION_URL"]
        assert url == "postgresql+asyncpg://purplesky:pass%40word@postgres/prefect"
    if name == "mlflow":
        assert service is not None
        assert "--serve-artifacts" in service.command
        assert service.env["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+psycopg2://")
    if name == "worker":
        assert service is not None
        assert service.env["PREFECT_API_URL"] == "http://prefect:4200/api"


def test_the_databases_have_drivers_and_dialects() -> None:
    """The addresses are understood by those who get them; the drivers of psycopg2 are the container's."""
    from sqlalchemy.engine import make_url

    for url in ("postgresql+asyncpg://u:p@postgres/prefect", "postgresql+psycopg2://u:p@postgres/mlflow"):
        assert make_url(url).get_backend_name() == "postgresql"
    container = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"psycopg2-binary==\d", container)
    assert re.search(r"^FROM \S+:\d+\.\d+", container, re.MULTILINE)
    assert "--require-hashes" in container


def test_the_containers_instructions_are_known() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}
    assert words <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD"}
    for source in re.findall(r"^COPY (?:--\S+ )?(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists()


def test_studies_go_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database instead of a journal file; SQLite stands for PostgreSQL, by the same storage of Optuna's."""
    from training.studybook import DATABASE, JOURNAL, Heritage, StudyBook

    monkeypatch.setenv(DATABASE, f"sqlite:///{tmp_path / 'studies.db'}")
    for _ in range(2):
        with StudyBook(tmp_path / "one", Heritage(), "space") as book:
            book.study.ask()
    assert len(book.study.trials) == 2
    assert (tmp_path / "one" / JOURNAL).read_bytes() == b""
    assert (tmp_path / "studies.db").stat().st_size > 0
