"""The walker against LightGBM itself, bit by bit, and what the parser refuses."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from council import TreeModel
from market.errors import BundleError
from tests.council.conftest import booster, constant, market

KINDS: dict[str, dict[str, object]] = {
    "gbdt": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "deep": {"num_leaves": 63, "min_data_in_leaf": 2},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "goss": {"data_sample_strategy": "goss"},
    "bagging": {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5, "extra_trees": True},
    "steep link": {"sigmoid": 0.7, "lambda_l2": 3.0, "scale_pos_weight": 4.0},
    "path smoothing": {"path_smooth": 5.0, "max_depth": 3, "learning_rate": 0.37},
    "trunk only": {"min_data_in_leaf": 10_000},
}
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 1.0000000180025095e-35, 1.1e-35, 5e-324, 1e308]


def hard_rows(model: TreeModel, seed: int, rows: int = 500) -> np.ndarray:
    """Rows that fall on thresholds, next to them, on oddities, and anywhere."""
    rng = np.random.default_rng(seed)
    finite = model.threshold[np.isfinite(model.threshold)]
    pool = np.concatenate(
        [finite, np.nextafter(finite, np.inf), np.nextafter(finite, -np.inf), ODD, rng.normal(size=50)]
    )
    return rng.choice(pool, size=(rows, len(model.feature_names)))


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return np.array_equal(np.asarray(left).view(np.int64), np.asarray(right).view(np.int64))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_walker_equals_lightgbm_to_the_bit(kind: str, seed: int) -> None:
    trained = booster(seed, features=6, **KINDS[kind])
    model = TreeModel.from_booster(trained)
    for rows in (market(seed + 50, features=6)[0], hard_rows(model, seed)):
        walked = model.predict(rows)
        assert same_bits(walked, trained.predict(rows, num_threads=1))
        assert same_bits(walked, lgb.Booster(model_str=model.text).predict(rows, num_threads=1))
        one_by_one = np.concatenate([model.predict(row[np.newaxis]) for row in rows[:50]])
        assert same_bits(one_by_one, walked[:50])


@given(seed=st.integers(0, 2**31 - 1), leaves=st.integers(2, 40), trees=st.integers(1, 12), zero=st.booleans())
@settings(max_examples=25, deadline=None)
def test_walker_equals_lightgbm_on_random_models(seed: int, leaves: int, trees: int, zero: bool) -> None:
    trained = booster(seed, trees, 4, num_leaves=leaves, min_data_in_leaf=1 + seed % 30, zero_as_missing=zero)
    model = TreeModel.from_booster(trained)
    rows = hard_rows(model, seed, 200)
    assert same_bits(model.predict(rows), trained.predict(rows, num_threads=1))


def test_model_stops_at_its_best_iteration() -> None:
    trained = booster(1, 20)
    trained.best_iteration = 7
    rows, _ = market(2)
    assert TreeModel.from_booster(trained).roots.size == 7
    assert same_bits(TreeModel.from_booster(trained).predict(rows), trained.predict(rows))


def test_link_equals_lightgbm_over_its_range() -> None:
    for probability in np.linspace(1e-9, 1 - 1e-9, 301):
        model = constant(float(probability), 1)
        assert same_bits(model.predict([[0.0]]), lgb.Booster(model_str=model.text).predict([[0.0]]))


def test_rows_of_another_width_are_refused() -> None:
    model = constant(0.5)
    for values in ([[0.0, 1.0]], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="do not fit 3 features"):
            model.predict(values)


def test_models_are_equal_by_text() -> None:
    assert constant(0.5) == constant(0.5)
    assert len({constant(0.5), constant(0.5), constant(0.6)}) == 2


def _other_kinds() -> dict[str, str]:
    values, wins = market(1)
    quiet = {"verbose": -1, "num_threads": 1}

    def text(labels: np.ndarray, **params: object) -> str:
        table = lgb.Dataset(values, labels, params={**quiet, **params})
        return str(lgb.train({**quiet, **params}, table, 3).model_to_string())

    codes = np.abs(np.nan_to_num(values) * 5).astype(int).astype(float)
    table = lgb.Dataset(codes, wins, categorical_feature=[0, 1, 2], params=quiet)
    categorical = lgb.train({**quiet, "objective": "binary", "min_data_per_group": 1}, table, 3).model_to_string()
    forest = {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}
    return {
        "objective": text(wins, objective="regression"),
        "several classes": text(np.arange(wins.size) % 3, objective="multiclass", num_class=3),
        "averaged": text(wins, objective="binary", **forest),
        "linear leaves": text(wins, objective="binary", linear_tree=True),
        "categorical": str(categorical),
    }


def test_other_kinds_of_models_are_refused() -> None:
    for reason, text in _other_kinds().items():
        with pytest.raises(BundleError, match=reason):
            TreeModel.parse(text)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version=v4", "version=v9", "v9"),
        ("num_class=1\n", "", "num_class is missing"),
        ("end of trees", "", "ends before"),
        ("Tree=1\n", "Tree=2\n", "tree 1 is missing"),
        ("tree_sizes=", "tree_sizes=1 ", "trees are missing"),
        ("sigmoid:1", "sigmoid:-1", "steepness"),
        ("max_feature_idx=2", "max_feature_idx=7", "names 3 features"),
        ("left_child=", "left_child=0 ", "numbers expected"),
        ("leaf_value=", "leaf_value=x", "could not convert"),
        ("num_leaves=7", "num_leaves=70", "numbers expected"),
        ("feature_names=", "max_feature_idx=99999999999999999999\nfeature_names=", "names 3 features"),
    ],
)
def test_damaged_text_is_refused(old: str, new: str, reason: str) -> None:
    text = str(booster(1).model_to_string())
    assert old in text
    with pytest.raises(BundleError, match=reason):
        TreeModel.parse(text.replace(old, new, 1))


@pytest.mark.parametrize("field", ["split_feature", "left_child", "right_child", "decision_type"])
@pytest.mark.parametrize("value", ["-7", "0", "1", "6", "99", "-99", "99999999999"])
def test_no_index_leads_out_of_the_arrays_or_in_circles(field: str, value: str) -> None:
    lines = str(booster(1).model_to_string()).splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith(field))
    words = lines[at].partition("=")[2].split()
    for place in range(len(words)):
        changed = [*words[:place], value, *words[place + 1 :]]
        text = "\n".join([*lines[:at], f"{field}={' '.join(changed)}", *lines[at + 1 :]])
        try:
            model = TreeModel.parse(text)
        except BundleError:
            continue
        assert np.all(np.isfinite(model.predict(market(5)[0])))


def test_leaves_and_thresholds_are_numbers() -> None:
    text = str(booster(1).model_to_string())
    for field, word in (("leaf_value", "inf"), ("leaf_value", "nan"), ("threshold", "nan")):
        start = text.index(f"{field}=") + len(field) + 1
        end = text.index(" ", start)
        with pytest.raises(BundleError, match=r"not finite|not a number"):
            TreeModel.parse(text[:start] + word + text[end:])
