"""One connection's frames, collected for a moment and taken in together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from market.feed import Disconnected, Frames, PublicFeed

#: Frames are taken in together: those of this long (s), and at most so many.
COLLECT_SECONDS = 0.025
MOST_COLLECTED = 1_024


class Intake:
    """Between a feed and whoever takes its frames in.

    Parameters
    ----------
    feed
        The connection.
    frames, loss
        Take in frames in order, and the loss of the connection; both name topics that need a fresh snapshot.
    stop
        Called when taking in fails; :meth:`pump` then raises the error.
    """

    def __init__(
        self,
        feed: PublicFeed,
        frames: Callable[[Frames], Iterable[str]],
        loss: Callable[[Disconnected], Iterable[str]],
        stop: Callable[[], None],
    ) -> None:
        self._feed = feed
        self._frames = frames
        self._loss = loss
        self._stop = stop
        self._waiting = Frames()
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self._resyncs: set[asyncio.Task[None]] = set()

    async def pump(self) -> None:
        """Hand on what the connection brings until it ends."""
        while True:
            loss = await self._feed.collect(self._waiting, MOST_COLLECTED, self._notice)
            self._take_up()
            if loss is None:
                break
            self.resync(self._loss(loss))
        if self._failure is not None:
            raise self._failure

    def _notice(self) -> None:
        """Frames wait: soon they are taken in, or now that they are many."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COLLECT_SECONDS, self._take_up)
        elif len(self._waiting) >= MOST_COLLECTED:
            self._take_up()

    def _take_up(self) -> None:
        """Take in the frames that wait; the error of a timer's turn is raised by :meth:`pump`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting or self._failure is not None:
            return
        try:
            self.resync(self._frames(self._waiting))
        except Exception as error:  # noqa: BLE001 - nobody awaits a timer: the pump raises it
            self._failure = error
            self._stop()
        self._waiting.clear()

    def resync(self, topics: Iterable[str]) -> None:
        """Ask for fresh snapshots, without waiting for them."""
        for topic in topics:
            task = asyncio.create_task(self._feed.resync(topic))
            self._resyncs.add(task)
            task.add_done_callback(self._resyncs.discard)


async def until_done(works: Sequence[asyncio.Task[None]], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until all `works` are done, or until any of `tasks` fails, whose error is raised."""
    waiting: set[asyncio.Task[None]] = {*works, *tasks}
    while waiting and any(not work.done() for work in works):
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
