"""The suites, and the tables that they judge.

Three levels: ``raw`` (what was recorded, by minute and for the day), ``features`` (the matrix that models learn from)
and ``drift`` (the day's features against the training window). A suite has a version; who changes a limit raises it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.drift import Drift
from features.quality import FeatureQuality
from flows._checks import SEVERITY, TABLES, Action, Check, digest
from flows._day import own_clock
from flows._matrix_checks import DRIFT, FEATURES
from flows._raw_checks import BLOCK
from flows._raw_checks_more import WARN, mask
from market.instruments import Instrument
from market.quality import MINUTE_MS, QualityTable

__all__ = [
    "DAY_MS",
    "SEVERITY",
    "TABLES",
    "VERSIONS",
    "Action",
    "Check",
    "bar_columns",
    "checks",
    "drift_columns",
    "feature_columns",
    "frame_columns",
    "matrix_checks",
    "minute_text",
    "second_text",
    "suite_digests",
]

DAY_MS = 86_400_000
#: Of the suites: major for a check that is gone or means something else, minor for a limit or a check more.
VERSIONS = {"raw": "2.0", "features": "1.0", "drift": "1.1"}

#: Fewer than these say nothing of a day.
_FEW_TRADES, _FEW_CHANGES, _FEW_QUOTES, _FEW_BARS = 200, 1_000, 30, 20
#: Trades and messages in a minute that must leave a trace in the book.
_STIRRING = 3


def checks(stall_ms: int, *, inner_day: bool) -> tuple[Check, ...]:
    """The suite ``raw`` for one day.

    Parameters
    ----------
    stall_ms
        The silence that makes a suspect window, for the words.
    inner_day
        The lake goes on before and after the day, so the day should be whole.
    """
    whole = Check(
        "whole_day",
        "the whole day was recorded",
        "a part of the day is missing",
        "warn",
        "covered_h",
        "sum",
        "A day that starts late or ends early has fewer bars than it seems.",
        low=0.95 * 24,
        unit="h",
    )
    return (*BLOCK, *mask(stall_ms), *WARN, *((whole,) if inner_day else ()))


def matrix_checks() -> tuple[Check, ...]:
    """The suites ``features`` and ``drift``."""
    return (*FEATURES, *DRIFT)


def suite_digests() -> dict[str, str]:
    """What each suite demands, as a hash."""
    raw = checks(60_000, inner_day=True)
    return {"raw": digest(raw), "features": digest(FEATURES), "drift": digest(DRIFT)}


def frame_columns(table: QualityTable, instrument: Instrument | None = None) -> dict[str, Any]:
    """The columns of the table ``minutes``: those of the quality table and what follows from them.

    NaN where a question has no answer. ``minute`` is the time of day as text, so that pages name minutes rather than
    row numbers.
    """
    columns: dict[str, Any] = dict(table.columns())
    for name in ("duplicates", "breaks", "repeats", "backward", "oddities", "untraded"):
        columns[name] = _counted(columns[name])
    whole = table.covered_ms == MINUTE_MS
    columns["covered_h"] = table.covered_ms / 3.6e6
    # The first and the last minute are cut off by the recording's own start and end.
    columns["whole_trades"] = np.where(whole, table.trades.astype(float), np.nan)
    columns["book_price"] = np.where(table.mid > 0, table.mid / 2, np.nan)
    columns["trade_price"] = np.where(table.last_price > 0, table.last_price.astype(float), np.nan)
    many = table.trades.sum() >= _FEW_TRADES
    columns["agreed"] = _only(table.sided.sum() >= _FEW_TRADES, table.agreed)
    columns["buys_of_many"], columns["trades_of_many"] = _only(many, table.buys), _only(many, table.trades)
    columns["quotes_of_many"] = _only(table.quotes[table.quotes > 0].sum() >= _FEW_QUOTES, table.quotes.clip(0))
    enough = table.level_changes.sum() >= _FEW_CHANGES
    columns["price_grid"] = _only(enough, np.gcd(table.book_grid, table.trade_grid))
    columns["book_grid"] = _only(enough, table.book_grid)
    columns["frozen"] = ((table.touches == 0) & (table.trades >= _STIRRING) & (table.books >= _STIRRING)).astype(float)
    columns["levels_ratio"] = _least_of_usual(table.bid_levels, table.ask_levels)
    columns["depth_ratio"] = _most_unusual(table.bid_depth, table.ask_depth)
    largest = np.nan if instrument is None or not instrument.max_steps else float(instrument.max_steps)
    columns["oversize"] = table.largest / largest
    columns["jump_pct"] = _jumps(columns["book_price"])
    columns["trade_hole"] = _trade_holes(table)
    if own_clock(table):
        columns["delay_mean_ms"] = np.full(len(table), np.nan)
    columns["minute"] = np.array([minute_text(at) for at in table.minute_ms], dtype=object)
    return columns


def _counted(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """-1 stands for "nobody counted"."""
    return np.where(values < 0, np.nan, values.astype(float))


def _only(enough: bool | np.bool_, values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(float) if enough else np.full(len(values), np.nan)


def _usual(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _least_of_usual(bids: NDArray[np.float64], asks: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.fmin(bids / _usual(bids), asks / _usual(asks))
    return ratio


def _most_unusual(bids: NDArray[np.float64], asks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the two sides' ratios to their usual depth the one that is farther from 1."""
    ratios = np.stack([bids / _usual(bids), asks / _usual(asks)])
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(np.log(ratios))
    bids_are_stranger = np.nan_to_num(away[0], nan=-1) >= np.nan_to_num(away[1], nan=-1)
    stranger: NDArray[np.float64] = np.where(bids_are_stranger, ratios[0], ratios[1])
    return stranger


def _jumps(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percent by which each minute's last mid differs from the one before that is known."""
    jumps = np.full(len(price), np.nan)
    known = np.flatnonzero(np.isfinite(price))
    jumps[known[1:]] = np.abs(price[known[1:]] / price[known[:-1]] - 1) * 100
    if len(known):
        jumps[known[0]] = 0.0
    return jumps


def _trade_holes(table: QualityTable) -> NDArray[np.float64]:
    """In minutes without a trade though the book moves: trades that would be usual in the whole stretch of them.

    Trades come in bursts: up to two such minutes in a row are no stretch.
    """
    missed = np.zeros(len(table))
    empty = (table.trades == 0) & (table.touches > 0)
    edges = np.flatnonzero(np.diff(np.r_[False, empty, False].astype(int)))
    usual = _usual(table.trades[table.trades > 0].astype(float))
    for start, end in zip(edges[::2], edges[1::2]):
        if end - start < _STIRRING:
            continue
        missed[start:end] = table.covered_ms[start:end].sum() / MINUTE_MS * usual
    return np.where(np.isfinite(missed), missed, 0.0)


def feature_columns(quality: FeatureQuality, kept: tuple[str, ...], same_spec: bool) -> dict[str, Any]:
    """The columns of the table ``features``, a row a feature; unknown where the source of a feature was not recorded.

    Parameters
    ----------
    quality
        Of the declared features.
    kept
        Columns of the matrix on the disk.
    same_spec
        Whether it was built by these declarations.
    """
    names = list(quality.names)
    recorded = np.array([source not in ("tickers", "liquidations") for source in quality.sources])
    judged = recorded | (quality.low == quality.low)
    due = judged & (quality.due > 0)
    share = np.full(len(names), np.nan)
    np.divide(quality.missing, quality.due, out=share, where=due)
    # Three values are not enough to say that a feature does not move; a liquidation may not happen all day.
    moving = due & (quality.due - quality.missing >= _STIRRING * 10) & recorded
    wrong = [at >= len(kept) or kept[at] != name for at, name in enumerate(names)]
    return {
        "feature": np.array(names, dtype=object),
        "undeclared": np.array(wrong, float),
        "other_spec": np.full(len(names), 0.0 if same_spec else 1.0),
        "infinite": quality.infinite.astype(float),
        "missing_share": share,
        "distinct": np.where(moving, quality.distinct.astype(float), np.nan),
        "low": quality.low,
        "high": quality.high,
    }


def bar_columns(quality: FeatureQuality) -> dict[str, Any]:
    """The columns of the table ``bars``, a row a bar."""
    return {
        "bar": np.array([minute_text(at) for at in quality.open_ms], dtype=object),
        "open_ms": quality.open_ms,
        "close_ms": quality.close_ms,
        "impossible": quality.impossible.astype(float),
        "filled": quality.filled.astype(float),
        "misplaced": quality.misplaced.astype(float),
        "valid": _only(len(quality.valid) >= _FEW_BARS, quality.valid),
    }


def drift_columns(drift: Drift) -> dict[str, Any]:
    """The columns of the table ``drift``, a row a feature."""
    excess = drift.index / drift.limit
    # Both conditions of an alarm in one number: surely another distribution, and enough to matter.
    excess = np.where(np.isfinite(excess) & ~drift.alarmed, np.minimum(excess, 1.0), excess)
    return {
        "feature": np.array(drift.names, dtype=object),
        "index": drift.index,
        "limit": drift.limit,
        "p_value": drift.p_value,
        "excess": excess,
    }


def minute_text(at_ms: int) -> str:
    """Time of day, UTC, to the minute."""
    minutes = int(at_ms) % DAY_MS // MINUTE_MS
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def second_text(at_ms: int) -> str:
    """Time of day, UTC, to the second."""
    return f"{minute_text(at_ms)}:{int(at_ms) // 1000 % 60:02d}"
