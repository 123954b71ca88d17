"""What the market looks like: order book, bars and the feature vector.

One definition for batch and live: :class:`FeatureEngine` is driven by the same compiled code over years of the lake
and over single events, and gives the same bits. :data:`FEATURES` declares every value; :func:`spec_hash` is how a model
knows that it gets what it was trained on; :class:`FeatureStore` keeps built bars on disk.

This room will never know where events come from, what is done with the values, or what a profit is; it fills nothing
in: what is not known is NaN.
"""

from features._spec import FeatureSpec
from features.bars import BarRule, Bars
from features.catalogue import FEATURES, catalogue_markdown, feature_names, spec_hash
from features.engine import FeatureEngine, Quote
from features.lookahead import LookaheadReport, check_lookahead
from features.store import FeatureStore, build, timeframe_label

__all__ = [
    "FEATURES",
    "BarRule",
    "Bars",
    "FeatureEngine",
    "FeatureSpec",
    "FeatureStore",
    "LookaheadReport",
    "Quote",
    "build",
    "catalogue_markdown",
    "check_lookahead",
    "feature_names",
    "spec_hash",
    "timeframe_label",
]
