"""What the venue may change under a session: tick and step, and the leverage that caps positions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

import executor.rules
from executor.account import settle_leverage
from executor.actions import Alert, ClosePosition
from executor.build import core_config
from executor.events import OrderCancelled, RulesChanged, encode
from executor.gateway import DryRunGateway
from executor.guard import POST_ONLY_REASON
from executor.rescale import carry_over
from executor.rules import Rules
from executor.state import CoreState
from executor.venue import VenueClient
from executor.view import MarketView
from market.errors import ExecutorError, VenueUnavailable
from settings import Settings
from simulation import FillModel
from tests.executor.conftest import CONFIG, INSTRUMENT, MINUTE, START_MS, Bench
from tests.executor.rig import SYMBOL, Rig, rig
from tests.executor.test_live import protected
from tests.executor.wires import Wire

OTHER = replace(INSTRUMENT, tick_size=Decimal("0.1"))


# --- rules -----------------------------------------------------------------------------------------------------------


def test_other_rules_stop_entries_by_name_and_let_exits_go_on(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    [alert] = bench.on(RulesChanged(bench.now, "tick 0.1 now"))
    assert isinstance(alert, Alert)
    assert (alert.level, alert.code) == ("critical", "rules")
    assert bench.on(RulesChanged(bench.now, "tick 0.1 now")) == []
    bench.wait(6 * MINUTE)
    [close] = bench.closes()
    assert isinstance(close, ClosePosition)
    bench.fill(order, role="exit", link_id=close.link_id)
    bench.equity(10_000)
    bench.bar()
    assert bench.decisions()[-1].reason == "contract rules: tick 0.1 now"
    bench.on(RulesChanged(bench.now, ""))
    assert bench.enter()


def test_an_entry_is_not_sent_again_under_other_rules() -> None:
    bench = Bench(msgspec.structs.replace(CONFIG, max_reprices=3))
    order = bench.enter()
    bench.on(RulesChanged(bench.now, "tick 0.1 now"))
    assert bench.on(OrderCancelled(bench.now, order.link_id, 0, POST_ONLY_REASON)) == []


def test_prices_off_the_tick_are_noticed() -> None:
    view = MarketView(INSTRUMENT, MINUTE, 50, MINUTE)
    frame = (
        b'{"topic":"publicTrade.SYNUSDT","type":"snapshot","ts":%d,"data":[{"T":%d,"s":"SYNUSDT","S":"Buy","v":"0.001",'
        b'"p":"%s","i":"%s","BT":false}]}'
    )
    good = view.gather([view.on_frame(frame % (START_MS, START_MS, b"30000.5", b"a"), 0)])
    assert not good.other_rules
    bad = view.gather([view.on_frame(frame % (START_MS, START_MS, b"30000.3", b"b"), 0)])
    assert bad.other_rules


async def test_the_venue_is_asked_and_the_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"SYNUSDT": OTHER}, {"SYNUSDT": INSTRUMENT}, None]
    asked: list[str] = []

    def fetch(url: str, symbols: list[str]) -> object:
        asked.append(url)
        answer = answers.pop(0)
        if answer is None:
            raise VenueUnavailable("no answer", advice="Wait")
        return answer

    monkeypatch.setattr(executor.rules, "fetch_instruments", fetch)

    async def verdict() -> str | None:
        rules = Rules("http://venue")
        assert rules.verdict(INSTRUMENT) is None
        rules.suspect(INSTRUMENT)
        rules.suspect(INSTRUMENT)
        while not rules._asking["SYNUSDT"].done():
            await asyncio.sleep(0.01)
        rules.suspect(INSTRUMENT)
        told = rules.verdict(INSTRUMENT)
        assert rules.verdict(INSTRUMENT) is None
        await rules.close()
        return told

    told = await verdict()
    assert told is not None
    assert told.startswith("tick 0.1 and step 0.001 now")
    assert await verdict() == ""
    assert await verdict() is None
    assert len(asked) == 3


def test_a_plan_is_carried_over_to_the_new_tick(bench: Bench) -> None:
    order = bench.enter()
    bench.fill(order)
    state = CoreState.load(bench.core.state.dump())
    config = encode(CONFIG)
    carry_over(state, None, OTHER, simulated=False)
    carry_over(state, config, INSTRUMENT, simulated=True)
    assert state.dump() == bench.core.state.dump()
    with pytest.raises(ExecutorError, match="simulated plan"):
        carry_over(state, config, OTHER, simulated=True)
    carry_over(state, config, OTHER, simulated=False)
    old, new = bench.core.state.trade, state.trade
    assert old is not None
    assert new is not None
    for name in ("limit", "stop", "target"):
        assert OTHER.price(getattr(new, name)) == INSTRUMENT.price(getattr(old, name))
    assert (new.size, new.protected) == (old.size, old.protected)
    assert OTHER.notional(new.entry_value, 1) == INSTRUMENT.notional(old.entry_value, 1)
    finer = replace(INSTRUMENT, qty_step=Decimal("0.01"))
    if old.size % 10:
        with pytest.raises(ExecutorError, match="no multiple"):
            carry_over(CoreState.load(bench.core.state.dump()), config, finer, simulated=False)


def test_a_simulated_purse_keeps_its_money_under_other_rules() -> None:
    gateway = DryRunGateway(INSTRUMENT, FillModel(50, 0.0002, 0.00055), Decimal(10_000))
    gateway._account.fill(1, 60_000, 100, Decimal(3))
    gateway._account.fill(-1, 60_200, 100, Decimal(3))
    before = gateway._account.equity(0)
    assert before == 10_000 + 10 - 6
    again = DryRunGateway(OTHER, FillModel(50, 0.0002, 0.00055), Decimal(10_000), gateway.dump())
    assert again._account.equity(0) == before


# --- leverage --------------------------------------------------------------------------------------------------------


def client(made: Rig) -> VenueClient:
    return VenueClient("http://rig", "local", "local-secret", adapter=lambda: Wire(made))


def test_leverage_is_set_once_and_read_back(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        assert settle_leverage(client(made), SYMBOL, Decimal("2.50"))[0] == Decimal("2.5")
        assert made._positions()[0].leverage == Decimal("2.5")
        leverage, check = settle_leverage(client(made), SYMBOL, Decimal("2.5"))
        assert (leverage, check.ok, check.text) == (Decimal("2.5"), True, "2.5× at the venue")
        assert len(made.posts("/v5/position/set-leverage")) == 1
        # Bybit's answer to setting what is there already is no error.
        client(made).write("set_leverage", category="linear", symbol=SYMBOL, buyLeverage="2.5", sellLeverage="2.5")


def test_leverage_of_a_held_position_is_left_alone_and_caps(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        client(made).write("set_leverage", category="linear", symbol=SYMBOL, buyLeverage="2", sellLeverage="2")
        protected(made)
        leverage, check = settle_leverage(client(made), SYMBOL, Decimal(5))
        assert (leverage, check.ok) == (Decimal(2), False)
        assert "left alone while a position is held" in check.text
        assert len(made.posts("/v5/position/set-leverage")) == 1
    settings = Settings()
    assert core_config(settings, INSTRUMENT, leverage).max_leverage == 2
    assert core_config(settings, INSTRUMENT, Decimal(50)).max_leverage == settings.risk.max_leverage
    assert core_config(settings, INSTRUMENT).max_leverage == settings.risk.max_leverage


def test_a_refused_leverage_is_said_and_an_unknown_one_refuses(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        leverage, check = settle_leverage(client(made), SYMBOL, Decimal(1_000))
        assert not check.ok
        assert leverage == made._positions()[0].leverage
        assert "110013" in check.text or "refuses" in check.text
        made.fault("failed-read", on="position")
        with pytest.raises(ExecutorError, match="leverage of SYNUSDT"):
            settle_leverage(client(made), SYMBOL, Decimal(3))
