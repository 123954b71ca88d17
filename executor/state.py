"""The one state of the trading core, and what never changes during a session. Both have a canonical JSON form."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

from council.plan import PASSIVE, Entry
from executor.events import Filled
from market.instruments import Instrument

#: Life of an entry order. ``unknown``: sent, and nobody has said what became of it.
EntryState = Literal["sent", "unknown", "resting", "cancelling", "done"]


class CoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the core is told once.

    Attributes
    ----------
    instrument
        :meth:`market.instruments.Instrument.to_json`.
    timeframe_ms
        Length of a bar.
    maker_fee, taker_fee
        Rates, for sizing.
    risk_per_trade, max_leverage, max_drawdown, max_daily_loss
        As in the settings' section ``risk``.
    max_spread_bps, max_stale_ms, max_bar_delay_ms
        Entry gates.
    loss_streak, cooldown_bars
        So many losses in a row stop entries for so many bars; 0 switches it off.
    protection_timeout_ms
        A fill without a confirmed stop is flattened after this.
    shadow_bars
        Bars that a new council votes beside the old one.
    max_reprices
        How often a post-only entry that would have taken is sent again at the best passive price. 0, as in training,
        where such an order counts as rejected.
    protection_retry_ms
        Pause between attempts to set a stop that is not confirmed.
    settle_ms
        How long a cancelled entry keeps its slot for a fill that was on its way.
    retry_ms
        Pause between queries by link id, and between attempts to close.
    equity_age_ms
        A known equity older than this is unknown.
    confirmations
        Fresh reads below the limit that trip the kill switch.
    max_notional
        USDT of one position; 0 for no such limit.
    max_portfolio_leverage, max_portfolio_risk
        Value of all positions and pending entries of the account, and what their stops would lose, as a share of
        equity; 0 for no such limit.
    max_entries_per_hour
        Entry orders within 60 minutes, repriced ones included; 0 for no such limit.
    freeze_bars
        A feature that keeps its value for longer than this, and for more than twice as long as it ever did in
        training, blocks the bar; 0 switches it off.
    adopt, failsafe_stop
        What becomes of a position of our own whose plan is not known: it is kept under a resident stop, this share of
        its entry price away if there is none, or closed.
    """

    instrument: dict[str, Any]
    timeframe_ms: int
    maker_fee: Decimal
    taker_fee: Decimal
    risk_per_trade: Decimal
    max_leverage: Decimal
    max_drawdown: Decimal
    max_daily_loss: Decimal
    max_spread_bps: float
    max_stale_ms: int
    max_bar_delay_ms: int
    loss_streak: int
    cooldown_bars: int
    protection_timeout_ms: int
    shadow_bars: int = 0
    max_reprices: int = 0
    protection_retry_ms: int = 1_000
    settle_ms: int = 2_000
    retry_ms: int = 5_000
    equity_age_ms: int = 900_000
    confirmations: int = 3
    max_notional: Decimal = Decimal(0)
    max_portfolio_leverage: Decimal = Decimal(0)
    max_portfolio_risk: Decimal = Decimal(0)
    max_entries_per_hour: int = 0
    freeze_bars: int = 0
    adopt: Literal["protect", "flatten"] = "protect"
    failsafe_stop: Decimal = Decimal("0.02")

    def rules(self) -> Instrument:
        """The instrument."""
        return Instrument.from_json(self.instrument)


class Trade(msgspec.Struct):
    """One order plan on its way: entry, position, exit.

    Attributes
    ----------
    link_id
        Of the entry.
    size
        Steps asked for.
    decided_ms
        Close of the bar that decided it; the entry expires `tif_ms` later.
    atr
        ATR(14) at the decision, ticks.
    council
        Content hash of the council that decided.
    entry
        State of the entry order.
    expected
        Cumulative fill that the venue told of; executions may still be on their way.
    filled, closed
        Steps bought in and sold out again (or the other way round), from executions alone.
    entry_value, exit_value
        Sums of ticks times steps.
    first_fill_ms
        Time of the first entry execution; the holding time counts from it.
    last_exit_ms
        Time of the last execution against the position; -1 before the first.
    protected
        Steps that a confirmed stop covers.
    naked_ms
        Since when the position is larger than `protected`.
    close_link
        Link id of the close order in flight.
    executions
        Ids that were counted.
    style
        How the entry takes part in the market.
    protect_ms
        When the stop is to be set again; ``None`` while it is confirmed.
    refusals
        How often the venue refused to set it.
    early
        Executions that close what no execution has opened yet: streams can tell the second thing first.
    target_maker, targets
        The target rests in the book; its orders, and the steps that each has left.
    target_count, target_ms, take_target
        Targets sent so far; no further one before this time; the market is at the target, so it is taken.
    """

    link_id: str
    side: int
    limit: int
    stop: int
    target: int
    size: int
    decided_ms: int
    tif_ms: int
    hold_ms: int
    atr: float
    council: str
    attempt: int = 0
    entry: EntryState = "sent"
    sent_ms: int = 0
    asked_ms: int | None = None
    cancel_sent_ms: int | None = None
    done_ms: int | None = None
    absences: int = 0
    expected: int = 0
    filled: int = 0
    closed: int = 0
    entry_value: int = 0
    exit_value: int = 0
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    first_fill_ms: int | None = None
    last_exit_ms: int = -1
    protected: int = 0
    naked_ms: int | None = None
    close_link: str | None = None
    close_sent_ms: int | None = None
    close_asked_ms: int | None = None
    closes: int = 0
    exit_reason: str = ""
    executions: list[str] = []
    style: Entry = PASSIVE
    protect_ms: int | None = None
    refusals: int = 0
    early: list[Filled] = []
    target_maker: bool = False
    targets: dict[str, int] = {}
    target_count: int = 0
    target_ms: int = 0
    take_target: bool = False

    @property
    def open(self) -> int:
        """Steps of the position, unsigned."""
        return self.filled - self.closed

    @property
    def entry_live(self) -> bool:
        """Whether the entry may still fill."""
        return self.entry != "done"


class RiskState(msgspec.Struct):
    """What the limits need to remember.

    Attributes
    ----------
    equity
        Last reading; ``None`` unknown.
    high_water
        Highest equity seen, adjusted for transfers; ``None`` before the first reading.
    day, day_equity
        UTC day number and the first equity known in it, adjusted for transfers.
    breaches, breach_ms
        Fresh readings in a row below the limit, and the last one's time.
    losses
        Losses in a row.
    cooldown_until_ms
        No entries up to this time.
    killed
        Why the kill switch fired; ``None`` if it did not. Latched until a person resumes.
    paused
        Why entries are stopped, by cause; lifted by a person.
    resumed_ms
        When a person last lifted all stops: a kill of the account before that does not count any more.
    entries_ms
        When entries were sent within the last hour.
    """

    equity: Decimal | None = None
    equity_ms: int = -1
    high_water: Decimal | None = None
    transfers: Decimal | None = None
    day: int = -1
    day_equity: Decimal | None = None
    breaches: int = 0
    breach_ms: int = -1
    losses: int = 0
    cooldown_until_ms: int = -1
    killed: str | None = None
    killed_ms: int = -1
    paused: dict[str, str] = {}
    resumed_ms: int = -1
    entries_ms: list[int] = []


class Others(msgspec.Struct, frozen=True):
    """What the account's other contracts use; see :class:`executor.events.OthersHold`."""

    notional: Decimal = Decimal(0)
    risk: Decimal = Decimal(0)
    account: str = ""


class CouncilRef(msgspec.Struct, frozen=True):
    """A council by content; the core asks for the object by its hash."""

    content_hash: str
    version: int
    gate_passed: bool | None = None


class Counts(msgspec.Struct):
    """What a session summary tells."""

    bars: int = 0
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    closed: int = 0
    net_pnl: Decimal = Decimal(0)


class CoreState(msgspec.Struct):
    """Everything the core remembers.

    Attributes
    ----------
    now_ms
        Running maximum of the venue's clock.
    last_bar_ms
        Open of the last bar; closed bars are immutable and never come twice.
    last_values
        Feature vector of the last bar, to see a frozen feed.
    council, pending
        Who decides, and who is about to.
    shadow_left
        Bars for which `pending` still votes in the shadow.
    flatten
        Why the position has to go; ``None`` if it does not.
    stopping
        The process is ending.
    strange
        Position readings in a row that do not agree with our executions.
    venue
        Why what the venue tells may be incomplete; empty if it is not.
    health, health_text
        Share of the usual risk that the health monitor leaves, and why.
    finished
        Last plans that ended, for executions that come late.
    others
        What the account's other contracts use, as last told.
    rules
        How the market has left the contract rules in force; empty if it has not.
    still
        For each feature, bars in a row that repeated its value.
    """

    now_ms: int = -1
    last_bar_ms: int = -1
    last_values: bytes = b""
    council: CouncilRef | None = None
    pending: CouncilRef | None = None
    shadow_left: int = 0
    trade: Trade | None = None
    risk: RiskState = msgspec.field(default_factory=RiskState)
    counts: Counts = msgspec.field(default_factory=Counts)
    flatten: str | None = None
    stopping: bool = False
    strange: int = 0
    venue: str = ""
    alarm_ms: int = -1
    health: float = 1.0
    health_text: str = ""
    finished: list[Trade] = []
    others: Others = Others()
    rules: str = ""
    still: list[int] = []

    def dump(self) -> bytes:
        """Canonical JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def load(cls, data: bytes) -> CoreState:
        """The inverse of :meth:`dump`.

        Raises
        ------
        msgspec.DecodeError
            The bytes are not a state.
        """
        return msgspec.json.decode(data, type=cls)
