"""``/v5/private``: orders, executions, positions and wallet of whoever has signed in, and protection of the absent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from simulation.exchange.auth import Keyring
from simulation.exchange.misbehaviour import Misbehaviour
from simulation.exchange.orders import Refusal
from simulation.exchange.sockets import Connection, answer, arguments, refuse

#: Topics that send something, with the spellings that name linear contracts only.
TOPICS = {name + suffix: name for name in ("order", "execution", "position") for suffix in ("", ".linear")}
TOPICS |= {"wallet": "wallet", "execution.fast": "execution", "execution.fast.linear": "execution"}
#: What the fast topics tell of a trade.
_FAST = (
    "category", "symbol", "execId", "execPrice", "execQty", "orderId", "isMaker", "orderLinkId", "side", "execTime",
    "seq",
)  # fmt: skip
#: Topics of other products, which are quiet here.
_QUIET = {f"{name}.{kind}" for name in ("order", "execution", "position") for kind in ("spot", "inverse", "option")}
_QUIET |= {"greeks", "dcp.spot", "dcp.option"}
#: Topics that arm the disconnection protection of contracts.
DCP_TOPICS = {"dcp", "dcp.future"}


class PrivateConnection(Connection):
    """A client of the private stream."""

    def __init__(self, request: web.Request, faults: Misbehaviour) -> None:
        super().__init__(request, faults)
        self.signed = False
        self.topics: set[str] = set()

    @property
    def protected(self) -> bool:
        """Whether its end counts for the disconnection protection."""
        return bool(self.topics & DCP_TOPICS)


class DisconnectionProtection:
    """Cancels all orders when the last protected connection has been gone for too long (Bybit's DCP).

    Parameters
    ----------
    cancel
        Cancels the orders.

    Attributes
    ----------
    window
        Seconds of the wall clock; Bybit's default.
    enabled
        Whether the account has it; Bybit grants it to institutions only.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._timer: asyncio.TimerHandle | None = None
        self.window = 10
        self.enabled = True

    def set(self, params: Any) -> dict[str, Any]:
        """``POST /v5/order/disconnected-cancel-all``."""
        window = params.get("timeWindow")
        product = params.get("product", "OPTIONS")
        if product not in ("OPTIONS", "DERIVATIVES", "SPOT"):
            raise Refusal(10001, "params error: product invalid")
        if isinstance(window, bool) or not isinstance(window, int) or not 3 <= window <= 300:
            raise Refusal(10001, "params error: timeWindow must be 3 to 300")
        if product == "DERIVATIVES":
            self.window = window
        return {}

    def info(self, params: Any) -> dict[str, Any]:
        """``GET /v5/account/query-dcp-info``."""
        row = {"product": "DERIVATIVES", "dcpStatus": "ON", "timeWindow": str(self.window)}
        return {"dcpInfos": [row] if self.enabled else []}

    def row(self) -> dict[str, Any]:
        """What the account's info tells of it."""
        return {"dcpStatus": "ON" if self.enabled else "OFF", "timeWindow": self.window}

    @property
    def counting(self) -> bool:
        """Whether everybody has gone and the window runs."""
        return self._timer is not None

    def left(self) -> None:
        """The last protected connection has gone."""
        if self.enabled and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.window, self._over)

    def came(self) -> None:
        """A protected connection is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self._cancel()


class PrivateHub:
    """All private connections."""

    def __init__(self, keyring: Keyring, faults: Misbehaviour, protection: DisconnectionProtection) -> None:
        self._keyring, self._faults, self._protection = keyring, faults, protection
        self.connections: list[PrivateConnection] = []

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        connection = PrivateConnection(request, self._faults)
        await connection.open()
        self.connections.append(connection)
        try:
            async for body in connection.requests():
                self._handle(connection, body)
        finally:
            self.connections.remove(connection)
            if connection.protected and not any(other.protected for other in self.connections):
                self._protection.left()
        return connection.socket

    def publish(self, topic: str, rows: list[dict[str, Any]], now_ms: int) -> None:
        """Tell everybody who subscribes to a topic."""
        for connection in self.connections:
            for name in sorted(connection.topics):
                if TOPICS.get(name) != topic:
                    continue
                data = _fast(rows) if name.startswith("execution.fast") else rows
                if data:
                    message = {"id": uuid.uuid4().hex, "topic": name, "creationTime": now_ms, "data": data}
                    connection.send(message)

    def _handle(self, connection: PrivateConnection, body: dict[str, Any] | None) -> None:
        if body is None:
            refuse(connection, {}, "error:invalid json")
            return
        match body.get("op"):
            case "ping":
                pong = {"op": "pong", "args": [str(self._keyring.wall())], "conn_id": connection.id}
                connection.send(echo(body) | pong)
            case "auth":
                self._sign_in(connection, body)
            case "subscribe" | "unsubscribe" as verb:
                self._subscribe(connection, body, on=verb == "subscribe")
            case other:
                refuse(connection, body, f"error:unknown op {other}")

    def _sign_in(self, connection: PrivateConnection, body: dict[str, Any]) -> None:
        if connection.signed:
            refuse(connection, body, "Repeat auth")
            return
        try:
            self._keyring.check_socket(body.get("args"))
        except Refusal as refusal:
            refuse(connection, body, refusal.message)
            return
        connection.signed = True
        answer(connection, body)

    def _subscribe(self, connection: PrivateConnection, body: dict[str, Any], *, on: bool) -> None:
        args = arguments(body)
        if not connection.signed:
            refuse(connection, body, "Request not authorized")
            return
        if args is None:
            refuse(connection, body, "error:args is empty or too long")
            return
        if any(isinstance(topic, str) and topic.partition(".")[0] in args and "." in topic for topic in args):
            refuse(connection, body, "error:an all-in-one topic and a categorised one are in the same request")
            return
        for topic in args:
            if not isinstance(topic, str) or topic not in TOPICS.keys() | _QUIET | DCP_TOPICS:
                refuse(connection, body, f"error:handler not found,topic:{topic}")
                return
            if on and topic in connection.topics:
                refuse(connection, body, f"error:already subscribed,topic:{topic}")
                return
        connection.topics = connection.topics | set(args) if on else connection.topics - set(args)
        if connection.protected:
            self._protection.came()
        answer(connection, body)


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """The request's id, where it has one: the private stream leaves the field out otherwise."""
    return {"req_id": str(body["req_id"])} if "req_id" in body else {}


def _fast(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in _FAST} for row in rows if row["execType"] == "Trade"]
