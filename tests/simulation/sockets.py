"""A client of the exchange's sockets that says what it gets."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any, Self

import aiohttp

from simulation.exchange import LocalExchange

JSON = dict[str, Any]


def auth(exchange: LocalExchange, *, key: str = "", secret: str = "", expires: int | None = None) -> JSON:
    """The request that signs in."""
    when = time.time_ns() // 1_000_000 + 10_000 if expires is None else expires
    signer = (secret or exchange.api_secret).encode()
    sign = hmac.new(signer, f"GET/realtime{when}".encode(), hashlib.sha256).hexdigest()
    return {"op": "auth", "args": [key or exchange.api_key, when, sign]}


class Client:
    """One socket.

    Parameters
    ----------
    url
        Of the stream.
    hello
        What it says first, the answers to which are thrown away.
    """

    def __init__(self, url: str, *hello: JSON, **options: Any) -> None:
        self._url, self._hello, self._options = url, hello, options

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(self._url, **self._options)
        for message in self._hello:
            await self.ask(message)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.close()

    async def ask(self, message: JSON) -> JSON:
        """Send a request; the next frame that is an answer."""
        await self.socket.send_json(message)
        while "topic" in (answer := await self.get()):
            pass
        return answer

    async def get(self, seconds: float = 20.0) -> JSON:
        """The next frame."""
        return await self.socket.receive_json(timeout=seconds)  # type: ignore[no-any-return]

    async def quiet(self, seconds: float = 0.15) -> bool:
        """Whether nothing comes for so long."""
        try:
            await self.socket.receive(timeout=seconds)
        except TimeoutError:
            return True
        return False

    async def ended(self, seconds: float = 20.0) -> bool:
        """Whether the connection ends."""
        ends = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (await self.socket.receive(timeout=seconds)).type in ends:
                return True
        return False
