"""Writes a session's turns down before anything follows from them, and says so when that cannot be done."""

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
        self._failed = 0
        self._uncopied = False

    @property
    def problems(self) -> int:
        """How often in a row it could not be written; 0 while all is well."""
        return self._failed or int(self._uncopied)

    @property
    def whole(self) -> bool:
        """Whether all turns are in the journal."""
        return not self._waiting

    def write(self, turns: Sequence[Turn] = ()) -> bool:
        """Whether everything up to now is in the journal, and an entry may follow; exits need not wait for it."""
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
        return not self._uncopied

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

    def flush(self) -> bool:
        """Try once more to write what could not be written; whether journal and copy are whole."""
        if self._waiting:
            self.write()
        return self.copy() and self.whole
