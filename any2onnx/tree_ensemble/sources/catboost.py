"""What a CatBoost model computes, read from its JSON form: trees as one ensemble."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from any2onnx.errors import MalformedFile, UnsupportedParameter, UsageError
from any2onnx.tree_ensemble import order
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble, assemble

_FLOAT: Final = "FloatFeature"
_SPLIT: Final = re.compile(r'"split":\s*(\{[^{}]*\})')
_VALUE: Final = re.compile(r'"value":\s*\[?([^\]"{}]*?)\]?\s*,\s*"weight":')
_NODE: Final = re.compile(r'"(w)eight":|"(s)plit":')
_MISSING: Final = {"AsIs": False, "AsFalse": False, "AsTrue": True}


@dataclass(frozen=True, slots=True)
class CatBoostModel:
    """A model within its range of trees.

    Attributes:
        n_features: Columns of the rows.
        n_scores: Raw scores per row.
        bias: float64 [scores], what the raw scores start from.
        ensemble: The raw scores; None without trees.
        leaf: int64 [leaves], each leaf's number within its tree.
    """

    n_features: int
    n_scores: int
    bias: Array
    ensemble: TreeEnsemble | None
    leaf: Array


@dataclass(frozen=True, slots=True)
class _Splits:
    """Tests as arrays: column and border of each, and whether NaN passes it."""

    feature: Array
    border: Array
    missing: Array


def model_dictionary(model: Any) -> tuple[dict[str, Any], str]:
    """Return a model in CatBoost's JSON form, parsed, and the text behind it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        text = path.read_text(encoding="utf-8")
    return json.loads(text), text


def read_model(model: Any, iterations: tuple[int, int] | None = None) -> CatBoostModel:
    """Return what a fitted CatBoost estimator computes.

    Args:
        model: CatBoost, or one of the classes that derive from it.
        iterations: First tree and the one behind the last; None, or an end of 0, for all.

    Raises:
        UnsupportedParameter: Features that ONNX cannot compute.
        UsageError: The range is none.
    """
    content, text = model_dictionary(model)
    information = content["features_info"]
    _check_features(information)
    symmetric = "oblivious_trees" in content
    trees = content["oblivious_trees" if symmetric else "trees"]
    first, last = iterations or (0, 0)
    last = last or len(trees)
    if not 0 <= first <= last <= len(trees):
        raise UsageError(f"iteration_range={iterations} is none of the model's", needs=f"within (0, {len(trees)})")
    scale, bias = content["scale_and_bias"]
    bias = np.asarray(bias if isinstance(bias, list) else [bias], np.float64)
    if first > 0:
        # CatBoost leaves the bias out where the first tree is.
        bias = np.zeros_like(bias)
    n_features = _width(information)
    n_scores = len(bias)
    if first == last:
        return CatBoostModel(n_features, n_scores, bias, None, np.zeros(0, np.int64))
    if symmetric:
        e, leaf = _symmetric(trees[first:last], information, n_features, n_scores)
    else:
        e, leaf = _other(text, (first, last), information, n_features, n_scores)
    # Scores are scale · sum + bias.
    e = replace(e, base=bias, tree_weight=None if scale == 1 else np.full(e.n_trees, float(scale)))
    return CatBoostModel(n_features, n_scores, bias, e, leaf)


def _check_features(information: Mapping[str, Any]) -> None:
    for kind, what in (
        ("text_features", "text features"),
        ("embedding_features", "embedding features"),
        ("categorical_features", "categorical features"),
    ):
        names = [str(f.get("feature_id") or f["flat_feature_index"]) for f in information.get(kind, ())]
        if names:
            raise UnsupportedParameter(
                f"CatBoost keeps hashes in place of the values of its {what}: {', '.join(names[:5])}",
                needs="numeric features",
                remedy="encode them before the model, by an encoder in a pipeline",
            )


def _width(information: Mapping[str, Any]) -> int:
    return 1 + max(int(f["flat_feature_index"]) for group in information.values() for f in group if _is_column(f))


def _is_column(feature: Any) -> bool:
    return isinstance(feature, Mapping) and "flat_feature_index" in feature


def _tests(splits: Sequence[Mapping[str, Any]], information: Mapping[str, Any]) -> _Splits:
    """Return splits as arrays.

    Raises:
        UnsupportedParameter: A split that is no test of a number.
    """
    other = sorted({str(s["split_type"]) for s in splits} - {_FLOAT})
    if other:
        raise UnsupportedParameter(f"CatBoost's splits of type {', '.join(other)} have no ONNX form")
    floats = {int(f["feature_index"]): f for f in information["float_features"]}
    index = np.fromiter((s["float_feature_index"] for s in splits), np.int64, len(splits))
    column = np.zeros(max(floats, default=0) + 1, np.int64)
    missing = np.zeros(len(column), bool)
    for k, f in floats.items():
        column[k], missing[k] = int(f["flat_feature_index"]), _MISSING[f["nan_value_treatment"]]
    border = np.fromiter((s["border"] for s in splits), np.float64, len(splits))
    # Borders are float32 numbers; the text has them with 17 digits.
    return _Splits(column[index], border.astype(np.float32).astype(np.float64), missing[index])


def _symmetric(
    trees: Sequence[Any], information: Mapping[str, Any], n_features: int, n_scores: int
) -> tuple[TreeEnsemble, Array]:
    """Return trees whose nodes of one level are the same test: leaf k is reached by the tests that are bits of k."""
    depth = np.asarray([len(t.get("splits") or ()) for t in trees])
    tests = _tests([s for t in trees for s in t.get("splits") or ()], information)
    start = np.cumsum(depth) - depth
    # Nodes in the order of a heap: the children of node k are 2k + 1 and 2k + 2; its level has the test of that bit.
    true, false, at = [], [], []
    for d, first in zip(depth.tolist(), start.tolist(), strict=True):
        inner, nodes = (1 << d) - 1, np.arange((2 << d) - 1)
        leaf = nodes >= inner
        level = np.frexp(nodes + 1.0)[1] - 1
        true.append(np.where(leaf, -1, 2 * nodes + 2))
        false.append(np.where(leaf, -1, 2 * nodes + 1))
        at.append(np.where(leaf, -1, first + d - 1 - level))
    position = np.concatenate(at)
    ends = np.cumsum([len(a) for a in at])[:-1]
    inner = position >= 0
    e = assemble(
        true_child=true,
        false_child=false,
        feature=np.split(_at(tests.feature, position, inner), ends),
        threshold=np.split(_at(tests.border, position, inner), ends),
        missing_true=np.split(_at(tests.missing, position, inner), ends),
        mode=Mode.GT,
        leaf_values=np.concatenate([np.asarray(t["leaf_values"], np.float64) for t in trees]).reshape(-1, n_scores),
        n_targets=n_scores,
        n_features=n_features,
        compare="float32",
    )
    return e, np.concatenate([np.arange(1 << d) for d in depth.tolist()])


def _at(values: Array, position: Array, inner: Array) -> Array:
    result = np.zeros(len(position), values.dtype)
    result[inner] = values[position[inner]]
    return result


def _other(
    text: str, trees: tuple[int, int], information: Mapping[str, Any], n_features: int, n_scores: int
) -> tuple[TreeEnsemble, Array]:
    """Return trees of any form.

    The text nests them: left subtree, right subtree, then the node's test, so that the tests and leaves in the order
    of the text are the nodes in postorder. Read backwards this is a preorder that takes the right child first, where a
    running count of nodes still to come tells where subtrees end.

    Raises:
        MalformedFile: The text is not in this form.
    """
    body = text[text.index('"trees":') :]
    inner = np.array([bool(split) for _, split in _NODE.findall(body)])[::-1]
    splits = json.loads(f"[{','.join(_SPLIT.findall(body))}]")[::-1]
    values = np.array(",".join(_VALUE.findall(body)).split(","), np.float64).reshape(-1, n_scores)[::-1]
    if len(splits) != inner.sum() or len(values) != len(inner) - inner.sum():
        raise MalformedFile("the text of a CatBoost model is not in the form that is known")
    tests = _tests(splits, information)
    to_come = np.cumsum(np.where(inner, 1, -1))
    at = np.flatnonzero(inner)
    right, left = np.full(len(inner), -1, np.int64), np.full(len(inner), -1, np.int64)
    right[at] = at + 1
    left[at] = _first_below(to_come, at) + 1
    place = np.where(inner, np.cumsum(inner), np.cumsum(~inner)) - 1
    # A tree ends where the count reaches a new low; the last tree comes first.
    lows = np.minimum.accumulate(np.concatenate([np.zeros(1, np.int64), to_come]))
    ends = np.flatnonzero(np.diff(lows) < 0) + 1
    spans = list(zip(np.concatenate([[0], ends[:-1]]).tolist(), ends.tolist(), strict=True))[::-1][trees[0] : trees[1]]
    feature, border, missing = (_at(v, place, inner) for v in (tests.feature, tests.border, tests.missing))
    leaves = [place[a:b][~inner[a:b]] for a, b in spans]
    e = assemble(
        true_child=[np.where(inner[a:b], right[a:b] - a, -1) for a, b in spans],
        false_child=[np.where(inner[a:b], left[a:b] - a, -1) for a, b in spans],
        feature=[feature[a:b] for a, b in spans],
        threshold=[border[a:b] for a, b in spans],
        missing_true=[missing[a:b] for a, b in spans],
        mode=Mode.GT,
        leaf_values=values[np.concatenate(leaves)],
        n_targets=n_scores,
        n_features=n_features,
        compare="float32",
    )
    return e, _leaf_numbers(e)


def _leaf_numbers(e: TreeEnsemble) -> Array:
    """Return each leaf's number: CatBoost counts from the left, but a right child that is a leaf before a subtree."""
    leaf = e.is_leaf
    swapped = ~leaf & leaf[e.true_child] & ~leaf[e.false_child]
    first, second = (np.where(swapped, a, b) for a, b in ((e.true_child, e.false_child), (e.false_child, e.true_child)))
    place, _, _ = order.preorder(first, second, leaf, e.tree_start[:-1])
    number = np.empty(int(leaf.sum()), np.int64)
    number[np.lexsort([place[leaf], e.tree_of_leaf])] = np.arange(len(number))
    return number - e.leaf_start[:-1][e.tree_of_leaf]


def _first_below(count: Array, at: Array) -> Array:
    """Return, for each position, the first one behind it where a count that moves in steps of one is one less."""
    n, low = len(count), int(count.min()) - 1
    keys = np.sort((count - low) * n + np.arange(n))
    return keys[np.searchsorted(keys, (count[at] - 1 - low) * n + at)] % n
