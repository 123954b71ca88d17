"""Where things lie in the engine's arrays: the compiled code has no attributes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import njit

#: Compiles a helper of a kernel. Without Numba's reference counts: they cost more than the book itself, and nothing
#: here allocates. With NumPy's division, which gives NaN or infinity instead of raising in mid-state.
helper = njit(error_model="numpy", _nrt=False)
#: The same for what runs at every event.
inlined = njit(error_model="numpy", _nrt=False, forceinline=True)

#: Ticks of the book's ladder on each side; a power of two.
WINDOW = 1 << 14
#: Its occupancy bitmap, in words of 64 ticks.
WORDS = WINDOW >> 6

#: Silence of a trusted book beyond which nothing is carried on, ms (FAIL-35).
HOLE_MS = 3_600_000

# --- ints: the state ----------------------------------------------------------------------------------------
CLOCK = 0  # running maximum of exchange time; -1 before the first event
OPEN_MS = 1  # open of the current bar
KNOWN = 2  # the book is known
LAST_BOOK = 3  # clock at the last trusted book message; -1 before any
NEAR = 4  # levels in the ladder: bids here, asks in the next slot, and so for the three below
BEST = 25  # key of the best level; anything when there is none
LOW = 27  # first key of the ladder's window
FAR = 29  # levels beyond the window
DIRTY = 6  # the book changed since the metrics were computed
FRESH = 7  # the metrics describe a two-sided book
SUSPECT = 8  # a suspect window touches the current bar
RESET = 9  # a hole was met since the last closed bar
LAST_PRICE = 10  # of a trade; -1 unknown
BAR_OPEN = 11
BAR_HIGH = 12
BAR_LOW = 13
VOLUME = 14
BUY_VOLUME = 15
TURNOVER = 16  # sum of price * size
TRADES = 17
HAD_BEST = 18  # the four below are the best levels after the last message
OLD_BID = 19
OLD_BID_SIZE = 20
OLD_ASK = 21
OLD_ASK_SIZE = 22
FRAMES = 23  # messages with an order flow, in the current bar
BAR_CLOSE = 24
INTS = 31

# --- metrics of the book, in the order of features.catalogue ------------------------------------------------
SPREAD = 0
IMBALANCE = 1  # five of them: 1, 5, 10, 50 and all levels
DEPTH_LOG_RATIO = 6
MICROPRICE = 7
SLOPE = 8
SLOPE_SKEW = 9
ELASTICITY = 10
ELASTICITY_SKEW = 11
INTEGRITY = 12
INTEGRITY_SKEW = 13
DEPTH_SKEW = 14
LOG_DEPTH = 15
BEST_DEPTH = 16
METRICS = 17

# --- floats: the state --------------------------------------------------------------------------------------
NOW = 0  # METRICS values of the book as it stands
MEAN = METRICS  # their time-weighted means in the current bar
SQUARES = 2 * METRICS  # and weighted sums of squared deviations
WEIGHT = 3 * METRICS  # known time in the current bar, ms
FLOW_MEAN = WEIGHT + 1
FLOW_SQUARES = WEIGHT + 2
FLOW_LAST = WEIGHT + 3
FLOW_SUM = WEIGHT + 4
FLOATS = WEIGHT + 5

# --- raw bars: integer columns ------------------------------------------------------------------------------
RAW_OPEN_MS = 0
RAW_OPEN = 1
RAW_HIGH = 2
RAW_LOW = 3
RAW_CLOSE = 4
RAW_VOLUME = 5
RAW_BUY_VOLUME = 6
RAW_TURNOVER = 7
RAW_TRADES = 8
RAW_BID = 9
RAW_ASK = 10
RAW_SUSPECT = 11
RAW_RESET = 12
RAW_INTS = 13

# --- raw bars: float columns: METRICS means, standard deviations and last values, then the order flow -------
RAW_FLOW_MEAN = 3 * METRICS
RAW_FLOW_STD = RAW_FLOW_MEAN + 1
RAW_FLOW_LAST = RAW_FLOW_MEAN + 2
RAW_FLOW_SUM = RAW_FLOW_MEAN + 3
RAW_FLOATS = RAW_FLOW_MEAN + 4


def source_stamp(*names: str) -> str:
    """Hash of modules of this folder.

    Numba's cache notices a change only in the file of the function that it caches, yet the values that a function
    closes over are part of its key: a cached kernel that closes over the stamp of all the code that goes into it can
    never be a stale one. The helpers are not cached by themselves.
    """
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in names)).hexdigest()
