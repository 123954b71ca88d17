"""The desk: users' orders in the market's own queues, their fills, attached stops, funding and liquidation.

There is one account. What it must be told goes to `tell`, in the order in which it happened.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from simulation.accounts import Account
from simulation.exchange.listing import PRICE_BAND, Listing, trade_id
from simulation.exchange.numbers import money
from simulation.exchange.orders import Order, execution_row
from simulation.exchange.positions import Position, Wallet

#: Executions and finished orders that are kept.
_KEPT_EXECUTIONS, _KEPT_ORDERS = 10_000, 500


class Desk:
    """Orders, positions and money of the one account.

    Parameters
    ----------
    listings
        By symbol.
    equity
        USDT at the start.
    maker_fee, taker_fee
        Fractions of the value.
    """

    def __init__(self, listings: dict[str, Listing], equity: Decimal, maker_fee: Decimal, taker_fee: Decimal) -> None:
        self.maker_fee, self.taker_fee = maker_fee, taker_fee
        self.positions = {
            symbol: Position(listing, Account(Decimal(0), listing.instrument)) for symbol, listing in listings.items()
        }
        self.wallet = Wallet(equity, self.positions)
        self.orders: dict[int, Order] = {}
        self.closed: deque[Order] = deque(maxlen=_KEPT_ORDERS)
        self.executions: deque[dict[str, Any]] = deque(maxlen=_KEPT_EXECUTIONS)
        self.link_ids: set[str] = set()
        self.tell: Callable[[str, list[dict[str, Any]]], None] = lambda topic, rows: None
        self._numbers = itertools.count(1)

    # -- reading ------------------------------------------------------------------------------------------------------

    def open_orders(self, listing: Listing | None = None) -> list[Order]:
        """Orders that can still trade or be triggered, oldest first."""
        return [order for order in self.orders.values() if listing is None or order.listing is listing]

    def open_interest(self, listing: Listing) -> int:
        """Steps that the users hold."""
        return abs(self.positions[listing.symbol].steps)

    def order_margin(self) -> Decimal:
        """Margin held by resting orders, USDT."""
        total = Decimal(0)
        for order in self.orders.values():
            if not order.conditional and not order.reduce_only:
                total += order.listing.numbers.usdt(order.left * order.price) / self._leverage(order.listing)
        return total

    def available(self) -> Decimal:
        """Equity that holds no margin, USDT."""
        return self.wallet.equity - self.wallet.initial_margin - self.order_margin()

    def _leverage(self, listing: Listing) -> Decimal:
        return self.positions[listing.symbol].leverage

    # -- orders -------------------------------------------------------------------------------------------------------

    def new_order(self, listing: Listing, side: int, kind: str, qty: int, **fields: Any) -> Order:
        """A numbered order that is not placed yet."""
        now = listing.market.now_ms
        return Order(
            next(self._numbers), listing, side, kind, qty, **fields,
            created_ms=now, updated_ms=now, last_on_created=listing.last_ticks,
        )  # fmt: skip

    def place(self, order: Order) -> None:
        """Take in a checked order: keep it until its trigger, or match it and rest what is left."""
        self.orders[order.number] = order
        if order.link_id:
            self.link_ids.add(order.link_id)
        if order.trigger:
            order.status = "Untriggered"
            self._tell_order(order)
            self._arm(order.listing)
        else:
            self._work(order)
        self.settle(order.listing)

    def cancel(self, order: Order, cancel_type: str = "CancelByUser", *, reason: str = "EC_PerCancelRequest") -> None:
        """Take an order off the book, or forget a condition."""
        waiting = order.conditional
        if order.slot >= 0:
            order.listing.market.remove(order.slot)
            order.slot = -1
        self._finish(order, "Deactivated" if waiting else "Cancelled", cancel_type, "EC_NoError" if waiting else reason)
        if waiting:
            self._arm(order.listing)

    def _work(self, order: Order) -> None:
        """Match an order and rest what is left of it, as its time in force says."""
        listing = order.listing
        limit = self._bound(order) if order.kind == "Market" else order.price
        best = listing.best_ask if order.side == 0 else listing.best_bid
        takes = best is not None and (best <= limit if order.side == 0 else best >= limit)
        if order.tif == "PostOnly" and takes:
            self._finish(order, "Cancelled", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity")
            return
        if order.tif == "FOK" and listing.market.reachable(order.side, limit) < order.left:
            self._finish(order, "Cancelled", "UNKNOWN", "EC_NoEnoughQtyToFill")
            return
        if takes:
            self._take(order, limit)
        if order.left == 0 or not order.open:
            return
        if order.kind == "Market" or order.tif in ("IOC", "FOK"):
            self._finish(order, "Cancelled", "UNKNOWN", "EC_NoImmediateQtyToFill")
            return
        order.slot = listing.market.rest(order.side, order.price, order.left, order.number)
        if order.slot < 0:
            self._finish(order, "Rejected", "UNKNOWN", "EC_Others")
            return
        self._trim(listing)
        if order.open:
            self._tell_order(order)

    def _take(self, order: Order, limit: int) -> None:
        market, size = order.listing.market, order.left
        if order.reduce_only:
            size = min(size, abs(self.positions[order.listing.symbol].steps))
        left = size
        while left > 0:
            rest = market.take(order.side, limit, left, order.number)
            self._book_fills(order.listing)
            if rest == left:
                break
            left = rest

    def _bound(self, order: Order) -> int:
        """Worst price of a market order: the price band around the best price, as Bybit protects takers."""
        listing = order.listing
        best = listing.best_ask if order.side == 0 else listing.best_bid
        anchor = listing.mark_ticks if best is None else best
        return band(anchor, order.side)

    def _finish(self, order: Order, status: str, cancel_type: str = "UNKNOWN", reason: str = "EC_NoError") -> None:
        order.status, order.cancel_type, order.reject_reason = status, cancel_type, reason
        order.updated_ms = order.listing.market.now_ms
        del self.orders[order.number]
        self.closed.append(order)
        self._tell_order(order)

    # -- fills --------------------------------------------------------------------------------------------------------

    def settle(self, listing: Listing) -> None:
        """Book the fills that the market reports and fire what trades have triggered, until nothing is left."""
        while listing.market.waiting:
            self._book_fills(listing)
            low, high = listing.market.drain_triggers()
            if low or high:
                self._fire(listing, low=low, high=high)

    def _book_fills(self, listing: Listing) -> None:
        rows = listing.market.drain_fills()
        for number, price, size, time_ms, maker, trade in rows:
            self._fill(self.orders[number], price, size, time_ms, maker=maker, trade=trade)
        if rows:
            self._trim(listing)
            position = self.positions[listing.symbol]
            self.tell("position", [position.stream_row(self.wallet.balance)])
            self.tell("wallet", [self.wallet.row(self.order_margin())])

    def _fill(self, order: Order, price: int, size: int, time_ms: int, *, maker: bool, trade: int) -> None:
        listing, position = order.listing, self.positions[order.listing.symbol]
        before, realised = position.steps, position.account.realised
        rate = self.maker_fee if maker else self.taker_fee
        fee = listing.numbers.usdt(price * size) * rate
        sign = -1 if order.side else 1
        if before == 0 or before * (before + sign * size) < 0:
            position.opened_pnl, position.opened_ms = position.pnl, time_ms
            position.created_ms = position.created_ms or time_ms
        position.account.fill(sign, price, size, fee)
        position.updated_ms, position.seq = time_ms, listing.seq
        closed = min(size, abs(before)) if before * sign < 0 else 0
        gained = position.account.realised - realised
        order.filled += size
        order.value += price * size
        order.fee += fee
        order.closed_pnl += gained
        order.updated_ms = time_ms
        execution = execution_row(order, price, size, fee, rate, time_ms)
        execution |= {"isMaker": maker, "execId": f"{order.number:08x}{trade_id(trade)[8:]}"}
        execution |= {"closedSize": listing.numbers.size(closed), "execPnl": money(gained)}
        self.executions.append(execution)
        self.tell("execution", [execution])
        if order.left == 0:
            self._finish(order, "Filled")
        else:
            order.status = "PartiallyFilled"
            self._tell_order(order)
        self._guard(order, before)

    def _tell_order(self, order: Order) -> None:
        self.tell("order", [order.stream_row()])

    # -- reduce-only, stops -------------------------------------------------------------------------------------------

    def _trim(self, listing: Listing) -> None:
        """Cut resting reduce-only orders to what is left to reduce, oldest first."""
        steps = self.positions[listing.symbol].steps
        room = [max(-steps, 0), max(steps, 0)]
        for order in self.open_orders(listing):
            if not order.reduce_only or order.slot < 0 or not order.open:
                continue
            allowed = min(order.left, room[order.side])
            room[order.side] -= allowed
            if allowed == 0:
                self.cancel(order, "CancelByReduceOnly")
            elif allowed < order.left:
                listing.market.shrink(order.slot, order.left - allowed)
                order.qty = order.filled + allowed
                self._tell_order(order)

    def _guard(self, order: Order, before: int) -> None:
        """Keep the position's stops in step with it: attached ones come with the fill, all go when it is closed."""
        position = self.positions[order.listing.symbol]
        if before and before * position.steps <= 0:
            self.set_stops(position, 0, 0, "CancelByTpSlTsClear")
        if position.steps * (1 - 2 * order.side) > 0 and (order.take_profit or order.stop_loss):
            profit, stop = order.take_profit or position.take_profit, order.stop_loss or position.stop_loss
            self.set_stops(position, profit, stop, parent=order.link_id)
        for attached in self._attached(position):
            if attached.qty != abs(position.steps):
                attached.qty = abs(position.steps)
                self._tell_order(attached)

    def _attached(self, position: Position) -> list[Order]:
        orders = self.open_orders(position.listing)
        return [order for order in orders if order.conditional and order.stop_kind in ("TakeProfit", "StopLoss")]

    def set_stops(
        self, position: Position, profit: int, stop: int, cancel_type: str = "CancelByUser", parent: str = ""
    ) -> None:
        """Make the position's take profit and stop loss what is given, in ticks; 0 for none."""
        if (profit, stop) == (position.take_profit, position.stop_loss):
            return
        listing = position.listing
        kept = {"TakeProfit": profit, "StopLoss": stop}
        for order in self._attached(position):
            if kept[order.stop_kind] == order.trigger:
                kept.pop(order.stop_kind)
            else:
                self._finish(order, "Deactivated", cancel_type)
        position.take_profit, position.stop_loss = profit, stop
        position.updated_ms = listing.market.now_ms
        for kind, trigger in kept.items():
            if trigger:
                order = self.new_order(
                    listing, 1 if position.steps > 0 else 0, "Market", abs(position.steps), tif="IOC", reduce_only=True,
                    close_on_trigger=True, trigger=trigger, trigger_up=(kind == "TakeProfit") == (position.steps > 0),
                    stop_kind=kind, create_type=f"CreateBy{kind}", parent_link_id=parent, status="Untriggered",
                )  # fmt: skip
                self.orders[order.number] = order
                self._tell_order(order)
        self._arm(listing)
        self.tell("position", [position.stream_row(self.wallet.balance)])

    def _arm(self, listing: Listing) -> None:
        """Tell the market at which last prices to stop."""
        listing.market.set_triggers(*self._armed(listing))

    def _armed(self, listing: Listing) -> tuple[int | None, int | None]:
        """The nearest trigger below and above."""
        waiting = [order for order in self.open_orders(listing) if order.conditional]
        falling = max((order.trigger for order in waiting if not order.trigger_up), default=None)
        rising = min((order.trigger for order in waiting if order.trigger_up), default=None)
        return falling, rising

    def _fire(self, listing: Listing, *, low: bool, high: bool) -> None:
        """Place every order whose trigger the last trades have reached."""
        falling, rising = self._armed(listing)
        last = listing.last_ticks
        for order in self.open_orders(listing):
            if not order.conditional or order.number not in self.orders:
                continue
            if order.trigger_up:
                reached = last >= order.trigger or (high and order.trigger == rising)
            else:
                reached = last <= order.trigger or (low and order.trigger == falling)
            if reached:
                self._trigger(order)
        self._arm(listing)

    def _trigger(self, order: Order) -> None:
        position = self.positions[order.listing.symbol]
        order.status, order.updated_ms = "Triggered", order.listing.market.now_ms
        self._tell_order(order)
        order.status = "New"
        for other in self._attached(position):
            if order.stop_kind in ("TakeProfit", "StopLoss") and other is not order:
                loser, winner = ("Tp", "Sl") if other.stop_kind == "TakeProfit" else ("Sl", "Tp")
                self._finish(other, "Deactivated", f"CancelByOCO{loser}CanceledBy{winner}Triggered")
        if order.stop_kind in ("TakeProfit", "StopLoss"):
            position.take_profit = position.stop_loss = 0
        closing = position.steps * (1 - 2 * order.side) < 0
        if order.reduce_only and not closing:
            self._finish(order, "Cancelled", "CancelByReduceOnly")
            return
        if order.reduce_only:
            order.qty = min(order.qty, abs(position.steps))
        self._work(order)

    # -- funding, liquidation -----------------------------------------------------------------------------------------

    def fund(self, listing: Listing, rate: Decimal) -> None:
        """Exchange funding on the open position; an execution of type ``Funding`` tells of it."""
        position = self.positions[listing.symbol]
        if position.steps == 0:
            return
        mark, size = listing.mark_ticks, abs(position.steps)
        paid = position.account.pay_funding(rate, mark)
        position.updated_ms = now = listing.market.now_ms
        side = 0 if position.steps > 0 else 1
        order = Order(0, listing, side, "UNKNOWN", size)
        row = execution_row(order, mark, size, paid, rate, now)
        row |= {"execType": "Funding", "orderId": "", "orderQty": "0", "leavesQty": "0", "isMaker": False}
        row |= {"execId": trade_id(now), "closedSize": "0", "execPnl": "0", "createType": ""}
        self.executions.append(row)
        self.tell("execution", [row])
        self.tell("wallet", [self.wallet.row(self.order_margin())])

    def patrol(self, listing: Listing) -> None:
        """Once a second: cancel what the market has left too far behind, and liquidate what is no longer covered."""
        for order in self.open_orders(listing):
            if order.slot >= 0 and abs(order.price - listing.mark_ticks) > listing.market.reach:
                self.cancel(order, "CancelByAdmin", reason="EC_Others")
        position = self.positions[listing.symbol]
        if position.steps and self.wallet.equity <= self.wallet.maintenance_margin:
            for order in [o for o in self.open_orders() if not o.conditional]:
                self.cancel(order, "CancelAllBeforeLiq", reason="EC_Others")
            side = 1 if position.steps > 0 else 0
            self.place(
                self.new_order(
                    listing, side, "Market", abs(position.steps), tif="IOC", reduce_only=True, create_type="CreateByLiq"
                )
            )


def band(anchor: int, side: int) -> int:
    """The furthest price, in ticks, at which a side may take when the market is at `anchor`."""
    if side == 0:
        return int((anchor * (1 + PRICE_BAND)).to_integral_value(ROUND_FLOOR))
    return int((anchor * (1 - PRICE_BAND)).to_integral_value(ROUND_CEILING))
