"""Functions of JAX inside Keras models: their program of primitives is run as functions of Keras.

A JaxLayer holds a function of JAX. JAX writes down what it does (a jaxpr), with symbols for the dims that vary; each
primitive of that program stands for functions of Keras, which the recorder knows. A program that a symbol does not fit
is refused by JAX itself, so that no size is fixed unseen.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall, flatten
from any2onnx.converters.keras.jax_primitives import TABLE
from any2onnx.converters.keras.weights import read_array
from any2onnx.errors import ExportFailed, UnsupportedOperator
from any2onnx.graph.types import DataType, Value, dtype_of, shape_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

# Primitives that stand for a program of their own, and the parameter that holds it.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A function of JAX, written down.

    Attributes:
        jaxpr: Its primitives (a ClosedJaxpr).
        tree: Structure of its results.
        dims: For each input, the names of its dims that vary, None for the others.
    """

    jaxpr: Any
    tree: Any
    dims: tuple[tuple[str | None, ...], ...]

    def run(self, *inputs: Any) -> Any:
        """Run the program on recording tensors (or any tensors of Keras); return its results, nested."""
        import jax

        sizes = {
            name: tensor.shape[axis]
            for tensor, names in zip(inputs, self.dims, strict=True)
            for axis, name in enumerate(names)
            if name is not None
        }
        found = _evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, inputs, sizes)
        return jax.tree_util.tree_unflatten(self.tree, found)


def program_of(function: Callable[..., Any], inputs: Any, location: str = "") -> Program:
    """Write down a function of JAX.

    Args:
        function: Takes `inputs` with tensors in place of Values.
        inputs: Values, nested, and numbers.
        location: For messages.

    Raises:
        ExportFailed: JAX cannot do so, with its reason.
    """
    import jax

    every, tree = jax.tree_util.tree_flatten(inputs, is_leaf=lambda leaf: isinstance(leaf, Value))
    leaves = [leaf for leaf in every if isinstance(leaf, Value)]
    labels: dict[str, str] = {}
    dims = tuple(
        tuple(None if isinstance(d, int) else labels.setdefault(str(d), f"d{len(labels)}") for d in shape_of(leaf))
        for leaf in leaves
    )
    scope = jax.export.SymbolicScope()
    symbols = {label: jax.export.symbolic_shape(label, scope=scope)[0] for label in labels.values()}
    examples = [
        jax.ShapeDtypeStruct(
            tuple(size if name is None else symbols[name] for size, name in zip(shape_of(leaf), names, strict=True)),
            dtype_of(leaf).numpy(),
        )
        for leaf, names in zip(leaves, dims, strict=True)
    ]
    try:
        jaxpr, shapes = jax.make_jaxpr(
            lambda *given: function(jax.tree_util.tree_unflatten(tree, _filled(every, given))), return_shape=True
        )(*examples)
    except Exception as error:  # of the user's function, or of JAX where a dim that varies does not fit it
        raise ExportFailed(
            f"JAX cannot write the function down: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            where=location or None,
            needs="a function whose steps do not depend on the numbers in tensors, nor on the sizes of dims that vary",
        ) from error
    return Program(jaxpr, jax.tree_util.tree_structure(shapes), dims)


def values_in(inputs: Any) -> list[Value]:
    """Return the Values of a nested structure in the order of JAX's trees."""
    import jax

    leaves = jax.tree_util.tree_leaves(inputs, is_leaf=lambda leaf: isinstance(leaf, Value))
    return [leaf for leaf in leaves if isinstance(leaf, Value)]


def _filled(leaves: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """Return the leaves with tensors in place of Values."""
    tensors = iter(given)
    return [next(tensors) if isinstance(leaf, Value) else leaf for leaf in leaves]


def _evaluate(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any], sizes: Mapping[str, Any]) -> list[Any]:
    """Run the equations one after the other."""
    values: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {var: np.asarray(const) for var, const in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        results = _equation(equation, operands, sizes)
        for var, result in zip(equation.outvars, results, strict=True):
            values[var] = _typed(result, var.aval)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: Any, operands: list[Any], sizes: Mapping[str, Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        inner = params[_CALLS[name]]
        body, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        return _evaluate(body, consts, operands, sizes)
    if name in _CONTROL:
        return _CONTROL[name](operands, params, sizes)
    meaning = TABLE.get(name)
    if meaning is None:
        raise UnsupportedOperator(
            f"JAX's primitive {name} has no converter", needs="a function of JAX made of other primitives"
        )
    results = meaning(*operands, **{key: _sized(value, sizes) for key, value in params.items()})
    return results if equation.primitive.multiple_results else [results]


def _sized(value: Any, sizes: Mapping[str, Any]) -> Any:
    """Return a parameter with the sizes of this run in place of JAX's symbols."""
    if type(value) is tuple:
        return tuple(_sized(part, sizes) for part in value)
    return _size(ast.parse(str(value).replace("^", "**"), mode="eval").body, sizes) if _is_symbolic(value) else value


def _is_symbolic(value: Any) -> bool:
    import jax

    return bool(jax.export.is_symbolic_dim(value))


_OPERATORS: dict[Any, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


def _size(node: Any, sizes: Mapping[str, Any]) -> Any:
    """Compute one of JAX's expressions of dims, such as ``4*d1 + floordiv(d0, 2)``, from the sizes of this run."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return sizes[node.id]
        case ast.UnaryOp():
            return _OPERATORS[type(node.op)](_size(node.operand, sizes))
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_size(node.left, sizes), _size(node.right, sizes))
        case ast.Call(func=ast.Name(id=name)) if name in _OPERATORS:
            return _OPERATORS[name](*[_size(part, sizes) for part in node.args])
    raise ExportFailed(f"JAX has a size that cannot be computed from dims that vary: {ast.unparse(node)}")


def _typed(result: Any, aval: Any) -> Any:
    """Cast to the type that JAX states: Keras promotes otherwise here and there."""
    from keras import ops

    dtype = np.dtype(aval.dtype).name
    return result if str(getattr(result, "dtype", "")) == dtype else ops.cast(result, dtype)


# --- control flow -----------------------------------------------------------------------------------------------------


def _cond(operands: list[Any], params: Mapping[str, Any], sizes: Mapping[str, Any]) -> Sequence[Any]:
    from keras import ops

    which, *rest = operands
    branches = [_branch(closed, rest, sizes) for closed in params["branches"]]
    return list(ops.switch(ops.cast(which, "int32"), branches))


def _branch(closed: Any, operands: list[Any], sizes: Mapping[str, Any]) -> Callable[[], list[Any]]:
    return lambda: _evaluate(closed.jaxpr, closed.consts, operands, sizes)


def _while(operands: list[Any], params: Mapping[str, Any], sizes: Mapping[str, Any]) -> Sequence[Any]:
    from keras import ops

    first = params["cond_nconsts"]
    second = first + params["body_nconsts"]
    of_condition, of_body, start = operands[:first], operands[first:second], operands[second:]
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    return list(
        ops.while_loop(
            lambda *state: _evaluate(condition.jaxpr, condition.consts, [*of_condition, *state], sizes)[0],
            lambda *state: tuple(_evaluate(body.jaxpr, body.consts, [*of_body, *state], sizes)),
            tuple(start),
        )
    )


def _scan(operands: list[Any], params: Mapping[str, Any], sizes: Mapping[str, Any]) -> Sequence[Any]:
    from keras import ops

    first = params["num_consts"]
    second = first + params["num_carry"]
    fixed, start, steps = operands[:first], operands[first:second], operands[second:]
    body = params["jaxpr"]

    def step(carry: Any, parts: Any) -> Any:
        found = _evaluate(body.jaxpr, body.consts, [*fixed, *carry, *(parts if parts is not None else ())], sizes)
        return found[: len(start)], found[len(start) :]

    length = _sized(params["length"], sizes)
    carry, stacked = ops.scan(step, start, steps or None, length=int(length), reverse=bool(params["reverse"]))
    return [*carry, *stacked]


_CONTROL = {"cond": _cond, "while": _while, "scan": _scan}


# --- layers -----------------------------------------------------------------------------------------------------------


def jax_layer(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert JaxLayer and FlaxLayer: the function for inference, with the weights as they are.

    Raises:
        ExportFailed: JAX cannot write the function down for dims that vary.
        UnsupportedOperator: It has a primitive without a converter.
    """
    import jax

    layer = call.source

    def array(variable: Any) -> Any:
        return None if variable is None else read_array(variable) if hasattr(variable, "shape") else variable

    given: dict[str, Any] = {"training": False}
    given["params"], given["state"] = (jax.tree_util.tree_map(array, tree) for tree in (layer.params, layer.state))
    given["rng"] = layer._get_call_rng(False) if "rng" in layer.call_fn_arguments else None

    def function(inputs: Any) -> Any:
        arguments = {**given, "inputs": inputs}
        found = layer.call_fn(*[arguments[name] for name in layer.call_fn_arguments])
        return found[0] if layer.call_fn_has_state else found

    (inputs,) = call.inputs
    inputs = jax.tree_util.tree_map(lambda leaf: narrow(g, leaf), inputs, is_leaf=lambda v: isinstance(v, Value))
    program = program_of(function, inputs, call.location)
    leaves = values_in(inputs)
    results = flatten(call.walker.trace(g, program.run, leaves, path=call.scope, what=layer))
    return results[0] if len(results) == 1 else results


def narrow(g: GraphBuilder, value: Any) -> Any:
    """Cast to the types that JAX has: its 64-bit ones are switched off. What is no Value stays."""
    if not isinstance(value, Value):
        return value
    types = {DataType.INT64: DataType.INT32, DataType.UINT64: DataType.UINT32, DataType.DOUBLE: DataType.FLOAT}
    wanted = types.get(dtype_of(value))
    return value if wanted is None else g.Cast(value, wanted)
