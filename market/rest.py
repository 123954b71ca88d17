"""What is asked of Bybit over REST before a stream is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from market.errors import UnknownSymbolError, VenueUnavailable
from market.instruments import Instrument

_PAGE = 1000
_MOST_PAGES = 50
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


def _rows(rest_url: str, timeout: int) -> list[dict[str, Any]]:
    import requests
    from pybit.exceptions import FailedRequestError, InvalidRequestError
    from pybit.unified_trading import HTTP

    # Reads are repeated by whoever asks, not by pybit, whose waits block; an empty set would mean its own defaults.
    client = HTTP(testnet=False, timeout=timeout, max_retries=1, force_retry=False, retry_codes={-1})
    client.endpoint = rest_url.rstrip("/")
    rows: list[dict[str, Any]] = []
    cursor = ""
    try:
        for _ in range(_MOST_PAGES):
            page = {"cursor": cursor} if cursor else {}
            result = client.get_instruments_info(category="linear", limit=_PAGE, **page)["result"]
            rows += result["list"]
            cursor = result.get("nextPageCursor") or ""
            if not cursor:
                return rows
    except (
        requests.RequestException,
        FailedRequestError,
        InvalidRequestError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VenueUnavailable(
            f"{rest_url} gives no contract rules ({what})", advice="Check that the address answers, then try again"
        ) from error
    finally:
        client.client.close()
    raise VenueUnavailable(f"{rest_url} lists instruments without end", advice="Check that the address is Bybit's")
