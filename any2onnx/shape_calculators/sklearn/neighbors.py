"""What the estimators of sklearn.neighbors promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from any2onnx.graph.types import DataType, TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn import common
from any2onnx.shape_calculators.sklearn.common import batch, floats, label_dtype

Promise = Mapping[str, Any]


def _methods(call: Call, **known: Callable[[], Any]) -> Promise:
    return {method: known[method]() for method in call.methods}


def _found(call: Call) -> tuple[TensorSpec, TensorSpec]:
    """Return distances [N, k] and int64 indices [N, k]."""
    count = int(call.source.n_neighbors)
    return floats(call, count), TensorSpec(DataType.INT64, (batch(call), count))


def neighbours(call: Call) -> Promise:
    """kneighbors: distances [N, k] and indices [N, k]."""
    return _methods(call, kneighbors=lambda: _found(call))


def classifier(call: Call) -> Promise:
    """predict [N] or [N, outputs]; predict_proba [N, classes], or one such array per output."""
    classes = call.source.classes_
    if isinstance(classes, list):
        label = TensorSpec(label_dtype(classes[0]), (batch(call), len(classes)))
        each = tuple(floats(call, len(c)) for c in classes)
        return _methods(call, predict=lambda: label, predict_proba=lambda: each, kneighbors=lambda: _found(call))
    return _methods(
        call,
        predict=lambda: TensorSpec(label_dtype(classes), (batch(call),)),
        predict_proba=lambda: floats(call, len(classes)),
        kneighbors=lambda: _found(call),
    )


def regressor(call: Call) -> Promise:
    """predict [N] or [N, targets]."""
    shape = np.shape(call.source._y)
    return _methods(call, predict=lambda: floats(call, *shape[1:]), kneighbors=lambda: _found(call))


def neighbour_graph(call: Call) -> Promise:
    """transform [N, fitted rows]."""
    return _methods(
        call, transform=lambda: floats(call, int(call.source.n_samples_fit_)), kneighbors=lambda: _found(call)
    )


def outlier_detector(call: Call) -> Promise:
    """predict [N] int64, -1 or 1; scores [N]; kneighbors two arrays."""
    promise = dict(common.outlier_detector(call))
    return {method: _found(call) if method == "kneighbors" else spec for method, spec in promise.items()}


def knn_imputer(call: Call) -> Promise:
    """transform [N, features kept + indicators]."""
    model = call.source
    kept = np.size(model._valid_mask) if model.keep_empty_features else np.count_nonzero(model._valid_mask)
    indicators = len(model.indicator_.features_) if model.add_indicator else 0
    return _methods(call, transform=lambda: floats(call, int(kept) + indicators))
