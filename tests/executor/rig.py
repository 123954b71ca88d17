"""A live session and the local exchange in one process, without sockets and without waiting.

Every part is real: pybit signs, the exchange's REST API answers, its matching engine fills, SQLite keeps the journal.
Only the wires are ours: a `requests` adapter in place of HTTP, a queue in place of the private stream, and lanes that
run calls when simulated time has come. So a scenario is deterministic, takes no time of its own, and can be killed at
any step and started again from its files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from executor.actions import Alert, TradeClosed
from executor.clock import VenueClock
from executor.core import Core
from executor.events import BarClosed, Event, Filled, encode
from executor.journal import Journal
from executor.live import LiveGateway
from executor.pace import Pace
from executor.session import Session
from executor.state import CoreConfig, CoreState, CouncilRef, Trade
from executor.venue import VenueClient
from simulation import SYNTHETIC
from simulation.exchange import LocalExchange
from simulation.exchange.misbehaviour import Fault
from tests.executor.conftest import CONFIG, COUNCILS
from tests.executor.ear import Ear
from tests.executor.journalled import heard, said
from tests.executor.wires import Killed, SimLanes, SimStream, Wire

SYMBOL = SYNTHETIC.symbol
BAR_MS = 20_000
STEP_MS = 100
#: Bars of 20 s: an entry lives for 40 s, a position for 100.
RIG_CONFIG = msgspec.structs.replace(
    CONFIG,
    timeframe_ms=BAR_MS,
    retry_ms=2_000,
    settle_ms=500,
    max_drawdown=Decimal("0.9"),
    max_daily_loss=Decimal("0.9"),
    loss_streak=0,
    max_bar_delay_ms=60_000,
)
#: A signal on which no council is asked.
QUIET = float("nan")
_T = TypeVar("_T")


@dataclass
class Steps:
    """Counts the steps at which a process can die, and dies at the one that was chosen."""

    at: int = -1
    count: int = 0

    def step(self) -> None:
        """One more step."""
        self.count += 1
        if self.count == self.at:
            raise Killed


class _Gateway(LiveGateway):
    """A live gateway that can die before and after each order."""

    steps: Steps

    def send(self, action: Any, now_ms: int) -> None:
        self.steps.step()
        super().send(action, now_ms)
        self.steps.step()


class _Journal(Journal):
    """A journal that can die before and after each write, and after each copy."""

    steps: Steps

    def record(self, turns: Any, core: bytes, gateway: bytes) -> None:
        self.steps.step()
        super().record(turns, core, gateway)
        self.steps.step()

    def copy(self) -> None:
        super().copy()
        self.steps.step()


class Rig:
    """An exchange that outlives the sessions that trade on it."""

    def __init__(
        self, folder: Path, *, seed: int = 7, config: CoreConfig = RIG_CONFIG, kill_at: int = -1, hedge: bool = False
    ) -> None:
        self.exchange = LocalExchange(seed=seed, speed=0, limits={}, ip_limit=None, signal=0.0)
        self.venue = self.exchange.venue
        self.listing = self.venue.listings[SYMBOL]
        self.folder, self.config = folder, config
        self.chance = random.Random(seed)
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.lines: list[str] = []
        self.problems: list[str] = []
        self.took_ms = self.still_ms = 0
        self.moved, self._transfers, self.log_transfers = Decimal(0), list[dict[str, Any]](), True
        #: Called with the path of each request that the exchange has carried out, before its answer leaves.
        self.after_request: Callable[[str], None] = lambda path: None
        self.steps = Steps(kill_at)
        self.kills = 0
        self.signal, self.atr = 0.5, 150.0
        self.foreign = False
        self.ear: Ear | None = None
        self._naked_ms: int | None = None
        self._monotonic = 1_000.0
        self._bars = self.now_ms // BAR_MS
        self.venue.desk.tell = self._publish
        if hedge:
            self.call("/v5/position/switch-mode", category="linear", symbol=SYMBOL, mode=3)
        try:
            self.start()
        except Killed:
            self.kill()

    # --- life ---------------------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Time on the wires: the market's, and what passed while it stood still."""
        return self.venue.now_ms + self.still_ms

    def start(self) -> None:
        """A process begins: everything it knows is in its files."""
        self.journal = _Journal(self.folder)
        self.journal.steps = self.steps
        saved = self.journal.saved
        core = Core(self.config, COUNCILS.__getitem__, CoreState.load(bytes(saved.core)) if saved else None)
        core.state.venue = ""
        self.clock = VenueClock()
        self.gateway = self.make_gateway(bytes(saved.gateway) if saved else None)
        self.journal.begin(SYMBOL, "live", encode(self.config), core.state.dump(), "test")
        self.session = Session(
            core=core,
            journal=self.journal,
            gateway=self.gateway,
            view=None,  # type: ignore[arg-type]
            clock=self.clock,
            echo=self.lines.append,
        )
        self.session.council(CouncilRef("long", 1, True))
        self.clock.saw(self.now_ms, self._monotonic)
        self.session.resume_orders()

    def make_gateway(self, saved: bytes | None) -> LiveGateway:
        """A gateway of a new process."""
        self.lanes, self.stream = SimLanes(self), SimStream(self)
        venue = VenueClient("http://rig", self.exchange.api_key, self.exchange.api_secret, adapter=lambda: Wire(self))
        made = _Gateway(
            venue,
            self.stream,
            SYNTHETIC,
            lanes=self.lanes,
            clock=lambda: self.clock.event_ms,
            saved=saved,
            pace=Pace(check=5.0),
            monotonic=lambda: self._monotonic,
        )
        made.steps = self.steps
        return made

    def kill(self) -> None:
        """The process dies; another begins."""
        self.kills += 1
        self.steps.at = -1
        self.lanes.die(self.chance)
        self.journal.close()
        self.start()

    def drive(self, event: Event) -> None:
        """Give the session an event; it may die of it."""
        try:
            self.session.drive([event])
        except Killed:
            self.kill()

    def close(self) -> None:
        """End in order."""
        self.journal.end(self.core.state.dump())
        self.journal.close()

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        return self.session.core

    @property
    def trade(self) -> Trade | None:
        return self.core.state.trade

    @property
    def held(self) -> int:
        """Signed steps at the venue."""
        return sum(int(p.steps) for p in self._positions())

    @property
    def stop(self) -> int:
        """The venue's stop, ticks; 0 for none."""
        return max(int(p.stop_loss) for p in self._positions())

    def _positions(self) -> tuple[Any, ...]:
        return self.venue.desk.positions[SYMBOL].active

    def places(self) -> list[tuple[int, int]]:
        """Position index and signed steps of each position."""
        return [(int(place.idx), int(place.steps)) for place in self._positions()]

    def said(self, kind: type) -> list[Any]:
        """Every action of a kind that was ever journalled."""
        return said(self.journal, kind)

    def heard(self, kind: type) -> list[Any]:
        """Every event of a kind that was ever journalled."""
        return heard(self.journal, kind)

    def posts(self, path: str) -> list[dict[str, Any]]:
        """Bodies of the requests to a path."""
        return [body for method, where, body in self.requests if method == "POST" and where == path]

    def alerts(self) -> set[str]:
        """Codes of all alerts."""
        return {alert.code for alert in self.said(Alert)}

    def closed(self) -> list[TradeClosed]:
        """Ended plans."""
        return self.said(TradeClosed)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _publish(self, topic: str, rows: list[dict[str, Any]]) -> None:
        if hasattr(self, "stream"):
            self.stream.publish(topic, rows)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; whether `until` came true."""
        end = self.venue.now_ms + round(seconds * 1000)
        while self.venue.now_ms < end:
            if until():
                return True
            target = min(self.venue.now_ms + STEP_MS, end)
            while self.venue.now_ms < target:
                self.venue.step(target)
                self.venue.flush(self.listing)
            self._monotonic += STEP_MS / 1000
            self.stream.advance()
            try:
                self._turn()
            except Killed:
                self.kill()
            self._check()
        return until()

    def sweep(self, price: int, side: int, size: int = 1_000_000) -> None:
        """Somebody buys (+1) or sells (-1) everything up to a price."""
        self.listing.market.take(0 if side > 0 else 1, price, size, 0)
        self.venue.desk.settle(self.listing)
        self.venue.flush(self.listing)

    def pass_still(self, seconds: float) -> Iterator[None]:
        """Let time pass on the wires while the market stands still."""
        for _ in range(round(seconds * 1000 / STEP_MS)):
            self.still_ms += STEP_MS
            self._monotonic += STEP_MS / 1000
            self.stream.advance()
            yield

    def _turn(self) -> None:
        self.clock.saw(self.now_ms, self._monotonic)
        if self.ear is not None:
            self.ear.turn()
            return
        bar = self.now_ms // BAR_MS
        self.session.pulse(at_once=bar > self._bars)
        if bar > self._bars:
            self._bars = bar
            self.session.drive([self.bar(bar * BAR_MS)])

    def listen(self) -> None:
        """From now on bars come from the exchange's public frames; the signal remains ours."""
        self.ear = Ear(self, BAR_MS)

    def bar(self, close_ms: int) -> Event:
        """A bar as it is wished for."""
        bid, ask = self.listing.best_bid or -1, self.listing.best_ask or -1
        return BarClosed(
            now_ms=self.now_ms,
            open_ms=close_ms - BAR_MS,
            close_ms=close_ms,
            close=bid if self.signal > 0 else ask,
            bid=bid,
            ask=ask,
            atr=self.atr,
            valid=True,
            values=np.array([self.signal, close_ms % 977], "<f8").tobytes(),
            book_age_ms=10,
        )

    def _check(self) -> None:
        """What must hold at every moment."""
        held = abs(self.held)
        known = [*self.core.state.finished, *([self.trade] if self.trade else [])]
        biggest = max((trade.size for trade in known), default=0)
        if held > biggest and not self.foreign:
            self._problem(f"holds {held} steps, the largest entry was {biggest}")
        if held and self.stop <= 0 and not self.foreign:
            self._naked_ms = self.now_ms if self._naked_ms is None else self._naked_ms
            limit_ms = self.config.protection_timeout_ms + 2 * self.config.retry_ms
            if self.now_ms - self._naked_ms > limit_ms:
                self._problem(f"without a stop for more than {limit_ms} ms")
        else:
            self._naked_ms = None

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def fault(self, kind: Any, **fields: Any) -> Any:
        """Let something go wrong from now on."""
        return self.exchange.faults.add(Fault(kind, **fields))

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        self.exchange.faults.clear()

    def transfer(self, amount: int, *, logged: bool = True) -> None:
        """Somebody moves USDT in or out."""
        wallet = self.venue.desk.wallet
        wallet.start += Decimal(amount)
        self.moved += Decimal(amount)
        row = {"transactionTime": str(self.venue.now_ms), "change": str(amount), "cashBalance": f"{wallet.balance:f}"}
        self._transfers.append(row | {"type": "TRANSFER_IN" if amount > 0 else "TRANSFER_OUT", "id": f"t{self.moved}"})
        self.log_transfers = logged

    def with_transfers(self, path: str, data: bytes) -> bytes:
        """An answer of the transaction log with the transfers in it."""
        if path != "/v5/account/transaction-log" or not self._transfers or not self.log_transfers:
            return data
        answer = json.loads(data)
        answer["result"]["list"] += self._transfers
        return json.dumps(answer).encode()

    def call(self, path: str, **params: Any) -> Any:
        """A request past all faults: another client's, or a person's."""
        outcome = self.exchange._api.carry_out(path, params)
        assert outcome.refusal is None, outcome.refusal
        self.venue.flush(self.listing)
        return outcome.reply.result

    def truth(self, path: str) -> list[dict[str, Any]]:
        """All rows of a list as the exchange has it, past all faults."""
        rows: list[dict[str, Any]] = []
        params: dict[str, Any] = {"category": "linear", "symbol": SYMBOL, "limit": "50"}
        while True:
            result = self.call(path, **params)
            rows += result["list"]
            if not result.get("nextPageCursor"):
                return rows
            params["cursor"] = result["nextPageCursor"]

    # --- the end ------------------------------------------------------------------------------------------------------

    def verdict(self, *, bystander: bool = False) -> list[str]:
        """What is wrong at the end of a scenario; `bystander` if somebody else traded, too."""
        problems = list(self.problems)
        told = {fill.execution_id.removesuffix("+"): fill for fill in self.heard(Filled)}
        real = {row["execId"]: row for row in self.truth("/v5/execution/list") if row["execType"] != "Funding"}
        problems += [f"invented fill {key}" for key in told.keys() - real.keys()]
        ours = {key for key, row in real.items() if row["orderLinkId"].startswith(f"{SYMBOL}-")}
        problems += [f"fill {key} was never told" for key in ours - told.keys()]
        links = [body["orderLinkId"] for body in self.posts("/v5/order/create")]
        problems += [f"{link} was sent twice" for link in {link for link in links if links.count(link) > 1}]
        trade = self.trade
        believed = trade.side * trade.open if trade else 0
        if believed != self.held and not bystander:
            problems.append(f"believes {believed} steps, the venue has {self.held}")
        if trade is None and not self.held and not bystander:
            net = sum((closed.net_pnl for closed in self.closed()), Decimal(0))
            money = self.venue.desk.wallet.balance - self.moved - Decimal(10_000)
            if abs(net - money) > Decimal("1e-7"):
                problems.append(f"journal's profit {net}, the venue's {money}")
        return problems


@contextmanager
def rig(folder: Path, **options: Any) -> Iterator[Rig]:
    """A rig that is put away."""
    made = Rig(folder, **options)
    try:
        yield made
    finally:
        made.journal.close()
