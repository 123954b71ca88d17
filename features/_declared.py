"""Features of the first version of the engine: the shape of the book and its order flow, and what bars tell."""

from __future__ import annotations

from features import _indicators
from features._spec import HOUR_MS, PARTS, FeatureSpec, bar, metric

#: Metrics of one moment's book, in the order in which the engine computes them: name, formula, unit, levels.
METRICS: tuple[tuple[str, str, str, int], ...] = (
    ("spread", "(ask - bid) / m", "bps", 1),
    *(
        (f"imbalance_{name}", f"(B{mark} - A{mark}) / (B{mark} + A{mark}){what}", "-1 to 1", count)
        for name, mark, what, count in (
            ("1", "₁", " of the best level: the queue imbalance", 1),
            ("5", "₅", " of 5 levels", 5),
            ("10", "₁₀", " of 10 levels", 10),
            ("50", "₅₀", " of 50 levels", 50),
            ("all", "", "", 0),
        )
    ),
    ("depth_log_ratio", "ln(B / A)", "log ratio", 0),
    ("microprice", "((bid * q_ask + ask * q_bid) / (q_bid + q_ask) - m) / m, best levels", "bps", 1),
    (
        "depth_slope",
        "mean over sides of s = sum(d * c) / sum(d^2): least squares through the mid of the cumulative share of depth "
        "c on the distance d",
        "1/bps",
        0,
    ),
    ("depth_slope_skew", "(s_bid - s_ask) / (|s_bid| + |s_ask|)", "-1 to 1", 0),
    (
        "elasticity",
        "mean over sides of e = ln(depth / best size) / ln(d_last / d_best), d at least half a tick",
        "exponent",
        0,
    ),
    ("elasticity_skew", "e_bid - e_ask", "exponent", 0),
    ("integrity", "(q_bid + q_ask) / (B + A), best sizes over depth", "0 to 1", 0),
    ("integrity_skew", "q_bid / B - q_ask / A, best sizes over depth", "-1 to 1", 0),
    ("depth_skew", "(D_ask - D_bid) / (|D_ask| + |D_bid|), D the size-weighted mean distance", "-1 to 1", 0),
)

_LONG, _SHORT, _BANDS = _indicators.LONG, _indicators.SHORT, _indicators.BOLLINGER
_Z = f"z-score within the last {_LONG} bars of "
_FLOW = (
    "f = e / (q_bid + q_ask + their sizes before), e the order flow of a book message at the best levels (Cont et al.)"
)

#: In the order of the engine's columns.
FIRST_FEATURES: tuple[FeatureSpec, ...] = (
    *(spec for row in METRICS for spec in metric(*row, PARTS)),
    bar("depth_z", _Z + "the bar's mean of ln(B + A)", "z-score", "book", "levels", _LONG),
    bar("depth_std", "standard deviation over the bar's samples of ln(B + A)", "log ratio", "book", "levels"),
    bar("depth_last", "ln(B + A) at the close less its mean over the bar", "log ratio", "book", "levels"),
    bar("ofi_mean", f"mean over the bar's book messages of {_FLOW}", "-1 to 1", "book", "best levels"),
    bar("ofi_std", "standard deviation over the bar's book messages of f", "0 to 1", "book", "best levels"),
    bar("ofi_last", "f of the bar's last book message", "-1 to 1", "book", "best levels"),
    bar("ofi_sum", "sum over the bar of e / mean of (q_bid + q_ask)", "ratio", "book", "best levels"),
    bar("taker_buy_ratio", "volume bought by takers / V", "0 to 1", "trades", "size, side"),
    bar("taker_buy_ratio_z", _Z + "taker_buy_ratio", "z-score", "trades", "size, side", _LONG),
    bar("volume_z", _Z + "V", "z-score", "trades", "size", _LONG),
    bar("trade_count_z", _Z + "N", "z-score", "trades", "trades", _LONG),
    bar("vwap_distance_4h", "(C - vwap) / vwap, of the last 4 h", "bps", "trades", "price, size", 0, 4 * HOUR_MS),
    bar("vwap_distance_24h", "(C - vwap) / vwap, of the last 24 h", "bps", "trades", "price, size", 0, 24 * HOUR_MS),
    bar("atr_14", "ATR(14) / C, Wilder's", "bps", "trades", "high, low, close", 14),
    *(bar(f"ema_distance_{n}", f"(C - EMA({n})) / EMA({n})", "bps", "trades", "close", n) for n in (9, 21, 50)),
    bar("rsi_14", "100 * gain / (gain + loss), Wilder's averages of 14", "0 to 100", "trades", "close", 15),
    bar(
        "bollinger_b",
        f"(C - lower) / (upper - lower), bands 2 standard deviations off the mean of {_BANDS} closes",
        "0 to 1 inside the bands",
        "trades",
        "close",
        _BANDS,
    ),
    bar(
        "volume_regime",
        f"ln(mean V of {_SHORT} bars / mean V of {_LONG} bars)",
        "log ratio",
        "trades",
        "size",
        _LONG,
    ),
    bar(
        "volatility_regime",
        f"ln(rms of {_SHORT} log returns / rms of {_LONG} log returns)",
        "log ratio",
        "trades",
        "close",
        _LONG,
    ),
    bar(
        "price_liquidity_divergence",
        f"{_Z}ln(C / previous C), less that of depth_log_ratio_mean",
        "z-score",
        "book and trades",
        "close, levels",
        _LONG,
    ),
    bar(
        "liquidity_dominance",
        "D / (D + V), D the geometric mean of B + A",
        "0 to 1",
        "book and trades",
        "levels, size",
    ),
)
