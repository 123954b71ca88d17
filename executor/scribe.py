"""A session's dealings with its journal: turns are written before anything follows from them, commands are read.

What cannot be done is said, and done later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from executor.journal import Journal, JournalError, Turn


class Scribe:
    """Keeps what could not be written, and tries again with every turn.

    Parameters
    ----------
    journal
        Where to write.
    states
        The state of core and gateway as it is now.
    tell
        Takes level, code and text of what a person must know.
    """

    def __init__(
        self, journal: Journal, states: Callable[[], tuple[bytes, bytes]], tell: Callable[[str, str, str], None]
    ) -> None:
        self.journal, self._states, self._tell = journal, states, tell
        self._waiting: list[Turn] = []
        self._failed = self._unheard = 0
        self._uncopied = False
        self._heard = self._noted = -1

    @property
    def problems(self) -> int:
        """How often in a row it could not be written or read; 0 while all is well."""
        return self._failed or int(self._uncopied) or self._unheard

    @property
    def whole(self) -> bool:
        """Whether all turns are in the journal."""
        return not self._waiting

    def write(self, turns: Sequence[Turn] = ()) -> bool:
        """Whether everything up to now is in the journal, and an entry may follow; exits need not wait for it.

        None may while commands cannot be read: one of them may be to halt.
        """
        self._waiting += turns
        try:
            self.journal.record(self._waiting, *self._states())
        except JournalError as error:
            if self._failed == 0:
                self._tell("critical", "journal", f"{error.message}: no entries; exits go on")
            self._failed += 1
            return False
        if self._failed:
            self._tell("info", "journal", "the journal can be written again")
        self._failed = 0
        self._waiting.clear()
        self._note()
        return not self._uncopied and not self._unheard

    def copy(self) -> bool:
        """Whether the state is beside the journal, too: after the orders, which need not wait for it."""
        try:
            self.journal.copy()
        except JournalError as error:
            if not self._uncopied:
                self._tell("critical", "journal", f"{error.message}: no entries; exits go on")
            self._uncopied = True
            return False
        if self._uncopied:
            self._tell("info", "journal", "the copy of the state can be written again")
        self._uncopied = False
        return True

    def commands(self) -> list[tuple[int, str]]:
        """Commands that were not heard before, in order: number and name; those that cannot be read wait."""
        try:
            commands = self.journal.commands()
        except JournalError as error:
            if self._unheard == 0:
                text = f"{error.message}: commands are not heard, no entries; exits go on. {error.advice}"
                self._tell("critical", "journal", text)
            self._unheard += 1
            return []
        if self._unheard:
            self._tell("info", "journal", "commands can be read again")
        self._unheard = 0
        return [(number, name) for number, name in commands if number > self._heard]

    def carried_out(self, last: int) -> None:
        """Commands up to number `last` are done, and noted as such once their turn is in the journal."""
        self._heard = last
        self._note()

    def _note(self) -> None:
        if self.whole and self._noted < self._heard:
            self.journal.took_commands(self._heard)
            self._noted = self._heard

    def flush(self) -> bool:
        """Try once more to write what could not be written; whether journal and copy are whole."""
        if self._waiting:
            self.write()
        return self.copy() and self.whole
