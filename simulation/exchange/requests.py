"""Parameters of requests, checked one by one: values in ticks and steps, or Bybit's error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

from market.errors import DataError
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import parse
from simulation.exchange.orders import SIDES, Refusal
from simulation.exchange.positions import Holding
from simulation.exchange.routes import Params

TRIGGERS = ("LastPrice", "MarkPrice", "IndexPrice")
DAY_MS = 86_400_000


def need_category(params: Params) -> None:
    """Only linear contracts are listed here."""
    if params.get("category") != "linear":
        raise Refusal(10001, "params error: category only support linear here")


def need_listing(params: Params, listings: Mapping[str, Listing]) -> Listing:
    """The contract that a request names."""
    listing = listings.get(str(params.get("symbol", "")))
    if listing is None:
        raise Refusal(10001, "params error: symbol invalid " + str(params.get("symbol", "")))
    return listing


def need_limit(params: Params, most: int, default: int) -> int:
    """The number of rows that are asked for."""
    value = str(params.get("limit", default))
    if not value.isdigit() or not 1 <= int(value) <= most:
        raise Refusal(10001, f"params error: limit must be 1 to {most}")
    return int(value)


def need_time(params: Params, name: str, default: int) -> int:
    """A time in ms."""
    value = str(params.get(name, default))
    if not value.isdigit():
        raise Refusal(10001, f"params error: {name} is not a time")
    return int(value)


def flag(params: Params, name: str) -> bool:
    """A boolean."""
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise Refusal(10001, f"params error: {name} is not a boolean")
    return value


def page(rows: list[Any], params: Params, limit: int) -> tuple[list[Any], str]:
    """One page of rows, and the cursor of the next."""
    cursor = str(params.get("cursor", "") or "0")
    if not cursor.isdigit():
        raise Refusal(10001, "params error: cursor is not one of ours")
    start = int(cursor)
    after = start + limit
    return rows[start:after], str(after) if after < len(rows) else ""


def page_back(rows: Iterable[tuple[int, Any]], params: Params, limit: int) -> tuple[list[Any], str]:
    """One page of numbered rows, newest first, and the cursor of the next; new rows between two pages change nothing.

    Parameters
    ----------
    rows
        With their numbers, which fall.
    """
    cursor = unquote(str(params.get("cursor") or ""))
    before: int | None = None
    if cursor:
        name, _, number = cursor.partition(":")
        if name != "before" or not number.isdigit():
            raise Refusal(10001, "params error: cursor is not one of ours")
        before = int(number)
    chosen = [(number, row) for number, row in rows if before is None or number < before][: limit + 1]
    after = quote(f"before:{chosen[limit - 1][0]}") if len(chosen) > limit else ""
    return [row for _, row in chosen[:limit]], after


def need_window(params: Params, now_ms: int, days: int, longest: int = 7) -> tuple[int, int]:
    """The times that ``startTime`` and ``endTime`` name, ms: `days` by default, `longest` days where both are given."""
    width = days * DAY_MS
    start, end = params.get("startTime") or None, params.get("endTime") or None
    if start is None and end is None:
        return now_ms - width, now_ms
    if end is None:
        first = need_time(params, "startTime", 0)
        return first, first + width
    last = need_time(params, "endTime", 0)
    if start is None:
        return last - width, last
    first = need_time(params, "startTime", 0)
    if not 0 <= last - first <= longest * DAY_MS:
        raise Refusal(10001, f"The time range between startTime and endTime cannot exceed {longest} days")
    return first, last


def one_of(params: Params, name: str, values: Sequence[str], default: str) -> str:
    """A word that must be one of some."""
    value = params.get(name) or default
    if value not in values:
        raise Refusal(10001, f"params error: {name} invalid")
    return str(value)


def whole(params: Params, name: str, default: int | None = None) -> int:
    """A whole number, as a number or as its digits."""
    value = params.get(name)
    if value in (None, "") and default is not None:
        return default
    text = str(value)
    if isinstance(value, bool) or not text.removeprefix("-").isdigit():
        raise Refusal(10001, f"params error: {name} invalid")
    return int(text)


def need_idx(params: Params, holding: Holding) -> int:
    """The ``positionIdx`` of a request: 0 in one-way mode, 1 or 2 in hedge mode."""
    idx = whole(params, "positionIdx", 0)
    if idx not in [position.idx for position in holding.active]:
        raise Refusal(10001, "position idx not match position mode")
    return idx


def ticks(listing: Listing, value: object, name: str) -> int:
    """A price; 0 where none is given."""
    if value in (None, "", "0", 0):
        return 0
    number = parse(value)
    if number is None or number < 0:
        raise Refusal(10001, f"params error: {name} invalid")
    try:
        return listing.instrument.to_ticks(number)
    except DataError as error:
        raise Refusal(10001, f"params error: {name} is not a multiple of the tick size") from error


def need_amount(params: Params, name: str) -> Decimal:
    """A number that is not negative."""
    number = parse(params.get(name))
    if number is None or number < 0:
        raise Refusal(10001, f"params error: {name} invalid")
    return number


def price_by(listing: Listing, by: str) -> int:
    """The last, mark or index price, ticks."""
    return {"LastPrice": listing.last_ticks, "MarkPrice": listing.mark_ticks, "IndexPrice": listing.index_ticks}[by]


def check_stops(listing: Listing, side: int, base: int, profit: int, stop: int) -> None:
    """Take profit and stop loss must lie on their sides of a base price.

    Raises
    ------
    Refusal
        10001, naming what is wrong.
    """
    word, numbers = SIDES[side], listing.numbers
    sign = 1 if side == 0 else -1
    above, below = ("higher", "lower") if side == 0 else ("lower", "higher")
    if profit and (profit - base) * sign <= 0:
        text = f"TakeProfit:{numbers.price(profit)} set for {word} position should be {above} than base_price"
        raise Refusal(10001, f"{text}:{numbers.price(base)}??LastPrice")
    if stop and (stop - base) * sign >= 0:
        text = f"StopLoss:{numbers.price(stop)} set for {word} position should be {below} than base_price"
        raise Refusal(10001, f"{text}:{numbers.price(base)}??LastPrice")
