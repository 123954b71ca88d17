"""What the paper broker tells its owner."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Report:
    """Something that happened to a plan, at an exchange time."""

    plan_id: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Accepted(Report):
    """The entry order stands in the book; a directional one has been taken up."""


@dataclass(frozen=True, slots=True)
class Rejected(Report):
    """The passive entry order would have taken liquidity; the plan has ended."""


@dataclass(frozen=True, slots=True)
class Filled(Report):
    """A fill.

    Attributes
    ----------
    side
        +1 bought, -1 sold.
    price, size
        Ticks and steps.
    fee
        Paid, in ticks * steps; times tick size and quantity step it is USDT.
    maker
        Whether the fill made liquidity.
    role
        ``entry``, ``stop``, ``target``, ``time`` or ``flatten``.
    """

    side: int
    price: int
    size: int
    fee: Decimal
    maker: bool
    role: str


@dataclass(frozen=True, slots=True)
class Funded(Report):
    """Funding was due while a position was held.

    Attributes
    ----------
    rate
        Fraction of the position's value that longs pay.
    mark
        Mid price, ticks.
    position
        Signed steps held.
    amount
        Paid (negative: received), in ticks * steps.
    """

    rate: Decimal
    mark: Decimal
    position: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Cancelled(Report):
    """The rest of the entry order was cancelled.

    Attributes
    ----------
    left
        Steps that were not filled.
    filled
        Steps that were; 0 means that the plan has ended.
    """

    left: int
    filled: int


@dataclass(frozen=True, slots=True)
class Closed(Report):
    """The position is closed and the plan has ended. Values are sums of ticks * steps over every fill.

    Attributes
    ----------
    reason
        ``stop``, ``target``, ``time`` or ``flatten``.
    filled
        Steps bought and sold again, or sold and bought back.
    profit
        After fees and funding.
    """

    reason: str
    filled: int
    entry_value: int
    exit_value: int
    fees: Decimal
    funding: Decimal
    profit: Decimal


@dataclass(frozen=True, slots=True)
class PaperPlan:
    """How a plan that has not ended stands.

    Attributes
    ----------
    side, limit, stop, target, size, taking, target_maker
        As submitted.
    resting
        Steps of the entry order that are open or under way.
    position
        Signed steps held.
    entry_value
        Ticks * steps of the filled entry.
    entry_ms
        First fill, -1 before it.
    closing
        Why the position is being closed, ``None`` while it is not.
    target_left
        Steps of the maker target that rest in the book.
    """

    plan_id: str
    side: int
    limit: int
    stop: int
    target: int
    size: int
    resting: int
    position: int
    entry_value: int
    entry_ms: int
    closing: str | None
    taking: bool = False
    target_maker: bool = False
    target_left: int = 0
