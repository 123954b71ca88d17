"""Values that came with the second catalogue: price impact, liquidity and positioning; part of the second stage.

Windows follow the rules of the first ones: a ring has one slot a bar of time, and a value needs its window's time and
three quarters of it known. Where two series meet, both must be known.
"""

from __future__ import annotations

import math

import numpy as np

from features import _layout as raw

#: Buckets of the VPIN.
BUCKETS = 50
#: Power iterations towards the first principal component of the levels' order flows.
ITERATIONS = 16
WINDOWS = (4, 12, 48)

# --- series of the ring, after those of features._indicators ------------------------------------------------
SIGNED, FRAMES, LOG_MICROPRICE, OPEN_INTEREST, LONGS, SHORTS, LEVEL_FLOW = 7, 8, 9, 10, 11, 12, 13
SERIES = LEVEL_FLOW + raw.TOP

# --- the VPIN's state: size of the open bucket (NaN: none), what is in it, how much more was bought than sold, how
# --- many buckets were closed, and the imbalances of the last ones
SIZE, FILLED, BOUGHT, COUNT, CLOSED = 0, 1, 2, 3, 4
VPIN_STATE = CLOSED + BUCKETS

# --- values: columns after those of features._indicators, in the order of features.catalogue ---------------------
BOOK_METRICS = 6  # pressures and weighted mids: mean and last
OFI = 2 * BOOK_METRICS  # 5 levels, 10 levels, integrated
ADDITIONS = OFI + 3
CANCELLATIONS = OFI + 5
RESILIENCE = OFI + 7
SIGN_AUTOCORRELATION = OFI + 8
SIGNED_VOLUME = OFI + 9  # three of them
KYLE, AMIHUD, ROLL = OFI + 12, OFI + 13, OFI + 14
EFFECTIVE, REALISED, VPIN = OFI + 15, OFI + 16, OFI + 17
VOLATILITY, BIPOWER, JUMPS = OFI + 18, OFI + 19, OFI + 20
MOMENTUM = OFI + 21  # two of them
TRADE_INTENSITY, QUOTE_INTENSITY, QUOTES_PER_TRADE = OFI + 23, OFI + 24, OFI + 25
SINCE_TRADE = OFI + 26
FUNDING, TO_FUNDING = OFI + 27, OFI + 28
INTEREST_CHANGE = OFI + 29  # two of them
BASIS, LIQUIDATIONS = OFI + 31, OFI + 32
CALENDAR = OFI + 33  # sine and cosine of the day, then of the week
VALUES = CALENDAR + 4

_DAY_MS = 86_400_000.0


@raw.helper
def remember(row, book, valid, ring, slot):  # type: ignore[no-untyped-def]
    """Take in one raw bar."""
    ring[SIGNED, slot] = 2.0 * row[raw.RAW_BUY_VOLUME] - row[raw.RAW_VOLUME] if valid else np.nan
    ring[FRAMES, slot] = row[raw.RAW_FRAMES] if valid else np.nan
    ring[LOG_MICROPRICE, slot] = book[raw.RAW_LOG_MICROPRICE] if valid else np.nan
    ring[OPEN_INTEREST, slot] = book[raw.RAW_OPEN_INTEREST] if valid else np.nan
    ring[LONGS, slot] = row[raw.RAW_LIQUIDATED] if valid else np.nan
    ring[SHORTS, slot] = row[raw.RAW_LIQUIDATED + 1] if valid else np.nan
    for m in range(raw.TOP):
        ring[LEVEL_FLOW + m, slot] = book[raw.RAW_LEVEL_FLOW + m] if valid else np.nan


@raw.helper
def fill_buckets(row, vpin, usual):  # type: ignore[no-untyped-def]
    """Spread a valid bar's volume over buckets of equal volume; `usual` is the size of those that open now."""
    left = float(row[raw.RAW_VOLUME])
    if left == 0.0:
        return
    excess = (2.0 * row[raw.RAW_BUY_VOLUME] - left) / left
    if math.isnan(vpin[SIZE]):
        vpin[SIZE] = usual
    while left > 0.0 and vpin[SIZE] > 0.0:
        missing = vpin[SIZE] - vpin[FILLED]
        if left < missing:
            vpin[FILLED] += left
            vpin[BOUGHT] += left * excess
            return
        left -= missing
        bought = vpin[BOUGHT] + missing * excess
        vpin[CLOSED + int(vpin[COUNT]) % BUCKETS] = abs(bought) / vpin[SIZE]
        vpin[COUNT] += 1.0
        vpin[SIZE], vpin[FILLED], vpin[BOUGHT] = usual, 0.0, 0.0


@raw.helper
def _known(series, at, window, age):  # type: ignore[no-untyped-def]
    """Sum and number of the known among the last slots; the number is 0 when the window has not passed."""
    total, count = 0.0, 0
    if age >= window:
        for back in range(window):
            value = series[at - back]  # negative indices wrap: slots of a ring
            if not math.isnan(value):
                total += value
                count += 1
    return total, count


@raw.helper
def _share(part, whole, at, window, age):  # type: ignore[no-untyped-def]
    """Sum of one series over the sum of another one."""
    above, count = _known(part, at, window, age)
    below, _ = _known(whole, at, window, age)
    return above / below if 4 * count >= 3 * window and below > 0.0 else np.nan


@raw.helper
def _impact(returns, signed, volume, at, window, age):  # type: ignore[no-untyped-def]
    """Kyle's lambda and Amihud's ratio, in bps a bar of mean volume."""
    count = traded = 0
    sum_return = sum_signed = sum_volume = sum_ratio = sum_traded = 0.0
    if age >= window:
        for back in range(window):
            move, flow, size = returns[at - back], signed[at - back], volume[at - back]
            if not math.isnan(move + flow):
                count += 1
                sum_return += move
                sum_signed += flow
                sum_volume += size
                if size > 0.0:
                    traded += 1
                    sum_ratio += abs(move) / size
                    sum_traded += size
    kyle = amihud = np.nan
    if 4 * count >= 3 * window and count > 0:
        mean_return, mean_signed = sum_return / count, sum_signed / count
        both = squares = 0.0
        for back in range(window):
            move, flow = returns[at - back], signed[at - back]
            if not math.isnan(move + flow):
                both += (move - mean_return) * (flow - mean_signed)
                squares += (flow - mean_signed) ** 2
        if squares > 0.0:
            kyle = 1e4 * both / squares * (sum_volume / count)
    if 4 * traded >= 3 * window and traded > 0:
        amihud = 1e4 * (sum_ratio / traded) * (sum_traded / traded)
    return kyle, amihud


@raw.helper
def _roll(returns, at, window, age):  # type: ignore[no-untyped-def]
    """Roll's spread in bps; negative where returns follow each other instead of turning."""
    total, count = _known(returns, at, window, age)
    if 4 * count < 3 * window or count == 0:
        return np.nan
    mean = total / count
    both, pairs = 0.0, 0
    for back in range(window - 1):
        now, before = returns[at - back], returns[at - back - 1]
        if not math.isnan(now + before):
            both += (now - mean) * (before - mean)
            pairs += 1
    if 4 * pairs < 3 * window:
        return np.nan
    covariance = both / pairs
    return math.copysign(2e4 * math.sqrt(abs(covariance)), -covariance)


@raw.helper
def _integrated(flows, at, window, age, room):  # type: ignore[no-untyped-def]
    """The levels' order flows, weighted by their first principal component within the window.

    `room` holds the levels' differences from their means, their covariances, the component and its image.
    """
    size = raw.TOP
    away, covariance = room[:size], room[size : 2 * size]
    weights, image = room[2 * size], room[2 * size + 1]
    for m in range(size):
        total, count = _known(flows[m], at, window, age)
        if 4 * count < 3 * window or count == 0:
            return np.nan
        mean = total / count
        for back in range(window):
            value = flows[m, at - back]
            away[m, back] = 0.0 if math.isnan(value) else value - mean
    for m in range(size):
        for k in range(m + 1):
            both = 0.0
            for back in range(window):
                both += away[m, back] * away[k, back]
            covariance[m, k] = covariance[k, m] = both
    for m in range(size):
        weights[m] = 1.0 / size
    for _ in range(ITERATIONS):
        length = 0.0
        for m in range(size):
            total = 0.0
            for k in range(size):
                total += covariance[m, k] * weights[k]
            image[m] = total
            length += abs(total)
        if not length > 0.0:
            return np.nan
        for m in range(size):
            weights[m] = image[m] / length
    flow = direction = 0.0
    for m in range(size):
        flow += weights[m] * flows[m, at]
        direction += weights[m]
    return flow if direction >= 0.0 else -flow


@raw.helper
def _log_share(value, series, at, window, age):  # type: ignore[no-untyped-def]
    """ln of a value over the mean of its series."""
    total, count = _known(series, at, window, age)
    if 4 * count < 3 * window or not total > 0.0 or not value > 0.0:
        return np.nan
    return math.log(value / (total / count))


@raw.helper
def _show_flow(row, book, ring, slot, age, room, out):  # type: ignore[no-untyped-def]
    """What was added, taken and cancelled."""
    for j in range(BOOK_METRICS):
        out[2 * j] = book[raw.PRESSURE + j]
        out[2 * j + 1] = book[2 * raw.METRICS + raw.PRESSURE + j]
    flow = 0.0
    for m in range(raw.TOP):
        flow += book[raw.RAW_LEVEL_FLOW + m]
        if m == 4:
            out[OFI] = flow
    out[OFI + 1] = flow
    out[OFI + 2] = _integrated(ring[LEVEL_FLOW:], slot, np.int64(48), age, room)
    volume, bought = row[raw.RAW_VOLUME], row[raw.RAW_BUY_VOLUME]
    depth = math.exp(book[raw.LOG_DEPTH])
    added_b, added_a = row[raw.RAW_ADDED], row[raw.RAW_ADDED + 1]
    cancelled_b = row[raw.RAW_REMOVED] - (volume - bought)
    cancelled_a = row[raw.RAW_REMOVED + 1] - bought
    out[ADDITIONS] = (added_b + added_a) / depth
    out[ADDITIONS + 1] = (added_b - added_a) / (added_b + added_a)
    out[CANCELLATIONS] = (cancelled_b + cancelled_a) / depth
    out[CANCELLATIONS + 1] = (cancelled_b - cancelled_a) / (abs(cancelled_b) + abs(cancelled_a))
    out[RESILIENCE] = row[raw.RAW_REFILLED] / volume if volume > 0 else np.nan


@raw.helper
def show(row, book, ring, returns, volume, trades, slot, age, vpin, room, out):  # type: ignore[no-untyped-def]
    """Write the values of a valid bar, after it was taken in."""
    _show_flow(row, book, ring, slot, age, room, out)
    pairs = row[raw.RAW_PAIRS]
    out[SIGN_AUTOCORRELATION] = row[raw.RAW_AGREEING] / pairs if pairs > 0 else np.nan
    for j in range(3):
        out[SIGNED_VOLUME + j] = _share(ring[SIGNED], volume, slot, WINDOWS[j], age)
    # Not literals, for which Numba would compile the helpers once more each.
    long = np.int64(48)
    out[KYLE], out[AMIHUD] = _impact(returns, ring[SIGNED], volume, slot, long, age)
    out[ROLL] = _roll(returns, slot, long, age)
    out[EFFECTIVE], out[REALISED] = book[raw.RAW_EFFECTIVE], book[raw.RAW_REALISED]
    if vpin[COUNT] >= BUCKETS:
        total = 0.0
        for j in range(BUCKETS):
            total += vpin[CLOSED + (int(vpin[COUNT]) + j) % BUCKETS]
        out[VPIN] = total / BUCKETS
    out[VOLATILITY], out[BIPOWER], out[JUMPS] = (
        book[raw.RAW_VOLATILITY],
        book[raw.RAW_BIPOWER],
        book[raw.RAW_JUMPS],
    )
    price = ring[LOG_MICROPRICE]
    out[MOMENTUM] = 1e4 * (price[slot] - price[slot - 1])
    out[MOMENTUM + 1] = 1e4 * (price[slot] - price[slot - 12])
    made, frames = float(row[raw.RAW_TRADES]), float(row[raw.RAW_FRAMES])
    out[TRADE_INTENSITY] = _log_share(made, trades, slot, long, age)
    out[QUOTE_INTENSITY] = _log_share(frames, ring[FRAMES], slot, long, age)
    out[QUOTES_PER_TRADE] = math.log(frames / made) if frames > 0.0 and made > 0.0 else np.nan
    since, length = row[raw.RAW_SINCE_TRADE], row[raw.RAW_CLOSE_MS] - row[raw.RAW_OPEN_MS]
    out[SINCE_TRADE] = since / length if since >= 0 else np.nan
    out[FUNDING], out[TO_FUNDING] = book[raw.RAW_FUNDING], book[raw.RAW_TO_FUNDING]
    interest = ring[OPEN_INTEREST]
    out[INTEREST_CHANGE] = 1e4 * (interest[slot] - interest[slot - 1])
    out[INTEREST_CHANGE + 1] = 1e4 * (interest[slot] - interest[slot - 12])
    out[BASIS] = book[raw.RAW_BASIS]
    longs, counted = _known(ring[LONGS], slot, long, age)
    shorts, _ = _known(ring[SHORTS], slot, long, age)
    if 4 * counted >= 3 * long and longs + shorts > 0.0:
        out[LIQUIDATIONS] = (longs - shorts) / (longs + shorts)
    day = 2.0 * math.pi * (row[raw.RAW_CLOSE_MS] / _DAY_MS)
    out[CALENDAR], out[CALENDAR + 1] = math.sin(day), math.cos(day)
    # 1970 began on a Thursday.
    week = 2.0 * math.pi * ((row[raw.RAW_CLOSE_MS] / _DAY_MS + 3.0) / 7.0)
    out[CALENDAR + 2], out[CALENDAR + 3] = math.sin(week), math.cos(week)
