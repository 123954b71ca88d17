"""``/v5/trade``: orders by WebSocket. The endpoints are those of REST; the envelope and some codes are its own.

Source: https://bybit-exchange.github.io/docs/v5/websocket/trade/guideline
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from aiohttp import web

from simulation.exchange.auth import Keyring
from simulation.exchange.misbehaviour import Effect, Misbehaviour
from simulation.exchange.orders import Refusal
from simulation.exchange.rest import Outcome, RestApi
from simulation.exchange.routes import Reply
from simulation.exchange.sockets import Connection

#: Operations and the endpoints that they are.
OPERATIONS = {
    f"order.{verb}{batch}": f"/v5/order/{verb}{batch}"
    for verb in ("create", "amend", "cancel")
    for batch in ("", "-batch")
}
_MOST_ID_CHARACTERS = 36


class TradeConnection(Connection):
    """A client of the trade socket."""

    def __init__(self, request: web.Request, faults: Misbehaviour) -> None:
        super().__init__(request, faults)
        self.signed = False
        self.used: set[str] = set()
        self.late: set[asyncio.Task[None]] = set()


class TradeHub:
    """All trade sockets.

    Parameters
    ----------
    api
        Carries out what is asked for.
    keyring
        Who may trade.
    faults
        In force.
    """

    def __init__(self, api: RestApi, keyring: Keyring, faults: Misbehaviour) -> None:
        self._api, self._keyring, self._faults = api, keyring, faults
        self.connections: list[TradeConnection] = []

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        connection = TradeConnection(request, self._faults)
        await connection.open()
        self.connections.append(connection)
        try:
            async for body in connection.requests():
                self._handle(connection, body)
        finally:
            self.connections.remove(connection)
            for task in connection.late:
                task.cancel()
        return connection.socket

    def _handle(self, connection: TradeConnection, body: dict[str, Any] | None) -> None:
        if body is None:
            self._refuse(connection, {}, 10001, "Params Error")
            return
        operation = str(body.get("op", ""))
        if operation == "ping":
            pong = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(self._keyring.wall())]}
            connection.send(_echo(body) | pong | {"connId": connection.id})
        elif operation == "auth":
            self._sign_in(connection, body)
        elif not connection.signed:
            self._refuse(connection, body, 10007, "User authentication failed.")
        else:
            self._trade(connection, operation, body)

    def _sign_in(self, connection: TradeConnection, body: dict[str, Any]) -> None:
        refusal = None
        try:
            if connection.signed:
                raise Refusal(20001, "Repeat auth")
            self._keyring.check_socket(body.get("args"))
            connection.signed = True
        except Refusal as raised:
            refusal = raised
        code, message = (refusal.code, refusal.message) if refusal else (0, "OK")
        reply = {"retCode": code, "retMsg": message, "op": "auth", "connId": connection.id}
        connection.send(_echo(body) | reply)

    def _trade(self, connection: TradeConnection, operation: str, body: dict[str, Any]) -> None:
        """Carry out a request at once, or later if a fault says so."""
        path = OPERATIONS.get(operation)
        args = body.get("args")
        params = args[0] if isinstance(args, list) and args and isinstance(args[0], dict) else {}
        names = (operation,) if path is None else (operation, path)
        effect = self._faults.request(names, str(params.get("symbol", "")), trade=True)
        if effect == Effect():
            self._carry_out(connection, operation, body, params)
            return
        task = asyncio.create_task(self._obey(effect, connection, operation, body, params))
        connection.late.add(task)
        task.add_done_callback(connection.late.discard)

    async def _obey(
        self, effect: Effect, connection: TradeConnection, operation: str, body: dict[str, Any], params: dict[str, Any]
    ) -> None:
        await asyncio.sleep(effect.delay)
        if effect.carried_out:
            self._carry_out(connection, operation, body, params, answers=not (effect.lost or effect.code))
        if effect.code and not effect.lost:
            self._refuse(connection, body, effect.code, effect.message)
        elif effect.status and not effect.lost:
            connection.drop()
        elif effect.lost:
            await asyncio.sleep(effect.hold)
            connection.drop()

    def _carry_out(
        self,
        connection: TradeConnection,
        operation: str,
        body: dict[str, Any],
        params: dict[str, Any],
        *,
        answers: bool = True,
    ) -> None:
        try:
            self._check(connection, operation, body, params)
            outcome = self._api.carry_out(OPERATIONS[operation], params)
        except Refusal as refusal:
            outcome = Outcome(Reply({}, {}), refusal, {})
        if answers:
            self._send(connection, body, outcome)

    def _check(self, connection: TradeConnection, operation: str, body: dict[str, Any], params: dict[str, Any]) -> None:
        if operation not in OPERATIONS:
            raise Refusal(10404, "op type is not found")
        header, args, number = body.get("header"), body.get("args"), body.get("reqId")
        if number is not None:
            if not isinstance(number, str) or len(number) > _MOST_ID_CHARACTERS:
                raise Refusal(10001, "Params Error: reqId is longer than 36")
            if number in connection.used:
                raise Refusal(20006, "Duplicate reqId")
            connection.used.add(number)
        if not isinstance(header, dict):
            raise Refusal(10001, "Params Error: header is missing")
        if not isinstance(args, list) or len(args) != 1 or not params:
            raise Refusal(10001, "Params Error: args supports one item only")
        self._keyring.check_time(header)
        if params.get("category") != "linear":
            raise Refusal(10404, "category is not correct or not supported")

    def _send(self, connection: TradeConnection, body: dict[str, Any], outcome: Outcome) -> None:
        reply, refusal, headers = outcome
        connection.send(
            _echo(body)
            | {
                "retCode": refusal.code if refusal else 0,
                "retMsg": refusal.message if refusal else "OK",
                "op": str(body.get("op", "")),
                "data": reply.result,
                "retExtInfo": reply.extra,
                "header": headers | {"Traceid": uuid.uuid4().hex, "Timenow": str(self._keyring.wall())},
                "connId": connection.id,
            }
        )

    def _refuse(self, connection: TradeConnection, body: dict[str, Any], code: int, message: str) -> None:
        self._send(connection, body, Outcome(Reply({}, {}), Refusal(code, message), {}))


def _echo(body: dict[str, Any]) -> dict[str, Any]:
    return {"reqId": body["reqId"]} if "reqId" in body else {}
