"""Self-match prevention: an order that would meet one of the same account, as Bybit's ``smpType`` wishes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.exchange.orders import Order

if TYPE_CHECKING:
    from simulation.exchange.desk import Desk

SMP_TYPES = ("None", "CancelMaker", "CancelTaker", "CancelBoth")


def clear_the_way(desk: Desk, order: Order, limit: int) -> int:
    """Prepare a taking order for those of its own account that stand in its way, best price first.

    ``CancelMaker`` cancels them. ``CancelTaker`` and ``CancelBoth`` let the order take what lies before the first of
    them; what is left of it is cancelled, which its ``smp_order_id`` announces. An order meets one of its own when it
    is larger than all that stands at better prices and at the same one.

    Returns
    -------
    int
        The price up to which the order may now take, ticks.
    """
    while True:
        own = _nearest(desk, order, limit)
        if own is None:
            return limit
        if order.smp_type in ("CancelMaker", "CancelBoth"):
            own.smp_order_id = order.order_id
            desk.drop(own, "CancelBySmp", reason="EC_BySelfMatch")
        if order.smp_type in ("CancelTaker", "CancelBoth"):
            order.smp_order_id = own.order_id
            return own.price - order.sign


def _nearest(desk: Desk, order: Order, limit: int) -> Order | None:
    """The first order of the same account that would be met."""
    resting = [
        one
        for one in desk.open_orders(order.listing)
        if one.slot >= 0 and one.side != order.side and (one.price - limit) * order.sign <= 0
    ]
    if not resting:
        return None
    own = min(resting, key=lambda one: (one.price * order.sign, one.number))
    before = order.listing.market.reachable(order.side, own.price) - own.left
    return own if order.left > before else None
