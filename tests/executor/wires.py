"""What connects a rig's session to its exchange: HTTP, lanes and private stream, in simulated time."""

from __future__ import annotations

import io
import json
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import BaseAdapter

from executor.lanes import Done, Lanes
from executor.private import Down, PrivateStream, Rows, Up
from simulation import SYNTHETIC

if TYPE_CHECKING:
    from tests.executor.rig import Rig

SYMBOL = SYNTHETIC.symbol
#: Simulated time of an answer, and of one that never comes.
TRIP_MS, TIMEOUT_MS = 20, 3_000
_T = TypeVar("_T")


class Killed(BaseException):
    """The process dies here."""


class Wire(BaseAdapter):
    """HTTP, as the exchange's faults let it pass."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Carry one request over, or not."""
        rig, api = self._rig, self._rig.exchange._api
        url, method = urlsplit(str(request.url)), str(request.method)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name: str(value) for name, value in request.headers.items()}
        raw = request.body or b""
        assert isinstance(raw, (str, bytes))
        body = raw if isinstance(raw, str) else raw.decode()
        rig.requests.append((method, url.path, query if method == "GET" else json.loads(body)))
        fate = api.fate(method, url.path, query, body)
        if fate.lost == "before":
            self._lose()
        if fate.carried_out:
            status, data, _ = api.answer(method, url.path, query, (url.query, body)[method == "POST" :], headers)
            rig.exchange.venue.flush(rig.listing)
            data = rig.with_transfers(url.path, data)
            rig.after_request(url.path)
        if fate.lost:
            self._lose()
        if fate.code:
            status, data, _ = api.refuse(fate.code, fate.message)
        elif fate.status:
            status, data = fate.status, b"no answer of an exchange"
        response = requests.Response()
        response.status_code, response.url, response.request = status, str(request.url), request
        response.raw = io.BytesIO(data)
        return response

    def _lose(self) -> None:
        self._rig.took_ms = TIMEOUT_MS
        raise requests.exceptions.ReadTimeout("no answer")

    def close(self) -> None:
        """Nothing is open."""


class SimLanes(Lanes):
    """Lanes in simulated time: a call starts when its lane is free, its result comes a trip later."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._queued: dict[str, deque[tuple[int, Callable[[], Any], Callable[[Any], None]]]] = {}
        self._busy: dict[str, int] = {}
        self._running: list[tuple[int, Done]] = []

    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        self._queued.setdefault(lane, deque()).append((self._rig.now_ms + TRIP_MS // 2, call, done))

    def finished(self) -> list[Done]:
        now, ready = self._rig.now_ms, []
        for lane, queue in self._queued.items():
            while queue and max(queue[0][0], self._busy.get(lane, 0)) <= now:
                _, call, done = queue.popleft()
                self._busy[lane] = self._start(call, done)
        waiting = []
        for at_ms, done_ in self._running:
            if at_ms <= now:
                ready.append(done_)
            else:
                waiting.append((at_ms, done_))
        self._running = waiting
        return ready

    def _start(self, call: Callable[[], Any], done: Callable[[Any], None]) -> int:
        self._rig.took_ms = 0
        result = call()
        until = self._rig.now_ms + self._rig.took_ms + TRIP_MS // 2
        self._running.append((until, lambda: done(result)))
        return until

    def die(self, chance: random.Random) -> None:
        """The process ends: what was on its way to the venue may arrive, what comes back does not."""
        for queue in self._queued.values():
            if queue and chance.random() < 0.5:
                queue[0][1]()
        self._queued.clear()
        self._running.clear()


class SimStream(PrivateStream):
    """The private stream without a socket: the exchange puts its frames here, as its faults let them pass."""

    def __init__(self, rig: Rig) -> None:
        super().__init__("ws://rig/v5/private", "key", "secret")
        self._rig = rig
        self._held: dict[str, Rows] = {}
        self._late: deque[tuple[int, Rows]] = deque()
        self._connected = self._silent = False
        self._back_ms = rig.now_ms + 300

    def publish(self, topic: str, rows: list[dict[str, Any]]) -> None:
        """A frame on its way."""
        if not self._connected or self._silent:
            return
        frames = [Rows(topic, tuple(dict(row) for row in rows))]
        delay = 0
        for active in self._rig.exchange.faults.active:
            kind = active.fault.kind
            if kind not in _FRAMES or not frames or not active.strikes((topic,), SYMBOL):
                continue
            if kind in ("cut", "malform"):
                self.cut(kind)
                return
            if kind == "half-open":
                self.freeze()
                return
            if kind in ("stall", "latency"):
                delay += round(active.fault.pause * 1000)
            elif kind == "reorder" and topic not in self._held:
                self._held[topic] = frames.pop()
            elif kind != "reorder":
                frames = {"drop": [], "duplicate": frames * 2}.get(kind, frames)
        if frames and topic in self._held:
            frames.append(self._held.pop(topic))
        for frame in frames:
            at_ms = max(self._rig.now_ms + delay, self._late[-1][0] if self._late else 0)
            self._late.append((at_ms, frame))

    def cut(self, cause: str) -> None:
        """The connection is gone; the next one comes up a second later."""
        self.incoming.append(Down(cause))
        self._held.clear()
        self._late.clear()
        self._connected = self._silent = False
        self._back_ms = self._rig.now_ms + 1_000

    def freeze(self) -> None:
        """The connection becomes half-open: no data, no close."""
        self._silent, self._back_ms = True, self._rig.now_ms + 15_000

    def advance(self) -> None:
        """Let time pass on the wire."""
        now = self._rig.now_ms
        if self._silent and now >= self._back_ms:
            self.cut("nothing for 15 s")
        if not self._connected and now >= self._back_ms:
            self._connected = True
            self.incoming.append(Up())
        while self._late and self._late[0][0] <= now:
            self.incoming.append(self._late.popleft()[1])


_FRAMES = ("drop", "duplicate", "reorder", "stall", "latency", "cut", "half-open", "malform", "unknown-field")
