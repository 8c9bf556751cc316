"""What encoders and imputers promise."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.graph.types import DataType, TensorSpec, to_dtype
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, batch, floats, label_dtype


def _encoded(call: Call, dtype: Any, columns: int) -> TensorSpec:
    kind = np.dtype(dtype)
    return floats(call, columns) if kind.kind == "f" else TensorSpec(to_dtype(kind), (batch(call), columns))


def _either(call: Call, forward: TensorSpec, back: TensorSpec | None = None) -> Promise:
    """Return the promise for transform and inverse_transform, as far as they are wanted."""
    specs = {"transform": forward, "inverse_transform": back}
    return {method: specs[method] for method in call.methods}


def one_hot(call: Call) -> Promise:
    """transform [N, categories kept]."""
    return _either(call, _encoded(call, call.source.dtype, int(sum(call.source._n_features_outs))))


def ordinal(call: Call) -> Promise:
    """transform [N, n]."""
    return _either(call, _encoded(call, call.source.dtype, len(call.source.categories_)))


def label(call: Call) -> Promise:
    """transform [N] int64; inverse_transform [N] labels."""
    specs = {
        "transform": TensorSpec(DataType.INT64, (batch(call),)),
        "inverse_transform": TensorSpec(label_dtype(call.source.classes_), (batch(call),)),
    }
    return {method: specs[method] for method in call.methods}


def label_binary(call: Call) -> Promise:
    """transform [N, classes] int64, [N, 1] for two classes."""
    count = len(call.source.classes_)
    spec = TensorSpec(DataType.INT64, (batch(call), 1 if count <= 2 else count))
    back = TensorSpec(label_dtype(call.source.classes_), (batch(call),))
    return _either(call, spec, back)


def k_bins(call: Call) -> Promise:
    """transform [N, n], or one column per bin."""
    bins = call.source.n_bins_
    spec = floats(call, len(bins) if call.source.encode == "ordinal" else int(np.sum(bins)))
    return _either(call, spec, floats(call, len(bins)))


def imputer(call: Call) -> Promise:
    """transform [N, features kept + indicators], in the type of the input; inverse_transform [N, features]."""
    model = call.source
    if "inverse_transform" in call.methods:
        return {"inverse_transform": floats(call, len(model.statistics_))}
    statistics = np.asarray(model.statistics_).tolist()
    kept = len(statistics)
    if not model.keep_empty_features:
        kept -= sum(isinstance(value, float) and value != value for value in statistics)
    if model.add_indicator:
        kept += len(model.indicator_.features_)
    dtype = call.inputs[0].dtype
    if any((value.dtype == DataType.STRING) != (dtype == DataType.STRING) for value in call.inputs) or (
        dtype == DataType.STRING and model.add_indicator
    ):
        return {"transform": None}
    if dtype == DataType.STRING:
        return {"transform": TensorSpec(DataType.STRING, (batch(call), kept))}
    if model.strategy in ("mean", "median") or dtype in (DataType.FLOAT, DataType.DOUBLE):
        return {"transform": floats(call, kept)}
    return {"transform": None}


def missing_indicator(call: Call) -> Promise:
    """transform [N, features] bool."""
    return {"transform": TensorSpec(DataType.BOOL, (batch(call), len(call.source.features_)))}
