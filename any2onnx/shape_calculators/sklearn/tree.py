"""What scikit-learn's trees and ensembles of trees promise."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.graph.types import DataType, Dim, TensorSpec, dims_of
from any2onnx.operator_mappings.mapping import Call

Specs = dict[str, Any]


def rows_of(call: Call) -> Dim:
    """Return the number of rows."""
    dims = dims_of(call.inputs[0].shape)
    return dims[0] if dims else None


def float_of(call: Call) -> DataType:
    """Return the type of floating-point results: that of the model's inputs, or float64 inside a pipeline."""
    dtype: DataType = call.params["float_type"]
    return dtype


def label_type(classes: Any) -> DataType:
    """Return the element type of class labels."""
    array = np.asarray(classes)
    if array.dtype.kind == "O":
        array = np.asarray(array.tolist())
    kinds = {"U": DataType.STRING, "S": DataType.STRING, "T": DataType.STRING, "b": DataType.BOOL}
    if array.dtype.kind in "iu":
        return DataType.INT64
    return kinds.get(array.dtype.kind) or DataType.from_numpy(array.dtype)


def tree_classifier(call: Call) -> Specs:
    """Promise of decision trees and forests that classify."""
    estimator, rows = call.source, rows_of(call)
    several = estimator.n_outputs_ > 1
    classes = list(estimator.classes_) if several else [estimator.classes_]
    specs: Specs = {}
    for method in call.methods:
        if method == "predict":
            specs[method] = TensorSpec(label_type(classes[0]), (rows, len(classes)) if several else (rows,))
        elif method in ("predict_proba", "predict_log_proba"):
            tables = tuple(TensorSpec(float_of(call), (rows, len(labels))) for labels in classes)
            specs[method] = tables if several else tables[0]
        else:
            specs[method] = _structure(call, method)
    return specs


def tree_regressor(call: Call) -> Specs:
    """Promise of decision trees and forests that regress, and of AdaBoostRegressor."""
    n_outputs = int(getattr(call.source, "n_outputs_", 1))
    shape: tuple[Dim, ...] = (rows_of(call),) if n_outputs == 1 else (rows_of(call), n_outputs)
    return {
        method: TensorSpec(float_of(call), shape) if method == "predict" else _structure(call, method)
        for method in call.methods
    }


def _structure(call: Call, method: str) -> TensorSpec:
    """Return the promise of apply and decision_path."""
    estimator, rows = call.source, rows_of(call)
    trees = getattr(estimator, "estimators_", None)
    if method == "decision_path":
        nodes = estimator.tree_.node_count if trees is None else sum(t.tree_.node_count for t in trees)
        return TensorSpec(DataType.INT64, (rows, int(nodes)))
    return TensorSpec(DataType.INT64, (rows,) if trees is None else (rows, len(trees)))


def embedding(call: Call) -> Specs:
    """Promise of RandomTreesEmbedding."""
    width = int(call.source._n_features_out)
    return {
        method: TensorSpec(float_of(call), (rows_of(call), width))
        if method == "transform"
        else _structure(call, method)
        for method in call.methods
    }


def outlier_detector(call: Call) -> Specs:
    """Promise of IsolationForest."""
    return {
        method: TensorSpec(DataType.INT64 if method == "predict" else float_of(call), (rows_of(call),))
        for method in call.methods
    }


def boosted_classifier(call: Call) -> Specs:
    """Promise of the classifiers that boost."""
    estimator, rows = call.source, rows_of(call)
    n_classes = len(estimator.classes_)
    specs: Specs = {}
    for method in call.methods:
        if method == "predict":
            specs[method] = TensorSpec(label_type(estimator.classes_), (rows,))
        elif method == "decision_function":
            specs[method] = TensorSpec(float_of(call), (rows,) if n_classes == 2 else (rows, n_classes))
        elif method == "apply":
            stages, width = estimator.estimators_.shape
            specs[method] = TensorSpec(DataType.INT64, (rows, int(stages), int(width)))
        else:
            # Of a single class some give one column, some two.
            specs[method] = TensorSpec(float_of(call), (rows, n_classes if n_classes > 1 else None))
    return specs


def boosted_regressor(call: Call) -> Specs:
    """Promise of the regressors that boost."""
    rows = rows_of(call)
    specs: Specs = {}
    for method in call.methods:
        if method == "apply":
            specs[method] = TensorSpec(DataType.INT64, (rows, len(call.source.estimators_)))
        else:
            specs[method] = TensorSpec(float_of(call), (rows,))
    return specs
