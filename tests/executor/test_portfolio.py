"""Several contracts of one account: one limit on all of them, one kill switch, one dry-run purse."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from executor.actions import Alert, CancelEntry, Decided, PlaceEntry
from executor.clock import VenueClock
from executor.core import Core
from executor.events import (
    BarClosed,
    CouncilChanged,
    EquityRead,
    Event,
    OrderAccepted,
    OrderCancelled,
    OthersHold,
    Resume,
    encode,
)
from executor.gateway import DryRunGateway
from executor.journal import Journal
from executor.pool import Pool
from executor.portfolio import Portfolio
from executor.reader import JournalReader
from executor.replay import replay
from executor.risk import Room, exposure, size_steps
from executor.session import Session
from executor.state import CoreConfig, CoreState
from market.instruments import Instrument
from simulation import FillModel
from tests.executor.conftest import CONFIG, COUNCILS, INSTRUMENT, MINUTE, START_MS, Bench
from tests.executor.journalled import heard, said

MODEL = FillModel(50, 0.0002, 0.00055)
#: A bar's entry has a stop 100 ticks (50 USDT) away: 50 USDT of 10,000 are worth 0.689 coins, or 20,670 USDT.
CAPPED = msgspec.structs.replace(CONFIG, max_portfolio_leverage=Decimal("3.5"), max_portfolio_risk=Decimal("0.02"))


def contract(symbol: str) -> Instrument:
    return Instrument.from_json(INSTRUMENT.to_json() | {"symbol": symbol})


class Desk:
    """A session of one contract, driven event by event."""

    def __init__(self, folder: Path, symbol: str, common: Desks, config: CoreConfig) -> None:
        self.symbol, self.common = symbol, common
        rules = contract(symbol)
        self.config = msgspec.structs.replace(config, instrument=rules.to_json())
        self.folder = folder / symbol
        self.journal = Journal(self.folder)
        saved = self.journal.saved
        core = Core(self.config, COUNCILS.__getitem__, CoreState.load(bytes(saved.core)) if saved else None)
        account = bytes(saved.gateway) if saved else None
        self.gateway = DryRunGateway(rules, MODEL, Decimal(10_000), account, common.pool)
        self.number = self.journal.begin(symbol, "dry-run", encode(self.config), core.state.dump(), "test")
        self.session = Session(
            core=core,
            journal=self.journal,
            gateway=self.gateway,
            view=None,  # type: ignore[arg-type]
            clock=VenueClock(),
            echo=lambda _: None,
        )
        common.portfolio.join(self.session)
        if saved is None:
            self.drive(CouncilChanged(START_MS, "long", 1, True), EquityRead(START_MS, START_MS, Decimal(10_000)))

    @property
    def state(self) -> CoreState:
        return self.session.core.state

    def drive(self, *events: Event) -> None:
        self.session.drive(list(events))

    def equity(self, amount: int | None) -> None:
        at = self.state.now_ms + 1
        self.drive(EquityRead(at, at, None if amount is None else Decimal(amount)))

    def bar(self, close_ms: int, signal: float = 0.5) -> Decided:
        self.drive(
            BarClosed(
                now_ms=close_ms + 40,
                open_ms=close_ms - MINUTE,
                close_ms=close_ms,
                close=60_000,
                bid=60_000,
                ask=60_001,
                atr=50.0,
                valid=True,
                values=np.array([signal, close_ms % 977], "<f8").tobytes(),
                book_age_ms=80,
            )
        )
        return self.session.decisions[-1]

    def used(self) -> tuple[Decimal, Decimal]:
        return exposure(self.config, self.session.core.rules, self.state.trade)

    def said(self, kind: type) -> list[Any]:
        return said(self.journal, kind)

    def heard(self, kind: type) -> list[Any]:
        return heard(self.journal, kind)

    def close(self) -> None:
        self.journal.end(self.state.dump())
        self.journal.close()


class Desks:
    """Two contracts of one account."""

    def __init__(self, folder: Path, config: CoreConfig = CAPPED) -> None:
        self.portfolio, self.pool = Portfolio(), Pool()
        self.one = Desk(folder, "ONEUSDT", self, config)
        self.two = Desk(folder, "TWOUSDT", self, config)

    def close(self) -> None:
        self.one.close()
        self.two.close()


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    for desk in (made.one, made.two):
        desk.journal.close()


def test_two_entries_at_the_same_close_share_what_room_there_is(desks: Desks) -> None:
    first = desks.one.bar(START_MS + MINUTE)
    second = desks.two.bar(START_MS + MINUTE)
    assert first.link_id is not None
    assert second.link_id is not None
    (value, loss), (other_value, other_loss) = desks.one.used(), desks.two.used()
    assert value > other_value > 0
    assert value + other_value <= 35_000
    assert loss + other_loss <= 200
    [alert] = [alert for alert in desks.two.said(Alert) if alert.code == "portfolio"]
    assert "portfolio cap" in alert.text
    [told] = desks.two.heard(OthersHold)
    assert (told.notional, told.risk) == (value, loss)
    # What the first one heard, or did not hear, is in its journal, too.
    assert desks.one.heard(OthersHold) == []


def test_where_no_order_fits_the_journal_names_the_cap(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CAPPED, max_portfolio_leverage=Decimal("2.0670"))
    desks = Desks(tmp_path, config)
    assert desks.one.bar(START_MS + MINUTE).link_id is not None
    decided = desks.two.bar(START_MS + MINUTE)
    assert decided.link_id is None
    assert decided.reason.startswith("portfolio cap: other contracts use ")
    rows = desks.two.journal.query("SELECT reason FROM decisions")
    assert rows == [(decided.reason,)]
    desks.close()


def test_the_risk_of_all_stops_together_is_capped(tmp_path: Path) -> None:
    config = msgspec.structs.replace(CAPPED, max_portfolio_leverage=Decimal(0), max_portfolio_risk=Decimal("0.006"))
    desks = Desks(tmp_path, config)
    desks.one.bar(START_MS + MINUTE)
    desks.two.bar(START_MS + MINUTE)
    losses = [desk.used()[1] for desk in (desks.one, desks.two)]
    assert losses[0] > Decimal(49)
    assert 0 < losses[1] <= Decimal(60) - losses[0]
    desks.close()


def test_room_comes_back_when_an_entry_ends(desks: Desks) -> None:
    assert desks.one.bar(START_MS + MINUTE).link_id is not None
    trade = desks.one.state.trade
    assert trade is not None
    desks.one.drive(OrderAccepted(START_MS + MINUTE + 50, trade.link_id))
    # An entry that has left the book may still have filled: it counts until that is out of the question.
    desks.one.drive(OrderCancelled(START_MS + MINUTE + 60, trade.link_id, 0, "by the test"))
    assert desks.one.used()[0] > 0
    desks.one.bar(START_MS + 2 * MINUTE, signal=float("nan"))
    assert desks.one.used() == (Decimal(0), Decimal(0))
    desks.two.bar(START_MS + 2 * MINUTE)
    assert desks.two.heard(OthersHold) == []
    assert desks.two.used()[0] > Decimal(20_000)


def test_both_journals_replay_to_the_byte_each_alone(tmp_path: Path) -> None:
    desks = Desks(tmp_path)
    for bar in range(1, 8):
        for desk in (desks.one, desks.two) if bar % 2 else (desks.two, desks.one):
            desk.bar(START_MS + bar * MINUTE, signal=0.5 if bar % 3 else -0.5)
            desk.drive(*desk.gateway.take())
            trade = desk.state.trade
            if trade is not None and bar % 3 == 0 and trade.entry_live:
                desk.drive(OrderCancelled(desk.state.now_ms + 1, trade.link_id, 0, "by the test"))
    desks.one.equity(8_000)
    desks.close()
    for desk in (desks.one, desks.two):
        reader = JournalReader(desk.folder)
        assert replay(reader, 1, COUNCILS.__getitem__).decisions >= 5
        assert reader.query("SELECT count(*) FROM events WHERE event LIKE '%OthersHold%'") != [(0,)]
        reader.close()


def kill(desk: Desk) -> None:
    for _ in range(3):
        desk.equity(8_900)


@pytest.mark.failure(5)
def test_a_kill_is_the_accounts(desks: Desks) -> None:
    desks.two.bar(START_MS + MINUTE)
    pending = desks.two.state.trade
    assert pending is not None
    kill(desks.one)
    assert desks.one.state.risk.killed is not None
    assert desks.two.state.risk.killed == desks.one.state.risk.killed
    assert desks.two.said(CancelEntry) == [CancelEntry(pending.link_id)]
    assert desks.two.bar(START_MS + 2 * MINUTE).reason.startswith(("kill switch", "busy"))


@pytest.mark.failure(5)
def test_a_contract_that_a_person_resumed_stays_resumed(tmp_path: Path) -> None:
    desks = Desks(tmp_path)
    kill(desks.one)
    desks.two.drive(Resume(desks.two.state.now_ms + 10_000))
    assert desks.two.state.risk.killed is None
    desks.one.equity(8_900)
    desks.portfolio.settle()
    assert desks.two.state.risk.killed is None
    desks.close()
    again = Desks(tmp_path)
    again.portfolio.settle()
    assert again.one.state.risk.killed is not None
    assert again.two.state.risk.killed is None
    again.close()


@pytest.mark.failure(5)
def test_a_kill_that_the_end_of_the_process_cut_short_is_carried_over(tmp_path: Path) -> None:
    desks = Desks(tmp_path)
    desks.one.session.portfolio = None
    kill(desks.one)
    assert desks.two.state.risk.killed is None
    desks.close()
    again = Desks(tmp_path)
    again.portfolio.settle()
    assert again.two.state.risk.killed is not None
    again.close()


def test_a_daily_loss_that_one_contract_has_seen_stops_all(desks: Desks) -> None:
    desks.one.equity(9_650)
    desks.two.equity(9_800)
    decided = desks.two.bar(START_MS + MINUTE)
    assert decided.reason == "daily loss limit (seen by ONEUSDT)"
    desks.portfolio.failed("ONEUSDT")
    assert desks.two.bar(START_MS + 2 * MINUTE).link_id is not None


def test_what_a_failed_session_held_counts_on(desks: Desks) -> None:
    desks.one.bar(START_MS + MINUTE)
    desks.portfolio.failed("ONEUSDT")
    desks.two.bar(START_MS + MINUTE)
    assert desks.one.used()[0] + desks.two.used()[0] <= 35_000


def test_an_unknown_holding_of_the_account_stops_entries(desks: Desks) -> None:
    desks.portfolio.unknown["OTHUSDT"] = "its journal is damaged"
    decided = desks.two.bar(START_MS + MINUTE)
    assert decided.reason == "what OTHUSDT holds is not known (its journal is damaged)"


def test_a_session_that_breaks_when_told_is_not_the_tellers_fault(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("by the test")

    monkeypatch.setattr(desks.two.session, "drive", broken)
    kill(desks.one)
    assert desks.one.state.risk.killed is not None
    assert str(desks.portfolio.broken["TWOUSDT"]) == "by the test"


def test_a_purse_is_one_equity(tmp_path: Path) -> None:
    pool = Pool()
    one, two = (DryRunGateway(contract(name), MODEL, Decimal(10_000), None, pool) for name in ("ONEUSDT", "TWOUSDT"))

    def equity(gateway: DryRunGateway) -> EquityRead:
        from executor.actions import ReadEquity

        gateway.send(ReadEquity(), START_MS)
        [read] = gateway.take()
        assert isinstance(read, EquityRead)
        return read

    assert equity(one).equity == equity(two).equity == 10_000
    one._account.fill(1, 60_000, 100, Decimal(3))
    assert equity(one).equity is None
    assert equity(two).equity is None
    one.on_mark(60_000, 60_000, 60_000)
    assert equity(one).equity == equity(two).equity == 9_997
    # What the other one made while this one was not traded is a transfer, not a drawdown.
    saved = two.dump()
    one._account.fill(-1, 50_000, 100, Decimal(3))
    later = Pool()
    later.join("ONEUSDT", one.result)
    again = DryRunGateway(contract("TWOUSDT"), MODEL, Decimal(10_000), saved, later)
    read = equity(again)
    assert read.equity == 10_000 - 6 - 500
    assert read.transfers == -503
    assert equity(again).transfers == -503


def test_a_single_contract_hears_nothing_of_others(tmp_path: Path) -> None:
    common = Desks.__new__(Desks)
    common.portfolio, common.pool = Portfolio(), Pool()
    alone = Desk(tmp_path, "ONEUSDT", common, CONFIG)
    alone.bar(START_MS + MINUTE)
    assert alone.heard(OthersHold) == []
    assert alone.said(PlaceEntry)
    alone.close()


@given(
    notional=st.decimals(0, 60_000, places=2),
    risk=st.decimals(0, 400, places=2),
    limit=st.integers(1_000, 200_000),
    distance=st.integers(1, 900),
)
@tries(max_examples=200, deadline=None)
def test_the_portfolio_limits_hold_for_every_size(notional: Decimal, risk: Decimal, limit: int, distance: int) -> None:
    from executor import risk as limits
    from executor.state import Others

    equity = Decimal(10_000)
    left = limits.room(CAPPED, equity, Others(notional, risk))
    steps, reason = size_steps(CAPPED, INSTRUMENT, equity, limit, limit - distance, left)
    free, _ = size_steps(CAPPED, INSTRUMENT, equity, limit, limit - distance)
    assert 0 <= steps <= free
    assert bool(reason) == (steps == 0)
    if steps:
        assert INSTRUMENT.notional(limit, steps) + notional <= equity * CAPPED.max_portfolio_leverage
        loss = steps * limits.loss_per_step(CAPPED, INSTRUMENT, limit, limit - distance)
        assert loss + risk <= equity * CAPPED.max_portfolio_risk
        assert steps >= INSTRUMENT.min_steps
    elif free:
        assert reason.startswith("portfolio cap")


def test_a_limit_on_one_position_and_a_rate_limit() -> None:
    small = msgspec.structs.replace(CONFIG, max_notional=Decimal(600))
    steps, _ = size_steps(small, INSTRUMENT, Decimal(10_000), 60_000, 59_900)
    assert INSTRUMENT.notional(60_000, steps) == 600
    assert size_steps(small, INSTRUMENT, Decimal(10_000), 60_000, 59_900, Room())[0] == steps
    bench = Bench(msgspec.structs.replace(CONFIG, max_entries_per_hour=2))
    for _ in range(2):
        order = bench.enter()
        bench.on(OrderCancelled(bench.now, order.link_id, 0, "by the test"))
        bench.wait(10_000)
    bench.bar()
    assert bench.decisions()[-1].reason == "rate limit: 2 entries within the hour"
    bench.now += 60 * MINUTE
    bench.equity(10_000)
    assert bench.enter()
