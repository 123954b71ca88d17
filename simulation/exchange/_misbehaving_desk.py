"""The desk while orders misbehave, and the incidents that befall the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from market.errors import ConfigError
from simulation.exchange.desk import Desk
from simulation.exchange.listing import Listing
from simulation.exchange.misbehaviour import ActiveFault, Fault, Misbehaviour
from simulation.exchange.order_requests import new_orders
from simulation.exchange.orders import Order, Refusal, Stops
from simulation.exchange.positions import Position
from simulation.exchange.stops import StopKeeper
from simulation.exchange.venue import Venue
from simulation.synthetic import SyntheticMarket

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
        self.stops = MisbehavingStops(self, faults)

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
            self.flush()
            return
        super().place(order)

    def _accept_only(self, order: Order) -> None:
        """Tell of an order that never reaches the book."""
        self.orders[order.number] = order
        if order.link_id:
            self.link_ids.add(order.link_id)
        self.changed(self.position_of(order))
        self.tell_order(order)

    def _reject(self, order: Order) -> None:
        if order.open:
            self.finish(order, "Rejected", "UNKNOWN", "EC_Others")
        self.flush()

    def cancel(self, order: Order, cancel_type: str = "CancelByUser", *, reason: str = "EC_PerCancelRequest") -> None:
        """Take an order off the book; part of it may trade before."""
        if order.slot >= 0 and cancel_type == "CancelByUser" and (fault := self._meets(order, "fill-on-cancel")):
            self._sweep(order, _share_of(fault, order.left))
        if order.open:
            super().cancel(order, cancel_type, reason=reason)

    def _sweep(self, order: Order, size: int) -> None:
        """Let somebody trade through the queue until so much of an order has traded.

        Nobody can trade through a recorded queue: there the order is filled at its price.
        """
        goal, market = order.filled + size, order.listing.market
        while isinstance(market, SyntheticMarket) and order.open and order.filled < goal:
            chunk = goal - order.filled
            left = market.take(1 - order.side, order.price, chunk, 0)
            self.settle(order.listing)
            if left == chunk:
                break
        if order.open and order.filled < goal:
            self.impose(order, order.price, goal - order.filled, maker=True)


class MisbehavingStops(StopKeeper):
    """Stops that may be refused, moved or forgotten. Scopes: ``trading-stop`` for requests, ``attached`` for fills."""

    def __init__(self, desk: Desk, faults: Misbehaviour) -> None:
        super().__init__(desk)
        self._owner, self._faults = desk, faults
        self._attaching = False

    def _meets(self, position: Position, stops: Stops) -> ActiveFault | None:
        if not (stops.profit or stops.loss):
            return None
        scope = ("attached" if self._attaching else "trading-stop",)
        return self._faults.strike(scope, position.listing.symbol, "stop-reject", "stop-adjust", "stop-drop")

    def attach(self, order: Order, position: Position, size: int) -> None:
        """Give the position the stops of an order, or not."""
        self._attaching = True
        try:
            super().attach(order, position, size)
        finally:
            self._attaching = False

    def set_full(
        self, position: Position, stops: Stops, cancel_type: str = "CancelByUser", *, parent: str = ""
    ) -> None:
        """Make the whole position's stops what is given, or not."""
        fault = self._meets(position, stops)
        if fault is None:
            super().set_full(position, stops, cancel_type, parent=parent)
        elif fault.fault.kind == "stop-adjust":
            super().set_full(position, _moved(stops, position, fault.fault.ticks), cancel_type, parent=parent)
        elif fault.fault.kind == "stop-reject":
            self._refuse(position, stops, fault.fault, parent)

    def add_partial(self, position: Position, stops: Stops, size: int, *, parent: str = "") -> tuple[int, int]:
        """Add stops for a part of the position, or not."""
        fault = self._meets(position, stops)
        if fault is None:
            return super().add_partial(position, stops, size, parent=parent)
        if fault.fault.kind == "stop-adjust":
            return super().add_partial(position, _moved(stops, position, fault.fault.ticks), size, parent=parent)
        if fault.fault.kind == "stop-reject":
            self._refuse(position, stops, fault.fault, parent)
        return 0, 0

    def _refuse(self, position: Position, stops: Stops, fault: Fault, parent: str) -> None:
        """Refuse the request, or tell of attached stops that were rejected."""
        if not self._attaching:
            raise Refusal(fault.code, fault.message or "Server error.")
        for kind, trigger, by in (
            ("TakeProfit", stops.profit, stops.profit_by),
            ("StopLoss", stops.loss, stops.loss_by),
        ):
            if trigger:
                order = self._new(position, kind, trigger, by, abs(position.steps), parent=parent)
                self._owner.finish(order, "Rejected", "UNKNOWN", "EC_Others")


def _moved(stops: Stops, position: Position, ticks: int) -> Stops:
    """Stops that are further away from the market."""
    away = ticks * position.sign
    return replace(
        stops,
        profit=stops.profit + away if stops.profit else 0,
        loss=stops.loss - away if stops.loss else 0,
    )


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
        listing, desk = self._listing(fault), self._venue.desk
        match fault.kind:
            case "funding":
                desk.fund(listing, Decimal(fault.rate))
            case "adl":
                desk.adl(listing.symbol, fault.position, _share_of(fault, self._held(listing, fault)))
            case "liquidate":
                self._held(listing, fault)
                desk.liquidate(listing.symbol, fault.position)
            case _:
                self._trade(listing, fault)
        self._venue.flush(listing)

    def _listing(self, fault: Fault) -> Listing:
        symbol = fault.symbol or next(iter(self._venue.listings))
        if symbol not in self._venue.listings:
            raise ConfigError(f"{symbol} is not listed here", advice="GET /control lists the symbols")
        return self._venue.listings[symbol]

    def _held(self, listing: Listing, fault: Fault) -> int:
        steps = abs(self._venue.desk.positions[listing.symbol].at(fault.position).steps)
        if steps == 0:
            raise ConfigError(f"nothing is held in {listing.symbol}", advice="Open a position first")
        return steps

    def _trade(self, listing: Listing, fault: Fault) -> None:
        params: dict[str, Any] = {"category": "linear", "symbol": listing.symbol, "side": fault.side}
        params |= {"positionIdx": fault.position, "orderType": "Market", "qty": fault.qty}
        if fault.kind == "manual-order":
            params |= {"orderType": "Limit", "price": fault.price}
        try:
            orders = new_orders(params, self._venue.desk, self._venue.listings)
        except Refusal as refusal:
            raise ConfigError(f"the exchange refuses ({refusal.message})", advice="Change the order") from refusal
        for order in orders:
            self._venue.desk.place(order)


def _share_of(fault: Fault, steps: int) -> int:
    """A fault's share of a size, at least one step."""
    return max(1, min(steps, int(Decimal(str(fault.share)) * steps)))


def _later(seconds: float, act: Callable[[], None]) -> None:
    if seconds <= 0:
        act()
    else:
        asyncio.get_running_loop().call_later(seconds, act)
