"""A local exchange that speaks Bybit's v5 REST and WebSocket API on loopback, over synthetic markets or recordings.

Users' orders stand in the same queues as the synthetic flow. Signatures, error codes and types are Bybit's, so that
unmodified pybit cannot tell. It will never leave loopback, and it never knows more of a client than its requests say.
"""

from __future__ import annotations

from simulation.exchange.markets import DEFAULT_START_MS
from simulation.exchange.process import run_exchange
from simulation.exchange.server import LocalExchange

__all__ = ["DEFAULT_START_MS", "LocalExchange", "run_exchange"]
