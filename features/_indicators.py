"""Second compiled stage: raw bars in, feature values out.

It remembers what needs more than one bar: smoothed values, and rings with one slot a bar of *time* (an unknown bar
takes its slot as NaN). Three arrays hold the whole state (`ints`, `floats`, `ring`) and one the volume-weighted
prices (`turnover`); `vpin` holds the open and the last buckets of the VPIN.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from features import _history
from features import _layout as raw

#: Slots of the rings, which is the window of the z-scores and the long window of the regimes, in bars.
LONG = 48
#: Rows of the working space.
ROOM = 2 + 2 * raw.TOP
#: Short window of the regimes, in bars.
SHORT = 12
BOLLINGER = 20

# --- ring: one row a series ---------------------------------------------------------------------------------
CLOSE, RETURN, VOLUME, TRADES, BUY_RATIO, LOG_DEPTH, DEPTH_RATIO = 0, 1, 2, 3, 4, 5, 6
SERIES = _history.SERIES

# --- smoothed values ----------
EMA_9, EMA_21, EMA_50, ATR, GAIN, LOSS = 0, 1, 2, 3, 4, 5
SMOOTHED = 6
_PERIOD = np.array([9, 21, 50, 14, 14, 14])
_WEIGHT = np.array([2 / 10, 2 / 22, 2 / 51, 1 / 14, 1 / 14, 1 / 14])
# The largest weight of an input after unknown bars. ATR, gain and loss are averages of what one bar did: after an
# outage one bar must never stand for them alone.
_MOST = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])

# --- ints: the state ----------------------------------------------------------------------------------------
AGE = 0  # bars since the first valid one after a reset, that one included; 0 before
COUNTS = 1  # inputs that each smoothed value has seen
SKIPPED = COUNTS + SMOOTHED  # unknown bars since its last input
SHORT_SUMS = SKIPPED + SMOOTHED  # volume, turnover and known bars of the last 4 h
LONG_SUMS = SHORT_SUMS + 3  # and of the last 24 h
INTS = LONG_SUMS + 3

# --- floats: the state --------------------------------------------------------------------------------------
INPUT = SMOOTHED  # after the smoothed values as they are kept: their inputs at the current bar
OUTPUT = 2 * SMOOTHED  # and what they show: NaN until warm
PREVIOUS_CLOSE = 3 * SMOOTHED  # NaN when the bar before is unknown
FLOATS = PREVIOUS_CLOSE + 1

# --- values: columns, in the order of features.catalogue ----------------------------------------------------
LEVEL_METRICS = 15  # metrics with mean, standard deviation and last value as they are
DEPTH_Z = 3 * LEVEL_METRICS
DEPTH_STD = DEPTH_Z + 1
DEPTH_LAST = DEPTH_Z + 2
FLOW = DEPTH_Z + 3  # mean, std, last, sum
TAKER_BUY = FLOW + 4
TAKER_BUY_Z = TAKER_BUY + 1
VOLUME_Z = TAKER_BUY + 2
TRADE_COUNT_Z = TAKER_BUY + 3
VWAP_4H = TAKER_BUY + 4
VWAP_24H = TAKER_BUY + 5
ATR_BPS = TAKER_BUY + 6
EMA_DISTANCE = TAKER_BUY + 7  # three of them
RSI = TAKER_BUY + 10
BOLLINGER_B = TAKER_BUY + 11
VOLUME_REGIME = TAKER_BUY + 12
VOLATILITY_REGIME = TAKER_BUY + 13
DIVERGENCE = TAKER_BUY + 14
DOMINANCE = TAKER_BUY + 15
HISTORY = TAKER_BUY + 16
VALUES = HISTORY + _history.VALUES


@raw.helper
def _smooth(ints, floats):  # type: ignore[no-untyped-def]
    """Exponential smoothing of all inputs, seeded by the mean of the first ones; NaN until then.

    An input after k unknown bars weighs 1 - (1 - weight)^(k + 1): an outage counts as the time it took.
    """
    for j in range(SMOOTHED):
        value, count, skipped = floats[INPUT + j], ints[COUNTS + j], ints[SKIPPED + j]
        if math.isnan(value):
            ints[SKIPPED + j] += 1
        else:
            if count < _PERIOD[j]:
                share = 1.0 / (count + 1)
                ints[COUNTS + j] = count + 1
            elif skipped == 0:
                share = _WEIGHT[j]
            else:
                share = max(_WEIGHT[j], min(_MOST[j], 1.0 - (1.0 - _WEIGHT[j]) ** (skipped + 1)))
            floats[j] += share * (value - floats[j])
            ints[SKIPPED + j] = 0
        floats[OUTPUT + j] = floats[j] if ints[COUNTS + j] >= _PERIOD[j] else np.nan


@raw.helper
def _moments(series, at, window, age):  # type: ignore[no-untyped-def]
    """Mean and standard deviation of the last `window` slots; NaN unless that time has passed and 3/4 is known.

    Sums are of differences from the newest known value, so that a constant series has exactly no deviation.
    """
    if age < window:
        return np.nan, np.nan
    known = 0
    origin = total = 0.0
    for back in range(window):
        value = series[at - back]  # negative indices wrap: slots of a ring
        if not math.isnan(value):
            if known == 0:
                origin = value
            total += value - origin
            known += 1
    if 4 * known < 3 * window:
        return np.nan, np.nan
    mean = total / known
    squares = 0.0
    for back in range(window):
        value = series[at - back]
        if not math.isnan(value):
            squares += (value - origin - mean) ** 2
    return origin + mean, math.sqrt(squares / known)


@raw.helper
def _z(series, at, window, age):  # type: ignore[no-untyped-def]
    mean, std = _moments(series, at, window, age)
    return (series[at] - mean) / std if std > 0.0 else np.nan


@raw.helper
def _rms(series, at, window, age):  # type: ignore[no-untyped-def]
    mean, std = _moments(series, at, window, age)
    return math.sqrt(mean * mean + std * std)


@raw.helper
def _log_ratio(above, below):  # type: ignore[no-untyped-def]
    return math.log(above / below) if above > 0.0 and below > 0.0 else np.nan


@raw.helper
def _turn(ints, turnover, sums, slot, window, volume, turned, known):  # type: ignore[no-untyped-def]
    """Slide one volume-weighted price by a bar; integers, so nothing drifts."""
    old = slot - window  # negative indices wrap
    ints[sums] += volume - turnover[0, old]
    ints[sums + 1] += turned - turnover[1, old]
    ints[sums + 2] += known - turnover[2, old]


@raw.helper
def _vwap_distance(ints, sums, window, close):  # type: ignore[no-untyped-def]
    if ints[AGE] < window or 4 * ints[sums + 2] < 3 * window or ints[sums] == 0:
        return np.nan
    vwap = ints[sums + 1] / ints[sums]
    return 1e4 * (close - vwap) / vwap


@raw.helper
def _reset(ints, floats, ring, turnover, vpin):  # type: ignore[no-untyped-def]
    ints[:] = 0
    floats[:] = 0.0
    floats[PREVIOUS_CLOSE] = np.nan
    ring[:] = np.nan
    turnover[:] = 0
    vpin[:] = 0.0
    vpin[_history.SIZE] = np.nan


@raw.helper
def _remember(  # type: ignore[no-untyped-def]
    row, book, valid, ints, floats, ring, turnover, vpin, short_window, long_window
):
    """Take in one raw bar; what is not valid is unknown, yet takes its time."""
    slot, wide = ints[AGE] % LONG, ints[AGE] % turnover.shape[1]
    ints[AGE] += 1
    close = np.float64(row[raw.RAW_CLOSE]) if valid and row[raw.RAW_CLOSE] > 0 else np.nan
    high, low = np.float64(row[raw.RAW_HIGH]), np.float64(row[raw.RAW_LOW])
    before = floats[PREVIOUS_CLOSE]
    floats[PREVIOUS_CLOSE] = close
    if not math.isnan(before):
        high, low = max(high, before), min(low, before)
    change = close - before
    known = 1 if valid else 0
    volume, turned = known * row[raw.RAW_VOLUME], known * row[raw.RAW_TURNOVER]

    ring[CLOSE, slot] = close
    ring[RETURN, slot] = math.log(close / before)
    ring[VOLUME, slot] = row[raw.RAW_VOLUME] if valid else np.nan
    ring[TRADES, slot] = row[raw.RAW_TRADES] if valid else np.nan
    ring[BUY_RATIO, slot] = row[raw.RAW_BUY_VOLUME] / volume if volume > 0 else np.nan
    ring[LOG_DEPTH, slot] = book[raw.LOG_DEPTH] if valid else np.nan
    ring[DEPTH_RATIO, slot] = book[raw.DEPTH_LOG_RATIO] if valid else np.nan
    _turn(ints, turnover, SHORT_SUMS, wide, short_window, volume, turned, known)
    _turn(ints, turnover, LONG_SUMS, wide, long_window, volume, turned, known)
    turnover[0, wide], turnover[1, wide], turnover[2, wide] = volume, turned, known

    _history.remember(row, book, valid, ring, slot)
    if valid:
        usual, _ = _moments(ring[VOLUME], slot, np.int64(LONG), ints[AGE])
        _history.fill_buckets(row, vpin, usual)

    floats[INPUT + EMA_9] = floats[INPUT + EMA_21] = floats[INPUT + EMA_50] = close
    floats[INPUT + ATR] = np.nan if math.isnan(close) else high - low
    floats[INPUT + GAIN] = np.nan if math.isnan(change) else max(change, 0.0)
    floats[INPUT + LOSS] = np.nan if math.isnan(change) else max(-change, 0.0)
    _smooth(ints, floats)


@raw.helper
def _show(  # type: ignore[no-untyped-def]
    row, book, ints, floats, ring, vpin, room, short_window, long_window, out
):
    """Write the values of a valid bar, after it was taken in."""
    age = ints[AGE]
    slot = (age - 1) % LONG
    # Not literals, for which Numba would compile the helpers once more each.
    short, long, bands = np.int64(SHORT), np.int64(LONG), np.int64(BOLLINGER)
    close, volume = ring[CLOSE, slot], row[raw.RAW_VOLUME]
    for j in range(LEVEL_METRICS):
        for part in range(3):
            out[3 * j + part] = book[part * raw.METRICS + j]
    out[DEPTH_Z] = _z(ring[LOG_DEPTH], slot, long, age)
    out[DEPTH_STD] = book[raw.METRICS + raw.LOG_DEPTH]
    out[DEPTH_LAST] = book[2 * raw.METRICS + raw.LOG_DEPTH] - book[raw.LOG_DEPTH]
    for part in range(4):
        out[FLOW + part] = book[raw.RAW_FLOW_MEAN + part]
    out[TAKER_BUY] = ring[BUY_RATIO, slot]
    out[TAKER_BUY_Z] = _z(ring[BUY_RATIO], slot, long, age)
    out[VOLUME_Z] = _z(ring[VOLUME], slot, long, age)
    out[TRADE_COUNT_Z] = _z(ring[TRADES], slot, long, age)
    out[VWAP_4H] = _vwap_distance(ints, SHORT_SUMS, short_window, close)
    out[VWAP_24H] = _vwap_distance(ints, LONG_SUMS, long_window, close)
    out[ATR_BPS] = 1e4 * floats[OUTPUT + ATR] / close
    for j in range(3):
        ema = floats[OUTPUT + EMA_9 + j]
        out[EMA_DISTANCE + j] = 1e4 * (close - ema) / ema
    gain, loss = floats[OUTPUT + GAIN], floats[OUTPUT + LOSS]
    if gain + loss > 0.0:
        out[RSI] = 100.0 * gain / (gain + loss)
    mean, std = _moments(ring[CLOSE], slot, bands, age)
    if std > 0.0:
        out[BOLLINGER_B] = (close - (mean - 2.0 * std)) / (4.0 * std)
    recent, _ = _moments(ring[VOLUME], slot, short, age)
    usual, _ = _moments(ring[VOLUME], slot, long, age)
    out[VOLUME_REGIME] = _log_ratio(recent, usual)
    out[VOLATILITY_REGIME] = _log_ratio(_rms(ring[RETURN], slot, short, age), _rms(ring[RETURN], slot, long, age))
    out[DIVERGENCE] = _z(ring[RETURN], slot, long, age) - _z(ring[DEPTH_RATIO], slot, long, age)
    depth = math.exp(book[raw.LOG_DEPTH])
    out[DOMINANCE] = depth / (depth + volume)
    _history.show(
        row, book, ring, ring[RETURN], ring[VOLUME], ring[TRADES], slot, age, vpin, room, out[HISTORY:]
    )  # fmt: skip


def _compile(sources: str):  # type: ignore[no-untyped-def]
    @njit(cache=True, error_model="numpy", _nrt=False)
    def run(  # type: ignore[no-untyped-def]
        raw_ints, raw_floats, ints, floats, ring, turnover, vpin, room, short_window, long_window, values, atr
    ):
        sources  # noqa: B018 - part of the cache's key, see source_stamp
        for n in range(len(raw_ints)):
            row, book, out = raw_ints[n], raw_floats[n], values[n]
            valid = row[raw.RAW_SUSPECT] == 0
            out[:] = np.nan
            atr[n] = np.nan
            if row[raw.RAW_RESET] == 1:
                _reset(ints, floats, ring, turnover, vpin)
            if valid or ints[AGE] > 0:
                _remember(row, book, valid, ints, floats, ring, turnover, vpin, short_window, long_window)
            if valid:
                atr[n] = floats[OUTPUT + ATR]
                _show(row, book, ints, floats, ring, vpin, room, short_window, long_window, out)

    return run


#: Fill `values` [n, VALUES] and `atr` [n] for n raw bars; `short_window` and `long_window` are 4 h and 24 h in bars,
#: `room` is working space, [ROOM, LONG].
run = _compile(raw.source_stamp("_layout", "_history", "_indicators"))
