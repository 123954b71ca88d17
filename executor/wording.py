"""What the core does, in words for people and with a code for machines."""

from __future__ import annotations

import time

from executor.actions import (
    Action,
    Alert,
    ClosePosition,
    Decided,
    PlaceEntry,
    PlaceTarget,
    SetProtection,
    SwapCouncil,
    TradeClosed,
)
from executor.core import Core

#: What those actions are called that are no alerts and worth a line.
_CODES: dict[type, str] = {
    Decided: "decided",
    PlaceEntry: "entry",
    SetProtection: "protection",
    PlaceTarget: "target",
    ClosePosition: "close",
    TradeClosed: "trade",
    SwapCouncil: "swap",
}


def remark(action: Action, line: str) -> tuple[str, str, str]:
    """Level, code and text of an action that has a line."""
    if isinstance(action, Alert):
        return action.level, action.code, action.text
    return "info", _CODES[type(action)], line.strip()


def describe(action: Action, core: Core) -> str:
    """One line for a person; empty for what is not worth one."""
    rules = core.rules
    match action:
        case Decided(open_ms=open_ms, vote=vote, reason=reason, link_id=link):
            at = time.strftime("%m-%d %H:%M", time.gmtime(open_ms / 1000))
            if vote is None:
                return f"bar {at}  not asked: {reason}"
            return f"bar {at}  {vote.reason}" + ("" if link or reason == vote.reason else f"; not traded: {reason}")
        case PlaceEntry():
            side = "buy" if action.side > 0 else "sell"
            return (
                f"  entry {action.link_id}: {side} {rules.quantity(action.size)} at {rules.price(action.limit)}, "
                f"stop {rules.price(action.stop)}, target {rules.price(action.target)}"
            )
        case SetProtection():
            return f"  stop set again: {rules.price(action.stop)}"
        case PlaceTarget():
            return f"  target {action.link_id}: {rules.quantity(action.size)} at {rules.price(action.price)}"
        case ClosePosition():
            return f"  close {rules.quantity(action.size)} ({action.reason})"
        case TradeClosed():
            if not action.filled:
                return f"  {action.link_id} ended without a fill ({action.reason})"
            return f"  {action.link_id} closed ({action.reason}): {action.net_pnl:+.4f} USDT after fees"
        case SwapCouncil():
            return f"council version {action.version} ({action.content_hash[:12]}) decides from here"
        case Alert():
            return f"{action.level}: {action.text}"
        case _:
            return ""
