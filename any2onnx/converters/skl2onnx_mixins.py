"""Estimators that bring their own conversion: skl2onnx's `OnnxOperatorMixin` with a method `to_onnx_operator`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from any2onnx.converters.skl2onnx_adapter import Adapter, adapter_row
from any2onnx.converters.sklearn.context import FRAMEWORK, Context, class_key
from any2onnx.converters.sklearn.scan import every_estimator
from any2onnx.data_types import DoubleTensorType, FloatTensorType, TensorType, as_tensor_type
from any2onnx.operator_mappings.mapping import OperatorMapping

_MIXIN = "OnnxOperatorMixin"


def own_rows(model: Any, context: Context) -> list[OperatorMapping]:
    """Return a row for every class in the estimator tree that brings its own conversion and is not registered."""
    found: dict[type, None] = {}
    for estimator in every_estimator(model, context):
        cls = type(estimator)
        if _overrides(cls, "to_onnx_operator") and not context.registry.knows(FRAMEWORK, class_key(cls)):
            found[cls] = None
    return [_row(cls) for cls in found]


def _overrides(cls: type, name: str) -> bool:
    """Tell whether a class has a method of its own, not the mixin's."""
    if not any(base.__name__ == _MIXIN for base in cls.__mro__):
        return False
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    return owner is not None and owner.__name__ != _MIXIN


def _row(cls: type) -> OperatorMapping:
    # What the mixin says by default of shapes and outputs follows from the graph here.
    shapes = _shapes if _overrides(cls, "onnx_shape_calculator") else None
    parser = _parser if _overrides(cls, "onnx_parser") else None
    return adapter_row(cls, Adapter(f"Sklearn{cls.__name__}", shapes, _convert, parser), None)


def _shapes(operator: Any) -> None:
    operator.raw_operator.onnx_shape_calculator()(operator)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    operator.raw_operator.onnx_converter()(scope, operator, container)


def _parser(scope: Any, model: Any, inputs: list[Any], _: Any) -> list[Any]:
    operator = scope.declare_local_operator(f"Sklearn{type(model).__name__}", model)
    operator.inputs.extend(inputs)
    operator.outputs.extend(_outputs(scope, inputs, model.onnx_parser()(scope=scope, inputs=inputs)))
    return list(operator.outputs)


def _outputs(scope: Any, inputs: list[Any], names: Any) -> Iterator[Any]:
    for item in names or ("variable",):
        if hasattr(item, "onnx_name"):
            yield item
        elif isinstance(item, str):
            yield scope.declare_local_variable(item, _floats_like(inputs[0].type))
        else:
            yield scope.declare_local_variable(item[0], _floats_like(item[1]))


def _floats_like(given: Any) -> TensorType:
    return DoubleTensorType() if as_tensor_type(given).dtype == "float64" else FloatTensorType()
