"""The REST API: checks signatures and rates, and hands requests to the endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from simulation.exchange.auth import LIMITS, Keyring, RateLimiter, wall_ms
from simulation.exchange.orders import Refusal
from simulation.exchange.rest_account import AccountRoutes
from simulation.exchange.rest_market import MarketRoutes
from simulation.exchange.rest_orders import OrderRoutes
from simulation.exchange.rest_positions import PositionRoutes
from simulation.exchange.routes import Reply, Route
from simulation.exchange.venue import Venue

#: HTTP status, body, headers.
Answer = tuple[int, bytes, dict[str, str]]


class RestApi:
    """Answers requests; knows nothing of HTTP servers.

    Parameters
    ----------
    venue
        What is traded.
    keyring
        Who may trade.
    limits
        Requests a second of an endpoint.
    """

    def __init__(self, venue: Venue, keyring: Keyring, limits: Mapping[str, int] = LIMITS) -> None:
        self._keyring, self._limiter = keyring, RateLimiter(limits)
        self.orders = OrderRoutes(venue)
        self._routes: dict[str, Route] = {
            **MarketRoutes(venue).routes,
            **self.orders.routes,
            **PositionRoutes(venue).routes,
            **AccountRoutes(venue, keyring).routes,
        }

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
        extra: dict[str, str] = {}
        try:
            route = self._routes.get(path)
            if route is None or route.method != method:
                return _answer({}, Refusal(10017, "Route not found."), status=404)
            if not route.public:
                if "X-BAPI-API-KEY" not in headers:
                    return 401, b"", {}
                self._keyring.check_request(headers, spellings)
                extra, allowed = self._limiter.spend(path)
                if not allowed:
                    raise Refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
            result = route.handle(query if method == "GET" else _body(spellings[0]))
            return _answer(result, message=route.message, headers=extra)
        except Refusal as refusal:
            return _answer({}, refusal, headers=extra)


def _body(text: str) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Refusal(10001, "Request parameter error: the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(10001, "Request parameter error: the body is not an object")
    return body


def _answer(
    result: Any,
    refusal: Refusal | None = None,
    *,
    status: int = 200,
    message: str = "OK",
    headers: dict[str, str] | None = None,
) -> Answer:
    extra: dict[str, Any] = {}
    if isinstance(result, Reply):
        result, extra = result
    body = {
        "retCode": refusal.code if refusal else 0,
        "retMsg": refusal.message if refusal else message,
        "result": result,
        "retExtInfo": extra,
        "time": wall_ms(),
    }
    return status, msgspec.json.encode(body), headers or {}
