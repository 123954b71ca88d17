"""What goes into the trading core.

Every message is a frozen, tagged structure with a canonical JSON form: the journal stores exactly what the core saw,
and a replay compares bytes. Prices are ticks, sizes quantity steps, money `Decimal` USDT, times UTC ms on the venue's
clock. What is unknown is ``None``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

#: What an order turned out to be, as an answer to a query by link id.
OrderStatus = Literal["resting", "filled", "cancelled", "rejected", "absent"]
#: Why an order filled; the last three are the venue's doing, or a person's.
FillRole = Literal["entry", "stop", "target", "exit", "liquidation", "adl", "external"]


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of events and actions."""


class BarClosed(Message, frozen=True):
    """A bar is complete.

    Attributes
    ----------
    now_ms
        Venue clock at the event that closed the bar.
    open_ms, close_ms
        The bar is ``[open_ms, close_ms)``.
    close, bid, ask
        Ticks; -1 unknown.
    atr
        ATR(14), ticks; ``None`` unknown.
    valid
        The bar is whole and no suspect window touches it.
    values
        The feature vector: float64, little-endian, NaN where unknown.
    book_age_ms
        Age of the last book message at `now_ms`; -1 unknown.
    lag_ms
        Wall time between receiving the closing frame and handing the bar to the core.
    """

    now_ms: int
    open_ms: int
    close_ms: int
    close: int
    bid: int
    ask: int
    atr: float | None
    valid: bool
    values: bytes
    book_age_ms: int
    lag_ms: int = 0


class Clock(Message, frozen=True):
    """Time has passed; sent when :meth:`executor.core.Core.deadline_ms` is reached."""

    now_ms: int


class OrderAccepted(Message, frozen=True):
    """The venue acknowledged an order."""

    now_ms: int
    link_id: str


class OrderRejected(Message, frozen=True):
    """The venue refused an order; `code` is Bybit's ``retCode`` where it has one."""

    now_ms: int
    link_id: str
    code: int
    reason: str


class OrderCancelled(Message, frozen=True):
    """An order left the book; `filled` is its cumulative filled size, -1 where the venue does not say."""

    now_ms: int
    link_id: str
    filled: int
    reason: str = ""


class OrderUnknown(Message, frozen=True):
    """An order was sent and no answer says what became of it."""

    now_ms: int
    link_id: str


class OrderState(Message, frozen=True):
    """The answer to a query by link id, after the executions that it found; ``None`` when the query itself failed."""

    now_ms: int
    link_id: str
    status: OrderStatus | None
    filled: int = -1


class Filled(Message, frozen=True):
    """One execution.

    Attributes
    ----------
    link_id
        Of our order; empty for the attached stop and target, for liquidation and ADL.
    execution_id
        Unique; an execution that comes twice counts once.
    time_ms
        Time of the execution itself. Nothing else starts the holding timer.
    side
        +1 bought, -1 sold.
    fee
        USDT; negative is a rebate.
    """

    now_ms: int
    link_id: str
    execution_id: str
    role: FillRole
    time_ms: int
    side: int
    price: int
    size: int
    fee: Decimal
    maker: bool


class Protected(Message, frozen=True):
    """The stop of a position was read back from the venue: `size` steps at `stop` ticks; 0 at 0 where there is none."""

    now_ms: int
    stop: int
    size: int


class ProtectionRejected(Message, frozen=True):
    """The venue refused to set the stop of a position; what was there before is there still."""

    now_ms: int
    code: int
    reason: str


class VenueState(Message, frozen=True):
    """Whether what the venue tells is complete: the private stream is up, and REST has said what it missed."""

    now_ms: int
    ready: bool
    cause: str = ""


class Funding(Message, frozen=True):
    """A funding payment; positive `amount` was paid by us."""

    now_ms: int
    execution_id: str
    amount: Decimal


class EquityRead(Message, frozen=True):
    """A reading of the account.

    Attributes
    ----------
    as_of_ms
        When the venue took the reading; a reading no newer than the last one confirms nothing.
    equity
        With open profit and loss; ``None`` when the read failed.
    transfers
        Sum of deposits less withdrawals since the account was first seen.
    """

    now_ms: int
    as_of_ms: int
    equity: Decimal | None
    transfers: Decimal = Decimal(0)


class PositionRead(Message, frozen=True):
    """The position: signed steps, ``None`` when the read failed."""

    now_ms: int
    position: int | None


class OpenOrder(msgspec.Struct, frozen=True):
    """One line of the venue's open orders; `protective` ones are conditional, reduce-only or attached."""

    link_id: str
    protective: bool = False


class OrdersRead(Message, frozen=True):
    """All open orders of the symbol, every page; ``None`` when a read failed."""

    now_ms: int
    orders: tuple[OpenOrder, ...] | None


class CouncilChanged(Message, frozen=True):
    """Another council is in Production, fetched and verified.

    Attributes
    ----------
    content_hash
        Under which the core asks for it.
    version
        Of the registered model.
    gate_passed
        ``None`` where the version carries no verdict.
    """

    now_ms: int
    content_hash: str
    version: int
    gate_passed: bool | None = None


class Halt(Message, frozen=True):
    """A person stops new entries."""

    now_ms: int
    reason: str = "by command"


class Resume(Message, frozen=True):
    """A person lifts every stop: pause, kill switch, foreign-position pause."""

    now_ms: int


class Flatten(Message, frozen=True):
    """A person wants out: cancel the entry, close the position, no new entries."""

    now_ms: int
    reason: str = "by command"


class HealthChanged(Message, frozen=True):
    """What the health monitor says: `scale` is the share of the usual risk, 0 stops entries until a person resumes."""

    now_ms: int
    scale: float
    text: str


class OthersHold(Message, frozen=True):
    """What the other contracts of the account use, as far as this process looks after them; told before a bar.

    Attributes
    ----------
    notional, risk
        USDT of their positions and of entries that may still fill: their value, and what their stops would lose.
    account
        Why the account may not enter, as another contract has seen it; empty if it may.
    """

    now_ms: int
    notional: Decimal
    risk: Decimal
    account: str = ""


class AccountKilled(Message, frozen=True):
    """The kill switch fired for another contract of the account, at `killed_ms`: there is one equity."""

    now_ms: int
    killed_ms: int
    text: str


class RulesChanged(Message, frozen=True):
    """The market's prices or sizes do not fit the contract rules in force; an empty `text`: they do after all."""

    now_ms: int
    text: str


class PositionOrigin(Message, frozen=True):
    """Where a position comes from whose plan is not known; the answer to a ``TracePosition``.

    Attributes
    ----------
    position
        Signed steps; ``None`` when that could not be found out.
    link_id
        Of the last entry of ours that made it; empty if somebody else's execution is in it.
    entry_value
        Sum of ticks times steps of what is held.
    first_fill_ms
        When it began.
    stop, target
        Ticks of the venue's resident stop and target; 0 for none.
    fees
        USDT, of what is held.
    executions
        Ids of the executions that made it.
    """

    now_ms: int
    position: int | None
    link_id: str = ""
    entry_value: int = 0
    fees: Decimal = Decimal(0)
    first_fill_ms: int = -1
    stop: int = 0
    target: int = 0
    executions: tuple[str, ...] = ()


class Stopping(Message, frozen=True):
    """The process ends: an unfilled entry must not stay behind; a position keeps its stop on the venue."""

    now_ms: int


Event = (
    BarClosed
    | Clock
    | OrderAccepted
    | OrderRejected
    | OrderCancelled
    | OrderUnknown
    | OrderState
    | Filled
    | Protected
    | ProtectionRejected
    | VenueState
    | Funding
    | EquityRead
    | PositionRead
    | OrdersRead
    | CouncilChanged
    | Halt
    | Resume
    | Flatten
    | HealthChanged
    | OthersHold
    | AccountKilled
    | RulesChanged
    | PositionOrigin
    | Stopping
)


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(message: object) -> bytes:
    """The canonical JSON of a message, or of a list of them."""
    return _encoder.encode(message)


def decode_event(data: bytes) -> Event:
    """The inverse of :func:`encode` for an event.

    Raises
    ------
    msgspec.DecodeError
        The bytes are not an event.
    """
    return _decoder.decode(data)
