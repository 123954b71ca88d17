"""Out-of-fold predictions: who speaks where, and what nobody may know."""

from __future__ import annotations

import numpy as np
import pytest

from training.folds import (
    Folds,
    Layout,
    Rows,
    Splitter,
    deployed_threshold,
    margins,
    out_of_fold,
    ranking,
    realized_shares,
)
from training.models import BoosterParams, threshold
from training.outcomes import Outcomes
from training.splits import CombinatorialPurgedSplit, WalkForwardSplit

ROWS = 600
PARAMS = BoosterParams(4, 0.1, 8, 0.05, 1.0, 1.0, 1.0)


def _data(seed: int = 1) -> tuple[np.ndarray, Outcomes]:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(ROWS, 4))
    net = np.column_stack([values[:, 0], -values[:, 0]]) + generator.normal(size=(ROWS, 2))
    closed = generator.random((ROWS, 2)) < 0.8
    end_ms = np.arange(ROWS, dtype=np.int64)[:, None] * 10 + generator.integers(5, 60, (ROWS, 2))
    return values, Outcomes(closed, np.ones_like(closed), end_ms, np.where(closed, 0.01 * net, 0.0))


def _layout(values: np.ndarray, splitter: Splitter) -> Layout:
    return Layout(Rows(values, tuple("abcd"), np.arange(ROWS, dtype=np.int64) * 10), splitter)


def _run(layout: Layout, table: Outcomes) -> Folds:
    return out_of_fold(layout, table, PARAMS, seed=3)


def test_every_path_speaks_on_every_row_and_skill_shows() -> None:
    values, table = _data()
    layout = _layout(values, CombinatorialPurgedSplit(6, 2, 20))
    folds = _run(layout, table)
    assert folds.done == 5
    assert np.isfinite(folds.predictions).all()
    for path in folds.predictions:
        assert np.corrcoef(path[:, 0], values[:, 0])[0, 1] > 0.4
        assert np.corrcoef(path[:, 1], values[:, 0])[0, 1] < -0.4
    for share in (0.05, 0.2):
        assert abs(np.nanmean(realized_shares(layout, folds.predictions, share)) - share) < 0.03
        level = deployed_threshold(folds.predictions, 0, share)
        assert share - 0.02 < (folds.predictions[:, :, 0] >= level).mean() <= share
        # One ranking serves all shares, and is what each block's threshold is set on.
        found = margins(layout, folds.predictions, share, 2, ranking(layout, folds.predictions))
        for block, rows in enumerate(layout.blocks):
            own = threshold(layout.unseen(folds.predictions, block, 1), share)
            np.testing.assert_array_equal(found[:, rows, 1], folds.predictions[:2, rows, 1] - own)


def test_paths_are_finished_one_after_the_other_and_a_stop_saves_the_rest() -> None:
    values, table = _data()
    layout = _layout(values, CombinatorialPurgedSplit(6, 2, 20))
    assert [len(batch) for batch in layout.order()] == [5, 4, 3, 2, 1]
    seen: list[int] = []

    def go_on(folds: Folds) -> bool:
        seen.append(folds.done)
        assert np.isfinite(folds.predictions[: folds.done]).all()
        return folds.done < 2

    folds = out_of_fold(layout, table, PARAMS, seed=3, go_on=go_on)
    assert seen == [1, 2]
    assert folds.done == 2
    whole = _run(layout, table)
    np.testing.assert_array_equal(folds.predictions[:2], whole.predictions[:2])
    assert np.isnan(folds.predictions[4]).any()
    assert margins(layout, folds.predictions, 0.1, 2).shape == (2, ROWS, 2)


@pytest.mark.parametrize("splitter", [CombinatorialPurgedSplit(6, 2, 20), CombinatorialPurgedSplit(5, 1, 20)])
def test_a_blocks_own_answers_change_nothing_of_what_is_said_on_it(splitter: CombinatorialPurgedSplit) -> None:
    values, table = _data()
    layout = _layout(values, splitter)
    block = layout.blocks[2]
    before = _run(layout, table)
    flipped = table.net_return.copy()
    flipped[block] *= -1.0
    after = _run(_layout(values, splitter), Outcomes(table.closed, table.known, table.end_ms, flipped))
    np.testing.assert_array_equal(before.predictions[:, block], after.predictions[:, block])
    assert not np.array_equal(before.predictions, after.predictions)
    if splitter.test_groups > 1:  # with one test block a split, thresholds must come from boosters that saw it
        np.testing.assert_array_equal(
            margins(layout, before.predictions, 0.1)[:, block], margins(layout, after.predictions, 0.1)[:, block]
        )


def test_a_walk_forward_knows_nothing_of_what_comes_later() -> None:
    values, table = _data()
    splitter = WalkForwardSplit(6, first=2, embargo_ms=20)
    layout = _layout(values, splitter)
    assert layout.testers.tolist() == [[-1, -1, 0, 1, 2, 3]]
    before = _run(layout, table)
    assert before.predictions.shape == (1, ROWS, 2)
    assert np.isnan(before.predictions[:, : layout.blocks[2].start]).all()
    assert np.isfinite(before.predictions[:, layout.blocks[2].start :]).all()
    cut = layout.blocks[4].start
    other, changed = values.copy(), table.net_return.copy()
    other[cut:] = np.random.default_rng(9).normal(5.0, 3.0, other[cut:].shape)
    changed[cut:] *= -1.0
    later = _layout(other, splitter)
    after = _run(later, Outcomes(table.closed, table.known, table.end_ms, changed))
    np.testing.assert_array_equal(before.predictions[:, :cut], after.predictions[:, :cut])
    one, two = margins(layout, before.predictions, 0.1), margins(later, after.predictions, 0.1)
    np.testing.assert_array_equal(one[:, :cut], two[:, :cut])
    # The first block that is spoken on has no earlier predictions to set a threshold on: nothing is traded there.
    assert (one[:, : layout.blocks[3].start] < 0).all()
    assert 0.02 < (one[:, layout.blocks[3].start :] >= 0).mean() < 0.25
