"""Features that know too much: what no honest feature of a market can do, a leak does.

The rank correlation (Spearman) of every feature with what comes after its bar is measured on the development rows: with
the close-to-close return over the next bars, and with the net return of a usual order plan of either side. Honest
features of a traded market reach a few hundredths; a label shifted into the past, or a bar that contains its own
future, reach three quarters and more once luck is taken out; strong planted signals at most 0.55 to 0.6. The limit
lies between.

A centred filter hides from that: half of it is the past, so its correlation never exceeds √½ = 0.71 (on random walks,
3 to 21 bars wide, 0.2 to 0.7 with the next bar), where a planted signal of strength 3 honestly reaches 0.60 to 0.67.
Hence a second question, its *hindsight*: of what the returns of the last bars do not explain of a feature, which share
do the returns of the next bars explain (adjusted R²)? A filter's other half is nothing but those returns. On 40
synthetic markets of 7 hours, from no signal to one of strength 3, no engine feature had more than 0.44 of it, while
moving averages, slopes and triangular filters that look ahead had 0.89 to 1.00, and 0.67 to 0.91 divided by a range.
The bounce between bid and ask of a price that never moves has 0.48.

What neither can tell: a filter reduced to its sign (0.4 to 0.6), one that looks ahead much further than the bars that
are compared, and a future that does not pay. Whether a value changes when the future is cut off is another test, which
needs no limit because it compares to the bit: ``check-lookahead``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.folds import Rows
from training.outcomes import Outcomes

#: Bars ahead over which returns are compared.
HORIZONS = (1,)
#: Pairs below which a correlation says nothing.
MIN_PAIRS = 60
#: Bars before and after a decision whose returns are asked for their share in a feature.
AROUND = 10
#: Rows below which their share says nothing: ten for each return.
MIN_ROWS = 200
#: What is left of a feature after the past, as a share of its variance, below which it is rounding.
_NOTHING = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foresight:
    """How much one feature foretells.

    Attributes
    ----------
    name
        Of the feature.
    ic
        The rank correlation that is furthest from 0; NaN where none could be measured.
    low
        Its absolute value less four standard errors, at least 0: what is left when luck is taken out.
    what
        With which outcome.
    hindsight
        Share, adjusted for chance, of what is new in it that the returns of the next bars explain; NaN where it could
        not be measured. "New" is what the returns of the last bars do not explain.
    """

    name: str
    ic: float
    low: float
    what: str
    hindsight: float = math.nan


def foresight(rows: Rows, close: NDArray[np.int64], table: Outcomes) -> list[Foresight]:
    """What every feature foretells, strongest first.

    Parameters
    ----------
    rows
        Development rows.
    close : int64[n]
        Their closes, ticks.
    table
        Outcomes of a usual plan, ``[n, 2]``.
    """
    targets = _targets(close, table)
    shares = hindsight(rows.values, close, rows.decide_ms)
    found = [
        replace(_strongest(name, rows.values[:, column], targets), hindsight=float(shares[column]))
        for column, name in enumerate(rows.names)
    ]
    return sorted(found, key=lambda one: (-one.low, -abs(one.ic) if math.isfinite(one.ic) else 0.0, one.name))


def suspects(found: Sequence[Foresight], limit: float, most_hindsight: float = math.inf) -> list[Foresight]:
    """Those whose foresight is beyond its limit even after luck is taken out, or whose hindsight is."""
    return [one for one in found if one.low > limit or one.hindsight > most_hindsight]


def hindsight(values: Floats, close: NDArray[np.int64], decide_ms: NDArray[np.int64]) -> Floats:
    """Share of what is new in features that the returns of the next :data:`AROUND` bars explain.

    Parameters
    ----------
    values : float64[n, F]
        Of the features.
    close : int64[n]
        Closes, ticks, above 0.
    decide_ms : int64[n]
        Strictly increasing. Rows next to which a bar is missing are left out: nothing is bridged.

    Returns
    -------
    float64[F]
        Partial R², adjusted for the number of returns; NaN where there are too few rows, or a feature or the market
        never moves.
    """
    shares = np.full(values.shape[1], np.nan)
    around = _around(close, decide_ms)
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(around).all(axis=1))
    known = np.isfinite(values) & whole[:, None]
    # Features that are known on the same rows are asked together.
    masks, group = np.unique(known, axis=1, return_inverse=True)
    for number, rows in enumerate(masks.T):
        if rows.sum() >= MIN_ROWS and (around[rows].std(axis=0) > 0).all():
            own = group.ravel() == number
            shares[own] = _explained(values[np.ix_(rows, own)], around[rows])
    return shares


def _around(close: NDArray[np.int64], decide_ms: NDArray[np.int64]) -> Floats:
    """Returns of the last and, after them, of the next bars: float64[n, 2 AROUND], NaN where a bar is missing."""
    around = np.full((len(close), 2 * AROUND), np.nan)
    steps = np.diff(decide_ms)
    if not len(steps):
        return around
    move = np.where(steps == steps.min(), np.log(close[1:] / close[:-1]), np.nan)
    for lag in range(AROUND):
        around[lag + 1 :, lag] = move[: len(move) - lag]
        around[: len(move) - lag, AROUND + lag] = move[lag:]
    return around


def _explained(features: Floats, around: Floats) -> Floats:
    rows = len(features)
    centred = features - features.mean(axis=0)
    moved = np.ptp(features, axis=0) > 0
    basis, _ = np.linalg.qr(np.column_stack([np.ones(rows), around / around.std(axis=0)]))
    past, future = basis[:, : AROUND + 1], basis[:, AROUND + 1 :]
    fresh = centred - past @ (past.T @ centred)
    rest = fresh - future @ (future.T @ fresh)
    before = (fresh**2).sum(axis=0) / (rows - 1 - AROUND)
    after = (rest**2).sum(axis=0) / (rows - 1 - 2 * AROUND)
    # A feature that the past explains to the last digit has nothing new that could be the future.
    new = before > _NOTHING * centred.var(axis=0)
    return np.where(moved, np.where(new, 1.0 - after / np.where(new, before, 1.0), 0.0), np.nan)


def _targets(close: NDArray[np.int64], table: Outcomes) -> dict[str, Floats]:
    targets = {}
    for bars in HORIZONS:
        ahead = np.full(len(close), np.nan)
        if len(close) > bars:
            ahead[:-bars] = np.log(close[bars:] / close[:-bars])
        targets[f"the return over the next {bars} bar{'s' if bars > 1 else ''}"] = ahead
    for side, name in enumerate(("long", "short")):
        targets[f"the outcome of a {name} plan"] = np.where(table.closed[:, side], table.net_return[:, side], np.nan)
    return targets


def _strongest(name: str, values: Floats, targets: dict[str, Floats]) -> Foresight:
    best = Foresight(name, math.nan, 0.0, "nothing that could be measured")
    for what, target in targets.items():
        both = np.isfinite(values) & np.isfinite(target)
        pairs = int(both.sum())
        if pairs < MIN_PAIRS:
            continue
        ic = _rank_correlation(values[both], target[both])
        low = max(0.0, abs(ic) - 2.0 / math.sqrt(pairs)) if math.isfinite(ic) else 0.0
        if not math.isfinite(best.ic) or low > best.low or (low == best.low and abs(ic) > abs(best.ic)):
            best = Foresight(name, ic, low, what)
    return best


def _rank_correlation(one: Floats, other: Floats) -> float:
    mine, theirs = _ranks(one), _ranks(other)
    if np.ptp(mine) == 0 or np.ptp(theirs) == 0:
        return math.nan
    return float(np.corrcoef(mine, theirs)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks, ties sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(counts)
    mean: Floats = (after - (counts - 1) / 2.0)[place]
    return mean
