"""Runs backend functions on example values, for the type of each result.

The examples are tensors of the loaded backend for TensorFlow and PyTorch, and numpy arrays for NumPy and JAX (JAX
without 64-bit mode would turn int64 into int32, so Keras's NumPy implementation stands in for it: the same model gives
the same graph under any backend).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

import numpy as np

MODULES: Final = ("core", "numpy", "nn", "image", "linalg", "math", "random", "rnn")

# Costly to run, and their result is known by its type alone.
_CONVOLUTIONS: Final = frozenset({"conv", "depthwise_conv", "separable_conv"})
_DIVISIONS: Final = frozenset({"mod", "fmod", "floor_divide"})
_TRIANGLES: Final = frozenset({"tril", "triu"})
_POOLS: Final = frozenset({"max_pool", "average_pool"})
# Change their first argument in place under NumPy.
_IN_PLACE: Final = frozenset({"slice_update", "scatter_update"})


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, list | tuple):
        return [leaf for item in structure for leaf in _leaves(item)]
    return [structure]


def _unpatched(function: Callable[..., Any]) -> Callable[..., Any]:
    original: Callable[..., Any] = getattr(function, "__wrapped_original__", function)
    return original


class Evaluator:
    """Example values and functions on them, for one Keras backend."""

    def __init__(self) -> None:
        from keras.src import backend

        self.backend = backend
        self.name: str = backend.backend()
        self.is_numpy = self.name in ("numpy", "jax")
        package = "numpy" if self.is_numpy else self.name
        # Importing the package keras.src.backend.numpy would hide the loaded backend's module of that name.
        loaded = backend.numpy
        try:
            self.modules: dict[str, ModuleType] = {
                name: importlib.import_module(f"keras.src.backend.{package}.{name}") for name in MODULES
            }
        finally:
            backend.numpy = loaded
        # Another thread may have patched them.
        self._convert = _unpatched(self.modules["core"].convert_to_tensor)
        self._is_tensor = _unpatched(self.modules["core"].is_tensor)

    def dtype(self, example: Any) -> str:
        """Return the Keras name of an example's dtype."""
        return str(self.backend.standardize_dtype(example.dtype))

    def is_example(self, value: Any) -> bool:
        """Tell whether a value is a tensor that functions accept as it is."""
        return bool(self._is_tensor(value))

    def native(self, array: Any) -> Any:
        """Return an example for a numpy array, a Python number or a tensor of the loaded backend."""
        if self.is_numpy:
            return array if isinstance(array, np.ndarray) else np.asarray(array)
        with self._quiet():
            return self._convert(array)

    def numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """Return a tensor of any backend as a numpy array, without a copy where the backend shares its memory."""
        return numpy_of(value)

    def call(self, module: str, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a backend function on examples."""
        if module == "nn" and name in _CONVOLUTIONS | _POOLS | {"conv_transpose"}:
            short = self._by_type(name, original, args, kwargs)
            if short is not None:
                return short
        function = getattr(self.modules[module], name, original) if self.is_numpy else original
        function = getattr(function, "__wrapped_original__", function)
        if name in _IN_PLACE and self.is_numpy:
            args = (np.array(args[0]), *args[1:]) if args else args
            kwargs = {k: np.array(v) if k == "inputs" else v for k, v in kwargs.items()}
        if name == "digitize":
            # Random examples are no bins; sorted ones are.
            args = (args[0], self.native(np.sort(self.numpy(args[1]))))
        if name in _DIVISIONS and hasattr(args[1], "dtype") and "int" in self.dtype(args[1]):
            # Random integers may be 0, by which some backends refuse to divide.
            divisor = self.numpy(args[1])
            args = (args[0], self.native(np.where(divisor == 0, np.ones_like(divisor), divisor)))
        if name in _TRIANGLES and self.name == "tensorflow":
            # TensorFlow refuses diagonals outside of the matrix; the other backends do not.
            args, kwargs = self._with_diagonal_inside(args, kwargs)
        if name == "binary_crossentropy":
            # PyTorch wants probabilities.
            args = tuple(self.native(np.full_like(self.numpy(a), 0.5)) if hasattr(a, "dtype") else a for a in args)
        with self._quiet():
            results = self._numeric(module, function, args, kwargs)
        return self._without_leaks(name, results, args, kwargs) if self.is_numpy else results

    @staticmethod
    def _with_diagonal_inside(args: Any, kwargs: Any) -> tuple[Any, Any]:
        x, k = args[0], int(args[1] if len(args) > 1 else kwargs.get("k", 0))
        rows, columns = (int(d) for d in tuple(x.shape)[-2:])
        return (x, min(max(k, -rows), columns)), {}

    def _without_leaks(self, name: str, results: Any, args: Any, kwargs: Any) -> Any:
        """Give results the dtypes that the other backends agree on, where NumPy's own promotion shows through."""
        given = [*_leaves(args), *_leaves(list(kwargs.values()))]
        wide = any(str(getattr(v, "dtype", v)) in ("float64", "int64", "uint64", "complex128") for v in given)

        def narrowed(result: Any) -> Any:
            if not wide and str(getattr(result, "dtype", "")) == "float64":
                return result.astype(np.float32)
            return result

        results = tuple(map(narrowed, results)) if isinstance(results, tuple) else narrowed(results)
        if name == "top_k":
            return results[0], results[1].astype(np.int32)
        if self.name == "jax" and name == "histogram":
            return results[0].astype(np.float32), results[1]
        if self.name == "jax" and name == "relu6" and np.issubdtype(results.dtype, np.integer):
            return results.astype(np.float32)
        return results

    def _numeric(self, module: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if module != "linalg":
            return function(*args, **kwargs)
        # Random examples need not be invertible or positive definite: the identity always is.
        try:
            return function(*args, **kwargs)
        except Exception:
            safe = [self._identity(a) if k == 0 else a for k, a in enumerate(args)]
            return function(*safe, **kwargs)

    def _identity(self, example: Any) -> Any:
        rows, columns = tuple(example.shape)[-2:]
        eye = np.broadcast_to(np.eye(rows, columns, dtype=self.numpy(example).dtype), tuple(example.shape))
        return self.native(np.array(eye))

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        with np.errstate(all="ignore"):
            if self.name == "torch":
                import torch

                with torch.no_grad():
                    yield
            else:
                yield

    def _by_type(self, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        import inspect

        from keras.src.backend.common.backend_utils import compute_conv_transpose_output_shape
        from keras.src.ops import operation_utils

        bound = inspect.signature(original).bind(*args, **kwargs)
        bound.apply_defaults()
        a = dict(bound.arguments)
        x = a["inputs"]
        layout = self.backend.standardize_data_format(a["data_format"])
        shape = tuple(int(d) for d in x.shape)
        if name in _POOLS:
            spatial = len(shape) - 2
            pool = (a["pool_size"],) * spatial if isinstance(a["pool_size"], int) else tuple(a["pool_size"])
            strides = pool if a["strides"] is None else a["strides"]
            result = operation_utils.compute_pooling_output_shape(shape, pool, strides, a["padding"], layout)
            return self.native(np.full(result, 0.5, self.numpy(x).dtype)) if self._floating(x) else None
        kernel = a["depthwise_kernel"] if "depthwise_kernel" in a else a["kernel"]
        kernel_shape = tuple(int(d) for d in kernel.shape)
        if not (self._floating(x) and self._floating(kernel)):
            return None
        if name == "conv_transpose":
            spatial_kernel = kernel_shape[:-2]
            result = compute_conv_transpose_output_shape(
                shape,
                spatial_kernel,
                kernel_shape[-2],
                a["strides"],
                a["padding"],
                a["output_padding"],
                layout,
                a["dilation_rate"],
            )
        else:
            filters = kernel_shape[-1] if name == "conv" else kernel_shape[-2] * kernel_shape[-1]
            result = operation_utils.compute_conv_output_shape(
                shape,
                filters,
                kernel_shape[:-2],
                strides=a["strides"],
                padding=a["padding"],
                data_format=layout,
                dilation_rate=a["dilation_rate"],
            )
            if name == "separable_conv":
                channel = -1 if layout == "channels_last" else 1
                sizes = list(result)
                sizes[channel] = int(a["pointwise_kernel"].shape[-1])
                result = tuple(sizes)
        dtype = self.backend.result_type(self.dtype(x), self.dtype(kernel))
        if any(d is None or d <= 0 for d in result):
            # The sizes of this attempt are too small for the kernel.
            raise ValueError(f"{name} of {shape} with a kernel of {kernel_shape[:-2]} has no result")
        with self._quiet():
            return self._convert(np.full(result, 0.5, np.float32), dtype=dtype)

    def _floating(self, x: Any) -> bool:
        return self.dtype(x) in ("float16", "bfloat16", "float32", "float64")


def numpy_of(value: Any) -> np.ndarray[Any, Any]:
    """Return a tensor of any backend as a numpy array, without a copy where the backend shares its memory."""
    module = type(value).__module__.partition(".")[0]
    if module == "torch":
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            import ml_dtypes

            return np.asarray(value.float().numpy().astype(ml_dtypes.bfloat16))
        return np.asarray(value.numpy())
    if module == "tensorflow":
        try:
            return np.asarray(memoryview(value))
        except (TypeError, ValueError, NotImplementedError, BufferError):
            # Strings, bfloat16 and the like have no buffer format.
            return np.asarray(value.numpy())
    return np.asarray(value)
