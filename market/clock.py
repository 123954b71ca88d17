"""Whether somebody has set the local clock."""

from __future__ import annotations

import time

#: A clock that moves by more than this against the monotonic one has been set (s).
_STEP_SECONDS = 1.0


class LocalClock:
    """Compares the clock of the wall with the monotonic one, from look to look."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def step(self) -> float:
        """By how much the clock was set since the last look (s); 0 if it was not."""
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        moved = self._ahead - before
        return moved if abs(moved) > _STEP_SECONDS else 0.0
