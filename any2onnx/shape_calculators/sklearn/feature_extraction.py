"""What sklearn.feature_extraction promises."""

from __future__ import annotations

from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, floats


def vocabulary(call: Call) -> Promise:
    """transform [N, terms]; inverse_transform gives rows of different lengths."""
    spec = floats(call, len(call.source.vocabulary_))
    return {method: spec if method == "transform" else None for method in call.methods}


def hashes(call: Call) -> Promise:
    """transform [N, n_features]."""
    return {"transform": floats(call, int(call.source.n_features))}
