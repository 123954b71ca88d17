"""Replay of the lake: what comes out is what went in, and users trade in it by the fill model's rules."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from market import Lake, import_archives
from market.errors import ConfigError, EmptyLakeError, UnknownSymbolError
from market.events import BOOK, GAP, SNAPSHOT, TRADE, EventBatch
from simulation import _lob
from simulation import _replay_orders as rk
from simulation._lob_flow import REACHED
from simulation.exchange import DEFAULT_START_MS, LocalExchange
from simulation.fills import FillModel
from simulation.matching import Fill
from simulation.paper import PaperBroker
from simulation.replay import ReplayMarket
from tests.simulation.replay_lake import Recorder, record, same

SYMBOL = "SYNUSDT"
START = DEFAULT_START_MS


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two minutes of two symbols, 50 levels, with a hole of ten seconds after the first minute."""
    folder = tmp_path_factory.mktemp("replayed") / "lake"
    return record(folder, 2, symbols=("SYNUSDT", "SYNTWOUSDT"), gap_s=60, gap_for_s=10)


def replayed(lake: Lake, topics: list[str], *, step_ms: int = 1 << 40, **options: object) -> Recorder:
    exchange = LocalExchange(replay=lake.root, speed=0.0, **options)  # type: ignore[arg-type]
    recorder = Recorder(exchange, topics)
    recorder.run(START + 125_000, step_ms)
    return recorder


@pytest.mark.parametrize("step_ms", [1 << 40, 137, 17])
def test_a_recorder_captures_the_lake_s_own_rows(lake: Lake, step_ms: int) -> None:
    told = EventBatch.concat(lake.events(SYMBOL))
    seen = replayed(lake, [f"orderbook.50.{SYMBOL}", f"publicTrade.{SYMBOL}"], step_ms=step_ms).events()
    assert (told.kind == GAP).sum() == 2
    same(seen, told)


def test_deeper_topics_pass_on_and_shallower_ones_keep_the_same_best_levels(lake: Lake) -> None:
    told = EventBatch.concat(lake.events(SYMBOL))
    same(replayed(lake, [f"orderbook.200.{SYMBOL}", f"publicTrade.{SYMBOL}"]).events(), told)
    recorder = replayed(lake, [f"orderbook.1.{SYMBOL}"])
    assert {message["type"] for message in recorder.messages} == {"snapshot"}
    best = {message["cts"]: (message["data"]["b"][0], message["data"]["a"][0]) for message in recorder.messages}
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    price, size = recorder.listing.numbers.price, recorder.listing.numbers.size
    checked = 0
    columns = [getattr(told, name).tolist() for name in ("kind", "flags", "side", "time_ms", "price", "size")]
    for kind, flags, side, time_ms, ticks, steps in zip(*columns):
        if kind != BOOK:
            continue
        if flags & SNAPSHOT and flags & 2:
            book[0].clear(), book[1].clear()
        book[side].pop(ticks, None)
        if steps:
            book[side][ticks] = steps
        if flags & 4 and time_ms in best:
            bid, ask = max(book[0]), min(book[1])
            checked += best[time_ms] == ([price(bid), size(book[0][bid])], [price(ask), size(book[1][ask])])
    assert checked > 0.9 * len(best) > 100


def test_a_gap_interrupts_the_book_and_a_new_snapshot_follows(lake: Lake) -> None:
    recorder = replayed(lake, [f"orderbook.50.{SYMBOL}"])
    kinds = [(message["type"], message["data"]["u"], message["cts"]) for message in recorder.messages]
    snapshots = [at for at, (kind, _, _) in enumerate(kinds) if kind == "snapshot"]
    assert len(snapshots) == 2
    before, after = kinds[snapshots[1] - 1], kinds[snapshots[1]]
    assert after[1] == 1
    assert after[2] - before[2] >= 9_000
    assert [u for _, u, _ in kinds[snapshots[1] :]] == list(range(1, len(kinds) - snapshots[1] + 1))


def test_tickers_and_liquidations_of_the_recording_come_out_again(lake: Lake) -> None:
    recorder = replayed(lake, [f"tickers.{SYMBOL}"])
    marks = {float(m["data"]["markPrice"]) for m in recorder.messages if "markPrice" in m["data"]}
    rows = [row for path in lake.parts(SYMBOL, "tickers") for row in _column(path, "mark_price")]
    assert len(marks) > 20
    assert marks <= {float(value) for value in rows if value is not None} | {min(marks)}
    assert recorder.board.funding.rate == Decimal("0.0001")


def _column(path: Path, name: str) -> list[Decimal | None]:
    import pyarrow.parquet as pq

    values: list[Decimal | None] = pq.read_table(path)[name].to_pylist()
    return values


def test_seek_goes_anywhere_and_books_begin_anew(lake: Lake) -> None:
    exchange = LocalExchange(replay=lake.root, speed=0.0)
    recorder = Recorder(exchange, [f"orderbook.50.{SYMBOL}", f"publicTrade.{SYMBOL}"])
    recorder.run(START + 30_000)
    straight = recorder.listing.book(50)
    recorder.run(START + 110_000)
    seen = len(recorder.messages)
    exchange.venue.seek(START + 30_000)
    assert exchange.now_ms == START + 30_000
    again = recorder.listing.book(50)
    assert (again["b"], again["a"], again["cts"]) == (straight["b"], straight["a"], straight["cts"])
    first = recorder.messages[seen]
    assert (first["type"], first["data"]["u"]) == ("snapshot", 1)
    assert (first["data"]["b"], first["data"]["a"]) == (straight["b"], straight["a"])
    recorder.run(START + 50_000)
    told = EventBatch.concat(lake.events(SYMBOL, START + 30_001, START + 50_001))
    later = EventBatch.concat(recorder.pieces[-1 - sum(1 for _ in recorder.messages[seen + 1 :]) :])
    fresh = later.kind != GAP
    trades = (told.kind == TRADE).sum()
    assert (later.kind[fresh] == TRADE).sum() >= trades > 5
    for wrong in (START - 86_400_000, START + 86_400_000):
        with pytest.raises(ConfigError, match="does not reach"):
            exchange.venue.seek(wrong)
    assert exchange.now_ms == START + 50_000
    with pytest.raises(ConfigError, match="synthetic"):
        LocalExchange(speed=0.0).venue.seek(START + 1_000)


def test_start_lies_where_it_was_asked_for(lake: Lake) -> None:
    exchange = LocalExchange(replay=lake.root, speed=0.0, start_ms=START + 30_000, symbols=(SYMBOL,))
    assert list(exchange.venue.listings) == [SYMBOL]
    assert exchange.now_ms == START + 30_000
    assert exchange.venue.listings[SYMBOL].best_bid is not None


def test_what_is_not_in_the_lake_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UnknownSymbolError):
        LocalExchange(replay=lake.root, symbols=("NOPEUSDT",))
    with pytest.raises(EmptyLakeError):
        LocalExchange(replay=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="does not reach"):
        LocalExchange(replay=lake.root, start_ms=1)
    with pytest.raises(ConfigError, match="twice"):
        LocalExchange(replay=lake.root, symbols=(SYMBOL, SYMBOL))


# -- users in the recorded flow


def market(lake: Lake, at_s: float = 20.0) -> ReplayMarket:
    return ReplayMarket(lake, SYMBOL, START + int(at_s * 1000))


def run(one: ReplayMarket, until_ms: int) -> list[Fill]:
    fills: list[Fill] = []
    while one.now_ms < until_ms:
        if one.advance(until_ms) == REACHED:
            break
        fills += one.drain_fills()
        one.clear_rows()
    return fills + one.drain_fills()


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("away", [0, 1, 3])
@pytest.mark.parametrize("at_s", [15, 31, 80])
def test_a_passive_order_fills_as_the_fill_model_says(lake: Lake, side: int, away: int, at_s: int) -> None:
    one = market(lake, at_s)
    best, sign = int(one.top(side, 1)[0][0]), 1 - 2 * side
    price, size = best - sign * away, 400
    one.rest(side, price, size, 1)
    end = START + (at_s + 25) * 1000
    ours = run(one, end)

    broker = PaperBroker(FillModel(latency_ms=0, maker_fee=0.0, taker_fee=0.0))
    events = EventBatch.concat(lake.events(SYMBOL, None, end + 1))
    clock = np.maximum.accumulate(events.time_ms)
    cut = int(np.searchsorted(clock, START + at_s * 1000, side="right"))
    broker.on_events(events[:cut])
    broker.submit("a", sign, price, price - sign * 9_000, price + sign * 9_000, size, START + at_s * 1000)
    reports = broker.on_events(events[cut:])
    theirs = [(r.price, r.size, r.time_ms) for r in reports if type(r).__name__ == "Filled" and r.role == "entry"]  # type: ignore[union-attr]
    assert [(fill.price, fill.size, fill.time_ms) for fill in ours] == theirs
    assert all(fill.maker for fill in ours)


def test_queue_position_is_kept_and_a_touch_is_not_a_fill(lake: Lake) -> None:
    one = market(lake)
    prices, sizes = one.top(0, 5)
    handle = one.rest(0, int(prices[0]), 10, 1)
    assert one.queue_ahead(handle) == sizes[0]
    deep = one.rest(0, int(prices[0]) - 100_000, 10, 2)
    assert one.queue_ahead(deep) is None
    later = one.rest(0, int(prices[0]), 10, 3)
    fills = run(one, START + 55_000)
    at = {fill.owner: fill.time_ms for fill in fills}
    assert 2 not in at
    if 3 in at:
        assert at[1] <= at[3]
    one.remove(deep)
    assert later != handle


def test_taking_walks_the_displayed_book_once(lake: Lake) -> None:
    one = market(lake)
    prices, sizes = one.top(1, 3)
    both = int(sizes[0] + sizes[1])
    assert one.reachable(0, int(prices[1])) == both
    assert one.take(0, int(prices[1]), both + 7, 1) == 7
    assert [(fill.price, fill.size, fill.maker) for fill in one.drain_fills()] == [
        (int(prices[0]), int(sizes[0]), False),
        (int(prices[1]), int(sizes[1]), False),
    ]
    assert one.top(1, 3)[0].tolist() == prices.tolist()  # nobody notices
    assert one.take(0, int(prices[1]), 7, 2) == 7
    assert one.reachable(0, int(prices[1])) == 0
    one.rest(0, int(prices[0]), 7, 2)
    seen = [fill for fill in run(one, START + 55_000) if fill.owner == 2]
    assert sum(fill.size for fill in seen) <= 7
    for _ in range(600):
        one.advance(one.now_ms + 100)
        one.clear_rows()
        if one.reachable(0, int(one.top(1, 1)[0][0])) > 0:
            break
    else:
        pytest.fail("no message has shown a level anew")


def test_nothing_fills_while_the_book_is_unknown(lake: Lake) -> None:
    one = market(lake, 59)
    one.rest(0, int(one.top(0, 1)[0][0]) - 2_000, 10, 1)
    while one.lob.i[_lob.N_BIDS] > 0:
        one.advance(one.now_ms + 10)
        one.clear_rows()
    assert one.take(0, 1 << 40, 5, 2) == 5
    assert one.reachable(0, 1 << 40) == 0
    assert one.top(0, 5)[0].tolist() == []
    assert one.drain_fills() == []


def test_triggers_stop_the_replay(lake: Lake) -> None:
    one = market(lake)
    last = int(one.lob.i[_lob.LAST])
    one.set_triggers(last - 1, last + 1)
    while not one.waiting and not one.ended:
        one.advance(START + 125_000)
        one.clear_rows()
    low, high = one.drain_triggers()
    assert low or high
    assert one.now_ms < START + 125_000


def test_many_orders_are_refused_rather_than_lost(lake: Lake) -> None:
    one = market(lake)
    price = int(one.top(0, 1)[0][0]) - 5_000
    handles = [one.rest(0, price, 1, owner + 1) for owner in range(rk.ORDERS)]
    assert len(set(handles)) == rk.ORDERS
    assert one.rest(0, price, 1, 9_999) == -1
    one.remove(handles[17])
    assert one.rest(0, price, 1, 9_999) == handles[17]


@pytest.mark.slow
@pytest.mark.parametrize(("symbol", "depth"), [("HLBTCUSDT", 50), ("HLETHUSDT", 200)])
def test_recorded_markets_come_out_as_they_are(recorded: Path, tmp_path: Path, symbol: str, depth: int) -> None:
    lake = Lake(tmp_path / "lake")
    import_archives(recorded, symbol, lake)
    told = EventBatch.concat(lake.events(symbol))
    exchange = LocalExchange(replay=lake.root, speed=0.0)
    recorder = Recorder(exchange, [f"orderbook.{depth}.{symbol}", f"publicTrade.{symbol}"])
    recorder.run(int(told.time_ms.max()))
    same(recorder.events(), told)


@pytest.mark.slow
def test_two_days_of_a_recorded_market_come_out_as_they_are(recorded: Path, tmp_path: Path) -> None:
    symbol = "SXBTCUSDT"
    lake = Lake(tmp_path / "lake")
    import_archives(recorded, symbol, lake)
    told = EventBatch.concat(lake.events(symbol))
    one = ReplayMarket(lake, symbol)
    one.open_feed(1, 200, 100)
    end, at = int(told.time_ms.max()), 0
    kept = told.kind != GAP
    expected = {name: getattr(told, name)[kept] for name in ("kind", "side", "time_ms", "price", "size")}
    while one.now_ms < end:
        one.advance(end)
        batch = one.lob.rows[: one.rows]
        columns = {"side": _lob.R_SIDE, "time_ms": _lob.R_TIME, "price": _lob.R_PRICE, "size": _lob.R_SIZE}
        for name, column in columns.items():
            assert np.array_equal(batch[:, column], expected[name][at : at + len(batch)]), name
        at += len(batch)
        one.clear_rows()
        one.drain_liquidations()
    assert at == kept.sum()
