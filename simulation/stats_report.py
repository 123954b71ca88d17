"""Stylised facts of several markets side by side: as a table for a terminal, and as a page with charts."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.stats import INTERVALS_S, LAGS, QUANTILES, Facts

_COLOURS = ("#6d3bbd", "#0b7a75", "#b3541e", "#3a5a9b", "#8a2b52", "#5a6b1f")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 560, 280, 64, 14, 16, 44
#: Charts of each fact with more than one number: title, unit, where its values are, names of its points, source.
_Values = Callable[[Facts], NDArray[np.float64]]
_Chart = tuple[str, str, _Values, Sequence[object], str]
_CHARTS: tuple[_Chart, ...] = (
    (
        "Displayed size by level, relative to the mean level",
        "level",
        lambda facts: facts.depth.mean(axis=0) / facts.depth.mean(),
        range(1, 11),
        "Biais, Hillion and Spatt 1995; Bouchaud, Mezard and Potters 2002",
    ),
    (
        "Autocorrelation of one-second returns",
        "lag, s",
        lambda facts: facts.acf_returns,
        LAGS,
        "Cont 2001: close to none beyond the first seconds",
    ),
    (
        "Autocorrelation of absolute one-second returns",
        "lag, s",
        lambda facts: facts.acf_absolute,
        LAGS,
        "Cont 2001: volatility comes in clusters",
    ),
    (
        "Autocorrelation of absolute one-minute returns",
        "lag, min",
        lambda facts: facts.acf_absolute_1m,
        LAGS,
        "Cont 2001: and for long",
    ),
    (
        "Autocorrelation of trade signs",
        "lag, trades",
        lambda facts: facts.acf_signs,
        LAGS,
        "Lillo and Farmer 2004: orders are split, so signs persist",
    ),
    (
        "Signature plot: volatility of a minute, bps, by sampling interval",
        "interval, s",
        lambda facts: facts.signature_bps,
        INTERVALS_S,
        "Andersen, Bollerslev, Diebold and Labys 2000: flat where prices are a martingale",
    ),
    (
        "Volatility by hour of the day, relative to the mean",
        "hour, UTC",
        lambda facts: facts.hourly_volatility,
        range(24),
        "Admati and Pfleiderer 1988; Hansen, Kim and Kimbrough 2021",
    ),
    (
        "Trades a second by hour of the day, relative to the mean",
        "hour, UTC",
        lambda facts: facts.hourly_trades,
        range(24),
        "Admati and Pfleiderer 1988; Hansen, Kim and Kimbrough 2021",
    ),
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222;"
    "background:#fff}"
    "h1{font-size:1.6rem}figure{margin:0}figcaption{font-size:.95rem;font-weight:600;margin-bottom:.3rem}"
    "small{color:#555;font-weight:400;display:block}"
    "main{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1.6rem}"
    "table{border-collapse:collapse;margin:1rem 0 2rem}td,th{padding:.25rem 1rem .25rem 0;text-align:right}"
    "td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}th{border-bottom:1px solid #999}"
    "td{font-variant-numeric:tabular-nums;border-bottom:1px solid #eee}svg{width:100%;height:auto}"
    ".scroll{overflow-x:auto}.key{display:inline-block;width:.8rem;height:.8rem;border-radius:50%;"
    "margin:0 .35rem 0 1rem}.name{white-space:nowrap}"
)


def fact_rows(markets: Sequence[Facts]) -> list[tuple[str, list[str], str]]:
    """One row a fact: its name, its value in each market, and where it was found."""
    rows: list[tuple[str, list[str], str]] = []

    def add(name: str, source: str, value: Callable[[Facts], Any], digits: int = 2) -> None:
        rows.append((name, [_number(value(facts), digits) for facts in markets], source))

    spreads = "Biais, Hillion and Spatt 1995"
    add("hours", "", lambda f: f.hours, 1)
    for k, share in enumerate(QUANTILES):
        add(f"spread, ticks, {share:.0%} quantile", spreads, _place(lambda f: f.spread_ticks, k), 1)
    add("spread, bps, median", spreads, lambda f: f.spread_bps[1], 3)
    add("displayed at the best price, coins", spreads, lambda f: f.depth[:, 0].mean(), 3)
    add("displayed within 10 levels of a side, coins", spreads, lambda f: f.depth.sum() / 2, 2)
    flow = "Farmer, Patelli and Zovko 2005"
    add("trades a second", flow, lambda f: f.trades_s)
    add("book messages a second", flow, lambda f: f.messages_s)
    add("level changes a second", flow, lambda f: f.changes_s, 1)
    add("cancelled over added size", flow, lambda f: f.cancel_ratio)
    for k, share in enumerate(QUANTILES):
        add(f"trade size, coins, {share:.0%} quantile", "Gopikrishnan et al. 2000", _place(lambda f: f.sizes, k), 4)
    add("volatility of a minute, bps", "", lambda f: f.volatility_bps)
    add("excess kurtosis, 1 s", "Cont 2001", lambda f: f.kurtosis_1s, 1)
    add("excess kurtosis, 1 min", "Cont 2001", lambda f: f.kurtosis_1m, 1)
    series: tuple[tuple[str, _Values], ...] = (
        ("returns, 1 s", lambda f: f.acf_returns),
        ("absolute returns, 1 s", lambda f: f.acf_absolute),
    )
    for name, values in series:
        for lag in (1, 10, 60):
            at = LAGS.index(lag)
            add(f"autocorrelation of {name}, lag {lag}", "Cont 2001", _place(values, at), 3)
    for lag in (1, 10):
        at = LAGS.index(lag)
        add(
            f"autocorrelation of absolute returns, 1 min, lag {lag}",
            "Cont 2001",
            _place(lambda f: f.acf_absolute_1m, at),
            3,
        )
    for lag in (1, 10):
        at = LAGS.index(lag)
        add(f"autocorrelation of trade signs, lag {lag}", "Lillo and Farmer 2004", _place(lambda f: f.acf_signs, at), 3)
    impact = "Cont, Kukanov and Stoikov 2014"
    add("impact of order-flow imbalance, ticks a deviation, 10 s", impact, lambda f: f.impact_ticks)
    add("impact of order-flow imbalance, R squared", impact, lambda f: f.impact_r2)
    ratio = "Andersen et al. 2000"
    add("signature: volatility at 1 s over 60 s", ratio, lambda f: f.signature_bps[0] / f.signature_bps[5])
    return rows


def _place(values: _Values, at: int) -> Callable[[Facts], float]:
    """One of a fact's numbers."""
    return lambda facts: float(values(facts)[at])


def facts_text(markets: Sequence[Facts]) -> str:
    """The facts as a table for a terminal."""
    rows = fact_rows(markets)
    first = max(len(name) for name, _, _ in rows)
    widths = [max(len(facts.name), *(len(row[1][k]) for row in rows)) for k, facts in enumerate(markets)]
    lines = ["  ".join([" " * first, *(f.name.rjust(w) for f, w in zip(markets, widths)), "found by"])]
    for name, values, source in rows:
        lines.append("  ".join([name.ljust(first), *(v.rjust(w) for v, w in zip(values, widths)), source]).rstrip())
    return "\n".join(lines) + "\n"


def facts_page(markets: Sequence[Facts], title: str = "Stylised facts") -> str:
    """The facts as a self-contained HTML page with charts."""
    key = "".join(
        f'<span class="name"><span class="key" style="background:{_colour(k)}"></span>{html.escape(facts.name)}</span> '
        for k, facts in enumerate(markets)
    )
    head = "".join(f"<th>{html.escape(facts.name)}</th>" for facts in markets)
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{html.escape(v)}</td>' for v in values)}"
        f"<td>{html.escape(source)}</td></tr>"
        for name, values, source in fact_rows(markets)
    )
    charts = "".join(_chart(markets, *chart) for chart in _CHARTS)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1><p>Markets side by side, measured by the same code on the same kind of event "
        f'stream.{key}</p><main>{charts}</main><h2>Numbers</h2><div class="scroll"><table><tr><th></th>{head}'
        f"<th>found by</th></tr>{body}</table></div></body></html>"
    )


def _chart(
    markets: Sequence[Facts],
    title: str,
    unit: str,
    values: _Values,
    points: Sequence[object],
    source: str,
) -> str:
    """Lines over named points; values that are not known leave a hole."""
    series = [values(facts) for facts in markets]
    known = np.concatenate([one[np.isfinite(one)] for one in series])
    low, high = (min(float(known.min()), 0.0), float(known.max())) if len(known) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    high += 0.05 * (high - low)
    low -= 0.05 * (high - low) if low < 0 else 0.0
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(at: int) -> float:
        return _LEFT + width * (at + 0.5) / len(points)

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - low) / (high - low))

    parts = []
    for tick in np.linspace(low, high, 5) if low == 0 else (low, 0.0, high / 2, high):
        place = y(float(tick))
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{_number(float(tick), 2)}</text>')
    every = max(1, len(points) // 12)
    parts += [
        f'<text x="{x(at):.1f}" y="{_HEIGHT - 24}" text-anchor="middle">{points[at]}</text>'
        for at in range(0, len(points), every)
    ]
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(unit)}</text>')
    for k, one in enumerate(series):
        dots = [(x(at), y(float(value))) for at, value in enumerate(one) if np.isfinite(value)]
        line = " ".join(f"{left:.1f},{top:.1f}" for left, top in dots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(k)}" stroke-width="2"/>')
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{_colour(k)}"/>' for left, top in dots]
    return (
        f"<figure><figcaption>{html.escape(title)}<small>{html.escape(source)}</small></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="#444">{"".join(parts)}</svg></figure>'
    )


def _colour(k: int) -> str:
    return _COLOURS[k % len(_COLOURS)]


def _number(value: float, digits: int) -> str:
    return "unknown" if not np.isfinite(value) else f"{value:,.{digits}f}"
