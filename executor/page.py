"""The status page, ``/metrics`` for Prometheus and ``/health`` for whoever restarts things; on loopback only.

Plain HTML that the server renders; a few lines of script fetch its middle again every two seconds, and without script
the page reloads itself. Nothing comes from another host, nothing can be changed from here.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from executor.page_parts import STYLE, middle
from executor.telemetry import exposition, ills
from market.errors import ConfigError

#: Gives the values of one symbol: :func:`executor.status.status_values` and what the daemon adds.
Values = Callable[[], dict[str, Any]]
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SCRIPT = """
const main = document.querySelector("main"), lost = document.querySelector("#lost");
async function look() {
  try {
    const answer = await fetch("/middle", {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const open = [...main.querySelectorAll("details")].map(one => one.open);
    main.innerHTML = await answer.text();
    main.querySelectorAll("details").forEach((one, i) => { if (i in open) one.open = open[i]; });
    lost.hidden = true;
  } catch { lost.hidden = false; }
}
setInterval(look, 2000);
"""


def _hash(text: str) -> str:
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


#: Only our own style and script, told by their hashes; no frame, no form, no other host.
_POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class StatusPage:
    """Serves what the sources say.

    Parameters
    ----------
    sources
        One a symbol.
    port
        0 takes a free one.

    Attributes
    ----------
    port
        Where it is served, once started.
    """

    def __init__(self, sources: Sequence[Values], port: int) -> None:
        self.port = port
        self._sources = sources
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to serve.

        Raises
        ------
        ConfigError
            The port cannot be served.
        """
        app = web.Application(middlewares=[_guard])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/middle", self._middle),
                web.get("/status.json", self._json),
                web.get("/metrics", self._metrics),
                web.get("/health", self._health),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"the status page cannot be served at port {self.port} ({error.strerror})",
                advice="Choose another executor.page_port, or 0 for none",
            ) from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def close(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _values(self) -> list[dict[str, Any]]:
        return [source() for source in self._sources]

    async def _page(self, _: web.Request) -> web.Response:
        values = self._values()
        title = " ".join(one["symbol"] for one in values)
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<link rel="icon" href="data:,"><title>{title} · PurpleSky</title><style>{STYLE}</style>'
            '<noscript><meta http-equiv="refresh" content="5"></noscript></head><body>'
            '<p id="lost" class="bad banner" hidden>The executor does not answer: what you see is old.</p>'
            f"<main>{middle(values, time.time())}</main><script>{_SCRIPT}</script></body></html>"
        )
        return web.Response(text=text, content_type="text/html")

    async def _middle(self, _: web.Request) -> web.Response:
        return web.Response(text=middle(self._values(), time.time()), content_type="text/html")

    async def _json(self, _: web.Request) -> web.Response:
        return web.json_response(self._values())

    async def _metrics(self, _: web.Request) -> web.Response:
        body, kind = exposition(self._values())
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _health(self, _: web.Request) -> web.Response:
        found = {one["symbol"]: ills(one) for one in self._values()}
        well = not any(found.values())
        return web.json_response({"healthy": well, "problems": found}, status=200 if well else 503)


@web.middleware
async def _guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Another site must not read this page through a name that it points at loopback."""
    if request.host.rsplit(":", 1)[0] not in _HOSTS:
        raise web.HTTPForbidden(text="This page is for this machine only.", headers=_HEADERS)
    answer: web.StreamResponse = await handler(request)
    answer.headers.update(_HEADERS)
    return answer
