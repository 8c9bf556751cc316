"""sklearn.neural_network: multi-layer perceptrons.

The hidden layers run in the working type, for speed; the output function in float64, where small probabilities count.
Layers without an activation are one product, in float64: what cancels between them is gone, and it is the least work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    as_vector,
    cast_results,
    inner_type,
    labels,
    matrix,
    only,
    steady_type,
    two_columns,
    weights,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def _activation(g: GraphBuilder, call: Call, name: str, x: Value) -> Value:
    if name == "identity":
        return x
    if name == "relu":
        return g.Relu(x)
    if name == "tanh":
        return g.Tanh(x)
    if name == "logistic":
        return logistic(g, x)
    if name == "softmax":
        return g.Softmax(x, axis=1)
    if name == "exp":
        return g.Exp(x)
    raise UnsupportedParameter(f"the activation {name!r} is not known", where=call.location or None)


def _one_layer(layers: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the weights and the intercept of layers with nothing between them."""
    product, shift = (np.asarray(part, np.float64) for part in layers[0])
    for coefficients, intercept in layers[1:]:
        wide = np.asarray(coefficients, np.float64)
        product, shift = product @ wide, shift @ wide + intercept
    return product, shift


def _forward(g: GraphBuilder, call: Call) -> Value:
    """Return the output layer, [N, outputs], in float64."""
    model = call.source
    linear = model.activation == "identity"
    dtype = inner_type(call) if linear else steady_type(call)
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    layers = [_one_layer(layers)] if linear else layers
    value = matrix(g, call, dtype)
    last = len(layers) - 1
    for k, (coefficients, intercept) in enumerate(layers):
        value = g.Gemm(value, g.const(weights(coefficients, dtype), name=f"coefs_{k}"), weights(intercept, dtype))
        if k < last:
            value = _activation(g, call, model.activation, value)
    return _activation(g, call, model.out_activation_, g.Cast(value, inner_type(call)))


def mlp_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert MLPRegressor."""
    value = _forward(g, call)
    return cast_results(g, call, {"predict": as_vector(g, value) if call.source.n_outputs_ == 1 else value})


def mlp_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert MLPClassifier, for two classes, several classes and several labels."""
    model = call.source
    output = _forward(g, call)
    kind = model._label_binarizer.y_type_
    several = kind.startswith("multilabel")
    single = model.n_outputs_ == 1
    results: Results = {"predict_proba": two_columns(g, as_vector(g, output)) if single else output}
    if "predict" in call.methods:
        above = g.Cast(g.Greater(output, g.const(np.asarray(0.5, dtype_of(output).numpy()))), DataType.INT64)
        if several:
            results["predict"] = above
        elif single:
            # With a single class there is nothing but the first.
            index = as_vector(g, above)
            both = len(model.classes_) > 1
            results["predict"] = labels(g, model.classes_, index if both else g.Mul(index, np.asarray(0, np.int64)))
        else:
            results["predict"] = argmax_label(g, output, model.classes_)
    if "predict_log_proba" in call.methods:
        results["predict_log_proba"] = g.Log(results["predict_proba"])
    return cast_results(g, call, only(call, results), keep=("predict",))
