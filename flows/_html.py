"""What the pages of data validation are made of: the frame of a page, its style sheet, badges, and tables.

A table is a table where there is room. On a phone each row becomes a block in which every value has its title beside
it: nobody scrolls sideways, and nothing is cut off at the edge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from flows._docs_assets import COLOURS

WORDS = {"ok": "ok", "warn": "usable, with care", "blocked": "blocked"}
_CLASS = {"ok": "good", "warn": "warn", "blocked": "bad"}

_STYLE = (
    COLOURS
    + """\
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.6rem; margin: 4px 0 2px; line-height: 1.2; } h2 { font-size: 1.1rem; margin: 30px 0 8px; }
h1, h3, p, li, td { overflow-wrap: anywhere; }
p { margin: 4px 0; } .soft { color: var(--soft); } .verdict { font-size: 1.05rem; margin: 10px 0 0; }
.crumbs { color: var(--soft); font-size: 0.92rem; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 12px; font-size: 0.85rem; font-weight: 600;
  white-space: nowrap; vertical-align: middle; }
.badge.good { background: var(--good-bg); color: var(--good); }
.badge.warn { background: var(--warn-bg); color: var(--warn); }
.badge.bad { background: var(--bad-bg); color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 10px; margin: 18px 0 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 8px 14px; }
.figures b { display: block; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: 0.85rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.card + .card, p + .card { margin-top: 10px; }
.finding { border-left: 4px solid var(--none); } .finding.bad { border-left-color: var(--bad); }
.finding.warn { border-left-color: var(--warn); }
.finding h3 { margin: 0; font-size: 1rem; } .finding .badge { float: right; margin-left: 10px; }
.windows { margin: 6px 0 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 5px; }
.windows li { background: var(--none-bg); border-radius: 6px; padding: 1px 8px; font-size: 0.86rem;
  font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
td:first-child, td.short, td.n { white-space: nowrap; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.good { color: var(--good); } td.bad { color: var(--bad); } td.warn { color: var(--warn); }
td.ribbon-cell { min-width: 260px; width: 45%; vertical-align: middle; }
svg { display: block; width: 100%; } svg path { vector-effect: non-scaling-stroke; fill: none; }
svg.ribbon { height: 26px; border-radius: 4px; } .ribbon-cell svg.ribbon { height: 16px; }
svg.plot { height: 108px; overflow: visible; } svg .grid { stroke: var(--line); }
svg .line { stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; }
svg .cut { stroke: var(--bad); stroke-width: 4; } svg .bars { stroke: var(--accent); stroke-width: 1.1; }
svg path.band { fill: var(--band); opacity: 0.55; }
svg .good { fill: var(--good); } svg .silent { fill: var(--good); opacity: 0.55; } svg .none { fill: var(--none); }
svg .masked { fill: var(--warn); stroke: var(--warn); } svg .suspect { fill: var(--bad); stroke: var(--bad); }
svg rect.masked, svg rect.suspect { stroke-width: 1.5; vector-effect: non-scaling-stroke; }
figure { margin: 0; } figure + figure { margin-top: 18px; }
figcaption { font-size: 0.82rem; color: var(--soft); margin-bottom: 8px; } figcaption b { color: var(--ink); }
.area { position: relative; margin-left: 60px; }
.area span { position: absolute; right: 100%; margin-right: 6px; line-height: 1; transform: translateY(50%); }
.area span, .hours { color: var(--soft); font-size: 0.74rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.hours { display: flex; justify-content: space-between; margin-top: 4px; } figure .hours { margin-left: 60px; }
.hours span { width: 0; overflow: visible; display: flex; justify-content: center; }
.hours span:first-child { justify-content: flex-start; } .hours span:last-child { justify-content: flex-end; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 0.86rem; color: var(--soft); margin: 6px 0 0; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.legend .good { background: var(--good); } .legend .silent { background: var(--good); opacity: 0.55; }
.legend .masked { background: var(--warn); } .legend .suspect { background: var(--bad); }
.legend .none { background: var(--none); }
details summary { cursor: pointer; color: var(--soft); margin: 4px 0; }
@media (max-width: 640px) {
  main { padding: 14px 12px 40px; } h1 { font-size: 1.3rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; } .figures b { font-size: 1.05rem; }
  .hours span:nth-child(even) { visibility: hidden; }
  thead { display: none; } table, tbody, tr, td { display: block; width: 100%; }
  tr { padding: 8px 0; border-bottom: 1px solid var(--line); } tbody tr:last-child { border-bottom: 0; }
  td, td.n { border: 0; padding: 1px 0; text-align: left; } td:first-child, td.short { white-space: normal; }
  td[data-title]::before { content: attr(data-title) ": "; color: var(--soft); }
  td.ribbon-cell { width: 100%; min-width: 0; padding: 4px 0; } td.ribbon-cell::before { content: none; }
}
"""
)


class Cell(NamedTuple):
    """One value of a table.

    Attributes
    ----------
    html
        What is shown.
    css
        Classes: ``n`` for a number, ``good``, ``warn``, ``bad``, ``short`` for what is not to be broken.
    hint
        Shown where the pointer rests.
    """

    html: str
    css: str = ""
    hint: str = ""


def page(title: str, body: str) -> str:
    """A page of its own, style sheet included: it needs nothing from elsewhere."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n'
        f"</body>\n</html>\n"
    )


def badge(status: str) -> str:
    """A status in words, coloured."""
    return f'<span class="badge {_CLASS[status]}">{WORDS[status]}</span>'


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Rows under titles.

    Parameters
    ----------
    titles
        Of the columns, as text; an empty one has no title on a phone either.
    rows
        As many cells as there are titles.
    """
    numeric: set[int] = set()
    body = []
    for row in rows:
        numeric |= {at for at, cell in enumerate(row) if "n" in cell.css.split()}
        body.append("<tr>" + "".join(_cell(title, cell) for title, cell in zip(titles, row, strict=True)) + "</tr>")
    head = "".join(f"<th{_class('n' if at in numeric else '')}>{escape(t)}</th>" for at, t in enumerate(titles))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(title: str, cell: Cell) -> str:
    told = f' data-title="{escape(title, quote=True)}"' if title else ""
    hint = f' title="{escape(cell.hint, quote=True)}"' if cell.hint else ""
    return f"<td{_class(cell.css)}{told}{hint}>{cell.html}</td>"


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
