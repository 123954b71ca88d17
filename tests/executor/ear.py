"""The market as a rig's executor hears it: the exchange's public frames, as its faults let them pass, to bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from executor.view import MarketView
from market.assembler import Assembled
from simulation import SYNTHETIC
from simulation.exchange._misbehaving_line import Line, Rehearsal, payload_of
from simulation.exchange.listing import Flush, Listing

if TYPE_CHECKING:
    from tests.executor.rig import Rig

LEVELS = 200
STALL_MS = 10_000


class Ear:
    """Subscribes to book and trades; what it hears becomes bars as in the daemon.

    Attributes
    ----------
    problems
        What the assembler could not make sense of.
    """

    def __init__(self, rig: Rig, bar_ms: int) -> None:
        self._rig, self._listing = rig, rig.listing
        self.view = MarketView(SYNTHETIC, bar_ms, LEVELS, STALL_MS)
        self.problems: list[str] = []
        self.deaf = False
        self._parts: list[Assembled] = []
        self._topics = {
            feed: topic
            for topic, feed in self._listing.feed_of.items()
            if topic.startswith((f"orderbook.{LEVELS}.", "publicTrade."))
        }
        self._line = Line(rig.exchange.faults, self._hear, lambda: None)
        rig.venue.audience = Rehearsal(rig.exchange.faults, self)
        for feed in self._topics:
            self._listing.join(feed)

    # --- an audience --------------------------------------------------------------------------------------------------

    def publish(self, listing: Listing, flush: Flush) -> None:
        """Take a batch of frames."""
        start = 0
        for feed, end in zip(flush.feeds.tolist(), flush.ends.tolist()):
            if feed in self._topics and not self.deaf:
                self._line.pass_on(self._topics[feed], listing.symbol, flush.data[start:end].tobytes())
            start = end

    def publish_ticker(self, symbol: str, message: dict[str, Any]) -> None:
        """Nobody listens."""

    def wants_ticker(self, symbol: str) -> bool:
        """Nobody listens."""
        return False

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def _hear(self, frame: bytes) -> None:
        self._take(self.view.on_frame(payload_of(frame), self._rig.now_ms * 1_000_000))

    def lose(self) -> None:
        """The connection dies; another one begins with a snapshot."""
        self._take(self.view.on_disconnect(self._rig.now_ms * 1_000_000, "cut off"))
        self._again()

    def _again(self) -> None:
        for feed in self._topics:
            snapshot = self._listing.join(feed)
            self._listing.leave(feed)
            if snapshot is not None:
                self._take(self.view.on_frame(snapshot, self._rig.now_ms * 1_000_000))

    def _take(self, part: Assembled) -> None:
        self._parts.append(part)
        if part.problem is not None:
            self.problems.append(part.problem)
        if part.resync:
            self._again()

    def turn(self) -> None:
        """Give the session the bars that have closed since the last turn: the signal is the rig's, prices are heard."""
        parts, self._parts = self._parts, []
        bars, quote, session = self.view.push(self.view.gather(parts).events), self.view.quote(), self._rig.session
        session.pulse(at_once=len(bars) > 0)
        age_ms = self._rig.now_ms - quote.book_ms if quote.book_ms >= 0 else -1
        for row in range(len(bars)):
            heard = {name: int(getattr(bars, name)[row]) for name in ("close", "bid", "ask")}
            heard |= {"valid": bool(bars.valid[row]), "book_age_ms": age_ms}
            session.drive([msgspec.structs.replace(self._rig.bar(int(bars.close_ms[row])), **heard)])
