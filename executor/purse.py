"""The account's equity, and what moved in and out of it: one reading at a time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from executor.events import EquityRead, Event
from executor.lanes import Lanes
from executor.memory import OVERLAP_MS, Memory
from executor.survey import Money, Surveyor

#: A jump of the balance, as a share of it, that the transaction log must explain before the reading counts.
_JUMP = Decimal("0.005")


class Purse:
    """Reads the account and the transaction log.

    A deposit shows in the balance before it shows in the log. Taken at face value it would raise the high-water mark
    twice, and a withdrawal would look like a loss: a balance that has jumped waits for its entry in the log, at most
    `patience_s`; until then equity is unknown.

    Parameters
    ----------
    surveyor, lanes
        Who asks, and where.
    memory
        Of the gateway.
    tell
        Takes the reading.
    patience_s
        See above.
    monotonic
        Wall clock, seconds.
    """

    def __init__(
        self,
        surveyor: Surveyor,
        lanes: Lanes,
        memory: Memory,
        tell: Callable[[Event], None],
        patience_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._surveyor, self._lanes, self._memory, self._tell = surveyor, lanes, memory, tell
        self._patience_s, self._monotonic = patience_s, monotonic
        self._reading = False
        self._jump_s: float | None = None

    def read(self, now_ms: int) -> None:
        """Ask for a reading, unless one is on its way: its answer will be newer than this question."""
        if self._reading:
            return
        memory = self._memory
        if memory.log_ms < 0:
            memory.log_ms = now_ms
        self._reading, since_ms = True, memory.log_ms - OVERLAP_MS
        self._lanes.submit(
            "money", lambda: self._surveyor.money(since_ms, now_ms), lambda money: self._counted(money, now_ms)
        )

    def _counted(self, money: Money | None, asked_ms: int) -> None:
        self._reading = False
        memory = self._memory
        if money is None or self._unexplained(money):
            self._tell(EquityRead(asked_ms, asked_ms, None, memory.transfers))
            return
        for key, (time_ms, change) in money.transfers.items():
            if key not in memory.moved:
                memory.moved[key] = time_ms
                memory.transfers += change
        memory.balance, memory.log_ms = money.balance, max(memory.log_ms, asked_ms)
        oldest = memory.log_ms - 2 * OVERLAP_MS
        memory.moved = {key: time_ms for key, time_ms in memory.moved.items() if time_ms >= oldest}
        self._tell(EquityRead(asked_ms, money.as_of_ms, money.equity, memory.transfers))

    def _unexplained(self, money: Money) -> bool:
        """Whether the balance has jumped, and the log may still say why."""
        known = self._memory.balance if money.logged is None else money.logged
        if known is None or abs(money.balance - known) <= _JUMP * abs(money.balance):
            self._jump_s = None
            return False
        if self._jump_s is None:
            self._jump_s = self._monotonic()
        return self._monotonic() < self._jump_s + self._patience_s
