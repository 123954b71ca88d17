"""Both gateways keep the contract: the fill model, and the live one at the local exchange."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from executor.events import Event
from executor.gateway import DryRunGateway
from market.events import ASK, BID, BOOK, FIRST, LAST, SNAPSHOT, TRADE, EventBatch
from simulation import SYNTHETIC, FillModel
from tests.executor.gateway_conformance import Conformance, Venue
from tests.executor.rig import Rig, rig

_MID = 60_000


class DryVenue(Venue):
    """The fill model, on a market of our own making."""

    def __init__(self) -> None:
        super().__init__()
        self._now_ms, self._ordinal, self._bid = 1_000, 0, _MID
        self._model = FillModel(50, 0.0002, 0.00055)
        self.gateway = DryRunGateway(SYNTHETIC, self._model, Decimal(10_000))
        self._show(snapshot=True)

    @property
    def now_ms(self) -> int:
        return self._now_ms

    @property
    def quote(self) -> tuple[int, int]:
        return self._bid, self._bid + 1

    def _show(self, *, snapshot: bool) -> None:
        levels = [(BID, self._bid - depth, 500) for depth in range(0, 40)]
        levels += [(ASK, self._bid + 1 + depth, 500) for depth in range(0, 40)]
        self._ordinal += 1
        rows = [(BOOK, SNAPSHOT * snapshot, side, self._now_ms, price, size, self._ordinal, 0)
                for side, price, size in levels]  # fmt: skip
        rows[0] = (BOOK, rows[0][1] | FIRST, *rows[0][2:])
        rows[-1] = (BOOK, rows[-1][1] | LAST, *rows[-1][2:])
        self.gateway.on_market(EventBatch.from_rows(rows))
        self.gateway.on_mark(self._bid, self._bid + 1, self._bid)

    def rest(self) -> None:
        self._now_ms += 200
        self._show(snapshot=True)

    def trade_through(self, price: int, side: int) -> None:
        step = 1 if side > 0 else -1
        while (self._bid - price) * step < 0:
            self._now_ms += 1
            self._ordinal += 1
            self._bid += step * min(10, abs(self._bid - price))
            self.gateway.on_market(
                EventBatch.from_rows(
                    [(TRADE, 0, BID if side > 0 else ASK, self._now_ms, self._bid, 5_000, self._ordinal, 0)]
                )
            )
            self._show(snapshot=True)

    def restart(self) -> None:
        self.gateway = DryRunGateway(SYNTHETIC, self._model, Decimal(10_000), self.gateway.dump())
        self._show(snapshot=True)


class LiveVenue(Venue):
    """The local exchange, in this process; its market stands still but for our hands."""

    def __init__(self, made: Rig) -> None:
        super().__init__()
        self._rig, self._waiting = made, list[Event]()
        self.gateway = made.gateway
        self.rest()
        self.take()
        self.events.clear()

    @property
    def now_ms(self) -> int:
        return self._rig.now_ms

    @property
    def quote(self) -> tuple[int, int]:
        bid, ask = self._rig.listing.best_bid, self._rig.listing.best_ask
        assert bid is not None
        assert ask is not None
        return bid, ask

    def rest(self) -> None:
        for _ in self._rig.pass_still(1.5):
            self._rig.clock.saw(self._rig.now_ms, 0.0)
            self._waiting += self.gateway.take()

    def take(self) -> list[Event]:
        told, self._waiting = self._waiting, []
        self.events += told
        return told

    def trade_through(self, price: int, side: int) -> None:
        self._rig.sweep(price, side)

    def restart(self) -> None:
        self.gateway = self._rig.make_gateway(self.gateway.dump())
        self.rest()
        self._waiting.clear()


class TestDryRun(Conformance):
    @pytest.fixture
    def venue(self) -> Venue:
        return DryVenue()


class TestLive(Conformance):
    @pytest.fixture(params=[False, True], ids=["one-way", "hedge"])
    def venue(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Venue]:
        with rig(tmp_path, hedge=request.param) as made:
            yield LiveVenue(made)
