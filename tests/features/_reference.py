"""The features once more: slow, with dictionaries, whole lists and NumPy, straight from the catalogue's formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.catalogue import sampling_ms
from market.events import BID, BOOK, EMPTY, FIRST, LAST, LIQUIDATION, SNAPSHOT, TICKER, TRADE, EventBatch

HOLE_MS = 3_600_000
NAN = math.nan


@dataclass
class Bar:
    open_ms: int
    first: bool = False
    reset: bool = False
    valid: bool = True
    samples: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # how often, metrics
    last: dict[str, float] | None = None
    flows: list[tuple[float, float]] = field(default_factory=list)  # share, flow
    trades: list[tuple[int, int, int]] = field(default_factory=list)  # side, price, size
    standing: int = -1  # last price before the first trade
    bid: int = -1
    ask: int = -1
    close_ms: int = -1
    levels: list[list[int]] = field(default_factory=list)  # order flow of the ten best levels
    added: list[int] = field(default_factory=lambda: [0, 0])
    removed: list[int] = field(default_factory=lambda: [0, 0])
    refilled: int = 0
    paid: list[tuple[int, float]] = field(default_factory=list)  # size, effective spread
    kept: list[tuple[int, float]] = field(default_factory=list)  # size, realised spread
    moves: list[tuple[float, float | None]] = field(default_factory=list)  # one-second return, the one before
    liquidated: list[int] = field(default_factory=lambda: [0, 0])
    since: int = -1
    microprice: float = NAN
    basis: float = NAN
    interest: float = NAN
    funding: float = NAN
    to_funding: float = NAN

    @cached_property
    def prices(self) -> list[int]:
        return [price for _, price, _ in self.trades] or [self.standing]

    @cached_property
    def volume(self) -> int:
        return sum(size for _, _, size in self.trades)

    @cached_property
    def turnover(self) -> int:
        return sum(price * size for _, price, size in self.trades)

    @cached_property
    def bought(self) -> float:
        return sum(size for side, _, size in self.trades if side == BID) / self.volume if self.volume else NAN

    @cached_property
    def depth(self) -> float:
        return weighted(self, "depth")[0]

    @cached_property
    def depth_ratio(self) -> float:
        return weighted(self, "depth_log_ratio")[0]


def side_shape(levels: list[tuple[float, int]]) -> tuple[float, float, float]:
    """Slope, elasticity and size-weighted mean distance; `levels` are (distance in half ticks, size)."""
    distance = np.array([d for d, _ in levels])
    size = np.array([float(q) for _, q in levels])
    share = np.cumsum(size) / size.sum()
    slope = np.nan if not np.any(distance) else (distance * share).sum() / (distance**2).sum()
    near, far = max(distance[0], 1.0), distance[-1]
    elasticity = np.log(size.sum() / size[0]) / np.log(far / near) if far > near else np.nan
    return float(slope), float(elasticity), float((distance * size).sum() / size.sum())


def metrics(bids: dict[int, int], asks: dict[int, int], levels: int) -> dict[str, float] | None:
    if not bids or not asks:
        return None
    b = sorted(bids.items(), reverse=True)[:levels]
    a = sorted(asks.items())[:levels]
    (bid, bid_size), (ask, ask_size) = b[0], a[0]
    mid = (bid + ask) / 2
    values: dict[str, float] = {"spread": 1e4 * (ask - bid) / mid}
    for name, count in (("1", 1), ("5", 5), ("10", 10), ("50", 50), ("all", levels)):
        depth_b, depth_a = sum(q for _, q in b[:count]), sum(q for _, q in a[:count])
        values[f"imbalance_{name}"] = (depth_b - depth_a) / (depth_b + depth_a)
    values["depth_log_ratio"] = math.log(depth_b / depth_a)
    micro = (bid * ask_size + ask * bid_size) / (bid_size + ask_size)
    values["microprice"] = 1e4 * (micro - mid) / mid
    slope_b, elasticity_b, far_b = side_shape([(2 * (mid - p), q) for p, q in b])
    slope_a, elasticity_a, far_a = side_shape([(2 * (p - mid), q) for p, q in a])
    half_tick_bps = 1e4 * 0.5 / mid
    values["depth_slope"] = (slope_b + slope_a) / 2 / half_tick_bps
    total = abs(slope_b) + abs(slope_a)
    values["depth_slope_skew"] = (slope_b - slope_a) / total if total else NAN
    values["elasticity"] = (elasticity_b + elasticity_a) / 2
    values["elasticity_skew"] = elasticity_b - elasticity_a
    values["integrity"] = (bid_size + ask_size) / (depth_b + depth_a)
    values["integrity_skew"] = bid_size / depth_b - ask_size / depth_a
    apart = abs(far_a) + abs(far_b)
    values["depth_skew"] = (far_a - far_b) / apart if apart else NAN
    values["depth"] = math.log(depth_b + depth_a)
    for bps in (5, 10, 25, 50):
        near_b = sum(q for p, q in b if (bid + ask - 2 * p) * 10_000 <= bps * (bid + ask))
        near_a = sum(q for p, q in a if (2 * p - bid - ask) * 10_000 <= bps * (bid + ask))
        values[f"pressure_{bps}bps"] = (near_b - near_a) / (near_b + near_a) if near_b + near_a else NAN
    for n in (5, 10):
        size_b, size_a = sum(q for _, q in b[:n]), sum(q for _, q in a[:n])
        price_b, price_a = sum(p * q for p, q in b[:n]) / size_b, sum(p * q for p, q in a[:n]) / size_a
        weighted_mid = (price_b * size_a + price_a * size_b) / (size_b + size_a)
        values[f"weighted_mid_{n}"] = 1e4 * (weighted_mid - mid) / mid
        values[f"top_{n}"] = float(size_b + size_a)
    values["best"] = float(bid_size + ask_size)
    return values


class Reference:
    """Reads a whole stream, then answers."""

    def __init__(self, events: EventBatch, timeframe_ms: int, levels: int, stall_ms: int, sample_ms: int = 0) -> None:
        self.timeframe_ms, self.levels, self.stall_ms = timeframe_ms, levels, stall_ms
        self.sample_ms = sample_ms or sampling_ms(timeframe_ms)
        self.bars: list[Bar] = []
        self.bar: Bar | None = None
        self.clock, self.last_book, self.last_price = -1, -1, -1
        self.book: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.known = False
        self.now: dict[str, float] | None = None
        self.best: tuple[int, int, int, int] | None = None
        self.windows: list[tuple[float, float]] = []  # suspect
        self.unknown_since: float = -math.inf
        self.dirty = False
        self.top: tuple[list[tuple[int, int]], list[tuple[int, int]]] | None = None
        self.last_trade = -1
        self.hit = [-math.inf, -math.inf]
        self.waiting: list[tuple[int, int, int, int]] = []  # clock, sign, price, size of trades not settled
        self.next_second = -1
        self.log_mid: float | None = None
        self.move: float | None = None
        self.ticker: dict[int, int] = {}
        self.ticker_ms = -1
        for row in range(len(events)):
            self._event(
                *(int(getattr(events, name)[row]) for name in ("kind", "flags", "side", "time_ms", "price", "size"))
            )

    def _advance(self, time_ms: int) -> None:
        if time_ms <= self.clock:
            return
        if self.bar is None:
            self.clock = time_ms
            self.bar = Bar(time_ms // self.timeframe_ms * self.timeframe_ms, first=True)
            self.next_second = (time_ms // 1_000 + 1) * 1_000
            return
        if self.known and time_ms - self.last_book > self.stall_ms:
            self.windows.append((self.last_book, time_ms))
        while time_ms >= self.bar.open_ms + self.timeframe_ms:
            self._close(time_ms)
        self._sample(time_ms)
        self._seconds(time_ms)

    def _look(self) -> None:
        assert self.bar is not None
        self.dirty = False
        bids, asks = self.book
        if not bids or not asks:
            self.top = None
            return
        count = min(10, self.levels)
        nowhere = (10**18, 0)
        top = tuple(
            (sorted((price * sign, size) for price, size in side.items())[:count] + [nowhere] * 10)[:10]
            for side, sign in ((bids, -1), (asks, 1))
        )
        if self.top is not None:
            flow = [0] * 10
            for m in range(10):
                for sign, new, old in ((1, top[0][m], self.top[0][m]), (-1, top[1][m], self.top[1][m])):
                    flow[m] += sign * (new[1] * (new[0] <= old[0]) - old[1] * (new[0] >= old[0]))
            self.bar.levels.append(flow)
        self.top = top[0], top[1]

    def _mid(self) -> float | None:
        bids, asks = self.book
        return (max(bids) + min(asks)) / 2 if self.known and bids and asks else None

    def _seconds(self, until: int) -> None:
        assert self.bar is not None
        while self.next_second <= until:
            mid = self._mid()
            due = [trade for trade in self.waiting if trade[0] // 1_000 <= self.next_second // 1_000 - 6]
            self.waiting = [trade for trade in self.waiting if trade not in due]
            if mid is None:
                self.log_mid = self.move = None
            else:
                self.bar.kept += [(size, 2e4 * sign * (price - mid) / mid) for _, sign, price, size in due]
                move = None if self.log_mid is None else math.log(mid) - self.log_mid
                if move is not None:
                    self.bar.moves.append((move, self.move))
                self.move, self.log_mid = move, math.log(mid)
            self.next_second += 1_000

    def _sample(self, until: int) -> None:
        assert self.bar is not None
        step = self.sample_ms
        count = until // step - self.clock // step
        if count and self.dirty:
            self._look()
        if self.now is not None and count:
            self.bar.samples.append((count, self.now))
        self.clock = until

    def _close(self, time_ms: int) -> None:
        bar = self.bar
        assert bar is not None
        close_ms = bar.open_ms + self.timeframe_ms
        self._sample(close_ms)
        self._seconds(close_ms)
        if self.dirty:
            self._look()
        if self.now is not None and not bar.samples:
            bar.samples.append((1, self.now))
        if self.last_book >= 0 and close_ms - self.last_book > HOLE_MS:
            bar.reset = True
            self._forget()
        windows = [*self.windows, *([] if self.known else [(self.unknown_since, math.inf)])]
        bar.valid = not bar.first and not any(a < close_ms and bar.open_ms <= b for a, b in windows)
        bar.last = self.now
        if not bar.trades:
            bar.standing = self.last_price
        if self.known and time_ms - self.last_book <= self.stall_ms:
            bar.bid, bar.ask = max(self.book[0], default=-1), min(self.book[1], default=-1)
        bar.close_ms = close_ms
        bar.since = close_ms - self.last_trade if self.last_trade >= 0 else -1
        self._context(bar)
        self.bars.append(bar)
        self.windows = [(a, b) for a, b in self.windows if b >= close_ms]
        self.bar = Bar(close_ms)

    def _forget(self) -> None:
        self.last_price = self.last_trade = -1
        self.ticker.pop(3, None)
        self.ticker.pop(4, None)

    def _context(self, bar: Bar) -> None:
        bids, asks = self.book
        if self.known and self.now is not None:
            bid, ask = max(bids), min(asks)
            bar.microprice = (bid * asks[ask] + ask * bids[bid]) / (bids[bid] + asks[ask])
        if self.ticker_ms >= 0 and bar.close_ms - self.ticker_ms <= self.stall_ms:
            if 0 in self.ticker and 1 in self.ticker:
                bar.basis = 1e4 * (self.ticker[0] / self.ticker[1] - 1)
            bar.interest = float(self.ticker.get(2, NAN))
        if 4 in self.ticker and self.ticker[4] > bar.close_ms:
            bar.to_funding = (self.ticker[4] - bar.close_ms) / 28_800_000
            bar.funding = self.ticker[3] * 1e-10 * 1e4 if 3 in self.ticker else NAN

    def _event(self, kind: int, flags: int, side: int, time_ms: int, price: int, size: int) -> None:
        if kind == TICKER:
            self.ticker[side] = price
            self.ticker_ms = self.clock
            return
        if kind == LIQUIDATION:
            assert self.bar is not None
            self.bar.liquidated[side] += size
            return
        self._advance(time_ms)
        assert self.bar is not None
        if kind == TRADE:
            self.bar.trades.append((side, price, size))
            self.last_price = price
            self.last_trade = self.hit[1 - side] = self.clock
            sign = 1 if side == BID else -1
            self.waiting.append((self.clock, sign, price, size))
            if (mid := self._mid()) is not None:
                self.bar.paid.append((size, 2e4 * sign * (price - mid) / mid))
        elif kind == BOOK:
            self._change(flags, side, price, size)
        else:
            if self.known:
                self.unknown_since = self.clock
            self.windows.append((self.clock, self.clock))
            self.known, self.now, self.best = False, None, None
            self.dirty, self.top, self.log_mid, self.move = False, None, None, None
            for measured in (0, 1, 2):
                self.ticker.pop(measured, None)

    def _change(self, flags: int, side: int, price: int, size: int) -> None:
        assert self.bar is not None
        if flags & SNAPSHOT and flags & FIRST:
            if not self.known:
                self.windows.append((self.unknown_since, self.clock))
            self.known = True
            self.book = ({}, {})
        if not self.known:
            return
        if not flags & EMPTY:
            moved = size - self.book[side].get(price, 0)
            if not flags & SNAPSHOT:
                self.bar.added[side] += max(moved, 0)
                self.bar.removed[side] += max(-moved, 0)
                if self.clock - self.hit[side] <= 1_000:
                    self.bar.refilled += max(moved, 0)
            if size:
                self.book[side][price] = size
            else:
                self.book[side].pop(price, None)
        if self.last_book >= 0 and self.clock - self.last_book > HOLE_MS:
            self.bar.reset = True
            self._forget()
        self.last_book = self.clock
        if flags & LAST:
            self.now = metrics(*self.book, self.levels)
            self.dirty = True
            self._flow()

    def _flow(self) -> None:
        assert self.bar is not None
        bids, asks = self.book
        if not bids or not asks:
            self.best = None
            return
        bid, ask = max(bids), min(asks)
        q, r = bids[bid], asks[ask]
        if self.best is not None:
            old_bid, old_q, old_ask, old_r = self.best
            flow = q * (bid >= old_bid) - old_q * (bid <= old_bid) - r * (ask <= old_ask) + old_r * (ask >= old_ask)
            self.bar.flows.append((flow / (q + old_q + r + old_r), flow))
        self.best = bid, q, ask, r

    def values(self) -> list[dict[str, float]]:
        """Feature values of every bar, by name; empty where the bar is invalid; `atr` in ticks among them."""
        result: list[dict[str, float]] = []
        segment: list[Bar] = []
        for bar in self.bars:
            if bar.reset:
                segment = []
            if bar.valid or segment:
                segment.append(bar)
            result.append(
                {**book_values(bar), **bar_values(segment, self.timeframe_ms), **more_values(segment)}
                if bar.valid
                else {}
            )
        return result


def weighted(bar: Bar, name: str) -> tuple[float, float]:
    if not bar.samples:
        return NAN, NAN
    weights = np.array([float(count) for count, _ in bar.samples])
    series = np.array([sample[name] for _, sample in bar.samples])
    mean = np.average(series, weights=weights)
    return float(mean), float(np.sqrt(np.average((series - mean) ** 2, weights=weights)))


def book_values(bar: Bar) -> dict[str, float]:
    values: dict[str, float] = {}
    names = bar.samples[0][1] if bar.samples else {}
    for name in names:
        values[f"{name}_mean"], values[f"{name}_std"] = weighted(bar, name)
        values[f"{name}_last"] = bar.last[name] if bar.last else NAN
    if names:
        values["depth_last"] -= values["depth_mean"]
    shares = [share for share, _ in bar.flows]
    values["ofi_mean"] = float(np.mean(shares)) if shares else NAN
    values["ofi_std"] = float(np.std(shares)) if shares else NAN
    values["ofi_last"] = shares[-1] if shares else NAN
    values["ofi_sum"] = sum(flow for _, flow in bar.flows) / values["best_mean"] if names else NAN
    return values


def moments(series: list[float], window: int) -> tuple[float, float]:
    recent = np.array(series[-window:])
    known = recent[~np.isnan(recent)]
    if len(recent) < window or len(known) < 0.75 * window:
        return NAN, NAN
    return float(known.mean()), float(known.std()) if np.ptp(known) > 1e-13 * np.abs(known).max() else 0.0


def z(series: list[float]) -> float:
    mean, std = moments(series, 48)
    return (series[-1] - mean) / std if std > 0 else NAN


def smooth(series: list[float], period: int, alpha: float, most: float) -> float:
    """Seeded by a mean, then exponential, with the weights that unknown bars in between give."""
    known = [n for n, x in enumerate(series) if not math.isnan(x)]
    if len(known) < period:
        return NAN
    value = float(np.mean([series[n] for n in known[:period]]))
    for before, n in zip(known[period - 1 :], known[period:]):
        share = max(alpha, min(most, 1 - (1 - alpha) ** (n - before)))
        value = (1 - share) * value + share * series[n]
    return value


def vwap_distance(bars: list[Bar], hours: int, timeframe_ms: int) -> float:
    window = math.ceil(hours * HOLE_MS / timeframe_ms)
    recent = bars[-window:]
    known = [bar for bar in recent if bar.valid]
    volume = sum(bar.volume for bar in known)
    if len(recent) < window or len(known) < 0.75 * window or not volume:
        return NAN
    vwap = sum(bar.turnover for bar in known) / volume
    return 1e4 * (bars[-1].prices[-1] / vwap - 1)


def bar_values(bars: list[Bar], timeframe_ms: int) -> dict[str, float]:
    close = [float(bar.prices[-1]) if bar.valid and bar.prices[-1] > 0 else NAN for bar in bars]
    before = [NAN, *close[:-1]]
    change = [c - b for c, b in zip(close, before)]
    returns = [math.log(c / b) for c, b in zip(close, before)]
    volume = [float(bar.volume) if bar.valid else NAN for bar in bars]
    count = [float(len(bar.trades)) if bar.valid else NAN for bar in bars]
    bought = [bar.bought if bar.valid else NAN for bar in bars]
    depth = [bar.depth if bar.valid else NAN for bar in bars]
    ratio = [bar.depth_ratio if bar.valid else NAN for bar in bars]
    ranges = []
    for bar, c, b in zip(bars, close, before):
        top, bottom = float(max(bar.prices)), float(min(bar.prices))
        spread = top - bottom if math.isnan(b) else max(top, b) - min(bottom, b)
        ranges.append(NAN if math.isnan(c) else spread)
    atr = smooth(ranges, 14, 1 / 14, 0.5)
    values = {
        "atr": atr,
        "atr_14": 1e4 * atr / close[-1],
        "depth_z": z(depth),
        "taker_buy_ratio": bought[-1],
        "taker_buy_ratio_z": z(bought),
        "volume_z": z(volume),
        "trade_count_z": z(count),
        "vwap_distance_4h": vwap_distance(bars, 4, timeframe_ms),
        "vwap_distance_24h": vwap_distance(bars, 24, timeframe_ms),
        "price_liquidity_divergence": z(returns) - z(ratio),
        "liquidity_dominance": math.exp(depth[-1]) / (math.exp(depth[-1]) + volume[-1]),
    }
    for n in (9, 21, 50):
        values[f"ema_distance_{n}"] = 1e4 * (close[-1] / smooth(close, n, 2 / (n + 1), 1.0) - 1)
    gain = smooth([x if math.isnan(x) else max(x, 0.0) for x in change], 14, 1 / 14, 0.5)
    loss = smooth([x if math.isnan(x) else max(-x, 0.0) for x in change], 14, 1 / 14, 0.5)
    values["rsi_14"] = 100 * gain / (gain + loss) if gain + loss > 0 else NAN
    mean, std = moments(close, 20)
    values["bollinger_b"] = (close[-1] - mean + 2 * std) / (4 * std) if std > 0 else NAN
    short, long = moments(volume, 12)[0], moments(volume, 48)[0]
    values["volume_regime"] = math.log(short / long) if short > 0 and long > 0 else NAN
    short, long = (math.hypot(*moments(returns, n)) for n in (12, 48))
    values["volatility_regime"] = math.log(short / long) if short > 0 and long > 0 else NAN
    return values


def share(bars: list[Bar], window: int) -> float:
    recent = [bar for bar in bars[-window:] if bar.valid]
    volume = sum(bar.volume for bar in recent)
    if len(bars) < window or len(recent) < 0.75 * window or not volume:
        return NAN
    return sum(size if side == BID else -size for bar in recent for side, _, size in bar.trades) / volume


def toxicity(bars: list[Bar]) -> float:
    """VPIN, from the first bar on."""
    volume = [float(bar.volume) if bar.valid else NAN for bar in bars]
    closed: list[float] = []
    size, filled, bought = NAN, 0.0, 0.0
    for n, bar in enumerate(bars):
        if not bar.valid or not bar.volume:
            continue
        usual = moments(volume[: n + 1], 48)[0]
        if math.isnan(size):
            size = usual
        left, excess = float(bar.volume), 2 * bar.bought - 1
        while left > 0 and size > 0:
            piece = min(left, size - filled)
            filled, bought, left = filled + piece, bought + piece * excess, left - piece
            if filled >= size:
                closed.append(abs(bought) / size)
                size, filled, bought = usual, 0.0, 0.0
    return float(np.mean(closed[-50:])) if len(closed) >= 50 else NAN


def integrated(flows: list[NDArray[np.float64]]) -> float:
    recent = np.array(flows[-48:])
    known = recent[~np.isnan(recent[:, 0])]
    if len(recent) < 48 or len(known) < 36:
        return NAN
    covariance = np.cov(known.T)
    if not np.trace(covariance) > 0:
        return NAN
    weights = np.linalg.matrix_power(covariance / np.trace(covariance), 16) @ np.ones(10)
    weights /= np.abs(weights).sum()
    return float(weights @ flows[-1] * (1 if weights.sum() >= 0 else -1))


def more_values(bars: list[Bar]) -> dict[str, float]:
    bar = bars[-1]
    values: dict[str, float] = {}
    flows = [
        np.sum(b.levels or [[0] * 10], axis=0) / weighted(b, "top_10")[0] if b.valid and b.samples else np.full(10, NAN)
        for b in bars
    ]
    values["ofi_5"], values["ofi_10"] = float(flows[-1][:5].sum()), float(flows[-1].sum())
    values["ofi_integrated"] = integrated(flows)
    depth = math.exp(bar.depth)
    sold_by, bought_by = (sum(size for side, _, size in bar.trades if side == which) for which in (1, 0))
    gone = bar.removed[0] - sold_by, bar.removed[1] - bought_by
    values["addition_rate"] = sum(bar.added) / depth
    values["addition_skew"] = (bar.added[0] - bar.added[1]) / sum(bar.added) if sum(bar.added) else NAN
    values["cancellation_rate"] = sum(gone) / depth
    apart = abs(gone[0]) + abs(gone[1])
    values["cancellation_skew"] = (gone[0] - gone[1]) / apart if apart else NAN
    values["resilience"] = bar.refilled / bar.volume if bar.volume else NAN
    signs = np.array([1 - 2 * side for side, _, _ in bar.trades])
    values["trade_sign_autocorrelation"] = float(np.mean(signs[1:] * signs[:-1])) if len(signs) > 1 else NAN
    for window in (4, 12, 48):
        values[f"signed_volume_{window}"] = share(bars, window)
    values.update(impact(bars))
    for name, trades in (("effective_spread", bar.paid), ("realised_spread", bar.kept)):
        sizes = [size for size, _ in trades]
        values[name] = float(np.average([spread for _, spread in trades], weights=sizes)) if trades else NAN
    values["vpin"] = toxicity(bars)
    moves = np.array([move for move, _ in bar.moves])
    pairs = math.pi / 2 * sum(abs(move * before) for move, before in bar.moves if before is not None)
    values["realised_volatility"] = 1e4 * math.sqrt(np.mean(moves**2)) if len(moves) else NAN
    values["bipower_volatility"] = 1e4 * math.sqrt(pairs / len(moves)) if len(moves) else NAN
    values["jump_share"] = 1 - pairs / float(np.sum(moves**2)) if np.any(moves) else NAN
    count = [float(len(b.trades)) if b.valid else NAN for b in bars]
    frames = [float(len(b.flows)) if b.valid else NAN for b in bars]
    for name, series in (("trade_intensity", count), ("quote_intensity", frames)):
        usual = moments(series, 48)[0]
        values[name] = math.log(series[-1] / usual) if usual > 0 and series[-1] > 0 else NAN
    values["quotes_per_trade"] = math.log(frames[-1] / count[-1]) if frames[-1] and count[-1] else NAN
    values["time_since_trade"] = bar.since / (bar.close_ms - bar.open_ms) if bar.since >= 0 else NAN
    for n in (1, 12):
        before = bars[-1 - n] if len(bars) > n and bars[-1 - n].valid else Bar(0)
        values[f"microprice_momentum_{n}"] = 1e4 * math.log(bar.microprice / before.microprice)
        values[f"open_interest_change_{n}"] = 1e4 * math.log(bar.interest / before.interest)
    values["funding_rate"], values["time_to_funding"], values["basis"] = bar.funding, bar.to_funding, bar.basis
    recent = [b.liquidated for b in bars[-48:] if b.valid]
    longs, shorts = (sum(pair[side] for pair in recent) for side in (0, 1))
    enough = len(bars) >= 48 and len(recent) >= 36 and longs + shorts
    values["liquidation_imbalance"] = (longs - shorts) / (longs + shorts) if enough else NAN
    for name, period, shift in (("day", 86_400_000, 0), ("week", 7 * 86_400_000, 3 * 86_400_000)):
        angle = 2 * math.pi * ((bar.close_ms + shift) % period) / period
        values[f"{name}_sin"], values[f"{name}_cos"] = math.sin(angle), math.cos(angle)
    return values


def impact(bars: list[Bar]) -> dict[str, float]:
    close = [float(b.prices[-1]) if b.valid and b.prices[-1] > 0 else NAN for b in bars]
    returns = np.log(np.array(close) / np.array([NAN, *close[:-1]]))[-48:]
    signed = np.array([2 * b.bought * b.volume - b.volume if b.volume else 0.0 for b in bars])[-48:]
    volume = np.array([float(b.volume) for b in bars])[-48:]
    valid = np.array([b.valid for b in bars])[-48:]
    values = {"kyle_lambda": NAN, "amihud": NAN, "roll_spread": NAN}
    if len(returns) < 48:
        return values
    known = ~np.isnan(returns) & valid
    if known.sum() >= 36 and np.ptp(signed[known]) > 0:
        covariance = np.cov(returns[known], signed[known])
        values["kyle_lambda"] = float(1e4 * covariance[0, 1] / covariance[1, 1] * volume[known].mean())
    traded = known & (volume > 0)
    if traded.sum() >= 36:
        ratio = np.abs(returns[traded]) / volume[traded]
        values["amihud"] = float(1e4 * ratio.mean() * volume[traded].mean())
    away = returns - np.nanmean(returns) if known.any() else returns
    products = away[1:] * away[:-1]
    if known.sum() >= 36 and (~np.isnan(products)).sum() >= 36:
        covariance_1 = float(np.nanmean(products))
        values["roll_spread"] = float(-np.sign(covariance_1) * 2e4 * np.sqrt(abs(covariance_1)))
    return values
