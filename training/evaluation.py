"""The council as a whole, by its own rule: quorum, opposite votes, median parameters of those who approve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from council import Council, StrategyParams
from training.backtest import Track, follow
from training.folds import Layout, margins
from training.outcomes import Outcomes, Simulator
from training.study import Configuration
from training.voting import votes

#: What was decided on n rows: side, and the parameters of the plan where the side is not 0.
Column = tuple[NDArray[np.int8], Sequence[StrategyParams | None]]


def council_paths(
    council: Council, chosen: Sequence[Configuration], layout: Layout, simulator: Simulator
) -> list[Track]:
    """Out-of-fold track records of the council, one a backtest path.

    Each member speaks on a block through its booster that was not trained on it.

    Parameters
    ----------
    council
        The members of `chosen`, in the same order.
    chosen
        Their configurations.
    layout, simulator
        Development rows and the simulator of their plans.
    """
    columns: list[Column] = []
    for path in _margins(chosen, layout):
        side, member_side = votes(path, council.needed)
        params = [
            council.median_params(tuple(bool(vote == own) for vote in by)) if own else None
            for own, by in zip(side, member_side)
        ]
        columns.append((side, params))
    return follow_columns(columns, layout.rows.decide_ms, simulator)


def council_sides(council: Council, chosen: Sequence[Configuration], layout: Layout) -> list[NDArray[np.int8]]:
    """What the council decides out of fold, on each path: int8[n]."""
    return [votes(path, council.needed)[0] for path in _margins(chosen, layout)]


def _margins(chosen: Sequence[Configuration], layout: Layout) -> NDArray[np.float64]:
    """float64[paths, n, members, 2]"""
    return np.stack([margins(layout, one.predictions, one.share) for one in chosen], axis=2)


def follow_columns(columns: Sequence[Column], decide_ms: NDArray[np.int64], simulator: Simulator) -> list[Track]:
    """Follow columns of decisions, each decision with its own plan; all plans are simulated in one pass."""
    wanted: dict[tuple[int, int, StrategyParams], int] = {}
    for side, params in columns:
        for row in np.flatnonzero(side).tolist():
            own = params[row]
            assert own is not None, "a decision to trade has parameters"
            wanted.setdefault((row, int(side[row]), own), len(wanted))
    keys = sorted(wanted, key=lambda key: key[0])
    place = {key: index for index, key in enumerate(keys)}
    flat = simulator.run(
        np.array([row for row, _, _ in keys], np.int64),
        np.array([side for _, side, _ in keys], np.int8),
        [params for _, _, params in keys],
    )
    return [_follow_column(column, decide_ms, flat, place) for column in columns]


def _follow_column(
    column: Column, decide_ms: NDArray[np.int64], flat: Outcomes, place: dict[tuple[int, int, StrategyParams], int]
) -> Track:
    side, params = column
    count = len(side)
    table = Outcomes(
        closed=np.zeros((count, 2), np.bool_),
        known=np.ones((count, 2), np.bool_),
        end_ms=np.repeat(decide_ms[:, None], 2, axis=1),
        net_return=np.zeros((count, 2)),
    )
    for row in np.flatnonzero(side).tolist():
        own = params[row]
        assert own is not None
        source = place[row, int(side[row]), own]
        which = 0 if side[row] > 0 else 1
        table.closed[row, which] = flat.closed[source]
        table.known[row, which] = flat.known[source]
        table.end_ms[row, which] = flat.end_ms[source]
        table.net_return[row, which] = flat.net_return[source]
    return follow(side, decide_ms, table.closed, table.known, table.end_ms, table.net_return)
