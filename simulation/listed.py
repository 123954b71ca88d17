"""What the exchange publishes of a market, beside what the desk asks of it: synthetic and replayed ones alike."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, Protocol

from simulation._lob import F_BIDS, Lob
from simulation.matching import Market


class Liquidation(NamedTuple):
    """Somebody's position was liquidated.

    Attributes
    ----------
    side
        0 for a long position, 1 for a short one.
    price, size
        Bankruptcy price in ticks, and steps.
    time_ms
        Market time.
    """

    side: int
    price: int
    size: int
    time_ms: int


class Told(NamedTuple):
    """What a recorded venue said of itself; ``None`` for what nobody recorded.

    Attributes
    ----------
    mark_ticks, index_ticks
        Ticks.
    open_interest
        Contracts of both sides together, as Bybit counts.
    funding_rate
        Of the running interval.
    """

    mark_ticks: int | None = None
    index_ticks: int | None = None
    open_interest: Decimal | None = None
    funding_rate: Decimal | None = None


class ListedMarket(Market, Protocol):
    """A market whose book, trades and liquidations are published."""

    lob: Lob
    """Buffers and counters; of a replayed market, those that are published only."""

    @property
    def rows(self) -> int:
        """Rows waiting in the output buffer."""

    @property
    def index_ticks(self) -> int:
        """What the contract is worth elsewhere, ticks."""

    @property
    def told(self) -> Told:
        """What the recorded venue said of itself."""

    def best(self, side: int) -> tuple[int, int] | None:
        """Best price of a side and its displayed size."""

    def advance(self, until_ms: int) -> int:
        """Run to a time, or to the first thing that needs attention (see :mod:`simulation._lob_flow`)."""

    def clear_rows(self) -> None:
        """Empty the output buffer."""

    def open_feed(self, feed: int, levels: int, push_ms: int) -> None:
        """Publish a book topic from now on, beginning with a snapshot."""

    def close_feed(self, feed: int) -> None:
        """Stop a book topic."""

    def snapshot(self, feed: int) -> None:
        """Publish the whole top of the book on a topic."""

    def shown(self, feed: int) -> list[tuple[list[int], list[int]]] | None:
        """Prices and sizes of both sides as a topic has published them; ``None`` while nobody knows the book."""

    def drain_liquidations(self) -> list[Liquidation]:
        """Positions of others that were liquidated since the last call."""


def shown_levels(lob: Lob, feed: int) -> list[tuple[list[int], list[int]]]:
    """Prices and sizes of both sides as a topic has published them."""
    sides = []
    for side in (0, 1):
        prices, sizes = lob.shown[feed, side, :, : int(lob.feed[feed, F_BIDS + side])].tolist()
        sides.append((prices, sizes))
    return sides
