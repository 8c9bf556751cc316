"""What the builder does where onnxruntime has no kernel for an operator in some dtype.

First choice is another exact form of the operator in the same dtype; then a cast to a wider type around the node,
which loses nothing. float16 needs no such cast: onnxruntime puts it there itself, and the model runs in float16 where
there are kernels (on GPUs). What none of them can do is refused, never approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from any2onnx.errors import UnsupportedOperator
from any2onnx.graph import convolutions, decompositions
from any2onnx.graph.kernels import attribute_unserved, runs, runs_as_function
from any2onnx.graph.special_functions import atan_double, erf_double
from any2onnx.graph.types import DataType, Value, dtypes_in

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

_D = DataType
# Types that hold every number of the key: a cast there and back changes nothing.
WIDER: Final[Mapping[DataType, tuple[DataType, ...]]] = {
    _D.BOOL: (_D.UINT8, _D.INT32, _D.INT64, _D.FLOAT),
    _D.INT8: (_D.INT32, _D.INT64, _D.FLOAT),
    _D.UINT8: (_D.INT32, _D.INT64, _D.FLOAT),
    _D.INT16: (_D.INT32, _D.INT64, _D.FLOAT),
    _D.UINT16: (_D.INT32, _D.INT64, _D.FLOAT),
    _D.INT32: (_D.INT64, _D.DOUBLE),
    _D.UINT32: (_D.INT64, _D.DOUBLE),
    _D.FLOAT16: (_D.FLOAT, _D.DOUBLE),
    _D.BFLOAT16: (_D.FLOAT, _D.DOUBLE),
    _D.FLOAT: (_D.DOUBLE,),
}

Form = Callable[..., Value]


def lower(
    g: GraphBuilder,
    schema: onnx.defs.OpSchema,
    op_type: str,
    domain: str,
    values: Sequence[Value | None],
    outputs: int,
    attributes: Mapping[str, Any],
    bound: Mapping[str, DataType],
) -> tuple[Value, ...] | None:
    """Return the outputs of a form that runs; None where the schema itself refuses the types (its error is better).

    bfloat16, which many operators take from a later opset on only, is cast to float32 there as well.

    Raises:
        UnsupportedOperator: No exact form has a kernel.
    """
    constraints = _constraints(schema)
    version = g.opsets.get(domain) or schema.since_version
    refused = {dtype for name, dtype in bound.items() if not allowed(schema, {name: dtype})}
    if refused and (refused != {_D.BFLOAT16} or _widened(domain, op_type, bound, constraints, version) is None):
        return None
    if runs_as_function(domain, op_type, version, tuple(bound.items())):
        return None
    form = FORMS.get((op_type, next(iter(bound.values()), _D.UNDEFINED)))
    if form is not None:
        return (form(g, *values, **attributes),)
    widened = _widened(domain, op_type, bound, constraints, version)
    if widened is None:
        types = ", ".join(f"{name}={dtype.name.lower()}" for name, dtype in bound.items())
        raise UnsupportedOperator(
            f"onnxruntime has no kernel for {op_type} at version {schema.since_version} with {types}",
            where=g.provenance.source or None,
            needs="another element type or opset",
            remedy='options={"precision": "float32"}, or compute_dtype="float32"',
        )
    if _cast_by_the_runtime(domain, op_type, bound, widened, attributes):
        return None
    formals = [schema.inputs[min(k, len(schema.inputs) - 1)].type_str for k in range(len(values))]
    cast = [
        g.Cast(v, widened[formal]) if v is not None and formal in widened else v
        for v, formal in zip(values, formals, strict=True)
    ]
    results = g.ops(op_type, *cast, domain=domain, outputs=outputs, **attributes)
    back = [schema.outputs[min(k, len(schema.outputs) - 1)].type_str for k in range(outputs)]
    return tuple(g.Cast(r, bound[b]) if b in widened else r for r, b in zip(results, back, strict=True))


# Attributes that state an output's type: the runtime's own casts leave them as they are.
_TYPE_ATTRIBUTES: Final = frozenset({"dtype", "to", "output_dtype"})


def _cast_by_the_runtime(
    domain: str,
    op_type: str,
    bound: Mapping[str, DataType],
    widened: Mapping[str, DataType],
    attributes: Mapping[str, Any],
) -> bool:
    """Tell whether onnxruntime itself runs an operator of float16 in float32: a node that has no kernel on CPU.

    It casts every float16 input and output of such a node, and leaves attributes as they are.
    """
    half = {name for name, dtype in bound.items() if dtype == _D.FLOAT16}
    return (
        not domain
        and bool(half)
        and set(widened) == half
        and set(widened.values()) == {_D.FLOAT}
        and not _TYPE_ATTRIBUTES & set(attributes)
        and not attribute_unserved(op_type, attributes, bound.values())  # a kernel that fails when it runs
    )


def _constraints(schema: onnx.defs.OpSchema) -> dict[str, frozenset[DataType]]:
    return {c.type_param_str: dtypes_in(frozenset(c.allowed_type_strs)) for c in schema.type_constraints}


def allowed(schema: onnx.defs.OpSchema, bound: Mapping[str, DataType]) -> bool:
    """Tell whether ONNX's definition of an operator allows these types."""
    constraints = _constraints(schema)
    return all(dtype in constraints.get(name, {dtype}) for name, dtype in bound.items())


def _widened(
    domain: str,
    op_type: str,
    bound: Mapping[str, DataType],
    constraints: Mapping[str, frozenset[DataType]],
    version: int,
) -> dict[str, DataType] | None:
    """Return type parameters and the wider types that have a kernel: one parameter, or all of one type."""
    for name, dtype in bound.items():
        alike = [other for other, its in bound.items() if its == dtype]
        for wider in WIDER.get(dtype, ()):
            for names in ([name], alike):
                if any(wider not in constraints.get(n, frozenset()) for n in names):
                    continue
                changed = dict.fromkeys(names, wider)
                if runs(domain, op_type, version, tuple({**bound, **changed}.items())):
                    return changed
    return None


# --- exact forms in float64 ------------------------------------------------------------------------------------------


def _softplus(g: GraphBuilder, x: Value) -> Value:
    # log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)); log1p(u) for u in (0, 1] as 2·atanh(u / (2 + u)).
    small = g.Exp(g.Neg(g.Abs(x)))
    return g.Add(g.Relu(x), _log1p_unit(g, small))


def _log1p_unit(g: GraphBuilder, u: Value) -> Value:
    """log(1 + u) without the rounding of 1 + u: u · log(w) / (w - 1) with w = 1 + u (Kahan), u where w rounds to 1."""
    one = g.scalar_like(1.0, u)
    w = g.Add(one, u)
    rounds = g.Equal(w, one)
    safe = g.Where(rounds, g.scalar_like(2.0, u), w)
    return g.Where(rounds, u, g.Div(g.Mul(u, g.Log(safe)), g.Sub(safe, one)))


def _expm1(g: GraphBuilder, x: Value) -> Value:
    """exp(x) - 1 without cancellation: 2 · sinh(x/2) · exp(x/2) by tanh; tanh(h) (exp(x) + 1) = exp(x) - 1, h = x/2."""
    return g.Mul(g.Tanh(g.Mul(x, g.scalar_like(0.5, x))), g.Add(g.Exp(x), g.scalar_like(1.0, x)))


def _elu(g: GraphBuilder, x: Value, *, alpha: float = 1.0) -> Value:
    negative = g.Mul(g.scalar_like(alpha, x), _expm1(g, g.Min(x, g.scalar_like(0.0, x))))
    return g.Where(g.Greater(x, g.scalar_like(0.0, x)), x, negative)


def _selu(g: GraphBuilder, x: Value, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Value:
    return g.Mul(g.scalar_like(gamma, x), _elu(g, x, alpha=alpha))


def _leaky_relu(g: GraphBuilder, x: Value, *, alpha: float = 0.01) -> Value:
    return g.Where(g.Less(x, g.scalar_like(0.0, x)), g.Mul(x, g.scalar_like(alpha, x)), x)


def _hard_sigmoid(g: GraphBuilder, x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    line = g.Add(g.Mul(x, g.scalar_like(alpha, x)), g.scalar_like(beta, x))
    return g.Clip(line, 0.0, 1.0)


def _softsign(g: GraphBuilder, x: Value) -> Value:
    return g.Div(x, g.Add(g.Abs(x), g.scalar_like(1.0, x)))


def _thresholded_relu(g: GraphBuilder, x: Value, *, alpha: float = 1.0) -> Value:
    return g.Where(g.Greater(x, g.scalar_like(alpha, x)), x, g.scalar_like(0.0, x))


def _prelu(g: GraphBuilder, x: Value, slope: Value) -> Value:
    return g.Where(g.Less(x, g.scalar_like(0.0, x)), g.Mul(x, slope), x)


def _cosh(g: GraphBuilder, x: Value) -> Value:
    # exp(|x| - ln 2) first, so that it overflows no earlier than cosh itself.
    half = g.Exp(g.Sub(g.Abs(x), g.scalar_like(float(np.log(2)), x)))
    return g.Add(half, g.Div(g.scalar_like(0.25, x), half))


def _gelu(g: GraphBuilder, x: Value, *, approximate: str = "none") -> Value:
    return decompositions.gelu(g, x, approximate)


def _mish(g: GraphBuilder, x: Value) -> Value:
    return decompositions.mish(g, x)


def _hard_swish(g: GraphBuilder, x: Value) -> Value:
    return decompositions.hard_swish(g, x)


def _swish(g: GraphBuilder, x: Value, *, alpha: float = 1.0) -> Value:
    return decompositions.swish(g, x, alpha)


def _celu(g: GraphBuilder, x: Value, *, alpha: float = 1.0) -> Value:
    return g.Mul(g.scalar_like(alpha, x), _elu(g, g.Mul(x, g.scalar_like(1 / alpha, x))))


def _tan(g: GraphBuilder, x: Value) -> Value:
    return g.Div(g.Sin(x), g.Cos(x))


def _asin(g: GraphBuilder, x: Value) -> Value:
    one = g.scalar_like(1.0, x)
    root = g.Sqrt(g.Mul(g.Sub(one, x), g.Add(one, x)))
    return g.Mul(g.scalar_like(2.0, x), atan_double(g, g.Div(x, g.Add(one, root))))


def _acos(g: GraphBuilder, x: Value) -> Value:
    one = g.scalar_like(1.0, x)
    return g.Mul(g.scalar_like(2.0, x), atan_double(g, g.Sqrt(g.Div(g.Sub(one, x), g.Add(one, x)))))


def _log1p(g: GraphBuilder, u: Value) -> Value:
    """log(1 + u) for u ≥ 0: beyond 1 the rounding of 1 + u does not matter."""
    one = g.scalar_like(1.0, u)
    return g.Where(g.Greater(u, one), g.Log(g.Add(one, u)), _log1p_unit(g, g.Min(u, one)))


def _sinh(g: GraphBuilder, x: Value) -> Value:
    size = g.Abs(x)
    e = _expm1(g, g.Min(size, g.scalar_like(1.0, x)))
    small = g.Mul(g.scalar_like(0.5, x), g.Add(e, g.Div(e, g.Add(e, g.scalar_like(1.0, x)))))
    half = g.Exp(g.Sub(size, g.scalar_like(float(np.log(2)), x)))
    large = g.Sub(half, g.Div(g.scalar_like(0.25, x), half))
    value = g.Where(g.Less(size, g.scalar_like(1.0, x)), small, large)
    return g.Where(g.Less(x, g.scalar_like(0.0, x)), g.Neg(value), value)


def _asinh(g: GraphBuilder, x: Value) -> Value:
    size, one = g.Abs(x), g.scalar_like(1.0, x)
    # Beyond 2^28 the square would gain nothing, and overflow in the end.
    limited = g.Min(size, g.scalar_like(2.0**28, x))
    squared = g.Mul(limited, limited)
    inner = g.Add(limited, g.Div(squared, g.Add(one, g.Sqrt(g.Add(squared, one)))))
    far = g.Add(g.Log(size), g.scalar_like(float(np.log(2)), x))
    value = g.Where(g.Greater(size, g.scalar_like(2.0**28, x)), far, _log1p(g, inner))
    return g.Where(g.Less(x, g.scalar_like(0.0, x)), g.Neg(value), value)


def _acosh(g: GraphBuilder, x: Value) -> Value:
    one = g.scalar_like(1.0, x)
    t = g.Sub(g.Min(x, g.scalar_like(2.0**28, x)), one)
    inner = g.Add(t, g.Sqrt(g.Add(g.Mul(g.scalar_like(2.0, x), t), g.Mul(t, t))))
    far = g.Add(g.Log(x), g.scalar_like(float(np.log(2)), x))
    value = g.Where(g.Greater(x, g.scalar_like(2.0**28, x)), far, _log1p(g, inner))
    return g.Where(g.Less(x, one), g.scalar_like(float("nan"), x), value)


def _atanh(g: GraphBuilder, x: Value) -> Value:
    size, one = g.Abs(x), g.scalar_like(1.0, x)
    value = g.Mul(g.scalar_like(0.5, x), _log1p(g, g.Div(g.Mul(g.scalar_like(2.0, x), size), g.Sub(one, size))))
    value = g.Where(g.Greater(size, one), g.scalar_like(float("nan"), x), value)
    return g.Where(g.Less(x, g.scalar_like(0.0, x)), g.Neg(value), value)


FORMS: Final[Mapping[tuple[str, DataType], Form]] = {
    ("Softplus", _D.DOUBLE): _softplus,
    ("Elu", _D.DOUBLE): _elu,
    ("Selu", _D.DOUBLE): _selu,
    ("LeakyRelu", _D.DOUBLE): _leaky_relu,
    ("HardSigmoid", _D.DOUBLE): _hard_sigmoid,
    ("Softsign", _D.DOUBLE): _softsign,
    ("ThresholdedRelu", _D.DOUBLE): _thresholded_relu,
    ("PRelu", _D.DOUBLE): _prelu,
    ("Cosh", _D.DOUBLE): _cosh,
    ("Tan", _D.DOUBLE): _tan,
    ("Asin", _D.DOUBLE): _asin,
    ("Acos", _D.DOUBLE): _acos,
    ("Sinh", _D.DOUBLE): _sinh,
    ("Asinh", _D.DOUBLE): _asinh,
    ("Acosh", _D.DOUBLE): _acosh,
    ("Atanh", _D.DOUBLE): _atanh,
    ("Gelu", _D.DOUBLE): _gelu,
    ("Mish", _D.DOUBLE): _mish,
    ("HardSwish", _D.DOUBLE): _hard_swish,
    ("Celu", _D.DOUBLE): _celu,
    **{("Swish", dtype): _swish for dtype in (_D.FLOAT, _D.DOUBLE, _D.FLOAT16, _D.BFLOAT16)},
    ("Erf", _D.DOUBLE): erf_double,
    ("Atan", _D.DOUBLE): atan_double,
    ("Conv", _D.DOUBLE): convolutions.conv,
    ("ConvTranspose", _D.DOUBLE): convolutions.conv_transpose,
    ("InstanceNormalization", _D.DOUBLE): decompositions.instance_normalization,
    ("AveragePool", _D.DOUBLE): convolutions.average_pool,
}
