"""The local exchange as a server on loopback: one port for REST, public and private streams, and its own controls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace as dataclass_replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from market.errors import ConfigError
from simulation.exchange._misbehaving_desk import Incidents, MisbehavingDesk
from simulation.exchange._misbehaving_line import Rehearsal
from simulation.exchange.auth import IP_LIMIT, LIMITS, SOCKET_LIMIT, SOCKET_WINDOW, IpLimiter, Keyring, wall_ms
from simulation.exchange.clock import Clock
from simulation.exchange.markets import replay_listings, synthetic_listings
from simulation.exchange.misbehaviour import ActiveFault, Fault, Misbehaviour, spelled
from simulation.exchange.orders import POSITION_STOPS
from simulation.exchange.page import status_page
from simulation.exchange.private import DisconnectionProtection, PrivateHub
from simulation.exchange.public import PublicHub
from simulation.exchange.rest import RestApi
from simulation.exchange.sockets import HIGH_WATER, Connection
from simulation.exchange.steering import Steering, control_schema, steer
from simulation.exchange.trade import TradeHub
from simulation.exchange.venue import Venue
from simulation.flow_params import MarketParams

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HOST = "127.0.0.1"
#: The pump works for this long before it lets requests in, and rests this long when it has caught up, seconds.
_WORK, _REST = 0.01, 0.004
#: A client that takes nothing for this long is cut off, seconds.
_STALLED = 30.0


class LocalExchange:
    """A Bybit-compatible exchange on loopback that runs seeded synthetic markets, or recorded ones again.

    Parameters
    ----------
    seed, signal
        Of the synthetic markets, see :func:`simulation.synthetic.synthetic_events`.
    speed
        Market seconds a second; 0 stands still. When the machine cannot keep up, market time slips; nothing is dropped.
    start_ms
        Market time at the opening; a fixed day, or the beginning of the recording, unless told otherwise.
    port
        0 takes a free one.
    symbols
        Contracts to list: synthetic ones with the rules of :data:`simulation.synthetic.SYNTHETIC`, or recorded ones.
    replay
        Folder of a lake to run again instead of synthetic markets; all its symbols unless some are named.
    params
        Other parameters of the flow.
    equity
        USDT in the account.
    maker_fee, taker_fee
        Fractions of a fill's value.
    api_key, api_secret
        The account's key.
    limits
        Requests a second of an endpoint; Bybit's unless told otherwise.
    ip_limit
        Requests within five seconds before HTTP 403; ``None`` for no limit.

    Examples
    --------
    ::

        async with LocalExchange(seed=7, speed=60) as exchange:
            client = HTTP(testnet=False, api_key=exchange.api_key, api_secret=exchange.api_secret)
            client.endpoint = exchange.rest_url
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        signal: float = 1.0,
        speed: float = 1.0,
        start_ms: int | None = None,
        port: int = 0,
        symbols: Sequence[str] | None = None,
        replay: Path | str | None = None,
        params: MarketParams | None = None,
        equity: Decimal = Decimal(10_000),
        maker_fee: Decimal = Decimal("0.0002"),
        taker_fee: Decimal = Decimal("0.00055"),
        api_key: str = "local",
        api_secret: str = "local-secret",
        limits: Mapping[str, int] = LIMITS,
        ip_limit: int | None = IP_LIMIT,
    ) -> None:
        self.seed, self.signal, self.api_key, self.api_secret = seed, signal, api_key, api_secret
        self.replay = None if replay is None else Path(replay)
        if self.replay is None:
            flow = dataclass_replace(params or MarketParams(), signal=signal)
            listings = synthetic_listings(symbols, seed, start_ms, flow)
        else:
            listings = replay_listings(self.replay, symbols, start_ms)
        #: What goes wrong on purpose; see :mod:`simulation.exchange.misbehaviour`.
        self.faults = Misbehaviour(seed, self._incident)
        self.keyring = Keyring(api_key, api_secret, lambda: wall_ms() + self.faults.skew_ms)
        self.protection = DisconnectionProtection(self._cancel_all)
        self.venue = Venue(
            listings,
            MisbehavingDesk(self.faults, listings=listings, equity=equity, maker_fee=maker_fee, taker_fee=taker_fee),
        )
        self.clock = Clock(self.venue.now_ms, speed)
        self._port, self._ip = port, IpLimiter(ip_limit)
        self._sockets = IpLimiter(None if ip_limit is None else SOCKET_LIMIT, SOCKET_WINDOW)
        self._api = RestApi(self.venue, self.keyring, self.faults, self.protection, limits)
        self._public = PublicHub(self.venue, self.faults)
        self._private = PrivateHub(self.keyring, self.faults, self.protection)
        self._trade = TradeHub(self._api, self.keyring, self.faults)
        self.venue.audience = Rehearsal(self.faults, self._public)
        self.venue.desk.tell = lambda topic, rows: self._private.publish(topic, rows, self.venue.now_ms)
        self._runner: web.AppRunner | None = None
        self._pump: asyncio.Task[None] | None = None

    # -- addresses ----------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that is served."""
        return self._port

    @property
    def rest_url(self) -> str:
        """Base address of the REST API."""
        return f"http://{_HOST}:{self._port}"

    @property
    def public_url(self) -> str:
        """Address of the public stream of linear contracts."""
        return f"ws://{_HOST}:{self._port}/v5/public/linear"

    @property
    def private_url(self) -> str:
        """Address of the private stream."""
        return f"ws://{_HOST}:{self._port}/v5/private"

    @property
    def trade_url(self) -> str:
        """Address of the order-entry socket."""
        return f"ws://{_HOST}:{self._port}/v5/trade"

    @property
    def source(self) -> str:
        """Where the markets come from, in words."""
        return f"seed {self.seed}  signal {self.signal:g}" if self.replay is None else f"replay of {self.replay}"

    @property
    def now_ms(self) -> int:
        """Market time."""
        return self.venue.now_ms

    # -- misbehaviour -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def misbehave(self, *faults: Fault, **words: Any) -> AsyncIterator[list[ActiveFault]]:
        """Let things go wrong within a block; see :mod:`simulation.exchange.misbehaviour` for the words.

        Raises
        ------
        ConfigError
            A fault is impossible.
        """
        active = [self.faults.add(fault) for fault in (*faults, *spelled(words))]
        try:
            yield active
        finally:
            self.faults.remove(*(fault.number for fault in active))

    def _incident(self, fault: Fault) -> None:
        if fault.kind not in ("kill", "freeze"):
            Incidents(self.venue).happen(fault)
            return
        for channel, connections in self._channels():
            for connection in list(connections) if fault.meets((channel,), fault.symbol) else ():
                if fault.kind == "kill":
                    connection.drop()
                else:
                    connection.line.silent = True

    def _cancel_all(self) -> None:
        for order in self.venue.desk.open_orders():
            if order.open and order.stop_kind not in POSITION_STOPS:
                self.venue.desk.cancel(order, "CancelByDCP")

    def subscribed(self, channel: str, topic: str) -> int:
        """How many connections of a channel (``public``, ``private``) have subscribed to a topic."""
        connections = dict(self._channels())[channel]
        return sum(topic in getattr(connection, "topics", ()) for connection in connections)

    def _channels(self) -> tuple[tuple[str, Sequence[Connection]], ...]:
        return (
            ("public", self._public.connections),
            ("private", self._private.connections),
            ("trade", self._trade.connections),
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 20)
        for path, hub in (("public/linear", self._public), ("private", self._private), ("trade", self._trade)):
            app.router.add_get(f"/v5/{path}", self._admitted(hub.serve))
        app.router.add_get("/", self._page)
        app.router.add_get("/control", self._control)
        app.router.add_get("/control/schema", self._schema)
        app.router.add_post("/control", self._control)
        app.router.add_route("*", "/v5/{path:.*}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"port {self._port} cannot be served ({error.strerror})", advice="Choose another with --port"
            ) from error
        self._port = self._runner.addresses[0][1]
        self.set_speed(self.clock.speed)
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pump is not None
        assert self._runner is not None
        self._pump.cancel()
        for _, connections in self._channels():
            for connection in list(connections):
                connection.drop() if connection.line.silent else await connection.socket.close()
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump

    async def wait(self) -> None:
        """Wait for ever; raises what has broken the market, if anything does."""
        assert self._pump is not None
        await self._pump

    def set_speed(self, speed: float) -> None:
        """Change the speed from now on.

        Raises
        ------
        ConfigError
            The speed is impossible.
        """
        self.clock.set_speed(speed, self.now_ms)
        self.venue.speed = speed

    # -- pump ---------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Keep the market where the clock says it should be."""
        while True:
            await self._unblock()
            target, deadline = self.clock.target_ms(), time.perf_counter() + _WORK
            for listing in self.venue.listings.values():
                self.venue.flush(listing)  # what requests have left behind
            while self.venue.now_ms < target and time.perf_counter() < deadline and not self._congested():
                self.venue.step(target)
            behind = self.venue.now_ms < target
            if behind:
                self.clock.slip(self.venue.now_ms)
            await asyncio.sleep(0 if behind else _REST)

    def _congested(self) -> bool:
        return any(connection.waiting > HIGH_WATER for connection in self._public.connections)

    async def _unblock(self) -> None:
        """Wait for slow readers; cut off who reads nothing at all."""
        since, seen = time.monotonic(), -1
        while self._congested():
            worst = max(self._public.connections, key=lambda connection: connection.waiting)
            if worst.waiting != seen:
                since, seen = time.monotonic(), worst.waiting
            elif time.monotonic() - since > _STALLED:
                worst.drop()
            await asyncio.sleep(0.001)

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    def _admitted(self, serve: Handler) -> Handler:
        """Let a socket in, unless its address has opened too many."""

        async def admit(request: web.Request) -> web.StreamResponse:
            if not self._sockets.admits():
                return web.Response(status=403, text="access too frequent")
            return await serve(request)

        return admit

    async def _rest(self, request: web.Request) -> web.Response:
        if not self._ip.admits():
            return web.Response(status=403, text="access too frequent")
        body = await request.text() if request.can_read_body else ""
        url = request.rel_url
        spellings = (body,) if request.method == "POST" else (url.raw_query_string, url.query_string)
        effect = self._api.fate(request.method, url.path, url.query, body)
        await asyncio.sleep(effect.delay) if effect.delay else None
        answer = self._api.refuse(effect.code, effect.message)
        if effect.carried_out:
            carried = self._api.answer(request.method, url.path, dict(url.query), spellings, request.headers)
            answer = answer if effect.code else carried
        if effect.lost:
            await self._hang_up(request, effect.hold)
        status, data, headers = (effect.status, b"", {}) if effect.status else answer
        return web.Response(status=status, body=data, headers=headers, content_type="application/json")

    async def _hang_up(self, request: web.Request, hold: float) -> None:
        """Keep the line open without a word for so long as the client does, then cut it."""
        until = time.monotonic() + hold
        while time.monotonic() < until and request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(min(0.02, hold))
        if request.transport is not None:
            request.transport.abort()

    async def _control(self, request: web.Request) -> web.Response:
        """Read the exchange's state, or change its speed and its faults."""
        added: list[ActiveFault] = []
        if request.method == "POST":
            try:
                added = self._steer(msgspec.json.decode(await request.read(), type=Steering))
            except (msgspec.DecodeError, ConfigError) as error:
                return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.state() | ({"added": [fault.number for fault in added]} if added else {}))

    def _steer(self, control: Steering) -> list[ActiveFault]:
        steer(control, self.venue, self.clock)
        if control.speed is not None:
            self.set_speed(control.speed)
        if control.clear is True:
            self.faults.clear()
        elif control.clear:
            self.faults.remove(*control.clear)
        return [self.faults.add(fault) for fault in control.faults]

    async def _schema(self, request: web.Request) -> web.Response:
        return web.json_response(control_schema())

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=status_page(self.state(), self.venue), content_type="text/html")

    def state(self) -> dict[str, Any]:
        """What ``/control`` tells."""
        return {
            "seed": self.seed,
            "signal": self.signal,
            "replay": None if self.replay is None else str(self.replay),
            "speed": self.clock.speed,
            "market_ms": self.now_ms,
            "slipped_ms": round(self.clock.slipped_ms),
            "symbols": list(self.venue.listings),
            "public_connections": len(self._public.connections),
            "private_connections": len(self._private.connections),
            "trade_connections": len(self._trade.connections),
            "frames": self._public.frames,
            "equity": str(self.venue.desk.wallet.equity),
            "faults": self.faults.rows(),
        }
