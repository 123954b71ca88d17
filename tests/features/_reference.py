"""The features once more: slow, with dictionaries, whole lists and NumPy, straight from the catalogue's formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from market.events import BID, BOOK, EMPTY, FIRST, LAST, SNAPSHOT, TRADE, EventBatch

HOLE_MS = 3_600_000
NAN = math.nan


@dataclass
class Bar:
    open_ms: int
    first: bool = False
    reset: bool = False
    valid: bool = True
    samples: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)  # from, to, metrics
    last: dict[str, float] | None = None
    flows: list[tuple[float, float]] = field(default_factory=list)  # share, flow
    trades: list[tuple[int, int, int]] = field(default_factory=list)  # side, price, size
    standing: int = -1  # last price before the first trade
    bid: int = -1
    ask: int = -1

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
    values["best"] = float(bid_size + ask_size)
    return values


class Reference:
    """Reads a whole stream, then answers."""

    def __init__(self, events: EventBatch, timeframe_ms: int, levels: int, stall_ms: int) -> None:
        self.timeframe_ms, self.levels, self.stall_ms = timeframe_ms, levels, stall_ms
        self.bars: list[Bar] = []
        self.bar: Bar | None = None
        self.clock, self.last_book, self.last_price = -1, -1, -1
        self.book: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.known = False
        self.now: dict[str, float] | None = None
        self.best: tuple[int, int, int, int] | None = None
        self.windows: list[tuple[float, float]] = []  # suspect
        self.unknown_since: float = -math.inf
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
            return
        if self.known and time_ms - self.last_book > self.stall_ms:
            self.windows.append((self.last_book, time_ms))
        while time_ms >= self.bar.open_ms + self.timeframe_ms:
            self._close(time_ms)
        self._sample(time_ms)

    def _sample(self, until: int) -> None:
        assert self.bar is not None
        if self.now is not None and until > self.clock:
            self.bar.samples.append((self.clock, until, self.now))
        self.clock = until

    def _close(self, time_ms: int) -> None:
        bar = self.bar
        assert bar is not None
        close_ms = bar.open_ms + self.timeframe_ms
        self._sample(close_ms)
        if self.last_book >= 0 and close_ms - self.last_book > HOLE_MS:
            bar.reset = True
            self.last_price = -1
        windows = [*self.windows, *([] if self.known else [(self.unknown_since, math.inf)])]
        bar.valid = not bar.first and not any(a < close_ms and bar.open_ms <= b for a, b in windows)
        bar.last = self.now
        if not bar.trades:
            bar.standing = self.last_price
        if self.known and time_ms - self.last_book <= self.stall_ms:
            bar.bid, bar.ask = max(self.book[0], default=-1), min(self.book[1], default=-1)
        self.bars.append(bar)
        self.windows = [(a, b) for a, b in self.windows if b >= close_ms]
        self.bar = Bar(close_ms)

    def _event(self, kind: int, flags: int, side: int, time_ms: int, price: int, size: int) -> None:
        self._advance(time_ms)
        assert self.bar is not None
        if kind == TRADE:
            self.bar.trades.append((side, price, size))
            self.last_price = price
        elif kind == BOOK:
            self._change(flags, side, price, size)
        else:
            if self.known:
                self.unknown_since = self.clock
            self.windows.append((self.clock, self.clock))
            self.known, self.now, self.best = False, None, None

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
            if size:
                self.book[side][price] = size
            else:
                self.book[side].pop(price, None)
        if self.last_book >= 0 and self.clock - self.last_book > HOLE_MS:
            self.bar.reset = True
            self.last_price = -1
        self.last_book = self.clock
        if flags & LAST:
            self.now = metrics(*self.book, self.levels)
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
            result.append({**book_values(bar), **bar_values(segment, self.timeframe_ms)} if bar.valid else {})
        return result


def weighted(bar: Bar, name: str) -> tuple[float, float]:
    if not bar.samples:
        return NAN, NAN
    weights = np.array([float(b - a) for a, b, _ in bar.samples])
    series = np.array([sample[name] for _, _, sample in bar.samples])
    mean = np.average(series, weights=weights)
    return float(mean), float(np.sqrt(np.average((series - mean) ** 2, weights=weights)))


def book_values(bar: Bar) -> dict[str, float]:
    values: dict[str, float] = {}
    names = bar.samples[0][2] if bar.samples else {}
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
    return float(known.mean()), float(known.std()) if known.max() > known.min() else 0.0


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
