"""First compiled stage: events in, raw aggregates of closed bars out.

Everything that the stage remembers lies in four arrays (`ints`, `floats`, and the book's `book` and `far`), so that a
state can be saved after any row and the next row cannot tell.

The shape of the book is looked at at regular instants, the multiples of `sample_ms`, and at the close of a bar; what
happens (order flow, additions, trades) counts event by event.

Bars by time end at multiples of the timeframe. A bar by activity is full with the trade that makes its measure reach
the threshold, and then ends with that trade's millisecond.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from features import _book, _metrics, _shape, _tape
from features._layout import (
    BAR_CLOSE,
    BAR_HIGH,
    BAR_LOW,
    BAR_OPEN,
    BAR_SUMS,
    BEST,
    BEST_DEPTH,
    BLOCK,
    BUY_VOLUME,
    CLOCK,
    CLOSE_MS,
    DIRTY,
    FAR_MS,
    FLOW_LAST,
    FLOW_SHARES,
    FLOW_SQUARES,
    FLOW_SUM,
    FRAMES,
    FRESH,
    FUNDING_RATE,
    HAD_BEST,
    HAD_TOP,
    HOLE_MS,
    KNOWN,
    LAST_BOOK,
    LAST_PRICE,
    LAST_TRADE,
    LEVEL_FLOW,
    LIQUIDATED,
    MEAN,
    METRICS,
    NEXT_FUNDING,
    NEXT_SAMPLE,
    NEXT_SECOND,
    NEXT_STOP,
    NO_WRAP,
    NOW,
    NOWHERE,
    OLD_ASK,
    OLD_ASK_SIZE,
    OLD_BID,
    OLD_BID_SIZE,
    OPEN_MS,
    PAIRED_MOVES,
    RAW_ASK,
    RAW_BID,
    RAW_CLOSE,
    RAW_CLOSE_MS,
    RAW_FLOW_LAST,
    RAW_FLOW_MEAN,
    RAW_FLOW_STD,
    RAW_FLOW_SUM,
    RAW_FRAMES,
    RAW_HIGH,
    RAW_LEVEL_FLOW,
    RAW_LOW,
    RAW_OPEN,
    RAW_OPEN_MS,
    RAW_RESET,
    RAW_SINCE_TRADE,
    RAW_SUMS,
    RAW_SUSPECT,
    RAW_TRADES,
    RAW_VOLUME,
    RESET,
    SAMPLED,
    SQUARES,
    SUSPECT,
    TOP,
    TOP_DEPTH,
    TRADES,
    TURNOVER,
    UNKNOWN,
    VOLUME,
    WEIGHT,
    helper,
    inlined,
    source_stamp,
)

_SOURCES = source_stamp("_layout", "_book", "_levels", "_metrics", "_shape", "_tape", "_events")

# Flags and kinds of market.events, spelled out: Numba freezes them as constants.
_BOOK, _TRADE, _TICKER, _LIQUIDATION = 0, 1, 3, 4
_SNAPSHOT, _FIRST, _LAST, _EMPTY = 1, 2, 4, 8

#: How bars are cut.
BY_TIME, BY_VOLUME, BY_TURNOVER, BY_IMBALANCE = 0, 1, 2, 3


@inlined
def _stand(ints, floats, book, far, looks, reach, metrics, until, levels, sample_ms):  # type: ignore[no-untyped-def]
    """The book stands still up to `until`: take the samples that fall due, and do what whole seconds ask for."""
    if until >= ints[NEXT_SAMPLE]:
        if ints[DIRTY] == 1:
            _shape.look(ints, floats, book, far, looks, reach, metrics, levels)
        count = (until - ints[NEXT_SAMPLE]) // sample_ms + 1
        _shape.sample(ints, floats, looks, metrics, count)
        ints[NEXT_SAMPLE] += count * sample_ms
    ints[CLOCK] = until
    if until >= ints[NEXT_SECOND]:
        _tape.seconds(ints, floats, book, until)


@helper
def _start_bar(ints, floats, open_ms, suspect):  # type: ignore[no-untyped-def]
    ints[OPEN_MS] = open_ms
    ints[SUSPECT] = suspect
    ints[RESET] = 0
    ints[VOLUME : TRADES + 1] = 0
    ints[FRAMES] = 0
    ints[BAR_SUMS:] = 0
    floats[MEAN : PAIRED_MOVES + 1] = 0.0
    floats[FLOW_LAST] = np.nan


@helper
def _begin(ints, floats, now, timeframe_ms, sample_ms, rule):  # type: ignore[no-untyped-def]
    """The first event. What came before it is unknown, so the first bar is never complete."""
    ints[CLOCK] = now
    open_ms = now // timeframe_ms * timeframe_ms if rule == BY_TIME else now
    _start_bar(ints, floats, open_ms, 1)
    ints[CLOSE_MS] = open_ms + timeframe_ms if rule == BY_TIME else FAR_MS
    ints[NEXT_SECOND] = (now // 1_000 + 1) * 1_000
    ints[NEXT_SAMPLE] = (now // sample_ms + 1) * sample_ms
    ints[NEXT_STOP] = min(ints[CLOSE_MS], ints[NEXT_SAMPLE], ints[NEXT_SECOND])


@helper
def _forget(ints):  # type: ignore[no-untyped-def]
    """A hole was met: the next stage starts cold, and the last price is no longer one."""
    ints[RESET] = 1
    ints[LAST_PRICE] = ints[LAST_TRADE] = -1
    ints[FUNDING_RATE] = ints[NEXT_FUNDING] = UNKNOWN


@helper
def _close_bar(  # type: ignore[no-untyped-def]
    ints, floats, book, close_ms, silent, stall_ms, raw_ints, raw_floats
):
    """Write the current bar to a row of raw bars."""
    traded = ints[TRADES] > 0
    raw_ints[RAW_OPEN_MS] = ints[OPEN_MS]
    raw_ints[RAW_CLOSE_MS] = close_ms
    raw_ints[RAW_OPEN] = ints[BAR_OPEN] if traded else ints[LAST_PRICE]
    raw_ints[RAW_HIGH] = ints[BAR_HIGH] if traded else ints[LAST_PRICE]
    raw_ints[RAW_LOW] = ints[BAR_LOW] if traded else ints[LAST_PRICE]
    raw_ints[RAW_CLOSE] = ints[BAR_CLOSE] if traded else ints[LAST_PRICE]
    for j in range(RAW_TRADES - RAW_VOLUME + 1):
        raw_ints[RAW_VOLUME + j] = ints[VOLUME + j]
    trusted = ints[KNOWN] == 1 and not silent
    raw_ints[RAW_BID] = -book[BEST] if trusted and book[BEST] != NOWHERE else -1
    raw_ints[RAW_ASK] = book[BLOCK + BEST] if trusted and book[BLOCK + BEST] != NOWHERE else -1
    raw_ints[RAW_SUSPECT] = ints[SUSPECT]
    raw_ints[RAW_RESET] = ints[RESET]
    raw_ints[RAW_FRAMES] = ints[FRAMES]
    raw_ints[RAW_SINCE_TRADE] = close_ms - ints[LAST_TRADE] if ints[LAST_TRADE] >= 0 else -1
    for j in range(LEVEL_FLOW - BAR_SUMS):
        raw_ints[RAW_SUMS + j] = ints[BAR_SUMS + j]

    weight = floats[WEIGHT]
    for j in range(METRICS):
        raw_floats[j] = floats[MEAN + j] if weight > 0.0 else np.nan
        raw_floats[METRICS + j] = math.sqrt(floats[SQUARES + j] / weight) if weight > 0.0 else np.nan
        raw_floats[2 * METRICS + j] = floats[NOW + j] if ints[FRESH] == 1 else np.nan
    frames = ints[FRAMES]
    mean = floats[FLOW_SHARES] / frames if frames > 0 else np.nan
    raw_floats[RAW_FLOW_MEAN] = mean
    spread = floats[FLOW_SQUARES] / frames - mean * mean if frames > 0 else np.nan
    raw_floats[RAW_FLOW_STD] = math.sqrt(max(spread, 0.0)) if frames > 0 else np.nan
    raw_floats[RAW_FLOW_LAST] = floats[FLOW_LAST]
    raw_floats[RAW_FLOW_SUM] = floats[FLOW_SUM] / floats[MEAN + BEST_DEPTH] if weight > 0.0 else np.nan
    for m in range(TOP):
        raw_floats[RAW_LEVEL_FLOW + m] = ints[LEVEL_FLOW + m] / floats[MEAN + TOP_DEPTH] if weight > 0.0 else np.nan
    _tape.show(ints, floats, book, close_ms, stall_ms, raw_floats)


@helper
def _advance(  # type: ignore[no-untyped-def]
    ints,
    floats,
    book,
    far,
    looks,
    reach,
    metrics,
    time_ms,
    timeframe_ms,
    levels,
    sample_ms,
    rule,
    stall_ms,
    raw_ints,
    raw_floats,
    done,
):
    """Move the clock to `time_ms`, closing the bars that end on the way; returns the number of closed bars."""
    if ints[CLOCK] < 0:
        _begin(ints, floats, time_ms, timeframe_ms, sample_ms, rule)
        return done
    silent = ints[KNOWN] == 1 and time_ms - ints[LAST_BOOK] > stall_ms
    if silent:
        ints[SUSPECT] = 1
    while time_ms >= ints[CLOSE_MS]:
        close_ms = ints[CLOSE_MS]
        _stand(ints, floats, book, far, looks, reach, metrics, close_ms, levels, sample_ms)
        if ints[DIRTY] == 1:
            _shape.look(ints, floats, book, far, looks, reach, metrics, levels)
        if floats[WEIGHT] == 0.0 and ints[SAMPLED] == 0:
            # A bar by activity can lie between two samples: then its end is one.
            _shape.sample(ints, floats, looks, metrics, 1)
        _metrics.settle(ints, floats, looks, metrics)
        if ints[LAST_BOOK] >= 0 and close_ms - ints[LAST_BOOK] > HOLE_MS:
            _forget(ints)
        _close_bar(ints, floats, book, close_ms, silent, stall_ms, raw_ints[done], raw_floats[done])
        done += 1
        _start_bar(ints, floats, close_ms, 1 if silent or ints[KNOWN] == 0 else 0)
        ints[CLOSE_MS] = close_ms + timeframe_ms if rule == BY_TIME else FAR_MS
    _stand(ints, floats, book, far, looks, reach, metrics, time_ms, levels, sample_ms)
    ints[NEXT_STOP] = min(ints[CLOSE_MS], ints[NEXT_SAMPLE], ints[NEXT_SECOND])
    return done


@inlined
def _full(ints, rule, threshold):  # type: ignore[no-untyped-def]
    """Whether the trade that was just counted fills a bar by activity."""
    if rule == BY_VOLUME:
        return ints[VOLUME] >= threshold
    if rule == BY_TURNOVER:
        return ints[TURNOVER] >= threshold
    return abs(2 * ints[BUY_VOLUME] - ints[VOLUME]) >= threshold


@inlined
def _order_flow(ints, floats, book):  # type: ignore[no-untyped-def]
    """Order-flow imbalance of the message that just ended (Cont, Kukanov and Stoikov 2014, equation 2)."""
    bid, ask = -book[BEST], book[BLOCK + BEST]
    if bid == -NOWHERE or ask == NOWHERE:
        ints[HAD_BEST] = 0
        return
    bid_size, ask_size = _book.best_size(book, 0), _book.best_size(book, BLOCK)
    if ints[HAD_BEST] == 1:
        flow = (bid_size if bid >= ints[OLD_BID] else 0) - (ints[OLD_BID_SIZE] if bid <= ints[OLD_BID] else 0)
        flow += (ints[OLD_ASK_SIZE] if ask >= ints[OLD_ASK] else 0) - (ask_size if ask <= ints[OLD_ASK] else 0)
        share = flow / (bid_size + ints[OLD_BID_SIZE] + ask_size + ints[OLD_ASK_SIZE])
        ints[FRAMES] += 1
        floats[FLOW_SHARES] += share
        floats[FLOW_SQUARES] += share * share
        floats[FLOW_LAST] = share
        floats[FLOW_SUM] += flow
    ints[HAD_BEST] = 1
    ints[OLD_BID], ints[OLD_BID_SIZE], ints[OLD_ASK], ints[OLD_ASK_SIZE] = bid, bid_size, ask, ask_size


@inlined
def _trade(ints, side, price, size):  # type: ignore[no-untyped-def]
    if ints[TRADES] == 0:
        ints[BAR_OPEN] = ints[BAR_HIGH] = ints[BAR_LOW] = price
    ints[BAR_HIGH] = max(ints[BAR_HIGH], price)
    ints[BAR_LOW] = min(ints[BAR_LOW], price)
    ints[BAR_CLOSE] = ints[LAST_PRICE] = price
    ints[VOLUME] += size
    if side == 0:
        ints[BUY_VOLUME] += size
    ints[TURNOVER] += price * size
    ints[TRADES] += 1


def _compile(sources: str):  # type: ignore[no-untyped-def]
    @njit(cache=True, error_model="numpy", _nrt=False)
    def run(  # type: ignore[no-untyped-def]
        kind, flags, side, time_ms, price, size, row, ints, floats, book, far, looks, reach, metrics,
        timeframe_ms, levels, sample_ms, stall_ms, rule, threshold, raw_ints, raw_floats, done,
    ):  # fmt: skip
        sources  # noqa: B018 - part of the cache's key, see source_stamp
        rows, row = len(kind), row & NO_WRAP
        while row < rows:
            i = row & NO_WRAP
            row = i + 1
            what = kind[i]
            if what >= _TICKER:
                if what == _TICKER:
                    _tape.ticker(ints, side[i], price[i])
                elif what == _LIQUIDATION:
                    ints[LIQUIDATED + (1 if side[i] else 0)] += size[i]
                continue
            now = time_ms[i]
            if now > ints[CLOCK] and now > 0:
                if now >= ints[NEXT_STOP] or now - ints[LAST_BOOK] > stall_ms:
                    done = _advance(
                        ints, floats, book, far, looks, reach, metrics, now, timeframe_ms, levels, sample_ms, rule,
                        stall_ms, raw_ints, raw_floats, done,
                    )  # fmt: skip
                else:
                    ints[CLOCK] = now
            if what == _BOOK:
                mark = flags[i]
                if mark & _FIRST and mark & _SNAPSHOT:
                    ints[KNOWN] = 1
                    _book.clear(book)
                if ints[KNOWN] == 0:
                    continue
                if not mark & _EMPTY:
                    # The rows of a message in one go: nothing but the book changes from one to the next.
                    clock, form = ints[CLOCK], mark & (_SNAPSHOT | _EMPTY)
                    while True:
                        own = 1 if side[i] else 0
                        held, moved = _book.change(book, far, own, price[i], size[i])
                        if not held:
                            return i, done
                        if not form:
                            _tape.changed(ints, own, moved)
                        if mark & _LAST or row >= rows:
                            break
                        following = flags[row & NO_WRAP]
                        if (
                            kind[row & NO_WRAP] != _BOOK
                            or following & (_SNAPSHOT | _EMPTY | _FIRST) != form
                            or time_ms[row & NO_WRAP] > clock
                        ):
                            break
                        i, mark = row & NO_WRAP, following
                        row = i + 1
                if ints[CLOCK] > ints[LAST_BOOK]:
                    if ints[LAST_BOOK] >= 0 and ints[CLOCK] - ints[LAST_BOOK] > HOLE_MS:
                        _forget(ints)
                    ints[LAST_BOOK] = ints[CLOCK]
                if mark & _LAST:
                    ints[DIRTY] = 1
                    _tape.ended(ints)
                    _order_flow(ints, floats, book)
            elif what == _TRADE:
                _trade(ints, side[i], price[i], size[i])
                _tape.trade(ints, floats, book, side[i], price[i], size[i])
                if rule != BY_TIME and ints[CLOSE_MS] == FAR_MS and _full(ints, rule, threshold):
                    ints[CLOSE_MS] = ints[CLOCK] + 1
                    ints[NEXT_STOP] = min(ints[NEXT_STOP], ints[CLOSE_MS])
            else:
                ints[KNOWN] = ints[DIRTY] = ints[FRESH] = ints[HAD_BEST] = ints[HAD_TOP] = 0
                ints[SUSPECT] = 1
                _tape.gap(ints, floats)
        return rows, done

    return run


#: Consume events from `row` on. Returns the next row, which is short of the end when `far` needs more room, and the
#: number of closed bars, written to `raw_ints` and `raw_floats`.
run = _compile(_SOURCES)
