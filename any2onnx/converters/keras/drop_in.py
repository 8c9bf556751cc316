"""Arguments of keras2onnx, of `tf2onnx.convert.from_keras` and of `model.export` that `convert_keras` takes as well.

What changes nothing here is ignored, what has another name here is translated, and what asks for something that is
not done, such as handlers of TensorFlow's operators, of which no graph exists, is refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from any2onnx.errors import UnknownOption, UnsupportedParameter, UsageError, did_you_mean

_IGNORED: Final = frozenset({"optimizers", "verbose"})
_OF_TENSORFLOW: Final[Mapping[str, str]] = {
    "custom_op_handlers": "handlers of TensorFlow's operators",
    "custom_rewriter": "rewriting of TensorFlow's graph",
}
_FORMS: Final = frozenset({"onnx"})


def without_peers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments with the peers' ones translated or dropped.

    `filepath` becomes `output_path`, `opset_version` becomes `opset`, `large_model=True` puts the weights of a model
    that is written to a file into a data file.

    Raises:
        UnsupportedParameter: One of them asks for what is not done here.
        UsageError: `format` is another one than "onnx".
    """
    kept = {name: value for name, value in arguments.items() if name not in _IGNORED}
    for name, what in _OF_TENSORFLOW.items():
        if kept.pop(name, None):
            raise UnsupportedParameter(
                f"{name} asks for {what}, and no TensorFlow graph is made here",
                remedy="custom_op_conversions={LayerClass: function(g, call)}: docs/custom_converters.md",
            )
    if targets := kept.pop("target", None):
        raise UnsupportedParameter(
            f"target={targets!r} asks for tf2onnx's workarounds for certain platforms, which are not made here",
            remedy="any2onnx backends says what a runtime can run; inputs_as_nchw takes images channels first",
        )
    if (form := kept.pop("format", "onnx")) not in _FORMS:
        raise UsageError(f"format is {form!r}", needs="'onnx'", remedy="model.export for the other formats")
    if kept.pop("large_model", False):
        kept.setdefault("external_data", True)
    return kept


def types_of(
    input_signature: Any, initial_types: Any, overrides: Mapping[str, Sequence[int | None]] | None, model: Any
) -> Any:
    """Return what the user says of the inputs: `input_signature`, `initial_types`, or tf2onnx's `shape_override`.

    Args:
        input_signature: Specs, maybe nested.
        initial_types: (name, type) pairs; tf2onnx's keras2onnx_api also has [name, type, …] and [type, …].
        overrides: {input: shape}.
        model: The model whose inputs the overrides name.

    Raises:
        UnknownOption: The override of a tensor that is no input: inner shapes follow from those of the inputs.
        UsageError: More than one of them is given.
    """
    given = {"input_signature": input_signature, "initial_types": initial_types, "shape_override": overrides or None}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} say the same", remedy="give one of them")
    if overrides:
        return _overridden(overrides, model)
    return input_signature if input_signature is not None else _pairs(initial_types)


def _overridden(overrides: Mapping[str, Sequence[int | None]], model: Any) -> Any:
    import keras

    inputs = list(getattr(model, "inputs", None) or [])
    shapes = {str(name).removesuffix(":0"): tuple(shape) for name, shape in overrides.items()}
    known = [str(tensor.name) for tensor in inputs]
    for name in shapes:
        if name not in known:
            raise UnknownOption(
                f"shape_override has {name!r}, and the model has no such input{did_you_mean(name, known)}",
                needs=f"one of {', '.join(known)}" if known else "a model with inputs of its own",
            )
    return [
        keras.InputSpec(
            shape=_dims(shapes.get(str(tensor.name), tensor.shape)), dtype=tensor.dtype, name=str(tensor.name)
        )
        for tensor in inputs
    ]


def _dims(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    return tuple(None if dim is None or dim < 0 else int(dim) for dim in shape)


def domains_of(extra: Any) -> dict[str, int]:
    """Return `extra_opset` as {domain: version}; tf2onnx has a list of OperatorSetIdProto."""
    if extra is None:
        return {}
    if isinstance(extra, Mapping):
        return {str(domain): int(version) for domain, version in extra.items()}
    return {str(entry.domain): int(entry.version) for entry in extra}


def _pairs(types: Any) -> Any:
    if not isinstance(types, list | tuple) or all(isinstance(entry, list | tuple) for entry in types):
        return types
    pairs: list[tuple[str, Any]] = []
    entries = iter(types)
    for entry in entries:
        named = isinstance(entry, str)
        name = entry if named else "input" if len(types) == 1 else f"input_{len(pairs)}"
        kind = next(entries, None) if named else entry
        if kind is None:
            raise UsageError(f"initial_types has the name {entry!r} and no type behind it")
        pairs.append((name, kind))
    return pairs


def conversions(given: Mapping[Any, Any]) -> dict[Any, Callable[..., Any]]:
    """Return converters by layer class or name.

    Raises:
        UnsupportedParameter: A domain in place of a function, as tf2onnx's `custom_ops` has it, or a function in
            keras2onnx's form (scope, operator, container).
    """
    for key, function in given.items():
        label = key if isinstance(key, str) else key.__name__
        if isinstance(function, str):
            raise UnsupportedParameter(
                f"custom_ops names the domain {function!r} for {label!r}: it tags operators of TensorFlow's graph, and "
                "none is made here",
                remedy=f'custom_ops={{LayerClass: function(g, call)}}, with g.op("{label}", x, domain="{function}")',
            )
        if not callable(function):
            raise UsageError(f"the converter of {label!r} is {function!r}", needs="function(g, call)")
        if _asks_for_a_container(function):
            raise UnsupportedParameter(
                f"the converter of {label!r} takes (scope, operator, container), the form of keras2onnx",
                needs="function(g, call)",
                remedy="docs/custom_converters.md",
            )
    return dict(given)


def _asks_for_a_container(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(needed) == 3
