"""Layers in the functions of the backend itself, as ``torch.relu(x)`` or ``jnp.einsum(...)`` in a user's `call`.

The recorder sees functions of Keras alone. Where a layer's code makes it fail, the layer is written down by the means
of its backend: by JAX as a program of primitives, by PyTorch as a graph, which the PyTorch front-end converts.
(TensorFlow's functions ask the recorder themselves: tracing_tensorflow.py.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from any2onnx.converters.keras.calls import flatten
from any2onnx.errors import Any2OnnxError
from any2onnx.graph.types import Value

if TYPE_CHECKING:
    from any2onnx.converters.keras.walker import Walker
    from any2onnx.graph.builder import GraphBuilder


def native_call(
    walker: Walker, g: GraphBuilder, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], path: str
) -> Any:
    """Convert the call of a layer by the means of the backend; return its results, nested, or None where that fails.

    Args:
        walker: Of the conversion.
        g: Where the nodes go.
        layer: Keras layer or model.
        args: Positional arguments, nested, with Values for tensors.
        kwargs: Arguments by name.
        path: Of the layer.
    """
    import keras

    by_backend = {"jax": _by_jax, "torch": _by_torch}
    convert = by_backend.get(keras.backend.backend())
    if convert is None or not any(isinstance(leaf, Value) for leaf in flatten([list(args), dict(kwargs)])):
        return None
    try:
        return convert(walker, g, layer, (tuple(args), dict(kwargs)), path)
    except Any2OnnxError:
        # What the recorder said is nearer to the user's code.
        return None


def _by_jax(walker: Walker, g: GraphBuilder, layer: Any, given: Any, path: str) -> Any:
    import jax

    from any2onnx.converters.keras.jax_program import narrow, program_of, values_in

    def function(given: Any) -> Any:
        from keras.src.backend.common.stateless_scope import StatelessScope

        with StatelessScope():
            return layer(*given[0], **{**given[1], "training": False})

    given = jax.tree_util.tree_map(lambda leaf: narrow(g, leaf), given, is_leaf=lambda leaf: isinstance(leaf, Value))
    program = program_of(function, given, walker.location(layer, path))
    return walker.trace(g, program.run, values_in(given), path=path, what=layer)


def _by_torch(walker: Walker, g: GraphBuilder, layer: Any, given: Any, path: str) -> Any:
    import torch

    from any2onnx.converters.pytorch.inline import inline

    class Call(torch.nn.Module):
        """The call of the layer for inference, with one nested argument."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, given: Any) -> Any:
            return self.layer(*given[0], **{**given[1], "training": False})

    with g.scope(path, source=walker.location(layer, path), rule="keras.native"):
        return inline(g, walker.registry, Call(), [given])
