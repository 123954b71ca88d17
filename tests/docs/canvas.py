"""A small SVG canvas for the documentation's pictures: text, boxes, arrows, curves; one palette, no font of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, SOFT, GRID, PAPER = "#1f2430", "#5b6475", "#d9dde6", "#ffffff"
PURPLE, LILAC = "#5e35b1", "#ede7f6"
GREEN, MINT = "#1b7f4b", "#e1f3e8"
AMBER, SAND = "#a15c00", "#fdf0d9"
RED, ROSE = "#b3261e", "#fbe4e2"
BLUE, SKY = "#1d5fa8", "#e3eefa"


class Canvas:
    """A picture of `width` by `height` units on a white ground.

    Parameters
    ----------
    width, height
        In units; a unit is a CSS pixel at full size.
    title
        What a reader that cannot see the picture is told.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size, self._title, self._parts = (width, height), title, list[str]()

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 16,
        colour: str = INK,
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
    ) -> None:
        """One line of text whose baseline is at `y`."""
        family = ' font-family="ui-monospace, monospace"' if mono else ""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}{family}>'
            f"{escape(words, quote=False)}</text>"
        )

    def box(
        self, x: float, y: float, w: float, h: float, *, fill: str = PAPER, edge: str = GRID, radius: float = 8
    ) -> None:
        """A rectangle; an empty `edge` draws none."""
        stroke = f' stroke="{edge}" stroke-width="1.5"' if edge else ""
        self._parts.append(
            f'<rect x="{x:.4g}" y="{y:.4g}" width="{w:.4g}" height="{h:.4g}" rx="{radius:g}" fill="{fill}"{stroke}/>'
        )

    def room(self, x: float, y: float, w: float, h: float, name: str, *words: str, fill: str, edge: str) -> None:
        """A box with a name and lines of text below it."""
        self.box(x, y, w, h, fill=fill, edge=edge)
        self.text(x + 14, y + 25, name, size=17, bold=True, colour=edge)
        for line, one in enumerate(words):
            self.text(x + 14, y + 47 + 20 * line, one, size=14.5)

    def line(self, *points: tuple[float, float], colour: str = SOFT, width: float = 1.5, dash: str = "") -> None:
        """A line through points."""
        path = " ".join(f"{x:.5g},{y:.5g}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed} '
            'stroke-linejoin="round"/>'
        )

    def arrow(self, *points: tuple[float, float], colour: str = SOFT, dash: str = "") -> None:
        """A line with a head at its last point; the last stretch must be horizontal or vertical."""
        (x0, y0), (x, y) = points[-2:]
        self.line(*points[:-1], (x - 6 * _sign(x - x0), y - 6 * _sign(y - y0)), colour=colour, dash=dash)
        dx, dy = _sign(x - x0), _sign(y - y0)
        head = ((x, y), (x - 10 * dx + 5 * dy, y - 10 * dy + 5 * dx), (x - 10 * dx - 5 * dy, y - 10 * dy - 5 * dx))
        points_text = " ".join(f"{a:g},{b:g}" for a, b in head)
        self._parts.append(f'<polygon points="{points_text}" fill="{colour}"/>')

    def dot(self, x: float, y: float, radius: float = 4, colour: str = PURPLE) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="{radius:g}" fill="{colour}"/>')

    def legend(self, x: float, y: float, entries: Sequence[tuple[str, str]], *, gap: float = 22) -> None:
        """Coloured squares with words, in a row."""
        for colour, words in entries:
            self.box(x, y - 11, 13, 13, fill=colour, edge="", radius=2)
            self.text(x + 19, y, words, size=14.5, colour=SOFT)
            x += 19 + 7.4 * len(words) + gap

    def svg(self) -> str:
        """The picture."""
        width, height = self._size
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif">'
            f"<title>{escape(self._title)}</title>\n"
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>\n{body}\n</svg>\n'
        )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
