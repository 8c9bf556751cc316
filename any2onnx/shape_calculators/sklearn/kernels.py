"""What support vector machines and other kernel methods promise."""

from __future__ import annotations

from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, classifier, floats


def support_vector_classifier(call: Call) -> Promise:
    """As any classifier; the decision is [N, pairs of classes] for decision_function_shape="ovo"."""
    count = len(call.source.classes_)
    promise = dict(classifier(call))
    if "decision_function" in promise and count > 2 and call.source.decision_function_shape == "ovo":
        promise["decision_function"] = floats(call, count * (count - 1) // 2)
    return promise
