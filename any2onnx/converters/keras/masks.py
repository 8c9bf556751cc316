"""Keras masks: which value carries which mask, as `Layer.__call__` sees to it at run time.

A mask is computed when the first layer asks for it, so models without a consumer of masks pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from any2onnx.converters.keras.calls import flatten, key_of
from any2onnx.converters.keras.weights import read_array
from any2onnx.graph.types import Value

if TYPE_CHECKING:
    from any2onnx.converters.keras.walker import Walker
    from any2onnx.graph.builder import GraphBuilder

Rule = Callable[..., Any]


class _Pending:
    """Masks of the outputs of one layer call, not computed yet."""

    def __init__(self, compute: Callable[[], Sequence[Value | None]]) -> None:
        self._compute = compute
        self._masks: Sequence[Value | None] | None = None

    def get(self, index: int) -> Value | None:
        if self._masks is None:
            self._masks = self._compute()
        return self._masks[index] if index < len(self._masks) else None


class Masks:
    """Masks by value."""

    def __init__(self) -> None:
        self._masks: dict[Value, Value | tuple[_Pending, int] | None] = {}

    def __bool__(self) -> bool:
        return bool(self._masks)

    def get(self, value: Any) -> Value | None:
        """Return the mask of a value, or None; anything but a value has none."""
        if not isinstance(value, Value):
            return None
        found = self._masks.get(value)
        if isinstance(found, tuple):
            found = found[0].get(found[1])
            self._masks[value] = found
        return found

    def has(self, value: Any) -> bool:
        """Tell whether a value may have a mask, without computing it."""
        return isinstance(value, Value) and self._masks.get(value) is not None

    def set(self, value: Value, mask: Value | None) -> None:
        """Attach a mask; None takes it away."""
        if mask is None:
            self._masks.pop(value, None)
        else:
            self._masks[value] = mask

    def copy(self, source: Value, target: Value) -> None:
        """Attach the mask of one value to another one that stands for the same tensor."""
        if source is not target and source in self._masks:
            self._masks[target] = self._masks[source]

    def defer(self, values: Sequence[Any], compute: Callable[[], Sequence[Value | None]]) -> None:
        """Attach masks to values that have none; `compute` returns one per value when one is asked for."""
        pending = _Pending(compute)
        for index, value in enumerate(values):
            if isinstance(value, Value) and self._masks.get(value) is None:
                self._masks[value] = (pending, index)

    def structure(self, inputs: Any) -> Any:
        """Return the masks of nested values in the same structure."""
        from keras import tree

        return tree.map_structure(self.get, inputs)


def fill_in_masks(masks: Masks, layer: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """Do what `Layer.__call__` does before the call: fill in the mask arguments.

    Returns:
        A function that returns the mask of the first argument, or None where there is none for sure.
    """
    if not masks and "mask" not in kwargs:
        return None
    names = list(layer._call_signature.parameters)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    tensors = {name: v for name, v in given.items() if _is_tensors(v)}
    if len(tensors) == 1:
        if "mask" in names and given.get("mask") is None:
            found = masks.structure(next(iter(tensors.values())))
            if _any(found):
                kwargs["mask"] = found
    else:
        for name, value in tensors.items():
            if f"{name}_mask" in names and given.get(f"{name}_mask") is None:
                found = masks.structure(value)
                if _any(found):
                    kwargs[f"{name}_mask"] = found
    explicit = kwargs.get("mask")
    if explicit is not None:
        return lambda: explicit
    first = args[0] if args else next(iter(tensors.values()), None)
    return (lambda: masks.structure(first)) if any(masks.has(v) for v in flatten(first)) else None


def _is_tensors(argument: Any) -> bool:
    leaves = [argument] if isinstance(argument, Value) else flatten(argument)
    return bool(leaves) and all(isinstance(leaf, Value) for leaf in leaves)


def _any(masks: Any) -> bool:
    return any(isinstance(m, Value) for m in flatten(masks))


def attach_masks(
    walker: Walker,
    g: GraphBuilder,
    layer: Any,
    inputs: Any,
    outputs: Sequence[Any],
    previous: Callable[[], Any] | None,
    path: str,
) -> None:
    """Do what `Layer.__call__` does after the call: attach the masks of the outputs."""
    if not layer.supports_masking:
        return
    from keras.src.layers.layer import Layer

    key = key_of(layer)
    inherits = type(layer).compute_mask is Layer.compute_mask
    # Keras's own layers make no mask out of nothing, but for the two that say so.
    makes = not inherits and (key in MAKERS or not key.startswith("keras.layers."))
    if previous is None and not makes:
        return

    def compute() -> Sequence[Value | None]:
        given = previous() if previous is not None else None
        if not makes and not _any(given):
            return []
        if inherits:
            return [m if isinstance(m, Value) else None for m in flatten(given)]
        with g.scope(path, source=walker.location(layer, path), rule="keras.masks"):
            rule = RULES.get(key)
            if rule is not None:
                found = rule(g, layer, inputs, given)
            else:
                found = walker.trace(g, layer.compute_mask, (inputs, given), path=path, what=layer)
        return [m if isinstance(m, Value) else None for m in flatten(found)]

    walker.masks.defer(outputs, compute)


# --- layers that make or drop masks ----------------------------------------------------------------------------------


def _embedding(g: GraphBuilder, layer: Any, inputs: Value, previous: Any) -> Value | None:
    if not layer.mask_zero:
        return None
    return g.Not(g.Equal(inputs, g.scalar_like(0, inputs)))


def _masking(g: GraphBuilder, layer: Any, inputs: Value, previous: Any) -> Value:
    return masked_steps(g, layer, inputs, keepdims=False)


def masked_steps(g: GraphBuilder, layer: Any, x: Value, *, keepdims: bool) -> Value:
    """Return where a step differs from a Masking layer's value in any feature (NaN differs from everything)."""
    value = g.const(read_array(layer.mask_value), like=x)
    differs = g.Cast(g.Not(g.Equal(x, value)), "float32")
    return g.Cast(g.ReduceMax(differs, -1, keepdims=keepdims), "bool")


def _none(g: GraphBuilder, layer: Any, inputs: Any, previous: Any) -> None:
    return None


def _recurrent(g: GraphBuilder, layer: Any, inputs: Any, previous: Any) -> Any:
    mask = next((m for m in flatten(previous) if isinstance(m, Value)), None)
    return mask if layer.return_sequences else None


def _first(g: GraphBuilder, layer: Any, inputs: Any, previous: Any) -> Any:
    """Attention: the query's mask goes on."""
    masks = previous if isinstance(previous, list | tuple) else [previous]
    return masks[0] if masks else None


MAKERS: Final = frozenset({"keras.layers.Embedding", "keras.layers.ReversibleEmbedding", "keras.layers.Masking"})

RULES: Final[Mapping[str, Rule]] = {
    "keras.layers.Embedding": _embedding,
    "keras.layers.ReversibleEmbedding": _embedding,
    "keras.layers.Masking": _masking,
    "keras.layers.LSTM": _recurrent,
    "keras.layers.GRU": _recurrent,
    "keras.layers.SimpleRNN": _recurrent,
    "keras.layers.RNN": _recurrent,
    "keras.layers.Bidirectional": _recurrent,
    "keras.layers.GlobalAveragePooling1D": _none,
    "keras.layers.Dot": _none,
    "keras.layers.Attention": _first,
    "keras.layers.AdditiveAttention": _first,
}


class MaskedCall:
    """Runs a function on tensors that carry their masks, and returns the masks of its results as well."""

    def __init__(self, function: Callable[..., Any], masks: Masks) -> None:
        self._function = function
        self._masks = masks

    def of(self, args: Sequence[Any]) -> list[Value | None]:
        """Return the masks of the arguments, flat."""
        if not self._masks:
            return []
        return [self._masks.get(leaf) for leaf in flatten(list(args))]

    def run(self, args: Sequence[Any], masks: Sequence[Any], /, **kwargs: Any) -> tuple[Any, list[Any]]:
        """Run the function."""
        from keras.src import backend

        for leaf, mask in zip(flatten(list(args)), masks, strict=False):
            if mask is not None:
                backend.set_keras_mask(leaf, mask)
        results = self._function(*args, **kwargs)
        found = [backend.get_keras_mask(leaf) for leaf in flatten(results)]
        return results, found
