"""A picture of a real session: ``python -m tests.docs.session_picture JOURNAL`` draws ``docs/images/session.svg``."""

from __future__ import annotations

import argparse
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.docs.canvas import GREEN, GRID, INK, PURPLE, RED, SOFT, Canvas
from tests.docs.pictures import FOLDER

#: Bars before and after the trade.
_MARGIN = 14


def draw(journal: Path, words: str) -> str:
    """The last closed trade of the last session, with the bars around it.

    Parameters
    ----------
    journal
        ``journal.sqlite`` of an executor.
    words
        What the session ran on, for the line below the heading.
    """
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        rules = json.loads(db.execute("SELECT config FROM sessions ORDER BY id DESC").fetchone()[0])["instrument"]
        link, pnl, reason = db.execute(
            "SELECT link_id, net_pnl, reason FROM trades WHERE filled > 0 ORDER BY seq DESC"
        ).fetchone()
        entry = db.execute(
            "SELECT seq, side, limit_ticks, stop_ticks, target_ticks FROM orders WHERE link_id = ?", (link,)
        ).fetchone()
        fills = db.execute(
            "SELECT time_ms, price_ticks, role FROM fills WHERE seq >= ? ORDER BY seq", (entry[0],)
        ).fetchall()
        found = [json.loads(row[0]) for row in db.execute("SELECT event FROM events WHERE event LIKE '%BarClosed%'")]
    bars = [(one["close_ms"], one["close"]) for one in found if one["close"] > 0]
    return _chart(bars, entry, fills, float(rules["tick_size"]), words, f"{float(pnl):+.2f} USDT after fees ({reason})")


def _chart(bars: list[tuple[int, int]], entry: Any, fills: list[Any], tick: float, words: str, result: str) -> str:
    c = Canvas(640, 400, f"A trade of a dry-run session: entry, stop, target, exit; {result}")
    length = bars[1][0] - bars[0][0]
    begin, end = fills[0][0] - _MARGIN * length, fills[-1][0] + _MARGIN * length
    shown = [(at, price) for at, price in bars if begin <= at <= end]
    _, side, limit, stop, target = entry
    prices = [price for _, price in shown] + [stop, target]
    low, high = min(prices), max(prices)
    x0, y0, w, h = 90.0, 340.0, 430.0, 250.0

    def at(time_ms: int) -> float:
        return float(x0 + w * (time_ms - shown[0][0]) / (shown[-1][0] - shown[0][0]))

    def of(price: float) -> float:
        return float(y0 - h * (price - low) / (high - low))

    c.text(24, 34, f"{'Buy' if side > 0 else 'Sell'}, then close: {result}", size=16, bold=True)
    c.text(24, 57, words, size=14.5, colour=SOFT)
    for step in range(5):
        level = low + (high - low) * step / 4
        c.line((x0, of(level)), (x0 + w, of(level)), colour=GRID, width=1)
        c.text(x0 - 8, of(level) + 5, f"{level * tick:,.1f}", size=13.5, anchor="end", colour=SOFT)
    for name, price, colour in (("target", target, GREEN), ("entry limit", limit, PURPLE), ("stop", stop, RED)):
        c.line((at(fills[0][0]), of(price)), (at(fills[-1][0]), of(price)), colour=colour, width=2, dash="6 4")
        c.text(x0 + w + 10, of(price) + 5, name, size=14.5, colour=colour)
    c.line(*((at(time_ms), of(price)) for time_ms, price in shown), colour=INK, width=2)
    for time_ms, price, role in (fills[0], fills[-1]):
        c.dot(
            at(time_ms),
            of(price),
            6,
            PURPLE if role == "entry" else GREEN if role == "target" else RED if role == "stop" else INK,
        )
    for time_ms in (shown[0][0], shown[len(shown) // 2][0], shown[-1][0]):
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
        c.text(at(time_ms), y0 + 26, f"{moment:%H:%M}", size=13.5, anchor="middle", colour=SOFT)
    c.text(x0, y0 + 50, "closes of one-minute bars, market time", size=13.5, colour=SOFT)
    return c.svg()


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--words", default="A dry-run session on the local exchange's synthetic market.")
    given = parser.parse_args()
    (FOLDER / "session.svg").write_text(draw(given.journal, given.words), encoding="utf-8")


if __name__ == "__main__":
    main()
