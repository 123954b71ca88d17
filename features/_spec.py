"""How a feature is declared."""

from __future__ import annotations

from dataclasses import dataclass

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
        ``book``, ``trades``, both, ``tickers``, ``liquidations`` or ``clock``.
    inputs
        What it is computed from.
    warmup_bars
        Valid bars in a row until the first value, this one included.
    warmup_ms
        For features whose window is a time: that time, instead.
    levels
        Levels a side that the feature looks at; 0 means all that are used, or none.
    reference
        Paper or textbook that the formula is from; empty where it is plain arithmetic.
    """

    name: str
    formula: str
    unit: str
    source: str
    inputs: tuple[str, ...]
    warmup_bars: int = 1
    warmup_ms: int = 0
    levels: int = 0
    reference: str = ""


_METRIC_REFERENCES = {
    "imbalance": "Gould, Bonart (2016), Queue imbalance as a one-tick-ahead price predictor",
    "microprice": "Stoikov (2018), The micro-price",
    "depth_slope": "Næs, Skjeltorp (2006), Order book characteristics",
    "elasticity": "Næs, Skjeltorp (2006), Order book characteristics",
    "pressure": "Cao, Hansch, Wang (2009), The information content of an open limit-order book",
    "weighted_mid": "Cao, Hansch, Wang (2009), The information content of an open limit-order book",
}


def reference_of(metric: str) -> str:
    return next((text for start, text in _METRIC_REFERENCES.items() if metric.startswith(start)), "")


PARTS = (
    ("mean", "mean over the bar's samples of "),
    ("std", "standard deviation over the bar's samples of "),
    ("last", "at the close: "),
)


def bar(
    name: str,
    formula: str,
    unit: str,
    source: str,
    inputs: str,
    warmup_bars: int = 1,
    warmup_ms: int = 0,
    levels: int = 0,
    reference: str = "",
) -> FeatureSpec:
    return FeatureSpec(
        name, formula, unit, source, tuple(inputs.split(", ")), warmup_bars, warmup_ms, levels, reference
    )


def metric(name: str, formula: str, unit: str, levels: int, parts: tuple[tuple[str, str], ...]) -> list[FeatureSpec]:
    """The features that a metric of the book gives, one for each of `parts`."""
    return [
        FeatureSpec(
            f"{name}_{part}", what + formula, unit, "book", ("levels",), levels=levels, reference=reference_of(name)
        )
        for part, what in parts
    ]
