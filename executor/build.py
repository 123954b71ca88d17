"""From settings to parts: which feed, which journal, which council, how warm the features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import settings as configuration
from council.lookout import Lookout, Outside
from council.registry import cached
from council.voting import Council
from executor.clock import VenueClock
from executor.core import Core
from executor.events import encode
from executor.gateway import DryRunGateway, Gateway
from executor.journal import Journal
from executor.monitor import HealthConfig, HealthMonitor
from executor.pool import Pool
from executor.portfolio import Portfolio
from executor.registry_watch import CouncilStore, RegistryWatch, Wanted
from executor.rescale import carry_over
from executor.session import Admission, Echo, Session, admit_all
from executor.state import CoreConfig, CoreState, CouncilRef, Counts, Others
from executor.view import MarketView
from executor.warmup import warm_up
from features import spec_hash
from market.days import lake_days
from market.errors import (
    BundleError,
    ExecutorError,
    PurpleSkyError,
    RegistryUnavailable,
    UnknownSymbolError,
    VenueUnavailable,
)
from market.events import TICKER, EventBatch
from market.instruments import Instrument
from market.lake import Lake
from market.rest import fetch_instruments
from settings import Settings
from simulation.fills import FillModel

if TYPE_CHECKING:
    from executor.account import AccountLink


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """Where the market comes from, and what the symbol's rules are."""

    mode: str
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class Common:
    """What the contracts of a process share: limits, the dry-run purse, who asks the registry, and, in live, the
    account's connections."""

    portfolio: Portfolio = field(default_factory=Portfolio)
    pool: Pool = field(default_factory=Pool)
    link: AccountLink | None = None
    lookout: Lookout | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A session that is ready to go; `events` is the lake's, ``None`` for the venue's feed.

    `problem` says why it has no council.
    """

    mode: str
    number: int
    session: Session
    journal: Journal
    watch: RegistryWatch
    events: Iterator[EventBatch] | None
    problem: PurpleSkyError | None = None


def choose_feed(settings: Settings, symbol: str, feed: str, echo: Echo, *, live: bool = False) -> FeedChoice:
    """Ask the venue for the symbol; fall back to the lake if `feed` is ``auto`` and the lake has it.

    Live trading has no such choice: it is the venue's feed or none.

    Raises
    ------
    ExecutorError
        There is no such feed, or not for live trading.
    VenueUnavailable, UnknownSymbolError
        The venue does not answer, or does not list the symbol, and the lake has nothing.
    """
    lake = Lake(settings.paths.lake)
    if live:
        if feed == "lake":
            raise ExecutorError("live trading cannot replay the lake", advice="Leave out --feed lake, or --live")
        return FeedChoice("live", fetch_instruments(settings.venue.rest_url, [symbol])[symbol])
    if feed == "lake":
        return FeedChoice("lake", lake.instrument(symbol))
    if feed not in ("auto", "venue"):
        raise ExecutorError(f"{feed!r} is no feed", advice="Use auto, venue or lake")
    try:
        instrument = fetch_instruments(settings.venue.rest_url, [symbol])[symbol]
    except (VenueUnavailable, UnknownSymbolError) as error:
        if feed == "venue" or symbol not in lake.symbols():
            raise
        echo(f"{error.message}: replaying the lake instead")
        return FeedChoice("lake", lake.instrument(symbol))
    return FeedChoice("dry-run", instrument)


def core_config(settings: Settings, instrument: Instrument, leverage: Decimal | None = None) -> CoreConfig:
    """What the core needs of the settings.

    Parameters
    ----------
    leverage
        The contract's at the venue: no position may need more. ``None`` where nobody has one.
    """
    risk, executor = settings.risk, settings.executor
    length_ms = configuration.timeframe_ms(executor.timeframe)
    return CoreConfig(
        instrument=instrument.to_json(),
        timeframe_ms=length_ms,
        maker_fee=settings.costs.maker_fee,
        taker_fee=settings.costs.taker_fee,
        risk_per_trade=risk.risk_per_trade,
        max_leverage=risk.max_leverage if leverage is None else min(risk.max_leverage, leverage),
        max_drawdown=risk.max_drawdown,
        max_daily_loss=risk.max_daily_loss,
        max_spread_bps=risk.max_spread_bps,
        max_stale_ms=risk.max_stale_ms,
        max_bar_delay_ms=executor.max_bar_delay_ms,
        loss_streak=risk.loss_streak,
        cooldown_bars=risk.cooldown_bars,
        protection_timeout_ms=executor.protection_timeout_ms,
        shadow_bars=executor.shadow_bars,
        protection_retry_ms=executor.protection_retry_ms,
        max_reprices=executor.max_reprices,
        equity_age_ms=max(900_000, 3 * length_ms),
        max_notional=risk.max_notional,
        max_portfolio_leverage=risk.max_portfolio_leverage,
        max_portfolio_risk=risk.max_portfolio_risk,
        max_entries_per_hour=risk.max_entries_per_hour,
        freeze_bars=executor.freeze_bars,
        adopt=executor.adopt,
        failsafe_stop=risk.failsafe_stop,
    )


def council_store(settings: Settings, symbol: str) -> CouncilStore:
    """Councils for these settings, from the executor's cache."""
    timeframe, levels = settings.executor.timeframe, settings.market.ob_levels
    spec = spec_hash(configuration.timeframe_ms(timeframe), levels, settings.market.stall_ms)
    return CouncilStore(settings.paths.executor / "councils", Wanted(symbol, timeframe, levels, spec))


def lookout_of(settings: Settings) -> Lookout:
    """Who asks the registry of an installation."""
    return Outside(settings.registry_uri, settings.paths.mlruns / "artifacts")


def build(
    settings: Settings,
    choice: FeedChoice,
    folder: Path,
    echo: Echo,
    admit: Admission = admit_all,
    *,
    common: Common | None = None,
    leverage: Decimal | None = None,
    needs_council: bool = True,
) -> Parts:
    """Make the parts and begin a session in the journal.

    Parameters
    ----------
    admit
        Says why a council may not trade; empty if it may.
    common
        What it shares with other contracts; ``None`` if it is alone.
    leverage
        The contract's at the venue, in live.
    needs_council
        Whether to refuse to begin without a council that may trade. Otherwise positions are looked after, and nothing
        is entered until there is one.

    Raises
    ------
    ExecutorError
        The council in Production may not trade; or the contract rules have changed under a simulated position.
    RegistryError
        There is no council in Production, or it cannot be used; or the registry is down and none is at hand.
    JournalError
        The journal is damaged beyond recovery.
    """
    instrument, symbol = choice.instrument, choice.instrument.symbol
    common = common or Common()
    registry = common.lookout or lookout_of(settings)
    store = council_store(settings, symbol)
    watch = RegistryWatch(registry, settings.model_name(symbol, settings.executor.timeframe), store)
    journal = Journal(folder, durable=choice.mode == "live")
    try:
        if journal.recovered:
            echo(f"critical: {journal.recovered}")
        # A replay of the lake is a market of its own: it starts afresh every time.
        saved = journal.saved if choice.mode != "lake" else None
        state = _state(saved.core if saved else None, store)
        carry_over(state, journal.last_config(), instrument, simulated=choice.mode != "live")
        config = core_config(settings, instrument, leverage)
        core = Core(config, store, state)
        first: CouncilRef | None = None
        problem: PurpleSkyError | None = None
        try:
            first = _first_council(watch, state, store, echo)
            _admitted(first or state.council, admit)
        except PurpleSkyError as error:
            if needs_council:
                raise
            first = state.council = None
            problem = error
            echo(f"critical: {error.message}: positions are looked after, nothing is entered")
        clock = VenueClock(settings.venue.speed, settings.market.idle_seconds)
        account = bytes(saved.gateway) if saved else None
        gateway = _gateway(settings, choice, clock, account, common)
        view = MarketView(instrument, config.timeframe_ms, settings.market.ob_levels, settings.market.stall_ms)
        if choice.mode != "lake":
            warm_up(view, Lake(settings.paths.lake), echo)
        number = journal.begin(symbol, choice.mode, encode(config), state.dump(), _version())
        session = Session(
            core=core,
            journal=journal,
            gateway=gateway,
            view=view,
            clock=clock,
            echo=echo,
            admit=admit,
            drift=lambda content: _monitor(settings, store, content, view),
        )
        if first is not None:
            session.council(first)
    except BaseException:
        journal.close()
        raise
    events = None
    if choice.mode == "lake":
        council = store(first.content_hash) if first else None
        events = _replay(session, Lake(settings.paths.lake), symbol, council, echo)
    return Parts(choice.mode, number, session, journal, watch, events, problem)


def _gateway(settings: Settings, choice: FeedChoice, clock: VenueClock, saved: bytes | None, common: Common) -> Gateway:
    if common.link is not None:
        return common.link.gateway(choice.instrument, lambda: clock.event_ms, saved)
    costs = settings.costs
    model = FillModel(costs.order_latency_ms, float(costs.maker_fee), float(costs.taker_fee))
    return DryRunGateway(choice.instrument, model, settings.executor.start_equity, saved, common.pool)


def _admitted(council: CouncilRef | None, admit: Admission) -> None:
    """Refuse to start with a council that may not trade."""
    why = admit(council) if council is not None else ""
    if why and council is not None:
        raise ExecutorError(
            why, advice=f"Promote another version, or say --accept-failed-gate {council.version} if you mean it"
        )


def gate_guard(accepted: int | None) -> Admission:
    """For live trading: a council trades if its gate passed, or if a person named its version."""

    def admit(council: CouncilRef) -> str:
        if council.gate_passed or council.version == accepted:
            return ""
        verdict = "did not pass its gate" if council.gate_passed is False else "carries no verdict of a gate"
        return f"council version {council.version} {verdict}: it is not traded live"

    return admit


def _state(saved: bytes | None, store: CouncilStore) -> CoreState:
    """Where to go on from: positions, timers and latches stay, what belonged to the session before does not."""
    state = CoreState() if saved is None else CoreState.load(bytes(saved))
    state.counts, state.stopping, state.pending, state.shadow_left = Counts(), False, None, 0
    state.venue = state.rules = ""
    state.others, state.still = Others(), []
    if state.council is not None:
        try:
            store(state.council.content_hash)
        except BundleError:
            # Trained for other settings, or gone from the cache: Production is asked for before anything is decided.
            state.council = None
    return state


def _first_council(watch: RegistryWatch, state: CoreState, store: CouncilStore, echo: Echo) -> CouncilRef | None:
    try:
        return watch.look()
    except RegistryUnavailable as error:
        if state.council is None or cached(store.cache, state.council.content_hash) is None:
            raise
        echo(f"warning: {error.message}; starting with council version {state.council.version} from the cache")
        return None


def _replay(session: Session, lake: Lake, symbol: str, council: Council | None, echo: Echo) -> Iterator[EventBatch]:
    """The lake's events; what a council learnt from warms up the features and is not traded.

    A replay of the training data would show what a council remembers, not what it can do.
    """
    manifest = council.manifest if council else None
    first_ms, last_ms = lake.span_ms(symbol)
    events = (batch for day in lake_days(lake, symbol) for batch in day.events())
    if manifest is None or manifest.window_ms[0] >= last_ms or manifest.window_ms[1] <= first_ms:
        return events
    unseen_ms = int(manifest.statistics.get("holdout_from_ms", manifest.window_ms[1]))
    if unseen_ms >= last_ms:
        echo("note: the council was trained on all of this data; what it earns here says nothing about tomorrow")
        return events
    start = datetime.fromtimestamp(unseen_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    echo(f"trading from {start} UTC on: the data before it trained the council")
    return _from(session, events, unseen_ms)


def _from(session: Session, events: Iterator[EventBatch], start_ms: int) -> Iterator[EventBatch]:
    """The events from the moment on at which the clock reaches `start_ms`; the session just watches those before."""
    clock_ms = -1
    for batch in events:
        # Tickers and liquidations move no clock.
        times_ms = np.where(batch.kind < TICKER, batch.time_ms, clock_ms)
        clocks = np.maximum.accumulate(np.maximum(times_ms, clock_ms))
        first = int(np.searchsorted(clocks, start_ms))
        if first:
            session.watch(session.view.part(batch[:first]))
        if first < len(batch):
            yield batch[first:]
        clock_ms = int(clocks[-1])


def _monitor(settings: Settings, store: CouncilStore, content_hash: str, view: MarketView) -> HealthMonitor | None:
    council, chosen = store(content_hash), settings.executor
    if council.manifest is None:
        return None
    config = HealthConfig(
        window=chosen.health_window_bars,
        rate=chosen.health_alarm_rate,
        shrink=chosen.health_shrink,
        features=chosen.health_features,
        predictions=chosen.health_predictions,
        outcomes=chosen.health_outcomes,
    )
    ranks = tuple(member.rank for member in council.members)
    return HealthMonitor(council.manifest, tuple(view.engine.names), ranks, config)


def _version() -> str:
    try:
        return version("purplesky")
    except PackageNotFoundError:  # run from a source tree
        return "source"
