"""Boosters, and thresholds that belong to the booster they are used with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.models import NEVER, BoosterParams, Lesson, fit, predict, threshold
from training.outcomes import Outcomes

PARAMS = BoosterParams(
    num_leaves=4,
    learning_rate=0.05,
    rounds=30,
    min_child_share=0.05,
    feature_fraction=0.5,
    bagging_fraction=0.8,
    lambda_l2=1.0,
)


def _lesson(rows: int = 400, skill: float = 1.0, filled: float = 0.8) -> Lesson:
    generator = np.random.default_rng(9)
    values = generator.normal(size=(rows, 5))
    values[generator.random(values.shape) < 0.05] = np.nan
    net = 0.001 * (skill * np.nan_to_num(values[:, 2]) + generator.normal(size=rows))
    decide = np.arange(rows, dtype=np.int64) * 60_000
    closed = generator.random(rows) < filled
    outcomes = Outcomes(closed, np.ones(rows, np.bool_), decide + 180_000, np.where(closed, net, 0.0))
    return Lesson(values, tuple("abcde"), decide, outcomes)


def test_a_booster_finds_what_is_there_and_is_the_same_every_time() -> None:
    lesson, train, test = _lesson(), np.arange(300), np.arange(300, 400)
    booster, again = (fit(lesson, train, PARAMS, seed=1) for _ in range(2))
    assert booster is not None
    assert again is not None
    assert booster.model_to_string() == again.model_to_string()
    predictions = predict(booster, lesson.values[test])
    won = lesson.outcomes.net_return[test] > 0
    assert predictions[won].mean() > predictions[~won].mean() + 0.05


def test_only_closed_plans_are_labels() -> None:
    lesson, train = _lesson(), np.arange(300)
    changed = lesson.outcomes.net_return.copy()
    changed[~lesson.outcomes.closed] = np.nan
    outcomes = Outcomes(lesson.outcomes.closed, lesson.outcomes.known, lesson.outcomes.end_ms, changed)
    other = fit(Lesson(lesson.values, lesson.names, lesson.decide_ms, outcomes), train, PARAMS, seed=1)
    own = fit(lesson, train, PARAMS, seed=1)
    assert own is not None
    assert other is not None
    assert own.model_to_string() == other.model_to_string()


def test_test_rows_have_no_say_in_the_fit() -> None:
    lesson, train = _lesson(), np.arange(200)
    values = lesson.values.copy()
    values[200:] *= 1_000.0
    own = fit(lesson, train, PARAMS, seed=1)
    other = fit(Lesson(values, lesson.names, lesson.decide_ms, lesson.outcomes), train, PARAMS, seed=1)
    assert own is not None
    assert other is not None
    assert own.model_to_string() == other.model_to_string()


def test_too_few_labels_teach_nothing_and_never_vote() -> None:
    lesson = _lesson()
    assert fit(lesson, np.arange(30), PARAMS, seed=1) is None
    one_sided = Outcomes(
        lesson.outcomes.closed,
        lesson.outcomes.known,
        lesson.outcomes.end_ms,
        np.abs(lesson.outcomes.net_return) + 0.001,
    )
    one_class = Lesson(lesson.values, lesson.names, lesson.decide_ms, one_sided)
    assert fit(one_class, np.arange(300), PARAMS, seed=1) is None
    silent = predict(None, lesson.values)
    assert (silent == -np.inf).all()
    assert threshold(silent, 0.1) == NEVER


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_a_threshold_lets_at_most_its_share_through(raw: list[int], share: float) -> None:
    predictions = np.array(raw) / 31
    level = threshold(predictions, share)
    assert (predictions >= level).mean() <= share
    lower = predictions[predictions < level]
    if lower.size:
        # The next lower level would have let too many through.
        assert (predictions >= lower.max()).mean() > share


def test_a_constant_booster_never_votes() -> None:
    assert threshold(np.full(50, 0.6), 0.1) == NEVER
    assert threshold(np.empty(0), 0.1) == NEVER


@pytest.mark.parametrize("labels", [50, 5_000])
def test_the_smallest_leaf_grows_with_the_data(labels: int) -> None:
    assert PARAMS.to_lightgbm(labels, seed=1)["min_child_samples"] == max(5, round(0.05 * labels))
