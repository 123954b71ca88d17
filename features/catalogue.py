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
Sources of the single features stand beside them in the catalogue.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from features import _history, _indicators, _layout
from features._declared import FIRST_FEATURES, METRICS
from features._declared_more import MORE_FEATURES, MORE_METRICS
from features._spec import HOUR_MS, FeatureSpec
from features.bars import BY_TIME, BarRule
from market.errors import DataError

#: Part of every hash: raise it whenever a value changes although its declaration does not.
ENGINE_VERSION = 3

#: All features, in the order of the engine's columns at full depth.
FEATURES: tuple[FeatureSpec, ...] = (*FIRST_FEATURES, *MORE_FEATURES)

assert len(FEATURES) == _indicators.VALUES
assert len(METRICS) == _indicators.LEVEL_METRICS == _layout.LOG_DEPTH
assert len(MORE_METRICS) == _history.BOOK_METRICS


def feature_columns(levels: int) -> tuple[int, ...]:
    """Columns of the full vector that exist when `levels` levels a side are used.

    What needs more levels than are used is left out, and so is an imbalance over as many: it is ``imbalance_all`` under
    another name.

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
        if not (spec.levels > max(levels, 1) or (spec.name.startswith("imbalance") and spec.levels >= levels))
    )


def feature_names(levels: int) -> tuple[str, ...]:
    """Names of the columns of ``Bars.values`` when `levels` levels a side are used.

    Raises
    ------
    DataError
        `levels` is less than 1.
    """
    return tuple(FEATURES[column].name for column in feature_columns(levels))


def sampling_ms(timeframe_ms: int) -> int:
    """How far apart the instants lie at which the shape of the book is looked at, ms.

    A second; less where a bar would get less than 50 of them; always a divisor of the bar's length.
    """
    most = max(1, min(1_000, timeframe_ms // 50))
    return next(step for step in range(most, 0, -1) if timeframe_ms % step == 0)


def spec_hash(timeframe_ms: int, levels: int, stall_ms: int, rule: BarRule = BY_TIME, sample_ms: int = 0) -> str:
    """Fingerprint of what the values mean: SHA-256 (hex) of the declarations, the settings and the engine's version."""
    document = {
        "engine": ENGINE_VERSION,
        "features": [asdict(FEATURES[column]) for column in feature_columns(levels)],
        "timeframe_ms": timeframe_ms,
        "levels": levels,
        "stall_ms": stall_ms,
        "bars": [rule.kind, rule.threshold],
        "sample_ms": sample_ms or sampling_ms(timeframe_ms),
        "hole_ms": _layout.HOLE_MS,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def catalogue_markdown() -> str:
    """The catalogue as a Markdown page; ``docs/features.md`` is it."""
    lines = [
        "# Features",
        "",
        f"{len(FEATURES)} features a bar. Unknown is NaN. The shape of the book is sampled at every whole second (more "
        "often where a bar would get fewer than 50 samples), and what happens (order flow of the best levels, "
        "additions, cancellations, trades) is counted event by event. A window counts time: an unknown bar takes its "
        "place in it, and a value needs three quarters of its window known. Nothing is carried across a hole of more "
        "than 60 minutes. z-scores and standard deviations are of the population and include the bar itself. What "
        "tickers measure is unknown from a gap, and when no ticker came for the time of a stall, until the next one; "
        "an announced funding holds until its time.",
        "",
        "| feature | formula | unit | source | inputs | warm-up | reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in FEATURES:
        warm = f"{spec.warmup_ms // HOUR_MS} h" if spec.warmup_ms else f"{spec.warmup_bars} bars"
        formula = spec.formula.replace("|", "\\|")
        inputs = ", ".join(spec.inputs)
        lines.append(
            f"| `{spec.name}` | {formula} | {spec.unit} | {spec.source} | {inputs} | {warm} | {spec.reference} |"
        )
    return "\n".join(lines) + "\n"
