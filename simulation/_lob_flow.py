"""Order flow around a latent efficient price, compiled.

Zero-intelligence flow in the sense of Farmer, Patelli and Zovko (2005) and Cont, Stoikov and Talreja (2010): limit
orders, market orders and cancellations arrive as Poisson processes, limit prices at power-law distances from the
price (Zovko and Farmer 2002). What anchors the book is an efficient price with stochastic volatility: quotes that it
has left behind are cancelled or taken, and the side that it moves away from is refilled.

The latent processes have a random stream and a time grid of their own, so that no order of anyone changes them:

- efficient price `v`: geometric random walk, volatility ``volatility * exp(x - vol_sd**2)`` a square-root minute;
- log volatility `x` and pressure `s`: Ornstein-Uhlenbeck, standard deviation `vol_sd` and 1;
- `s` always tilts sides and sizes of the order flow, and drives `v` by ``signal * edge * volatility * s`` a minute.

The hour of the day multiplies volatility and all arrivals by ``exp(season * shape)``, where the shape has its top at
15 h UTC and its bottom at night, as in the markets of Hansen, Kim and Kimbrough (2021); `season` 0 leaves the day flat.

Some takers do not trade by their own will. Leveraged positions are thought to have been opened at the efficient price's
average of the last `entry_minutes`, and to be liquidated at distances from it that are distributed exponentially with
mean `liquidation_distance` (a leverage of n is liquidated at about 1/n). So the share of takers that are liquidations
is ``liquidation_share * (1 - exp(-m / liquidation_distance))`` on the side that a move of m has hurt; with `cascade`
they send more orders than there would be, that many a second at full hazard (Brunnermeier and Pedersen 2009). What is a
liquidation is drawn from a third random stream: without `cascade`, nobody's orders depend on it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from simulation._lob import (
    BACKGROUND,
    BEST_ASK,
    BEST_BID,
    DEEPEST,
    DEPTH,
    F_DEPTH,
    F_NEXT,
    F_ON,
    F_PUSH,
    FEEDS,
    FILLS,
    HEAD,
    LATENT_STEPS,
    LIQUIDATIONS,
    LIVE,
    LIVE_LIST,
    N_ASKS,
    N_BIDS,
    N_FILLS,
    N_LIQUIDATED,
    N_ROWS,
    NEXT,
    NEXT_LATENT_MS,
    NOW_MS,
    OWNER,
    Q_PRICE,
    Q_SIDE,
    Q_SIZE,
    Q_TIME,
    RING,
    ROWS,
    TRIGGERED,
    add,
    inner,
    is_due,
    publish,
    publish_best,
    remove,
    take,
)

# Slots of the float state: latent values, then parameters.
V, X, S, NEXT_EVENT, SEASON, ENTRY = range(6)
(
    P_SIGNAL, P_EDGE, P_VOL, P_VOL_SD, P_VOL_TAU, P_S_TAU, P_LIMIT, P_MARKET, P_CANCEL, P_SIDE_TILT, P_SIZE_TILT,
    P_TAKER_TILT, P_LIMIT_SIZE, P_MARKET_SIZE, P_SIZE_SD, P_DISTANCE, P_TAIL, P_FAR, P_STALE, P_SNIPE, P_FLEE, P_REFILL,
    P_SEASON, P_LIQ_SHARE, P_LIQ_DISTANCE, P_ENTRY_TAU, P_CASCADE,
) = range(6, 33)  # fmt: skip
F_STATE = 33

#: Grid of the latent processes.
LATENT_MS = 200
#: Latent steps between updates of `x` and `s`.
_SLOW = 5

#: Why `advance` came back: it reached the time, has a user's fill to tell, a trigger was hit, or a buffer is full.
REACHED, FILLED, TRIGGER, FULL = range(4)
_WORST_PUSH = 8 * DEEPEST


#: Random streams, see :class:`simulation._lob.Lob`; not plain integers, see :func:`simulation._lob.inner`.
_LATENT, _FLOW, _FORCED = np.array([0, 1, 2])
#: Maintenance margin of those who are liquidated: how far the bankruptcy price lies beyond the price that liquidates.
_MAINTENANCE = 0.005


@inner
def _uniform(rng, stream):  # type: ignore[no-untyped-def]
    """A double in [0, 1) from splitmix64 (Steele, Lea, Flood 2014)."""
    rng[stream] += np.uint64(0x9E3779B97F4A7C15)
    z = rng[stream]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inner
def _normal(rng, stream):  # type: ignore[no-untyped-def]
    """A standard normal number (Box and Muller 1958, cosine half)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - _uniform(rng, stream)))
    return radius * math.cos(2.0 * math.pi * _uniform(rng, stream))


@inner
def _size(f, rng, mean, tilt):  # type: ignore[no-untyped-def]
    sd = f[P_SIZE_SD]
    return max(1, round(mean * math.exp(sd * _normal(rng, _FLOW) - 0.5 * sd * sd + tilt)))


@inner
def _limit_order(b, side, distance):  # type: ignore[no-untyped-def]
    """Rest a background order so many ticks behind the efficient price, further back where it would take."""
    i, f = b.i, b.f
    price = math.ceil(f[V] - 1.0) - distance if side == 0 else math.floor(f[V] + 1.0) + distance
    if side == 0 and i[N_ASKS] > 0:
        price = min(price, i[BEST_ASK] - 1)
    elif side == 1 and i[N_BIDS] > 0:
        price = max(price, i[BEST_BID] + 1)
    tilt = f[P_SIZE_TILT] * f[S] * (1.0 if side == 0 else -1.0)
    add(b, side, price, _size(f, b.rng, f[P_LIMIT_SIZE], tilt), np.int64(BACKGROUND))


@inner
def _hazard(f, side):  # type: ignore[no-untyped-def]
    """Share of the takers of a side that are liquidations of positions of the other."""
    move = math.log(f[V] / f[ENTRY]) * (1.0 if side == 0 else -1.0)
    return f[P_LIQ_SHARE] * (1.0 - math.exp(-move / f[P_LIQ_DISTANCE])) if move > 0.0 else 0.0


@inner
def _note_liquidation(b, side, size):  # type: ignore[no-untyped-def]
    """Tell of a position that a taker of `side` has been forced to close."""
    i = b.i
    n = i[N_LIQUIDATED]
    if size <= 0 or n == LIQUIDATIONS:
        return
    beyond = 1.0 + _MAINTENANCE if side == 0 else 1.0 - _MAINTENANCE
    line = b.liquidated[n]
    line[Q_SIDE], line[Q_PRICE], line[Q_SIZE], line[Q_TIME] = 1 - side, round(b.f[V] * beyond), size, i[NOW_MS]
    i[N_LIQUIDATED] = n + 1


@inner
def _take(b, side, limit, size):  # type: ignore[no-untyped-def]
    """A background taker, who may be a position that is being liquidated."""
    left = take(b, side, limit, size, np.int64(BACKGROUND))
    if left < size and _uniform(b.rng, _FORCED) < _hazard(b.f, side):
        _note_liquidation(b, side, size - left)


@inner
def _cascade(b):  # type: ignore[no-untyped-def]
    """Liquidations beyond those among the takers who come anyway: a fall makes sellers."""
    f = b.f
    for side in range(2):
        rate = f[P_CASCADE] * _hazard(f, side) * LATENT_MS / 1000.0
        if rate > 0.0 and _uniform(b.rng, _FORCED) < rate:
            sd = f[P_SIZE_SD]
            size = max(1, round(f[P_MARKET_SIZE] * math.exp(sd * _normal(b.rng, _FORCED) - 0.5 * sd * sd)))
            limit = int(f[V] * (1.0 + _MAINTENANCE if side == 0 else 1.0 - _MAINTENANCE))
            left = take(b, np.int64(side), limit, size, np.int64(BACKGROUND))
            _note_liquidation(b, side, size - left)


@inner
def _event(b):  # type: ignore[no-untyped-def]
    """One arrival of the Poisson flow, and the time of the next."""
    i, f = b.i, b.f
    activity = math.exp(f[X])
    limit, market, cancel = f[P_LIMIT], f[P_MARKET] * activity, f[P_CANCEL] * i[LIVE]
    pick = _uniform(b.rng, _FLOW) * (limit + market + cancel)
    if pick < limit:
        buy = _uniform(b.rng, _FLOW) < 1.0 / (1.0 + math.exp(-2.0 * f[P_SIDE_TILT] * f[S]))
        side = np.int64(0 if buy else 1)
        away = f[P_DISTANCE] * ((1.0 - _uniform(b.rng, _FLOW)) ** (-1.0 / f[P_TAIL]) - 1.0)
        if away < f[P_FAR]:
            _limit_order(b, side, int(away))
    elif pick < limit + market:
        buy = _uniform(b.rng, _FLOW) < 1.0 / (1.0 + math.exp(-2.0 * f[P_TAKER_TILT] * f[S]))
        size = _size(f, b.rng, f[P_MARKET_SIZE], 0.0)
        # Noise takers do not chase: they stop a few ticks behind the efficient price.
        _take(b, np.int64(0 if buy else 1), int(f[V]) + (8 if buy else -8), size)
    elif i[LIVE] > 0:
        remove(b, b.pool[LIVE_LIST, int(_uniform(b.rng, _FLOW) * i[LIVE])])
    rate = f[P_LIMIT] + f[P_MARKET] * activity + f[P_CANCEL] * i[LIVE]
    f[NEXT_EVENT] -= 1000.0 * math.log(1.0 - _uniform(b.rng, _FLOW)) / (rate * f[SEASON])


@inner
def _latent(b):  # type: ignore[no-untyped-def]
    """One step of efficient price, volatility and pressure."""
    f = b.f
    minutes = LATENT_MS / 60_000.0
    if b.i[LATENT_STEPS] % _SLOW == 0:
        keep = math.exp(-_SLOW * minutes / f[P_S_TAU])
        f[S] = keep * f[S] + math.sqrt(1.0 - keep * keep) * _normal(b.rng, _LATENT)
        keep = math.exp(-_SLOW * minutes / f[P_VOL_TAU])
        f[X] = keep * f[X] + f[P_VOL_SD] * math.sqrt(1.0 - keep * keep) * _normal(b.rng, _LATENT)
        angle = 2.0 * math.pi * (b.i[NEXT_LATENT_MS] / 3_600_000.0 - 15.0) / 24.0
        f[SEASON] = math.exp(f[P_SEASON] * (math.cos(angle) + 0.5 * math.cos(2.0 * angle)))
        keep = math.exp(-_SLOW * minutes / f[P_ENTRY_TAU])
        f[ENTRY] = keep * f[ENTRY] + (1.0 - keep) * f[V]
    b.i[LATENT_STEPS] += 1
    sigma = f[P_VOL] * f[SEASON] * math.exp(f[X] - f[P_VOL_SD] * f[P_VOL_SD])
    drift = f[P_SIGNAL] * f[P_EDGE] * sigma * f[S] * minutes
    f[V] *= math.exp(drift + sigma * math.sqrt(minutes) * _normal(b.rng, _LATENT))


@inner
def _react(b, side):  # type: ignore[no-untyped-def]
    """What the owners of quotes on `side`, and those who hunt them, do after the efficient price has moved."""
    i, f = b.i, b.f
    sign = 1 if side == 0 else -1
    fair = f[V]
    edge = fair + sign * f[P_STALE]
    if i[N_BIDS + side] > 0 and (i[BEST_BID + side] - edge) * sign > 0:
        if _uniform(b.rng, _FLOW) < f[P_SNIPE]:
            bound = math.ceil(edge) if side == 0 else math.floor(edge)
            _take(b, 1 - side, bound, _size(f, b.rng, 2.0 * f[P_MARKET_SIZE], 0.0))
        else:
            # Owners cancel what lies beyond the edge, each with the probability that he is quick enough.
            price = i[BEST_BID + side]
            while (price - edge) * sign > 0 and i[N_BIDS + side] > 0:
                slot = b.ladder[HEAD, price & (RING - 1)]
                while slot >= 0:
                    after = b.pool[NEXT, slot]
                    if b.pool[OWNER, slot] == BACKGROUND and _uniform(b.rng, _FLOW) < f[P_FLEE]:
                        remove(b, slot)
                    slot = after
                price -= sign
    gap = (fair - i[BEST_BID + side]) * sign if i[N_BIDS + side] > 0 else 1e9
    if gap > 1.5 and _uniform(b.rng, _FLOW) < f[P_REFILL]:
        _limit_order(b, side, np.int64(0))


@njit(cache=True)
def advance(b, until_ms, prices, sizes):  # type: ignore[no-untyped-def]
    """Run the market to `until_ms` and return why it stopped.

    How a span is cut into calls changes nothing. `prices` and `sizes` are scratch for :func:`publish`.
    """
    i, f = b.i, b.f
    best = np.zeros((2, 2), np.int64)
    while True:
        if i[TRIGGERED] != 0:
            return TRIGGER
        if i[N_FILLS] > 0:
            return FILLED
        if i[N_ROWS] > ROWS - _WORST_PUSH or i[N_FILLS] > FILLS // 2 or i[N_LIQUIDATED] > LIQUIDATIONS // 2:
            return FULL
        push, which = until_ms + 1, i[TRIGGERED]
        for k in range(FEEDS):
            if b.feed[k, F_ON] != 0 and b.feed[k, F_NEXT] < push:
                push, which = b.feed[k, F_NEXT], k
        latent = i[NEXT_LATENT_MS]
        event = int(f[NEXT_EVENT])
        soonest = min(latent, event, push)
        if soonest > until_ms:
            i[NOW_MS] = max(i[NOW_MS], until_ms)
            return REACHED
        i[NOW_MS] = max(i[NOW_MS], soonest)
        if soonest == latent:
            i[NEXT_LATENT_MS] += LATENT_MS
            _latent(b)
            for side in range(2):
                _react(b, side)
            _cascade(b)
        elif soonest == event:
            _event(b)
        else:
            b.feed[which, F_NEXT] = push + b.feed[which, F_PUSH]
            if not is_due(i, b.feed, which, push):
                continue
            if b.feed[which, F_DEPTH] > 1:
                publish(b, which, push, np.int64(0), prices, sizes)
            else:
                for side in range(2):
                    best[side, 0], best[side, 1] = i[BEST_BID + side], 0
                    if i[N_BIDS + side] > 0:
                        best[side, 1] = b.ladder[DEPTH, i[BEST_BID + side] & (RING - 1)]
                publish_best(i, b.rows, b.feed, b.shown, which, best, push)
