"""The pipeline obeys validation and says so: the exit code, the bars that training gets, the version's tags."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from commands.lake import validate as command
from flows import train
from flows._verdict import add_section, windows_of
from flows.validation import ValidationReport, day_span, validate
from market import Lake, import_archives
from settings import Settings, override
from tests.flows.archives import SYMBOL, write_archives
from tests.flows.conftest import STALL_MS

FIRST, SECOND = "2026-03-01", "2026-03-02"


@pytest.mark.parametrize(("trades", "date", "code"), [(True, None, 0), (False, None, 1), (True, "2030-01-01", 2)])
def test_exit_codes(trades: bool, date: str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 where a person may go on, remarks or not; 1 where training is blocked; 2 where nothing could be judged."""
    monkeypatch.chdir(tmp_path)
    import_archives(write_archives(tmp_path / "archives", hours=0.2, trades=trades), SYMBOL, Lake(Path("data/lake")))

    def judge(settings: Settings, symbol: str, day: str | None) -> ValidationReport:
        # The flow without its Prefect server.
        return validate(Lake(settings.paths.lake), symbol, day, reports=settings.paths.reports, docs=False)

    monkeypatch.setattr("commands.lake.pipeline", lambda _: SimpleNamespace(run_validate=judge))
    arguments = ["--symbol", SYMBOL, *(["--date", date] if date else [])]
    done = CliRunner().invoke(command, arguments)
    # An error of ours ends the program with its own code: see `purplesky.main`.
    assert getattr(done.exception, "exit_code", done.exit_code) == code, done.output


@pytest.fixture
def settings(lake: Lake, reports: Path, judged: ValidationReport, tmp_path: Path) -> Settings:
    """An installation whose second day is blocked."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "lake").symlink_to(lake.root)
    own = data / "reports" / SYMBOL
    own.mkdir(parents=True)
    for day in (FIRST, SECOND):
        shutil.copy(reports / SYMBOL / f"{day}.json", own)
    changed = json.loads((own / f"{SECOND}.json").read_text(encoding="utf-8")) | {"status": "blocked"}
    (own / f"{SECOND}.json").write_text(json.dumps(changed), encoding="utf-8")
    return override(Settings(), paths={"data": data, "mlruns": tmp_path / "mlruns"}, training={"timeframe": "1m"})


def test_training_gets_no_bar_that_validation_took_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []
    monkeypatch.setattr("flows.runtime.say", told.append)
    bars, verdict = train._bars.fn(settings, SYMBOL)
    blocked = bars.open_ms >= day_span(SECOND)[0]
    assert blocked.any()
    assert not bars.valid[blocked].any()
    assert np.isnan(bars.values[blocked]).all()
    stalled = (bars.open_ms < STALL_MS + 99_000) & (bars.close_ms > STALL_MS - 1_000)
    assert stalled.sum() == 3
    assert not bars.valid[stalled].any()
    assert bars.valid[~blocked].mean() > 0.9
    for window in windows_of(verdict):
        assert not bars.valid[(bars.close_ms > window.start_ms) & (bars.open_ms < window.end_ms)].any()
    text = "\n".join(told)
    assert f"{SECOND}: the whole day" in text
    assert f"{FIRST}: 1 windows, 1.7 min (suspect windows: book silent for 100 s)" in text
    page = tmp_path / "report.html"
    page.write_text("<main></main>", encoding="utf-8")
    add_section(page, verdict)
    assert f"<li>{SECOND}: the whole day" in page.read_text(encoding="utf-8")


def test_the_registered_version_leads_to_the_pages(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _, verdict = train._bars.fn(settings, SYMBOL)
    given: dict[str, Any] = {}
    registry: Any = SimpleNamespace(register=lambda name, bundle, **more: given.update(more) or 1)
    result: Any = SimpleNamespace(
        bundle=None, report=None, metrics={}, tags={"gate": "failed"}, description="A council."
    )
    monkeypatch.setattr(train, "load_bundle", lambda _: SimpleNamespace(manifest=None))
    train._register.fn(settings, registry, "council", result, verdict, "")
    assert given["tags"]["validation_report"] == f"http://127.0.0.1:{settings.reports.port}/{SYMBOL}/index.html"
    assert given["tags"]["validation_status"] == "blocked"
    assert given["tags"]["validation_excluded"].startswith("1 days and ")
    assert given["tags"]["gate"] == "failed"
    assert f"{SECOND}: the whole day" in given["description"]
