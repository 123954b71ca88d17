"""Contract rules that change while they are in force: a new tick size ends no recording."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping

from market.errors import DataError, VenueError
from market.instruments import Instrument
from market.rest import fetch_instruments

#: The venue is asked for the same symbol at most this often (s).
_ASK_EVERY = 30.0


class RulesWatch:
    """Asks the venue for the rules of symbols whose prices stopped fitting them.

    Parameters
    ----------
    rest_url
        Address of the venue's REST API; ``None`` asks nobody.
    instruments
        The rules in force; the owner brings them up to date.
    """

    def __init__(self, rest_url: str | None, instruments: Mapping[str, Instrument]) -> None:
        self._rest_url = rest_url
        self._instruments = instruments
        self._suspects: set[str] = set()
        self._asked: dict[str, float] = {}

    def suspect(self, symbols: Iterable[str]) -> None:
        """Note symbols whose prices or sizes do not fit the tick or step."""
        self._suspects.update(symbols)

    async def changed(self) -> list[Instrument]:
        """Rules of suspects that are others now; asked in a thread, so that frames go on."""
        now = time.monotonic()
        due = [symbol for symbol in self._suspects if now - self._asked.get(symbol, -_ASK_EVERY) >= _ASK_EVERY]
        if self._rest_url is None or not due:
            return []
        self._asked.update(dict.fromkeys(due, now))
        self._suspects.difference_update(due)
        try:
            found = await asyncio.to_thread(fetch_instruments, self._rest_url, due)
        except (VenueError, DataError):
            # Not known is not unchanged: the next frame that does not fit asks again.
            return []
        return [rules for symbol in due if (rules := found.get(symbol)) and _differs(rules, self._instruments[symbol])]


def _differs(one: Instrument, other: Instrument) -> bool:
    return (one.tick_size, one.qty_step) != (other.tick_size, other.qty_step)
