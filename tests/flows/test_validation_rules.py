"""The contract's tick size changes: days before count in other units, and must not take the whole symbol with them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from features import FeatureStore
from flows._verdict import current_verdict, windows_of
from flows.validation import FeatureInput, day_span, validate
from market import Lake, SessionAssembler
from market.days import lake_days, old_rules
from market.errors import LakeError
from market.events import LIQUIDATION, TICKER, EventBatch
from tests.market.test_history import DAY_MS, walk
from tests.market.venue import BTC, NOON_MS, RULES

FINER = replace(BTC, tick_size=Decimal("0.05"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three days; the tick size changes at the end of the second day's recording."""
    made = Lake(tmp_path_factory.mktemp("rules") / "lake")
    for number, rules in ((0, BTC), (1, BTC), (1.1, FINER), (2, FINER)):
        start_ms = NOON_MS + int(number * DAY_MS)
        with made.writer("BTCUSDT", rules) as writer:
            assembler = SessionAssembler({**RULES, "BTCUSDT": rules}, made.next_ordinal("BTCUSDT"))
            for n, frame in enumerate(walk(int(number * 10), 900, start_ms=start_ms)):
                writer.append(assembler.on_frame(frame, start_ms * 1_000_000 + n), frame)
    return made


def test_the_days_under_the_last_rules_are_served(lake: Lake) -> None:
    with pytest.raises(LakeError, match="changes on the way"):
        lake.events("BTCUSDT")
    days = lake_days(lake, "BTCUSDT")
    first, second, third = lake.days("BTCUSDT")
    assert [day.date for day in days] == [second, third]
    prices = np.concatenate([batch.price[batch.kind == 0] for day in days for batch in day.events()])
    assert prices.min() > 1_900  # about 100 USDT in ticks of 0.05, none in ticks of 0.10
    old = old_rules(lake, "BTCUSDT")
    assert old is not None
    assert (old.days, old.before, old.after) == ((first,), "0.10 / 0.001", "0.05 / 0.001")
    # What simulation replays begins there too.
    rows = sum(len(batch) for batch in lake.events("BTCUSDT", old.until_ms))
    served = sum(int((batch.kind <= 2).sum()) for day in days for batch in day.events())
    assert 0 < rows <= served


def test_rules_that_never_changed_leave_nothing_out(lake: Lake, tmp_path: Path) -> None:
    same = Lake(tmp_path / "lake")
    with same.writer("BTCUSDT", BTC) as writer:
        assembler = SessionAssembler(RULES, 0)
        for n, frame in enumerate(walk(1, 50)):
            writer.append(assembler.on_frame(frame, n), frame)
    assert old_rules(same, "BTCUSDT") is None
    assert len(lake_days(same, "BTCUSDT")) == 1


def test_the_verdict_says_why_older_days_are_left_out(lake: Lake, tmp_path: Path) -> None:
    source = FeatureInput(tmp_path / "store", 60_000, 50)
    report = validate(lake, "BTCUSDT", reports=tmp_path / "reports", features=source, docs=False)
    first, second, third = lake.days("BTCUSDT")
    assert "one_rule" in {f.check for f in report.findings if f.date == second and f.action == "block"}
    tables = {day.date: {check.table for check in day.checks} for day in report.days}
    assert "features" not in tables[first]
    assert "features" in tables[third]
    assert "other units" in next(note for note in report.days[0].notes if "features are not built" in note)
    verdict = current_verdict(tmp_path / "reports" / "BTCUSDT", lake, "BTCUSDT")
    by_date = {day.date: day for day in verdict.days}
    assert by_date[first].status == "outdated"
    assert "tick / step was 0.10 / 0.001, is 0.05 / 0.001 now" in by_date[first].exclusions[0].reason
    assert first in verdict.blocked
    assert by_date[third].status not in ("outdated", "unjudged")
    assert any(first in line and "other units" in line for line in verdict.text())
    assert day_span(first) in {(w.start_ms, w.end_ms) for w in windows_of(verdict)}
    bars = FeatureStore(source.store).by_day(lake_days(lake, "BTCUSDT"), "BTCUSDT", 60_000, 50, 60_000)
    assert len(bars)
    assert bars.open_ms[0] >= day_span(second)[0]


def test_a_day_read_in_pieces_is_the_whole_day(lake: Lake) -> None:
    """Tickers and liquidations lie where they were received, however the day is cut."""
    for day in lake_days(lake, "BTCUSDT"):
        whole = EventBatch.concat(list(day.events()))
        assert {TICKER, LIQUIDATION} <= set(whole.kind.tolist())
        assert (np.diff(whole.ordinal) >= 0).all()
        assert whole.equals(EventBatch.concat(list(day.events(chunk_rows=7))))
