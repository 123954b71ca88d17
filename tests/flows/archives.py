"""A small market as Bybit's history archives, with defects where a test asks for them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

SYMBOL = "TESTUSDT"
#: 2026-03-01 22:00 UTC: two hours before midnight.
START_MS = 1_772_402_400_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000

#: Takes the time and the ticks of the best bid and ask; gives them back changed, or ``None`` for no message.
Defect = Callable[[int, int, int], tuple[int, int] | None]

RULES = {
    "symbol": SYMBOL,
    "priceFilter": {"tickSize": "0.10"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxOrderQty": "100", "minNotionalValue": "5"},
    "leverageFilter": {"maxLeverage": "100"},
    "fundingInterval": 480,
}


def write_archives(
    folder: Path,
    *,
    hours: float = 4.0,
    start_ms: int = START_MS,
    defect: Defect = lambda at, bid, ask: (bid, ask),
    twice: int = 0,
    trades: bool = True,
    seed: int = 7,
) -> Path:
    """Write the archives of a random walk, one book message and about one trade a second.

    Parameters
    ----------
    defect
        Changes the book.
    twice
        How many trades carry the id of the one before.
    trades
        Whether there are any.
    """
    random = Random(seed)
    books: dict[str, list[str]] = {}
    rows: dict[str, list[str]] = {}
    mid, u = 600_000, 0
    levels: dict[str, dict[int, int]] = {"b": {}, "a": {}}
    for second in range(int(hours * 3600)):
        at = start_ms + second * SECOND
        day = datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
        mid += random.choice((-90, -30, 0, 30, 90))
        found = defect(at, mid - 1, mid + 1)
        if found is not None:
            new = {
                "b": {found[0] - i: 100 + random.randrange(400) for i in range(8)},
                "a": {found[1] + i: 100 + random.randrange(400) for i in range(8)},
            }
            first = day not in books
            u += 1
            books.setdefault(day, []).append(_message(at, u, {"b": {}, "a": {}} if first else levels, new, first))
            levels = new
        if trades:
            identity = f"id{second - 1 if 0 < second <= twice else second}"
            side = random.choice(("Buy", "Sell"))
            price = mid + (1 if side == "Buy" else -1)
            rows.setdefault(day, []).append(
                f"{(at + 400) / 1000:.3f},{SYMBOL},{side},{random.randrange(1, 50) / 1000:.3f},{price / 10:.1f},"
                f"ZeroPlusTick,{identity},0,0,0"
            )
    _write(folder, books, rows)
    return folder


def _message(at: int, u: int, old: dict[str, dict[int, int]], new: dict[str, dict[int, int]], first: bool) -> str:
    data: dict[str, object] = {"s": SYMBOL, "u": u, "seq": u * 10}
    for side in ("b", "a"):
        gone = [[f"{price / 10:.1f}", "0"] for price in old[side].keys() - new[side].keys()]
        data[side] = gone + [[f"{price / 10:.1f}", f"{size / 1000:.3f}"] for price, size in new[side].items()]
    kind = "snapshot" if first else "delta"
    return json.dumps({"topic": f"orderbook.200.{SYMBOL}", "type": kind, "ts": at + 5, "data": data, "cts": at})


def _write(folder: Path, books: dict[str, list[str]], rows: dict[str, list[str]]) -> None:
    (folder / "orderbook" / SYMBOL).mkdir(parents=True)
    (folder / "trades" / SYMBOL).mkdir(parents=True)
    rules = {"retCode": 0, "result": {"category": "linear", "list": [RULES]}}
    (folder / "instruments-info.json").write_text(json.dumps(rules), encoding="utf-8")
    for day, lines in books.items():
        name = f"{day}_{SYMBOL}_ob200.data"
        with zipfile.ZipFile(folder / "orderbook" / SYMBOL / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, "\n".join(lines) + "\n")
    head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    for day, lines in rows.items():
        buffer = io.StringIO("\n".join([head, *lines]) + "\n")
        path = folder / "trades" / SYMBOL / f"{SYMBOL}{day}.csv.gz"
        path.write_bytes(gzip.compress(buffer.getvalue().encode()))
