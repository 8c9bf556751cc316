"""Keras 3 as reference, under any backend, as it is and rebuilt in float64."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MissingDependency, NotFitted, UnknownOption, did_you_mean
from any2onnx.parity.keras_inputs import all_layers, first_layers, known_values
from any2onnx.parity.reference import (
    Binding,
    Framework,
    FrameworkRejects,
    OutputRequest,
    declared_channels_first,
)
from any2onnx.parity.reference_tensor import TensorReference
from any2onnx.parity.runtime import one_sentence
from any2onnx.parity.signature import Feeds, InputSpec, Signature, to_numpy
from any2onnx.parity.ulp import Array, is_float

if TYPE_CHECKING:
    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.runtime import OnnxFile, Port

#: What a mapping of outputs may say about one.
LAYOUTS = ("channels_first", "channels_last")
_FLOAT_NAMES = frozenset({"float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16"})


class KerasReference(TensorReference):
    """A Keras model or layer; the user's object is never changed."""

    framework: Framework = "keras"

    def __init__(self, model: Any) -> None:
        super().__init__()
        try:
            import keras
        except ImportError as error:
            raise MissingDependency("Keras is not installed", remedy="pip install 'any2onnx[keras]'") from error
        if not getattr(model, "built", True):
            raise NotFitted(
                f"{type(model).__name__} {model.name!r} is not built", remedy="call it once, or call build(input_shape)"
            )
        self._model = model
        self.model_name = type(model).__name__
        self.version = f"keras {keras.__version__} ({keras.backend.backend()})"
        # How the model's argument is nested.
        self._struct: Any = None
        self._moved: frozenset[str] = frozenset()
        self._declared: dict[str, frozenset[str]] = {"inputs": frozenset(), "outputs": frozenset()}
        # Positions of the results whose ONNX output has channels first.
        self._first: frozenset[int] = frozenset()
        self._double: Any = None
        self._moved_model: Any = None

    # --- inputs ---

    def declare(self, onnx_file: OnnxFile) -> None:
        """Take the names of the inputs and outputs that have channels first in the file."""
        self._declared = declared_channels_first(onnx_file)

    def refine(self, signature: Signature, data: Any) -> Signature:
        """Take fixed sizes, vocabularies, ranges of token ids and typical numbers from the model."""
        shapes = self._input_shapes()
        names = [name for name, _ in shapes]
        everything = list(all_layers(self._model))
        found = []
        for i, spec in enumerate(signature.inputs):
            at = names.index(spec.name) if set(names) == set(signature.names) else i
            spec = _sized(spec, shapes[at][1]) if at < len(shapes) else spec
            found.append(known_values(spec, first_layers(self._model, at), everything))
        return signature.with_inputs(found)

    def _input_shapes(self) -> list[tuple[str, tuple[int | None, ...]]]:
        inputs = getattr(self._model, "inputs", None) or []
        return [(tensor.name, tuple(tensor.shape)) for tensor in inputs]

    def prepare(self, signature: Signature) -> None:
        """Match inputs by name, else by position, and notice channels-first ONNX inputs."""
        shapes = self._input_shapes()
        names = [name for name, _ in shapes]
        self._names = signature.names
        if len(names) == len(signature.names) and set(names) == set(signature.names):
            self._names = tuple(names)
        by_name = {spec.name: spec for spec in signature.inputs}
        self._moved = frozenset(
            name
            for name, (_, shape) in zip(self._names, shapes, strict=False)
            if name in self._declared["inputs"] or channels_moved(by_name[name].shape, shape)
        )
        self._struct = getattr(self._model, "_inputs_struct", None)

    def fixed_axes(self, signature: Signature) -> list[str]:
        """Return, in words, the axes that the model leaves free and the ONNX model has baked in."""
        found = []
        shapes = dict(zip(self._names, (shape for _, shape in self._input_shapes()), strict=False))
        for spec in signature.inputs:
            shape = shapes.get(spec.name)
            if shape is None or len(shape) != len(spec.shape):
                continue
            if spec.name in self._moved:
                shape = (shape[0], shape[-1], *shape[1:-1])
            found += [
                f"axis {axis} of {spec.name!r} is fixed at {ours}"
                for axis, (ours, theirs) in enumerate(zip(spec.shape, shape, strict=True))
                if theirs is None and isinstance(ours, int)
            ]
        return found

    # --- answers ---

    def bind(self, ports: Sequence[Port], request: OutputRequest, onnx_file: OnnxFile, feeds: Feeds) -> Binding:
        """Tie results to outputs, and notice which of them were asked for with channels first.

        An output that has them first without anybody having said so is a wrong shape, and no matter of taste.
        """
        wanted = self._declared["outputs"]
        if isinstance(request, Mapping):
            unknown = sorted(set(request.values()) - set(LAYOUTS))
            if unknown:
                raise UnknownOption(
                    f"there is no layout {unknown[0]!r}{did_you_mean(unknown[0], LAYOUTS)}", needs=", ".join(LAYOUTS)
                )
            wanted = frozenset(name for name, layout in request.items() if layout == "channels_first")
        binding = super().bind(ports, request, onnx_file, feeds)
        self._first = frozenset(int(bound.source.rpartition(" ")[2]) for bound in binding.bound if bound.name in wanted)
        note = "; ".join(f"output {bound.name!r} has channels first" for bound in binding.bound if bound.name in wanted)
        return dataclasses.replace(binding, note="; ".join(text for text in (binding.note, note) if text))

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Run a copy that was rebuilt from its configuration in float64; None when that is not possible."""
        if self.float64_problem:
            return None
        try:
            with _x64():
                if self._double is None:
                    self._double = _rebuild_float64(self._model)
                return [[array] for array in self._arrays(self._call(self._double, feeds))]
        except Exception as error:
            # Whatever stops the rebuild (custom layers without a config, say): no reference, and the report says why.
            self.float64_problem = one_sentence(error)
            self._double = None
            return None

    def rounded(self, feeds: Feeds, rng: np.random.Generator, units: int) -> list[list[Array]] | None:
        """Run the model with the results of the backend's operators moved; None when the backend does not allow it."""
        from any2onnx.parity.operators_keras import MovedModel

        if self._moved_model is None:
            self._moved_model = MovedModel(lambda given: self._model(given, training=False))
        try:
            result = self._moved_model.run(self._arguments(feeds), rng, units)
        except Exception:
            # Whatever a model raises that cannot be traced: then nothing is known.
            return None
        return None if result is None else [[array] for array in self._arrays(result)]

    def intermediates(self, feeds: Feeds, *, double: bool, finely: bool = False) -> list[Intermediate]:
        """Return what every layer computes in the float64 copy, else what every operator of the backend does."""
        from any2onnx.parity.operators_keras import recorded_keras, recorded_operators

        found: list[Intermediate] = []
        if double and (self._double is not None or self.run_float64(feeds) is not None):
            recorded = recorded_operators if finely else recorded_keras
            with _x64(), recorded(self._double, found):
                self._call(self._double, feeds)
        else:
            # The user's own model is never touched: there the backend is asked.
            with recorded_operators(self._model, found):
                self._call(self._model, feeds)
        return found

    def _answer(self, feeds: Feeds) -> Any:
        return self._call(self._model, feeds)

    def _arrays(self, result: Any) -> list[Array]:
        return [
            np.ascontiguousarray(np.moveaxis(array, -1, 1)) if k in self._first and array.ndim > 2 else array
            for k, array in enumerate(_arrays(result))
        ]

    @staticmethod
    def _natural(result: Mapping[Any, Any]) -> list[str]:
        return [str(key) for key in sorted(result)]

    def _call(self, model: Any, feeds: Feeds) -> Any:
        try:
            return model(self._arguments(feeds), training=False)
        except Exception as error:
            raise FrameworkRejects(_reason(error)) from error

    def _arguments(self, feeds: Feeds) -> Any:
        """Return the model's argument from one array per ONNX input."""
        import keras

        tensors = []
        for name in self._names:
            values = feeds[name]
            if name in self._moved:
                values = np.moveaxis(values, 1, -1)
            tensors.append(_tensor(values, keras))
        if self._struct is not None and len(keras.tree.flatten(self._struct)) == len(tensors):
            return keras.tree.pack_sequence_as(self._struct, tensors)
        return tensors[0] if len(tensors) == 1 else tensors


def channels_moved(onnx_shape: Sequence[Any], keras_shape: Sequence[int | None]) -> bool:
    """Tell whether the ONNX input has channels first where Keras has them last: more of the known sizes agree so."""
    if len(onnx_shape) != len(keras_shape) or len(keras_shape) < 3:
        return False

    def agreement(shape: Sequence[int | None]) -> int:
        known = [
            (ours, theirs)
            for ours, theirs in zip(onnx_shape[1:], shape[1:], strict=True)
            if isinstance(ours, int) and theirs is not None
        ]
        return -1 if any(ours != theirs for ours, theirs in known) else len(known)

    return agreement((keras_shape[0], keras_shape[-1], *keras_shape[1:-1])) > agreement(keras_shape)


def _sized(spec: InputSpec, shape: Sequence[int | None]) -> InputSpec:
    """Fill free axes that the Keras input fixes."""
    if len(shape) != len(spec.shape) or channels_moved(spec.shape, shape):
        return spec
    dims = tuple(
        theirs if axis > 0 and isinstance(ours, str) and theirs is not None else ours
        for axis, (ours, theirs) in enumerate(zip(spec.shape, shape, strict=True))
    )
    return dataclasses.replace(spec, shape=dims)


def _reason(error: Exception) -> str:
    """Return what went wrong: Keras puts the layer before it, and the arguments behind."""
    where, *rest = str(error).split("\n\n")
    if not rest or not where.startswith("Exception encountered when calling"):
        return one_sentence(error)
    told = re.sub("\x1b\\[[0-9;]*m", "", rest[0]).strip()
    return f"{told} ({where.removeprefix('Exception encountered when calling ').rstrip('.')})" if told else where


def _tensor(values: Array, keras: Any) -> Any:
    if values.dtype.kind == "O":
        # Only TensorFlow has string tensors; other backends' string layers take numpy arrays.
        if keras.backend.backend() == "tensorflow":
            import tensorflow

            return tensorflow.constant(values.astype(str))
        return values.astype(str)
    return keras.ops.convert_to_tensor(np.ascontiguousarray(values), dtype=values.dtype.name)


def _arrays(result: Any) -> list[Array]:
    """Return the tensors of a nested result as numpy arrays, dict entries in the order of their sorted keys."""
    import keras

    found = []
    for leaf in keras.tree.flatten(result):
        if leaf is None:
            continue
        array = to_numpy(leaf) if hasattr(leaf, "detach") else np.asarray(keras.ops.convert_to_numpy(leaf))
        if array.dtype.kind in "OS":
            array = np.array([_text(item) for item in array.ravel()], dtype=object).reshape(array.shape)
        found.append(array)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


# --- float64 -----------------------------------------------------------------------------------------------------


def _rebuild_float64(model: Any) -> Any:
    """Return a copy of a model whose policies and weights are float64."""
    from keras.src.saving.object_registration import CustomObjectScope
    from keras.src.saving.serialization_lib import SafeModeScope

    custom = {type(layer).__name__: type(layer) for layer in all_layers(model)}
    # The model is in memory and the user's own, so that rebuilding its Lambda layers opens no door.
    with CustomObjectScope(custom), SafeModeScope(False):
        twin = type(model).from_config(float64_config(model.get_config()))
        shapes = getattr(model, "_build_shapes_dict", None)
        if not twin.built and shapes:
            twin.build_from_config({"input_shape": next(iter(shapes.values()))} if len(shapes) == 1 else shapes)
    values = [_plain(weight) for weight in model.weights]
    twin.set_weights([value.astype(np.float64) if is_float(value.dtype) else value for value in values])
    for layer in all_layers(twin):
        # Normalization derives its constants from its weights once, at load time.
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()
    return twin


def _plain(weight: Any) -> Array:
    import keras

    value = weight.value
    return to_numpy(value) if hasattr(value, "detach") else np.asarray(keras.ops.convert_to_numpy(value))


def float64_config(config: Any) -> Any:
    """Return a copy of a Keras configuration with every floating dtype and policy replaced by float64."""
    if isinstance(config, Mapping):
        if config.get("class_name") in ("DTypePolicy", "FloatDTypePolicy"):
            name = config.get("config", {}).get("name")
            return {**config, "config": {"name": "float64"}} if name in _FLOAT_NAMES else dict(config)
        return {
            key: "float64"
            if key in ("dtype", "output_dtype") and isinstance(value, str) and value in _FLOAT_NAMES
            else float64_config(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)) and type(config) in (list, tuple):
        return type(config)(float64_config(item) for item in config)
    return config


@contextlib.contextmanager
def _x64() -> Iterator[None]:
    """Let JAX compute in float64, which it does not by default; other backends need nothing."""
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with enable(True):
        yield
