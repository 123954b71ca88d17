"""Contract rules that the market has left: the venue is asked, away from the loop, what they are now.

A finer tick shows in prices that do not fit; a coarser one in nothing but refused orders. So the venue is also asked
now and then.
"""

from __future__ import annotations

import asyncio
import time

from executor.tasks import put_away
from market.errors import DataError, VenueError
from market.instruments import Instrument
from market.rest import fetch_instruments

#: The venue is asked for the same contract at most this often, seconds.
_ASK_EVERY = 30.0
#: And at least this often, seconds, although all fits.
_LOOK_EVERY = 600.0


class Rules:
    """Asks for the rules of contracts whose prices or sizes stopped fitting them.

    Parameters
    ----------
    rest_url
        Address of the venue's REST API.
    """

    def __init__(self, rest_url: str) -> None:
        self._rest_url = rest_url
        self._asking: dict[str, asyncio.Task[Instrument | None]] = {}
        self._suspected: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def look(self, rules: Instrument) -> None:
        """Ask for a contract's rules if nobody has for long; at the first call, as a session begins, they are known."""
        if time.monotonic() >= self._asked.setdefault(rules.symbol, time.monotonic()) + _LOOK_EVERY:
            self.suspect(rules)

    def suspect(self, rules: Instrument) -> None:
        """Ask for a contract's rules, unless that has just been done."""
        symbol, now = rules.symbol, time.monotonic()
        if symbol in self._asking or now < self._suspected.get(symbol, -_ASK_EVERY) + _ASK_EVERY:
            return
        self._suspected[symbol] = self._asked[symbol] = now
        self._asking[symbol] = asyncio.get_running_loop().create_task(self._ask(symbol))

    def verdict(self, rules: Instrument) -> str | None:
        """What the venue has answered: how the rules differ, empty if they do not; ``None`` if nothing new is known."""
        task = self._asking.get(rules.symbol)
        if task is None or not task.done():
            return None
        found = self._asking.pop(rules.symbol).result()
        if found is None:
            return None  # not known is not unchanged: the next frame that does not fit asks again
        if (found.tick_size, found.qty_step) == (rules.tick_size, rules.qty_step):
            return ""
        return (
            f"tick {found.tick_size} and step {found.qty_step} now, "
            f"{rules.tick_size} and {rules.qty_step} when the session began"
        )

    async def _ask(self, symbol: str) -> Instrument | None:
        try:
            return (await asyncio.to_thread(fetch_instruments, self._rest_url, [symbol]))[symbol]
        except (VenueError, DataError):
            return None

    async def close(self) -> None:
        """Wait for no answer any more."""
        await put_away(*self._asking.values())
