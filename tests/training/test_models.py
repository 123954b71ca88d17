"""Boosters, and thresholds that belong to the booster they are used with."""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.models import NEVER, Binned, BoosterParams, Lesson, fit, predict, threshold
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


@dataclass(frozen=True)
class Class:
    """Features and what is to be learnt from them."""

    values: np.ndarray
    lesson: Lesson

    @property
    def outcomes(self) -> Outcomes:
        return self.lesson.outcomes

    def fit(self, train: np.ndarray) -> lgb.Booster:
        learnt = self.lesson.labels(train)
        assert learnt is not None
        return fit(Binned(self.values, train, tuple("abcde")), learnt, PARAMS, seed=1)


def _lesson(rows: int = 400, skill: float = 1.0, filled: float = 0.8) -> Class:
    generator = np.random.default_rng(9)
    values = generator.normal(size=(rows, 5))
    values[generator.random(values.shape) < 0.05] = np.nan
    net = 0.001 * (skill * np.nan_to_num(values[:, 2]) + generator.normal(size=rows))
    decide = np.arange(rows, dtype=np.int64) * 60_000
    closed = generator.random(rows) < filled
    outcomes = Outcomes(closed, np.ones(rows, np.bool_), decide + 180_000, np.where(closed, net, 0.0))
    return Class(values, Lesson(decide, outcomes))


def test_a_booster_finds_what_is_there_and_is_the_same_every_time() -> None:
    lesson, train, test = _lesson(), np.arange(300), np.arange(300, 400)
    booster, again = (lesson.fit(train) for _ in range(2))
    assert booster.model_to_string() == again.model_to_string()
    predictions = predict(booster, lesson.values[test])
    won = lesson.outcomes.net_return[test] > 0
    assert predictions[won].mean() > predictions[~won].mean() + 0.05


def test_only_closed_plans_are_labels() -> None:
    lesson, train = _lesson(), np.arange(300)
    changed = lesson.outcomes.net_return.copy()
    changed[~lesson.outcomes.closed] = np.nan
    outcomes = Outcomes(lesson.outcomes.closed, lesson.outcomes.known, lesson.outcomes.end_ms, changed)
    other = Class(lesson.values, Lesson(lesson.lesson.decide_ms, outcomes))
    assert lesson.fit(train).model_to_string() == other.fit(train).model_to_string()


def test_test_rows_have_no_say_in_the_fit() -> None:
    lesson, train = _lesson(), np.arange(200)
    values = lesson.values.copy()
    values[200:] *= 1_000.0
    other = Class(values, lesson.lesson)
    assert lesson.fit(train).model_to_string() == other.fit(train).model_to_string()


def test_features_are_binned_once_for_many_fits() -> None:
    lesson, everything = _lesson(), np.arange(300)
    binned = Binned(lesson.values, everything, tuple("abcde"))
    for train in (everything, everything[50:], everything[::2]):
        learnt = lesson.lesson.labels(train)
        assert learnt is not None
        part = binned.part(*learnt)
        assert part.num_data() == len(learnt[0])
        np.testing.assert_array_equal(part.get_label(), learnt[1])
        # The same bins, whichever rows are used: a fit on a part equals one whose rows alone are weighted.
        own = fit(binned, learnt, PARAMS, seed=1)
        again = fit(binned, learnt, PARAMS, seed=1)
        assert own.model_to_string() == again.model_to_string()


def test_too_few_labels_teach_nothing_and_never_vote() -> None:
    lesson = _lesson()
    assert lesson.lesson.labels(np.arange(30)) is None
    one_sided = Outcomes(
        lesson.outcomes.closed,
        lesson.outcomes.known,
        lesson.outcomes.end_ms,
        np.abs(lesson.outcomes.net_return) + 0.001,
    )
    assert Lesson(lesson.lesson.decide_ms, one_sided).labels(np.arange(300)) is None
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
