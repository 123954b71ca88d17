"""The table of what can go wrong."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

Kind = Literal[
    "latency", "timeout-before", "timeout-after", "ret-code", "http-status", "failed-read", "maintenance",
    "drop", "duplicate", "reorder", "stall", "cut", "half-open", "malform", "unknown-field", "wrong", "restart",
    "snapshot", "reject", "cancel-post-only", "fill-on-cancel", "stop-reject", "stop-adjust", "stop-drop", "clock-skew",
    "kill", "freeze", "adl", "liquidate", "funding", "manual-order", "manual-position",
]  # fmt: skip
#: Short names of the reads that a client must not take for empty when they fail.
READS = {
    "balance": "/v5/account/wallet-balance",
    "position": "/v5/position/list",
    "open-orders": "/v5/order/realtime",
    "executions": "/v5/execution/list",
}
#: Bybit's words for codes that a fault may answer with.
MESSAGES = {
    10000: "Server Timeout",
    10002: "invalid request, please check your server timestamp or recv_window param",
    10006: "Too many visits. Exceeded the API Rate Limit.",
    10016: "Server error.",
    10019: "ws trade service is restarting, do not accept new request, but the request in the process is not affected. "
    "You can build new connection to be routed to normal service",
}


class Meaning(NamedTuple):
    """What a kind of fault is.

    Attributes
    ----------
    group
        What it happens to: requests, frames, orders, everything (a state), or nothing (an incident, at once).
    what
        For a person.
    fields
        Which fields it understands beside the measure.
    """

    group: Literal["request", "frame", "order", "state", "incident"]
    what: str
    fields: frozenset[str] = frozenset()


def _means(group: Any, what: str, *fields: str) -> Meaning:
    return Meaning(group, what, frozenset(fields))


KINDS: dict[str, Meaning] = {
    "latency": _means("request", "requests and frames wait: `ms` median, log-normal with `sigma`", "ms", "sigma"),
    "timeout-before": _means("request", "never carried out, no answer; the line is held for `ms`, then cut", "ms"),
    "timeout-after": _means("request", "carried out, but no answer; the line is held for `ms`, then cut", "ms"),
    "ret-code": _means("request", "answered with retCode `code`; carried out only if `accepted`", "code", "message",
                       "accepted"),
    "http-status": _means("request", "answered with HTTP `status`; carried out only if `accepted`", "status",
                          "accepted"),
    "failed-read": _means("request", "a read (`on`: balance, position, open-orders, executions) fails with `code`",
                          "code", "message"),
    "maintenance": _means("request", "signed requests are refused, and /v5/system/status says so"),
    "drop": _means("frame", "a frame is lost"),
    "duplicate": _means("frame", "a frame comes twice"),
    "reorder": _means("frame", "a frame comes after the next one of its topic"),
    "stall": _means("frame", "this frame and all behind it wait for `ms`", "ms"),
    "cut": _means("frame", "the connection dies instead of sending"),
    "half-open": _means("frame", "the connection falls silent for good: no data, no pong, no close"),
    "malform": _means("frame", "half a frame"),
    "unknown-field": _means("frame", "a frame has a field that nobody documents"),
    "wrong": _means("frame", "a level that the exchange does not have, with `u` intact"),
    "restart": _means("frame", "the book's topic begins anew: a snapshot with u = 1"),
    "snapshot": _means("frame", "the book's topic sends a snapshot in mid-stream"),
    "reject": _means("order", "accepted, then rejected after `ms`", "ms"),
    "cancel-post-only": _means("order", "a post-only order is accepted, then cancelled as if it would have taken"),
    "fill-on-cancel": _means("order", "`share` of an order trades before its cancellation takes effect", "share"),
    "stop-reject": _means("order", "a stop is refused: a request with `code`, an attached one after the fill", "code"),
    "stop-adjust": _means("order", "a stop is set `ticks` further away than asked for", "ticks"),
    "stop-drop": _means("order", "a stop is accepted and never set"),
    "clock-skew": _means("state", "the exchange's wall clock is `ms` ahead (behind if negative)", "ms"),
    "kill": _means("incident", "connections (`on`: public, private, trade) are cut"),
    "freeze": _means("incident", "connections (`on`: public, private, trade) become half-open"),
    "adl": _means("incident", "`share` of the position is closed by auto-deleveraging", "share", "position"),
    "liquidate": _means("incident", "the position is closed by force", "position"),
    "funding": _means("incident", "funding at `rate` is exchanged now", "rate"),
    "manual-order": _means("incident", "somebody places a limit order by hand", "side", "qty", "price", "position"),
    "manual-position": _means("incident", "somebody trades at market by hand", "side", "qty", "position"),
}  # fmt: skip
assert set(KINDS) == set(get_args(Kind))
