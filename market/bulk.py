"""Many frames at once: what a recorder that is behind, or records much, lives on.

The rows are those of :class:`~market.assembler.SessionAssembler` taking the frames one by one, to the bit: only book
messages that simply follow on take the fast way, and whatever might change that is handed to the assembler itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from market._run_kernel import HEAD_COLUMNS, TOPIC, lay_out, scan_run, topic_names
from market._scan import CTS, LEVELS, PADDING, SEQ, SHORTEST_LEVEL, TS, U
from market._session import MAX_JUMP_MS, Assembled, SymbolState
from market.assembler import SessionAssembler
from market.feed import Frame
from market.instruments import Instrument
from market.ladder import LiveBook
from market.records import BookRun, GapMark, record_ms
from market.sequence import Trust

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
        self._names = np.zeros((0, 2), np.uint8)
        self._room(1)

    def _room(self, levels: int) -> None:
        self._price, self._size = np.empty(levels, np.int64), np.empty(levels, np.int64)
        self._side = np.empty(levels, np.int8)

    def on_frames(self, frames: Sequence[Frame]) -> Iterator[BookRun | Single]:
        """Take in frames; what a frame comes to must be taken up before the next is asked for.

        Raises
        ------
        DataError
            A price or size is not a multiple of the tick or step: the contract rules have changed.
        """
        yield from self.on_batch(Batch(frames))

    def on_batch(self, batch: Batch) -> Iterator[BookRun | Single]:
        """The same for frames that are side by side already."""
        if len(self._price) <= len(batch.data) // SHORTEST_LEVEL:
            self._room(len(batch.data) // SHORTEST_LEVEL * 2 + 1)
        first, stop = 0, len(batch.datas)
        while first < stop:
            at, _ = self._scan(batch, first)
            done = yield from self._settle(batch, first, at)
            if done == at and at < stop:
                yield at, self._assembler.on_frame(batch.datas[at], int(batch.recv_ns[at]))
                done += 1
            first = done

    def _scan(self, batch: Batch, first: int) -> tuple[int, int]:
        self._know_topics()
        if not self._states:
            batch.heads[first:, TOPIC] = -1
            return len(batch.datas), 0
        units = np.array([state.scanner.units for state in self._states])
        follow = np.array([self._expected(state) for state in self._states], np.int64)
        stop, rows = scan_run(
            batch.data, batch.offsets, first, self._names, units, follow,
            batch.heads, self._price, self._size, self._side,
        )  # fmt: skip
        return int(stop), int(rows)

    def _know_topics(self) -> None:
        topics = self._assembler._book_topics
        if list(topics.values()) != self._states:  # a topic more, or other contract rules
            self._states = list(topics.values())
            self._names = topic_names(list(topics))

    def _expected(self, state: SymbolState) -> tuple[int, int]:
        """The update id that was seen last, and the greatest time that may be taken without a closer look."""
        if state.sequence.trust is not Trust.KNOWN or state.may_jump:
            return 0, -1
        return state.sequence.last_u, min(state.clock_ms + MAX_JUMP_MS, self._room_ms(state.symbol))

    def _settle(self, batch: Batch, first: int, stop: int) -> Generator[BookRun | Single, None, int]:
        """Frames that were scanned: the others one by one, for they may end what the books rest on.

        Returns
        -------
        int
            The first frame that is not settled.
        """
        base, consumed = self._assembler.next_ordinal, np.ones(stop - first, np.int64)
        heads, singles, done = batch.heads, list[Single](), first
        for k in (first + np.flatnonzero(heads[first:stop, TOPIC] < 0)).tolist():
            self._follow(heads, done, k)
            self._assembler.next_ordinal = before = base + int(consumed[: k - first].sum())
            out = self._assembler.on_frame(batch.datas[k], int(batch.recv_ns[k]))
            consumed[k - first] = self._assembler.next_ordinal - before
            done = k + 1
            singles.append((k, out))
            if self._breaks(out):
                stop = k + 1
                break
        self._follow(heads, done, stop)
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

    def _breaks(self, out: Assembled) -> bool:
        """Whether books that follow may not be what they were taken for, or belong into another part."""
        return any(
            isinstance(record, GapMark) or record_ms(record) > self._room_ms(record.symbol) for record in out.records
        )

    def _follow(self, heads: NDArray[np.int64], first: int, stop: int) -> None:
        """Bring the assembler's clocks up to the books before frame `stop`."""
        if stop <= first:
            return
        part = heads[first:stop]
        for topic, state in enumerate(self._states):
            chosen = part[:, TOPIC] == topic
            mine = part if chosen.all() else part[chosen]
            if len(mine):
                state.clock_ms = max(state.clock_ms, int(mine[:, CTS].max()))
                state.sequence.last_u = int(mine[-1, U])
                state.idle = False
                state.outlier_ms = 0

    def _runs(self, batch: Batch, first: int, stop: int, base: int, consumed: NDArray[np.int64]) -> Iterator[BookRun]:
        """The books among the frames, a run for each symbol."""
        topic = int(batch.heads[0, TOPIC])
        if topic >= 0 and stop - first == len(batch.datas) and (batch.heads[:, TOPIC] == topic).all():
            yield self._run(batch, first, stop, topic, np.arange(base, base + stop), slice(None))
            return
        ordinals = np.empty(len(batch.datas), np.int64)
        ordinals[first : first + len(consumed)] = base + np.cumsum(consumed) - consumed
        for topic in range(len(self._states)):
            chosen = first + np.flatnonzero(batch.heads[first:stop, TOPIC] == topic)
            if len(chosen):
                yield self._run(batch, first, stop, topic, ordinals, chosen)

    def _run(
        self, batch: Batch, first: int, stop: int, topic: int, ordinals: NDArray[np.int64],
        chosen: NDArray[np.int64] | slice,
    ) -> BookRun:  # fmt: skip
        heads = np.ascontiguousarray(batch.heads[chosen].T)
        messages = np.maximum(heads[LEVELS], 1)
        rows = int(messages.sum())
        wide, small = np.empty((2, rows), np.int64), np.empty((2, rows), np.int8)
        lay_out(batch.heads, first, stop, topic, self._price, self._size, self._side, wide, small)
        return BookRun(
            symbol=self._states[topic].symbol,
            clock_ms=int(heads[CTS].max()),
            ordinals=ordinals[chosen],
            recv_ns=batch.recv_ns[chosen],
            time_ms=heads[CTS],
            ts_ms=heads[TS],
            u=heads[U],
            seq=heads[SEQ],
            messages=messages,
            price=wide[0],
            size=wide[1],
            side=small[1],
            flags=small[0].view(np.uint8),
            frames=(batch.joined if isinstance(chosen, slice) else b"".join([batch.datas[k] for k in chosen.tolist()])),
            lengths=batch.lengths[chosen],
            level_changes=int(heads[LEVELS].sum()),
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
    for frame in frames:
        list(bulk.on_frames([Frame(frame.encode(), 1)]))
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

    def __init__(self, frames: Sequence[Frame]) -> None:
        count = len(frames)
        self.datas = [frame.data for frame in frames]
        self.recv_ns = np.array([frame.recv_ns for frame in frames], np.int64)
        bare = b"".join([*self.datas, PADDING])
        self.data = np.frombuffer(bare, np.uint8)
        self.joined = memoryview(bare)[: -len(PADDING)]
        self.lengths = np.fromiter(map(len, self.datas), np.int64, count)
        self.offsets = np.zeros(count + 1, np.int64)
        np.cumsum(self.lengths, out=self.offsets[1:])
        self.heads = np.empty((count, HEAD_COLUMNS), np.int64)
