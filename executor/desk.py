"""The life of one order plan: entry, protection, expiry, exit. No I/O; works on the core's state.

The rules, each learnt from a system that broke it:

- An order whose outcome is unknown is asked for by its link id before anything is sent again.
- An order is forgotten when the venue has confirmed its end, never because we asked for it.
- A position is what executions say, each counted once; the holding time counts from the first one.
- A fill without a confirmed stop is flattened; exits are allowed in every state and are tried until they work.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from council.plan import PASSIVE, OrderPlan
from executor import risk
from executor.actions import Action, Alert, CancelEntry, ClosePosition, PlaceEntry, QueryOrder, TradeClosed
from executor.events import OrderCancelled, OrderRejected, OrderState
from executor.guard import POST_ONLY_REASON, Guard
from executor.ids import close_id, entry_id
from executor.ledger import Ledger, end_entry, more_may_come
from executor.state import CoreConfig, CoreState, Trade
from market.instruments import Instrument

#: Queries in a row that must answer "there is no such order" before an order of unknown outcome is given up.
ABSENCES = 2
_RECENT = 4
_NEVER_MS = 1 << 62


class Desk:
    """Looks after the one plan that may be under way."""

    def __init__(self, config: CoreConfig, rules: Instrument, state: CoreState) -> None:
        self._config, self._rules, self._state = config, rules, state
        self.guard = Guard(config, state)
        self.ledger = Ledger(state, self.guard, rules.symbol)

    # --- entry -------------------------------------------------------------------------------------------------------

    def place(self, plan: OrderPlan, steps: int, decided_ms: int, atr: float, council: str) -> PlaceEntry:
        """Open a plan."""
        link = entry_id(self._rules.symbol, decided_ms, plan.side, 0)
        self._state.trade = Trade(
            link_id=link,
            side=plan.side,
            limit=plan.limit,
            stop=plan.stop,
            target=plan.target,
            size=steps,
            decided_ms=decided_ms,
            tif_ms=plan.tif_ms,
            hold_ms=plan.hold_ms,
            atr=atr,
            council=council,
            sent_ms=self._state.now_ms,
            style=plan.entry,
            target_maker=plan.target_maker,
        )
        self._state.counts.orders += 1
        risk.note_entry(self._state.risk, self._state.now_ms)
        return self._entry_order(self._state.trade)

    @staticmethod
    def _entry_order(trade: Trade) -> PlaceEntry:
        prices = (trade.limit, trade.stop, trade.target)
        return PlaceEntry(trade.link_id, trade.side, *prices, trade.size, trade.style, trade.target_maker)

    def accepted(self, link: str) -> list[Action]:
        """The venue has the order."""
        trade = self._state.trade
        if trade is not None and link == trade.link_id and trade.entry in ("sent", "unknown"):
            trade.entry = "resting"
        return []

    def unknown(self, link: str) -> list[Action]:
        """Nobody knows what became of an order: ask."""
        trade = self._state.trade
        if trade is None:
            return []
        if link == trade.link_id and trade.entry == "sent":
            trade.entry, trade.asked_ms = "unknown", self._state.now_ms
            return [QueryOrder(link)]
        if link == trade.close_link:
            trade.close_asked_ms = self._state.now_ms
            return [QueryOrder(link)]
        return [QueryOrder(link)] if self.guard.is_target(link) else []

    def rejected(self, event: OrderRejected) -> list[Action]:
        """The venue refused an order."""
        trade = self._state.trade
        if trade is None:
            return []
        if event.link_id == trade.close_link:
            self._forget_close(trade)
            if not trade.open:
                return []
            return [Alert("warning", "close-rejected", f"close {event.link_id} rejected: {event.code} {event.reason}")]
        if self.guard.is_target(event.link_id):
            text = f"target {event.link_id} rejected: {event.code} {event.reason}"
            return [*self.guard.target_gone(trade, event.link_id, ""), Alert("warning", "target-rejected", text)]
        if event.link_id != trade.link_id or trade.entry == "done":
            return []
        end_entry(trade, f"rejected: {event.code} {event.reason}", self._state.now_ms)
        return [Alert("warning", "entry-rejected", f"entry {event.link_id} rejected: {event.code} {event.reason}")]

    def cancelled(self, event: OrderCancelled) -> list[Action]:
        """An order left the book, by our wish or the venue's."""
        trade = self._state.trade
        if trade is None:
            return []
        if event.link_id == trade.close_link:
            self._forget_close(trade)
            return []
        if self.guard.is_target(event.link_id):
            return self.guard.target_gone(trade, event.link_id, event.reason)
        if event.link_id == trade.link_id and trade.entry != "done":
            trade.expected = max(trade.expected, event.filled)
            end_entry(trade, event.reason or "cancelled", self._state.now_ms)
        return []

    def answered(self, event: OrderState) -> list[Action]:
        """A query by link id came back; ``None`` and a first absence say nothing yet."""
        trade = self._state.trade
        if trade is None or event.status is None:
            return []
        if event.link_id == trade.close_link:
            if event.status != "resting":
                self._forget_close(trade)
            return []
        if self.guard.is_target(event.link_id):
            return [] if event.status == "resting" else self.guard.target_gone(trade, event.link_id, "")
        if event.link_id != trade.link_id or trade.entry == "done":
            return []
        trade.expected = max(trade.expected, event.filled)
        if event.status == "absent":
            trade.absences += 1
            if trade.absences >= ABSENCES:
                end_entry(trade, "never arrived", self._state.now_ms)
            return []
        trade.absences = 0
        if event.status == "resting":
            lost_cancel = trade.entry == "cancelling"
            trade.entry = "cancelling" if lost_cancel else "resting"
            if lost_cancel:
                trade.cancel_sent_ms = self._state.now_ms
                return [CancelEntry(trade.link_id)]
            return []
        end_entry(trade, event.status, self._state.now_ms)
        return []

    def _forget_close(self, trade: Trade) -> None:
        # The time of sending stays: the next attempt waits its turn, so a refusal cannot become a loop.
        trade.close_link = trade.close_asked_ms = None
        trade.close_sent_ms = self._state.now_ms

    def reprice(self, reason: str, bid: int, ask: int) -> list[Action]:
        """Send an entry that would have taken again at the best passive price, at most `max_reprices` times."""
        trade = self._state.trade
        if trade is None or trade.entry != "done" or trade.filled or trade.expected > 0:
            return []
        if reason != POST_ONLY_REASON or trade.cancel_sent_ms is not None or trade.style != PASSIVE:
            return []
        limit = min(trade.limit, bid) if trade.side > 0 else max(trade.limit, ask)
        if trade.attempt >= self._config.max_reprices or min(bid, ask) <= 0 or not self._may_enter(trade):
            return []
        shift = limit - trade.limit
        trade.limit, trade.stop, trade.target = limit, trade.stop + shift, trade.target + shift
        trade.attempt += 1
        trade.link_id = entry_id(self._rules.symbol, trade.decided_ms, trade.side, trade.attempt)
        trade.entry, trade.done_ms, trade.sent_ms, trade.exit_reason = "sent", None, self._state.now_ms, ""
        self._state.counts.orders += 1
        risk.note_entry(self._state.risk, self._state.now_ms)
        return [self._entry_order(trade)]

    def _may_enter(self, trade: Trade) -> bool:
        state = self._state
        if state.stopping or state.flatten or state.venue or state.rules:
            return False
        if state.now_ms >= trade.decided_ms + trade.tif_ms:
            return False
        gates = (risk.account_gate, risk.rate_gate)
        return not any(gate(state.risk, self._config, state.now_ms) for gate in gates) and not state.others.account

    # --- duties ------------------------------------------------------------------------------------------------------

    def duties(self) -> list[Action]:
        """What is due now: expiry, holding time, protection, flattening, questions, the end of the plan."""
        trade = self._state.trade
        if trade is None:
            return []
        actions = self.ledger.settle(trade) if trade.early and not more_may_come(trade) else []
        actions += self._ask(trade)
        wanted = self._exit_reason(trade)
        if trade.entry_live and (wanted or self._entry_is_over(trade)):
            actions += self._cancel(trade)
        if wanted and trade.open > 0:
            actions += self._close(trade, wanted)
        elif trade.close_link is None:
            actions += self.guard.duties(trade)
        return actions + self._finish(trade)

    def deadline_ms(self) -> int | None:
        """When :meth:`duties` must be called next, if nothing else happens before."""
        trade = self._state.trade
        return None if trade is None else min(self._deadlines(trade), default=None)

    def _deadlines(self, trade: Trade) -> Iterator[int]:
        retry = self._config.retry_ms
        if (since := self._asking_since(trade)) is not None:
            yield since + retry
        if trade.entry_live and trade.cancel_sent_ms is None:
            yield trade.decided_ms + trade.tif_ms
        if not trade.entry_live and not trade.filled and not trade.expected:
            yield (trade.done_ms or 0) + self._config.settle_ms
        if trade.open > 0:
            yield self._close_deadline(trade)

    def _close_deadline(self, trade: Trade) -> int:
        retry, sent = self._config.retry_ms, trade.close_sent_ms
        if trade.close_link is not None:
            return max(sent or 0, trade.close_asked_ms or 0) + retry
        wishes = [(trade.first_fill_ms or 0) + trade.hold_ms]
        if trade.take_target:
            wishes.append(0)
        if self._state.risk.killed is not None or self._state.flatten is not None:
            wishes.append(0)
        if not self._exit_reason(trade):
            return min(*wishes, *self.guard.deadlines(trade), _NEVER_MS)
        return max(min(wishes, default=0), 0 if sent is None else sent + retry)

    def _asking_since(self, trade: Trade) -> int | None:
        """Since when an answer about the entry, or one of its executions, is awaited; ``None`` when none is."""
        match trade.entry:
            case "resting":
                return None
            case "done":
                if trade.filled >= trade.expected:
                    return None
                since = trade.done_ms
            case "cancelling":
                since = trade.cancel_sent_ms
            case _:
                since = trade.sent_ms
        return max(since or 0, trade.asked_ms or 0)

    def _ask(self, trade: Trade) -> Iterator[Action]:
        now, retry = self._state.now_ms, self._config.retry_ms
        since = self._asking_since(trade)
        if since is not None and now >= since + retry:
            trade.asked_ms = now
            yield QueryOrder(trade.link_id)
        if trade.close_link is not None and trade.open > 0:
            sent = max(trade.close_sent_ms or 0, trade.close_asked_ms or 0)
            if now >= sent + retry:
                trade.close_asked_ms = now
                yield QueryOrder(trade.close_link)

    def _entry_is_over(self, trade: Trade) -> bool:
        return self._state.stopping or self._state.now_ms >= trade.decided_ms + trade.tif_ms or trade.closed > 0

    def _exit_reason(self, trade: Trade) -> str:
        state, now = self._state, self._state.now_ms
        if state.risk.killed is not None:
            return "kill"
        if state.flatten is not None:
            return "flatten"
        if self.guard.overdue(trade):
            return "unprotected"
        if trade.first_fill_ms is not None and now >= trade.first_fill_ms + trade.hold_ms:
            return "time"
        return "target" if trade.take_target else ""

    def _cancel(self, trade: Trade) -> list[Action]:
        if trade.cancel_sent_ms is not None:
            return []
        trade.entry, trade.cancel_sent_ms = "cancelling", self._state.now_ms
        return [CancelEntry(trade.link_id)]

    def _close(self, trade: Trade, reason: str) -> list[Action]:
        now = self._state.now_ms
        if trade.close_link is not None:
            return []
        if trade.close_sent_ms is not None and now < trade.close_sent_ms + self._config.retry_ms:
            return []
        trade.close_link = close_id(trade.link_id, trade.closes)
        trade.closes, trade.close_sent_ms, trade.close_asked_ms = trade.closes + 1, now, None
        trade.exit_reason = reason
        actions: list[Action] = [ClosePosition(trade.close_link, trade.link_id, -trade.side, trade.open, reason)]
        if reason == "unprotected":
            text = f"no confirmed stop after {self._config.protection_timeout_ms} ms: closing {trade.open} steps"
            actions.append(Alert("critical", "unprotected", text))
        if trade.closes > 1:
            actions.append(Alert("critical", "close-again", f"closing {trade.open} steps, attempt {trade.closes}"))
        return actions

    def _finish(self, trade: Trade) -> list[Action]:
        """Forget the plan when nothing of it can still be alive."""
        state = self._state
        if trade.entry_live or trade.open > 0 or trade.filled < trade.expected:
            return []
        if not trade.filled and state.now_ms < (trade.done_ms or 0) + self._config.settle_ms:
            return []
        unit = self._rules.notional(1, 1)
        gross = trade.side * (trade.exit_value - trade.entry_value) * unit
        net = gross - trade.fees - trade.funding
        state.trade = None
        state.finished = [*state.finished[-_RECENT + 1 :], trade]
        if state.flatten is not None:
            state.flatten = None
        closed = TradeClosed(
            link_id=trade.link_id,
            side=trade.side,
            filled=trade.filled,
            reason=trade.exit_reason,
            entry_ms=trade.first_fill_ms,
            entry_value=trade.entry_value,
            exit_value=trade.exit_value,
            fees=trade.fees,
            funding=trade.funding,
            net_pnl=net if trade.filled else Decimal(0),
        )
        if not trade.filled:
            return [closed]
        state.counts.closed += 1
        state.counts.net_pnl += net
        return [closed, *risk.on_trade_closed(state.risk, self._config, net, state.now_ms)]
