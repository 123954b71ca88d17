"""What surveys come to: orders, position and resident stop, told when they are asked for or have changed."""

from __future__ import annotations

from executor.events import Event, OpenOrder, OrdersRead, PositionRead, Protected
from executor.survey import Survey
from executor.wire import OrderRow, PositionRow

_STOPS = ("StopLoss", "PartialStopLoss")


class Witness:
    """Remembers what was told last.

    Attributes
    ----------
    hedge
        Whether the account holds long and short apart; known from the first survey on.
    """

    def __init__(self) -> None:
        self.hedge = False
        self._told: tuple[object, ...] | None = None
        self._stop: tuple[int, int] | None = None

    def compare(self, survey: Survey, now_ms: int, index: int, *, asked: bool, confirm: bool) -> list[Event]:
        """What a survey has to tell.

        Parameters
        ----------
        survey
            As the venue answered.
        now_ms
            Venue time.
        index
            Position index of the last entry: in hedge mode the other side may be somebody else's.
        asked
            Somebody asked: told in any case, and a failed read as such.
        confirm
            A stop is being waited for: told in any case.
        """
        events: list[Event] = []
        if survey.positions is not None:
            self.hedge = any(row.index for row in survey.positions)
        orders = _open(survey.orders)
        position = None if survey.positions is None else sum(row.steps for row in survey.positions)
        found = (orders, position)
        if asked or (found != self._told and None not in found):
            self._told = found
            events += [OrdersRead(now_ms, orders), PositionRead(now_ms, position)]
        if survey.positions is None or survey.orders is None:
            return events
        stop = _resident(survey.positions, survey.orders, index)
        if stop is not None and (confirm or asked or stop != self._stop):
            events.append(Protected(now_ms, *stop))
        self._stop = stop
        return events


def _resident(positions: tuple[PositionRow, ...], orders: tuple[OrderRow, ...], index: int) -> tuple[int, int] | None:
    """The stop that position and orders agree on: ticks and steps; ``None`` without a position."""
    held = [row for row in positions if row.steps]
    ours = [row for row in held if row.index == index] or held
    if not ours:
        return None
    row = ours[0]
    if row.stop <= 0:
        return (row.stop, 0)
    resident = any(one.stop_kind in _STOPS and one.index == row.index and one.trigger == row.stop for one in orders)
    return (row.stop, abs(row.steps)) if resident else (0, 0)


def _open(orders: tuple[OrderRow, ...] | None) -> tuple[OpenOrder, ...] | None:
    if orders is None:
        return None
    return tuple(OpenOrder(order.link_id, order.protective) for order in orders if order.status == "resting")
