"""Features that know too much: what no honest feature of a market can do, a leak does.

The rank correlation (Spearman) of every feature with what comes after its bar is measured on the development rows: with
the close-to-close return over the next bars, and with the net return of a usual order plan of either side. Honest
features of a traded market reach a few hundredths; a label shifted into the past, or a bar that contains its own
future, reach three quarters and more once luck is taken out; strong planted signals at most 0.55 to 0.6. The limit
lies between.

What it cannot tell, and why the limit is not lower: half of what a centred filter is made of is the future, so its
correlation never exceeds √½ = 0.71 (measured on random walks, 3 to 21 bars wide: 0.2 to 0.7 with the next bar). A
planted signal of strength 3 honestly reaches 0.60 to 0.67 with the next bar and 0.77 with the next three. No limit of a
correlation lies between the two, at any horizon: such a filter is shown high on the list of the report, but what
refuses it is ``check-lookahead``, which needs no limit because it compares to the bit.

This finds leaks that *pay*. Whether a value changes when the future is cut off is another test: ``check-lookahead``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.folds import Rows
from training.outcomes import Outcomes

#: Bars ahead over which returns are compared.
HORIZONS = (1,)
#: Pairs below which a correlation says nothing.
MIN_PAIRS = 60

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
    """

    name: str
    ic: float
    low: float
    what: str


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
    found = [_strongest(name, rows.values[:, column], targets) for column, name in enumerate(rows.names)]
    return sorted(found, key=lambda one: (-one.low, -abs(one.ic) if math.isfinite(one.ic) else 0.0, one.name))


def suspects(found: Sequence[Foresight], limit: float) -> list[Foresight]:
    """Those whose foresight is beyond the limit even after luck is taken out."""
    return [one for one in found if one.low > limit]


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
