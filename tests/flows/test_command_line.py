"""Commands that run flows, on the session's Prefect server: what goes wrong in them is one line, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

from settings import Settings
from tests.executor.test_daemon import fill_lake
from tests.flows.archives import SYMBOL, write_archives
from tests.test_front_door import one_line_error, run


def test_truncated_archive_leaves_nothing(tmp_path: Path, installation: Settings) -> None:
    archives = write_archives(tmp_path / "archives", hours=0.5)
    (whole,) = (archives / "trades" / SYMBOL).iterdir()
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    api = installation.prefect.api_url
    result = run("import", str(archives), "--symbol", SYMBOL, cwd=tmp_path, PURPLESKY_PREFECT__API_URL=api)
    one_line_error(result, whole.name)
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_registry_down_stops_training_before_it_begins(tmp_path: Path, installation: Settings) -> None:
    fill_lake(tmp_path / "data" / "lake", 30)
    servers = {
        "PURPLESKY_MLFLOW__URI": "http://127.0.0.1:9",
        "PURPLESKY_PREFECT__API_URL": installation.prefect.api_url,
    }
    one_line_error(run("train", "--symbol", "SYNUSDT", cwd=tmp_path, **servers), "127.0.0.1:9")
    assert not (tmp_path / "data" / "studies").exists()
