"""The end of tasks."""

from __future__ import annotations

import asyncio
from typing import Any

#: A task that has not ended by then is cancelled again, seconds.
_AGAIN_S = 1.0


async def put_away(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended; what ended them is nobody's concern any more.

    Until Python 3.12, ``asyncio.wait_for`` swallows a cancel that comes together with its result: one cancel is not
    always enough.
    """
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
