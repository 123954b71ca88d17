"""What is expected of a day's quality table: each check once, with what happens when it fails and why it is asked.

The list is the only place where limits live. It is turned into Great Expectations' suite at every run: a suite that was
reloaded from a file could lose checks without saying so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from market.quality import MINUTE_MS, QualityTable

DAY_MS = 86_400_000

#: What a failed check does: it stops training on the day, it takes the minutes it names out of training, or it is told.
Action = Literal["block", "mask", "warn"]
#: Great Expectations' words for them, which its pages show.
SEVERITY: Mapping[Action, str] = {"block": "critical", "mask": "warning", "warn": "info"}


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation.

    Attributes
    ----------
    name
        Stable identifier.
    title
        What holds when it passes, in a few words.
    failure
        What is found when it fails, in a few words.
    action
        What a failure does.
    column
        Column of :func:`frame_columns` that is judged.
    rule
        ``values`` (every minute), ``sum``, ``mean``, ``median`` (of the day), ``rows`` (number of minutes) or
        ``increasing``.
    low, high
        Limits, inclusive; ``None`` is open.
    mostly
        Share of the minutes that must comply, for the rule ``values``.
    why
        What goes wrong otherwise.
    unit
        Of the observed value.
    """

    name: str
    title: str
    failure: str
    action: Action
    column: str
    rule: Literal["values", "sum", "mean", "median", "rows", "increasing"]
    why: str
    low: float | None = None
    high: float | None = None
    mostly: float = 1.0
    unit: str = ""

    @property
    def limits(self) -> str:
        """The limits in words."""
        unit = f" {self.unit}" if self.unit else ""
        if self.rule == "increasing":
            return "each later than the one before"
        if self.low is None:
            text = f"at most {self.high:g}{unit}"
        elif self.high is None:
            text = f"at least {self.low:g}{unit}"
        elif self.low == self.high == 0:
            text = "none"
        elif self.low == self.high:
            text = f"{self.low:g}{unit}"
        else:
            text = f"{self.low:g} to {self.high:g}{unit}"
        return text + (f" in {self.mostly:.0%} of the minutes" if self.mostly < 1 else "")


def checks(stall_ms: int, *, inner_day: bool) -> tuple[Check, ...]:
    """The checks of one day.

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
    return (*_BLOCK, *_mask(stall_ms), *_WARN, *((whole,) if inner_day else ()))


_BLOCK = (
    Check(
        "minutes",
        "the table has the minutes of one day",
        "the table does not have the minutes of one day",
        "block",
        "minute_ms",
        "rows",
        "Without a single minute there is nothing to judge.",
        low=1,
        high=1440,
    ),
    Check(
        "order",
        "minutes follow each other",
        "minutes are out of order",
        "block",
        "minute_ms",
        "increasing",
        "Bars would be built from a scrambled clock.",
    ),
    Check(
        "book_recorded",
        "the order book was recorded",
        "no order book was recorded",
        "block",
        "messages",
        "sum",
        "Book features would all be unknown.",
        low=1,
        unit="messages",
    ),
    Check(
        "trades_recorded",
        "trades were recorded",
        "no trades were recorded",
        "block",
        "trades",
        "sum",
        "Bars are made of trades, and fills are simulated against them.",
        low=1,
        unit="trades",
    ),
    Check(
        "possible_values",
        "no impossible price or size",
        "impossible prices or sizes",
        "block",
        "bad_rows",
        "values",
        "A price at or below zero, a negative size or an unknown side means that the recording is damaged.",
        low=0,
        high=0,
    ),
    Check(
        "book_known",
        "the book is known most of the time",
        "the book is unknown most of the time",
        "block",
        "known_share",
        "mean",
        "Where the book is unknown or stalled there is neither a feature nor a fill.",
        low=0.5,
    ),
    Check(
        "book_uncrossed",
        "the book is hardly ever crossed",
        "the book is crossed too often",
        "block",
        "crossed_share",
        "mean",
        "A book whose bid lies above its ask was put together wrongly.",
        high=0.01,
    ),
    Check(
        "same_market",
        "trades happen at the book's prices",
        "trades happen away from the book",
        "block",
        "trade_distance_bps",
        "median",
        "Book and trades that lie apart are not of one market, or not of one clock.",
        high=50,
        unit="bps",
    ),
)


def _mask(stall_ms: int) -> tuple[Check, ...]:
    return (
        Check(
            "suspect",
            "no suspect window",
            "suspect windows",
            "mask",
            "suspect_ms",
            "values",
            "After a sequence break or a reconnect the book is unknown until the next snapshot; a book silent for more "
            f"than {stall_ms / 1e3:g} s is stale. Bars that touch such a window leave training and trading.",
            low=0,
            high=0,
            unit="ms",
        ),
        Check(
            "crossed",
            "no crossed book",
            "crossed book",
            "mask",
            "crossed",
            "values",
            "A bid above the ask is a state that no trader could use; features of it mean nothing.",
            low=0,
            high=0,
            unit="messages",
        ),
        Check(
            "one_sided",
            "both sides have levels",
            "one-sided book",
            "mask",
            "one_sided",
            "values",
            "Without one side there is no mid price and no spread.",
            low=0,
            high=0,
            unit="messages",
        ),
        Check(
            "spread",
            "no torn-open spread",
            "torn-open spread",
            "mask",
            "spread_max_bps",
            "values",
            "A spread this wide is a broken recording or a market that nobody should learn from.",
            high=100,
            unit="bps",
        ),
        Check(
            "trade_outliers",
            "no trade far from the book",
            "trades far from the book",
            "mask",
            "trade_distance_bps",
            "values",
            "A trade far outside the book distorts the bar's high and low, and every stop and target in it.",
            high=100,
            unit="bps",
        ),
        Check(
            "duplicates",
            "no trade twice",
            "trades twice",
            "mask",
            "duplicates",
            "values",
            "A trade that is counted twice doubles volume and fills orders that would have waited.",
            low=0,
            high=0,
            unit="trades",
        ),
    )


_WARN = (
    Check(
        "silences",
        "the book is hardly ever silent for 5 s",
        "the book falls silent",
        "warn",
        "max_silence_ms",
        "values",
        "Bybit sends the book of an active contract many times a second; silences say that data was lost on the way.",
        high=5_000,
        mostly=0.95,
        unit="ms",
    ),
    Check(
        "locked",
        "the book is rarely locked",
        "the book is often locked",
        "warn",
        "locked_share",
        "mean",
        "Bid and ask at one price for long hint at merged or late messages.",
        high=0.05,
    ),
    Check(
        "trading",
        "there is a trade in most minutes",
        "many minutes without a trade",
        "warn",
        "whole_trades",
        "values",
        "Bars without trades repeat the last price; too many of them make volatility look calm.",
        low=1,
        mostly=0.9,
        unit="trades",
    ),
    Check(
        "gaps",
        "few breaks of the stream",
        "many breaks of the stream",
        "warn",
        "gaps",
        "sum",
        "Many reconnects or sequence breaks say that the line or the machine cannot keep up.",
        high=24,
        unit="breaks",
    ),
    Check(
        "clock",
        "exchange time hardly steps back",
        "exchange time steps back",
        "warn",
        "regress_ms",
        "values",
        "Streams that lag each other blur what was known when.",
        high=1_000,
        mostly=0.99,
        unit="ms",
    ),
    Check(
        "delay",
        "messages arrive in time",
        "messages arrive late or early",
        "warn",
        "delay_mean_ms",
        "values",
        "Late messages mean that live decisions rest on an old book; early ones that the local clock is wrong.",
        low=-500,
        high=2_000,
        mostly=0.99,
        unit="ms",
    ),
)

#: Receive times this far from exchange times belong to another clock: a local exchange's market runs at its own pace.
_OTHER_CLOCK_MS = 3_600_000


def frame_columns(table: QualityTable) -> dict[str, Any]:
    """The columns that checks judge: those of the table and some shares; NaN where a question has no answer.

    ``minute`` is the time of day as text, so that pages name minutes rather than row numbers.
    """
    columns = dict(table.columns())
    columns["duplicates"] = np.where(table.duplicates < 0, np.nan, table.duplicates.astype(float))
    columns["covered_h"] = table.covered_ms / 3.6e6
    columns["known_share"] = _share(table.known_ms, table.covered_ms)
    columns["locked_share"] = _share(table.locked, table.books)
    columns["crossed_share"] = _share(table.crossed, table.books)
    # The first and the last minute are cut off by the recording's own start and end.
    columns["whole_trades"] = np.where(table.covered_ms == MINUTE_MS, table.trades.astype(float), np.nan)
    delay = table.delay_mean_ms
    if np.isfinite(delay).any() and abs(float(np.nanmedian(delay))) > _OTHER_CLOCK_MS:
        columns["delay_mean_ms"] = np.full(len(table), np.nan)
    columns["minute"] = np.array([minute_text(at) for at in table.minute_ms], dtype=object)
    return columns


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share = np.full(len(part), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def minute_text(at_ms: int) -> str:
    """Time of day, UTC, to the minute."""
    minutes = int(at_ms) % DAY_MS // MINUTE_MS
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def second_text(at_ms: int) -> str:
    """Time of day, UTC, to the second."""
    return f"{minute_text(at_ms)}:{int(at_ms) // 1000 % 60:02d}"
