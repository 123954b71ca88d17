"""Planted defects: a clean synthetic day, one thing that is wrong with it, and what validation must say.

Each defect changes what a recorder would have stored, in arrays, so that hundreds of days can be judged in seconds. The
catalogue is also a page of the documentation: :func:`markdown` is it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from features.bars import Bars
from features.catalogue import feature_names
from features.quality import feature_quality
from flows._datadocs import run_suite
from flows._day import day_columns, day_figures
from flows._findings import DayReport, judge
from flows._quality_checks import bar_columns, checks, feature_columns, frame_columns, matrix_checks
from market.events import ASK, BID, BOOK, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from market.manifest import Oddity
from market.quality import MINUTE_MS, QualityTable, counted, quality_table
from market.quality_day import _follow, _untraded
from simulation.synthetic import SYNTHETIC, MarketParams, synthetic_events

DAY_MS = 1_772_323_200_000  # 2026-03-01
START_MS = DAY_MS + 10 * 3_600_000
MINUTES = 100
#: Where defects of a stretch lie: minutes 40 to 50 of the recording.
FROM_MS, UNTIL_MS = START_MS + 40 * MINUTE_MS, START_MS + 50 * MINUTE_MS
NAMES = feature_names(50)
DATE = "2026-03-01"

FIELDS = ("kind", "flags", "side", "time_ms", "price", "size", "ordinal", "recv_ns")


@dataclass
class Day:
    """What a recorder stored of one day, open to damage.

    Attributes
    ----------
    rows
        The event columns by name.
    u, seq
        Of each row of the book, else -1.
    ids
        Of trades, else -1.
    tickers
        ``(time_ms, last price in ticks)``.
    mark
        Mark price over last price.
    """

    rows: dict[str, np.ndarray]
    u: np.ndarray
    seq: np.ndarray
    ids: np.ndarray
    tickers: np.ndarray
    mark: float = 1.0
    oddities: list[Oddity] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)
    rule_changes: int = 0
    bars: Bars | None = None
    kept: tuple[str, ...] = NAMES
    same_spec: bool = True

    def where(self, *, kind: int | None = None, begin: int = 0, end: int = 1 << 62) -> np.ndarray:
        """Rows of a kind and time."""
        time = self.rows["time_ms"]
        chosen = (time >= begin) & (time < end)
        return chosen if kind is None else chosen & (self.rows["kind"] == kind)

    def keep(self, mask: np.ndarray) -> None:
        """Only these rows."""
        self.rows = {name: column[mask] for name, column in self.rows.items()}
        self.u, self.seq, self.ids = self.u[mask], self.seq[mask], self.ids[mask]

    def order(self, index: np.ndarray) -> None:
        """Rows by index, repeats allowed."""
        self.rows = {name: column[index] for name, column in self.rows.items()}
        self.u, self.seq, self.ids = self.u[index], self.seq[index], self.ids[index]

    def messages(self, begin: int, end: int) -> list[np.ndarray]:
        """Rows of each book message in a time."""
        at = np.flatnonzero(self.where(kind=BOOK, begin=begin, end=end))
        return np.split(at, np.flatnonzero(np.diff(self.rows["ordinal"][at])) + 1)


@lru_cache(maxsize=8)
def _clean(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    params = MarketParams(signal=0.0)
    batch = EventBatch.concat(
        synthetic_events(seed, 0.0, START_MS, MINUTES * MINUTE_MS, levels=50, push_ms=200, params=params)
    )
    rows = {name: getattr(batch, name) for name in FIELDS}
    trades = rows["kind"] == TRADE
    times, prices = rows["time_ms"][trades], rows["price"][trades]
    # A ticker a second tells the price of the last trade.
    told = np.arange(START_MS + 1_000, START_MS + MINUTES * MINUTE_MS, 1_000)
    place = np.searchsorted(times, told, side="right") - 1
    return rows, np.stack([told[place >= 0], prices[place[place >= 0]]], axis=1)


def clean_day(seed: int) -> Day:
    """A clean synthetic recording of a hundred minutes."""
    columns, tickers = _clean(seed)
    rows = {name: column.copy() for name, column in columns.items()}
    book = rows["kind"] == BOOK
    number = np.cumsum(book & (rows["flags"] & FIRST != 0))
    trades = rows["kind"] == TRADE
    ids = np.where(trades, np.cumsum(trades), -1)
    return Day(rows, np.where(book, number, -1), np.where(book, number * 10, -1), ids, tickers.copy())


def usual(seed: int) -> dict[str, float]:
    """Figures of the other days: those of a clean day of another seed."""
    table = measure(clean_day(seed + 1_000))
    return {name: value for name, value in day_figures(table, SYNTHETIC).items() if value is not None}


def measure(day: Day) -> QualityTable:
    """The quality table, as :func:`market.quality_day.lake_quality` makes it of a lake."""
    batch = EventBatch(**day.rows)
    trades = day.rows["kind"] == TRADE
    ids, times = day.ids[trades], day.rows["time_ms"][trades]
    _, first = np.unique(ids, return_index=True)
    again = np.ones(len(ids), bool)
    again[first] = False
    table = quality_table([batch], SYNTHETIC, duplicate_ms=times[again])
    book = day.rows["kind"] == BOOK
    book &= day.rows["flags"] & FIRST != 0
    marks = np.zeros(int(book.sum()), np.uint8)
    gaps = np.sort(day.rows["ordinal"][day.rows["kind"] == GAP])
    state = np.array([0, -1, -1, 0], np.int64)
    snapshot, ordinal = day.rows["flags"][book] & SNAPSHOT != 0, day.rows["ordinal"][book]
    _follow(day.u[book], day.seq[book], snapshot, ordinal, gaps, state, marks)
    when = day.rows["time_ms"][book]
    found = {
        name: counted(table.minute_ms, when[marks & bit != 0])
        for name, bit in (("breaks", 1), ("repeats", 2), ("backward", 4))
    }
    told_ms, told = day.tickers[:, 0], day.tickers[:, 1]
    fresh = np.ones(len(told), bool)
    fresh[1:] = told[1:] != told[:-1]
    told_ms, told = told_ms[fresh], told[fresh]
    order = np.argsort(times, kind="stable")
    missing = _untraded(told_ms, told, times[order], day.rows["price"][trades][order])
    away = np.where(table.mid > 0, np.abs(1 / day.mark - 1) * 1e4, np.nan)
    odd = np.zeros(len(table), np.int64)
    for one in day.oddities:
        odd[(one.first_ms - table.minute_ms[0]) // MINUTE_MS] += one.count
    return replace(
        table,
        **found,
        quotes=counted(table.minute_ms, told_ms),
        untraded=counted(table.minute_ms, told_ms[missing]),
        mark_distance_bps=away,
        oddities=odd,
    )


def judge_day(day: Day, others: dict[str, float], only: str = "") -> DayReport:
    """Every suite that the day has tables for, or one check of them."""
    table = measure(day)
    figures = day_figures(table, SYNTHETIC)
    told = [others | day.others, others | day.others]
    tables: dict[str, dict[str, Any]] = {
        "minutes": frame_columns(table, SYNTHETIC),
        "day": day_columns(DATE, table, figures, told, day.rule_changes),
    }
    if day.bars is not None:
        quality = feature_quality(day.bars, NAMES, MINUTE_MS, DAY_MS, DAY_MS + 86_400_000)
        tables |= {"features": feature_columns(quality, day.kept, day.same_spec), "bars": bar_columns(quality)}
    suite = (*checks(60_000, inner_day=False), *matrix_checks())
    suite = tuple(check for check in suite if not only or check.name == only)
    outcomes = run_suite(tables, suite, name="x", run=DATE, site=None)
    return judge("SYNUSDT", DATE, table, outcomes, "", tables=tables, figures=figures)


def clean_bars(seed: int = 1) -> Bars:
    """A matrix in which nothing is wrong: values within their units, no holes."""
    rng = np.random.default_rng(seed)
    count = MINUTES
    open_ms = START_MS + np.arange(count) * MINUTE_MS
    whole = np.full(count, 60_000, np.int64)
    values = rng.uniform(0.1, 0.9, (count, len(NAMES)))
    return Bars(
        open_ms=open_ms,
        close_ms=open_ms + MINUTE_MS,
        **dict.fromkeys(("open", "high", "low", "close", "volume", "trades", "bid", "ask"), whole),
        atr=np.ones(count),
        valid=np.ones(count, bool),
        values=values,
    )


# -- the catalogue -----------------------------------------------------------------------------------------------------

STRETCH, WHOLE, NONE = "minutes 40 to 50", "the whole day", "none: it names features"


@dataclass(frozen=True)
class Defect:
    """One entry of the catalogue.

    Attributes
    ----------
    name
        In words; the test's name.
    plant
        Damages a clean day.
    check, action
        What must be found, and how grave it is.
    window
        Where.
    """

    name: str
    plant: Callable[[Day], None]
    check: str
    action: str
    window: str = STRETCH

    @property
    def identity(self) -> str:
        """For pytest."""
        return self.name.replace(" ", "-")


CATALOGUE: list[Defect] = []


def defect(name: str, check: str, action: str, window: str = STRETCH) -> Callable[[Callable[[Day], None]], Callable]:
    """Enter a function that plants a defect."""

    def enter(plant: Callable[[Day], None]) -> Callable[[Day], None]:
        CATALOGUE.append(Defect(name, plant, check, action, window))
        return plant

    return enter


def _stretch(day: Day, kind: int | None = None) -> np.ndarray:
    return day.where(kind=kind, begin=FROM_MS, end=UNTIL_MS)


@defect("book sides swapped", "book_uncrossed", "block", WHOLE)
def _(day: Day) -> None:
    book = day.where(kind=BOOK)
    day.rows["side"][book] = 1 - day.rows["side"][book]


@defect("taker sides swapped", "taker_sides", "block", WHOLE)
def _(day: Day) -> None:
    trades = day.where(kind=TRADE)
    day.rows["side"][trades] = 1 - day.rows["side"][trades]


@defect("taker side always buy", "both_takers", "block", WHOLE)
def _(day: Day) -> None:
    day.rows["side"][day.where(kind=TRADE)] = BID


@defect("no trades at all", "trades_recorded", "block", WHOLE)
def _(day: Day) -> None:
    day.keep(~day.where(kind=TRADE))


@defect("no order book at all", "book_recorded", "block", WHOLE)
def _(day: Day) -> None:
    day.keep(~day.where(kind=BOOK))


@defect("half the trades missing, told by tickers", "told_prices", "block", WHOLE)
def _(day: Day) -> None:
    trades = day.where(kind=TRADE)
    lost = np.random.default_rng(1).random(len(trades)) < 0.5
    day.keep(~(trades & lost))


@defect("half the trades missing, told by other days", "trade_rate", "warn", WHOLE)
def _(day: Day) -> None:
    trades = np.flatnonzero(day.where(kind=TRADE))
    mask = np.ones(len(day.u), bool)
    mask[trades[::2]] = False
    day.keep(mask)
    day.tickers = day.tickers[:0].reshape(0, 2)


@defect("every trade twice under new ids", "trade_rate", "warn", WHOLE)
def _(day: Day) -> None:
    trades = day.where(kind=TRADE)
    day.order(np.repeat(np.arange(len(trades)), np.where(trades, 2, 1)))
    again = day.where(kind=TRADE)
    day.ids = np.where(again, np.cumsum(again), -1)


@defect("trades stop for ten minutes", "trade_hole", "mask")
def _(day: Day) -> None:
    day.keep(~_stretch(day, TRADE))


@defect("trades repeated with their ids", "duplicates", "mask")
def _(day: Day) -> None:
    again = _stretch(day, TRADE)
    day.order(np.repeat(np.arange(len(again)), np.where(again, 2, 1)))


@defect("book messages repeated", "repeats", "mask")
def _(day: Day) -> None:
    index = []
    last = 0
    for message in day.messages(FROM_MS, UNTIL_MS):
        index += [np.arange(last, message[-1] + 1), message]
        last = message[-1] + 1
    day.order(np.concatenate([*index, np.arange(last, len(day.u))]))


@defect("book messages lost without a mark", "sequence", "block")
def _(day: Day) -> None:
    lost = np.concatenate(day.messages(FROM_MS, UNTIL_MS)[::7])
    mask = np.ones(len(day.u), bool)
    mask[lost] = False
    day.keep(mask)


@defect("one book message lost without a mark", "sequence", "block", "minute 40")
def _(day: Day) -> None:
    mask = np.ones(len(day.u), bool)
    mask[day.messages(FROM_MS, UNTIL_MS)[3]] = False
    day.keep(mask)


@defect("book messages in another order than the venue's", "backward", "mask")
def _(day: Day) -> None:
    rows = _stretch(day, BOOK)
    day.seq[rows] = day.seq[rows][::-1]


def _gap(day: Day, begin: int, end: int) -> None:
    """A reconnect: nothing from `begin` to `end`, then the whole book again."""
    rows = day.rows
    book = {BID: {}, ASK: {}}
    for at in np.flatnonzero(day.where(kind=BOOK, end=end)):
        if rows["flags"][at] & SNAPSHOT and rows["flags"][at] & FIRST:
            book = {BID: {}, ASK: {}}
        side = book[int(rows["side"][at])]
        if rows["size"][at]:
            side[int(rows["price"][at])] = int(rows["size"][at])
        else:
            side.pop(int(rows["price"][at]), None)
    first = int(np.flatnonzero(~day.where(end=begin))[0])
    after = int(np.flatnonzero(~day.where(end=end))[0])
    levels = [(side, price, size) for side in (BID, ASK) for price, size in book[side].items()]
    ordinal = int(rows["ordinal"][after])
    flags = [SNAPSHOT | (FIRST if i == 0 else 0) | (LAST if i == len(levels) - 1 else 0) for i in range(len(levels))]
    new = [(GAP, 0, 0, begin, 0, 0, ordinal, -1)]
    new += [(BOOK, mark, s, end, p, q, ordinal, end * 10**6) for mark, (s, p, q) in zip(flags, levels)]
    extra = EventBatch.from_rows(new)
    u = int(day.u[day.u >= 0][day.rows["time_ms"][day.u >= 0] < end].max())
    for name in FIELDS:
        rows[name] = np.concatenate([rows[name][:first], getattr(extra, name), rows[name][after:]])
    fill = np.full(len(new), -1)
    body = np.r_[-1, np.full(len(levels), u)]
    day.u = np.concatenate([day.u[:first], body, day.u[after:]])
    day.seq = np.concatenate([day.seq[:first], np.where(body < 0, -1, body * 10), day.seq[after:]])
    day.ids = np.concatenate([day.ids[:first], fill, day.ids[after:]])


@defect("connection lost for ten minutes", "suspect", "mask")
def _(day: Day) -> None:
    _gap(day, FROM_MS, UNTIL_MS)


@defect("connection lost for a tenth of a second", "suspect", "mask", "minute 40")
def _(day: Day) -> None:
    _gap(day, FROM_MS + 10_000, FROM_MS + 10_100)


@defect("connection lost thirty times", "gaps", "warn", WHOLE)
def _(day: Day) -> None:
    for number in range(30):
        at = START_MS + (30 + 2 * number) * MINUTE_MS
        _gap(day, at, at + 400)


@defect("book silent for ten minutes", "suspect", "mask")
def _(day: Day) -> None:
    day.keep(~_stretch(day, BOOK))


@defect("book silent for most of the day", "book_known", "block", WHOLE)
def _(day: Day) -> None:
    day.keep(~day.where(kind=BOOK, begin=START_MS + 20 * MINUTE_MS, end=START_MS + 90 * MINUTE_MS))


@defect("book silent for eight seconds a minute", "silences", "warn", "minutes 10 to 100")
def _(day: Day) -> None:
    day.keep(~(day.where(kind=BOOK, begin=START_MS + 10 * MINUTE_MS) & (day.rows["time_ms"] % MINUTE_MS < 8_000)))


@defect("frozen book: the same levels are sent again and again", "frozen", "mask")
def _(day: Day) -> None:
    held = day.messages(FROM_MS - 2_000, FROM_MS)[-1]
    rows = _stretch(day, BOOK)
    for name in ("price", "size", "side"):
        day.rows[name][rows] = np.resize(day.rows[name][held], rows.sum())


@defect("crossed book", "crossed", "mask", "minute 40")
def _(day: Day) -> None:
    before = day.where(kind=TRADE, end=FROM_MS)
    price = day.rows["price"][np.flatnonzero(before)[-1]] + 60
    for message, size in zip(day.messages(FROM_MS, UNTIL_MS)[2:4], (5, 0)):
        day.rows["side"][message[0]], day.rows["price"][message[0]], day.rows["size"][message[0]] = BID, price, size


@defect("crossed book all day", "book_uncrossed", "block", WHOLE)
def _(day: Day) -> None:
    bids = day.where(kind=BOOK) & (day.rows["side"] == BID)
    day.rows["price"][bids] += 30


@defect("locked book all day", "locked", "warn", WHOLE)
def _(day: Day) -> None:
    _merge_touch(day)


def _merge_touch(day: Day) -> None:
    """Prices of both sides rounded to a coarser grid, inwards, so that best bid and ask are often equal."""
    book = day.where(kind=BOOK)
    price, side = day.rows["price"], day.rows["side"]
    price[book & (side == BID)] = (price[book & (side == BID)] + 4) // 5 * 5
    price[book & (side == ASK)] = price[book & (side == ASK)] // 5 * 5


@defect("one side of the book missing", "one_sided", "mask", "minutes 40 to 100")
def _(day: Day) -> None:
    asks = day.where(kind=BOOK, begin=FROM_MS) & (day.rows["side"] == ASK)
    day.rows["side"][asks] = BID
    day.rows["size"][asks] = 0
    _delete_side(day, ASK)


def _delete_side(day: Day, side: int) -> None:
    """The first message of the stretch takes all levels of a side away."""
    prices = np.unique(day.rows["price"][day.where(kind=BOOK, end=FROM_MS) & (day.rows["side"] == side)])
    at = int(day.messages(FROM_MS, UNTIL_MS)[0][0])
    count = len(prices)
    flags = np.zeros(count + 1, np.uint8)
    flags[0] = FIRST
    source = np.r_[np.arange(at), np.full(count, at), np.arange(at, len(day.u))]
    day.order(source)
    day.rows["price"][at : at + count] = prices
    day.rows["side"][at : at + count] = side
    day.rows["size"][at : at + count] = 0
    day.rows["flags"][at : at + count + 1] = np.where(
        np.arange(count + 1) == count, day.rows["flags"][at + count] & ~np.uint8(FIRST), flags
    )


@defect("spread torn open by 2 %", "spread", "mask", "from minute 40")
def _(day: Day) -> None:
    _delete_side(day, ASK)
    asks = day.where(kind=BOOK, begin=FROM_MS) & (day.rows["side"] == ASK) & (day.rows["size"] > 0)
    day.rows["price"][asks] += 1_200


@defect("levels missing: a side of five levels", "levels", "mask", "from minute 40")
def _(day: Day) -> None:
    _delete_side(day, BID)
    best = day.rows["price"][day.where(kind=TRADE)].mean()
    bids = day.where(kind=BOOK, begin=FROM_MS) & (day.rows["side"] == BID) & (day.rows["size"] > 0)
    day.rows["size"][bids & (day.rows["price"] < best - 40)] = 0


@defect("sizes a thousand times too large for ten minutes", "depth", "mask", "from minute 40")
def _(day: Day) -> None:
    day.rows["size"][_stretch(day, BOOK)] *= 1_000


@defect("wrong quantity step: all sizes a hundred times too large", "size_level", "block", WHOLE)
def _(day: Day) -> None:
    day.rows["size"][day.where(kind=BOOK)] *= 100


@defect("wrong tick size: prices are multiples of five ticks", "tick_used", "block", WHOLE)
def _(day: Day) -> None:
    priced = day.where(kind=BOOK) | day.where(kind=TRADE)
    day.rows["price"][priced] *= 5


@defect("wrong tick size: prices ten times too large", "price_level", "block", WHOLE)
def _(day: Day) -> None:
    priced = day.where(kind=BOOK) | day.where(kind=TRADE)
    day.rows["price"][priced] *= 10


@defect("book shows every fifth tick only", "book_tick", "warn", WHOLE)
def _(day: Day) -> None:
    book = day.where(kind=BOOK)
    price, side = day.rows["price"], day.rows["side"]
    price[book & (side == BID)] = price[book & (side == BID)] // 5 * 5
    price[book & (side == ASK)] = (price[book & (side == ASK)] + 4) // 5 * 5


@defect("tick size changed within the day", "one_rule", "block", WHOLE)
def _(day: Day) -> None:
    day.rule_changes = 1


@defect("book and trades of two contracts", "same_market", "block", WHOLE)
def _(day: Day) -> None:
    trades = day.where(kind=TRADE)
    day.rows["price"][trades] = day.rows["price"][trades] * 102 // 100


@defect("book far from the mark price", "mark", "block", WHOLE)
def _(day: Day) -> None:
    day.mark = 1.05


@defect("trades an hour late against the book", "one_clock", "block", WHOLE)
def _(day: Day) -> None:
    _shift_trades(day, 60)


@defect("trades two minutes early against the book", "one_clock", "block", WHOLE)
def _(day: Day) -> None:
    _shift_trades(day, -2)


def _shift_trades(day: Day, minutes: int) -> None:
    """As an importer would merge them: by the time that they say."""
    trades = day.where(kind=TRADE)
    day.rows["time_ms"][trades] += minutes * MINUTE_MS
    inside = day.where(begin=START_MS, end=START_MS + MINUTES * MINUTE_MS)
    day.keep(inside)
    day.order(np.argsort(day.rows["time_ms"], kind="stable"))


@defect("trades an hour behind in a recorded stream", "same_time", "block")
def _(day: Day) -> None:
    trades = _stretch(day, TRADE)
    day.rows["time_ms"][trades] -= 3_600_000


@defect("exchange time steps back by five seconds", "clock", "warn")
def _(day: Day) -> None:
    rows = _stretch(day)
    late = rows & (np.arange(len(rows)) % 11 == 0)
    day.rows["time_ms"][late] -= 5_000


@defect("local clock an hour ahead", "receive_clock", "warn", WHOLE)
def _(day: Day) -> None:
    known = day.rows["recv_ns"] >= 0
    day.rows["recv_ns"][known] += 3_600 * 10**9


@defect("local clock a minute behind", "receive_clock", "warn", WHOLE)
def _(day: Day) -> None:
    known = day.rows["recv_ns"] >= 0
    day.rows["recv_ns"][known] -= 60 * 10**9


@defect("messages arrive ten seconds late", "delay", "warn")
def _(day: Day) -> None:
    rows = _stretch(day) & (day.rows["recv_ns"] >= 0)
    day.rows["recv_ns"][rows] += 10 * 10**9


@defect("a price of zero", "possible_values", "block", "minute 40")
def _(day: Day) -> None:
    day.rows["price"][np.flatnonzero(_stretch(day, BOOK))[5]] = 0


@defect("a negative size", "possible_values", "block", "minute 40")
def _(day: Day) -> None:
    day.rows["size"][np.flatnonzero(_stretch(day, BOOK))[5]] = -3


@defect("trades without size", "possible_values", "block")
def _(day: Day) -> None:
    day.rows["size"][_stretch(day, TRADE)] = 0


@defect("a trade at ten times the price", "trade_outliers", "mask", "minute 40")
def _(day: Day) -> None:
    day.rows["price"][np.flatnonzero(_stretch(day, TRADE))[0]] *= 10


@defect("a trade larger than the largest order", "oversize", "mask", "minute 40")
def _(day: Day) -> None:
    day.rows["size"][np.flatnonzero(_stretch(day, TRADE))[0]] = SYNTHETIC.max_steps + 1


@defect("price 8 % higher for ten minutes", "jump", "mask", "minutes 40 and 50")
def _(day: Day) -> None:
    rows = _stretch(day)
    for side in (BID, ASK):
        _delete_side(day, side)
    rows = _stretch(day) & (day.rows["size"] > 0)
    day.rows["price"][rows] = day.rows["price"][rows] * 108 // 100


@defect("hardly any trades: most minutes without one", "trading", "warn", WHOLE)
def _(day: Day) -> None:
    day.keep(~(day.where(kind=TRADE) & (day.rows["time_ms"] % (3 * MINUTE_MS) >= MINUTE_MS)))


@defect("book of a tenth of the messages", "book_rate", "warn", WHOLE)
def _(day: Day) -> None:
    day.others["messages_an_hour"] = 10 * day_figures(measure(day), SYNTHETIC)["messages_an_hour"]


@defect("a new field in Bybit's messages", "known_form", "warn", WHOLE)
def _(day: Day) -> None:
    day.oddities.append(Oddity("new field", "orderbook data.x", 3, FROM_MS, FROM_MS))


@defect("a field of another type in Bybit's messages", "known_form", "warn", WHOLE)
def _(day: Day) -> None:
    day.oddities.append(Oddity("changed form", "Expected `int`, got `str` - at `$.data.u`", 9, FROM_MS, FROM_MS))


@defect("messages of a symbol under another name", "known_form", "warn", WHOLE)
def _(day: Day) -> None:
    day.oddities.append(Oddity("other symbol", "orderbook.200.NEWUSDT", 9, FROM_MS, FROM_MS))


def _matrix(day: Day) -> Bars:
    day.bars = clean_bars()
    return day.bars


@defect("feature columns in another order", "matrix_columns", "block", NONE)
def _(day: Day) -> None:
    _matrix(day)
    day.kept = (NAMES[1], NAMES[0], *NAMES[2:])


@defect("a feature column missing", "matrix_columns", "block", NONE)
def _(day: Day) -> None:
    _matrix(day)
    day.kept = NAMES[:-1]


@defect("matrix under another specification", "spec_hash", "block", NONE)
def _(day: Day) -> None:
    _matrix(day)
    day.same_spec = False


@defect("an infinite feature", "finite", "block", NONE)
def _(day: Day) -> None:
    _matrix(day).values[45, 3] = np.inf


@defect("a feature that never moves", "constant", "warn", NONE)
def _(day: Day) -> None:
    _matrix(day).values[:, 3] = 0.5


@defect("a feature missing in half the bars", "missing", "warn", NONE)
def _(day: Day) -> None:
    _matrix(day).values[::2, 3] = np.nan


@defect("a share above one", "bar_values", "mask")
def _(day: Day) -> None:
    _matrix(day).values[40:50, NAMES.index("taker_buy_ratio")] = 1.5


@defect("an impossible z-score", "bar_values", "mask")
def _(day: Day) -> None:
    _matrix(day).values[40:50, NAMES.index("volume_z")] = 9.0


@defect("holes filled in", "bar_holes", "block")
def _(day: Day) -> None:
    _matrix(day).valid[40:50] = False


@defect("a bar missing", "bar_order", "block", "minute 41")
def _(day: Day) -> None:
    day.bars = Bars.concat([clean_bars()[:40], clean_bars()[41:]])


def span(window: str) -> tuple[int, int]:
    """A window in words as minutes of the recording: first, and the one after the last."""
    words = [int(word) for word in window.replace(",", " ").split() if word.isdigit()]
    if window == WHOLE or not words:
        return 0, MINUTES
    if window.startswith("from"):
        return words[0], MINUTES
    return words[0], (words[1] if len(words) > 1 and " to " in window else words[-1] + 1)


def markdown() -> str:
    """The catalogue as a page."""
    lines = [
        "# Planted defects",
        "",
        f"{len(CATALOGUE)} defects are planted into a clean synthetic recording of {MINUTES} minutes, one at a time; "
        "each must be found by the check named here, at this severity, in this window, and nothing may be found in a "
        "clean one. *block* stops training on the day, *mask* takes the window out of it, *warn* is told. The page is "
        "written by the tests.",
        "",
        "| defect | found by | severity | window |",
        "|---|---|---|---|",
    ]
    lines += [f"| {one.name} | `{one.check}` | {one.action} | {one.window} |" for one in CATALOGUE]
    return "\n".join(lines) + "\n"
