"""The daemon that trades: risk, health, sanity, orders, journal, gateways.

The trading core (:class:`Core`) has no I/O: events in, actions out, one state. Around it, :func:`run_executors` brings
markets, councils in Production, journals and gateways together, for one contract or several of one account; dry-run is
what there is unless a person says live. :func:`replay_session` recomputes a session from its journal, to the byte.

This room never trains, never plots, and starts without any of the pipeline's packages. It never holds a position
without a stop at the venue, never takes a failed read for an answer, and never forgets an order that the venue has not
ended.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executor.core import Core
    from executor.daemon import ExecutorSummary, run_executor, run_executors
    from executor.gateway import DryRunGateway, Gateway
    from executor.journal import Journal
    from executor.reader import JournalReader
    from executor.replay import replay_session
    from executor.session import Session
    from executor.state import CoreConfig, CoreState
    from executor.status import read_status, send_command, status_text

#: Loaded on first use: `purplesky status` needs none of what trades.
_LAZY = {
    "Core": "core",
    "CoreConfig": "state",
    "CoreState": "state",
    "DryRunGateway": "gateway",
    "ExecutorSummary": "daemon",
    "Gateway": "gateway",
    "Journal": "journal",
    "JournalReader": "reader",
    "Session": "session",
    "read_status": "status",
    "replay_session": "replay",
    "run_executor": "daemon",
    "run_executors": "daemon",
    "send_command": "status",
    "status_text": "status",
}

__all__ = [
    "Core",
    "CoreConfig",
    "CoreState",
    "DryRunGateway",
    "ExecutorSummary",
    "Gateway",
    "Journal",
    "JournalReader",
    "Session",
    "read_status",
    "replay_session",
    "run_executor",
    "run_executors",
    "send_command",
    "status_text",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
