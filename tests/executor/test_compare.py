"""A session against the simulator on the same captured market, and its journal as Parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import settings as configuration
from executor import JournalReader, run_executor
from executor.compare import compare_session
from executor.export import TABLES, export_journal
from executor.status import folder_of
from market.errors import ExecutorError
from settings import Settings
from tests.executor.conftest import asked_before
from tests.executor.test_daemon import fill_lake, make_settings, register


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> Settings:
    """Settings of a session that traded a lake."""
    folder = tmp_path_factory.mktemp("traded")
    settings = make_settings(folder)
    empty_registry(settings.paths.mlruns)
    register(settings, folder, sign=1)
    asked_before(settings)
    fill_lake(settings.paths.lake, 60)
    assert run_executor(settings, "SYNUSDT", feed="lake").closed >= 3
    return settings


def test_a_dry_run_is_what_the_simulator_says(traded: Settings) -> None:
    found = compare_session(traded, "SYNUSDT", "lake/1")
    assert found.live.filled >= 3
    assert found.agree == found.live.plans
    assert found.live.steps == found.simulated.steps
    assert found.live.price == pytest.approx(found.simulated.price)
    assert found.live.markout_bps == pytest.approx(found.simulated.markout_bps)
    assert found.live.fees == pytest.approx(found.simulated.fees)
    assert found.live.net == pytest.approx(found.simulated.net)
    assert found.proposals == {}
    assert "the settings' fill model fits" in found.text()


def test_other_costs_are_found_and_proposed(traded: Settings) -> None:
    other = configuration.override(traded, costs={"taker_fee": "0.001", "order_latency_ms": 400})
    found = compare_session(other, "SYNUSDT", "lake/1")
    assert found.proposals["costs.taker_fee"] == "0.00055"
    assert found.simulated.fees != pytest.approx(found.live.fees)
    assert "proposed: costs.taker_fee = 0.00055" in found.text()


def test_the_journal_as_parquet(traded: Settings, tmp_path: Path) -> None:
    paths = export_journal(traded, "SYNUSDT", "lake/1", tmp_path)
    assert [path.name for path in paths] == [f"{name}.parquet" for name in TABLES]
    reader = JournalReader(folder_of(traded, "SYNUSDT", "lake"))
    for name, columns in TABLES.items():
        sql = f"SELECT {', '.join(columns)} FROM {name} ORDER BY seq, rowid"
        assert duckdb.sql(f"SELECT * FROM '{tmp_path}/{name}.parquet'").fetchall() == reader.query(sql)
    reader.close()
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/fills.parquet'").fetchall()[0][0] >= 6


def test_a_session_that_is_not_there(traded: Settings, tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="names no session"):
        compare_session(traded, "SYNUSDT", "lake/99")
    with pytest.raises(ExecutorError, match="names no session"):
        export_journal(traded, "SYNUSDT", "lake/first", tmp_path)
