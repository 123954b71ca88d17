"""How the report writes numbers, times and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np
from numpy.typing import NDArray


def section(title: str, body: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself; without a head, pairs of a name and a text."""
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table{"" if head else " class=pairs"}>{top}<tbody>{body}</tbody></table></div>'


def times(at: NDArray[np.int64]) -> list[tuple[float, str]]:
    """Four moments along an axis: hours on a short one, days on a long one."""
    shape = "%d %b %H:%M" if at[-1] - at[0] < 5 * 86_400_000 else "%d %b"
    picked = at[np.linspace(0, len(at) - 1, 4).astype(np.int64)]
    return [(float(one), datetime.fromtimestamp(one / 1000, UTC).strftime(shape)) for one in picked.tolist()]


def when(time_ms: int) -> str:
    """A moment, UTC, to the minute."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def share(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %" if math.isfinite(value) else "unknown"


def percent(value: float) -> str:
    """A fraction as a signed percentage."""
    return f"{100 * value:+.2f} %" if math.isfinite(value) else "unknown"


def number(value: float, digits: int) -> str:
    """A signed number."""
    return f"{value:+.{digits}f}" if math.isfinite(value) else "unknown"


def bars(count: int) -> str:
    """A number of bars."""
    return f"{count} bar" if count == 1 else f"{count} bars"
