"""Many frames at once: what a recorder that is behind, or records much, lives on.

The rows are those of :class:`~market.assembler.SessionAssembler` taking the frames one by one, to the bit: only book
messages that simply follow on take the fast way, and whatever might change that is handed to the assembler itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market._follow_kernel import (
    CHANGES,
    CLOCK,
    FOLLOWED,
    HEADS,
    LAST_U,
    MESSAGES,
    ROWS,
    TOPIC,
    lay_out,
    scan_run,
    topic_names,
)
from market._scan import CTS, PADDING, SEQ, SHORTEST_LEVEL, TS, U
from market._session import MAX_JUMP_MS, Assembled, SymbolState
from market.assembler import SessionAssembler
from market.events import EMPTY
from market.feed import Frame, Frames
from market.instruments import Instrument
from market.ladder import LiveBook
from market.records import BookRun, GapMark, record_ms
from market.sequence import Trust

Ints = NDArray[np.int64]
#: A frame's place within the frames given, and what it comes to.
Single = tuple[int, Assembled]


class BulkAssembler:
    """Takes frames in bulk on behalf of an assembler.

    Parameters
    ----------
    assembler
        Whose state is followed; it may be used directly between two calls.
    room_ms
        Exchange time up to which the open part of a symbol's lake takes rows, -1 if none is open: a message beyond it
        goes the slow way, so that parts begin and end where they would frame by frame.
    """

    def __init__(self, assembler: SessionAssembler, room_ms: Callable[[str], int]) -> None:
        self._assembler = assembler
        self._room_ms = room_ms
        self._states: list[SymbolState] = []
        self._names, self._units = np.zeros((0, 2), np.uint8), np.zeros((0, 4), np.int64)
        self._follow, self._rows = np.zeros((0, FOLLOWED), np.int64), 0
        self._room(1)

    def _room(self, levels: int) -> None:
        self._price, self._size = np.empty(levels, np.int64), np.empty(levels, np.int64)
        self._side, self._flags = np.empty(levels, np.int8), np.empty(levels, np.uint8)

    def on_frames(self, frames: Sequence[Frame]) -> Iterator[BookRun | Single]:
        """Take in frames; what a frame comes to must be taken up before the next is asked for.

        Raises
        ------
        DataError
            A price or size is not a multiple of the tick or step: the contract rules have changed.
        """
        yield from self.on_batch(Batch(Frames.of(frames)))

    def on_batch(self, batch: Batch) -> Iterator[BookRun | Single]:
        """The same for frames that are side by side already."""
        if len(self._price) <= len(batch.data) // SHORTEST_LEVEL:
            self._room(len(batch.data) // SHORTEST_LEVEL * 2 + 1)
        first, stop = 0, len(batch.datas)
        while first < stop:
            at = self._scan(batch, first)
            done = yield from self._settle(batch, first, at)
            if done == at and at < stop:
                yield at, self._assembler.on_frame(batch.datas[at], int(batch.recv_ns[at]))
                done += 1
            first = done

    def _scan(self, batch: Batch, first: int) -> int:
        """Read frames from `first` on: the one that it stopped before."""
        self._know_topics()
        if not self._states:
            batch.heads[TOPIC, first:] = -1
            return len(batch.datas)
        self._follow = np.array([self._expected(state) for state in self._states], np.int64)
        stop, self._rows = scan_run(
            batch.data, batch.offsets, first, self._names, self._units, self._follow,
            batch.heads, self._price, self._size, self._side, self._flags,
        )  # fmt: skip
        return int(stop)

    def _know_topics(self) -> None:
        topics = self._assembler._book_topics
        if list(topics.values()) != self._states:  # a topic more, or other contract rules
            self._states = list(topics.values())
            self._names = topic_names(list(topics))
            self._units = np.array([state.scanner.units for state in self._states])

    def _expected(self, state: SymbolState) -> tuple[int, ...]:
        """The update id that was seen last, and the greatest time that may be taken without a closer look."""
        if state.sequence.trust is not Trust.KNOWN or state.may_jump:
            return 0, -1, 0, 0, 0
        limit_ms = min(state.clock_ms + MAX_JUMP_MS, self._room_ms(state.symbol))
        return state.sequence.last_u, limit_ms, 0, 0, 0

    def _settle(self, batch: Batch, first: int, stop: int) -> Generator[BookRun | Single, None, int]:
        """Frames that were scanned: the others one by one, for they may end what the books rest on.

        Returns
        -------
        int
            The first frame that is not settled.
        """
        others = first + np.flatnonzero(batch.heads[TOPIC, first:stop] < 0)
        if not len(others):
            yield from self._books(batch, first, stop)
            return stop
        base, consumed = self._assembler.next_ordinal, np.ones(stop - first, np.int64)
        heads, singles, done = batch.heads, list[Single](), first
        for k in others.tolist():
            self._advance(heads, done, k)
            self._assembler.next_ordinal = before = base + int(consumed[: k - first].sum())
            out = self._assembler.on_frame(batch.datas[k], int(batch.recv_ns[k]))
            consumed[k - first] = self._assembler.next_ordinal - before
            done = k + 1
            singles.append((k, out))
            if self._breaks(out):
                stop = k + 1
                break
        self._advance(heads, done, stop)
        if singles and self._breaks(singles[-1][1]):
            last = singles.pop()
            yield from self._runs(batch, first, stop - 1, base, consumed)
            yield from singles
            yield last
        else:
            self._assembler.next_ordinal = base + int(consumed.sum())
            yield from self._runs(batch, first, stop, base, consumed)
            yield from singles
        return stop

    def _books(self, batch: Batch, first: int, stop: int) -> Iterator[BookRun]:
        """Frames that are books all of them: what the kernel has followed is where the streams stand."""
        base = self._assembler.next_ordinal
        self._assembler.next_ordinal = base + stop - first
        seen = [(state, followed) for state, followed in zip(self._states, self._follow.tolist()) if followed[MESSAGES]]
        for state, followed in seen:
            self._move(state, followed[CLOCK], followed[LAST_U])
        if len(seen) > 1:
            yield from self._runs(batch, first, stop, base, np.ones(stop - first, np.int64))
        elif seen:
            state, followed = seen[0]
            whole, rows = slice(first, stop), self._rows
            arrays = tuple(array[:rows].copy() for array in (self._price, self._size, self._side, self._flags))
            frames = batch.joined[batch.offsets[first] : batch.offsets[stop]]
            yield self._run(batch, state.symbol, whole, np.arange(base, base + stop - first), arrays, frames, followed)

    def _breaks(self, out: Assembled) -> bool:
        """Whether books that follow may not be what they were taken for, or belong into another part."""
        return any(
            isinstance(record, GapMark) or record_ms(record) > self._room_ms(record.symbol) for record in out.records
        )

    def _advance(self, heads: Ints, first: int, stop: int) -> None:
        """Bring the assembler's clocks up to the books before frame `stop`."""
        for topic, state in enumerate(self._states):
            mine = first + np.flatnonzero(heads[TOPIC, first:stop] == topic)
            if len(mine):
                self._move(state, int(heads[CTS, mine].max()), int(heads[U, mine[-1]]))

    def _move(self, state: SymbolState, clock_ms: int, last_u: int) -> None:
        state.clock_ms = max(state.clock_ms, clock_ms)
        state.sequence.last_u = last_u
        state.idle = False
        state.outlier_ms = 0

    def _runs(self, batch: Batch, first: int, stop: int, base: int, consumed: Ints) -> Iterator[BookRun]:
        """The books among the frames, a run for each symbol."""
        ordinals = base + np.cumsum(consumed) - consumed
        for topic, state in enumerate(self._states):
            chosen = first + np.flatnonzero(batch.heads[TOPIC, first:stop] == topic)
            if not len(chosen):
                continue
            rows = int(batch.heads[ROWS, chosen].sum())
            wide, small = np.empty((2, rows), np.int64), np.empty((2, rows), np.int8)
            lay_out(batch.heads, chosen, self._price, self._size, self._side, self._flags, wide, small)
            flags = small[0].view(np.uint8)
            frames = b"".join([batch.datas[k] for k in chosen.tolist()])
            followed = [0] * FOLLOWED
            followed[CLOCK] = int(batch.heads[CTS, chosen].max())
            followed[CHANGES] = rows - int(np.count_nonzero(flags & EMPTY))
            arrays = (wide[0], wide[1], small[1], flags)
            yield self._run(batch, state.symbol, chosen, ordinals[chosen - first], arrays, frames, followed)

    def _run(
        self, batch: Batch, symbol: str, chosen: Ints | slice, ordinals: Ints, arrays: tuple[Any, ...],
        frames: bytes | memoryview, followed: list[int],
    ) -> BookRun:  # fmt: skip
        price, size, side, flags = arrays
        heads = batch.heads[:, chosen]
        return BookRun(
            symbol=symbol,
            clock_ms=followed[CLOCK],
            ordinals=ordinals,
            recv_ns=batch.recv_ns[chosen],
            time_ms=heads[CTS],
            ts_ms=heads[TS],
            u=heads[U],
            seq=heads[SEQ],
            messages=heads[ROWS],
            price=price,
            size=size,
            side=side,
            flags=flags,
            frames=frames,
            lengths=batch.lengths[chosen],
            level_changes=followed[CHANGES],
        )


def warm_up(instrument: Instrument) -> None:
    """Compile what frames are read with now rather than while they wait: seconds, once after each change."""
    level = f'["{instrument.tick_size:f}","{instrument.qty_step:f}"]'
    frames = [
        f'{{"topic":"orderbook.50.{instrument.symbol}","type":"{kind}","ts":{u},"data":{{"s":"{instrument.symbol}",'
        f'"b":[{level}],"a":[],"u":{u},"seq":{u}}},"cts":{u}}}'
        for u, kind in ((2, "snapshot"), (3, "delta"))
    ]
    bulk = BulkAssembler(SessionAssembler({instrument.symbol: instrument}), lambda _: MAX_JUMP_MS)
    for frame in frames:  # what is no book has the rows taken together another way
        list(bulk.on_frames([Frame(frame.encode(), 1), Frame(b'{"op":"pong"}', 1)]))
    LiveBook().apply(*(np.zeros(0, kind) for kind in (np.uint8, np.int8, np.int64, np.int64)))  # type: ignore[arg-type]


class Batch:
    """Frames side by side.

    Attributes
    ----------
    datas, joined
        Each frame, and all of them as one.
    lengths, recv_ns : int64[m]
        Of each frame.
    """

    def __init__(self, frames: Frames) -> None:
        count = len(frames)
        self.datas = frames.datas
        self.recv_ns = np.fromiter(frames.recv_ns, np.int64, count)
        bare = b"".join([*self.datas, PADDING])
        self.data = np.frombuffer(bare, np.uint8)
        self.joined = memoryview(bare)[: -len(PADDING)]
        self.lengths = np.fromiter(map(len, self.datas), np.int64, count)
        self.offsets = np.zeros(count + 1, np.int64)
        np.cumsum(self.lengths, out=self.offsets[1:])
        self.heads = np.empty((HEADS, count), np.int64)
