"""``/v5/public/linear``: subscriptions to books, trades, tickers, candles, liquidations and price limits."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from simulation.exchange.listing import Flush, Listing
from simulation.exchange.misbehaviour import Misbehaviour
from simulation.exchange.sockets import PublicConnection, answer, arguments, refuse, text_frame
from simulation.exchange.venue import Venue


class PublicHub:
    """All public connections."""

    def __init__(self, venue: Venue, faults: Misbehaviour) -> None:
        self._venue, self._faults = venue, faults
        self.connections: list[PublicConnection] = []
        self.frames = 0

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        connection = PublicConnection(request, self._venue.listings, self._faults)
        await connection.open()
        self.connections.append(connection)
        try:
            async for body in connection.requests():
                self._handle(connection, body)
        finally:
            self.connections.remove(connection)
            for topic in list(connection.topics):
                self._leave(connection, topic)
        return connection.socket

    def publish(self, listing: Listing, flush: Flush) -> None:
        """Send a batch of frames to whom it concerns."""
        self.frames += len(flush.feeds)
        for connection in self.connections:
            connection.deliver(listing, flush)

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        """Send a message of one of the board's topics."""
        for connection in self.connections:
            if message["topic"] in connection.topics:
                connection.send(message)

    def wants_ticker(self, symbol: str) -> bool:
        """Whether anybody subscribes to one of the board's topics."""
        return self._venue.boards[symbol].watched

    def _find(self, connection: PublicConnection, topic: object) -> tuple[Listing, int | None] | None:
        """What a topic names: a contract, and the feed of its book or trades, or no feed for its board."""
        if isinstance(topic, str) and (board := self._venue.boards.get(topic.rpartition(".")[2])) is not None:
            if topic in board.topics:
                return board.listing, None
            return connection.find(topic)
        return None

    def _handle(self, connection: PublicConnection, body: dict[str, Any] | None) -> None:
        if body is None:
            refuse(connection, {}, "error:invalid json")
            return
        match body.get("op"):
            case "ping":
                connection.send(
                    {
                        "success": True,
                        "ret_msg": "pong",
                        "conn_id": connection.id,
                        "req_id": str(body.get("req_id", "")),
                        "op": "ping",
                    }
                )
            case "subscribe":
                self._subscribe(connection, body)
            case "unsubscribe":
                self._unsubscribe(connection, body)
            case other:
                refuse(connection, body, f"error:unknown op {other}")

    def _subscribe(self, connection: PublicConnection, body: dict[str, Any]) -> None:
        args = arguments(body)
        if args is None:
            refuse(connection, body, "error:args is empty or too long")
            return
        for topic in args:
            if self._find(connection, topic) is None:
                refuse(connection, body, f"error:handler not found,topic:{topic}")
                return
            if topic in connection.topics:
                refuse(connection, body, f"error:already subscribed,topic:{topic}")
                return
        answer(connection, body)
        for topic in args:
            if topic not in connection.topics:
                self._join(connection, topic)

    def _unsubscribe(self, connection: PublicConnection, body: dict[str, Any]) -> None:
        args = arguments(body)
        if args is None:
            refuse(connection, body, "error:args is empty or too long")
            return
        for topic in args:
            if topic in connection.topics:
                self._leave(connection, topic)
        answer(connection, body)

    def _join(self, connection: PublicConnection, topic: str) -> None:
        found = self._find(connection, topic)
        assert found is not None
        listing, feed = found
        # What the market has already produced belongs to those who listened before.
        self._venue.flush(listing)
        connection.topics.add(topic)
        if feed is None:
            message = self._venue.boards[listing.symbol].join(topic)
            if message is not None:
                connection.send(message)
            return
        snapshot = listing.join(feed)
        connection.want(listing, feed, True)
        if snapshot is not None:
            connection.write(text_frame(snapshot))
            connection.frames += 1
        self._venue.flush(listing)

    def _leave(self, connection: PublicConnection, topic: str) -> None:
        found = self._find(connection, topic)
        assert found is not None
        listing, feed = found
        self._venue.flush(listing)
        connection.topics.discard(topic)
        if feed is None:
            self._venue.boards[listing.symbol].leave(topic)
        else:
            connection.want(listing, feed, False)
            listing.leave(feed)
