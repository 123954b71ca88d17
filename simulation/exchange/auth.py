"""Keys, signatures, time windows and rate limits, as Bybit documents them."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping

from simulation.exchange.orders import Refusal

_DEFAULT_WINDOW = 5_000
#: Requests a second of an endpoint; https://bybit-exchange.github.io/docs/v5/rate-limit
LIMITS = {
    "/v5/order/create": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/realtime": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/position/trading-stop": 10,
    "/v5/account/wallet-balance": 50,
    "/v5/account/fee-rate": 5,
    "/v5/account/info": 50,
    "/v5/user/query-api": 10,
}


def wall_ms() -> int:
    """Wall clock, UTC ms: what signatures are checked against, at whatever speed the market runs."""
    return time.time_ns() // 1_000_000


class Keyring:
    """The one API key that is known here.

    Parameters
    ----------
    key, secret
        Any text; there is nothing to protect on loopback.
    """

    def __init__(self, key: str, secret: str) -> None:
        self.key = key
        self._secret = secret.encode()

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def check_request(self, headers: Mapping[str, str], payloads: tuple[str, ...]) -> None:
        """Check a signed REST request; its payload may be given in several spellings (query strings).

        Raises
        ------
        Refusal
            10003 unknown key, 10002 outside the time window, 10004 wrong signature.
        """
        key, stamp = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", "")
        window, sign = headers.get("X-BAPI-RECV-WINDOW", str(_DEFAULT_WINDOW)), headers.get("X-BAPI-SIGN", "")
        if key != self.key:
            raise Refusal(10003, "API key is invalid.")
        if not stamp.isdigit() or not window.isdigit():
            raise Refusal(10001, "Request parameter error: timestamp or recv_window is not a number")
        now = wall_ms()
        if not now - int(window) <= int(stamp) < now + 1_000:
            raise Refusal(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{stamp}],server_timestamp[{now}],recv_window[{window}]",
            )
        origins = [stamp + key + window + payload for payload in payloads]
        if not any(hmac.compare_digest(self._sign(origin), sign) for origin in origins):
            raise Refusal(10004, f"error sign! origin_string[{origins[0]}]")

    def check_socket(self, args: object) -> str:
        """Check the arguments of a private stream's ``auth``; the reason for a refusal, empty where all is well."""
        if not isinstance(args, list) or len(args) != 3:
            return "Params Error"
        key, expires, sign = (str(arg) for arg in args)
        if key != self.key:
            return "API key is invalid."
        if not expires.isdigit() or int(expires) <= wall_ms():
            return "Your request has expired."
        if not hmac.compare_digest(self._sign(f"GET/realtime{expires}"), sign):
            return "error sign!"
        return ""


class RateLimiter:
    """Requests of each endpoint in the present second, against `limits`."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._used: dict[str, tuple[int, int]] = {}

    def spend(self, path: str) -> tuple[dict[str, str], bool]:
        """Count a request: the headers to answer with, and whether it is within the limit."""
        limit = self._limits.get(path)
        if limit is None:
            return {}, True
        now = wall_ms()
        second, used = self._used.get(path, (0, 0))
        used = used + 1 if second == now // 1_000 else 1
        self._used[path] = (now // 1_000, used)
        allowed = used <= limit
        headers = {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(max(limit - used, 0)),
            "X-Bapi-Limit-Reset-Timestamp": str(now if allowed else (now // 1_000 + 1) * 1_000),
        }
        return headers, allowed
