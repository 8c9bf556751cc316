"""onnxruntime as the judged side: sessions at two optimisation levels, and outputs brought to plain arrays."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import InvalidType, MalformedFile, MissingDependency, NotAModel, UsageError
from any2onnx.parity.picture import GraphPicture, picture_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from any2onnx.parity.ulp import Array

# onnx.ModelProto cannot be serialised beyond 2 GiB; stay clear of it, weights excluded from the estimate are small.
_IN_MEMORY_LIMIT = 1_800_000_000

_NUMPY_TYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "bool": "bool",
    "string": "object",
    "complex64": "complex64",
    "complex128": "complex128",
}
_BFLOAT16_ONNX_TYPE = 16
# Their kernels in onnxruntime 1.32 call std::terminate for an empty batch: no exception, the process is gone.
_FATAL_WHEN_EMPTY = frozenset({"GRU", "LSTM"})


@dataclasses.dataclass(frozen=True)
class Port:
    """One input or output of the ONNX model: name, dtype (None if it is no tensor) and symbolic shape."""

    name: str
    onnx_type: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array that a model returned; ``keys`` are the labels of its columns when it came as maps."""

    name: str
    values: Array
    keys: Array | None = None


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """An ONNX model in a form that onnxruntime loads, with what the harness reads from it.

    Attributes:
        payload: Serialised model or, beyond what fits one message, a path.
        metadata: ``metadata_props``.
        producer: Producer name and version.
        opsets: ``domain`` to version, sorted by domain; the default domain is ``ai.onnx``.
        contraction: Length of the longest sum over weights (MatMul, Gemm, Conv).
        operators: Names of the operators in the graph, sorted.
        picture: The graph, for reports.
        fatal_when_empty: Operators for which onnxruntime ends the process when they get an empty batch.
    """

    payload: bytes | str
    metadata: Mapping[str, str]
    producer: str
    opsets: tuple[tuple[str, int], ...]
    contraction: int
    operators: tuple[str, ...] = ()
    picture: GraphPicture | None = None
    fatal_when_empty: tuple[str, ...] = ()

    def load(self) -> Any:
        """Return the model as an onnx.ModelProto of its own, with its weights."""
        import onnx

        return onnx.load(self.payload) if isinstance(self.payload, str) else _parse(self.payload)


def numpy_dtype(onnx_type: str) -> np.dtype[Any] | None:
    """Return the numpy dtype of an onnxruntime type string such as ``tensor(float)``, None for other kinds."""
    match = re.fullmatch(r"tensor\((\w+)\)", onnx_type)
    if match is None or match.group(1) not in _NUMPY_TYPES:
        return None
    name = _NUMPY_TYPES[match.group(1)]
    if name == "bfloat16":
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(name)


def read_onnx(onnx_model: Any) -> OnnxFile:
    """Bring a ModelProto, onnx_ir.Model, bytes or path to an ``OnnxFile``.

    A path is loaded with its external data, within its folder as onnx allows it; files that are not trusted go
    through ``any2onnx.io`` first.

    Raises:
        NotAModel: The object is none of these.
        MalformedFile: The bytes are no ONNX model.
    """
    import onnx

    path: str | None = None
    if isinstance(onnx_model, (str, os.PathLike)):
        path = os.fspath(onnx_model)
        proto = _parse_file(path)
    elif isinstance(onnx_model, (bytes, bytearray, memoryview)):
        proto = _parse(bytes(onnx_model))
    elif isinstance(onnx_model, onnx.ModelProto):
        proto = onnx_model
    elif _is_ir_model(onnx_model):
        proto = _from_ir(onnx_model)
    else:
        raise NotAModel(
            f"{type(onnx_model).__name__} is no ONNX model",
            needs="onnx.ModelProto, onnx_ir.Model, bytes or a path",
        )
    if not proto.graph.output:
        raise MalformedFile("the ONNX model has no outputs", remedy="check that the file was written completely")
    by_path = path is not None and _weight_bytes(proto) > _IN_MEMORY_LIMIT
    return OnnxFile(
        payload=path if path is not None and by_path else _serialise(proto),
        metadata={entry.key: entry.value for entry in proto.metadata_props},
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        opsets=tuple(sorted({(entry.domain or "ai.onnx", entry.version) for entry in proto.opset_import})),
        contraction=_longest_contraction(proto),
        operators=tuple(sorted({node.op_type for node in proto.graph.node})),
        picture=picture_of(proto),
        fatal_when_empty=tuple(sorted(_operators(proto.graph) & _FATAL_WHEN_EMPTY)),
    )


def _operators(graph: Any) -> set[str]:
    """Return the names of the operators in a graph and its sub-graphs."""
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found |= _operators(inner)
    return found


def _is_ir_model(candidate: Any) -> bool:
    return any(base.__module__.startswith("onnx_ir") and base.__name__ == "Model" for base in type(candidate).__mro__)


def _from_ir(model: Any) -> Any:
    import onnx_ir

    proto = onnx_ir.to_proto(model)
    external = [value.const_value for value in model.graph.initializers.values()]
    folders = {os.fspath(tensor.base_dir) for tensor in external if isinstance(tensor, onnx_ir.ExternalTensor)}
    if folders:
        from onnx.external_data_helper import load_external_data_for_model

        for folder in sorted(folders):
            load_external_data_for_model(proto, folder)
    return proto


def _parse(data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise MalformedFile("the bytes are no ONNX model", where=str(error)) from error


def _parse_file(path: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if not pathlib.Path(path).is_file():
        raise MalformedFile("there is no such ONNX file", where=path)
    try:
        return onnx.load(path)
    except DecodeError as error:
        raise MalformedFile("the file is no ONNX model", where=f"{path}: {error}") from error


def _weight_bytes(proto: Any) -> int:
    return sum(len(tensor.raw_data) for tensor in proto.graph.initializer)


def _serialise(proto: Any) -> bytes | str:
    from onnx.external_data_helper import uses_external_data

    outside = [tensor.name for tensor in proto.graph.initializer if uses_external_data(tensor)]
    if outside:
        raise InvalidType(
            f"the weights of the ONNX model lie in another file ({len(outside)} tensors, first {outside[0]!r})",
            needs="the folder of that file",
            remedy="pass the path of the saved .onnx file instead of the model in memory",
        )
    if _weight_bytes(proto) <= _IN_MEMORY_LIMIT:
        return bytes(proto.SerializeToString())
    raise InvalidType(
        "the ONNX model is too large for one message in memory",
        needs="less than 1.8 GB of weights, or a file",
        remedy="save it with external data and pass the path",
    )


def _longest_contraction(proto: Any) -> int:
    """Return the length of the longest sum that MatMul, Gemm or Conv forms with a constant weight."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    longest = 1
    for node in proto.graph.node:
        if len(node.input) < 2 or node.input[1] not in shapes:
            continue
        shape = shapes[node.input[1]]
        if node.op_type == "Conv":
            longest = max(longest, int(np.prod(shape[1:], dtype=np.int64)))
        elif node.op_type == "MatMul" and len(shape) >= 2:
            longest = max(longest, int(shape[-2]))
        elif node.op_type == "Gemm" and len(shape) == 2:
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
            longest = max(longest, int(shape[1 if transposed else 0]))
    return longest


class OnnxSession:
    """One onnxruntime session.

    Args:
        model: What ``read_onnx`` returned.
        optimised: True for the level that users get (all), False for none at all.
        providers: Execution providers in order of preference; the CPU by default.
        threads: Threads inside an operator; onnxruntime's own choice by default.

    Raises:
        MissingDependency: onnxruntime is not installed.
        MalformedFile: onnxruntime refuses the model; its own words are in the message.
        UsageError: An execution provider does not start here.
    """

    def __init__(
        self,
        model: OnnxFile,
        *,
        optimised: bool = True,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependency(
                "parity checks need onnxruntime", remedy="pip install 'any2onnx[parity]'"
            ) from error
        options = onnxruntime.SessionOptions()
        # Errors come as exceptions; warnings about shapes come again as findings of the harness.
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        self.providers = list(providers or ["CPUExecutionProvider"])
        level = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(model.payload, options, providers=self.providers)
        except Exception as error:
            # onnxruntime's exceptions share no public base class but Exception.
            raise MalformedFile("onnxruntime refuses the model", where=one_line(error)) from error
        _require_started(self._session, self.providers)
        self.inputs = tuple(_port(item) for item in self._session.get_inputs())
        self.outputs = tuple(_port(item) for item in self._session.get_outputs())
        self._needs_values = any("bfloat16" in port.onnx_type for port in self.inputs + self.outputs)

    def run(self, feeds: Mapping[str, Array]) -> list[list[Leaf]]:
        """Run once; returns, for each ONNX output, its arrays (one, or several for a sequence).

        Raises:
            RuntimeFailure: onnxruntime raised.
        """
        try:
            results = self._run_values(feeds) if self._needs_values else self._session.run(None, dict(feeds))
        except Exception as error:
            raise RuntimeFailure(one_line(error)) from error
        return [_leaves(port, result) for port, result in zip(self.outputs, results, strict=True)]

    def _run_values(self, feeds: Mapping[str, Array]) -> list[Any]:
        """Run through OrtValues: the plain call knows no bfloat16."""
        import onnxruntime

        values = {}
        for name, array in feeds.items():
            if array.dtype.name == "bfloat16":
                bits = np.ascontiguousarray(array).view(np.uint16)
                values[name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16_ONNX_TYPE)
            else:
                values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
        found = self._session.run_with_ort_values(None, values)
        return [_bfloat16(value) if "bfloat16" in value.data_type() else value.numpy() for value in found]


def _require_started(session: Any, providers: Sequence[Any]) -> None:
    """Refuse a session that goes on without a provider it was given, as onnxruntime does when there is no device.

    Raises:
        UsageError: A provider did not start.
    """
    started = session.get_providers()
    wanted = [item[0] if isinstance(item, tuple) else item for item in providers]
    missing = [name for name in wanted if name not in started]
    if missing:
        raise UsageError(
            f"the execution provider {missing[0]!r} is installed and does not start here",
            where=f"onnxruntime went on with {', '.join(started)}",
            remedy="check its device, its driver and the libraries that it needs",
        )
    # Nor may it go over to the CPU when a run fails.
    session.disable_fallback()


class RuntimeFailure(Exception):
    """onnxruntime raised while running; caught by the harness, which turns it into a verdict."""


def _port(item: Any) -> Port:
    return Port(item.name, item.type, numpy_dtype(item.type), tuple(item.shape or ()))


def _bfloat16(value: Any) -> Array:
    import ml_dtypes

    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    raw = ctypes.string_at(value.data_ptr(), count * 2) if count else b""
    return np.frombuffer(raw, dtype=ml_dtypes.bfloat16).reshape(shape)


def _leaves(port: Port, result: Any) -> list[Leaf]:
    if isinstance(result, np.ndarray):
        return [Leaf(port.name, result)]
    if isinstance(result, list):
        if port.onnx_type.startswith("seq(map("):
            return [_from_maps(port, result)]
        return [Leaf(f"{port.name}[{i}]", np.asarray(item)) for i, item in enumerate(result)]
    if result is None:
        return []
    return [Leaf(port.name, np.asarray(result))]


def _from_maps(port: Port, maps: list[dict[Any, Any]]) -> Leaf:
    """Turn a sequence of maps (ZipMap) into ``[rows, keys]``, the keys in sorted order."""
    match = re.fullmatch(r"seq\(map\(\w+,tensor\((\w+)\)\)\)", port.onnx_type)
    dtype = np.dtype(_NUMPY_TYPES[match.group(1)]) if match else np.dtype("float32")
    keys = sorted(maps[0]) if maps else []
    table = np.array([[row[key] for key in keys] for row in maps], dtype=dtype).reshape(len(maps), len(keys))
    return Leaf(port.name, table, np.asarray(keys) if keys else None)


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an exception as one line of text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_sentence(error: BaseException) -> str:
    """Return the first sentence of an exception: frameworks add advice, which is of no use in a table."""
    return one_line(error, 160).split(". ")[0].rstrip(".")
