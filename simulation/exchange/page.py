"""The status page at ``/``: what the exchange is doing, for a person."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Any

from simulation.exchange.venue import Venue

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .9rem .2rem 0;text-align:left}"
    "th{font-weight:600;border-bottom:1px solid #ccc}code{background:#f2f0f7;padding:.1rem .3rem}"
    "td{font-variant-numeric:tabular-nums}@media(prefers-color-scheme:dark){body{background:#17141f;color:#e6e2ee}"
    "code{background:#2a2438}}"
)


def status_page(state: dict[str, Any], venue: Venue) -> str:
    """A self-contained HTML page."""
    time = datetime.fromtimestamp(state["market_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    contracts = _table(
        ("contract", "bid", "ask", "last", "mark", "position", "open orders"),
        [_contract(venue, symbol) for symbol in venue.listings],
    )
    facts = _table(
        ("", ""),
        [
            ("market time (UTC)", time),
            ("speed", f"{state['speed']:g} x wall clock"),
            ("slipped", f"{state['slipped_ms'] / 1000:,.1f} s of market time"),
            ("seed", str(state["seed"])),
            ("planted signal", f"{state['signal']:g}"),
            ("connections", f"{state['public_connections']} public, {state['private_connections']} private"),
            ("frames sent", f"{state['frames']:,}"),
            ("equity", f"{float(state['equity']):,.2f} USDT"),
        ],
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>PurpleSky local exchange</title>'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="2">'
        f"<style>{_STYLE}</style></head><body><h1>Local exchange</h1>"
        "<p>Synthetic markets behind Bybit's v5 API, on this machine only. No real money, no real prices.</p>"
        f"{facts}{contracts}<p>Speed: <code>curl -d '{{\"speed\": 60}}' …/control</code></p></body></html>"
    )


def _contract(venue: Venue, symbol: str) -> tuple[str, ...]:
    listing = venue.listings[symbol]
    price = listing.numbers.price
    quotes = [price(value) if value is not None else "none" for value in (listing.best_bid, listing.best_ask)]
    steps = venue.desk.positions[symbol].steps
    held = ("-" if steps < 0 else "") + listing.numbers.size(abs(steps))
    orders = str(len(venue.desk.open_orders(listing)))
    return (symbol, *quotes, price(listing.last_ticks), price(listing.mark_ticks), held, orders)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
