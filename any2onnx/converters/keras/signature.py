"""Inputs of a Keras model: names, element types and shapes, as the model states them or as the user asks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from any2onnx.data_types import as_tensor_type
from any2onnx.errors import InvalidType, NotFitted, UsageError
from any2onnx.graph.types import DataType, Dim, to_dtype

BATCH = "batch"
_OF_STORED_VALUES = frozenset(
    {"CategoryEncoding", "Discretization", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"}
)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of the model.

    Attributes:
        name: Of the graph's input.
        dtype: Element type.
        shape: Dims; those that vary have names: ``batch``, ``image_dim1``.
    """

    name: str
    dtype: DataType
    shape: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """What a user states of one input; None leaves it to the model."""

    name: str | None
    dtype: DataType | None
    shape: tuple[Dim, ...] | None


def explicit_specs(initial_types: Any, input_signature: Any) -> list[Given] | None:
    """Return what the user states of the inputs, or None.

    Raises:
        UsageError: Both arguments are given, or one has the wrong form.
        InvalidType: A type that ONNX does not have.
    """
    if initial_types is not None and input_signature is not None:
        raise UsageError("initial_types and input_signature say the same", remedy="give one of them")
    if initial_types is not None:
        return [_from_initial_type(entry) for entry in initial_types]
    if input_signature is not None:
        return list(_nested(input_signature, None))
    return None


def _nested(signature: Any, label: str | None) -> Iterator[Given]:
    """Yield the specs of a nested signature in Keras's order; those in a dict without a name have their key's."""
    if _is_pair(signature):
        yield _from_initial_type(signature)
    elif isinstance(signature, Mapping):
        for key in sorted(signature):
            yield from _nested(signature[key], str(key))
    elif isinstance(signature, list | tuple):
        for part in signature:
            yield from _nested(part, label)
    else:
        given = _from_spec(signature)
        yield given if given.name or label is None else replace(given, name=label)


def _is_pair(spec: Any) -> bool:
    return isinstance(spec, list | tuple) and len(spec) == 2 and isinstance(spec[0], str)


def _from_initial_type(entry: Any) -> Given:
    try:
        name, given = entry
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"initial_types has {entry!r} in it",
            needs="(name, type) pairs",
            remedy='initial_types=[("x", FloatTensorType([None, 224, 224, 3]))]',
        ) from error
    kind = as_tensor_type(given, str(name))
    return Given(str(name), to_dtype(kind.dtype), None if kind.shape is None else tuple(kind.shape))


def _from_spec(spec: Any) -> Given:
    shape, dtype = getattr(spec, "shape", None), getattr(spec, "dtype", None)
    if shape is None and dtype is None:
        raise UsageError(
            f"input_signature has {spec!r} in it",
            needs="objects with shape and dtype",
            remedy='input_signature=[keras.InputSpec(shape=(None, 224, 224, 3), dtype="float32", name="x")]',
        )
    name = getattr(spec, "name", None)
    return Given(
        str(name).removesuffix(":0") if name else None,
        None if dtype is None else to_dtype(getattr(dtype, "name", dtype)),
        None if shape is None else tuple(None if d is None else int(d) for d in shape),
    )


def inferred_specs(model: Any, graph: Any, given: list[Given] | None) -> tuple[list[InputSpec], Any]:
    """Return the inputs of a model and, for a model without a graph, the structure that its call takes.

    Raises:
        NotFitted: Nothing states the inputs of a subclassed model.
        InvalidType: A given type contradicts the model.
    """
    if graph is not None:
        _check_sparse(graph)
        specs = [_of_tensor(tensor) for tensor in graph.inputs]
        return (specs if given is None else _merged(specs, given)), None
    shapes = dict(getattr(model, "_build_shapes_dict", None) or {})
    dtype = to_dtype(model.compute_dtype or "float32")
    if given is not None:
        specs = [
            InputSpec(
                entry.name or ("input" if len(given) == 1 else f"input_{k}"),
                entry.dtype or dtype,
                named(entry.shape or (), entry.name or f"input_{k}"),
            )
            for k, entry in enumerate(given)
        ]
        if len(shapes) <= 1:
            struct = next(iter(shapes.values()), None)
            if len(specs) > 1 and (_is_shape(struct) or len(_required(model)) == len(specs)):
                # The first argument was one tensor, so the others go to further parameters of `call`.
                return specs, tuple(range(len(specs)))
            return specs, _pack(struct, len(specs))
        return specs, tuple(range(len(specs)))
    if not shapes:
        raise NotFitted(
            f"the inputs of {model.name!r} are not known: it has not been called yet",
            remedy="call it once on data, or pass input_signature=[keras.InputSpec(shape=..., dtype=...)]",
        )
    if len(shapes) == 1 and len(required := _required(model)) > 1:
        raise NotFitted(
            f"{model.name!r} takes {', '.join(required)}, and Keras keeps the shape of the first one only",
            remedy="pass input_signature=[keras.InputSpec(shape=..., dtype=...), ...], one for each",
        )
    return _from_shapes(shapes, dtype)


def _required(model: Any) -> list[str]:
    """Return the parameters of `call` that have to be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        name
        for name, p in inspect.signature(model.call).parameters.items()
        if p.kind in kinds and p.default is p.empty and name not in ("mask", "training")
    ]


def _check_sparse(graph: Any) -> None:
    """Refuse layers that look at the stored values of a sparse tensor only; for all others a dense one is the same.

    Raises:
        InvalidType: By name.
    """
    for node in (node for nodes in graph._nodes_by_depth.values() for node in nodes):
        if type(node.operation).__name__ in _OF_STORED_VALUES and any(
            getattr(tensor, "sparse", False) for tensor in node.input_tensors
        ):
            raise InvalidType(
                f"{node.operation.name!r} ({type(node.operation).__name__}) is called on a sparse tensor, of which it "
                "takes the stored values only; ONNX inputs are dense, and their zeros would count",
                remedy="convert a model with a dense input",
            )


def _from_shapes(shapes: Mapping[str, Any], dtype: DataType) -> tuple[list[InputSpec], Any]:
    """Read the shapes that `build` saw: {"input_shape": (None, 4)}, or one entry per argument, maybe nested."""
    specs: list[InputSpec] = []

    def walk(label: str, shape: Any) -> Any:
        if _is_shape(shape):
            dims = (None, *shape[1:])
            specs.append(InputSpec(label, dtype, named(dims, label)))
            return len(specs) - 1
        if isinstance(shape, Mapping):
            return {key: walk(str(key), shape[key]) for key in sorted(shape)}
        return [walk(f"{label}_{k}", part) for k, part in enumerate(shape)]

    labels = {name: name.removesuffix("_shape") for name in shapes}
    struct = tuple(walk(labels[name], shape) for name, shape in shapes.items())
    return specs, struct


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and all(d is None or isinstance(d, int) for d in shape)


def _pack(struct: Any, count: int) -> Any:
    """Return a structure for one argument: as the model was built, else a tensor or a list."""
    if isinstance(struct, Mapping) and len(struct) == count:
        return (dict.fromkeys(sorted(struct), 0),)
    return (0,) if count == 1 and (struct is None or _is_shape(struct)) else ([0] * count,)


def _of_tensor(tensor: Any) -> InputSpec:
    name = str(tensor.name)
    if getattr(tensor, "ragged", False):
        raise InvalidType(
            f"input {name!r} is ragged, and ONNX inputs are dense", remedy="convert a model with a dense input"
        )
    return InputSpec(name, to_dtype(tensor.dtype), named(tensor.shape, name))


def named(shape: Sequence[Dim], name: str) -> tuple[Dim, ...]:
    """Give names to the dims that vary: ``batch`` for the first one, ``<input>_dim<k>`` for others."""
    return tuple(
        dim if dim is not None and dim != -1 else BATCH if k == 0 else f"{name}_dim{k}" for k, dim in enumerate(shape)
    )


def _merged(specs: list[InputSpec], given: list[Given]) -> list[InputSpec]:
    if len(specs) != len(given):
        raise InvalidType(
            f"types of {len(given)} inputs are given, the model has {len(specs)}",
            needs=", ".join(spec.name for spec in specs),
        )
    by_name = {entry.name: entry for entry in given}
    ordered = [by_name[spec.name] for spec in specs] if all(s.name in by_name for s in specs) else given
    return [_one(spec, entry) for spec, entry in zip(specs, ordered, strict=True)]


def _one(spec: InputSpec, entry: Given) -> InputSpec:
    name = entry.name or spec.name
    shape = spec.shape
    if entry.shape is not None:
        if len(entry.shape) != len(spec.shape) or any(
            isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(entry.shape, spec.shape, strict=True)
        ):
            raise InvalidType(
                f"input {spec.name!r} is given as {list(entry.shape)}", needs=f"the model's shape {list(spec.shape)}"
            )
        merged = [a if a is not None else b for a, b in zip(entry.shape, spec.shape, strict=True)]
        shape = named(merged, name)
    return replace(spec, name=name, dtype=entry.dtype or spec.dtype, shape=shape)
