"""Signed REST calls to the venue, through pybit, with three outcomes and no fourth: done, refused, unknown.

pybit's own repeating is off: it would post an order again after a lost connection, and sleep in between. Its client is
not made for several threads, so each thread has its own. Nothing here ever says a key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executor.logs import Masking
from market.errors import OrderRejected, OutcomeUnknown, VenueUnavailable

if TYPE_CHECKING:
    import requests
    from pybit.unified_trading import HTTP
    from requests.adapters import BaseAdapter

#: Answers that mean: it is already as you want it. https://bybit-exchange.github.io/docs/v5/error
NOT_MODIFIED = frozenset({34040, 110025, 110026, 110043, 170125})
#: Answers after which nobody knows whether the request was carried out.
UNKNOWN = frozenset({10000, 10016, 10019, 170007})
#: The order link id was used before: the order is there already.
DUPLICATE = 110072
#: The order is not among the open ones.
NOT_OPEN = frozenset({110001, 110008, 110010, 170213})

#: How long Bybit takes a request after its time stamp, ms; later it refuses it with 10002.
RECV_WINDOW_MS = 5_000
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """The ``result`` of an answer, and the venue's time of it, UTC ms."""

    result: dict[str, Any]
    time_ms: int


class VenueClient:
    """Calls pybit's methods by name.

    Parameters
    ----------
    rest_url
        Base address, for example ``https://api.bybit.com``.
    key, secret
        Of the account.
    timeout_s
        For connecting, and between two packets of an answer.
    adapter
        Makes the transport of each client; ``None`` for the network.
    """

    def __init__(
        self,
        rest_url: str,
        key: str,
        secret: str,
        *,
        timeout_s: float = 5.0,
        adapter: Callable[[], BaseAdapter] | None = None,
    ) -> None:
        self.rest_url = rest_url.rstrip("/")
        self._key, self._secret, self._timeout_s, self._adapter = key, secret, timeout_s, adapter
        #: Bybit repeats what was signed, the key in it, when a signature is wrong.
        self._mask = Masking([key, secret])
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"VenueClient({self.rest_url!r})"

    def read(self, method: str, **params: Any) -> Answer:
        """Ask for something.

        Raises
        ------
        VenueUnavailable
            No answer, or none that can be used: the value is unknown.
        """
        try:
            return self._call(method, params)
        except _Refused as refusal:
            raise _unavailable(method, f"{refusal.code} {refusal.text}") from refusal
        except _Lost as lost:
            raise _unavailable(method, lost.why) from lost

    def pages(self, method: str, **params: Any) -> list[dict[str, Any]]:
        """All elements of a paged answer.

        Raises
        ------
        VenueUnavailable
            A page is missing, or there is no end to them.
        """
        rows: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = {"cursor": cursor} if cursor else {}
            result = self.read(method, **params, **page).result
            found = result.get("list")
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise _unavailable(method, "an answer without a list")
            rows += found
            cursor = result.get("nextPageCursor") or ""
            if not cursor:
                return rows
        raise _unavailable(method, "pages without end")

    def write(self, method: str, **params: Any) -> Answer:
        """Change something. "Not modified" is success.

        Raises
        ------
        OrderRejected
            The venue refused; nothing was changed.
        OutcomeUnknown
            Nobody knows; it may take effect within :data:`RECV_WINDOW_MS`.
        """
        try:
            return self._call(method, params)
        except _Refused as refusal:
            if refusal.code in NOT_MODIFIED:
                return Answer({}, -1)
            if refusal.code in UNKNOWN:
                raise _unknown(method, f"{refusal.code} {refusal.text}") from refusal
            raise OrderRejected(
                refusal.text, advice="Read what Bybit documents for this code", code=refusal.code
            ) from refusal
        except _Lost as lost:
            raise _unknown(method, lost.why) from lost

    def close(self) -> None:
        """Close this thread's connection."""
        client: HTTP | None = getattr(self._local, "client", None)
        if client is not None:
            client.client.close()
            del self._local.client

    def _call(self, method: str, params: dict[str, Any]) -> Answer:
        import requests
        from pybit.exceptions import FailedRequestError, InvalidRequestError

        failure: _Refused | _Lost
        try:
            answer = getattr(self._client(), method)(**params)
            result = answer["result"] or {}
            if isinstance(result, dict):
                return Answer(result, int(answer.get("time", -1)))
            failure = _Lost(f"an answer that is not Bybit's ({type(result).__name__})")
        except InvalidRequestError as error:
            failure = _Refused(int(error.status_code), self._mask(str(error.message)))
        except FailedRequestError as error:
            failure = _Lost(f"HTTP {error.status_code}")
        except requests.RequestException as error:
            failure = _Lost(type(error).__name__)
        except (KeyError, TypeError, ValueError) as error:
            failure = _Lost(f"an answer that is not Bybit's ({type(error).__name__})")
        # Without pybit's own error in front: it tells the whole request, and what the venue repeats of it.
        raise failure

    def _client(self) -> HTTP:
        client: HTTP | None = getattr(self._local, "client", None)
        if client is None:
            from pybit.unified_trading import HTTP

            client = HTTP(
                testnet=False,
                api_key=self._key,
                api_secret=self._secret,
                timeout=self._timeout_s,
                recv_window=RECV_WINDOW_MS,
                max_retries=1,
                force_retry=False,
                retry_codes={-1},  # an empty set would mean pybit's own
            )
            client.endpoint = self.rest_url
            _read_environment(client.client, self.rest_url)
            if self._adapter is not None:
                client.client.mount(self.rest_url, self._adapter())
            self._local.client = client
        return client


class _Refused(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class _Lost(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _unavailable(method: str, why: str) -> VenueUnavailable:
    return VenueUnavailable(f"{method}: no answer ({why})", advice="Nothing is known by this; it is asked again")


def _unknown(method: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{method}: outcome unknown ({why})", advice="Ask by the order's link id")


def _read_environment(session: requests.Session, url: str) -> None:
    """Take proxies and certificates from the environment once: requests would for every order, and ask ~/.netrc."""
    merged = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = dict(merged["proxies"]), merged["verify"]
    session.trust_env = False
