"""Is the book still known? The check of Bybit's update ids, the same for live frames and archives."""

from __future__ import annotations

from enum import Enum

#: Cause of the gap before the first event of a session.
SESSION_START = "session start"


class Trust(Enum):
    """What is known of a symbol's book within a session."""

    UNSEEN = "nothing received yet"
    UNKNOWN = "updates were lost; a snapshot must come first"
    KNOWN = "a snapshot and every update after it were received"


class BookSequence:
    """Follows ``u`` of one order-book topic.

    ``u`` grows by one a message; a snapshot (or ``u == 1``, a restart of Bybit's service) replaces the book. Replacing
    says nothing about what was missed before it: unless its ``u`` follows on, that is a gap as well.
    """

    __slots__ = ("last_u", "trust")

    def __init__(self) -> None:
        self.trust = Trust.UNSEEN
        self.last_u = 0

    def check(self, u: int, is_snapshot: bool) -> str | None:
        """Take in one message.

        Returns
        -------
        cause
            Why a gap lies before this message; ``None`` when it follows on, or when the book was unknown already.
        """
        before, last = self.trust, self.last_u
        self.last_u = u
        follows = u == last + 1 or (is_snapshot and u == last)
        if is_snapshot:
            self.trust = Trust.KNOWN
        elif before is Trust.UNSEEN or not follows:
            self.trust = Trust.UNKNOWN
        if before is Trust.UNSEEN:
            return SESSION_START
        if before is Trust.KNOWN and not follows:
            return f"book restarted (u {last} to {u})" if is_snapshot else f"sequence break (u {last} to {u})"
        return None

    def open(self) -> bool:
        """Note that the session has begun with another stream; whether this is the first that is heard of it."""
        first = self.trust is Trust.UNSEEN
        if first:
            self.trust = Trust.UNKNOWN
        return first

    def lose(self) -> None:
        """Forget the book: the connection or a frame was lost."""
        if self.trust is not Trust.UNSEEN:
            self.trust = Trust.UNKNOWN
