"""Replay: the core, fed again with what the journal says it saw, must do what the journal says it did, to the byte."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from executor.core import Core, CouncilSource
from executor.events import decode_event, encode
from executor.reader import JournalReader
from executor.state import CoreConfig, CoreState
from market.errors import ExecutorError


class ReplayMismatch(ExecutorError):
    """The core does something else today than the journal says it did."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What was compared."""

    session: int
    turns: int
    decisions: int
    orders: int


def replay(reader: JournalReader, session: int, councils: CouncilSource) -> ReplayReport:
    """Recompute a session.

    Parameters
    ----------
    reader
        The journal.
    session
        Number of the session.
    councils
        Councils by content hash.

    Raises
    ------
    ReplayMismatch
        A turn differs; the message names the first one.
    """
    row = reader.session(session)
    config = msgspec.json.decode(row.config, type=CoreConfig)
    core = Core(config, councils, CoreState.load(row.state))
    turns = 0
    for seq, event, actions in reader.turns(session):
        again = encode(core.on(decode_event(event)))
        if again != actions:
            raise ReplayMismatch(
                f"turn {seq} of session {session} differs: then {actions.decode()}, now {again.decode()}",
                advice="The code or the council has changed since; check out the version that ran the session",
            )
        turns += 1
    if row.final is not None and core.state.dump() != row.final:
        raise ReplayMismatch(
            f"session {session} ends in another state", advice="The code has changed since; check out that version"
        )
    return ReplayReport(session, turns, core.state.counts.decisions, core.state.counts.orders)
