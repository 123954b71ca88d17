"""The public feed against a real WebSocket server that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from market import Disconnected, Frame, PublicFeed, SessionAssembler, topics_for
from market.errors import VenueError
from market.events import BOOK, GAP
from market.feed import Frames
from tests.market.venue import NOON_MS, RULES, Connection, Venue, book, snapshot, trade

TOPICS = topics_for(["BTCUSDT"], 50)


def feed_of(venue: Venue, **options: object) -> PublicFeed:
    settings: dict[str, object] = {"idle_seconds": 5.0, "backoff_seconds": (0.01, 0.05)}
    return PublicFeed(venue.url, TOPICS, **(settings | options))  # type: ignore[arg-type]


async def take(feed: PublicFeed, count: int) -> list[Frame | Disconnected]:
    """The next `count` items."""
    async with asyncio.timeout(10):
        return [await anext(feed) for _ in range(count)]


@pytest.fixture
async def forever() -> AsyncIterator[asyncio.Event]:
    """An event that is set when the test is over."""
    event = asyncio.Event()
    yield event
    event.set()


async def test_frames_arrive_untouched_and_in_order() -> None:
    sent = [snapshot(1), book(2), trade((NOON_MS, "Buy", "1", "100.0")), b'{"broken', book(3)]

    async def script(connection: Connection) -> None:
        await connection.send(*sent)

    async with Venue(script) as venue, feed_of(venue) as feed:
        items = await take(feed, len(sent))
    assert [item.data for item in items if isinstance(item, Frame)] == sent
    stamps = [item.recv_ns for item in items]
    assert stamps == sorted(stamps)


async def test_topics_are_asked_for_ten_at_a_time() -> None:
    async def script(connection: Connection) -> None:
        await connection.until("subscribe", topics[-1])
        await connection.send(snapshot(1))

    topics = topics_for([f"S{n}USDT" for n in range(7)], 200)
    assert topics[:3] == ["orderbook.200.S0USDT", "publicTrade.S0USDT", "tickers.S0USDT"]
    async with Venue(script) as venue, PublicFeed(venue.url, topics) as feed:
        await take(feed, 1)
        asked = [request["args"] for request in venue.connections[0].requests if request["op"] == "subscribe"]
    assert [len(args) for args in asked] == [10, 10]  # the last one was taken by the script


@pytest.mark.failure(33)
async def test_a_dropped_connection_comes_back_subscribed() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1 + 10 * connection.number), book(2 + 10 * connection.number))
        await asyncio.sleep(0.02)
        if connection.number < 3:
            await (connection.cut() if connection.number % 2 else connection.socket.close())

    async with Venue(script) as venue, feed_of(venue) as feed:
        items = await take(feed, 11)
        assert feed.connections == 4
    kinds = [type(item) for item in items]
    assert kinds == [Frame, Frame, Disconnected] * 3 + [Frame, Frame]
    assert "connection" in items[2].cause  # type: ignore[union-attr]


async def test_silence_is_a_dead_connection() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))

    async with Venue(script) as venue, feed_of(venue, idle_seconds=0.2, ping_seconds=0.05) as feed:
        items = await take(feed, 3)
        assert [request["op"] for request in venue.connections[0].requests].count("ping") >= 2
    assert isinstance(items[1], Disconnected)
    assert items[1].cause == "no data for 0.2 s"  # pongs did come: they do not prove that data flows
    assert isinstance(items[2], Frame)


async def test_a_venue_that_is_down_is_tried_for_ever() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))

    venue = Venue(script)
    async with venue:
        pass
    async with feed_of(venue) as feed:
        items = await take(feed, 5)
        assert all(isinstance(item, Disconnected) and item.cause.startswith("cannot connect") for item in items)
        async with venue:
            while not isinstance((await take(feed, 1))[0], Frame):
                pass


async def test_a_refused_subscription_is_an_error() -> None:
    async def script(connection: Connection) -> None:
        return

    refusal = "error:handler not found,topic:orderbook.50.BTCUSDT"
    async with Venue(script, refuse=refusal) as venue, feed_of(venue) as feed:
        with pytest.raises(VenueError, match="handler not found"):
            await take(feed, 1)


async def test_resync_gives_a_fresh_snapshot() -> None:
    async def script(connection: Connection) -> None:
        await connection.until("subscribe", "orderbook.50.BTCUSDT")
        await connection.send(snapshot(1), book(2), book(4))
        await connection.until("unsubscribe", "orderbook.50.BTCUSDT")
        await connection.until("subscribe", "orderbook.50.BTCUSDT")
        await connection.send(snapshot(8), book(9))

    assembler, kinds = SessionAssembler(RULES), []
    async with Venue(script) as venue, feed_of(venue) as feed:
        await feed.resync("orderbook.50.BTCUSDT")  # not connected yet: nothing to do
        for _ in range(5):
            item = (await take(feed, 1))[0]
            assert isinstance(item, Frame)
            out = assembler.on_frame(item.data, item.recv_ns)
            kinds += [int(batch.kind[0]) for _, batch in out.batches]
            for topic in out.resync:
                await feed.resync(topic)
    assert kinds == [GAP, BOOK, BOOK, GAP, BOOK, BOOK, BOOK]


async def test_stop_ends_the_stream_at_once(forever: asyncio.Event) -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))
        await forever.wait()

    async with Venue(script) as venue, feed_of(venue) as feed:
        await take(feed, 1)
        asyncio.get_running_loop().call_later(0.05, feed.stop)
        async with asyncio.timeout(2):
            assert [item async for item in feed] == []
        assert feed.stopped


async def collect(feed: PublicFeed, losses: int = 1, most: int = 3) -> list[Frame | Disconnected]:
    """What a feed collects until it was lost so often, or has ended; what waits is taken when it is full."""
    items: list[Frame | Disconnected] = []
    waiting = Frames()

    def notice() -> None:
        noticed.append(len(waiting))
        if len(waiting) >= most:
            items.extend(waiting)
            waiting.clear()

    noticed: list[int] = []
    async with asyncio.timeout(10):
        for _ in range(losses):
            loss = await feed.collect(waiting, most, notice)
            items.extend(waiting)
            waiting.clear()
            if loss is None:
                break
            items.append(loss)
    assert set(noticed) <= {1, most}
    return items


async def test_frames_taken_together_are_those_taken_one_by_one() -> None:
    def sent(number: int) -> list[bytes]:
        return [snapshot(1 + 10 * number), *(book(u + 10 * number) for u in range(2, 9)), b'{"broken']

    async def script(connection: Connection) -> None:
        await connection.send(*sent(connection.number))
        await asyncio.sleep(0.02)
        await (connection.cut() if connection.number % 2 else connection.socket.close())

    async with Venue(script) as venue, feed_of(venue) as feed:
        items = await collect(feed, 3)
        assert feed.connections == 3
    assert [type(item) for item in items] == ([Frame] * 9 + [Disconnected]) * 3
    first = venue.connections[0].number
    frames = [item.data for item in items if isinstance(item, Frame)]
    assert frames == [data for number in range(first, first + 3) for data in sent(number)]
    stamps = [item.recv_ns for item in items]
    assert stamps == sorted(stamps)


async def test_silence_and_refusals_end_what_is_taken_together() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(snapshot(1))

    async with Venue(script) as venue, feed_of(venue, idle_seconds=0.2, ping_seconds=0.05) as feed:
        items = await collect(feed)
    assert isinstance(items[-1], Disconnected)
    assert items[-1].cause == "no data for 0.2 s"
    async with Venue(script, refuse="error:handler not found") as venue, feed_of(venue) as feed:
        with pytest.raises(VenueError, match="handler not found"):
            await collect(feed)


async def test_stop_takes_what_has_arrived(forever: asyncio.Event) -> None:
    sent = [snapshot(1), *(book(u) for u in range(2, 2_000))]

    async def script(connection: Connection) -> None:
        await connection.send(*sent)
        await forever.wait()

    async with Venue(script) as venue, feed_of(venue) as feed:
        waiting = Frames()
        async with asyncio.timeout(5):
            assert await feed.collect(waiting, 10_000, feed.stop) is None  # at the first frame
        assert 1 <= len(waiting) <= len(sent)
        assert waiting.datas == sent[: len(waiting)]
        assert feed.stopped
