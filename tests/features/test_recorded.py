"""Recorded markets: what live saw is what the lake gives, to the bit."""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from features import Bars, FeatureEngine, FeatureStore
from market.archives import import_archives
from market.assembler import SessionAssembler
from market.events import EventBatch
from market.instruments import read_instruments
from market.lake import Lake

pytestmark = pytest.mark.failure(32)

MINUTE = 60_000


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


def test_bars_of_an_imported_archive_are_those_of_its_trades(recorded: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    import_archives(recorded, "HLBTCUSDT", lake)
    rules = lake.instrument("HLBTCUSDT")
    store = FeatureStore(tmp_path / "features")
    bars = store.get_or_build(
        lake.fingerprint("HLBTCUSDT"), "HLBTCUSDT", MINUTE, 200, MINUTE, lambda: lake.events("HLBTCUSDT")
    )
    live = FeatureEngine(MINUTE, 200)
    pieces = (piece for batch in lake.events("HLBTCUSDT") for piece in batch.chunks(777))
    assert Bars.concat(live.push(piece) for piece in pieces).equals(bars)

    trades: dict[int, list[tuple[int, int]]] = {}
    for path in sorted((recorded / "trades" / "HLBTCUSDT").glob("*.csv.gz")):
        with gzip.open(path, "rt") as lines:
            for row in csv.DictReader(lines):
                time_ms = int(Decimal(row["timestamp"]) * 1_000)
                trade = rules.to_ticks(row["price"]), rules.to_steps(row["size"])
                trades.setdefault(time_ms // MINUTE * MINUTE, []).append(trade)
    assert bars.valid.sum() > 30
    for n in np.flatnonzero(bars.valid):
        own = trades.get(int(bars.open_ms[n]), [])
        assert bars.trades[n] == len(own)
        assert bars.volume[n] == sum(size for _, size in own)
        assert (bars.high[n], bars.low[n]) == (max(own)[0], min(own)[0])
        assert bars.bid[n] < bars.ask[n]
