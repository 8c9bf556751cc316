"""What a model takes: names, dtypes, symbolic shapes and, as far as known, the values each input lives on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import InvalidType, MissingDependency, UsageError, did_you_mean
from any2onnx.parity.ulp import Array, is_float

if TYPE_CHECKING:
    from any2onnx.parity.runtime import Port

Dim = int | str
Feeds = dict[str, Array]
BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input.

    Attributes:
        name: Name in the ONNX model.
        dtype: numpy dtype; ``object`` for strings.
        shape: A number where the size is fixed, a symbol where it is free; every free size has a symbol.
        pool: Sample values ``[rows, ...]`` in this dtype that generated inputs are drawn like, or None.
        low: Smallest integer that makes sense (token ids).
        high: One more than the largest.
        categories: Per column, the values that a fitted encoder knows; None where there is no encoder.
        text: True when the strings are documents, and the first of ``categories`` holds words.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dim, ...]
    pool: Array | None = None
    low: int = 0
    high: int = 10
    categories: tuple[Array | None, ...] = ()
    text: bool = False

    @property
    def is_float(self) -> bool:
        """True for real floating dtypes."""
        return is_float(self.dtype)

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with symbols replaced."""
        return tuple(dim if isinstance(dim, int) else sizes[dim] for dim in self.shape)


@dataclasses.dataclass(frozen=True)
class Signature:
    """All inputs of a model in ONNX order.

    Attributes:
        inputs: The inputs.
        sizes: A workable size for every symbol but the batch.
    """

    inputs: tuple[InputSpec, ...]
    sizes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_ports(cls, ports: Sequence[Port]) -> Signature:
        """Read the signature from the inputs of an ONNX model.

        A free first axis is the batch, under whatever symbol; nameless free axes get names of their own.

        Raises:
            InvalidType: An input is no tensor (sequence, map, optional).
        """
        found = []
        for port in ports:
            if port.dtype is None:
                raise InvalidType(
                    f"input {port.name!r} has type {port.onnx_type}, and only tensors can be generated or compared",
                    remedy="convert the model with tensor inputs",
                )
            found.append(InputSpec(port.name, port.dtype, _symbols(port)))
        return cls(tuple(found))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def batch_symbol(self) -> str | None:
        """The symbol of the first axis when all inputs with axes share it and it is free, else None."""
        firsts = {spec.shape[0] for spec in self.inputs if spec.shape}
        if len(firsts) != 1:
            return None
        first = next(iter(firsts))
        return first if isinstance(first, str) else None

    @property
    def fixed_batch(self) -> int | None:
        """The size of the first axis when it is baked into all inputs, else None."""
        firsts = {spec.shape[0] for spec in self.inputs if spec.shape}
        if len(firsts) != 1:
            return None
        first = next(iter(firsts))
        return first if isinstance(first, int) else None

    @property
    def free_symbols(self) -> tuple[str, ...]:
        """Symbols other than the batch, in order of appearance."""
        found = [dim for spec in self.inputs for dim in spec.shape if isinstance(dim, str)]
        return tuple(symbol for symbol in dict.fromkeys(found) if symbol != self.batch_symbol)

    @property
    def widest_float(self) -> np.dtype[Any] | None:
        """The widest floating dtype among the inputs, None when there is none."""
        floats = [spec.dtype for spec in self.inputs if spec.is_float]
        return max(floats, key=lambda dtype: (dtype.itemsize, dtype.name == "float16")) if floats else None

    def with_inputs(self, inputs: Sequence[InputSpec]) -> Signature:
        """Return a copy with other inputs."""
        return dataclasses.replace(self, inputs=tuple(inputs))

    def with_sizes(self, sizes: Mapping[str, int]) -> Signature:
        """Return a copy with workable sizes for its symbols."""
        return dataclasses.replace(self, sizes=tuple(sorted(sizes.items())))

    def with_data(self, feeds: Feeds) -> Signature:
        """Return a copy that draws like ``feeds`` and takes workable sizes from them."""
        sizes = dict(self.sizes)
        inputs = []
        for spec in self.inputs:
            values = feeds[spec.name]
            for dim, size in zip(spec.shape, values.shape, strict=True):
                if isinstance(dim, str) and dim != self.batch_symbol:
                    sizes[dim] = int(size)
            low, high = spec.low, spec.high
            if values.dtype.kind in "iu" and values.size:
                low, high = int(values.min()), int(values.max()) + 1
            inputs.append(dataclasses.replace(spec, pool=values if values.ndim else None, low=low, high=high))
        return self.with_inputs(inputs).with_sizes(sizes)

    def describe(self) -> str:
        """Return the inputs as one line: ``x float32[batch, 4], …``."""
        return ", ".join(
            f"{spec.name} {spec.dtype.name if spec.dtype.kind != 'O' else 'string'}"
            f"[{', '.join(str(dim) for dim in spec.shape)}]"
            for spec in self.inputs
        )


def _symbols(port: Port) -> tuple[Dim, ...]:
    dims: list[Dim] = []
    for axis, dim in enumerate(port.shape):
        if (isinstance(dim, int) and dim >= 0) or (isinstance(dim, str) and dim):
            dims.append(dim)
        else:
            dims.append(BATCH if axis == 0 else f"{port.name}_axis{axis}")
    return tuple(dims)


def to_numpy(values: Any) -> Array:
    """Bring an array of any framework (numpy, torch, keras, list, Series) to numpy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            # numpy has no bfloat16 of its own, so torch hands over the bits only.
            import ml_dtypes
            import torch

            return np.asarray(values.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
        values = values.numpy()
    if hasattr(values, "toarray"):
        values = values.toarray()
    return np.asarray(values)


def feeds_from_data(data: Any, signature: Signature) -> Feeds:
    """Bring the user's data to one array per ONNX input, in the ONNX dtypes.

    Args:
        data: An array, a DataFrame (anything narwhals knows), a mapping from names to arrays, or a tuple or list with
            one array per input.
        signature: The inputs.

    Returns:
        Arrays by ONNX input name; columns become ``[rows, 1]`` where the input has that form.

    Raises:
        UsageError: Names or the number of arrays do not match.
        InvalidType: A value cannot be brought to the input's dtype, or the shape does not fit.
    """
    if isinstance(data, Mapping):
        arrays = _by_name(data, signature)
    elif _is_frame(data):
        arrays = _from_frame(data, signature)
    elif isinstance(data, (tuple, list)) and (len(signature.inputs) > 1 or _is_wrapped(data)):
        items = list(data) if len(data) == len(signature.inputs) else _array_leaves(data)
        if len(items) != len(signature.inputs):
            raise UsageError(
                f"the data has {len(items)} arrays, the model takes {len(signature.inputs)}",
                needs=signature.describe(),
            )
        arrays = {spec.name: to_numpy(item) for spec, item in zip(signature.inputs, items, strict=True)}
    else:
        arrays = _from_array(to_numpy(data), signature)
    feeds = {spec.name: _fit(arrays[spec.name], spec) for spec in signature.inputs}
    if signature.batch_symbol is not None and len({feeds[spec.name].shape[0] for spec in signature.inputs}) > 1:
        raise UsageError("the arrays of the data have different numbers of rows", needs=signature.describe())
    return feeds


def _array_leaves(data: Any) -> list[Any]:
    """Return the arrays of nested arguments in order; other leaves (None, numbers) are constants of the ONNX graph."""
    if isinstance(data, Mapping):
        return [leaf for value in data.values() for leaf in _array_leaves(value)]
    if isinstance(data, (tuple, list)):
        return [leaf for value in data for leaf in _array_leaves(value)]
    return [data] if hasattr(data, "dtype") and hasattr(data, "shape") else []


def _is_wrapped(data: Sequence[Any]) -> bool:
    """Tell ``(x,)``, the arguments of a module, from a list of rows."""
    return len(data) == 1 and getattr(data[0], "ndim", 0) >= 1


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and not isinstance(data, np.ndarray) and hasattr(data, "shape")


def frame_columns(data: Any) -> dict[str, Array]:
    """Return the columns of a DataFrame of any library as numpy arrays, in order.

    Raises:
        MissingDependency: narwhals is not installed.
    """
    try:
        import narwhals
    except ImportError as error:
        raise MissingDependency("DataFrames need narwhals", remedy="pip install 'any2onnx[parity]'") from error
    frame = narwhals.from_native(data, eager_only=True)
    return {name: _column(frame[name]) for name in frame.columns}


def _column(series: Any) -> Array:
    """Return a column; numbers and booleans with missing values as floats with NaN."""
    values: Array = series.to_numpy()
    if values.dtype.kind == "O" and (series.dtype.is_numeric() or str(series.dtype) == "Boolean"):
        missing = series.is_null().to_numpy()
        values = np.where(missing, np.nan, np.where(missing, 0, values).astype(np.float64))
    return values


def _by_name(data: Mapping[Any, Any], signature: Signature) -> dict[str, Array]:
    given = {str(name): value for name, value in data.items()}
    for name in signature.names:
        if name not in given:
            raise UsageError(
                f"the data has no array for input {name!r}{did_you_mean(name, given)}", needs=signature.describe()
            )
    unknown = [name for name in given if name not in signature.names]
    if unknown:
        raise UsageError(
            f"the model has no input {unknown[0]!r}{did_you_mean(unknown[0], signature.names)}",
            needs=signature.describe(),
        )
    return {name: to_numpy(given[name]) for name in signature.names}


def _from_frame(data: Any, signature: Signature) -> dict[str, Array]:
    columns = frame_columns(data)
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        if spec.name in columns and spec.shape[1:] in ((1,), ()):
            return {spec.name: columns[spec.name]}
        return {spec.name: np.column_stack(list(columns.values()))}
    if all(name in columns for name in signature.names):
        return {name: columns[name] for name in signature.names}
    return _split(list(columns.values()), signature)


def _from_array(values: Array, signature: Signature) -> dict[str, Array]:
    if len(signature.inputs) == 1:
        return {signature.inputs[0].name: values}
    if values.ndim != 2:
        raise UsageError(
            f"one array of shape {list(values.shape)} cannot fill {len(signature.inputs)} inputs",
            needs=signature.describe(),
        )
    return _split([values[:, i] for i in range(values.shape[1])], signature)


def _split(columns: Sequence[Array], signature: Signature) -> dict[str, Array]:
    """Deal columns out to the inputs by position: an input of width k takes k of them."""
    widths = [spec.shape[1] if len(spec.shape) > 1 else 1 for spec in signature.inputs]
    numbers = [width for width in widths if isinstance(width, int)]
    if len(numbers) != len(widths) or sum(numbers) != len(columns):
        raise UsageError(
            f"{len(columns)} columns do not fill the inputs of the model",
            needs=signature.describe(),
            remedy="pass a mapping from input names to arrays",
        )
    found: dict[str, Array] = {}
    at = 0
    for spec, width in zip(signature.inputs, numbers, strict=True):
        part = columns[at : at + width]
        found[spec.name] = part[0] if width == 1 else np.column_stack(part)
        at += width
    return found


def _fit(values: Array, spec: InputSpec) -> Array:
    """Cast to the input's dtype without changing what the numbers mean, and add the column axis if it is missing."""
    if values.ndim == 1 and len(spec.shape) == 2:
        # A vector is one column for a width of 1, and one row for the width of a whole row.
        values = values[:, None] if spec.shape[1] != values.shape[0] or spec.shape[1] == 1 else values[None, :]
    if values.ndim != len(spec.shape) or any(
        isinstance(dim, int) and dim != size for dim, size in list(zip(spec.shape, values.shape, strict=False))[1:]
    ):
        raise InvalidType(
            f"the data for input {spec.name!r} has shape {list(values.shape)}",
            needs=f"[{', '.join(str(dim) for dim in spec.shape)}]",
        )
    # A table comes column by column from some files: the framework's last bit must not depend on that.
    return np.asarray(cast_to(values, spec), order="C")


def cast_to(values: Array, spec: InputSpec) -> Array:
    """Cast ``values`` to the dtype of an input.

    Raises:
        InvalidType: Text where numbers are needed, or fractions where integers are.
    """
    if spec.dtype.kind == "O":
        return values.astype(str).astype(object)
    try:
        if spec.dtype.kind in "iu" and not np.can_cast(values.dtype, np.int64, "same_kind"):
            wide = values.astype(np.float64)
            if not np.array_equal(wide, np.rint(wide)):
                raise InvalidType(
                    f"the data for input {spec.name!r} has fractions", needs=f"whole numbers ({spec.dtype.name})"
                )
            return wide.astype(spec.dtype)
        with np.errstate(over="ignore"):
            return values.astype(spec.dtype)
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidType):
            raise
        raise InvalidType(
            f"the data for input {spec.name!r} cannot become {spec.dtype.name}", where=str(error)
        ) from error
