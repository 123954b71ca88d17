"""Keys, signatures, time windows and rate limits, as Bybit documents them."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Callable, Mapping

from simulation.exchange.orders import Refusal

_DEFAULT_WINDOW = 5_000
#: Requests a second of an endpoint; https://bybit-exchange.github.io/docs/v5/rate-limit
LIMITS = {
    "/v5/order/create": 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/create-batch": 10,
    "/v5/order/amend-batch": 10,
    "/v5/order/cancel-batch": 10,
    "/v5/order/disconnected-cancel-all": 5,
    "/v5/order/pre-check": 10,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/closed-pnl": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/position/trading-stop": 10,
    "/v5/position/set-auto-add-margin": 10,
    "/v5/position/add-margin": 10,
    "/v5/account/wallet-balance": 50,
    "/v5/account/transaction-log": 25,
    "/v5/account/fee-rate": 5,
    "/v5/account/info": 50,
    "/v5/account/query-dcp-info": 5,
    "/v5/account/set-margin-mode": 5,
    "/v5/asset/coin/query-info": 5,
    "/v5/user/query-api": 10,
}
#: Requests that one address may send in five seconds before it is shut out, and for how long, seconds.
IP_LIMIT, IP_WINDOW, _IP_BAN = 600, 5.0, 600.0
#: Sockets that one address may open within five minutes.
SOCKET_LIMIT, SOCKET_WINDOW = 500, 300.0


def wall_ms() -> int:
    """Wall clock, UTC ms: what signatures are checked against, at whatever speed the market runs."""
    return time.time_ns() // 1_000_000


class Keyring:
    """The one API key that is known here.

    Parameters
    ----------
    key, secret
        Any text; there is nothing to protect on loopback.
    wall
        The exchange's wall clock, UTC ms.

    Attributes
    ----------
    expired
        Whether the key is too old to be used.
    """

    def __init__(self, key: str, secret: str, wall: Callable[[], int] = wall_ms) -> None:
        self.key, self.wall = key, wall
        self._secret = secret.encode()
        self.expired = False

    def sign(self, text: str) -> str:
        """The signature of a text."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def check_request(self, headers: Mapping[str, str], payloads: tuple[str, ...]) -> None:
        """Check a signed REST request; its payload may be given in several spellings (query strings).

        Raises
        ------
        Refusal
            10003 unknown key, 33004 expired key, 10002 outside the time window, 10004 wrong signature.
        """
        key, sign = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-SIGN", "")
        self._check_key(key)
        stamp, window = self.check_time(headers)
        origins = [stamp + key + window + payload for payload in payloads]
        if not any(hmac.compare_digest(self.sign(origin), sign) for origin in origins):
            raise Refusal(10004, f"error sign! origin_string[{origins[0]}]")

    def _check_key(self, key: str) -> None:
        if key != self.key:
            raise Refusal(10003, "API key is invalid.")
        if self.expired:
            raise Refusal(33004, "Your api key has expired.")

    def check_time(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """The timestamp and the window of a request, checked.

        Raises
        ------
        Refusal
            10001 no numbers, 10002 outside the window.
        """
        stamp = str(headers.get("X-BAPI-TIMESTAMP", ""))
        window = str(headers.get("X-BAPI-RECV-WINDOW", _DEFAULT_WINDOW))
        if not stamp.isdigit() or not window.isdigit():
            raise Refusal(10001, "Request parameter error: timestamp or recv_window is not a number")
        now = self.wall()
        if not now - int(window) <= int(stamp) < now + 1_000:
            raise Refusal(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp}],server_timestamp[{now}],recv_window[{window}]",
            )
        return stamp, window

    def check_socket(self, args: object) -> None:
        """Check the arguments of a socket's ``auth``.

        Raises
        ------
        Refusal
            10001 other than three arguments, 10003 unknown key, 33004 expired key, 10004 wrong signature or one whose
            time is over.
        """
        if not isinstance(args, list) or len(args) != 3:
            raise Refusal(10001, "Params Error")
        key, expires, sign = (str(arg) for arg in args)
        self._check_key(key)
        if not expires.isdigit() or int(expires) <= self.wall():
            raise Refusal(10004, "Your request has expired.")
        if not hmac.compare_digest(self.sign(f"GET/realtime{expires}"), sign):
            raise Refusal(10004, "error sign!")


class RateLimiter:
    """Requests of each endpoint in the last second, a rolling window, against `limits`."""

    def __init__(self, limits: Mapping[str, int], wall: Callable[[], int] = wall_ms) -> None:
        self._limits, self._wall = limits, wall
        self._spent: dict[str, deque[int]] = {}

    def spend(self, path: str, wanted: int = 1) -> tuple[dict[str, str], int]:
        """Count requests, or the orders of a batch: the headers to answer with, and how many are within the limit."""
        limit = self._limits.get(path)
        if limit is None:
            return {}, wanted
        now, spent = self._wall(), self._spent.setdefault(path, deque())
        while spent and spent[0] <= now - 1_000:
            spent.popleft()
        allowed = min(wanted, limit - len(spent))
        spent.extend([now] * allowed)
        headers = {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(limit - len(spent)),
            "X-Bapi-Limit-Reset-Timestamp": str(now if allowed == wanted else spent[0] + 1_000),
        }
        return headers, allowed


class IpLimiter:
    """What one address does: too much within the window, and it is shut out for ten minutes.

    Parameters
    ----------
    limit
        Requests, or new sockets, within the window; ``None`` for no limit.
    window
        Seconds.
    """

    def __init__(self, limit: int | None = IP_LIMIT, window: float = IP_WINDOW) -> None:
        self._limit, self._window = limit, window
        self._stamps: deque[float] = deque()
        self._banned_until = 0.0

    def admits(self) -> bool:
        """Count a request; whether it may come in."""
        now = time.monotonic()
        if self._limit is None:
            return True
        if now < self._banned_until:
            return False
        while self._stamps and self._stamps[0] <= now - self._window:
            self._stamps.popleft()
        if len(self._stamps) >= self._limit:
            self._banned_until = now + _IP_BAN
            return False
        self._stamps.append(now)
        return True
