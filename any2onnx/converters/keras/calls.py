"""What a Keras converter is given: the call of a layer or function, and names for people and for the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.types import DataType, TensorSpec, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call

if TYPE_CHECKING:
    from any2onnx.converters.keras.walker import Walker

HALVES: Final = frozenset({DataType.FLOAT16, DataType.BFLOAT16})


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCall(Call):
    """A call of a Keras layer, activation function or operation.

    `inputs` are the positional arguments, nested as Keras passes them; `params` the keyword arguments (`mask`,
    `training`, `initial_state`, ...). A converter returns its results flat, in the order of `keras.tree.flatten`.

    Attributes:
        walker: Converts inner layers, activation functions and Python code that has no mapping.
        outputs: What Keras inferred for the outputs, flat; None where it was not asked.
    """

    walker: Walker
    outputs: tuple[TensorSpec | None, ...] | None = None

    def weight(self, variable: Any, *, like: Value | None = None, perm: Sequence[int] | None = None) -> Any:
        """Return the value of a variable or tensor as a numpy array; see Weights.get."""
        return self.walker.weights.get(variable, like=like, perm=perm)

    def unsupported(self, parameter: str, value: Any, why: str, *, remedy: str | None = None) -> UnsupportedParameter:
        """Return the error that names a parameter which cannot be honoured."""
        return UnsupportedParameter(
            f"{self.key} with {parameter}={value!r} cannot be converted: {why}",
            where=self.location or None,
            remedy=remedy,
        )


def key_of(operation: Any) -> str:
    """Return the name of a layer's class, or of a function, as in the tables: ``keras.layers.Dense``.

    Only the exact class counts: a subclass may compute something else, so it has the name of its own module.
    """
    from keras.src.api_export import get_name_from_symbol

    symbol = operation if isinstance(operation, type) or _is_function(operation) else type(operation)
    name = get_name_from_symbol(symbol)
    return name if isinstance(name, str) else f"{symbol.__module__}.{symbol.__qualname__}"


def _is_function(operation: Any) -> bool:
    return callable(operation) and hasattr(operation, "__qualname__") and hasattr(operation, "__module__")


def class_name(operation: Any) -> str:
    """Return the short name of an operation's class, or of a function."""
    return str(operation.__name__ if _is_function(operation) else type(operation).__name__)


def flatten(structure: Any) -> list[Any]:
    """Return the leaves of a nested structure in Keras's order (dicts by sorted key)."""
    if isinstance(structure, Value):
        return [structure]
    from keras import tree

    return list(tree.flatten(structure))


def map_values(function: Any, structure: Any) -> Any:
    """Return the structure with `function` applied to each Value; other leaves stay."""
    if isinstance(structure, Value):
        return function(structure)
    from keras import tree

    return tree.map_structure(lambda leaf: function(leaf) if isinstance(leaf, Value) else leaf, structure)


def masks_by_name(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a layer's call with masks and `training` by name, as converters read them.

    ``layer(x, mask)`` is ``layer(x, mask=mask)``; what stands behind such an argument goes by name as well.
    """
    parameters = list(layer._call_signature.parameters.values())[: len(args)]
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    first = next((k for k, name in enumerate(names) if k and ("mask" in name or name == "training")), len(args))
    return args[:first], {**kwargs, **dict(zip(names[first:], args[first:], strict=False))}


def half_types(value: Value) -> bool:
    """Tell whether a value is float16 or bfloat16."""
    return dtype_of(value) in HALVES
