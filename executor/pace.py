"""How often the live gateway asks the venue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the venue is asked, seconds of the wall clock.

    Attributes
    ----------
    check
        While all is well: position, stop and orders are still what they should be.
    poll
        While the stream is down, or something does not add up.
    confirm
        While a fill waits for its stop to be seen on the venue.
    log
        How long a jump of the balance may wait for its entry in the transaction log.
    """

    check: float = 10.0
    poll: float = 1.0
    confirm: float = 0.25
    log: float = 20.0
