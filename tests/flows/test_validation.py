"""What validation finds, and what it must never take for a pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows._checks import Check
from flows._datadocs import LABELS, run_suite
from flows._findings import DayReport
from flows._quality_checks import VERSIONS, checks, frame_columns, matrix_checks, suite_digests
from flows._verdict import add_section, read_verdict
from flows.validation import ValidationReport, day_span, mask_windows, validate
from market import Lake, import_archives
from market.errors import ConfigError, DataError, EmptyLakeError, UnknownSymbolError
from market.quality import QualityTable, quality_table
from tests.flows.archives import SYMBOL, write_archives
from tests.flows.conftest import CROSSED_MS, STALL_MS, TORN_MS

FIRST, SECOND = "2026-03-01", "2026-03-02"


def failed(report: DayReport) -> dict[str, str]:
    return {finding.check: finding.action for finding in report.findings}


def test_defects_are_found_and_named(judged: ValidationReport) -> None:
    first, second = judged.days
    assert (judged.status, first.date, second.date) == ("warn", FIRST, SECOND)
    assert failed(first) == {
        "suspect": "mask",
        "crossed": "mask",
        "spread": "mask",
        "duplicates": "mask",
    }
    by_name = {finding.check: finding for finding in first.findings}
    assert [(w.start_ms, w.end_ms) for w in by_name["suspect"].windows] == [(STALL_MS - 1_000, STALL_MS + 99_000)]
    assert "silent" in by_name["suspect"].windows[0].cause
    assert [w.start_ms for w in by_name["crossed"].windows] == [CROSSED_MS // 60_000 * 60_000]
    assert [w.start_ms for w in by_name["spread"].windows] == [TORN_MS // 60_000 * 60_000]
    assert by_name["duplicates"].windows[0].start_ms == day_span(FIRST)[0] + 22 * 3_600_000
    assert not second.findings
    assert second.status == "ok"


def test_what_is_not_known_is_not_passed(judged: ValidationReport) -> None:
    states = {check.check: check.state for check in judged.days[1].checks}
    assert states["delay"] == "unknown"  # archives have no receive times
    assert states["duplicates"] == "passed"  # but they have trade ids
    assert len(states) == len(checks(60_000, inner_day=False))


def test_minutes_have_states(judged: ValidationReport) -> None:
    minutes = judged.days[0].minutes
    assert minutes.count("none") == 22 * 60
    assert minutes[22 * 60 + 30] == "suspect"
    assert minutes[23 * 60 + 1] == "masked"
    assert minutes[22 * 60 + 10] == "good"


def test_reports_survive_a_round_trip(judged: ValidationReport, reports: Path) -> None:
    path = reports / SYMBOL / f"{FIRST}.json"
    assert DayReport.read(path) == judged.days[0]
    damaged = reports.parent / "damaged.json"
    damaged.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(DataError, match="not a validation report"):
        DayReport.read(damaged)


def test_mask_windows_follow_the_data(judged: ValidationReport, lake: Lake, reports: Path, tmp_path: Path) -> None:
    windows, unjudged = mask_windows(reports, lake, SYMBOL)
    assert unjudged == []
    assert len(windows) == len(judged.days[0].mask)
    path = reports / SYMBOL / f"{SECOND}.json"
    row = json.loads(path.read_text(encoding="utf-8"))
    (tmp_path / SYMBOL).mkdir()
    for day, status in ((FIRST, "blocked"), (SECOND, "ok")):
        changed = json.loads((reports / SYMBOL / f"{day}.json").read_text(encoding="utf-8")) | {"status": status}
        if day == SECOND:
            changed["fingerprint"] = "of other data"
        (tmp_path / SYMBOL / f"{day}.json").write_text(json.dumps(changed), encoding="utf-8")
    windows, unjudged = mask_windows(tmp_path, lake, SYMBOL)
    assert [(w.start_ms, w.end_ms) for w in windows] == [day_span(FIRST)]
    assert unjudged == [SECOND]
    assert row["fingerprint"] == lake.fingerprint(SYMBOL, *day_span(SECOND))


def test_one_day_alone_finds_the_same(judged: ValidationReport, lake: Lake, tmp_path: Path) -> None:
    report = validate(lake, SYMBOL, SECOND, reports=tmp_path, docs=False)
    assert report.report == tmp_path / SYMBOL / f"{SECOND}.html"
    alone, together = report.days[0], judged.days[1]
    assert alone.checks == together.checks
    assert alone.minutes == together.minutes


def test_a_day_without_trades_is_blocked(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    import_archives(write_archives(tmp_path / "archives", hours=0.2, trades=False), SYMBOL, lake)
    report = validate(lake, SYMBOL, reports=tmp_path / "reports", docs=False)
    assert report.status == "blocked"
    assert "no trades were recorded" in report.days[0].verdict
    # There is no distance to judge: that is unknown, and says so.
    assert {c.check: c.state for c in report.days[0].checks}["same_market"] == "unknown"
    assert "blocked" in report.report.read_text(encoding="utf-8")


def test_a_crossed_book_is_blocked(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    folder = write_archives(tmp_path / "archives", hours=0.2, defect=lambda at, bid, ask: (ask + 5, bid))
    import_archives(folder, SYMBOL, lake)
    report = validate(lake, SYMBOL, reports=tmp_path / "reports", docs=False)
    assert failed(report.days[0])["book_uncrossed"] == "block"


@pytest.mark.parametrize("date", ["yesterday", "2026-02-30", "2026/03/01"])
def test_what_is_not_a_day(lake: Lake, tmp_path: Path, date: str) -> None:
    with pytest.raises(ConfigError, match="is not a day"):
        validate(lake, SYMBOL, date, reports=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_nothing_to_judge_writes_nothing(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(EmptyLakeError, match="2026-03-03"):
        validate(lake, SYMBOL, "2026-03-03", reports=tmp_path / "r")
    with pytest.raises(UnknownSymbolError, match="NOSUCHUSDT"):
        validate(lake, "NOSUCHUSDT", reports=tmp_path / "r")
    with pytest.raises(EmptyLakeError):
        validate(Lake(tmp_path / "none"), SYMBOL, reports=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def table(lake: Lake) -> QualityTable:
    return quality_table(lake.events(SYMBOL), lake.instrument(SYMBOL)).between(*day_span(SECOND))


def test_a_check_that_cannot_be_evaluated_is_an_error(table: QualityTable) -> None:
    broken = Check("broken", "t", "f", "warn", "no_such_column", "sum", "why", low=0)
    with pytest.raises(DataError, match="broken could not be evaluated"):
        run_suite({"minutes": frame_columns(table)}, [broken], name="x", run="r", site=None)


def test_the_library_says_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    one = Check("one", "t", "f", "warn", "a", "sum", "why", low=0, table="day")
    with caplog.at_level("INFO"):
        run_suite({"day": {"date": np.array(["x"], object), "a": np.ones(1)}}, [one], name="x", run="r", site=None)
    assert not caplog.records


def test_every_check_can_fail(table: QualityTable) -> None:
    """A limit that nothing can break, or a column that a check does not look at, would pass for ever."""
    every = (*checks(60_000, inner_day=True), *matrix_checks())
    suite = [check for check in every if check.rule not in ("rows", "clock", "grid")]
    rows = {"minutes": len(table), "day": 1, "features": 3, "bars": 3, "drift": 3}
    tables: dict[str, dict[str, Any]] = {
        name: {LABELS[name]: np.array([str(row) for row in range(count)], object)} for name, count in rows.items()
    }
    for check in suite:
        worst = 0.0 if check.rule == "increasing" else -1e12 if check.high is None else 1e12
        tables[check.table][check.column] = np.full(rows[check.table], worst)
    for check in suite:
        if check.whole:
            tables[check.table][check.whole] = np.ones(rows[check.table])
    outcomes = run_suite(tables, suite, name="x", run="r", site=None)
    assert len(outcomes) == len(suite)
    for outcome in outcomes:
        assert outcome.state == "failed", outcome.check.name


def test_recorded_market_is_not_blocked(recorded: Path, tmp_path: Path) -> None:
    """Hyperliquid's 35 minutes: clean, and every check is evaluated."""
    lake = Lake(tmp_path / "lake")
    import_archives(recorded, "HLBTCUSDT", lake)
    report = validate(lake, "HLBTCUSDT", reports=tmp_path / "reports", docs=False)
    assert report.status == "ok", report.findings


def test_training_reads_one_verdict(judged: ValidationReport, lake: Lake, reports: Path, tmp_path: Path) -> None:
    verdict = read_verdict(reports / SYMBOL)
    assert (verdict.status, verdict.blocked, verdict.unjudged) == ("warn", (), ())
    assert {e.check for e in verdict.exclusions} == {"suspect", "crossed", "spread", "duplicates"}
    assert 4 <= verdict.masked_minutes < 6
    (stall,) = [e for e in verdict.exclusions if e.check == "suspect"]
    assert (stall.start_ms, stall.action) == (STALL_MS - 1_000, "mask")
    assert "silent" in stall.reason
    assert any("suspect windows" in line for line in verdict.text())
    tags = verdict.tags("http://127.0.0.1:8090/x")
    assert tags["validation_report"].endswith("/x")
    assert tags["validation_status"] == "warn"
    page = tmp_path / "report.html"
    page.write_text("<main><p>x</p></main>", encoding="utf-8")
    add_section(page, verdict)
    assert "Left out by data validation" in page.read_text(encoding="utf-8")
    (tmp_path / "verdict.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="not a verdict"):
        read_verdict(tmp_path)


def test_who_changes_a_check_raises_the_version() -> None:
    """Not equal? Then the suites demand something else: raise VERSIONS and write the new hashes here."""
    assert (VERSIONS, {name: digest[:12] for name, digest in suite_digests().items()}) == (
        {"raw": "2.0", "features": "1.0", "drift": "1.1"},
        {"raw": "099eedf4febc", "features": "90fb978eb6ce", "drift": "a05ab64d8bc5"},
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_hole_of_the_recorded_market_is_named(recorded: Path, tmp_path: Path) -> None:
    """StandX' 49 hours, as their description says: stalls everywhere, one hole of 108 s, a book on a coarser grid."""
    lake = Lake(tmp_path / "lake")
    import_archives(recorded, "SXBTCUSDT", lake)
    report = validate(lake, "SXBTCUSDT", reports=tmp_path / "reports")
    assert report.status == "warn"
    suspect = [f for f in report.findings if f.check == "suspect"]
    assert [round(w.seconds) for f in suspect for w in f.windows] == [108]
    assert "108 s from 19:26:11 UTC" in suspect[0].detail
    assert [f.date for f in report.findings if f.check == "silences"] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert {f.date for f in report.findings if f.check == "book_tick"} == {"2026-01-05", "2026-01-06", "2026-01-07"}
    assert not [f for f in report.findings if f.action == "block"]
    # Counted as the page says: 5 s or longer between two messages of the book, by exchange time.
    silent = [f.detail for f in report.findings if f.check == "silences"]
    assert all("silences of 5 s or longer between two messages of the book" in detail for detail in silent)
    assert sum(int(detail.split()[0].replace(",", "")) for detail in silent) == 4_829
    notes = [note for day in report.days for note in day.notes]
    assert sum("none was locked (bid = ask)" in note for note in notes) == 3
