"""Replay: the core, fed again with what the journal says it saw, must do what the journal says it did, to the byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from council.bundle import load_bundle
from council.registry import cached
from council.voting import Council
from executor.core import Core, CouncilSource
from executor.events import decode_event, encode
from executor.journal import JournalError
from executor.reader import JournalReader
from executor.state import CoreConfig, CoreState
from executor.status import folder_of, read_status
from market.errors import BundleError, ExecutorError
from settings import Settings


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


def replay_session(settings: Settings, symbol: str, session: str) -> str:
    """Replay a session of a symbol; a line for people.

    Parameters
    ----------
    session
        Its number, or ``latest``; ``dry-run/7`` or ``lake/2`` where it matters how it traded.

    Raises
    ------
    ReplayMismatch
        A turn differs.
    JournalError
        There is no such session.
    BundleError
        A council that voted in it is not in the cache any more.
    """
    mode, _, number = session.rpartition("/")
    folder = folder_of(settings, symbol, mode or read_status(settings, symbol)["mode"])
    reader = JournalReader(folder)
    try:
        known = reader.sessions()
        if number == "latest" and known:
            number = str(known[-1])
        if not number.isdigit():
            raise JournalError(f"{session!r} names no session", advice=f"Use latest, or one of {known[-10:]}")
        report = replay(reader, int(number), AnyCouncil(settings.paths.executor / "councils"))
    finally:
        reader.close()
    return (
        f"session {report.session} of {symbol}: {report.turns} turns, {report.decisions} decisions, "
        f"{report.orders} orders; the same to the byte"
    )


class AnyCouncil:
    """Councils by content hash from a cache, whatever they are for: the session that is replayed had checked it."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._loaded: dict[str, Council] = {}

    def __call__(self, content_hash: str) -> Council:
        if content_hash not in self._loaded:
            folder = cached(self._cache, content_hash)
            if folder is None:
                raise BundleError(
                    f"council {content_hash[:12]} is not in {self._cache}, or is damaged there",
                    advice="Fetch it from the registry again: run the executor with it in Production",
                )
            self._loaded[content_hash] = load_bundle(folder)
        return self._loaded[content_hash]


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
