"""Small plots of one day as inline SVG: they take their colours from the page and need nothing from elsewhere.

Only what is drawn is SVG, and it stretches to the width that there is; words and numbers are HTML beside it, so that
they are as large on a phone as on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from flows._quality_checks import minute_text
from market.quality import MINUTE_MS

_WIDTH, _HEIGHT = 1000, 100
_MINUTES = 1440


def _x(minute: float) -> float:
    return _WIDTH * minute / _MINUTES


def ribbon(states: Sequence[str], titles: dict[str, str], *, label: str, axis: bool = True) -> str:
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
        left, right = _x(start), _x(at)
        text = f"{minute_text(start * MINUTE_MS)} to {minute_text(at * MINUTE_MS) if at < _MINUTES else '24:00'}"
        # A single minute is less than a pixel wide: what is bad must still be seen.
        width = max(right - left, 2.5 if states[start] not in ("good", "none") else 0.0)
        parts.append(
            f'<rect class="{states[start]}" x="{left:.2f}" y="0" width="{width:.2f}" height="10">'
            f"<title>{text} UTC: {escape(titles[states[start]])}</title></rect>"
        )
        start = at
    # Bad stretches come last, so that a wide neighbour never covers them.
    order = ("none", "good", "silent", "masked", "suspect")
    parts.sort(key=lambda part: next(i for i, name in enumerate(order) if f'class="{name}"' in part))
    return _frame(10, label, "".join(parts), css="ribbon") + (_HOURS if axis else "")


_HOURS = '<div class="hours">' + "".join(f"<span>{hour:02d}:00</span>" for hour in range(0, 25, 3)) + "</div>"


def series(
    minutes: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    label: str,
    unit: str,
    high: NDArray[np.float64] | None = None,
    bars: bool = False,
    zero: bool = True,
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

    def share(value: float) -> float:
        return 0.5 if top == low else (min(max(value, low), top) - low) / (top - low)

    def y(value: float) -> float:
        return _HEIGHT * (1 - share(value))

    numbers = "".join(f'<span style="bottom:{share(tick):.1%}">{_number(tick)}</span>' for tick in ticks)
    body = [f'<path class="grid" d="M0 {y(tick):.1f}H{_WIDTH}"/>' for tick in ticks]
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
            mark = f"M{_x(minute + 0.5):.1f} 0v7"
            body.append(f'<path class="cut" d="{mark}"><title>{_number(float(value))} {escape(unit)}</title></path>')
    drawn = _frame(_HEIGHT, f"{label}, {unit}", "".join(body), css="plot")
    caption = f"<figcaption><b>{escape(label)}</b> {escape(unit)}</figcaption>"
    return f'<figure>{caption}<div class="area">{numbers}{drawn}</div>{_HOURS}</figure>'


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
        f'<svg class="{css}" viewBox="0 0 {_WIDTH} {height:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label, quote=True)}">{body}</svg>'
    )
