"""What the desk asks of a market: the methods that a synthetic book and a replayed one have in common.

A market knows orders by the handle that :meth:`Market.rest` gave, and users' orders by their owner, a number greater
than 0. It never calls the desk: what has happened to users' orders waits in it until :meth:`Market.drain_fills` and
:meth:`Market.drain_triggers` ask.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Fill(NamedTuple):
    """One execution of a user's order.

    Attributes
    ----------
    owner
        Number of the order.
    price, size
        Ticks and steps.
    time_ms
        Market time.
    maker
        Whether the order rested.
    trade
        Number of the public trade; one trade can concern two orders of the user.
    """

    owner: int
    price: int
    size: int
    time_ms: int
    maker: bool
    trade: int


class Market(Protocol):
    """A market in which users' orders trade. Prices in ticks, sizes in steps, sides 0 (buy) and 1 (sell)."""

    @property
    def now_ms(self) -> int:
        """Market time that has been lived through."""

    @property
    def reach(self) -> int:
        """How many ticks from the mark price an order may rest; further away the desk cancels it."""

    @property
    def waiting(self) -> bool:
        """Whether :meth:`drain_fills` or :meth:`drain_triggers` have something to tell."""

    def rest(self, side: int, price: int, size: int, owner: int) -> int:
        """Rest an order behind all others at its price; its handle, or -1 where the market has no room for it.

        The price does not cross the other side: the desk has taken what could be taken.
        """

    def remove(self, handle: int) -> None:
        """Take a resting order off the book; it must still rest."""

    def shrink(self, handle: int, steps: int) -> None:
        """Make a resting order smaller by so many steps; it keeps its place in the queue."""

    def take(self, side: int, limit: int, size: int, owner: int) -> int:
        """Match an incoming order of `side` against the other side up to a price; the size that is left.

        May stop early when buffers are full: the desk drains the fills and asks again until nothing changes.
        """

    def reachable(self, side: int, limit: int) -> int:
        """Displayed steps that an order of `side` could take up to a price."""

    def drain_fills(self) -> list[Fill]:
        """Executions of users' orders since the last call, in order."""

    def set_triggers(self, low: int | None, high: int | None) -> None:
        """Stop :meth:`SyntheticMarket.advance` when a trade is at most `low` or at least `high`; ``None`` for never.

        Last prices only: triggers by mark price are the desk's, once a second, as often as the mark price is published.
        """

    def drain_triggers(self) -> tuple[bool, bool]:
        """Whether a trade has reached the low and the high trigger since the last call."""

    def top(self, side: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prices and displayed sizes of the best levels of a side, best first."""
