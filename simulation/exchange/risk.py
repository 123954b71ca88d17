"""Margin, funding, liquidation and automatic deleveraging.

Formulas: Bybit help centre, "Initial Margin", "Maintenance Margin" and "Liquidation Price Calculation under Isolated
Mode (Unified Trading Account)", "What is Auto-Deleveraging (ADL)".
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from simulation.exchange.listing import Listing, trade_id
from simulation.exchange.orders import Order, execution_row
from simulation.exchange.positions import Position

if TYPE_CHECKING:
    from simulation.exchange.desk import Desk


class Risk:
    """The part of a desk that looks after margin."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- orders' margin -----------------------------------------------------------------------------------------------

    def order_margin(self, extra: Order | None = None) -> Decimal:
        """Margin that active orders need, USDT; with an order that is not placed yet, if given.

        What only makes a position smaller needs none. Of one position's buys and sells the dearer side counts.
        """
        groups: dict[tuple[str, int], list[Order]] = {}
        for order in (*self._desk.orders.values(), *([extra] if extra is not None else [])):
            if not order.conditional and not order.reduces:
                groups.setdefault((order.listing.symbol, order.idx), []).append(order)
        total = Decimal(0)
        for orders in groups.values():
            position = self._desk.position_of(orders[0])
            total += max(self._side(position, [one for one in orders if one.side == side], side) for side in (0, 1))
        return total

    def _side(self, position: Position, orders: list[Order], side: int) -> Decimal:
        sign = 1 - 2 * side
        free = abs(position.steps) if position.sign * sign < 0 else 0
        rate = 1 / position.leverage + position.taker * (1 - sign / position.leverage)
        total = Decimal(0)
        for order in sorted(orders, key=lambda one: -sign * one.price):
            opening = max(order.left - free, 0)
            free = max(free - order.left, 0)
            price = order.price or order.listing.mark_ticks
            total += order.listing.numbers.usdt(price * opening) * rate
        return total

    def covers(self, order: Order) -> bool:
        """Whether the account can afford an order: its margin, and the fee to open what it opens."""
        desk, position = self._desk, self._desk.position_of(order)
        free = abs(position.steps) if position.sign * order.sign < 0 else 0
        price = order.price or order.listing.mark_ticks
        fee = order.listing.numbers.usdt(price * max(order.left - free, 0)) * desk.taker_fee
        own = order if order.number not in desk.orders else None
        needed = self.order_margin(own)
        return needed + fee == 0 or fee <= desk.wallet.available(needed)

    def expected_value(self, extra: Order) -> Decimal:
        """What a position would be worth with an order and all that rest on the order's side, USDT."""
        position, listing = self._desk.position_of(extra), extra.listing
        orders = [one for one in self._desk.open_orders(listing) if one.slot >= 0 and not one.reduces]
        orders = [one for one in orders if (one.side, one.idx) == (extra.side, extra.idx) and one is not extra]
        value = sum((one.left * one.price for one in orders), extra.left * (extra.price or listing.mark_ticks))
        held = position.value(listing.mark_ticks) * position.sign * extra.sign
        return abs(held + listing.numbers.usdt(value))

    # -- funding ------------------------------------------------------------------------------------------------------

    def fund(self, listing: Listing, rate: Decimal) -> None:
        """Exchange funding on the open positions; an execution of type ``Funding`` tells of each."""
        desk = self._desk
        for position in desk.positions[listing.symbol].places:
            if position.steps == 0:
                continue
            mark, size = listing.mark_ticks, abs(position.steps)
            paid = position.account.pay_funding(rate, mark)
            position.updated_ms = now = listing.market.now_ms
            order = Order(0, listing, 0 if position.steps > 0 else 1, "UNKNOWN", size, idx=position.idx)
            row = execution_row(order, mark, size, paid, rate, now)
            row |= {"execType": "Funding", "orderId": "", "orderQty": "0", "leavesQty": "0", "isMaker": False}
            row |= {"execId": f"{position.idx:08x}{trade_id(now)[8:]}", "closedSize": "0", "execPnl": "0"}
            row |= {"createType": ""}
            desk.ledger.executed(row)
            desk.ledger.funded(position, row, paid, rate, desk.wallet.balance)
            desk.tell("execution", [row])
            desk.changed(position)
        desk.flush()

    # -- liquidation --------------------------------------------------------------------------------------------------

    def patrol(self, listing: Listing) -> None:
        """Once a second: fire triggers by mark price, cancel what the market has left too far behind, check margins."""
        desk = self._desk
        desk.stops.watch(listing)
        for order in desk.open_orders(listing):
            if order.slot >= 0 and abs(order.price - listing.mark_ticks) > listing.market.reach:
                desk.cancel(order, "CancelByAdmin", reason="EC_Others")
        if desk.wallet.isolated:
            for position in desk.positions[listing.symbol].active:
                self._check_isolated(position)
        elif desk.positions[listing.symbol].gross and desk.wallet.equity <= desk.wallet.maintenance_margin:
            self._liquidate_account(listing)
        desk.settle(listing)

    def _check_isolated(self, position: Position) -> None:
        """Liquidate a position whose own margin does not cover it; its owner may let the wallet add to it first."""
        if not position.steps:
            return
        margin = position.initial_margin(isolated=True)
        lacks = position.maintenance_margin() - margin - position.open_pnl()
        if lacks < 0:
            return
        if position.auto_add:
            added = min(position.initial_margin(), self._desk.available())
            if added > lacks:
                position.extra += added
                self._desk.changed(position)
                return
        self.take_over(position, position.bankruptcy_ticks())

    def _liquidate_account(self, listing: Listing) -> None:
        """Cross margin: cancel all orders, sell into the market, and take over what the market does not absorb."""
        desk = self._desk
        self._clear_orders([order for order in desk.open_orders() if not order.conditional], "CancelAllBeforeLiq")
        for position in desk.positions[listing.symbol].places:
            if not position.steps or desk.wallet.equity > desk.wallet.maintenance_margin:
                continue
            size, price, side = abs(position.steps), listing.mark_ticks, 1 if position.steps > 0 else 0
            position.status = "Liq"
            desk.liquidated(listing, 1 - side, size, price, listing.market.now_ms)
            order = desk.new_order(
                listing, side, "Market", size, idx=position.idx, tif="IOC", reduce_only=True, create_type="CreateByLiq"
            )
            desk.place(order)
            if position.steps and desk.wallet.equity <= desk.wallet.maintenance_margin:
                self.take_over(position, price)
            position.status = "Normal"
            desk.changed(position)

    def take_over(self, position: Position, price: int) -> None:
        """Close a position at a price, in ticks, without the market: executions of type ``BustTrade``."""
        if not position.steps:
            return
        desk, listing = self._desk, position.listing
        orders = [order for order in desk.open_orders(listing) if order.idx == position.idx]
        self._clear_orders(orders, "CancelAllBeforeLiq")
        size, side = abs(position.steps), 1 if position.steps > 0 else 0
        position.status = "Liq"
        desk.liquidated(listing, 1 - side, size, price, listing.market.now_ms)
        self._impose(position, size, price, "BustTrade", "CreateByTakeOver_PassThrough", maker=False)

    def adl(self, position: Position, steps: int) -> None:
        """Take away a part of a position at mark price; the account's orders in the contract are cancelled.

        The maker's fee is paid. Asked for more than there is, all of it goes.
        """
        size = min(steps, abs(position.steps))
        if size <= 0:
            return
        active = [order for order in self._desk.open_orders(position.listing) if not order.conditional]
        self._clear_orders(active, "CancelAllBeforeAdl")
        position.status = "Adl"
        self._impose(position, size, position.listing.mark_ticks, "AdlTrade", "CreateByAdl_PassThrough", maker=True)

    def _clear_orders(self, orders: list[Order], cancel_type: str) -> None:
        for order in orders:
            if order.open:
                self._desk.drop(order, cancel_type)
                self._desk.changed(self._desk.position_of(order))

    def _impose(
        self, position: Position, size: int, price: int, exec_type: str, create_type: str, *, maker: bool
    ) -> None:
        desk = self._desk
        order = desk.new_order(
            position.listing, 1 if position.steps > 0 else 0, "Market", size, idx=position.idx, price=price, tif="IOC",
            reduce_only=True, create_type=create_type, exec_type=exec_type,
        )  # fmt: skip
        desk.orders[order.number] = order
        desk.impose(order, price, size, maker=maker)
        position.status = "Normal"
        desk.changed(position)
        desk.flush()
