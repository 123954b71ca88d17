"""The desk while orders misbehave, and the incidents that befall positions."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from market.errors import ConfigError
from simulation.exchange.desk import Desk
from simulation.exchange.listing import Listing
from simulation.exchange.misbehaviour import Fault, Misbehaviour, share_of
from simulation.exchange.order_requests import new_orders
from simulation.exchange.orders import Order, Refusal
from simulation.exchange.venue import Venue

#: Orders that requests have made, unlike those of the exchange itself.
_OF_USERS = ("CreateByUser", "CreateByStopOrder")


class MisbehavingDesk(Desk):
    """A desk that faults reach.

    Parameters
    ----------
    faults
        In force.
    arguments
        Of :class:`simulation.exchange.desk.Desk`.
    """

    def __init__(self, faults: Misbehaviour, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._faults = faults

    def _meets(self, order: Order, *kinds: str) -> Fault | None:
        if order.create_type not in _OF_USERS:
            return None
        active = self._faults.strike((order.create_type, order.link_id), order.listing.symbol, *kinds)
        return active.fault if active else None

    def place(self, order: Order) -> None:
        """Take in a checked order, unless it is to be rejected or cancelled after it was accepted."""
        if rejected := self._meets(order, "reject"):
            self._accept_only(order)
            _later(rejected.pause, lambda: self._reject(order))
            return
        if order.tif == "PostOnly" and not order.trigger and self._meets(order, "cancel-post-only"):
            self._accept_only(order)
            self.finish(order, "Cancelled", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity")
            return
        super().place(order)

    def _accept_only(self, order: Order) -> None:
        """Tell of an order that never reaches the book."""
        self.orders[order.number] = order
        if order.link_id:
            self.link_ids.add(order.link_id)
        self.tell_order(order)

    def _reject(self, order: Order) -> None:
        if order.open:
            self.finish(order, "Rejected", "UNKNOWN", "EC_Others")

    def cancel(self, order: Order, cancel_type: str = "CancelByUser", *, reason: str = "EC_PerCancelRequest") -> None:
        """Take an order off the book; part of it may trade before."""
        if order.slot >= 0 and cancel_type == "CancelByUser" and (fault := self._meets(order, "fill-on-cancel")):
            self._sweep(order, share_of(fault, order.left))
        if order.open:
            super().cancel(order, cancel_type, reason=reason)

    def _sweep(self, order: Order, size: int) -> None:
        """Let somebody trade through the queue until so much of an order has traded."""
        goal = order.filled + size
        while order.open and order.filled < goal:
            chunk = goal - order.filled
            left = order.listing.market.take(1 - order.side, order.price, chunk, 0)
            self.settle(order.listing)
            if left == chunk:
                return


class Incidents:
    """What befalls the account without being asked for.

    Parameters
    ----------
    venue
        What is traded.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def happen(self, fault: Fault) -> None:
        """Let an incident happen.

        Raises
        ------
        ConfigError
            The contract is not listed, nothing is held in it, or its rules do not allow the order.
        """
        listing = self._listing(fault)
        match fault.kind:
            case "funding":
                self._venue.desk.fund(listing, Decimal(fault.rate))
            case "adl" | "liquidate":
                self._close(listing, fault)
            case _:
                self._trade(listing, fault)
        self._venue.flush(listing)

    def _listing(self, fault: Fault) -> Listing:
        symbol = fault.symbol or next(iter(self._venue.listings))
        if symbol not in self._venue.listings:
            raise ConfigError(f"{symbol} is not listed here", advice="GET /control lists the symbols")
        return self._venue.listings[symbol]

    def _close(self, listing: Listing, fault: Fault) -> None:
        desk = self._venue.desk
        held = [position for position in desk.positions[listing.symbol].active if position.steps]
        held = [position for position in held if fault.position in (0, position.idx)]
        if not held:
            raise ConfigError(f"nothing is held in {listing.symbol}", advice="Open a position first")
        for position in held:
            if fault.kind == "adl":
                desk.adl(listing.symbol, position.idx, share_of(fault, abs(position.steps)))
            else:
                desk.liquidate(listing.symbol, position.idx)

    def _trade(self, listing: Listing, fault: Fault) -> None:
        params: dict[str, Any] = {"category": "linear", "symbol": listing.symbol, "side": fault.side, "qty": fault.qty}
        params |= {"positionIdx": fault.position, "orderType": "Market"}
        if fault.kind == "manual-order":
            params |= {"orderType": "Limit", "price": fault.price}
        try:
            for order in new_orders(params, self._venue.desk, self._venue.listings):
                self._venue.desk.place(order)
        except Refusal as refusal:
            raise ConfigError(f"the exchange refuses ({refusal.message})", advice="Change the order") from refusal


def _later(seconds: float, act: Any) -> None:
    if seconds <= 0:
        act()
    else:
        asyncio.get_running_loop().call_later(seconds, act)
