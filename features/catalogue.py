"""The catalogue: every feature, declared once.

The declaration names the columns of the engine's values, gives the page that :func:`catalogue_markdown` prints, and
goes into the hash by which a model knows its features. The formulas are what ``tests/features`` recomputes slowly.

References
----------
Cont, Kukanov, Stoikov (2014), The price impact of order book events, J. Financial Econometrics 12(1).
Stoikov (2018), The micro-price, Quantitative Finance 18(12): ours is its first approximation, the weighted mid.
Næs, Skjeltorp (2006), Order book characteristics and the volume-volatility relation, J. Financial Markets 9(4): slope
and elasticity of the book.
Wilder (1978), New concepts in technical trading systems: ATR and RSI. Bollinger (2001): %b.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from features import _indicators, _layout
from market.errors import DataError

#: Part of every hash: raise it whenever a value changes although its declaration does not.
ENGINE_VERSION = 1

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """Declaration of one feature.

    Attributes
    ----------
    name
        Column name.
    formula
        Definition. q is a size, d a distance from the mid m, B and A the depth of bids and asks: the sizes of all
        levels that are used; C, V, N are a bar's close, volume and number of trades.
    unit
        Of the value; never a price or a coin.
    source
        ``book``, ``trades`` or both.
    inputs
        What it is computed from.
    warmup_bars
        Valid bars in a row until the first value, this one included.
    warmup_ms
        For features whose window is a time: that time, instead.
    levels
        Levels a side that the feature looks at; 0 means all that are used, or none.
    """

    name: str
    formula: str
    unit: str
    source: str
    inputs: tuple[str, ...]
    warmup_bars: int = 1
    warmup_ms: int = 0
    levels: int = 0


#: Metrics of one moment's book, in the order in which the engine computes them: name, formula, unit, levels.
METRICS: tuple[tuple[str, str, str, int], ...] = (
    ("spread", "(ask - bid) / m", "bps", 1),
    *(
        (f"imbalance_{name}", f"(B{mark} - A{mark}) / (B{mark} + A{mark}){what}", "-1 to 1", count)
        for name, mark, what, count in (
            ("1", "₁", " of the best level", 1),
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

_PARTS = (
    ("mean", "time-weighted mean over the bar of "),
    ("std", "time-weighted standard deviation over the bar of "),
    ("last", "at the close: "),
)


def _bar(
    name: str, formula: str, unit: str, source: str, inputs: str, warmup_bars: int = 1, warmup_ms: int = 0
) -> FeatureSpec:
    return FeatureSpec(name, formula, unit, source, tuple(inputs.split(", ")), warmup_bars, warmup_ms)


_LONG, _SHORT, _BANDS = _indicators.LONG, _indicators.SHORT, _indicators.BOLLINGER
_Z = f"z-score within the last {_LONG} bars of "
_FLOW = (
    "f = e / (q_bid + q_ask + their sizes before), e the order flow of a book message at the best levels (Cont et al.)"
)

#: All features, in the order of the engine's columns at full depth.
FEATURES: tuple[FeatureSpec, ...] = (
    *(
        FeatureSpec(f"{name}_{part}", what + formula, unit, "book", ("levels",), levels=levels)
        for name, formula, unit, levels in METRICS
        for part, what in _PARTS
    ),
    _bar("depth_z", _Z + "the bar's time-weighted mean of ln(B + A)", "z-score", "book", "levels", _LONG),
    _bar("depth_std", "time-weighted standard deviation over the bar of ln(B + A)", "log ratio", "book", "levels"),
    _bar("depth_last", "ln(B + A) at the close less its mean over the bar", "log ratio", "book", "levels"),
    _bar("ofi_mean", f"mean over the bar's book messages of {_FLOW}", "-1 to 1", "book", "best levels"),
    _bar("ofi_std", "standard deviation over the bar's book messages of f", "0 to 1", "book", "best levels"),
    _bar("ofi_last", "f of the bar's last book message", "-1 to 1", "book", "best levels"),
    _bar("ofi_sum", "sum over the bar of e / time-weighted mean of (q_bid + q_ask)", "ratio", "book", "best levels"),
    _bar("taker_buy_ratio", "volume bought by takers / V", "0 to 1", "trades", "size, side"),
    _bar("taker_buy_ratio_z", _Z + "taker_buy_ratio", "z-score", "trades", "size, side", _LONG),
    _bar("volume_z", _Z + "V", "z-score", "trades", "size", _LONG),
    _bar("trade_count_z", _Z + "N", "z-score", "trades", "trades", _LONG),
    _bar("vwap_distance_4h", "(C - vwap) / vwap, of the last 4 h", "bps", "trades", "price, size", 0, 4 * HOUR_MS),
    _bar("vwap_distance_24h", "(C - vwap) / vwap, of the last 24 h", "bps", "trades", "price, size", 0, 24 * HOUR_MS),
    _bar("atr_14", "ATR(14) / C, Wilder's", "bps", "trades", "high, low, close", 14),
    *(_bar(f"ema_distance_{n}", f"(C - EMA({n})) / EMA({n})", "bps", "trades", "close", n) for n in (9, 21, 50)),
    _bar("rsi_14", "100 * gain / (gain + loss), Wilder's averages of 14", "0 to 100", "trades", "close", 15),
    _bar(
        "bollinger_b",
        f"(C - lower) / (upper - lower), bands 2 standard deviations off the mean of {_BANDS} closes",
        "0 to 1 inside the bands",
        "trades",
        "close",
        _BANDS,
    ),
    _bar(
        "volume_regime",
        f"ln(mean V of {_SHORT} bars / mean V of {_LONG} bars)",
        "log ratio",
        "trades",
        "size",
        _LONG,
    ),
    _bar(
        "volatility_regime",
        f"ln(rms of {_SHORT} log returns / rms of {_LONG} log returns)",
        "log ratio",
        "trades",
        "close",
        _LONG,
    ),
    _bar(
        "price_liquidity_divergence",
        f"{_Z}ln(C / previous C), less that of depth_log_ratio_mean",
        "z-score",
        "book and trades",
        "close, levels",
        _LONG,
    ),
    _bar(
        "liquidity_dominance",
        "D / (D + V), D the geometric time-weighted mean of B + A",
        "0 to 1",
        "book and trades",
        "levels, size",
    ),
)

assert len(FEATURES) == _indicators.VALUES
assert len(METRICS) == _indicators.LEVEL_METRICS == _layout.LOG_DEPTH


def feature_columns(levels: int) -> tuple[int, ...]:
    """Columns of the full vector that exist when `levels` levels a side are used.

    An imbalance over as many levels as are used, or more, is ``imbalance_all`` under another name and left out.

    Raises
    ------
    DataError
        `levels` is less than 1.
    """
    if levels < 1:
        raise DataError(f"{levels} book levels a side", advice="Use at least one level")
    return tuple(
        column
        for column, spec in enumerate(FEATURES)
        if not (spec.name.startswith("imbalance") and spec.levels >= levels)
    )


def feature_names(levels: int) -> tuple[str, ...]:
    """Names of the columns of ``Bars.values`` when `levels` levels a side are used.

    Raises
    ------
    DataError
        `levels` is less than 1.
    """
    return tuple(FEATURES[column].name for column in feature_columns(levels))


def spec_hash(timeframe_ms: int, levels: int, stall_ms: int) -> str:
    """Fingerprint of what the values mean: SHA-256 (hex) of the declarations, the settings and the engine's version."""
    document = {
        "engine": ENGINE_VERSION,
        "features": [asdict(FEATURES[column]) for column in feature_columns(levels)],
        "timeframe_ms": timeframe_ms,
        "levels": levels,
        "stall_ms": stall_ms,
        "hole_ms": _layout.HOLE_MS,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def catalogue_markdown() -> str:
    """The catalogue as a Markdown page."""
    lines = [
        "# Features",
        "",
        f"{len(FEATURES)} features a bar. Unknown is NaN. A window counts time: an unknown bar takes its place in it, "
        "and a value needs three quarters of its window known. Nothing is carried across a hole of more than 60 "
        "minutes. z-scores and standard deviations are of the population and include the bar itself.",
        "",
        "| feature | formula | unit | source | inputs | warm-up |",
        "|---|---|---|---|---|---|",
    ]
    for spec in FEATURES:
        warm = f"{spec.warmup_ms // HOUR_MS} h" if spec.warmup_ms else f"{spec.warmup_bars} bars"
        formula = spec.formula.replace("|", "\\|")
        lines.append(f"| `{spec.name}` | {formula} | {spec.unit} | {spec.source} | {', '.join(spec.inputs)} | {warm} |")
    return "\n".join(lines) + "\n"
