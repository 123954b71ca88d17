"""Small charts as inline SVG that stay readable at any width.

The drawing is stretched to the width of the page while strokes keep their width and all text is HTML beside it, so a
phone gets letters of the same size as a desk. Colours are CSS variables of the page: charts follow its dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike

_WIDTH, _HEIGHT = 1000.0, 400.0
#: Points of a line; more cannot be told apart on a screen.
_MOST_POINTS = 600


@dataclass(frozen=True, slots=True)
class Layer:
    """Something drawn.

    Attributes
    ----------
    kind
        ``line``, ``dots``, ``bars`` (x: edges, y: heights), ``across`` (a horizontal rule at y[0]) or ``upright`` (a
        vertical rule at x[0]).
    colour
        Name of a CSS variable of the page.
    label
        For the legend; empty for none.
    """

    kind: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    label: str = ""


def layer(kind: str, x: ArrayLike, y: ArrayLike, colour: str, label: str = "") -> Layer:
    """A layer from arrays; points that are not finite are left out."""
    xs, ys = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if kind in ("line", "dots"):
        known = np.isfinite(xs) & np.isfinite(ys)
        xs, ys = xs[known], ys[known]
    if kind == "line" and len(xs) > _MOST_POINTS:
        rows = np.unique(np.linspace(0, len(xs) - 1, _MOST_POINTS).astype(np.int64))
        xs, ys = xs[rows], ys[rows]
    return Layer(kind, xs.tolist(), ys.tolist(), colour, label)


def chart(
    layers: Sequence[Layer],
    *,
    title: str,
    note: str,
    x_labels: Sequence[tuple[float, str]] = (),
    percent: bool = False,
    x_percent: bool = False,
    from_zero: bool = True,
) -> str:
    """A chart as HTML.

    Parameters
    ----------
    layers
        Drawn in order.
    title, note
        What it shows, and how to read it.
    x_labels
        Values and texts below the axis; without any, round numbers.
    percent, x_percent
        Whether the axes show fractions as percentages.
    from_zero
        Whether the zero line must be seen.
    """
    x_pad = 0.0 if any(one.kind == "line" for one in layers) else 0.03
    x_low, x_high = _span([value for one in layers for value in one.x], x_pad)
    # Bars stand on the zero line, and a chart of returns without its zero line would mislead.
    y_low, y_high = _span([value for one in layers for value in one.y] + [0.0] * from_zero, pad=0.06)
    y_ticks = _round_values(y_low, y_high, 5)
    x_ticks = list(x_labels) or [(value, _text(value, x_percent)) for value in _round_values(x_low, x_high, 5)]

    def across(value: float) -> float:
        return (value - x_low) / (x_high - x_low) * _WIDTH

    def down(value: float) -> float:
        return (y_high - value) / (y_high - y_low) * _HEIGHT

    grid = "".join(
        f'<path class="{"zero" if value == 0 else "grid"}" d="M0 {down(value):.1f}H{_WIDTH:.0f}"/>' for value in y_ticks
    )
    drawn = "".join(_draw(one, across, down) for one in layers)
    y_text = "".join(
        f'<span style="top:{100 * down(value) / _HEIGHT:.2f}%">{escape(_text(value, percent))}</span>'
        for value in y_ticks
    )
    x_text = "".join(
        f'<span style="left:{_inside(100 * across(value) / _WIDTH):.2f}%">{escape(text)}</span>'
        for value, text in x_ticks
    )
    legend = "".join(
        f'<span><i style="background:var(--{one.colour})"></i>{escape(one.label)}</span>' for one in layers if one.label
    )
    return (
        f'<figure><figcaption><b>{escape(title)}</b><span class="legend">{legend}</span></figcaption>'
        f'<div class="chart"><div class="y">{y_text}</div><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(title, quote=True)}">{grid}{drawn}</svg>'
        f'<div class="x">{x_text}</div></div><p class="note">{escape(note)}</p></figure>'
    )


def ranking(rows: Sequence[tuple[str, float]], *, title: str, note: str) -> str:
    """Names with bars beside them, largest first; values are fractions of a whole."""
    longest = max((value for _, value in rows), default=1.0)
    items = "".join(
        # A long name breaks between its words, if it must.
        f'<li><span>{escape(name).replace("_", "_<wbr>")}</span><i style="width:{60 * value / longest:.1f}%"></i>'
        f"<b>{100 * value:.1f} %</b></li>"
        for name, value in rows
    )
    return (
        f'<figure><figcaption><b>{escape(title)}</b></figcaption><ol class="ranking">{items}</ol>'
        f'<p class="note">{escape(note)}</p></figure>'
    )


def _draw(one: Layer, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    style = f'style="--c:var(--{one.colour})"'
    points = [(across(x), down(y)) for x, y in zip(one.x, one.y)]
    if one.kind == "line":
        return f'<polyline class="line" {style} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    if one.kind == "dots":
        # A stroke of no length with round ends stays a circle however the drawing is stretched.
        return f'<path class="dots" {style} d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)}"/>'
    if one.kind == "across":
        return f'<path class="rule" {style} d="M0 {down(one.y[0]):.1f}H{_WIDTH:.0f}"/>'
    if one.kind == "upright":
        return f'<path class="rule" {style} d="M{across(one.x[0]):.1f} 0V{_HEIGHT:.0f}"/>'
    if one.kind == "bars":
        floor = down(0.0)
        return (
            f'<g class="bars" {style}>'
            + "".join(
                f'<rect x="{across(left):.1f}" y="{down(height):.1f}" height="{floor - down(height):.1f}"'
                f' width="{max(across(right) - across(left) - 2, 1):.1f}"/>'
                for left, right, height in zip(one.x, one.x[1:], one.y)
            )
            + "</g>"
        )
    raise ValueError(f"no layer is drawn as {one.kind}")


def _span(values: Sequence[float], pad: float = 0.0) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = pad * (high - low)
    return low - room, high + room


def _round_values(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step) + 1)]


def _text(value: float, percent: bool) -> str:
    return f"{100 * value:g} %" if percent else f"{value:g}"


def _inside(place: float) -> float:
    """Keep a label's centre off the edges, where half of it would be cut."""
    return min(max(place, 4.0), 96.0)
