"""Where the kernel keeps what it knows: the layout of its arrays.

Numba freezes these constants into compiled code, and its disk cache notices a change of a kernel's own file only:
`market/_kernel_cache.py` keeps a cache for each state of these files.

Kernels and index are compiled without Numba's reference counts (``_nrt=False``): they allocate nothing, and every call
paid for each array of the `World` or the `Market` that it hands on, two thirds of the time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: A time that never comes.
NEVER = 1 << 62
#: Queue position of an order whose level lies deeper than the book shows.
HIDDEN = 1 << 62

# PlanStatus, ExitReason and the roles of fills: simulation.fills names them for people.
OPEN, UNFILLED, CLOSED, UNKNOWN, REJECTED = -1, 0, 1, 2, 3
NONE, STOP, TARGET, TIME, FLATTEN = 0, 1, 2, 3, 4

# Stages of a plan's entry order.
NEW, FLYING, RESTING, GONE, DONE = 0, 1, 2, 3, 4

# Lines of the log.
LOG_ACCEPTED, LOG_REJECTED, LOG_FILLED, LOG_CANCELLED, LOG_CLOSED, LOG_FUNDED = 0, 1, 2, 3, 4, 5
#: Role of a fill of the resting target; other fills with the role `TARGET` were taken at market.
RESTED = 5

# Places in `World.state`.
CLOCK, ORDINAL, KNOWN, KNOWN_SINCE, BUILDING, TOUCHED, STRICT, LATENCY, PLANS, NEXT_PLAN, ACTIVE = range(11)
NEXT_DUE, NEXT_COMMAND, RETRY, CHANGED, LOGGING, LOGGED, NEXT_FUNDING, FRESH, STATE_SIZE = range(11, 20)
#: `FRESH` during a snapshot: every level is.
ALL_FRESH = -1

# Places in `World.sides`: per side of the book, what decides at a glance whether an event concerns any plan.
BEGIN, END, HOT, HIDDEN_KEY, STOP_KEY, TARGET_KEY, SIDE_SIZE = range(7)

#: Width of `World.watch`, which tells by the rest of a key whether an entry may rest at a level.
WATCH = 1024

#: What was asked for (stop and target are keys too); when things arrive, are sent, take effect; how far it has come.
#: `rest_*` is the resting target: what is left of it, the queue ahead of it, whether its level is out of sight.
_ASKED = ("decide", "side", "key", "stop", "target", "size", "hold", "taking", "target_maker")
_TIMES = ("arrive", "cancel_command", "hold_command", "cancel_due", "exit_due", "rest_due")
_STOOD = ("stage", "reason", "retry", "queue", "unseen", "left", "filled", "entry_value", "exited", "exit_value")
_RESTS = ("rest_left", "rest_queue", "rest_unseen", "exit_maker")
_ENDED = ("entry_ms", "exit_ms", "end_ms", "status")

#: A plan as the kernel keeps it.
PLAN = np.dtype([(name, np.int64) for name in _ASKED + _TIMES + _STOOD + _RESTS + _ENDED] + [("funding", np.float64)])


class World(NamedTuple):
    """All state of the kernel, in arrays that it changes in place."""

    state: NDArray[np.int64]
    sides: NDArray[np.int64]
    keys: NDArray[np.int64]
    sizes: NDArray[np.int64]
    watch: NDArray[np.bool_]
    plans: NDArray[Any]
    active: NDArray[np.int64]
    log: NDArray[np.int64]
    fresh: NDArray[np.int64]
    """[rows, side and key]: what the book message being read has changed, while an exit waits for size."""
    funding_ms: NDArray[np.int64]
    funding_rate: NDArray[np.float64]
