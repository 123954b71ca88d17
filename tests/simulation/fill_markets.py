"""Markets and a slow second opinion for the tests of the fill model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from market.events import ASK, BID, BOOK, EMPTY, FIRST, GAP, LAST, SNAPSHOT, TRADE, EventBatch
from simulation.fills import ExitReason, FillModel, PlanStatus

BUY, SELL = BID, ASK
Row = tuple[int, int, int, int, int, int, int, int]


class Tape:
    """Writes events by hand, frame by frame."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.frame = -1

    def gap(self, time_ms: int) -> Tape:
        self.frame += 1
        self.rows.append((GAP, 0, 0, time_ms, 0, 0, self.frame, -1))
        return self

    def snapshot(self, time_ms: int, bids: dict[int, int], asks: dict[int, int]) -> Tape:
        return self._message(time_ms, bids, asks, SNAPSHOT)

    def book(self, time_ms: int, bids: dict[int, int] | None = None, asks: dict[int, int] | None = None) -> Tape:
        return self._message(time_ms, bids or {}, asks or {}, 0)

    def trade(self, time_ms: int, taker: int, *prints: tuple[int, int]) -> Tape:
        """One frame of trades, each (price, size)."""
        self.frame += 1
        self.rows += [(TRADE, 0, taker, time_ms, price, size, self.frame, -1) for price, size in prints]
        return self

    def _message(self, time_ms: int, bids: dict[int, int], asks: dict[int, int], flags: int) -> Tape:
        self.frame += 1
        changes = [(BID, *level) for level in bids.items()] + [(ASK, *level) for level in asks.items()]
        marks = [flags] * (len(changes) or 1)
        marks[0] |= FIRST
        marks[-1] |= LAST
        if not changes:
            changes, marks = [(BID, 0, 0)], [marks[0] | EMPTY]
        self.rows += [
            (BOOK, mark, side, time_ms, price, size, self.frame, -1)
            for mark, (side, price, size) in zip(marks, changes)
        ]
        return self

    @property
    def batch(self) -> EventBatch:
        return EventBatch.from_rows(self.rows)


def frames(batch: EventBatch) -> Iterator[EventBatch]:
    """Cut a batch into its frames."""
    cuts = np.flatnonzero(np.diff(batch.ordinal)) + 1
    for start, stop in zip([0, *cuts], [*cuts, len(batch)]):
        yield batch[int(start) : int(stop)]


def random_tape(seed: int, length: int, *, gaps: bool = True) -> Tape:
    """A small, rough market around 100 ticks: crossed books, late trades, silence, snapshots without a gap, gaps."""
    rng = np.random.default_rng(seed)
    tape, clock = Tape(), 1000

    def levels(side: int, mid: int, count: int) -> dict[int, int]:
        away = rng.integers(-1 if rng.random() < 0.04 else 1, 7, count)
        return {int(mid + (a if side == ASK else -a)): int(rng.integers(0, 8)) for a in away}

    def full(mid: int) -> tuple[dict[int, int], dict[int, int]]:
        bids = {mid - a: int(rng.integers(1, 6)) for a in range(1, 5)}
        return bids, {mid + a: int(rng.integers(1, 6)) for a in range(1, 5)}

    mid = 100
    tape.gap(clock).snapshot(clock, *full(mid))
    for _ in range(length):
        clock += int(rng.choice([0, 1, 7, 30, 120, 900], p=[0.2, 0.3, 0.2, 0.2, 0.08, 0.02]))
        mid = max(mid + int(rng.choice([-1, 0, 1], p=[0.15, 0.7, 0.15])), 20)
        draw = rng.random()
        if draw < 0.45:
            prints = [(int(mid + rng.integers(-2, 3)), int(rng.integers(1, 6))) for _ in range(rng.integers(1, 4))]
            tape.trade(clock - int(rng.integers(0, 3)), int(rng.integers(0, 2)), *prints)
        elif draw < 0.93:
            count = rng.integers(0, 4, 2)
            tape.book(clock, levels(BID, mid, int(count[0])), levels(ASK, mid, int(count[1])))
        elif draw < 0.98 or not gaps:
            tape.snapshot(clock, *full(mid))
        else:
            tape.gap(clock)
            if rng.random() < 0.7:
                tape.book(clock, levels(BID, mid, 2)).snapshot(clock + 5, *full(mid))
    return tape


@dataclass
class Life:
    """One plan, followed row by row with dictionaries and lists: slow, obvious, and written apart from the kernel."""

    decide: int
    side: int
    limit: int
    stop: int
    target: int
    size: int
    tif: int
    hold: int
    taking: int
    target_maker: int
    model: FillModel
    book: dict[int, dict[int, int]] = field(default_factory=lambda: {BID: {}, ASK: {}})
    known: bool = False
    building: bool = False
    known_since: int = -1
    clock: int = -1
    order: str = "undecided"  # flying, resting, gone
    queue: int | None = None  # None: nobody knows
    status: PlanStatus | None = None
    reason: ExitReason = ExitReason.NONE
    entries: list[tuple[int, int, int]] = field(default_factory=list)  # time, price, size
    exits: list[tuple[int, int, int]] = field(default_factory=list)
    cancel_at: int | None = None
    expired: bool = False
    exit_at: int | None = None
    walking: bool = False
    target_at: int | None = None
    target_left: int = 0
    target_queue: int | None = None
    rested: int = 0  # value of the exits that the resting target made
    used: dict[int, int] = field(default_factory=dict)  # taken at a price since a message last showed it
    funding: float = 0.0
    end: int = -1

    @property
    def held(self) -> int:
        return sum(size for _, _, size in self.entries) - sum(size for _, _, size in self.exits)

    @property
    def left(self) -> int:
        return self.size - sum(size for _, _, size in self.entries)

    def run(self, rows: list[Row], funding: list[tuple[int, float]]) -> Life:
        payments = list(funding)
        frame = None
        for kind, flags, side, time_ms, price, size, ordinal, _ in rows:
            if ordinal != frame:
                frame = ordinal
                self._owner()
            if kind == GAP:
                self.known = self.building = False
                if self.order != "undecided":
                    self._end(PlanStatus.UNKNOWN)
            self.clock = max(self.clock, time_ms)
            if kind == GAP:
                continue
            if self.known and (kind == TRADE or flags & FIRST):
                self._effects(payments)
            if kind == TRADE:
                self._trade(side, price, size)
                if self.known:
                    self._effects(payments)
            else:
                self._level(flags, side, price, size)
            if self.status is not None:
                return self
        self._end(PlanStatus.UNKNOWN)
        return self

    def _end(self, status: PlanStatus) -> None:
        if self.status is None:
            self.status, self.end = status, self.clock

    def _owner(self) -> None:
        if self.order == "undecided" and self.clock >= self.decide:
            self.order = "flying"
            if not self.known or self.decide < self.known_since:
                self._end(PlanStatus.UNKNOWN)
        if not self.expired and self.clock >= self.decide + self.tif:
            self.expired, late = True, self.decide + self.tif + self.model.latency_ms
            self.cancel_at = late if self.cancel_at is None else min(self.cancel_at, late)
        if self.entries and self.clock >= self.entries[0][0] + self.hold:
            self._leave(self.entries[0][0] + self.hold, ExitReason.TIME)

    def _leave(self, sent: int, reason: ExitReason) -> None:
        if self.reason is ExitReason.NONE:
            self.exit_at, self.reason = sent + self.model.latency_ms, reason

    def _effects(self, payments: list[tuple[int, float]]) -> None:
        while self.status is None:
            things: list[tuple[int, int]] = []
            if payments:
                things.append((payments[0][0], 0))
            if self.order == "flying":
                things.append((self.decide + self.model.latency_ms, 1))
            if self.target_at is not None and self.order != "flying":
                things.append((self.target_at, 2))
            if self.order == "resting" and self.cancel_at is not None:
                things.append((self.cancel_at, 3))
            if self.exit_at is not None and not self.walking:
                things.append((self.exit_at, 4))
            if not things or min(things)[0] > self.clock:
                return
            what = min(things)[1]
            if what == 0:
                rate = payments.pop(0)[1]
                if self.held and rate != rate:
                    self._end(PlanStatus.UNKNOWN)
                elif self.held:
                    mid = (max(self.book[BID]) + min(self.book[ASK])) / 2 if all(self.book.values()) else self.limit
                    self.funding += self.side * rate * mid * self.held
            elif what == 1:
                self._arrive()
            elif what == 2:
                self._send_target()
            elif what == 3:
                self._cancel()
            else:
                self.walking = True
                self._walk()

    def _cancel(self) -> None:
        self.order = "gone"
        if not self.entries:
            self._end(PlanStatus.UNFILLED)
        elif not self.held:
            self._end_by_target()

    def _end_by_target(self) -> None:
        self.reason = ExitReason.TARGET
        self._end(PlanStatus.CLOSED)

    def _taken_out(self, side: int, price: int) -> bool:
        """Whether an order to buy (side 1) or sell at a price would take."""
        if side > 0:
            return bool(self.book[ASK]) and min(self.book[ASK]) <= price
        return bool(self.book[BID]) and max(self.book[BID]) >= price

    def _shown(self, side: int, price: int) -> int | None:
        own = self.book[BID if side > 0 else ASK]
        if not own or (price < min(own) if side > 0 else price > max(own)):
            return None
        return own.get(price, 0)

    def _arrive(self) -> None:
        if self.taking:
            for price in sorted(self.book[ASK if self.side > 0 else BID], reverse=self.side < 0):
                size = min(self.left, self.book[ASK if self.side > 0 else BID][price])
                if size and self.side * price <= self.side * self.limit:
                    self._fill(size, price)
            if self.left:
                self._cancel()
        elif self._taken_out(self.side, self.limit):
            self._end(PlanStatus.REJECTED)
        else:
            self.order, self.queue = "resting", self._shown(self.side, self.limit)

    def _send_target(self) -> None:
        self.target_at = None
        if not self.held:
            return
        if self._taken_out(-self.side, self.target):
            self.target_left = 0
            self._leave(self.clock, ExitReason.TARGET)
        else:
            self.target_left, self.target_queue = self.held, self._shown(-self.side, self.target)

    def _fill(self, size: int, price: int) -> None:
        self.entries.append((self.clock, price, size))
        if self.left == 0:
            self.order = "gone"
        if self.target_maker and self.reason is ExitReason.NONE:
            self.target_at = self.clock + self.model.latency_ms

    def _fill_target(self, size: int) -> None:
        self.exits.append((self.clock, self.target, size))
        self.rested += self.target * size
        self.target_left -= size
        if self.order == "resting":
            soon = self.clock + self.model.latency_ms
            self.cancel_at = soon if self.cancel_at is None else min(self.cancel_at, soon)
        elif not self.held:
            self._end_by_target()

    def _trade(self, taker: int, price: int, size: int) -> None:
        if self.status is not None:
            return
        against = taker == (SELL if self.side > 0 else BUY)
        if self.order == "resting" and against and self.known:
            if self.side * price < self.side * self.limit:
                self._fill(self.left, self.limit)
            elif price == self.limit and self.queue is not None:
                reached = max(size - self.queue, 0)
                self.queue = max(self.queue - size, 0)
                if reached:
                    self._fill(min(reached, self.left), self.limit)
        if self.target_left and taker == (BUY if self.side > 0 else SELL) and self.known:
            if self.side * price > self.side * self.target:
                self._fill_target(self.target_left)
            elif price == self.target and self.target_queue is not None:
                reached = max(size - self.target_queue, 0)
                self.target_queue = max(self.target_queue - size, 0)
                if reached:
                    self._fill_target(min(reached, self.target_left))
        if self.held and self.status is None:
            if self.side * price <= self.side * self.stop:
                self._leave(self.clock, ExitReason.STOP)
            elif self.side * price >= self.side * self.target and not self.target_maker:
                self._leave(self.clock, ExitReason.TARGET)

    def _walk(self) -> None:
        if self.order == "resting":
            self._cancel()
        if self.status is not None:
            return
        self.order, self.target_left, self.target_at = "gone", 0, None
        own = self.book[BID if self.side > 0 else ASK]
        for price in sorted(own, reverse=self.side > 0):
            size = min(self.held, own[price] - self.used.get(price, 0))
            if size:
                self.exits.append((self.clock, price, size))
                self.used[price] = self.used.get(price, 0) + size
        if not self.held:
            self._end(PlanStatus.CLOSED)

    def _level(self, flags: int, side: int, price: int, size: int) -> None:
        if flags & SNAPSHOT and flags & FIRST:
            self.book, self.used, self.building = {BID: {}, ASK: {}}, {}, True
        if not (self.known or self.building):
            return
        if not flags & EMPTY:
            self.book[side].pop(price, None)
            if side == (BID if self.side > 0 else ASK):
                self.used.pop(price, None)
            if size:
                self.book[side][price] = size
        if not flags & LAST:
            return
        if self.building and not self.known:
            self.known_since = self.clock
        self.known, self.building = True, False
        if self.order == "resting" and self.status is None:
            if self._taken_out(self.side, self.limit):
                self._fill(self.left, self.limit)
            else:
                shown = self._shown(self.side, self.limit)
                if shown is not None:
                    self.queue = shown if self.queue is None else min(self.queue, shown)
        if self.target_left and self.status is None:
            if self._taken_out(-self.side, self.target):
                self._fill_target(self.target_left)
            else:
                shown = self._shown(-self.side, self.target)
                if shown is not None:
                    self.target_queue = shown if self.target_queue is None else min(self.target_queue, shown)
        if self.walking and self.status is None:
            self._walk()
