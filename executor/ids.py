"""Order link ids: the same bar, side and attempt always give the same one, so a repeat is seen as a duplicate.

Bybit takes at most 36 characters; a symbol has at most 24.
"""

from __future__ import annotations

from typing import Literal

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def entry_id(symbol: str, close_ms: int, side: int, attempt: int) -> str:
    """Link id of an entry, for example ``BTCUSDT-tk0zb4-L0``."""
    return f"{symbol}-{_base36(close_ms // 1000)}-{'L' if side > 0 else 'S'}{_base36(attempt)}"


def close_id(entry: str, attempt: int) -> str:
    """Link id of an order that closes the position of `entry`, for example ``BTCUSDT-tk0zb4-X0``."""
    return f"{plan_of(entry)}-X{_base36(attempt)}"


def target_id(entry: str, attempt: int) -> str:
    """Link id of a resting target of the plan of `entry`, for example ``BTCUSDT-tk0zb4-T0``."""
    return f"{plan_of(entry)}-T{_base36(attempt)}"


def kind_of(link_id: str) -> Literal["entry", "exit", "target"] | None:
    """What an order of ours is for; ``None`` for a link id that is none of ours."""
    letter = link_id.rpartition("-")[2][:1]
    if link_id.count("-") < 2:
        return None
    return "entry" if letter in ("L", "S") else "exit" if letter == "X" else "target" if letter == "T" else None


def plan_of(link_id: str) -> str:
    """What the entries and closes of one plan have in common."""
    return link_id.rpartition("-")[0]


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
