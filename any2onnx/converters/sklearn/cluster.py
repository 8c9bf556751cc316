"""sklearn.cluster: assignment to fitted centres."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.sklearn.distances import nearest_order, squared_euclidean
from any2onnx.converters.sklearn.support import Results, cast_results, fill_rows, inner_type, matrix, only, weights
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType
from any2onnx.operator_mappings.mapping import Call


def k_means(g: GraphBuilder, call: Call) -> Results:
    """Convert KMeans and MiniBatchKMeans: the nearest centre, and the distances to all."""
    centres = np.asarray(call.source.cluster_centers_, np.float64)
    x = matrix(g, call, inner_type(call))
    results: Results = {}
    if "transform" in call.methods:
        squares = squared_euclidean(g, x, centres)
        results["transform"] = g.Sqrt(squares)
        if "predict" in call.methods:
            results["predict"] = g.ArgMin(squares, axis=1, keepdims=0)
    else:
        results["predict"] = g.ArgMin(nearest_order(g, x, centres), axis=1, keepdims=0)
    return cast_results(g, call, only(call, results))


def nearest_centre(g: GraphBuilder, call: Call) -> Results:
    """Convert MeanShift and AffinityPropagation: the nearest centre; -1 where none was found.

    Raises:
        UnsupportedParameter: It was fitted on affinities, so there are no centres.
    """
    fitted = getattr(call.source, "cluster_centers_", None)
    if fitted is None:
        raise UnsupportedParameter("affinity='precomputed' leaves no centres to predict with", where=call.location)
    centres = weights(fitted, DataType.DOUBLE)
    if not len(centres):
        return {"predict": fill_rows(g, call, np.asarray(-1, np.int64))}
    x = matrix(g, call, inner_type(call))
    return {"predict": g.ArgMin(nearest_order(g, x, centres), axis=1, keepdims=0)}
