"""What is asked of Bybit over REST before a stream is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from market.errors import UnknownSymbolError, VenueUnavailable
from market.instruments import Instrument
from market.ladder import Ladder
from market.units import UnitTable

_PAGE = 1000
_MOST_PAGES = 50
_MOST_LEVELS = 500
_NAMED = 20


def fetch_instruments(
    rest_url: str, symbols: Iterable[str] | None = None, *, timeout: int = 10
) -> dict[str, Instrument]:
    """Contract rules of the linear perpetuals, ``GET /v5/market/instruments-info``.

    Parameters
    ----------
    rest_url
        For example ``https://api.bybit.com``.
    symbols
        Those that are wanted; ``None`` for all.
    timeout
        Seconds to wait for one answer.

    Raises
    ------
    VenueUnavailable
        No answer, or one that is not Bybit's.
    UnknownSymbolError
        A wanted symbol is not listed.
    DataError
        The rules of a wanted symbol cannot be read.
    """
    listed = {str(row.get("symbol")): row for row in _rows(rest_url, timeout)}
    wanted = sorted(listed) if symbols is None else list(symbols)
    for name in wanted:
        if name not in listed:
            some = ", ".join(sorted(listed)[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
            raise UnknownSymbolError(
                f"{rest_url} lists no {name} (it lists: {some})", advice="Check the symbol's spelling"
            )
    return {name: Instrument.from_bybit(listed[name]) for name in wanted}


@dataclass(frozen=True, slots=True)
class RestBook:
    """The venue's own book at cross sequence `seq` and matching-engine time `time_ms`."""

    ladder: Ladder
    seq: int
    time_ms: int


def fetch_book(rest_url: str, instrument: Instrument, levels: int, *, timeout: int = 5) -> RestBook:
    """The order book, ``GET /v5/market/orderbook``.

    Parameters
    ----------
    rest_url
        For example ``https://api.bybit.com``.
    instrument
        Gives symbol, tick and step.
    levels
        Of each side; Bybit gives 500 at most.
    timeout
        Seconds to wait for the answer.

    Raises
    ------
    VenueUnavailable
        No answer, or one that is not Bybit's.
    DataError
        A price or size is not a multiple of the tick or step.
    """
    prices = UnitTable(instrument.tick_size, f"{instrument.symbol} price", positive=True)
    sizes = UnitTable(instrument.qty_step, f"{instrument.symbol} size")

    def ask(client: Any) -> RestBook:
        limit = min(levels, _MOST_LEVELS)
        book = client.get_orderbook(category="linear", symbol=instrument.symbol, limit=limit)["result"]
        sides = [
            np.array([(prices[p], sizes[s]) for p, s in book[side]], np.int64).reshape(-1, 2) for side in ("b", "a")
        ]
        return RestBook(Ladder(*sides), int(book["seq"]), int(book.get("cts", book["ts"])))

    return _ask(rest_url, timeout, f"order book of {instrument.symbol}", ask)


def _rows(rest_url: str, timeout: int) -> list[dict[str, Any]]:
    def ask(client: Any) -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = {"cursor": cursor} if cursor else {}
            result = client.get_instruments_info(category="linear", limit=_PAGE, **page)["result"]
            rows += result["list"]
            cursor = result.get("nextPageCursor") or ""
            if not cursor:
                return rows
        return None

    rows = _ask(rest_url, timeout, "contract rules", ask)
    if rows is None:
        raise VenueUnavailable(f"{rest_url} lists instruments without end", advice="Check that the address is Bybit's")
    return rows


_Answer = TypeVar("_Answer")


def _ask(rest_url: str, timeout: int, what: str, ask: Callable[[Any], _Answer]) -> _Answer:
    import requests
    from pybit.exceptions import FailedRequestError, InvalidRequestError
    from pybit.unified_trading import HTTP

    # Reads are repeated by whoever asks, not by pybit, whose waits block; an empty set would mean its own defaults.
    client = HTTP(testnet=False, timeout=timeout, max_retries=1, force_retry=False, retry_codes={-1})
    client.endpoint = rest_url.rstrip("/")
    try:
        return ask(client)
    except (
        requests.RequestException,
        FailedRequestError,
        InvalidRequestError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, requests.RequestException):
            why = type(error).__name__  # its text repeats the address in four ways
        raise VenueUnavailable(
            f"{rest_url} gives no {what} ({why})", advice="Check that the address answers, then try again"
        ) from error
    finally:
        client.client.close()
