"""What is written at the venue: placing, cancelling, setting a stop. Each call blocks; a lane runs it.

A refusal is a value here, for it is an answer. So is an outcome that nobody knows: it is asked for later.
"""

from __future__ import annotations

from typing import Any

from executor.survey import OrderAnswer, Surveyor
from executor.venue import NOT_OPEN, VenueClient
from market.errors import OrderRejected, OutcomeUnknown


class Clerk:
    """Writes at the venue for one contract.

    Parameters
    ----------
    venue
        Signed REST.
    surveyor
        Asks what became of an order that could not be cancelled.
    symbol
        Contract.
    """

    def __init__(self, venue: VenueClient, surveyor: Surveyor, symbol: str) -> None:
        self._venue, self._surveyor, self._symbol = venue, surveyor, symbol

    def place(self, request: dict[str, Any]) -> tuple[int, str] | None:
        """Refusal code and text; code 0 for an accepted order, ``None`` for an unknown outcome."""
        return self._write("place_order", request)

    def set_stop(self, request: dict[str, Any]) -> tuple[int, str]:
        """Refusal code and text; code 0 otherwise: what came of it is read back."""
        return self._write("set_trading_stop", request) or (0, "")

    def cancel(self, link: str) -> OrderAnswer | None:
        """``None`` while the outcome is open: the stream tells it, or the core asks again."""
        outcome = self._write("cancel_order", {"category": "linear", "symbol": self._symbol, "orderLinkId": link})
        return self._surveyor.order(link) if outcome is not None and outcome[0] in NOT_OPEN else None

    def _write(self, method: str, request: dict[str, Any]) -> tuple[int, str] | None:
        try:
            self._venue.write(method, **request)
        except OrderRejected as refusal:
            return refusal.code, refusal.message
        except OutcomeUnknown:
            return None
        return 0, ""
