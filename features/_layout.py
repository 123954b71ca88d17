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
#: A bit for each of these words, in words: set when it is not 0.
SUMMARY = WORDS >> 6

# --- the book: one block a side, bids first -----------------------------------------------------------------
BITS = WINDOW  # after the ladder's sizes
TOPS = BITS + WORDS
BEST = TOPS + SUMMARY  # key of the best level; NOWHERE when there is none
LOW = BEST + 1  # first key of the ladder's window; NOWHERE when there is none
FAR = BEST + 2  # levels beyond the window
BLOCK = TOPS + 16

#: Levels a side whose order flow is followed.
TOP = 10
#: Trades are compared with the mid five to six seconds later, for which this many seconds are remembered.
SETTLE_SECONDS = 6
SETTLE_SLOTS = 8
#: A side that a trade took from is watched for this long, ms.
REFILL_MS = 1_000
#: No time, and no value of a ticker.
FAR_MS = 1 << 62
UNKNOWN = -(1 << 62)
#: An index and this is the index, and the compiler knows that it does not count from the end.
NO_WRAP = (1 << 40) - 1
#: Key of no level, worse than all.
NOWHERE = 1 << 60

#: Silence of a trusted book beyond which nothing is carried on, ms (FAIL-35).
HOLE_MS = 3_600_000

# --- ints: the state ----------------------------------------------------------------------------------------
CLOCK = 0  # running maximum of exchange time; -1 before the first event
OPEN_MS = 1  # open of the current bar
KNOWN = 2  # the book is known
LAST_BOOK = 3  # clock at the last trusted book message; -1 before any
NEXT_STOP = 4  # the next instant at which more is to be done than to set the clock
NEXT_SAMPLE = 5  # the next instant at which the book is looked at
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
CLOSE_MS = 31  # close of the current bar; FAR_MS while nobody knows
NEXT_SECOND = 32  # the next whole second that the clock will reach
LAST_TRADE = 33  # clock at the last trade; -1 before any
HIT_MS = 34  # clock at the last trade that took from the bids, and from the asks
LOOKED = 26  # looks at the book whose metrics have not been computed
SAMPLED = 27  # samples that do not count in the means yet
LAST_DOUBLE_MID = 25  # at the last whole second; 0 when unknown
MARK = 36  # the five below are what tickers say; UNKNOWN where they do not
INDEX = 37
OPEN_INTEREST = 38
FUNDING_RATE = 39
NEXT_FUNDING = 40
TICKER_MS = 41  # clock at the last ticker
HAD_TOP = 42  # the levels below are those of the last book that was looked at
TOP_KEYS = 43  # of the bids, then of the asks
TOP_SIZES = TOP_KEYS + 2 * TOP
SETTLE = TOP_SIZES + 2 * TOP  # for the trades of each of the last seconds: sums of s * size and of s * size * price
SETTLE_SIZE = SETTLE + 2 * SETTLE_SLOTS  # and of size
BAR_SUMS = SETTLE_SIZE + SETTLE_SLOTS  # from here on: sums of the current bar
ADDED = BAR_SUMS  # size added to bids and to asks
REMOVED = BAR_SUMS + 2
REFILLED = BAR_SUMS + 4  # size added to a side soon after a trade took from it
SIGN = BAR_SUMS + 5  # of the last trade; 0 before the first
PAIRS = BAR_SUMS + 6  # trades that follow another one
AGREEING = BAR_SUMS + 7  # sum of s * s before
SETTLED = BAR_SUMS + 8  # size of the trades whose later mid is known
QUOTED = BAR_SUMS + 9  # size of the trades whose mid is known
MOVES = BAR_SUMS + 10  # one-second returns
LIQUIDATED = BAR_SUMS + 11  # size of liquidated longs, and of shorts
COUNTED = BAR_SUMS + 13  # of what was added to a side: how much REFILLED has seen
LEVEL_FLOW = BAR_SUMS + 15  # order flow of each of the best levels
INTS = LEVEL_FLOW + TOP

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
SPREADS = 16  # the metrics before this one have a standard deviation too
BEST_DEPTH = 16
PRESSURE = 17  # four of them: within 5, 10, 25 and 50 bps
WEIGHTED_MID = 21  # two of them: of 5 and 10 levels
TOP_DEPTH = 23
METRICS = 24

# --- floats: the state --------------------------------------------------------------------------------------
NOW = 0  # METRICS values of the book as it stands
MEAN = METRICS  # the means of the samples in the current bar
SQUARES = 2 * METRICS  # and sums of squared deviations
WEIGHT = 3 * METRICS  # samples in the current bar
FLOW_SHARES = WEIGHT + 1  # sums of the messages' flows as shares, and of their squares
FLOW_SQUARES = WEIGHT + 2
FLOW_LAST = WEIGHT + 3
FLOW_SUM = WEIGHT + 4
EFFECTIVE = WEIGHT + 5  # sums of size * spread paid, and of size * spread kept
REALISED = WEIGHT + 6
SQUARED_MOVES = WEIGHT + 7  # sums over one-second returns
PAIRED_MOVES = WEIGHT + 8
LAST_MOVE = WEIGHT + 9  # the last one-second return, and the log mid that it led to; NaN when unknown
LAST_LOG_MID = WEIGHT + 10
FLOATS = WEIGHT + 11

# --- looks at the book, whose metrics are computed together: one row a quantity, one column a look -----------
LOOKS = 64
# Rows of a side, bids first: size of the 1, 5, 10, 50 best levels and of all; sums of size * distance down to 5, 10 and
# all levels, of cumulative size * distance and of squared distance; size within 5, 10, 25 and 50 bps; distance of the
# last level; levels. Distances are from the mid, in half ticks.
SIZE_1, SIZE_5, SIZE_10, SIZE_50, SIZE_ALL, DISTANCE_5, DISTANCE_10, DISTANCE_ALL, DEPTH_DISTANCE, SQUARED = (
    row * LOOKS for row in range(10)
)
WITHIN_5, WITHIN_10, WITHIN_25, WITHIN_50, LAST, USED = (row * LOOKS for row in range(10, 16))
SIDE = 16 * LOOKS
DOUBLE_MID = 2 * SIDE  # sum of the best prices
FIRST = DOUBLE_MID + LOOKS  # distance of the best levels
SAMPLE_LOOK = FIRST + LOOKS  # of each sample: 1 + column of its look, 0 for the metrics as they were
SAMPLE_WEIGHT = SAMPLE_LOOK + LOOKS
LOOK_ROWS = SAMPLE_WEIGHT // LOOKS + 1
#: Working space for metrics: one row a metric, then one row a look, of which the first one is the book as it was.
TURNED = METRICS * LOOKS
METRICS_ROOM = TURNED + METRICS * (LOOKS + 1)

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
RAW_CLOSE_MS = 13
RAW_FRAMES = 14
RAW_SINCE_TRADE = 15  # ms; -1 before any
RAW_SUMS = 16  # then what lies from BAR_SUMS on, up to LEVEL_FLOW
RAW_ADDED, RAW_REMOVED, RAW_REFILLED = RAW_SUMS, RAW_SUMS + 2, RAW_SUMS + 4
RAW_PAIRS, RAW_AGREEING = RAW_SUMS + 6, RAW_SUMS + 7
RAW_LIQUIDATED = RAW_SUMS + 11
RAW_INTS = RAW_SUMS + LEVEL_FLOW - BAR_SUMS

# --- raw bars: float columns: METRICS means, standard deviations and last values, then the rest --------------
RAW_FLOW_MEAN = 3 * METRICS
RAW_FLOW_STD = RAW_FLOW_MEAN + 1
RAW_FLOW_LAST = RAW_FLOW_MEAN + 2
RAW_FLOW_SUM = RAW_FLOW_MEAN + 3
RAW_EFFECTIVE = RAW_FLOW_MEAN + 4
RAW_REALISED = RAW_FLOW_MEAN + 5
RAW_VOLATILITY = RAW_FLOW_MEAN + 6
RAW_BIPOWER = RAW_FLOW_MEAN + 7
RAW_JUMPS = RAW_FLOW_MEAN + 8
RAW_LOG_MICROPRICE = RAW_FLOW_MEAN + 9
RAW_BASIS = RAW_FLOW_MEAN + 10
RAW_OPEN_INTEREST = RAW_FLOW_MEAN + 11
RAW_FUNDING = RAW_FLOW_MEAN + 12
RAW_TO_FUNDING = RAW_FLOW_MEAN + 13
RAW_LEVEL_FLOW = RAW_FLOW_MEAN + 14
RAW_FLOATS = RAW_LEVEL_FLOW + TOP


def source_stamp(*names: str) -> str:
    """Hash of modules of this folder.

    Numba's cache notices a change only in the file of the function that it caches, yet the values that a function
    closes over are part of its key: a cached kernel that closes over the stamp of all the code that goes into it can
    never be a stale one. The helpers are not cached by themselves.
    """
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in names)).hexdigest()
