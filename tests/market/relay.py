"""Stands between the local exchange and a recorder, misbehaves on schedule, and notes the exchange's own book."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
import numpy as np
from aiohttp import WSMsgType, web

from market.ladder import Ladder
from simulation import _lob
from simulation.exchange import LocalExchange


class Relay:
    """Forwards frames of one symbol's 200-level book; at chosen book frames something happens to them.

    Parameters
    ----------
    exchange
        Runs in this process.
    faults
        Number of a book frame, counted over all connections, and what happens then: ``drop``, ``duplicate``,
        ``reorder``, ``malform``, ``restart`` (the book begins anew with ``u = 1``), ``snapshot`` (in mid-stream),
        ``wrong`` (a level that the exchange does not have, with ``u`` intact), ``stall``, ``half-open``, ``cut``.
    """

    def __init__(self, exchange: LocalExchange, faults: Mapping[int, str]) -> None:
        self._listing = next(iter(exchange.venue.listings.values()))
        self._feed = self._listing.feed_of[f"orderbook.200.{self._listing.symbol}"]
        self._upstream = exchange.public_url
        self._faults = faults
        self._held: bytes | None = None
        self._offset = self._covered = 0
        self.truth: dict[int, str] = {}
        self.frames = 0
        self.happened: list[str] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v5/public/linear", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v5/public/linear"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        self._offset = self._covered = 0
        async with aiohttp.ClientSession() as session, session.ws_connect(self._upstream) as upstream:
            forward = asyncio.create_task(self._requests(client, upstream))
            try:
                async for message in upstream:
                    if message.type is not WSMsgType.TEXT or client.closed:
                        break
                    if not await self._pass(client, request, message.data.encode()):
                        break
            except ConnectionError:
                pass
            finally:
                forward.cancel()
                await asyncio.gather(forward, return_exceptions=True)
        return client

    async def _requests(self, client: web.WebSocketResponse, upstream: Any) -> None:
        async for message in client:
            if message.type is WSMsgType.TEXT:
                await upstream.send_str(message.data)
        await upstream.close()

    async def _pass(self, client: web.WebSocketResponse, request: web.Request, frame: bytes) -> bool:
        """Forward a frame, or not; False ends the connection."""
        if not frame.startswith(b'{"topic":"orderbook.'):
            await client.send_frame(frame, WSMsgType.TEXT)
            return True
        self._note(frame)
        if json.loads(frame)["data"]["u"] <= self._covered:
            return True  # a snapshot that was slipped in holds it already
        self.frames += 1
        fault = self._faults.get(self.frames, "")
        if fault:
            self.happened.append(fault)
        out = [self._renumbered(frame)]
        match fault:
            case "drop":
                out = []
            case "duplicate":
                out *= 2
            case "reorder":
                self._held, out = out[0], []
            case "malform":
                out = [out[0][: len(out[0]) // 2]]
            case "wrong":
                out = [self._wrong(out[0])]
            case "restart":
                shown = self._listing._shown(self._feed)
                self._covered = json.loads(shown)["data"]["u"]
                self._offset = self._covered - 1
                out = [self._renumbered(shown)]
            case "snapshot":
                shown = self._listing._shown(self._feed)
                self._covered = json.loads(shown)["data"]["u"]
                out.append(self._renumbered(shown))
            case "stall":
                await asyncio.sleep(1.0)
            case "half-open":
                await asyncio.sleep(1.5)
                return False
            case "cut":
                assert request.transport is not None
                request.transport.abort()
                return False
        if fault != "reorder" and self._held is not None and out:
            out.append(self._held)
            self._held = None
        for each in out:
            await client.send_frame(each, WSMsgType.TEXT)
        return True

    def _renumbered(self, frame: bytes) -> bytes:
        if not self._offset:
            return frame
        message = json.loads(frame)
        message["data"]["u"] -= self._offset
        return json.dumps(message, separators=(",", ":")).encode()

    def _wrong(self, frame: bytes) -> bytes:
        message = json.loads(frame)
        price = self._listing.best_bid
        assert price is not None
        message["data"]["b"] = [[self._listing.numbers.price(price - 3), "77.777"]]
        message["data"]["a"] = []
        return json.dumps(message, separators=(",", ":")).encode()

    def _note(self, frame: bytes) -> None:
        """The exchange's own book, when it is the one that this frame leads to."""
        seq = json.loads(frame)["data"]["seq"]
        lob = self._listing.market.lob
        if seq == int(lob.feed[self._feed, _lob.F_VERSION]):
            sides = [
                np.ascontiguousarray(lob.shown[self._feed, side, :, : int(lob.feed[self._feed, _lob.F_BIDS + side])].T)
                for side in (0, 1)
            ]
            self.truth[seq] = Ladder(*sides).digest()
