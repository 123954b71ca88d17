"""One dry-run equity for several contracts: each has a paper account of its own, and all results count for all."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

#: Profit so far with open positions, USDT; ``None`` while a position has no known price.
Result = Callable[[], Decimal | None]


class Pool:
    """Results of the contracts that share a purse."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}

    def join(self, symbol: str, result: Result) -> None:
        """A contract trades from this purse, or does so again."""
        self._results[symbol] = result

    def others(self, symbol: str) -> Decimal | None:
        """Result of all but one contract; unknown if one of them is."""
        total = Decimal(0)
        for name, result in list(self._results.items()):  # a thread may make another contract ready
            found = Decimal(0) if name == symbol else result()
            if found is None:
                return None
            total += found
        return total
