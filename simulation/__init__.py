"""What would have happened: the fill model, paper accounts, the local Bybit-compatible exchange, synthetic markets.

One compiled fill model serves training and dry-run. The room knows the market only: it never computes a feature, never
votes, never learns, and never talks to a real exchange.

Names are loaded on first use, so that whoever needs the fill model does not load the exchange.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.accounts import Account
    from simulation.exchange import LocalExchange, run_exchange
    from simulation.fills import ExitReason, FillModel, PlanOutcomes, Plans, PlanStatus, simulate
    from simulation.paper import Accepted, Cancelled, Closed, Filled, Funded, PaperBroker, PaperPlan, Rejected, Report
    from simulation.synthetic import SYNTHETIC, synthetic_events

_HOME = {
    "ExitReason": "fills",
    "FillModel": "fills",
    "PlanOutcomes": "fills",
    "PlanStatus": "fills",
    "Plans": "fills",
    "simulate": "fills",
    "Accepted": "paper",
    "Cancelled": "paper",
    "Closed": "paper",
    "Filled": "paper",
    "Funded": "paper",
    "PaperBroker": "paper",
    "PaperPlan": "paper",
    "Rejected": "paper",
    "Report": "paper",
    "Account": "accounts",
    "SYNTHETIC": "synthetic",
    "synthetic_events": "synthetic",
    "LocalExchange": "exchange",
    "run_exchange": "exchange",
}

__all__ = [
    "SYNTHETIC",
    "Accepted",
    "Account",
    "Cancelled",
    "Closed",
    "ExitReason",
    "FillModel",
    "Filled",
    "Funded",
    "LocalExchange",
    "PaperBroker",
    "PaperPlan",
    "PlanOutcomes",
    "PlanStatus",
    "Plans",
    "Rejected",
    "Report",
    "run_exchange",
    "simulate",
    "synthetic_events",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
