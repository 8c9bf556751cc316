"""What scikit-learn estimators promise, by kind: the shapes that their methods document.

Every function takes the call and returns {method: TensorSpec}; None promises nothing about a method. They read fitted
attributes only, never the converter's graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from any2onnx.graph.types import DataType, Dim, TensorSpec, dims_of
from any2onnx.operator_mappings.mapping import Call

Promise = Mapping[str, TensorSpec | tuple[TensorSpec, ...] | None]


def batch(call: Call) -> Dim:
    """Return the dim of the rows."""
    dims = dims_of(call.inputs[0].shape)
    return dims[0] if dims else None


def width(call: Call) -> int | None:
    """Return the number of input columns, None where it is not static."""
    total = 0
    for value in call.inputs:
        dims = dims_of(value.shape)
        column = 1 if dims is not None and len(dims) == 1 else dims[1] if dims is not None and len(dims) == 2 else None
        if not isinstance(column, int):
            return None
        total += column
    return total


def floats(call: Call, *dims: Dim) -> TensorSpec:
    """Return the type of a floating result with these dims after the rows."""
    return TensorSpec(call.params["float_type"], (batch(call), *dims))


def label_dtype(classes: Any) -> DataType:
    """Return the element type of labels: int64 for integers, text, bool, floats as they are."""
    array = np.asarray(classes)
    if array.dtype.kind == "O" and not all(isinstance(label, str) for label in array.ravel()):
        array = np.asarray(array.ravel().tolist())
    if array.dtype.kind in "iu":
        return DataType.INT64
    return DataType.STRING if array.dtype.kind in "OUST" else DataType.from_numpy(array.dtype)


def _pick(call: Call, specs: Mapping[str, Callable[[], TensorSpec | None]]) -> Promise:
    return {method: specs[method]() if method in specs else None for method in call.methods}


def classifier(call: Call) -> Promise:
    """predict [N]; predict_proba [N, classes]; decision_function [N] for two classes, else [N, classes]."""
    classes = call.source.classes_
    if isinstance(classes, list):
        return _several_targets(call, classes)
    # Of a single class some estimators give one column, some two.
    count = len(classes) if len(classes) > 1 else None
    decision = None if count is None else floats(call) if count == 2 else floats(call, count)
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(label_dtype(classes), (batch(call),)),
            "predict_proba": lambda: floats(call, count),
            "predict_log_proba": lambda: floats(call, count),
            "decision_function": lambda: decision,
        },
    )


def _several_targets(call: Call, classes: Sequence[Any]) -> Promise:
    """predict [N, targets]; probabilities one [N, classes] per target."""
    specs: dict[str, Any] = {
        "predict": TensorSpec(label_dtype(classes[0]), (batch(call), len(classes))),
        **{
            method: tuple(floats(call, len(own)) for own in classes)
            for method in ("predict_proba", "predict_log_proba")
        },
    }
    return {method: specs.get(method) for method in call.methods}


def ridge_classifier(call: Call) -> Promise:
    """As `classifier`; with multilabel targets predict and decision_function are [N, labels]."""
    if not getattr(call.source._label_binarizer, "y_type_", "").startswith("multilabel"):
        return classifier(call)
    count = len(call.source.classes_)
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(DataType.INT64, (batch(call), count)),
            "decision_function": lambda: floats(call, count),
        },
    )


def regressor(call: Call) -> Promise:
    """predict [N], or [N, targets] where the fitted coefficients have a row per target."""
    coefficients = getattr(call.source, "coef_", None)
    dims: tuple[int, ...] = () if coefficients is None else np.shape(coefficients)
    spec = floats(call, dims[0]) if len(dims) == 2 else floats(call)
    return _pick(call, {"predict": lambda: spec, "predict_std": lambda: floats(call)})


def vector_regressor(call: Call) -> Promise:
    """predict [N]."""
    return _pick(call, {"predict": lambda: floats(call), "predict_std": lambda: floats(call)})


def clusterer(call: Call) -> Promise:
    """predict [N] int64; transform [N, clusters]."""
    count = len(call.source.cluster_centers_)
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(DataType.INT64, (batch(call),)),
            "transform": lambda: floats(call, count),
        },
    )


def outlier_detector(call: Call) -> Promise:
    """predict [N] int64, -1 or 1; scores [N]."""
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(DataType.INT64, (batch(call),)),
            "decision_function": lambda: floats(call),
            "score_samples": lambda: floats(call),
        },
    )


def density(call: Call) -> Promise:
    """predict [N] int64; predict_proba [N, components]; score_samples [N]."""
    count = int(call.source.n_components)
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(DataType.INT64, (batch(call),)),
            "predict_proba": lambda: floats(call, count),
            "score_samples": lambda: floats(call),
        },
    )


def same_width(call: Call) -> Promise:
    """transform, inverse_transform [N, n]: floats, as many columns as the input."""
    return _pick(
        call, {"transform": lambda: floats(call, width(call)), "inverse_transform": lambda: floats(call, width(call))}
    )


def components(call: Call) -> Promise:
    """transform [N, components], inverse_transform [N, features], from the shape of `components_`."""
    rows, columns = np.shape(call.source.components_)
    return _pick(
        call,
        {
            "transform": lambda: floats(call, rows),
            "inverse_transform": lambda: floats(call, columns),
            "score_samples": lambda: floats(call),
        },
    )


def named_features(call: Call) -> Promise:
    """transform [N, k] floats, k by `get_feature_names_out`."""
    return _pick(call, {"transform": lambda: floats(call, len(call.source.get_feature_names_out()))})


def isotonic(call: Call) -> Promise:
    """predict and transform [N]."""
    return _pick(call, {"predict": lambda: floats(call), "transform": lambda: floats(call)})


def discriminant(call: Call) -> Promise:
    """As `classifier`, and transform [N, components]."""
    found = dict(classifier(call))
    scalings = getattr(call.source, "scalings_", None)
    if "transform" in found and scalings is not None:
        found["transform"] = floats(call, min(call.source._max_components, np.shape(scalings)[1]))
    return found


def nearest(call: Call) -> Promise:
    """predict [N] int64."""
    return _pick(call, {"predict": lambda: TensorSpec(DataType.INT64, (batch(call),))})


def perceptron(call: Call) -> Promise:
    """As `classifier`; with several labels predict and predict_proba are [N, labels]."""
    if not call.source._label_binarizer.y_type_.startswith("multilabel"):
        return classifier(call)
    count = int(call.source.n_outputs_)
    return _pick(
        call,
        {
            "predict": lambda: TensorSpec(DataType.INT64, (batch(call), count)),
            "predict_proba": lambda: floats(call, count),
            "predict_log_proba": lambda: floats(call, count),
        },
    )


def outputs_regressor(call: Call) -> Promise:
    """predict [N], or [N, outputs] by the fitted `n_outputs_`."""
    count = int(call.source.n_outputs_)
    spec = floats(call) if count == 1 else floats(call, count)
    return _pick(call, {"predict": lambda: spec, "predict_std": lambda: spec})
