"""Order flow around a latent efficient price, compiled.

Zero-intelligence flow in the sense of Farmer, Patelli and Zovko (2005) and Cont, Stoikov and Talreja (2010): limit
orders, market orders and cancellations arrive as Poisson processes, limit prices at power-law distances from the
price (Zovko and Farmer 2002). What anchors the book is an efficient price with stochastic volatility: quotes that it
has left behind are cancelled or taken, and the side that it moves away from is refilled.

The latent processes have a random stream and a time grid of their own, so that no order of anyone changes them:

- efficient price `v`: geometric random walk, volatility ``volatility * exp(x - vol_sd**2)`` a square-root minute;
- log volatility `x` and pressure `s`: Ornstein-Uhlenbeck, standard deviation `vol_sd` and 1;
- `s` always tilts sides and sizes of the order flow, and drives `v` by ``signal * edge * volatility * s`` a minute.
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
    F_NEXT,
    F_ON,
    F_PUSH,
    F_VERSION,
    FEEDS,
    FILLS,
    HEAD,
    LATENT_STEPS,
    LIVE,
    LIVE_LIST,
    N_ASKS,
    N_BIDS,
    N_FILLS,
    N_ROWS,
    NEXT,
    NEXT_LATENT_MS,
    NOW_MS,
    OWNER,
    RING,
    ROWS,
    TRIGGERED,
    VERSION,
    add,
    inner,
    publish,
    remove,
    take,
)

# Slots of the float state: latent values, then parameters.
V, X, S, NEXT_EVENT, SPARE = range(5)
(
    P_SIGNAL, P_EDGE, P_VOL, P_VOL_SD, P_VOL_TAU, P_S_TAU, P_LIMIT, P_MARKET, P_CANCEL, P_SIDE_TILT, P_SIZE_TILT,
    P_TAKER_TILT, P_LIMIT_SIZE, P_MARKET_SIZE, P_SIZE_SD, P_DISTANCE, P_TAIL, P_FAR, P_STALE, P_SNIPE, P_FLEE, P_REFILL,
) = range(5, 27)  # fmt: skip
F_STATE = 27

#: Grid of the latent processes.
LATENT_MS = 200
#: Latent steps between updates of `x` and `s`.
_SLOW = 5

#: Why `advance` came back: it reached the time, has a user's fill to tell, a trigger was hit, or a buffer is full.
REACHED, FILLED, TRIGGER, FULL = range(4)
_WORST_PUSH = 8 * DEEPEST


#: Random streams, see :class:`simulation._lob.Lob`; not plain integers, see :func:`simulation._lob.inner`.
_LATENT, _FLOW = np.array([0, 1])


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
        take(b, np.int64(0 if buy else 1), int(f[V]) + (8 if buy else -8), size, np.int64(BACKGROUND))
    elif i[LIVE] > 0:
        remove(b, b.pool[LIVE_LIST, int(_uniform(b.rng, _FLOW) * i[LIVE])])
    rate = f[P_LIMIT] + f[P_MARKET] * activity + f[P_CANCEL] * i[LIVE]
    f[NEXT_EVENT] -= 1000.0 * math.log(1.0 - _uniform(b.rng, _FLOW)) / rate


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
    b.i[LATENT_STEPS] += 1
    sigma = f[P_VOL] * math.exp(f[X] - f[P_VOL_SD] * f[P_VOL_SD])
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
            take(b, 1 - side, bound, _size(f, b.rng, 2.0 * f[P_MARKET_SIZE], 0.0), np.int64(BACKGROUND))
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
    while True:
        if i[TRIGGERED] != 0:
            return TRIGGER
        if i[N_FILLS] > 0:
            return FILLED
        if i[N_ROWS] > ROWS - _WORST_PUSH or i[N_FILLS] > FILLS // 2:
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
        elif soonest == event:
            _event(b)
        else:
            b.feed[which, F_NEXT] = push + b.feed[which, F_PUSH]
            if b.feed[which, F_VERSION] != i[VERSION]:
                publish(b, which, push, np.int64(0), prices, sizes)
