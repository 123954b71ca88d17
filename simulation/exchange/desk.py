"""The desk: users' orders in the market's own queues, and what their fills do to positions and money.

There is one account. What it must be told goes to `tell`, in the order in which it happened.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from simulation.exchange.key_info import KeyInfo
from simulation.exchange.ledger import KEPT, Ledger
from simulation.exchange.listing import PRICE_BAND, Listing, trade_id
from simulation.exchange.numbers import money
from simulation.exchange.orders import POSITION_STOPS, Order, execution_row
from simulation.exchange.positions import Holding, Position, new_holding
from simulation.exchange.risk import Risk
from simulation.exchange.smp import clear_the_way
from simulation.exchange.stops import StopKeeper
from simulation.exchange.wallet import Wallet

#: Finished orders that ``GET /v5/order/realtime`` still shows.
_RECENT = 500
#: Number of the first trade that is not the market's: liquidations and the like.
_IMPOSED = 1 << 40


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

    Attributes
    ----------
    positions
        What is held, by symbol.
    orders, closed, history
        Open orders by number, oldest first; finished ones, of which the last are kept for longer.
    tell
        Takes a private topic and its rows.
    liquidated
        Told of every liquidation: listing, side of the position (0 long), steps, price, time in ms.
    """

    def __init__(self, listings: dict[str, Listing], equity: Decimal, maker_fee: Decimal, taker_fee: Decimal) -> None:
        self.maker_fee, self.taker_fee = maker_fee, taker_fee
        self.positions: dict[str, Holding] = {
            symbol: new_holding(listing, taker_fee) for symbol, listing in listings.items()
        }
        self.wallet = Wallet(equity, self.positions)
        self.orders: dict[int, Order] = {}
        self.closed: deque[Order] = deque(maxlen=_RECENT)
        self.history: deque[Order] = deque(maxlen=KEPT)
        self.link_ids: set[str] = set()
        self.ledger = Ledger()
        self.stops, self.risk = StopKeeper(self), Risk(self)
        self.key_info = KeyInfo()
        self.tell: Callable[[str, list[dict[str, Any]]], None] = lambda topic, rows: None
        self.liquidated: Callable[[Listing, int, int, int, int], None] = lambda *facts: None
        self._numbers, self._trades = itertools.count(1), itertools.count(_IMPOSED)
        self._changed: dict[tuple[str, int], Position] = {}

    # -- reading ------------------------------------------------------------------------------------------------------

    def open_orders(self, listing: Listing | None = None) -> list[Order]:
        """Orders that can still trade or be triggered, oldest first."""
        return [order for order in self.orders.values() if listing is None or order.listing is listing]

    def position_of(self, order: Order) -> Position:
        """The position that an order trades for."""
        return self.positions[order.listing.symbol].at(order.idx)

    def open_interest(self, listing: Listing) -> int:
        """Steps that the users hold."""
        return self.positions[listing.symbol].gross

    def order_margin(self) -> Decimal:
        """Margin held by resting orders, USDT."""
        return self.risk.order_margin()

    def available(self) -> Decimal:
        """What new orders can use, USDT."""
        return self.wallet.available(self.order_margin())

    # -- orders -------------------------------------------------------------------------------------------------------

    def new_order(self, listing: Listing, side: int, kind: str, qty: int, **fields: Any) -> Order:
        """A numbered order that is not placed yet; see :class:`Order` for the fields."""
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
        self.changed(self.position_of(order))
        if order.trigger:
            order.status = "Untriggered"
            self.tell_order(order)
            self.stops.arm(order.listing)
        else:
            self.work(order)
        self.settle(order.listing)

    def amend(self, order: Order, **changes: Any) -> None:
        """Change a checked order: ``price``, ``qty``, ``trigger``, ``trigger_by`` or ``stops``.

        A resting order keeps its place in the queue while nothing but its size shrinks.
        """
        old_qty, old_price = order.qty, order.price
        for name, value in changes.items():
            setattr(order, name, value)
        order.updated_ms = order.listing.market.now_ms
        self.changed(self.position_of(order))
        if order.conditional or order.slot < 0:
            self.tell_order(order)
            self.stops.arm(order.listing)
        elif order.price == old_price and order.qty <= old_qty:
            if order.qty < old_qty:
                order.listing.market.shrink(order.slot, old_qty - order.qty)
            self.tell_order(order)
        else:
            order.listing.market.remove(order.slot)
            order.slot = -1
            self.work(order)
        self.settle(order.listing)

    def cancel(self, order: Order, cancel_type: str = "CancelByUser", *, reason: str = "EC_PerCancelRequest") -> None:
        """Take an order off the book, or forget a condition."""
        self.changed(self.position_of(order))
        if order.conditional and order.stop_kind in POSITION_STOPS:
            self.stops.drop(order, cancel_type)
        else:
            self.drop(order, cancel_type, reason=reason)
        self.flush()

    def drop(self, order: Order, cancel_type: str, *, reason: str = "EC_Others") -> None:
        """Cancel as a part of something larger, which tells of the position when it is done."""
        waiting = order.conditional
        if order.slot >= 0:
            order.listing.market.remove(order.slot)
            order.slot = -1
        self.finish(order, "Deactivated" if waiting else "Cancelled", cancel_type, "EC_NoError" if waiting else reason)
        if waiting:
            self.stops.arm(order.listing)

    def work(self, order: Order) -> None:
        """Match an order and rest what is left of it, as its time in force says."""
        listing = order.listing
        limit = self._bound(order) if order.kind == "Market" else order.price
        if order.smp_type != "None" and order.tif != "PostOnly":
            limit = clear_the_way(self, order, limit)
            if not order.open:
                return
        best = listing.best_ask if order.side == 0 else listing.best_bid
        takes = best is not None and (best <= limit if order.side == 0 else best >= limit)
        if order.tif == "PostOnly" and takes:
            self.finish(order, "Cancelled", "UNKNOWN", "EC_PostOnlyWillTakeLiquidity")
            return
        if order.tif == "FOK" and listing.market.reachable(order.side, limit) < order.left:
            self.finish(order, "Cancelled", "UNKNOWN", "EC_NoEnoughQtyToFill")
            return
        if takes:
            self._take(order, limit)
        if order.left == 0 or not order.open:
            return
        if order.smp_order_id:
            self.finish(order, "Cancelled", "CancelBySmp", "EC_BySelfMatch")
        elif order.kind == "Market" or order.tif in ("IOC", "FOK"):
            self.finish(order, "Cancelled", "UNKNOWN", "EC_NoImmediateQtyToFill")
        elif self._wanted(order) == 0:
            self.finish(order, "Cancelled", "CancelByReduceOnly", "EC_PerCancelRequest")
        else:
            self._rest(order)

    def _rest(self, order: Order) -> None:
        order.slot = order.listing.market.rest(order.side, order.price, order.left, order.number)
        if order.slot < 0:
            self.finish(order, "Rejected")
            return
        self._trim(self.position_of(order))
        if order.open:
            self.tell_order(order)

    def _take(self, order: Order, limit: int) -> None:
        while (size := self._wanted(order)) > 0:
            rest = order.listing.market.take(order.side, limit, size, order.number)
            self._book_fills(order.listing)
            if rest == size:
                break

    def _wanted(self, order: Order) -> int:
        """Steps that an order may trade now: a reducing one never more than there is to reduce."""
        room = -order.sign * self.position_of(order).steps
        return min(order.left, max(room, 0)) if order.reduces else order.left

    def _bound(self, order: Order) -> int:
        """Worst price of a market order: its own tolerance, or the price band around the best price."""
        listing = order.listing
        best = listing.best_ask if order.side == 0 else listing.best_bid
        if best is None:
            return band(listing.mark_ticks, order.side)
        match order.slippage_type:
            case "TickSize":
                return best + order.sign * int(order.slippage)
            case "Percent":
                return band(best, order.side, Decimal(order.slippage) / 100)
        return band(best, order.side)

    def finish(self, order: Order, status: str, cancel_type: str = "UNKNOWN", reason: str = "EC_NoError") -> None:
        """End an order that is on no book."""
        if status == "Rejected" and reason == "EC_NoError":
            reason = "EC_Others"
        order.status, order.cancel_type, order.reject_reason = status, cancel_type, reason
        order.updated_ms = order.listing.market.now_ms
        del self.orders[order.number]
        self.closed.append(order)
        self.history.append(order)
        self.tell_order(order)

    # -- fills --------------------------------------------------------------------------------------------------------

    def settle(self, listing: Listing) -> None:
        """Book the fills that the market reports and fire what trades have triggered, until nothing is left."""
        while listing.market.waiting:
            self._book_fills(listing)
            low, high = listing.market.drain_triggers()
            if low or high:
                self.stops.fire(listing, low=low, high=high)
        self.flush()

    def _book_fills(self, listing: Listing) -> None:
        for number, price, size, time_ms, maker, trade in listing.market.drain_fills():
            self._fill(self.orders[number], price, size, time_ms, maker=maker, trade=trade)
        for position in self.positions[listing.symbol].active:
            self._trim(position)

    def impose(self, order: Order, price: int, size: int, *, maker: bool) -> None:
        """Fill an open order at a price without the market: liquidations, deleveraging, and whatever a test wants.

        Parameters
        ----------
        order, price, size
            An open order; ticks; steps, at most what is left of it.
        maker
            Whose fee is paid.
        """
        if order.slot >= 0 and size == order.left:
            order.listing.market.remove(order.slot)
            order.slot = -1
        elif order.slot >= 0:
            order.listing.market.shrink(order.slot, size)
        self._fill(order, price, size, order.listing.market.now_ms, maker=maker, trade=next(self._trades))
        self._trim(self.position_of(order))
        self.settle(order.listing)

    def _fill(self, order: Order, price: int, size: int, time_ms: int, *, maker: bool, trade: int) -> None:
        listing, position = order.listing, self.position_of(order)
        before, realised = position.steps, position.account.realised
        rate = self.maker_fee if maker else self.taker_fee
        fee = listing.numbers.usdt(price * size) * rate
        if before == 0 or before * (before + order.sign * size) < 0:
            position.opened_pnl, position.opened_ms = position.pnl, time_ms
            position.created_ms = position.created_ms or time_ms
        closed = min(size, abs(before)) if before * order.sign < 0 else 0
        average = position.account.average_price
        position.account.fill(order.sign, price, size, fee)
        gained = position.account.realised - realised
        position.updated_ms, position.seq = time_ms, listing.seq
        order.filled += size
        order.value += price * size
        order.fee += fee
        order.updated_ms = time_ms
        self._close(order, position, abs(before), closed, price, average or Decimal(0), gained)
        position.open_fees += fee * (size - closed) / size
        order.closing.close_fee += fee * closed / size
        row = execution_row(order, price, size, fee, rate, time_ms)
        row |= {"isMaker": maker, "execId": f"{order.number:08x}{trade_id(trade)[8:]}"}
        row |= {"closedSize": listing.numbers.size(closed), "execPnl": money(gained)}
        self.ledger.executed(row)
        self.ledger.traded(order, row, position, gained, self.wallet.balance)
        self.tell("execution", [row])
        if order.left == 0:
            self.finish(order, "Filled")
        else:
            order.status = "PartiallyFilled"
            self.tell_order(order)
        self._guard(order, position, before, size - closed)
        self.changed(position)

    def _close(
        self, order: Order, position: Position, held: int, closed: int, price: int, average: Decimal, gained: Decimal
    ) -> None:
        """Tell an order what it has closed of a position of `held` steps, and take its share of what opening cost."""
        if not closed:
            return
        closing, rules = order.closing, order.listing.instrument
        if not closing.steps:
            closing.time_ms, closing.leverage = order.updated_ms, position.leverage
            self.ledger.closed(order)
        share = position.open_fees * closed / held
        position.open_fees -= share
        position.extra -= position.extra * closed / held
        closing.steps += closed
        closing.fills += 1
        closing.entry += average * rules.quantity(closed)
        closing.exit += rules.notional(price, closed)
        closing.gained += gained
        closing.open_fee += share

    def _guard(self, order: Order, position: Position, before: int, opened: int) -> None:
        """Keep the position's stops in step: attached ones come with the fill, all go when it is closed or turned."""
        if before and before * position.steps <= 0:
            self.stops.clear(position)
        if opened and order.stops:
            self.stops.attach(order, position, opened)
        self.stops.follow(position)

    def _trim(self, position: Position) -> None:
        """Cut resting reduce-only orders to what is left to reduce, oldest first."""
        room = [max(-position.steps, 0), max(position.steps, 0)]
        for order in self.open_orders(position.listing):
            if not order.reduces or order.idx != position.idx or order.slot < 0 or not order.open:
                continue
            allowed = min(order.left, room[order.side])
            room[order.side] -= allowed
            if allowed == 0:
                self.drop(order, "CancelByReduceOnly", reason="EC_PerCancelRequest")
            elif allowed < order.left:
                order.listing.market.shrink(order.slot, order.left - allowed)
                order.qty = order.filled + allowed
                self.tell_order(order)

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell_order(self, order: Order) -> None:
        """Tell of an order's new state."""
        self.tell("order", [order.stream_row()])

    def changed(self, position: Position) -> None:
        """Remember to tell of a position; Bybit does so with every order, whether anything has changed or not."""
        self._changed[position.listing.symbol, position.idx] = position

    def flush(self) -> None:
        """Tell of the positions that have changed, and of the wallet."""
        changed, self._changed = list(self._changed.values()), {}
        for position in changed:
            self.tell("position", [self.wallet.stream_row(position)])
        if changed:
            self.tell("wallet", [self.wallet.row(self.order_margin())])

    # -- what the venue and tests ask for -----------------------------------------------------------------------------

    def fund(self, listing: Listing, rate: Decimal) -> None:
        """Exchange funding on the open positions of a contract."""
        self.risk.fund(listing, rate)

    def patrol(self, listing: Listing) -> None:
        """Once a second: triggers by mark price, orders that are too far away, and margin."""
        self.risk.patrol(listing)

    def adl(self, symbol: str, idx: int, steps: int) -> None:
        """Take away a part of a position as automatic deleveraging does; see :meth:`Risk.adl`."""
        self.risk.adl(self.positions[symbol].at(idx), steps)

    def liquidate(self, symbol: str, idx: int = 0) -> None:
        """Take over a position at mark price, whatever its margin; see :meth:`Risk.take_over`."""
        position = self.positions[symbol].at(idx)
        self.risk.take_over(position, position.listing.mark_ticks)

    def manual(self, symbol: str, side: int, steps: int, price: int = 0, idx: int = 0) -> Order:
        """Place an order as the account's owner would by hand: without a link id, at a price or (0) at the market."""
        order = self.new_order(
            self.positions[symbol].at(idx).listing, side, "Limit" if price else "Market", steps, idx=idx, price=price,
            tif="GTC" if price else "IOC", reduce_only=bool(idx) and side == (idx == 1),
        )  # fmt: skip
        self.place(order)
        return order


def band(anchor: int, side: int, width: Decimal = PRICE_BAND) -> int:
    """The furthest price, in ticks, at which a side may take when the market is at `anchor`."""
    if side == 0:
        return int((anchor * (1 + width)).to_integral_value(ROUND_FLOOR))
    return int((anchor * (1 - width)).to_integral_value(ROUND_CEILING))
