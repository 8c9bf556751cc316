"""Shape calculators in skl2onnx's form for converters in skl2onnx's form."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.data_types import Int64TensorType, StringTensorType
from any2onnx.helpers.guessing import guess_tensor_type


def calculate_linear_classifier_output_shapes(operator: Any) -> None:
    """Set the outputs' types of a classifier: the label [N], and the scores [N, classes]."""
    rows = operator.inputs[0].type.shape[0]
    classes = getattr(operator.raw_operator, "classes_", None)
    text = classes is not None and np.asarray(classes).dtype.kind in "OUS"
    operator.outputs[0].type = StringTensorType([rows]) if text else Int64TensorType([rows])
    if len(operator.outputs) > 1:
        scores = guess_tensor_type(operator.inputs[0].type)
        scores.shape = [rows, len(classes) if classes is not None else None]
        operator.outputs[1].type = scores


def calculate_linear_regressor_output_shapes(operator: Any) -> None:
    """Set the output's type of a regressor: [N, targets]."""
    rows = operator.inputs[0].type.shape[0]
    coefficients = getattr(operator.raw_operator, "coef_", None)
    targets = len(coefficients) if coefficients is not None and np.ndim(coefficients) > 1 else 1
    values = guess_tensor_type(operator.inputs[0].type)
    values.shape = [rows, targets]
    operator.outputs[0].type = values
