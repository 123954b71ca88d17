"""What comes out of the trading core: orders to send, questions to ask, things to tell and to write down."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from council.plan import PASSIVE, Entry
from executor.events import Message

#: How loud an alert is.
AlertLevel = Literal["info", "warning", "critical"]


class PlaceEntry(Message, frozen=True, omit_defaults=True):
    """Send a limit entry with its stop and target attached.

    Attributes
    ----------
    entry
        ``passive`` is post-only, ``directional`` immediate-or-cancel.
    target_maker
        The target is not attached: a :class:`PlaceTarget` follows each fill.
    """

    link_id: str
    side: int
    limit: int
    stop: int
    target: int
    size: int
    entry: Entry = PASSIVE
    target_maker: bool = False


class PlaceTarget(Message, frozen=True):
    """Rest a reduce-only post-only limit of `side` that takes the profit of `size` steps of `entry_link`."""

    link_id: str
    entry_link: str
    side: int
    price: int
    size: int


class SetProtection(Message, frozen=True):
    """Make the stop of the position of `entry_link` what the plan says; the old one goes when the new one is there.

    `target` is 0 where the target rests in the book.
    """

    entry_link: str
    side: int
    stop: int
    target: int


class CancelEntry(Message, frozen=True):
    """Cancel the entry."""

    link_id: str


class ClosePosition(Message, frozen=True):
    """Close `size` steps of the position of `entry_link` by a reduce-only market order of `side`."""

    link_id: str
    entry_link: str
    side: int
    size: int
    reason: str


class QueryOrder(Message, frozen=True):
    """Ask what became of an order; the answer is an :class:`OrderState`."""

    link_id: str


class ReadEquity(Message, frozen=True):
    """Read the account again as soon as a fresher reading can be had."""


class ReadPosition(Message, frozen=True):
    """Read the position and the open orders."""


class TracePosition(Message, frozen=True):
    """Find out which executions made the position; the answer is a ``PositionOrigin``."""


class Alert(Message, frozen=True):
    """Tell a person."""

    level: AlertLevel
    code: str
    text: str


class SwapCouncil(Message, frozen=True):
    """The council of the coming decisions is this one."""

    content_hash: str
    version: int


class MemberSaid(msgspec.Struct, frozen=True):
    """One member's vote, and its probabilities of a win given a fill."""

    rank: int
    side: int
    long: float
    short: float


class Voted(msgspec.Struct, frozen=True):
    """What a council, named by its content hash, said."""

    council: str
    side: int
    confidence: float
    members: tuple[MemberSaid, ...]
    reason: str


class Decided(Message, frozen=True):
    """The decision of one bar.

    Attributes
    ----------
    vote
        ``None`` when the council was not asked.
    link_id
        The entry that follows; ``None`` for none.
    reason
        Why nothing was traded; empty when an entry follows.
    shadow
        The vote of a council that is about to take over.
    """

    open_ms: int
    vote: Voted | None
    link_id: str | None
    reason: str
    shadow: Voted | None = None


class TradeClosed(Message, frozen=True):
    """The end of a plan: a closed position, or an entry that never filled (`filled` 0)."""

    link_id: str
    side: int
    filled: int
    reason: str
    entry_ms: int | None
    entry_value: int
    exit_value: int
    fees: Decimal
    funding: Decimal
    net_pnl: Decimal


Action = (
    PlaceEntry
    | PlaceTarget
    | SetProtection
    | CancelEntry
    | ClosePosition
    | QueryOrder
    | ReadEquity
    | ReadPosition
    | TracePosition
    | Alert
    | SwapCouncil
    | Decided
    | TradeClosed
)


_decoder: msgspec.json.Decoder[list[Action]] = msgspec.json.Decoder(list[Action])


def decode_actions(data: bytes) -> list[Action]:
    """The inverse of :func:`executor.events.encode` for a list of actions.

    Raises
    ------
    msgspec.DecodeError
        The bytes are not a list of actions.
    """
    return _decoder.decode(data)
