"""Small plots of one day as inline SVG: they take their colours from the page and need nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from flows._quality_checks import minute_text
from market.quality import MINUTE_MS

_WIDTH = 1000
_LEFT, _RIGHT = 62, 8
_MINUTES = 1440


def _x(minute: float, left: float = _LEFT) -> float:
    return left + (_WIDTH - left - _RIGHT) * minute / _MINUTES


def ribbon(states: Sequence[str], titles: dict[str, str], *, label: str, height: int = 26, axis: bool = True) -> str:
    """A day as a band of coloured minutes.

    Parameters
    ----------
    states
        One word a minute of the day, 1440 in all; each is a CSS class.
    titles
        What a class means, shown where the pointer rests.
    label
        What a reader that cannot see the band is told.
    """
    parts = []
    start = 0
    for at in range(1, len(states) + 1):
        if at < len(states) and states[at] == states[start]:
            continue
        left, right = (_x(minute, _LEFT if axis else 0) for minute in (start, at))
        text = f"{minute_text(start * MINUTE_MS)} to {minute_text(at * MINUTE_MS) if at < _MINUTES else '24:00'}"
        # A single minute is less than a pixel wide: what is bad must still be seen.
        width = max(right - left, 2.5 if states[start] not in ("good", "none") else 0.0)
        parts.append(
            f'<rect class="{states[start]}" x="{left:.2f}" y="0" width="{width:.2f}" height="{height}">'
            f"<title>{text} UTC: {escape(titles[states[start]])}</title></rect>"
        )
        start = at
    # Bad stretches come last, so that a wide neighbour never covers them.
    order = ("none", "good", "silent", "masked", "suspect")
    parts.sort(key=lambda part: next(i for i, name in enumerate(order) if f'class="{name}"' in part))
    total = height + (20 if axis else 0)
    return _frame(total, label, "".join(parts) + (_hours(height) if axis else ""), css="ribbon")


def _hours(top: float) -> str:
    marks = []
    for hour in range(0, 25, 3):
        anchor = "start" if hour == 0 else "end" if hour == 24 else "middle"
        marks.append(f'<text x="{_x(hour * 60):.1f}" y="{top + 15}" text-anchor="{anchor}">{hour:02d}:00</text>')
    return "".join(marks)


def series(
    minutes: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    label: str,
    unit: str,
    high: NDArray[np.float64] | None = None,
    bars: bool = False,
    zero: bool = True,
    height: int = 150,
) -> str:
    """A day's values by minute, as a line or as bars.

    Parameters
    ----------
    minutes : int64[n]
        Minute of the day, 0 to 1439.
    values : float64[n]
        NaN leaves a hole.
    high : float64[n], optional
        Upper end of a band above the line.
    label, unit
        Title of the plot, and unit of its axis.
    bars
        Draw bars from zero instead of a line.
    zero
        Begin the axis at zero.
    """
    columns = _thin(minutes, values, high)
    top_values = np.concatenate([columns[1], columns[2]])
    finite = top_values[np.isfinite(top_values)]
    if not len(finite):
        return f'<p class="soft">{escape(label)}: nothing is known.</p>'
    # One torn-open minute must not flatten all the others: the axis ends at the 99.5th percentile, the rest is cut.
    top = float(np.quantile(finite, 0.995)) if zero else float(finite.max())
    if zero and top <= 0:
        top = float(finite.max())  # hardly anything but zeros: what there is must be seen
    low = min(0.0, float(finite.min())) if zero else float(np.nanmin(columns[1]))
    ticks = _ticks(low, top)
    low, top = ticks[0], max(top, ticks[-1])
    plot, head = height - 42, 20

    def y(value: float) -> float:
        share = 0.5 if top == low else (min(max(value, low), top) - low) / (top - low)
        return head + plot * (1 - share)

    body = [f'<text class="label" x="{_LEFT}" y="12">{escape(label)}</text>']
    for tick in ticks:
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        body.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    body.append(f'<text x="{_LEFT - 6}" y="12" text-anchor="end">{escape(unit)}</text>')
    for run in _runs(columns):
        xs = [_x(minute + 0.5) for minute in run[0]]
        if bars:
            path = "".join(f"M{x:.1f} {y(low):.1f}V{y(v):.1f}" for x, v in zip(xs, run[1]))
            body.append(f'<path class="bars" d="{path}"/>')
            continue
        if high is not None and len(xs) > 1:
            up = [f"{x:.1f} {y(v):.1f}" for x, v in zip(xs, run[2])]
            down = [f"{x:.1f} {y(v):.1f}" for x, v in zip(xs, run[1])]
            body.append(f'<path class="band" d="M{"L".join(up)}L{"L".join(reversed(down))}Z"/>')
        points = [f"{x:.1f} {y(v):.1f}" for x, v in zip(xs, run[1])]
        body.append(f'<path class="line" d="M{"L".join(points if len(points) > 1 else points * 2)}"/>')
    for minute, value in zip(columns[0], np.fmax(columns[1], columns[2])):
        if value > top:
            x = _x(minute + 0.5)
            mark = f"M{x - 4:.1f} {head - 1}h8l-4 -6z"
            body.append(f'<path class="cut" d="{mark}"><title>{_number(float(value))} {escape(unit)}</title></path>')
    body.append(_hours(head + plot))
    return _frame(height, f"{label}, {unit}", "".join(body), css="plot")


Columns = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _thin(minutes: NDArray[np.int64], values: NDArray[np.float64], high: NDArray[np.float64] | None) -> Columns:
    """At most one point for every two minutes: the mean of the values, the maximum of the band."""
    upper = values if high is None else high
    step = 2 if len(minutes) > _MINUTES // 2 else 1
    if step == 1:
        return minutes.astype(float), values.astype(float), upper.astype(float)
    slots = np.unique(minutes // step)
    xs, means, maxima = [], [], []
    for slot in slots:
        here = minutes // step == slot
        known = np.isfinite(values[here])
        tops = upper[here][np.isfinite(upper[here])]
        xs.append(float(slot * step + step / 2 - 0.5))
        means.append(float(values[here][known].mean()) if known.any() else math.nan)
        maxima.append(float(tops.max()) if len(tops) else math.nan)
    return np.array(xs), np.array(means), np.array(maxima)


def _runs(columns: Columns) -> list[Columns]:
    """Stretches without holes."""
    minutes, values, high = columns
    known = np.flatnonzero(np.isfinite(values) & np.isfinite(high))
    if not len(known):
        return []
    breaks = np.flatnonzero((np.diff(known) > 1) | (np.diff(minutes[known]) > 2.5)) + 1
    return [(minutes[part], values[part], high[part]) for part in np.split(known, breaks)]


def _ticks(low: float, high: float) -> list[float]:
    """Three to five round numbers that span `low` to `high`."""
    span = max(high - low, 1e-9) if high > low else abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * at for at in range(first, last + 1)]


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _frame(height: float, label: str, body: str, *, css: str) -> str:
    return (
        f'<svg class="{css}" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{body}</svg>"
    )
