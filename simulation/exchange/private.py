"""``/v5/private``: orders, executions, positions and wallet of whoever has signed in."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from simulation.exchange.auth import Keyring, wall_ms
from simulation.exchange.sockets import Connection, answer, arguments, refuse

#: Topics, with the spellings that name linear contracts only.
TOPICS = {name + suffix: name for name in ("order", "execution", "position") for suffix in ("", ".linear")}
TOPICS["wallet"] = "wallet"


class PrivateConnection(Connection):
    """A client of the private stream."""

    def __init__(self, request: web.Request) -> None:
        super().__init__(request)
        self.signed = False
        self.topics: set[str] = set()


class PrivateHub:
    """All private connections."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.connections: list[PrivateConnection] = []

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        connection = PrivateConnection(request)
        await connection.open()
        self.connections.append(connection)
        try:
            async for body in connection.requests():
                self._handle(connection, body)
        finally:
            self.connections.remove(connection)
        return connection.socket

    def publish(self, topic: str, rows: list[dict[str, Any]], now_ms: int) -> None:
        """Tell everybody who subscribes to a topic."""
        for connection in self.connections:
            for name in connection.topics:
                if TOPICS[name] == topic:
                    message = {"id": uuid.uuid4().hex, "topic": name, "creationTime": now_ms, "data": rows}
                    connection.send(message)

    def _handle(self, connection: PrivateConnection, body: dict[str, Any] | None) -> None:
        if body is None:
            refuse(connection, {}, "error:invalid json")
            return
        match body.get("op"):
            case "ping":
                connection.send(
                    {
                        "req_id": str(body.get("req_id", "")),
                        "op": "pong",
                        "args": [str(wall_ms())],
                        "conn_id": connection.id,
                    }
                )
            case "auth":
                why = self._keyring.check_socket(body.get("args"))
                connection.signed = not why
                answer(connection, body, why, success=not why)
            case "subscribe" | "unsubscribe" as verb:
                self._subscribe(connection, body, on=verb == "subscribe")
            case other:
                refuse(connection, body, f"error:unknown op {other}")

    def _subscribe(self, connection: PrivateConnection, body: dict[str, Any], *, on: bool) -> None:
        args = arguments(body)
        if not connection.signed:
            refuse(connection, body, "Request not authorized")
        elif args is None:
            refuse(connection, body, "error:args is empty or too long")
        elif any(topic not in TOPICS for topic in args):
            refuse(connection, body, f"error:handler not found,topic:{next(t for t in args if t not in TOPICS)}")
        else:
            connection.topics = connection.topics | set(args) if on else connection.topics - set(args)
            answer(connection, body)
