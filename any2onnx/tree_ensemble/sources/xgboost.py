"""What an XGBoost model computes, read from its own binary form: trees as one ensemble, or the weights of gblinear."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.errors import UnsupportedParameter, UsageError
from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble
from any2onnx.tree_ensemble.sources import ubjson
from any2onnx.tree_ensemble.sources.columns import Columns, Reading, split_columns

LOGISTIC: Final = ("binary:logistic", "reg:logistic")
EXPONENTIAL: Final = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
IDENTITY: Final = (
    "reg:squarederror",
    "reg:linear",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "binary:logitraw",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
)
OTHERS: Final = ("binary:hinge", "multi:softmax", "multi:softprob")


@dataclass(frozen=True, slots=True)
class XGBoostModel:
    """A model within its range of iterations.

    Attributes:
        objective: Name, such as ``binary:logistic``.
        base: float64 [groups], margins before the first tree.
        n_features: Columns of the rows.
        ensemble: The margins without rows' own ones; None without trees, and for gblinear.
        columns: What the ensemble's columns hold.
        node: int64 [leaves], each leaf's number within its tree, as XGBoost counts.
        weights: float64 [n_features, groups] of gblinear.
        feature_types: ``c`` for columns of categories, as XGBoost has them; empty where it has none.
        categories: Names of the categories of each column that XGBoost codes itself; None for others.
    """

    objective: str
    base: Array
    n_features: int
    ensemble: TreeEnsemble | None
    columns: Columns | None
    node: Array
    weights: Array | None
    feature_types: tuple[str, ...]
    categories: tuple[Array | None, ...]

    @property
    def groups(self) -> int:
        """Number of margins."""
        return len(self.base)

    @property
    def n_trees(self) -> int:
        """Number of trees in the range."""
        return 0 if self.ensemble is None else self.ensemble.n_trees


def booster_of(model: Any) -> Any:
    """Return the Booster of an estimator; a Booster itself."""
    return model.get_booster() if hasattr(model, "get_booster") else model


def read_model(model: Any, iterations: tuple[int, int] | None = None) -> XGBoostModel:
    """Return what a fitted estimator, or a Booster, computes.

    Args:
        model: XGBModel or Booster.
        iterations: First iteration and the one behind the last; None, or an end of 0, for what `predict` takes: up to
            the best one of early stopping for estimators, all for a Booster.

    Raises:
        UnsupportedParameter: An objective or booster that is not known.
        UsageError: The range is none.
    """
    booster = booster_of(model)
    learner = ubjson.decode(booster.save_raw("ubj"))["learner"]
    objective = str(learner["objective"]["name"])
    if objective not in (*LOGISTIC, *EXPONENTIAL, *IDENTITY, *OTHERS):
        raise UnsupportedParameter(f"objective {objective!r} is not known", needs="one that XGBoost 3 has")
    parameters = learner["learner_model_param"]
    gradient = learner["gradient_booster"]
    names = tuple(str(name) for name in learner["feature_types"])
    n_features = int(parameters["num_feature"])
    groups = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    base = _margins(objective, str(parameters["base_score"]), groups)
    if gradient["name"] == "gblinear":
        weights = np.asarray(gradient["model"]["weights"], np.float64).reshape(n_features + 1, groups)
        none = np.zeros(0, np.int64)
        # XGBoost 3 starts every group of gblinear with the first base score.
        return XGBoostModel(objective, base[0] + weights[-1], n_features, None, None, none, weights[:-1], names, ())
    if gradient["name"] not in ("gbtree", "dart"):
        raise UnsupportedParameter(f"booster {gradient['name']!r} is not known", needs="gbtree, dart or gblinear")
    dart = gradient["name"] == "dart"
    forest = gradient["gbtree"]["model"] if dart else gradient["model"]
    first, last = _range(model, forest, iterations)
    drop = np.asarray(gradient["weight_drop"], np.float64)[first:last] if dart else None
    trees = forest["trees"][first:last]
    categories = _categories(forest.get("cats"), n_features)
    if not trees:
        none = np.zeros(0, np.int64)
        return XGBoostModel(objective, base, n_features, None, None, none, None, names, categories)
    target = np.asarray(forest["tree_info"], np.int32)[first:last]
    ensemble, columns, node = _ensemble(trees, target, base, n_features, drop)
    return XGBoostModel(objective, base, n_features, ensemble, columns, node, None, names, categories)


def _range(model: Any, forest: Any, iterations: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first tree and the one behind the last."""
    starts = np.asarray(forest["iteration_indptr"], np.int64)
    rounds = len(starts) - 1
    first, last = iterations or (0, 0)
    if last == 0:
        # Only the estimators stop at the best iteration by themselves.
        best = booster_of(model).attr("best_iteration") if hasattr(model, "get_booster") else None
        last = rounds if best is None else int(best) + 1
    if not 0 <= first <= last <= rounds:
        raise UsageError(f"iteration_range={iterations} is none of the model's", needs=f"within (0, {rounds})")
    return int(starts[first]), int(starts[last])


def _margins(objective: str, text: str, groups: int) -> Array:
    """Return the margins behind base_score, in float32 arithmetic as XGBoost computes them: float64 [groups]."""
    score = np.asarray([float(part) for part in text.strip("[]").split(",")], np.float32)
    one = np.float32(1)
    with np.errstate(divide="ignore"):
        if objective in LOGISTIC:
            score = -np.log(one / score - one)
        elif objective in EXPONENTIAL:
            score = np.log(score)
    return np.broadcast_to(score.astype(np.float64), (groups,)).copy()


def _ensemble(
    trees: Sequence[Any], target: Array, base: Array, n_features: int, drop: Array | None
) -> tuple[TreeEnsemble, Columns, Array]:
    """Return the trees as an ensemble, what its columns hold, and the numbers of its leaves."""
    left = [np.asarray(t["left_children"], np.int64) for t in trees]
    right = [np.asarray(t["right_children"], np.int64) for t in trees]
    sizes = [len(a) for a in left]
    leaf = np.concatenate(left) < 0
    width = int(trees[0]["tree_param"]["size_leaf_vector"])
    condition = np.concatenate([t["split_conditions"] for t in trees]).astype(np.float64)
    to_left = np.concatenate([t["default_left"] for t in trees]).astype(bool)
    categorical = np.concatenate([t["split_type"] for t in trees]).astype(bool) & ~leaf
    ends = np.cumsum(sizes)[:-1]
    threshold = condition
    mode = np.full(len(leaf), Mode.LT, np.uint8)
    more: dict[str, Any] = {}
    true, false = left, right
    if categorical.any():
        # XGBoost keeps the categories that go right.
        mode[categorical] = Mode.MEMBER
        threshold = np.where(categorical, 0.0, condition)
        per_tree = np.split(categorical, ends)
        true = [np.where(c, b, a) for a, b, c in zip(left, right, per_tree, strict=True)]
        false = [np.where(c, a, b) for a, b, c in zip(left, right, per_tree, strict=True)]
        more = _sets(trees, np.cumsum([0, *sizes[:-1]]), len(leaf))
        # No category goes right, so that every number goes left: it is not ≤ -infinity.
        empty = categorical & (more["set_of_node"] < 0) if more else categorical
        mode[empty], threshold[empty] = Mode.LEQ, -np.inf
    if width > 1:
        values = np.concatenate([np.asarray(t["leaf_weights"], np.float64).reshape(-1, width) for t in trees])
        # Leaves have their place in this table where others have their right child.
        place = np.concatenate(right) + np.repeat(
            np.cumsum([0] + [len(t["leaf_weights"]) // width for t in trees[:-1]]), sizes
        )
        values = values[place[leaf]]
    else:
        values = condition[leaf][:, None]
    several = len(base) > 1 and width == 1
    e = assemble(
        true_child=[np.where(a < 0, -1, t) for a, t in zip(left, true, strict=True)],
        false_child=false,
        feature=[np.asarray(t["split_indices"]) for t in trees],
        threshold=np.split(threshold, ends),
        missing_true=np.split(to_left ^ categorical, ends),
        mode=np.split(mode, ends),
        leaf_values=values,
        n_targets=len(base),
        n_features=n_features,
        compare="float32",
        leaf_target=np.repeat(target, sizes)[leaf] if several else None,
        tree_weight=drop,
        base=base,
        **more,
    )
    reading = np.where(categorical, np.uint8(Reading.CATEGORY), np.uint8(Reading.PLAIN))
    e, columns = split_columns(e, reading)
    node = np.arange(e.n_nodes) - np.repeat(e.tree_start[:-1], sizes)
    kept = e.reached()
    if kept is not e:
        node = node[_reached_nodes(e)]
    return kept, columns, node[kept.is_leaf]


def _reached_nodes(e: TreeEnsemble) -> Array:
    found = np.zeros(e.n_nodes, bool)
    for level in e.levels():
        found[level] = True
    return found


def _sets(trees: Sequence[Any], start: Array, nodes: int) -> dict[str, Array]:
    """Return the categories of all categorical nodes as fields of `TreeEnsemble`."""
    node = np.concatenate([np.asarray(t["categories_nodes"], np.int64) + s for t, s in zip(trees, start, strict=True)])
    size = np.concatenate([np.asarray(t["categories_sizes"], np.int64) for t in trees])
    values = np.concatenate([np.asarray(t["categories"], np.float64) for t in trees])
    filled = size > 0
    number = np.full(nodes, -1, np.int32)
    number[node[filled]] = np.arange(int(filled.sum()))
    if not filled.any():
        return {}
    return {
        "set_of_node": number,
        "set_start": np.concatenate([np.zeros(1, np.int64), np.cumsum(size[filled])]),
        "set_values": values,
    }


def _categories(stored: Any, n_features: int) -> tuple[Array | None, ...]:
    """Return the names that XGBoost (from 3.1 on) keeps of each column's categories.

    Where one is not ASCII it cuts the text in the wrong places, counting characters instead of bytes: no names then.
    """
    if not stored or not stored["enc"]:
        return ()
    found: list[Array | None] = []
    for column in stored["enc"]:
        values = np.asarray(column["values"])
        if "offsets" not in column:
            found.append(values.astype(np.int64) if values.dtype.kind in "iu" else values.astype(np.float64))
        elif not len(values):
            found.append(None)
        else:
            text = values.astype(np.int8).tobytes()
            if np.any(values.astype(np.int8) < 0):
                found.append(np.zeros(0, object))
                continue
            ends = np.asarray(column["offsets"]).tolist()
            found.append(np.array([text[a:b].decode() for a, b in itertools.pairwise(ends)], dtype=object))
    return tuple(found[:n_features])
