"""A day in figures: what its page shows, and what other days are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from market.instruments import Instrument
from market.quality import QualityTable

#: Days that are needed to say what is usual.
LEAST_OTHERS = 2
#: Receive times this far from exchange times, or at another pace, are of a market that runs by a clock of its own.
_OWN_CLOCK_MS = 26 * 3_600_000
_OWN_PACE = 0.02

Figures = dict[str, float | None]


def day_figures(table: QualityTable, instrument: Instrument) -> Figures:
    """The day's row: totals, medians, and what is compared between days."""
    messages, trades = int(table.messages.sum()), int(table.trades.sum())
    hours = float(table.known_ms.sum()) / 3.6e6
    mid = _median(np.where(table.mid > 0, table.mid / 2, np.nan))
    return {
        "covered_hours": float(table.covered_ms.sum()) / 3.6e6,
        "messages": messages,
        "level_changes": int(table.level_changes.sum()),
        "trades": trades,
        "suspect_windows": len(table.windows),
        "suspect_seconds": float(table.suspect_ms.sum()) / 1e3,
        "longest_silence_s": float(table.max_silence_ms.max()) / 1e3 if len(table) else None,
        "spread_bps": _median(table.spread_mean_bps),
        "bid_depth": _median(table.bid_depth),
        "ask_depth": _median(table.ask_depth),
        "delay_ms": _median(table.delay_mean_ms),
        "price": None if mid is None else mid * float(instrument.tick_size),
        "trades_a_message": trades / messages if messages and trades >= 100 else None,
        "messages_an_hour": messages / hours if hours >= 0.1 else None,
        "depth": _sum_of_medians(table),
    }


def _sum_of_medians(table: QualityTable) -> float | None:
    bids, asks = _median(table.bid_depth), _median(table.ask_depth)
    return None if bids is None or asks is None else bids + asks


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def day_columns(
    date: str, table: QualityTable, figures: Figures, others: Sequence[Mapping[str, float | None]], rule_changes: int
) -> dict[str, Any]:
    """The columns of the table ``day``: one row.

    Parameters
    ----------
    others
        Figures of other days of the symbol; blocked days are left out by the caller.
    rule_changes
        How often tick size or quantity step changed within the day.
    """
    row = {
        "covered_h": figures["covered_hours"],
        "rule_changes": float(rule_changes),
        "offset_s": clock_offset_s(table),
        "price_ratio": _ratio("price", figures, others),
        "depth_ratio": _ratio("depth", figures, others),
        "trade_rate_ratio": _ratio("trades_a_message", figures, others),
        "book_rate_ratio": _ratio("messages_an_hour", figures, others),
    }
    return {
        "date": np.array([date], dtype=object),
        **{name: np.array([np.nan if value is None else value], float) for name, value in row.items()},
    }


def _ratio(name: str, figures: Figures, others: Sequence[Mapping[str, float | None]]) -> float | None:
    own = figures[name]
    usual = [value for other in others if (value := other.get(name)) is not None and value > 0]
    if own is None or len(usual) < LEAST_OTHERS:
        return None
    return own / float(np.median(usual))


def clock_offset_s(table: QualityTable) -> float | None:
    """Seconds by which receive times run ahead of exchange times; ``None`` where the market has a clock of its own."""
    known = np.flatnonzero(np.isfinite(table.delay_mean_ms))
    if not len(known):
        return None
    delay = table.delay_mean_ms[known]
    if own_clock(table):
        return None
    return float(np.median(delay)) / 1e3


def own_clock(table: QualityTable) -> bool:
    """Whether exchange time is not the time of day: a local exchange runs at its own date and pace."""
    known = np.flatnonzero(np.isfinite(table.delay_mean_ms))
    if not len(known):
        return False
    delay = table.delay_mean_ms[known]
    if abs(float(np.median(delay))) > _OWN_CLOCK_MS:
        return True
    passed = float(table.minute_ms[known[-1]] - table.minute_ms[known[0]])
    return passed > 0 and abs(float(delay[-1] - delay[0])) > _OWN_PACE * passed + 5_000 and _is_steady(delay)


def _is_steady(delay: np.ndarray) -> bool:
    """Whether the delay grows or falls all the time, as at another pace, rather than by one step."""
    steps = np.diff(delay)
    return len(steps) > 0 and float(np.median(np.abs(steps))) > 500.0
