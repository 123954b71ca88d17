"""Run by an interpreter that has other matching engines: orders in, seconds of each engine out.

``python _matching_peers.py STREAM.npy``: rows of ``tests.bench.bench_exchange.order_stream``; prints a JSON object of
engines with messages, seconds, and the best prices that are left, where the engine had the whole stream.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np

#: Engines in pure Python get this many messages: they are slow, and slower the longer they run.
SHORT = 20_000


def limit_order_book(stream: Iterable[tuple[int, ...]]) -> list[int]:
    """C++ behind ctypes; it matches, but does not tell of trades."""
    from limit_order_book.limit_order_book import LimitOrderBook

    book = LimitOrderBook()
    for op, number, side, price, size in stream:
        if op:
            book.cancel(number)
        elif side:
            book.limit_sell(number, size, price)
        else:
            book.limit_buy(number, size, price)
    return [int(book.best_buy()), int(book.best_sell())]


def lightmatchingengine(stream: Iterable[tuple[int, ...]]) -> list[int]:
    from lightmatchingengine.lightmatchingengine import LightMatchingEngine, Side

    engine, numbers = LightMatchingEngine(), {}
    for op, number, side, price, size in stream:
        if op:
            engine.cancel_order(numbers[number], "X")
        else:
            order, _ = engine.add_order("X", price, size, Side.SELL if side else Side.BUY)
            numbers[number] = order.order_id
    return []


def pyorderbook(stream: Iterable[tuple[int, ...]]) -> list[int]:
    from pyorderbook.book import Book
    from pyorderbook.order import Order, Side

    book, orders = Book(), {}
    for op, number, side, price, size in stream:
        if op:
            book.cancel(orders[number])
        else:
            orders[number] = Order(Side.ASK if side else Side.BID, "X", price, size)
            book.match(orders[number])
    return []


def main(path: str) -> None:
    logging.disable(logging.CRITICAL)
    stream = [tuple(row) for row in np.load(path).tolist()]
    engines: dict[str, tuple[Callable[[Iterable[tuple[int, ...]]], list[int]], int]] = {
        "limit_order_book (C++)": (limit_order_book, len(stream)),
        "lightmatchingengine": (lightmatchingengine, SHORT),
        "pyorderbook": (pyorderbook, SHORT),
    }
    results = {}
    for name, (run, count) in engines.items():
        seconds = []
        try:
            for _ in range(3):
                started = time.perf_counter()
                best = run(stream[:count])
                seconds.append(time.perf_counter() - started)
        except ImportError:
            continue
        results[name] = {"messages": count, "seconds": min(seconds), "best": best}
    print(json.dumps(results))


main(sys.argv[1])
