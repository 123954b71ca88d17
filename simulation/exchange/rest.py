"""The REST API: checks signatures and rates, and hands requests to the endpoints."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from simulation.exchange.auth import LIMITS, Keyring, RateLimiter
from simulation.exchange.misbehaviour import Effect, Misbehaviour
from simulation.exchange.orders import Refusal
from simulation.exchange.private import DisconnectionProtection
from simulation.exchange.rest_account import AccountRoutes
from simulation.exchange.rest_market import MarketRoutes
from simulation.exchange.rest_orders import OrderRoutes
from simulation.exchange.rest_others import lists_nothing, other_routes
from simulation.exchange.rest_positions import PositionRoutes
from simulation.exchange.routes import Params, Reply, Route, reads, writes
from simulation.exchange.venue import Venue

#: HTTP status, body, headers.
Answer = tuple[int, bytes, dict[str, str]]


class Outcome(NamedTuple):
    """What came of a checked request.

    Attributes
    ----------
    reply
        Result and extra information; empty ones where it was refused.
    refusal
        Why it was refused, if it was.
    headers
        Of its rate limit.
    """

    reply: Reply
    refusal: Refusal | None
    headers: dict[str, str]


_TOO_MANY = "Too many visits. Exceeded the API Rate Limit."


class RestApi:
    """Answers requests; knows nothing of HTTP servers.

    Parameters
    ----------
    venue
        What is traded.
    keyring
        Who may trade.
    faults
        In force.
    protection
        Cancels the orders of who has gone.
    limits
        Requests a second of an endpoint.
    """

    def __init__(
        self,
        venue: Venue,
        keyring: Keyring,
        faults: Misbehaviour,
        protection: DisconnectionProtection,
        limits: Mapping[str, int] = LIMITS,
    ) -> None:
        self._keyring, self._faults = keyring, faults
        self._limiter = RateLimiter(limits, keyring.wall)
        self._routes: dict[str, Route] = {
            **MarketRoutes(venue).routes,
            **OrderRoutes(venue).routes,
            **PositionRoutes(venue).routes,
            **_with_protection(AccountRoutes(venue, keyring).routes, protection),
            **other_routes(),
            "/v5/market/time": Route("GET", self._time, public=True),
            "/v5/system/status": Route("GET", self._status, public=True, message=""),
            "/v5/order/disconnected-cancel-all": writes(protection.set, message="success"),
            "/v5/account/query-dcp-info": reads(protection.info, message="success"),
        }

    # -- requests -----------------------------------------------------------------------------------------------------

    def fate(self, method: str, path: str, query: Mapping[str, str], body: str) -> Effect:
        """What the faults in force do to a request."""
        route = self._routes.get(path)
        params: Mapping[str, Any] = query
        if method == "POST":
            try:
                params = _body(body)
            except Refusal:
                params = {}
        signed = route is None or not route.public
        return self._faults.request((path,), str(params.get("symbol", "")), signed=signed)

    def answer(
        self, method: str, path: str, query: Mapping[str, str], spellings: tuple[str, ...], headers: Mapping[str, str],
    ) -> Answer:  # fmt: skip
        """Answer one request.

        Parameters
        ----------
        method, path
            Of the request.
        query
            Parameters of a GET.
        spellings
            What the client may have signed: the raw and the decoded query string, or the body.
        headers
            With the signature.
        """
        try:
            route = self._routes.get(path)
            if route is None or route.method != method:
                return self._answer(Reply({}, {}), Refusal(10017, "Route not found."), status=404)
            if not route.public:
                if "X-BAPI-API-KEY" not in headers:
                    return 401, b"", {}
                self._keyring.check_request(headers, spellings)
            params = query if method == "GET" else _body(spellings[0])
        except Refusal as refusal:
            return self._answer(Reply({}, {}), refusal)
        reply, refused, limits = self.carry_out(path, params)
        return self._answer(reply, refused, message=route.message, headers=limits)

    def refuse(self, code: int, message: str) -> Answer:
        """Answer with an error, as a fault wants it."""
        now = str(self._keyring.wall())
        headers = {"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "0", "X-Bapi-Limit-Reset-Timestamp": now}
        return self._answer(Reply({}, {}), Refusal(code, message), headers=headers if code == 10006 else {})

    def carry_out(self, path: str, params: Params) -> Outcome:
        """Do what a checked request asks for, if the rate limit lets it."""
        batch = params.get("request") if path.endswith("-batch") else None
        orders = batch if isinstance(batch, list) else [params]
        headers, allowed = self._limiter.spend(path, max(len(orders), 1))
        try:
            if not allowed:
                raise Refusal(10006, _TOO_MANY)
            if allowed < len(orders):
                return Outcome(self._part(path, params, allowed), None, headers)
            result = lists_nothing(path, params) or self._routes[path].handle(params)
        except Refusal as refusal:
            return Outcome(Reply(refusal.result, {}), refusal, headers)
        return Outcome(result if isinstance(result, Reply) else Reply(result, {}), None, headers)

    def _part(self, path: str, params: Params, allowed: int) -> Reply:
        """A batch of which only the first orders are within the limit: the others fail one by one."""
        orders = list(params["request"])
        done, extra = self._routes[path].handle({**params, "request": orders[:allowed]})
        for order in orders[allowed:]:
            fields = order if isinstance(order, Mapping) else {}
            blank = dict.fromkeys(done["list"][0], "") | {"category": params.get("category", "")}
            blank |= {name: str(fields.get(name, "")) for name in ("symbol", "orderId", "orderLinkId")}
            done["list"].append(blank)
            extra["list"].append({"code": 10006, "msg": _TOO_MANY})
        return Reply(done, extra)

    # -- the exchange's own -------------------------------------------------------------------------------------------

    def _time(self, params: Params) -> dict[str, str]:
        now = self._keyring.wall()
        return {"timeSecond": str(now // 1_000), "timeNano": str(now * 1_000_000)}

    def _status(self, params: Params) -> dict[str, Any]:
        """Maintenance in progress; what is over or to come is not announced here."""
        now = self._keyring.wall()
        row = {
            "id": "00000000-0000-5000-8000-000000000001",
            "title": "Maintenance of the local exchange",
            "state": "ongoing",
            "begin": str(now // 60_000 * 60_000),
            "end": str(now // 60_000 * 60_000 + 600_000),
            "href": "",
            "serviceTypes": [1, 2, 3, 4],
            "product": [1],
            "uidSuffix": [],
            "maintainType": 1,
            "env": 1,
        }
        return {"list": [row] if self._faults.maintenance and params.get("state") in (None, "", "ongoing") else []}

    def _answer(
        self,
        reply: Reply,
        refusal: Refusal | None = None,
        *,
        status: int = 200,
        message: str = "OK",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        body: dict[str, Any] = {
            "retCode": refusal.code if refusal else 0,
            "retMsg": refusal.message if refusal else message,
            "result": reply.result,
            "retExtInfo": reply.extra,
            "time": self._keyring.wall(),
        }
        told = {"Traceid": uuid.uuid4().hex, "Timenow": str(body["time"])}
        return status, msgspec.json.encode(body), told | (headers or {})


def _with_protection(routes: dict[str, Route], protection: DisconnectionProtection) -> dict[str, Route]:
    """Let the account's info tell of the disconnection protection."""
    path = "/v5/account/info"
    inner = routes[path]
    return routes | {path: inner._replace(handle=lambda params: inner.handle(params) | protection.row())}


def _body(text: str) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Refusal(10001, "Request parameter error: the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(10001, "Request parameter error: the body is not an object")
    return body
