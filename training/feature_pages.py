"""A page for every feature: how it is distributed, how it lasts, what it foretells, and whether that lasts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features import FEATURES, Bars, FeatureSpec, FeatureStore, feature_names
from market.days import lake_days
from market.lake import Lake
from settings import Settings, timeframe_ms
from training._style import STYLE
from training.charts import chart, layer

#: Bars ahead at which the information coefficient is shown.
HORIZONS = (1, 2, 3, 5, 8, 13, 21, 34)
#: The horizon of the page's figures by day, and of the table.
MAIN_HORIZON = 5
_LAGS = 48
_BINS = 60
_FEWEST = 30
_DAY_MS = 86_400_000

Floats = NDArray[np.float64]


def forward_returns(bars: Bars, horizon: int) -> Floats:
    """Log return of the mid (of the last trade where the book is unknown) over the next bars, ``[n]``; NaN unknown.

    A return whose way crosses an invalid bar is unknown.
    """
    quoted = (bars.bid > 0) & (bars.ask > 0)
    price = np.where(quoted, (bars.bid + bars.ask) / 2, bars.close).astype(np.float64)
    price[~bars.valid | (price <= 0)] = np.nan
    ahead = np.full(len(bars), np.nan)
    if horizon < len(bars):
        broken = np.concatenate([[0], np.cumsum(~bars.valid)])
        clean = broken[horizon + 1 :] == broken[: -horizon - 1]
        ahead[:-horizon] = np.where(clean, np.log(price[horizon:] / price[:-horizon]), np.nan)
    return ahead


def information_coefficient(values: Floats, returns: Floats) -> tuple[float, int]:
    """Spearman's rank correlation of a feature with later returns, and the number of pairs; NaN below 30 pairs.

    Ties share their mean rank (Grinold, Kahn 2000, Active Portfolio Management, chapter 6).
    """
    known = np.isfinite(values) & np.isfinite(returns)
    if known.sum() < _FEWEST:
        return math.nan, int(known.sum())
    left, right = _ranks(values[known]), _ranks(returns[known])
    if left.std() == 0.0 or right.std() == 0.0:
        return math.nan, int(known.sum())
    return float(np.corrcoef(left, right)[0, 1]), int(known.sum())


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Floats = (ends - (counts - 1) / 2.0)[place]
    return mean


def autocorrelation(values: Floats, lags: int = _LAGS) -> Floats:
    """Autocorrelation at the lags 1 to `lags`, ``[lags]``, over the pairs that are known; NaN below 30 of them."""
    away = values - np.nanmean(values) if np.isfinite(values).any() else values
    out = np.full(lags, np.nan)
    for lag in range(1, min(lags, len(values) - 1) + 1):
        left, right = away[lag:], away[:-lag]
        known = np.isfinite(left) & np.isfinite(right)
        spread = math.sqrt(float((left[known] ** 2).sum() * (right[known] ** 2).sum()))
        if known.sum() >= _FEWEST and spread > 0.0:
            out[lag - 1] = float((left[known] * right[known]).sum()) / spread
    return out


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """What a page says in figures: share of valid bars in which it is unknown, mean, spread, and the coefficient."""

    name: str
    missing: float
    mean: float
    std: float
    coefficient: float
    pairs: int

    @property
    def t(self) -> float:
        """t statistic of the coefficient, as if the pairs did not overlap."""
        return self.coefficient * math.sqrt(max(self.pairs / MAIN_HORIZON - 2, 0) / (1 - self.coefficient**2))


def write_feature_pages(
    bars: Bars,
    names: Sequence[str],
    folder: Path,
    *,
    title: str,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write an index and a page for each feature.

    Parameters
    ----------
    bars
        At least some valid ones.
    names
        Of the feature columns.
    folder
        Receives ``index.html`` and ``<feature>.html``; created.
    title
        What the bars are of.
    progress
        Called with the number of pages done and of all.

    Returns
    -------
    Path
        The index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specs = {spec.name: spec for spec in FEATURES}
    returns = {horizon: forward_returns(bars, horizon) for horizon in HORIZONS}
    facts = []
    for column, name in enumerate(names):
        values = np.where(bars.valid, bars.values[:, column], np.nan)
        fact = _facts(name, values, bars, returns[MAIN_HORIZON])
        facts.append(fact)
        body = _page(specs[name], fact, values, bars, returns)
        (folder / f"{name}.html").write_text(_document(f"{name} · {title}", body), encoding="utf-8")
        if progress is not None:
            progress(column + 1, len(names))
    index = folder / "index.html"
    index.write_text(_document(f"Features · {title}", _index(title, bars, facts)), encoding="utf-8")
    return index


def pages_of_lake(settings: Settings, symbol: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the pages of all that the lake holds of a symbol, below the reports' folder; returns the index.

    Raises
    ------
    LakeError
        The lake has no data of the symbol, or it is damaged.
    """
    timeframe, market = settings.training.timeframe, settings.market
    bars = FeatureStore(settings.paths.features).by_day(
        lake_days(Lake(settings.paths.lake), symbol),
        symbol,
        timeframe_ms(timeframe),
        market.ob_levels,
        market.stall_ms,
    )
    folder = settings.paths.reports / symbol / "features"
    names = feature_names(market.ob_levels)
    return write_feature_pages(bars, names, folder, title=f"{symbol} {timeframe}", progress=progress)


def _facts(name: str, values: Floats, bars: Bars, returns: Floats) -> FeatureFacts:
    known = values[np.isfinite(values)]
    coefficient, pairs = information_coefficient(values, returns)
    missing = 1.0 - len(known) / max(int(bars.valid.sum()), 1)
    mean, std = (float(known.mean()), float(known.std())) if len(known) else (math.nan, math.nan)
    return FeatureFacts(name, missing, mean, std, coefficient, pairs)


def _page(spec: FeatureSpec, fact: FeatureFacts, values: Floats, bars: Bars, returns: dict[int, Floats]) -> str:
    said = [
        ("formula", spec.formula), ("unit", spec.unit), ("source", spec.source), ("inputs", ", ".join(spec.inputs)),
        ("warm-up", f"{spec.warmup_ms // 3_600_000} h" if spec.warmup_ms else f"{spec.warmup_bars} bars"),
        ("reference", spec.reference), ("unknown", f"{100 * fact.missing:.1f} % of the valid bars"),
        ("mean ± std", f"{_number(fact.mean, '.4g')} ± {_number(fact.std, '.4g')}"),
    ]  # fmt: skip
    rows = "".join(f"<tr><td>{escape(label)}</td><td>{escape(text)}</td></tr>" for label, text in said if text)
    head = f'<p><a href="index.html">All features</a></p><h1>{escape(spec.name)}</h1>'
    table = f'<div class="table"><table class="pairs">{rows}</table></div>'
    if not np.isfinite(values).any():
        return head + table + "<p>It is unknown in every bar of this data.</p>"
    return head + table + "".join(_charts(values, bars, returns))


def _charts(values: Floats, bars: Bars, returns: dict[int, Floats]) -> Iterable[str]:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.005, 0.995])
    shares, edges = np.histogram(np.clip(known, low, high), _BINS)
    yield chart(
        [layer("bars", edges, shares / len(known), "main")],
        title="Distribution",
        note="Share of the bars; the outermost half percent on each side is drawn at the edge.",
        percent=True,
    )
    lags = autocorrelation(values)
    bound = 1.96 / math.sqrt(len(known))
    yield chart(
        [
            layer("line", np.arange(1, len(lags) + 1), lags, "main", "autocorrelation"),
            layer("across", [0.0], [bound], "path", "95 % of noise"),
            layer("across", [0.0], [-bound], "path"),
        ],
        title="Autocorrelation",
        note="By lag in bars: how long what it says goes on.",
    )
    coefficients = [information_coefficient(values, returns[horizon]) for horizon in HORIZONS]
    bounds = [1.96 / math.sqrt(max(count / horizon, 1.0)) for (_, count), horizon in zip(coefficients, HORIZONS)]
    yield chart(
        [
            layer("line", HORIZONS, [value for value, _ in coefficients], "main", "information coefficient"),
            layer("line", HORIZONS, bounds, "path", "95 % of noise"),
            layer("line", HORIZONS, [-bound for bound in bounds], "path"),
        ],
        title="Information coefficient by horizon",
        note="Rank correlation with the return of the mid over so many bars. Returns that overlap count once.",
    )
    days = bars.open_ms // _DAY_MS
    by_day = [(int(day), values[days == day], returns[MAIN_HORIZON][days == day]) for day in np.unique(days)]
    points = [(day, *information_coefficient(own, later)) for day, own, later in by_day]
    means = [float(np.nanmedian(own)) if np.isfinite(own).any() else math.nan for _, own, _ in by_day]
    labels = [(float(day), datetime.fromtimestamp(day * 86_400, UTC).strftime("%m-%d")) for day, _, _ in by_day]
    labels = labels[:: max(1, len(labels) // 8)]
    numbers = [float(day) for day, _, _ in by_day]
    yield chart(
        [layer("dots", numbers, [value for _, value, _ in points], "main")],
        title="Information coefficient by day",
        note=f"Over {MAIN_HORIZON} bars. A feature that only works on some days is no feature.",
        x_labels=labels,
    )
    yield chart(
        [layer("dots", numbers, means, "main")],
        title="Median by day",
        note="A feature that drifts is not stationary.",
        x_labels=labels,
    )


def _index(title: str, bars: Bars, facts: Sequence[FeatureFacts]) -> str:
    def order(fact: FeatureFacts) -> float:
        return -abs(fact.coefficient) if math.isfinite(fact.coefficient) else 1.0

    rows = "".join(
        f'<tr><td><a href="{fact.name}.html">{fact.name}</a></td><td>{_number(fact.coefficient, "+.3f")}</td>'
        f"<td>{_number(fact.t, '+.1f') if math.isfinite(fact.coefficient) else '–'}</td>"
        f"<td>{100 * fact.missing:.1f} %</td><td>{_number(fact.mean, '.4g')}</td>"
        f"<td>{_number(fact.std, '.4g')}</td></tr>"
        for fact in sorted(facts, key=order)
    )
    return (
        f"<h1>Features</h1><p>{escape(title)}: {len(bars):,} bars, {int(bars.valid.sum()):,} valid, {len(facts)} "
        f"features, ordered by the information coefficient over {MAIN_HORIZON} bars. With so many features some look "
        f"good by chance: |t| beyond {_bonferroni(len(facts)):.1f} would not.</p>"
        '<div class="table"><table><tr><th>feature</th><th>IC</th><th>t</th><th>unknown</th><th>mean</th><th>std</th>'
        f"</tr>{rows}</table></div>"
    )


def _bonferroni(count: int) -> float:
    """The t beyond which none of so many normal figures lies in 95 % of all cases."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - 0.025 / max(count, 1))


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><main>{body}</main></html>\n"
    )
