"""The council's own vote on out-of-fold signals, whose thresholds differ from block to block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from council import count_votes


def votes(margins: NDArray[np.float64], needed: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Count votes by the council's rule.

    Parameters
    ----------
    margins : float64[n, members, 2]
        Probability minus threshold of long and short.
    needed
        Votes that a side needs.

    Returns
    -------
    side : int8[n]
        +1, -1, or 0 for no trade.
    member_side : int8[n, members]
    """
    side, _, member_side = count_votes(margins, np.zeros((margins.shape[1], 2)), needed)
    return side, member_side


def member_sides(margins: NDArray[np.float64]) -> list[NDArray[np.int8]]:
    """What one member alone does on each path: int8[n] for each of ``float64[paths, n, 2]``."""
    return [votes(path[:, None, :], 1)[0] for path in margins]
