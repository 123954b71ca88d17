"""Where blocking calls go, so that the loop never waits: one thread a lane, calls of a lane in order.

What a call gives is not handed over where it ran: :meth:`Lanes.finished` gives it to the loop, which remains the one
writer of all state.
"""

from __future__ import annotations

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


class Lanes(ABC):
    """Runs calls somewhere else."""

    @abstractmethod
    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        """Run `call` after the others of its lane; `done` takes its result by way of :meth:`finished`."""

    @abstractmethod
    def finished(self) -> list[Done]:
        """What has ended since the last look, in order, to be called in the loop; a call that raised raises there."""

    def close(self) -> None:  # noqa: B027 - a choice, not a duty
        """Wait for no call any more."""


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

    def submit(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None]) -> None:
        self.run(lane, call, done, self._finished)

    def run(self, lane: str, call: Callable[[], _T], done: Callable[[_T], None], finished: deque[Done]) -> None:
        """Like :meth:`submit`, with the result handed to whoever looks into `finished`."""
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(1, thread_name_prefix=f"venue-{lane}")

        def hand_over(future: Future[Any]) -> None:
            if not future.cancelled():
                finished.append(lambda: done(future.result()))
                self.wake()

        self._pools[lane].submit(call).add_done_callback(hand_over)

    def port(self, name: str) -> LanePort:
        """Lanes for one of several contracts: those of its orders are its own, money is read in a common one."""
        return LanePort(self, name)

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
        self._lanes.run(lane if lane in _COMMON else f"{lane}-{self._name}", call, done, self._finished)

    def finished(self) -> list[Done]:
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def close(self) -> None:
        """What is still on its way is nobody's any more."""
        self._finished = deque()
