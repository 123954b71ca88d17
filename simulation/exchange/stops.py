"""Conditional orders and the stops of positions: what triggers them, and what goes when one of them is triggered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simulation.exchange.listing import Listing
from simulation.exchange.orders import FULL_STOPS, PARTIAL_STOPS, POSITION_STOPS, Order, Stops
from simulation.exchange.positions import Position

if TYPE_CHECKING:
    from simulation.exchange.desk import Desk

#: Most stops of a position that do not cover all of it.
MOST_PARTIAL = 20


class StopKeeper:
    """Keeps the conditional orders of a desk.

    Stops of the whole position follow its size; partial ones have their own, at most the position's. Triggers by last
    price are the market's: it stops at the nearest ones. Those by mark and index price are looked at once a second.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- what there is ------------------------------------------------------------------------------------------------

    def of(self, position: Position) -> list[Order]:
        """A position's stops that wait for their triggers, oldest first."""
        return [
            order
            for order in self._desk.open_orders(position.listing)
            if order.conditional and order.idx == position.idx and order.stop_kind in POSITION_STOPS
        ]

    def partials(self, position: Position) -> int:
        """How many of them are partial."""
        return sum(order.stop_kind in PARTIAL_STOPS for order in self.of(position))

    def _full(self, position: Position, kind: str) -> Order | None:
        return next((order for order in self.of(position) if order.stop_kind == kind), None)

    # -- stops of the whole position ----------------------------------------------------------------------------------

    def set_full(
        self, position: Position, stops: Stops, cancel_type: str = "CancelByUser", *, parent: str = ""
    ) -> None:
        """Make the whole position's take profit and stop loss what is given; none where there is none.

        An order that is there already is changed and keeps its id and its parent.
        """
        position.take_profit, position.stop_loss = stops.profit, stops.loss
        position.profit_by, position.loss_by = stops.profit_by, stops.loss_by
        wanted = ((stops.profit, stops.profit_by), (stops.loss, stops.loss_by))
        for kind, (trigger, by) in zip(FULL_STOPS, wanted):
            order = self._full(position, kind)
            if order is None and trigger:
                self._new(position, kind, trigger, by, abs(position.steps), parent=parent)
            elif order is not None and not trigger:
                self._desk.finish(order, "Deactivated", cancel_type)
            elif order is not None and (order.trigger, order.trigger_by) != (trigger, by):
                order.trigger, order.trigger_by = trigger, by
                self._touch(order)
        self.arm(position.listing)
        self._desk.changed(position)

    def set_trailing(self, position: Position, distance: int, activation: int) -> None:
        """Trail the price at a distance, in ticks, from an activation price on; 0 for none, and for at once."""
        old = self._full(position, "TrailingStop")
        if old is not None:
            self._desk.finish(old, "Deactivated", "CancelByUser")
        position.trailing = distance
        if distance:
            order = self._new(position, "TrailingStop", activation, "LastPrice", abs(position.steps))
            order.trail, order.trigger_up = distance, position.sign > 0
            order.extreme = 0 if activation else position.listing.last_ticks
        self.arm(position.listing)
        self._desk.changed(position)

    # -- partial stops ------------------------------------------------------------------------------------------------

    def add_partial(self, position: Position, stops: Stops, size: int, *, parent: str = "") -> tuple[int, int]:
        """Add a pair of stops, or one, for a part of the position; their numbers, 0 for what is not there."""
        sides = (
            (stops.profit, stops.profit_by, stops.profit_limit),
            (stops.loss, stops.loss_by, stops.loss_limit),
        )
        made = [
            self._new(position, kind, trigger, by, size, limit=limit, parent=parent) if trigger else None
            for kind, (trigger, by, limit) in zip(PARTIAL_STOPS, sides)
        ]
        profit, loss = made
        if profit is not None and loss is not None:
            profit.pair, loss.pair = loss.number, profit.number
        self.arm(position.listing)
        self._desk.changed(position)
        return (profit.number if profit else 0, loss.number if loss else 0)

    def attach(self, order: Order, position: Position, size: int) -> None:
        """Give the position the stops of an order that has just opened `size` of it."""
        stops = order.stops
        if stops.mode == "Full":
            kept = Stops(
                stops.profit or position.take_profit,
                stops.loss or position.stop_loss,
                stops.profit_by if stops.profit else position.profit_by,
                stops.loss_by if stops.loss else position.loss_by,
            )
            self.set_full(position, kept, parent=order.link_id)
            return
        children = [child for number in order.children if (child := self._desk.orders.get(number)) is not None]
        waiting = [child for child in children if child.conditional]
        for child in waiting:
            child.qty += size
            self._touch(child)
        if not waiting:
            order.children = self.add_partial(position, stops, size, parent=order.link_id)

    # -- upkeep -------------------------------------------------------------------------------------------------------

    def follow(self, position: Position) -> None:
        """Keep the sizes of a position's stops in step with it."""
        held = abs(position.steps)
        for order in self.of(position):
            size = min(order.qty, held) if order.stop_kind in PARTIAL_STOPS else held
            if order.qty != size:
                order.qty = size
                self._touch(order)

    def clear(self, position: Position, cancel_type: str = "CancelByTpSlTsClear") -> None:
        """Forget all stops of a position that is gone or has turned round."""
        position.take_profit = position.stop_loss = position.trailing = 0
        for order in self.of(position):
            self._desk.finish(order, "Deactivated", cancel_type)
        self.arm(position.listing)

    def drop(self, order: Order, cancel_type: str) -> None:
        """Forget one of a position's stops as its owner wishes; a bound partner goes with it."""
        position = self._desk.position_of(order)
        match order.stop_kind:
            case "TakeProfit":
                position.take_profit = 0
            case "StopLoss":
                position.stop_loss = 0
            case "TrailingStop":
                position.trailing = 0
        self._desk.finish(order, "Deactivated", cancel_type)
        partner = self._desk.orders.get(order.pair)
        if partner is not None and partner.conditional:
            self._desk.finish(partner, "Deactivated", cancel_type)
        self.arm(order.listing)

    def _new(
        self, position: Position, kind: str, trigger: int, by: str, size: int, *, limit: int = 0, parent: str = ""
    ) -> Order:
        profit = kind in ("TakeProfit", "PartialTakeProfit")
        order = self._desk.new_order(
            position.listing, 1 if position.steps > 0 else 0, "Limit" if limit else "Market", size, idx=position.idx,
            price=limit, tif="GTC" if limit else "IOC", reduce_only=True, close_on_trigger=True, trigger=trigger,
            trigger_by=by, trigger_up=profit == (position.steps > 0), stop_kind=kind, create_type=f"CreateBy{kind}",
            parent_link_id=parent, status="Untriggered",
        )  # fmt: skip
        self._desk.orders[order.number] = order
        self._desk.tell_order(order)
        return order

    def _touch(self, order: Order) -> None:
        order.updated_ms = order.listing.market.now_ms
        self._desk.tell_order(order)

    # -- triggers -----------------------------------------------------------------------------------------------------

    def _waiting(self, listing: Listing) -> Iterator[Order]:
        return (order for order in self._desk.open_orders(listing) if order.conditional)

    def arm(self, listing: Listing) -> None:
        """Tell the market at which last prices to stop."""
        listing.market.set_triggers(*self._nearest(listing))

    def _nearest(self, listing: Listing) -> tuple[int | None, int | None]:
        """The nearest triggers by last price, below and above."""
        levels = [_levels(order) for order in self._waiting(listing) if order.trigger_by == "LastPrice"]
        falling = max((low for low, _ in levels if low is not None), default=None)
        rising = min((high for _, high in levels if high is not None), default=None)
        return falling, rising

    def fire(self, listing: Listing, *, low: bool, high: bool) -> None:
        """Place every order whose trigger by last price trades have reached: `low` and `high` say that one has."""
        falling, rising = self._nearest(listing)
        last = listing.last_ticks
        lowest = last if falling is None or not low else min(last, falling)
        highest = last if rising is None or not high else max(last, rising)
        for order in list(self._waiting(listing)):
            if order.conditional and order.trigger_by == "LastPrice":
                self._look(order, lowest, highest)
        self.arm(listing)

    def watch(self, listing: Listing) -> None:
        """Place every order whose trigger by mark or index price is reached now."""
        for order in list(self._waiting(listing)):
            if order.conditional and order.trigger_by != "LastPrice":
                price = listing.mark_ticks if order.trigger_by == "MarkPrice" else listing.index_ticks
                self._look(order, price, price)
        self.arm(listing)

    def _look(self, order: Order, lowest: int, highest: int) -> None:
        low, high = _levels(order)
        below, above = low is not None and lowest <= low, high is not None and highest >= high
        if not order.trail:
            if below or above:
                self.trigger(order)
        elif not order.extreme:
            if below or above:
                order.extreme = highest if order.trigger_up else lowest
        elif order.trigger_up:  # the stop of a long: it follows the highest price from below
            if below:
                self.trigger(order)
            order.extreme = max(order.extreme, highest)
        else:
            if above:
                self.trigger(order)
            order.extreme = min(order.extreme, lowest)

    def trigger(self, order: Order) -> None:
        """Turn a conditional order into an active one."""
        desk, position = self._desk, self._desk.position_of(order)
        order.status, order.updated_ms = "Triggered", order.listing.market.now_ms
        desk.tell_order(order)
        order.status = "New"
        self._part(order, position)
        if order.reduces:
            if position.sign * order.sign >= 0:
                desk.finish(order, "Cancelled", "CancelByReduceOnly")
                return
            order.qty = min(order.qty, abs(position.steps))
        elif not desk.risk.covers(order):
            desk.finish(order, "Cancelled", "UNKNOWN", "EC_Others")
            return
        desk.work(order)

    def _part(self, order: Order, position: Position) -> None:
        """One of a pair has been triggered: the other one goes."""
        if order.stop_kind == "TrailingStop":
            position.trailing = 0
        if order.stop_kind in FULL_STOPS:
            position.take_profit = position.stop_loss = 0
            others = [one for one in self.of(position) if one.stop_kind in FULL_STOPS]
        else:
            partner = self._desk.orders.get(order.pair)
            others = [partner] if partner is not None and partner.conditional else []
        for other in others:
            loser, winner = ("Tp", "Sl") if other.stop_kind.endswith("TakeProfit") else ("Sl", "Tp")
            self._desk.finish(other, "Deactivated", f"CancelByOCO{loser}CanceledBy{winner}Triggered")


def _levels(order: Order) -> tuple[int | None, int | None]:
    """The prices at which an order wants to be looked at: falling to the first, rising to the second; ticks."""
    if not order.trail or not order.extreme:
        return (None, order.trigger) if order.trigger_up else (order.trigger, None)
    if order.trigger_up:
        return order.extreme - order.trail, order.extreme + 1
    return order.extreme - 1, order.extreme + order.trail
