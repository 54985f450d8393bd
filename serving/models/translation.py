"""Trees of LightGBM and CatBoost, written again as those of XGBoost: split by split, with the same scores.

Run as a program of its own (`python serving/models/translation.py lightgbm|catboost`), like probe.py, and so it imports
nothing of Hearth: what it is given on standard input was made by others. It answers `ok` and a booster in JSON, or the
reason. Only what has an exact equal is translated: numeric splits, one probability per row.

A row goes left in XGBoost when its value, a float32, is below the split. LightGBM goes left when it is not above a
double, CatBoost goes on when it is above a float32; for a float32 either is the same as being below the next float32
after the split. Sums are of float32 here and of doubles there, so scores may differ in their sixth digit.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

MEMORY_BYTES: Final = 8 << 30
OK: Final = b"ok"

TREES_MAX: Final = 5_000
NODES_MAX: Final = 2_000_000
DEPTH_MAX: Final = 16
"""Of a tree of CatBoost, which has a leaf for every way through it."""

LIGHTGBM: Final = "lightgbm"
CATBOOST: Final = "catboost"

ZERO: Final = 1e-35
"""LightGBM takes what is no larger for zero."""

WEIGHT_LEAST: Final = 1e-3
"""Of a leaf that no row reached in training."""

LARGEST: Final = float(np.finfo(np.float32).max)
"""Beyond every value of a row, which are within ±1e30."""

ROOT: Final = 2_147_483_647
"""The parent of a root."""


class CannotTranslate(Exception):
    """A model has no equal in XGBoost, or is none; says why, half a sentence, and what to do."""


@dataclass(slots=True)
class Tree:
    """One tree as XGBoost writes it: a node is a split, or a leaf, whose value then stands in `conditions`."""

    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    conditions: list[float] = field(default_factory=list)
    default_left: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, parent: int) -> int:
        """Add a node that is a leaf of nothing yet; return its number."""
        self.left.append(-1)
        self.right.append(-1)
        self.parents.append(parent)
        self.columns.append(0)
        self.conditions.append(0.0)
        self.default_left.append(0)
        self.gains.append(0.0)
        self.weights.append(0.0)
        return len(self.left) - 1

    def split(self, node: int, column: int, below: float, *, default_left: bool) -> tuple[int, int]:
        """Make a node a split; return its children, left and right."""
        self.columns[node], self.conditions[node], self.default_left[node] = column, below, int(default_left)
        self.left[node], self.right[node] = self.add(node), self.add(node)
        return self.left[node], self.right[node]

    def as_json(self, number: int, column_count: int) -> dict[str, Any]:
        """Return it as XGBoost's JSON has it."""
        count, weights = len(self.left), list(self.weights)
        for node in range(count - 1, -1, -1):
            if self.left[node] != -1:
                # What explains a score divides by it: rows that went through here, as far as the leaves tell.
                weights[node] = weights[self.left[node]] + weights[self.right[node]]
        return {
            "base_weights": [0.0] * count,
            "categories": [],
            "categories_nodes": [],
            "categories_segments": [],
            "categories_sizes": [],
            "default_left": self.default_left,
            "id": number,
            "left_children": self.left,
            "loss_changes": self.gains,
            "parents": self.parents,
            "right_children": self.right,
            "split_conditions": [_short(one) for one in self.conditions],
            "split_indices": self.columns,
            "split_type": [0] * count,
            "sum_hessian": weights,
            "tree_param": {
                "num_deleted": "0",
                "num_feature": str(column_count),
                "num_nodes": str(count),
                "size_leaf_vector": "1",
            },
        }


def below_of(threshold: float) -> float:
    """Return the float32 that values are below exactly when they are not above `threshold`.

    >>> below_of(0.5) > 0.5, below_of(0.5) < 0.5000001, below_of(1e300) < float("inf")
    (True, True, True)
    """
    if math.isnan(threshold):
        raise CannotTranslate("has a split at no number")
    if threshold >= LARGEST:
        return LARGEST
    if threshold < -LARGEST:
        return -LARGEST
    held = np.float32(threshold)
    return float(held) if float(held) > threshold else float(np.nextafter(held, np.float32(np.inf)))


def _short(value: float) -> float:
    """Return the number of fewest digits that is the same float32: XGBoost reads no more than nine exactly."""
    return float(str(np.float32(value)))


def booster(trees: Sequence[Tree], names: Sequence[str], *, margin: float) -> bytes:
    """Return a booster in JSON whose scores are the logistic of `margin` and what its trees add up to."""
    if margin and trees:
        # XGBoost holds a base score as a probability, which would cost digits: the first tree bears it.
        first = trees[0]
        first.conditions = [
            value + margin if left == -1 else value for value, left in zip(first.conditions, first.left, strict=True)
        ]
    written = [one.as_json(number, len(names)) for number, one in enumerate(trees)]
    model = {
        "learner": {
            "attributes": {},
            "feature_names": list(names),
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(written))},
                    "iteration_indptr": list(range(len(written) + 1)),
                    "tree_info": [0] * len(written),
                    "trees": written,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": "5E-1",
                "boost_from_average": "0",
                "num_class": "0",
                "num_feature": str(len(names)),
                "num_target": "1",
            },
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": [3, 0, 0],
    }
    return json.dumps(model, allow_nan=False).encode()


# --- LightGBM: `booster.save_model("model.txt")` ---------------------------------------------------------------------


def from_lightgbm(content: bytes) -> bytes:
    """Return a LightGBM model, as its text has it, as a booster in JSON.

    Raises:
        CannotTranslate: it has no equal, or is damaged.
    """
    text = content.decode("utf-8")
    if "\nend of trees" not in text:
        raise CannotTranslate("is cut: 'end of trees' is missing")
    head, *parts = text.partition("\nend of trees")[0].split("\nTree=")
    told = _lines(head)
    objective = told.get("objective", "").split()
    if not objective or objective[0] not in ("binary", "cross_entropy"):
        raise CannotTranslate(
            f"has the objective {' '.join(objective) or 'of nobody'}; it must give a probability: binary"
        )
    if told.get("num_class", "1") != "1" or told.get("num_tree_per_iteration", "1") != "1":
        raise CannotTranslate("has several classes; one probability per row is needed")
    steepness = next((float(one[8:]) for one in objective[1:] if one.startswith("sigmoid:")), 1.0)
    names = told["feature_names"].split(" ")
    if names == [f"Column_{place}" for place in range(len(names))]:
        # Its own numbering names nothing.
        names = [f"f{place}" for place in range(len(names))]
    if len(parts) > TREES_MAX:
        raise CannotTranslate(f"has {len(parts):,} trees; at most {TREES_MAX:,} are served")
    is_mean = "average_output" in head.splitlines()
    scale = steepness / len(parts) if is_mean and parts else steepness
    trees, nodes = [], 0
    for number, part in enumerate(parts):
        trees.append(_tree_of_lightgbm(_lines(part), number, len(names), scale))
        nodes += len(trees[-1].left)
        if nodes > NODES_MAX:
            raise CannotTranslate(f"has more than {NODES_MAX:,} nodes")
    return booster(trees, names, margin=0.0)


def _lines(part: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in part.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def _tree_of_lightgbm(told: dict[str, str], number: int, column_count: int, scale: float) -> Tree:
    if told.get("is_linear", "0") != "0":
        raise CannotTranslate(f"has linear leaves, in tree {number}; train it with linear_tree=false")
    if told.get("num_cat", "0") != "0":
        raise CannotTranslate(
            f"splits by categories, in tree {number}, whose codes are its own; give it the numbers of the feature "
            "schema as numbers, and no categorical_feature"
        )
    leaves = _numbers(told["leaf_value"])
    tree = Tree()
    root = tree.add(ROOT)
    if len(leaves) == 1:
        tree.conditions[root], tree.weights[root] = leaves[0] * scale, 1.0
        return tree
    columns, kinds = _whole(told["split_feature"]), _whole(told["decision_type"])
    thresholds, gains = _numbers(told["threshold"]), _numbers(told.get("split_gain", ""))
    weights = _numbers(told.get("leaf_weight", ""))
    children = _whole(told["left_child"]), _whole(told["right_child"])
    splits = len(leaves) - 1
    if not splits == len(columns) == len(kinds) == len(thresholds) == len(children[0]) == len(children[1]):
        raise CannotTranslate(f"is damaged: tree {number} has {len(leaves)} leaves and not {splits} splits")
    ahead, seen = [(0, root)], set[int]()
    while ahead:
        at, node = ahead.pop()
        if at in seen or not -len(leaves) <= at < splits:
            raise CannotTranslate(f"has a tree that is none: the nodes of tree {number} go in circles, or nowhere")
        seen.add(at)
        if at < 0:
            tree.conditions[node] = leaves[~at] * scale
            tree.weights[node] = max(weights[~at], WEIGHT_LEAST) if len(weights) == len(leaves) else 1.0
            continue
        if not 0 <= columns[at] < column_count:
            raise CannotTranslate(f"splits by a column that it has not, in tree {number}")
        default_left = _default_of_lightgbm(kinds[at], thresholds[at], number)
        # It reads numbers as small as this as zero before it splits, also the one that this split itself is at.
        is_at_zero = -2 * ZERO < thresholds[at] < 0
        below = float(np.float32(thresholds[at])) if is_at_zero else below_of(thresholds[at])
        left, right = tree.split(node, columns[at], below, default_left=default_left)
        tree.gains[node] = gains[at] if len(gains) == splits else 0.0
        ahead += [(children[0][at], left), (children[1][at], right)]
    return tree


def _default_of_lightgbm(kind: int, threshold: float, number: int) -> bool:
    """Return whether an unknown value goes left."""
    is_left, missing = bool(kind & 2), kind >> 2 & 3
    if kind & 1 or missing == 3:
        raise CannotTranslate(f"splits in a way that is not known here (decision_type {kind}), in tree {number}")
    if missing == 2:
        return is_left
    zero_goes_left = threshold >= 0.0
    if missing == 0:
        # Unknown counts as zero there.
        return zero_goes_left
    # Zero counts as unknown there. That is the same only where the split itself sends it the same way.
    if -ZERO <= threshold < ZERO or is_left is not zero_goes_left:
        raise CannotTranslate(f"takes zero for unknown, in tree {number}; train it with zero_as_missing=false")
    return is_left


def _numbers(text: str) -> list[float]:
    return [float(one) for one in text.split()]


def _whole(text: str) -> list[int]:
    return [int(one) for one in text.split()]


# --- CatBoost: `model.save_model("model.json", format="json")` -------------------------------------------------------


def from_catboost(content: bytes) -> bytes:
    """Return a CatBoost model, as its JSON has it, as a booster in JSON.

    Raises:
        CannotTranslate: it has no equal, or is damaged.
    """
    model = json.loads(content)
    if "oblivious_trees" not in model:
        raise CannotTranslate("has trees that are not symmetric; train it with grow_policy='SymmetricTree'")
    columns = model["features_info"]
    if columns.get("categorical_features") or columns.get("text_features") or columns.get("embedding_features"):
        raise CannotTranslate(
            "has columns of categories, texts or embeddings; give it the numbers of the feature schema"
        )
    params = model.get("model_info", {}).get("params", {})
    loss = params.get("loss_function", {}).get("type", "") if isinstance(params, dict) else ""
    if loss not in ("Logloss", "CrossEntropy"):
        raise CannotTranslate(f"has the loss {loss or 'of nobody'}; it must give a probability: Logloss")
    floats = columns["float_features"]
    places = [int(one["flat_feature_index"]) for one in floats]
    if sorted(places) != list(range(len(floats))):
        raise CannotTranslate("does not have its columns in order")
    names = [""] * len(floats)
    for place, one in zip(places, floats, strict=True):
        names[place] = str(one.get("feature_id") or place)
    if names == [str(place) for place in range(len(names))]:
        # Its own numbering names nothing.
        names = [f"f{place}" for place in range(len(names))]
    unknown_is_above = [one.get("nan_value_treatment", "AsIs") == "AsTrue" for one in floats]
    scale, bias = model["scale_and_bias"]
    (bias,) = bias if isinstance(bias, list) else [bias]
    if len(model["oblivious_trees"]) > TREES_MAX:
        raise CannotTranslate(f"has {len(model['oblivious_trees']):,} trees; at most {TREES_MAX:,} are served")
    trees, nodes = [], 0
    for number, told in enumerate(model["oblivious_trees"]):
        splits, leaves = told["splits"] or [], told["leaf_values"]
        if len(splits) > DEPTH_MAX or len(leaves) != 1 << len(splits):
            raise CannotTranslate(f"has no tree in tree {number}: {len(splits)} splits and {len(leaves)} leaves")
        nodes += 2 * len(leaves)
        if nodes > NODES_MAX:
            raise CannotTranslate(f"has more than {NODES_MAX:,} nodes")
        steps = []
        for one in splits:
            if one.get("split_type", "FloatFeature") != "FloatFeature":
                raise CannotTranslate(f"splits by {one['split_type']}, in tree {number}")
            if not 0 <= one["float_feature_index"] < len(floats):
                raise CannotTranslate(f"splits by a column that it has not, in tree {number}")
            index = one["float_feature_index"]
            steps.append((places[index], below_of(float(one["border"])), not unknown_is_above[index]))
        weights = [float(one) for one in told.get("leaf_weights") or []]
        if len(weights) != len(leaves):
            weights = [1.0] * len(leaves)
        trees.append(_symmetric(steps, [float(one) * float(scale) for one in leaves], weights))
    return booster(trees, names, margin=float(bias))


def _symmetric(steps: list[tuple[int, float, bool]], leaves: list[float], weights: list[float]) -> Tree:
    """Return a tree that asks the same at each node of a level; the k-th answer is bit k of a leaf's number."""
    tree = Tree()
    ahead = [(0, 0, tree.add(ROOT))]
    while ahead:
        level, number, node = ahead.pop()
        if level == len(steps):
            tree.conditions[node], tree.weights[node] = leaves[number], max(weights[number], WEIGHT_LEAST)
            continue
        column, below, default_left = steps[level]
        left, right = tree.split(node, column, below, default_left=default_left)
        ahead += [(level + 1, number, left), (level + 1, number | 1 << level, right)]
    return tree


FROM: Final[dict[str, Callable[[bytes], bytes]]] = {LIGHTGBM: from_lightgbm, CATBOOST: from_catboost}


def translated(content: bytes, by: str) -> bytes:
    """Return `ok` and a model as a booster in JSON, or why it cannot be one. Never raises."""
    try:
        return OK + FROM[by](content)
    except CannotTranslate as wrong:
        return str(wrong).encode()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as wrong:
        return f"is damaged, or no model that is known here: {wrong!r}"[:400].encode()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(translated(sys.stdin.buffer.read(), sys.argv[1]))
