"""Recorded synthetic markets without a recorder: what a night needs before it can begin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from market import Lake
from market.assembler import Assembled, BookRows, GapMark, TradeRows
from market.events import GAP, TRADE
from simulation import SYNTHETIC, synthetic_events
from simulation.flow_params import MarketParams

MINUTE = 60_000


def record(
    root: Path,
    symbol: str,
    start_ms: int,
    minutes: int,
    *,
    seed: int = 4,
    signal: float = 1.0,
    levels: int = 50,
    first: int = 0,
    params: MarketParams | None = None,
    torn: bool = False,
) -> int:
    """Write a stretch of a synthetic market into a lake, one book message a second; the next free ordinal.

    Parameters
    ----------
    first
        Ordinal of its first frame.
    torn
        Whether messages are missing now and then, with nothing to say so.
    """
    update = first
    with Lake(root).writer(symbol, replace(SYNTHETIC, symbol=symbol)) as writer:
        for batch in synthetic_events(
            seed, signal, start_ms, minutes * MINUTE, levels=levels, push_ms=1_000, params=params
        ):
            batch.ordinal[:] += first
            edges = [0, *((batch.ordinal[1:] != batch.ordinal[:-1]).nonzero()[0] + 1).tolist(), len(batch)]
            for begin, end in pairwise(edges):
                rows, out = batch[begin:end], Assembled()
                while len(rows) and rows.kind[0] == GAP:
                    out.records.append(GapMark(symbol, int(rows.ordinal[0]), int(rows.time_ms[0]), -1, "start"))
                    rows = rows[1:]
                number = int(rows.ordinal[0]) if len(rows) else -1
                if len(rows) and rows.kind[0] == TRADE:
                    ids = [f"{number}-{index}" for index in range(len(rows))]
                    out.records.append(TradeRows(symbol, rows, int(rows.time_ms[0]), rows.ordinal.copy(), ids))
                elif len(rows):
                    update += 2 if torn and number % 50 == 0 else 1
                    out.records.append(BookRows(symbol, rows, int(rows.time_ms[0]), update, number))
                writer.append(out)
            last = int(batch.ordinal[-1])
        writer.seal()
    return last + 1
