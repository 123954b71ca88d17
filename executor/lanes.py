"""Where blocking calls go, so that the loop never waits: one thread a lane, calls of a lane in order.

What a call gives is not handed over where it ran: :meth:`Lanes.finished` gives it to the loop, which remains the one
writer of all state.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
#: Takes what a call gave, in the loop.
Done = Callable[[], None]
#: Lanes that all contracts of an account share.
_COMMON = frozenset({"money"})
#: Lanes of orders and stops; the others read.
_URGENT = frozenset({"entry", "exit"})
#: At most so long a read waits for what is urgent.
_GIVE_WAY_S = 0.1


class Lanes(ABC):
    """Runs calls somewhere else."""

    @abstractmethod
    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        """Run `call` after the others of its lane; `done` takes its result by way of :meth:`finished`."""

    @abstractmethod
    def finished(self) -> list[Done]:
        """What has ended since the last look, in order, to be called in the loop; a call that raised raises there."""

    def hold(self, on: bool) -> None:  # noqa: B027 - a choice, not a duty
        """Say that an order may be about to come, or that it has: reads that can wait a moment do."""

    def close(self) -> None:  # noqa: B027 - a choice, not a duty
        """Wait for no call any more."""


class _RightOfWay:
    """Lets reads wait while orders are decided on or on their way.

    A read is some milliseconds of work in another thread, and of the venue's: begun at a bar's close, three of them
    would be done before the bar's order is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._urgent = 0
        self._free = threading.Event()
        self._free.set()

    def enter(self) -> None:
        with self._lock:
            self._urgent += 1
            self._free.clear()

    def leave(self) -> None:
        with self._lock:
            self._urgent -= 1
            if not self._urgent:
                self._free.set()

    def give(self) -> None:
        """Wait for what is urgent, but not for long: a lost answer must not stop the reading."""
        self._free.wait(_GIVE_WAY_S)


class ThreadLanes(Lanes):
    """One thread a lane.

    Parameters
    ----------
    wake
        Called, in whatever thread, when something has finished.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wake = wake
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._finished: deque[Done] = deque()
        self._way = _RightOfWay()

    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        self.run(lane, lane, call, done, self._finished)

    def run(
        self, kind: str, lane: str, call: Callable[[], _T], done: Callable[[_T], None], finished: deque[Done]
    ) -> None:
        """Like :meth:`submit`, with the result for whoever looks into `finished`; `kind` says how urgent it is."""
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(1, thread_name_prefix=f"venue-{lane}")
        urgent = kind in _URGENT
        if urgent:
            self._way.enter()

        def work() -> _T:
            if not urgent:
                self._way.give()
            return call()

        def hand_over(future: Future[Any]) -> None:
            if urgent:
                self._way.leave()
            if not future.cancelled():
                finished.append(lambda: done(future.result()))
                self.wake()

        self._pools[lane].submit(work).add_done_callback(hand_over)

    def port(self, name: str) -> LanePort:
        """Lanes for one of several contracts: those of its orders are its own, money is read in a common one."""
        return LanePort(self, name)

    def hold(self, on: bool) -> None:
        if on:
            self._way.enter()
        else:
            self._way.leave()

    def finished(self) -> list[Done]:
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools.clear()


class LanePort(Lanes):
    """One contract's share of :class:`ThreadLanes`.

    A slow answer about one contract must not hold up another one's stop, so all lanes are apart but that in which the
    account's money is read.
    """

    def __init__(self, lanes: ThreadLanes, name: str) -> None:
        self._lanes, self._name = lanes, name
        self._finished: deque[Done] = deque()

    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        self._lanes.run(lane, lane if lane in _COMMON else f"{lane}-{self._name}", call, done, self._finished)

    def hold(self, on: bool) -> None:
        self._lanes.hold(on)

    def finished(self) -> list[Done]:
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def close(self) -> None:
        """What is still on its way is nobody's any more."""
        self._finished = deque()
