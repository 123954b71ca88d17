"""The status page at ``/``: what the exchange is doing, for a person, on a phone as well."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from simulation.exchange.numbers import money
from simulation.exchange.orders import SIDES, Order
from simulation.exchange.positions import Position
from simulation.exchange.venue import Venue

_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#667;--line:#d8d4e2;--panel:#f6f4fb;--paper:#fff;--hot:#a3261c}
@media(prefers-color-scheme:dark){:root{--ink:#e6e2ee;--soft:#9d97ad;--line:#3a3349;--panel:#221d2e;--paper:#17141f;
--hot:#ff9184}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem;color:var(--ink);
background:var(--paper)}
h1{font-size:1.3rem;margin:.2rem 0}h2{font-size:1rem;margin:1.4rem 0 .4rem}p{margin:.2rem 0;color:var(--soft)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.5rem;margin:1rem 0}
dl div{background:var(--panel);border-radius:.4rem;padding:.4rem .6rem}dt{font-size:.8rem;color:var(--soft)}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{padding:.25rem .8rem .25rem 0;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:.8rem;color:var(--soft)}td{font-variant-numeric:tabular-nums}
@media(max-width:30rem){body{font-size:13px;padding:.8rem}td,th{padding-right:.5rem}}
a{color:inherit}.number{text-align:right}.hot{color:var(--hot)}
code{background:var(--panel);padding:.1rem .3rem;overflow-wrap:anywhere}
"""
#: Rows of a table that are shown.
_SHOWN = 30


def status_page(state: dict[str, Any], venue: Venue) -> str:
    """A self-contained HTML page.

    Parameters
    ----------
    state
        As ``/control`` tells it.
    venue
        What is traded.
    """
    desk = venue.desk
    faults = [
        (str(fault["id"]), fault["kind"], _scope(fault), str(fault["hits"]), "over" if fault["over"] else "in force")
        for fault in state["faults"]
    ]
    parts = (
        _facts(_state(state)),
        _section(
            "Contracts",
            ("", "bid", "ask", "last", "mark"),
            (_contract(venue, symbol) for symbol in venue.listings),
            "",
        ),
        _section(
            "Positions",
            ("", "side", "size", "entry", "open PnL"),
            (_position(one) for one in desk.wallet.positions),
            "Nothing is held.",
        ),
        _section(
            "Open orders",
            ("", "side", "type", "left", "price", "trigger", "link id"),
            (_order(order) for order in reversed(desk.open_orders())),
            "No order is open.",
        ),
        _section(
            "Faults", ("id", "kind", "scope", "hits", ""), faults, "Nothing goes wrong on purpose.", hot=bool(faults)
        ),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>PurpleSky local exchange</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="refresh" content="2">'
        f"<style>{_STYLE}</style></head><body><h1>Local exchange</h1>"
        "<p>Bybit's v5 API on this machine only. No real money.</p>"
        f"{''.join(parts)}<h2>Control</h2><p>Speed: <code>curl -d '{{\"speed\": 60}}' …/control</code></p>"
        '<p>Faults: <a href="/control/schema">what can go wrong</a>; state: <a href="/control">as JSON</a></p>'
        "</body></html>"
    )


def _state(state: dict[str, Any]) -> list[tuple[str, str]]:
    market = datetime.fromtimestamp(state["market_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if state["replay"] is None:
        source = f"synthetic, seed {state['seed']}, signal {state['signal']:g}"
    else:
        source = f"replay of {state['replay']}"
    connections = ", ".join(f"{state[f'{name}_connections']} {name}" for name in ("public", "private", "trade"))
    return [
        ("market time (UTC)", market),
        ("market", source),
        ("speed", f"{state['speed']:g} x" if state["speed"] else "standing still"),
        ("fallen behind by", f"{state['slipped_ms'] / 1000:,.1f} s"),
        ("connections", connections),
        ("frames sent", f"{state['frames']:,}"),
        ("equity", f"{float(state['equity']):,.2f} USDT"),
    ]


def _contract(venue: Venue, symbol: str) -> tuple[str, ...]:
    listing = venue.listings[symbol]
    price = listing.numbers.price
    quotes = [price(value) if value is not None else "none" for value in (listing.best_bid, listing.best_ask)]
    return (symbol, *quotes, price(listing.last_ticks), price(listing.mark_ticks))


def _position(position: Position) -> tuple[str, ...]:
    listing, entry = position.listing, position.account.average_price
    return (
        listing.symbol,
        "long" if position.steps > 0 else "short",
        listing.numbers.size(abs(position.steps)),
        "" if entry is None else money(round(entry, 4)),
        f"{position.open_pnl():,.2f}",
    )


def _order(order: Order) -> tuple[str, ...]:
    numbers = order.listing.numbers
    return (
        order.listing.symbol,
        SIDES[order.side],
        order.stop_kind or order.kind,
        numbers.size(order.left),
        numbers.price(order.price) if order.price else "market",
        numbers.price(order.trigger) if order.conditional else "",
        order.link_id,
    )


def _scope(fault: dict[str, Any]) -> str:
    """Where and how often a fault happens, as it was told to."""
    words = (f"{name} {value}" for name, value in fault.items() if name not in ("id", "hits", "over", "kind"))
    return ", ".join(words) or "everything"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts) + "</dl>"
    )


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], nothing: str, *, hot: bool = False) -> str:
    """A heading and a table, or a word instead of an empty one."""
    shown = list(rows)
    heading = f"<h2{' class=hot' if hot else ''}>{title}{f' ({len(shown)})' if shown else ''}</h2>"
    if not shown:
        return f"{heading}<p>{nothing}</p>"
    cells = "".join(f"<th{_align(column, shown)}>{html.escape(name)}</th>" for column, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{_align(k, shown)}>{html.escape(cell)}</td>" for k, cell in enumerate(row)) + "</tr>"
        for row in shown[:_SHOWN]
    )
    return f'{heading}<div class="scroll"><table><tr>{cells}</tr>{body}</table></div>'


def _align(column: int, rows: Sequence[Sequence[str]]) -> str:
    """Numbers to the right."""
    cells = [row[column] for row in rows]
    return ' class="number"' if any(cells) and all(_is_number(cell) for cell in cells) else ""


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell.replace(",", "")))
    except ValueError:
        return cell in ("", "none", "market")
