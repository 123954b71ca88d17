"""Who is in Production, asked in this process and in one of its own: the same answers, and the same errors."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from council import Council, Registry, save_bundle
from council._mlflow import Connection
from council._signature import signature
from council._version import Found
from council.lookout import Lookout, Outside, _told, main
from council.registry import PRODUCTION, cached
from market.errors import BundleError, NoProductionError, RegistryError, RegistryUnavailable
from tests.council.conftest import manifest_fields

_NUMBERS = itertools.count()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["sqlite", "server"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(request.getfixturevalue(f"{request.param}_uri"), tmp_path_factory.mktemp("shelf") / "artifacts")


@pytest.fixture(scope="module")
def local(sqlite_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(sqlite_uri, tmp_path_factory.mktemp("local") / "artifacts")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, council: Council) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "passed"
    save_bundle(folder, council, **manifest_fields())
    return folder


@pytest.fixture
def name() -> str:
    return f"council-LOOKUSDT-5m-{next(_NUMBERS)}"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Each process that was started to ask the registry."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*words: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(real(*words, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr("council.lookout.subprocess.Popen", popen)
    return started


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each question to the registry; what a child would do is done here, which spares the start of MLflow."""
    questions: list[str] = []

    def ask(self: Outside, name: str, cache: Path) -> Found:
        questions.append(name)
        question = json.dumps([self._uri, str(self._artifact_root.absolute()), name, str(cache.absolute())])
        answer = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(question))
            patch.setattr(sys, "stdout", answer)
            main()
        return _told(answer.getvalue().encode(), b"", 0)

    monkeypatch.setattr(Outside, "_ask", ask)
    return questions


def ways(registry: Registry) -> list[Lookout]:
    return [registry, Outside(registry.uri, registry.artifact_root)]


def test_both_ways_give_the_same(registry: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    info = registry.promote(name, registry.register(name, bundle, description="# Hello"))
    inside, outside = (way.look(name, tmp_path / str(n)) for n, way in enumerate(ways(registry)))
    assert inside.info == outside.info == info
    assert outside.folder == tmp_path / "1" / info.content_hash
    assert sorted(p.relative_to(outside.folder) for p in outside.folder.rglob("*")) == sorted(
        p.relative_to(inside.folder) for p in inside.folder.rglob("*")
    )


def test_a_disk_that_takes_no_note_stops_nobody(
    local: Registry, name: str, bundle: Path, tmp_path: Path, asked: list[str]
) -> None:
    info = local.promote(name, local.register(name, bundle))
    outside = Outside(local.uri, local.artifact_root)
    outside._note(name, tmp_path).mkdir()
    assert outside.look(name, tmp_path).info == info
    assert asked == [name]


def test_a_click_in_the_ui_is_seen_and_written_down(
    registry: Registry, name: str, bundle: Path, tmp_path: Path, asked: list[str]
) -> None:
    see_clicks(registry, name, bundle, tmp_path, asked)


@pytest.mark.slow
def test_a_click_in_the_ui_is_seen_and_written_down_by_the_child(
    registry: Registry, name: str, bundle: Path, tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    see_clicks(registry, name, bundle, tmp_path, children)


def see_clicks(registry: Registry, name: str, bundle: Path, tmp_path: Path, asked: Sequence[object]) -> None:
    registry.promote(name, registry.register(name, bundle))
    outside = Outside(registry.uri, registry.artifact_root)
    assert outside.look(name, tmp_path) == outside.look(name, tmp_path)
    assert len(asked) == 1
    assert outside.look(name, tmp_path).info.version == 1
    registry.register(name, bundle)
    registry._connection.client.set_registered_model_alias(name, PRODUCTION, "2")
    assert outside.look(name, tmp_path).info.version == 2
    assert registry.ledger.in_production(name) == [1, 2]
    registry._connection.client.delete_registered_model_alias(name, PRODUCTION)
    with pytest.raises(NoProductionError, match=f"no version of {name} is in Production"):
        outside.look(name, tmp_path)
    assert len(asked) == 3


@pytest.mark.slow
def test_nothing_is_started_while_nothing_changes(
    local: Registry, name: str, bundle: Path, tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    outside = Outside(local.uri, local.artifact_root)
    for _ in range(3):
        with pytest.raises(NoProductionError, match=f"no council is registered as {name}"):
            outside.look(name, tmp_path)
    assert len(children) == 1
    local.promote(name, local.register(name, bundle))
    found = [outside.look(name, tmp_path) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(children) == 2
    local._connection.client.set_model_version_tag(name, "1", "gate", "failed")  # decides whether it may trade live
    assert not outside.look(name, tmp_path).info.gate_passed
    assert len(children) == 3
    shutil.rmtree(found[0].folder)
    assert outside.look(name, tmp_path).folder.is_dir()
    assert len(children) == 4


def test_who_starts_again_need_not_ask(
    local: Registry, name: str, bundle: Path, tmp_path: Path, asked: list[str]
) -> None:
    local.promote(name, local.register(name, bundle))
    first = Outside(local.uri, local.artifact_root).look(name, tmp_path)
    assert Outside(local.uri, local.artifact_root).look(name, tmp_path) == first
    assert len(asked) == 1
    (first.folder / "rank_1" / "long.txt").write_text("damaged on our disk")
    again = Outside(local.uri, local.artifact_root)
    assert again.look(name, tmp_path) == first
    assert cached(tmp_path, first.info.content_hash) == first.folder
    assert len(asked) == 2


@pytest.mark.slow
def test_alias_and_stage_that_contradict_each_other(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        local.register(name, bundle)
    client = local._connection.client
    client.set_registered_model_alias(name, PRODUCTION, "2")
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage(name, "1", "Production")
    for way in ways(local):
        with pytest.raises(RegistryError, match="different versions \\(1, 2\\)"):
            way.look(name, tmp_path)


@pytest.mark.slow
def test_a_bundle_that_is_not_what_its_tag_says(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    local.promote(name, local.register(name, bundle))
    local._connection.client.set_model_version_tag(name, "1", "content_hash", "f" * 64)
    for way in ways(local):
        with pytest.raises(BundleError, match="its tag says ffffffffffff"):
            way.look(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mlflow_stays_out_of_the_process(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    local.promote(name, local.register(name, bundle))
    code = f"""
import json, sys
from pathlib import Path
from council.lookout import Outside
Outside({local.uri!r}, Path({str(local.artifact_root)!r})).look({name!r}, Path({str(tmp_path)!r}))
print(json.dumps([m for m in ("mlflow", "pandas", "polars", "sqlalchemy", "requests") if m in sys.modules]))
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == []


def test_tables_that_we_do_not_know_have_no_signature(tmp_path: Path, empty_registry: Callable[[Path], Path]) -> None:
    file = empty_registry(tmp_path)
    connection = Connection(f"sqlite:///{file}")
    assert signature(connection, "a") is not None
    with closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE registered_model_aliases RENAME COLUMN alias TO nickname")
    assert signature(connection, "a") is None


@pytest.mark.slow
def test_without_a_signature_it_is_asked_each_time(
    local: Registry, name: str, bundle: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, children: list[subprocess.Popen[bytes]],
) -> None:  # fmt: skip
    local.promote(name, local.register(name, bundle))
    monkeypatch.setattr("council.lookout.signature", lambda connection, name: None)
    outside = Outside(local.uri, local.artifact_root)
    assert [outside.look(name, tmp_path).info.version for _ in range(2)] == [1, 1]
    assert len(children) == 2


def test_a_server_that_is_down_starts_nothing(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outside = Outside(f"http://127.0.0.1:{port}", tmp_path)
    with pytest.raises(RegistryUnavailable, match=f"127.0.0.1:{port} cannot be reached \\(ConnectionRefusedError\\)"):
        outside.look("a", tmp_path / "cache")
    assert children == []


def test_a_damaged_file_is_asked_once_in_a_while(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, it is a letter to a friend")
    outside = Outside(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    for _ in range(3):
        with pytest.raises(RegistryUnavailable, match="cannot be used"):
            outside.look("a", tmp_path / "cache")
    assert len(children) == 1


@pytest.mark.parametrize("uri", ["", "mlruns", "ftp://example", "http://"])
def test_addresses_that_are_none(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is no registry address"):
        Outside(uri, tmp_path).look("a", tmp_path)


def test_no_file_is_no_council(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(NoProductionError, match="no registry at"):
        Outside(f"sqlite:///{tmp_path}/none.db", tmp_path).look("a", tmp_path)
    assert children == []
    assert list(tmp_path.iterdir()) == []


def test_the_child_is_told_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_registry: Callable[[Path], Path],
) -> None:  # fmt: skip
    secret = "a-secret-that-nobody-needs"
    for variable in ("BYBIT_API_SECRET", "DISCORD_WEBHOOK_URL", "NOTIFY_URLS", "PURPLESKY_ANY"):
        monkeypatch.setenv(variable, secret)
    told: list[str] = []
    real = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        told.append(repr(command) + repr(options["env"]))
        return real(command, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("council.lookout.subprocess.Popen", popen)
    uri = f"sqlite:///{empty_registry(tmp_path)}"
    with pytest.raises(NoProductionError):
        Outside(uri, tmp_path / "artifacts").look("a", tmp_path / "cache")
    assert len(told) == 1
    assert secret not in told[0]
    assert uri not in told[0]  # an address may carry a password


def test_closing_ends_a_child_at_work(tmp_path: Path, empty_registry: Callable[[Path], Path]) -> None:
    outside = Outside(f"sqlite:///{empty_registry(tmp_path)}", tmp_path / "artifacts")
    said: list[Exception] = []

    def look() -> None:
        try:
            outside.look("a", tmp_path / "cache")
        except RegistryError as error:
            said.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    while outside._child is None:
        time.sleep(0.001)
    pid = outside._child.pid
    outside.close()
    thread.join(10)
    assert [type(error) for error in said] == [RegistryUnavailable]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RegistryUnavailable, match="not asked any more"):
        outside.look("b", tmp_path / "cache")
