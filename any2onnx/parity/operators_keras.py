"""What a Keras model computes on the way, by layers or by operators, and what follows when that moves a little.

The layers of a private copy can be wrapped. The user's own model is not touched: there TensorFlow itself reports every
operator that it runs, and so does PyTorch under its backend.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.intermediates import Intermediate
from any2onnx.parity.rounding import EXACT, moved, plain_name
from any2onnx.parity.signature import to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from any2onnx.parity.ulp import Array


@contextlib.contextmanager
def recorded_keras(model: Any, found: list[Intermediate]) -> Iterator[None]:
    """Record what every layer of a Keras model returns while it runs.

    The model must be a private copy: its layers are wrapped, and unwrapped at the end.
    """
    import keras

    wrapped = []
    for layer in model._flatten_layers(include_self=False, recursive=True) if hasattr(model, "_flatten_layers") else ():
        if "call" in vars(layer):
            continue
        call, name = layer.call, layer.path if getattr(layer, "path", "") else layer.name

        def recording(*arguments: Any, _call: Any = call, _name: str = name, **options: Any) -> Any:
            result = _call(*arguments, **options)
            for leaf in keras.tree.flatten(result):
                if leaf is not None and hasattr(leaf, "dtype") and "string" not in str(leaf.dtype):
                    values = to_numpy(leaf) if hasattr(leaf, "detach") else np.asarray(leaf)
                    found.append(Intermediate(_name, values))
            return result

        object.__setattr__(layer, "call", recording)
        wrapped.append(layer)
    try:
        yield
    finally:
        for layer in wrapped:
            object.__delattr__(layer, "call")


@contextlib.contextmanager
def recorded_operators(model: Any, found: list[Intermediate]) -> Iterator[None]:
    """Record what every operator of the backend returns while a model runs; records nothing under JAX and NumPy."""
    import keras

    if keras.backend.backend() == "torch":
        from any2onnx.parity.operators_torch import recorded_torch

        with recorded_torch(model, found):
            yield
        return
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from keras.src.backend.common.name_scope import current_path
    from tensorflow.python.framework import op_callbacks

    def record(operator: Any, inputs: Any, attributes: Any, outputs: Any, name: Any = None, **_: Any) -> None:
        kind = operator.decode() if isinstance(operator, bytes) else str(operator)
        if plain_name(kind) in _STORED:
            return
        place = current_path()
        numbers = [o for o in outputs if o.dtype.is_floating or o.dtype.is_integer or o.dtype.is_bool]
        found.extend(Intermediate(f"{place}: {kind}" if place else kind, np.array(tensor)) for tensor in numbers)

    op_callbacks.add_op_callback(record)
    try:
        yield
    finally:
        op_callbacks.remove_op_callback(record)


# What only hands out weights and constants.
_STORED = frozenset({"const", "readvariableop", "varhandleop", "placeholder"})


class MovedModel:
    """A model that runs with every rounded result of an operator moved, as ``rounding.moved`` says.

    Args:
        call: Runs the model on its argument.
    """

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self._call = call
        self._graph: Any = None

    def run(self, argument: Any, rng: np.random.Generator, units: int) -> Any:
        """Run the model once.

        Args:
            argument: Tensors, nested.
            rng: Draws the directions.
            units: The largest step.

        Returns:
            The results, or None where the backend does not let its operators be moved (NumPy).
        """
        import keras

        backend = keras.backend.backend()
        if backend == "torch":
            from any2onnx.parity.operators_torch import moved_torch

            with moved_torch(rng, units):
                return self._call(argument)
        if backend == "tensorflow":
            import tensorflow

            if self._graph is None:
                self._graph = _moved_graph(self._call)
            return self._graph(argument, tensorflow.constant([int(rng.integers(0, 2**31)), units], dtype="int64"))
        return _moved_in_jaxpr(self._call, argument, rng, units) if backend == "jax" else None


def _moved_graph(call: Callable[[Any], Any]) -> Any:
    """Return a TensorFlow function of an argument and ``[seed, units]`` in which every result passes through ``moved``.

    Eager operators cannot be overridden, those of a graph can. Directions depend on the operator's number and not on
    the order in which the graph's threads come to it; inside of a loop they are the same in every round.
    """
    import tensorflow
    from tensorflow.python.framework import op_callbacks

    def traced(argument: Any, setting: Any) -> Any:
        number = 0

        def replace(kind: str, inputs: Any, attributes: Any, outputs: Any, **_: Any) -> list[Any]:
            nonlocal number
            name = plain_name(kind)
            results = list(outputs)
            for i, tensor in enumerate(outputs):
                if name in EXACT or not tensor.dtype.is_floating:
                    continue
                number += 1

                def step(values: Array, given: Array, own: int = number) -> Array:
                    return moved(values, name, np.random.default_rng((int(given[0]), own)), int(given[1]))

                results[i] = tensorflow.numpy_function(step, [tensor, setting], tensor.dtype)
                results[i].set_shape(tensor.shape)
            return results

        op_callbacks.add_op_callback(replace)
        try:
            return call(argument)
        finally:
            op_callbacks.remove_op_callback(replace)

    return tensorflow.function(traced, autograph=False)


def _moved_in_jaxpr(call: Callable[[Any], Any], arguments: Any, rng: np.random.Generator, units: int) -> Any:
    """Trace the model to a jaxpr and run it one primitive at a time."""
    import jax

    leaves, form = jax.tree_util.tree_flatten(arguments)
    shape: list[Any] = []

    def flat(*given: Any) -> Any:
        results, tree = jax.tree_util.tree_flatten(call(jax.tree_util.tree_unflatten(form, given)))
        shape.append(tree)
        return results

    closed = jax.make_jaxpr(flat)(*leaves)
    return jax.tree_util.tree_unflatten(shape[0], _run_jaxpr(closed.jaxpr, closed.consts, leaves, rng, units))


def _run_jaxpr(jaxpr: Any, consts: Any, given: Any, rng: np.random.Generator, units: int) -> list[Any]:
    """Run a jaxpr; calls are entered, scans run step by step, other loops and branches stay whole."""
    from jax.extend.core import Literal

    known: dict[Any, Any] = {}

    def read(item: Any) -> Any:
        return item.val if isinstance(item, Literal) else known[item]

    known.update(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, given, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(item) for item in equation.invars]
        inner = next((equation.params[key] for key in ("jaxpr", "call_jaxpr") if key in equation.params), None)
        kind = equation.primitive.name
        if kind == "scan":
            results = _run_scan(equation.params, inputs, rng, units)
        elif inner is not None and kind not in ("while", "cond"):
            open_jaxpr = inner.jaxpr if hasattr(inner, "jaxpr") else inner
            results = _run_jaxpr(open_jaxpr, getattr(inner, "consts", ()), inputs, rng, units)
        else:
            found = equation.primitive.bind(*inputs, **equation.params)
            results = list(found) if equation.primitive.multiple_results else [found]
            results = [_moved_array(value, plain_name(kind), rng, units) for value in results]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(item) for item in jaxpr.outvars]


def _moved_array(value: Any, name: str, rng: np.random.Generator, units: int) -> Any:
    import jax

    if name in EXACT or not jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        return value
    return jax.numpy.asarray(moved(np.asarray(value), name, rng, units))


def _run_scan(params: Any, inputs: list[Any], rng: np.random.Generator, units: int) -> list[Any]:
    import jax

    consts, carried = params["num_consts"], params["num_carry"]
    fixed, state, rows = inputs[:consts], inputs[consts : consts + carried], inputs[consts + carried :]
    steps = range(params["length"])
    outputs: list[list[Any]] = []
    for i in reversed(steps) if params["reverse"] else steps:
        given = [*fixed, *state, *(row[i] for row in rows)]
        found = _run_jaxpr(params["jaxpr"].jaxpr, params["jaxpr"].consts, given, rng, units)
        state = found[:carried]
        outputs.append(found[carried:])
    if params["reverse"]:
        outputs.reverse()
    count = len(params["jaxpr"].jaxpr.outvars) - carried
    return [*state, *(jax.numpy.stack([step[k] for step in outputs]) for k in range(count))]
