"""From command-line arguments to the call of `convert_sklearn`, `convert_keras` or `convert_pytorch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from any2onnx.cli.inputs import EXAMPLE_SIZE, InputSpec, parse_pairs, rows_for_sklearn
from any2onnx.errors import UsageError

if TYPE_CHECKING:
    from any2onnx.cli.convert import Request

#: Rows of a sample that a quick comparison looks at.
SMOKE_ROWS = 256


@dataclass(frozen=True)
class Call:
    """A call of the API: function name, arguments after the model, and the rows to compare on."""

    function: str
    positional: tuple[Any, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data: Any = None


def call_for(request: Request, source: Any, specs: Sequence[InputSpec], sample: Any) -> Call:
    """Return the call for a loaded model.

    Raises:
        UsageError: The arguments do not fit the framework or the model.
        NotAModel: The object belongs to no framework.
    """
    from any2onnx.api import framework_of

    framework = framework_of(source)
    if request.output_methods and framework != "sklearn":
        raise UsageError("--output-method is for scikit-learn models", needs=f"this is a model of {framework}")
    common = common_arguments(request)
    if framework == "sklearn":
        return _sklearn_call(request, source, specs, sample, common)
    if framework == "keras":
        return _keras_call(source, specs, sample, common)
    return _pytorch_call(source, specs, sample, common)


def common_arguments(request: Request) -> dict[str, Any]:
    """Return the keyword arguments that all three functions take; those that were not given are left out."""
    given = {
        "name": request.name,
        "doc_string": request.doc_string,
        "target_opset": request.opset,
        "options": parse_pairs(request.options, "--option", typed=True) or None,
        "model_version": request.model_version,
        "domain": request.domain,
        "metadata": parse_pairs(request.metadata, "--metadata", typed=False) or None,
        "strip": request.strip or None,
        "external_data": request.external_data,
    }
    return {key: value for key, value in given.items() if value is not None}


def _sklearn_call(
    request: Request, source: Any, specs: Sequence[InputSpec], sample: Any, common: dict[str, Any]
) -> Call:
    if request.output_methods:
        common["outputs"] = list(request.output_methods)
    if sample is not None:
        rows = rows_for_sklearn(source, sample)
        return Call("to_onnx", (rows[:5],), common, rows)
    if specs:
        return Call("convert_sklearn", (), {**common, "initial_types": initial_types(specs)})
    features = getattr(source, "n_features_in_", None)
    if features is None or getattr(source, "feature_names_in_", None) is not None:
        raise UsageError(
            "the model does not say the types of its inputs",
            where=str(request.model),
            needs="sample rows, or one --input for each input",
            remedy="--sample rows.csv   or   --input x:float32[batch,4]",
        )
    spec = InputSpec("X", "float32", ("batch", int(features)))
    return Call("convert_sklearn", (), {**common, "initial_types": initial_types([spec])})


def initial_types(specs: Sequence[InputSpec]) -> list[tuple[str, Any]]:
    """Return the inputs as `initial_types`."""
    from any2onnx.data_types import TENSOR_TYPES

    return [(spec.name, TENSOR_TYPES[spec.dtype](spec.shape)) for spec in specs]


def _keras_call(source: Any, specs: Sequence[InputSpec], sample: Any, common: dict[str, Any]) -> Call:
    if specs:
        import keras

        common["input_signature"] = [
            keras.InputSpec(
                shape=None if spec.shape is None else tuple(a if isinstance(a, int) else None for a in spec.shape),
                dtype=spec.dtype,
                name=spec.name,
            )
            for spec in specs
        ]
    return Call("convert_keras", (), common, arrays_of(sample))


def _pytorch_call(source: Any, specs: Sequence[InputSpec], sample: Any, common: dict[str, Any]) -> Call:
    if "options" in common:
        raise UsageError("--option is for scikit-learn and Keras models")
    if specs:
        args, shapes = _examples(specs)
        names = [spec.name for spec in specs]
        return Call("convert_pytorch", (args,), {**common, "dynamic_shapes": shapes, "input_names": names})
    if sample is None and hasattr(source, "graph_module"):
        return Call("convert_pytorch", (), common)  # an exported program says its inputs
    if sample is None:
        raise UsageError(
            "a PyTorch model does not say its inputs",
            needs="one --input for each input, or a sample",
            remedy="--input x:float32[batch,3,224,224]   or   --sample rows.npy",
        )
    data = arrays_of(sample)
    args, shapes = _from_arrays(data)
    return Call("convert_pytorch", (args,), {**common, "dynamic_shapes": shapes}, data)


def arrays_of(sample: Any) -> Any:
    """Return a sample as an array, or a dict of arrays; tables become matrices."""
    if sample is None or isinstance(sample, dict) or not hasattr(sample, "to_numpy"):
        return sample
    return sample.to_numpy()


def _examples(specs: Sequence[InputSpec]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return example tensors and dynamic shapes for torch.export; axes of one name share one dimension."""
    import torch

    generator = torch.Generator().manual_seed(0)
    names = {axis for spec in specs for axis in spec.shape or () if isinstance(axis, str)}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    args: list[Any] = []
    shapes: list[Any] = []
    for spec in specs:
        dtype = getattr(torch, spec.dtype, None)
        if dtype is None or spec.shape is None:
            raise UsageError(f"--input {spec.name}: PyTorch needs a shape and a dtype of its own, not {spec.dtype}")
        shape = spec.example_shape()
        # Ones are indices that any embedding of two rows has; random floats stay clear of special values.
        args.append(
            torch.rand(shape, generator=generator).to(dtype)
            if dtype.is_floating_point
            else torch.ones(shape, dtype=dtype)
        )
        free = {
            index: dims[axis] if isinstance(axis, str) else torch.export.Dim.DYNAMIC
            for index, axis in enumerate(spec.shape)
            if not isinstance(axis, int)
        }
        shapes.append(free or None)
    return tuple(args), tuple(shapes)


def _from_arrays(data: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return example tensors from sample arrays; the first axis is the batch."""
    import numpy as np
    import torch

    batch = torch.export.Dim("batch")
    args: list[Any] = []
    shapes: list[Any] = []
    for array in data.values() if isinstance(data, dict) else [data]:
        if array.ndim == 0:
            args.append(torch.from_numpy(np.array(array)))
            shapes.append(None)
            continue
        if not len(array):
            raise UsageError("the sample has no rows", needs="one row or more")
        # Two rows: torch.export takes a batch of one for a constant.
        rows = array[:EXAMPLE_SIZE] if len(array) >= EXAMPLE_SIZE else np.repeat(array, EXAMPLE_SIZE, axis=0)
        args.append(torch.from_numpy(np.array(rows)))
        shapes.append({0: batch})
    return tuple(args), tuple(shapes)


def smoke_rows(data: Any) -> Any:
    """Return the first rows of the data, as many as a quick comparison looks at."""
    if data is None:
        return None
    if isinstance(data, dict):
        return {name: array[:SMOKE_ROWS] if array.ndim else array for name, array in data.items()}
    return data[:SMOKE_ROWS]
