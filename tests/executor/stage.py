"""A session on a synthetic market, without sockets: every part is real but the wire."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np

from council import Council
from executor.actions import Action
from executor.clock import VenueClock
from executor.core import Core
from executor.events import encode
from executor.gateway import DryRunGateway
from executor.journal import Journal
from executor.reader import JournalReader
from executor.session import Session
from executor.state import CoreConfig, CoreState, CouncilRef
from executor.view import MarketView
from features import feature_names
from market.events import BOOK, FIRST, GAP, LAST, SNAPSHOT, EventBatch
from simulation import SYNTHETIC, FillModel, synthetic_events
from tests.executor.conftest import CONFIG, MINUTE, START_MS, sign_council

LEVELS = 20
MODEL = FillModel(50, 0.0002, 0.00055)
CONTENT = "c" * 64


@cache
def market(minutes: int = 150, seed: int = 11) -> EventBatch:
    """The events of a synthetic market with a planted signal."""
    return EventBatch.concat(synthetic_events(seed, 1.0, START_MS, minutes * MINUTE, levels=LEVELS))


@cache
def council() -> Council:
    """Goes with the imbalance of the whole book."""
    return sign_council(feature_names(LEVELS), "imbalance_all_mean")


def reconnected(events: EventBatch, row: int) -> EventBatch:
    """What a new connection gives from `row` on: a gap, the book as it stands there, and the rest of `events`."""
    book: dict[tuple[int, int], int] = {}
    changes = np.flatnonzero(events.kind[:row] == BOOK)
    for side, price, size in zip(
        events.side[changes].tolist(), events.price[changes].tolist(), events.size[changes].tolist()
    ):
        book[side, price] = size
    levels = [(side, price, size) for (side, price), size in sorted(book.items()) if size]
    ordinal, time_ms = int(events.ordinal[row]), int(events.time_ms[row - 1])
    rows = [(BOOK, SNAPSHOT, side, time_ms, price, size, ordinal, 0) for side, price, size in levels]
    rows[0] = (BOOK, SNAPSHOT | FIRST, *rows[0][2:])
    rows[-1] = (BOOK, SNAPSHOT | LAST, *rows[-1][2:])
    gap = (GAP, 0, 0, time_ms, 0, 0, ordinal, 0)
    return EventBatch.concat([EventBatch.from_rows([gap, *rows]), events[row:]])


class Stage:
    """A session and what it said."""

    def __init__(self, folder: Path, *, config: CoreConfig = CONFIG, view: MarketView | None = None) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.journal = Journal(folder)
        saved = self.journal.saved
        self.core = Core(config, lambda _: council(), CoreState.load(bytes(saved.core)) if saved else None)
        account = bytes(saved.gateway) if saved else None
        self.gateway = DryRunGateway(SYNTHETIC, MODEL, Decimal(10_000), account)
        self.journal.begin("SYNUSDT", "dry-run", encode(config), self.core.state.dump(), "test")
        self.session = Session(
            core=self.core,
            journal=self.journal,
            gateway=self.gateway,
            view=view or MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE),
            clock=VenueClock(),
            echo=self.lines.append,
        )
        self.session.council(CouncilRef(CONTENT, 1, True))

    def run(self, events: EventBatch, rows: int = 1 << 16, until: Callable[[], bool] | None = None) -> int:
        """Feed events in pieces; the number of rows taken before `until` said so."""
        done = 0
        for piece in events.chunks(rows):
            self.session.market(piece)
            done += len(piece)
            if until is not None and until():
                break
        return done

    def close(self) -> JournalReader:
        """End the session and open its journal."""
        self.journal.end(self.core.state.dump())
        self.journal.close()
        return JournalReader(self.folder)

    def sent(self) -> list[Action]:
        """Every action of the journal, in order; the journal stays open."""
        from executor.actions import decode_actions

        rows = self.journal.query("SELECT actions FROM events ORDER BY seq")
        return [action for (text,) in rows for action in decode_actions(str(text).encode())]
