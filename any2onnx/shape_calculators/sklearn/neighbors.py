"""What the estimators of sklearn.neighbors promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn import common
from any2onnx.shape_calculators.sklearn.common import Promise, batch, floats, label_dtype


def _methods(call: Call, **known: Callable[[], Any]) -> Promise:
    return {method: known[method]() for method in call.methods}


def _found(call: Call) -> Any:
    """Neighbours are two arrays, which a promise has no form for: distances [N, k] and indices [N, k]."""
    return None


def neighbours(call: Call) -> Promise:
    """Promise nothing about kneighbors, which gives two arrays."""
    return _methods(call, kneighbors=lambda: _found(call))


def classifier(call: Call) -> Promise:
    """predict [N] or [N, outputs]; predict_proba [N, classes], or one such array per output."""
    classes = call.source.classes_
    if isinstance(classes, list):
        label = TensorSpec(label_dtype(classes[0]), (batch(call), len(classes)))
        return _methods(call, predict=lambda: label, predict_proba=lambda: None, kneighbors=lambda: _found(call))
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
    """predict [N] int64, -1 or 1; scores [N]."""
    return dict(common.outlier_detector(call))


def knn_imputer(call: Call) -> Promise:
    """transform [N, features kept + indicators]."""
    model = call.source
    kept = np.size(model._valid_mask) if model.keep_empty_features else np.count_nonzero(model._valid_mask)
    indicators = len(model.indicator_.features_) if model.add_indicator else 0
    return _methods(call, transform=lambda: floats(call, int(kept) + indicators))
