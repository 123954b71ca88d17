"""Live and batch features of the same captured session are the same doubles."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from executor.view import MarketView
from features import Bars, FeatureEngine
from market import Disconnected, Lake, PublicFeed, topics_for
from market.assembler import Assembled
from market.context import context_events, merged
from market.days import lake_days
from simulation import SYNTHETIC, LocalExchange
from tests.executor.conftest import MINUTE

LEVELS = 50
HOUR = 60 * MINUTE
MARKET_MS = 65 * MINUTE


class Tee:
    """The executor's feed, whose output also goes into the lake as the recorder would write it."""

    def __init__(self, lake: Lake) -> None:
        self.view = MarketView(SYNTHETIC, MINUTE, LEVELS, MINUTE, first_ordinal=lake.next_ordinal(SYNTHETIC.symbol))
        self.hours = FeatureEngine(HOUR, LEVELS, MINUTE)
        self.minute_bars: list[Bars] = []
        self.hour_bars: list[Bars] = []
        self.disconnects = 0
        self._writer = lake.writer(SYNTHETIC.symbol, SYNTHETIC)
        self._waiting: list[Assembled] = []

    def take(self, item: object) -> None:
        if isinstance(item, Disconnected):
            self.disconnects += 1
            assembled = self.view.on_disconnect(item.recv_ns, item.cause)
        else:
            assembled = self.view.on_frame(item.data, item.recv_ns)  # type: ignore[attr-defined]
        if assembled.records:
            self._writer.append(assembled)
        self._waiting.append(assembled)
        # Pieces of all sizes, as a busy or an idle loop would give them.
        if len(self._waiting) >= 1 + len(self.minute_bars) % 7 * 40:
            self.push()

    def push(self) -> None:
        seen = self.view.gather(self._waiting)
        self._waiting.clear()
        self.minute_bars.append(self.view.push(seen.events))
        self.hour_bars.append(self.hours.push(merged(seen.events, context_events(seen.records))))

    def close(self) -> None:
        self.push()
        self._writer.seal()
        self._writer.close()


@pytest.mark.failure(31)
@pytest.mark.failure(32)
@pytest.mark.failure(33)
async def test_live_features_are_the_batch_features_to_the_bit(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    tee = Tee(lake)
    async with LocalExchange(seed=5, speed=1_500) as exchange:
        start_ms = exchange.now_ms
        topics = topics_for([SYNTHETIC.symbol], LEVELS)
        async with PublicFeed(exchange.public_url, topics, backoff_seconds=(0.01, 0.02)) as feed:
            dropped = False
            async with asyncio.timeout(90):
                async for item in feed:
                    tee.take(item)
                    elapsed = tee.view.quote().clock_ms - start_ms
                    if elapsed > MARKET_MS // 2 and not dropped:
                        dropped = True
                        for connection in list(exchange._public.connections):
                            await connection.socket.close()
                    if elapsed > MARKET_MS:
                        break
    tee.close()
    assert tee.disconnects >= 1
    for live, timeframe in ((tee.minute_bars, MINUTE), (tee.hour_bars, HOUR)):
        engine = FeatureEngine(timeframe, LEVELS, MINUTE)
        batch = Bars.concat([engine.push(piece) for day in lake_days(lake, SYNTHETIC.symbol) for piece in day.events()])
        bars = Bars.concat(live)
        assert len(bars) >= MARKET_MS // timeframe - 1
        assert bars.equals(batch)
        assert bars.values.tobytes() == batch.values.tobytes()
    minutes, hours = Bars.concat(tee.minute_bars), Bars.concat(tee.hour_bars)
    assert hours.trades.max() > 1_000
    names = FeatureEngine(MINUTE, LEVELS).names
    for name in ("basis", "funding_rate", "time_to_funding"):
        assert np.isfinite(minutes.values[minutes.valid, names.index(name)]).all(), name
    assert 0 < (~minutes.valid).sum() < 10
