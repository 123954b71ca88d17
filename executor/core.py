"""The trading core: events in, actions out, one state, no I/O.

The same core runs in dry-run, live and in replay. It holds no clock, no socket and no file; councils are handed
to it by content hash. Given the same state and the same events it gives the same actions, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np

from council.plan import make_plan
from council.voting import Council, Decision
from executor import risk
from executor.actions import (
    Action,
    Alert,
    Decided,
    MemberSaid,
    PlaceEntry,
    ReadPosition,
    SwapCouncil,
    Voted,
)
from executor.desk import Desk
from executor.events import (
    AccountKilled,
    BarClosed,
    Clock,
    CouncilChanged,
    EquityRead,
    Event,
    Filled,
    Flatten,
    Funding,
    Halt,
    HealthChanged,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrdersRead,
    OrderState,
    OrderUnknown,
    OthersHold,
    PositionOrigin,
    PositionRead,
    Protected,
    ProtectionRejected,
    Resume,
    RulesChanged,
    Stopping,
    VenueState,
)
from executor.reconcile import Reconciler
from executor.sanity import Yardstick, frozen, malformed, stillness
from executor.state import CoreConfig, CoreState, CouncilRef, Others

#: Gives the council of a content hash; raises when it has none.
CouncilSource = Callable[[str], Council]
#: Pause between two alarms of the same lasting state.
ALARM_MS = 60_000


class Core:
    """Decides and looks after what it decided.

    Parameters
    ----------
    config
        What never changes during a session.
    councils
        Where to find a council by its content hash.
    state
        Where to go on from; ``None`` starts afresh.
    """

    def __init__(self, config: CoreConfig, councils: CouncilSource, state: CoreState | None = None) -> None:
        self.config = config
        self.state = state or CoreState()
        self.rules = config.rules()
        self._councils = councils
        self._desk = Desk(config, self.rules, self.state)
        self._reconciler = Reconciler(config, self.rules, self.state, self._desk)
        self._yardsticks: dict[str, Yardstick] = {}
        self._quote = (-1, -1)

    def on(self, event: Event) -> list[Action]:
        """Take one event; what follows from it, in order."""
        self.state.now_ms = max(self.state.now_ms, event.now_ms)
        actions = self._handle(event)
        return [*actions, *self._desk.duties(), *self._alarms()]

    def deadline_ms(self) -> int | None:
        """When a :class:`Clock` must come, if nothing else happens before."""
        return self._desk.deadline_ms()

    def _handle(self, event: Event) -> list[Action]:
        desk, state = self._desk, self.state
        match event:
            case BarClosed():
                return self._bar(event)
            case Clock():
                return []
            case OrderAccepted():
                return desk.accepted(event.link_id)
            case OrderRejected():
                return desk.rejected(event)
            case OrderCancelled():
                return [*desk.cancelled(event), *desk.reprice(event.reason, *self._quote)]
            case OrderUnknown():
                return desk.unknown(event.link_id)
            case OrderState():
                return desk.answered(event)
            case Filled():
                return desk.ledger.filled(event)
            case Protected():
                return desk.guard.protected(event)
            case ProtectionRejected():
                return desk.guard.refused(event)
            case VenueState():
                return self._reconciler.venue(event)
            case Funding():
                return desk.ledger.funding(event)
            case EquityRead():
                return risk.on_equity(state.risk, self.config, event, state.now_ms)
            case PositionRead():
                return self._reconciler.position(event)
            case OrdersRead():
                return self._reconciler.orders(event)
            case CouncilChanged():
                return self._council_changed(event)
            case Halt():
                state.risk.paused["person"] = f"halted {event.reason}"
                return [Alert("warning", "halt", f"entries halted {event.reason}")]
            case Resume():
                state.flatten, state.strange = None, 0
                state.health, state.health_text = 1.0, ""
                return risk.resume(state.risk, state.now_ms)
            case Flatten():
                return self._flatten(event)
            case HealthChanged():
                return self._health(event)
            case OthersHold():
                state.others = Others(event.notional, event.risk, event.account)
                return []
            case AccountKilled():
                return risk.on_account_killed(state.risk, event)
            case RulesChanged():
                return self._reconciler.rules_changed(event)
            case PositionOrigin():
                return self._reconciler.origin(event)
            case Stopping():
                state.stopping = True
                return []

    # --- bars --------------------------------------------------------------------------------------------------------

    def _bar(self, bar: BarClosed) -> list[Action]:
        state = self.state
        if bar.open_ms <= state.last_bar_ms:
            return []
        if bar.close_ms > bar.now_ms:
            return [Alert("warning", "future-bar", f"bar {bar.open_ms} closes after the clock: ignored")]
        wrong = malformed(bar, self.config.timeframe_ms)
        if wrong:
            return [Alert("critical", "bad-bar", f"bar {bar.open_ms}: {wrong}: ignored")]
        actions = self._swap()
        repeated = frozen(bar.values, state.last_values)
        values = np.frombuffer(bar.values, "<f8")
        state.still = stillness(values, state.last_values, state.still)
        state.last_bar_ms, state.last_values = bar.open_ms, bar.values
        state.counts.bars += 1
        self._quote = (bar.bid, bar.ask)
        if state.council is None:
            return [*actions, Decided(bar.open_ms, None, None, "no council")]
        objection = self._objection(bar, values, repeated)
        if objection:
            return [*actions, Decided(bar.open_ms, None, None, objection)]
        decision = self._councils(state.council.content_hash).vote(values)
        state.counts.decisions += 1
        return [*actions, *self._act(bar, decision, self._shadow(values))]

    def _objection(self, bar: BarClosed, values: np.ndarray[tuple[int], np.dtype[np.float64]], repeated: bool) -> str:
        """Why the council is not asked about a bar."""
        assert self.state.council is not None
        if not bar.valid:
            return "bar not whole, or touched by a suspect window"
        if repeated:
            return "frozen: the features repeat the last bar's"
        yardstick = self._yardstick(self.state.council.content_hash)
        return yardstick.objection(values) or yardstick.stuck(self.state.still, self.config.freeze_bars)

    def _yardstick(self, content_hash: str) -> Yardstick:
        if content_hash not in self._yardsticks:
            council = self._councils(content_hash)
            profile = council.manifest.profile if council.manifest else None
            read = {int(node) for m in council.members for model in m.models.values() for node in model.feature}
            used = [council.features[column] for column in sorted(read)]
            self._yardsticks[content_hash] = Yardstick.of(profile, council.engine_features, used)
        return self._yardsticks[content_hash]

    def _shadow(self, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Voted | None:
        pending = self.state.pending
        if pending is None or self._yardstick(pending.content_hash).objection(values):
            return None
        return _voted(pending.content_hash, self._councils(pending.content_hash).vote(values))

    def _act(self, bar: BarClosed, decision: Decision, shadow: Voted | None) -> list[Action]:
        state = self.state
        assert state.council is not None
        vote = _voted(state.council.content_hash, decision)
        alerts: list[Alert] = []
        entry: PlaceEntry | None = None
        reason = self._gate(bar, decision)
        if not reason:
            entry, reason, alerts = self._enter(bar, decision)
        decided = Decided(bar.open_ms, vote, entry.link_id if entry else None, reason, shadow)
        return [decided, *alerts, *([entry] if entry else [])]

    def _enter(self, bar: BarClosed, decision: Decision) -> tuple[PlaceEntry | None, str, list[Alert]]:
        """The entry that the vote asks for, or why there is none, and what to say about it."""
        state, config = self.state, self.config
        assert decision.params is not None
        assert state.risk.equity is not None
        assert state.council is not None
        assert bar.atr is not None
        plan = make_plan(decision.params, decision.side, bar.close, bar.atr, config.timeframe_ms)
        if plan is None:
            reason = f"no valid prices (close {bar.close}, ATR {bar.atr})"
            return None, reason, [Alert("warning", "no-prices", reason)]
        left = risk.room(config, state.risk.equity, state.others)
        wish, reason = risk.size_steps(config, self.rules, self._stake(), plan.limit, plan.stop)
        if reason:
            return None, reason, []
        steps, reason = risk.size_steps(config, self.rules, self._stake(), plan.limit, plan.stop, left)
        if reason:
            return None, reason, []
        entry = self._desk.place(plan, steps, bar.close_ms, bar.atr, state.council.content_hash)
        text = f"portfolio cap: {steps} steps instead of {wish}; {left.text}"
        return entry, "", [Alert("info", "portfolio", text)] if steps < wish else []

    def _stake(self) -> Decimal:
        """Equity as far as the health monitor lets it be risked."""
        assert self.state.risk.equity is not None
        return self.state.risk.equity * Decimal(str(self.state.health))

    def _gate(self, bar: BarClosed, decision: Decision) -> str:
        state = self.state
        if not decision.side:
            return decision.reason
        if state.stopping:
            return "stopping"
        if state.venue:
            return f"venue not ready: {state.venue}"
        if state.rules:
            return f"contract rules: {state.rules}"
        if state.trade is not None:
            return f"busy with {state.trade.link_id}"
        if state.finished and state.finished[-1].last_exit_ms > bar.close_ms:
            # It ended in the very frame that closed the bar, but after the close: a backtest says the same.
            return f"busy with {state.finished[-1].link_id}"
        if state.health <= 0:
            return f"health: {state.health_text}"
        if bar.atr is None:
            return "ATR unknown"
        account = risk.account_gate(state.risk, self.config, state.now_ms)
        if not account and state.strange:
            return "position being compared"
        account = account or risk.rate_gate(state.risk, self.config, state.now_ms) or state.others.account
        return account or risk.market_gate(bar, self.config)

    # --- councils ----------------------------------------------------------------------------------------------------

    def _council_changed(self, event: CouncilChanged) -> list[Action]:
        state = self.state
        new = CouncilRef(event.content_hash, event.version, event.gate_passed)
        if state.council is not None and state.council.content_hash == new.content_hash:
            state.council, state.pending = new, None
            return []
        if state.pending is not None and state.pending.content_hash == new.content_hash:
            return []
        self._councils(new.content_hash)
        state.pending = new
        state.shadow_left = self.config.shadow_bars if state.council is not None else 0
        verdict = "" if new.gate_passed else ", which the gate did not pass,"
        return [
            Alert("info", "council", f"council version {new.version} ({new.content_hash[:12]}){verdict} takes over")
        ]

    def _swap(self) -> list[Action]:
        """At a bar boundary the pending council takes over; a plan under way keeps the prices it was made with."""
        state = self.state
        if state.pending is None:
            return []
        if state.shadow_left > 0:
            state.shadow_left -= 1
            return []
        state.council, state.pending = state.pending, None
        state.health, state.health_text = 1.0, ""
        return [SwapCouncil(state.council.content_hash, state.council.version)]

    # --- commands, health and alarms ---------------------------------------------------------------------------------

    def _flatten(self, event: Flatten) -> list[Action]:
        state = self.state
        state.risk.paused["person"] = f"flattened {event.reason}"
        state.flatten = event.reason if state.trade is not None else None
        return [Alert("warning", "flatten", f"flattening {event.reason}; entries stop until resumed")]

    def _health(self, event: HealthChanged) -> list[Action]:
        """A pause stays until a person resumes or another council decides; less than that follows the monitor."""
        state = self.state
        if state.health <= 0 < event.scale:
            return []
        state.health, state.health_text = min(max(event.scale, 0.0), 1.0), event.text
        if state.health <= 0:
            return [Alert("critical", "health", f"{event.text}: no entries until resumed")]
        share = "" if state.health == 1 else f": entries at {state.health:.0%} of the usual risk"
        return [Alert("warning", "health", event.text + share)]

    def _alarms(self) -> list[Action]:
        """A killed executor that is not flat says so until it is."""
        state = self.state
        if state.risk.killed is None or state.trade is None or state.now_ms < state.alarm_ms + ALARM_MS:
            return []
        state.alarm_ms = state.now_ms
        open_steps = state.trade.open
        return [Alert("critical", "kill-open", f"killed and not flat: {open_steps} steps open"), ReadPosition()]


def _voted(content_hash: str, decision: Decision) -> Voted:
    members = tuple(MemberSaid(vote.rank, vote.side, vote.long, vote.short) for vote in decision.votes)
    return Voted(content_hash, decision.side, decision.confidence, members, decision.reason)
