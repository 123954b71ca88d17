"""Whether somebody has set the local clock."""

from __future__ import annotations

import time

#: A clock that moves by more than this against the monotonic one has been set (s).
_STEP_SECONDS = 1.0
#: Two clocks read one after the other are compared when no more than this passed between (s).
_TOGETHER_SECONDS = 0.1


def _ahead() -> float:
    """How far the clock of the wall is ahead of the monotonic one (s); a process may be put to sleep between reads."""
    while True:
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < _TOGETHER_SECONDS:
            return wall - after


class LocalClock:
    """Compares the clock of the wall with the monotonic one, from look to look."""

    def __init__(self) -> None:
        self._ahead = _ahead()

    def step(self) -> float:
        """By how much the clock was set since the last look (s); 0 if it was not."""
        before, self._ahead = self._ahead, _ahead()
        moved = self._ahead - before
        return moved if abs(moved) > _STEP_SECONDS else 0.0
