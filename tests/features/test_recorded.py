"""Recorded markets: what live saw is what the lake gives, to the bit."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from features import Bars, FeatureEngine
from market.assembler import SessionAssembler
from market.events import EventBatch
from market.instruments import read_instruments

pytestmark = pytest.mark.failure(32)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_a_live_session_frame_by_frame_equals_its_batch(recorded: Path, symbol: str) -> None:
    folder = recorded / "live"
    session = SessionAssembler(read_instruments(folder / "2026-08-09_linear_BTC_ETH.instruments-info.json"))
    live = FeatureEngine(1_000, 200)
    bars, batches = [], []
    with gzip.open(folder / "2026-08-09_linear_BTC_ETH.ndjson.gz") as lines:
        for n, line in enumerate(lines):
            received, _, frame = line.partition(b" ")
            for name, batch in session.on_frame(frame.strip(), int(received)).batches:
                if name == symbol:
                    bars.append(live.push(batch))
                    batches.append(batch)
            if n % 200 == 0:
                live = FeatureEngine.restore(live.dump())
    seen = Bars.concat(bars)
    assert seen.equals(FeatureEngine(1_000, 200).push(EventBatch.concat(batches)))
    assert len(seen) > 40
    assert seen.valid[1:].all()
    assert (seen.ask > seen.bid).all()
    names = live.names
    spread = seen.values[1:, names.index("spread_mean")]
    assert ((spread > 0) & (spread < 1)).all()
    assert np.isfinite(seen.values[1:, names.index("depth_slope_mean")]).all()
