"""When funding was due, and at what rate.

Bybit tells the coming payment in every ticker: its time, and the rate that would be charged now. What is charged is the
last rate that was told before the time came; after the first, a ticker only tells what has changed. A payment of which
no ticker told a rate has happened all the same: its
rate is NaN, and the outcome of whoever held a position then is unknown. It is never taken for 0.

References
----------
Bybit, "Ticker" (``fundingRate``, ``nextFundingTime``):
https://bybit-exchange.github.io/docs/v5/websocket/public/ticker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.lake import Lake

_MINUTE_MS = 60_000
#: Where the last ticker is older than this when a payment comes, nobody knows the rate that was charged, ms.
_FRESH_MS = 3_600_000


@dataclass(frozen=True, slots=True, eq=False)
class Funding:
    """Payments of a contract.

    Attributes
    ----------
    times_ms : int64[n]
        Ascending.
    rates : float64[n]
        Fractions of position value, positive: longs pay. NaN: nobody knows.
    """

    times_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rates: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def unknown(self) -> int:
        """Payments whose rate nobody knows."""
        return int(np.isnan(self.rates).sum())


def schedule(
    tickers: Iterable[tuple[int, float | None, int | None]], start_ms: int, end_ms: int, interval_min: int
) -> Funding:
    """Payments in ``(start_ms, end_ms]``.

    Parameters
    ----------
    tickers
        Exchange time, rate and time of the next payment, in the order in which they were received; ``None`` where a
        ticker did not tell, which says that it is what it was.
    start_ms, end_ms
        What the events span.
    interval_min
        Minutes between payments. Where no ticker tells of one, there is one at each whole multiple since midnight UTC.
    """
    due, rate = -1, float("nan")
    known: dict[int, tuple[int, float]] = {}
    for time_ms, told, following in tickers:
        due = due if following is None else following
        rate = rate if told is None else told
        if due > 0 and time_ms < due:
            known[due] = (time_ms, rate)
        elif due > 0:
            known.setdefault(due, (-1, float("nan")))
    every = interval_min * _MINUTE_MS
    expected = range((start_ms // every + 1) * every, end_ms + 1, every)
    told_ms = np.array(sorted(known), np.int64)
    grid = [time for time in expected if not _within(told_ms, time, every)]
    times = np.array(sorted({time for time in known if start_ms < time <= end_ms} | set(grid)), np.int64)
    rates = [
        known[time][1] if time in known and time - known[time][0] <= _FRESH_MS else float("nan")
        for time in times.tolist()
    ]
    return Funding(times, np.array(rates, np.float64))


def _within(told_ms: NDArray[np.int64], time_ms: int, every_ms: int) -> bool:
    """Whether tickers tell of the payments around a time, so that its grid has nothing to add."""
    after = int(np.searchsorted(told_ms, time_ms))
    if after < len(told_ms) and told_ms[after] == time_ms:
        return True
    return 0 < after < len(told_ms) and int(told_ms[after] - told_ms[after - 1]) < every_ms


def funding_of(lake: Lake, symbol: str) -> Funding:
    """Payments while the lake's data of a symbol were recorded.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError
        There is no data of `symbol`.
    LakeError
        A part is damaged.
    """
    start_ms, end_ms = lake.span_ms(symbol)
    rows: list[tuple[int, float | None, int | None]] = []
    for path in lake.parts(symbol, "tickers"):
        table = pq.read_table(path, columns=["ordinal", "time_ms", "funding_rate", "next_funding_ms"]).sort_by(
            "ordinal"
        )
        # Of those that tell nothing new, some show for how long the last one held: before the next one, and at the end.
        told = np.zeros(len(table) + 1, bool)
        for name in ("funding_rate", "next_funding_ms"):
            told[:-1] |= table[name].is_valid().to_numpy()
        told[-1] = True
        table = table.filter(told[:-1] | told[1:])
        times, rates, following = (table[name].to_pylist() for name in ("time_ms", "funding_rate", "next_funding_ms"))
        rows += [(time, None if rate is None else float(rate), due) for time, rate, due in zip(times, rates, following)]
    return schedule(rows, start_ms, end_ms, lake.instrument(symbol).funding_interval_min)
