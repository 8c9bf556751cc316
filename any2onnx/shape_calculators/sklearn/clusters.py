"""What clusterers over trees and sub-clusters promise."""

from __future__ import annotations

from any2onnx.graph.types import DataType, TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, batch, floats


def birch(call: Call) -> Promise:
    """predict [N] int64; transform [N, sub-clusters]."""
    specs = {
        "predict": TensorSpec(DataType.INT64, (batch(call),)),
        "transform": floats(call, len(call.source.subcluster_centers_)),
    }
    return {method: specs[method] for method in call.methods}


def feature_agglomeration(call: Call) -> Promise:
    """transform [N, clusters]; inverse_transform [N, features]."""
    specs = {
        "transform": floats(call, int(call.source.n_clusters_)),
        "inverse_transform": floats(call, len(call.source.labels_)),
    }
    return {method: specs[method] for method in call.methods}


def embedding(call: Call) -> Promise:
    """transform [N, components]."""
    return {"transform": floats(call, int(call.source.embedding_.shape[1]))}
