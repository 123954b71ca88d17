"""The executor's trades are the backtest's of the same council on what was captured, to the tick."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executor.build import choose_feed
from executor.replay import replay_session
from simulation import SYNTHETIC
from tests.executor.conftest import MINUTE
from tests.executor.days import SYMBOL, Account, backtested, captured_session, declared, executed

#: Limits of the account as a whole, which a backtest does not have.
UNLIMITED: dict[str, Any] = {
    "max_drawdown": "0.99",
    "max_daily_loss": "0.99",
    "loss_streak": 0,
    "max_entries_per_hour": 0,
}
#: Every so often, at multiples of it, funding is exchanged.
FUNDING_MS = SYNTHETIC.funding_interval_min * MINUTE
#: The rules by which an executor may leave a signal alone and a backtest does not: the beginnings of their reasons.
RULES = (
    "bar not whole", "unknown here, known in training", "far outside training", "frozen",
    "ATR unknown", "daily loss limit", "cooldown after losses", "spread", "rate limit", "portfolio",
)  # fmt: skip


def assert_equal(executor: Account, backtest: Account) -> None:
    """Every life the same; money to a billionth of a USDT, for the backtest counts it in doubles."""
    ours, theirs = {life.open_ms: life for life in executor.lives}, {life.open_ms: life for life in backtest.lives}
    different = {bar: (ours.get(bar), theirs.get(bar)) for bar in ours.keys() | theirs.keys()}
    assert {bar: pair for bar, pair in different.items() if pair[0] != pair[1]} == {}
    np.testing.assert_allclose(executor.money, backtest.money, rtol=0, atol=1e-9)


def assert_explained(executor: Account) -> None:
    """No signal is left alone for a reason that is not a declared rule."""
    others = {reason for reason in executor.refused.values() if declared(reason) and not reason.startswith(RULES)}
    assert others == set()


def test_an_hour_of_dry_run_is_its_backtest(tmp_path: Path) -> None:
    """With the limits as they are: what they keep from being traded is left out of the backtest."""
    settings = captured_session(tmp_path, 64, 5)
    executor = executed(settings)
    backtest, unknown = backtested(settings, executor)
    assert_equal(executor, backtest)
    assert_explained(executor)
    assert unknown <= 1
    assert len([life for life in executor.lives if life.filled]) >= 4
    assert "the same to the byte" in replay_session(settings, SYMBOL, "dry-run/1")


@pytest.mark.slow
@pytest.mark.timeout(5_400)
def test_two_days_of_dry_run_are_their_backtest(tmp_path: Path) -> None:
    settings = captured_session(tmp_path, 2 * 24 * 60, 7, risk=UNLIMITED)
    executor = executed(settings)
    backtest, unknown = backtested(settings, executor)
    assert_equal(executor, backtest)
    assert_explained(executor)
    assert unknown <= 1
    reasons = Counter(life.reason for life in executor.lives)
    assert len(executor.lives) >= 300
    assert {"stop", "target", "time", "none"} <= reasons.keys()
    # After the warm-up the only rule that ever keeps a signal from being traded is that a plan is under way.
    late = sorted(bar for bar, reason in executor.refused.items() if declared(reason))
    assert late[-1] - late[0] < 6 * 3_600_000
    # Funding was paid by those who held over one of its times, and by nobody else.
    held = [life.filled > 0 and life.entry_ms // FUNDING_MS != life.exit_ms // FUNDING_MS for life in executor.lives]
    assert [funding != 0 for _, funding, _ in executor.money] == held
    assert any(held)
    assert choose_feed(settings, SYMBOL, "auto", lambda _: None).mode == "lake"  # and the lake can be replayed
