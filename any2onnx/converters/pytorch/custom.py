"""Users' own converters (custom_translation_table), and operators that the model itself writes in ONNX's terms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from any2onnx.converters.pytorch.call import TorchCall
from any2onnx.converters.pytorch.keys import schema_arguments, target_key
from any2onnx.errors import UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, TensorSpec, Value
from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.shape_calculators.pytorch.general import Promises


def custom_rows(table: Mapping[Any, Any]) -> list[OperatorMapping]:
    """Return a row for every overload that a table names.

    Args:
        table: ``{overload | all overloads of a name | key: function}``. A function with the parameters (g, call) is a
            converter of any2onnx; any other one is an onnxscript function, called with the operator's arguments.
    """
    return [
        OperatorMapping(
            framework="pytorch",
            key=overload if isinstance(overload, str) else target_key(overload),
            converter=_converter(overload, function[0] if isinstance(function, list | tuple) else function),
            note="custom_translation_table",
        )
        for target, function in table.items()
        for overload in _overloads(target)
    ]


def _overloads(target: Any) -> list[Any]:
    if hasattr(target, "overloads") and not hasattr(target, "_schema"):
        return [getattr(target, name) for name in target.overloads()]
    return [target]


def _converter(target: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    if not callable(function):
        raise UsageError(f"custom_translation_table[{target}] is {function!r}", needs="a function")
    if not hasattr(function, "function_ir"):
        names = list(inspect.signature(function).parameters)
        if len(names) == 2 and names[1] == "call":
            return function
    return functools.partial(convert_by_script, function=function)


# --- onnxscript ----------------------------------------------------------------------------------------


def convert_by_script(g: GraphBuilder, call: TorchCall, *, function: Callable[..., Any]) -> Any:
    """Run an onnxscript function, its operators becoming nodes of the graph."""
    from onnxscript import evaluator

    emitter: Any = _Emitter(g, call)
    names = [a.name for a in schema_arguments(call.source.target)] if hasattr(call.source.target, "_schema") else []
    values = {name: _wrapped(g, call.params[name]) for name in names} if names else {}
    given = len(call.source.args)
    args = [values[name] for name in names[:given]] if names else [_wrapped(g, v) for v in call.inputs]
    kwargs = {name: values[name] for name in call.source.kwargs if name in values}
    with evaluator.default_as(emitter):
        result = function(*args, **kwargs)
    return [_plain(r) for r in result] if isinstance(result, list | tuple) else _plain(result)


class ScriptValue:
    """A value of the graph inside an onnxscript function: it has the operators that scripts write.

    Attributes:
        value: The value.
    """

    def __init__(self, g: GraphBuilder, value: Value) -> None:
        self._g = g
        self.value = value

    @property
    def shape(self) -> Any:
        """Shape, with names for dynamic dims."""
        return self.value.shape

    @property
    def dtype(self) -> DataType | None:
        """Element type."""
        return self.value.dtype

    def _binary(self, op_type: str, other: Any, *, swapped: bool = False) -> ScriptValue:
        operands = [self.value, _plain(other)]
        if swapped:
            operands.reverse()
        return ScriptValue(self._g, self._g.op(op_type, *operands))

    def __add__(self, other: Any) -> ScriptValue:
        return self._binary("Add", other)

    def __radd__(self, other: Any) -> ScriptValue:
        return self._binary("Add", other, swapped=True)

    def __sub__(self, other: Any) -> ScriptValue:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any) -> ScriptValue:
        return self._binary("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> ScriptValue:
        return self._binary("Mul", other)

    def __rmul__(self, other: Any) -> ScriptValue:
        return self._binary("Mul", other, swapped=True)

    def __truediv__(self, other: Any) -> ScriptValue:
        return self._binary("Div", other)

    def __rtruediv__(self, other: Any) -> ScriptValue:
        return self._binary("Div", other, swapped=True)

    def __matmul__(self, other: Any) -> ScriptValue:
        return self._binary("MatMul", other)

    def __pow__(self, other: Any) -> ScriptValue:
        return self._binary("Pow", other)

    def __mod__(self, other: Any) -> ScriptValue:
        return self._binary("Mod", other)

    def __lt__(self, other: Any) -> ScriptValue:
        return self._binary("Less", other)

    def __le__(self, other: Any) -> ScriptValue:
        return self._binary("LessOrEqual", other)

    def __gt__(self, other: Any) -> ScriptValue:
        return self._binary("Greater", other)

    def __ge__(self, other: Any) -> ScriptValue:
        return self._binary("GreaterOrEqual", other)

    def __and__(self, other: Any) -> ScriptValue:
        return self._binary("And", other)

    def __or__(self, other: Any) -> ScriptValue:
        return self._binary("Or", other)

    def __neg__(self) -> ScriptValue:
        return ScriptValue(self._g, self._g.op("Neg", self.value))


class _Emitter:
    """An evaluator of onnxscript that makes nodes instead of computing."""

    def __init__(self, g: GraphBuilder, call: TorchCall) -> None:
        self._g = g
        self._call = call

    def eval_op(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Make one node."""
        domain = op.opset.domain
        if op.name == "Constant" and not domain:
            (value,) = (v for v in kwargs.values() if v is not None)
            return ScriptValue(self._g, self._g.const(_plain(value)))
        if domain:
            self._g.include_domain(domain, op.opset.version)
        types = None
        schema = op.op_schema
        if schema is None:
            promised = Promises()(self._call)
            specs = promised if isinstance(promised, list) else [promised]
            types = [spec for spec in specs if spec is not None]
            count = len(types)
        else:
            count = _outputs(schema, args, kwargs)
            names = [p.name for p in schema.inputs]
            by_name = {name: kwargs[name] for name in names if name in kwargs}
            args = [*args, *(by_name.get(name) for name in names[len(args) :])] if by_name else args
            kwargs = {k: v for k, v in kwargs.items() if k not in by_name}
        attributes = {name: _plain(value) for name, value in kwargs.items()}
        inputs = [_plain(a) for a in args]
        results = self._g.ops(op.name, *inputs, domain=domain, outputs=count, types=types, **attributes)
        wrapped = tuple(ScriptValue(self._g, r) for r in results)
        return wrapped[0] if len(wrapped) == 1 else wrapped

    def eval_function(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the body of a script function."""
        return function.function(*args, **kwargs)


def _outputs(schema: onnx.defs.OpSchema, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    option = onnx.defs.OpSchema.FormalParameterOption
    if schema.name == "Split":
        return int(kwargs["num_outputs"]) if "num_outputs" in kwargs else len(args[1])
    return max(1, sum(o.option == option.Single for o in schema.outputs))


def _wrapped(g: GraphBuilder, value: Any) -> Any:
    if isinstance(value, Value):
        return ScriptValue(g, value)
    if isinstance(value, list | tuple):
        return [_wrapped(g, v) for v in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, ScriptValue):
        return value.value
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value


# --- torch.onnx.ops ----------------------------------------------------------------------------------------


def symbolic(g: GraphBuilder, call: TorchCall) -> Any:
    """torch.onnx.ops.symbolic: any ONNX operator, named in the model itself."""
    p = call.params
    attributes: dict[str, Any] = {}
    for name, kind, (start, end) in zip(p["attr_keys"], p["attr_types"], p["attr_pos"], strict=True):
        values = list({"i": p["attr_ints"], "f": p["attr_floats"], "s": p["attr_strs"]}[kind[0]][start:end])
        attributes[name] = values if kind.endswith("s") and len(kind) > 1 else values[0]
    many = isinstance(call.result, list | tuple)
    specs = [Promises().spec(r) for r in (call.result if many else [call.result])]
    types = [_anonymous(spec) for spec in specs if spec is not None]
    if p["domain"]:
        g.include_domain(p["domain"], p["version"] or 1)
    inputs = list(p["inputs"])
    results = g.ops(p["op_type"], *inputs, domain=p["domain"], outputs=len(types), types=types, **attributes)
    if (node := results[0].producer()) is not None:
        node.metadata_props.update(zip(p["metadata_props_keys"], p["metadata_props_values"], strict=True))
    return list(results) if many else results[0]


def _anonymous(spec: TensorSpec) -> TensorSpec:
    """Return a type without the trace's own names of sizes; the promise of the call names them."""
    shape = None if spec.shape is None else tuple(d if isinstance(d, int) else None for d in spec.shape)
    return TensorSpec(spec.dtype, shape)


def onnx_operator(g: GraphBuilder, call: TorchCall) -> Any:
    """An operator of torch.onnx.ops, such as onnx.RotaryEmbedding: ONNX's own, argument by argument."""
    op_type = call.key.split(".")[1]
    schema = onnx.defs.get_schema(op_type, g.opsets.main)
    tensors = [call.params[a.name] for a in schema_arguments(call.source.target) if a.is_tensor]
    attributes = {
        a.name: call.params[a.name]
        for a in schema_arguments(call.source.target)
        if not a.is_tensor and a.name in schema.attributes and call.params[a.name] is not None
    }
    count = len(call.result) if isinstance(call.result, list | tuple) else 1
    results = g.ops(op_type, *tensors, outputs=count, **attributes)
    return list(results) if isinstance(call.result, list | tuple) else results[0]
