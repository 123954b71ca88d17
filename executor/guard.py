"""What stands between a position and the market: the stop that the venue must have, and targets that rest there.

A stop counts when it was read back from the venue, at the plan's price and for the whole position. One that is missing
or different is set again, every `protection_retry_ms`; what is not covered within `protection_timeout_ms`, or is
refused twice, is closed. No I/O; works on the core's state.
"""

from __future__ import annotations

from collections.abc import Iterator

from executor.actions import Action, Alert, PlaceTarget, QueryOrder, SetProtection
from executor.events import Protected, ProtectionRejected
from executor.ids import target_id
from executor.state import CoreConfig, CoreState, Trade

#: Reason with which Bybit cancels, after having accepted it, a post-only order that would have taken.
POST_ONLY_REASON = "EC_PostOnlyWillTakeLiquidity"
#: Refusals of a stop after which the position is closed: the market is beyond it, or the venue will not have it.
REFUSALS = 2


class Guard:
    """Looks after the stop and the resting target of the one plan that may be under way."""

    def __init__(self, config: CoreConfig, state: CoreState) -> None:
        self._config, self._state = config, state

    # --- the stop ----------------------------------------------------------------------------------------------------

    def check_cover(self, trade: Trade) -> None:
        """Note since when the position is larger than what a confirmed stop covers."""
        if trade.open <= trade.protected:
            trade.naked_ms = trade.protect_ms = None
            trade.refusals = 0
        elif trade.naked_ms is None:
            trade.naked_ms = self._state.now_ms
            trade.protect_ms = self._state.now_ms + self._config.protection_retry_ms

    def protected(self, event: Protected) -> list[Action]:
        """The venue's stop was read back: as the plan has it, or not."""
        trade = self._state.trade
        if trade is None or trade.open <= 0:
            return []
        if event.stop == trade.stop:
            trade.protected = event.size
            self.check_cover(trade)
            return []
        was_covered = trade.protected > 0
        trade.protected = 0
        self.check_cover(trade)
        if was_covered:
            trade.protect_ms = self._state.now_ms
        there = f"is {event.stop} ticks" if event.stop > 0 else "is not there" if event.stop == 0 else "is off the tick"
        return [Alert("critical", "stop-adjusted", f"the venue's stop {there}, the plan's is {trade.stop} ticks")]

    def refused(self, event: ProtectionRejected) -> list[Action]:
        """The venue will not set the stop."""
        trade = self._state.trade
        if trade is None or trade.open <= 0 or trade.naked_ms is None:
            return []
        trade.refusals += 1
        return [Alert("critical", "stop-rejected", f"stop {trade.stop} refused: {event.code} {event.reason}")]

    def overdue(self, trade: Trade) -> bool:
        """Whether the position has been without its stop for too long."""
        if trade.naked_ms is None:
            return False
        return trade.refusals >= REFUSALS or self._state.now_ms >= self._naked_until(trade)

    def _naked_until(self, trade: Trade) -> int:
        return (trade.naked_ms or 0) + self._config.protection_timeout_ms

    # --- the target --------------------------------------------------------------------------------------------------

    def target_filled(self, trade: Trade, link_id: str, size: int) -> None:
        """Part of a resting target traded."""
        left = trade.targets.pop(link_id, 0) - size
        if left > 0:
            trade.targets[link_id] = left

    def target_gone(self, trade: Trade, link_id: str, reason: str) -> list[Action]:
        """A resting target left the book, or never got there."""
        if trade.targets.pop(link_id, None) is None:
            return []
        if reason == POST_ONLY_REASON:
            # The market is at the target already: as the plan says, the exit takes it.
            trade.take_target = True
        trade.target_ms = self._state.now_ms + self._config.retry_ms
        return []

    def is_target(self, link_id: str) -> bool:
        """Whether an order is a resting target of the present plan."""
        return self._state.trade is not None and link_id in self._state.trade.targets

    # --- duties ------------------------------------------------------------------------------------------------------

    def duties(self, trade: Trade) -> list[Action]:
        """Set what is missing; not called while the position is being closed."""
        return [*self._set_stop(trade), *self._place_target(trade)] if trade.open > 0 else []

    def _set_stop(self, trade: Trade) -> Iterator[Action]:
        if trade.naked_ms is None or trade.protect_ms is None or self._state.now_ms < trade.protect_ms:
            return
        trade.protect_ms = self._state.now_ms + self._config.protection_retry_ms
        target = 0 if trade.target_maker else trade.target
        yield SetProtection(trade.link_id, trade.side, trade.stop, target)

    def _place_target(self, trade: Trade) -> Iterator[Action]:
        missing = trade.open - sum(trade.targets.values())
        if not trade.target_maker or missing <= 0 or self._state.now_ms < trade.target_ms:
            return
        link = target_id(trade.link_id, trade.target_count)
        trade.target_count += 1
        trade.targets[link] = missing
        yield PlaceTarget(link, trade.link_id, -trade.side, trade.target, missing)

    def missing(self, trade: Trade, open_links: frozenset[str]) -> list[Action]:
        """Ask after the orders of the plan that should be open and are not."""
        links = [link for link in trade.targets if link not in open_links]
        if trade.entry == "resting" and trade.link_id not in open_links:
            links.append(trade.link_id)
        return [QueryOrder(link) for link in links]

    def deadlines(self, trade: Trade) -> Iterator[int]:
        """When something here is due."""
        if trade.naked_ms is not None:
            yield 0 if trade.refusals >= REFUSALS else self._naked_until(trade)
            if trade.protect_ms is not None:
                yield trade.protect_ms
        if trade.target_maker and trade.open > sum(trade.targets.values()):
            yield trade.target_ms
