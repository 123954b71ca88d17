"""A hand-made council, and a bench on which to drive the core event by event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from council import Council, Member, Registry, StrategyParams, TrainingProfile, TreeModel
from council._signature import signature
from council.lookout import Outside
from council.manifest import Manifest
from executor.actions import Action, ClosePosition, Decided, PlaceEntry
from executor.build import council_store, lookout_of
from executor.core import Core
from executor.events import (
    BarClosed,
    Clock,
    CouncilChanged,
    EquityRead,
    Event,
    Filled,
    OrderAccepted,
    Protected,
)
from executor.state import CoreConfig, CoreState
from market.instruments import Instrument
from settings import Settings

MINUTE = 60_000
#: A Monday, noon UTC.
START_MS = 1_800_014_400_000

INSTRUMENT = Instrument(
    symbol="SYNUSDT",
    tick_size=Decimal("0.5"),
    qty_step=Decimal("0.001"),
    min_steps=1,
    max_steps=100_000,
    max_market_steps=50_000,
    min_notional=Decimal(5),
    max_leverage=Decimal(100),
)
PARAMS = StrategyParams(offset_atr=0.0, stop_atr=2.0, target_atr=2.0, tif_bars=2, hold_bars=5)


def sign_model(feature: str, sign: int) -> TreeModel:
    """A trained model: a win is likely where `feature` has this sign; unknown values were seen in training."""
    rng = np.random.default_rng(5)
    values = rng.uniform(-1, 1, (600, 1))
    wins = (sign * values[:, 0] > 0).astype(np.int8)
    values[::50] = np.nan
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4, "seed": 5}
    data = lgb.Dataset(values, wins, feature_name=[feature], params=settings)
    return TreeModel.from_booster(lgb.train(settings, data, 10))


def asked_before(settings: Settings, symbol: str = "SYNUSDT") -> None:
    """Leave what an executor leaves that ran before: who is in Production.

    One that starts then, and finds the registry unchanged, starts no process with MLflow to ask: five seconds of a core
    that tests of other things need not spend each time.
    """
    name, cache = settings.model_name(symbol, settings.executor.timeframe), council_store(settings, symbol).cache
    found = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts").look(name, cache)
    lookout = lookout_of(settings)
    assert isinstance(lookout, Outside)
    state = signature(lookout._connection, name)
    assert state is not None
    lookout._keep(name, cache, state, found)
    assert lookout._recalled(name, cache) == (state, found)


def sign_council(
    engine_features: tuple[str, ...],
    feature: str,
    *,
    sign: int = 1,
    params: StrategyParams = PARAMS,
    threshold: float = 0.5,
    profile: TrainingProfile | None = None,
) -> Council:
    """A council of one that goes long where `feature` is positive and short where it is negative, or the opposite."""
    member = Member(
        1, params, threshold, threshold, {"long": sign_model(feature, sign), "short": sign_model(feature, -sign)}
    )
    manifest = Manifest("SYNUSDT", "1m", 50, MINUTE, "0" * 64, (0, 1), "", {"passed": True}, profile=profile)
    return Council((member,), 0.5, engine_features, (feature,), manifest)


CONFIG = CoreConfig(
    instrument=INSTRUMENT.to_json(),
    timeframe_ms=MINUTE,
    maker_fee=Decimal("0.0002"),
    taker_fee=Decimal("0.00055"),
    risk_per_trade=Decimal("0.005"),
    max_leverage=Decimal(3),
    max_drawdown=Decimal("0.10"),
    max_daily_loss=Decimal("0.03"),
    max_spread_bps=20.0,
    max_stale_ms=10_000,
    max_bar_delay_ms=5_000,
    loss_streak=3,
    cooldown_bars=4,
    protection_timeout_ms=5_000,
)


class Bench:
    """A core with councils `long`, which follows the signal, and `short`, which does the opposite.

    Everything that the core ever answered is in `actions`.
    """

    def __init__(self, config: CoreConfig = CONFIG, state: CoreState | None = None, *, ready: bool = True) -> None:
        self.councils = dict(COUNCILS)
        self.core = Core(config, self.councils.__getitem__, state)
        self.now = START_MS
        self.events: list[Event] = []
        self.actions: list[Action] = []
        if ready:
            self.on(CouncilChanged(self.now, "long", 1, True))
            self.equity(10_000)

    def on(self, event: Event) -> list[Action]:
        """Drive one event."""
        self.now = max(self.now, event.now_ms)
        done = self.core.on(event)
        self.events.append(event)
        self.actions += done
        return done

    def wait(self, ms: int) -> list[Action]:
        """Let time pass as the daemon does: a clock event whenever the core asks for one."""
        end, done = self.now + ms, []
        while (due := self.core.deadline_ms()) is not None and due <= end:
            assert due > self.now or not done, "the core asks for a time that has passed, again"
            done += self.on(Clock(max(due, self.now)))
            if self.core.deadline_ms() == due:
                break
        self.now = end
        return done

    def equity(self, amount: float | None, transfers: float = 0) -> list[Action]:
        """A fresh reading of the account."""
        self.now += 1
        value = None if amount is None else Decimal(str(amount))
        return self.on(EquityRead(self.now, self.now, value, Decimal(str(transfers))))

    def bar(self, signal: float = 0.5, **changes: Any) -> list[Action]:
        """Close the next bar; the book is one tick wide at 30,000 USDT."""
        close_ms = changes.pop("close_ms", (self.now // MINUTE + 1) * MINUTE)
        values = changes.pop("values", [signal, self.now % 977])
        fields: dict[str, Any] = {
            "now_ms": close_ms + 40,
            "open_ms": close_ms - MINUTE,
            "close_ms": close_ms,
            "close": 60_000,
            "bid": 60_000,
            "ask": 60_001,
            "atr": 50.0,
            "valid": True,
            "values": np.array(values, "<f8").tobytes(),
            "book_age_ms": 80,
        }
        return self.on(BarClosed(**(fields | changes)))

    def enter(self, signal: float = 0.5, *, accept: bool = True) -> PlaceEntry:
        """A bar that leads to an entry."""
        [order] = [action for action in self.bar(signal) if isinstance(action, PlaceEntry)]
        if accept:
            self.on(OrderAccepted(self.now, order.link_id))
        return order

    def fill(
        self,
        order: PlaceEntry,
        size: int | None = None,
        *,
        price: int | None = None,
        role: Any = "entry",
        link_id: str | None = None,
        execution_id: str | None = None,
        time_ms: int | None = None,
        protect: bool = True,
    ) -> list[Action]:
        """An execution of the entry, or with another role of an exit."""
        entry = role == "entry"
        done = self.on(
            Filled(
                now_ms=self.now,
                link_id=(order.link_id if entry else "") if link_id is None else link_id,
                execution_id=execution_id or f"x{len(self.events)}",
                role=role,
                time_ms=self.now if time_ms is None else time_ms,
                side=order.side if entry else -order.side,
                price=price or (order.limit if entry else order.target if role == "target" else order.stop),
                size=size or order.size,
                fee=Decimal("0.1"),
                maker=entry,
            )
        )
        if entry and protect:
            trade = self.core.state.trade
            done += self.on(Protected(self.now, order.stop, trade.open if trade else 0))
        return done

    def decisions(self) -> list[Decided]:
        """Every decision so far."""
        return [action for action in self.actions if isinstance(action, Decided)]

    def closes(self) -> list[ClosePosition]:
        """Every close order so far."""
        return [action for action in self.actions if isinstance(action, ClosePosition)]


COUNCILS = {
    "long": sign_council(("signal", "other"), "signal"),
    "short": sign_council(("signal", "other"), "signal", sign=-1),
}


@pytest.fixture(autouse=True)
def asks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is loaded here already: a child at each start would only cost seconds. Executors that are processes of
    their own have theirs, and `tests/council/test_lookout.py` shows that both ways give the same.
    """

    def here(settings: Settings) -> Registry:
        return Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")

    for module in ("executor.build", "executor.setup"):
        monkeypatch.setattr(f"{module}.lookout_of", here)


@pytest.fixture
def bench() -> Bench:
    """A core that has a council and knows its equity."""
    return Bench()


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    """For benches with a state or configuration of their own."""
    return Bench
