"""The registry on SQLite and on a real MLflow server."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from council import Council, ModelVersionInfo, Registry, load_bundle, save_bundle
from council.registry import cached
from market.errors import BundleError, NoProductionError, RegistryError, RegistryUnavailable
from tests.council.conftest import ENGINE, manifest_fields, market, trained_council

_NUMBERS = itertools.count()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["sqlite", "server"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    uri = request.getfixturevalue(f"{request.param}_uri")
    return Registry(uri, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def local(sqlite_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(sqlite_uri, tmp_path_factory.mktemp("local"))


@pytest.fixture
def name() -> str:
    return f"council-SYNUSDT-5m-{next(_NUMBERS)}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, council: Council) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "passed"
    save_bundle(folder, council, **manifest_fields())
    return folder


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "failed"
    gate = {"passed": False, "dsr": 0.4, "pbo": None, "reasons": ["deflated Sharpe ratio 0.4 < 0.95"]}
    save_bundle(folder, trained_council(1), **manifest_fields(gate=gate))
    return folder


def test_the_newest_model_of_all(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no council is registered at"):
        local.newest_name("nobody-")
    with pytest.raises(RegistryError, match="purplesky train"):
        Registry(f"sqlite:///{tmp_path}/none.db", tmp_path).newest_name("council-")
    local.register(name, bundle)
    other = f"{name}-other"
    local.register(other, bundle)
    assert local.newest_name("council-") == other
    local.register(name, bundle)
    assert local.newest_name("council-") == name


def stage(registry: Registry, name: str, version: int, to: str) -> None:
    """The old button of the UI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        registry._connection.client.transition_model_version_stage(name, str(version), to)


def test_from_training_to_the_executor(
    registry: Registry, name: str, bundle: Path, failed: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    report.write_text("<h1>verdict</h1>")
    assert registry.versions(name) == []
    with pytest.raises(NoProductionError, match=f"no council is registered as {name}|no registry at"):
        registry.production(name)

    metrics = {f"metric_{index}": index / 7 for index in range(130)} | {"unknown": float("nan")}
    first = registry.register(
        name, bundle, report=report, metrics=metrics, params={"trials": 16}, tags={"seed": "7"}, description="# Hello"
    )
    second = registry.register(name, failed)
    assert (first, second) == (1, 2)
    with pytest.raises(NoProductionError, match=f"no version of {name} is in Production"):
        registry.production(name)

    one, two = registry.versions(name)
    assert (one.version, one.gate_passed, one.description) == (1, True, "# Hello")
    assert (two.version, two.gate_passed) == (2, False)
    assert (
        one.tags.items()
        >= {"gate": "passed", "seed": "7", "symbol": "SYNUSDT", "timeframe": "5m", "levels": "200"}.items()
    )
    assert "| dsr | 0.4 |" in two.description
    assert "| pbo | unknown |" in two.description
    assert two.description.startswith("**Gate failed**")
    assert abs(one.created_ms - time.time() * 1000) < 600_000

    assert registry.promote(name) == registry.production(name) == two
    assert registry.promote(name, 1) == registry.production(name) == one

    run = registry._connection.client.get_run(one.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trials": "16"}
    assert len(run.data.metrics) == 131
    assert [item.path for item in registry._connection.client.list_artifacts(one.run_id, "report")] == [
        "report/report.html"
    ]

    fetched = registry.fetch(name, 1, tmp_path / "cache")
    assert fetched == tmp_path / "cache" / one.content_hash
    assert load_bundle(fetched, symbol="SYNUSDT").members == load_bundle(bundle).members
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [one.content_hash]


def test_every_part_is_in_place_in_the_run(registry: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    version = registry.register(name, bundle)
    client = registry._connection.client
    run_id = registry.version(name, version).run_id
    names = {item.path for item in client.list_artifacts(run_id, "council")}
    assert {"council/MLmodel", "council/served.py", "council/artifacts"} <= names
    assert not [path for path in names if path.endswith((".pkl", ".pickle", ".joblib"))]


def test_ui_shows_a_signature_and_the_model_answers_like_the_council(
    server_uri: str, name: str, bundle: Path, council: Council, tmp_path: Path
) -> None:
    registry = Registry(server_uri, tmp_path)
    registry.register(name, bundle)
    address = f"{server_uri}/model-versions/get-artifact?path=MLmodel&name={name}&version=1"
    with urllib.request.urlopen(address, timeout=30) as answer:
        text = answer.read().decode()
    assert "signature:" in text
    assert all(feature in text for feature in ENGINE)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow, about itself
        import pandas as pd
        from mlflow.artifacts import download_artifacts
        from mlflow.pyfunc import load_model

        source = registry._connection.client.get_model_version_download_uri(name, "1")
        folder = download_artifacts(artifact_uri=source, dst_path=str(tmp_path / "model"), tracking_uri=server_uri)
        values, _ = market(5, features=len(ENGINE))
        answers = load_model(folder).predict(pd.DataFrame(values, columns=list(ENGINE)))
    decisions = council.vote_many(values)
    assert np.array_equal(answers["side"].to_numpy(), decisions.side)
    assert np.array_equal(answers["confidence"].to_numpy(), decisions.confidence)


def test_alias_and_stage(local: Registry, name: str, bundle: Path, failed: Path) -> None:
    for folder in (bundle, failed, bundle):
        local.register(name, folder)
    stage(local, name, 2, "Production")
    assert local.production(name).version == 2  # a stage counts where there is no alias
    local._connection.client.set_registered_model_alias(name, "production", "2")
    assert local.production(name).version == 2  # both agree
    local._connection.client.set_registered_model_alias(name, "production", "3")
    with pytest.raises(RegistryError, match="different versions \\(2, 3\\)"):
        local.production(name)
    assert local.promote(name, 1).version == local.production(name).version == 1  # a person's word settles it
    local._connection.client.delete_registered_model_alias(name, "production")
    with pytest.raises(NoProductionError):
        local.production(name)


def test_versions_that_do_not_exist(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no council is registered"):
        local.promote(name)
    with pytest.raises(RegistryError, match=r"has no version 1\. .*\(none\)"):
        local.promote(name, 1)
    local.register(name, bundle)
    for ask in (lambda: local.promote(name, 9), lambda: local.fetch(name, 9, tmp_path), lambda: local.version(name, 9)):
        with pytest.raises(RegistryError, match=r"has no version 9\. Choose one that exists \(1\)"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_more_versions_than_a_page(local: Registry, name: str, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("council.registry.BATCH", 2)
    for _ in range(3):
        local.register(name, bundle)
    assert [info.version for info in local.versions(name)] == [1, 2, 3]


def artifacts(registry: Registry, info: ModelVersionInfo) -> Path:
    return registry.artifact_root / info.name / info.run_id / "artifacts" / "council" / "artifacts" / "council"


def test_fetch_downloads_once_and_repairs_its_cache(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    local.register(name, bundle)
    info = local.version(name, 1)
    here = local.fetch(name, 1, tmp_path)
    (here / "rank_1" / "long.txt").write_text("damaged on our disk")
    assert cached(tmp_path, info.content_hash) is None
    assert local.fetch(name, 1, tmp_path) == here
    assert cached(tmp_path, info.content_hash) == here
    shutil.rmtree(artifacts(local, info))
    assert local.fetch(name, 1, tmp_path) == here  # nothing was downloaded
    with pytest.raises(BundleError, match="holds no bundle"):
        local.fetch(name, 1, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_damaged_and_exchanged_bundles_are_not_fetched(
    local: Registry, name: str, bundle: Path, failed: Path, tmp_path: Path
) -> None:
    local.register(name, bundle)
    stored = artifacts(local, local.version(name, 1))
    (stored / "rank_2" / "short.txt").write_text("tree")
    with pytest.raises(BundleError, match="does not match its hash"):
        local.fetch(name, 1, tmp_path)
    shutil.rmtree(stored)
    shutil.copytree(failed, stored)
    with pytest.raises(BundleError, match="its tag says"):
        local.fetch(name, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_names_are_hashes_only(tmp_path: Path, bundle: Path) -> None:
    shutil.copytree(bundle, tmp_path / "inside")
    assert cached(tmp_path, "inside") is None
    assert cached(tmp_path / "inside", "..") is None
    shutil.copytree(bundle, tmp_path / ("0" * 64))
    assert cached(tmp_path, "0" * 64) is None


def test_damaged_bundle_is_not_registered(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "b"))
    (damaged / "rank_1" / "long.txt").unlink()
    with pytest.raises(BundleError):
        local.register(name, damaged)
    assert local.versions(name) == []
    assert local._connection.client.get_experiment_by_name(name) is None


def test_failed_registration_leaves_no_version(local: Registry, name: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        local.register(name, bundle, report=tmp_path / "nowhere.html")
    assert local.versions(name) == []
    client = local._connection.client
    experiment = client.get_experiment_by_name(name)
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]


def test_deleted_experiment_comes_back(local: Registry, name: str, bundle: Path) -> None:
    local.register(name, bundle)
    client = local._connection.client
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    assert local.register(name, bundle) == 2


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()
        accepted: list[socket.socket] = []

        def accept() -> None:
            while not stop.is_set():
                try:
                    accepted.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        for connection in accepted:
            connection.close()


def test_server_that_is_down(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    registry = Registry(f"http://127.0.0.1:{port}", tmp_path)
    started = time.monotonic()
    for ask in (
        lambda: registry.production("a"),
        lambda: registry.register("a", bundle),
        lambda: registry.promote("a", 1),
        lambda: registry.versions("a"),
        lambda: registry.fetch("a", 1, tmp_path / "cache"),
    ):
        with pytest.raises(RegistryUnavailable, match=f"127.0.0.1:{port} cannot be reached") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
    assert time.monotonic() - started < 30
    assert list(tmp_path.iterdir()) == []


def test_server_that_hangs(silent_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(f"http://127.0.0.1:{silent_port}", tmp_path)
    assert registry._connection.client is not None
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 5
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    started = time.monotonic()
    with pytest.raises(RegistryUnavailable):
        registry.production("a")
    assert time.monotonic() - started < 15


def test_file_that_is_no_registry(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, it is a letter to a friend")
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "mlflow.db", tmp_path / "file" / "mlflow.db"):
        registry = Registry(f"sqlite:///{file}", tmp_path / "artifacts")
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="cannot be used"):
            registry.register("a", bundle)
        assert time.monotonic() - started < 5
    assert not (tmp_path / "artifacts").exists()


def test_reading_makes_no_registry(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}", tmp_path / "mlruns")
    with pytest.raises(NoProductionError, match="no registry at"):
        registry.production("a")
    assert registry.versions("a") == []
    with pytest.raises(RegistryError, match="no version 3"):
        registry.fetch("a", 3, tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["", "mlruns", "ftp://example", "http://", "file:///mlruns"])
def test_addresses_that_are_none(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is no registry address"):
        Registry(uri, tmp_path).production("a")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_council_pulls_nothing_heavy() -> None:
    heavy = ["mlflow", "pandas", "lightgbm", "sklearn", "optuna", "prefect", "matplotlib", "sqlalchemy", "pyarrow"]
    out = run_python(f"import sys, json, council; print(json.dumps([m for m in {heavy!r} if m in sys.modules]))")
    assert json.loads(out) == []


def test_base_install_registers_and_fetches(server_uri: str, name: str, bundle: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
for missing in ("pandas", "sqlalchemy", "alembic", "sklearn", "matplotlib"):
    sys.modules[missing] = None
from council import Registry, load_bundle
registry = Registry({server_uri!r}, Path({str(tmp_path)!r}))
registry.register({name!r}, Path({str(bundle)!r}))
info = registry.promote({name!r})
council = load_bundle(registry.fetch(info.name, info.version, Path({str(tmp_path / "cache")!r})))
print(registry.production({name!r}).version, len(council.members), council.vote([0.1] * {len(ENGINE)}).side)
"""
    side = load_bundle(bundle).vote([0.1] * len(ENGINE)).side
    assert run_python(code) == f"1 3 {side}\n"


def test_missing_packages_are_named(tmp_path: Path, bundle: Path) -> None:
    code = f"""
import sys
from pathlib import Path
for missing in ("pandas", "sqlalchemy", "alembic"):
    sys.modules[missing] = None
from council import Registry
from market.errors import RegistryError
try:
    Registry("sqlite:///{tmp_path / "mlflow.db"}", Path({str(tmp_path)!r})).register("a", Path({str(bundle)!r}))
except RegistryError as error:
    print(error)
"""
    assert "needs the package sqlalchemy. Install purplesky[pipeline]" in run_python(code)
