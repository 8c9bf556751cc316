"""What splines, target encodings and label sets promise."""

from __future__ import annotations

import numpy as np

from any2onnx.graph.types import DataType, TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, batch, floats


def splines(call: Call) -> Promise:
    """transform [N, features · splines], one spline less per feature without the bias."""
    model = call.source
    count = np.shape(model.bsplines_[0].c)[1]
    features = len(model.bsplines_)
    return {"transform": floats(call, features * (count if model.include_bias else count - 1))}


def target_encodings(call: Call) -> Promise:
    """transform [N, features · classes of a multiclass target]."""
    return {"transform": floats(call, len(call.source.encodings_))}


def label_sets(call: Call) -> Promise:
    """transform [N, classes] int64; inverse_transform gives rows of different lengths."""
    spec = TensorSpec(DataType.INT64, (batch(call), len(call.source.classes_)))
    return {method: spec if method == "transform" else None for method in call.methods}
