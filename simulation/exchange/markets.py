"""The contracts that an exchange lists: seeded synthetic markets, or recordings of a lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from market.errors import ConfigError
from market.lake import Lake
from simulation.exchange.listing import Listing
from simulation.flow_params import MarketParams
from simulation.replay import ReplayMarket
from simulation.synthetic import SYNTHETIC, SyntheticMarket

#: Market time of a synthetic market's first moment unless told otherwise: 2026-01-01 00:00 UTC, so that a seed alone
#: names a market.
DEFAULT_START_MS = 1_767_225_600_000


def synthetic_listings(
    symbols: Sequence[str] | None, seed: int, start_ms: int | None, params: MarketParams
) -> dict[str, Listing]:
    """Synthetic contracts; all have the rules of :data:`simulation.synthetic.SYNTHETIC`.

    Raises
    ------
    ConfigError
        A symbol is named twice, or an argument is impossible.
    """
    start_ms = DEFAULT_START_MS if start_ms is None else start_ms
    listings = {}
    for symbol in _named_once((SYNTHETIC.symbol,) if symbols is None else symbols):
        market = SyntheticMarket(seed, start_ms, params, symbol)
        listings[symbol] = Listing(market, replace(SYNTHETIC, symbol=symbol))
    return listings


def replay_listings(root: Path, symbols: Sequence[str] | None, start_ms: int | None) -> dict[str, Listing]:
    """Recorded contracts, all at the same time of the recording.

    Parameters
    ----------
    root
        Folder of the lake.
    symbols
        Contracts; all that the lake has unless named.
    start_ms
        Exchange time; just before the first row of all unless named.

    Raises
    ------
    ConfigError
        A symbol is named twice, or no recording reaches the start.
    EmptyLakeError, UnknownSymbolError, LakeError
        The lake lacks a symbol, or is damaged.
    """
    lake = Lake(root)
    names = _named_once(lake.symbols() if symbols is None else symbols) if lake.symbols() else symbols or ("",)
    spans = [lake.span_ms(symbol) for symbol in names]
    first, last = min(span[0] for span in spans) - 1, max(span[1] for span in spans)
    if start_ms is not None and not first <= start_ms <= last:
        raise ConfigError(
            f"the recording does not reach {start_ms}", advice=f"Choose a UTC time from {first} to {last} ms"
        )
    markets = [ReplayMarket(lake, symbol, first if start_ms is None else start_ms) for symbol in names]
    return {market.symbol: Listing(market, market.instrument) for market in markets}


def _named_once(symbols: Sequence[str]) -> Sequence[str]:
    if not symbols or len(set(symbols)) != len(symbols):
        raise ConfigError("the local exchange lists no symbol, or one twice", advice="Name each symbol once")
    return symbols
