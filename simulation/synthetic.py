"""Seeded synthetic markets: a limit order book under zero-intelligence flow, with a planted signal that can be off.

A latent pressure tilts the order flow and so the depth imbalance that everybody can see. With ``signal=1`` it also
drives the drift of the efficient price, so the imbalance foretells returns; with ``signal=0`` the tilt stays and means
nothing. The same arguments give the same market, byte for byte, on the same machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from market.errors import ConfigError
from market.events import BOOK, GAP, TRADE, EventBatch
from market.instruments import Instrument
from simulation import _lob, _lob_flow
from simulation.flow_params import Break, MarketParams
from simulation.listed import Liquidation, Told, shown_levels
from simulation.matching import Fill

__all__ = ["SYNTHETIC", "Break", "MarketParams", "SyntheticMarket", "synthetic_events"]

#: Contract rules of the synthetic perpetual; a tick is 0.17 bps of the starting price.
SYNTHETIC = Instrument(
    symbol="SYNUSDT",
    tick_size=Decimal("0.5"),
    qty_step=Decimal("0.001"),
    min_steps=1,
    max_steps=100_000,
    max_market_steps=50_000,
    min_notional=Decimal("5"),
    max_leverage=Decimal("100"),
)

#: Default length of a piece that :func:`synthetic_events` yields, ms of market time.
_CHUNK_MS = 600_000
#: The market runs this long unseen before it opens, so that its book is stationary.
_BURN_IN_MS = 300_000
_NOTHING = Told()


class SyntheticMarket:
    """One symbol's book and flow, stepped by time.

    Parameters
    ----------
    seed
        Seed; symbols of one exchange differ by name.
    start_ms
        Opening time; the market has run before it for long enough to be stationary.
    params
        Parameters of the flow.
    symbol
        Enters the seed.
    """

    def __init__(self, seed: int, start_ms: int, params: MarketParams, symbol: str = SYNTHETIC.symbol) -> None:
        if seed < 0 or start_ms < _BURN_IN_MS:
            raise ConfigError(
                f"seed {seed} or start {start_ms} is impossible", advice="Use a seed of 0 or more and a UTC time in ms"
            )
        self.lob = _lob.new_lob(_lob_flow.F_STATE)
        self._prices: NDArray[np.int64] = np.zeros(_lob.DEEPEST, np.int64)
        self._sizes: NDArray[np.int64] = np.zeros(_lob.DEEPEST, np.int64)
        rng = np.random.default_rng([seed, zlib.crc32(symbol.encode())])
        self.lob.rng[:2] = rng.integers(0, 2**63, 2)
        self.lob.rng[2] = np.random.default_rng([seed, zlib.crc32(symbol.encode()), 1]).integers(0, 2**63)
        self._params, self._breaks = params, list(params.breaks)
        self._set(params, rng)
        opening = start_ms - _BURN_IN_MS
        self.lob.i[_lob.NOW_MS] = self.lob.i[_lob.NEXT_LATENT_MS] = opening
        self.lob.f[_lob_flow.NEXT_EVENT] = opening
        while self._run(start_ms) != _lob_flow.REACHED:
            self.clear_rows()
            self.drain_liquidations()
        self._reset()

    def _set(self, params: MarketParams, rng: np.random.Generator) -> None:
        f = self.lob.f
        f[_lob_flow.V] = f[_lob_flow.ENTRY] = params.start_ticks + 0.5
        f[_lob_flow.SEASON] = 1.0
        f[_lob_flow.X] = rng.normal() * params.vol_sd
        f[_lob_flow.S] = rng.normal()
        for name, slot in _SLOTS.items():
            f[slot] = getattr(params, name)

    def _reset(self) -> None:
        """Forget what was published and counted during the burn-in."""
        self.lob.i[[_lob.N_ROWS, _lob.FRAME, _lob.TRADE_ID, _lob.N_LIQUIDATED]] = 0
        self.lob.candles[:] = 0

    @property
    def now_ms(self) -> int:
        """Market time that has been simulated."""
        return int(self.lob.i[_lob.NOW_MS])

    @property
    def rows(self) -> int:
        """Rows waiting in the output buffer."""
        return int(self.lob.i[_lob.N_ROWS])

    @property
    def efficient_price(self) -> float:
        """Latent efficient price, ticks; nobody in the market sees it."""
        return float(self.lob.f[_lob_flow.V])

    @property
    def index_ticks(self) -> int:
        """Index price: what the contract is worth elsewhere, which is the efficient price, ticks."""
        return round(self.efficient_price)

    @property
    def told(self) -> Told:
        """Nobody recorded anything of this market."""
        return _NOTHING

    @property
    def pressure(self) -> float:
        """Latent pressure, standard deviations; nobody in the market sees it."""
        return float(self.lob.f[_lob_flow.S])

    def advance(self, until_ms: int) -> int:
        """Run to a time, or to the first thing that needs attention (see :mod:`simulation._lob_flow`)."""
        while self._breaks and self._breaks[0].at_ms <= until_ms:
            reason = self._run(self._breaks[0].at_ms)
            if reason != _lob_flow.REACHED:
                return reason
            self._enter(self._breaks.pop(0))
        return self._run(until_ms)

    def _run(self, until_ms: int) -> int:
        return int(_lob_flow.advance(self.lob, until_ms, self._prices, self._sizes))

    def break_regime(self, change: Break) -> None:
        """Change the regime at a time to come: the same change at the same time gives the same market.

        Raises
        ------
        ConfigError
            The time has passed.
        """
        if change.at_ms < self.now_ms:
            raise ConfigError(
                f"a regime cannot break at {change.at_ms}, it is {self.now_ms} already", advice="Choose a later time"
            )
        self._breaks = sorted([*self._breaks, change], key=lambda one: one.at_ms)

    def _enter(self, change: Break) -> None:
        f, own = self.lob.f, self._params
        f[_lob_flow.P_SIGNAL] = own.signal * change.signal
        f[_lob_flow.P_VOL] = own.volatility * change.volatility
        for name in ("limit_rate", "market_rate", "cancel_rate"):
            f[_SLOTS[name]] = getattr(own, name) * change.activity

    def clear_rows(self) -> None:
        """Empty the output buffer."""
        self.lob.i[_lob.N_ROWS] = 0

    def shown(self, feed: int) -> list[tuple[list[int], list[int]]] | None:
        """Prices and sizes of both sides as a topic has published them."""
        return shown_levels(self.lob, feed)

    def drain_liquidations(self) -> list[Liquidation]:
        """Positions of others that were liquidated since the last call."""
        i = self.lob.i
        rows = self.lob.liquidated[: int(i[_lob.N_LIQUIDATED])].tolist()
        i[_lob.N_LIQUIDATED] = 0
        return [Liquidation(*row) for row in rows]

    def open_feed(self, feed: int, levels: int, push_ms: int) -> None:
        """Publish a book topic from now on, beginning with a snapshot.

        Raises
        ------
        ConfigError
            The depth or the interval is impossible.
        """
        if not 1 <= levels <= _lob.DEEPEST or push_ms < 1:
            raise ConfigError(
                f"a book topic of {levels} levels every {push_ms} ms is impossible",
                advice=f"Use 1 to {_lob.DEEPEST} levels and at least 1 ms",
            )
        now = self.now_ms
        # Pushes lie on multiples of the interval, whenever somebody subscribes; the update id goes on.
        u = self.lob.feed[feed, _lob.F_U]
        self.lob.feed[feed] = (1, now - now % push_ms + push_ms, 0, u, levels, push_ms, 0, 0, 0)
        self.snapshot(feed)

    def snapshot(self, feed: int) -> None:
        """Publish the whole top of the book on a topic."""
        _lob.publish(self.lob, feed, self.now_ms, 1, self._prices, self._sizes)

    def close_feed(self, feed: int) -> None:
        """Stop a book topic."""
        self.lob.feed[feed, _lob.F_ON] = 0

    def shrink(self, slot: int, steps: int) -> None:
        """Make a resting order smaller; it keeps its place in the queue."""
        lob = self.lob
        lob.pool[_lob.LEFT, slot] -= steps
        lob.ladder[_lob.DEPTH, int(lob.pool[_lob.PRICE, slot]) % _lob.RING] -= steps
        lob.i[_lob.VERSION] += 1
        lob.i[_lob.BOOK_MS] = self.now_ms

    @property
    def reach(self) -> int:
        """How many ticks from the mark price an order may rest: further away it would leave the book's ring."""
        return _lob.RING // 2 - 4_096

    @property
    def waiting(self) -> bool:
        """Whether fills or triggers wait to be drained."""
        return bool(self.lob.i[_lob.N_FILLS] or self.lob.i[_lob.TRIGGERED])

    def rest(self, side: int, price: int, size: int, owner: int) -> int:
        """Rest a user's order behind all others at its price; its handle, -1 when all slots are taken."""
        return int(_lob.add(self.lob, side, price, size, owner))

    def remove(self, handle: int) -> None:
        """Take a resting order off the book."""
        _lob.remove(self.lob, handle)

    def take(self, side: int, limit: int, size: int, owner: int) -> int:
        """Match a user's incoming order up to a price; the size that is left."""
        return int(_lob.take(self.lob, side, limit, size, owner))

    def reachable(self, side: int, limit: int) -> int:
        """Displayed steps that an order of `side` could take up to a price."""
        prices, sizes = self.top(1 - side, _lob.DEEPEST)
        return int(sizes[prices <= limit if side == 0 else prices >= limit].sum())

    def drain_fills(self) -> list[Fill]:
        """Executions of users' orders since the last call."""
        i = self.lob.i
        rows = self.lob.fills[: int(i[_lob.N_FILLS])].tolist()
        i[_lob.N_FILLS] = 0
        return [Fill(owner, price, size, time, bool(maker), trade) for owner, price, size, time, maker, trade in rows]

    def set_triggers(self, low: int | None, high: int | None) -> None:
        """Stop :meth:`advance` when a trade is at most `low` or at least `high`; ``None`` for never."""
        self.lob.i[_lob.TRIGGER_LOW] = _lob.NO_BID if low is None else low
        self.lob.i[_lob.TRIGGER_HIGH] = _lob.NO_ASK if high is None else high

    def drain_triggers(self) -> tuple[bool, bool]:
        """Whether a trade has reached the low and the high trigger since the last call."""
        hit = int(self.lob.i[_lob.TRIGGERED])
        self.lob.i[_lob.TRIGGERED] = 0
        return bool(hit & 1), bool(hit & 2)

    def top(self, side: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prices and displayed sizes of the best levels of a side, best first."""
        n = _lob.top(self.lob, side, min(levels, _lob.DEEPEST), self._prices, self._sizes)
        return self._prices[:n].copy(), self._sizes[:n].copy()

    def best(self, side: int) -> tuple[int, int] | None:
        """Best price of a side and its displayed size."""
        if self.lob.i[_lob.N_BIDS + side] == 0:
            return None
        price = int(self.lob.i[_lob.BEST_BID + side])
        return price, int(self.lob.ladder[_lob.DEPTH, price % _lob.RING])

    def take_rows(self, ordinal: int = 0) -> EventBatch:
        """The waiting rows as events, frames numbered from `ordinal` on; the buffer is emptied."""
        rows = self.lob.rows[: self.rows]
        trade = rows[:, _lob.R_FEED] == _lob.TRADE_FEED
        batch = EventBatch(
            kind=np.where(trade, TRADE, BOOK).astype(np.int8),
            flags=np.where(trade, 0, rows[:, _lob.R_FLAGS]).astype(np.uint8),
            side=rows[:, _lob.R_SIDE].astype(np.int8),
            time_ms=rows[:, _lob.R_TIME].copy(),
            price=rows[:, _lob.R_PRICE].copy(),
            size=rows[:, _lob.R_SIZE].copy(),
            ordinal=rows[:, _lob.R_FRAME] + ordinal,
            recv_ns=rows[:, _lob.R_PUSH] * 1_000_000,
        )
        self.clear_rows()
        self.lob.i[_lob.N_LIQUIDATED] = 0
        return batch


_SLOTS = {
    "signal": _lob_flow.P_SIGNAL,
    "edge": _lob_flow.P_EDGE,
    "volatility": _lob_flow.P_VOL,
    "vol_sd": _lob_flow.P_VOL_SD,
    "vol_minutes": _lob_flow.P_VOL_TAU,
    "signal_minutes": _lob_flow.P_S_TAU,
    "limit_rate": _lob_flow.P_LIMIT,
    "market_rate": _lob_flow.P_MARKET,
    "cancel_rate": _lob_flow.P_CANCEL,
    "side_tilt": _lob_flow.P_SIDE_TILT,
    "size_tilt": _lob_flow.P_SIZE_TILT,
    "taker_tilt": _lob_flow.P_TAKER_TILT,
    "limit_size": _lob_flow.P_LIMIT_SIZE,
    "market_size": _lob_flow.P_MARKET_SIZE,
    "size_sd": _lob_flow.P_SIZE_SD,
    "distance": _lob_flow.P_DISTANCE,
    "tail": _lob_flow.P_TAIL,
    "far": _lob_flow.P_FAR,
    "stale": _lob_flow.P_STALE,
    "snipe": _lob_flow.P_SNIPE,
    "flee": _lob_flow.P_FLEE,
    "refill": _lob_flow.P_REFILL,
    "season": _lob_flow.P_SEASON,
    "liquidation_share": _lob_flow.P_LIQ_SHARE,
    "liquidation_distance": _lob_flow.P_LIQ_DISTANCE,
    "entry_minutes": _lob_flow.P_ENTRY_TAU,
    "cascade": _lob_flow.P_CASCADE,
}


def synthetic_events(
    seed: int,
    signal: float,
    start_ms: int,
    duration_ms: int,
    *,
    levels: int = 200,
    push_ms: int = 100,
    instrument: Instrument = SYNTHETIC,
    params: MarketParams | None = None,
) -> Iterator[EventBatch]:
    """The events that a recorder of the local exchange would write, without any socket.

    A gap marker and a snapshot open the stream; after them a book message every `push_ms` in which something changed,
    trades between them as they happen. Ordinals count frames from 0; the receive time is the sending time.

    Parameters
    ----------
    seed
        Same seed and arguments, same market.
    signal
        Share of the planted drift: 0 for a market with nothing to find.
    start_ms
        Exchange time of the first snapshot.
    duration_ms
        Length.
    levels, push_ms
        Depth of the book topic and interval of its messages.
    instrument
        Only its symbol matters here: it enters the seed.
    params
        Other parameters of the flow; `signal` overrides theirs.

    Yields
    ------
    EventBatch
        Pieces of at most ten minutes.

    Raises
    ------
    ConfigError
        An argument is impossible.
    """
    chosen = replace(params or MarketParams(), signal=signal)
    market = SyntheticMarket(seed, start_ms, chosen, instrument.symbol)
    market.open_feed(0, levels, push_ms)
    first = market.take_rows()
    gap = EventBatch.from_rows([(GAP, 0, 0, int(first.time_ms[0]), 0, 0, 0, int(first.recv_ns[0]))])
    yield EventBatch.concat([gap, first])
    end_ms = start_ms + duration_ms
    while market.now_ms < end_ms:
        market.advance(min(market.now_ms + _CHUNK_MS, end_ms))
        if market.rows:
            yield market.take_rows()
