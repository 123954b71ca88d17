"""What the live gateway must know after a restart, beside the core's state."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from market.errors import DataError

#: Lists are read from this long before the last complete answer, venue time: they lag behind streams.
OVERLAP_MS = 30_000


class Memory(msgspec.Struct):
    """What a restart must know beside the core's state.

    Attributes
    ----------
    since_ms
        Executions before this are known; -1 before the first answer.
    seen
        Executions told since shortly before that: id and time.
    log_ms
        The transaction log before this is known; -1 before the first answer.
    transfers, moved
        Sum of transfers since the account was first seen, and id and time of those that may be read again.
    balance
        The wallet's, when it was last in agreement with the log.
    index
        Position index of the last entry.
    """

    since_ms: int = -1
    seen: dict[str, int] = {}
    log_ms: int = -1
    transfers: Decimal = Decimal(0)
    moved: dict[str, int] = {}
    balance: Decimal | None = None
    index: int = 0


def remember(saved: bytes | None) -> Memory:
    """The memory of an earlier session; a fresh one where there was none.

    Raises
    ------
    DataError
        It cannot be read.
    """
    if saved is None or saved == b"null":
        return Memory()
    try:
        return msgspec.json.decode(saved, type=Memory)
    except msgspec.DecodeError as error:
        raise DataError(
            f"what the gateway remembered cannot be read ({error})", advice="Restore the journal from a copy"
        ) from error
