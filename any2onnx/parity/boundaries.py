"""What a fitted scikit-learn model knows about its inputs: thresholds, edges, categories and typical values.

Only steps that see the raw columns count: behind a scaler a threshold lies in another space. Random rows practically
never hit a threshold, so a wrong rounding of one is invisible to them; rows that sit on it show it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from any2onnx.errors import UnsupportedParameter
from any2onnx.parity.ulp import Array, neighbours
from any2onnx.tree_ensemble.ir import Mode
from any2onnx.tree_ensemble.sources import ensemble_of_model, library_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from any2onnx.parity.signature import InputSpec, Signature

# Steps that hand finite values on unchanged, column for column.
_TRANSPARENT = ("SimpleImputer", "FunctionTransformer", "KNNImputer", "IterativeImputer")
_PARTS = ("estimator_", "best_estimator_", "estimator", "regressor_", "classifier_", "base_estimator_")
_EDGES = ("bin_edges_", "quantiles_", "X_thresholds_")
_EDGE_ROWS = ("data_min_", "data_max_", "lower_bound_", "upper_bound_")
_SAMPLES = ("_fit_X", "X_train_", "support_vectors_", "cluster_centers_", "X_fit_", "centroids_", "theta_", "means_")
MAX_PROBED_NODES = 256

Ints = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Trees:
    """Split nodes of many trees as flat arrays; ``parent`` is -1 at a root, ``is_left`` tells which child a node is."""

    feature: Ints
    threshold: npt.NDArray[np.float64]
    parent: Ints
    is_left: npt.NDArray[np.bool_]


def _class_name(estimator: Any) -> str:
    return type(estimator).__name__


def raw_steps(model: Any, columns: Ints | None = None) -> Iterator[tuple[Any, Ints | None]]:
    """Yield each fitted part that sees raw columns, with their positions (None for all columns in order)."""
    if hasattr(model, "steps"):
        for _, step in model.steps:
            if step is None or isinstance(step, str):
                continue
            yield from raw_steps(step, columns)
            if _class_name(step) not in _TRANSPARENT or not _same_width(step):
                return
        return
    if hasattr(model, "transformers_"):
        yield from _column_parts(model, columns)
        return
    if hasattr(model, "transformer_list"):
        for _, part in model.transformer_list:
            if not isinstance(part, str):
                yield from raw_steps(part, columns)
        return
    yield model, columns
    yield from _members(model, columns)


def _same_width(step: Any) -> bool:
    """A step that drops or adds columns would shift the positions of those behind it."""
    if _class_name(step) == "FunctionTransformer":
        return step.func is None
    if getattr(step, "add_indicator", False):
        return False
    statistics = getattr(step, "statistics_", None)
    if statistics is None or np.asarray(statistics).dtype.kind not in "fiu":
        return statistics is None
    return bool(np.isfinite(np.asarray(statistics, dtype=np.float64)).all())


def _column_parts(model: Any, columns: Ints | None) -> Iterator[tuple[Any, Ints | None]]:
    positions = getattr(model, "_transformer_to_input_indices", {})
    for name, part, _ in model.transformers_:
        if isinstance(part, str) or part is None:
            continue
        own = np.asarray(positions.get(name, ()), dtype=np.intp)
        if own.size:
            yield from raw_steps(part, own if columns is None else columns[own])


def _members(model: Any, columns: Ints | None) -> Iterator[tuple[Any, Ints | None]]:
    """Yield the members of meta-estimators, except those of tree ensembles, which are read whole."""
    if read_trees(model) is not None:
        return
    for name in _PARTS:
        part = model.__dict__.get(name) if hasattr(model, "__dict__") else None
        if part is not None and hasattr(part, "get_params") and is_fitted(part):
            yield from raw_steps(part, columns)
            return
    members = getattr(model, "estimators_", None)
    if members is None:
        members = [item.estimator for item in getattr(model, "calibrated_classifiers_", ())]
    features = getattr(model, "estimators_features_", None)
    flat = [item for item in np.asarray(members, dtype=object).ravel() if hasattr(item, "get_params")]
    for i, member in enumerate(flat):
        own = columns
        if features is not None and i < len(features):
            picked = np.asarray(features[i], dtype=np.intp)
            own = picked if columns is None else columns[picked]
        yield from raw_steps(member, own)


def is_fitted(part: Any) -> bool:
    """Tell whether an estimator has learnt anything."""
    return any(name.endswith("_") and not name.startswith("_") for name in vars(part))


# --- trees -----------------------------------------------------------------------------------------------------


def read_trees(model: Any) -> Trees | None:
    """Return the split nodes of a tree or tree ensemble of scikit-learn or a boosting library, or None for others."""
    if library_of(model) is not None:
        return _read_boosted(model)
    if hasattr(model, "_predictors"):
        predictors = [tree for group in model._predictors for tree in group]
        return _join([_read_histogram_tree(tree.nodes) for tree in predictors])
    if hasattr(getattr(model, "tree_", None), "threshold"):
        return _read_tree(model.tree_)
    members = getattr(model, "estimators_", None)
    if members is None:
        return None
    flat = list(np.asarray(members, dtype=object).ravel())
    if not flat or not all(hasattr(getattr(member, "tree_", None), "threshold") for member in flat):
        return None
    features = getattr(model, "estimators_features_", None)
    found = [_read_tree(member.tree_) for member in flat]
    if features is not None:
        found = [
            dataclasses.replace(tree, feature=np.where(tree.feature >= 0, np.asarray(own)[tree.feature], -1))
            for tree, own in zip(found, features, strict=True)
        ]
    return _join(found)


def _read_boosted(model: Any) -> Trees | None:
    """Return the splits of a model of XGBoost, LightGBM or CatBoost; tests of categories have no feature here."""
    try:
        found = ensemble_of_model(model)
    except UnsupportedParameter:
        # Such a model has not been converted by any2onnx; its thresholds are not known.
        return None
    if found is None:
        return None
    e, columns = found
    feature = e.feature.astype(np.intp)
    if columns is not None:
        # In the order in which the columns lie side by side.
        own = np.concatenate([columns.plain, columns.zero_missing, np.full(len(columns.categories), -1)])
        feature = own[feature]
    feature = np.where(e.is_leaf | (e.mode == Mode.MEMBER), -1, feature)
    # CatBoost's x > border holds for what lies right.
    above = e.mode == Mode.GT
    left, right = (np.where(above, a, b) for a, b in ((e.false_child, e.true_child), (e.true_child, e.false_child)))
    return _with_parents(feature, e.threshold, left, right)


def _read_tree(tree: Any) -> Trees:
    return _with_parents(tree.feature.astype(np.intp), tree.threshold, tree.children_left, tree.children_right)


def _read_histogram_tree(nodes: Any) -> Trees:
    split = (nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)
    inner = nodes["is_leaf"] == 0
    left = np.where(inner, nodes["left"].astype(np.intp), -1)
    right = np.where(inner, nodes["right"].astype(np.intp), -1)
    feature = np.where(split, nodes["feature_idx"].astype(np.intp), -1)
    return _with_parents(feature, nodes["num_threshold"], left, right)


def _with_parents(feature: Ints, threshold: Array, left: Array, right: Array) -> Trees:
    parent = np.full(len(feature), -1, dtype=np.intp)
    is_left = np.zeros(len(feature), dtype=bool)
    inner = np.flatnonzero(left >= 0)
    parent[left[inner]] = inner
    parent[right[inner]] = inner
    is_left[left[inner]] = True
    return Trees(feature, threshold.astype(np.float64), parent, is_left)


def _join(trees: list[Trees]) -> Trees | None:
    if not trees:
        return None
    starts = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1]
    return Trees(
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate([np.where(t.parent >= 0, t.parent + start, -1) for t, start in zip(trees, starts, strict=True)]),
        np.concatenate([tree.is_left for tree in trees]),
    )


def threshold_rows(model: Any, base: Array, rng: np.random.Generator) -> Array:
    """Return rows that reach split nodes with the split feature one step below, on and one step above its threshold.

    Args:
        model: A fitted estimator.
        base: ``[n, columns]`` typical rows in the dtype of the ONNX input.
        rng: Chooses the nodes when there are more than ``MAX_PROBED_NODES``, and the base rows.

    Returns:
        ``[m, columns]``; no rows when no tree sees raw columns.
    """
    found = [base[:0]]
    for step, columns in raw_steps(model):
        trees = read_trees(step)
        if trees is not None:
            found.append(_probe(trees, columns, base, rng))
    rows = np.concatenate(found)
    limit = 3 * MAX_PROBED_NODES
    return rows if len(rows) <= limit else rows[np.sort(rng.choice(len(rows), limit, replace=False))]


def _probe(trees: Trees, columns: Ints | None, base: Array, rng: np.random.Generator) -> Array:
    nodes = np.flatnonzero((trees.feature >= 0) & np.isfinite(trees.threshold))
    if not nodes.size:
        return base[:0]
    if nodes.size > MAX_PROBED_NODES:
        nodes = np.sort(rng.choice(nodes, MAX_PROBED_NODES, replace=False))
    rows = base[rng.integers(0, len(base), nodes.size)].copy()
    low, high = _boxes(trees, nodes, columns, rows.shape[1])
    _move_inside(rows, low, high)
    column = trees.feature[nodes] if columns is None else columns[trees.feature[nodes]]
    with np.errstate(over="ignore"):
        at = trees.threshold[nodes].astype(base.dtype)
    probes = np.repeat(rows[None], 3, axis=0)
    for i, values in enumerate((neighbours(at)[0], at, neighbours(at)[1])):
        probes[i, np.arange(nodes.size), column] = values
    flat: Array = probes.reshape(-1, rows.shape[1])
    return flat[np.isfinite(flat).all(axis=1)]


def _boxes(trees: Trees, nodes: Ints, columns: Ints | None, width: int) -> tuple[Array, Array]:
    """Return the interval (low, high] of every column in which a row reaches each node."""
    low = np.full((nodes.size, width), -np.inf)
    high = np.full((nodes.size, width), np.inf)
    current = nodes.copy()
    active = np.flatnonzero(trees.parent[current] >= 0)
    while active.size:
        parent = trees.parent[current[active]]
        feature = trees.feature[parent]
        numeric = feature >= 0
        rows, split = active[numeric], parent[numeric]
        column = feature[numeric] if columns is None else columns[feature[numeric]]
        value = trees.threshold[split]
        left = trees.is_left[current[rows]]
        high[rows[left], column[left]] = np.minimum(high[rows[left], column[left]], value[left])
        low[rows[~left], column[~left]] = np.maximum(low[rows[~left], column[~left]], value[~left])
        current[active] = parent
        active = active[trees.parent[parent] >= 0]
    return low, high


def _move_inside(rows: Array, low: Array, high: Array) -> None:
    """Move each value that would leave the path into its interval, away from the ends where there is room."""
    # Where NaN is typical it follows a learned side, so it is replaced like a value outside.
    outside = ~((rows > low) & (rows <= high))
    with np.errstate(invalid="ignore", over="ignore"):
        middle = low + (high - low) / 2
        below = high - np.maximum(np.abs(high), 1.0)
        above = low + np.maximum(np.abs(low), 1.0)
    inside = np.where(np.isfinite(low), np.where(np.isfinite(high), middle, above), below)
    inside = np.where(np.isfinite(inside), inside, 0.0)
    with np.errstate(over="ignore"):
        rows[outside] = inside[outside].astype(rows.dtype)


# --- edges, categories, typical values ---------------------------------------------------------------------------


def edge_values(model: Any, width: int) -> list[Array]:
    """Return, for each raw column, the edges, limits and knots that fitted parts compare it with (float64, sorted)."""
    found: list[list[Array]] = [[] for _ in range(width)]
    for step, columns in raw_steps(model):
        for column, values in _edges_of(step, width):
            at = column if columns is None else int(columns[column]) if column < len(columns) else width
            if at < width:
                found[at].append(values)
    joined = [np.concatenate(parts) if parts else np.zeros(0) for parts in found]
    return [np.unique(values[np.isfinite(values)]) for values in joined]


def _edges_of(step: Any, width: int) -> Iterator[tuple[int, Array]]:
    for name in _EDGES:
        values = getattr(step, name, None)
        if values is None:
            continue
        if isinstance(values, np.ndarray) and values.dtype != object:
            table = values.astype(np.float64)
            columns: list[Array] = list(table.T if table.ndim == 2 else table[None])
        else:
            columns = [np.asarray(part, dtype=np.float64).ravel() for part in values]
        yield from enumerate(columns)
    for name in _EDGE_ROWS:
        values = getattr(step, name, None)
        if values is not None and np.asarray(values).dtype.kind == "f" and np.ndim(values) == 1:
            yield from ((i, np.asarray([value])) for i, value in enumerate(np.asarray(values, dtype=np.float64)))
    if _class_name(step) == "Binarizer":
        yield from ((i, np.asarray([float(step.threshold)])) for i in range(width))


def categories(model: Any, width: int) -> tuple[Array | None, ...]:
    """Return, for each raw column, the categories that a fitted encoder knows, or None."""
    found: list[Array | None] = [None] * width
    for step, columns in raw_steps(model):
        known = getattr(step, "categories_", None)
        if not isinstance(known, (list, tuple)):
            continue
        for i, values in enumerate(known):
            at = i if columns is None else int(columns[i]) if i < len(columns) else width
            if at < width:
                found[at] = np.asarray(values)
    return tuple(found)


def vocabulary(model: Any) -> list[str]:
    """Return the words of a fitted text vectorizer that sees the raw text, sorted; empty when there is none."""
    words: set[str] = set()
    for step, _ in raw_steps(model):
        words.update(str(word) for word in getattr(step, "vocabulary_", None) or ())
    return sorted(words)


def typical_values(model: Any, width: int) -> Array | None:
    """Return ``[n, width]`` values like those the model was fitted on, as far as fitted parts keep traces of them.

    Sources are stored training rows, centres, means with scales, edges and thresholds; None without any.
    """
    found: list[list[Array]] = [[] for _ in range(width)]

    def add(columns: Ints | None, table: Array) -> None:
        for i in range(table.shape[1]):
            at = i if columns is None else int(columns[i]) if i < len(columns) else width
            if at < width:
                values = table[:, i]
                found[at].append(values[np.isfinite(values)])

    for step, columns in raw_steps(model):
        for table in _samples_of(step):
            add(columns, table)
        trees = read_trees(step)
        if trees is not None:
            _add_thresholds(found, trees, columns, width)
    edges = edge_values(model, width)
    pools = [np.concatenate([*parts, edge]) for parts, edge in zip(found, edges, strict=True)]
    if not any(pool.size for pool in pools):
        return None
    # A regular grid over each column's sorted values stands for its distribution.
    grid = np.linspace(0, 1, 33)
    normal = np.linspace(-2, 2, 33)
    return np.stack([np.quantile(pool, grid) if pool.size else normal for pool in pools], axis=1)


def _samples_of(step: Any) -> Iterator[Array]:
    for name in _SAMPLES:
        values: Any = getattr(step, name, None)
        if hasattr(values, "toarray"):
            values = values.toarray()
        if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind == "f" and values.size:
            yield values[:: max(1, len(values) // 512)].astype(np.float64)
    centre = getattr(step, "mean_", None)
    if centre is None:
        centre = getattr(step, "center_", None)
    scale: Any = getattr(step, "scale_", None)
    if isinstance(centre, np.ndarray) and centre.ndim == 1:
        width = np.asarray(scale, dtype=np.float64) if np.shape(scale) == centre.shape else np.ones(centre.shape)
        steps = np.linspace(-2, 2, 17)[:, None]
        yield centre.astype(np.float64) + steps * width


def _add_thresholds(found: list[list[Array]], trees: Trees, columns: Ints | None, width: int) -> None:
    split = trees.feature >= 0
    feature, threshold = trees.feature[split], trees.threshold[split]
    finite = np.isfinite(threshold)
    feature, threshold = feature[finite], threshold[finite]
    for column in np.unique(feature):
        at = int(column) if columns is None else int(columns[column])
        if at < width:
            found[at].append(threshold[feature == column])


def slots(signature: Signature) -> list[tuple[int, int]]:
    """Return, for each raw column, the input and the column inside it."""
    return [
        (i, column)
        for i, spec in enumerate(signature.inputs)
        for column in range(spec.shape[1] if len(spec.shape) > 1 and isinstance(spec.shape[1], int) else 1)
    ]


def by_name(model: Any, signature: Signature) -> bool:
    """Tell whether every input is one column that the estimator was fitted on, by name.

    They may come in another order, and without the columns that no step reads.
    """
    fitted = {str(name) for name in getattr(model, "feature_names_in_", ())}
    columns = all(len(spec.shape) < 2 or spec.shape[1] == 1 for spec in signature.inputs)
    return columns and set(signature.names) <= fitted


def fitted_positions(model: Any, signature: Signature) -> Ints:
    """Return, for each raw column, its position among those that the estimator was fitted on."""
    if not by_name(model, signature):
        return np.arange(len(slots(signature)))
    fitted = [str(name) for name in model.feature_names_in_]
    return np.array([fitted.index(name) for name in signature.names], np.int64)


def fitted_width(model: Any, positions: Ints) -> int:
    """Return the number of columns of the table that the positions are in."""
    return max(int(getattr(model, "n_features_in_", 0)), int(positions.max(initial=-1)) + 1)


def refine_signature(model: Any, signature: Signature, *, vector: bool) -> Signature:
    """Give every input what the fitted estimator knows: width, typical values, categories, words."""
    width = getattr(model, "n_features_in_", None)
    inputs = list(signature.inputs)
    if len(inputs) == 1 and width is not None and not vector and len(inputs[0].shape) == 2:
        dim = inputs[0].shape[1]
        if isinstance(dim, str):
            inputs[0] = dataclasses.replace(inputs[0], shape=(inputs[0].shape[0], int(width)))
    refined = signature.with_inputs(inputs)
    places = slots(refined)
    positions = fitted_positions(model, refined)
    width = fitted_width(model, positions)
    values = typical_values(model, width)
    known = [categories(model, width)[at] for at in positions]
    words = vocabulary(model) if vector else []
    found: list[InputSpec] = []
    for i, spec in enumerate(refined.inputs):
        own = [at for at, (owner, _) in enumerate(places) if owner == i]
        pool = spec.pool
        if pool is None and values is not None and spec.is_float and len(spec.shape) <= 2:
            with np.errstate(over="ignore"):
                pool = (
                    values[:, positions[own]]
                    .astype(spec.dtype)
                    .reshape((len(values),) + (len(own),) * (len(spec.shape) - 1))
                )
        labels = tuple(known[at] for at in own)
        if words and spec.dtype.kind == "O":
            labels = (np.asarray(words, dtype=object),)
        if spec.dtype.kind == "O" and hasattr(model, "classes_") and vector and not words:
            labels = (np.asarray(model.classes_, dtype=object),)
        found.append(dataclasses.replace(spec, pool=pool, categories=labels, text=bool(words)))
    return refined.with_inputs(found)
