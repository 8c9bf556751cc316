"""What support vector machines and other kernel methods promise."""

from __future__ import annotations

import numpy as np

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, batch, classifier, floats


def support_vector_classifier(call: Call) -> Promise:
    """As any classifier; the decision is [N, pairs of classes] for decision_function_shape="ovo"."""
    count = len(call.source.classes_)
    promise = dict(classifier(call))
    if "decision_function" in promise and count > 2 and call.source.decision_function_shape == "ovo":
        promise["decision_function"] = floats(call, count * (count - 1) // 2)
    return promise


def dual_regressor(call: Call) -> Promise:
    """predict [N], or [N, targets] for several."""
    return {"predict": floats(call, *np.shape(call.source.dual_coef_)[1:])}


def kernel_pca(call: Call) -> Promise:
    """transform [N, components]; inverse_transform [N, features]."""
    model = call.source
    promise: dict[str, TensorSpec | None] = {}
    if "transform" in call.methods:
        promise["transform"] = floats(call, len(model.eigenvalues_))
    if "inverse_transform" in call.methods:
        promise["inverse_transform"] = floats(call, int(model.n_features_in_)) if model.fit_inverse_transform else None
    return promise


def gaussian_process_regressor(call: Call) -> Promise:
    """predict and predict_std [N] or [N, targets]; predict_cov [N, N] or [N, N, targets]."""
    targets = np.shape(call.source.alpha_)[1:]
    several = targets if targets != (1,) else ()
    specs = {
        "predict": floats(call, *several),
        "predict_std": floats(call, *several),
        "predict_cov": floats(call, batch(call), *several),
    }
    return {method: specs[method] for method in call.methods}
