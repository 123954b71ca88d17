"""A live executor that is killed, again and again, at every step and at random: a process, an exchange, real sockets.

What holds in the fault matrix, where processes only seem to die, must hold here: no order is sent twice, no position is
without a stop at the exchange, no fill and no flat position is invented, and the journal's money is the exchange's.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executor.actions import Alert, TradeClosed, decode_actions
from executor.events import Filled, decode_event
from executor.ids import kind_of, plan_of
from executor.reader import JournalReader
from executor.status import folder_of, read_status, send_command
from executor.venue import VenueClient
from features import feature_names
from market.errors import ExecutorError
from settings import Settings
from tests.executor.conftest import sign_council
from tests.executor.days import LEVELS, SYMBOL, exchange, install, settings_for
from tests.executor.forks import Nursery

#: Market seconds a second: a bar of 5 s closes six times a second.
SPEED = 30.0
#: A position may be without a stop for so long, market ms: the protection's time-out and twice the pause of closes.
NAKED_MS = 20_000 + 2 * 5_000


class Trial:
    """An exchange, and the executor that trades on it and dies."""

    def __init__(self, folder: Path, url: str, nursery: Nursery) -> None:
        self.folder, self.log, self._nursery = folder, folder / "executor.log", nursery
        executor = {"timeframe": "5s", "protection_timeout_ms": 20_000, "request_timeout_s": 5.0}
        risk: dict[str, Any] = {"max_drawdown": "0.9", "max_daily_loss": "0.9", "loss_streak": 0}
        # Small, so that leverage never caps a size; often, for a life is short here.
        risk |= {"risk_per_trade": "0.0003", "max_entries_per_hour": 0}
        venue = {"speed": SPEED}
        self.settings: Settings = settings_for(folder, url, executor=executor, risk=risk, venue=venue)
        council = sign_council(feature_names(LEVELS), "imbalance_all_mean")
        self.config = install(self.settings, council, None, timeframe="5s")
        self.venue = VenueClient(url, "local", "local-secret", timeout_s=30.0)
        self.sessions = self.kills = 0
        self.pid = -1

    # --- life and death ----------------------------------------------------------------------------------------------

    def start(self, kill_at: int = 0) -> None:
        """Another process."""
        words = ["--config", str(self.config), "execute", "--symbol", SYMBOL, "--timeframe", "5s", "--live"]
        self.sessions += 1
        self.pid = self._nursery.start(words, self.log, kill_at)

    def killed(self) -> int:
        """Wait for the end of the process; how it ended."""
        ended = self._nursery.wait(self.pid)
        self.kills += ended == -signal.SIGKILL
        return ended

    def kill(self) -> None:
        """SIGKILL, now."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.killed() == -signal.SIGKILL, self.last_words()

    def until(self, what: str, done: Any, seconds: float = 120.0) -> None:
        """Wait for something while the process lives."""
        end = time.monotonic() + seconds
        while not done():
            assert self._nursery.alive(self.pid), self.last_words()
            assert time.monotonic() < end, f"{what} did not come\n{self.last_words()}"
            time.sleep(0.02)

    def last_words(self) -> str:
        """The end of what the processes said."""
        return self.log.read_text(encoding="utf-8")[-3_000:] if self.log.exists() else "(nothing)"

    def finish(self) -> None:
        """Let a last process clear up: flat, and ended in order."""
        self.start()
        self.until("the status", lambda: self.status().get("session", 0) and self.status()["running"])
        send_command(self.settings, SYMBOL, "flatten")
        self.until("a flat position", lambda: not self.held()[0] and not self.open_orders() and self._believes_flat())
        os.kill(self.pid, signal.SIGTERM)
        assert self._nursery.wait(self.pid) == 0, self.last_words()

    def _believes_flat(self) -> bool:
        reader = JournalReader(folder_of(self.settings, SYMBOL, "live"))
        try:
            [(halted,)] = reader.query("SELECT count(*) FROM alerts WHERE code = 'flatten'")
            state = reader.query("SELECT seal FROM state")
        finally:
            reader.close()
        return bool(halted) and '"trade":null' in str(state[0][0])

    def status(self) -> dict[str, Any]:
        """What the executor says of itself; empty before it does."""
        try:
            return read_status(self.settings, SYMBOL)
        except ExecutorError:
            return {}

    # --- the exchange ------------------------------------------------------------------------------------------------

    def held(self) -> tuple[Decimal, bool]:
        """Size of the position, and whether it has a stop."""
        rows = self.venue.read("get_positions", category="linear", symbol=SYMBOL).result["list"]
        sizes = [(Decimal(row["size"] or "0"), bool(row["stopLoss"]) and Decimal(row["stopLoss"]) > 0) for row in rows]
        return max(sizes, default=(Decimal(0), False))

    def open_orders(self) -> list[dict[str, Any]]:
        """Entries, closes and targets that rest; a position's own stop is none of them."""
        rows = self.venue.read("get_open_orders", category="linear", symbol=SYMBOL).result["list"]
        return [row for row in rows if not row.get("stopOrderType")]

    def every(self, method: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            result = self.venue.read(method, category="linear", symbol=SYMBOL, limit=50, cursor=cursor).result
            rows += result["list"]
            cursor = result.get("nextPageCursor") or ""
            if not cursor:
                return rows

    # --- the verdict --------------------------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """What is wrong, now that all is over."""
        problems: list[str] = []
        reader = JournalReader(folder_of(self.settings, SYMBOL, "live"))
        turns = [turn for number in reader.sessions() for turn in reader.turns(number)]
        reader.close()
        events = [decode_event(event) for _, event, _ in turns]
        actions = [action for _, _, text in turns for action in decode_actions(text)]
        told = {event.execution_id.removesuffix("+") for event in events if isinstance(event, Filled)}
        real = {row["execId"]: row for row in self.every("get_executions") if row["execType"] != "Funding"}
        problems += [f"invented fill {key}" for key in told - real.keys()]
        problems += [f"fill {key} was never told" for key in real.keys() - told]
        orders = [row for row in self.every("get_order_history") if row["orderLinkId"]]
        links = [row["orderLinkId"] for row in orders]
        problems += [f"{link} is there twice" for link in set(links) if links.count(link) > 1]
        entries = [plan_of(link) for link in links if kind_of(link) == "entry"]
        problems += [f"plan {plan} entered twice" for plan in set(entries) if entries.count(plan) > 1]
        net = sum((action.net_pnl for action in actions if isinstance(action, TradeClosed)), Decimal(0))
        wallet = self.venue.read("get_wallet_balance", accountType="UNIFIED").result["list"][0]["coin"][0]
        money = Decimal(wallet["walletBalance"]) - Decimal(10_000)
        if abs(net - money) > Decimal("1e-6"):
            problems.append(f"the journal's profit is {net}, the exchange's {money}")
        bad = {"foreign", "position", "external-close", "stop-adjusted"}
        problems += [f"alarm {a.code}: {a.text}" for a in actions if isinstance(a, Alert) and a.code in bad]
        return problems


class Witness(threading.Thread):
    """Looks at the exchange all the time: position, stop, entries that rest."""

    def __init__(self, trial: Trial, url: str) -> None:
        super().__init__(daemon=True)
        self._trial, self._over = trial, threading.Event()
        self._venue = VenueClient(url, "local", "local-secret", timeout_s=30.0)
        self.looks, self.with_position, self.worst_ms, self.problems = 0, 0, 0.0, list[str]()

    def run(self) -> None:
        """Until told to end."""
        naked_since: float | None = None
        while not self._over.is_set():
            now = time.monotonic()
            rows = self._venue.read("get_positions", category="linear", symbol=SYMBOL).result["list"]
            orders = self._venue.read("get_open_orders", category="linear", symbol=SYMBOL).result["list"]
            self.looks += 1
            held = [row for row in rows if Decimal(row["size"] or "0") > 0]
            self.with_position += bool(held)
            if any(not row["stopLoss"] or Decimal(row["stopLoss"]) <= 0 for row in held):
                naked_since = now if naked_since is None else naked_since
                self.worst_ms = max(self.worst_ms, (time.monotonic() - naked_since) * 1_000 * SPEED)
            else:
                naked_since = None
            entries = {row["orderLinkId"] for row in orders if kind_of(row["orderLinkId"]) == "entry"}
            if len(entries) > 1:
                self.problems.append(f"two entries rest: {sorted(entries)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join(60)


@contextmanager
def trial(folder: Path, nursery: Nursery, seed: int) -> Iterator[tuple[Trial, Witness]]:
    """An exchange with an executor to be killed, and somebody who watches."""
    with exchange(seed, SPEED, limits={}, ip_limit=None) as url:
        made = Trial(folder, url, nursery)
        witness = Witness(made, url)
        witness.start()
        try:
            yield made, witness
        finally:
            witness.stop()
            if made.pid > 0 and nursery.alive(made.pid):
                os.kill(made.pid, signal.SIGKILL)
                nursery.wait(made.pid)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Forks executors."""
    made = Nursery()
    yield made
    made.close()


def judge(made: Trial, witness: Witness, kills: int) -> None:
    """What must hold when all is over."""
    made.finish()
    witness.stop()
    assert made.kills >= kills
    assert made.verdict() == []
    assert witness.problems == []
    assert witness.worst_ms <= NAKED_MS
    assert witness.with_position > 0


def test_a_process_that_is_killed_loses_and_doubles_nothing(nursery: Nursery, tmp_path: Path) -> None:
    with trial(tmp_path, nursery, 3) as (made, witness):
        made.start(3)
        assert made.killed() == -signal.SIGKILL, made.last_words()
        made.start()
        made.until("a position", lambda: made.held()[0])
        made.kill()
        judge(made, witness, 2)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(4))
def test_every_step_of_a_plan_can_be_the_last(nursery: Nursery, tmp_path: Path, part: int) -> None:
    """Forty steps; each process but the last dies at the n-th step that it takes with a plan alive."""
    with trial(tmp_path, nursery, 20 + part) as (made, witness):
        for kill_at in range(1 + part, 41, 4):
            made.start(kill_at)
            assert made.killed() == -signal.SIGKILL, made.last_words()
        judge(made, witness, 10)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(3))
def test_any_instant_can_be_the_last(nursery: Nursery, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with trial(tmp_path, nursery, 40 + seed) as (made, witness):
        for _ in range(15):
            made.start()
            if chance.random() < 0.6:
                made.until("an order or a position", lambda: made.held()[0] or made.open_orders())
                time.sleep(chance.uniform(0.0, 0.3))
            else:
                time.sleep(chance.uniform(0.1, 4.0))
            made.kill()
        judge(made, witness, 15)
