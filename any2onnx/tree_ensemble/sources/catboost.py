"""What a CatBoost model computes, read from its JSON form: trees as one ensemble."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from any2onnx.errors import MalformedFile, UnsupportedParameter, UsageError
from any2onnx.tree_ensemble import order
from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble
from any2onnx.tree_ensemble.sources.catboost_categories import Categories, read_categories, statistic

_FLOAT: Final = "FloatFeature"
_ONE_HOT: Final = "OneHotFeature"
_STATISTIC: Final = "OnlineCtr"
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
        categories: What the ensemble's columns hold, None for those of the rows.
    """

    n_features: int
    n_scores: int
    bias: Array
    ensemble: TreeEnsemble | None
    leaf: Array
    categories: Categories | None


@dataclass(frozen=True, slots=True)
class _Splits:
    """Tests as arrays: column and border of each, whether NaN passes it, and what kind of test it is."""

    feature: Array
    border: Array
    missing: Array
    mode: Array


def model_dictionary(model: Any) -> tuple[dict[str, Any], str]:
    """Return a model in CatBoost's JSON form, parsed, and the text behind it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        text = path.read_text(encoding="utf-8")
    return json.loads(text), text


def read_model(
    model: Any,
    iterations: tuple[int, int] | None = None,
    categories: Mapping[Any, Iterable[Any]] | None = None,
) -> CatBoostModel:
    """Return what a fitted CatBoost estimator computes.

    Args:
        model: CatBoost, or one of the classes that derive from it.
        iterations: First tree and the one behind the last; None, or an end of 0, for all.
        categories: The categories of each categorical feature, by its name or column.

    Raises:
        UnsupportedParameter: Text or embedding features; categorical ones whose categories are not given.
        UsageError: The range is none.
    """
    _check_features(model)
    content, text = model_dictionary(model)
    information = content["features_info"]
    columns = read_categories(content, categories)
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
        return CatBoostModel(n_features, n_scores, bias, None, np.zeros(0, np.int64), None)
    tests = _Tests(content, columns)
    width = n_features if columns is None else tests.width
    if symmetric:
        e, leaf = _symmetric(trees[first:last], tests, width, n_scores)
    else:
        e, leaf = _other(text, (first, last), tests, width, n_scores)
    # Scores are scale · sum + bias.
    e = replace(e, base=bias, tree_weight=None if scale == 1 else np.full(e.n_trees, float(scale)))
    return CatBoostModel(n_features, n_scores, bias, e, leaf, tests.categories())


def _check_features(model: Any) -> None:
    # CatBoost does not write such models as JSON.
    for kind in ("text", "embedding"):
        columns: list[int] = getattr(model, f"get_{kind}_feature_indices", list)()
        if len(columns):
            raise UnsupportedParameter(
                f"CatBoost's {kind} features are not converted: columns {', '.join(str(c) for c in columns[:5])}",
                needs="numeric and categorical features",
                remedy="turn them into numbers before the model",
            )


def _width(information: Mapping[str, Any]) -> int:
    return 1 + max(int(f["flat_feature_index"]) for group in information.values() for f in group if _is_column(f))


def _is_column(feature: Any) -> bool:
    return isinstance(feature, Mapping) and "flat_feature_index" in feature


class _Tests:
    """Reads the splits of a model as tests of an ensemble's columns.

    With categorical features the columns are: numbers, then the codes of features with one-hot tests, then statistics.
    """

    def __init__(self, content: Mapping[str, Any], columns: tuple[Categories, list[Array]] | None) -> None:
        self._information = content["features_info"]
        self._data = content.get("ctr_data", {})
        self._columns = columns
        floats = {int(f["feature_index"]): f for f in self._information.get("float_features", ())}
        self._column = np.zeros(max(floats, default=0) + 1, np.int64)
        self._missing = np.zeros(len(self._column), bool)
        for k, f in floats.items():
            self._column[k] = k if columns is not None else int(f["flat_feature_index"])
            self._missing[k] = _MISSING[f["nan_value_treatment"]]
        self._ctrs = list(self._information.get("ctrs", ()))
        # Splits are numbered: borders of numbers, one-hot values, borders of statistics.
        first = sum(len(f["borders"]) for f in floats.values())
        first += sum(len(f.get("values", ())) for f in self._information.get("categorical_features", ()))
        self._starts = first + np.cumsum([0] + [len(c["borders"]) for c in self._ctrs])

    @property
    def width(self) -> int:
        """Number of columns with categorical features."""
        assert self._columns is not None
        return len(self._columns[0].floats) + len(self._columns[0].one_hot) + len(self._ctrs)

    def categories(self) -> Categories | None:
        """Return what the columns hold; None without categorical features."""
        if self._columns is None:
            return None
        categories, hashes = self._columns
        tables = tuple(statistic(ctr, self._data, categories, hashes) for ctr in self._ctrs)
        return replace(categories, statistics=tables)

    def read(self, splits: Sequence[Mapping[str, Any]]) -> _Splits:
        """Return splits as arrays.

        Raises:
            UnsupportedParameter: A split of a type that is not known.
        """
        count = len(splits)
        kind = np.array([s["split_type"] for s in splits], dtype=object)
        other = sorted(set(kind.tolist()) - {_FLOAT, _ONE_HOT, _STATISTIC})
        if other:
            raise UnsupportedParameter(f"CatBoost's splits of type {', '.join(other)} have no ONNX form")
        index = np.fromiter((s.get("float_feature_index", 0) for s in splits), np.int64, count)
        border = np.fromiter((s.get("border", 0.0) for s in splits), np.float64, count)
        number = kind == _FLOAT
        feature = np.where(number, self._column[np.where(number, index, 0)], 0)
        missing = number & self._missing[np.where(number, index, 0)]
        # Borders are float32 numbers; the text has them with 17 digits.
        threshold = border.astype(np.float32).astype(np.float64)
        mode = np.full(count, Mode.GT, np.uint8)
        if self._columns is not None:
            self._read_one_hot(splits, np.flatnonzero(kind == _ONE_HOT), feature, threshold, mode)
            self._read_statistics(splits, np.flatnonzero(kind == _STATISTIC), feature, threshold)
        return _Splits(feature, threshold, missing, mode)

    def _read_one_hot(
        self, splits: Sequence[Mapping[str, Any]], at: Array, feature: Array, threshold: Array, mode: Array
    ) -> None:
        assert self._columns is not None
        categories, hashes = self._columns
        place = {k: len(categories.floats) + n for n, k in enumerate(categories.one_hot)}
        codes = {(k, int(h)): code for k in categories.one_hot for code, h in enumerate(hashes[k].tolist())}
        for n in at.tolist():
            k = int(splits[n]["cat_feature_index"])
            feature[n], threshold[n] = place[k], codes[k, int(splits[n]["value"])]
        mode[at] = Mode.EQ

    def _read_statistics(
        self, splits: Sequence[Mapping[str, Any]], at: Array, feature: Array, threshold: Array
    ) -> None:
        assert self._columns is not None
        if not len(at):
            return
        number = np.array([int(splits[n]["split_index"]) for n in at.tolist()])
        which = np.searchsorted(self._starts, number, side="right") - 1
        borders = np.concatenate([np.asarray(c["borders"], np.float32) for c in self._ctrs]).astype(np.float64)
        if not np.array_equal(borders[number - self._starts[0]], threshold[at]):
            raise MalformedFile("the splits of a CatBoost model are not numbered in the way that is known")
        categories = self._columns[0]
        feature[at] = len(categories.floats) + len(categories.one_hot) + which


def _symmetric(trees: Sequence[Any], reader: _Tests, n_features: int, n_scores: int) -> tuple[TreeEnsemble, Array]:
    """Return trees whose nodes of one level are the same test: leaf k is reached by the tests that are bits of k."""
    depth = np.asarray([len(t.get("splits") or ()) for t in trees])
    tests = reader.read([s for t in trees for s in t.get("splits") or ()])
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
        mode=np.split(_at(tests.mode, position, inner), ends),
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
    text: str, trees: tuple[int, int], reader: _Tests, n_features: int, n_scores: int
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
    tests = reader.read(splits)
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
    feature, border, missing, mode = (
        _at(v, place, inner) for v in (tests.feature, tests.border, tests.missing, tests.mode)
    )
    leaves = [place[a:b][~inner[a:b]] for a, b in spans]
    e = assemble(
        true_child=[np.where(inner[a:b], right[a:b] - a, -1) for a, b in spans],
        false_child=[np.where(inner[a:b], left[a:b] - a, -1) for a, b in spans],
        feature=[feature[a:b] for a, b in spans],
        threshold=[border[a:b] for a, b in spans],
        missing_true=[missing[a:b] for a, b in spans],
        mode=[mode[a:b] for a, b in spans],
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
