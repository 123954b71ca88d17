"""LightGBM text models, read and evaluated without LightGBM.

A model is its text. The parser takes the part of the format that PurpleSky trains (binary objective, numerical splits,
constant leaves) and refuses the rest; it checks every index, so that a damaged text is an error and never a crash. The
compiled walker repeats the arithmetic of ``Booster.predict`` step by step (LightGBM 4.7: ``Tree::NumericalDecision``,
``GBDT::PredictRaw``, ``BinaryLogloss::ConvertOutput``): the probabilities are the same doubles, for one row or many,
and no thread pool is woken for a single row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from market.errors import BundleError

#: LightGBM's ``kZeroThreshold``, a C float: what is not further from 0 than this is 0.
_ZERO = float(np.float32(1e-35))

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2

# What the walker needs to know of a node, in one byte.
_NAN_LEFT, _ZERO_IS_NAN = 1, 2

Int32s = npt.NDArray[np.int32]
Float64s = npt.NDArray[np.float64]


class HasModelText(Protocol):
    """What a ``lightgbm.Booster`` is here."""

    def model_to_string(self) -> str:
        """The model as LightGBM's text."""
        ...


@dataclass(frozen=True, eq=False)
class TreeModel:
    """One binary LightGBM model: a probability from a feature vector.

    Attributes
    ----------
    text
        The model in LightGBM's text format; two models are equal when their texts are.
    feature_names
        As the text names them, in the order of the model's input.
    sigmoid
        Steepness of the link.
    feature, threshold, flags, left, right
        Per split node: input column, threshold, missing-value rule, children. A child ``>= 0`` is a node, a child
        ``< 0`` is leaf ``~child``.
    leaf
        Values of the leaves.
    roots
        Per tree: its root, in the same code as a child.
    """

    text: str
    feature_names: tuple[str, ...] = field(repr=False)
    sigmoid: float
    feature: Int32s = field(repr=False)
    threshold: Float64s = field(repr=False)
    flags: npt.NDArray[np.uint8] = field(repr=False)
    left: Int32s = field(repr=False)
    right: Int32s = field(repr=False)
    leaf: Float64s = field(repr=False)
    roots: Int32s = field(repr=False)

    @classmethod
    def from_booster(cls, booster: HasModelText) -> TreeModel:
        """The model of a trained ``lightgbm.Booster``, up to its best iteration if it has one."""
        return cls.parse(booster.model_to_string())

    @classmethod
    def parse(cls, text: str) -> TreeModel:
        """Read a model's text.

        Raises
        ------
        BundleError
            The text is damaged, or of a kind that PurpleSky does not train: another objective, several classes,
            categorical splits, linear leaves, averaged trees.
        """
        try:
            return _parse(text)
        except (KeyError, ValueError, OverflowError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise BundleError(
                f"a model text cannot be used: {reason}",
                advice="Train the council again, or fetch its bundle from the registry again",
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeModel) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def predict(self, values: npt.ArrayLike) -> Float64s:
        """Probabilities, equal to the bit to ``Booster.predict``.

        Parameters
        ----------
        values
            ``float64[n, F]``, F the model's features in its own order; NaN where unknown.
        """
        rows = np.ascontiguousarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise ValueError(f"values of shape {rows.shape} do not fit {len(self.feature_names)} features")
        return Forest.of([self], np.arange(rows.shape[1])).probabilities(rows)[:, 0]


@dataclass(frozen=True, eq=False)
class Forest:
    """Models laid end to end, so that one compiled call evaluates all of them on a row."""

    feature: Int32s
    threshold: Float64s
    flags: npt.NDArray[np.uint8]
    left: Int32s
    right: Int32s
    leaf: Float64s
    roots: Int32s
    first_tree: Int32s
    sigmoid: Float64s

    @classmethod
    def of(cls, models: Sequence[TreeModel], columns: npt.ArrayLike) -> Forest:
        """Join models.

        Parameters
        ----------
        models
            Models of the same features.
        columns
            ``int[F]``: where a model's feature stands in the vector that will be given.
        """
        where = np.asarray(columns, dtype=np.int32)
        nodes = np.concatenate([[0], np.cumsum([model.feature.size for model in models])])
        leaves = np.concatenate([[0], np.cumsum([model.leaf.size for model in models])])

        def shifted(children: Int32s, index: int) -> Int32s:
            return _shift(children, nodes[index], leaves[index])

        return cls(
            feature=np.concatenate([where[model.feature] for model in models]),
            threshold=np.concatenate([model.threshold for model in models]),
            flags=np.concatenate([model.flags for model in models]),
            left=np.concatenate([shifted(model.left, i) for i, model in enumerate(models)]),
            right=np.concatenate([shifted(model.right, i) for i, model in enumerate(models)]),
            leaf=np.concatenate([model.leaf for model in models]),
            roots=np.concatenate([shifted(model.roots, i) for i, model in enumerate(models)]),
            first_tree=np.concatenate([[0], np.cumsum([model.roots.size for model in models])]).astype(np.int32),
            sigmoid=np.array([model.sigmoid for model in models], dtype=np.float64),
        )

    def probabilities(self, rows: Float64s) -> Float64s:
        """``float64[n, models]`` of ``rows`` (``float64[n, *]``, C order)."""
        out = np.empty((rows.shape[0], self.sigmoid.size), dtype=np.float64)
        _walk(
            rows,
            self.feature,
            self.threshold,
            self.flags,
            self.left,
            self.right,
            self.leaf,
            self.roots,
            self.first_tree,
            self.sigmoid,
            out,
        )
        return out


@njit(cache=True)
def _walk(  # type: ignore[no-untyped-def]
    rows, feature, threshold, flags, left, right, leaf, roots, first_tree, sigmoid, out
):
    """Probabilities of all models on all rows, in LightGBM's order of summation."""
    clean = np.empty_like(rows)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            # The row reader of LightGBM drops such values before a tree sees them.
            clean[i, j] = 0.0 if abs(rows[i, j]) <= _ZERO else rows[i, j]
    # Model by model: its trees stay in the cache while the rows pass.
    for model in range(sigmoid.size):
        for i in range(rows.shape[0]):
            score = 0.0
            for tree in range(first_tree[model], first_tree[model + 1]):
                node = roots[tree]
                while node >= 0:
                    value = clean[i, feature[node]]
                    if np.isnan(value) or (value == 0.0 and flags[node] & _ZERO_IS_NAN):
                        goes_left = (flags[node] & _NAN_LEFT) != 0
                    else:
                        goes_left = value <= threshold[node]
                    node = left[node] if goes_left else right[node]
                score += leaf[~node]
            out[i, model] = 1.0 / (1.0 + math.exp(-sigmoid[model] * score))


def _parse(text: str) -> TreeModel:
    body, end, _ = text.partition("\nend of trees")
    if not end:
        raise ValueError("it ends before 'end of trees'")
    head, *trees = body.split("\nTree=")
    header = _fields(head)
    sigmoid = _check_header(header)
    names = tuple(header["feature_names"].split())
    if len(names) != int(header["max_feature_idx"]) + 1:
        raise ValueError(f"it names {len(names)} features and reads {int(header['max_feature_idx']) + 1}")
    if len(header.get("tree_sizes", "").split()) != len(trees):
        raise ValueError("trees are missing")
    parts = [_parse_tree(tree, index, len(names)) for index, tree in enumerate(trees)]
    nodes = np.cumsum([0] + [part["feature"].size for part in parts])
    leaves = np.cumsum([0] + [part["leaf"].size for part in parts])

    def joined(name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
        return np.concatenate([np.empty(0, kind), *(part[name] for part in parts)]).astype(kind)

    def children(name: str) -> Int32s:
        moved = [_shift(part[name], nodes[i], leaves[i]) for i, part in enumerate(parts)]
        return np.concatenate([np.empty(0, np.int32), *moved])

    return TreeModel(
        text=text,
        feature_names=names,
        sigmoid=sigmoid,
        feature=joined("feature", np.int32),
        threshold=joined("threshold", np.float64),
        flags=joined("flags", np.uint8),
        left=children("left"),
        right=children("right"),
        leaf=joined("leaf", np.float64),
        roots=children("root"),
    )


def _shift(children: npt.NDArray[Any], nodes: int, leaves: int) -> Int32s:
    """Child codes after ``nodes`` nodes and ``leaves`` leaves were put before them."""
    moved: Int32s = np.where(children >= 0, children + nodes, children - leaves).astype(np.int32)
    return moved


def _fields(block: str) -> dict[str, str]:
    """``key=value`` lines; a line without ``=`` is a key without value."""
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}


def _check_header(header: Mapping[str, str]) -> float:
    """Refuse what the walker does not do; the link's steepness."""
    if header["version"] != "v4":
        raise ValueError(f"its format is {header['version']}, not v4")
    if header["num_class"] != "1" or header["num_tree_per_iteration"] != "1":
        raise ValueError("it has several classes")
    if "average_output" in header:
        raise ValueError("its trees are averaged")
    name, *options = header["objective"].split()
    if name != "binary":
        raise ValueError(f"its objective is {name}, not binary")
    sigmoid = float(dict(option.partition(":")[::2] for option in options)["sigmoid"])
    if not (math.isfinite(sigmoid) and sigmoid > 0):
        raise ValueError(f"its link has steepness {sigmoid}")
    return sigmoid


def _parse_tree(block: str, index: int, features: int) -> dict[str, npt.NDArray[Any]]:
    number, _, rest = block.partition("\n")
    fields = _fields(rest)
    if int(number) != index:
        raise ValueError(f"tree {index} is missing")
    if fields["num_cat"] != "0" or fields.get("is_linear", "0") != "0":
        raise ValueError(f"tree {index} has categorical splits or linear leaves")
    leaves = int(fields["num_leaves"])
    leaf = _numbers(fields["leaf_value"], np.float64, leaves)
    if not bool(np.all(np.isfinite(leaf))):
        raise ValueError(f"tree {index} has a leaf that is not finite")
    if leaves == 1:
        # A trunk without splits: LightGBM writes no node arrays.
        none = np.empty(0, np.int64)
        empty = {"feature": none, "threshold": np.empty(0), "flags": none, "left": none, "right": none}
        return {**empty, "leaf": leaf, "root": np.array([-1])}
    splits = leaves - 1
    feature = _numbers(fields["split_feature"], np.int64, splits)
    threshold = _numbers(fields["threshold"], np.float64, splits)
    decision = _numbers(fields["decision_type"], np.int64, splits)
    left = _numbers(fields["left_child"], np.int64, splits)
    right = _numbers(fields["right_child"], np.int64, splits)
    if feature.min() < 0 or feature.max() >= features:
        raise ValueError(f"tree {index} reads a feature that does not exist")
    _check_children(index, np.concatenate([left, right]), np.tile(np.arange(splits), 2), leaves)
    return {
        "feature": feature,
        "threshold": threshold,
        "flags": _flags(index, decision, threshold),
        "left": left,
        "right": right,
        "leaf": leaf,
        "root": np.array([0]),
    }


def _check_children(index: int, children: npt.NDArray[Any], parents: npt.NDArray[Any], leaves: int) -> None:
    """Each node but the root, and each leaf, has one parent, and a node stands behind its parent: no loop, no gap."""
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    inner = children >= 0
    if not np.array_equal(np.sort(children), expected) or bool(np.any(children[inner] <= parents[inner])):
        raise ValueError(f"tree {index} is not a tree")


def _flags(index: int, decision: npt.NDArray[Any], threshold: Float64s) -> npt.NDArray[np.uint8]:
    missing = (decision >> 2) & 3
    if bool(np.any(decision & _CATEGORICAL)) or decision.min() < 0 or missing.max() > _MISSING_NAN:
        raise ValueError(f"tree {index} has splits that are not numerical")
    default_left = (decision & _DEFAULT_LEFT) != 0
    # Where a split knows no missing values, LightGBM takes an unknown for 0.
    nan_left = np.where(missing == _MISSING_NONE, threshold >= 0.0, default_left)
    flags: npt.NDArray[np.uint8] = (nan_left * _NAN_LEFT + (missing == _MISSING_ZERO) * _ZERO_IS_NAN).astype(np.uint8)
    return flags


def _numbers(text: str, kind: type[np.generic], count: int) -> npt.NDArray[Any]:
    read = float if kind is np.float64 else int
    values = np.array([read(word) for word in text.split()], dtype=kind)
    # A threshold may be infinite: the split between known and unknown.
    if values.size != count or bool(np.any(np.isnan(values))):
        raise ValueError(f"{count} numbers expected, {values.size} found, or one is not a number")
    return values
