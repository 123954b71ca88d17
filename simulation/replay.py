"""A market out of the lake: recorded book, trades, tickers and liquidations, in which users' orders trade unseen.

What a recorder captures of it is what the lake holds, row for row, at any speed. A GAP row interrupts the book's topics
until the recording's next snapshot. After :meth:`ReplayMarket.seek` every topic begins anew with a snapshot of update
id 1, as after a restart of the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from market.errors import LakeError
from market.events import BOOK, TRADE, EventBatch
from market.instruments import Instrument
from market.lake import Lake
from simulation import _lob
from simulation import _replay_kernel as kernel
from simulation import _replay_orders as rk
from simulation._lob_flow import REACHED
from simulation._replay_rows import recorded_rows
from simulation.listed import Liquidation, Told, shown_levels
from simulation.matching import Fill

#: A resting order may be this far away, ticks: the recorded book has no edge.
_REACH = 1 << 40
_NOTHING = EventBatch.empty()


class ReplayMarket:
    """One symbol of a lake, run again.

    Parameters
    ----------
    lake
        Where the recording is.
    symbol
        Contract.
    start_ms
        Exchange time to begin at, before or after the recording's own span if it must; ``None`` just before its first
        row.

    Attributes
    ----------
    instrument
        Contract rules that the recording was written under.
    first_ms, last_ms
        First and last exchange time of the recording.

    Raises
    ------
    EmptyLakeError, UnknownSymbolError, LakeError
        The lake has nothing of the symbol, or is damaged.
    """

    def __init__(self, lake: Lake, symbol: str, start_ms: int | None = None) -> None:
        self._lake, self.symbol = lake, symbol
        self.instrument: Instrument = lake.instrument(symbol)
        self.first_ms, self.last_ms = lake.span_ms(symbol)
        self.lob = _lob.new_lob(1, slots=1, ring=1)
        self._stage = rk.new_stage()
        self._opening = self._first_price()
        self._go(self.first_ms - 1 if start_ms is None else start_ms)

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Market time that has been lived through."""
        return int(self.lob.i[_lob.NOW_MS])

    @property
    def ended(self) -> bool:
        """Whether the recording is over; time passes on, but nothing happens any more."""
        state = self._stage.state
        return bool(state[rk.ENDED]) and int(state[rk.CURSOR]) == len(self._tape.kind)

    def advance(self, until_ms: int) -> int:
        """Run to a time, or to the first thing that needs attention (see :mod:`simulation._lob_flow`)."""
        while True:
            reason = int(kernel.replay(self.lob, self._stage, self._tape, until_ms))
            if reason == kernel.MORE:
                self._load()
            elif reason == kernel.GROW:
                self._grow()
            else:
                return reason

    def seek(self, market_ms: int) -> None:
        """Go on at another time of the recording, before or after the present one.

        The book is rebuilt from the last snapshot before it. Resting orders stay, behind what is displayed there.
        """
        lob, feeds = self.lob, self.lob.feed
        topics, triggers = feeds[:, _lob.F_ON].copy(), lob.i[[_lob.TRIGGER_LOW, _lob.TRIGGER_HIGH]].copy()
        feeds[:, _lob.F_ON] = 0
        lob.i[[_lob.TRIGGER_LOW, _lob.TRIGGER_HIGH]] = _lob.NO_BID, _lob.NO_ASK
        lob.candles[lob.candles[:, _lob.C_MINUTE] >= market_ms // 60_000] = 0
        self._go(market_ms)
        feeds[:, _lob.F_ON] = topics
        lob.i[[_lob.TRIGGER_LOW, _lob.TRIGGER_HIGH]] = triggers
        for feed in np.flatnonzero(topics).tolist():
            push_ms = int(feeds[feed, _lob.F_PUSH])
            feeds[feed, _lob.F_NEXT] = market_ms - market_ms % push_ms + push_ms
            self._stage.state[rk.OWES + feed] = rk.RESTART
            self.snapshot(feed)

    def _go(self, market_ms: int) -> None:
        """Rebuild the market as it was at a time, without a word to anybody."""
        state, lob = self._stage.state, self.lob
        resting = int(state[rk.RESTING])
        state[[rk.CURSOR, rk.KNOWN, rk.ENDED, rk.RESTING, rk.DEEP]] = 0
        state[rk.CLOCK] = -1
        state[rk.TOLD : rk.OWES] = rk.UNTOLD
        self._stage.counts[:] = 0
        lob.i[[_lob.BEST_BID, _lob.BEST_ASK, _lob.LAST, _lob.NOW_MS]] = _lob.NO_BID, _lob.NO_ASK, -1, 0
        self._rows: Iterator[EventBatch] = recorded_rows(self._lake, self.symbol, market_ms)
        self._rest, self._tape = _NOTHING, _tape(_NOTHING)
        while self.advance(market_ms) != REACHED:
            self._hush()
        self._hush()
        state[rk.RESTING] = resting
        for slot in self._stage.orders[rk.O_LIST, :resting].tolist():
            self._queue_up(slot)

    def _hush(self) -> None:
        self.clear_rows()
        self.drain_liquidations()

    def _load(self) -> None:
        """Take the next rows, whole frames only."""
        batch = next(self._rows, None)
        if batch is None:
            self._stage.state[rk.ENDED] = 1
            batch, self._rest = self._rest, _NOTHING
        else:
            batch = EventBatch.concat([self._rest, batch]) if len(self._rest) else batch
            whole = int(np.searchsorted(batch.ordinal, batch.ordinal[-1])) if len(batch) else 0
            if len(batch) - whole > rk.MOST_LEVELS:
                raise LakeError(
                    f"a frame of {self.symbol} has {len(batch) - whole} rows", advice="Import that day afresh"
                )
            batch, self._rest = batch[:whole], batch[whole:]
        self._tape = _tape(batch)
        self._stage.state[rk.CURSOR] = 0

    def _grow(self) -> None:
        book = self._stage.book
        larger = np.zeros((3, 2, 2 * book.shape[2]), np.int64)
        larger[:, :, : book.shape[2]] = book
        self._stage = self._stage._replace(book=larger)

    def _first_price(self) -> int:
        """A price to speak of before anything has happened."""
        for batch in self._lake.events(self.symbol):
            prices = batch.price[((batch.kind == BOOK) | (batch.kind == TRADE)) & (batch.price > 0)]
            if len(prices):
                return int(prices[0])
        raise LakeError(f"the lake holds no price of {self.symbol}", advice="Record or import it afresh")

    # -- publishing ---------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """Rows waiting in the output buffer."""
        return int(self.lob.i[_lob.N_ROWS])

    def clear_rows(self) -> None:
        """Empty the output buffer."""
        self.lob.i[_lob.N_ROWS] = 0

    def open_feed(self, feed: int, levels: int, push_ms: int) -> None:
        """Publish a book topic from now on, beginning with a snapshot: the recording's, while the book is unknown."""
        now, u = self.now_ms, self.lob.feed[feed, _lob.F_U]
        self.lob.feed[feed] = (1, now - now % push_ms + push_ms, 0, u, levels, push_ms, 0, 0, 0)
        self._stage.state[rk.OWES + feed] = rk.FIRST_SNAPSHOT
        self.snapshot(feed)

    def snapshot(self, feed: int) -> None:
        """Publish the whole top of the book on a topic, if it is known."""
        if self._stage.state[rk.KNOWN]:
            kernel.publish_shown(self.lob, self._stage, feed, self.now_ms, 1)

    def close_feed(self, feed: int) -> None:
        """Stop a book topic."""
        self.lob.feed[feed, _lob.F_ON] = 0

    def shown(self, feed: int) -> list[tuple[list[int], list[int]]] | None:
        """Prices and sizes of both sides as a topic has published them; ``None`` while nobody knows the book."""
        if not self._stage.state[rk.KNOWN] or self._stage.state[rk.OWES + feed] != rk.NOTHING:
            return None
        if self.lob.feed[feed, _lob.F_DEPTH] >= max(self._stage.state[rk.DEEP], 2):
            sides = [self.top(side, self._stage.book.shape[2]) for side in (0, 1)]
            return [(prices.tolist(), sizes.tolist()) for prices, sizes in sides]
        return shown_levels(self.lob, feed)

    def drain_liquidations(self) -> list[Liquidation]:
        """Recorded liquidations since the last call."""
        i = self.lob.i
        rows = self.lob.liquidated[: int(i[_lob.N_LIQUIDATED])].tolist()
        i[_lob.N_LIQUIDATED] = 0
        return [Liquidation(*row) for row in rows]

    @property
    def told(self) -> Told:
        """What the recorded tickers said last."""
        values = self._stage.state[rk.TOLD : rk.OWES].tolist()
        mark, index, interest, rate = (None if value == rk.UNTOLD else value for value in values)
        return Told(
            mark,
            index,
            None if interest is None else Decimal(interest).scaleb(-4),
            None if rate is None else Decimal(rate).scaleb(-10),
        )

    @property
    def index_ticks(self) -> int:
        """Recorded index price, or the mid price, or the last one that anybody knows, ticks."""
        index = self.told.index_ticks
        if index is not None:
            return index
        if self._stage.state[rk.KNOWN] and self._stage.counts.min() > 0:
            return int(self._stage.book[rk.B_PRICE, :, 0].sum()) // 2
        last = int(self.lob.i[_lob.LAST])
        return last if last > 0 else self._opening

    # -- matching -----------------------------------------------------------------------------------------------------

    @property
    def reach(self) -> int:
        """How many ticks from the mark price an order may rest: as far as it likes."""
        return _REACH

    @property
    def waiting(self) -> bool:
        """Whether fills or triggers wait to be drained."""
        return bool(self.lob.i[_lob.N_FILLS] or self.lob.i[_lob.TRIGGERED])

    def rest(self, side: int, price: int, size: int, owner: int) -> int:
        """Rest a user's order behind what is displayed at its price; its handle, -1 where there is no room."""
        stage, orders = self._stage, self._stage.orders
        n = int(stage.state[rk.RESTING])
        free = np.flatnonzero(orders[rk.O_OWNER] == 0)
        if len(free) == 0:
            return -1
        slot = int(free[0])
        crossing = stage.state[rk.KNOWN] and stage.counts[1 - side] > 0
        if crossing:
            best = int(stage.book[rk.B_PRICE, 1 - side, 0])
            crossing = best <= price if side == 0 else best >= price
        orders[: rk.O_LIST, slot] = owner, side, price, size, 0, 0, int(bool(crossing))
        orders[rk.O_LIST, n] = slot
        stage.state[rk.RESTING] = n + 1
        self._queue_up(slot)
        return slot

    def _queue_up(self, slot: int) -> None:
        orders = self._stage.orders
        side, price = int(orders[rk.O_SIDE, slot]), int(orders[rk.O_PRICE, slot])
        orders[rk.O_QUEUE, slot] = rk.displayed(self._stage, side, price)

    def remove(self, handle: int) -> None:
        """Take a resting order away."""
        orders, state = self._stage.orders, self._stage.state
        kept = [slot for slot in orders[rk.O_LIST, : int(state[rk.RESTING])].tolist() if slot != handle]
        orders[rk.O_LIST, : len(kept)] = kept
        orders[[rk.O_OWNER, rk.O_LEFT], handle] = 0
        state[rk.RESTING] = len(kept)

    def shrink(self, handle: int, steps: int) -> None:
        """Make a resting order smaller; it keeps its place in the queue."""
        self._stage.orders[rk.O_LEFT, handle] -= steps

    def queue_ahead(self, handle: int) -> int | None:
        """Displayed steps that stand before a resting order; ``None`` where its level is out of sight."""
        queue = int(self._stage.orders[rk.O_QUEUE, handle])
        return None if queue == rk.HIDDEN else queue

    def take(self, side: int, limit: int, size: int, owner: int) -> int:
        """Take displayed size up to a price, each level's once until it is shown anew; the size that is left."""
        return int(rk.take(self.lob, self._stage, side, limit, size, owner))

    def reachable(self, side: int, limit: int) -> int:
        """Displayed steps that an order of `side` could take up to a price."""
        n = int(self._stage.counts[1 - side]) if self._stage.state[rk.KNOWN] else 0
        prices, sizes, used = self._stage.book[:, 1 - side, :n]
        return int((sizes - used)[prices <= limit if side == 0 else prices >= limit].sum())

    def drain_fills(self) -> list[Fill]:
        """Executions of users' orders since the last call."""
        return drained_fills(self.lob)

    def set_triggers(self, low: int | None, high: int | None) -> None:
        """Stop :meth:`advance` when a trade is at most `low` or at least `high`; ``None`` for never."""
        self.lob.i[_lob.TRIGGER_LOW] = _lob.NO_BID if low is None else low
        self.lob.i[_lob.TRIGGER_HIGH] = _lob.NO_ASK if high is None else high

    def drain_triggers(self) -> tuple[bool, bool]:
        """Whether a trade has reached the low and the high trigger since the last call."""
        hit = int(self.lob.i[_lob.TRIGGERED])
        self.lob.i[_lob.TRIGGERED] = 0
        return bool(hit & 1), bool(hit & 2)

    def best(self, side: int) -> tuple[int, int] | None:
        """Best price of a side and its displayed size."""
        if not self._stage.state[rk.KNOWN] or self._stage.counts[side] == 0:
            return None
        return int(self._stage.book[rk.B_PRICE, side, 0]), int(self._stage.book[rk.B_SIZE, side, 0])

    def top(self, side: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Prices and displayed sizes of the best levels of a side, best first."""
        n = min(int(self._stage.counts[side]), levels) if self._stage.state[rk.KNOWN] else 0
        return self._stage.book[rk.B_PRICE, side, :n].copy(), self._stage.book[rk.B_SIZE, side, :n].copy()


def drained_fills(lob: _lob.Lob) -> list[Fill]:
    """The waiting executions; they wait no longer."""
    rows = lob.fills[: int(lob.i[_lob.N_FILLS])].tolist()
    lob.i[_lob.N_FILLS] = 0
    return [Fill(owner, price, size, time, bool(maker), trade) for owner, price, size, time, maker, trade in rows]


def _tape(batch: EventBatch) -> rk.Tape:
    """Rows as the kernel takes them: read-only, so that memory-mapped and ordinary columns share one compilation."""
    columns = []
    for name in rk.Tape._fields:
        column = np.ascontiguousarray(getattr(batch, name)).view()
        column.flags.writeable = False
        columns.append(column)
    return rk.Tape(*columns)
